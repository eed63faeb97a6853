//! What time does to a connection.

use core::time::Duration;

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

/// Since when, and from where on, bytes wait to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteTimer {
    since: Instant,
    written: u64,
}

/// Bad messages within the current minute.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorWindow {
    since: Instant,
    count: u32,
}

impl ErrorWindow {
    /// Counts one; `true` if it is one too many.
    pub(super) fn count(&mut self, now: Instant, limit: u32) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        if now.duration_since(self.since) >= MINUTE {
            *self = Self {
                since: now,
                count: 0,
            };
        }
        self.count = self.count.saturating_add(1);
        self.count > limit
    }
}

impl Connection {
    /// When to call [`handle_timeout`](Self::handle_timeout) next. Changes
    /// nothing; its value may change after any other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closing() {
            return None;
        }
        let limits = &self.config.limits;
        let frame = self.frame_timer.and_then(|timer| timer.deadline(limits));
        let idle = limits.idle_timeout.map(|span| self.last_activity + span);
        let drain = self.drain_deadline();
        let next = self.requests.next_deadline();
        [next, frame, idle, drain, self.write_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if self.is_closing() {
            return;
        }
        self.expire_requests();
        let now = self.now;
        let limits = &self.config.limits;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if let Some(timer) = self.frame_timer
            && due(timer.deadline(limits))
        {
            return self.begin_closing(timer.reason());
        }
        if due(limits.idle_timeout.map(|span| self.last_activity + span)) {
            let written = self.written();
            if self.idle_mark == written {
                return self.begin_closing(CloseReason::Idle);
            }
            self.idle_mark = written;
            self.last_activity = self.now;
        }
        if due(self.write_deadline()) {
            let progress = self
                .write_timer
                .is_some_and(|timer| timer.written < self.written());
            if !progress {
                return self.begin_closing(CloseReason::WriteStalled);
            }
            self.rearm_write_timer();
        }
        if due(self.drain_deadline()) {
            let reason = match &self.state {
                State::Draining { reason, .. } => reason.clone(),
                _ => CloseReason::Eof,
            };
            self.begin_closing(reason);
        }
    }

    /// When to stop waiting for answers: ours, if the peer sends no more, or
    /// everybody's, if this side shuts down.
    fn drain_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Draining { until, .. } => Some(*until),
            _ => Some(self.eof? + self.config.limits.drain_timeout),
        }
    }

    /// Notes the time. It never goes back.
    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn note_input(&mut self, now: Instant, count: usize) {
        self.advance(now);
        if count > 0 {
            self.counters.bytes_in += count as u64;
            self.last_activity = self.now;
            self.update_frame_timer();
        }
    }

    /// Starts, keeps or stops the wait for the rest of a frame, by what is in
    /// the decoder.
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
            since: self.now,
        });
    }

    /// A frame was taken out of the decoder: what is left begins a new one.
    pub(super) fn restart_frame_timer(&mut self) {
        self.frame_timer = None;
        self.update_frame_timer();
    }

    pub(super) fn rearm_write_timer(&mut self) {
        let waiting = self.written() < self.enqueued;
        self.write_timer = waiting.then(|| WriteTimer {
            since: self.now,
            written: self.written(),
        });
    }

    fn write_deadline(&self) -> Option<Instant> {
        let span = self.config.limits.write_timeout?;
        let timer = self.write_timer?;
        let waiting = self.written() < self.enqueued;
        waiting.then(|| timer.since + span)
    }

    fn expire_requests(&mut self) {
        let mut out_of_step = false;
        while let Some(expired) = self.requests.expire(self.now, self.remote) {
            if let Expired::TimedOut {
                request,
                context,
                out_of_step: this_one,
            } = expired
            {
                self.counters.timeouts += 1;
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
