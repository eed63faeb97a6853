//! The blocks of code that are under way, and where each continues.
//!
//! A block knows how often it has called others, and which definitions it sees.
//! Definitions live in scopes: a called block and a loop share that of where they
//! were defined or entered, conditions get a copy. Scopes are a pile like the
//! blocks themselves, and are referred to by their place in it: a scope goes when
//! the block goes that it was made for, and whatever could refer to it has gone
//! before.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use crate::tapescript::error::ScriptError;

/// A stretch of code. Cutting one out of another copies nothing.
#[derive(Clone, Debug)]
pub(super) struct Code {
    bytes: Rc<[u8]>,
    range: Range<usize>,
}

impl Code {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            range: 0..bytes.len(),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    fn cut(&self, start: usize, end: usize) -> Option<Self> {
        let [start, end] = [start, end].map(|at| self.range.start.checked_add(at));
        let range = start?..end?;
        let fits = range.end <= self.range.end;
        let bytes = Rc::clone(&self.bytes);
        fits.then_some(Self { bytes, range })
    }
}

/// The place of a scope in the pile.
#[derive(Clone, Copy, Debug)]
struct ScopeId(usize);

type Scope = Rc<BTreeMap<u8, Rc<Block>>>;

/// Code, where it is read, how often it called others, and what it sees.
///
/// A definition is one block however often it is called, also by itself: then its
/// callers find the place where they were, and all find one count of calls.
#[derive(Debug)]
pub(super) struct Block {
    code: Code,
    position: Cell<usize>,
    calls: Cell<u32>,
    scope: ScopeId,
}

impl Block {
    pub(super) fn has_ended(&self) -> bool {
        self.position.get() >= self.code.range.len()
    }

    /// Reads on. What does not fit is not read at all.
    pub(super) fn read(&self, length: usize) -> Result<Code, ScriptError> {
        let start = self.position.get();
        let end = start.checked_add(length);
        let code = end.and_then(|end| self.code.cut(start, end));
        let code = code.ok_or(ScriptError::EndOfCode)?;
        self.position.set(start.saturating_add(length));
        Ok(code)
    }

    pub(super) fn read_byte(&self) -> Result<u8, ScriptError> {
        let position = self.position.get();
        let byte = self.code.as_bytes().get(position).copied();
        let byte = byte.ok_or(ScriptError::EndOfCode)?;
        self.position.set(position.saturating_add(1));
        Ok(byte)
    }

    /// Reads a length of two bytes.
    pub(super) fn read_length(&self) -> Result<usize, ScriptError> {
        let code = self.read(2)?;
        let bytes = code.as_bytes().try_into().unwrap_or_default();
        Ok(u16::from_be_bytes(bytes).into())
    }

    /// Skips the rest.
    pub(super) fn end(&self) {
        self.position.set(self.code.range.len());
    }

    pub(super) fn position(&self) -> usize {
        self.position.get()
    }

    pub(super) fn go_to(&self, position: usize) {
        self.position.set(position);
    }

    pub(super) fn calls(&self) -> u32 {
        self.calls.get()
    }

    pub(super) fn set_calls(&self, calls: u32) {
        self.calls.set(calls);
    }
}

/// Why a block runs, and so what happens at its end.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The script itself.
    Script,
    /// The block of a condition, or what follows a failure. Ends what it is in if
    /// it has returned.
    Branch,
    /// As a branch; if it fails, this code follows.
    Try { on_failure: Code },
    /// A called definition, which was at this position.
    Called { position: usize },
    /// Code from the stack.
    Evaluated,
    /// A loop that has taken so many turns.
    Loop { turns: u32 },
}

#[derive(Debug)]
struct Running {
    block: Rc<Block>,
    kind: Kind,
    /// How many scopes there were before.
    scopes: usize,
}

/// Which definitions a new block sees.
#[derive(Clone, Copy, Debug)]
pub(super) enum Definitions {
    /// Those of the block that it is in, and it can add to them.
    Shared,
    /// A copy of them.
    Copied,
}

/// The pile of blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    current: Running,
    outer: Vec<Running>,
    scopes: Vec<Scope>,
}

impl Default for Blocks {
    fn default() -> Self {
        let block = Block {
            code: Code::new(&[]),
            position: Cell::new(0),
            calls: Cell::new(0),
            scope: ScopeId(0),
        };
        Self {
            current: Running {
                block: Rc::new(block),
                kind: Kind::Script,
                scopes: 1,
            },
            outer: Vec::new(),
            scopes: alloc::vec![Scope::default()],
        }
    }
}

impl Blocks {
    /// Starts another script. It sees the definitions and goes on with the count
    /// of calls of the one before.
    pub(super) fn start(&mut self, code: Code) {
        let calls = self.current.block.calls();
        self.outer.clear();
        self.scopes.truncate(1);
        self.current = Running {
            block: Rc::new(Block {
                code,
                position: Cell::new(0),
                calls: Cell::new(calls),
                scope: ScopeId(0),
            }),
            kind: Kind::Script,
            scopes: 1,
        };
    }

    /// The block that is running.
    pub(super) fn current(&self) -> &Rc<Block> {
        &self.current.block
    }

    pub(super) fn depth(&self) -> usize {
        self.outer.len()
    }

    pub(super) fn kind_mut(&mut self) -> &mut Kind {
        &mut self.current.kind
    }

    /// Enters a block of its own.
    pub(super) fn enter(
        &mut self,
        code: Code,
        kind: Kind,
        calls: u32,
        definitions: Definitions,
    ) {
        let scopes = self.scopes.len();
        let scope = match definitions {
            Definitions::Shared => self.current.block.scope,
            Definitions::Copied => {
                let copy = self.scope(self.current.block.scope).cloned();
                self.scopes.push(copy.unwrap_or_default());
                ScopeId(scopes)
            }
        };
        let block = Rc::new(Block {
            code,
            position: Cell::new(0),
            calls: Cell::new(calls),
            scope,
        });
        self.push(Running {
            block,
            kind,
            scopes,
        });
    }

    /// Enters a definition.
    pub(super) fn enter_definition(&mut self, block: Rc<Block>, kind: Kind) {
        let scopes = self.scopes.len();
        self.push(Running {
            block,
            kind,
            scopes,
        });
    }

    fn push(&mut self, running: Running) {
        let outer = core::mem::replace(&mut self.current, running);
        self.outer.push(outer);
    }

    /// Leaves the current block, and tells why it ran; `None` if it is the
    /// script itself, which stays.
    pub(super) fn leave(&mut self) -> Option<(Rc<Block>, Kind)> {
        let outer = self.outer.pop()?;
        let left = core::mem::replace(&mut self.current, outer);
        self.scopes.truncate(left.scopes);
        Some((left.block, left.kind))
    }

    /// What the running block sees under this number.
    pub(super) fn definition(&self, number: u8) -> Option<Rc<Block>> {
        let scope = self.scope(self.current.block.scope)?;
        scope.get(&number).map(Rc::clone)
    }

    /// Defines a block for the running one and all that share its definitions.
    /// Gives how many definitions it sees.
    pub(super) fn define(&mut self, number: u8, code: Code) -> usize {
        let id = self.current.block.scope;
        let Some(scope) = self.scopes.get_mut(id.0) else {
            return 0;
        };
        let block = Block {
            code,
            position: Cell::new(0),
            calls: Cell::new(0),
            scope: id,
        };
        let scope = Rc::make_mut(scope);
        scope.insert(number, Rc::new(block));
        scope.len()
    }

    fn scope(&self, id: ScopeId) -> Option<&Scope> {
        self.scopes.get(id.0)
    }
}
