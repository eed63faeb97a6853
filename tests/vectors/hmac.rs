//! The HMAC plugin against the golden vectors, as lenient as Python and as
//! strict as by default.

use std::collections::BTreeSet;

use netaio_proto::{
    AuthFields, AuthPlugin as _, Envelope, HmacAuthPlugin, Message, MessageType,
    PluginError,
};
use netaio_tests::vectors::{assert_bytes, bytes, text, to_hex};
use serde_json::Value;

use crate::notation::{
    auth_fields, envelope, hmac_plugin, message_type, raised, secret, truth,
    with_context,
};
use crate::reference;
use crate::section::{Section, load_with};

const DERIVE_KEY: Section = Section {
    name: "derive_key",
    count: 5,
    columns: &["parts", "key"],
};
const PRIMITIVE: Section = Section {
    name: "primitive",
    count: 12,
    columns: &["key", "iv", "message", "mac"],
};
const MAKE: Section = Section {
    name: "make",
    count: 24,
    columns: &[
        "id",
        "secret",
        "config",
        "key",
        "nonce",
        "ts",
        "type",
        "uri",
        "content",
        "body",
        "fields_before",
        "mac",
        "message",
        "check",
    ],
};
const MAKE_ODD: Section = Section {
    name: "make_odd",
    count: 9,
    columns: &["note", "fields_before", "result"],
};
const CHECK: Section = Section {
    name: "check",
    count: 90,
    columns: &["id", "note", "secret", "config", "auth", "body", "result"],
};

/// What Python accepts and we, by default, refuse: code and timestamp have no
/// border between timestamp and body, so neither may be of any length; and
/// nobody sends the rest.
const REFUSED_ON_PURPOSE: [&str; 5] = [
    "inner body of a message, moved boundary",
    "nonce empty with right mac",
    "nonce of 3 bytes with right mac",
    "ts as int",
    "ts empty with right mac",
];

/// The secret and the body that the vectors of `make_odd` were made with. They
/// do not say so, but their codes do.
const ODD_SECRET: &[u8] = b"test";
const ODD_BODY: &[u8] = b"\0\x01uc";

fn file() -> Value {
    let sections = [DERIVE_KEY, PRIMITIVE, MAKE, MAKE_ODD, CHECK];
    load_with("hmac", &sections, &[])
}

#[test]
fn the_derived_keys_are_pythons() {
    DERIVE_KEY.each(&file(), |case| {
        let parts = case["parts"].as_array().expect("parts");
        let parts: Vec<_> = parts.iter().map(bytes).collect();
        let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
        let key = reference::derive_key(&parts);
        assert_eq!(to_hex(&key), text(case, "key"), "{case}");
        let nonce = parts.get(1).copied().unwrap_or_default();
        assert_plugin_computes_the_reference(parts[0], nonce, b"ts..body");
    });
}

#[test]
fn the_codes_are_pythons() {
    PRIMITIVE.each(&file(), |case| {
        let parts = ["key", "iv", "message"].map(|part| bytes(&case[part]));
        let [key, nonce, message] = parts.each_ref().map(Vec::as_slice);
        let code = reference::mac(key, nonce, message);
        assert_eq!(to_hex(&code), text(case, "mac"), "{case}");
        assert_plugin_computes_the_reference(key, nonce, message);
    });
}

#[test]
fn every_message_is_authenticated_as_in_python() {
    MAKE.each(&file(), |case| {
        let (id, config) = (text(case, "id"), &case["config"]);
        let plugin = hmac_plugin(&case["secret"], config);
        let key = reference::sha256(&secret(&case["secret"]));
        assert_eq!(to_hex(&key), text(case, "key"), "{id}");

        let mut envelope = unauthenticated(case).into_envelope();
        assert_eq!(to_hex(&envelope.body), text(case, "body"), "{id}");
        make(&plugin, &mut envelope).expect(id);
        let ts = case["ts"].as_u64().and_then(|ts| u32::try_from(ts).ok());
        let ts = ts.expect("a time").to_be_bytes();
        let field = |option, default| field(&envelope, config, option, default);
        assert_eq!(field("ts_field", "ts"), to_hex(&ts), "{id}");
        assert_eq!(field("nonce_field", "nonce"), text(case, "nonce"), "{id}");
        assert_eq!(field("hmac_field", "hmac"), text(case, "mac"), "{id}");

        assert_eq!(check(&plugin, &envelope), truth(case, "check"), "{id}");
        let message = envelope.into_message().expect(id);
        assert_bytes(&message.encode().expect(id), &case["message"], id);
    });
}

#[test]
fn odd_fields_are_completed_as_in_python() {
    MAKE_ODD.each(&file(), |case| {
        let (note, expected) = (text(case, "note"), &case["result"]);
        let before = auth_fields(&case["fields_before"]);
        let mut envelope = envelope(before.clone(), ODD_BODY);
        let plugin = HmacAuthPlugin::new(ODD_SECRET);
        let made = make(&plugin, &mut envelope);
        assert_eq!(made.is_err(), raised(expected), "{note}: {made:?}");
        if made.is_err() {
            return assert_eq!(envelope.fields, before, "{note}");
        }
        let nonce = envelope.fields.get_bytes("nonce").expect(note);
        assert_eq!(expected["nonce_len"], nonce.len(), "{note}");
        let kept = before.get_bytes("nonce") == Some(nonce);
        assert_eq!(kept, truth(expected, "nonce_kept"), "{note}");
        let ts = envelope.fields.get_bytes("ts").expect(note);
        assert_eq!(to_hex(ts), text(expected, "ts"), "{note}");

        let key = reference::sha256(ODD_SECRET);
        let code = reference::mac(&key, nonce, &[ts, ODD_BODY].concat());
        assert_eq!(envelope.fields.get_bytes("hmac"), Some(&code[..]), "{note}");
        // A nonce of ours gives a code that no vector can know.
        let told = expected["mac"].as_str();
        assert_eq!(told, kept.then_some(&*to_hex(&code)), "{note}");
    });
}

#[test]
fn a_lenient_plugin_accepts_what_python_accepts() {
    CHECK.each(&file(), |case| {
        let (id, note) = (text(case, "id"), text(case, "note"));
        let plugin = hmac_plugin(&case["secret"], &case["config"]);
        let accepted = check(&plugin.python_compatible(), &received(case));
        assert_eq!(accepted, is_accepted_by_python(case), "{id}: {note}");
    });
}

#[test]
fn a_strict_plugin_refuses_more_and_exactly_what_is_meant() {
    let mut refused = BTreeSet::new();
    let mut accepted_by_both = BTreeSet::new();
    CHECK.each(&file(), |case| {
        let (id, note) = (text(case, "id"), text(case, "note"));
        let plugin = hmac_plugin(&case["secret"], &case["config"]);
        match (check(&plugin, &received(case)), is_accepted_by_python(case)) {
            (true, true) => accepted_by_both.insert(note.to_owned()),
            (false, true) => refused.insert(note.to_owned()),
            (true, false) => panic!("{id}: {note}: Python refuses it"),
            (false, false) => false,
        };
    });
    assert_eq!(refused, REFUSED_ON_PURPOSE.map(str::to_owned).into());
    assert!(refused.is_disjoint(&accepted_by_both));
}

/// Whether a plugin takes the reference's code for these bytes, which are as
/// long as the vectors have them, for a right one, and another for a wrong one.
#[track_caller]
fn assert_plugin_computes_the_reference(
    secret: &[u8],
    nonce: &[u8],
    message: &[u8],
) {
    let plugin = HmacAuthPlugin::new(secret).python_compatible();
    let mut code = reference::mac(&reference::sha256(secret), nonce, message);
    let (ts, body) = message.split_at(4);
    let accepts = |code: &[u8]| {
        let mut fields = AuthFields::new();
        let values = [("hmac", code), ("nonce", nonce), ("ts", ts)];
        fields.set_many(&values).expect("room");
        check(&plugin, &envelope(fields, body))
    };
    assert!(accepts(&code));
    code[31] ^= 1;
    assert!(!accepts(&code));
}

fn unauthenticated(case: &Value) -> Message {
    let (uri, content) = (bytes(&case["uri"]), bytes(&case["content"]));
    let message = Message::new(message_type(&case["type"]), uri, content);
    let fields = auth_fields(&case["fields_before"]);
    message.expect("a short message").with_fields(fields)
}

fn received(case: &Value) -> Envelope {
    let envelope = envelope(auth_fields(&case["auth"]), &bytes(&case["body"]));
    assert_eq!(envelope.message_type, MessageType::OK);
    envelope
}

/// Where Python raises, it closes the connection; to us that is a refusal.
fn is_accepted_by_python(case: &Value) -> bool {
    match &case["result"] {
        Value::Bool(accepted) => *accepted,
        Value::String(error) if error.starts_with("raises ") => false,
        other => panic!("unknown result {other}"),
    }
}

fn make(
    plugin: &HmacAuthPlugin,
    envelope: &mut Envelope,
) -> Result<(), PluginError> {
    with_context(|context| plugin.make(envelope, context))
}

fn check(plugin: &HmacAuthPlugin, envelope: &Envelope) -> bool {
    with_context(|context| plugin.check(envelope, context)).is_ok()
}

/// The bytes of the field that `config` names, or of the default one.
fn field(
    envelope: &Envelope,
    config: &Value,
    option: &str,
    default: &str,
) -> String {
    let name = config[option].as_str().unwrap_or(default);
    to_hex(envelope.fields.get_bytes(name).expect(name))
}
