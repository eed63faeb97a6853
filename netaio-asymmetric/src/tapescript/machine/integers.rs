//! Integers: signed, big-endian, as long as an item.

use alloc::vec::Vec;

use num_bigint::{BigInt, Sign};
use num_integer::Integer as _;
use num_traits::{ToPrimitive as _, Zero as _};

use super::floats::encode_float;
use super::{Done, Run, too_long};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

/// How many bits a product may have at least before it is certain not to fit.
const MAX_BITS: u64 = 8 * 1024;

/// How many products of two bytes are one unit of work.
const PRODUCTS_A_UNIT: usize = 1 << 16;

/// Digits of the mantissa of a binary64.
const MANTISSA: u64 = 53;

impl Run<'_> {
    /// Takes an item that is a number, so not empty.
    pub(super) fn take_int(
        &mut self,
        opcode: Opcode,
    ) -> Result<BigInt, ScriptError> {
        let item = self.take()?;
        self.work.spend_bytes(item.len())?;
        decode(&item, opcode)
    }

    fn put_int(&mut self, number: &BigInt) -> Done {
        self.put(encode(number))
    }

    pub(super) fn add_ints(&mut self) -> Done {
        let count = self.count()?;
        let mut sum = BigInt::zero();
        for _ in 0..count {
            sum += self.take_int(Opcode::AddInts)?;
        }
        self.put_int(&sum)
    }

    /// The top item less those below it. A count of 0 is as good as 1.
    pub(super) fn subtract_ints(&mut self) -> Done {
        let count = self.count()?;
        let mut rest = self.take_int(Opcode::SubtractInts)?;
        for _ in 1..count {
            rest -= self.take_int(Opcode::SubtractInts)?;
        }
        self.put_int(&rest)
    }

    pub(super) fn multiply_ints(&mut self) -> Done {
        let count = self.count()?.max(1);
        let mut factors = Vec::new();
        for _ in 0..count {
            factors.push(self.take_int(Opcode::MultInts)?);
        }
        if factors.iter().any(BigInt::is_zero) {
            return self.put_int(&BigInt::zero());
        }
        // The product has at least so many bits, and one that cannot fit is not
        // worth its work.
        let least = factors.iter().map(|factor| factor.bits().saturating_sub(1));
        if least.fold(0, u64::saturating_add) > MAX_BITS {
            return Err(too_long(MAX_BITS as usize / 8 + 1, MAX_BITS as usize / 8));
        }
        let mut product = BigInt::from(1);
        for factor in factors {
            self.spend_product(product.bits(), factor.bits())?;
            product *= factor;
        }
        self.put_int(&product)
    }

    /// Divides by a number in the code.
    pub(super) fn divide_by_operand(&mut self, opcode: Opcode) -> Done {
        let length = self.count()?;
        let divisor = decode(&self.literal(length)?, opcode)?;
        let dividend = self.take_int(opcode)?;
        self.divide(opcode, &dividend, &divisor)
    }

    /// Divides the top item by the one below it.
    pub(super) fn divide_ints(&mut self, opcode: Opcode) -> Done {
        let dividend = self.take_int(opcode)?;
        let divisor = self.take_int(opcode)?;
        self.divide(opcode, &dividend, &divisor)
    }

    /// Rounds down; the rest has the sign of the divisor.
    fn divide(
        &mut self,
        opcode: Opcode,
        dividend: &BigInt,
        divisor: &BigInt,
    ) -> Done {
        if divisor.is_zero() {
            return Err(ScriptError::BadOperand { opcode });
        }
        self.spend_product(dividend.bits(), divisor.bits())?;
        let (quotient, rest) = dividend.div_mod_floor(divisor);
        let is_rest = matches!(opcode, Opcode::ModInt | Opcode::ModInts);
        self.put_int(if is_rest { &rest } else { &quotient })
    }

    /// Whether the top item is less than the one below it.
    pub(super) fn compare_ints(&mut self, opcode: Opcode) -> Done {
        let top = self.take_int(opcode)?;
        let below = self.take_int(opcode)?;
        self.put_bool(match opcode {
            Opcode::Less => top < below,
            _ => top <= below,
        })
    }

    pub(super) fn int_to_float(&mut self) -> Done {
        let opcode = Opcode::IntToFloat;
        let number = self.take_int(opcode)?.to_f64();
        let number = number.filter(|number| number.is_finite());
        let number = number.ok_or(ScriptError::NoResult { opcode })?;
        self.put(encode_float(number, opcode)?)
    }

    /// Rounds towards zero.
    pub(super) fn float_to_int(&mut self) -> Done {
        let opcode = Opcode::FloatToInt;
        let number = self.take_float(opcode)?;
        let number = num_traits::FromPrimitive::from_f64(number);
        let number: BigInt = number.ok_or(ScriptError::NoResult { opcode })?;
        self.put_int(&number)
    }

    fn spend_product(&mut self, one: u64, other: u64) -> Done {
        let [one, other] =
            [one, other].map(|bits| usize::try_from(bits / 8).unwrap_or(usize::MAX));
        let products = one.saturating_mul(other);
        self.work.spend((products / PRODUCTS_A_UNIT) as u64)
    }
}

fn decode(item: &[u8], opcode: Opcode) -> Result<BigInt, ScriptError> {
    if item.is_empty() {
        return Err(ScriptError::BadLength { opcode, length: 0 });
    }
    Ok(BigInt::from_signed_bytes_be(item))
}

/// A number as tapescript writes it: in as few bytes as it takes, or one more.
pub(super) fn encode(number: &BigInt) -> Vec<u8> {
    let mut bytes = number.to_signed_bytes_be();
    if has_a_byte_too_many(number) {
        bytes.insert(0, 0);
    }
    bytes
}

/// A number that is not negative, written the same way.
pub(super) fn encode_unsigned(number: u64) -> Vec<u8> {
    encode(&number.into())
}

/// Whether tapescript takes a number for one bit longer than it is, and its sign
/// for one that needs a byte of its own.
///
/// It finds the length by the logarithm in binary64. Just below 2ᵏ, that is
/// rounded up to k: where the difference is at most half of the last digit that
/// k has, k - log₂ n ≤ 2ʲ⁻⁵³ for 2ʲ < k < 2ʲ⁺¹. To the first order, and no
/// higher one counts, that is 2ᵏ - n ≤ ln 2 · 2ʲ · 2ᵏ⁻⁵³, for the n that
/// binary64 can tell apart. It matters only where k bits and a sign would just
/// fill their bytes.
fn has_a_byte_too_many(number: &BigInt) -> bool {
    let bits = number.bits();
    if number.sign() != Sign::Plus || bits % 8 != 7 || bits <= MANTISSA {
        return false;
    }
    let magnitude = number.magnitude();
    let dropped = bits - MANTISSA;
    let kept = (magnitude >> dropped).to_u64().unwrap_or(u64::MAX);
    // Rounds to the nearest that binary64 has, and if there are two, to the even.
    let below = (magnitude >> (dropped - 1)).to_u64().unwrap_or(u64::MAX) & 1;
    let is_tie = magnitude.trailing_zeros() == Some(dropped - 1);
    let rounded_up = below == 1 && !(is_tie && kept.is_multiple_of(2));
    let rounded = kept + u64::from(rounded_up);
    let distance = (1 << MANTISSA) - rounded;
    distance <= nearest_to_power(bits.ilog2())
}

/// The whole part of ln 2 · 2ʲ, for a j of up to 12.
fn nearest_to_power(j: u32) -> u64 {
    // ln 2 in 32 binary digits after the point.
    const LN_2: u64 = 0xb172_17f7;
    (LN_2 << j) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(number: BigInt) -> usize {
        encode(&number).len()
    }

    #[test]
    fn numbers_take_the_bytes_that_they_need_with_their_sign() {
        for (number, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (255, &[0, 255]),
            (-128, &[128]),
            (-129, &[255, 127]),
        ] {
            assert_eq!(encode(&number.into()), expected, "{number}");
        }
    }

    /// What Python was seen to do: the last number, counted down from 2ᵏ in steps
    /// that binary64 can tell apart, that it takes for a bit longer.
    #[test]
    fn just_below_a_power_of_two_there_is_one_more() {
        for (bits, last) in [
            (55, 22),
            (63, 22),
            (71, 44),
            (127, 44),
            (135, 88),
            (255, 88),
            (263, 177),
            (1023, 354),
            (1031, 709),
            (2055, 1419),
            (8183, 2839),
        ] {
            let step = BigInt::from(1) << (bits - MANTISSA);
            let number = |steps| (BigInt::from(1) << bits) - step.clone() * steps;
            let usual = (bits as usize).div_ceil(8);
            assert_eq!(length(number(last)), usual + 1, "{bits}");
            assert_eq!(length(number(last + 1)), usual, "{bits}");
            assert_eq!(length(-number(last)), usual, "{bits}");
        }
        assert_eq!(length((BigInt::from(1) << 47) - 1), 6);
    }

    #[test]
    fn what_binary64_cannot_tell_apart_is_rounded_first() {
        let number = |below: u64| BigInt::from((1_u64 << 55) - below);
        // 22 steps of 4, and what is rounded to them; 90 is between two, of which
        // the 22nd is even.
        for below in [1, 2, 86, 88, 89, 90] {
            assert_eq!(length(number(below)), 8, "{below}");
        }
        for below in [91, 92, 100] {
            assert_eq!(length(number(below)), 7, "{below}");
        }
    }
}
