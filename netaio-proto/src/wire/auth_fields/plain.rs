//! Sections as nearly all are: fields of bytes, packed as Python packs them.
//!
//! Most of them are short as well: no length takes more than a byte. Those are
//! read and written in one go, without asking what each value is. Whatever is
//! not as expected is left to the long way round.

use core::mem;
use core::ops::Range;

use smallvec::SmallVec;

use super::super::packify::{
    BYTES, DICT, Kind, PackError, Packed, STR, Sink, TUPLE, Width,
    write_container_header, write_sized,
};
use super::{AuthFields, Section};

/// Sections with more fields than this are packed the long way round. It bounds
/// the search for duplicates, and no plugin comes near it.
pub(super) const USUAL_COUNT: usize = 16;

/// The most fields that are added in one go.
const MOST_AT_ONCE: usize = 4;

/// Bytes of a section with the fields of an HMAC, a cipher and a request id: one
/// that needs memory takes as much at first, so that it needs no more later.
const USUAL_SIZE: usize = 160;

/// In the first byte of a value: its length takes one byte. Alone: so do the
/// lengths of all items.
const SHORT: u8 = 0x40;

/// A field whose name is text and whose value is bytes.
#[derive(Clone, Copy, Default)]
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

type Fields<'a> = SmallVec<[Field<'a>; USUAL_COUNT]>;

/// Whether a section is one packed value and short, with names that are ASCII.
pub(super) fn is_short(section: &[u8]) -> bool {
    Short::of(section).is_some_and(|mut entries| {
        entries.all(|entry| {
            let field = entry.and_then(Field::short);
            field.is_some_and(|field| field.name.is_ascii())
        })
    })
}

/// The values of the fields with these names, in a section that is valid; `None`
/// if it is not short.
pub(super) fn find<'a, const N: usize>(
    section: &'a [u8],
    names: [&str; N],
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    for entry in Short::of(section)? {
        let entry = entry?;
        let (this, _) = split_entry(entry)?;
        for (found, name) in found.iter_mut().zip(names) {
            if this == name.as_bytes() {
                // With all lengths compared: bytes behind the name, which the long
                // way passes over, would else be read as part of the value.
                *found = Some(Field::short(entry)?.value);
            }
        }
    }
    Some(found)
}

/// Adds fields to a section; `None`, and nothing is changed, if the section is not
/// short and sorted, or may have one of them already, or gets long.
pub(super) fn add(section: &mut Section, new: &[(&str, &[u8])]) -> Option<()> {
    let mut marks = 0;
    let mut sorted = [Field::default(); MOST_AT_ONCE];
    let sorted = sorted.get_mut(..new.len())?;
    for (field, (name, value)) in sorted.iter_mut().zip(new) {
        let name = name.as_bytes();
        *field = Field { name, value };
        field.mark(&mut marks)?;
    }
    sorted.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    let mut sorted = sorted.iter().peekable();

    let known = Short::of(section)?;
    let count = known.lengths.len().saturating_add(new.len());
    let mut packed = Packer::new(count)?;
    let mut rest = known.entries.len();
    let mut before = Field::default();
    for entry in known {
        let entry = entry?;
        let field = Field::short(entry)?;
        field.mark(&mut marks)?;
        if field.order() < before.order() {
            return None;
        }
        while let Some(new) = sorted.next_if(|new| new.order() < field.order()) {
            packed.put(new)?;
        }
        packed.room_for(entry.len())?.copy_from_slice(entry);
        rest = rest.saturating_sub(entry.len());
        before = field;
    }
    for new in sorted {
        packed.put(new)?;
    }
    if rest > 0 {
        return None;
    }
    let packed = packed.section();
    section.clear();
    if section.capacity() < packed.len() {
        section.reserve_exact(packed.len().max(USUAL_SIZE));
    }
    section.extend_from_slice(packed);
    Some(())
}

/// A short section that is being packed.
struct Packer {
    bytes: [u8; Self::MOST],
    /// Where the length of the next entry will be.
    length_at: usize,
    /// Where the next entry will be.
    at: usize,
}

impl Packer {
    /// Bytes that are packed without allocating.
    const MOST: usize = 256;

    /// Will have so many entries; `None` if those are too many.
    fn new(count: usize) -> Option<Self> {
        if count > USUAL_COUNT {
            return None;
        }
        let mut bytes = [0; Self::MOST];
        let [start @ .., in_bytes] = bytes.first_chunk_mut::<BEFORE_LENGTHS>()?;
        *start = SHORT_DICT;
        *in_bytes = count as u8;
        Some(Self {
            bytes,
            length_at: BEFORE_LENGTHS,
            at: BEFORE_LENGTHS.saturating_add(count),
        })
    }

    /// Where the next entry is to be put; `None` if it is too long.
    #[inline]
    fn room_for(&mut self, length: usize) -> Option<&mut [u8]> {
        *self.bytes.get_mut(self.length_at)? = u8::try_from(length).ok()?;
        self.length_at = self.length_at.saturating_add(1);
        let start = self.at;
        self.at = start.saturating_add(length);
        self.bytes.get_mut(start..self.at)
    }

    /// Packs a field; `None` if it is too long.
    #[inline]
    fn put(&mut self, field: &Field<'_>) -> Option<()> {
        field.write_short(self.room_for(field.short_len()?)?)
    }

    /// All that was packed.
    fn section(&self) -> &[u8] {
        self.bytes.get(..self.at).unwrap_or_default()
    }
}

/// The section with some fields set, or `None` if it has to be packed the long
/// way round: too many entries, other types, unusual encodings, a name more than
/// once.
pub(super) fn with<'a>(
    section: &'a AuthFields,
    new: &[(&'a str, &'a [u8])],
) -> Option<Result<Section, PackError>> {
    let mut fields = Fields::new();
    for entry in section.iter_packed() {
        let field = Field::plain(entry)?;
        let known = fields.iter().any(|other| other.name == field.name);
        if known || fields.len() >= USUAL_COUNT {
            return None;
        }
        fields.push(field);
    }
    for (name, value) in new {
        let name = name.as_bytes();
        match fields.iter_mut().find(|other| other.name == name) {
            Some(known) => known.value = value,
            None => fields.push(Field { name, value }),
        }
    }
    Some(pack(&mut fields))
}

fn pack(fields: &mut Fields<'_>) -> Result<Section, PackError> {
    fields.sort_unstable_by(|a, b| {
        (a.width(), a.order()).cmp(&(b.width(), b.order()))
    });
    let lengths = fields.iter().map(Field::packed_len);
    let size = packed_len(lengths.clone());
    check_size(size)?;
    let mut section = Section::from_elem(0, size);
    let mut rest = Rest(&mut section);
    write_container_header(DICT, lengths, &mut rest)?;
    for field in fields {
        field.write(&mut rest)?;
    }
    Ok(section)
}

/// A section in which no length of an entry takes more than a byte.
struct Short<'a> {
    lengths: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Short<'a> {
    /// `None` if the section is not a dict, or some length takes more.
    fn of(section: &'a [u8]) -> Option<Self> {
        let (count, rest) = section.strip_prefix(&SHORT_DICT)?.split_first()?;
        let (lengths, entries) = rest.split_at_checked(usize::from(*count))?;
        Some(Self { lengths, entries })
    }
}

/// The entries as they are packed; `None` for one that is not there as a whole.
impl<'a> Iterator for Short<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let (length, lengths) = self.lengths.split_first()?;
        self.lengths = lengths;
        let split = self.entries.split_at_checked(usize::from(*length));
        Some(split.map(|(entry, entries)| {
            self.entries = entries;
            entry
        }))
    }
}

/// A dict whose lengths take a byte each: type and item width. The count follows.
const SHORT_DICT: [u8; 2] = [DICT | SHORT, SHORT];
/// What is before the lengths of the entries: type, item width, count.
const BEFORE_LENGTHS: usize = 3;
/// What is before the name of a short entry: a pair, the lengths of its two
/// items, and the name's type and length.
const BEFORE_NAME: usize = 7;
/// How a short entry begins: a pair, [two lengths,] text, [its length, a byte.]
const START: [u8; 8] = [TUPLE | SHORT, SHORT, 2, 0, 0, STR | SHORT, 0, 0];
/// The bits of that which all entries have.
const SAME: [u8; 8] = [0xff, 0xff, 0xff, 0, 0, 0xff, 0, 0];
/// Where a short entry has the lengths of its two items.
const LENGTHS: Range<usize> = 3..5;
/// What is before the value: its type and length.
const BEFORE_VALUE: usize = 2;

/// The name of a short entry and what follows it; `None` if it does not begin as
/// one does.
#[inline]
fn split_entry(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    // Even an entry with nothing in it is longer than this.
    let start = entry.first_chunk::<8>()?;
    let [start_bits, same, expected] = [*start, SAME, START].map(u64::from_ne_bytes);
    if start_bits & same != expected {
        return None;
    }
    let [.., name_length, _] = *start;
    let rest = entry.get(BEFORE_NAME..)?;
    rest.split_at_checked(usize::from(name_length))
}

/// The bytes that what follows a name is, if it is short and nothing else.
#[inline]
fn short_value(packed: &[u8]) -> Option<&[u8]> {
    let (start, value) = packed.split_first_chunk::<BEFORE_VALUE>()?;
    let [bytes, length] = *start;
    let exact = bytes == BYTES | SHORT && usize::from(length) == value.len();
    exact.then_some(value)
}

impl<'a> Field<'a> {
    /// The field of a packed entry, if it is packed exactly as we would pack it,
    /// and its lengths take a byte each.
    #[inline]
    fn short(entry: &'a [u8]) -> Option<Self> {
        let (name, value) = split_entry(entry)?;
        let value = short_value(value)?;
        let lengths = [name, value].map(|part| part.len() + BEFORE_VALUE);
        let exact = entry.get(LENGTHS)?.iter().zip(lengths);
        let exact = exact.into_iter().all(|(said, is)| usize::from(*said) == is);
        exact.then_some(Self { name, value })
    }

    /// The field, if it is packed exactly as we would pack it.
    fn plain(entry: Packed<'a>) -> Option<Self> {
        let (key, value) = entry.checked_entry()?;
        let field = Self {
            name: key.str_bytes()?,
            value: value.as_bytes().filter(|_| value.kind() == Kind::Bytes)?,
        };
        // Ours is the shortest form, and the only one of that length.
        (field.packed_len() == entry.bytes.len()).then_some(field)
    }

    /// The length of the entry, if that is short.
    fn short_len(&self) -> Option<usize> {
        let length = self.name.len().saturating_add(self.value.len());
        let length = length.saturating_add(BEFORE_NAME + BEFORE_VALUE);
        (length <= usize::from(u8::MAX)).then_some(length)
    }

    /// The lengths of the packed name and the packed value.
    fn part_lens(&self) -> [usize; 2] {
        [sized_len(self.name.len()), sized_len(self.value.len())]
    }

    fn packed_len(&self) -> usize {
        if let Some(length) = self.short_len() {
            return length;
        }
        let [name, value] = self.part_lens();
        // Type, item width, count; then both lengths and both parts.
        let header = self.width().saturating_mul(2).saturating_add(3);
        header.saturating_add(name).saturating_add(value)
    }

    fn write(&self, out: &mut Rest<'_>) -> Result<(), PackError> {
        if let Some(length) = self.short_len() {
            let entry = out.take(length);
            self.write_short(entry.unwrap_or_default());
            return Ok(());
        }
        write_container_header(TUPLE, self.part_lens().into_iter(), out)?;
        write_sized(STR, self.name, out)?;
        write_sized(BYTES, self.value, out)
    }

    /// Fills an entry that is short, and as long as this.
    #[inline]
    fn write_short(&self, entry: &mut [u8]) -> Option<()> {
        let (start, rest) = entry.split_first_chunk_mut()?;
        let (name, rest) = rest.split_at_mut_checked(self.name.len())?;
        let (mark, value) = rest.split_first_chunk_mut()?;
        let lengths = [self.name, self.value].map(|part| part.len() as u8);
        let [first, second] = lengths.map(|length| length + BEFORE_VALUE as u8);
        let [name_length, value_length] = lengths;
        let [pair, width, two, _, _, text, ..] = START;
        *start = [pair, width, two, first, second, text, name_length];
        name.copy_from_slice(self.name);
        *mark = [BYTES | SHORT, value_length];
        value.copy_from_slice(self.value);
        Some(())
    }

    /// Sorts short fields as their packed bytes sort, which start with the
    /// lengths. Names are unique, so values never decide.
    fn order(&self) -> (usize, usize, &'a [u8]) {
        (self.name.len(), self.value.len(), self.name)
    }

    /// The width of the lengths of its parts, which sorts before all that.
    fn width(&self) -> usize {
        let [name, value] = self.part_lens();
        length_width(name.max(value))
    }

    /// Sets one of 64 bits, which depends on the name; `None` if it was set: then
    /// there may have been the same name.
    fn mark(&self, marks: &mut u64) -> Option<()> {
        let first = self.name.first().map_or(0, |first| usize::from(*first));
        let mark = 1 << (self.name.len().wrapping_mul(8).wrapping_add(first) % 64);
        let is_new = *marks & mark == 0;
        *marks |= mark;
        is_new.then_some(())
    }
}

/// What is left of a section to be written.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let (taken, rest) = mem::take(&mut self.0).split_at_mut_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

impl Sink for Rest<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(to) = self.take(bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
}

/// The length of a packed dict with entries of these lengths.
fn packed_len(entries: impl ExactSizeIterator<Item = usize> + Clone) -> usize {
    let count = entries.len();
    let longest = entries.clone().max().unwrap_or(0);
    let lengths = length_width(longest).saturating_mul(count);
    let header = length_width(count)
        .saturating_add(2)
        .saturating_add(lengths);
    entries.fold(header, usize::saturating_add)
}

/// The length of packed bytes or text of this length.
fn sized_len(length: usize) -> usize {
    length_width(length)
        .saturating_add(1)
        .saturating_add(length)
}

/// How many bytes a length takes. Too long ones are refused later by their size.
fn length_width(length: usize) -> usize {
    Width::for_length(u32::try_from(length).unwrap_or(u32::MAX)).bytes()
}

pub(super) fn check_size(size: usize) -> Result<(), PackError> {
    let limit = AuthFields::MAX_SIZE;
    if size > limit {
        return Err(PackError::TooLarge { size, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::super::super::packify::{Value, check, pack};
    use super::*;
    use crate::random::Random;

    /// Names of which some have the same mark, some the same length.
    const NAMES: [&str; 8] = ["", "a", "rid", "hmac", "ts", "iv", "nonce", "Yb"];
    const LENGTHS: [u64; 8] = [0, 1, 4, 16, 32, 237, 245, 300];

    fn any<'a>(random: &mut Random) -> (&'a str, Vec<u8>) {
        let name = NAMES[random.below(8) as usize];
        let length = LENGTHS[random.below(8) as usize];
        (name, vec![random.below(3) as u8; length as usize])
    }

    #[test]
    fn fields_set_in_any_order_are_packed_as_the_tree_is() {
        let mut random = Random::from_seed([5; 32]);
        for _ in 0..3000 {
            let mut fields = AuthFields::new();
            let mut tree = Vec::new();
            for _ in 0..random.below(5) {
                let count = random.below(4);
                let set: Vec<_> = (0..count).map(|_| any(&mut random)).collect();
                let slices: Vec<_> = set
                    .iter()
                    .map(|(name, value)| (*name, &value[..]))
                    .collect();
                fields.set_many(&slices).unwrap();
                let set = set.into_iter();
                tree.extend(set.map(|(name, value)| (name.into(), value.into())));
            }
            assert_eq!(fields.packed(), pack(&Value::Dict(tree)).unwrap());
        }
    }

    #[test]
    fn only_what_is_in_order_is_added_to_in_place() {
        let add = |section: &[u8], name: &str| {
            let before = Section::from_slice(section);
            let mut section = before.clone();
            let added = add(&mut section, &[(name, b"x")]).is_some();
            assert!(added || section == before);
            added
        };
        let entry = |name: u8| [0x4c, 0x40, 2, 3, 3, 0x43, 1, name, 0x41, 1, b'x'];
        let dict = |names: [u8; 2]| {
            let [one, two] = names.map(entry);
            [&[0x4d, 0x40, 2, 11, 11][..], &one, &two].concat()
        };
        assert!(add(&dict(*b"ab"), "c"));
        assert!(!add(&dict(*b"ab"), "a"));
        assert!(!add(&dict(*b"ba"), "c"));
        assert!(!add(&dict(*b"aa"), "c"));
        assert!(!add(&[&dict(*b"ab"), &b"!"[..]].concat(), "c"));
        assert!(!add(&[0x4a, 0x40, 0], "c"));
    }

    /// Packs fields with bytes behind their names and values, now and then.
    fn loose(random: &mut Random) -> Vec<u8> {
        let mut entry = || {
            let mut below = |most| random.below(most) as usize;
            let (name, value) = (NAMES[below(8)], &b"value"[..below(6)]);
            // Behind the name it looks as if the value began there.
            let behind = [BYTES | SHORT, value.len() as u8 + BEFORE_VALUE as u8];
            let mut part = |kind: u8, content: &[u8]| {
                let behind = &behind[..below(6).saturating_sub(3)];
                let start = [kind | SHORT, content.len() as u8];
                [&start[..], content, behind].concat()
            };
            let (name, value) = (part(STR, name.as_bytes()), part(BYTES, value));
            let [first, second] = [&name, &value].map(|part| part.len() as u8);
            let start = [TUPLE | SHORT, SHORT, 2, first, second];
            [&start[..], &name, &value].concat()
        };
        let entries: Vec<_> = (0..2).map(|_| entry()).collect();
        let lengths: Vec<_> =
            entries.iter().map(|entry| entry.len() as u8).collect();
        [&SHORT_DICT[..], &[2], &lengths, &entries.concat()].concat()
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        let mut random = Random::from_seed([6; 32]);
        let mut short = 0;
        for round in 0..6000 {
            let mut fields = AuthFields::new();
            for _ in 0..random.below(4) {
                let (name, value) = any(&mut random);
                fields.set_bytes(name, &value).unwrap();
            }
            let mut packed = match round % 2 {
                0 => fields.packed().to_vec(),
                _ => loose(&mut random),
            };
            for _ in 0..random.below(3) {
                let at = random.below(packed.len() as u64) as usize;
                packed[at] =
                    [0x40, 0x41, 0x42, 2, 3, b'a'][random.below(6) as usize];
            }
            if check(&packed).is_err() {
                assert!(!is_short(&packed), "{packed:x?}");
                continue;
            }
            let fields = AuthFields::from_checked(&packed);
            let long = NAMES.map(|name| fields.find(name));
            if let Some(found) = find(&packed, NAMES) {
                short += 1;
                let kinds = long.map(|value| value.map(|value| value.kind()));
                assert!(kinds.iter().flatten().all(|kind| *kind == Kind::Bytes));
                let long = long.map(|value| value.and_then(|v| v.as_bytes()));
                assert_eq!(found, long);
            }
        }
        assert!(short > 1000);
    }

    #[test]
    fn bytes_behind_a_name_are_not_part_of_its_value() {
        let packed =
            b"\x4d\x40\x01\x0d\x4c\x40\x02\x05\x03\x43\x01a\x41\x03\x41\x01x";
        check(packed).unwrap();
        assert_eq!(find(packed, ["a"]), None, "it is not short");
        let fields = AuthFields::from_checked(packed);
        assert_eq!(fields.get_bytes("a"), Some(&b"x"[..]));
    }
}
