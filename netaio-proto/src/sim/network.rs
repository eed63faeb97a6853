//! A network between ends in one process: streams, datagrams, and what goes
//! wrong with them.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use bytes::{Buf, Bytes};

use super::faults::Faults;
use super::stream::{Half, Read, Side, Stream, StreamEnd};
use super::trace::{Trace, TraceEvent, TraceKind, hash_of};
use crate::action::CloseReason;
use crate::connection::Connection;
use crate::node::{Datagram, Node};
use crate::random::Random;
use crate::time::Instant;

/// A simulated network and its clock. One seed decides everything that it does.
///
/// Streams are made by [`connect`](Self::connect) and
/// [`accept`](Self::accept), datagrams need a [`bind`](Self::bind). Nothing
/// happens by itself: [`advance_to`](Self::advance_to) moves the clock, and what
/// has come by then can be read. [`carry`](Self::carry) and
/// [`carry_node`](Self::carry_node) do all that a socket does for a
/// [`Connection`] or a [`Node`]; [`run_until`](Self::run_until) is a whole event
/// loop.
#[derive(Debug)]
pub struct Network {
    now: Instant,
    random: Random,
    faults: Faults,
    trace: Trace,
    streams: BTreeMap<u32, Stream>,
    last_stream: u32,
    listeners: BTreeMap<SocketAddr, VecDeque<(Instant, StreamEnd)>>,
    sockets: BTreeMap<SocketAddr, Socket>,
    /// Datagrams on their way, in the order in which they come.
    flights: BTreeMap<(Instant, u64), Flight>,
    last_flight: u64,
    blocked: BTreeSet<(IpAddr, IpAddr)>,
}

/// Somebody who receives datagrams.
#[derive(Debug, Default)]
struct Socket {
    groups: BTreeSet<SocketAddr>,
    inbox: VecDeque<(SocketAddr, Bytes)>,
}

#[derive(Debug)]
struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Bytes,
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Network {
    /// A network without faults but a delay of a millisecond, at the epoch.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        for (place, byte) in bytes.iter_mut().zip(seed.to_le_bytes()) {
            *place = byte;
        }
        Self {
            now: Instant::EPOCH,
            random: Random::from_seed(bytes),
            faults: Faults::default(),
            trace: Trace::new(),
            streams: BTreeMap::new(),
            last_stream: 0,
            listeners: BTreeMap::new(),
            sockets: BTreeMap::new(),
            flights: BTreeMap::new(),
            last_flight: 0,
            blocked: BTreeSet::new(),
        }
    }

    // --- time and chance ---

    /// What time it is here.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When something comes next, if nobody sends anything before. What has come
    /// already and was not read does not count.
    pub fn next_event(&self) -> Option<Instant> {
        let flight = self.flights.keys().next().map(|(at, _)| *at);
        let streams = self.streams.values().flat_map(|stream| {
            [
                (&stream.connecting, &stream.accepting),
                (&stream.accepting, &stream.connecting),
            ]
        });
        let reads = streams
            .filter(|(to, from)| !self.is_blocked(from.address, to.address))
            .filter_map(|(to, _)| to.next_event(self.now));
        let arrivals = self.listeners.iter().filter_map(|(at, waiting)| {
            let (when, end) = waiting.front()?;
            let from = self.address_of(end.other())?;
            let comes = *when > self.now && !self.is_blocked(from, *at);
            comes.then_some(*when)
        });
        reads.chain(arrivals).chain(flight).min()
    }

    /// Moves the clock, never back, and delivers the datagrams that come until
    /// then.
    pub fn advance_to(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(first) = self.flights.first_entry()
            && first.key().0 <= self.now
        {
            let ((at, _), flight) = first.remove_entry();
            let Flight { from, to, bytes } = flight;
            let kind = match self.sockets.get_mut(&to) {
                Some(socket) => {
                    socket.inbox.push_back((from, bytes.clone()));
                    TraceKind::Receive
                }
                None => TraceKind::Lose,
            };
            self.fold_at(at, kind, from, to, 0, &bytes);
        }
    }

    /// The randomness behind everything here, for what else is to be decided by
    /// the same seed.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// What is done to what is sent from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// What is done to what is sent.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Lets nothing pass from one host to another, in this direction alone:
    /// datagrams are lost, what is written to streams waits.
    pub fn block(&mut self, from: IpAddr, to: IpAddr) {
        self.blocked.insert((from, to));
    }

    /// Lets everything pass again, in this direction.
    pub fn unblock(&mut self, from: IpAddr, to: IpAddr) {
        self.blocked.remove(&(from, to));
    }

    fn is_blocked(&self, from: SocketAddr, to: SocketAddr) -> bool {
        !self.blocked.is_empty() && self.blocked.contains(&(from.ip(), to.ip()))
    }

    fn chance(&mut self, percent: u8) -> bool {
        percent > 0 && self.random.below(100) < u64::from(percent)
    }

    fn delay(&mut self) -> Duration {
        let jitter = micros(self.faults.jitter);
        let more = match jitter {
            0 => 0,
            _ => self.random.below(jitter + 1),
        };
        self.faults.delay + Duration::from_micros(more)
    }

    /// A number from 1 to `most`.
    fn length(&mut self, most: u32) -> u64 {
        1 + self.random.below(u64::from(most.max(1)))
    }

    // --- streams ---

    /// Takes streams at this address from now on.
    pub fn listen(&mut self, at: SocketAddr) {
        self.listeners.entry(at).or_default();
    }

    /// Takes no more streams at this address. Those that nobody has accepted
    /// are reset.
    pub fn stop_listening(&mut self, at: SocketAddr) {
        let waiting = self.listeners.remove(&at).unwrap_or_default();
        for (_, end) in waiting {
            self.reset(end);
        }
    }

    /// Begins a stream. It can be written to at once; if nobody listens there,
    /// it is reset.
    pub fn connect(&mut self, from: SocketAddr, to: SocketAddr) -> StreamEnd {
        self.last_stream += 1;
        let stream = self.last_stream;
        let halves = Stream {
            connecting: Half::new(from),
            accepting: Half::new(to),
        };
        self.streams.insert(stream, halves);
        let side = Side::Connecting;
        let end = StreamEnd { stream, side };
        let at = self.now + self.delay();
        if let Some(waiting) = self.listeners.get_mut(&to) {
            let last = waiting.back().map(|(at, _)| *at);
            waiting.push_back((at.max(last.unwrap_or(at)), end.other()));
            self.fold(TraceKind::Connect, from, to, stream, &[]);
        } else {
            self.fold(TraceKind::Refuse, from, to, stream, &[]);
            self.reset(end.other());
        }
        end
    }

    /// The next stream that has come to this address, and who began it.
    pub fn accept(&mut self, at: SocketAddr) -> Option<(StreamEnd, SocketAddr)> {
        let (when, end) = *self.listeners.get(&at)?.front()?;
        let from = self.address_of(end.other())?;
        if when > self.now || self.is_blocked(from, at) {
            return None;
        }
        self.listeners.get_mut(&at)?.pop_front();
        self.fold(TraceKind::Accept, at, from, end.stream, &[]);
        Some((end, from))
    }

    /// Writes as much to a stream as it takes now, in one call; gives how many
    /// bytes that were. They are taken out of `bytes`.
    pub fn write(&mut self, end: StreamEnd, bytes: &mut impl Buf) -> usize {
        let length = bytes.chunk().len() as u64;
        if length == 0 || !self.can_write(end) {
            return 0;
        }
        let most = self.length(self.faults.longest_write);
        let at = self.now + self.delay();
        let window = u64::from(self.faults.window.max(1));
        let Some(stream) = self.streams.get_mut(&end.stream) else {
            return 0;
        };
        let from = stream.half(end.side).address;
        let to = stream.half(end.other().side);
        let room = window.saturating_sub(to.inbound.bytes());
        let count = most.min(length).min(room) as usize;
        let taken = bytes.copy_to_bytes(count);
        let address = to.address;
        if to.reads {
            to.inbound.push_bytes(at, taken.clone());
        }
        self.fold(TraceKind::Write, from, address, end.stream, &taken);
        count
    }

    /// Whether a write to this end of a stream takes anything now.
    pub fn can_write(&self, end: StreamEnd) -> bool {
        let window = u64::from(self.faults.window.max(1));
        let own = self.half(end).is_some_and(|half| half.writes);
        own && self
            .half(end.other())
            .is_some_and(|half| half.inbound.bytes() < window)
    }

    /// Reads what has come to this end of a stream, or a part of it.
    pub fn read(&mut self, end: StreamEnd) -> Read {
        if !self.can_read(end) {
            return Read::Nothing;
        }
        let most = self.length(self.faults.longest_read);
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&end.stream) else {
            return Read::Nothing;
        };
        let from = stream.half(end.other().side).address;
        let half = stream.half(end.side);
        let address = half.address;
        let read = half.inbound.pop(now, most);
        let (kind, bytes) = match &read {
            Read::Bytes(bytes) => (TraceKind::Read, &bytes[..]),
            Read::End => (TraceKind::ReadEnd, &[][..]),
            Read::Reset => (TraceKind::ReadReset, &[][..]),
            Read::Nothing => return Read::Nothing,
        };
        if read == Read::Reset {
            half.writes = false;
            half.reads = false;
            half.inbound.clear();
        }
        self.fold(kind, address, from, end.stream, bytes);
        self.forget_if_over(end.stream);
        read
    }

    /// Whether a read from this end of a stream gives anything now.
    pub fn can_read(&self, end: StreamEnd) -> bool {
        let Some((half, other)) = self.half(end).zip(self.half(end.other())) else {
            return false;
        };
        half.reads
            && half.paused_until <= self.now
            && half.inbound.has_come(self.now)
            && !self.is_blocked(other.address, half.address)
    }

    /// Makes this end of a stream read nothing until then, so that what the
    /// other writes piles up.
    pub fn pause_reading(&mut self, end: StreamEnd, until: Instant) {
        if let Some(stream) = self.streams.get_mut(&end.stream) {
            stream.half(end.side).paused_until = until;
        }
    }

    /// Says that this end writes no more. What it has written still comes, and
    /// it can still read.
    pub fn finish(&mut self, end: StreamEnd) {
        let at = self.now + self.delay();
        let Some(stream) = self.streams.get_mut(&end.stream) else {
            return;
        };
        let half = stream.half(end.side);
        let address = half.address;
        if !core::mem::take(&mut half.writes) {
            return;
        }
        let other = stream.half(end.other().side);
        other.inbound.push_end(at);
        let to = other.address;
        self.fold(TraceKind::Finish, address, to, end.stream, &[]);
        self.forget_if_over(end.stream);
    }

    /// Finishes, and reads no more: what still comes is thrown away.
    pub fn close(&mut self, end: StreamEnd) {
        self.finish(end);
        if let Some(stream) = self.streams.get_mut(&end.stream) {
            let half = stream.half(end.side);
            half.reads = false;
            half.inbound.clear();
        }
        self.forget_if_over(end.stream);
    }

    /// Ends a stream at once, as when a process dies: some of what is on its way
    /// to the other end is lost, all that has not been read here is.
    pub fn reset(&mut self, end: StreamEnd) {
        let at = self.now + self.delay();
        let Some(half) = self.half(end.other()) else {
            return;
        };
        let under_way = half.inbound.bytes();
        let lost = match under_way {
            0 => 0,
            _ => self.random.below(under_way + 1),
        };
        let Some(stream) = self.streams.get_mut(&end.stream) else {
            return;
        };
        let half = stream.half(end.side);
        let address = half.address;
        half.inbound.clear();
        half.writes = false;
        half.reads = false;
        let other = stream.half(end.other().side);
        let to = other.address;
        other.inbound.push_reset(at, lost);
        self.fold(TraceKind::Reset, address, to, end.stream, &[]);
        self.forget_if_over(end.stream);
    }

    fn half(&self, end: StreamEnd) -> Option<&Half> {
        let stream = self.streams.get(&end.stream)?;
        Some(match end.side {
            Side::Connecting => &stream.connecting,
            Side::Accepting => &stream.accepting,
        })
    }

    fn address_of(&self, end: StreamEnd) -> Option<SocketAddr> {
        self.half(end).map(|half| half.address)
    }

    fn forget_if_over(&mut self, stream: u32) {
        if self.streams.get(&stream).is_some_and(Stream::is_over) {
            self.streams.remove(&stream);
        }
    }

    /// Streams that are not over yet.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Does for a connection what a socket and a timer do: tells it what time it
    /// is by its own clock (as a rule, [`now`](Self::now)) if that is due, writes
    /// what it has to write, and reads as long as it wants to. `true` if
    /// anything happened; then poll its actions.
    ///
    /// A connection that is told of the end of the stream goes on by itself. Once
    /// it has reported its own end, [`close`](Self::close) or
    /// [`reset`](Self::reset) the stream.
    pub fn carry(
        &mut self,
        end: StreamEnd,
        now: Instant,
        connection: &mut Connection,
    ) -> bool {
        let mut happened = false;
        if connection.poll_timeout().is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
            happened = true;
        }
        while self.write(end, connection.outgoing()) > 0 {
            happened = true;
        }
        while connection.wants_read() {
            match self.read(end) {
                Read::Bytes(bytes) => connection.handle_input(now, &bytes),
                Read::Nothing => break,
                Read::End => connection.handle_eof(now),
                Read::Reset => {
                    connection.close(now, CloseReason::Io("reset".into()));
                }
            }
            happened = true;
        }
        happened
    }

    // --- datagrams ---

    /// Receives datagrams at this address from now on.
    pub fn bind(&mut self, at: SocketAddr) {
        self.sockets.entry(at).or_default();
    }

    /// Receives no more at this address; what came and was not taken is lost.
    pub fn unbind(&mut self, at: SocketAddr) {
        self.sockets.remove(&at);
    }

    /// Receives what is sent to a multicast group as well, at an address that
    /// was bound before.
    pub fn join(&mut self, at: SocketAddr, group: SocketAddr) {
        if let Some(socket) = self.sockets.get_mut(&at) {
            socket.groups.insert(group);
        }
    }

    /// Sends a datagram to an address, or to all who joined a group there, the
    /// sender included.
    pub fn send(&mut self, from: SocketAddr, datagram: &Datagram) {
        let Datagram { to, bytes } = datagram;
        self.fold(TraceKind::Send, from, *to, 0, bytes);
        let members = self.sockets.iter();
        let members = members.filter(|(_, socket)| socket.groups.contains(to));
        let mut receivers: Vec<_> = members.map(|(at, _)| *at).collect();
        if receivers.is_empty() {
            receivers.push(*to);
        }
        for to in receivers {
            let copies = 1 + u8::from(self.chance(self.faults.duplicated));
            for _ in 0..copies {
                self.send_copy(from, to, bytes.clone());
            }
        }
    }

    fn send_copy(&mut self, from: SocketAddr, to: SocketAddr, mut bytes: Bytes) {
        if self.chance(self.faults.lost) || self.is_blocked(from, to) {
            self.fold(TraceKind::Lose, from, to, 0, &bytes);
            return;
        }
        if self.chance(self.faults.cut) {
            let rest = self.random.below(bytes.len() as u64);
            bytes.truncate(rest as usize);
        }
        let mut delay = self.delay();
        if self.chance(self.faults.reordered) {
            let most = micros(self.faults.delay).saturating_mul(10);
            delay += Duration::from_micros(self.random.below(most));
        }
        self.last_flight += 1;
        let key = (self.now + delay, self.last_flight);
        self.flights.insert(key, Flight { from, to, bytes });
    }

    /// The next datagram that has come to this address, and who sent it.
    pub fn receive(&mut self, at: SocketAddr) -> Option<(SocketAddr, Bytes)> {
        self.sockets.get_mut(&at)?.inbox.pop_front()
    }

    /// Does for a node what a socket and a timer do: tells it what time it is by
    /// its own clock (as a rule, [`now`](Self::now)) if that is due, hands it a
    /// datagram that came and sends what it has to send. `true` if anything
    /// happened; then poll its actions, and call it again.
    pub fn carry_node(
        &mut self,
        at: SocketAddr,
        now: Instant,
        node: &mut Node,
    ) -> bool {
        let mut happened = false;
        if node.poll_timeout().is_some_and(|due| due <= now) {
            node.handle_timeout(now);
            happened = true;
        }
        if let Some((from, bytes)) = self.receive(at) {
            node.handle_datagram(now, from, &bytes);
            happened = true;
        }
        while let Some(datagram) = node.poll_datagram() {
            self.send(at, &datagram);
            happened = true;
        }
        happened
    }

    // --- what happened ---

    /// A number that all that happened so far gives, in its order. It is the
    /// same for the same seed and the same calls, in every run and on every
    /// machine.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// How much has happened.
    pub fn trace_count(&self) -> u64 {
        self.trace.count()
    }

    /// Keeps what happens from now on, to be looked at.
    pub fn keep_trace(&mut self) {
        self.trace.keep();
    }

    /// What happened since it was to be kept.
    pub fn trace(&self) -> &[TraceEvent] {
        self.trace.kept()
    }

    /// Notes something of your own, so that the trace's number depends on it:
    /// how a request ended, say.
    pub fn note(&mut self, what: &[u8]) {
        self.fold(TraceKind::Note, NOWHERE, NOWHERE, 0, what);
    }

    fn fold(
        &mut self,
        kind: TraceKind,
        from: SocketAddr,
        to: SocketAddr,
        stream: u32,
        bytes: &[u8],
    ) {
        self.fold_at(self.now, kind, from, to, stream, bytes);
    }

    fn fold_at(
        &mut self,
        at: Instant,
        kind: TraceKind,
        from: SocketAddr,
        to: SocketAddr,
        stream: u32,
        bytes: &[u8],
    ) {
        self.trace.fold(TraceEvent {
            at,
            kind,
            from,
            to,
            stream,
            length: bytes.len() as u64,
            hash: hash_of(bytes),
        });
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
