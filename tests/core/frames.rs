//! Messages, one end of them at a time: made, sealed, cut out of what was
//! written.

use bytes::Buf as _;
use netaio_proto::{
    Action, AuthFields, Connection, Context, FrameDecoder, Instant, Layers, Message,
    MessageType, MessageTypes, Random, ReplyToken,
};

/// A `REQUEST_URI`.
pub(crate) fn request(uri: &str, content: &str) -> Message {
    message(MessageType::REQUEST_URI, uri, content)
}

/// A message of any type.
pub(crate) fn message(kind: MessageType, uri: &str, content: &str) -> Message {
    Message::new(kind, uri, content).expect("it is short")
}

/// Everything that waits to be written.
pub(crate) fn written(connection: &mut Connection) -> Vec<u8> {
    let outgoing = connection.outgoing();
    let count = outgoing.remaining();
    outgoing.copy_to_bytes(count).to_vec()
}

/// All the actions that there are now.
pub(crate) fn poll_all(connection: &mut Connection) -> Vec<Action> {
    std::iter::from_fn(|| connection.poll_action()).collect()
}

/// The messages in these bytes, decoded without any plugins.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Message> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    let types = MessageTypes::default();
    let frames = std::iter::from_fn(|| decoder.next_frame(&types));
    let frames = frames.map(Result::unwrap).collect();
    assert_eq!(decoder.buffered(), 0);
    frames
}

/// A message as it is on the wire.
pub(crate) fn sealed(
    message: Message,
    layers: [&Layers; 2],
    rid: Option<&[u8]>,
) -> Vec<u8> {
    let mut random = Random::from_seed([5; 32]);
    let mut context = Context {
        unix_time: 1,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    let mut envelope = message.into_envelope();
    for layer in layers {
        layer.seal(&mut envelope, &mut context).unwrap();
    }
    if let Some(rid) = rid {
        envelope.fields.set_bytes(AuthFields::RID, rid).unwrap();
    }
    envelope.into_message().unwrap().encode().unwrap()
}

/// The id of the only request that was just sent.
pub(crate) fn sent_rid(connection: &mut Connection) -> Vec<u8> {
    let sent = frames(&written(connection));
    let [request] = &sent[..] else {
        panic!("{} requests", sent.len());
    };
    let rid = request.fields().get_bytes(AuthFields::RID);
    rid.expect("an id").to_vec()
}

/// The means to answer the messages that were dispatched, of which there are
/// `N`.
#[track_caller]
pub(crate) fn tokens<const N: usize>(
    connection: &mut Connection,
) -> [ReplyToken; N] {
    let actions = poll_all(connection).into_iter();
    let tokens = actions.map(|action| match action {
        Action::Dispatch {
            reply: Some(token), ..
        } => token,
        other => panic!("{other:?}"),
    });
    let tokens: Vec<_> = tokens.collect();
    tokens.try_into().expect("as many as expected")
}

/// A moment, in milliseconds since the epoch.
pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_micros(ms * 1000)
}
