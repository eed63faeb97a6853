//! The task of one connection: the only one that reads and writes its socket.
//!
//! A turn does, in this order: what is due, what came, what handlers have to
//! say, write, read. Everything that is made in one turn leaves in one write.
//! The lock is never held across user code or a system call.

use std::collections::VecDeque;
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Buf as _;
use netaio_proto::{
    Action, AuthFailed, CloseReason, FrameDecoder, HandlerId, Instant, Message,
    Outgoing, ReplyToken,
};

use crate::alarm::Alarm;
use crate::handler::Incoming;
use crate::link::{Link, LinkState};
use crate::running::{Finished, Handlers};
use crate::runtime::{ByteStream, Runtime};
use crate::timeout::TimedOut;
use crate::waiters::Late;

/// Turns that a task takes before it lets others run.
const TURNS: usize = 16;
/// Actions of one turn.
const ACTIONS: usize = 32;
/// How long the peer of a connection that ends in order may take to read what
/// was sent to it.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection keeps its buffers when nothing happens.
const REST: Duration = Duration::from_millis(20);
/// Chunks of one write.
const CHUNKS: usize = 32;

pub(crate) struct ConnectionTask<R: Runtime, S> {
    link: Link<R>,
    span: tracing::Span,
    stream: S,
    alarm: Alarm<R::Timer>,
    handlers: Handlers<R, Incoming<R>>,
    timeouts: Vec<Late>,
    work: Vec<Work>,
    /// Messages whose handlers have not been called yet.
    dispatches: VecDeque<Dispatch>,
    /// Bytes that wait to be written.
    queued: usize,
    wakers: Vec<Waker>,
    /// Where bytes are read into, while it is not with the connection.
    decoder: Option<FrameDecoder>,
    /// When the connection has something to do, as it said before the last wait, or
    /// when others were let go first. What has become earlier since is seen before
    /// the next wait.
    due: Option<Instant>,
    rest: Rest,
    /// How it lets others make requests that leave in one write.
    gathering: Gathering,
    received: usize,
    outgoing: Outgoing,
    written: usize,
    /// Bytes that the stream took may still be in a buffer of its own.
    unflushed: bool,
    /// Whoever waits for room or for messages has to be told.
    news: bool,
    end: Option<CloseReason>,
    parting: Option<Parting>,
    input_ended: bool,
    failed: bool,
}

/// What becomes of buffers while nothing happens.
#[derive(Clone, Copy)]
enum Rest {
    /// Something has just happened.
    Busy,
    /// They are given back from this time on, before each wait.
    Until(Instant),
}

/// A task that is woken by a request lets those who are about to make some do so
/// first: all of them leave in one write then. Some runtimes would run it at once,
/// before the others.
#[derive(Clone, Copy, PartialEq)]
enum Gathering {
    /// At most one request waits for a reply: nobody else is there.
    No,
    /// Others go first at the next request.
    Next,
    /// Others have gone first.
    Done,
}

/// Something to do that needs user code, and so no lock.
enum Work {
    AuthFailed(AuthFailed),
    TimedOut(Late, TimedOut),
}

/// A message for a handler.
struct Dispatch {
    handler: HandlerId,
    message: Message,
    reply: Option<ReplyToken>,
}

/// Whether a turn leaves more to do at once.
#[derive(PartialEq)]
enum Turn {
    Again,
    Wait,
    Over,
}

impl<R: Runtime, S: ByteStream> ConnectionTask<R, S> {
    pub(crate) fn new(link: Link<R>, stream: S) -> Self {
        let shared = link.shared();
        let alarm = Alarm::new(shared.runtime.timer());
        let span = match link.server() {
            Some(server) => tracing::debug_span!("connection", %server),
            None => tracing::debug_span!("connection", from = %link.remote()),
        };
        let runtime = shared.runtime.clone();
        let handlers = Handlers::new(
            runtime,
            Arc::clone(&shared.endpoint),
            &shared.config.limits,
        );
        link.lock().connection.set_router(handlers.router());
        Self {
            link,
            span,
            stream,
            alarm,
            handlers,
            timeouts: Vec::new(),
            work: Vec::new(),
            dispatches: VecDeque::new(),
            queued: 0,
            wakers: Vec::new(),
            decoder: None,
            due: None,
            rest: Rest::Busy,
            gathering: Gathering::No,
            received: 0,
            outgoing: Outgoing::new(),
            written: 0,
            unflushed: false,
            news: false,
            end: None,
            parting: None,
            input_ended: false,
            failed: false,
        }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Turn {
        let now = self.link.shared().runtime.now();
        self.refresh_routes();
        let link = self.link.clone();
        let mut state = link.lock();
        let more = self.take_actions(&mut state, now, context.waker());
        if self.end.is_none() && !self.has_user_code() {
            let reads = self.take_buffers(&mut state);
            drop(state);
            self.wake();
            return self.transfer(context, now, more, reads);
        }
        drop(state);
        if let Some(reason) = self.end.take() {
            // What came before the end is not lost with it.
            self.do_work();
            self.dispatch_all(context);
            self.tell_late();
            self.wake();
            self.handlers.clear();
            self.parting = Some(Parting::new(now, reason));
            return Turn::Over;
        }
        self.do_work();
        self.dispatch(context);
        self.handlers.poll(context);
        let (again, reads) = self.hand_over(now);
        self.tell_late();
        // Whoever has an answer finds that what came before it has been handled.
        self.wake();
        self.transfer(context, now, more || again, reads)
    }

    /// Writes and reads, and says whether there is more to do after that.
    fn transfer(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
        more: bool,
        reads: bool,
    ) -> Turn {
        self.write(context);
        let read = reads && self.read(context);
        let failed = std::mem::take(&mut self.failed);
        if more || read || failed || self.settle(context, now) {
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
        state.set_wall_clock(now);
        self.note_written(state, now);
        let connection = &mut state.connection;
        if let Some(decoder) = self.decoder.take() {
            let received = std::mem::take(&mut self.received);
            connection.return_decoder(now, decoder, received);
        }
        if self.due.is_some_and(|at| at <= now) {
            connection.handle_timeout(now);
        }
        self.queued = connection.queued();
        let mut left = ACTIONS;
        while left > 0 {
            let Some(action) = state.connection.poll_action() else {
                return false;
            };
            left -= 1;
            match action {
                Action::Reply { request, message } => {
                    self.wakers
                        .extend(state.waiters.complete(request, Ok(message)));
                }
                Action::Failed { request, error } => {
                    self.wakers
                        .extend(state.waiters.complete(request, Err(error)));
                }
                Action::TimedOut { request, context } => {
                    // All that timed out together are taken in one go: their
                    // slots are free, and may be other requests' in a moment.
                    left += 1;
                    let timed_out = TimedOut::new(context);
                    if let Some(late) = state.waiters.late(request, &timed_out) {
                        self.work.push(Work::TimedOut(late, timed_out));
                    }
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
                Action::Closed { reason } => {
                    self.end = Some(reason);
                    break;
                }
                other => tracing::debug!(?other, "unknown action"),
            }
        }
        true
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

    fn refresh_routes(&mut self) {
        if let Some(router) = self.handlers.changed_router() {
            self.link.lock().connection.set_router(router);
        }
    }

    /// Runs user code: the auth error handler, timeout handlers.
    fn do_work(&mut self) {
        let mut work = std::mem::take(&mut self.work);
        for work in work.drain(..) {
            match work {
                Work::AuthFailed(failed) => self.handlers.auth_failed(failed),
                Work::TimedOut(late, timed_out) => {
                    if let Some(owner) = self.link.shared().owner.upgrade() {
                        owner.timed_out(&self.link, timed_out);
                    }
                    self.timeouts.push(late);
                }
            }
        }
        self.work = work;
    }

    /// Runs handlers, unless so much waits to be written that what they answer
    /// would only wait with it.
    fn dispatch(&mut self, context: &mut Context<'_>) {
        let mark = self.link.shared().config.limits.outgoing_high_water;
        while self.queued + self.handlers.answer_bytes() < mark
            && let Some(dispatch) = self.dispatches.pop_front()
        {
            self.call(dispatch, context);
        }
    }

    /// Runs all handlers that there are messages for.
    fn dispatch_all(&mut self, context: &mut Context<'_>) {
        while let Some(dispatch) = self.dispatches.pop_front() {
            self.call(dispatch, context);
        }
    }

    fn call(&mut self, dispatch: Dispatch, context: &mut Context<'_>) {
        // Nothing is begun once the connection has been cut off.
        if self.link.is_aborted() {
            return;
        }
        let Dispatch {
            handler: id,
            message,
            reply: token,
        } = dispatch;
        let link = &self.link;
        if id == HandlerId::PEERS {
            let owner = link.shared().owner.upgrade();
            let reply = owner.and_then(|o| o.peer_message(link, &message));
            self.handlers.answered(token, Finished::Answer(Ok(reply)));
            return;
        }
        let incoming = |message| Incoming::new(message, link.clone());
        let called = self
            .handlers
            .dispatch(id, message, token, incoming, context);
        if !called {
            self.link.lock().inbox.count_dropped();
        }
    }

    /// Gives the connection what user code has answered, and takes what is to
    /// be written and what to read into. Tells whether there is more to take in
    /// now, and whether the peer is to be read from.
    fn hand_over(&mut self, now: Instant) -> (bool, bool) {
        let link = self.link.clone();
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
    fn tell_late(&mut self) {
        if self.timeouts.is_empty() {
            return;
        }
        let mut state = self.link.lock();
        for late in self.timeouts.drain(..) {
            self.wakers.extend(state.waiters.tell_late(late));
        }
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.news) {
            self.link.notify();
        }
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Writes what there is.
    fn write(&mut self, context: &mut Context<'_>) {
        let before = self.written;
        while self.outgoing.has_remaining() {
            let mut chunks = [IoSlice::new(&[]); CHUNKS];
            let count = self.outgoing.chunks_vectored(&mut chunks);
            match self.stream.poll_write(context, &chunks[..count]) {
                Poll::Ready(Ok(0)) => {
                    self.fail(&std::io::ErrorKind::WriteZero.into());
                    break;
                }
                Poll::Ready(Ok(count)) => {
                    self.outgoing.advance(count);
                    self.written += count;
                }
                Poll::Ready(Err(error)) => {
                    self.fail(&error);
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

    /// Reads once; `true` if anything came, the end included.
    fn read(&mut self, context: &mut Context<'_>) -> bool {
        let Some(decoder) = &mut self.decoder else {
            return false;
        };
        match self.stream.poll_read(context, decoder.recv_buffer()) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => {
                self.input_ended = true;
                let now = self.link.shared().runtime.now();
                self.link.lock().connection.handle_eof(now);
                true
            }
            Poll::Ready(Ok(count)) => {
                self.received = count;
                self.rest = Rest::Busy;
                true
            }
            Poll::Ready(Err(error)) => {
                self.input_ended = true;
                self.fail(&error);
                true
            }
        }
    }

    fn fail(&mut self, error: &std::io::Error) {
        let now = self.link.shared().runtime.now();
        let reason = CloseReason::Io(error.to_string());
        self.link.lock().connection.close(now, reason);
        self.failed = true;
    }

    /// Before a wait: tells the connection what was written, gives back buffers
    /// that have not been of use for a while, and sets the alarm. `true` if there
    /// is something to do at once.
    fn settle(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let link = self.link.clone();
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
        self.gathering = match state.connection.pending() {
            0 | 1 => Gathering::No,
            _ => Gathering::Next,
        };
        drop(state);
        self.wake();
        let rest = self.rest(now);
        let next = next.into_iter().chain(rest).min();
        self.alarm.wake_by(next, now, context)
    }

    /// Gives back buffers when nothing has happened for a while: not at once, as
    /// they would soon be made again, or copied; most connections rest most of
    /// the time. Gives when to look again.
    fn rest(&mut self, now: Instant) -> Option<Instant> {
        match self.rest {
            Rest::Busy => {
                let until = now + REST;
                self.rest = Rest::Until(until);
                Some(until)
            }
            Rest::Until(until) if now < until => Some(until),
            Rest::Until(_) => {
                self.release();
                None
            }
        }
    }

    fn release(&mut self) {
        self.handlers.release();
        self.work = Vec::new();
        self.timeouts = Vec::new();
        self.wakers = Vec::new();
        self.outgoing.release();
        if self.dispatches.is_empty() {
            self.dispatches = VecDeque::new();
        }
        if let Some(decoder) = &mut self.decoder {
            decoder.shrink();
        }
        let mut state = self.link.lock();
        if state.connection.pending() == 0 && self.handlers.is_empty() {
            state.release();
        }
    }

    /// Takes leave of the peer, and tells whoever wants to know.
    fn part(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(Parting { until, orderly, .. }) = self.parting else {
            return Poll::Ready(());
        };
        let now = self.link.shared().runtime.now();
        let flushed = self.stream.poll_flush(context).is_ready();
        let closed = flushed && self.stream.poll_close(context).is_ready();
        if !orderly || closed || now >= until {
            self.report();
            if !orderly || self.input_ended || self.linger(context) || now >= until {
                return Poll::Ready(());
            }
        }
        // Looked at again by then at the latest.
        let woken = self.alarm.poll_until(until, context);
        woken.map(|()| self.report())
    }

    /// Reads what the peer has still sent, and drops it: a socket that is closed
    /// with something unread takes back what it was to deliver. `true` when the
    /// peer has closed as well.
    fn linger(&mut self, context: &mut Context<'_>) -> bool {
        let mut nowhere = [0; 4096];
        for _ in 0..TURNS {
            match self.stream.poll_read(context, &mut nowhere) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        context.waker().wake_by_ref();
        false
    }

    /// Tells that the connection is over; once.
    fn report(&mut self) {
        let Some(parting) = &mut self.parting else {
            return;
        };
        if std::mem::replace(&mut parting.reported, true) {
            return;
        }
        let reason = &parting.reason;
        tracing::debug!(remote = %self.link.remote(), %reason, "disconnected");
        let counters = {
            let mut state = self.link.lock();
            state.set_closed(reason.clone());
            state.connection.release_buffers();
            state.connection.counters()
        };
        self.link.shared().endpoint.add_ended(counters);
        self.link.notify();
        if let Some(owner) = self.link.shared().owner.upgrade() {
            owner.ended(&self.link, reason);
        }
    }
}

/// The end of a connection: the last bytes leave, the peer is told.
#[derive(Debug)]
struct Parting {
    reason: CloseReason,
    /// Whether the peer is given the time to take what is on its way.
    orderly: bool,
    until: Instant,
    reported: bool,
}

impl Parting {
    fn new(now: Instant, reason: CloseReason) -> Self {
        use CloseReason as R;
        let orderly =
            matches!(reason, R::Eof | R::UnexpectedEof | R::Local | R::Shutdown);
        Self {
            reason,
            orderly,
            until: now + LINGER,
            reported: false,
        }
    }
}

impl<R: Runtime, S: ByteStream> Future for ConnectionTask<R, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _entered = this.span.clone().entered();
        if this.parting.is_some() {
            return this.part(context);
        }
        if this.link.is_poked() {
            if this.gathering == Gathering::Next {
                this.gathering = Gathering::Done;
                this.link.poke();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        } else if this.received == 0 && (this.input_ended || !this.read(context)) {
            // As a rule it was its stream, or a handler.
            this.alarm.look_again();
        }
        for _ in 0..TURNS {
            match this.turn(context) {
                Turn::Again => {}
                Turn::Over => return this.part(context),
                Turn::Wait => return Poll::Pending,
            }
        }
        // Others have waited long enough, and deadlines too.
        this.due = this.link.lock().connection.poll_timeout();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime, S> Drop for ConnectionTask<R, S> {
    /// A runtime that shuts down drops its tasks, and so does one whose task
    /// panics, as when a handler's future does while it is dropped. Nobody must
    /// wait for ever, and no table must keep the connection.
    fn drop(&mut self) {
        if self.link.is_closed() {
            return;
        }
        let now = self.link.shared().runtime.now();
        let mut wakers = Vec::new();
        {
            let mut state = self.link.lock();
            state.connection.close(now, CloseReason::Local);
            while let Some(action) = state.connection.poll_action() {
                let (request, error) = match action {
                    Action::Failed { request, error } => (request, error),
                    Action::TimedOut { request, context } => {
                        (request, TimedOut::new(context).error())
                    }
                    _ => continue,
                };
                wakers.extend(state.waiters.complete(request, Err(error)));
            }
            for late in self.timeouts.drain(..) {
                wakers.extend(state.waiters.tell_late(late));
            }
            state.set_closed(CloseReason::Local);
        }
        wakers.into_iter().for_each(Waker::wake);
        self.link.notify();
        if let Some(owner) = self.link.shared().owner.upgrade() {
            owner.ended(&self.link, &CloseReason::Local);
        }
    }
}
