//! Integers of any size, as Python has them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::fmt::Write as _;

use super::natural::Natural;

/// An integer of any size. Up to 64 bits of magnitude it does not allocate.
///
/// There is one zero: it is never negative.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Int {
    negative: bool,
    magnitude: Magnitude,
}

/// Big-endian. `Large` has more than 8 bytes and no leading zero.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Magnitude {
    Small([u8; 8]),
    Large(Box<[u8]>),
}

/// The integer does not fit the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integer out of range")]
#[non_exhaustive]
pub struct IntOutOfRange;

impl Int {
    /// The integer with this sign and big-endian magnitude; leading zeros do not
    /// matter, and negative zero is zero.
    pub fn from_be_bytes(negative: bool, magnitude: &[u8]) -> Self {
        let magnitude = trim(magnitude);
        let negative = negative && !magnitude.is_empty();
        let magnitude = match small(magnitude) {
            Some(n) => Magnitude::Small(n.to_be_bytes()),
            None => Magnitude::Large(magnitude.into()),
        };
        Self {
            negative,
            magnitude,
        }
    }

    /// Whether the integer is less than zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The magnitude, big-endian, without leading zeros: empty for zero.
    pub fn magnitude(&self) -> &[u8] {
        match &self.magnitude {
            Magnitude::Small(bytes) => trim(bytes),
            Magnitude::Large(bytes) => bytes,
        }
    }
}

/// The bytes from the first one that is not zero.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// A trimmed big-endian number, if it fits.
pub(super) fn small(bytes: &[u8]) -> Option<u64> {
    let fold = |n: u64, byte: &u8| (n << 8) | u64::from(*byte);
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, fold))
}

/// The signed number with this sign and trimmed big-endian magnitude.
pub(super) fn signed(negative: bool, bytes: &[u8]) -> Option<i64> {
    let magnitude = i128::from(small(bytes)?);
    i64::try_from(if negative {
        magnitude.saturating_neg()
    } else {
        magnitude
    })
    .ok()
}

impl From<u64> for Int {
    fn from(n: u64) -> Self {
        Self {
            negative: false,
            magnitude: Magnitude::Small(n.to_be_bytes()),
        }
    }
}

impl From<i64> for Int {
    fn from(n: i64) -> Self {
        Self {
            negative: n < 0,
            magnitude: Magnitude::Small(n.unsigned_abs().to_be_bytes()),
        }
    }
}

impl From<u128> for Int {
    fn from(n: u128) -> Self {
        Self::from_be_bytes(false, &n.to_be_bytes())
    }
}

impl From<i128> for Int {
    fn from(n: i128) -> Self {
        Self::from_be_bytes(n < 0, &n.unsigned_abs().to_be_bytes())
    }
}

impl From<u32> for Int {
    fn from(n: u32) -> Self {
        u64::from(n).into()
    }
}

impl From<i32> for Int {
    fn from(n: i32) -> Self {
        i64::from(n).into()
    }
}

impl TryFrom<&Int> for u64 {
    type Error = IntOutOfRange;

    fn try_from(int: &Int) -> Result<Self, IntOutOfRange> {
        match int.magnitude {
            Magnitude::Small(bytes) if !int.negative => {
                Ok(Self::from_be_bytes(bytes))
            }
            _ => Err(IntOutOfRange),
        }
    }
}

impl TryFrom<&Int> for i64 {
    type Error = IntOutOfRange;

    fn try_from(int: &Int) -> Result<Self, IntOutOfRange> {
        signed(int.negative, int.magnitude()).ok_or(IntOutOfRange)
    }
}

/// Decimal digits. Takes quadratic time in the size of the integer.
impl fmt::Display for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match &self.magnitude {
            Magnitude::Small(bytes) => {
                decimal_text_small(u64::from_be_bytes(*bytes))?
            }
            Magnitude::Large(bytes) => decimal_text(Natural::from_be_bytes(bytes))?,
        };
        f.pad_integral(!self.negative, "", &digits)
    }
}

fn decimal_text_small(n: u64) -> Result<String, fmt::Error> {
    let mut text = String::new();
    write!(text, "{n}")?;
    Ok(text)
}

fn decimal_text(mut n: Natural) -> Result<String, fmt::Error> {
    let mut groups = Vec::new();
    while !n.is_zero() {
        groups.push(n.divide(1_000_000_000));
    }
    let mut text = String::new();
    for (index, group) in groups.iter().rev().enumerate() {
        match index {
            0 => write!(text, "{group}")?,
            _ => write!(text, "{group:09}")?,
        }
    }
    Ok(text)
}

/// Hexadecimal when large: decimal digits of a hostile integer would be slow.
impl fmt::Debug for Int {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.magnitude {
            Magnitude::Small(_) => return write!(f, "Int({self})"),
            Magnitude::Large(bytes) => bytes,
        };
        f.write_str(if self.negative { "Int(-0x" } else { "Int(0x" })?;
        for byte in bytes {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn zero_has_one_form() {
        assert_eq!(Int::from_be_bytes(true, &[0, 0]), Int::from(0_u64));
        assert!(!Int::from_be_bytes(true, &[0; 20]).is_negative());
        assert_eq!(Int::from(0_i64).magnitude(), b"");
    }

    #[test]
    fn leading_zeros_do_not_matter() {
        let mut bytes = [0; 30];
        bytes[29] = 5;
        assert_eq!(Int::from_be_bytes(false, &bytes), Int::from(5_u32));
        assert_eq!(Int::from(-300_i32).magnitude(), [1, 44]);
        assert_eq!(Int::from(7_u128), Int::from(7_i64));
    }

    #[test]
    fn conversions_stop_at_the_edges() {
        assert_eq!(u64::try_from(&Int::from(u64::MAX)), Ok(u64::MAX));
        assert_eq!(i64::try_from(&Int::from(i64::MIN)), Ok(i64::MIN));
        assert_eq!(u64::try_from(&Int::from(-1_i64)), Err(IntOutOfRange));
        let above = Int::from(i128::from(i64::MAX) + 1);
        assert_eq!(i64::try_from(&above), Err(IntOutOfRange));
        let above = Int::from(u128::from(u64::MAX) + 1);
        assert_eq!(u64::try_from(&above), Err(IntOutOfRange));
    }

    #[test]
    fn printing_is_decimal() {
        for n in [0, 1, -5, i128::MAX, i128::MIN, 10_i128.pow(27)] {
            assert_eq!(Int::from(n).to_string(), n.to_string());
        }
        assert_eq!(format!("{:?}", Int::from(-5_i32)), "Int(-5)");
        let large = Int::from(1_u128 << 64);
        assert_eq!(format!("{large:?}"), "Int(0x010000000000000000)");
    }
}
