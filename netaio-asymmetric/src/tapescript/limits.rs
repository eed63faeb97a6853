//! What a run may cost.

use super::error::ScriptError;

/// How many bytes are handled for one unit of work.
const BYTES_A_UNIT: usize = 64;

/// What one operation with points of the curve costs, in units of work: making
/// or verifying a signature, checking a point, multiplying one.
const CURVE_WORK: u64 = 32;

/// What running a witness and a lock may cost at most.
///
/// Whatever byte code is run, it takes no more time and memory than these allow
/// for. Locks and witnesses that this crate makes stay far below the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptLimits {
    /// Units of work; 4096 by default, which is a few milliseconds. An
    /// instruction is one unit, and so is each item put on the stack and each 64
    /// bytes that are copied or hashed; an operation on the curve, such as
    /// verifying a signature, is 32.
    pub work: u64,
    /// Bytes that the stack and the cache may hold together; 256 KiB by default.
    /// The format itself would allow 1 MiB for the stack alone.
    pub bytes: usize,
    /// Blocks within blocks, calls included; 512 by default, which is about where
    /// Python gives up.
    pub depth: usize,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            work: 4096,
            bytes: 256 * 1024,
            depth: 512,
        }
    }
}

/// The work that is left.
#[derive(Debug)]
pub(super) struct Work(u64);

impl Work {
    pub(super) const fn new(units: u64) -> Self {
        Self(units)
    }

    pub(super) fn spend(&mut self, units: u64) -> Result<(), ScriptError> {
        self.0 = self.0.checked_sub(units).ok_or(ScriptError::TooMuchWork)?;
        Ok(())
    }

    /// For handling so many bytes.
    pub(super) fn spend_bytes(&mut self, length: usize) -> Result<(), ScriptError> {
        self.spend((length / BYTES_A_UNIT) as u64)
    }

    /// For one operation on the curve.
    pub(super) fn spend_curve(&mut self) -> Result<(), ScriptError> {
        self.spend(CURVE_WORK)
    }
}
