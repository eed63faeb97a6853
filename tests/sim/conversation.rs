//! One connection of an end of ours, from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use netaio_proto::sim::{Network, Read, StreamEnd};
use netaio_proto::{
    Action, CloseReason, Connection, Correlation, EndpointConfig, Instant, Outgoing,
    Router,
};

use crate::clock::Clock;
use crate::oracle::{Channel, Matching};
use crate::talk::{Ask, SharedOracle, Talk};

pub(crate) struct Conversation {
    pub(crate) connection: Connection,
    pub(crate) end: StreamEnd,
    pub(crate) talk: Talk,
    matching: Matching,
    clock: Clock,
    /// What was taken to be written, by an end that reads and writes where its
    /// connection is not at hand, as the driver does.
    taken: Option<Outgoing>,
    /// Whether it was told to do something since its last turn.
    pub(crate) touched: bool,
    /// How it ended.
    pub(crate) closed: Option<CloseReason>,
}

/// What a conversation is made of.
#[derive(Clone)]
pub(crate) struct Speaker {
    pub(crate) who: usize,
    pub(crate) config: Arc<EndpointConfig>,
    pub(crate) router: Arc<Router>,
    pub(crate) clock: Clock,
    /// Whether it has the right secrets.
    pub(crate) honest: bool,
    pub(crate) oracle: SharedOracle,
}

impl Speaker {
    /// How answers to its questions are told apart, if it asks one of ours or
    /// one like Python's.
    pub(crate) fn matching(&self, python: bool) -> Matching {
        match self.config.correlation {
            _ if python => Matching::Python,
            Correlation::RequestIds => Matching::ById,
            Correlation::Off => Matching::InOrder,
        }
    }
}

impl Conversation {
    pub(crate) fn new(
        speaker: &Speaker,
        network: &mut Network,
        end: StreamEnd,
        remote: std::net::SocketAddr,
        matching: Matching,
    ) -> Self {
        let Speaker {
            who: _,
            config,
            router,
            clock,
            honest,
            oracle,
        } = speaker.clone();
        if !honest {
            let over = Channel::Stream(end.stream());
            oracle.borrow_mut().distrust(over);
        }
        let local = clock.local(network.now());
        let seed = network.random().bytes();
        let mut connection = Connection::new(config, router, remote, seed, local);
        connection.set_unix_time(network.random().next_u64());
        Self {
            connection,
            end,
            talk: Talk::new(oracle, clock),
            matching,
            clock,
            taken: (network.random().below(2) == 0).then(Outgoing::new),
            touched: true,
            closed: None,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::Stream(self.end.stream())
    }

    pub(crate) fn ask(&mut self, now: Instant, ask: &Ask) -> Option<u64> {
        self.touched = true;
        let to = self.connection.remote();
        let over = (self.channel(), to);
        self.talk
            .ask(now, &mut self.connection, over, self.matching, ask)
    }

    /// Does what there is to do; `true` if there was anything.
    pub(crate) fn turn(&mut self, network: &mut Network) -> bool {
        let now = network.now();
        let local = self.clock.local(now);
        if self.closed.is_some() || !self.has_work(network, local) {
            return false;
        }
        let mut happened = match self.taken.take() {
            None => network.carry(self.end, local, &mut self.connection),
            Some(mut taken) => {
                let happened = self.carry_apart(network, local, &mut taken);
                self.taken = Some(taken);
                happened
            }
        };
        happened |= self.talk.work(now, &mut self.connection);
        while let Some(action) = self.connection.poll_action() {
            happened = true;
            assert!(self.closed.is_none(), "after the end: {action:?}");
            let over = self.channel();
            match self.talk.act(now, &mut self.connection, over, action) {
                Some(Action::Closed { reason }) => self.end(network, reason),
                Some(Action::Unrouted { message, reply, .. }) => {
                    // Only answers that nobody waits for.
                    assert!(reply.is_none(), "{message:?}");
                }
                Some(Action::Rejected { error, .. }) => {
                    panic!("streams damage nothing, but {error:?}")
                }
                None => {}
                Some(other) => panic!("{other:?}"),
            }
        }
        self.touched = happened;
        let notes = std::mem::take(&mut self.talk.notes);
        if !notes.is_empty() {
            network.note(&notes);
        }
        if !happened && self.taken.is_some() {
            self.connection.release_buffers();
        }
        let next = self.connection.poll_timeout();
        let passed = !happened && next.is_some_and(|at| at <= local);
        assert!(!passed, "a deadline stays at {next:?} though handled");
        happened
    }

    /// Whether there can be anything to do. Most of the time there is not.
    fn has_work(&mut self, network: &Network, local: Instant) -> bool {
        let of = &self.connection;
        let waiting = of.queued() + of.notices() > 0;
        let due = of.poll_timeout().is_some_and(|at| at <= local);
        std::mem::take(&mut self.touched)
            || of.is_closing()
            || due
            || self.talk.wakeup().is_some_and(|at| at <= network.now())
            || waiting && network.can_write(self.end)
            || network.can_read(self.end)
    }

    /// What [`Network::carry`] does, as the driver does it.
    fn carry_apart(
        &mut self,
        network: &mut Network,
        local: Instant,
        taken: &mut Outgoing,
    ) -> bool {
        let connection = &mut self.connection;
        let mut happened = false;
        if connection.poll_timeout().is_some_and(|at| at <= local) {
            connection.handle_timeout(local);
            happened = true;
        }
        loop {
            connection.take_outgoing(taken);
            let count = network.write(self.end, taken);
            if count == 0 {
                break;
            }
            connection.handle_written(local, count);
            happened = true;
        }
        while connection.wants_read() {
            let mut decoder = connection.take_decoder();
            let read = network.read(self.end);
            let mut count = 0;
            if let Read::Bytes(bytes) = &read {
                let mut bytes = &bytes[..];
                while !bytes.is_empty() {
                    let room = decoder.recv_buffer();
                    count = room.len().min(bytes.len());
                    room[..count].copy_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    if !bytes.is_empty() {
                        connection.return_decoder(local, decoder, count);
                        decoder = connection.take_decoder();
                    }
                }
            }
            connection.return_decoder(local, decoder, count);
            match read {
                Read::Bytes(_) => {}
                Read::Nothing => break,
                Read::End => connection.handle_eof(local),
                Read::Reset => {
                    connection.close(local, CloseReason::Io("reset".into()));
                }
            }
            happened = true;
        }
        happened
    }

    /// The connection has reported its end: nothing is left of it.
    fn end(&mut self, network: &mut Network, reason: CloseReason) {
        self.talk.assert_none_open();
        self.assert_empty();
        assert!(self.connection.is_closed());
        assert_eq!(self.connection.in_flight(), 0);
        assert_eq!(self.connection.poll_timeout(), None);
        assert!(!self.connection.wants_read());
        match reason {
            CloseReason::Eof | CloseReason::Local | CloseReason::Shutdown => {
                network.close(self.end);
            }
            _ => network.reset(self.end),
        }
        self.closed = Some(reason);
        self.talk.kept.clear();
    }

    /// No table has anything in it but what handlers hold.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        let of = &self.connection;
        // What it had given away to be written before it was closed.
        let taken = self.taken.as_ref().map_or(0, Buf::remaining);
        let queued = of.queued() - taken;
        let left = (of.pending(), of.given_up(), queued, of.notices());
        assert_eq!(left, (0, 0, 0, 0), "{of:?}");
        // Everything else would be a second way to be wrong.
        let shown = format!("{of:?}");
        assert!(shown.contains(" pending: 0,"), "{shown}");
    }

    /// What handlers do not hold is not in flight any more.
    #[track_caller]
    pub(crate) fn assert_answered(&self) {
        let held = self.talk.kept.len() + self.talk.answers_due();
        assert_eq!(self.connection.in_flight(), held, "{:?}", self.connection);
    }

    pub(crate) fn shutdown(&mut self, now: Instant, within: Duration) {
        self.touched = true;
        self.connection.shutdown(self.clock.local(now), within);
    }

    pub(crate) fn finish(&mut self, now: Instant, within: Duration) {
        self.touched = true;
        self.connection.finish(self.clock.local(now), within);
    }

    /// The process has died.
    pub(crate) fn crash(&mut self, network: &mut Network) {
        if self.closed.is_none() {
            self.talk.crash(network.now());
            network.reset(self.end);
        }
    }

    pub(crate) fn wakeup(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let timeout = self.connection.poll_timeout();
        let timeout = timeout.map(|at| self.clock.when(at));
        [timeout, self.talk.wakeup()].into_iter().flatten().min()
    }
}
