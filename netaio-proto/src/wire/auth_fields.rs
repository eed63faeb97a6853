//! The auth section of a message: named fields for plugins.
//!
//! The section is one packed value, by custom a dict from field names to bytes.
//! It is kept as it is on the wire: most messages are only asked for a few
//! fields, and then nothing is decoded at all.

mod plain;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::iter;
use core::ops::Deref;

use smallvec::SmallVec;

use plain::{USUAL_COUNT, check_size};

use super::packify::{
    DICT, Entries, Kind, PackError, Packed, Raw, Sink, UnpackError, Value, check,
    pack, write_container_header,
};

/// The section of a message without fields: an empty dict.
pub(crate) const EMPTY: [u8; 3] = [0x4d, 0x40, 0x00];

/// How a section begins whose only field is a request id; the id follows. Most
/// messages without plugins have such a section, so it is recognised, and
/// written, as a whole.
const RID_ONLY: [u8; 16] = [
    0x4d,
    0x40,
    1,
    20, // a dict with one entry of 20 bytes
    0x4c,
    0x40,
    2,
    5,
    10, // a pair of 5 and 10 bytes
    0x43,
    3,
    b'r',
    b'i',
    b'd', // the name
    0x41,
    RID_LENGTH as u8, // the id's type and length
];

/// Bytes of a request id.
pub(crate) const RID_LENGTH: usize = 8;

/// Whether a section is one packed value.
#[inline]
pub(crate) fn check_section(packed: &[u8]) -> Result<(), UnpackError> {
    if packed == EMPTY || lone_rid(packed).is_some() || plain::is_short(packed) {
        return Ok(());
    }
    check(packed)
}

/// The request id of a section that has nothing else.
#[inline]
pub(crate) fn lone_rid(packed: &[u8]) -> Option<&[u8; RID_LENGTH]> {
    packed.strip_prefix(&RID_ONLY)?.try_into().ok()
}

/// A section with a request id or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    bytes: [u8; SMALL],
    length: usize,
}

impl Usual {
    #[inline]
    fn new(rid: Option<u64>) -> Self {
        let mut bytes = [0; SMALL];
        let Some(rid) = rid else {
            if let Some(start) = bytes.first_chunk_mut() {
                *start = EMPTY;
            }
            return Self {
                bytes,
                length: EMPTY.len(),
            };
        };
        let (start, rest) = bytes.split_at_mut(RID_ONLY.len());
        start.copy_from_slice(&RID_ONLY);
        if let Some(value) = rest.first_chunk_mut() {
            *value = rid.to_be_bytes();
        }
        Self {
            bytes,
            length: RID_ONLY.len() + RID_LENGTH,
        }
    }
}

impl Deref for Usual {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The bytes of a section; small ones are held without allocating.
type Section = SmallVec<[u8; SMALL]>;
const SMALL: usize = RID_ONLY.len() + RID_LENGTH;

/// The auth section of a message: always one valid packed value that fits a
/// message.
///
/// Nothing makes a peer send a dict. Any other value is kept too, since Python
/// netaio dispatches such messages, but it has no fields. Two sections are equal
/// when their bytes are. [`Debug`](fmt::Debug) shows names only, never values.
///
/// ```
/// use netaio_proto::wire::AuthFields;
///
/// let mut fields = AuthFields::new();
/// fields.set_bytes(AuthFields::RID, b"12345678")?;
/// assert_eq!(fields.get_bytes("rid"), Some(&b"12345678"[..]));
/// assert_eq!(format!("{fields:?}"), r#"AuthFields {"rid"}"#);
/// # Ok::<(), netaio_proto::wire::packify::PackError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AuthFields(Section);

/// The names of the fields in use. All but `rid` are Python netaio's defaults;
/// there, every plugin can be told to use other names.
impl AuthFields {
    /// The message authentication code of the HMAC plugin.
    pub const HMAC: &str = "hmac";
    /// The random bytes that the HMAC plugin mixes into its key.
    pub const NONCE: &str = "nonce";
    /// When the message was made: seconds since 1970, 4 bytes, big-endian.
    pub const TS: &str = "ts";
    /// The initialization vector of a cipher plugin.
    pub const IV: &str = "iv";
    /// What unlocks the lock of the tapescript plugin.
    pub const WITNESS: &str = "witness";
    /// The request id: a reply that carries it answers the request that did.
    /// Python netaio does not know it, and ignores it.
    pub const RID: &str = "rid";
}

impl AuthFields {
    /// The most bytes that a section can have: its length is a `u16`.
    pub const MAX_SIZE: usize = 65535;

    /// No fields: an empty dict.
    #[inline]
    pub fn new() -> Self {
        Self(Section::from_slice(&EMPTY))
    }

    /// Checks a section and keeps its bytes as they are, so that what was
    /// received can be sent on unchanged.
    pub fn from_packed(packed: &[u8]) -> Result<Self, UnpackError> {
        if packed.len() > Self::MAX_SIZE {
            return Err(UnpackError::TooLarge {
                size: packed.len(),
                limit: Self::MAX_SIZE,
            });
        }
        check_section(packed)?;
        Ok(Self::from_checked(packed))
    }

    /// Keeps a section that `check_section` has let pass.
    #[inline]
    pub(crate) fn from_checked(packed: &[u8]) -> Self {
        match lone_rid(packed) {
            Some(rid) => Self::with_rid(u64::from_be_bytes(*rid)),
            None => Self(Section::from_slice(packed)),
        }
    }

    /// A request id and nothing else.
    #[inline]
    fn with_rid(rid: u64) -> Self {
        let Usual { bytes, length } = Usual::new(Some(rid));
        Self(Section::from_buf_and_len(bytes, length))
    }

    /// The request id, if there is a field for it that is one.
    #[inline]
    pub(crate) fn rid(&self) -> Option<u64> {
        if self.0[..] == EMPTY {
            return None;
        }
        match lone_rid(&self.0) {
            Some(rid) => Some(u64::from_be_bytes(*rid)),
            None => {
                let bytes = self.get_bytes(Self::RID)?.try_into().ok()?;
                Some(u64::from_be_bytes(bytes))
            }
        }
    }

    /// Sets the request id.
    pub(crate) fn set_rid(&mut self, rid: u64) -> Result<(), PackError> {
        if self.0[..] != EMPTY {
            return self.set_bytes(Self::RID, &rid.to_be_bytes());
        }
        *self = Self::with_rid(rid);
        Ok(())
    }

    /// The section with this request id, or with none, if there is no other
    /// field: without a copy of the fields.
    #[inline]
    pub(crate) fn usual(&self, rid: Option<u64>) -> Option<Usual> {
        let usual = self.0[..] == EMPTY || lone_rid(&self.0).is_some();
        usual.then(|| Usual::new(rid))
    }

    /// The section as it goes on the wire.
    #[inline]
    pub fn packed(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is no field. A section that is not a dict has none.
    pub fn is_empty(&self) -> bool {
        self.iter().len() == 0
    }

    /// The value of a field, whatever its type. If the name occurs more than
    /// once, the last one counts, as in Python.
    pub fn get(&self, name: &str) -> Option<Raw<'_>> {
        let [value] = self.get_all([name]);
        value
    }

    /// The values of several fields, as [`get`](Self::get) gives them.
    pub(crate) fn get_all<const N: usize>(
        &self,
        names: [&str; N],
    ) -> [Option<Raw<'_>>; N] {
        match plain::find(&self.0, names) {
            Some(values) => values.map(|value| value.map(Raw::of_bytes)),
            None => names.map(|name| self.find(name)),
        }
    }

    fn find(&self, name: &str) -> Option<Raw<'_>> {
        self.iter_packed()
            .filter_map(|entry| entry.value_of(name))
            .last()?
            .checked()
    }

    /// The bytes of a field; `None` also if it is of another type than `bytes`.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        let value = self.get(name)?;
        (value.kind() == Kind::Bytes).then(|| value.as_bytes())?
    }

    /// Sets a field to bytes. See [`set_many`](Self::set_many).
    pub fn set_bytes(&mut self, name: &str, value: &[u8]) -> Result<(), PackError> {
        self.set_many(&[(name, value)])
    }

    /// Sets several fields to bytes, replacing those that there are already.
    ///
    /// The section is then packed as Python would pack it; other fields keep
    /// their values. A section that is not a dict becomes one. On an error, which
    /// can only be that it gets too large, nothing is changed. Allocates at most
    /// once if there are no more than 16 fields, all of them bytes.
    pub fn set_many(&mut self, fields: &[(&str, &[u8])]) -> Result<(), PackError> {
        if plain::add(&mut self.0, fields).is_some() {
            return Ok(());
        }
        match plain::with(self, fields) {
            Some(section) => self.0 = section?,
            None => {
                let fields = fields.iter();
                let fields = fields.map(|(name, value)| (*name, (*value).into()));
                self.set_values(fields)?;
            }
        }
        Ok(())
    }

    /// Sets a field to a value of any type. Otherwise as
    /// [`set_many`](Self::set_many), but builds a tree of the whole section.
    pub fn set(&mut self, name: &str, value: &Value) -> Result<(), PackError> {
        match value {
            Value::Bytes(bytes) => self.set_bytes(name, bytes),
            _ => self.set_values(iter::once((name, value.clone()))),
        }
    }

    /// Removes a field; tells whether it was there. The other fields keep their
    /// order and their bytes.
    pub fn remove(&mut self, name: &str) -> bool {
        if self.get(name).is_none() {
            return false;
        }
        let kept = self
            .iter_packed()
            .filter(|entry| entry.value_of(name).is_none());
        let kept: SmallVec<[&[u8]; USUAL_COUNT]> =
            kept.map(|entry| entry.bytes).collect();
        let mut section = Section::new();
        let lengths = kept.iter().map(|entry| entry.len());
        // Fewer entries than before never need longer lengths.
        if write_container_header(DICT, lengths, &mut section).is_err() {
            return false;
        }
        kept.iter().for_each(|entry| section.put(entry));
        drop(kept);
        self.0 = section;
        true
    }

    /// The name of a field that differs here from what it was `then`, though what
    /// it was then had just been written: it was not so `before`. Request ids do
    /// not count, and more fields than plugins ever make are not gone through.
    pub(crate) fn overwritten(&self, before: &Self, then: &Self) -> Option<String> {
        if then.iter().len() > USUAL_COUNT {
            return None;
        }
        let lost = then.names().find(|name| {
            let [before, then, now] =
                [before, then, self].map(|fields| fields.bytes_of(name));
            *name != Self::RID && then != before && now != then
        });
        lost.map(String::from)
    }

    /// A field as it is packed.
    fn bytes_of(&self, name: &str) -> Option<&[u8]> {
        let values = self.iter_packed().filter_map(|entry| entry.value_of(name));
        values.last().map(|value| value.bytes)
    }

    /// The names of the fields, in the order they are packed in. A peer may have
    /// sent a name more than once, and keys that are not text, which are skipped.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().filter_map(|(key, _)| key.as_str())
    }

    /// The keys and values as they are packed; none if this is not a dict.
    pub fn iter(&self) -> Entries<'_> {
        let dict = Raw::checked(&self.0).and_then(|raw| raw.entries());
        dict.unwrap_or(Entries::none())
    }

    /// The section as an owned tree.
    pub fn to_value(&self) -> Value {
        Raw::checked(&self.0).map_or(Value::None, |raw| raw.to_value())
    }

    fn iter_packed(&self) -> impl Iterator<Item = Packed<'_>> {
        let mut entries = self.iter();
        iter::from_fn(move || entries.next_packed()?.ok())
    }

    /// The long way round, for sections that are not plain.
    fn set_values<'n>(
        &mut self,
        fields: impl Iterator<Item = (&'n str, Value)>,
    ) -> Result<(), PackError> {
        let mut entries = match self.to_value() {
            Value::Dict(entries) => entries,
            _ => Vec::new(),
        };
        // Packing keeps the last of entries with the same key.
        entries.extend(fields.map(|(name, value)| (name.into(), value)));
        let packed = pack(&Value::Dict(entries))?;
        check_size(packed.len())?;
        // A deep value can be packed, but nobody here would read it.
        check(&packed).map_err(|_| PackError::TooDeep)?;
        self.0 = Section::from_vec(packed);
        Ok(())
    }
}

impl<'a> IntoIterator for &'a AuthFields {
    type Item = (Raw<'a>, Raw<'a>);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

impl Default for AuthFields {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for AuthFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthFields ")?;
        f.debug_set().entries(self.names()).finish()
    }
}

impl Sink for Section {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::wire::packify::unpack;

    fn section(value: &Value) -> AuthFields {
        AuthFields::from_packed(&pack(value).unwrap()).unwrap()
    }

    fn names(fields: &AuthFields) -> Vec<&str> {
        fields.names().collect()
    }

    #[test]
    fn no_fields_are_an_empty_dict() {
        let fields = AuthFields::default();
        assert_eq!(fields.packed(), [0x4d, 0x40, 0x00]);
        assert!(fields.is_empty());
        assert_eq!(fields.get("ts").map(|raw| raw.kind()), None);
        assert_eq!(AuthFields::from_packed(&EMPTY), Ok(fields));
    }

    #[test]
    fn setting_fields_packs_as_python_does() {
        let mut fields = AuthFields::new();
        let nonce = [1; 16];
        fields.set_bytes(AuthFields::NONCE, &nonce).unwrap();
        fields
            .set_many(&[("ts", b"abcd"), ("hmac", &[2; 32]), ("ts", b"0000")])
            .unwrap();
        let expected = Value::Dict(vec![
            ("hmac".into(), (&[2; 32]).into()),
            ("ts".into(), b"0000".into()),
            ("nonce".into(), (&nonce).into()),
        ]);
        assert_eq!(fields.packed(), pack(&expected).unwrap());
        assert_eq!(names(&fields), ["ts", "hmac", "nonce"]);
        assert_eq!(fields.get_bytes("nonce"), Some(&nonce[..]));
    }

    #[test]
    fn every_length_packs_as_the_tree_does() {
        let long_name: String = core::iter::repeat_n('n', 300).collect();
        for length in [0, 1, 252, 253, 254, 255, 256, 300, 65000] {
            let value = vec![7; length];
            for name in ["", "a", &long_name] {
                let mut fields = AuthFields::new();
                fields.set_many(&[("b", b"x"), (name, &value)]).unwrap();
                let tree = Value::Dict(vec![
                    (name.into(), value.clone().into()),
                    ("b".into(), b"x".into()),
                ]);
                assert_eq!(fields.packed(), pack(&tree).unwrap());
            }
        }
    }

    #[test]
    fn other_fields_keep_their_values() {
        let tree = vec![("a".into(), 5_u32.into()), (Value::None, b"x".into())];
        let mut fields = section(&Value::Dict(tree.clone()));
        fields.set_bytes("b", b"y").unwrap();
        fields.set("a", &Value::from(6_u32)).unwrap();
        let expected = Value::Dict(vec![
            ("a".into(), 6_u32.into()),
            (Value::None, b"x".into()),
            ("b".into(), b"y".into()),
        ]);
        assert_eq!(fields.packed(), pack(&expected).unwrap());
        assert_eq!(fields.get("a").and_then(|raw| raw.as_u64()), Some(6));
        assert_eq!(fields.get_bytes("a"), None);
    }

    #[test]
    fn many_fields_pack_the_same() {
        let mut fields = AuthFields::new();
        let mut tree = Vec::new();
        for n in 0..40_u8 {
            let name = format!("field{n}");
            fields.set_bytes(&name, &[n]).unwrap();
            tree.push((Value::from(name), Value::from(&[n])));
            assert_eq!(fields.packed(), pack(&Value::Dict(tree.clone())).unwrap());
        }
    }

    #[test]
    fn unusual_encodings_are_kept_until_a_field_is_set() {
        // Keys "a" and, with a wide length, "a" again; trailing bytes.
        let packed = b"\x4d\x40\x02\x0b\x0c\
            \x4c\x40\x02\x03\x03\x43\x01a\x41\x01x\
            \x4c\x40\x02\x04\x03\x83\x00\x01a\x41\x01y!!";
        let mut fields = AuthFields::from_packed(packed).unwrap();
        assert_eq!(fields.packed(), packed);
        assert_eq!(names(&fields), ["a", "a"]);
        assert_eq!(fields.get_bytes("a"), Some(&b"y"[..]));
        fields.set_bytes("b", b"z").unwrap();
        let expected =
            Value::Dict(vec![("a".into(), b"y".into()), ("b".into(), b"z".into())]);
        assert_eq!(fields.packed(), pack(&expected).unwrap());
    }

    #[test]
    fn a_section_that_is_no_dict_has_no_fields_until_one_is_set() {
        let mut fields = section(&Value::List(vec!["ts".into()]));
        assert!(fields.is_empty());
        assert_eq!(fields.get("ts").map(|raw| raw.kind()), None);
        assert!(!fields.remove("ts"));
        assert_eq!(fields.to_value(), Value::List(vec!["ts".into()]));
        fields.set_bytes("ts", b"0").unwrap();
        assert_eq!(names(&fields), ["ts"]);
    }

    #[test]
    fn removing_leaves_the_rest_as_it_was() {
        let mut fields = AuthFields::new();
        fields
            .set_many(&[("a", b"1"), ("b", b"2"), ("c", &[3; 400])])
            .unwrap();
        assert!(fields.remove("c"));
        assert!(!fields.remove("c"));
        let mut expected = AuthFields::new();
        expected.set_many(&[("a", b"1"), ("b", b"2")]).unwrap();
        assert_eq!(fields, expected);
        assert!(fields.remove("a") && fields.remove("b"));
        assert_eq!(fields, AuthFields::new());
    }

    #[test]
    fn too_large_a_section_is_an_error_and_changes_nothing() {
        let mut fields = AuthFields::new();
        fields.set_bytes("a", b"1").unwrap();
        let before = fields.clone();
        let large = vec![0; AuthFields::MAX_SIZE];
        let error = fields.set_bytes("b", &large).unwrap_err();
        assert!(matches!(error, PackError::TooLarge { limit: 65535, .. }));
        let error = fields.set("b", &Value::Bytearray(large)).unwrap_err();
        assert!(matches!(error, PackError::TooLarge { limit: 65535, .. }));
        assert_eq!(fields, before);
        let error = AuthFields::from_packed(&[0; 65536]).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { .. }));
    }

    #[test]
    fn a_value_too_deep_to_be_read_is_not_set() {
        let deeper = |value, _| Value::List(vec![value]);
        let mut fields = AuthFields::new();
        // The dict is one level, so 31 are left.
        let deepest = (0..31).fold(Value::None, deeper);
        assert_eq!(fields.set("a", &deepest), Ok(()));
        let before = fields.clone();
        let too_deep = deeper(deepest, 0);
        assert_eq!(fields.set("b", &too_deep), Err(PackError::TooDeep));
        assert_eq!(fields, before);
    }

    #[test]
    fn the_largest_section_fits() {
        let mut fields = AuthFields::new();
        // dict 3 + length 2, pair 3 + lengths 4, "a" 3, bytes 3.
        let largest = vec![0; AuthFields::MAX_SIZE - 18];
        fields.set_bytes("a", &largest).unwrap();
        assert_eq!(fields.packed().len(), AuthFields::MAX_SIZE);
        assert_eq!(unpack(fields.packed()), Ok(fields.to_value()));
    }

    #[test]
    fn a_lone_request_id_is_packed_as_any_other_field() {
        let bytes = *b"12345678";
        let rid = u64::from_be_bytes(bytes);
        let (mut short, mut long) = (AuthFields::new(), AuthFields::new());
        short.set_rid(rid).unwrap();
        long.set_bytes(AuthFields::RID, &bytes).unwrap();
        assert_eq!(short, long);
        assert_eq!(short.rid(), Some(rid));
        long.set_bytes(AuthFields::IV, b"iv").unwrap();
        assert_eq!(long.rid(), Some(rid));
        short.set_rid(7).unwrap();
        assert_eq!(short.rid(), Some(7));
        long.set_bytes(AuthFields::RID, b"too long for one")
            .unwrap();
        assert_eq!(long.rid(), None);
    }

    #[test]
    fn debug_output_has_no_values() {
        let mut fields = AuthFields::new();
        fields
            .set_many(&[("ts", b"secret"), ("iv", b"secret")])
            .unwrap();
        assert_eq!(format!("{fields:?}"), r#"AuthFields {"iv", "ts"}"#);
    }
}
