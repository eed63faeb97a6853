//! The UDP node: one socket, many remote ends.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use netaio_proto::{
    Counters, Instant, KeyExtractor, KnownPeer, Layers, Message, MessageType, Node,
    OuterUse, Peer, PeerError, PeerEvent, PeerManagement, Request, RequestError,
    RequestId, RouteKey, Sealing, SendError, SubscribeError, canonical_address,
};

use crate::builder::NodeBuilder;
use crate::endpoint::{Endpoint, lock};
use crate::events::{Events, PeerEvents};
use crate::handler::{AuthFailure, IntoOutcome, handler_methods};
use crate::link::{Submitted, fresh_seed};
use crate::node_task::NodeTask;
use crate::pubsub::pubsub_methods;
use crate::reply::{Origin, ReplyFuture};
use crate::request::RequestBuilder;
use crate::runtime::{Runtime, until};
use crate::sealing::{is_costly, must_seal, sealed_message, sealed_request};
use crate::signal::Signal;
use crate::timeout::{
    IntoTimeoutOutcome, TimedOut, TimeoutEvent, TimeoutHandling, TimeoutKind,
    timeout_methods,
};
use crate::udp::UdpOptions;
use crate::waiters::Waiters;
use crate::wall_clock::WallClock;

/// A UDP node: it asks others and answers them, finds peers by multicast, and
/// notifies subscribers, all over one socket.
///
/// Cheap to clone; all clones are one node. When the last one is dropped, it
/// stops. A handler that captures the node keeps it alive until
/// [`stop`](Self::stop): take the one that the handler is given instead.
///
/// Datagrams get lost. A request is sent once; without a reply it times out, and
/// what is done then is the timeout handler's business, as on TCP.
pub struct UdpNode<R: Runtime> {
    inner: Arc<Inner<R>>,
    /// `None` for the handles that handlers are given.
    _stop: Option<Arc<StopOnDrop<R>>>,
}

pub(crate) struct Inner<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) endpoint: Arc<Endpoint<IncomingDatagram<R>>>,
    udp: UdpOptions,
    own_addresses: Option<Vec<SocketAddr>>,
    /// Whether the system had randomness to give.
    seeded: bool,
    state: Mutex<NodeState>,
    /// Tells that room came free, that all is sent, or that the node stopped.
    changed: Signal,
    timeouts: TimeoutHandling<UdpNode<R>>,
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
struct StopOnDrop<R: Runtime>(Arc<Inner<R>>);

impl<R: Runtime> Drop for StopOnDrop<R> {
    fn drop(&mut self) {
        self.0.begin_stop();
        self.0.endpoint.clear();
    }
}

impl<R: Runtime + Default> UdpNode<R> {
    /// A node without plugins, with Python netaio's defaults: port 8888 on all
    /// IPv4 interfaces, group 224.0.0.1. It is not bound yet.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Starts to describe a node.
    pub fn builder() -> NodeBuilder<R> {
        NodeBuilder::on(R::default())
    }
}

impl<R: Runtime + Default> Default for UdpNode<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime> UdpNode<R> {
    /// Starts to describe a node on a runtime of your own.
    pub fn builder_on(runtime: R) -> NodeBuilder<R> {
        NodeBuilder::on(runtime)
    }

    pub(crate) fn from_parts(
        runtime: R,
        endpoint: Endpoint<IncomingDatagram<R>>,
        udp: UdpOptions,
        own_addresses: Option<Vec<SocketAddr>>,
    ) -> Self {
        let config = Arc::clone(&endpoint.config);
        let router = Arc::clone(&endpoint.snapshot().router);
        let seed = fresh_seed();
        let seeded = seed.is_ok();
        // Without randomness it is not started.
        let seed = seed.unwrap_or_default();
        let node = Node::new(config, router, seed, runtime.now());
        let inner = Arc::new(Inner {
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
        Self {
            _stop: Some(Arc::new(StopOnDrop(Arc::clone(&inner)))),
            inner,
        }
    }

    // --- the socket ---

    /// Binds the socket and serves it, in the background; gives the address that
    /// is bound. A node is started once.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound, the group cannot be joined, the node has
    /// been started before, or the system has no randomness to give.
    pub async fn start(&self) -> io::Result<SocketAddr> {
        let inner = &self.inner;
        if !inner.seeded {
            return Err(io::Error::other("the system has no randomness"));
        }
        let bound = inner.udp.bind()?;
        let own = inner.own_addresses.clone();
        let own = own.unwrap_or_else(|| inner.udp.own_addresses(bound.address));
        let socket = inner.runtime.udp_socket(bound.socket)?;
        {
            let mut state = inner.lock();
            if state.stage != Stage::New || state.node.is_closed() {
                return Err(io::Error::other("the node has been started before"));
            }
            state.stage = Stage::Running(bound.address);
            state.node.set_own_addresses(own);
            state.node.set_group(bound.group);
        }
        tracing::info!(address = %bound.address, group = ?bound.group, "bound");
        let task = NodeTask::new(Arc::clone(inner), socket, bound.address);
        inner.runtime.spawn(task);
        Ok(bound.address)
    }

    /// The address that the socket is bound to, while it is.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.inner.lock().stage {
            Stage::Running(address) => Some(address),
            Stage::New | Stage::Stopped => None,
        }
    }

    /// Ends the node: tells its peers that it leaves, if peers are managed, fails
    /// its requests, sends what is queued, drops all handlers and closes the
    /// socket.
    ///
    /// Dropping the future leaves the node stopping. A handler of this node that
    /// awaits it waits for itself: let it start a task.
    pub async fn stop(&self) {
        self.inner.begin_stop();
        let stopped = self
            .inner
            .until(|state| matches!(state.stage, Stage::New | Stage::Stopped));
        stopped.await;
        self.inner.endpoint.clear();
    }

    /// Waits until the node has [stopped](Self::stop).
    pub async fn stopped(&self) {
        self.inner
            .until(|state| state.stage == Stage::Stopped || state.node.is_closed())
            .await;
    }

    // --- messages ---

    /// Asks a node for the content of a URI: a `REQUEST_URI`. The answer has to
    /// come from the address that was asked: a multicast group never answers.
    pub fn request(
        &self,
        uri: impl AsRef<[u8]>,
        node: SocketAddr,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::REQUEST_URI, uri.as_ref(), node)
    }

    /// Asks a node to create a URI with this content: a `CREATE_URI`.
    pub fn create(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
        node: SocketAddr,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::CREATE_URI, uri.as_ref(), node)
            .content(content)
    }

    /// Asks a node to replace the content of a URI: an `UPDATE_URI`.
    pub fn update(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
        node: SocketAddr,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::UPDATE_URI, uri.as_ref(), node)
            .content(content)
    }

    /// Asks a node to remove a URI: a `DELETE_URI`.
    pub fn delete(
        &self,
        uri: impl AsRef<[u8]>,
        node: SocketAddr,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::DELETE_URI, uri.as_ref(), node)
    }

    fn ask(
        &self,
        kind: MessageType,
        uri: &[u8],
        node: SocketAddr,
    ) -> RequestBuilder<R> {
        RequestBuilder::to(Arc::clone(&self.inner), node, kind, uri)
    }

    /// Sends a message that expects no reply. Done when it is queued; waits while
    /// too much is.
    ///
    /// Cancel safe: a message is queued as a whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError`]: what cannot be sealed or is too long for a datagram is
    /// known before anything is sent; [`SendError::Closed`] if the node is not
    /// running.
    pub async fn send(
        &self,
        message: Message,
        to: SocketAddr,
    ) -> Result<(), SendError> {
        self.send_with(message, to, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message with inner layers, and with some of the node's own
    /// plugins. Otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn send_with(
        &self,
        message: Message,
        to: SocketAddr,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        let sealing =
            self.inner
                .sealing_apart(to, message.message_type(), inner, outer);
        let (message, inner, outer) = match sealing {
            None => (message, inner, outer),
            Some(sealing) => {
                let runtime = &self.inner.runtime;
                let sealed = sealed_message(runtime, sealing, message, inner, outer);
                (sealed.await?, &Layers::new(), OuterUse::NEITHER)
            }
        };
        self.inner
            .when_possible(|node, now| {
                node.send_with(now, to, message.clone(), inner, outer)
            })
            .await
    }

    /// Sends a message to the multicast group. Otherwise as
    /// [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`SendError::NoGroup`] if the node takes no part in multicasts; otherwise
    /// as [`send`](Self::send).
    pub async fn multicast(&self, message: Message) -> Result<(), SendError> {
        self.multicast_with(message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message to the multicast group, with inner layers and some of the
    /// node's own plugins.
    ///
    /// # Errors
    ///
    /// As [`multicast`](Self::multicast).
    pub async fn multicast_with(
        &self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        self.inner
            .when_possible(|node, now| {
                node.multicast(now, message.clone(), inner, outer)
            })
            .await
    }

    /// Sends a message to every known peer, at the address that was learnt
    /// first; gives how many there are. It is sealed once, unless a plugin's work
    /// depends on who receives it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn broadcast(&self, message: Message) -> Result<usize, SendError> {
        self.broadcast_with(message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message to every known peer, with inner layers and some of the
    /// node's own plugins.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn broadcast_with(
        &self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        self.inner
            .when_possible(|node, now| {
                node.broadcast(now, message.clone(), inner, outer)
            })
            .await
    }

    /// Sends a message to the addresses that are subscribed to a key; gives how
    /// many there are. It is sealed once, unless a plugin's work depends on who
    /// receives it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn notify(
        &self,
        key: impl AsRef<[u8]>,
        message: Message,
    ) -> Result<usize, SendError> {
        self.notify_with(key, message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message to the addresses that are subscribed to a key, with inner
    /// layers and some of the node's own plugins.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn notify_with(
        &self,
        key: impl AsRef<[u8]>,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let key = key.as_ref();
        self.inner
            .when_possible(|node, now| {
                node.notify(now, key, message.clone(), inner, outer)
            })
            .await
    }

    handler_methods!(IncomingDatagram<R>);

    // --- subscriptions ---

    /// Subscribes an address to a key; `false` if that was done already.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if a bound is reached.
    pub fn subscribe(
        &self,
        key: impl AsRef<[u8]>,
        address: SocketAddr,
    ) -> Result<bool, SubscribeError> {
        self.inner.lock().node.subscribe(key.as_ref(), address)
    }

    /// Ends an address's subscription to a key; `false` if there is none.
    pub fn unsubscribe(&self, key: impl AsRef<[u8]>, address: SocketAddr) -> bool {
        self.inner.lock().node.unsubscribe(key.as_ref(), address)
    }

    /// The addresses that are subscribed to a key.
    pub fn subscribers(&self, key: impl AsRef<[u8]>) -> Vec<SocketAddr> {
        let state = self.inner.lock();
        let subscriptions = state.node.subscriptions();
        subscriptions.subscribers(key.as_ref()).collect()
    }

    pubsub_methods!(IncomingDatagram<R>);

    // --- peers ---

    /// Begins to manage peers: advertises this node to the multicast group at
    /// once and then at intervals, answers and keeps those that do likewise, and
    /// forgets those that are not heard of. Replaces what was managed before.
    ///
    /// Python netaio's `manage_peers_automatically`.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if the node was built without a
    /// [`local_peer`](NodeBuilder::local_peer) that has an id.
    pub fn manage_peers(&self, by: PeerManagement) -> Result<(), PeerError> {
        self.inner
            .act(|state, now| state.node.manage_peers(now, by))
    }

    /// Stops managing peers: says to the group that this node leaves, and
    /// advertises it no more. Returns once that has been handed to the socket.
    /// Peers that are known stay known.
    ///
    /// Cancel safe: peers are not managed from the first poll on.
    pub async fn stop_peer_management(&self) {
        self.inner
            .act(|state, now| state.node.stop_peer_management(now));
        let sent = self.inner.until(|state| {
            let idle = state.node.queued() == 0 && !state.unsent;
            idle || !matches!(state.stage, Stage::Running(_))
        });
        sent.await;
    }

    /// The peers that are known, in the order of their ids.
    pub fn peers(&self) -> Vec<KnownPeer> {
        self.inner.lock().node.peers().iter().cloned().collect()
    }

    /// The peer with this id, if it is known.
    pub fn peer(&self, id: impl AsRef<[u8]>) -> Option<KnownPeer> {
        self.inner.lock().node.peers().get(id.as_ref()).cloned()
    }

    /// The peer at this address, if one is known.
    pub fn peer_at(&self, address: SocketAddr) -> Option<KnownPeer> {
        let address = canonical_address(address);
        self.inner.lock().node.peers().at(address).cloned()
    }

    /// What happens to peers, from now on.
    pub fn peer_events(&self) -> PeerEvents {
        self.inner.peer_events.subscribe()
    }

    /// Adds a peer by hand, or an address to one. It is pinned: it neither times
    /// out nor makes room for others.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if the peer has no id or there is no room.
    pub fn add_peer(
        &self,
        peer: Peer,
        address: SocketAddr,
    ) -> Result<(), PeerError> {
        self.inner
            .act(|state, now| state.node.add_peer(now, peer, address))
    }

    /// Removes a peer and its subscriptions; `false` if there is none with this
    /// id.
    pub fn remove_peer(&self, id: impl AsRef<[u8]>) -> bool {
        self.inner
            .act(|state, _| state.node.remove_peer(id.as_ref()))
    }

    // --- timeouts ---

    timeout_methods!();

    // --- figures ---

    /// What the node has done so far.
    pub fn counters(&self) -> Counters {
        self.inner.lock().node.counters()
    }

    /// Requests of this node that wait for a reply.
    pub fn pending(&self) -> usize {
        self.inner.lock().node.pending()
    }

    /// Requests of others that are not yet answered.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().node.in_flight()
    }
}

impl<R: Runtime> Inner<R> {
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
    fn act<T>(&self, action: impl FnOnce(&mut NodeState, Instant) -> T) -> T {
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

    fn begin_stop(&self) {
        self.act(|state, now| {
            state.node.stop_peer_management(now);
            state.node.close(now);
        });
        self.notify();
    }

    /// Does something that sends, as soon as there is room.
    async fn when_possible<T>(
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
    fn sealing_apart(
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
            let request = unsent.take()?.timeout(left);
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

    fn subscribe_sender(
        &self,
        m: &IncomingDatagram<R>,
    ) -> Result<bool, SubscribeError> {
        self.lock().node.subscribe(m.uri(), m.from)
    }

    fn unsubscribe_sender(&self, m: &IncomingDatagram<R>) {
        self.lock().node.unsubscribe(m.uri(), m.from);
    }

    async fn publish(
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
    async fn until(&self, holds: impl Fn(&NodeState) -> bool) {
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

impl<R: Runtime> Clone for UdpNode<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _stop: self._stop.clone(),
        }
    }
}

impl<R: Runtime> fmt::Debug for UdpNode<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.lock();
        f.debug_struct("UdpNode")
            .field("stage", &state.stage)
            .field("node", &state.node)
            .finish_non_exhaustive()
    }
}

/// A message on its way to a node's handler, with where it came from.
///
/// Dereferences to its [`Message`], so that `incoming.respond(..)` makes a
/// reply to it.
#[derive(Clone)]
pub struct IncomingDatagram<R: Runtime> {
    message: Message,
    from: SocketAddr,
    node: NodeHandle<R>,
}

impl<R: Runtime> IncomingDatagram<R> {
    pub(crate) fn new(
        message: Message,
        from: SocketAddr,
        node: NodeHandle<R>,
    ) -> Self {
        Self {
            message,
            from,
            node,
        }
    }

    /// Where the message came from. Without an auth plugin, anybody may have
    /// sent it in that address's name.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// The node that it came to: to send something besides the reply. This
    /// handle does not keep the node running.
    pub fn node(&self) -> UdpNode<R> {
        self.node.handle()
    }

    /// The message alone.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl<R: Runtime> Deref for IncomingDatagram<R> {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl<R: Runtime> fmt::Debug for IncomingDatagram<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingDatagram")
            .field("message", &self.message)
            .field("from", &self.from)
            .finish()
    }
}
