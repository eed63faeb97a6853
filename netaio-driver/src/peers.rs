//! The peers of a client or server: one table for all its connections.

use std::net::SocketAddr;
use std::sync::Mutex;

use netaio_proto::{
    EndpointConfig, Instant, KnownPeer, Layers, Message, Peer, PeerError, PeerEvent,
    PeerManagement, Peers, canonical_address,
};

use crate::endpoint::lock;
use crate::events::{Events, PeerEvents};
use crate::link::Link;
use crate::runtime::Runtime;

/// The peers of all connections of a client or server.
#[derive(Debug)]
pub(crate) struct SharedPeers {
    peers: Mutex<Peers>,
    events: Events<PeerEvent>,
}

impl SharedPeers {
    pub(crate) fn new(config: &EndpointConfig) -> Self {
        let local = config.local_peer.clone();
        // Randomness is for intervals, which there are none of on a stream.
        let peers = Peers::new(&config.limits, local, [0; 32]);
        Self {
            peers: Mutex::new(peers),
            events: Events::default(),
        }
    }

    pub(crate) fn manage(
        &self,
        now: Instant,
        by: PeerManagement,
    ) -> Result<(), PeerError> {
        lock(&self.peers).manage(now, by.without_interval())
    }

    /// By what peers are managed, if they are.
    pub(crate) fn management(&self) -> Option<PeerManagement> {
        lock(&self.peers).management().cloned()
    }

    /// Stops managing; gives what to tell the peers.
    pub(crate) fn stop(&self) -> Option<(Message, Layers)> {
        lock(&self.peers).stop()
    }

    /// What says who this is, while peers are managed.
    pub(crate) fn advertisement(&self) -> Option<(Message, Layers)> {
        lock(&self.peers).advertisement()
    }

    /// What says that this endpoint leaves, while peers are managed.
    pub(crate) fn farewell(&self) -> Option<(Message, Layers)> {
        lock(&self.peers).farewell()
    }

    /// Takes in a message by or about a peer; gives what to answer, and what has
    /// happened.
    pub(crate) fn receive(
        &self,
        now: Instant,
        from: SocketAddr,
        message: &Message,
    ) -> (Option<Message>, Vec<PeerEvent>) {
        self.change(|peers| peers.receive(now, from, message))
    }

    /// Notes that the connection to an address has ended.
    pub(crate) fn disconnected(&self, from: SocketAddr) -> Vec<PeerEvent> {
        self.change(|peers| peers.disconnected(from)).1
    }

    /// The same of a client's connection to a server. One that was added by hand
    /// is still there, and will be connected to again.
    pub(crate) fn server_left(&self, from: SocketAddr) -> Vec<PeerEvent> {
        if self.at(from).is_some_and(|known| known.pinned) {
            return Vec::new();
        }
        self.disconnected(from)
    }

    pub(crate) fn add(
        &self,
        now: Instant,
        peer: Peer,
        address: SocketAddr,
    ) -> (Result<(), PeerError>, Vec<PeerEvent>) {
        let address = canonical_address(address);
        self.change(|peers| peers.add(now, peer, address))
    }

    pub(crate) fn remove(&self, id: &[u8]) -> (bool, Vec<PeerEvent>) {
        self.change(|peers| peers.remove(id))
    }

    pub(crate) fn all(&self) -> Vec<KnownPeer> {
        lock(&self.peers).iter().cloned().collect()
    }

    pub(crate) fn get(&self, id: &[u8]) -> Option<KnownPeer> {
        lock(&self.peers).get(id).cloned()
    }

    pub(crate) fn at(&self, address: SocketAddr) -> Option<KnownPeer> {
        lock(&self.peers).at(canonical_address(address)).cloned()
    }

    pub(crate) fn events(&self) -> PeerEvents {
        self.events.subscribe()
    }

    /// No more events can come.
    pub(crate) fn end_events(&self) {
        self.events.end();
    }

    /// Tells what has happened to peers, once connections know who is at their
    /// other ends: whoever hears of a peer may write to it at once.
    pub(crate) fn tell(&self, events: &[PeerEvent]) {
        for event in events {
            tracing::debug!(?event, "peer");
            self.events.send(event);
        }
    }

    /// Changes the table; gives what has happened by that.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Peers) -> T,
    ) -> (T, Vec<PeerEvent>) {
        let mut peers = lock(&self.peers);
        let outcome = change(&mut peers);
        let events = std::iter::from_fn(|| peers.poll_event()).collect();
        (outcome, events)
    }
}

impl SharedPeers {
    /// Tells connections who is at their other ends, after events about peers;
    /// gives those that were told, with the event. `own` is the connection that
    /// the events are due to, as a rule the only one; `all` are the others.
    pub(crate) fn introduce<'a, R: Runtime>(
        &self,
        events: &'a [PeerEvent],
        own: Option<&Link<R>>,
        all: impl Fn() -> Vec<Link<R>>,
    ) -> Vec<(&'a PeerEvent, Link<R>)> {
        let mut told = Vec::new();
        for event in events {
            for &address in &event.peer().addresses {
                let peer = self.at(address).map(|known| known.peer);
                let there = |link: &Link<R>| link.remote() == address;
                let links = match own.filter(|own| there(own)) {
                    Some(own) => vec![own.clone()],
                    None => all().into_iter().filter(there).collect(),
                };
                for link in links {
                    link.set_peer(peer.clone());
                    told.push((event, link));
                }
            }
        }
        told
    }
}

/// The methods by which clients and servers alike show their peers.
macro_rules! peer_methods {
    () => {
        /// The peers that are known, in the order of their ids.
        pub fn peers(&self) -> Vec<KnownPeer> {
            self.inner.peers.all()
        }

        /// The peer with this id, if it is known.
        pub fn peer(&self, id: impl AsRef<[u8]>) -> Option<KnownPeer> {
            self.inner.peers.get(id.as_ref())
        }

        /// The peer at the other end of a connection to this address, if one is
        /// known.
        pub fn peer_at(&self, address: SocketAddr) -> Option<KnownPeer> {
            self.inner.peers.at(address)
        }

        /// What happens to peers, from now on.
        pub fn peer_events(&self) -> PeerEvents {
            self.inner.peers.events()
        }

        /// Adds a peer by hand, or an address to one, now or before there is a
        /// connection to it. It is pinned: no message changes its data, takes its
        /// address for another or removes it; it does not make room for others,
        /// and a client knows it still when it connects again.
        ///
        /// # Errors
        ///
        /// [`PeerError`] if the peer has no id or there is no room.
        pub fn add_peer(
            &self,
            peer: Peer,
            address: SocketAddr,
        ) -> Result<(), PeerError> {
            let now = self.inner.runtime.now();
            let (added, events) = self.inner.peers.add(now, peer, address);
            self.inner.note_peers(&events, None);
            added
        }

        /// Removes a peer, and on a server its subscriptions; `false` if there
        /// is none with this id.
        pub fn remove_peer(&self, id: impl AsRef<[u8]>) -> bool {
            let (removed, events) = self.inner.peers.remove(id.as_ref());
            self.inner.note_peers(&events, None);
            removed
        }

        /// Begins to manage peers by these rules, in place of those before: a
        /// client says on each connection, present and future, who it is, and a
        /// server answers likewise. Intervals and timeouts are for nodes: on a
        /// stream a peer is known until it leaves or its connection ends.
        ///
        /// Python netaio's `manage_peers_automatically`.
        ///
        /// # Errors
        ///
        /// [`PeerError`] if this endpoint was built without a `local_peer` that
        /// has an id.
        pub fn manage_peers(&self, by: PeerManagement) -> Result<(), PeerError> {
            let now = self.inner.runtime.now();
            let before = self.inner.peers.management();
            self.inner.peers.manage(now, by.clone())?;
            if let Some(before) = before {
                self.inner.endpoint.unmanage_peers(&before);
            }
            self.inner.endpoint.manage_peers(&by);
            self.inner.greet();
            Ok(())
        }

        /// Stops managing peers, and says on every connection that this endpoint
        /// leaves; that is queued when this returns. Peers that are known stay
        /// known until their connections end.
        ///
        /// A server takes that for the end of the subscriptions of a client, which
        /// stays connected and renews them.
        pub async fn stop_peer_management(&self) {
            let Some(by) = self.inner.peers.management() else {
                return;
            };
            self.inner.endpoint.unmanage_peers(&by);
            if let Some((farewell, layers)) = self.inner.peers.stop() {
                self.inner.tell_all(&farewell, &layers);
                self.farewell_said();
            }
        }
    };
}
pub(crate) use peer_methods;
