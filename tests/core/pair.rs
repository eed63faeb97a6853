//! A client and a server, joined by a wire that cuts what it carries.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use netaio_proto::{
    Action, Connection, DefaultRoute, EndpointConfig, Instant, Message, Random,
    Request, RequestError, RequestId, Router, TimeoutContext,
};

use crate::frames::request;
use crate::server::Server;

/// Where the server is, as the client sees it.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    8888,
);

/// The client and the server, and the clock they share.
pub(crate) struct Pair<S> {
    pub(crate) client: Connection,
    pub(crate) server: S,
    pub(crate) now: Instant,
    /// How requests ended, in the order in which they did.
    pub(crate) outcomes: Vec<(RequestId, Outcome)>,
    /// What else the client was told.
    pub(crate) actions: Vec<Action>,
    pub(crate) wire: Wire,
    to_server: Pipe,
    to_client: Pipe,
    dice: Random,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(Message),
    TimedOut(TimeoutContext),
    Failed(RequestError),
}

/// What lies between the two ends.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    /// How long each byte takes.
    pub(crate) latency: Duration,
    /// Bytes of the longest piece.
    pub(crate) longest: usize,
    /// Bytes on the way that have not been read, in each direction.
    pub(crate) capacity: usize,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            longest: 100,
            capacity: usize::MAX,
        }
    }
}

impl<S: Server> Pair<S> {
    pub(crate) fn new(config: EndpointConfig, server: S, seed: u8) -> Self {
        Self {
            client: client(config),
            server,
            now: Instant::EPOCH,
            outcomes: Vec::new(),
            actions: Vec::new(),
            wire: Wire::default(),
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            dice: Random::from_seed([seed; 32]),
        }
    }

    /// Sends a `REQUEST_URI` that waits as long as Python's do.
    #[track_caller]
    pub(crate) fn ask(&mut self, uri: &str, content: &str) -> RequestId {
        self.send(Request::new(request(uri, content)))
    }

    /// Sends a `REQUEST_URI` that waits so many milliseconds.
    #[track_caller]
    pub(crate) fn ask_for(&mut self, ms: u64, uri: &str, text: &str) -> RequestId {
        let timeout = Duration::from_millis(ms);
        self.send(Request::new(request(uri, text)).timeout(timeout))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, request: Request) -> RequestId {
        self.client.request(self.now, request).expect("it is sent")
    }

    /// Gives a request up; `false` if it has ended.
    pub(crate) fn cancel(&mut self, id: RequestId) -> bool {
        self.client.cancel(self.now, id)
    }

    /// Lets both ends do what there is to do and moves some bytes; `false` if
    /// there was nothing.
    pub(crate) fn step(&mut self) -> bool {
        let now = self.now;
        if self.client.poll_timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
        let mut moved = self.server.work(now);
        while let Some(action) = self.client.poll_action() {
            moved = true;
            self.note(action);
        }
        let (wire, dice) = (&self.wire, &mut self.dice);
        moved |= self.to_server.fill(self.client.outgoing(), now, wire, dice);
        moved |= self.to_client.fill(self.server.outgoing(), now, wire, dice);
        for _ in 0..1 + self.dice.below(4) {
            if self.server.wants_read()
                && let Some(piece) = self.to_server.arrived(now)
            {
                moved = true;
                self.server.receive(now, &piece);
            }
            if self.client.wants_read()
                && let Some(piece) = self.to_client.arrived(now)
            {
                moved = true;
                self.client.handle_input(now, &piece);
            }
        }
        moved
    }

    /// Steps until nothing moves any more at this time.
    pub(crate) fn drive(&mut self) {
        while self.step() {}
    }

    /// Goes to the next moment at which something happens; `false` if none
    /// will come.
    #[track_caller]
    pub(crate) fn advance(&mut self) -> bool {
        let Some(next) = self.next_wakeup() else {
            return false;
        };
        assert!(
            next > self.now,
            "a deadline stays at {next:?} though handled"
        );
        self.now = next;
        true
    }

    /// Lets this much time pass.
    #[track_caller]
    pub(crate) fn run_for(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        self.drive();
        while self.next_wakeup().is_some_and(|next| next <= end) {
            self.advance();
            self.drive();
        }
        self.now = end;
    }

    /// How this request ended, if it has.
    pub(crate) fn outcome(&self, id: RequestId) -> Option<&Outcome> {
        let mut all = self.outcomes.iter().filter(|(ended, _)| *ended == id);
        let first = all.next();
        assert!(all.next().is_none(), "two outcomes of one request");
        first.map(|(_, outcome)| outcome)
    }

    /// The reply to this request.
    #[track_caller]
    pub(crate) fn reply(&self, id: RequestId) -> &Message {
        match self.outcome(id) {
            Some(Outcome::Reply(message)) => message,
            other => panic!("no reply, but {other:?}"),
        }
    }

    /// The failure of this request.
    #[track_caller]
    pub(crate) fn failure(&self, id: RequestId) -> &RequestError {
        match self.outcome(id) {
            Some(Outcome::Failed(error)) => error,
            other => panic!("no failure, but {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_timed_out(&self, id: RequestId) {
        let outcome = self.outcome(id);
        assert!(matches!(outcome, Some(Outcome::TimedOut(_))), "{outcome:?}");
    }

    /// Nothing is left and nothing will come by itself: no deadline, no
    /// request, no byte.
    #[track_caller]
    pub(crate) fn assert_at_rest(&mut self) {
        assert_eq!(table_length(&self.client), 0);
        assert_eq!(self.client.pending(), 0);
        assert_eq!(self.client.poll_timeout(), None);
        assert_eq!(self.client.queued(), 0);
        assert_eq!(self.next_wakeup(), None);
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let client = self.client.poll_timeout();
        let pipes = [&self.to_server, &self.to_client];
        let arrivals = pipes.map(|pipe| pipe.next(self.now));
        let ends = [client, self.server.wakeup()];
        ends.into_iter().chain(arrivals).flatten().min()
    }

    #[track_caller]
    fn note(&mut self, action: Action) {
        let (id, outcome) = match action {
            Action::Reply { request, message } => (request, Outcome::Reply(message)),
            Action::TimedOut { request, context } => {
                (request, Outcome::TimedOut(*context))
            }
            Action::Failed { request, error } => (request, Outcome::Failed(error)),
            other => return self.actions.push(other),
        };
        self.outcomes.push((id, outcome));
    }
}

/// Bytes on their way, in the pieces in which they will be read.
#[derive(Default)]
struct Pipe {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    length: usize,
}

impl Pipe {
    fn fill(
        &mut self,
        from: &mut dyn Buf,
        now: Instant,
        wire: &Wire,
        dice: &mut Random,
    ) -> bool {
        let mut moved = false;
        while from.has_remaining() && self.length < wire.capacity {
            let chunk = from.chunk();
            let wanted = 1 + dice.below(wire.longest as u64) as usize;
            let room = wire.capacity - self.length;
            let count = wanted.min(chunk.len()).min(room);
            let piece = chunk[..count].to_vec();
            self.pieces.push_back((now + wire.latency, piece));
            self.length += count;
            from.advance(count);
            moved = true;
        }
        moved
    }

    fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (at, _) = self.pieces.front()?;
        if *at > now {
            return None;
        }
        let (_, piece) = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// When the next piece arrives, if none waits to be read.
    fn next(&self, now: Instant) -> Option<Instant> {
        let (at, _) = self.pieces.front()?;
        Some(*at).filter(|at| *at > now)
    }
}

/// A client that hands out what no request of its own takes.
pub(crate) fn client(config: EndpointConfig) -> Connection {
    let mut router = Router::new();
    router.set_default_route(DefaultRoute::Unrouted);
    let (config, router) = (Arc::new(config), Arc::new(router));
    Connection::new(config, router, SERVER, [1; 32], Instant::EPOCH)
}

/// Requests in the table, those included that were given up.
pub(crate) fn table_length(connection: &Connection) -> usize {
    let shown = format!("{connection:?}");
    let (_, after) = shown.split_once(" pending: ").expect("it is shown");
    let digits = after.split(',').next().expect("a number");
    digits.parse().expect("a number")
}
