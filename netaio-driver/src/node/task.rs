//! The task of one node: the only one that receives from and sends to its
//! socket.
//!
//! A turn does, in this order: receive, what is due, what handlers have to say,
//! send. The lock is never held across user code or a system call.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use netaio_proto::{
    Action, AuthFailed, Datagram, HandlerId, Instant, Message, PeerEvent, ReplyToken,
};

use super::IncomingDatagram;
use super::shared::{NodeHandle, NodeState, Stage};
use crate::alarm::Alarm;
use crate::handler::guarded;
use crate::log_limit::Topic;
use crate::running::Handlers;
use crate::runtime::{DatagramSocket, Runtime};
use crate::timeout::TimedOut;
use crate::udp::sendable;
use crate::waiters::Late;

/// Turns that a task takes before it lets others run.
const TURNS: usize = 16;
/// Datagrams that are received in one turn, at most.
const RECEIVED: usize = 32;
/// By how much a turn may receive more than the one before, if there was more.
const GROWTH: usize = 4;
/// Datagrams that are taken to be sent in one turn.
const SENT: usize = 64;
/// Errors of receiving in a row after which there is a pause.
const ERRORS: u32 = 64;
/// How long it is.
const PAUSE: Duration = Duration::from_millis(10);
/// Room for the longest datagram that there can be.
const LONGEST: usize = 65_536;

pub(crate) struct NodeTask<R: Runtime> {
    node: NodeHandle<R>,
    span: tracing::Span,
    /// `None` at the end.
    worker: Option<Worker<R>>,
}

/// Does the work of a node, which is apart so that it can be locked meanwhile.
struct Worker<R: Runtime> {
    socket: R::UdpSocket,
    own: SocketAddr,
    alarm: Alarm<R::Timer>,
    handlers: Handlers<R, IncomingDatagram<R>>,
    buffer: Box<[u8]>,
    outgoing: VecDeque<Datagram>,
    work: Vec<Work>,
    late: Vec<Late>,
    news: News,
    closed: bool,
    /// Datagrams that are received in the next turn, at most. After a wait there
    /// are few, and who sent them may wait in turn: so the first is answered
    /// before the second is received.
    share: usize,
    /// Errors of receiving in a row.
    errors: u32,
    /// Nothing is received until then: errors came without end.
    paused: Option<Instant>,
}

/// What is to be told once the lock is released.
#[derive(Default)]
struct News {
    wakers: Vec<Waker>,
    events: Vec<PeerEvent>,
    /// Whoever waits for room, or for all to be sent, has to be told.
    changed: bool,
}

impl News {
    fn tell<R: Runtime>(&mut self, node: &NodeHandle<R>) {
        for event in self.events.drain(..) {
            tracing::debug!(?event, "peer");
            node.peer_events.send(&event);
        }
        if std::mem::take(&mut self.changed) {
            node.notify();
        }
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }
}

/// Something to do that needs user code, and so no lock.
enum Work {
    Dispatch {
        handler: HandlerId,
        message: Message,
        from: SocketAddr,
        reply: Option<ReplyToken>,
    },
    AuthFailed(AuthFailed),
    TimedOut(Late, TimedOut),
}

impl Work {
    /// The handler that is to be called.
    fn handler(&self) -> Option<HandlerId> {
        match self {
            Self::Dispatch { handler, .. } => Some(*handler),
            Self::AuthFailed(_) | Self::TimedOut(..) => None,
        }
    }
}

impl<R: Runtime> NodeTask<R> {
    pub(crate) fn new(
        node: NodeHandle<R>,
        socket: R::UdpSocket,
        own: SocketAddr,
    ) -> Self {
        let handlers = Handlers::new(
            node.runtime.clone(),
            Arc::clone(&node.endpoint),
            &node.endpoint.config.limits,
        );
        node.lock().node.set_router(handlers.router());
        let span = tracing::debug_span!("node", %own);
        let worker = Worker {
            alarm: Alarm::new(node.runtime.timer()),
            handlers,
            buffer: vec![0; LONGEST].into(),
            outgoing: VecDeque::new(),
            work: Vec::new(),
            late: Vec::new(),
            news: News::default(),
            closed: false,
            share: 1,
            errors: 0,
            paused: None,
            socket,
            own,
        };
        Self {
            node,
            span,
            worker: Some(worker),
        }
    }
}

impl<R: Runtime> Worker<R> {
    /// Does what there is to do; `true` if there may be more at once.
    fn turn(
        &mut self,
        node: &NodeHandle<R>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        // A reply that is here by now has come in time.
        let received = !self.closed && self.receive(node, now, context);
        {
            let mut state = node.lock();
            state.park(context.waker());
            state.set_wall_clock(now);
            if state.node.poll_timeout().is_some_and(|at| at <= now) {
                state.node.handle_timeout(now);
            }
            self.take_actions(&mut state);
        }
        self.do_work(node, context);
        self.handlers.poll(context);
        let unsent = self.hand_over(node, now);
        self.send(node, context);
        self.news.tell(node);
        // What the socket does not take now wakes the task when it does.
        received || unsent && self.outgoing.is_empty()
    }

    /// Takes what the node has to say.
    fn take_actions(&mut self, state: &mut NodeState) {
        while let Some(action) = state.node.poll_action() {
            match action {
                Action::Reply { request, message } => {
                    let waker = state.waiters.complete(request, Ok(message));
                    self.news.wakers.extend(waker);
                }
                Action::Failed { request, error } => {
                    let waker = state.waiters.complete(request, Err(error));
                    self.news.wakers.extend(waker);
                }
                Action::TimedOut { request, context } => {
                    let timed_out = TimedOut::new(context);
                    if let Some(late) = state.waiters.late(request, &timed_out) {
                        self.work.push(Work::TimedOut(late, timed_out));
                    }
                }
                Action::Dispatch {
                    handler,
                    message,
                    from,
                    reply,
                } => self.work.push(Work::Dispatch {
                    handler,
                    message,
                    from,
                    reply,
                }),
                Action::AuthFailed(failed) => {
                    self.work.push(Work::AuthFailed(*failed));
                }
                Action::Unrouted {
                    message,
                    from,
                    reply,
                } => {
                    tracing::debug!(?message, %from, "nobody takes a message");
                    if let Some(token) = reply {
                        state.node.no_reply(token);
                    }
                }
                Action::Rejected { from, error } => {
                    tracing::debug!(%from, %error, "bad datagram passed over");
                }
                Action::Peer(event) => self.news.events.push(event),
                Action::Closed { .. } => self.closed = true,
                other => tracing::debug!(?other, "unknown action"),
            }
        }
    }

    /// Runs user code: handlers, the auth error handler, timeout handlers.
    fn do_work(&mut self, node: &NodeHandle<R>, context: &mut Context<'_>) {
        let mut work = std::mem::take(&mut self.work);
        for work in work.drain(..) {
            match work {
                // Nothing is begun once the node has been stopped.
                Work::Dispatch { .. } if self.closed => {}
                Work::Dispatch {
                    handler,
                    message,
                    from,
                    reply,
                } => {
                    let incoming = |message| {
                        IncomingDatagram::new(message, from, Arc::clone(node))
                    };
                    self.handlers
                        .dispatch(handler, message, &from, reply, incoming, context);
                }
                Work::AuthFailed(failed) => self.handlers.auth_failed(failed),
                Work::TimedOut(late, timed_out) => {
                    node.timed_out(timed_out);
                    self.late.push(late);
                }
            }
        }
        self.work = work;
        self.handlers.forget_replaced();
    }

    /// Gives the node what user code has answered, tells the callers of requests
    /// that timed out, and takes what is to be sent; `true` if that may not be all.
    fn hand_over(&mut self, node: &NodeHandle<R>, now: Instant) -> bool {
        let mut state = node.lock();
        let state = &mut *state;
        self.handlers.answer(&mut state.node, now);
        for late in self.late.drain(..) {
            self.news.wakers.extend(state.waiters.tell_late(late));
        }
        while self.outgoing.len() < SENT
            && let Some(datagram) = state.node.poll_datagram()
        {
            self.outgoing.push_back(datagram);
        }
        state.unsent = !self.outgoing.is_empty();
        self.outgoing.len() >= SENT
    }

    /// Sends what there is.
    fn send(&mut self, node: &NodeHandle<R>, context: &mut Context<'_>) {
        let mut sent = false;
        while let Some(datagram) = self.outgoing.front() {
            let to = sendable(datagram.to, self.own);
            match self.socket.poll_send_to(context, &datagram.bytes, to) {
                Poll::Pending => break,
                Poll::Ready(Ok(_)) => {}
                // It is lost, as any datagram may be: nobody listens there, the
                // network is down, or does not carry one that long.
                Poll::Ready(Err(error)) => {
                    if node.endpoint.log.allows(Topic::NotSent) {
                        let to = datagram.to;
                        tracing::warn!(%to, %error, "a datagram is not sent");
                    }
                }
            }
            self.outgoing.pop_front();
            sent = true;
        }
        if sent {
            self.news.changed = true;
            node.lock().unsent = !self.outgoing.is_empty();
        }
    }

    /// Receives some datagrams; `true` if there may be more.
    fn receive(
        &mut self,
        node: &NodeHandle<R>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        if self.paused.is_some_and(|until| now < until) {
            return false;
        }
        self.paused = None;
        for _ in 0..self.share {
            match self.socket.poll_recv_from(context, &mut self.buffer) {
                Poll::Pending => {
                    self.share = 1;
                    return false;
                }
                Poll::Ready(Ok((length, from))) => {
                    self.errors = 0;
                    // Whoever has registered a handler before this datagram was
                    // sent may count on it. Asked without the lock: a handler
                    // that was removed is dropped.
                    let waiting = self.work.iter().filter_map(Work::handler);
                    let changed = self.handlers.changed_router(waiting);
                    let mut state = node.lock();
                    state.set_wall_clock(now);
                    if let Some(router) = changed {
                        state.node.set_router(router);
                    }
                    let bytes = &self.buffer[..length];
                    state.node.handle_datagram(now, from, bytes);
                    self.take_actions(&mut state);
                }
                // What was sent earlier did not arrive, as the system heard.
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "receiving failed");
                    self.errors += 1;
                    if self.errors >= ERRORS {
                        self.errors = 0;
                        self.paused = Some(now + PAUSE);
                        return false;
                    }
                }
            }
        }
        self.share = self.share.saturating_mul(GROWTH).min(RECEIVED);
        true
    }

    /// Before a wait: sets the alarm. `true` if it has gone off already.
    fn prepare_to_wait(
        &mut self,
        node: &NodeHandle<R>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        let next = {
            let mut state = node.lock();
            if state.node.pending() == 0 {
                state.waiters.release();
            }
            let next = state.node.poll_timeout();
            next.into_iter().chain(self.paused).min()
        };
        self.alarm.wake_by(next, now, context)
    }

    /// Whether all is done that a node that has been stopped has to do.
    fn is_over(&self, node: &NodeHandle<R>) -> bool {
        self.closed && self.outgoing.is_empty() && node.lock().node.queued() == 0
    }
}

impl<R: Runtime> Future for NodeTask<R> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { node, span, worker } = &mut *self;
        let _entered = span.enter();
        let Some(worker) = worker else {
            return Poll::Ready(());
        };
        for _ in 0..TURNS {
            let now = node.runtime.now();
            let more = worker.turn(node, now, context);
            if worker.closed {
                worker.handlers.clear();
                if worker.is_over(node) {
                    return Poll::Ready(());
                }
            }
            if !more && !worker.prepare_to_wait(node, now, context) {
                return Poll::Pending;
            }
        }
        // Others have waited long enough.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Runtime> Drop for NodeTask<R> {
    /// The end, however it came: a runtime that shuts down drops its tasks.
    /// Nobody must wait for ever.
    fn drop(&mut self) {
        let Self { node, worker, .. } = self;
        let Some(mut worker) = worker.take() else {
            return;
        };
        {
            let mut state = node.lock();
            state.node.close(node.runtime.now());
            worker.take_actions(&mut state);
            for work in worker.work.drain(..) {
                if let Work::TimedOut(late, _) = work {
                    worker.late.push(late);
                }
            }
            for late in worker.late.drain(..) {
                worker.news.wakers.extend(state.waiters.tell_late(late));
            }
        }
        let Worker {
            socket,
            handlers,
            mut news,
            own,
            ..
        } = worker;
        // Whoever has waited for the end may bind the port again, and finds that
        // no handler holds anything any more.
        drop(socket);
        guarded(&node.endpoint.log, "a handler", || drop(handlers));
        {
            let mut state = node.lock();
            state.stage = Stage::Stopped;
            state.unsent = false;
        }
        news.changed = true;
        news.tell(node);
        node.peer_events.end();
        tracing::debug!(%own, "stopped");
    }
}
