//! The body section: what is one is a URI and a content and nothing else, and a
//! message made of those has the same section again.

use bytes::BytesMut;
use netaio_proto::wire::MAX_URI_AND_CONTENT;
use netaio_proto::{AuthFields, Envelope, Message, MessageType, MessageTypes};

/// The message's type, and its body section.
pub type Input<'a> = (u8, &'a [u8]);

/// Takes the section apart and puts it together again.
pub fn run((code, body): Input<'_>) {
    let message_type = MessageType::from_code(code);
    let envelope = Envelope {
        message_type,
        fields: AuthFields::new(),
        body: BytesMut::from(body),
    };
    let announced = body.first_chunk().map(|length| u16::from_be_bytes(*length));
    let fits = announced.is_some_and(|uri| usize::from(uri) + 2 <= body.len());
    let message = envelope.into_message();
    assert_eq!(message.is_some(), fits);
    let Some(message) = message else {
        return;
    };
    assert_eq!(message.body(), body);
    assert_eq!(message.uri().len(), usize::from(announced.unwrap_or(0)));
    assert_eq!([message.uri(), message.content()].concat(), body[2..]);
    assert_eq!(message.clone().into_content(), message.content());
    assert_eq!(message.clone().into_envelope().body, body);
    let _ = (message.text(), message.uri_text(), format!("{message:?}"));

    let made = Message::new(message_type, message.uri(), message.content());
    let short = body.len() - 2 <= MAX_URI_AND_CONTENT;
    assert_eq!(made.is_ok(), short);
    assert!(made.is_err() || made.as_ref() == Ok(&message));

    let encoded = message.encode();
    assert_eq!(encoded.is_ok(), body.len() <= usize::from(u16::MAX));
    if let Ok(bytes) = encoded {
        let types = MessageTypes::default();
        let decoded = Message::decode(&bytes, &types);
        assert_eq!(decoded.is_ok(), types.contains(message_type));
        assert!(decoded.is_err() || decoded.as_ref() == Ok(&message));
    }
    if let Ok(reply) = message.respond(message.content()) {
        assert_eq!(reply.body(), body);
    }
    let _ = message.error_for_status();
}
