//! Whole messages, from fields to bytes and back, against the golden vectors.

use std::collections::BTreeMap;

use netaio_proto::wire::{MAX_URI_AND_CONTENT, check_length};
use netaio_proto::{
    AuthFields, FrameDecoder, Message, MessageType, MessageTypes, ProtocolError,
};
use netaio_tests::vectors::{assert_bytes, bytes, text, value};
use serde_json::Value;

use crate::notation::{auth_fields, body, envelope, is_same, message_type, number};
use crate::section::{Section, load_with};

const VECTORS: Section = Section {
    name: "vectors",
    count: 81,
    columns: &[
        "id",
        "note",
        "type",
        "type_name",
        "auth",
        "uri",
        "content",
        "auth_length",
        "body_length",
        "checksum",
        "encoded",
    ],
};
const CUSTOM_TYPES: Section = Section {
    name: "custom_types",
    count: 4,
    columns: &[
        "id",
        "type",
        "uri",
        "content",
        "encoded",
        "decode_with_default_types",
        "decode_with_custom_types",
    ],
};
const PREPARE_LIMITS: Section = Section {
    name: "prepare_limits",
    count: 13,
    columns: &["content_len", "uri_len", "overhead", "prepare"],
};
const HELPERS: Section = Section {
    name: "helpers",
    count: 40,
    columns: &["id", "fn", "args", "type", "encoded"],
};
const TYPE_RULES: Section = Section {
    name: "type_rules",
    count: 9,
    columns: &["name", "value", "make_message_type_class"],
};

/// Frames up to this length are decoded in two pieces, cut at every byte.
const SHORT: usize = 2048;

fn file() -> Value {
    let sections = [VECTORS, CUSTOM_TYPES, PREPARE_LIMITS, HELPERS, TYPE_RULES];
    load_with("messages", &sections, &["types"])
}

#[test]
fn the_standard_types_have_pythons_codes_and_names() {
    let file = file();
    let theirs: BTreeMap<u64, &str> = file["types"]
        .as_object()
        .expect("types")
        .iter()
        .map(|(name, code)| (code.as_u64().expect("a code"), name.as_str()))
        .collect();
    let ours = MessageType::STANDARD.iter();
    let ours: BTreeMap<u64, &str> = ours
        .map(|known| (known.code().into(), known.name().expect("a name")))
        .collect();
    assert_eq!(ours, theirs);
}

#[test]
fn every_message_is_encoded_as_in_python() {
    VECTORS.each(&file(), |case| {
        let (id, message) = (text(case, "id"), message(case));
        let encoded = message.encode().expect(id);
        assert_bytes(&encoded, &case["encoded"], id);
        let header = message.header().expect(id);
        let lengths = [header.auth_length, header.body_length].map(usize::from);
        let expected = ["auth_length", "body_length"].map(|key| number(case, key));
        assert_eq!(lengths, expected, "{id}");
        assert_eq!(header.checksum as usize, number(case, "checksum"), "{id}");
        let name = header.message_type.name();
        assert_eq!(name, Some(text(case, "type_name")), "{id}");
    });
}

#[test]
fn fields_set_one_by_one_are_packed_as_in_python() {
    let mut with_other_keys = Vec::new();
    VECTORS.each(&file(), |case| {
        let id = text(case, "id");
        let entries = case["auth"]["v"].as_array().expect("a dict");
        if entries.iter().any(|entry| entry[0]["t"] != "str") {
            return with_other_keys.push(id.to_owned());
        }
        let expected = auth_fields(&case["auth"]);
        assert_eq!(set_in_turn(entries.iter()), expected, "{id}");
        assert_eq!(set_in_turn(entries.iter().rev()), expected, "{id}");
    });
    // A field's name is text; other keys are kept, but cannot be set.
    assert_eq!(with_other_keys, ["m0045"]);
}

#[test]
fn every_message_is_decoded_as_in_python() {
    let types = MessageTypes::default();
    VECTORS.each(&file(), |case| {
        let (id, message) = (text(case, "id"), message(case));
        let encoded = message.encode().expect(id);
        assert_bytes(&encoded, &case["encoded"], id);
        let decoded = Message::decode(&encoded, &types).expect(id);
        assert_eq!(decoded, message, "{id}");
        assert_eq!(decoded.message_type(), message_type(&case["type"]), "{id}");
        assert_eq!(decoded.uri(), bytes(&case["uri"]), "{id}");
        assert_eq!(decoded.content(), bytes(&case["content"]), "{id}");
        let auth = decoded.fields().to_value();
        assert!(is_same(&auth, &value(&case["auth"])), "{id}: {auth:?}");
    });
}

#[test]
fn a_message_that_comes_in_pieces_is_the_same_message() {
    let mut short = 0;
    VECTORS.each(&file(), |case| {
        let (id, message) = (text(case, "id"), message(case));
        let encoded = message.encode().expect(id);
        assert_eq!(decode_in(encoded.chunks(1000)), message, "{id}");
        if encoded.len() > SHORT {
            return;
        }
        short += 1;
        assert_eq!(decode_in(encoded.chunks(1)), message, "{id}");
        for cut in 0..=encoded.len() {
            let (start, end) = encoded.split_at(cut);
            let pieces = [start, end].into_iter();
            assert_eq!(decode_in(pieces), message, "{id} cut at {cut}");
        }
    });
    assert_eq!(short, 76);
}

#[test]
fn custom_types_are_understood_once_they_are_registered() {
    CUSTOM_TYPES.each(&file(), |case| {
        let (id, encoded) = (text(case, "id"), bytes(&case["encoded"]));
        let custom = message_type(&case["type"]);
        let unknown = ProtocolError::UnknownMessageType {
            message_type: custom,
        };
        let mut types = MessageTypes::default();
        assert_eq!(text(case, "decode_with_default_types"), "ValueError");
        assert_eq!(Message::decode(&encoded, &types), Err(unknown), "{id}");

        let name = text(case, "decode_with_custom_types");
        assert_eq!(types.register(name, custom.code()), Ok(custom), "{id}");
        assert_eq!(types.name(custom), Some(name), "{id}");
        let (uri, content) = (bytes(&case["uri"]), bytes(&case["content"]));
        let message = Message::new(custom, uri, content).expect(id);
        assert_eq!(Message::decode(&encoded, &types).expect(id), message);
        assert_eq!(message.encode().expect(id), encoded, "{id}");
    });
}

#[test]
fn the_senders_limit_is_pythons() {
    PREPARE_LIMITS.each(&file(), |case| {
        let lengths = ["uri_len", "content_len"].map(|key| number(case, key));
        let [uri, content] = lengths;
        let overhead = case["overhead"].as_i64().expect("an overhead");
        let prepared = text(case, "prepare").starts_with("ok");
        let checked = check_length(uri, content, overhead);
        assert_eq!(checked.is_ok(), prepared, "{case}");

        // `Message::new` keeps to the limit without an overhead.
        let filled = lengths.map(|length| vec![b'x'; length]);
        let made = Message::new(MessageType::OK, &filled[0], &filled[1]);
        let within = uri + content <= MAX_URI_AND_CONTENT;
        assert_eq!(made.is_ok(), within, "{case}");
        if overhead == 0 {
            assert_eq!(made.is_ok(), prepared, "{case}");
        }
        if prepared {
            assert_eq!(encodes(&filled), text(case, "prepare") == "ok", "{case}");
        }
    });
}

#[test]
fn the_ready_made_messages_are_pythons() {
    HELPERS.each(&file(), |case| {
        let (id, message) = (text(case, "id"), ready_made(case));
        assert_eq!(message.message_type(), message_type(&case["type"]), "{id}");
        assert_bytes(&message.encode().expect(id), &case["encoded"], id);
    });
}

#[test]
fn types_are_registered_by_pythons_rules() {
    TYPE_RULES.each(&file(), |case| {
        let code = case["value"].as_i64().expect("a value");
        let allowed = text(case, "make_message_type_class") == "ok";
        // A code that is not a byte cannot even be asked for.
        let registered = u8::try_from(code).ok().and_then(|code| {
            let mut types = MessageTypes::default();
            types.register(text(case, "name"), code).ok()
        });
        assert_eq!(registered.is_some(), allowed, "{case}");
    });
}

fn message(case: &Value) -> Message {
    let (uri, content) = (bytes(&case["uri"]), bytes(&case["content"]));
    let message = Message::new(message_type(&case["type"]), uri, content);
    let message = message.expect("a message within the limit");
    message.with_fields(auth_fields(&case["auth"]))
}

fn set_in_turn<'v>(entries: impl Iterator<Item = &'v Value>) -> AuthFields {
    let mut fields = AuthFields::new();
    for entry in entries {
        let name = value(&entry[0]);
        let name = name.as_str().expect("a name");
        fields.set(name, &value(&entry[1])).expect("room");
    }
    fields
}

/// The one message in these pieces, which is there with the last byte and not
/// before.
#[track_caller]
fn decode_in<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> Message {
    let types = MessageTypes::default();
    let mut decoder = FrameDecoder::new();
    let mut frame = None;
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        assert!(frame.is_none(), "complete before the last byte");
        decoder.push(piece);
        frame = decoder.next_frame(&types);
    }
    assert_eq!(decoder.buffered(), 0);
    frame.expect("a frame").expect("a good frame")
}

/// Whether a message of these parts fits a frame, whatever a sender may send.
fn encodes([uri, content]: &[Vec<u8>; 2]) -> bool {
    let envelope = envelope(AuthFields::new(), &body(uri, content));
    envelope.into_message().expect("a message").encode().is_ok()
}

fn ready_made(case: &Value) -> Message {
    let args = &case["args"];
    let uri = args.get("uri").map(bytes);
    let uri = uri.as_deref();
    let hex = args.get("msg_hex").map(bytes);
    let content = args["msg"].as_str().map(str::as_bytes);
    let content = content.or(hex.as_deref());
    let made = match text(case, "fn") {
        "make_error_msg" => {
            // To Python a type of 0 is one that is not given.
            let given = args.get("message_type").filter(|code| **code != 0);
            let text = content.expect("a text");
            Message::make_error(text, uri, given.map(message_type))
        }
        "make_ok_msg" => Message::make_ok(content, uri),
        "make_not_found_msg" => Message::make_not_found(content, uri),
        "make_not_permitted_msg" => Message::make_not_permitted(content, uri),
        "make_respond_uri_msg" => {
            let content = content.expect("a content");
            Message::make_respond(content, uri.expect("a URI"))
        }
        other => panic!("unknown builder {other:?}"),
    };
    made.expect("a message within the limit")
}
