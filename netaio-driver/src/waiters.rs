//! Who waits for the reply to which request.

use std::task::{Context, Poll, Waker};

use netaio_proto::{Message, RequestError, RequestId};

use crate::timeout::TimedOut;

/// Whoever waits for a reply, in a table without an allocation each. Its places
/// are written piece by piece: a copy of what has just been put together waits
/// for it to arrive in memory.
#[derive(Default)]
pub(crate) struct Waiters {
    places: Vec<Waiter>,
    free: Vec<usize>,
    /// Which waiter waits for the request in a slot.
    waiting: Vec<usize>,
}

#[derive(Default)]
struct Waiter {
    /// Slots are used again, requests are not. `None`: the place is free.
    request: Option<RequestId>,
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
        let free = self.free.pop();
        let waiter = free.unwrap_or(self.places.len());
        if free.is_none() {
            self.places.push(Waiter::default());
        }
        let place = &mut self.places[waiter];
        place.request = Some(request);
        place.waker = waker.cloned();
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
    #[inline]
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
        let waiter = self.places.get_mut(waiter)?;
        if waiter.request != Some(request) {
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
        let Some(place) = self.places.get_mut(waiter) else {
            return Poll::Pending;
        };
        if place.outcome.is_none() {
            match &mut place.waker {
                Some(waker) => waker.clone_from(context.waker()),
                waker => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        place.request = None;
        self.free.push(waiter);
        match place.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }

    /// Takes back a place; `true` if its request has not ended.
    pub(crate) fn leave(&mut self, waiter: usize) -> bool {
        let Some(place) = self.places.get_mut(waiter) else {
            return false;
        };
        if place.request.take().is_none() {
            return false;
        }
        self.free.push(waiter);
        place.waker = None;
        place.outcome.take().is_none()
    }

    /// Gives back the memory of a crowd that has gone.
    pub(crate) fn release(&mut self) {
        let all_gone = self.free.len() == self.places.len();
        if all_gone && self.places.capacity() > 1024 {
            *self = Self::default();
        }
    }
}
