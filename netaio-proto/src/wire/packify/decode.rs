//! Checking packed bytes, and building the tree of values from them.

use alloc::borrow::ToOwned;
use alloc::vec::Vec;
use core::mem;
use core::str;

use super::decimal::Number;
use super::key;
use super::raw::{Items, Packed, Shape};
use super::{Decimal, Int, UnpackError, Value};

/// Bounds on what is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DecodeLimits {
    /// How deep containers may be nested; a dict and its entries are one level.
    ///
    /// 32 unless set. Python's own limit is near 500, and nothing that netaio
    /// sends is deeper than 1. Being a `u8`, it also bounds the stack used.
    pub max_depth: u8,
}

impl DecodeLimits {
    /// The same limits with another depth.
    #[must_use]
    pub fn with_max_depth(mut self, max_depth: u8) -> Self {
        self.max_depth = max_depth;
        self
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { max_depth: 32 }
    }
}

/// Decodes one value. Bytes after its end are ignored, as Python does.
///
/// Takes memory for what is there, never for what is only announced: a
/// [`Value`] for each item, and an item takes at least 2 packed bytes. That is 16
/// times the input at worst, for a list of nothing but `None`; and up to 48
/// times while equal items are looked for in a set or a dict. [`check`] and
/// [`Raw`](super::Raw) take none.
pub fn unpack(packed: &[u8]) -> Result<Value, UnpackError> {
    unpack_with(packed, DecodeLimits::default())
}

/// Decodes one value within other limits than the default ones.
pub fn unpack_with(
    packed: &[u8],
    limits: DecodeLimits,
) -> Result<Value, UnpackError> {
    let packed = Packed::whole(packed);
    // All checks come before the first allocation.
    check_value(packed, limits.max_depth, Use::Any)?;
    build(&packed.shape()?, packed.offset)
}

/// Whether [`unpack`] would accept the bytes; allocates nothing.
///
/// Takes time linear in the input, times the depth at worst.
pub fn check(packed: &[u8]) -> Result<(), UnpackError> {
    let max_depth = DecodeLimits::default().max_depth;
    check_value(Packed::whole(packed), max_depth, Use::Any)
}

/// What a value is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// A dict key or a set item, or inside of one: must be hashable in Python.
    Key,
    Any,
}

/// `room` is how many more levels of containers may follow.
fn check_value(
    packed: Packed<'_>,
    room: u8,
    purpose: Use,
) -> Result<(), UnpackError> {
    let offset = packed.offset;
    let shape = packed.shape()?;
    if purpose == Use::Key && !is_hashable(&shape) {
        return Err(UnpackError::Unhashable { offset });
    }
    match shape {
        Shape::Str(bytes) => text(bytes, offset).map(drop),
        Shape::Decimal(bytes) => check_decimal(bytes, offset, purpose),
        Shape::List(items) => check_items(items, deeper(room, offset)?, Use::Any),
        Shape::Tuple(items) => check_items(items, deeper(room, offset)?, purpose),
        Shape::Set(items) => check_items(items, deeper(room, offset)?, Use::Key),
        Shape::Dict(items) => check_entries(items, deeper(room, offset)?),
        Shape::None
        | Shape::Bytes(_)
        | Shape::Bytearray(_)
        | Shape::Int { .. }
        | Shape::Bool(_)
        | Shape::Float(_) => Ok(()),
    }
}

fn deeper(room: u8, offset: usize) -> Result<u8, UnpackError> {
    room.checked_sub(1).ok_or(UnpackError::TooDeep { offset })
}

fn is_hashable(shape: &Shape<'_>) -> bool {
    !matches!(
        shape,
        Shape::Bytearray(_) | Shape::List(_) | Shape::Set(_) | Shape::Dict(_)
    )
}

fn check_decimal(
    bytes: &[u8],
    offset: usize,
    purpose: Use,
) -> Result<(), UnpackError> {
    let number = Number::parse(text(bytes, offset)?)
        .map_err(|_| UnpackError::InvalidDecimal { offset })?;
    if purpose == Use::Key && number.is_signalling() {
        return Err(UnpackError::Unhashable { offset });
    }
    Ok(())
}

fn check_items(
    mut items: Items<'_>,
    room: u8,
    purpose: Use,
) -> Result<(), UnpackError> {
    while let Some(item) = items.next_packed() {
        check_value(item?, room, purpose)?;
    }
    Ok(())
}

fn check_entries(mut items: Items<'_>, room: u8) -> Result<(), UnpackError> {
    while let Some(entry) = items.next_packed() {
        let (key, value) = entry?.entry()?;
        check_value(key, room, Use::Key)?;
        check_value(value, room, Use::Any)?;
    }
    Ok(())
}

fn text(bytes: &[u8], offset: usize) -> Result<&str, UnpackError> {
    str::from_utf8(bytes).map_err(|_| UnpackError::InvalidText { offset })
}

/// The owned tree of a value that was checked before; errors are then impossible,
/// but stay typed instead of being trusted away.
pub(super) fn build(shape: &Shape<'_>, offset: usize) -> Result<Value, UnpackError> {
    Ok(match *shape {
        Shape::None => Value::None,
        Shape::Bytes(bytes) => Value::Bytes(bytes.to_owned()),
        Shape::Bytearray(bytes) => Value::Bytearray(bytes.to_owned()),
        Shape::Str(bytes) => Value::Str(text(bytes, offset)?.to_owned()),
        Shape::Int {
            negative,
            magnitude,
        } => Value::Int(Int::from_be_bytes(negative, magnitude)),
        Shape::Bool(truth) => Value::Bool(truth),
        Shape::Float(bits) => Value::Float(f64::from_bits(bits)),
        Shape::Decimal(bytes) => Value::Decimal(build_decimal(bytes, offset)?),
        Shape::List(items) => Value::List(build_items(items)?),
        Shape::Tuple(items) => Value::Tuple(build_items(items)?),
        Shape::Set(items) => Value::Set(build_set(items, offset)?),
        Shape::Dict(items) => Value::Dict(build_dict(items, offset)?),
    })
}

fn build_packed(packed: Packed<'_>) -> Result<Value, UnpackError> {
    build(&packed.shape()?, packed.offset)
}

fn build_decimal(bytes: &[u8], offset: usize) -> Result<Decimal, UnpackError> {
    text(bytes, offset)?
        .parse()
        .map_err(|_| UnpackError::InvalidDecimal { offset })
}

fn build_items(mut items: Items<'_>) -> Result<Vec<Value>, UnpackError> {
    // The lengths of all items are there, so this many bytes are there as well.
    let mut values = Vec::with_capacity(items.len());
    while let Some(item) = items.next_packed() {
        values.push(build_packed(item?)?);
    }
    Ok(values)
}

/// Of equal items the first is kept.
fn build_set(items: Items<'_>, offset: usize) -> Result<Vec<Value>, UnpackError> {
    let mut values = build_items(items)?;
    let distinct = key::distinct(values.iter())
        .map_err(|_| UnpackError::Unhashable { offset })?;
    if distinct.len() == values.len() {
        return Ok(values);
    }
    let kept = distinct.iter().filter_map(|item| {
        let value = values.get_mut(item.first)?;
        Some(mem::take(value))
    });
    Ok(kept.collect())
}

/// Of equal keys the first is kept, with the value of the last.
fn build_dict(
    mut items: Items<'_>,
    offset: usize,
) -> Result<Vec<(Value, Value)>, UnpackError> {
    let mut entries = Vec::with_capacity(items.len());
    while let Some(entry) = items.next_packed() {
        let (key, value) = entry?.entry()?;
        entries.push((build_packed(key)?, build_packed(value)?));
    }
    let distinct = key::distinct(entries.iter().map(|(key, _)| key))
        .map_err(|_| UnpackError::Unhashable { offset })?;
    if distinct.len() == entries.len() {
        return Ok(entries);
    }
    let kept = distinct.iter().filter_map(|entry| {
        let key = mem::take(&mut entries.get_mut(entry.first)?.0);
        let value = mem::take(&mut entries.get_mut(entry.last)?.1);
        Some((key, value))
    });
    Ok(kept.collect())
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::wire::packify::pack;

    #[track_caller]
    fn assert_refused(packed: &[u8], error: UnpackError) {
        assert_eq!(check(packed), Err(error));
        assert_eq!(unpack(packed), Err(error));
    }

    /// `depth` lists, each in the next.
    fn nested(depth: usize) -> Vec<u8> {
        let deeper = |value, _| Value::List(vec![value]);
        pack(&(1..depth).fold(Value::List(vec![]), deeper)).unwrap()
    }

    #[test]
    fn errors_tell_where() {
        let (offset, missing) = (0, 1);
        assert_refused(b"", UnpackError::Truncated { offset, missing });
        let (offset, missing) = (2, 3);
        assert_refused(b"\x41\x05ab", UnpackError::Truncated { offset, missing });
        let (offset, code) = (4, 0x49);
        assert_refused(
            b"\x4a\x40\x01\x01\x49",
            UnpackError::UnknownType { offset, code },
        );
        let offset = 4;
        assert_refused(b"\x4a\x40\x01\x00", UnpackError::EmptyItem { offset });
        assert_refused(
            b"\x4d\x40\x01\x01\x00",
            UnpackError::InvalidEntry { offset },
        );
        let (offset, byte) = (1, 0x41);
        assert_refused(
            b"\x4a\x41\x00",
            UnpackError::InvalidItemWidth { offset, byte },
        );
        let offset = 0;
        assert_refused(b"\x01\x01a", UnpackError::MissingWidth { offset });
        assert_refused(b"\x54\x01\x00a", UnpackError::Packable { offset });
        assert_refused(b"\x43\x01\xff", UnpackError::InvalidText { offset });
        assert_refused(b"\x48\x01x", UnpackError::InvalidDecimal { offset });
    }

    #[test]
    fn keys_must_be_hashable_all_the_way_down() {
        let offset = 8;
        // {(bytearray(b""),)} and {(Decimal("sNaN"),)}
        let packed = b"\x4b\x40\x01\x06\x4c\x40\x01\x02\x42\x00";
        assert_refused(packed, UnpackError::Unhashable { offset });
        let packed = b"\x4b\x40\x01\x0a\x4c\x40\x01\x06\x48\x04snan";
        assert_refused(packed, UnpackError::Unhashable { offset });
        // {(): bytearray(b"")}
        let packed = b"\x4d\x40\x01\x0a\x4c\x40\x02\x03\x02\x4c\x40\x00\x42\x00";
        assert_eq!(check(packed), Ok(()));
    }

    #[test]
    fn depth_is_limited() {
        assert_eq!(check(&nested(32)), Ok(()));
        // Four bytes a level; the list over the limit has 32 above it.
        let offset = 32 * 4;
        assert_refused(&nested(33), UnpackError::TooDeep { offset });
        let deeper = DecodeLimits::default().with_max_depth(33);
        assert!(unpack_with(&nested(33), deeper).is_ok());
        let shallow = DecodeLimits::default().with_max_depth(0);
        assert!(unpack_with(b"\x44\x01", shallow).is_ok());
        assert!(unpack_with(b"\x4a\x40\x00", shallow).is_err());
    }

    #[test]
    fn announced_counts_and_lengths_are_not_believed() {
        for packed in [
            &b"\xca\xc0\xff\xff\xff\xff\x01\x00"[..],
            b"\x4a\xc0\x01\xff\xff\xff\xff\x00",
            b"\xc1\xff\xff\xff\xff\x00",
            b"\x0e\xff\xff\xff\xff\x00",
        ] {
            let result = unpack(packed);
            assert!(
                matches!(result, Err(UnpackError::Truncated { .. })),
                "{result:?}"
            );
            assert_eq!(check(packed), result.map(drop));
        }
    }

    #[test]
    fn many_equal_keys_are_found_quickly() {
        let pair = |n: usize| (Value::from((n % 7) as u64), Value::from(n as u64));
        let mut out = vec![];
        let entries = (0..50_000)
            .map(pair)
            .map(|(key, value)| pack(&Value::Tuple(vec![key, value])).unwrap());
        let entries: Vec<_> = entries.collect();
        out.extend_from_slice(b"\xcd\x40");
        out.extend_from_slice(&50_000_u32.to_be_bytes());
        out.extend(entries.iter().map(|entry| entry.len() as u8));
        out.extend(entries.concat());
        let decoded = unpack(&out).unwrap();
        let (key, value) = &decoded.as_entries().unwrap()[0];
        assert_eq!(decoded.as_entries().map(<[_]>::len), Some(7));
        assert_eq!((key.as_u64(), value.as_u64()), (Some(0), Some(49_994)));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_judged_alike() {
        let mut state = 1_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let codes = [
            0x00, 0x41, 0x42, 0x43, 0x44, 0x45, 0x04, 0x06, 0x07, 0x48, 0x4a, 0x4b,
            0x4c, 0x4d, 0x0e, 0x40, 0x80, 0x01, 0x02, 0x03, 0x30,
        ];
        let mut accepted = 0;
        for _ in 0..50_000 {
            let length = random() as usize % 24;
            let byte = |n: u64| match n % 3 {
                0 => (n >> 32) as u8,
                _ => codes[(n >> 32) as usize % codes.len()],
            };
            let packed: Vec<u8> = (0..length).map(|_| byte(random())).collect();
            let result = unpack(&packed);
            assert_eq!(check(&packed), result.clone().map(drop), "{packed:02x?}");
            if let Ok(value) = result {
                let canonical = pack(&value).unwrap();
                let again = unpack(&canonical).unwrap();
                assert_eq!(pack(&again), Ok(canonical), "{packed:02x?}");
                accepted += 1;
            }
        }
        assert!(accepted > 1000, "only {accepted} inputs were valid");
    }
}
