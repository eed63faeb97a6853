//! Writing values in their canonical form: byte for byte what packify 0.4.0
//! writes.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

use super::code::{self, Width};
use super::key;
use super::{Int, PackError, Value};

/// Where packed bytes go.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Packs a value.
///
/// Set items and dict keys that Python takes for equal are written once, with the
/// value of the last, as if the set or dict had been built in Python.
pub fn pack(value: &Value) -> Result<Vec<u8>, PackError> {
    let mut out = Vec::new();
    pack_into(value, &mut out)?;
    Ok(out)
}

/// Packs a value behind what `out` holds already. On an error `out` is unchanged.
pub fn pack_into(value: &Value, out: &mut Vec<u8>) -> Result<(), PackError> {
    let before = out.len();
    let result = write_value(value, out, u8::MAX);
    if result.is_err() {
        out.truncate(before);
    }
    result
}

/// `room` is how many more levels of containers may follow.
fn write_value(value: &Value, out: &mut Vec<u8>, room: u8) -> Result<(), PackError> {
    match value {
        Value::None => out.push(code::NONE),
        Value::Bytes(bytes) => write_sized(code::BYTES, bytes, out)?,
        Value::Bytearray(bytes) => write_sized(code::BYTEARRAY, bytes, out)?,
        Value::Str(text) => write_sized(code::STR, text.as_bytes(), out)?,
        Value::Int(int) => write_int(int, out)?,
        Value::Bool(truth) => out.put(&[code::BOOL, u8::from(*truth)]),
        Value::Float(float) => {
            out.push(code::FLOAT);
            out.put(&float.to_bits().to_be_bytes());
        }
        Value::Decimal(decimal) => {
            write_sized(code::DECIMAL, decimal.as_str().as_bytes(), out)?;
        }
        Value::List(items) => write_items(code::LIST, items, out, deeper(room)?)?,
        Value::Tuple(items) => write_items(code::TUPLE, items, out, deeper(room)?)?,
        Value::Set(items) => write_set(items, out, deeper(room)?)?,
        Value::Dict(entries) => write_dict(entries, out, deeper(room)?)?,
    }
    Ok(())
}

fn deeper(room: u8) -> Result<u8, PackError> {
    room.checked_sub(1).ok_or(PackError::TooDeep)
}

/// Writes a value that is a length and that many bytes.
pub(crate) fn write_sized(
    kind: u8,
    bytes: &[u8],
    out: &mut impl Sink,
) -> Result<(), PackError> {
    let length = length(bytes.len())?;
    let width = Width::for_length(length);
    out.put(&[kind | width.high_bits()]);
    width.write(length, out);
    out.put(bytes);
    Ok(())
}

fn write_int(int: &Int, out: &mut Vec<u8>) -> Result<(), PackError> {
    let magnitude = int.magnitude();
    let (kind, huge_kind) = if int.is_negative() {
        (code::NEGATIVE_INT, code::NEGATIVE_HUGE_INT)
    } else {
        (code::INT, code::HUGE_INT)
    };
    if magnitude.len() <= 4 {
        let number = magnitude
            .iter()
            .fold(0, |n, byte| (n << 8) | u32::from(*byte));
        let width = Width::for_length(number);
        out.push(kind | width.high_bits());
        width.write(number, out);
        return Ok(());
    }
    match u8::try_from(magnitude.len()) {
        Ok(size) => out.put(&[kind, size]),
        Err(_) => {
            out.push(huge_kind);
            Width::Four.write(length(magnitude.len())?, out);
        }
    }
    out.put(magnitude);
    Ok(())
}

fn write_items(
    kind: u8,
    items: &[Value],
    out: &mut Vec<u8>,
    room: u8,
) -> Result<(), PackError> {
    let mut parts = Parts::default();
    for item in items {
        parts.add(|bytes| write_value(item, bytes, room))?;
    }
    parts.write(kind, out)
}

fn write_set(items: &[Value], out: &mut Vec<u8>, room: u8) -> Result<(), PackError> {
    let distinct = key::distinct(items.iter()).map_err(|_| PackError::Unhashable)?;
    let mut parts = Parts::default();
    for item in distinct.iter().filter_map(|item| items.get(item.first)) {
        parts.add(|bytes| write_value(item, bytes, room))?;
    }
    parts.sort();
    parts.write(code::SET, out)
}

/// Entries are packed pairs, sorted as bytes, so not simply by key.
fn write_dict(
    entries: &[(Value, Value)],
    out: &mut Vec<u8>,
    room: u8,
) -> Result<(), PackError> {
    let keys = entries.iter().map(|(key, _)| key);
    let distinct = key::distinct(keys).map_err(|_| PackError::Unhashable)?;
    let mut parts = Parts::default();
    for entry in distinct {
        let (Some((key, _)), Some((_, value))) =
            (entries.get(entry.first), entries.get(entry.last))
        else {
            continue;
        };
        let mut pair = Parts::default();
        pair.add(|bytes| write_value(key, bytes, room))?;
        pair.add(|bytes| write_value(value, bytes, room))?;
        parts.add(|bytes| pair.write(code::TUPLE, bytes))?;
    }
    parts.sort();
    parts.write(code::DICT, out)
}

/// The packed items of a container, which come before their lengths are known.
#[derive(Default)]
struct Parts {
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
}

impl Parts {
    fn add(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), PackError>,
    ) -> Result<(), PackError> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        self.ranges.push(start..self.bytes.len());
        Ok(())
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let order = |a: &Range<usize>, b: &Range<usize>| -> Ordering {
            bytes.get(a.clone()).cmp(&bytes.get(b.clone()))
        };
        self.ranges.sort_unstable_by(order);
    }

    fn write(&self, kind: u8, out: &mut Vec<u8>) -> Result<(), PackError> {
        let lengths = self.ranges.iter().map(Range::len);
        write_container_header(kind, lengths, out)?;
        for range in &self.ranges {
            out.put(self.bytes.get(range.clone()).unwrap_or_default());
        }
        Ok(())
    }
}

/// Writes all of a container that comes before its items.
pub(crate) fn write_container_header(
    kind: u8,
    lengths: impl ExactSizeIterator<Item = usize> + Clone,
    out: &mut impl Sink,
) -> Result<(), PackError> {
    let count = length(lengths.len())?;
    let longest = length(lengths.clone().max().unwrap_or_default())?;
    let count_width = Width::for_length(count);
    let width = Width::for_length(longest);
    out.put(&[kind | count_width.high_bits(), width.high_bits()]);
    count_width.write(count, out);
    for item in lengths {
        width.write(length(item)?, out);
    }
    Ok(())
}

fn length(n: usize) -> Result<u32, PackError> {
    u32::try_from(n).map_err(|_| PackError::TooLarge {
        size: n,
        limit: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn entries_sort_by_their_packed_bytes() {
        let dict = Value::Dict(vec![
            ("bb".into(), 1_u32.into()),
            ("a".into(), "a longer value".into()),
            ("c".into(), 2_u32.into()),
        ]);
        let packed = pack(&dict).unwrap();
        let keys = crate::wire::packify::unpack(&packed).unwrap();
        let keys = keys.as_entries().unwrap().iter();
        let keys: Vec<_> = keys.map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [Some("c"), Some("a"), Some("bb")]);
    }

    #[test]
    fn equal_keys_and_items_are_written_once() {
        let dict =
            vec![(1_u32.into(), "first".into()), (true.into(), "last".into())];
        let once = vec![(1_u32.into(), "last".into())];
        assert_eq!(pack(&Value::Dict(dict)), pack(&Value::Dict(once)));
        let set = Value::Set(vec![2_u32.into(), 1_u32.into(), 1.0.into()]);
        assert_eq!(pack(&set).unwrap(), b"\x4b\x40\x02\x02\x02\x44\x01\x44\x02");
    }

    #[test]
    fn an_error_leaves_the_output_unchanged() {
        let mut out = vec![9];
        let list = Value::List(vec![]);
        let set = Value::Tuple(vec![1_u32.into(), Value::Set(vec![list])]);
        assert_eq!(pack_into(&set, &mut out), Err(PackError::Unhashable));
        assert_eq!(out, [9]);
        assert_eq!(pack_into(&Value::None, &mut out), Ok(()));
        assert_eq!(out, [9, 0]);
    }

    #[test]
    fn too_deep_a_value_is_an_error() {
        let deeper = |value, _| Value::List(vec![value]);
        let deepest = (0..255).fold(Value::None, deeper);
        assert!(pack(&deepest).is_ok());
        assert_eq!(pack(&deeper(deepest, 0)), Err(PackError::TooDeep));
    }
}
