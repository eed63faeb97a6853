//! The model of Python netaio's TCP server, with a handful of handlers.

use std::collections::VecDeque;

use bytes::Buf;
use netaio_proto::{AuthFields, Instant, Layers, Message, MessageType};
use netaio_tests::python_model::{Handled, PythonModel};

use crate::server::{Server, delay};

pub(crate) struct PythonServer {
    model: PythonModel,
    /// A handler for this URI returns the very message that it was given, and
    /// so repeats its auth fields.
    pub(crate) returns_requests_for: Option<&'static str>,
    /// URIs of what was handled, in order.
    pub(crate) handled: VecDeque<String>,
}

impl PythonServer {
    pub(crate) fn new(outer: Layers) -> Self {
        Self {
            model: PythonModel::new(outer, [3; 32]),
            returns_requests_for: None,
            handled: VecDeque::new(),
        }
    }

    pub(crate) fn plain() -> Self {
        Self::new(Layers::new())
    }
}

fn handle(message: &Message) -> Handled {
    use MessageType as T;
    let uri = message.uri_text();
    let name = uri.split('/').next().unwrap_or_default();
    let echo = message.respond(message.content());
    let reply = match (message.message_type(), name) {
        (_, "never") => return Handled::Nothing,
        (_, "error") => Message::make_error("it broke", None, None),
        (_, "forbidden") => Message::make_not_permitted(None, None),
        (T::REQUEST_URI, "echo") => echo,
        (T::REQUEST_URI, "slow") => {
            return Handled::Later(delay(message), echo.expect("it came"));
        }
        (T::CREATE_URI | T::UPDATE_URI | T::DELETE_URI, "echo") => {
            message.ok(message.content())
        }
        (T::SUBSCRIBE_URI, _) => {
            echo.map(|reply| reply.with_type(T::CONFIRM_SUBSCRIBE))
        }
        _ => Message::make_not_found(None, None),
    };
    Handled::Answer(reply.expect("short"))
}

/// The reply with the request's id.
fn returned(request: &Message, reply: Message) -> Message {
    let mut fields = AuthFields::new();
    if let Some(rid) = request.fields().get_bytes(AuthFields::RID) {
        fields.set_bytes(AuthFields::RID, rid).expect("it fits");
    }
    reply.with_fields(fields)
}

impl Server for PythonServer {
    fn receive(&mut self, _now: Instant, bytes: &[u8]) {
        self.model.receive(bytes);
    }

    fn work(&mut self, now: Instant) -> bool {
        let (returns, handled) = (self.returns_requests_for, &mut self.handled);
        self.model.work(now, |message| {
            handled.push_back(message.uri_text().into_owned());
            let returns = returns.is_some_and(|u| message.uri() == u.as_bytes());
            match handle(message) {
                Handled::Answer(reply) if returns => {
                    Handled::Answer(returned(message, reply))
                }
                handled => handled,
            }
        })
    }

    fn outgoing(&mut self) -> &mut dyn Buf {
        &mut self.model.outgoing
    }

    fn wants_read(&self) -> bool {
        !self.model.closed
    }

    fn wakeup(&self) -> Option<Instant> {
        self.model.wakeup()
    }
}
