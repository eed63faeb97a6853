//! Running byte code.
//!
//! A run is a stack of items, a cache, and a pile of blocks that are under way;
//! nothing here recurses, whatever byte code says. One file is one family of
//! instructions.

mod adapter;
mod blocks;
mod bytes;
mod cache;
mod clock;
mod control;
mod curve;
mod dispatch;
mod floats;
mod host;
mod integers;
mod shuffle;
mod signatures;
mod stack;
mod taproot;

use alloc::vec::Vec;

use netaio_proto::TooLong;

use super::error::ScriptError;
use super::fields::Inputs;
use super::limits::{ScriptLimits, Work};
use blocks::{Blocks, Code};
use cache::Cache;
use stack::Stack;

/// What is true: the only item that opens a lock.
const TRUE: u8 = 0xff;

type Done = Result<(), ScriptError>;

/// Runs witnesses and locks by the rules of tapescript 0.7.2.
///
/// ```
/// use netaio_asymmetric::tapescript::{
///     Inputs, Machine, SigFields, SigFlags, SigningKey, lock, witness,
/// };
///
/// let key = SigningKey::from_seed(&[1; 32]);
/// let lock = lock::single_signature(&key.public_key(), SigFlags::ALL_SIGNED);
/// let fields = SigFields::of_message(b"body", &[9; 16], &[0, 0, 0, 1]);
/// let witness = witness::single_signature(&key, &fields, SigFlags::ALL_SIGNED)?;
/// let inputs = Inputs { fields, ..Inputs::default() };
/// Machine::new().open(&witness, &lock, &inputs)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Machine {
    limits: ScriptLimits,
    sticky_return: bool,
}

impl Machine {
    /// A machine with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with other limits.
    #[must_use]
    pub fn limits(mut self, limits: ScriptLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with the mark that `RETURN` leaves kept from the witness to the
    /// lock, as Python does. With it, a witness ends the lock at the end of its
    /// first `IF`, whatever the lock checks after that: use it only to compare
    /// with Python.
    #[must_use]
    pub fn sticky_return(mut self, sticky: bool) -> Self {
        self.sticky_return = sticky;
        self
    }

    /// Runs a witness and then a lock, and tells whether that opens the lock.
    ///
    /// # Errors
    ///
    /// [`ScriptError::NotOpened`] if all went well and something other than `ff`
    /// is left; else what failed.
    pub fn open(
        &self,
        witness: impl AsRef<[u8]>,
        lock: impl AsRef<[u8]>,
        inputs: &Inputs<'_>,
    ) -> Result<(), ScriptError> {
        let mut run = Run::new(self.limits, inputs);
        run.script(witness.as_ref())?;
        if !self.sticky_return {
            run.returned = false;
        }
        run.script(lock.as_ref())?;
        match run.stack.items() {
            [item] if **item == [TRUE] => Ok(()),
            _ => Err(ScriptError::NotOpened),
        }
    }

    /// Runs one script, and gives what it leaves on the stack, the bottom first.
    ///
    /// # Errors
    ///
    /// What failed.
    pub fn run(
        &self,
        script: impl AsRef<[u8]>,
        inputs: &Inputs<'_>,
    ) -> Result<Vec<Vec<u8>>, ScriptError> {
        let mut run = Run::new(self.limits, inputs);
        run.script(script.as_ref())?;
        Ok(run.stack.into_items())
    }
}

/// One run: of a script, or of a witness and a lock.
struct Run<'a> {
    stack: Stack,
    cache: Cache,
    blocks: Blocks,
    /// The mark that `RETURN` leaves: blocks of conditions end what they are in.
    returned: bool,
    inputs: &'a Inputs<'a>,
    limits: ScriptLimits,
    work: Work,
}

impl<'a> Run<'a> {
    fn new(limits: ScriptLimits, inputs: &'a Inputs<'a>) -> Self {
        Self {
            stack: Stack::default(),
            cache: Cache::default(),
            blocks: Blocks::default(),
            returned: false,
            inputs,
            limits,
            work: Work::new(limits.work),
        }
    }

    /// Runs a script to its end, with what earlier ones have left.
    fn script(&mut self, code: &[u8]) -> Done {
        self.work.spend_bytes(code.len())?;
        self.blocks.start(Code::new(code));
        loop {
            let done = if self.blocks.current().has_ended() {
                match self.end_block() {
                    Ok(true) => return Ok(()),
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                }
            } else {
                self.step()
            };
            if let Err(error) = done {
                self.fail(error)?;
            }
        }
    }

    fn step(&mut self) -> Done {
        self.work.spend(1)?;
        let code = self.blocks.current().read_byte()?;
        self.execute(code)
    }

    /// Puts an item on the stack.
    fn put(&mut self, item: Vec<u8>) -> Done {
        self.work.spend(1)?;
        self.work.spend_bytes(item.len())?;
        self.stack.check_room(item.len())?;
        self.hold(item.len())?;
        self.stack.put(item);
        Ok(())
    }

    fn put_bool(&mut self, truth: bool) -> Done {
        self.put(alloc::vec![if truth { TRUE } else { 0 }])
    }

    /// Takes the top item off the stack.
    fn take(&mut self) -> Result<Vec<u8>, ScriptError> {
        self.stack.take()
    }

    /// Takes that many items off the stack, the top first.
    fn take_many(&mut self, count: usize) -> Result<Vec<Vec<u8>>, ScriptError> {
        // One after the other: what has been taken before one is missing is gone.
        (0..count).map(|_| self.take()).collect()
    }

    /// Whether there is room for so many bytes more.
    fn hold(&self, more: usize) -> Done {
        let held = self.stack.bytes().saturating_add(self.cache.bytes());
        if held.saturating_add(more) > self.limits.bytes {
            return Err(ScriptError::TooManyBytes);
        }
        Ok(())
    }

    /// The next operand in the code, of one byte.
    fn operand(&self) -> Result<u8, ScriptError> {
        self.blocks.current().read_byte()
    }

    /// The next operand in the code, of one byte that is a count or a length.
    fn count(&self) -> Result<usize, ScriptError> {
        self.operand().map(usize::from)
    }

    /// That many bytes of the code.
    fn literal(&mut self, length: usize) -> Result<Vec<u8>, ScriptError> {
        self.work.spend_bytes(length)?;
        Ok(self.blocks.current().read(length)?.as_bytes().to_vec())
    }
}

/// Whether an item counts as true: whether any bit is set.
fn is_true(item: &[u8]) -> bool {
    item.iter().any(|byte| *byte != 0)
}

fn too_long(length: usize, limit: usize) -> ScriptError {
    ScriptError::ItemTooLong(TooLong { length, limit })
}
