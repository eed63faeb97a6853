//! The stream cipher's way in: whatever it is given it makes a body section or
//! an error, and what it encrypted it decrypts.

use arbitrary::Arbitrary;
use netaio_proto::{
    AuthFields, CipherPlugin as _, Context, Envelope, Random,
    Sha256StreamCipherPlugin,
};

use crate::hmac::envelope;

/// A message, as it came and as it is made.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    encrypt_uri: bool,
    seed: u8,
    /// Bytes of the auth section.
    pub auth_length: u16,
    /// The auth section and the body section.
    pub sections: &'a [u8],
}

/// Decrypts the message as it is; then encrypts it and decrypts it again.
pub fn run(input: Input<'_>) {
    let plugin = Sha256StreamCipherPlugin::new("k").encrypt_uri(input.encrypt_uri);
    let Some(envelope) = envelope(input.auth_length, input.sections) else {
        return;
    };
    let mut random = Random::from_seed([input.seed; 32]);
    let mut context = Context {
        unix_time: 0,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    let mut decrypted = envelope.clone();
    match plugin.decrypt(&mut decrypted, &mut context) {
        Ok(()) => {
            assert!(decrypted.body.len() <= envelope.body.len().max(2));
            assert_eq!(decrypted.fields, envelope.fields);
            if input.encrypt_uri {
                assert!(decrypted.into_message().is_some());
            }
        }
        Err(_) => assert_unchanged(&decrypted, &envelope),
    }

    let mut sealed = envelope.clone();
    if envelope.clone().into_message().is_none() {
        // What is no message must do no harm.
        let _ = plugin.encrypt(&mut sealed, &mut context);
        return;
    }
    if plugin.encrypt(&mut sealed, &mut context).is_err() {
        return;
    }
    assert!(sealed.clone().into_message().is_some());
    let iv = sealed.fields.get_bytes(AuthFields::IV).map(<[u8]>::len);
    assert_eq!(iv, Some(16));
    let opened = plugin.decrypt(&mut sealed, &mut context);
    assert_eq!(opened, Ok(()));
    assert_eq!(sealed.body, envelope.body);
}

fn assert_unchanged(one: &Envelope, other: &Envelope) {
    assert_eq!(one.body, other.body);
    assert_eq!(one.fields, other.fields);
    assert_eq!(one.message_type, other.message_type);
}
