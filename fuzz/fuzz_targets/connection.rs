//! A connection under any sequence of calls: it never panics, every request
//! ends exactly once, and after the end nothing is left.
#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Buf;
use libfuzzer_sys::fuzz_target;
use netaio_proto::{
    Action, CloseReason, Connection, EndpointConfig, HandlerId, Instant, Layers,
    Message, MessageType, NullAuthPlugin, NullCipherPlugin, ReplyToken, Request,
    RequestId, Role, Router,
};

#[derive(Arbitrary, Debug)]
enum Operation<'a> {
    /// Bytes as they are.
    Input(&'a [u8]),
    /// A well-formed message, of any type.
    Message { kind: u8, uri: u8, content: &'a [u8] },
    /// A reply to one of the pending requests, by its id.
    Repeat { nth: u8, kind: u8 },
    Request { uri: u8, timeout_ms: u16 },
    Cancel(u8),
    Reply { nth: u8, content: &'a [u8] },
    NoReply(u8),
    Write(u16),
    Wait(u32),
    Eof,
    Shutdown(u16),
    Close,
    Release,
}

struct Model {
    connection: Connection,
    now: Instant,
    pending: BTreeSet<RequestId>,
    /// What was sent for each request, so that a reply can repeat its fields.
    sent: Vec<Message>,
    tokens: Vec<ReplyToken>,
    closed: bool,
}

impl Model {
    fn poll(&mut self) {
        while let Some(action) = self.connection.poll_action() {
            assert!(!self.closed, "nothing comes after the end");
            match action {
                Action::Reply { request, .. }
                | Action::TimedOut { request, .. }
                | Action::Failed { request, .. } => {
                    assert!(self.pending.remove(&request), "ends once");
                }
                Action::Dispatch { reply, .. } | Action::Unrouted { reply, .. } => {
                    self.tokens.extend(reply);
                }
                Action::AuthFailed(failed) => self.tokens.extend(failed.reply),
                Action::Closed { .. } => self.closed = true,
                _ => {}
            }
        }
        assert_eq!(self.connection.pending(), self.pending.len());
    }

    fn input(&mut self, message: &Message) {
        if let Ok(bytes) = message.encode() {
            self.connection.handle_input(self.now, &bytes);
        }
    }

    fn apply(&mut self, operation: Operation<'_>) {
        let now = self.now;
        match operation {
            Operation::Input(bytes) => self.connection.handle_input(now, bytes),
            Operation::Message { kind, uri, content } => {
                let kind = MessageType::from_code(kind);
                if let Ok(message) = Message::new(kind, [uri % 4], content) {
                    self.input(&message);
                }
            }
            Operation::Repeat { nth, kind } => {
                if let Some(sent) = self.sent.get(usize::from(nth)) {
                    let reply = sent.clone().with_type(MessageType::from_code(kind));
                    self.input(&reply);
                }
            }
            Operation::Request { uri, timeout_ms } => {
                let kind = MessageType::REQUEST_URI;
                let message = Message::new(kind, [uri % 4], "").expect("short");
                let timeout = Duration::from_millis(timeout_ms.into());
                let request = Request::new(message).timeout(timeout);
                let before = self.connection.outgoing().remaining();
                if let Ok(id) = self.connection.request(now, request) {
                    assert!(self.pending.insert(id), "ids are never used twice");
                    let mut queue = Vec::new();
                    while self.connection.outgoing().has_remaining() {
                        let chunk = self.connection.outgoing().chunk().to_vec();
                        self.connection.outgoing().advance(chunk.len());
                        queue.extend(chunk);
                    }
                    let types = netaio_proto::MessageTypes::default();
                    if let Ok(sent) = Message::decode(&queue[before..], &types) {
                        self.sent.push(sent);
                    }
                }
            }
            Operation::Cancel(nth) => {
                let id = self.pending.iter().nth(usize::from(nth)).copied();
                if let Some(id) = id {
                    if self.connection.cancel(now, id) {
                        self.pending.remove(&id);
                    }
                }
            }
            Operation::Reply { nth, content } => {
                if let Some(token) = self.take_token(nth) {
                    let kind = MessageType::RESPOND_URI;
                    if let Ok(reply) = Message::new(kind, "a", content) {
                        let _ = self.connection.reply(now, token, reply);
                    }
                }
            }
            Operation::NoReply(nth) => {
                if let Some(token) = self.take_token(nth) {
                    self.connection.no_reply(token);
                }
            }
            Operation::Write(count) => {
                let outgoing = self.connection.outgoing();
                let count = usize::from(count).min(outgoing.remaining());
                outgoing.advance(count);
            }
            Operation::Wait(micros) => {
                self.now = now + Duration::from_micros(micros.into());
                self.connection.handle_timeout(self.now);
            }
            Operation::Eof => self.connection.handle_eof(now),
            Operation::Shutdown(ms) => {
                let within = Duration::from_millis(ms.into());
                self.connection.shutdown(now, within);
            }
            Operation::Close => self.connection.close(now, CloseReason::Local),
            Operation::Release => self.connection.release_buffers(),
        }
    }

    fn take_token(&mut self, nth: u8) -> Option<ReplyToken> {
        let nth = usize::from(nth);
        (nth < self.tokens.len()).then(|| self.tokens.swap_remove(nth))
    }
}

fuzz_target!(|input: (bool, bool, Vec<(bool, Operation<'_>)>)| {
    let (server, layers, operations) = input;
    let mut config = EndpointConfig::default();
    if server {
        config.role = Role::Server;
    }
    if layers {
        config.layers =
            Layers::new().auth(NullAuthPlugin).cipher(NullCipherPlugin);
    }
    let mut router = Router::new();
    let requests = MessageType::REQUEST_URI;
    router.insert((requests, [1]), HandlerId(1), Layers::new());
    router.insert_once((requests, [2]), HandlerId(2), Layers::new());
    let now = Instant::EPOCH;
    let remote = "192.0.2.1:1".parse().expect("an address");
    let mut model = Model {
        connection: Connection::new(
            Arc::new(config),
            Arc::new(router),
            remote,
            [7; 32],
            now,
        ),
        now,
        pending: BTreeSet::new(),
        sent: Vec::new(),
        tokens: Vec::new(),
        closed: false,
    };
    for (poll, operation) in operations {
        model.apply(operation);
        if poll {
            model.poll();
        }
    }
    model.connection.close(model.now, CloseReason::Local);
    model.poll();
    assert!(model.closed && model.pending.is_empty());
    assert_eq!(model.connection.in_flight(), 0);
});
