//! The stream cipher plugin against the golden vectors.

use netaio_proto::{
    AuthFields, CipherPlugin as _, Envelope, Message, MessageTypes, PluginError,
    Sha256StreamCipherPlugin,
};
use netaio_tests::vectors::{assert_bytes, bytes, text, to_hex};
use serde_json::Value;

use crate::notation::{
    auth_fields, body, envelope, message_type, number, raised, secret,
    stream_plugin, truth, with_context,
};
use crate::reference;
use crate::section::{Section, load_with};

const PRIMITIVE: Section = Section {
    name: "primitive",
    count: 15,
    columns: &[
        "id",
        "note",
        "key",
        "iv",
        "enc_key",
        "plaintext",
        "ciphertext",
    ],
};
const KEYSTREAM: Section = Section {
    name: "keystream",
    count: 5,
    columns: &["key", "iv", "start", "length", "stream"],
};
const DECRYPT: Section = Section {
    name: "decrypt",
    count: 28,
    columns: &[
        "id",
        "key",
        "iv_field",
        "encrypt_uri",
        "type",
        "uri",
        "content",
        "fields_before",
        "iv",
        "wire_uri_length",
        "message",
    ],
};
const ODD: Section = Section {
    name: "odd",
    count: 28,
    columns: &[
        "id",
        "note",
        "key",
        "iv_field",
        "encrypt_uri",
        "auth",
        "body",
        "result",
    ],
};
const ENCRYPT_LIMITS: Section = Section {
    name: "encrypt_limits",
    count: 12,
    columns: &["encrypt_uri", "uri_len", "content_len", "encrypt"],
};

fn file() -> Value {
    let sections = [PRIMITIVE, KEYSTREAM, DECRYPT, ODD, ENCRYPT_LIMITS];
    load_with("sha256_stream", &sections, &[])
}

#[test]
fn the_ciphertexts_are_pythons() {
    PRIMITIVE.each(&file(), |case| {
        let id = text(case, "id");
        let [key, iv, clear] =
            ["key", "iv", "plaintext"].map(|part| bytes(&case[part]));
        if let Some(derived) = case["enc_key"].as_str() {
            assert_eq!(to_hex(&reference::stream_key(&key, &iv)), derived, "{id}");
        }
        let stream = reference::stream(&key, &iv, clear.len());
        let hidden = reference::xor(&clear, &stream);
        assert_bytes(&hidden, &case["ciphertext"], id);

        // A plugin hashes its key first; for the same bytes as its key the
        // proven reference says what has to come out.
        let stream = reference::stream(&reference::sha256(&key), &iv, clear.len());
        let expected = reference::xor(&clear, &stream);
        assert_eq!(applied(&key, &iv, &clear), expected, "{id}");
    });
}

#[test]
fn the_key_streams_are_pythons() {
    KEYSTREAM.each(&file(), |case| {
        let [key, iv] = ["key", "iv"].map(|part| bytes(&case[part]));
        let start = number(case, "start");
        let end = start + number(case, "length");
        let stream = reference::stream(&key, &iv, end);
        assert_eq!(to_hex(&stream[start..]), text(case, "stream"), "{case}");

        // What a plugin makes of zeros is its key stream.
        let expected = reference::stream(&reference::sha256(&key), &iv, end);
        let stream = applied(&key, &iv, &vec![0; end]);
        assert_eq!(stream[start..], expected[start..], "{case}");
    });
}

#[test]
fn every_message_of_python_is_decrypted() {
    DECRYPT.each(&file(), |case| {
        let id = text(case, "id");
        let encrypted = Message::decode(&bytes(&case["message"]), &types());
        let encrypted = encrypted.expect(id);
        let uri_length = encrypted.uri().len();
        assert_eq!(uri_length, number(case, "wire_uri_length"), "{id}");
        let fields = fields_with_iv(case, &bytes(&case["iv"]));
        assert_eq!(*encrypted.fields(), fields, "{id}");

        let mut envelope = encrypted.into_envelope();
        decrypt(&stream_plugin(case), &mut envelope).expect(id);
        assert_eq!(envelope.fields, fields, "{id}: the iv stays");
        let message = envelope.into_message().expect(id);
        assert_eq!(message, clear(case).with_fields(fields), "{id}");
    });
}

#[test]
fn every_message_of_python_is_encrypted_in_the_same_way() {
    DECRYPT.each(&file(), |case| {
        let (id, plugin) = (text(case, "id"), stream_plugin(case));
        let before = clear(case);
        let mut envelope = before.clone().into_envelope();
        encrypt(&plugin, &mut envelope).expect(id);
        let iv = envelope.fields.get_bytes(text(case, "iv_field")).expect(id);
        let (iv, old) = (iv.to_vec(), text(case, "iv"));
        assert_eq!(iv.len(), old.len() / 2, "{id}");
        assert_eq!(envelope.fields, fields_with_iv(case, &iv), "{id}");
        let after = envelope.clone().into_message().expect(id);
        assert_eq!(after.message_type(), message_type(&case["type"]), "{id}");
        assert_hides(case, &before, &after, &iv);

        decrypt(&plugin, &mut envelope).expect(id);
        assert_eq!(envelope.body, before.body(), "{id}");
    });
}

#[test]
fn odd_fields_and_bodies_are_decrypted_or_refused_as_in_python() {
    ODD.each(&file(), |case| {
        let (id, expected) = (text(case, "id"), &case["result"]);
        let mut envelope = envelope(auth_fields(&case["auth"]), &odd_body(case));
        let decrypted = decrypt(&stream_plugin(case), &mut envelope);
        assert_eq!(decrypted.is_err(), raised(expected), "{id}: {decrypted:?}");
        if decrypted.is_err() {
            return;
        }
        let message = envelope.into_message().expect(id);
        assert_eq!(to_hex(message.uri()), text(expected, "uri"), "{id}");
        assert_eq!(message.uri().len(), number(expected, "uri_length"), "{id}");
        assert_eq!(to_hex(message.content()), text(expected, "content"), "{id}");
    });
}

#[test]
fn as_much_can_be_encrypted_as_in_python() {
    ENCRYPT_LIMITS.each(&file(), |case| {
        let encrypt_uri = truth(case, "encrypt_uri");
        let plugin = Sha256StreamCipherPlugin::new("k").encrypt_uri(encrypt_uri);
        let uri = vec![b'u'; number(case, "uri_len")];
        let content = vec![b'c'; number(case, "content_len")];
        let body = body(&uri, &content);
        // Past the limit of messages, which would refuse some of these itself.
        let mut envelope = envelope(AuthFields::new(), &body);
        let encrypted = encrypt(&plugin, &mut envelope);
        let allowed = text(case, "encrypt") == "ok";
        assert_eq!(encrypted.is_ok(), allowed, "{case}: {encrypted:?}");
        if allowed {
            decrypt(&plugin, &mut envelope).expect("what we sent");
        }
        assert!(envelope.body == body, "{case}");
    });
}

/// What a plugin with this key makes of a content under a clear URI.
fn applied(key: &[u8], iv: &[u8], content: &[u8]) -> Vec<u8> {
    let mut fields = AuthFields::new();
    fields.set_bytes(AuthFields::IV, iv).expect("room");
    let mut envelope = envelope(fields, &body(b"uri", content));
    let plugin = Sha256StreamCipherPlugin::new(key).encrypt_uri(false);
    decrypt(&plugin, &mut envelope).expect("a good iv");
    let message = envelope.into_message().expect("a message");
    assert_eq!(message.uri(), b"uri");
    message.content().to_vec()
}

/// Whether `after` is `before` under the key stream that belongs to `iv`.
#[track_caller]
fn assert_hides(case: &Value, before: &Message, after: &Message, iv: &[u8]) {
    let key = reference::sha256(&secret(&case["key"]));
    let hide = |clear: &[u8]| {
        reference::xor(clear, &reference::stream(&key, iv, clear.len()))
    };
    if truth(case, "encrypt_uri") {
        let hidden = [after.uri(), after.content()].concat();
        assert_eq!(hidden, hide(before.body()), "{case}");
        // Python cuts the ciphertext after the first byte at the earliest and
        // before the last one at the latest.
        assert!(!after.uri().is_empty() && !after.content().is_empty());
    } else {
        assert_eq!(after.uri(), before.uri(), "{case}");
        assert_eq!(after.content(), hide(before.content()), "{case}");
    }
}

/// The message of a case as it was before it was encrypted.
fn clear(case: &Value) -> Message {
    let (uri, content) = (bytes(&case["uri"]), bytes(&case["content"]));
    let message = Message::new(message_type(&case["type"]), uri, content);
    let fields = auth_fields(&case["fields_before"]);
    message.expect("a short message").with_fields(fields)
}

/// The fields of a case with this initialisation vector among them.
fn fields_with_iv(case: &Value, iv: &[u8]) -> AuthFields {
    let mut fields = auth_fields(&case["fields_before"]);
    fields.set_bytes(text(case, "iv_field"), iv).expect("room");
    fields
}

/// A body section in hex; or, too long for that, zeros.
fn odd_body(case: &Value) -> Vec<u8> {
    if case["body"].is_string() {
        return bytes(&case["body"]);
    }
    let zeros = vec![0; number(&case["body"], "len")];
    assert_bytes(&zeros, &case["body"], text(case, "id"));
    zeros
}

fn types() -> MessageTypes {
    MessageTypes::default()
}

fn encrypt(
    plugin: &Sha256StreamCipherPlugin,
    envelope: &mut Envelope,
) -> Result<(), PluginError> {
    with_context(|context| plugin.encrypt(envelope, context))
}

fn decrypt(
    plugin: &Sha256StreamCipherPlugin,
    envelope: &mut Envelope,
) -> Result<(), PluginError> {
    with_context(|context| plugin.decrypt(envelope, context))
}
