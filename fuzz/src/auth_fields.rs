//! Auth fields: a section is kept as it came, what is set can be read, and what
//! is removed is gone, whatever else is there.

use arbitrary::Arbitrary;
use netaio_proto::AuthFields;
use netaio_proto::wire::packify::{Value, check, pack};

/// What is done to the fields, one after the other, and the section.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    operations: [Operation; 4],
    /// The section.
    pub section: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Operation {
    Nothing,
    SetBytes { name: u8, length: u8 },
    SetNumber { name: u8, number: u32 },
    SetTwo { one: u8, two: u8 },
    Remove { name: u8 },
}

const NAMES: [&str; 8] = ["rid", "ts", "nonce", "hmac", "iv", "", "a", "witness"];

/// Applies the operations to the section, if it is one.
pub fn run(input: Input<'_>) {
    let parsed = AuthFields::from_packed(input.section);
    let fits = input.section.len() <= AuthFields::MAX_SIZE;
    assert_eq!(parsed.is_ok(), fits && check(input.section).is_ok());
    let Ok(mut fields) = parsed else {
        return;
    };
    assert_eq!(fields.packed(), input.section);
    for operation in input.operations {
        let before = fields.clone();
        if !apply(&mut fields, operation) {
            assert_eq!(fields, before, "{operation:?} has failed");
        }
        assert!(check(fields.packed()).is_ok());
        assert!(fields.packed().len() <= AuthFields::MAX_SIZE);
        assert_eq!(fields.is_empty(), fields.iter().count() == 0);
        let again = AuthFields::from_packed(fields.packed());
        assert_eq!(again.as_ref(), Ok(&fields));
    }
}

/// Whether the operation has changed something; checks that it did what it is
/// to do, and nothing else.
fn apply(fields: &mut AuthFields, operation: Operation) -> bool {
    let before = fields.clone();
    match operation {
        Operation::Nothing => false,
        Operation::SetBytes { name, length } => {
            let (name, value) = (name_of(name), vec![length; length.into()]);
            let set = fields.set_bytes(name, &value).is_ok();
            if set {
                assert_eq!(fields.get_bytes(name), Some(&value[..]));
                assert_others_kept(fields, &before, &[name]);
            }
            set
        }
        Operation::SetNumber { name, number } => {
            let name = name_of(name);
            let set = fields.set(name, &Value::from(number)).is_ok();
            if set {
                let value = fields.get(name).and_then(|value| value.as_u64());
                assert_eq!(value, Some(number.into()));
                assert_others_kept(fields, &before, &[name]);
            }
            set
        }
        Operation::SetTwo { one, two } => {
            let (one, two) = (name_of(one), name_of(two));
            let set = fields.set_many(&[(one, b"1"), (two, b"2")]).is_ok();
            if set {
                assert_eq!(fields.get_bytes(two), Some(&b"2"[..]));
                assert_others_kept(fields, &before, &[one, two]);
            }
            set
        }
        Operation::Remove { name } => {
            let name = name_of(name);
            let known = fields.get(name).is_some();
            assert_eq!(fields.remove(name), known);
            assert!(fields.get(name).is_none());
            assert_others_kept(fields, &before, &[name]);
            known
        }
    }
}

fn name_of(number: u8) -> &'static str {
    NAMES[usize::from(number) % NAMES.len()]
}

fn assert_others_kept(now: &AuthFields, before: &AuthFields, changed: &[&str]) {
    for name in NAMES {
        if !changed.contains(&name) {
            assert_eq!(packed(now, name), packed(before, name), "{name}");
        }
    }
}

/// A field in the form that does not depend on how it was packed.
fn packed(fields: &AuthFields, name: &str) -> Option<Vec<u8>> {
    let value = fields.get(name)?.to_value();
    Some(pack(&value).expect("it was packed before"))
}
