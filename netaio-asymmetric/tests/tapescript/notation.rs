//! The golden vectors, and the notation in them as Rust values.

use bytes::BytesMut;
use netaio_asymmetric::tapescript::{Inputs, SigFields};
use netaio_proto::wire::packify::{Value as Packable, pack};
use netaio_proto::{AuthFields, Context, Envelope, MessageType, Peer, Random};
use serde_json::Value;

/// The clock where a vector was checked against the real one: some time after
/// all that they mention.
pub(crate) const NOW: u64 = 1_800_000_000;

/// All vectors.
pub(crate) fn file() -> Value {
    serde_json::from_str(include_str!("vectors.json")).expect("JSON")
}

/// The cases of a section, which must be that many.
pub(crate) fn cases<'v>(
    file: &'v Value,
    section: &str,
    count: usize,
) -> &'v [Value] {
    let cases = file[section].as_array().expect(section);
    assert_eq!(cases.len(), count, "{section}");
    cases
}

/// The text of a field that must be there.
pub(crate) fn text<'v>(case: &'v Value, field: &str) -> &'v str {
    let text = case[field].as_str();
    text.unwrap_or_else(|| panic!("no text {field:?} in {case}"))
}

/// The bytes, in hex, of a field that must be there.
pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex(text(case, field))
}

/// A key or a seed.
pub(crate) fn key(case: &Value, field: &str) -> [u8; 32] {
    bytes(case, field).try_into().expect("32 bytes")
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).expect("hex") as u8;
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]))
        .collect()
}

/// What a case says that the scripts see. The clock is the case's time where that
/// is not too far ahead of it.
pub(crate) struct Outside {
    fields: [Option<Vec<u8>>; 8],
    timestamp: u64,
    now: u64,
}

impl Outside {
    pub(crate) fn of(case: &Value) -> Self {
        let name = |place: usize| format!("sigfield{}", place + 1);
        Self {
            fields: core::array::from_fn(|place| {
                case["sigfields"][name(place)].as_str().map(hex)
            }),
            timestamp: case["timestamp"].as_u64().unwrap_or(NOW),
            now: NOW,
        }
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            fields: SigFields::new(self.fields.each_ref().map(|f| f.as_deref())),
            timestamp: self.timestamp,
            now: self.now,
        }
    }
}

/// An auth section in typed notation.
pub(crate) fn auth_fields(notation: &Value) -> AuthFields {
    let packed = pack(&value(notation)).expect("a value that can be packed");
    AuthFields::from_packed(&packed).expect("a packed value")
}

fn value(notation: &Value) -> Packable {
    let content = &notation["v"];
    match text(notation, "t") {
        "int" => {
            let number: i64 = text(notation, "v").parse().expect("a number");
            number.into()
        }
        "str" => text(notation, "v").into(),
        "bytes" => Packable::Bytes(bytes(notation, "v")),
        "bytearray" => Packable::Bytearray(bytes(notation, "v")),
        "dict" => {
            let entries = content.as_array().expect("entries").iter();
            let entry = |entry: &Value| (value(&entry[0]), value(&entry[1]));
            Packable::Dict(entries.map(entry).collect())
        }
        other => panic!("unknown type {other:?}"),
    }
}

/// An envelope with these parts.
pub(crate) fn envelope(fields: AuthFields, body: &[u8]) -> Envelope {
    Envelope {
        message_type: MessageType::OK,
        fields,
        body: BytesMut::from(body),
    }
}

/// A body section.
pub(crate) fn body(uri: &[u8], content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(uri.len()).expect("a URI that fits");
    [&length.to_be_bytes(), uri, content].concat()
}

/// Lets a plugin work, with that peer at the other end.
pub(crate) fn with_context<T>(
    peer: Option<&Peer>,
    work: impl FnOnce(&mut Context<'_>) -> T,
) -> T {
    work(&mut Context {
        unix_time: NOW,
        random: &mut Random::from_seed([7; 32]),
        local_peer: None,
        peer,
    })
}
