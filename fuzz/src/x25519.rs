//! A box between two key pairs: whatever comes, it opens what was sealed for it and
//! nothing else.

use arbitrary::Arbitrary;
use bytes::BytesMut;
use netaio_asymmetric::X25519CipherPlugin;
use netaio_proto::{
    CipherPlugin as _, Context, Envelope, MessageType, Peer, PluginError, Random,
};

/// A body, as it came and to be sealed.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    encrypt_uri: bool,
    /// Where what was sealed is changed, and how.
    place: u16,
    change: u8,
    body: &'a [u8],
}

/// Opens the body as it is; then seals it, changes it and opens it.
pub fn run(input: Input<'_>) {
    let plugin = |seed: u8| {
        let plugin = X25519CipherPlugin::new(&[seed; 32]);
        plugin.encrypt_uri(input.encrypt_uri)
    };
    let (ours, theirs) = (plugin(1), plugin(2));
    let [we, they] = [&ours, &theirs].map(|plugin| plugin.peer("peer"));

    let forged = opened(&ours, &they, envelope(input.body));
    assert!(forged.is_err(), "nobody has sealed it");

    let mut sealed = envelope(input.body);
    let mut random = Random::from_seed([3; 32]);
    let mut context = context(&mut random, &they);
    if ours.encrypt(&mut sealed, &mut context).is_err() {
        return;
    }
    let back = opened(&theirs, &we, sealed.clone()).expect("it was sealed");
    let plain = envelope(input.body).into_message();
    if let Some(plain) = plain {
        let back = back.into_message().expect("it was a body");
        assert_eq!(back.uri(), plain.uri());
        assert_eq!(back.content(), plain.content());
    }
    let stranger = plugin(4);
    assert!(opened(&stranger, &we, sealed.clone()).is_err());

    let clear = match (input.encrypt_uri, input.body) {
        (false, [high, low, ..]) => {
            2 + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => 2,
    };
    let place = usize::from(input.place).checked_rem(sealed.body.len() - clear);
    if let Some(place) = place
        && input.change != 0
    {
        sealed.body[clear + place] ^= input.change;
        assert!(opened(&theirs, &we, sealed).is_err());
    }
}

fn envelope(body: &[u8]) -> Envelope {
    Envelope {
        message_type: MessageType::REQUEST_URI,
        fields: Default::default(),
        body: BytesMut::from(body),
    }
}

fn context<'a>(random: &'a mut Random, peer: &'a Peer) -> Context<'a> {
    Context {
        unix_time: 1,
        random,
        local_peer: None,
        peer: Some(peer),
    }
}

fn opened(
    plugin: &X25519CipherPlugin,
    from: &Peer,
    mut envelope: Envelope,
) -> Result<Envelope, PluginError> {
    let mut random = Random::from_seed([5; 32]);
    plugin.decrypt(&mut envelope, &mut context(&mut random, from))?;
    Ok(envelope)
}
