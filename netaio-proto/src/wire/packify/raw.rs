//! Reading packed bytes in place.

use core::fmt;
use core::str;

use super::code::{self, TYPE_MASK, Width};
use super::decode::{self, check};
use super::int::{signed, small, trim};
use super::{Kind, UnpackError, Value};

/// A packed value, checked, and borrowed from the bytes it is packed in.
///
/// Reading allocates nothing. [`Debug`](fmt::Debug) shows the type only, since
/// the content may be secret.
#[derive(Clone, Copy)]
pub struct Raw<'a>(Shape<'a>);

impl<'a> Raw<'a> {
    /// Checks the bytes, as [`check`] does, and borrows them.
    pub fn new(packed: &'a [u8]) -> Result<Self, UnpackError> {
        check(packed)?;
        Packed::whole(packed).shape().map(Self)
    }

    /// A value inside bytes that were checked before.
    pub(crate) fn checked(packed: &'a [u8]) -> Option<Self> {
        Packed::whole(packed).checked()
    }

    /// Bytes that were cut out of their packed value already.
    pub(crate) fn of_bytes(bytes: &'a [u8]) -> Self {
        Self(Shape::Bytes(bytes))
    }

    /// The type of the value.
    pub fn kind(&self) -> Kind {
        match self.0 {
            Shape::None => Kind::None,
            Shape::Bytes(_) => Kind::Bytes,
            Shape::Bytearray(_) => Kind::Bytearray,
            Shape::Str(_) => Kind::Str,
            Shape::Int { .. } => Kind::Int,
            Shape::Bool(_) => Kind::Bool,
            Shape::Float(_) => Kind::Float,
            Shape::Decimal(_) => Kind::Decimal,
            Shape::List(_) => Kind::List,
            Shape::Set(_) => Kind::Set,
            Shape::Tuple(_) => Kind::Tuple,
            Shape::Dict(_) => Kind::Dict,
        }
    }

    /// The bytes of a `bytes` or a `bytearray`.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Shape::Bytes(bytes) | Shape::Bytearray(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a `str`.
    pub fn as_str(&self) -> Option<&'a str> {
        str::from_utf8(self.str_bytes()?).ok()
    }

    /// The UTF-8 of a `str`: enough to compare, with no second look at it.
    pub(crate) fn str_bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Shape::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer of an `int`, if it fits; a `bool` is none.
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Shape::Int {
                negative,
                magnitude,
            } => small(trim(magnitude)).filter(|n| !negative || *n == 0),
            _ => None,
        }
    }

    /// The integer of an `int`, if it fits; a `bool` is none.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Shape::Int {
                negative,
                magnitude,
            } => signed(negative, trim(magnitude)),
            _ => None,
        }
    }

    /// The truth value of a `bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self.0 {
            Shape::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// The number of a `float`.
    pub fn as_f64(&self) -> Option<f64> {
        match self.0 {
            Shape::Float(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }

    /// The items of a `list`, a `set` or a `tuple`, as packed: the items of a set
    /// may repeat.
    pub fn items(&self) -> Option<Items<'a>> {
        match self.0 {
            Shape::List(items) | Shape::Set(items) | Shape::Tuple(items) => {
                Some(items)
            }
            _ => None,
        }
    }

    /// The keys and values of a `dict`, as packed: keys may repeat, and then the
    /// last entry is the one that counts.
    pub fn entries(&self) -> Option<Entries<'a>> {
        match self.0 {
            Shape::Dict(items) => Some(Entries(items)),
            _ => None,
        }
    }

    /// The value as an owned tree, without the repetitions in sets and dicts.
    pub fn to_value(&self) -> Value {
        // Checked when it was borrowed, so there is nothing left to go wrong.
        decode::build(&self.0, 0).unwrap_or_default()
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({:?})", self.kind())
    }
}

/// The items of a container; see [`Raw::items`].
#[derive(Clone, Copy)]
pub struct Items<'a> {
    width: Width,
    lengths: &'a [u8],
    bytes: &'a [u8],
    /// Where `bytes` starts, counted from the start of the whole input.
    offset: usize,
}

impl<'a> Items<'a> {
    /// The bytes of the next item, not looked into yet.
    pub(crate) fn next_packed(&mut self) -> Option<Result<Packed<'a>, UnpackError>> {
        let (length, lengths) = self.lengths.split_at_checked(self.width.bytes())?;
        self.lengths = lengths;
        let mut reader = Reader {
            bytes: self.bytes,
            offset: self.offset,
        };
        let item = reader.item(number(length));
        self.bytes = reader.bytes;
        self.offset = reader.offset;
        Some(item)
    }

    /// The bytes of the key and the value, if these are the two items of a pair.
    fn pair(mut self) -> Option<Result<(Packed<'a>, Packed<'a>), UnpackError>> {
        let (first, second) = (self.next_packed()?, self.next_packed()?);
        let pair = first.and_then(|first| Ok((first, second?)));
        self.lengths.is_empty().then_some(pair)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let item = self.next_packed()?.ok()?;
        item.shape().ok().map(Raw)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.lengths.len() / self.width.bytes();
        (count, Some(count))
    }
}

impl ExactSizeIterator for Items<'_> {}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Items({})", self.len())
    }
}

/// The keys and values of a dict; see [`Raw::entries`].
#[derive(Clone, Copy)]
pub struct Entries<'a>(Items<'a>);

impl<'a> Entries<'a> {
    pub(crate) fn none() -> Self {
        Self(Items {
            width: Width::One,
            lengths: &[],
            bytes: &[],
            offset: 0,
        })
    }

    /// The bytes of the next entry, not looked into yet.
    pub(crate) fn next_packed(&mut self) -> Option<Result<Packed<'a>, UnpackError>> {
        self.0.next_packed()
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        self.0.next_packed()?.ok()?.checked_entry()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Entries<'_> {}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entries({})", self.len())
    }
}

/// Bytes in which a value starts, and where they are in the whole input.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) offset: usize,
}

impl<'a> Packed<'a> {
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The value's outermost layer.
    pub(super) fn shape(self) -> Result<Shape<'a>, UnpackError> {
        let Self { bytes, offset } = self;
        Reader { bytes, offset }.shape()
    }

    /// The key and the value of a dict entry.
    pub(super) fn entry(self) -> Result<(Packed<'a>, Packed<'a>), UnpackError> {
        let pair = match self.shape()? {
            Shape::Tuple(items) => items.pair(),
            _ => None,
        };
        let offset = self.offset;
        pair.unwrap_or(Err(UnpackError::InvalidEntry { offset }))
    }

    /// The key and the value of a dict entry that was checked before.
    pub(crate) fn checked_entry(self) -> Option<(Raw<'a>, Raw<'a>)> {
        let (key, value) = self.entry().ok()?;
        Some((key.checked()?, value.checked()?))
    }

    /// The value of a dict entry that was checked before, if its key is `name`.
    pub(crate) fn value_of(self, name: &str) -> Option<Packed<'a>> {
        let (key, value) = self.entry().ok()?;
        (key.checked()?.str_bytes()? == name.as_bytes()).then_some(value)
    }

    /// The value, if it was checked before.
    pub(crate) fn checked(self) -> Option<Raw<'a>> {
        self.shape().ok().map(Raw)
    }
}

/// The outermost layer of a value: its parts cut out, but not looked into.
#[derive(Clone, Copy)]
pub(super) enum Shape<'a> {
    None,
    Bytes(&'a [u8]),
    Bytearray(&'a [u8]),
    Str(&'a [u8]),
    Int { negative: bool, magnitude: &'a [u8] },
    Bool(bool),
    Float(u64),
    Decimal(&'a [u8]),
    List(Items<'a>),
    Set(Items<'a>),
    Tuple(Items<'a>),
    Dict(Items<'a>),
}

/// Takes bytes off the front, never past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn shape(mut self) -> Result<Shape<'a>, UnpackError> {
        let offset = self.offset;
        let code = self.byte()?;
        Ok(match code & TYPE_MASK {
            code::NONE => Shape::None,
            code::BOOL => Shape::Bool(self.byte()? != 0),
            code::FLOAT => Shape::Float(self.float()?),
            code::INT | code::NEGATIVE_INT => Shape::Int {
                negative: code & TYPE_MASK == code::NEGATIVE_INT,
                magnitude: self.magnitude(code)?,
            },
            code::HUGE_INT | code::NEGATIVE_HUGE_INT => Shape::Int {
                negative: code & TYPE_MASK == code::NEGATIVE_HUGE_INT,
                magnitude: self.sized(Width::Four)?,
            },
            code::PACKABLE => return Err(UnpackError::Packable { offset }),
            kind => {
                let width = Width::from_high_bits(code);
                self.lengthy_shape(kind, width, offset)?
                    .ok_or(UnpackError::UnknownType { offset, code })?
            }
        })
    }

    /// The types whose first byte gives the width of a length.
    fn lengthy_shape(
        &mut self,
        kind: u8,
        width: Option<Width>,
        offset: usize,
    ) -> Result<Option<Shape<'a>>, UnpackError> {
        let width = width.ok_or(UnpackError::MissingWidth { offset });
        Ok(Some(match kind {
            code::BYTES => Shape::Bytes(self.sized(width?)?),
            code::BYTEARRAY => Shape::Bytearray(self.sized(width?)?),
            code::STR => Shape::Str(self.sized(width?)?),
            code::DECIMAL => Shape::Decimal(self.sized(width?)?),
            code::LIST => Shape::List(self.items(width?)?),
            code::SET => Shape::Set(self.items(width?)?),
            code::TUPLE => Shape::Tuple(self.items(width?)?),
            code::DICT => Shape::Dict(self.items(width?)?),
            _ => return Ok(None),
        }))
    }

    fn items(&mut self, count_width: Width) -> Result<Items<'a>, UnpackError> {
        let offset = self.offset;
        let byte = self.byte()?;
        if byte & TYPE_MASK != 0 {
            return Err(UnpackError::InvalidItemWidth { offset, byte });
        }
        let width = Width::from_high_bits(byte)
            .ok_or(UnpackError::MissingWidth { offset })?;
        let count = number(self.take(count_width.bytes())?);
        // Saturated, it is more than there can be, and so an error just as well.
        let lengths = self.take(count.saturating_mul(width.bytes()))?;
        Ok(Items {
            width,
            lengths,
            bytes: self.bytes,
            offset: self.offset,
        })
    }

    fn item(&mut self, length: usize) -> Result<Packed<'a>, UnpackError> {
        let offset = self.offset;
        match self.take(length)? {
            [] => Err(UnpackError::EmptyItem { offset }),
            bytes => Ok(Packed { bytes, offset }),
        }
    }

    /// The number itself, or, with no width given, its size and then the number.
    fn magnitude(&mut self, code: u8) -> Result<&'a [u8], UnpackError> {
        match Width::from_high_bits(code) {
            Some(width) => self.take(width.bytes()),
            None => self.sized(Width::One),
        }
    }

    fn sized(&mut self, width: Width) -> Result<&'a [u8], UnpackError> {
        let length = number(self.take(width.bytes())?);
        self.take(length)
    }

    fn float(&mut self) -> Result<u64, UnpackError> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().fold(0, |n, byte| (n << 8) | u64::from(*byte)))
    }

    fn byte(&mut self) -> Result<u8, UnpackError> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], UnpackError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(UnpackError::Truncated {
                offset: self.offset,
                missing: count.saturating_sub(self.bytes.len()),
            });
        };
        self.bytes = rest;
        self.offset = self.offset.saturating_add(count);
        Ok(taken)
    }
}

/// A big-endian number of at most four bytes.
fn number(bytes: &[u8]) -> usize {
    let number = bytes.iter().fold(0, |n, byte| (n << 8) | u32::from(*byte));
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::packify::{Int, pack};

    #[test]
    fn scalars_are_read_in_place() {
        let read = |packed: &'static [u8]| Raw::new(packed).unwrap();
        assert_eq!(read(b"\x41\x02ab").as_bytes(), Some(&b"ab"[..]));
        assert_eq!(read(b"\x82\x00\x01a").as_bytes(), Some(&b"a"[..]));
        assert_eq!(read(b"\x43\x01a").as_str(), Some("a"));
        assert_eq!(read(b"\x43\x01a").as_bytes(), None);
        assert_eq!(read(b"\x47\x3f\xf0\0\0\0\0\0\0").as_f64(), Some(1.0));
        assert_eq!(read(b"\x06\x02").as_bool(), Some(true));
        assert_eq!(read(b"\x06\x01").as_u64(), None);
    }

    #[test]
    fn integers_fit_or_are_none() {
        for (int, unsigned, signed) in [
            (Int::from(0_u64), Some(0), Some(0)),
            (Int::from(u64::MAX), Some(u64::MAX), None),
            (Int::from(i64::MIN), None, Some(i64::MIN)),
            (Int::from(1_u128 << 64), None, None),
        ] {
            let packed = pack(&int.into()).unwrap();
            let raw = Raw::new(&packed).unwrap();
            assert_eq!((raw.as_u64(), raw.as_i64()), (unsigned, signed));
        }
        let zeros_in_front = [0x04, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        assert_eq!(Raw::new(&zeros_in_front).unwrap().as_u64(), Some(7));
        let negative_zero = Raw::new(&[0x45, 0]).unwrap();
        assert_eq!(
            (negative_zero.as_u64(), negative_zero.as_i64()),
            (Some(0), Some(0))
        );
    }

    #[test]
    fn containers_are_walked_in_place() {
        let items = vec![1_u32.into(), "two".into(), Value::None];
        let packed = pack(&Value::List(items.clone())).unwrap();
        let raw = Raw::new(&packed).unwrap();
        let walked: Vec<_> =
            raw.items().unwrap().map(|item| item.to_value()).collect();
        assert_eq!(raw.items().map(|items| items.len()), Some(3));
        assert_eq!(walked, items);
        assert_eq!(raw.entries().map(|entries| entries.len()), None);
    }

    #[test]
    fn entries_repeat_as_packed_but_not_in_the_tree() {
        // {1: 2, True: 3}
        let packed = b"\x4d\x40\x02\x09\x09\
            \x4c\x40\x02\x02\x02\x44\x01\x44\x02\
            \x4c\x40\x02\x02\x02\x06\x01\x44\x03";
        let raw = Raw::new(packed).unwrap();
        let values = raw.entries().unwrap().map(|(_, value)| value.as_u64());
        assert_eq!(values.collect::<Vec<_>>(), [Some(2), Some(3)]);
        let tree = Value::Dict(vec![(1_u32.into(), 3_u32.into())]);
        assert_eq!(raw.to_value(), tree);
    }

    #[test]
    fn debug_output_has_no_content() {
        let raw = Raw::new(b"\x41\x06secret").unwrap();
        assert_eq!(format!("{raw:?}"), "Raw(Bytes)");
    }
}
