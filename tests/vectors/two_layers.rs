//! Messages with up to two layers of plugins against the golden vectors.

use netaio_proto::{AuthFields, Envelope, Layers, Message, MessageTypes, OpenError};
use netaio_tests::vectors::{bytes, text, to_hex};
use serde_json::Value;

use crate::notation::{
    hmac_plugin, message_type, stream_plugin, truth, with_context,
};
use crate::section::{Section, load_with};

const VECTORS: Section = Section {
    name: "vectors",
    count: 20,
    columns: &[
        "id",
        "note",
        "outer_auth",
        "outer_cipher",
        "inner_auth",
        "inner_cipher",
        "message",
        "steps",
    ],
};
const SAME_IV_FIELD: Section = Section {
    name: "same_iv_field_in_both_layers",
    count: 3,
    columns: &[
        "outer_cipher",
        "inner_cipher",
        "message",
        "decrypted_content",
        "original_content",
        "recovered",
    ],
};

fn file() -> Value {
    load_with("two_layers", &[VECTORS, SAME_IV_FIELD], &[])
}

#[test]
fn every_step_of_receiving_gives_what_it_gives_in_python() {
    VECTORS.each(&file(), |case| {
        let (id, steps) = (text(case, "id"), &case["steps"]);
        assert!(truth(steps, "checksum"), "{id}");
        let mut envelope = received(case);
        for step in ["outer_auth", "inner_auth"] {
            let verdict = opens(&auth(case, step), &mut envelope);
            assert_eq!(verdict, steps.get(step).map(is_true), "{id}: {step}");
            let cipher = step.replace("auth", "cipher");
            let opened = opens(&self::cipher(case, &cipher), &mut envelope);
            // The vectors go on after a check that fails.
            assert_ne!(opened, Some(false), "{id}: {cipher}");
            if step == "outer_auth" {
                let body = opened.map(|_| to_hex(&envelope.body));
                let expected = steps["after_outer_cipher"].as_str();
                assert_eq!(body.as_deref(), expected, "{id}");
            }
        }
        let message = envelope.into_message().expect(id);
        assert_eq!(message.message_type(), message_type(&steps["type"]), "{id}");
        assert_eq!(to_hex(message.uri()), text(steps, "uri"), "{id}");
        assert_eq!(to_hex(message.content()), text(steps, "content"), "{id}");
    });
}

#[test]
fn whole_layers_open_exactly_the_messages_that_pass_every_check() {
    let mut refused = Vec::new();
    VECTORS.each(&file(), |case| {
        let (id, steps) = (text(case, "id"), &case["steps"]);
        let [outer, inner] = both(case);
        let mut envelope = received(case);
        let before = envelope.clone();
        let opened = open(&outer, &mut envelope);
        let failed_outside = opened.is_err();
        let opened = opened.and_then(|()| open(&inner, &mut envelope));
        let passes = |step| steps.get(step).is_none_or(is_true);
        let expected = passes("outer_auth") && passes("inner_auth");
        assert_eq!(opened.is_ok(), expected, "{id}: {opened:?}");
        if opened.is_ok() {
            let message = envelope.into_message().expect(id);
            assert_eq!(to_hex(message.uri()), text(steps, "uri"), "{id}");
            assert_eq!(to_hex(message.content()), text(steps, "content"), "{id}");
            return;
        }
        assert!(matches!(opened, Err(OpenError::Auth(_))), "{id}");
        if failed_outside {
            assert_eq!(envelope.body, before.body, "{id}: nothing is decrypted");
        }
        refused.push(text(case, "note").to_owned());
    });
    assert_eq!(
        refused,
        [
            "changed: wrong outer secret",
            "changed: wrong inner secret",
            "changed: wrong outer secret",
            "changed: hmac",
        ]
    );
}

#[test]
fn messages_sealed_here_are_opened_again_and_have_pythons_fields() {
    VECTORS.each(&file(), |case| {
        let (id, steps) = (text(case, "id"), &case["steps"]);
        let [outer, inner] = both(case);
        let (uri, content) = (bytes(&steps["uri"]), bytes(&steps["content"]));
        let kind = message_type(&steps["type"]);
        let message = Message::new(kind, uri, content).expect(id);
        let message = message.with_fields(fields_of_no_plugin(case));
        let mut envelope = message.clone().into_envelope();
        seal(&inner, &outer, &mut envelope);
        if text(case, "note") == "good" {
            assert_looks_like(&envelope, &received(case), id);
        }

        // It has to survive the wire, too.
        let sealed = envelope.into_message().expect(id).encode().expect(id);
        let mut envelope = decoded(&sealed);
        open(&outer, &mut envelope).expect(id);
        open(&inner, &mut envelope).expect(id);
        assert_eq!(envelope.message_type, kind, "{id}");
        assert_eq!(envelope.body, message.body(), "{id}");
    });
}

#[test]
fn one_iv_field_in_both_layers_loses_the_content() {
    SAME_IV_FIELD.each(&file(), |case| {
        let [outer, inner] = both(case);
        let original = bytes(&case["original_content"]);
        let mut envelope = received(case);
        open(&outer, &mut envelope).expect("no check");
        open(&inner, &mut envelope).expect("no check");
        let message = envelope.into_message().expect("a message");
        let decrypted = text(case, "decrypted_content");
        assert_eq!(to_hex(message.content()), decrypted, "{case}");
        let recovered = message.content() == original;
        assert_eq!(recovered, truth(case, "recovered"), "{case}");

        // Sealed here, it is lost just the same.
        let kind = message.message_type();
        let message = Message::new(kind, message.uri(), &original).expect("short");
        let mut envelope = message.into_envelope();
        seal(&inner, &outer, &mut envelope);
        open(&outer, &mut envelope).expect("no check");
        open(&inner, &mut envelope).expect("no check");
        let message = envelope.into_message().expect("a message");
        let recovered = message.content() == original;
        assert_eq!(recovered, truth(case, "recovered"), "{case}");
    });
}

/// The same names in the same order, and the same lengths of everything: all
/// that randomness does not decide.
#[track_caller]
fn assert_looks_like(ours: &Envelope, theirs: &Envelope, id: &str) {
    let names = |envelope: &Envelope| {
        let names = envelope.fields.names().map(str::to_owned);
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(ours), names(theirs), "{id}");
    let lengths =
        |envelope: &Envelope| [envelope.fields.packed().len(), envelope.body.len()];
    assert_eq!(lengths(ours), lengths(theirs), "{id}");
}

/// Some messages without an inner auth plugin were given its timestamp anyway.
fn fields_of_no_plugin(case: &Value) -> AuthFields {
    let mut fields = AuthFields::new();
    let theirs = received(case).fields;
    if let Some(ts) = theirs.get("ts2").filter(|_| !has_inner_auth(case)) {
        fields.set("ts2", &ts.to_value()).expect("room");
    }
    fields
}

fn has_inner_auth(case: &Value) -> bool {
    !case["inner_auth"].is_null()
}

fn received(case: &Value) -> Envelope {
    decoded(&bytes(&case["message"]))
}

/// A frame as an envelope; its checksum has been found right.
fn decoded(bytes: &[u8]) -> Envelope {
    let message = Message::decode(bytes, &MessageTypes::default());
    message.expect("a good frame").into_envelope()
}

/// The outer and the inner layer of a case.
fn both(case: &Value) -> [Layers; 2] {
    ["outer", "inner"].map(|layer| Layers {
        auth: auth(case, &format!("{layer}_auth")).auth,
        cipher: cipher(case, &format!("{layer}_cipher")).cipher,
    })
}

fn auth(case: &Value, plugin: &str) -> Layers {
    match &case[plugin] {
        Value::Null => Layers::new(),
        config => Layers::new().auth(hmac_plugin(&config["secret"], config)),
    }
}

fn cipher(case: &Value, plugin: &str) -> Layers {
    match &case[plugin] {
        Value::Null => Layers::new(),
        config => Layers::new().cipher(stream_plugin(config)),
    }
}

/// Whether a single plugin lets a message pass; `None` if it is absent.
fn opens(layers: &Layers, envelope: &mut Envelope) -> Option<bool> {
    (!layers.is_empty()).then(|| open(layers, envelope).is_ok())
}

fn open(layers: &Layers, envelope: &mut Envelope) -> Result<(), OpenError> {
    with_context(|context| layers.open(envelope, context))
}

/// Seals twice with one source of randomness: no two nonces or initialisation
/// vectors are alike.
#[track_caller]
fn seal(inner: &Layers, outer: &Layers, envelope: &mut Envelope) {
    let sealed = with_context(|context| {
        inner.seal(envelope, context)?;
        outer.seal(envelope, context)
    });
    sealed.expect("a message that can be sealed");
}

fn is_true(verdict: &Value) -> bool {
    verdict.as_bool().expect("a truth value")
}
