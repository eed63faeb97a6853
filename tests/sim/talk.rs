//! What an end has asked and what it has been asked, be it over a stream or by
//! datagrams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use netaio_proto::{
    Action, Connection, Instant, Message, Node, ReplyToken, Request, RequestId,
    SendError,
};

use crate::clock::Clock;
use crate::oracle::{Channel, Matching, Oracle};
use crate::question::{self, Plan, Question};

pub(crate) type SharedOracle = Rc<RefCell<Oracle>>;

/// What asks and answers: a connection, or a node.
pub(crate) trait Endpoint {
    fn ask(
        &mut self,
        now: Instant,
        to: SocketAddr,
        request: Request,
    ) -> Result<RequestId, SendError>;
    fn give_up(&mut self, now: Instant, id: RequestId) -> bool;
    fn answer(
        &mut self,
        now: Instant,
        token: ReplyToken,
        reply: Message,
    ) -> Result<(), SendError>;
    fn fail(
        &mut self,
        now: Instant,
        token: ReplyToken,
        text: &str,
    ) -> Result<(), SendError>;
    fn skip(&mut self, token: ReplyToken);
    fn is_over(&self) -> bool;
}

macro_rules! endpoint {
    ($type:ty, |$self:ident, $now:ident, $to:ident, $request:ident| $ask:expr,
     $over:ident) => {
        impl Endpoint for $type {
            fn ask(
                &mut $self,
                $now: Instant,
                $to: SocketAddr,
                $request: Request,
            ) -> Result<RequestId, SendError> {
                $ask
            }

            fn give_up(&mut self, now: Instant, id: RequestId) -> bool {
                self.cancel(now, id)
            }

            fn answer(
                &mut self,
                now: Instant,
                token: ReplyToken,
                reply: Message,
            ) -> Result<(), SendError> {
                self.reply(now, token, reply)
            }

            fn fail(
                &mut self,
                now: Instant,
                token: ReplyToken,
                text: &str,
            ) -> Result<(), SendError> {
                self.reply_error(now, token, text)
            }

            fn skip(&mut self, token: ReplyToken) {
                self.no_reply(token);
            }

            fn is_over(&self) -> bool {
                self.$over()
            }
        }
    };
}

endpoint!(
    Connection,
    |self, now, _to, request| self.request(now, request),
    is_closing
);
endpoint!(
    Node,
    |self, now, to, request| self.request(now, to, request),
    is_closed
);

/// Questions of ours that are open, and those of others.
pub(crate) struct Talk {
    oracle: SharedOracle,
    clock: Clock,
    open: BTreeMap<RequestId, u64>,
    /// When which of them will be cancelled, by our clock.
    cancels: BTreeMap<(Instant, u64), RequestId>,
    /// Answers that handlers will have, by our clock.
    due: BTreeMap<(Instant, u64), (ReplyToken, Message)>,
    handled: u64,
    /// What handlers that never end hold.
    pub(crate) kept: Vec<ReplyToken>,
    /// What is to be asked of the endpoint's owner.
    pub(crate) subscribing: Vec<(SocketAddr, Message, ReplyToken)>,
    /// How requests ended, in a form that can be hashed.
    pub(crate) notes: Vec<u8>,
}

/// What is asked, and how.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) timeout: Duration,
    /// After so long it is cancelled.
    pub(crate) cancel: Option<Duration>,
}

impl Talk {
    pub(crate) fn new(oracle: SharedOracle, clock: Clock) -> Self {
        Self {
            oracle,
            clock,
            open: BTreeMap::new(),
            cancels: BTreeMap::new(),
            due: BTreeMap::new(),
            handled: 0,
            kept: Vec::new(),
            subscribing: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Asks; gives the number of the question if it was sent.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
        (over, to): (Channel, SocketAddr),
        matching: Matching,
        ask: &Ask,
    ) -> Option<u64> {
        let local = self.clock.local(now);
        let mut oracle = self.oracle.borrow_mut();
        let serial = oracle.next();
        let request = ask.question.request(serial, ask.timeout);
        let id = match endpoint.ask(local, to, request) {
            Ok(id) => id,
            Err(
                SendError::Closed
                | SendError::OutgoingFull { .. }
                | SendError::TooManyPending { .. },
            ) => return None,
            Err(error) => panic!("{error:?} for {ask:?}"),
        };
        let deadline = local + ask.timeout;
        let question = ask.question.clone();
        oracle.asked(over, question, matching, deadline);
        assert_eq!(self.open.insert(id, serial), None, "an id is used twice");
        if let Some(after) = ask.cancel {
            self.cancels.insert((local + after, serial), id);
        }
        Some(serial)
    }

    /// Does what is due by our clock; `true` if anything was.
    pub(crate) fn work(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
    ) -> bool {
        let local = self.clock.local(now);
        let mut worked = false;
        while let Some(first) = self.cancels.first_entry()
            && first.key().0 <= local
        {
            worked = true;
            let ((_, serial), id) = first.remove_entry();
            let open = self.open.remove(&id).is_some();
            let given_up = endpoint.give_up(local, id);
            // Whoever has an end that was not yet told cannot be cancelled.
            assert!(open || !given_up, "{serial} ended and is cancelled");
            if given_up {
                self.oracle.borrow_mut().cancelled(serial, local, now);
                assert!(!endpoint.give_up(local, id), "{serial} cancelled twice");
            } else if open {
                self.open.insert(id, serial);
            }
        }
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= local
        {
            worked = true;
            let (token, asked) = first.remove();
            self.respond(now, endpoint, token, &asked);
        }
        worked
    }

    fn respond(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
        token: ReplyToken,
        asked: &Message,
    ) {
        let reply = question::answer(asked);
        let sent = endpoint.answer(self.clock.local(now), token, reply);
        match sent {
            Ok(()) => {
                self.oracle.borrow_mut().responded(asked.content(), now);
            }
            Err(SendError::Closed | SendError::StaleToken) => {
                assert!(endpoint.is_over(), "{sent:?}");
            }
            Err(error) => panic!("{error:?} for {asked:?}"),
        }
    }

    /// Acts on an action if it is about a question, or about a message.
    pub(crate) fn act(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
        over: Channel,
        action: Action,
    ) -> Option<Action> {
        let local = self.clock.local(now);
        match action {
            Action::Reply { request, message } => {
                let serial = self.end(request);
                self.note(b'r', serial);
                let mut oracle = self.oracle.borrow_mut();
                oracle.answered(serial, &message, local, now);
            }
            Action::TimedOut { request, context } => {
                let serial = self.end(request);
                self.note(b't', serial);
                self.oracle.borrow_mut().timed_out(serial, local, now);
                drop(context);
            }
            Action::Failed { request, error } => {
                let serial = self.end(request);
                self.note(b'f', serial);
                self.oracle.borrow_mut().failed(serial, &error, local);
            }
            Action::Dispatch {
                message,
                reply: Some(token),
                from,
                ..
            } => self.handle(now, endpoint, (over, from), message, token),
            Action::Dispatch {
                message,
                reply: None,
                ..
            } => self.oracle.borrow_mut().noticed(over, &message),
            Action::AuthFailed(failed) => {
                if let Some((token, reply)) = failed.reply.zip(failed.default_reply)
                {
                    let sent = endpoint.answer(local, token, reply);
                    assert!(sent.is_ok() || endpoint.is_over(), "{sent:?}");
                }
            }
            other => return Some(other),
        }
        None
    }

    fn end(&mut self, request: RequestId) -> u64 {
        let serial = self.open.remove(&request);
        serial.unwrap_or_else(|| panic!("{request:?} ended before or was cancelled"))
    }

    fn note(&mut self, what: u8, serial: u64) {
        self.notes.push(what);
        self.notes.extend(serial.to_le_bytes());
    }

    fn handle(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
        (over, from): (Channel, SocketAddr),
        message: Message,
        token: ReplyToken,
    ) {
        use netaio_proto::MessageType as T;
        let stream = matches!(over, Channel::Stream(_)).then_some(over);
        self.handled += 1;
        if message.message_type() == T::NOTIFY_URI {
            self.oracle.borrow_mut().noticed(over, &message);
            return endpoint.skip(token);
        }
        self.oracle.borrow_mut().handled(stream, &message);
        if matches!(
            message.message_type(),
            T::SUBSCRIBE_URI | T::UNSUBSCRIBE_URI
        ) {
            return self.subscribing.push((from, message, token));
        }
        let local = self.clock.local(now);
        match question::read(message.content()) {
            None => endpoint.skip(token),
            Some((_, Plan::Answer)) => self.respond(now, endpoint, token, &message),
            Some((_, Plan::After(delay))) => {
                self.due
                    .insert((local + delay, self.handled), (token, message));
            }
            Some((serial, Plan::Fail)) => {
                let text = question::failure(serial);
                let text = String::from_utf8(text).expect("it is text");
                let sent = endpoint.fail(local, token, &text);
                assert!(sent.is_ok() || endpoint.is_over(), "{sent:?}");
                self.oracle.borrow_mut().responded(message.content(), now);
            }
            Some((_, Plan::Skip)) => endpoint.skip(token),
            Some((_, Plan::Keep)) => self.kept.push(token),
        }
    }

    /// Answers what was asked of the endpoint's owner.
    pub(crate) fn confirm(
        &mut self,
        now: Instant,
        endpoint: &mut impl Endpoint,
        message: &Message,
        token: ReplyToken,
    ) {
        self.respond(now, endpoint, token, message);
    }

    /// When anything is due by our clock, in the network's time.
    pub(crate) fn wakeup(&self) -> Option<Instant> {
        let cancel = self.cancels.keys().next().map(|(at, _)| *at);
        let due = self.due.keys().next().map(|(at, _)| *at);
        [cancel, due]
            .into_iter()
            .flatten()
            .min()
            .map(|at| self.clock.when(at))
    }

    /// Answers that handlers still work on.
    pub(crate) fn answers_due(&self) -> usize {
        self.due.len()
    }

    /// Forgets everything: the process has died.
    pub(crate) fn crash(&mut self, now: Instant) {
        let mut oracle = self.oracle.borrow_mut();
        for serial in std::mem::take(&mut self.open).into_values() {
            oracle.lost(serial, now);
        }
        self.cancels.clear();
        self.due.clear();
        self.kept.clear();
        self.subscribing.clear();
    }

    /// Nothing is open, or will be.
    #[track_caller]
    pub(crate) fn assert_none_open(&self) {
        assert!(self.open.is_empty(), "not told of {:?}", self.open);
    }
}
