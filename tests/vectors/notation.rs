//! What the vectors say of messages and plugins, as Rust values. For bytes and
//! packed values see `netaio_tests::vectors`.

use bytes::BytesMut;
use netaio_proto::wire::packify::{Value as Packable, pack};
use netaio_proto::{
    AuthFields, Context, Envelope, HmacAuthPlugin, MessageType, Random,
    Sha256StreamCipherPlugin,
};
use netaio_tests::vectors::value;
use serde_json::Value;

/// The message type that a case names by its code.
pub(crate) fn message_type(code: &Value) -> MessageType {
    let code = code.as_u64().expect("a code");
    MessageType::from_code(u8::try_from(code).expect("a code of one byte"))
}

/// A number that must be there.
pub(crate) fn number(case: &Value, field: &str) -> usize {
    let number = case[field].as_u64().and_then(|n| n.try_into().ok());
    number.unwrap_or_else(|| panic!("no number {field:?} in {case}"))
}

/// A truth value that must be there.
pub(crate) fn truth(case: &Value, field: &str) -> bool {
    let truth = case[field].as_bool();
    truth.unwrap_or_else(|| panic!("no truth value {field:?} in {case}"))
}

/// Whether a part of a case, such as `{"error": ..}`, says that Python raised.
pub(crate) fn raised(result: &Value) -> bool {
    result.get("error").is_some()
}

/// An auth section with this value in typed notation, a dict or not.
pub(crate) fn auth_fields(notation: &Value) -> AuthFields {
    let packed = pack(&value(notation)).expect("a value that can be packed");
    AuthFields::from_packed(&packed).expect("a packed value")
}

/// Whether two values are the same but for the order of entries.
pub(crate) fn is_same(one: &Packable, other: &Packable) -> bool {
    let [one, other] = [one, other].map(|value| pack(value).expect("packable"));
    one == other
}

/// An envelope of any type with these parts.
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

/// Lets a plugin work: it is some time in 2023, and nobody is known.
pub(crate) fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    work(&mut Context {
        unix_time: 1_700_000_000,
        random: &mut Random::from_seed([7; 32]),
        local_peer: None,
        peer: None,
    })
}

/// A secret or a key: text as it is, or `{"str"}` or `{"hex"}`.
pub(crate) fn secret(notation: &Value) -> Vec<u8> {
    if let Some(hex) = notation.get("hex") {
        return netaio_tests::vectors::bytes(hex);
    }
    let text = notation.get("str").unwrap_or(notation);
    text.as_str().expect("text").as_bytes().to_vec()
}

/// An HMAC plugin with this secret and the fields that `config` names.
pub(crate) fn hmac_plugin(key: &Value, config: &Value) -> HmacAuthPlugin {
    let mut plugin = HmacAuthPlugin::new(secret(key));
    for (option, value) in config.as_object().expect("a configuration") {
        let name = value.as_str().unwrap_or_default();
        plugin = match option.as_str() {
            "hmac_field" => plugin.hmac_field(name),
            "nonce_field" => plugin.nonce_field(name),
            "ts_field" => plugin.ts_field(name),
            // Where the secret is beside the names.
            "secret" => plugin,
            other => panic!("unknown option {other:?}"),
        };
    }
    plugin
}

/// A stream cipher plugin with the key and the options that `config` names.
pub(crate) fn stream_plugin(config: &Value) -> Sha256StreamCipherPlugin {
    let mut plugin = Sha256StreamCipherPlugin::new(secret(&config["key"]));
    if let Some(name) = config["iv_field"].as_str() {
        plugin = plugin.iv_field(name);
    }
    plugin.encrypt_uri(truth(config, "encrypt_uri"))
}
