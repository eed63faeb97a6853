//! Why a script failed.

use netaio_proto::TooLong;

use super::opcode::Opcode;

/// A script failed, or left something other than `ff` alone on the stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// An instruction wanted an item of the stack, and there was none.
    #[error("the stack is empty")]
    StackEmpty,
    /// The stack has as many items as it can have.
    #[error("the stack is full")]
    StackFull,
    /// An item would be longer than the stack takes. A signed message is an item
    /// too.
    #[error("item too long: {0}")]
    ItemTooLong(TooLong),
    /// The code ends where an instruction needs more of it.
    #[error("the code ends within an instruction")]
    EndOfCode,
    /// A check that a script insists on did not hold.
    #[error("a check does not hold")]
    NotVerified,
    /// An operand has a length that the instruction does not take.
    #[error("{opcode:?} does not take an operand of {length} bytes")]
    BadLength {
        /// The instruction.
        opcode: Opcode,
        /// The operand's length in bytes.
        length: usize,
    },
    /// An operand of the right length has a value that cannot be used: an index
    /// outside of an item, a divisor of zero, text that is not UTF-8.
    #[error("{opcode:?} cannot use its operand")]
    BadOperand {
        /// The instruction.
        opcode: Opcode,
    },
    /// An instruction that only drops items has a negative number of them.
    #[error("a negative number of items")]
    NegativeCount,
    /// A result that cannot be represented: not a number, or beyond a float.
    #[error("{opcode:?} has no result")]
    NoResult {
        /// The instruction.
        opcode: Opcode,
    },
    /// Bytes that are no point of the curve that may be used here.
    #[error("not a valid point of the curve")]
    BadPoint,
    /// A scalar whose multiple of the base point is the neutral element.
    #[error("not a usable scalar")]
    BadScalar,
    /// A signature leaves out a field that the lock wants to be signed.
    #[error("a signature leaves out what the lock wants to be signed")]
    DisallowedFlag,
    /// Nothing is stored under the key.
    #[error("nothing is stored under the key")]
    NotStored,
    /// No block was defined with the number.
    #[error("nothing was defined as {0}")]
    NotDefined(u8),
    /// Blocks were called or evaluated more often than the format allows.
    #[error("called too often")]
    CallLimit,
    /// A loop took more turns than the format allows.
    #[error("looped too often")]
    LoopLimit,
    /// A flag was to be set; no script can.
    #[error("flags cannot be set")]
    UnknownFlag,
    /// An instruction that needs a host: a contract, randomness.
    #[error("{0:?} is not supported")]
    HostBound(Opcode),
    /// The run would cost more than [`ScriptLimits::work`].
    ///
    /// [`ScriptLimits::work`]: super::ScriptLimits::work
    #[error("too much work")]
    TooMuchWork,
    /// The run would hold more than [`ScriptLimits::bytes`].
    ///
    /// [`ScriptLimits::bytes`]: super::ScriptLimits::bytes
    #[error("too many bytes held")]
    TooManyBytes,
    /// Blocks are nested deeper than [`ScriptLimits::depth`].
    ///
    /// [`ScriptLimits::depth`]: super::ScriptLimits::depth
    #[error("nested too deeply")]
    TooDeep,
    /// Nothing failed, but what is left on the stack is not `ff` alone.
    #[error("the lock is not opened")]
    NotOpened,
}

impl ScriptError {
    /// Whether this ends the run even within `TRY_EXCEPT`. What a script costs is
    /// not for the script to decide, nor is what a host could have said.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::TooMuchWork
                | Self::TooManyBytes
                | Self::TooDeep
                | Self::HostBound(Opcode::Random)
        )
    }
}
