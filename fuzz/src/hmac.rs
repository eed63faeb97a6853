//! The HMAC plugin's way in: whatever the fields are, it passes what it made
//! and nothing that was changed since.

use arbitrary::Arbitrary;
use bytes::BytesMut;
use netaio_proto::{
    AuthError, AuthFields, AuthPlugin as _, Context, Envelope, HmacAuthPlugin,
    MessageType, Random,
};

/// Most of the golden vectors were made with it.
const SECRET: &str = "test";

/// A message, as it came and as it is made.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    unix_time: u64,
    /// Where the body that was made is changed, and how.
    place: u16,
    change: u8,
    /// Bytes of the auth section.
    pub auth_length: u16,
    /// The auth section and the body section.
    pub sections: &'a [u8],
}

/// Checks the message as it is; then proves it, changes it and checks again.
pub fn run(input: Input<'_>) {
    let strict = HmacAuthPlugin::new(SECRET);
    let lenient = HmacAuthPlugin::new(SECRET).python_compatible();
    let Some(envelope) = envelope(input.auth_length, input.sections) else {
        return;
    };
    let mut random = Random::from_seed([1; 32]);
    let mut context = Context {
        unix_time: input.unix_time,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    let passes = strict.check(&envelope, &mut context);
    if passes.is_ok() {
        let length = |name| envelope.fields.get_bytes(name).map(<[u8]>::len);
        assert_eq!(length(AuthFields::TS).unwrap_or(4), 4);
        assert_eq!(length(AuthFields::NONCE).unwrap_or(16), 16);
        assert_eq!(lenient.check(&envelope, &mut context), Ok(()));
    }

    let mut made = envelope.clone();
    if strict.make(&mut made, &mut context).is_err() {
        return;
    }
    assert_eq!(made.body, envelope.body);
    for plugin in [&strict, &lenient] {
        assert_eq!(plugin.check(&made, &mut context), Ok(()));
    }
    let ts = made.fields.get_bytes(AuthFields::TS).map(<[u8]>::len);
    assert_eq!(ts, Some(4));
    let other = HmacAuthPlugin::new("another secret");
    let refused = other.check(&made, &mut context);
    assert_eq!(refused, Err(AuthError::Mismatch));

    let place = usize::from(input.place).checked_rem(made.body.len());
    if let Some(place) = place
        && input.change != 0
    {
        made.body[place] ^= input.change;
        for plugin in [&strict, &lenient] {
            let refused = plugin.check(&made, &mut context);
            assert_eq!(refused, Err(AuthError::Mismatch));
        }
    }
}

/// A request with these sections, if the first one is one.
pub(crate) fn envelope(auth_length: u16, sections: &[u8]) -> Option<Envelope> {
    let auth_length = usize::from(auth_length).min(sections.len());
    let (auth, body) = sections.split_at(auth_length);
    Some(Envelope {
        message_type: MessageType::REQUEST_URI,
        fields: AuthFields::from_packed(auth).ok()?,
        body: BytesMut::from(body),
    })
}
