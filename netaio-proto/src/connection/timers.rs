//! What time does to a connection.

use super::{Connection, State};
use crate::action::{Action, CloseReason};
use crate::limits::Limits;
use crate::requests::Expired;
use crate::time::Instant;
use crate::wire::header::Header;

/// Since when a frame, or a part of it, is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameTimer {
    stage: Stage,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The header is not complete.
    Header,
    /// The header is there, the rest is not.
    Rest,
}

impl FrameTimer {
    /// Waits for the first header of an accepted connection.
    pub(super) fn first(now: Instant) -> Self {
        Self {
            stage: Stage::Header,
            since: now,
        }
    }

    fn deadline(self, limits: &Limits) -> Option<Instant> {
        let span = match self.stage {
            Stage::Header => limits.header_timeout,
            Stage::Rest => limits.frame_timeout,
        };
        span.map(|span| self.since + span)
    }

    fn reason(self) -> CloseReason {
        match self.stage {
            Stage::Header => CloseReason::HeaderTimeout,
            Stage::Rest => CloseReason::FrameTimeout,
        }
    }
}

impl Connection {
    /// When to call [`handle_timeout`](Self::handle_timeout) next, and to poll for
    /// actions again: at once, if a message that had to wait for room can be taken
    /// in by now. Changes nothing; its value may change after any other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closing() {
            return None;
        }
        let waited = self.held_up.is_some() && self.decoder.has_frame();
        if waited && !self.holds_up() {
            return Some(self.exchange.now);
        }
        let limits = &self.exchange.config.limits;
        let frame = self.frame_timer.and_then(|timer| timer.deadline(limits));
        let idle = limits.idle_timeout.map(|span| self.last_activity + span);
        let next = earlier(self.exchange.requests.next_deadline(), frame);
        let next = earlier(next, idle);
        let next = earlier(next, self.drain_deadline());
        let next = earlier(next, self.stream.write_deadline(limits));
        let next = earlier(next, self.keepalive_deadline());
        earlier(next, self.held_up_deadline())
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.exchange.advance(now);
        if self.is_closing() {
            return;
        }
        self.expire_requests();
        let now = self.exchange.now;
        let limits = &self.exchange.config.limits;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if let Some(timer) = self.frame_timer
            && due(timer.deadline(limits))
        {
            return self.begin_closing(timer.reason());
        }
        if due(limits.idle_timeout.map(|span| self.last_activity + span)) {
            let written = self.stream.written();
            if self.idle_mark == written {
                return self.begin_closing(CloseReason::Idle);
            }
            self.idle_mark = written;
            self.last_activity = self.exchange.now;
        }
        if due(self.stream.write_deadline(limits)) {
            if !self.stream.has_progressed() {
                return self.begin_closing(CloseReason::WriteStalled);
            }
            self.stream.rearm_write_timer(self.exchange.now);
        }
        if due(self.keepalive_deadline()) {
            self.keep_alive();
        }
        if due(self.held_up_deadline()) {
            return self.begin_closing(CloseReason::HeldUp);
        }
        if due(self.drain_deadline()) {
            let reason = match &self.stream.state {
                State::Draining { reason, .. } => reason.clone(),
                _ => CloseReason::Eof,
            };
            self.begin_closing(reason);
        }
    }

    /// When to stop waiting for one of the peer's requests to be answered, so
    /// that another can be taken in. That it does not take its replies is for
    /// the write timer to say.
    fn held_up_deadline(&self) -> Option<Instant> {
        let span = self.exchange.config.limits.held_up_timeout?;
        let since = self.held_up.filter(|_| self.exchange.is_busy())?;
        (self.stream.state == State::Open).then(|| since + span)
    }

    /// When to stop waiting for answers: ours, if the peer sends no more, or
    /// everybody's, if this side shuts down.
    fn drain_deadline(&self) -> Option<Instant> {
        match &self.stream.state {
            State::Draining { until, .. } => Some(*until),
            _ => Some(self.eof? + self.exchange.config.limits.drain_timeout),
        }
    }

    pub(super) fn note_input(&mut self, now: Instant, count: usize) {
        self.exchange.advance(now);
        if count > 0 {
            self.exchange.counters.bytes_in += count as u64;
            self.last_activity = self.exchange.now;
            self.keepalive_timer.heard(self.exchange.now);
            self.update_frame_timer();
        }
    }

    /// Starts, keeps or stops the wait for the rest of a frame, by what is in
    /// the decoder.
    #[inline]
    pub(super) fn update_frame_timer(&mut self) {
        let buffered = self.decoder.buffered();
        let stage = if buffered == 0 || self.decoder.has_frame() {
            None
        } else if buffered < Header::LENGTH {
            Some(Stage::Header)
        } else {
            Some(Stage::Rest)
        };
        let same = |timer: &FrameTimer| Some(timer.stage) == stage;
        if self.frame_timer.as_ref().is_some_and(same) {
            return;
        }
        self.frame_timer = stage.map(|stage| FrameTimer {
            stage,
            since: self.exchange.now,
        });
    }

    /// A frame was taken out of the decoder: what is left begins a new one.
    #[inline]
    pub(super) fn restart_frame_timer(&mut self) {
        self.frame_timer = None;
        self.update_frame_timer();
    }

    fn expire_requests(&mut self) {
        let mut out_of_step = false;
        while let Some(expired) = self.exchange.requests.expire(self.exchange.now) {
            if let Expired::TimedOut {
                request,
                context,
                out_of_step: this_one,
                ..
            } = expired
            {
                if self.exchange.ends_probe(request) {
                    continue;
                }
                self.exchange.counters.timeouts += 1;
                self.actions
                    .push_back(Action::TimedOut { request, context });
                out_of_step |= this_one;
            }
        }
        if out_of_step {
            self.begin_closing(CloseReason::OutOfStep);
        }
    }
}

/// The earlier one of two deadlines.
#[inline]
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
