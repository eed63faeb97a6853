//! What a node has to send, and whom it knows: datagrams as messages see them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::ops::Range;

use super::Datagram;
use crate::action::{CloseReason, Hint, TimeoutContext};
use crate::error::{SendError, TooLong};
use crate::exchange::{Carried, Carrier};
use crate::limits::Limits;
use crate::peers::Peers;
use crate::plugin::Peer;
use crate::time::Instant;
use crate::wire::header::Header;

/// What a node has to send, and whom it knows.
#[derive(Debug)]
pub(super) struct Datagrams {
    queue: VecDeque<Datagram>,
    /// Memory that they take.
    pub(super) bytes: usize,
    /// Datagrams that were ever put in.
    enqueued: u64,
    longest: usize,
    pub(super) open: bool,
    pub(super) peers: Peers,
    hints: Hints,
}

/// What a datagram costs besides its bytes, which it may share with others.
const DATAGRAM_OVERHEAD: usize = 64;

impl Datagrams {
    pub(super) fn new(longest: usize, peers: Peers) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            enqueued: 0,
            longest,
            open: true,
            peers,
            hints: Hints::default(),
        }
    }

    /// The hint that came since this request was sent, which had to be answered
    /// by `deadline`.
    pub(super) fn hint(
        &self,
        deadline: Instant,
        context: &TimeoutContext,
    ) -> Option<Hint> {
        self.hints.of(deadline, context)
    }

    pub(super) fn fits(&self, header: Header) -> Result<(), SendError> {
        let (length, limit) = (header.frame_length(), self.longest);
        if length > limit {
            let too_long = TooLong { length, limit };
            return Err(SendError::TooLongForDatagram(too_long));
        }
        Ok(())
    }

    pub(super) fn enqueue(&mut self, datagram: Datagram) {
        self.bytes += datagram.bytes.len() + DATAGRAM_OVERHEAD;
        self.enqueued += 1;
        self.queue.push_back(datagram);
    }

    pub(super) fn dequeue(&mut self) -> Option<Datagram> {
        let datagram = self.queue.pop_front();
        match &datagram {
            Some(datagram) => {
                self.bytes -= datagram.bytes.len() + DATAGRAM_OVERHEAD;
            }
            None if self.queue.capacity() > 64 => self.queue = VecDeque::new(),
            None => {}
        }
        datagram
    }

    /// Takes back the datagrams in these places, none of which has left.
    pub(super) fn withdraw(&mut self, places: &[Range<u64>]) {
        let mut at = self.sent();
        self.enqueued -= places.len() as u64;
        let mut places = places.iter().peekable();
        let bytes = &mut self.bytes;
        self.queue.retain(|datagram| {
            let taken = places.next_if(|place| place.start == at).is_some();
            at += 1;
            if taken {
                *bytes -= datagram.bytes.len() + DATAGRAM_OVERHEAD;
            }
            !taken
        });
    }

    /// Datagrams that were ever taken out.
    pub(super) fn sent(&self) -> u64 {
        self.enqueued - self.queue.len() as u64
    }
}

impl Carrier for Datagrams {
    const DATAGRAMS: bool = true;

    fn push(
        &mut self,
        _now: Instant,
        to: SocketAddr,
        frame: Carried<'_>,
    ) -> Result<Range<u64>, SendError> {
        self.fits(frame.header)?;
        let bytes = frame.to_bytes();
        self.enqueue(Datagram { to, bytes });
        Ok(self.enqueued - 1..self.enqueued)
    }

    fn queued(&self) -> usize {
        self.bytes
    }

    fn is_crowded(&self, _limits: &Limits) -> bool {
        false
    }

    fn is_open(&self) -> bool {
        self.open
    }

    /// Anybody can send anything to a node: nothing of it ends it.
    fn close(&mut self, _reason: CloseReason) -> bool {
        false
    }

    fn peer(&self, at: SocketAddr) -> Option<Arc<Peer>> {
        self.peers.at(at).map(|known| Arc::clone(&known.peer))
    }

    fn note_seen(&mut self, now: Instant, from: SocketAddr) {
        self.peers.note_seen(now, from);
    }

    fn keep_hint(&mut self, now: Instant, from: SocketAddr, hint: Hint) {
        self.hints.keep(now, from, hint);
    }
}

/// Errors that did not say what they were about: the last one from each of the
/// last addresses.
#[derive(Debug, Default)]
struct Hints {
    by_address: BTreeMap<SocketAddr, (Instant, Hint)>,
}

impl Hints {
    /// Addresses that a hint is kept of.
    const MOST: usize = 64;
    /// Characters of a hint's text that are kept.
    const LONGEST: usize = 256;

    fn keep(&mut self, now: Instant, from: SocketAddr, mut hint: Hint) {
        if hint.text.len() > Self::LONGEST {
            hint.text = hint.text.chars().take(Self::LONGEST).collect::<String>();
        }
        if self.by_address.len() >= Self::MOST
            && !self.by_address.contains_key(&from)
        {
            let ages = self.by_address.iter();
            let oldest = ages.min_by_key(|(_, (at, _))| *at).map(|(a, _)| *a);
            oldest.and_then(|address| self.by_address.remove(&address));
        }
        self.by_address.insert(from, (now, hint));
    }

    /// The hint that came since this request was sent, which had to be answered
    /// by `deadline`. Not by what time it is: that is later, by as much as timers
    /// are late.
    fn of(&self, deadline: Instant, context: &TimeoutContext) -> Option<Hint> {
        let (at, hint) = self.by_address.get(&context.server)?;
        let meanwhile = *at + context.timeout >= deadline;
        meanwhile.then(|| hint.clone())
    }
}
