//! A timer that wakes a task, and is set as seldom as will do.

use std::task::{Context, Poll, Waker};

use netaio_proto::Instant;

use crate::runtime::Timer;

/// A task's timer.
pub(crate) struct Alarm<T> {
    timer: T,
    /// What the timer is set to.
    at: Option<Instant>,
    /// Whom the timer wakes.
    wakes: Option<Waker>,
}

impl<T: Timer> Alarm<T> {
    pub(crate) fn new(timer: T) -> Self {
        Self {
            timer,
            at: None,
            wakes: None,
        }
    }

    /// Before a wait: sees to it that the task is woken by `next` at the latest.
    /// `true` if the alarm has gone off already.
    pub(crate) fn wake_by(
        &mut self,
        next: Option<Instant>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        // An alarm that is early is harmless, and setting it costs more than
        // being woken once too often.
        if let Some(next) = next
            && self.at.is_none_or(|at| at > next)
        {
            self.timer.set(next);
            self.at = Some(next);
            self.wakes = None;
        }
        let Some(at) = self.at else {
            return false;
        };
        let known = self.wakes.as_ref();
        if now < at && known.is_some_and(|waker| waker.will_wake(context.waker())) {
            return false;
        }
        if self.timer.poll_expired(context).is_ready() {
            self.at = None;
            return true;
        }
        self.wakes = Some(context.waker().clone());
        false
    }

    /// The task has been woken, and not by what it knows of: it may have been this
    /// timer, a moment early.
    pub(crate) fn look_again(&mut self) {
        self.wakes = None;
    }

    /// Waits until just this time.
    pub(crate) fn poll_until(
        &mut self,
        at: Instant,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.at != Some(at) {
            self.timer.set(at);
            self.at = Some(at);
        }
        self.wakes = None;
        self.timer.poll_expired(context)
    }
}
