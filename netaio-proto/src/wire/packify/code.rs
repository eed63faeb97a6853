//! Type numbers and length widths: the two halves of a value's first byte.

use super::encode::Sink;

pub(super) const NONE: u8 = 0;
pub(crate) const BYTES: u8 = 1;
pub(super) const BYTEARRAY: u8 = 2;
pub(crate) const STR: u8 = 3;
pub(super) const INT: u8 = 4;
pub(super) const NEGATIVE_INT: u8 = 5;
pub(super) const BOOL: u8 = 6;
pub(super) const FLOAT: u8 = 7;
pub(super) const DECIMAL: u8 = 8;
pub(super) const LIST: u8 = 10;
pub(super) const SET: u8 = 11;
pub(crate) const TUPLE: u8 = 12;
pub(crate) const DICT: u8 = 13;
/// An integer whose magnitude takes more than 255 bytes; its size is a `u32`.
pub(super) const HUGE_INT: u8 = 14;
pub(super) const NEGATIVE_HUGE_INT: u8 = 15;
pub(super) const PACKABLE: u8 = 20;

/// The bits of the first byte that hold the type number.
pub(super) const TYPE_MASK: u8 = 0x3f;

/// How many bytes a length or a count takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Width {
    One,
    Two,
    Four,
}

impl Width {
    /// The smallest width that holds `n`.
    pub(crate) fn for_length(n: u32) -> Self {
        match n {
            0..=0xff => Self::One,
            0x100..=0xffff => Self::Two,
            _ => Self::Four,
        }
    }

    /// The width that the two high bits of `byte` stand for; `None` for 00.
    pub(super) fn from_high_bits(byte: u8) -> Option<Self> {
        match byte & !TYPE_MASK {
            0x40 => Some(Self::One),
            0x80 => Some(Self::Two),
            0xc0 => Some(Self::Four),
            _ => None,
        }
    }

    /// The two high bits that stand for this width.
    pub(crate) fn high_bits(self) -> u8 {
        match self {
            Self::One => 0x40,
            Self::Two => 0x80,
            Self::Four => 0xc0,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    /// Writes the low bytes of `n`, which must fit this width.
    pub(crate) fn write(self, n: u32, out: &mut impl Sink) {
        let [_, _, high, low] = n.to_be_bytes();
        match self {
            Self::One => out.put(&[low]),
            Self::Two => out.put(&[high, low]),
            Self::Four => out.put(&n.to_be_bytes()),
        }
    }
}
