//! A turn of a connection's task.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::RangeInclusive;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf as _;
use netaio_proto::{Action, CloseReason, Connection, HandlerId, Instant};

use super::parting::Parting;
use super::{Dispatch, Gathering, Rest, Work, Worker};
use crate::handler::Incoming;
use crate::link::{Link, LinkState};
use crate::running::Finished;
use crate::runtime::{ByteStream, Runtime};
use crate::timeout::TimedOut;

/// Actions of one turn, at most.
const ACTIONS: usize = 32;
/// Waits one after the other, with messages after each, after which a peer seems to
/// wait for this end whenever this end waits for the peer.
const IN_TURNS: u8 = 3;
/// So many messages are then worth two turns: half of the work takes longer than one
/// more write here, and one more wait there. As many as a turn takes are half of
/// what is on its way, as a rule.
const HALVED: RangeInclusive<usize> = 12..=ACTIONS - 1;
/// The same of messages that have layers.
const SEALED_HALVED: RangeInclusive<usize> = 2..=ACTIONS;
/// How long a connection keeps its buffers when nothing happens.
const REST: Duration = Duration::from_millis(20);
/// Chunks of one write.
const CHUNKS: usize = 32;

/// Whether an action is one of those of which a turn takes so many.
enum Share {
    Counts,
    Free,
}

/// Whether a turn leaves more to do at once.
#[derive(PartialEq)]
pub(super) enum Turn {
    Again,
    Wait,
    Over,
}

impl<R: Runtime, S: ByteStream> Worker<R, S> {
    pub(super) fn turn(
        &mut self,
        link: &Link<R>,
        context: &mut Context<'_>,
    ) -> Turn {
        let now = link.shared().runtime.now();
        self.refresh_routes(link);
        let mut state = link.lock();
        let more = self.take_actions(&mut state, now, context.waker());
        if self.end.is_none() && !self.has_user_code() {
            let reads = self.take_buffers(&mut state);
            drop(state);
            self.wake(link);
            return self.transfer(link, context, now, more, reads);
        }
        drop(state);
        if let Some(reason) = self.end.take() {
            self.finish(link, context);
            self.parting = Some(Parting::new(now, reason));
            return Turn::Over;
        }
        self.do_work(link);
        self.dispatch(link, context);
        self.handlers.poll(context);
        let (again, reads) = self.hand_over(link, now);
        self.tell_late(link);
        // Whoever has an answer finds that what came before it has been handled.
        self.wake(link);
        self.transfer(link, context, now, more || again, reads)
    }

    /// Does what is left at the end: what came before it is not lost with it.
    #[cold]
    fn finish(&mut self, link: &Link<R>, context: &mut Context<'_>) {
        self.do_work(link);
        while let Some(dispatch) = self.dispatches.pop_front() {
            self.call(link, dispatch, context);
        }
        self.tell_late(link);
        self.wake(link);
        self.handlers.clear();
    }

    /// Writes and reads, and says whether there is more to do after that.
    fn transfer(
        &mut self,
        link: &Link<R>,
        context: &mut Context<'_>,
        now: Instant,
        more: bool,
        reads: bool,
    ) -> Turn {
        self.write(link, context);
        let read = reads && !more && self.read(link, context);
        let failed = std::mem::take(&mut self.failed);
        if more || read || failed || self.settle(link, context, now) {
            Turn::Again
        } else {
            Turn::Wait
        }
    }

    /// Whether something is to be done that needs user code.
    fn has_user_code(&self) -> bool {
        !self.dispatches.is_empty()
            || !self.work.is_empty()
            || !self.timeouts.is_empty()
            || !self.handlers.is_empty()
            || self.handlers.has_answers()
    }

    /// Tells the connection what the socket and the clock did, and takes what
    /// it has to say. `true` if there may be more.
    fn take_actions(
        &mut self,
        state: &mut LinkState,
        now: Instant,
        waker: &Waker,
    ) -> bool {
        state.park(waker);
        state.look_at_clock(now);
        self.note_written(state, now);
        let connection = &mut state.connection;
        if let Some(decoder) = self.decoder.take() {
            let received = std::mem::take(&mut self.received);
            connection.return_decoder(now, decoder, received);
        }
        if self.due.is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        self.queued = connection.queued_answers();
        let mut left = self.share(&state.connection);
        while left > 0 && self.end.is_none() {
            if !state.connection.may_have_action() {
                return false;
            }
            let mut taken = self.take_replies(state, left);
            if taken == 0 {
                taken = self.take_dispatches(state, left);
            }
            if taken > 0 {
                left -= taken;
                continue;
            }
            match self.take_action(state) {
                Some(Share::Counts) => left -= 1,
                Some(Share::Free) => {}
                None => return false,
            }
        }
        true
    }

    /// Takes the action that is next, whatever it is.
    #[inline(never)]
    fn take_action(&mut self, state: &mut LinkState) -> Option<Share> {
        match state.connection.poll_action()? {
            Action::Reply { request, message } => {
                self.wakers
                    .extend(state.waiters.complete(request, Ok(message)));
            }
            Action::Failed { request, error } => {
                self.wakers
                    .extend(state.waiters.complete(request, Err(error)));
            }
            Action::TimedOut { request, context } => {
                // All that timed out together are taken in one go: their slots
                // are free, and may be other requests' in a moment.
                let timed_out = TimedOut::new(context);
                if let Some(late) = state.waiters.late(request, &timed_out) {
                    self.work.push(Work::TimedOut(late, timed_out));
                }
                return Some(Share::Free);
            }
            Action::Dispatch {
                handler,
                message,
                reply,
                ..
            } => self.dispatches.push_back(Dispatch {
                handler,
                message,
                reply,
            }),
            Action::AuthFailed(failed) => {
                self.work.push(Work::AuthFailed(*failed));
            }
            Action::Unrouted { message, reply, .. } => {
                state.inbox.push(message);
                self.news = true;
                if let Some(token) = reply {
                    state.connection.no_reply(token);
                }
            }
            Action::Rejected { error, .. } => {
                tracing::debug!(%error, "bad message passed over");
            }
            Action::Closed { reason } => self.end = Some(reason),
            other => tracing::debug!(?other, "unknown action"),
        }
        Some(Share::Counts)
    }

    /// How many actions this turn takes. A peer whose messages come only after a
    /// wait, again and again, may wait in turn until this end has written: then
    /// neither does anything while the other does. So half of what came is answered
    /// first, and the peer works on that while the other half is.
    fn share(&mut self, connection: &Connection) -> usize {
        let frames = connection.frames_waiting();
        if frames == 0 {
            return ACTIONS;
        }
        self.waits = match std::mem::take(&mut self.waited) {
            true => self.waits.saturating_add(1),
            false if self.halved => self.waits,
            false => 0,
        };
        let halved = if self.sealed { SEALED_HALVED } else { HALVED };
        self.halved =
            self.waits >= IN_TURNS && !self.halved && halved.contains(&frames);
        if self.halved {
            frames.div_ceil(2)
        } else {
            ACTIONS
        }
    }

    /// Takes replies that are next, `most` of them at most.
    #[inline(never)]
    fn take_replies(&mut self, state: &mut LinkState, most: usize) -> usize {
        let (connection, waiters) = (&mut state.connection, &mut state.waiters);
        connection.poll_replies(most, |request, message| {
            self.wakers.extend(waiters.complete(request, Ok(message)));
        })
    }

    /// Takes messages for handlers that are next, `most` of them at most.
    #[inline(never)]
    fn take_dispatches(&mut self, state: &mut LinkState, most: usize) -> usize {
        let connection = &mut state.connection;
        connection.poll_dispatches(most, |handler, message, reply| {
            self.dispatches.push_back(Dispatch {
                handler,
                message,
                reply: Some(reply),
            });
        })
    }

    /// Tells the connection how much has been written.
    fn note_written(&mut self, state: &mut LinkState, now: Instant) {
        if self.written > 0 {
            // Whoever waits for room has to know of it.
            self.news = true;
            let written = std::mem::take(&mut self.written);
            state.connection.handle_written(now, written);
        }
    }

    fn refresh_routes(&mut self, link: &Link<R>) {
        let waiting = self.dispatches.iter().map(|dispatch| dispatch.handler);
        if let Some(router) = self.handlers.changed_router(waiting) {
            link.lock().connection.set_router(router);
        }
    }

    /// Runs user code: the auth error handler, timeout handlers.
    fn do_work(&mut self, link: &Link<R>) {
        if !self.work.is_empty() {
            self.do_all_work(link);
        }
    }

    #[cold]
    fn do_all_work(&mut self, link: &Link<R>) {
        let mut work = std::mem::take(&mut self.work);
        for work in work.drain(..) {
            match work {
                Work::AuthFailed(failed) => self.handlers.auth_failed(failed),
                Work::TimedOut(late, timed_out) => {
                    if let Some(owner) = link.shared().owner.upgrade() {
                        owner.timed_out(link, timed_out);
                    }
                    self.timeouts.push(late);
                }
            }
        }
        self.work = work;
    }

    /// Runs handlers, unless so much waits to be written that what they answer
    /// would only wait with it.
    fn dispatch(&mut self, link: &Link<R>, context: &mut Context<'_>) {
        let mark = link.shared().config.limits.outgoing_high_water;
        while self.queued + self.handlers.answer_bytes() < mark
            && let Some(dispatch) = self.dispatches.pop_front()
        {
            self.call(link, dispatch, context);
        }
        if !self.dispatches.is_empty() {
            self.dispatch_unanswered(link, context);
        }
    }

    /// Runs the handlers of what is not answered, while the rest waits for room:
    /// it makes nothing that would wait, and nothing else bounds how many there are.
    #[cold]
    fn dispatch_unanswered(&mut self, link: &Link<R>, context: &mut Context<'_>) {
        for dispatch in std::mem::take(&mut self.dispatches) {
            match dispatch.reply {
                None => self.call(link, dispatch, context),
                Some(_) => self.dispatches.push_back(dispatch),
            }
        }
    }

    fn call(
        &mut self,
        link: &Link<R>,
        dispatch: Dispatch,
        context: &mut Context<'_>,
    ) {
        // Nothing is begun once the connection has been cut off.
        if link.is_aborted() {
            return;
        }
        let Dispatch {
            handler: id,
            message,
            reply: token,
        } = dispatch;
        if id == HandlerId::PEERS {
            let owner = link.shared().owner.upgrade();
            let reply = owner.and_then(|o| o.peer_message(link, &message));
            self.handlers.answered(token, Finished::Answer(Ok(reply)));
            return;
        }
        let incoming = |message| Incoming::new(message, link.clone());
        let from = &link.shared().label.remote;
        let called = self
            .handlers
            .dispatch(id, message, from, token, incoming, context);
        if !called {
            link.lock().inbox.count_dropped();
        }
    }

    /// Gives the connection what user code has answered, and takes what is to
    /// be written and what to read into. Tells whether there is more to take in
    /// now, and whether the peer is to be read from.
    fn hand_over(&mut self, link: &Link<R>, now: Instant) -> (bool, bool) {
        let mut state = link.lock();
        let answered = self.handlers.has_answers();
        self.handlers.answer(&mut state.connection, now);
        // An answer makes room for the next request, which may be here already.
        let more = answered
            && (!self.dispatches.is_empty() || state.connection.may_have_action());
        (more, self.take_buffers(&mut state))
    }

    /// Takes what is to be written and what to read into. `true` if the peer is
    /// to be read from.
    fn take_buffers(&mut self, state: &mut LinkState) -> bool {
        let was_full = self.outgoing.has_remaining();
        state.connection.take_outgoing(&mut self.outgoing);
        if was_full && !self.outgoing.has_remaining() {
            self.outgoing.release();
        }
        let reads = state.connection.wants_read() && !self.input_ended;
        if reads {
            self.decoder = Some(state.connection.take_decoder());
        }
        reads
    }

    /// Tells the callers of requests that timed out; the timeout handler knows.
    fn tell_late(&mut self, link: &Link<R>) {
        if !self.timeouts.is_empty() {
            self.tell_all_late(link);
        }
    }

    #[cold]
    fn tell_all_late(&mut self, link: &Link<R>) {
        let mut state = link.lock();
        for late in self.timeouts.drain(..) {
            self.wakers.extend(state.waiters.tell_late(late));
        }
    }

    fn wake(&mut self, link: &Link<R>) {
        if std::mem::take(&mut self.news) {
            link.notify();
        }
        if self.wakers.is_empty() {
            return;
        }
        self.woken += self.wakers.len();
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Writes what there is.
    fn write(&mut self, link: &Link<R>, context: &mut Context<'_>) {
        let before = self.written;
        while self.outgoing.has_remaining() {
            match self.write_chunks(context) {
                Poll::Ready(Ok(0)) => {
                    self.fail(link, &std::io::ErrorKind::WriteZero.into());
                    break;
                }
                Poll::Ready(Ok(count)) => {
                    self.outgoing.advance(count);
                    self.written += count;
                }
                Poll::Ready(Err(error)) => {
                    self.fail(link, &error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        if self.written > before {
            self.rest = Rest::Busy;
            self.unflushed = true;
        }
        if self.unflushed {
            // An error shows at the next read or write as well.
            self.unflushed = self.stream.poll_flush(context).is_pending();
        }
    }

    /// Writes as much as the stream takes at once.
    #[inline]
    fn write_chunks(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        let first = self.outgoing.chunk();
        if first.len() == self.outgoing.remaining() {
            return self.stream.poll_write(context, &[IoSlice::new(first)]);
        }
        self.write_many(context)
    }

    #[inline(never)]
    fn write_many(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        let mut chunks = [IoSlice::new(&[]); CHUNKS];
        let count = self.outgoing.chunks_vectored(&mut chunks);
        self.stream.poll_write(context, &chunks[..count])
    }

    /// Reads once; `true` if anything came, the end included.
    pub(super) fn read(
        &mut self,
        link: &Link<R>,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(decoder) = &mut self.decoder else {
            return false;
        };
        match self.stream.poll_read(context, decoder.recv_buffer()) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.end_input(link);
                true
            }
            Poll::Ready(Ok(count)) => {
                self.received = count;
                self.rest = Rest::Busy;
                true
            }
            Poll::Ready(Err(error)) => {
                self.input_ended = true;
                self.fail(link, &error);
                true
            }
        }
    }

    #[cold]
    fn end_input(&mut self, link: &Link<R>) {
        self.input_ended = true;
        let now = link.shared().runtime.now();
        link.lock().connection.handle_eof(now);
    }

    #[cold]
    fn fail(&mut self, link: &Link<R>, error: &std::io::Error) {
        let now = link.shared().runtime.now();
        let reason = CloseReason::Io(error.to_string());
        link.lock().connection.close(now, reason);
        self.failed = true;
    }

    /// Before a wait: tells the connection what was written, gives back buffers
    /// that have not been of use for a while, and sets the alarm. `true` if there
    /// is something to do at once.
    fn settle(
        &mut self,
        link: &Link<R>,
        context: &mut Context<'_>,
        now: Instant,
    ) -> bool {
        if self.input_ended {
            self.tell_of_leaving(link);
        }
        let mut state = link.lock();
        if self.written > 0 {
            self.note_written(&mut state, now);
            let connection = &state.connection;
            let may_read = self.decoder.is_none() && connection.wants_read();
            let writes = self.outgoing.is_empty() && connection.has_outgoing();
            if connection.may_have_action()
                || writes
                || may_read && !self.input_ended
                || !self.dispatches.is_empty()
            {
                return true;
            }
        }
        let next = state.connection.poll_timeout();
        self.due = next;
        let woken = std::mem::take(&mut self.woken);
        self.gathering = if woken > 1 || state.connection.pending() > 1 {
            Gathering::Next
        } else {
            Gathering::No
        };
        drop(state);
        self.wake(link);
        let rest = self.rest(link, now);
        let next = next.into_iter().chain(rest).min();
        self.alarm.wake_by(next, now, context)
    }

    /// Tells the owner, once, that the peer sends no more while it is still
    /// answered.
    #[cold]
    fn tell_of_leaving(&self, link: &Link<R>) {
        let reason = {
            let mut state = link.lock();
            let reason =
                match state.connection.ending() {
                    Some(
                        reason @ (CloseReason::Eof | CloseReason::UnexpectedEof),
                    ) if !state.left => reason.clone(),
                    _ => return,
                };
            state.left = true;
            reason
        };
        if let Some(owner) = link.shared().owner.upgrade() {
            owner.left(link, &reason);
        }
    }

    /// Gives back buffers when nothing has happened for a while: not at once, as
    /// they would soon be made again, or copied; most connections rest most of
    /// the time. Gives when to look again.
    fn rest(&mut self, link: &Link<R>, now: Instant) -> Option<Instant> {
        match self.rest {
            Rest::Busy => {
                let until = now + REST;
                self.rest = Rest::Until(until);
                Some(until)
            }
            Rest::Until(until) if now < until => Some(until),
            Rest::Until(_) => {
                self.release(link);
                None
            }
        }
    }

    #[cold]
    fn release(&mut self, link: &Link<R>) {
        self.handlers.release();
        self.work = Vec::new();
        self.timeouts = Vec::new();
        self.wakers = Vec::new();
        self.outgoing.release();
        if self.dispatches.is_empty() {
            self.dispatches = VecDeque::new();
            self.handlers.forget_replaced();
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.shrink();
        }
        // The next turn looks at them again. Many that rest would keep what routes
        // there were when each last did something, and handlers that are removed.
        let router = self
            .dispatches
            .is_empty()
            .then(|| self.handlers.forget_routes());
        let mut state = link.lock();
        if let Some(router) = router {
            state.connection.set_router(router);
        }
        if state.connection.pending() == 0 && self.handlers.is_empty() {
            state.release();
        }
    }
}
