//! Blocks and what they do to each other: conditions, calls, loops, failures.

use alloc::rc::Rc;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::blocks::{Code, Definitions, Kind};
use super::cache::Entry;
use super::{Done, Run, is_true};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

/// How often a block may call others, how deep evaluated code may be nested, and
/// how many turns a loop may take.
const CALL_LIMIT: u32 = 128;

/// How many definitions are copied for one unit of work.
const DEFINITIONS_A_UNIT: usize = 16;

impl Run<'_> {
    /// What happens at the end of the running block; true at the end of the
    /// script.
    pub(super) fn end_block(&mut self) -> Result<bool, ScriptError> {
        if matches!(self.blocks.kind_mut(), Kind::Loop { .. }) {
            return self.end_turn().map(|()| false);
        }
        let Some((block, kind)) = self.blocks.leave() else {
            return Ok(true);
        };
        match kind {
            Kind::Branch | Kind::Try { .. } => {
                if self.returned {
                    self.blocks.current().end();
                }
            }
            Kind::Called { position } => {
                block.go_to(position);
                self.returned = false;
            }
            Kind::Evaluated => self.returned = false,
            Kind::Script | Kind::Loop { .. } => {}
        }
        Ok(false)
    }

    fn end_turn(&mut self) -> Done {
        if self.returned {
            // Only the loop ends, and the mark stays.
            self.blocks.leave();
            return Ok(());
        }
        self.work.spend(1)?;
        let goes_on = is_true(self.stack.top()?);
        let block = Rc::clone(self.blocks.current());
        match self.blocks.kind_mut() {
            Kind::Loop { turns } if goes_on => {
                *turns = turns.saturating_add(1);
                if *turns >= CALL_LIMIT {
                    return Err(ScriptError::LoopLimit);
                }
                block.go_to(0);
            }
            _ => {
                self.blocks.leave();
            }
        }
        Ok(())
    }

    /// Goes on after the innermost `TRY_EXCEPT` that a failure is in.
    ///
    /// # Errors
    ///
    /// The failure, if it is in none, or is final.
    pub(super) fn fail(&mut self, error: ScriptError) -> Done {
        if error.is_final() {
            return Err(error);
        }
        while let Some((_, kind)) = self.blocks.leave() {
            if let Kind::Try { on_failure } = kind {
                let text = error.to_string().into_bytes();
                self.store(b"E".to_vec(), Entry::items([text]))?;
                return self.branch(on_failure, Kind::Branch);
            }
        }
        Err(error)
    }

    fn branch(&mut self, code: Code, kind: Kind) -> Done {
        let calls = self.blocks.current().calls();
        self.enter(code, kind, calls, Definitions::Copied)
    }

    fn enter(
        &mut self,
        code: Code,
        kind: Kind,
        calls: u32,
        definitions: Definitions,
    ) -> Done {
        self.check_depth()?;
        self.blocks.enter(code, kind, calls, definitions);
        Ok(())
    }

    fn check_depth(&self) -> Done {
        if self.blocks.depth() >= self.limits.depth {
            return Err(ScriptError::TooDeep);
        }
        Ok(())
    }

    fn block_operand(&self) -> Result<Code, ScriptError> {
        let length = self.blocks.current().read_length()?;
        self.blocks.current().read(length)
    }

    pub(super) fn define(&mut self) -> Done {
        let number = self.operand()?;
        let code = self.block_operand()?;
        let count = self.blocks.define(number, code);
        self.work.spend((count / DEFINITIONS_A_UNIT) as u64)
    }

    pub(super) fn call(&mut self) -> Done {
        let caller = Rc::clone(self.blocks.current());
        if caller.calls() >= CALL_LIMIT {
            return Err(ScriptError::CallLimit);
        }
        let number = self.operand()?;
        // The caller's count never goes down again.
        let calls = caller.calls().saturating_add(1);
        caller.set_calls(calls);
        let block = self.blocks.definition(number);
        let block = block.ok_or(ScriptError::NotDefined(number))?;
        self.check_depth()?;
        let position = block.position();
        block.set_calls(calls);
        block.go_to(0);
        let kind = Kind::Called { position };
        self.blocks.enter_definition(block, kind);
        Ok(())
    }

    pub(super) fn if_(&mut self) -> Done {
        let code = self.block_operand()?;
        if is_true(&self.take()?) {
            self.branch(code, Kind::Branch)?;
        }
        Ok(())
    }

    pub(super) fn if_else(&mut self) -> Done {
        let if_true = self.block_operand()?;
        let if_false = self.block_operand()?;
        let code = if is_true(&self.take()?) {
            if_true
        } else {
            if_false
        };
        self.branch(code, Kind::Branch)
    }

    pub(super) fn try_except(&mut self) -> Done {
        let code = self.block_operand()?;
        let on_failure = self.block_operand()?;
        self.branch(code, Kind::Try { on_failure })
    }

    pub(super) fn eval(&mut self) -> Done {
        let calls = self.blocks.current().calls();
        if calls >= CALL_LIMIT {
            return Err(ScriptError::CallLimit);
        }
        let script: Vec<u8> = self.take()?;
        if script.is_empty() {
            let opcode = Opcode::Eval;
            return Err(ScriptError::BadLength { opcode, length: 0 });
        }
        self.work.spend_bytes(script.len())?;
        let calls = calls.saturating_add(1);
        let code = Code::new(&script);
        self.enter(code, Kind::Evaluated, calls, Definitions::Copied)
    }

    pub(super) fn loop_(&mut self) -> Done {
        let code = self.block_operand()?;
        if is_true(self.stack.top()?) {
            let calls = self.blocks.current().calls();
            let kind = Kind::Loop { turns: 0 };
            self.enter(code, kind, calls, Definitions::Shared)?;
        }
        Ok(())
    }

    /// Ends the block, and leaves the mark.
    pub(super) fn return_(&mut self) -> Done {
        self.blocks.current().end();
        self.returned = true;
        Ok(())
    }

    pub(super) fn verify(&mut self) -> Done {
        if is_true(&self.take()?) {
            return Ok(());
        }
        Err(ScriptError::NotVerified)
    }

    /// The codes behind the last instruction: take items off the stack.
    pub(super) fn drop_items(&mut self) -> Done {
        // One signed byte.
        let count = usize::try_from(self.operand()?.cast_signed());
        let count = count.map_err(|_| ScriptError::NegativeCount)?;
        self.take_many(count).map(drop)
    }

    pub(super) fn set_flag(&mut self) -> Done {
        let length = self.count()?;
        self.literal(length)?;
        Err(ScriptError::UnknownFlag)
    }

    pub(super) fn unset_flag(&mut self) -> Done {
        let length = self.count()?;
        self.literal(length).map(drop)
    }
}
