//! The UDP node: one socket, many remote ends.

mod incoming;
mod shared;
mod task;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use netaio_proto::{
    Counters, KeyExtractor, KnownPeer, Layers, Message, MessageType, OuterUse, Peer,
    PeerError, PeerManagement, RouteKey, SendError, SubscribeError,
    canonical_address,
};

use crate::builder::NodeBuilder;
use crate::endpoint::Endpoint;
use crate::events::PeerEvents;
use crate::handler::{AuthFailure, IntoOutcome, handler_methods};
use crate::pubsub::pubsub_methods;
use crate::request::RequestBuilder;
use crate::runtime::Runtime;
use crate::sealing::sealed_message;
use crate::timeout::{IntoTimeoutOutcome, TimeoutEvent, timeout_methods};
use crate::udp::UdpOptions;

pub use incoming::IncomingDatagram;
pub(crate) use shared::NodeHandle;
use shared::{Inner, Stage, StopOnDrop};
use task::NodeTask;

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
        let inner = Inner::new(runtime, endpoint, udp, own_addresses);
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
        // One that was never started has no task that would.
        self.inner.peer_events.end();
    }

    /// Waits until the node has [stopped](Self::stop).
    pub async fn stopped(&self) {
        self.inner
            .until(|state| match state.stage {
                Stage::New => state.node.is_closed(),
                Stage::Running(_) => false,
                Stage::Stopped => true,
            })
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
    /// many there are: as a rule a `NOTIFY_URI` whose URI is the key. It is sealed
    /// once, unless a plugin's work depends on who receives it.
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

    pubsub_methods!(
        IncomingDatagram<R>,
        "Everybody may subscribe and publish who passes the auth plugin. Without one \
         that is whoever can send a datagram, in anybody's name: a stranger may \
         subscribe somebody who never asked, at as many ports as \
         `Limits::max_subscriptions` allows, and have this node send to all of them. \
         So have an auth plugin, or a hook that allows whom you know."
    );

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

    /// Adds a peer by hand, or an address to one. It is pinned: no message changes
    /// its data, takes its address for another or removes it; it neither times
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
