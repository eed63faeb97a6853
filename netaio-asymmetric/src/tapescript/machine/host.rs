//! Instructions that ask the host, of which there is none: they take what they
//! would ask with, as in Python without contracts, and fail.

use num_bigint::Sign;
use num_traits::ToPrimitive as _;

use super::{Done, Run};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    pub(super) fn invoke(&mut self) -> Done {
        let opcode = Opcode::Invoke;
        self.take()?;
        let count = self.take_int(opcode)?;
        if count.sign() == Sign::Minus {
            return Err(ScriptError::BadOperand { opcode });
        }
        self.take_many(count.to_usize().unwrap_or(usize::MAX))?;
        Err(ScriptError::HostBound(opcode))
    }

    pub(super) fn check_transfer(&mut self) -> Done {
        let opcode = Opcode::CheckTransfer;
        self.take()?;
        self.take_int(opcode)?;
        self.take_many(2)?;
        let count = self.take()?;
        let count = count.iter().fold(0_usize, |count, byte| {
            count.saturating_mul(256).saturating_add((*byte).into())
        });
        self.take_many(count)?;
        self.take_many(count)?;
        Err(ScriptError::HostBound(opcode))
    }
}
