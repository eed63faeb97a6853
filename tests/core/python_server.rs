//! What Python netaio's TCP server does, as far as a client can tell: one
//! message at a time, no request ids, errors that do not say what they answer.

use std::collections::VecDeque;

use bytes::{Buf, BufMut as _, BytesMut};
use netaio_proto::{
    AuthFields, Context, FrameDecoder, Instant, Layers, Message, MessageType,
    MessageTypes, OpenError, Random,
};

use crate::server::{Server, delay};

pub(crate) struct PythonServer {
    decoder: FrameDecoder,
    types: MessageTypes,
    outer: Layers,
    random: Random,
    outgoing: BytesMut,
    /// Until when a handler keeps everything waiting, and its reply.
    busy: Option<(Instant, Message)>,
    /// A handler for this URI returns the very message that it was given, and
    /// so repeats its auth fields.
    pub(crate) returns_requests_for: Option<&'static str>,
    /// URIs of what was handled, in order.
    pub(crate) handled: VecDeque<String>,
    pub(crate) closed: bool,
}

impl PythonServer {
    pub(crate) fn new(outer: Layers) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            types: MessageTypes::default(),
            outer,
            random: Random::from_seed([3; 32]),
            outgoing: BytesMut::new(),
            busy: None,
            returns_requests_for: None,
            handled: VecDeque::new(),
            closed: false,
        }
    }

    pub(crate) fn plain() -> Self {
        Self::new(Layers::new())
    }

    fn process(&mut self, now: Instant) -> bool {
        let Some(frame) = self.decoder.next_frame(&self.types) else {
            return false;
        };
        let Ok(mut envelope) = frame else {
            self.closed = true;
            return true;
        };
        let mut context = context(&mut self.random);
        match self.outer.open(&mut envelope, &mut context) {
            Ok(()) => {}
            Err(OpenError::Auth(_)) => {
                let kind = Some(MessageType::AUTH_ERROR);
                let error = Message::make_error("HMAC auth failed", None, kind);
                self.send(&error.expect("short"), &Layers::new());
                return true;
            }
            Err(OpenError::Cipher(_)) => return true,
        }
        let message = envelope.into_message().expect("a body");
        self.handled.push_back(message.uri_text().into_owned());
        self.handle(now, &message);
        true
    }

    fn handle(&mut self, now: Instant, message: &Message) {
        use MessageType as T;
        let uri = message.uri_text();
        let name = uri.split('/').next().unwrap_or_default();
        let echo = message.respond(message.content());
        let reply = match (message.message_type(), name) {
            (_, "never") => return,
            (_, "error") => Message::make_error("it broke", None, None),
            (_, "forbidden") => Message::make_not_permitted(None, None),
            (T::REQUEST_URI, "echo") => echo,
            (T::REQUEST_URI, "slow") => {
                let reply = self.finished(message, echo.expect("it came"));
                self.busy = Some((now + delay(message), reply));
                return;
            }
            (T::CREATE_URI | T::UPDATE_URI | T::DELETE_URI, "echo") => {
                message.ok(message.content())
            }
            (T::SUBSCRIBE_URI, _) => {
                echo.map(|reply| reply.with_type(T::CONFIRM_SUBSCRIBE))
            }
            _ => Message::make_not_found(None, None),
        };
        let reply = self.finished(message, reply.expect("short"));
        self.send(&reply, &self.outer.clone());
    }

    /// The reply, with the request's fields if that is what was returned.
    fn finished(&self, request: &Message, reply: Message) -> Message {
        let returned = self.returns_requests_for;
        if returned.is_none_or(|uri| request.uri() != uri.as_bytes()) {
            return reply;
        }
        let rid = request.fields().get_bytes(AuthFields::RID);
        let mut fields = AuthFields::new();
        if let Some(rid) = rid {
            fields.set_bytes(AuthFields::RID, rid).expect("it fits");
        }
        reply.with_fields(fields)
    }

    fn send(&mut self, message: &Message, layers: &Layers) {
        let mut envelope = message.clone().into_envelope();
        let sealed = layers.seal(&mut envelope, &mut context(&mut self.random));
        sealed.expect("it is short");
        let message = envelope.into_message().expect("a body");
        self.outgoing.put_slice(&message.encode().expect("it fits"));
    }
}

impl Server for PythonServer {
    fn receive(&mut self, _now: Instant, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn work(&mut self, now: Instant) -> bool {
        let mut worked = false;
        while !self.closed {
            match self.busy.take() {
                Some((until, reply)) if until > now => {
                    self.busy = Some((until, reply));
                    break;
                }
                Some((_, reply)) => self.send(&reply, &self.outer.clone()),
                None if self.process(now) => {}
                None => break,
            }
            worked = true;
        }
        worked
    }

    fn outgoing(&mut self) -> &mut dyn Buf {
        &mut self.outgoing
    }

    fn wants_read(&self) -> bool {
        !self.closed
    }

    fn wakeup(&self) -> Option<Instant> {
        self.busy.as_ref().map(|(until, _)| *until)
    }
}

fn context(random: &mut Random) -> Context<'_> {
    Context {
        unix_time: 1_700_000_000,
        random,
        local_peer: None,
        peer: None,
    }
}
