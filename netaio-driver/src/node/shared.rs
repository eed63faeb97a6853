//! What the handles of a node share with its task, and what both do with it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use netaio_proto::{
    Instant, Layers, Message, MessageType, Node, OuterUse, PeerEvent, Request,
    RequestError, RequestId, Sealing, SendError, SubscribeError,
};

use super::{IncomingDatagram, UdpNode};
use crate::endpoint::{Endpoint, lock};
use crate::events::Events;
use crate::link::{Submitted, fresh_seed};
use crate::reply::{Origin, ReplyFuture};
use crate::runtime::{Runtime, until};
use crate::sealing::{is_costly, must_seal, sealed_request};
use crate::signal::Signal;
use crate::timeout::{TimedOut, TimeoutEvent, TimeoutHandling, TimeoutKind};
use crate::udp::UdpOptions;
use crate::waiters::Waiters;
use crate::wall_clock::WallClock;

/// A node, apart from its socket.
pub(crate) struct Inner<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) endpoint: Arc<Endpoint<IncomingDatagram<R>>>,
    pub(super) udp: UdpOptions,
    pub(super) own_addresses: Option<Vec<SocketAddr>>,
    /// Whether the system had randomness to give.
    pub(super) seeded: bool,
    state: Mutex<NodeState>,
    /// Tells that room came free, that all is sent, or that the node stopped.
    changed: Signal,
    pub(super) timeouts: TimeoutHandling<UdpNode<R>>,
    pub(crate) peer_events: Events<PeerEvent>,
    this: OnceLock<Weak<Self>>,
}

pub(crate) struct NodeState {
    pub(crate) node: Node,
    pub(crate) waiters: Waiters,
    pub(crate) stage: Stage,
    /// Of the task, if it sleeps.
    task: Option<Waker>,
    wall_clock: WallClock,
    /// Whether the task holds datagrams that the socket does not take yet.
    pub(crate) unsent: bool,
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has no socket yet.
    New,
    /// It is bound to this address.
    Running(SocketAddr),
    /// Its task has ended.
    Stopped,
}

/// A node, as what belongs to it holds it.
pub(crate) type NodeHandle<R> = Arc<Inner<R>>;

/// Stops the node when the user's last handle is gone.
pub(super) struct StopOnDrop<R: Runtime>(pub(super) Arc<Inner<R>>);

impl<R: Runtime> Drop for StopOnDrop<R> {
    fn drop(&mut self) {
        self.0.begin_stop();
        self.0.endpoint.clear();
    }
}

impl<R: Runtime> Inner<R> {
    pub(super) fn new(
        runtime: R,
        endpoint: Endpoint<IncomingDatagram<R>>,
        udp: UdpOptions,
        own_addresses: Option<Vec<SocketAddr>>,
    ) -> Arc<Self> {
        let config = Arc::clone(&endpoint.config);
        let router = Arc::clone(&endpoint.snapshot().router);
        let seed = fresh_seed();
        let seeded = seed.is_ok();
        // Without randomness it is not started.
        let seed = seed.unwrap_or_default();
        let node = Node::new(config, router, seed, runtime.now());
        let inner = Arc::new(Self {
            runtime,
            endpoint: Arc::new(endpoint),
            udp,
            own_addresses,
            seeded,
            state: Mutex::new(NodeState {
                node,
                waiters: Waiters::default(),
                stage: Stage::New,
                task: None,
                wall_clock: WallClock::default(),
                unsent: false,
            }),
            changed: Signal::default(),
            timeouts: TimeoutHandling::default(),
            peer_events: Events::default(),
            this: OnceLock::new(),
        });
        let _ = inner.this.set(Arc::downgrade(&inner));
        inner
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, NodeState> {
        lock(&self.state)
    }

    /// A handle that does not keep the node running.
    pub(crate) fn handle(self: &Arc<Self>) -> UdpNode<R> {
        UdpNode {
            inner: Arc::clone(self),
            _stop: None,
        }
    }

    /// Tells whoever waits on `changed`.
    pub(crate) fn notify(&self) {
        self.changed.tell();
    }

    /// Does something to the node, and wakes its task.
    pub(super) fn act<T>(
        &self,
        action: impl FnOnce(&mut NodeState, Instant) -> T,
    ) -> T {
        let now = self.runtime.now();
        let mut state = self.lock();
        state.set_wall_clock(now);
        let outcome = action(&mut state, now);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
        outcome
    }

    pub(super) fn begin_stop(&self) {
        self.act(|state, now| {
            state.node.stop_peer_management(now);
            state.node.close(now);
        });
        self.notify();
    }

    /// Does something that sends, as soon as there is room.
    pub(super) async fn when_possible<T>(
        &self,
        send: impl Fn(&mut Node, Instant) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        let send = || {
            let outcome = self.act(|state, now| match state.stage {
                Stage::Running(_) => send(&mut state.node, now),
                Stage::New | Stage::Stopped => Err(SendError::Closed),
            });
            let full = matches!(outcome, Err(SendError::OutgoingFull { .. }));
            (!full).then_some(outcome)
        };
        self.changed.wait_for(send).await
    }

    /// What seals a message of this type, if that takes long and is to be done
    /// apart from the node.
    pub(super) fn sealing_apart(
        &self,
        to: SocketAddr,
        kind: MessageType,
        inner: &Layers,
        outer: OuterUse,
    ) -> Option<Sealing> {
        if !is_costly(&self.endpoint.config, kind, inner, outer) {
            return None;
        }
        let now = self.runtime.now();
        let mut state = self.lock();
        state.set_wall_clock(now);
        Some(state.node.sealing(to))
    }

    /// Whether a request has to be sealed before it can be sent, since that takes
    /// long: [`request_when_possible`](Self::request_when_possible) does.
    pub(crate) fn must_seal(&self, request: &Request) -> bool {
        must_seal(&self.endpoint.config, request)
    }

    /// Sends a request, if there is room for it now. Its reply wakes `waker`, if
    /// that is known already.
    pub(crate) fn try_request(
        &self,
        to: SocketAddr,
        request: Request,
        waker: Option<&Waker>,
    ) -> Submitted<R> {
        let Some(this) = self.this.get().and_then(Weak::upgrade) else {
            return Submitted::Failed(RequestError::NotConnected);
        };
        self.act(|state, now| {
            if !matches!(state.stage, Stage::Running(_)) {
                return Submitted::Failed(RequestError::NotConnected);
            }
            match state.node.can_send() {
                Ok(()) => {}
                Err(SendError::Closed) => {
                    return Submitted::Failed(RequestError::NotConnected);
                }
                Err(error) => {
                    return Submitted::NotNow(Box::new(request), error);
                }
            }
            match state.node.request(now, to, request) {
                Err(error) => Submitted::Failed(error.into()),
                Ok(request) => {
                    let waiter = state.waiters.wait_for(request, waker);
                    let origin = Origin::Node(this);
                    Submitted::Sent(ReplyFuture::new(origin, request, waiter))
                }
            }
        })
    }

    /// Sends a request once there is room for it, within its timeout.
    pub(crate) async fn request_when_possible(
        &self,
        to: SocketAddr,
        mut request: Request,
        timeout: Duration,
    ) -> Result<ReplyFuture<R>, RequestError> {
        let deadline = self.runtime.now() + timeout;
        let kind = request.message().message_type();
        let (inner, outer) = (request.inner(), request.outer_use());
        if let Some(sealing) = self.sealing_apart(to, kind, inner, outer) {
            let sealed = sealed_request(&self.runtime, sealing, request, deadline);
            request = sealed.await?;
        }
        let (mut unsent, mut full) = (Some(request), SendError::Closed);
        let submit = || {
            // What was spent on waiting is not there to wait for the reply.
            let left = deadline.duration_since(self.runtime.now());
            let request = unsent.take()?.time_left(left);
            match self.try_request(to, request, None) {
                Submitted::Sent(reply) => Some(Ok(reply)),
                Submitted::Failed(error) => Some(Err(error)),
                Submitted::NotNow(again, error) => {
                    (unsent, full) = (Some(*again), error);
                    None
                }
            }
        };
        let submitted = self.changed.wait_for(submit);
        let submitted = until(&self.runtime, deadline, submitted).await;
        submitted.unwrap_or_else(|| Err(full.into()))
    }

    // --- what `pubsub` needs ---

    pub(super) fn subscribe_sender(
        &self,
        m: &IncomingDatagram<R>,
    ) -> Result<bool, SubscribeError> {
        self.lock().node.subscribe(m.uri(), m.from())
    }

    pub(super) fn unsubscribe_sender(&self, m: &IncomingDatagram<R>) {
        self.lock().node.unsubscribe(m.uri(), m.from());
    }

    pub(super) async fn publish(
        &self,
        key: &[u8],
        notice: Message,
        layers: &Layers,
    ) -> Result<usize, SendError> {
        let outer = OuterUse::default();
        self.when_possible(|node, now| {
            node.notify(now, key, notice.clone(), layers, outer)
        })
        .await
    }

    /// Gives up a request that nobody waits for any more.
    pub(crate) fn leave(&self, waiter: usize, request: RequestId) {
        let mut state = self.lock();
        if state.waiters.leave(waiter) {
            let now = self.runtime.now();
            state.node.cancel(now, request);
        }
    }

    /// Tells the timeout handler.
    pub(crate) fn timed_out(self: &Arc<Self>, timed_out: TimedOut) {
        let error = timed_out.error();
        let event = TimeoutEvent {
            node: self.handle(),
            kind: TimeoutKind::Request,
            server: timed_out.context.server.into(),
            error,
            context: Some(*timed_out.context),
            link: 0,
        };
        self.timeouts.tell(&self.runtime, &self.endpoint.log, event);
    }

    /// Waits until something holds that `changed` tells of.
    pub(super) async fn until(&self, holds: impl Fn(&NodeState) -> bool) {
        self.changed.wait_until(|| holds(&self.lock())).await;
    }
}

impl NodeState {
    /// Tells the node what the clock on the wall says, if that may have changed.
    pub(crate) fn set_wall_clock(&mut self, now: Instant) {
        if let Some(seconds) = self.wall_clock.news(now) {
            self.node.set_unix_time(seconds);
        }
    }

    /// Says that the task sleeps and is to be woken with `waker`.
    pub(crate) fn park(&mut self, waker: &Waker) {
        match &mut self.task {
            Some(task) if task.will_wake(waker) => {}
            task => *task = Some(waker.clone()),
        }
    }
}
