//! A connection under any sequence of calls: it never panics, every request ends
//! exactly once and in time, its bounds hold, no deadline stays after it was
//! handled, and after the end nothing is left.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Compatibility, Connection, Correlation, EndpointConfig,
    HandlerId, Instant, Layers, Limits, Message, MessageType, MessageTypes,
    NullAuthPlugin, NullCipherPlugin, OuterUse, Outgoing, ReplyToken, Request,
    RequestId, Role, Router, Sealer,
};

use crate::next_action;

/// What the connection is made of, and what is done with it. After an operation
/// with `true` actions are polled.
pub type Input<'a> = (Setup, Vec<(bool, Operation<'a>)>);

/// What a connection is made of.
#[derive(Arbitrary, Debug)]
pub struct Setup {
    server: bool,
    layers: bool,
    ids: bool,
    python: bool,
    idle_timeout: bool,
}

/// One call, or a few.
#[derive(Arbitrary, Debug)]
pub enum Operation<'a> {
    /// Bytes as they are.
    Input(&'a [u8]),
    /// The same, read into the decoder elsewhere.
    Lend(&'a [u8]),
    /// A well-formed message, of any type.
    Message {
        kind: u8,
        uri: u8,
        content: &'a [u8],
    },
    /// A part of one, and at some later time the rest.
    Part {
        kind: u8,
        uri: u8,
        first: u8,
        wait_ms: u16,
    },
    /// A reply to one of the requests, with its fields.
    Repeat {
        nth: u8,
        kind: u8,
    },
    /// A request, with or without the endpoint's plugins.
    Request {
        kind: u8,
        uri: u8,
        timeout_ms: u16,
        bare: bool,
    },
    Cancel(u8),
    Send(&'a [u8]),
    Notify(&'a [u8]),
    Reply {
        nth: u8,
        content: &'a [u8],
    },
    ReplyError(u8),
    NoReply(u8),
    /// So many bytes are written, often none or one.
    Write(u16),
    /// What is to be written is taken elsewhere.
    Take,
    /// So many of those bytes are written.
    WriteTaken(u8),
    Wait(u32),
    /// The clock goes back for one call.
    Earlier(u32),
    Eof,
    Shutdown(u16),
    Finish(u16),
    Close,
    Release,
}

struct Model {
    connection: Connection,
    limits: Limits,
    sealer: Sealer,
    now: Instant,
    /// When each request ends at the latest.
    pending: BTreeMap<RequestId, Instant>,
    /// What was sent for requests, so that a reply can repeat its fields.
    sent: Vec<Message>,
    tokens: Vec<ReplyToken>,
    taken: Outgoing,
    /// Requests whose end the next poll has to tell.
    due: Vec<RequestId>,
    closed: bool,
}

/// Makes the connection and calls it.
pub fn run((setup, operations): Input<'_>) {
    let mut model = Model::new(&setup);
    for (poll, operation) in operations {
        model.apply(operation);
        if poll {
            model.poll();
        }
        model.check();
    }
    model.connection.close(model.now, CloseReason::Local);
    model.poll();
    assert!(model.closed && model.pending.is_empty());
    let connection = &mut model.connection;
    assert_eq!((connection.in_flight(), connection.given_up()), (0, 0));
    assert_eq!((connection.poll_timeout(), connection.notices()), (None, 0));
    assert!(connection.outgoing().is_empty());
}

impl Model {
    fn new(setup: &Setup) -> Self {
        let limits = Limits {
            max_in_flight: 8,
            max_pending: 16,
            max_outgoing: 4_000,
            outgoing_high_water: 2_000,
            max_notices: 1_000,
            idle_timeout: setup.idle_timeout.then_some(Duration::from_secs(1)),
            ..Limits::default()
        };
        let config = Arc::new(config(setup, limits.clone()));
        let now = Instant::EPOCH;
        let remote = SocketAddr::from(([192, 0, 2, 1], 1));
        Self {
            connection: Connection::new(
                Arc::clone(&config),
                Arc::new(router()),
                remote,
                [7; 32],
                now,
            ),
            limits,
            sealer: Sealer::new(config, [8; 32]),
            now,
            pending: BTreeMap::new(),
            sent: Vec::new(),
            tokens: Vec::new(),
            taken: Outgoing::new(),
            due: Vec::new(),
            closed: false,
        }
    }

    fn poll(&mut self) {
        let short = self.sent.len().is_multiple_of(2);
        while let Some(action) = next_action(&mut self.connection, short) {
            assert!(!self.closed, "nothing comes after the end");
            match action {
                Action::Reply { request, .. }
                | Action::TimedOut { request, .. }
                | Action::Failed { request, .. } => {
                    let known = self.pending.remove(&request);
                    assert!(known.is_some(), "it ends once");
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
        for request in self.due.drain(..) {
            assert!(!self.pending.contains_key(&request), "it ends in time");
        }
        if self.connection.is_closing() {
            self.tokens.clear();
        }
    }

    fn check(&mut self) {
        let (connection, limits) = (&self.connection, &self.limits);
        let table = connection.pending() + connection.given_up();
        assert!(table <= limits.max_pending);
        assert!(connection.in_flight() <= limits.max_in_flight);
        assert!(connection.notices() <= limits.max_notices);
        assert_eq!(connection.is_closed(), self.closed);
        if !connection.is_closing() {
            assert!(connection.in_flight() >= self.tokens.len());
        }
    }

    fn input(&mut self, message: &Message) {
        if let Ok(bytes) = message.encode() {
            self.connection.handle_input(self.now, &bytes);
        }
    }

    fn wait(&mut self, time: Duration) {
        // The time of what was sent without one begins.
        self.connection.advance(self.now);
        self.now = self.now + time;
        let due = self.pending.iter().filter(|(_, end)| **end <= self.now);
        self.due.extend(due.map(|(request, _)| *request));
        self.connection.handle_timeout(self.now);
        let next = self.connection.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "it is handled");
    }

    fn apply(&mut self, operation: Operation<'_>) {
        let now = self.now;
        match operation {
            Operation::Input(bytes) => self.connection.handle_input(now, bytes),
            Operation::Lend(bytes) => self.lend(bytes),
            Operation::Message { kind, uri, content } => {
                let kind = MessageType::from_code(kind);
                if let Ok(message) = Message::new(kind, [uri % 4], content) {
                    self.input(&message);
                }
            }
            Operation::Part {
                kind,
                uri,
                first,
                wait_ms,
            } => {
                let kind = standard(kind);
                let message = Message::new(kind, [uri % 4], "").expect("short");
                let bytes = message.encode().expect("short");
                let first = usize::from(first) % bytes.len();
                self.connection.handle_input(now, &bytes[..first]);
                self.wait(Duration::from_millis(wait_ms.into()));
                self.connection.handle_input(self.now, &bytes[first..]);
            }
            Operation::Repeat { nth, kind } => {
                if let Some(nth) = nth_of(self.sent.len(), nth) {
                    let reply = self.sent[nth].clone().with_type(standard(kind));
                    self.input(&reply);
                }
            }
            Operation::Request {
                kind,
                uri,
                timeout_ms,
                bare,
            } => self.request(kind, uri, timeout_ms, bare),
            Operation::Cancel(nth) => {
                if let Some(nth) = nth_of(self.pending.len(), nth) {
                    let id = *self.pending.keys().nth(nth).expect("so many");
                    if self.connection.cancel(now, id) {
                        self.pending.remove(&id);
                    }
                }
            }
            Operation::Send(content) => {
                let kind = MessageType::NOTIFY_URI;
                if let Ok(message) = Message::new(kind, "news", content) {
                    let none = Layers::new();
                    let _ = self.connection.send(now, message, &none);
                }
            }
            Operation::Notify(content) => {
                let kind = MessageType::NOTIFY_URI;
                let all = OuterUse::default();
                if let Ok(message) = Message::new(kind, "news", content)
                    && let Ok(sealed) =
                        self.sealer.seal(0, message, &Layers::new(), all)
                {
                    let _ = self.connection.notify(now, &sealed);
                }
            }
            Operation::Reply { nth, content } => {
                if let Some(token) = self.take_token(nth) {
                    match Message::new(MessageType::RESPOND_URI, "a", content) {
                        Ok(reply) => _ = self.connection.reply(now, token, reply),
                        Err(_) => self.connection.no_reply(token),
                    }
                }
            }
            Operation::ReplyError(nth) => {
                if let Some(token) = self.take_token(nth) {
                    let _ = self.connection.reply_error(now, token, "it broke");
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
            Operation::Take => self.connection.take_outgoing(&mut self.taken),
            Operation::WriteTaken(count) => {
                let count = usize::from(count).min(self.taken.remaining());
                self.taken.advance(count);
                self.connection.handle_written(now, count);
            }
            Operation::Wait(micros) => {
                self.wait(Duration::from_micros(micros.into()));
            }
            Operation::Earlier(micros) => {
                let earlier = now.as_micros().saturating_sub(micros.into());
                self.connection
                    .handle_timeout(Instant::from_micros(earlier));
            }
            Operation::Eof => self.connection.handle_eof(now),
            Operation::Shutdown(ms) => {
                let within = Duration::from_millis(ms.into());
                self.connection.shutdown(now, within);
            }
            Operation::Finish(ms) => {
                let within = Duration::from_millis(ms.into());
                self.connection.finish(now, within);
            }
            Operation::Close => self.connection.close(now, CloseReason::Local),
            Operation::Release => self.connection.release_buffers(),
        }
    }

    fn lend(&mut self, bytes: &[u8]) {
        let mut decoder = self.connection.take_decoder();
        let room = decoder.recv_buffer();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.connection.return_decoder(self.now, decoder, count);
    }

    fn request(&mut self, kind: u8, uri: u8, timeout_ms: u16, bare: bool) {
        let message = Message::new(standard(kind), [uri % 4], "").expect("short");
        let timeout = Duration::from_millis(timeout_ms.into());
        let outer = OuterUse {
            auth: !bare,
            cipher: !bare,
        };
        let request = Request::new(message).timeout(timeout).outer(outer);
        let before = self.connection.outgoing().remaining();
        let sent = match uri & 4 == 0 {
            true => self.connection.request(self.now, request),
            false => self.connection.request_undated(request),
        };
        if let Ok(id) = sent {
            let known = self.pending.insert(id, self.now + timeout);
            assert!(known.is_none(), "ids are never used twice");
            let waiting = peek(self.connection.outgoing());
            let types = MessageTypes::default();
            if let Some(last) = waiting.get(before..)
                && let Ok(sent) = Message::decode(last, &types)
            {
                self.sent.push(sent);
            }
        }
    }

    fn take_token(&mut self, nth: u8) -> Option<ReplyToken> {
        let nth = nth_of(self.tokens.len(), nth)?;
        Some(self.tokens.swap_remove(nth))
    }
}

/// What waits to be written, which goes on waiting.
fn peek(outgoing: &Outgoing) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let count = outgoing.chunks_vectored(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

/// A place among so many, if there are any.
pub(crate) fn nth_of(count: usize, nth: u8) -> Option<usize> {
    usize::from(nth).checked_rem(count)
}

/// One of the protocol's own types.
pub(crate) fn standard(number: u8) -> MessageType {
    let kinds = MessageType::STANDARD;
    kinds[usize::from(number) % kinds.len()]
}

fn config(setup: &Setup, limits: Limits) -> EndpointConfig {
    let mut config = EndpointConfig {
        limits,
        ..EndpointConfig::default()
    };
    if setup.server {
        config.role = Role::Server;
    }
    if setup.layers {
        config.layers = Layers::new().auth(NullAuthPlugin).cipher(NullCipherPlugin);
    }
    if !setup.ids {
        config.correlation = Correlation::Off;
    }
    if setup.python {
        config.compatibility = Compatibility::Python;
    }
    config
}

/// One lasting route, one for one message, and one with an inner layer.
fn router() -> Router {
    let mut router = Router::new();
    let requests = MessageType::REQUEST_URI;
    let inner = Layers::new().auth(NullAuthPlugin);
    router.insert((requests, [1]), HandlerId(1), Layers::new());
    router.insert_once((requests, [2]), HandlerId(2), Layers::new());
    router.insert((requests, [3]), HandlerId(3), inner);
    router
}
