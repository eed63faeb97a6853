//! Two connections back to back, against a model of what each was asked and
//! answered: every request gets its own true answer and no other, at most once,
//! and ends by its deadline, however the bytes between are cut, held up and cut
//! off. When all has come to rest, nothing is left in the tables of either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Connection, Correlation, DefaultRoute, EndpointConfig,
    Instant, Layers, Limits, Message, MessageType, NullAuthPlugin, NullCipherPlugin,
    OuterUse, ReplyToken, Request, RequestId, Role, Router, Sealer,
};

use crate::connection::nth_of;
use crate::next_action;

/// How the two are made, and what they do.
pub type Input<'a> = (Setup, Vec<Operation>);

/// What both ends are made of.
#[derive(Arbitrary, Debug)]
pub struct Setup {
    /// Requests carry ids; else replies are told apart by their order.
    ids: bool,
    /// Plugins that do nothing, on the way of all messages.
    layers: bool,
}

/// Something that happens. `by` is the end that does it: the client, or with
/// `true` the server.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Operation {
    Ask {
        by: bool,
        uri: u8,
        length: u8,
        timeout_ms: u16,
    },
    Cancel {
        by: bool,
        nth: u8,
    },
    Answer {
        by: bool,
        nth: u8,
        how: Answer,
    },
    Notify {
        by: bool,
        length: u8,
    },
    Poll {
        by: bool,
    },
    /// So many bytes, possibly none, are written.
    Write {
        by: bool,
        count: u8,
    },
    /// So many of those that were written are read at the other end, if it
    /// wants to.
    Deliver {
        by: bool,
        count: u8,
    },
    /// All that can be is written and read.
    Carry {
        by: bool,
    },
    Wait {
        ms: u16,
    },
    Release {
        by: bool,
    },
    Shutdown {
        by: bool,
        ms: u16,
    },
    Finish {
        by: bool,
        ms: u16,
    },
    Close {
        by: bool,
    },
    /// What was written and not read is lost, and both are told.
    Reset,
}

/// How a request is answered.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Answer {
    Content,
    Error,
    /// Not at all.
    Nothing,
}

/// Makes the two and lets everything happen; then lets them come to rest.
pub fn run((setup, operations): Input<'_>) {
    let mut pair = Pair::new(&setup);
    for operation in operations {
        pair.apply(operation);
    }
    pair.settle();
    for end in &pair.ends {
        end.assert_at_rest();
    }
}

const URIS: u8 = 3;

/// A request, by a number that no other one of either end has.
type Serial = u64;

struct Pair {
    ids: bool,
    now: Instant,
    serial: Serial,
    /// The client and the server.
    ends: [End; 2],
    /// What each request was answered with.
    answers: BTreeMap<Serial, Vec<u8>>,
}

struct End {
    connection: Connection,
    sealer: Sealer,
    pending: BTreeMap<RequestId, (Serial, Instant)>,
    /// Of the other end's requests, those that came.
    handled: BTreeSet<Serial>,
    /// Of those, what has not been answered yet.
    tokens: Vec<(ReplyToken, Message)>,
    /// What was written and has not been read.
    pipe: VecDeque<u8>,
    /// When time was last told.
    told: Instant,
    /// Requests whose end the next poll has to tell.
    due: Vec<RequestId>,
    closed: bool,
    /// It has been told that no more will come.
    eof: bool,
    /// It has been told to wait for no replies.
    finishing: bool,
}

impl Pair {
    fn new(setup: &Setup) -> Self {
        let end = |role| End::new(setup, role);
        Self {
            ids: setup.ids,
            now: Instant::EPOCH,
            serial: 0,
            ends: [end(Role::Client), end(Role::Server)],
            answers: BTreeMap::new(),
        }
    }

    fn apply(&mut self, operation: Operation) {
        let now = self.now;
        match operation {
            Operation::Ask {
                by,
                uri,
                length,
                timeout_ms,
            } => self.ask(by, uri, length, timeout_ms),
            Operation::Cancel { by, nth } => self.end(by).cancel(now, nth),
            Operation::Answer { by, nth, how } => self.answer(by, nth, how),
            Operation::Notify { by, length } => self.end(by).notify(now, length),
            Operation::Poll { by } => _ = self.poll(by),
            Operation::Write { by, count } => _ = self.end(by).write(count.into()),
            Operation::Deliver { by, count } => _ = self.deliver(by, count.into()),
            Operation::Carry { by } => {
                self.end(by).write(usize::MAX);
                self.deliver(by, usize::MAX);
            }
            Operation::Wait { ms } => {
                self.wait_until(now + Duration::from_millis(ms.into()));
            }
            Operation::Release { by } => self.end(by).connection.release_buffers(),
            Operation::Shutdown { by, ms } => {
                let within = Duration::from_millis(ms.into());
                self.end(by).connection.shutdown(now, within);
            }
            Operation::Finish { by, ms } => {
                let within = Duration::from_millis(ms.into());
                self.end(by).connection.finish(now, within);
                self.end(by).finishing = true;
            }
            Operation::Close { by } => {
                self.end(by).connection.close(now, CloseReason::Local);
            }
            Operation::Reset => {
                for end in &mut self.ends {
                    end.pipe.clear();
                    let reason = CloseReason::Io("reset".to_owned());
                    end.connection.close(now, reason);
                }
            }
        }
    }

    fn end(&mut self, by: bool) -> &mut End {
        &mut self.ends[usize::from(by)]
    }

    fn ask(&mut self, by: bool, uri: u8, length: u8, timeout_ms: u16) {
        let now = self.now;
        self.serial += 1;
        let serial = self.serial;
        let kind = kind_of(serial);
        let mut content = serial.to_be_bytes().to_vec();
        content.resize(8 + usize::from(length), 0);
        let message = Message::new(kind, [uri % URIS], content).expect("short");
        let timeout = Duration::from_millis(timeout_ms.into());
        let request = Request::new(message).timeout(timeout);
        let end = self.end(by);
        if let Ok(id) = end.connection.request(now, request) {
            let known = end.pending.insert(id, (serial, now + timeout));
            assert!(known.is_none(), "ids are never used twice");
        }
    }

    fn answer(&mut self, by: bool, nth: u8, how: Answer) {
        let (now, ids) = (self.now, self.ids);
        let end = self.end(by);
        let Some(nth) = nth_of(end.tokens.len(), nth) else {
            return;
        };
        let (token, asked) = end.tokens.swap_remove(nth);
        let serial = serial_of(&asked);
        let text = format!("answer to {serial}");
        let answered = match how {
            // The order of replies is kept only by those who reply.
            Answer::Nothing if ids => return end.connection.no_reply(token),
            Answer::Nothing | Answer::Error => {
                end.connection.reply_error(now, token, &text)
            }
            Answer::Content => {
                let reply = match asked.message_type() {
                    MessageType::REQUEST_URI => asked.respond(&text),
                    _ => asked.ok(&text),
                };
                end.connection.reply(now, token, reply.expect("short"))
            }
        };
        assert!(answered.is_ok() || end.connection.is_closing());
        let known = self.answers.insert(serial, text.into_bytes());
        assert_eq!(known, None, "it is answered once");
    }

    /// Takes one end's actions, and compares them with the model; `false` if
    /// there were none.
    fn poll(&mut self, by: bool) -> bool {
        let end = &mut self.ends[usize::from(by)];
        let mut polled = false;
        let short = self.serial.is_multiple_of(2);
        while let Some(action) = next_action(&mut end.connection, short) {
            polled = true;
            assert!(!end.closed, "nothing comes after the end");
            match action {
                Action::Reply { request, message } => {
                    let asked = end.pending.remove(&request);
                    let (serial, _) = asked.expect("it ends once");
                    let answer = self.answers.remove(&serial);
                    let answer = answer.expect("it was answered");
                    assert_eq!(message.content(), answer);
                }
                Action::TimedOut { request, .. } => {
                    let asked = end.pending.remove(&request);
                    let (_, deadline) = asked.expect("it ends once");
                    assert!(deadline <= end.told, "not before its time");
                }
                Action::Failed { request, .. } => {
                    let asked = end.pending.remove(&request);
                    assert!(asked.is_some(), "it ends once");
                    let ends = end.connection.is_closing() || end.eof;
                    assert!(ends || end.finishing, "not without a reason");
                }
                Action::Unrouted { message, reply, .. } => match reply {
                    Some(token) => end.take_in(token, message),
                    // It is an answer. The request that it belongs to is known,
                    // even if it was given up, but not if it has failed.
                    None => assert!(end.finishing, "{message:?}"),
                },
                Action::Closed { .. } => {
                    end.closed = true;
                    end.tokens.clear();
                }
                other => panic!("{other:?}"),
            }
        }
        end.check();
        polled
    }

    /// So many of the bytes that one end has written are read by the other;
    /// `false` if none were.
    fn deliver(&mut self, by: bool, count: usize) -> bool {
        let now = self.now;
        let [client, server] = &mut self.ends;
        let (from, to) = if by {
            (server, client)
        } else {
            (client, server)
        };
        if to.connection.is_closing() {
            from.pipe.clear();
        }
        if !to.connection.wants_read() {
            return false;
        }
        let count = count.min(from.pipe.len());
        let bytes: Vec<u8> = from.pipe.drain(..count).collect();
        to.connection.handle_input(now, &bytes);
        if from.closed && from.pipe.is_empty() && !to.eof {
            to.connection.handle_eof(now);
            to.eof = true;
            return true;
        }
        count > 0
    }

    fn wait_until(&mut self, moment: Instant) {
        self.now = moment;
        for end in &mut self.ends {
            end.told = moment;
            let due = end.pending.iter().filter(|(_, (_, end))| *end <= moment);
            end.due.extend(due.map(|(request, _)| *request));
            end.connection.handle_timeout(moment);
            let next = end.connection.poll_timeout();
            assert!(next.is_none_or(|at| at > moment), "it is handled");
        }
    }

    /// Answers and carries all there is, and lets time pass, until nothing is
    /// left to happen.
    fn settle(&mut self) {
        const ROUNDS: usize = 10_000;
        for _ in 0..ROUNDS {
            let mut moved = false;
            for by in [false, true] {
                moved |= self.poll(by);
                while !self.end(by).tokens.is_empty() {
                    self.answer(by, 0, Answer::Content);
                    moved = true;
                }
                moved |= self.end(by).write(usize::MAX);
                moved |= self.deliver(by, usize::MAX);
            }
            if moved {
                continue;
            }
            let wakeups = self.ends.iter().map(|end| end.connection.poll_timeout());
            let Some(next) = wakeups.flatten().min() else {
                return;
            };
            self.wait_until(next);
        }
        panic!("it never comes to rest");
    }
}

impl End {
    fn new(setup: &Setup, role: Role) -> Self {
        let config = Arc::new(config(setup, role));
        let mut router = Router::new();
        router.set_default_route(DefaultRoute::Unrouted);
        let remote = SocketAddr::from(([192, 0, 2, 1], 8888));
        let seed = [1 + u8::from(role == Role::Server); 32];
        let now = Instant::EPOCH;
        Self {
            sealer: Sealer::new(Arc::clone(&config), seed),
            connection: Connection::new(config, Arc::new(router), remote, seed, now),
            pending: BTreeMap::new(),
            handled: BTreeSet::new(),
            tokens: Vec::new(),
            pipe: VecDeque::new(),
            told: now,
            due: Vec::new(),
            closed: false,
            eof: false,
            finishing: false,
        }
    }

    /// A message has come that is no answer.
    fn take_in(&mut self, token: ReplyToken, message: Message) {
        if message.message_type() == MessageType::NOTIFY_URI {
            return self.connection.no_reply(token);
        }
        let new = self.handled.insert(serial_of(&message));
        assert!(new, "it comes once");
        self.tokens.push((token, message));
    }

    fn cancel(&mut self, now: Instant, nth: u8) {
        if let Some(nth) = nth_of(self.pending.len(), nth) {
            let id = *self.pending.keys().nth(nth).expect("so many");
            if self.connection.cancel(now, id) {
                self.pending.remove(&id);
            }
        }
    }

    fn notify(&mut self, now: Instant, length: u8) {
        let content = vec![0; length.into()];
        let notice = Message::new(MessageType::NOTIFY_URI, "news", content);
        let all = OuterUse::default();
        let notice = notice.expect("short");
        let sealed = self.sealer.seal(0, notice, &Layers::new(), all);
        let _ = self.connection.notify(now, &sealed.expect("short"));
    }

    /// So many bytes are written; `false` if none were.
    fn write(&mut self, count: usize) -> bool {
        let outgoing = self.connection.outgoing();
        let count = count.min(outgoing.remaining());
        self.pipe.extend(outgoing.copy_to_bytes(count));
        count > 0
    }

    /// All actions have been taken.
    fn check(&mut self) {
        assert_eq!(self.connection.pending(), self.pending.len());
        for request in self.due.drain(..) {
            assert!(!self.pending.contains_key(&request), "it ends in time");
        }
        if !self.connection.is_closing() {
            assert!(self.connection.in_flight() >= self.tokens.len());
        }
    }

    fn assert_at_rest(&self) {
        let connection = &self.connection;
        assert!(self.pending.is_empty() && self.tokens.is_empty());
        assert_eq!((connection.pending(), connection.given_up()), (0, 0));
        assert_eq!((connection.in_flight(), connection.queued()), (0, 0));
        assert_eq!(connection.notices(), 0);
        assert_eq!(connection.is_closing(), connection.is_closed());
    }
}

/// Narrow bounds, so that they are met; and replies are late for ever.
fn config(setup: &Setup, role: Role) -> EndpointConfig {
    let limits = Limits {
        max_in_flight: 4,
        max_pending: 32,
        max_outgoing: 4_000,
        outgoing_high_water: 1_000,
        max_notices: 1_000,
        late_reply_grace: Duration::from_secs(1 << 30),
        ..Limits::default()
    };
    let mut config = EndpointConfig {
        role,
        limits,
        ..EndpointConfig::default()
    };
    if setup.layers {
        config.layers = Layers::new().auth(NullAuthPlugin).cipher(NullCipherPlugin);
    }
    if !setup.ids {
        config.correlation = Correlation::Off;
    }
    config
}

fn kind_of(serial: Serial) -> MessageType {
    if serial.is_multiple_of(2) {
        MessageType::REQUEST_URI
    } else {
        MessageType::UPDATE_URI
    }
}

fn serial_of(request: &Message) -> Serial {
    let serial = request.content().first_chunk();
    Serial::from_be_bytes(*serial.expect("it is the model's"))
}
