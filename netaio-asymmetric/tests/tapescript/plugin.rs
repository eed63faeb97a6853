//! The plugin, against Python's.

use std::collections::BTreeSet;

use netaio_asymmetric::TapescriptAuthPlugin;
use netaio_asymmetric::tapescript::{
    Machine, Script, ScriptLimits, SigFlags, SigningKey, lock, witness,
};
use netaio_proto::wire::packify::{Value as Packable, pack};
use netaio_proto::{
    AuthFields, AuthPlugin as _, Envelope, Message, MessageType, MessageTypes, Peer,
    PluginError, TooLong,
};
use serde_json::Value;

use crate::notation::{
    auth_fields, body, bytes, cases, envelope, file, key, text, with_context,
};

/// What Python accepts and we, by default, refuse: with a nonce of any length
/// bytes of the body can pass for some of it; and nobody sends the rest.
const REFUSED_ON_PURPOSE: [&str; 5] = [
    "content cut, moved into the nonce",
    "nonce empty, signed so",
    "nonce moved into the content",
    "ts as int",
    "ts with leading zero bytes",
];

fn plugin(lock: impl Into<Script>, seed: [u8; 32]) -> TapescriptAuthPlugin {
    TapescriptAuthPlugin::new(lock.into(), SigningKey::from_seed(&seed))
}

fn check(plugin: &TapescriptAuthPlugin, envelope: &Envelope) -> bool {
    check_from(plugin, envelope, None)
}

fn check_from(
    plugin: &TapescriptAuthPlugin,
    envelope: &Envelope,
    peer: Option<&Peer>,
) -> bool {
    with_context(peer, |context| plugin.check(envelope, context)).is_ok()
}

fn make(
    plugin: &TapescriptAuthPlugin,
    envelope: &mut Envelope,
) -> Result<(), PluginError> {
    with_context(None, |context| plugin.make(envelope, context))
}

#[test]
fn what_python_accepts_a_lenient_plugin_accepts_and_a_strict_one_but_for_some() {
    let mut refused = BTreeSet::new();
    for case in cases(&file(), "plugin_check", 28) {
        let (id, note) = (text(case, "id"), text(case, "note"));
        // Where Python raises, it closes the connection; to us that is a refusal.
        let expected = case["result"].as_bool().unwrap_or(false);
        let envelope = envelope(auth_fields(&case["auth"]), &bytes(case, "body"));
        let peer = case["peer_data"].as_str();
        let peer = peer.map(|_| Peer::new(&b"id"[..], bytes(case, "peer_data")));
        let strict = || {
            let plugin = plugin(bytes(case, "lock"), [0; 32]);
            match case["use_peer_lock"].as_bool() {
                Some(true) => plugin.use_peer_lock(),
                _ => plugin,
            }
        };
        let lenient = strict().python_compatible();
        let accepted = check_from(&lenient, &envelope, peer.as_ref());
        assert_eq!(accepted, expected, "{id}: {note}");
        if check_from(&strict(), &envelope, peer.as_ref()) != expected {
            assert!(expected, "{id}: {note}: Python refuses it");
            refused.insert(note.to_owned());
        }
    }
    assert_eq!(refused, REFUSED_ON_PURPOSE.map(str::to_owned).into());
}

/// The ways in which the messages of the vectors were signed.
fn ways(seed: [u8; 32], file: &Value) -> Vec<TapescriptAuthPlugin> {
    let all = SigFlags::ALL_SIGNED;
    let mut ways = vec![plugin(Script::new(), seed)];
    for case in cases(file, "keys", 6) {
        let script = lock::single_signature(&key(case, "verify_key"), all);
        let plugin = plugin(Script::new(), seed);
        ways.push(plugin.witness(move |key, fields| {
            let flags = SigFlags::ALL_SIGNED;
            Ok(witness::taproot_key(key, &script, fields, flags)?)
        }));
    }
    ways
}

#[test]
fn every_message_of_the_vectors_passes_and_those_of_one_signature_are_made_again() {
    let file = file();
    let mut made_again = Vec::new();
    for case in cases(&file, "plugin", 10) {
        let field = text(case, "witness_field");
        let message =
            Message::decode(&bytes(case, "message"), &MessageTypes::default())
                .expect("a message");
        assert_eq!(message.uri(), bytes(case, "uri"));
        let sealed = message.into_envelope();
        let plugin = plugin(bytes(case, "lock"), [0; 32]).witness_field(field);
        assert_eq!(
            Some(check(&plugin, &sealed)),
            case["check"].as_bool(),
            "{case}"
        );

        let ts = case["ts"].as_u64().and_then(|ts| u32::try_from(ts).ok());
        let ts = ts.expect("a time").to_be_bytes();
        let nonce = bytes(case, "nonce");
        for way in ways(key(case, "seed"), &file) {
            let mut fields = AuthFields::new();
            let before = [("nonce", &nonce[..]), ("ts", &ts)];
            fields.set_many(&before).expect("room");
            let mut again = envelope(fields, &sealed.body);
            let way = way.witness_field(field);
            make(&way, &mut again).expect("a short message");
            if again.fields == sealed.fields {
                made_again.push(text(case, "kind"));
            }
        }
    }
    made_again.sort_unstable();
    let single = ["single_sig"; 3];
    let multisig = ["multisig"; 3];
    assert!(made_again.starts_with(&multisig), "{made_again:?}");
    assert!(made_again[3..].starts_with(&single), "{made_again:?}");
}

fn own_lock(seed: [u8; 32]) -> Script {
    let key = SigningKey::from_seed(&seed).public_key();
    lock::single_signature(&key, SigFlags::ALL_SIGNED)
}

fn sealed(plugin: &TapescriptAuthPlugin) -> Envelope {
    let mut envelope = envelope(AuthFields::new(), &body(b"uri", b"content"));
    make(plugin, &mut envelope).expect("a short message");
    envelope
}

#[test]
fn a_message_passes_with_what_was_signed_and_with_nothing_else() {
    let plugin = plugin(own_lock([1; 32]), [1; 32]);
    let good = sealed(&plugin);
    assert!(check(&plugin, &good));
    let changes: [fn(&mut Envelope); 5] = [
        |envelope| envelope.body[4] ^= 1,
        |envelope| envelope.fields.set_bytes("nonce", &[0; 16]).expect("room"),
        |envelope| envelope.fields.set_bytes("ts", &[1; 4]).expect("room"),
        |envelope| envelope.fields.set_bytes("witness", &[1]).expect("room"),
        |envelope| assert!(envelope.fields.remove("witness")),
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(!check(&plugin, &changed), "{changed:?}");
    }
    let mut other = good;
    other.message_type = MessageType::DELETE_URI;
    assert!(check(&plugin, &other), "the type is not signed");
}

#[test]
fn a_message_that_no_script_could_check_is_not_sent() {
    let plugin = plugin(own_lock([1; 32]), [1; 32]);
    let message =
        |length| envelope(AuthFields::new(), &body(b"uri", &vec![7; length]));
    let mut longest = message(999);
    assert_eq!(make(&plugin, &mut longest), Ok(()));
    assert!(check(&plugin, &longest));
    let too_long = TooLong {
        length: 1025,
        limit: 1024,
    };
    let mut longer = message(1000);
    let refused = Err(PluginError::TooLong(too_long));
    assert_eq!(make(&plugin, &mut longer), refused);
    assert!(longer.fields.is_empty());
}

#[test]
fn fields_have_the_names_that_they_are_given_and_what_is_there_is_kept() {
    let plugin = plugin(own_lock([1; 32]), [1; 32])
        .nonce_field("n")
        .ts_field("t")
        .witness_field("w");
    let mut message = envelope(AuthFields::new(), &body(b"", b""));
    let kept: [(&str, &[u8]); 2] = [("n", &[5; 16]), ("t", &[0, 0, 0, 9])];
    message.fields.set_many(&kept).expect("room");
    make(&plugin, &mut message).expect("a short message");
    for (name, value) in kept {
        assert_eq!(message.fields.get_bytes(name), Some(value));
    }
    assert_eq!(message.fields.names().collect::<Vec<_>>(), ["t", "n", "w"]);
    assert!(check(&plugin, &message));
}

#[test]
fn the_peers_lock_counts_where_there_is_one() {
    let own = || plugin(lock::nobody(), [1; 32]);
    let with_lock = |lock: &Script| {
        let code = Packable::Bytes(lock.as_bytes().to_vec());
        let data = Packable::Dict(vec![("lock".into(), code)]);
        Peer::new(&b"id"[..], pack(&data).expect("packable"))
    };
    let message = sealed(&own());
    let peer = with_lock(&own_lock([1; 32]));
    assert!(!check_from(&own(), &message, Some(&peer)), "not asked for");
    let plugin = own().use_peer_lock();
    assert!(check_from(&plugin, &message, Some(&peer)));
    let other = with_lock(&own_lock([2; 32]));
    assert!(!check_from(&plugin, &message, Some(&other)));
    assert!(!check_from(&plugin, &message, None), "nobody passes");
    let number = Packable::Dict(vec![("lock".into(), 36_u32.into())]);
    let number = Peer::new(&b"id"[..], pack(&number).expect("packable"));
    assert!(!check_from(&plugin, &message, Some(&number)));
}

#[test]
fn a_plugin_has_the_limits_of_its_machine() {
    let limits = ScriptLimits {
        work: 20,
        ..ScriptLimits::default()
    };
    let plugin =
        plugin(own_lock([1; 32]), [1; 32]).machine(Machine::new().limits(limits));
    assert!(!check(&plugin, &sealed(&plugin)));
}

#[test]
fn debug_output_has_no_secrets() {
    let seed = [0xab; 32];
    let plugin = plugin(own_lock(seed), seed);
    let key = SigningKey::from_seed(&seed);
    for output in [format!("{plugin:?}"), format!("{key:?}")] {
        assert!(!output.contains("abababab"), "{output}");
        assert!(!output.contains("171, 171"), "{output}");
    }
}

#[test]
fn what_it_says_of_itself_is_pythons() {
    let plugin = plugin(Script::new(), [0; 32]);
    assert_eq!(plugin.error_text(), "tapescript auth failed");
    assert!(plugin.is_peer_specific());
}
