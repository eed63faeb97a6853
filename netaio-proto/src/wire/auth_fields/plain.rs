//! Sections as nearly all are: fields of bytes, packed as Python packs them.
//!
//! Most of them are short as well: no length takes more than a byte. Those are
//! read and written in one go, without asking what each value is. Whatever is
//! not as expected is left to the long way round.

use core::mem;

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

/// Room for that many entries and their lengths.
const ROOM: [u8; MOST_AT_ONCE * 256] = [0; MOST_AT_ONCE * 256];

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
    Short::of(section).is_some_and(|mut fields| {
        fields.all(|field| field.is_some_and(|field| field.name.is_ascii()))
    })
}

/// The values of the fields with these names; `None` if the section is not short.
pub(super) fn find<'a, const N: usize>(
    section: &'a [u8],
    names: [&str; N],
) -> Option<[Option<&'a [u8]>; N]> {
    let mut found = [None; N];
    for field in Short::of(section)? {
        let field = field?;
        for (found, name) in found.iter_mut().zip(names) {
            if field.name == name.as_bytes() {
                *found = Some(field.value);
            }
        }
    }
    Some(found)
}

/// Adds fields to a section in place; `None`, and nothing is changed, if the
/// section is not short and sorted, or may have one of them already.
pub(super) fn add(section: &mut Section, new: &[(&str, &[u8])]) -> Option<()> {
    let mut fields = [Field::default(); MOST_AT_ONCE];
    let fields = fields.get_mut(..new.len())?;
    let mut marks = 0;
    let mut growth = 0_usize;
    for (field, (name, value)) in fields.iter_mut().zip(new) {
        let name = name.as_bytes();
        *field = Field { name, value };
        growth = growth.saturating_add(1).saturating_add(field.short_len()?);
        field.mark(&mut marks)?;
    }
    fields.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
    let mut places = [Place::default(); MOST_AT_ONCE];
    let places = places.get_mut(..new.len())?;
    find_places(section, fields, marks, places)?;

    let end = section.len();
    if section.capacity() < end.saturating_add(growth) {
        let usual = USUAL_SIZE.saturating_sub(end);
        section.reserve_exact(growth.max(usual));
    }
    section.extend_from_slice(ROOM.get(..growth)?);
    insert(section, end, fields, places)
}

/// Where an entry will be: before the one that had this number, and began there.
#[derive(Clone, Copy, Default)]
struct Place {
    number: usize,
    at: usize,
}

/// Finds the places of sorted fields in a section that has no fields with these
/// marks.
fn find_places(
    section: &[u8],
    fields: &[Field<'_>],
    mut marks: u64,
    places: &mut [Place],
) -> Option<()> {
    let mut known = Short::of(section)?;
    let count = known.lengths.len();
    if count.saturating_add(fields.len()) > USUAL_COUNT {
        return None;
    }
    let mut place = Place {
        number: 0,
        at: count.saturating_add(BEFORE_LENGTHS),
    };
    let mut before = Field::default();
    let mut to_place = fields.iter().zip(places).peekable();
    for field in known.by_ref() {
        let field = field?;
        field.mark(&mut marks)?;
        if field.order() < before.order() {
            return None;
        }
        while let Some((_, to)) =
            to_place.next_if(|(new, _)| new.order() < field.order())
        {
            *to = place;
        }
        place.number = place.number.saturating_add(1);
        place.at = place.at.saturating_add(field.short_len()?);
        before = field;
    }
    to_place.for_each(|(_, to)| *to = place);
    known.entries.is_empty().then_some(())
}

/// Inserts sorted fields at their places into a section that ended at `end`, and
/// has grown by what they take.
fn insert(
    section: &mut [u8],
    mut end: usize,
    fields: &[Field<'_>],
    places: &[Place],
) -> Option<()> {
    let mut shift = section.len().checked_sub(end)?;
    // From behind, so that nothing is written over before it is moved.
    for (field, place) in fields.iter().zip(places).rev() {
        section.copy_within(place.at..end, place.at.checked_add(shift)?);
        end = place.at;
        shift = shift.checked_sub(field.short_len()?)?;
        let entry = section.get_mut(end.checked_add(shift)?..)?;
        field.write(&mut Rest(entry)).ok()?;
    }
    let [_, _, count] = section.first_chunk_mut::<BEFORE_LENGTHS>()?;
    let mut lengths_end = BEFORE_LENGTHS.checked_add(usize::from(*count))?;
    *count = count.checked_add(fields.len() as u8)?;
    section.copy_within(lengths_end..end, lengths_end.checked_add(shift)?);
    for (field, place) in fields.iter().zip(places).rev() {
        let at = place.number.checked_add(BEFORE_LENGTHS)?;
        section.copy_within(at..lengths_end, at.checked_add(shift)?);
        lengths_end = at;
        shift = shift.checked_sub(1)?;
        *section.get_mut(at.checked_add(shift)?)? = field.short_len()? as u8;
    }
    Some(())
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

/// The fields of a section in which no length takes more than a byte; `None` for
/// an entry that is not packed exactly as we would pack it.
struct Short<'a> {
    lengths: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Short<'a> {
    /// `None` if the section is not a dict, or some length takes more.
    fn of(section: &'a [u8]) -> Option<Self> {
        const START: [u8; 2] = [DICT | SHORT, SHORT];
        let (count, rest) = section.strip_prefix(&START)?.split_first()?;
        let (lengths, entries) = rest.split_at_checked(usize::from(*count))?;
        Some(Self { lengths, entries })
    }
}

impl<'a> Iterator for Short<'a> {
    type Item = Option<Field<'a>>;

    fn next(&mut self) -> Option<Option<Field<'a>>> {
        let (length, lengths) = self.lengths.split_first()?;
        self.lengths = lengths;
        let Some((entry, entries)) =
            self.entries.split_at_checked(usize::from(*length))
        else {
            return Some(None);
        };
        self.entries = entries;
        Some(Field::short(entry))
    }
}

/// What is before the lengths of the entries: type, item width, count.
const BEFORE_LENGTHS: usize = 3;
/// What is before the name of a short entry: a pair, the lengths of its two
/// items, and the name's type and length.
const BEFORE_NAME: usize = 7;
/// What is before the value: its type and length.
const BEFORE_VALUE: usize = 2;

impl<'a> Field<'a> {
    /// The field of a packed entry, if it is packed exactly as we would pack it,
    /// and its lengths take a byte each.
    fn short(entry: &'a [u8]) -> Option<Self> {
        let (start, rest) = entry.split_first_chunk::<BEFORE_NAME>()?;
        let [pair, width, two, first, second, text, name_length] = *start;
        if [pair, width, two, text] != [TUPLE | SHORT, SHORT, 2, STR | SHORT] {
            return None;
        }
        let (name, rest) = rest.split_at_checked(usize::from(name_length))?;
        let (start, value) = rest.split_first_chunk::<BEFORE_VALUE>()?;
        let [bytes, value_length] = *start;
        let exact = bytes == BYTES | SHORT
            && usize::from(value_length) == value.len()
            && usize::from(first) == name.len() + BEFORE_VALUE
            && usize::from(second) == value.len() + BEFORE_VALUE;
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
        if self.short_len().is_some() {
            let (name, value) = (self.name.len() as u8, self.value.len() as u8);
            let parts = [name, value].map(|part| part + BEFORE_VALUE as u8);
            out.put(&[TUPLE | SHORT, SHORT, 2]);
            out.put(&parts);
            out.put(&[STR | SHORT, name]);
            out.put(self.name);
            out.put(&[BYTES | SHORT, value]);
            out.put(self.value);
            return Ok(());
        }
        write_container_header(TUPLE, self.part_lens().into_iter(), out)?;
        write_sized(STR, self.name, out)?;
        write_sized(BYTES, self.value, out)
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

impl Sink for Rest<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some((to, rest)) =
            mem::take(&mut self.0).split_at_mut_checked(bytes.len())
        {
            to.copy_from_slice(bytes);
            self.0 = rest;
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

    #[test]
    fn the_short_way_reads_what_the_long_way_reads() {
        let mut random = Random::from_seed([6; 32]);
        let mut short = 0;
        for _ in 0..3000 {
            let mut fields = AuthFields::new();
            for _ in 0..random.below(4) {
                let (name, value) = any(&mut random);
                fields.set_bytes(name, &value).unwrap();
            }
            let mut packed = fields.packed().to_vec();
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
                assert!(is_short(&packed));
                let kinds = long.map(|value| value.map(|value| value.kind()));
                assert!(kinds.iter().flatten().all(|kind| *kind == Kind::Bytes));
                let long = long.map(|value| value.and_then(|v| v.as_bytes()));
                assert_eq!(found, long);
            }
        }
        assert!(short > 1000);
    }
}
