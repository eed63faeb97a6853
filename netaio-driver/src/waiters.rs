//! Who waits for the reply to which request.

use std::task::{Context, Poll, Waker};

use netaio_proto::{Message, RequestError, RequestId};
use slab::Slab;

use crate::timeout::TimedOut;

/// Whoever waits for a reply, in a table without an allocation each.
#[derive(Default)]
pub(crate) struct Waiters {
    waiters: Slab<Waiter>,
    /// Which waiter waits for the request in a slot.
    waiting: Vec<usize>,
}

struct Waiter {
    /// Slots are used again, requests are not.
    request: RequestId,
    outcome: Option<Result<Message, RequestError>>,
    waker: Option<Waker>,
}

/// A request that was not answered in time, and who waits for it: to be told once
/// the timeout handler has been.
pub(crate) struct Late {
    waiter: usize,
    request: RequestId,
    error: RequestError,
}

impl Waiters {
    /// Makes a place for whoever waits for the reply to a request, and is to be
    /// woken with this waker, if that is known.
    #[inline]
    pub(crate) fn wait_for(
        &mut self,
        request: RequestId,
        waker: Option<&Waker>,
    ) -> usize {
        let waiter = self.waiters.insert(Waiter {
            request,
            outcome: None,
            waker: waker.cloned(),
        });
        let slot = request.slot();
        if self.waiting.len() <= slot {
            self.waiting.resize(slot + 1, usize::MAX);
        }
        self.waiting[slot] = waiter;
        waiter
    }

    /// Notes that a request was not answered in time, if anybody waits for it.
    pub(crate) fn late(
        &self,
        request: RequestId,
        timed_out: &TimedOut,
    ) -> Option<Late> {
        Some(Late {
            waiter: self.waiter(request)?,
            request,
            error: timed_out.error(),
        })
    }

    /// Tells whoever waits for a request that was not answered in time; gives
    /// whom to wake, once the lock is released.
    #[must_use]
    pub(crate) fn tell_late(&mut self, late: Late) -> Option<Waker> {
        self.tell(late.waiter, late.request, Err(late.error))
    }

    /// Who waits for a request that has just ended. From then on its slot may
    /// be another request's.
    #[inline]
    fn waiter(&self, request: RequestId) -> Option<usize> {
        self.waiting.get(request.slot()).copied()
    }

    /// Ends a request; gives whom to wake, once the lock is released.
    #[must_use]
    pub(crate) fn complete(
        &mut self,
        request: RequestId,
        outcome: Result<Message, RequestError>,
    ) -> Option<Waker> {
        let waiter = self.waiter(request)?;
        self.tell(waiter, request, outcome)
    }

    /// Tells a waiter, unless it has gone; gives whom to wake, once the lock is
    /// released.
    #[inline]
    #[must_use]
    fn tell(
        &mut self,
        waiter: usize,
        request: RequestId,
        outcome: Result<Message, RequestError>,
    ) -> Option<Waker> {
        let waiter = self.waiters.get_mut(waiter)?;
        if waiter.request != request {
            return None;
        }
        waiter.outcome = Some(outcome);
        waiter.waker.take()
    }

    /// The outcome that a waiter waits for. Once it is given, its place is gone.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        waiter: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Message, RequestError>> {
        let Some(waiting) = self.waiters.get_mut(waiter) else {
            return Poll::Pending;
        };
        let Some(outcome) = waiting.outcome.take() else {
            match &mut waiting.waker {
                Some(waker) => waker.clone_from(context.waker()),
                waker => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        self.waiters.remove(waiter);
        Poll::Ready(outcome)
    }

    /// Takes back a place; `true` if its request has not ended.
    pub(crate) fn leave(&mut self, waiter: usize) -> bool {
        let waiter = self.waiters.try_remove(waiter);
        waiter.is_some_and(|waiter| waiter.outcome.is_none())
    }

    /// Gives back the memory of a crowd that has gone.
    pub(crate) fn release(&mut self) {
        if self.waiters.is_empty() && self.waiters.capacity() > 1024 {
            *self = Self::default();
        }
    }
}
