//! What Python netaio's TCP server does, as far as a client can tell: one
//! message at a time, no request ids, errors that do not say what they answer.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use netaio_proto::{
    Context, FrameDecoder, Instant, Layers, Message, MessageType, MessageTypes,
    OpenError, ProtocolError, Random,
};

/// One connection of a Python server.
#[derive(Debug)]
pub struct PythonModel {
    decoder: FrameDecoder,
    types: MessageTypes,
    outer: Layers,
    random: Random,
    /// What waits to be written.
    pub outgoing: BytesMut,
    /// Until when a handler keeps everything waiting, and its reply.
    busy: Option<(Instant, Message)>,
    /// Whether it has closed the connection.
    pub closed: bool,
}

/// What a handler does about a message.
#[derive(Debug)]
pub enum Handled {
    /// It answers.
    Answer(Message),
    /// It answers after so long, in which nothing else is done.
    Later(Duration, Message),
    /// It does not answer.
    Nothing,
}

impl PythonModel {
    /// A connection of a server with these layers. `seed` decides its nonces.
    pub fn new(outer: Layers, seed: [u8; 32]) -> Self {
        Self {
            decoder: FrameDecoder::new(),
            types: MessageTypes::default(),
            outer,
            random: Random::from_seed(seed),
            outgoing: BytesMut::new(),
            busy: None,
            closed: false,
        }
    }

    /// Takes in bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Does what there is to do; `false` if there was nothing.
    pub fn work(
        &mut self,
        now: Instant,
        mut handler: impl FnMut(&Message) -> Handled,
    ) -> bool {
        let mut worked = false;
        while !self.closed {
            match self.busy.take() {
                Some((until, reply)) if until > now => {
                    self.busy = Some((until, reply));
                    break;
                }
                Some((_, reply)) => self.send(&reply),
                None if self.process(now, &mut handler) => {}
                None => break,
            }
            worked = true;
        }
        worked
    }

    /// Sends a message of its own accord.
    pub fn say(&mut self, message: &Message) {
        self.send(message);
    }

    /// When a handler will have its reply.
    pub fn wakeup(&self) -> Option<Instant> {
        self.busy.as_ref().map(|(until, _)| *until)
    }

    fn process(
        &mut self,
        now: Instant,
        handler: &mut impl FnMut(&Message) -> Handled,
    ) -> bool {
        let Some(frame) = self.decoder.next_frame(&self.types) else {
            return false;
        };
        let mut envelope = match frame {
            Ok(message) => message.into_envelope(),
            Err(bad) => {
                match bad.error {
                    ProtocolError::BadChecksum { .. } => {
                        self.send(&error("invalid message", MessageType::ERROR));
                    }
                    _ => self.closed = true,
                }
                return true;
            }
        };
        let mut context = context(&mut self.random);
        match self.outer.open(&mut envelope, &mut context) {
            Ok(()) => {}
            // Errors are not answered.
            Err(OpenError::Auth(_)) if envelope.message_type.is_error() => {
                return true;
            }
            Err(OpenError::Auth(_)) => {
                let error = error("HMAC auth failed", MessageType::AUTH_ERROR);
                self.send_with(&error, &Layers::new());
                return true;
            }
            Err(OpenError::Cipher(_)) => return true,
        }
        let Some(message) = envelope.into_message() else {
            return true;
        };
        match handler(&message) {
            Handled::Answer(reply) => self.send(&reply),
            Handled::Later(delay, reply) => self.busy = Some((now + delay, reply)),
            Handled::Nothing => {}
        }
        true
    }

    fn send(&mut self, message: &Message) {
        self.send_with(message, &self.outer.clone());
    }

    fn send_with(&mut self, message: &Message, layers: &Layers) {
        let mut envelope = message.clone().into_envelope();
        let sealed = layers.seal(&mut envelope, &mut context(&mut self.random));
        sealed.expect("it is short");
        let message = envelope.into_message().expect("a body");
        self.outgoing.put_slice(&message.encode().expect("it fits"));
    }
}

fn error(text: &str, kind: MessageType) -> Message {
    Message::make_error(text, None, Some(kind)).expect("it is short")
}

fn context(random: &mut Random) -> Context<'_> {
    Context {
        unix_time: 1_700_000_000,
        random,
        local_peer: None,
        peer: None,
    }
}
