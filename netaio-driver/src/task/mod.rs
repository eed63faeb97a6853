//! The task of one connection: the only one that reads and writes its socket.
//!
//! A turn does, in this order: what is due, what came, what handlers have to
//! say, write, read. Everything that is made in one turn leaves in one write.
//! The lock is never held across user code or a system call.

mod parting;
mod turn;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use netaio_proto::{
    Action, AuthFailed, CloseReason, FrameDecoder, HandlerId, Instant, Message,
    Outgoing, ReplyToken,
};

use self::parting::Parting;
use self::turn::Turn;
use crate::alarm::Alarm;
use crate::handler::Incoming;
use crate::link::Link;
use crate::log_limit::Topic;
use crate::running::Handlers;
use crate::runtime::{ByteStream, Runtime};
use crate::timeout::TimedOut;
use crate::waiters::Late;

/// Turns that a task takes before it lets others run.
const TURNS: usize = 16;

pub(crate) struct ConnectionTask<R: Runtime, S> {
    link: Link<R>,
    span: tracing::Span,
    worker: Worker<R, S>,
}

/// Does the work of a link, which is apart so that it can be locked meanwhile.
struct Worker<R: Runtime, S> {
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
    /// How many it has woken since the last wait.
    woken: usize,
    /// Where bytes are read into, while it is not with the connection.
    decoder: Option<FrameDecoder>,
    /// When the connection has something to do, as it said before the last wait, or
    /// when others were let go first. What has become earlier since is seen before
    /// the next wait.
    due: Option<Instant>,
    /// It has waited, and no message came since.
    waited: bool,
    /// How often in a row messages came only after a wait.
    waits: u8,
    /// The turn before has answered half of what had come.
    halved: bool,
    /// Messages have layers, which take time.
    sealed: bool,
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
    /// Nobody else is there: at most one request waits for a reply, and at most one
    /// was answered lately.
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
        let worker = Worker {
            stream,
            alarm,
            handlers,
            timeouts: Vec::new(),
            work: Vec::new(),
            dispatches: VecDeque::new(),
            queued: 0,
            wakers: Vec::new(),
            woken: 0,
            decoder: None,
            due: None,
            waited: false,
            waits: 0,
            halved: false,
            sealed: !shared.config.layers.is_empty(),
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
        };
        Self { link, span, worker }
    }
}

impl<R: Runtime, S: ByteStream> Future for ConnectionTask<R, S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { link, span, worker } = &mut *self;
        let _entered = span.enter();
        if worker.parting.is_some() {
            return worker.part(link, context);
        }
        if link.is_poked() {
            if worker.gathering == Gathering::Next {
                worker.gathering = Gathering::Done;
                link.poke();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        } else if worker.received == 0
            && (worker.input_ended || !worker.read(link, context))
        {
            // As a rule it was its stream, or a handler.
            worker.alarm.look_again();
        }
        for _ in 0..TURNS {
            match worker.turn(link, context) {
                Turn::Again => {}
                Turn::Over => return worker.part(link, context),
                Turn::Wait => {
                    worker.waited = true;
                    return Poll::Pending;
                }
            }
        }
        // Others have waited long enough, and deadlines too.
        worker.due = link.lock().connection.poll_timeout();
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
        // What this turn had taken when it panicked.
        let mut wakers = std::mem::take(&mut self.worker.wakers);
        for work in self.worker.work.drain(..) {
            if let Work::TimedOut(late, _) = work {
                self.worker.timeouts.push(late);
            }
        }
        let log = &self.link.shared().endpoint.log;
        if std::thread::panicking() && log.allows(Topic::HandlerPanicked) {
            let remote = self.link.remote();
            tracing::error!(%remote, "the task of a connection panicked");
        }
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
            for late in self.worker.timeouts.drain(..) {
                wakers.extend(state.waiters.tell_late(late));
            }
            state.set_closed(&self.link.shared().endpoint, CloseReason::Local);
        }
        wakers.into_iter().for_each(Waker::wake);
        self.link.notify();
        if let Some(owner) = self.link.shared().owner.upgrade() {
            owner.ended(&self.link, &CloseReason::Local);
        }
    }
}
