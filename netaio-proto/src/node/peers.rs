//! What a node does with peers and subscriptions.

use alloc::sync::Arc;
use core::net::SocketAddr;

use super::Node;
use crate::action::{Action, ReplyToken};
use crate::address::canonical;
use crate::in_flight::Reply;
use crate::peers::{LossReason, PeerError, PeerEvent, PeerManagement, Peers};
use crate::plugin::{Layers, Peer};
use crate::request::OuterUse;
use crate::subscriptions::{SubscribeError, Subscriptions};
use crate::time::Instant;
use crate::wire::message::Message;

impl Node {
    /// Begins to manage peers: advertises this node to the group at once and then
    /// at intervals, answers and keeps those that do likewise, and forgets those
    /// that are not heard of. Replaces what was managed before.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if this node cannot say who it is.
    pub fn manage_peers(
        &mut self,
        now: Instant,
        by: PeerManagement,
    ) -> Result<(), PeerError> {
        self.exchange.advance(now);
        self.datagrams.peers.manage(self.exchange.now, by)?;
        self.update_router();
        Ok(())
    }

    /// Stops managing peers, and tells the group that this node leaves. Those
    /// that are known stay known.
    pub fn stop_peer_management(&mut self, now: Instant) {
        self.exchange.advance(now);
        if let Some((farewell, layers)) = self.datagrams.peers.stop() {
            self.tell_group(farewell, &layers);
        }
        self.update_router();
    }

    /// The peers that are known.
    pub fn peers(&self) -> &Peers {
        &self.datagrams.peers
    }

    /// Adds a peer by hand, or an address to one. It is pinned: it neither times
    /// out nor makes room for others.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if the peer has no id or there is no room.
    pub fn add_peer(
        &mut self,
        now: Instant,
        peer: Peer,
        address: SocketAddr,
    ) -> Result<(), PeerError> {
        self.exchange.advance(now);
        let now = self.exchange.now;
        let added = self.datagrams.peers.add(now, peer, canonical(address));
        self.note_peer_events();
        added
    }

    /// Removes a peer and its subscriptions; `false` if there is none with this
    /// id.
    pub fn remove_peer(&mut self, id: &[u8]) -> bool {
        let removed = self.datagrams.peers.remove(id);
        self.note_peer_events();
        removed
    }

    /// Subscribes an address to a key; `false` if that was done already.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if a bound is reached.
    pub fn subscribe(
        &mut self,
        key: &[u8],
        address: SocketAddr,
    ) -> Result<bool, SubscribeError> {
        self.subscriptions.subscribe(canonical(address), key)
    }

    /// Ends an address's subscription to a key; `false` if there is none.
    pub fn unsubscribe(&mut self, key: &[u8], address: SocketAddr) -> bool {
        self.subscriptions.unsubscribe(canonical(address), key)
    }

    /// The subscriptions there are.
    pub fn subscriptions(&self) -> &Subscriptions<SocketAddr> {
        &self.subscriptions
    }

    // --- within ---

    /// A message by or about a peer.
    pub(super) fn peer_message(
        &mut self,
        from: SocketAddr,
        message: &Message,
        token: Option<ReplyToken>,
    ) {
        let now = self.exchange.now;
        let reply = self.datagrams.peers.receive(now, from, message);
        let news = self.datagrams.peers.has_events();
        let Some(token) = token else { return };
        let withheld = self.exchange.counters.withheld;
        let reply = reply.map(Reply::own);
        // The token was made a moment ago.
        let _ = self.exchange.conclude(&mut self.datagrams, &token, reply);
        if news && self.exchange.counters.withheld > withheld {
            // Whoever it is may not be where it says it is, and would get more
            // than it sent: the group is told instead. Those that are known have
            // been told before, and will be at the next interval.
            self.datagrams.peers.advertise_soon(now);
        }
    }

    pub(super) fn tell_group(&mut self, message: Message, layers: &Layers) {
        let now = self.exchange.now;
        let outer = OuterUse::default();
        // Without a group, or with a queue that is full, it goes unsaid.
        let _ = self.multicast(now, message, layers, outer);
    }

    pub(super) fn note_peer_events(&mut self) {
        while let Some(event) = self.datagrams.peers.poll_event() {
            if let PeerEvent::Lost { peer, reason } = &event
                && *reason != LossReason::Evicted
            {
                // Where another peer is by now, the subscriptions are that one's.
                for address in &peer.addresses {
                    if self.datagrams.peers.at(*address).is_none() {
                        self.subscriptions.remove_subscriber(*address);
                    }
                }
            }
            if self.datagrams.open {
                self.actions.push_back(Action::Peer(event));
            }
        }
    }

    pub(super) fn update_router(&mut self) {
        let mut router = Arc::clone(&self.router);
        if let Some(by) = self.datagrams.peers.management() {
            Arc::make_mut(&mut router).manage_peers(by);
        }
        self.exchange.router = router;
    }
}
