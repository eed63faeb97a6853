//! One socket of datagrams and many remote ends, as a state machine.
//!
//! Messages go the same way as on a [`Connection`](crate::Connection); what is
//! here is what datagrams add: no order, no end, anybody may send, and peers
//! that find each other.

mod datagrams;
mod peers;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use bytes::Bytes;

use self::datagrams::Datagrams;
use crate::action::{Action, CloseReason, ReplyToken};
use crate::address::canonical;
use crate::config::{Compatibility, EndpointConfig};
use crate::counters::Counters;
use crate::error::{ProtocolError, RequestError, SendError};
use crate::exchange::{Carrier as _, Exchange, Origin};
use crate::in_flight::{InFlight, Reply};
use crate::peers::Peers;
use crate::plugin::Layers;
use crate::random::Random;
use crate::request::{OuterUse, Request};
use crate::requests::{Arrival, Expired, RequestId, Requests};
use crate::router::{HandlerId, Router};
use crate::sealed::Sealing;
use crate::subscriptions::Subscriptions;
use crate::time::Instant;
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

/// One socket of datagrams, and the many remote ends it talks with.
///
/// Feed it the datagrams that come and what the clock says; send the datagrams
/// that it has to send; do what its actions ask for. Calls may come in any order,
/// and forgetting one only delays. It never blocks, never reads a clock, and
/// every call does work that its input and the limits bound.
///
/// ```
/// use std::sync::Arc;
/// use netaio_proto::{
///     Action, HandlerId, Instant, Layers, Message, MessageType, Node, Request,
///     Router,
/// };
///
/// let (here, there) = ("192.0.2.1:8888".parse()?, "192.0.2.2:8888".parse()?);
/// let mut router = Router::new();
/// router.insert((MessageType::REQUEST_URI, "echo"), HandlerId(1), Layers::new());
/// let now = Instant::EPOCH;
/// let mut one = Node::new(Arc::default(), Arc::default(), [1; 32], now);
/// let mut two = Node::new(Arc::default(), Arc::new(router), [2; 32], now);
///
/// let message = Message::new(MessageType::REQUEST_URI, "echo", "hello")?;
/// let id = one.request(now, there, Request::new(message))?;
/// while let Some(datagram) = one.poll_datagram() {
///     assert_eq!(datagram.to, there);
///     two.handle_datagram(now, here, &datagram.bytes);
/// }
/// match two.poll_action() {
///     Some(Action::Dispatch { message, reply: Some(token), .. }) => {
///         two.reply(now, token, message.respond(message.content())?)?;
///     }
///     other => panic!("{other:?}"),
/// }
/// while let Some(datagram) = two.poll_datagram() {
///     one.handle_datagram(now, there, &datagram.bytes);
/// }
/// match one.poll_action() {
///     Some(Action::Reply { request, message }) => {
///         assert_eq!(request, id);
///         assert_eq!(message.content(), b"hello");
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Node {
    exchange: Exchange,
    datagrams: Datagrams,
    actions: VecDeque<Action>,
    subscriptions: Subscriptions<SocketAddr>,
    /// The routes as the caller gave them, without those of peers.
    router: Arc<Router>,
    group: Option<SocketAddr>,
    own_addresses: BTreeSet<SocketAddr>,
}

/// A datagram to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// The bytes: one frame. Datagrams with one content share them.
    pub bytes: Bytes,
}

impl fmt::Debug for Datagram {
    /// Shows how long it is; never what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram({} bytes to {})", self.bytes.len(), self.to)
    }
}

impl Node {
    /// A node that begins now. `seed` decides all its randomness: give each node
    /// secret, fresh bytes; a test may give a constant.
    pub fn new(
        config: Arc<EndpointConfig>,
        router: Arc<Router>,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        let mut random = Random::from_seed(seed);
        let requests = Requests::new(Arrival::Datagrams, &mut random);
        let in_flight = InFlight::new(random.next_u64(), false);
        let limits = &config.limits;
        let local = config.local_peer.clone();
        let peers = Peers::new(limits, local, random.bytes());
        Self {
            datagrams: Datagrams::new(limits.max_datagram, peers),
            subscriptions: Subscriptions::new(limits),
            actions: VecDeque::new(),
            group: None,
            own_addresses: BTreeSet::new(),
            exchange: Exchange::new(
                config,
                Arc::clone(&router),
                requests,
                in_flight,
                random,
                now,
            ),
            router,
        }
    }

    // --- in ---

    /// Takes in a datagram that came from an address. One that cannot be used is
    /// passed over, whatever is wrong with it. Poll the actions before there are
    /// many more: a node, which cannot tell anybody to wait, keeps them all.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.exchange.advance(now);
        self.exchange.counters.bytes_in += bytes.len() as u64;
        let from = canonical(from);
        if self.own_addresses.contains(&from) || !self.datagrams.open {
            self.exchange.counters.ignored += 1;
            return;
        }
        let action = self.take_in(from, bytes);
        match action {
            Some(Action::Dispatch {
                handler: HandlerId::PEERS,
                message,
                from,
                reply,
            }) => self.peer_message(from, &message, reply),
            action => self.actions.extend(action),
        }
        self.note_peer_events();
    }

    fn take_in(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Action> {
        let hardened = self.config().compatibility == Compatibility::Hardened;
        let origin = Origin {
            address: from,
            room: hardened.then_some(bytes.len()),
        };
        let Self {
            exchange,
            datagrams,
            ..
        } = self;
        let Some(frame) = Frame::parse_cut(bytes) else {
            let error = ProtocolError::Truncated;
            return exchange.rejected(datagrams, origin, error);
        };
        // What is asked when too much is under way is dropped: whoever asked
        // asks again, or gives up.
        if exchange.is_full(datagrams) && !exchange.is_reply(from, &frame) {
            exchange.counters.ignored += 1;
            return None;
        }
        exchange.receive(datagrams, origin, &frame)
    }

    /// Notes what time it is on the wall, in seconds since 1970. Plugins put it
    /// into what they send; tell it whenever it has changed.
    pub fn set_unix_time(&mut self, seconds: u64) {
        self.exchange.unix_time = seconds;
    }

    /// Replaces the routes, for datagrams that come from now on.
    pub fn set_router(&mut self, router: Arc<Router>) {
        self.router = router;
        self.update_router();
    }

    /// Says where multicasts go: a multicast address with its port. Advertised
    /// peers go there too.
    pub fn set_group(&mut self, group: Option<SocketAddr>) {
        self.group = group.map(canonical);
    }

    /// Says by which addresses this node's own multicasts come back: datagrams
    /// from them are dropped unread, and counted as ignored.
    pub fn set_own_addresses(
        &mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) {
        self.own_addresses = addresses.into_iter().map(canonical).collect();
    }

    // --- ask ---

    /// Sends a request. Its end is reported by exactly one action, unless
    /// [`cancel`](Self::cancel) comes first. It is sent once: if it or its reply
    /// gets lost, it times out.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent and nothing is pending.
    pub fn request(
        &mut self,
        now: Instant,
        to: SocketAddr,
        request: Request,
    ) -> Result<RequestId, SendError> {
        self.exchange.advance(now);
        self.can_send()?;
        let to = canonical(to);
        self.exchange.request(&mut self.datagrams, to, request)
    }

    /// Gives up a request: no action will report it. `false` if it has ended
    /// already.
    pub fn cancel(&mut self, now: Instant, id: RequestId) -> bool {
        self.exchange.advance(now);
        self.exchange.requests.cancel(self.exchange.now, id)
    }

    /// Sends a message that expects no reply, with these inner layers.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send(
        &mut self,
        now: Instant,
        to: SocketAddr,
        message: Message,
        with: &Layers,
    ) -> Result<(), SendError> {
        self.send_with(now, to, message, with, OuterUse::default())
    }

    /// Sends a message that expects no reply, with these inner layers and some
    /// of the node's own plugins.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was sent.
    pub fn send_with(
        &mut self,
        now: Instant,
        to: SocketAddr,
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        self.send_to_all(now, &[canonical(to)], message, with, outer)
            .map(drop)
    }

    /// Sends a message to the multicast group.
    ///
    /// # Errors
    ///
    /// [`SendError::NoGroup`] if there is none; otherwise as [`send`](Self::send).
    pub fn multicast(
        &mut self,
        now: Instant,
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        let group = self.group.ok_or(SendError::NoGroup)?;
        self.send_with(now, group, message, with, outer)
    }

    /// Sends a message to every known peer, at the address that was learnt
    /// first; gives to how many. Sealed once, unless a plugin's work depends on
    /// who receives it: then those are left out for whom it cannot be done.
    ///
    /// # Errors
    ///
    /// [`SendError`]; it went to nobody.
    pub fn broadcast(
        &mut self,
        now: Instant,
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let peers = self.peers().iter();
        let to: Vec<_> =
            peers.filter_map(|p| p.addresses.first().copied()).collect();
        self.send_to_all(now, &to, message, with, outer)
    }

    /// Sends a message to the subscribers of a key; gives to how many. Sealed
    /// once, unless a plugin's work depends on who receives it: then those are
    /// left out for whom it cannot be done.
    ///
    /// # Errors
    ///
    /// [`SendError`]; it went to nobody.
    pub fn notify(
        &mut self,
        now: Instant,
        key: &[u8],
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let to: Vec<_> = self.subscriptions.subscribers(key).collect();
        self.send_to_all(now, &to, message, with, outer)
    }

    fn send_to_all(
        &mut self,
        now: Instant,
        to: &[SocketAddr],
        message: Message,
        with: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        self.exchange.advance(now);
        self.can_send()?;
        let Self {
            exchange,
            datagrams,
            ..
        } = self;
        let one_for_each = with.is_peer_specific()
            || outer.of(&exchange.config.layers).is_peer_specific();
        if one_for_each {
            let mut sent = 0;
            let mut failed = None;
            for &to in to {
                let message = message.clone();
                match exchange.push(datagrams, to, message, with, outer, None) {
                    Ok(_) => sent += 1,
                    Err(error) => failed = Some(error),
                }
            }
            // One who cannot be sent it keeps it from nobody else.
            return match failed {
                Some(error) if sent == 0 => Err(error),
                _ => Ok(sent),
            };
        }
        let frame = exchange.seal(message, with, outer, None, None)?;
        datagrams.fits(frame.header)?;
        let bytes = frame.to_bytes();
        for &to in to {
            exchange.counters.frames_out += 1;
            let bytes = bytes.clone();
            datagrams.enqueue(Datagram { to, bytes });
        }
        Ok(to.len())
    }

    /// What seals a message to an address apart from this node.
    pub fn sealing(&mut self, to: SocketAddr) -> Sealing {
        let peer = self.datagrams.peer(canonical(to));
        self.exchange.sealing(peer)
    }

    /// Whether sealing a message of this type with these layers takes long, and
    /// is better done [apart](Self::sealing).
    pub fn is_costly(
        &self,
        message_type: MessageType,
        inner: &Layers,
        outer: OuterUse,
    ) -> bool {
        self.exchange.is_costly(message_type, inner, outer)
    }

    /// Answers a message that was dispatched, with its route's layers.
    ///
    /// # Errors
    ///
    /// [`SendError::StaleToken`] if the token is not of this node. If the reply
    /// cannot be sent, an `ERROR` is sent in its place.
    pub fn reply(
        &mut self,
        now: Instant,
        token: ReplyToken,
        reply: Message,
    ) -> Result<(), SendError> {
        self.exchange.advance(now);
        let reply = Some(Reply::made(reply));
        self.exchange.conclude(&mut self.datagrams, &token, reply)
    }

    /// Answers a message that was dispatched with `ERROR`, its own URI and this
    /// text: what a caller says when its handler has failed.
    ///
    /// # Errors
    ///
    /// [`SendError`], as for [`reply`](Self::reply).
    pub fn reply_error(
        &mut self,
        now: Instant,
        token: ReplyToken,
        text: &str,
    ) -> Result<(), SendError> {
        self.exchange.advance(now);
        self.exchange.reply_error(&mut self.datagrams, &token, text)
    }

    /// Leaves a message that was dispatched unanswered.
    pub fn no_reply(&mut self, token: ReplyToken) {
        // A stale token has nothing to leave unanswered.
        let _ = self.exchange.conclude(&mut self.datagrams, &token, None);
    }

    /// Ends the node: requests of ours fail, nothing more is taken in. What waits
    /// to be sent can still be taken, and should be.
    pub fn close(&mut self, now: Instant) {
        self.exchange.advance(now);
        if !core::mem::take(&mut self.datagrams.open) {
            return;
        }
        self.exchange.in_flight.clear();
        // What is said not to have been sent is not sent, though the rest is.
        let sent = self.datagrams.sent();
        let places = self.exchange.requests.withdraw(sent);
        self.datagrams.withdraw(&places);
        while let Some((request, sent)) = self.exchange.requests.pop_failed(sent) {
            let reason = CloseReason::Local;
            let error = RequestError::Disconnected { sent, reason };
            self.actions.push_back(Action::Failed { request, error });
        }
        let reason = CloseReason::Local;
        self.actions.push_back(Action::Closed { reason });
    }

    // --- out ---

    /// The next thing that happened, if any.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() && self.actions.capacity() > 64 {
            self.actions = VecDeque::new();
        }
        action
    }

    /// The next datagram to send, if any.
    #[must_use]
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        let datagram = self.datagrams.dequeue()?;
        self.exchange.counters.bytes_out += datagram.bytes.len() as u64;
        Some(datagram)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. Changes
    /// nothing; its value may change after any other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.datagrams.open {
            return None;
        }
        let requests = self.exchange.requests.next_deadline();
        let peers = self.datagrams.peers.poll_timeout();
        [requests, peers].into_iter().flatten().min()
    }

    /// Does what is due. Harmless when nothing is.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.exchange.advance(now);
        if !self.datagrams.open {
            return;
        }
        let now = self.exchange.now;
        while let Some(expired) = self.exchange.requests.expire(now) {
            if let Expired::TimedOut {
                request,
                mut context,
                deadline,
                ..
            } = expired
            {
                self.exchange.counters.timeouts += 1;
                context.hint = self.datagrams.hint(deadline, &context);
                self.actions
                    .push_back(Action::TimedOut { request, context });
            }
        }
        if let Some((advertisement, layers)) =
            self.datagrams.peers.handle_timeout(now)
        {
            self.tell_group(advertisement, &layers);
        }
        self.note_peer_events();
    }

    /// Whether a message could be put into the queue now.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] or [`SendError::OutgoingFull`] if not.
    pub fn can_send(&self) -> Result<(), SendError> {
        if !self.datagrams.open {
            return Err(SendError::Closed);
        }
        let limit = self.config().limits.max_outgoing;
        if self.datagrams.bytes >= limit {
            return Err(SendError::OutgoingFull { limit });
        }
        Ok(())
    }

    /// Memory of datagrams that wait to be sent, in bytes.
    pub fn queued(&self) -> usize {
        self.datagrams.bytes
    }

    /// Requests of ours that wait for a reply.
    pub fn pending(&self) -> usize {
        self.exchange.requests.live()
    }

    /// Requests of others that are not yet answered.
    pub fn in_flight(&self) -> usize {
        self.exchange.in_flight.len()
    }

    /// Whether the node has been closed.
    pub fn is_closed(&self) -> bool {
        !self.datagrams.open
    }

    /// What has been done so far.
    pub fn counters(&self) -> Counters {
        self.exchange.counters
    }

    // --- within ---

    fn config(&self) -> &EndpointConfig {
        &self.exchange.config
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("group", &self.group)
            .field("pending", &self.pending())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .field("peers", &self.peers().len())
            .field("subscriptions", &self.subscriptions.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_hint_counts_from_when_the_request_was_sent_however_late_the_timer() {
        let address: SocketAddr = ([192, 0, 2, 1], 8888).into();
        let at = Instant::from_micros;
        let mut node = Node::new(Arc::default(), Arc::default(), [1; 32], at(0));
        let error = Message::make_error("sorry", None, None).unwrap();
        let error = error.encode().unwrap();
        let mut ask = |sent, answered: Option<u64>, late| {
            let ask = Message::new(MessageType::REQUEST_URI, "a", "").unwrap();
            let request = Request::new(ask).timeout(Duration::from_micros(100));
            node.request(at(sent), address, request).unwrap();
            if let Some(answered) = answered {
                node.handle_datagram(at(answered), address, &error);
            }
            node.handle_timeout(at(sent + 100 + late));
            core::iter::from_fn(|| node.poll_action())
                .find_map(|action| match action {
                    Action::TimedOut { context, .. } => Some(context.hint.is_some()),
                    _ => None,
                })
                .expect("a timeout")
        };
        assert!(ask(1_000, Some(1_000), 1_000));
        assert!(ask(3_000, Some(3_100), 0));
        // One that came before says nothing about this request.
        assert!(!ask(4_000, None, 0));
    }
}
