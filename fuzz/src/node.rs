//! A node under any sequence of calls and datagrams: it never panics, every
//! request ends exactly once and with an answer of whom it asked, its bounds
//! hold, and after the end nothing is left.
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use netaio_proto::{
    Action, Compatibility, Correlation, DefaultPeerPlugin, DefaultRoute,
    EndpointConfig, HandlerId, Instant, Layers, Limits, Message, MessageType,
    MessageTypes, Node, NullAuthPlugin, NullCipherPlugin, OuterUse, Peer,
    PeerManagement, PeerPlugin as _, ReplyToken, Request, RequestId, Router,
    canonical_address,
};

use crate::connection::{nth_of, standard};

/// What the node is made of, and what is done with it. After an operation with
/// `true` actions are polled.
pub type Input<'a> = (Setup, Vec<(bool, Operation<'a>)>);

/// One call.
#[derive(Arbitrary, Debug)]
pub enum Operation<'a> {
    /// A datagram as it is.
    Datagram {
        from: u8,
        bytes: &'a [u8],
    },
    /// A well-formed message, of any type.
    Message {
        from: u8,
        kind: u8,
        uri: u8,
        content: &'a [u8],
    },
    /// A message with the fields and the URI of one that was sent.
    Repeat {
        from: u8,
        nth: u8,
        kind: u8,
    },
    /// A message by a peer, about itself or another.
    PeerMessage {
        from: u8,
        kind: u8,
        id: u8,
        data: u8,
    },
    Request {
        to: u8,
        uri: u8,
        timeout_ms: u16,
    },
    Cancel(u8),
    Reply {
        nth: u8,
        content: &'a [u8],
    },
    ReplyError(u8),
    NoReply(u8),
    Send {
        to: u8,
        kind: u8,
        content: &'a [u8],
    },
    Broadcast(&'a [u8]),
    Notify {
        key: u8,
        content: &'a [u8],
    },
    Subscribe {
        key: u8,
        who: u8,
    },
    Unsubscribe {
        key: u8,
        who: u8,
    },
    AddPeer {
        id: u8,
        at: u8,
    },
    RemovePeer(u8),
    Manage {
        seconds: u8,
        from_anywhere: bool,
    },
    StopManaging,
    Wait(u32),
    /// The clock goes back for one call.
    Earlier(u32),
    /// Datagrams leave.
    Take(u8),
    Close,
}

/// What a node is made of.
#[derive(Arbitrary, Debug)]
pub struct Setup {
    layers: bool,
    ids: bool,
    python: bool,
    not_found: bool,
}

const GROUP: u8 = 255;

struct Model {
    node: Node,
    limits: Limits,
    now: Instant,
    /// Whom each request was sent to, and when it ends at the latest.
    pending: BTreeMap<RequestId, (SocketAddr, Instant)>,
    /// Who sent what was taken in since actions were last polled.
    heard: Vec<SocketAddr>,
    /// What was sent, so that its fields can be repeated.
    sent: Vec<Message>,
    tokens: Vec<ReplyToken>,
    /// Requests whose end the next poll has to tell.
    due: Vec<RequestId>,
    closed: bool,
}

/// Makes the node and calls it.
pub fn run((setup, operations): Input<'_>) {
    let limits = Limits {
        max_in_flight: 8,
        max_pending: 8,
        max_peers: 4,
        max_peer_addresses: 2,
        max_subscriptions: 6,
        max_subscriptions_per_peer: 2,
        max_datagram: 500,
        max_outgoing: 4_000,
        outgoing_high_water: 2_000,
        ..Limits::default()
    };
    let now = Instant::EPOCH;
    let config = Arc::new(config(&setup, limits.clone()));
    let router = Arc::new(router(&setup));
    let mut node = Node::new(config, router, [7; 32], now);
    node.set_group(Some(address(GROUP)));
    let mut model = Model {
        node,
        limits,
        now,
        pending: BTreeMap::new(),
        heard: Vec::new(),
        sent: Vec::new(),
        tokens: Vec::new(),
        due: Vec::new(),
        closed: false,
    };
    for (poll, operation) in operations {
        model.apply(operation);
        if poll {
            model.poll();
        }
        model.check();
    }
    model.node.close(model.now);
    model.tokens.clear();
    model.poll();
    assert!(model.closed && model.pending.is_empty());
    assert_eq!(model.node.in_flight(), 0);
    assert_eq!(model.node.poll_timeout(), None);
    model.take(usize::MAX);
}

impl Model {
    fn poll(&mut self) {
        while let Some(action) = self.node.poll_action() {
            assert!(!self.closed, "nothing comes after the end");
            match action {
                Action::Reply { request, .. } => {
                    let asked = self.pending.remove(&request);
                    let (asked, _) = asked.expect("it ends once");
                    assert!(self.heard.contains(&asked), "it was asked");
                }
                Action::TimedOut { request, .. }
                | Action::Failed { request, .. } => {
                    assert!(self.pending.remove(&request).is_some(), "ends once");
                }
                Action::Dispatch { handler, reply, .. } => {
                    assert_ne!(handler, HandlerId::PEERS, "the node's own");
                    self.tokens.extend(reply);
                }
                Action::Unrouted { reply, .. } => self.tokens.extend(reply),
                Action::AuthFailed(failed) => self.tokens.extend(failed.reply),
                Action::Closed { .. } => self.closed = true,
                _ => {}
            }
        }
        self.heard.clear();
        assert_eq!(self.node.pending(), self.pending.len());
        for request in self.due.drain(..) {
            assert!(!self.pending.contains_key(&request), "it ends in time");
        }
        if !self.closed {
            assert_eq!(self.node.in_flight(), self.tokens.len());
        }
    }

    fn check(&self) {
        let limits = &self.limits;
        assert!(self.node.peers().len() <= limits.max_peers);
        assert!(self.node.in_flight() <= limits.max_in_flight);
        assert!(self.node.pending() <= limits.max_pending);
        assert!(self.node.subscriptions().len() <= limits.max_subscriptions);
        for peer in self.node.peers().iter() {
            assert!(!peer.addresses.is_empty());
            assert!(peer.addresses.len() <= limits.max_peer_addresses);
        }
    }

    fn input(&mut self, from: u8, bytes: &[u8]) {
        let from = address(from);
        self.heard.push(canonical_address(from));
        self.node.handle_datagram(self.now, from, bytes);
    }

    fn message(&mut self, from: u8, message: &Message) {
        if let Ok(bytes) = message.encode() {
            self.input(from, &bytes);
        }
    }

    /// Takes datagrams; notes what is in them.
    fn take(&mut self, count: usize) {
        for _ in 0..count {
            let Some(datagram) = self.node.poll_datagram() else {
                assert_eq!(self.node.queued(), 0);
                return;
            };
            assert!(datagram.bytes.len() <= self.limits.max_datagram);
            let types = MessageTypes::default();
            if let Ok(sent) = Message::decode(&datagram.bytes, &types) {
                self.sent.push(sent);
            }
        }
    }

    fn apply(&mut self, operation: Operation<'_>) {
        let now = self.now;
        let none = Layers::new();
        let all = OuterUse::default();
        let news = |content| Message::new(MessageType::NOTIFY_URI, "news", content);
        match operation {
            Operation::Datagram { from, bytes } => self.input(from, bytes),
            Operation::Message {
                from,
                kind,
                uri,
                content,
            } => {
                let kind = MessageType::from_code(kind);
                if let Ok(message) = Message::new(kind, [uri % 4], content) {
                    self.message(from, &message);
                }
            }
            Operation::Repeat { from, nth, kind } => {
                if let Some(sent) = nth_of(self.sent.len(), nth) {
                    let reply = self.sent[sent].clone().with_type(standard(kind));
                    self.message(from, &reply);
                }
            }
            Operation::PeerMessage {
                from,
                kind,
                id,
                data,
            } => {
                let kinds = [
                    MessageType::ADVERTISE_PEER,
                    MessageType::PEER_DISCOVERED,
                    MessageType::DISCONNECT,
                ];
                let peer = Peer::new(vec![id % 8], vec![0; data.into()]);
                let content = DefaultPeerPlugin.pack(&peer).expect("short");
                let kind = kinds[usize::from(kind) % 3];
                let message = Message::new(kind, "app", content).expect("short");
                self.message(from, &message);
            }
            Operation::Request {
                to,
                uri,
                timeout_ms,
            } => {
                let kind = MessageType::REQUEST_URI;
                let message = Message::new(kind, [uri % 4], "").expect("short");
                let timeout = Duration::from_millis(timeout_ms.into());
                let request = Request::new(message).timeout(timeout);
                let to = address(to);
                if let Ok(id) = self.node.request(now, to, request) {
                    let asked = (canonical_address(to), now + timeout);
                    let known = self.pending.insert(id, asked);
                    assert!(known.is_none(), "ids are never used twice");
                }
            }
            Operation::Cancel(nth) => {
                if let Some(nth) = nth_of(self.pending.len(), nth) {
                    let id = *self.pending.keys().nth(nth).expect("so many");
                    if self.node.cancel(now, id) {
                        self.pending.remove(&id);
                    }
                }
            }
            Operation::Reply { nth, content } => {
                if let Some(token) = self.take_token(nth) {
                    let kind = MessageType::RESPOND_URI;
                    if let Ok(reply) = Message::new(kind, "a", content) {
                        let _ = self.node.reply(now, token, reply);
                    } else {
                        self.node.no_reply(token);
                    }
                }
            }
            Operation::ReplyError(nth) => {
                if let Some(token) = self.take_token(nth) {
                    let _ = self.node.reply_error(now, token, "it broke");
                }
            }
            Operation::NoReply(nth) => {
                if let Some(token) = self.take_token(nth) {
                    self.node.no_reply(token);
                }
            }
            Operation::Send { to, kind, content } => {
                let kind = MessageType::from_code(kind);
                if let Ok(message) = Message::new(kind, "sent", content) {
                    let _ = self.node.send(now, address(to), message, &none);
                }
            }
            Operation::Broadcast(content) => {
                if let Ok(message) = news(content) {
                    let _ = self.node.broadcast(now, message, &none, all);
                }
            }
            Operation::Notify { key, content } => {
                if let Ok(message) = news(content) {
                    let key = [key % 4];
                    let _ = self.node.notify(now, &key, message, &none, all);
                }
            }
            Operation::Subscribe { key, who } => {
                let _ = self.node.subscribe(&[key % 4], address(who));
            }
            Operation::Unsubscribe { key, who } => {
                self.node.unsubscribe(&[key % 4], address(who));
            }
            Operation::AddPeer { id, at } => {
                let peer = Peer::new(vec![id % 8], "added");
                let _ = self.node.add_peer(now, peer, address(at));
            }
            Operation::RemovePeer(id) => {
                let known = self.node.peers().get(&[id % 8]).is_some();
                assert_eq!(self.node.remove_peer(&[id % 8]), known);
            }
            Operation::Manage {
                seconds,
                from_anywhere,
            } => {
                let by = PeerManagement::new("app")
                    .every(Duration::from_secs(seconds.into()))
                    .timeout(Duration::from_secs(u64::from(seconds) * 3))
                    .from_anywhere(from_anywhere);
                self.node.manage_peers(now, by).expect("it has an id");
            }
            Operation::StopManaging => self.node.stop_peer_management(now),
            Operation::Wait(micros) => {
                self.now = now + Duration::from_micros(micros.into());
                let due = self.pending.iter();
                let due = due.filter(|(_, (_, end))| *end <= self.now);
                self.due.extend(due.map(|(request, _)| *request));
                self.node.handle_timeout(self.now);
                let next = self.node.poll_timeout();
                assert!(next.is_none_or(|at| at > self.now), "it is handled");
            }
            Operation::Earlier(micros) => {
                let earlier = now.as_micros().saturating_sub(micros.into());
                self.node.handle_timeout(Instant::from_micros(earlier));
            }
            Operation::Take(count) => self.take(count.into()),
            Operation::Close => {
                self.node.close(now);
                self.tokens.clear();
            }
        }
    }

    fn take_token(&mut self, nth: u8) -> Option<ReplyToken> {
        let nth = nth_of(self.tokens.len(), nth)?;
        Some(self.tokens.swap_remove(nth))
    }
}

/// One of a few addresses, each in both of its forms, or the group's.
fn address(number: u8) -> SocketAddr {
    let text = match number {
        GROUP => "224.0.0.1:8888".to_owned(),
        n if n % 2 == 0 => format!("192.0.2.{}:8888", n % 6),
        n => format!("[::ffff:192.0.2.{}]:8888", n % 6),
    };
    text.parse().expect("an address")
}

fn config(setup: &Setup, limits: Limits) -> EndpointConfig {
    let mut config = EndpointConfig {
        limits,
        local_peer: Some(Arc::new(Peer::new("me", "mine"))),
        ..EndpointConfig::default()
    };
    if setup.layers {
        config.layers = Layers::new().auth(NullAuthPlugin).cipher(NullCipherPlugin);
    }
    if !setup.ids {
        config.correlation = Correlation::Off;
    }
    if setup.python {
        config.compatibility = Compatibility::Python;
    }
    config
}

fn router(setup: &Setup) -> Router {
    let mut router = Router::new();
    let requests = MessageType::REQUEST_URI;
    router.insert((requests, [1]), HandlerId(1), Layers::new());
    router.insert_once((requests, [2]), HandlerId(2), Layers::new());
    if !setup.not_found {
        router.set_default_route(DefaultRoute::Unrouted);
    }
    router
}
