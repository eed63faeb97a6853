//! What the server and the node that made the vectors do with messages: an empty
//! store, and handlers that reply with the request's URI.

use std::collections::BTreeMap;

use netaio_proto::{HandlerId, Layers, Message, MessageType, Router};

const ECHO: HandlerId = HandlerId(0);
const REQUEST: HandlerId = HandlerId(1);
const CREATE: HandlerId = HandlerId(2);
const UPDATE: HandlerId = HandlerId(3);
const DELETE: HandlerId = HandlerId(4);

/// Contents by URI.
#[derive(Default)]
pub(crate) struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    /// What a handler replies.
    pub(crate) fn answer(
        &mut self,
        handler: HandlerId,
        message: &Message,
    ) -> Message {
        let (uri, content) = (message.uri(), message.content());
        let known = self.0.get(uri);
        let answer = match (handler, known) {
            (ECHO, _) => message.respond(content),
            (REQUEST, Some(stored)) => message.respond(stored),
            (CREATE, Some(_)) => message.error("exists"),
            (CREATE, None) | (UPDATE, Some(_)) => {
                self.0.insert(uri.to_vec(), content.to_vec());
                message.ok("stored")
            }
            (DELETE, Some(_)) => {
                self.0.remove(uri);
                message.ok("deleted")
            }
            (_, None) => message.not_found(),
            (other, _) => panic!("unknown {other:?}"),
        };
        answer.expect("a short answer")
    }
}

/// The routes to these handlers. No plugins.
pub(crate) fn router() -> Router {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, ECHO, Layers::new());
    for (message_type, handler) in [
        (MessageType::REQUEST_URI, REQUEST),
        (MessageType::CREATE_URI, CREATE),
        (MessageType::UPDATE_URI, UPDATE),
        (MessageType::DELETE_URI, DELETE),
    ] {
        router.insert(message_type, handler, Layers::new());
    }
    router
}
