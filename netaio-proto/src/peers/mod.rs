//! Who else is here: the table of peers, and how they are found and lost.
//!
//! [`Peers`] neither sends nor receives. It is given the peer messages that came
//! and says what to answer; it says when to advertise, and what.

mod management;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::error::PluginError;
use crate::limits::Limits;
use crate::plugin::{Layers, Peer};
use crate::random::Random;
use crate::time::Instant;
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

pub use management::PeerManagement;

/// A peer that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownPeer {
    /// Who it is.
    pub peer: Arc<Peer>,
    /// Where it is, the address that was learnt first in front.
    pub addresses: Vec<SocketAddr>,
    /// When it was last heard of.
    pub last_seen: Instant,
    /// Added by hand: it neither times out nor makes room for others.
    pub pinned: bool,
}

/// Something that happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A peer that was not known is there.
    Found(KnownPeer),
    /// A peer has other data, or one more address.
    Updated(KnownPeer),
    /// A peer is not known any more.
    Lost {
        /// The peer as it was known.
        peer: KnownPeer,
        /// Why.
        reason: LossReason,
    },
}

impl PeerEvent {
    /// The peer that it is about.
    pub fn peer(&self) -> &KnownPeer {
        match self {
            Self::Found(peer) | Self::Updated(peer) | Self::Lost { peer, .. } => {
                peer
            }
        }
    }
}

/// Why a peer is not known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// It said that it leaves.
    Left,
    /// It was not heard of for the timeout.
    TimedOut,
    /// Its connection ended.
    Disconnected,
    /// It had to make room for another: `Limits::max_peers`.
    Evicted,
    /// It was removed by hand.
    Removed,
}

/// Peers cannot be managed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The endpoint has no peer identity of its own, or one without an id.
    #[error("the endpoint has no peer id of its own")]
    NoLocalPeer,
    /// A peer without an id, or with an empty one, is nobody.
    #[error("the peer has no id")]
    NoId,
    /// The endpoint's own peer cannot be packed.
    #[error("the own peer cannot be packed: {0}")]
    Unpackable(#[from] PluginError),
    /// The peer has as many addresses as `Limits::max_peer_addresses` allows.
    #[error("{limit} addresses of one peer are the most")]
    TooManyAddresses {
        /// The limit.
        limit: usize,
    },
    /// As many peers are known as `Limits::max_peers` allows, all of them pinned.
    #[error("{limit} peers are pinned already")]
    TooManyPinned {
        /// The limit.
        limit: usize,
    },
}

/// Events that are kept for a caller that does not ask for them; more if there
/// may be more peers, all of which may time out at once.
const EVENTS_KEPT: usize = 1024;

/// All peers that an endpoint knows, by id and by address.
///
/// A [`Node`](crate::Node) has one inside. Around connections it is the caller's
/// to keep, one for all of them: route peer messages with
/// [`Router::manage_peers`](crate::Router::manage_peers), hand those that are
/// dispatched to [`receive`](Self::receive), and answer what it says.
pub struct Peers {
    local: Option<Arc<Peer>>,
    most: usize,
    most_bytes: usize,
    most_addresses: usize,
    by_id: BTreeMap<Bytes, Entry>,
    by_address: BTreeMap<SocketAddr, Bytes>,
    /// Peers that are not pinned, by when they were last heard of or earlier:
    /// being heard of again moves one only when its turn comes.
    order: BTreeSet<(Instant, Bytes)>,
    managed: Option<Managed>,
    /// Who is at the other end of a stream by what it says, while somebody else
    /// is known by that id.
    claims: BTreeMap<SocketAddr, Arc<Peer>>,
    events: VecDeque<PeerEvent>,
    random: Random,
    refused: u64,
}

#[derive(Debug)]
struct Entry {
    known: KnownPeer,
    /// Its place in the order.
    since: Instant,
}

#[derive(Debug)]
struct Managed {
    by: PeerManagement,
    /// When to advertise next.
    next: Option<Instant>,
    /// When that was done last.
    last: Option<Instant>,
}

impl Peers {
    /// Nobody is known yet. `local` is this endpoint itself.
    pub fn new(limits: &Limits, local: Option<Arc<Peer>>, seed: [u8; 32]) -> Self {
        Self {
            local,
            most: limits.max_peers,
            most_bytes: limits.max_peer_size,
            most_addresses: limits.max_peer_addresses.max(1),
            by_id: BTreeMap::new(),
            by_address: BTreeMap::new(),
            order: BTreeSet::new(),
            managed: None,
            claims: BTreeMap::new(),
            events: VecDeque::new(),
            random: Random::from_seed(seed),
            refused: 0,
        }
    }

    // --- managing ---

    /// Begins to manage peers, in place of what was managed before. The first
    /// advertisement is due at once.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if this endpoint cannot say who it is.
    pub fn manage(
        &mut self,
        now: Instant,
        by: PeerManagement,
    ) -> Result<(), PeerError> {
        by.message(MessageType::ADVERTISE_PEER, self.identity()?)?;
        self.managed = Some(Managed {
            next: by.every.map(|_| now),
            last: None,
            by,
        });
        Ok(())
    }

    /// Stops managing peers; gives what to tell them. Those that are known stay
    /// known until they are removed.
    pub fn stop(&mut self) -> Option<(Message, Layers)> {
        let farewell = self.farewell();
        self.managed = None;
        self.claims.clear();
        farewell
    }

    /// By what peers are managed, if they are.
    pub fn management(&self) -> Option<&PeerManagement> {
        self.managed.as_ref().map(|managed| &managed.by)
    }

    /// What says that this endpoint is there, with its layers; `None` while
    /// peers are not managed.
    pub fn advertisement(&self) -> Option<(Message, Layers)> {
        self.saying(MessageType::ADVERTISE_PEER)
    }

    /// What says that this endpoint leaves, with its layers; `None` while peers
    /// are not managed.
    pub fn farewell(&self) -> Option<(Message, Layers)> {
        self.saying(MessageType::DISCONNECT)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Changes
    /// nothing; its value may change after any other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let managed = self.managed.as_ref()?;
        let timeout = managed.by.timeout;
        let oldest = self.order.first().map(|(since, _)| *since);
        let expiry = oldest.zip(timeout).map(|(at, timeout)| at + timeout);
        [managed.next, expiry].into_iter().flatten().min()
    }

    /// Forgets peers that were not heard of in time; gives the advertisement
    /// that is due, if one is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<(Message, Layers)> {
        let timeout = self.managed.as_ref()?.by.timeout;
        if let Some(timeout) = timeout {
            while let Some(id) = self.stalest(|since| since + timeout <= now) {
                self.lose(&id, LossReason::TimedOut);
            }
        }
        let managed = self.managed.as_mut()?;
        if managed.next? > now {
            return None;
        }
        let every = managed.by.every?;
        managed.last = Some(now);
        managed.next = Some(now + jittered(every, &mut self.random));
        self.advertisement()
    }

    /// Brings the next advertisement forward: within a tenth of the interval and
    /// a second, yet not sooner than that after the last one.
    pub(crate) fn advertise_soon(&mut self, now: Instant) {
        let Some(managed) = &mut self.managed else {
            return;
        };
        let (Some(next), Some(every)) = (managed.next, managed.by.every) else {
            return;
        };
        let pause = (every / 10).min(Duration::from_secs(1));
        let earliest = managed.last.map_or(now, |last| (last + pause).max(now));
        let soon = earliest + below(pause, &mut self.random);
        managed.next = Some(next.min(soon));
    }

    // --- messages ---

    /// Takes in a peer message that has passed its layers: `ADVERTISE_PEER`,
    /// `PEER_DISCOVERED` or `DISCONNECT` with the app id as its URI. Gives what
    /// to answer, if anything.
    ///
    /// What does not describe a peer with an id and data, or describes this
    /// endpoint itself, is passed over. A known peer is heard only from an
    /// address that it is known by, unless
    /// [`from_anywhere`](PeerManagement::from_anywhere). On a stream whoever says
    /// an id that is somebody else's is told who is here all the same, and takes
    /// that one's place when it is lost: it may well be the same.
    pub fn receive(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &Message,
    ) -> Option<Message> {
        let by = &self.managed.as_ref()?.by;
        if message.uri() != by.app_id() {
            return None;
        }
        let (from_anywhere, on_stream) = (by.from_anywhere, by.every.is_none());
        let peer = Arc::new(by.plugin.unpack(message.content()).ok()?);
        let id = peer.id.clone()?;
        if self.local.as_ref().is_some_and(|local| local.id == peer.id) {
            return None;
        }
        let size = id.len() + peer.data.as_ref().map_or(0, Bytes::len);
        if size > self.most_bytes {
            self.refused += 1;
            return None;
        }
        let trusted = self.by_id.get(&id).is_none_or(|entry| {
            from_anywhere || entry.known.addresses.contains(&from)
        });
        if !trusted {
            self.refused += 1;
        }
        match message.message_type() {
            MessageType::DISCONNECT if trusted && !self.is_pinned(&id) => {
                self.lose(&id, LossReason::Left);
                None
            }
            MessageType::DISCONNECT => {
                self.claims.remove(&from);
                None
            }
            kind @ (MessageType::ADVERTISE_PEER | MessageType::PEER_DISCOVERED) => {
                peer.data.as_ref()?;
                if trusted {
                    self.claims.remove(&from);
                    self.note(now, id, peer, from, false)?;
                } else if on_stream {
                    self.claim(from, peer);
                } else {
                    return None;
                }
                if kind == MessageType::PEER_DISCOVERED {
                    return None;
                }
                let (reply, _) = self.saying(MessageType::PEER_DISCOVERED)?;
                Some(reply)
            }
            _ => None,
        }
    }

    /// Keeps what the other end of a stream says of itself until the id is free:
    /// it may have connected again before its old connection was found to be
    /// dead, and says who it is once only.
    fn claim(&mut self, from: SocketAddr, peer: Arc<Peer>) {
        if self.claims.len() < self.most || self.claims.contains_key(&from) {
            self.claims.insert(from, peer);
        }
    }

    /// Notes that something came from an address.
    pub fn note_seen(&mut self, now: Instant, from: SocketAddr) {
        if let Some(id) = self.by_address.get(&from)
            && let Some(entry) = self.by_id.get_mut(id)
        {
            entry.known.last_seen = entry.known.last_seen.max(now);
        }
    }

    /// What happened to peers, in order. At most the last 1,024 events are kept,
    /// or as many as `Limits::max_peers` if that is more.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// Whether something happened to peers that was not asked for yet.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Messages that were passed over because they came from an address that
    /// their peer is not known by, or said too much.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    // --- the table ---

    /// Adds a peer by hand, or an address to one. It is pinned: no message changes
    /// its data, takes its address for another or removes it; it neither times
    /// out nor makes room for others.
    ///
    /// # Errors
    ///
    /// [`PeerError`] if the peer has no id or there is no room.
    pub fn add(
        &mut self,
        now: Instant,
        peer: Peer,
        address: SocketAddr,
    ) -> Result<(), PeerError> {
        let id = peer.id.clone().filter(|id| !id.is_empty());
        let id = id.ok_or(PeerError::NoId)?;
        if let Some(entry) = self.by_id.get(&id)
            && entry.known.addresses.len() >= self.most_addresses
            && !entry.known.addresses.contains(&address)
        {
            let limit = self.most_addresses;
            return Err(PeerError::TooManyAddresses { limit });
        }
        let limit = self.most;
        self.note(now, id, Arc::new(peer), address, true)
            .ok_or(PeerError::TooManyPinned { limit })
    }

    /// Removes a peer; `false` if there is none with this id.
    pub fn remove(&mut self, id: &[u8]) -> bool {
        self.lose(id, LossReason::Removed)
    }

    /// Notes that the connection to an address has ended: a peer that was known
    /// by no other is lost.
    pub fn disconnected(&mut self, address: SocketAddr) {
        self.claims.remove(&address);
        if let Some(id) = self.by_address.remove(&address) {
            self.leave(&id, address);
        }
    }

    /// A peer is at this address no more: it is lost if it is at no other.
    fn leave(&mut self, id: &Bytes, address: SocketAddr) {
        let Some(entry) = self.by_id.get_mut(id) else {
            return;
        };
        if entry.known.addresses.len() > 1 {
            entry.known.addresses.retain(|known| *known != address);
        } else {
            self.lose(id, LossReason::Disconnected);
        }
    }

    /// Another peer may have spoken from there before: over a stream that one has
    /// gone, or nothing would ever end it.
    fn take_place(&mut self, id: &Bytes, address: SocketAddr) {
        let before = self.by_address.get(&address);
        if before.is_some_and(|before| self.is_pinned(before)) && !self.is_pinned(id)
        {
            // Whoever says to be another than was said by hand is not believed.
            return;
        }
        let managed = self.managed.as_ref();
        if managed.is_some_and(|managed| managed.by.every.is_none())
            && let Some(before) = self.by_address.get(&address).cloned()
            && before != *id
            && !self.is_pinned(&before)
        {
            self.leave(&before, address);
        }
        self.by_address.insert(address, id.clone());
    }

    fn is_pinned(&self, id: &[u8]) -> bool {
        self.get(id).is_some_and(|known| known.pinned)
    }

    /// The peer with this id.
    pub fn get(&self, id: &[u8]) -> Option<&KnownPeer> {
        self.by_id.get(id).map(|entry| &entry.known)
    }

    /// The peer at this address: of several that have been there, the one that
    /// said so last.
    pub fn at(&self, address: SocketAddr) -> Option<&KnownPeer> {
        self.get(self.by_address.get(&address)?)
    }

    /// All peers, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &KnownPeer> {
        self.by_id.values().map(|entry| &entry.known)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A message of this type that says who this endpoint is, with its layers.
    fn saying(&self, kind: MessageType) -> Option<(Message, Layers)> {
        let by = self.management()?;
        let message = by.message(kind, self.local.as_deref()?).ok()?;
        Some((message, by.layers.clone()))
    }

    fn identity(&self) -> Result<&Peer, PeerError> {
        let local = self.local.as_deref();
        local
            .filter(|local| local.id.as_ref().is_some_and(|id| !id.is_empty()))
            .ok_or(PeerError::NoLocalPeer)
    }

    /// Notes who is at an address; `None` if there is no room.
    fn note(
        &mut self,
        now: Instant,
        id: Bytes,
        peer: Arc<Peer>,
        address: SocketAddr,
        pinned: bool,
    ) -> Option<()> {
        let most_addresses = self.most_addresses;
        let Some(entry) = self.by_id.get_mut(&id) else {
            return self.insert(now, id, peer, address, pinned);
        };
        let known = &mut entry.known;
        known.last_seen = known.last_seen.max(now);
        // What was said by hand is not changed by what anybody says.
        let mut changed = known.peer != peer && (pinned || !known.pinned);
        if changed {
            known.peer = peer;
        }
        if !known.addresses.contains(&address)
            && known.addresses.len() < most_addresses
        {
            known.addresses.push(address);
            changed = true;
        }
        let is_there = known.addresses.contains(&address);
        if pinned && !known.pinned {
            known.pinned = true;
            self.order.remove(&(entry.since, id.clone()));
        }
        let updated = changed.then(|| known.clone());
        if is_there {
            self.take_place(&id, address);
        }
        if let Some(updated) = updated {
            self.tell(PeerEvent::Updated(updated));
        }
        Some(())
    }

    fn insert(
        &mut self,
        now: Instant,
        id: Bytes,
        peer: Arc<Peer>,
        address: SocketAddr,
        pinned: bool,
    ) -> Option<()> {
        while self.by_id.len() >= self.most {
            let stalest = self.stalest(|_| true)?;
            self.lose(&stalest, LossReason::Evicted);
        }
        let known = KnownPeer {
            peer,
            addresses: alloc::vec![address],
            last_seen: now,
            pinned,
        };
        if !pinned {
            self.order.insert((now, id.clone()));
        }
        let entry = Entry {
            known: known.clone(),
            since: now,
        };
        self.by_id.insert(id.clone(), entry);
        self.take_place(&id, address);
        self.tell(PeerEvent::Found(known));
        Some(())
    }

    /// The peer that was heard of longest ago, if it was long enough ago. Those
    /// that were heard of since they took their places move on the way.
    fn stalest(&mut self, long_ago: impl Fn(Instant) -> bool) -> Option<Bytes> {
        loop {
            let (since, id) = self.order.first()?.clone();
            if !long_ago(since) {
                return None;
            }
            let entry = self.by_id.get_mut(&id)?;
            if entry.known.last_seen <= since {
                return Some(id);
            }
            entry.since = entry.known.last_seen;
            self.order.remove(&(since, id.clone()));
            self.order.insert((entry.since, id));
        }
    }

    fn lose(&mut self, id: &[u8], reason: LossReason) -> bool {
        let Some((id, entry)) = self.by_id.remove_entry(id) else {
            return false;
        };
        for address in &entry.known.addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
            }
        }
        self.order.remove(&(entry.since, id.clone()));
        let peer = entry.known;
        let last_seen = peer.last_seen;
        self.tell(PeerEvent::Lost { peer, reason });
        if reason != LossReason::Evicted {
            self.honour_claim(id, last_seen);
        }
        true
    }

    /// Gives an id that has come free to whoever has claimed it.
    fn honour_claim(&mut self, id: Bytes, last_seen: Instant) {
        let mut claims = self.claims.iter();
        let claim = claims.find(|(_, peer)| peer.id.as_ref() == Some(&id));
        if let Some((&address, _)) = claim
            && let Some(peer) = self.claims.remove(&address)
        {
            self.insert(last_seen, id, peer, address, false);
        }
    }

    fn tell(&mut self, event: PeerEvent) {
        if self.events.len() >= self.most.max(EVENTS_KEPT) {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers")
            .field("known", &self.by_id.len())
            .field("managed", &self.managed)
            .finish_non_exhaustive()
    }
}

/// A span that is up to a fifth shorter or longer.
fn jittered(span: Duration, random: &mut Random) -> Duration {
    let fifth = span / 5;
    span - fifth + below(fifth * 2, random)
}

/// A random part of a span.
fn below(span: Duration, random: &mut Random) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random.below(micros.saturating_add(1)))
}
