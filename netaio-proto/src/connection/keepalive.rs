//! Asking the other end for a sign of life when nothing comes from it.

use super::{Connection, State};
use crate::action::CloseReason;
use crate::config::Keepalive;
use crate::time::Instant;

/// Since when nothing has come, and since when the peer has been asked why.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepaliveTimer {
    heard: Instant,
    asked: Option<Instant>,
}

impl KeepaliveTimer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            asked: None,
        }
    }

    /// Something came: any byte is a sign of life.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    fn deadline(self, keepalive: Keepalive) -> Instant {
        match self.asked {
            None => self.heard + keepalive.interval,
            Some(asked) => asked + keepalive.patience(),
        }
    }
}

impl Connection {
    /// When to ask the peer for a sign of life, or to give it up.
    pub(super) fn keepalive_deadline(&self) -> Option<Instant> {
        let keepalive = self.exchange.config.keepalive?;
        let awaited = self.stream.state == State::Open && self.eof.is_none();
        awaited.then(|| self.keepalive_timer.deadline(keepalive))
    }

    /// That deadline has come.
    pub(super) fn keep_alive(&mut self) {
        let now = self.exchange.now;
        let Some(keepalive) = self.exchange.config.keepalive else {
            return;
        };
        if !self.wants_read() || self.can_send().is_err() {
            // What would come is not read, or what would be asked is not taken:
            // that is for other timers to end.
            return self.keepalive_timer.heard(now);
        }
        if self.keepalive_timer.asked.is_some() {
            return self.begin_closing(CloseReason::KeepaliveTimeout);
        }
        let to = self.stream.remote;
        let patience = keepalive.patience();
        if self.exchange.probe(&mut self.stream, to, patience) {
            self.keepalive_timer.asked = Some(now);
        } else {
            self.keepalive_timer.heard(now);
        }
    }
}
