//! Floats: binary32 on the stack, binary64 while they are computed with.

use alloc::vec::Vec;

use super::{Done, Run};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    pub(super) fn take_float(&mut self, opcode: Opcode) -> Result<f64, ScriptError> {
        decode(&self.take()?, opcode)
    }

    fn put_float(&mut self, number: f64, opcode: Opcode) -> Done {
        self.put(encode_float(number, opcode)?)
    }

    pub(super) fn add_floats(&mut self) -> Done {
        let opcode = Opcode::AddFloats;
        let count = self.count()?;
        let mut sum = 0.0;
        for _ in 0..count {
            sum += self.take_float(opcode)?;
        }
        self.put_float(sum, opcode)
    }

    /// The top item less those below it. A count of 0 is as good as 1.
    pub(super) fn subtract_floats(&mut self) -> Done {
        let opcode = Opcode::SubtractFloats;
        let count = self.count()?;
        let mut rest = self.take_float(opcode)?;
        for _ in 1..count {
            rest -= self.take_float(opcode)?;
        }
        self.put_float(rest, opcode)
    }

    /// Divides by a number in the code.
    pub(super) fn divide_float_by_operand(&mut self, opcode: Opcode) -> Done {
        let divisor = decode(&self.literal(4)?, opcode)?;
        let dividend = self.take_float(opcode)?;
        self.divide_float(opcode, dividend, divisor)
    }

    /// Quotient: the top item by the one below; rest: the other way round.
    pub(super) fn divide_floats(&mut self, opcode: Opcode) -> Done {
        let top = self.take_float(opcode)?;
        let below = self.take_float(opcode)?;
        match opcode {
            Opcode::DivFloats => self.divide_float(opcode, top, below),
            _ => self.divide_float(opcode, below, top),
        }
    }

    fn divide_float(&mut self, opcode: Opcode, dividend: f64, divisor: f64) -> Done {
        if divisor == 0.0 {
            return Err(ScriptError::BadOperand { opcode });
        }
        let is_rest = matches!(opcode, Opcode::ModFloat | Opcode::ModFloats);
        let result = if is_rest {
            floor_rest(dividend, divisor)
        } else {
            dividend / divisor
        };
        self.put_float(result, opcode)
    }

    /// Whether the top item is less than the one below it.
    pub(super) fn compare_floats(&mut self, opcode: Opcode) -> Done {
        let top = self.take_float(opcode)?;
        let below = self.take_float(opcode)?;
        self.put_bool(match opcode {
            Opcode::FloatLess => top < below,
            _ => top <= below,
        })
    }
}

/// The rest with the sign of the divisor, zeros included.
fn floor_rest(dividend: f64, divisor: f64) -> f64 {
    let rest = dividend % divisor;
    if rest == 0.0 {
        0.0_f64.copysign(divisor)
    } else if (rest < 0.0) != (divisor < 0.0) {
        rest + divisor
    } else {
        rest
    }
}

fn decode(item: &[u8], opcode: Opcode) -> Result<f64, ScriptError> {
    let length = item.len();
    let bytes = item.try_into();
    let bytes = bytes.map_err(|_| ScriptError::BadLength { opcode, length })?;
    Ok(f32::from_be_bytes(bytes).into())
}

/// As a binary32. What is not a number, or becomes infinite by that, has none.
pub(super) fn encode_float(
    number: f64,
    opcode: Opcode,
) -> Result<Vec<u8>, ScriptError> {
    let short = number as f32;
    if number.is_nan() || short.is_infinite() && number.is_finite() {
        return Err(ScriptError::NoResult { opcode });
    }
    Ok(short.to_be_bytes().to_vec())
}
