//! The X25519 plugin against the golden vectors: keys, boxes, whole messages, and
//! what is refused.

use netaio_asymmetric::X25519CipherPlugin;
use netaio_proto::wire::packify::{Value as Packable, pack};
use netaio_proto::{
    AuthFields, CipherPlugin as _, Context, Envelope, Message, MessageTypes, Peer,
    PluginError, Random,
};
use netaio_tests::vectors::{bytes, text, to_hex};
use serde_json::Value;

use crate::notation::{body, envelope, message_type, truth};
use crate::section::{Section, load_with};

const KEYS: Section = Section {
    name: "keys",
    count: 10,
    columns: &[
        "seed",
        "ed25519_verify_key",
        "x25519_private",
        "x25519_public",
    ],
};
const BOXES: Section = Section {
    name: "boxes",
    count: 7,
    columns: &[
        "seed_from",
        "seed_to",
        "shared_key",
        "nonce",
        "plaintext",
        "ciphertext_with_nonce",
    ],
};
const MESSAGES: Section = Section {
    name: "messages",
    count: 8,
    columns: &[
        "id",
        "seed_from",
        "seed_to",
        "encrypt_uri",
        "peer_data_from",
        "type",
        "uri",
        "content",
        "message",
    ],
};
const NEGATIVE: Section = Section {
    name: "negative",
    count: 14,
    columns: &[
        "note",
        "seed_to",
        "peer_pubkey",
        "peer_data",
        "encrypt_uri",
        "body",
        "result",
    ],
};

fn file() -> Value {
    let sections = [KEYS, BOXES, MESSAGES, NEGATIVE];
    load_with("x25519", &sections, &[])
}

fn plugin(seed: &Value) -> X25519CipherPlugin {
    let seed = bytes(seed).try_into().expect("32 bytes");
    X25519CipherPlugin::new(&seed)
}

fn peer(seed: &Value) -> Peer {
    plugin(seed).peer("them")
}

#[test]
fn a_seed_gives_the_same_keys_as_in_python() {
    KEYS.each(&file(), |case| {
        let plugin = plugin(&case["seed"]);
        let [vkey, pubkey] = [plugin.verify_key(), plugin.public_key()];
        assert_eq!(to_hex(&vkey), text(case, "ed25519_verify_key"));
        assert_eq!(to_hex(&pubkey), text(case, "x25519_public"));
        // The private key is not shown; that it is the same shows in the boxes.
    });
}

#[test]
fn boxes_of_python_are_opened_by_either_side() {
    BOXES.each(&file(), |case| {
        let (from, to) = (&case["seed_from"], &case["seed_to"]);
        let [clear, sealed] =
            ["plaintext", "ciphertext_with_nonce"].map(|part| bytes(&case[part]));
        let nonce = bytes(&case["nonce"]);
        assert!(sealed.starts_with(&nonce));
        for (own, other) in [(to, from), (from, to)] {
            let body = body(b"uri", &sealed);
            let mut opened = envelope(AuthFields::new(), &body);
            decrypt(&plugin(own), &mut opened, Some(&peer(other))).expect("a box");
            let message = opened.into_message().expect("a message");
            assert_eq!(message.uri(), b"uri");
            assert_eq!(message.content(), clear);
        }
    });
}

#[test]
fn every_message_of_python_is_decrypted() {
    MESSAGES.each(&file(), |case| {
        let id = text(case, "id");
        let plugin = plugin(&case["seed_to"]);
        let plugin = plugin.encrypt_uri(truth(case, "encrypt_uri"));
        let data = bytes(&case["peer_data_from"]);
        let sealed = Message::decode(&bytes(&case["message"]), &types()).expect(id);
        let fields = sealed.fields().clone();
        let mut envelope = sealed.into_envelope();
        let from = Peer::new("them", data);
        decrypt(&plugin, &mut envelope, Some(&from)).expect(id);
        assert_eq!(envelope.fields, fields, "{id}: no field is used");
        assert_eq!(envelope.body, clear(case).body(), "{id}");
        assert_eq!(envelope.message_type, message_type(&case["type"]), "{id}");
    });
}

#[test]
fn messages_sealed_here_have_pythons_lengths_and_are_opened_again() {
    MESSAGES.each(&file(), |case| {
        let (id, encrypt_uri) = (text(case, "id"), truth(case, "encrypt_uri"));
        let ours = plugin(&case["seed_from"]).encrypt_uri(encrypt_uri);
        let theirs = plugin(&case["seed_to"]).encrypt_uri(encrypt_uri);
        let clear = clear(case);
        let mut sealed = clear.clone().into_envelope();
        encrypt(&ours, &mut sealed, Some(&peer(&case["seed_to"]))).expect(id);
        let python = Message::decode(&bytes(&case["message"]), &types());
        let python = python.expect(id);
        assert_eq!(sealed.body.len(), python.body().len(), "{id}");
        let message = sealed.clone().into_message().expect("it can be sent");
        if encrypt_uri {
            // Python cuts the ciphertext after the first byte at the earliest
            // and before the last one at the latest.
            assert!(!message.uri().is_empty() && !message.content().is_empty());
        } else {
            assert_eq!(message.uri(), clear.uri(), "{id}");
        }
        let back = peer(&case["seed_from"]);
        decrypt(&theirs, &mut sealed, Some(&back)).expect(id);
        assert_eq!(sealed.body, clear.body(), "{id}");
    });
}

/// Where Python raises, whatever it raises, we refuse; nothing deviates.
#[test]
fn what_python_refuses_is_refused() {
    NEGATIVE.each(&file(), |case| {
        let note = text(case, "note");
        let refused = if case["seed_to"].is_string() {
            let plugin = plugin(&case["seed_to"]);
            let plugin = plugin.encrypt_uri(truth(case, "encrypt_uri"));
            let data = dict_of(&bytes(&case["peer_pubkey"]));
            let body = bytes(&case["body"]);
            let mut changed = envelope(AuthFields::new(), &body);
            assert_eq!(case["result"]["error"], "CryptoError");
            let peer = Peer::new("them", data);
            let refused = decrypt(&plugin, &mut changed, Some(&peer));
            assert_eq!(changed.body, &body[..], "{note}: left as it was");
            refused
        } else {
            assert!(case["result"]["encrypt"].is_string(), "{note}");
            let plugin = X25519CipherPlugin::new(&[1; 32]);
            let message = envelope(AuthFields::new(), &body(b"uri", b"content"));
            let peer = Peer::new("them", bytes(&case["peer_data"]));
            encrypt(&plugin, &mut message.clone(), Some(&peer))
        };
        assert!(refused.is_err(), "{note}");
    });
}

#[test]
fn as_much_can_be_encrypted_as_in_python() {
    let them = X25519CipherPlugin::new(&[2; 32]).peer("them");
    let us = X25519CipherPlugin::new(&[1; 32]).peer("us");
    for (encrypt_uri, most) in [(false, 65_382), (true, 65_380)] {
        let ours = X25519CipherPlugin::new(&[1; 32]).encrypt_uri(encrypt_uri);
        let theirs = X25519CipherPlugin::new(&[2; 32]).encrypt_uri(encrypt_uri);
        for uri in [0, 3, most] {
            let fits = body(&vec![b'u'; uri], &vec![b'c'; most - uri]);
            let mut sealed = envelope(AuthFields::new(), &fits);
            encrypt(&ours, &mut sealed, Some(&them)).expect("it fits");
            decrypt(&theirs, &mut sealed, Some(&us)).expect("a box");
            assert!(sealed.body == fits);
        }
        let long = body(b"", &vec![b'c'; most + 1]);
        let mut long = envelope(AuthFields::new(), &long);
        let refused = encrypt(&ours, &mut long, Some(&them));
        assert!(
            matches!(refused, Err(PluginError::TooLong(_))),
            "{refused:?}"
        );
    }
}

#[test]
fn nothing_is_sealed_for_nobody() {
    let plugin = X25519CipherPlugin::new(&[1; 32]);
    let message = envelope(AuthFields::new(), &body(b"uri", b"content"));
    for unknown in [None, Some(&Peer::default())] {
        for outcome in [
            encrypt(&plugin, &mut message.clone(), unknown),
            decrypt(&plugin, &mut message.clone(), unknown),
        ] {
            assert_eq!(outcome, Err(PluginError::UnknownPeer));
        }
    }
}

#[test]
fn bodies_of_every_short_length_are_refused() {
    let them = X25519CipherPlugin::new(&[2; 32]).peer("them");
    for encrypt_uri in [false, true] {
        let plugin = X25519CipherPlugin::new(&[1; 32]).encrypt_uri(encrypt_uri);
        for length in 0..100 {
            for first in [0, 1, 60] {
                let mut body = vec![0; length];
                body.iter_mut().skip(1).take(1).for_each(|b| *b = first);
                let mut short = envelope(AuthFields::new(), &body);
                let refused = decrypt(&plugin, &mut short, Some(&them));
                assert!(refused.is_err(), "{length}");
                assert_eq!(short.body, &body[..]);
            }
        }
    }
}

#[test]
fn a_sealed_text_is_never_the_same_twice_and_the_secret_is_not_shown() {
    let seed = [0x5a; 32];
    let plugin = X25519CipherPlugin::new(&seed);
    let them = X25519CipherPlugin::new(&[2; 32]).peer("them");
    let message = envelope(AuthFields::new(), &body(b"", b"the same"));
    let mut random = Random::from_seed([6; 32]);
    let mut sealed = || {
        let mut message = message.clone();
        let mut context = context(&mut random, Some(&them));
        plugin.encrypt(&mut message, &mut context).expect("a peer");
        message.body
    };
    assert_ne!(sealed(), sealed());
    let shown = format!("{plugin:?}");
    assert_eq!(shown, "X25519CipherPlugin { encrypt_uri: false, .. }");
}

/// Peer data with just a public key.
fn dict_of(key: &[u8]) -> Vec<u8> {
    let entry = (Packable::from("pubkey"), Packable::Bytes(key.to_vec()));
    pack(&Packable::Dict(vec![entry])).expect("a short dict")
}

/// The message of a case as it was before it was encrypted.
fn clear(case: &Value) -> Message {
    let (uri, content) = (bytes(&case["uri"]), bytes(&case["content"]));
    let message = Message::new(message_type(&case["type"]), uri, content);
    message.expect("a short message")
}

fn types() -> MessageTypes {
    MessageTypes::default()
}

fn context<'a>(random: &'a mut Random, peer: Option<&'a Peer>) -> Context<'a> {
    Context {
        unix_time: 0,
        random,
        local_peer: None,
        peer,
    }
}

fn encrypt(
    plugin: &X25519CipherPlugin,
    envelope: &mut Envelope,
    to: Option<&Peer>,
) -> Result<(), PluginError> {
    let mut random = Random::from_seed([3; 32]);
    plugin.encrypt(envelope, &mut context(&mut random, to))
}

fn decrypt(
    plugin: &X25519CipherPlugin,
    envelope: &mut Envelope,
    from: Option<&Peer>,
) -> Result<(), PluginError> {
    let mut random = Random::from_seed([3; 32]);
    plugin.decrypt(envelope, &mut context(&mut random, from))
}
