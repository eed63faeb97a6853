//! What a connection has to write, and how far it has come to its end: the
//! stream as messages see it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::ops::Range;

use bytes::{Buf as _, Bytes};

use super::State;
use crate::action::{CloseReason, Hint};
use crate::error::SendError;
use crate::exchange::{Carried, Carrier};
use crate::limits::{LagPolicy, Limits};
use crate::outgoing::Outgoing;
use crate::outgoing_total::{OutgoingShare, OutgoingTotal};
use crate::plugin::Peer;
use crate::time::Instant;

/// Bytes that wait in the queue proper above which notices stay in theirs,
/// where they can still be dropped.
const NOTICES_ON_THEIR_WAY: usize = 64 * 1024;
/// What a notice costs besides its bytes, which it shares with others.
const NOTICE_OVERHEAD: usize = 64;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) remote: SocketAddr,
    pub(super) peer: Option<Arc<Peer>>,
    pub(super) outgoing: Outgoing,
    /// Bytes that were ever put into `outgoing`.
    pub(super) enqueued: u64,
    /// Bytes that were taken with `take_outgoing` and are not yet written.
    pub(super) taken: usize,
    /// What was sent to many, and waits for room in `outgoing`.
    notices: VecDeque<Bytes>,
    notice_bytes: usize,
    pub(super) state: State,
    pub(super) share: OutgoingShare,
    write_timer: Option<WriteTimer>,
    answers: Answers,
}

/// How many bytes of what was put in are answers. Where each lies is not kept: they
/// are counted in two parts, and the older is forgotten once it is written.
#[derive(Debug, Default)]
struct Answers {
    older: u64,
    newer: u64,
    /// Where the newer part begins.
    newer_from: u64,
}

/// Since when, and from where on, bytes wait to be written.
#[derive(Clone, Copy, Debug)]
struct WriteTimer {
    since: Instant,
    written: u64,
}

impl Stream {
    pub(super) fn new(remote: SocketAddr, total: Arc<OutgoingTotal>) -> Self {
        Self {
            remote,
            peer: None,
            outgoing: Outgoing::new(),
            enqueued: 0,
            taken: 0,
            notices: VecDeque::new(),
            notice_bytes: 0,
            state: State::Open,
            share: OutgoingShare::new(total),
            write_timer: None,
            answers: Answers::default(),
        }
    }

    /// Bytes that have been handed to the socket.
    pub(super) fn written(&self) -> u64 {
        self.enqueued.saturating_sub(self.on_the_way() as u64)
    }

    /// Bytes that have left our hands: written, or taken to be.
    pub(super) fn left(&self) -> u64 {
        self.enqueued - self.outgoing.remaining() as u64
    }

    /// Takes back what lies in these places, nothing of which has left.
    pub(super) fn withdraw(&mut self, places: &[Range<u64>]) {
        let left = self.left();
        let lengths = places.iter().map(|place| place.end - place.start);
        self.enqueued -= lengths.sum::<u64>();
        let places = places.iter();
        self.outgoing
            .cut_out(places.map(|place| place.start - left..place.end - left));
    }

    /// Whether something waits to be written that was not taken.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty() || !self.notices.is_empty()
    }

    fn on_the_way(&self) -> usize {
        self.outgoing.remaining() + self.taken
    }

    /// Bytes of notices that wait.
    pub(super) fn notice_bytes(&self) -> usize {
        self.notice_bytes
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.on_the_way() == 0 && self.notices.is_empty()
    }

    /// Puts a frame that was sealed for many in line. A stream whose peer takes
    /// too little loses some by the policy; gives how many, or that the policy
    /// is to end it.
    pub(super) fn push_notice(
        &mut self,
        frame: Bytes,
        limits: &Limits,
    ) -> Result<u64, Lagging> {
        let cost = |frame: &Bytes| frame.len().saturating_add(NOTICE_OVERHEAD);
        // If it has no place even alone, no other must make room for it.
        let fits = cost(&frame) <= limits.max_notices;
        let mut lost = 0;
        while self.notice_bytes + cost(&frame) > limits.max_notices {
            match limits.lag_policy {
                LagPolicy::Disconnect => return Err(Lagging),
                LagPolicy::DropOldest if fits => {}
                LagPolicy::DropOldest | LagPolicy::DropNewest => return Ok(1),
            }
            let Some(oldest) = self.notices.pop_front() else {
                break;
            };
            self.notice_bytes -= cost(&oldest);
            lost += 1;
        }
        self.notice_bytes += cost(&frame);
        self.notices.push_back(frame);
        Ok(lost)
    }

    /// Moves notices to where they are written from, as far as there is room.
    pub(super) fn admit_notices(&mut self, now: Instant) {
        if self.notices.capacity() == 0 {
            return;
        }
        while self.on_the_way() < NOTICES_ON_THEIR_WAY {
            let Some(frame) = self.notices.pop_front() else {
                break;
            };
            self.notice_bytes -= frame.len().saturating_add(NOTICE_OVERHEAD);
            self.arm_write_timer(now);
            self.enqueued += frame.len() as u64;
            self.outgoing.push_shared(frame);
        }
        if self.notices.is_empty() {
            self.notices = VecDeque::new();
        }
    }

    pub(super) fn rearm_write_timer(&mut self, now: Instant) {
        let waiting = self.written() < self.enqueued;
        self.write_timer = waiting.then(|| WriteTimer {
            since: now,
            written: self.written(),
        });
    }

    /// Before bytes are put in: if none wait, those are awaited from now on. The
    /// timer of earlier ones may still be there, since whoever writes need not
    /// say so.
    fn arm_write_timer(&mut self, now: Instant) {
        if self.on_the_way() == 0 {
            self.write_timer = Some(WriteTimer {
                since: now,
                written: self.written(),
            });
        }
    }

    pub(super) fn write_deadline(&self, limits: &Limits) -> Option<Instant> {
        let span = limits.write_timeout?;
        let timer = self.write_timer?;
        let waiting = self.written() < self.enqueued;
        waiting.then(|| timer.since + span)
    }

    /// Whether anything was written since the write timer was set.
    pub(super) fn has_progressed(&self) -> bool {
        self.write_timer
            .is_some_and(|timer| timer.written < self.written())
    }

    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_) | State::Closed)
    }
}

/// The peer takes too little, and the policy is to end the connection then.
#[derive(Debug)]
pub(super) struct Lagging;

impl Carrier for Stream {
    const DATAGRAMS: bool = false;

    fn push(
        &mut self,
        now: Instant,
        _to: SocketAddr,
        frame: Carried<'_>,
    ) -> Result<Range<u64>, SendError> {
        self.arm_write_timer(now);
        let start = self.enqueued;
        self.enqueued += frame.header.frame_length() as u64;
        self.outgoing
            .push([&frame.header.encode(), frame.auth], frame.body);
        Ok(start..self.enqueued)
    }

    #[inline]
    fn queued(&self) -> usize {
        self.on_the_way()
    }

    #[inline]
    fn answers(&self) -> usize {
        let Answers {
            older,
            newer,
            newer_from,
        } = self.answers;
        let older = if self.written() < newer_from {
            older
        } else {
            0
        };
        (older + newer).min(self.queued() as u64) as usize
    }

    #[inline]
    fn note_answer(&mut self, place: &Range<u64>) {
        if self.answers.newer_from <= self.written() {
            self.answers.older = self.answers.newer;
            self.answers.newer = 0;
            self.answers.newer_from = place.start;
        }
        self.answers.newer += place.end - place.start;
    }

    #[inline]
    fn is_crowded(&self, limits: &Limits) -> bool {
        self.share.is_full(limits.max_outgoing_total)
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn close(&mut self, reason: CloseReason) -> bool {
        if self.is_closing() {
            return false;
        }
        // What is dropped now has never been put in, as far as telling which
        // requests were sent is concerned.
        self.enqueued -= self.outgoing.remaining() as u64;
        self.outgoing = Outgoing::new();
        self.notices = VecDeque::new();
        self.notice_bytes = 0;
        self.share.update(self.taken);
        self.state = State::Closing(reason);
        true
    }

    #[inline]
    fn peer(&self, _at: SocketAddr) -> Option<Arc<Peer>> {
        self.peer.clone()
    }

    fn note_seen(&mut self, _now: Instant, _from: SocketAddr) {}

    /// On a stream an error that says too little ends the oldest request.
    fn keep_hint(&mut self, _now: Instant, _from: SocketAddr, _hint: Hint) {}
}
