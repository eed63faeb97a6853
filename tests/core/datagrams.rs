//! One node at a time: made, fed, and what it sends and tells.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{
    Action, Datagram, DefaultPeerPlugin, DefaultRoute, EndpointConfig, HandlerId,
    Instant, Layers, Message, MessageType, MessageTypes, Node, Peer,
    PeerPlugin as _, Request, RequestId, Router,
};

use crate::frames::{at, message, request};

/// The handler of every node here, of the URI `asked`.
pub(crate) const HANDLER: HandlerId = HandlerId(1);

/// Where somebody is.
pub(crate) fn host(number: u8) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(192, 0, 2, number).into(), 8888)
}

/// A node that hands out what no route takes.
pub(crate) fn node(config: EndpointConfig) -> Node {
    let mut router = routes();
    router.set_default_route(DefaultRoute::Unrouted);
    node_with(config, router)
}

/// A node that answers what no route takes with `NOT_FOUND`.
pub(crate) fn default_node(config: EndpointConfig) -> Node {
    node_with(config, routes())
}

pub(crate) fn node_with(config: EndpointConfig, router: Router) -> Node {
    Node::new(Arc::new(config), Arc::new(router), [1; 32], Instant::EPOCH)
}

/// A default node for which a peer is managed.
pub(crate) fn config_of(peer: Peer) -> EndpointConfig {
    EndpointConfig {
        local_peer: Some(Arc::new(peer)),
        ..EndpointConfig::default()
    }
}

fn routes() -> Router {
    let mut router = Router::new();
    let key = (MessageType::REQUEST_URI, "asked");
    router.insert(key, HANDLER, Layers::new());
    router
}

/// All that waits to be sent.
pub(crate) fn sent(node: &mut Node) -> Vec<Datagram> {
    std::iter::from_fn(|| node.poll_datagram()).collect()
}

/// All that waits to be sent, as messages.
pub(crate) fn sent_messages(node: &mut Node) -> Vec<Message> {
    sent(node).iter().map(|d| decoded(&d.bytes)).collect()
}

/// The only thing that waits to be sent.
#[track_caller]
pub(crate) fn only_sent(node: &mut Node) -> Message {
    let sent = sent_messages(node);
    let [message] = &sent[..] else {
        panic!("{sent:?}");
    };
    message.clone()
}

/// All that the node has to tell.
pub(crate) fn told(node: &mut Node) -> Vec<Action> {
    std::iter::from_fn(|| node.poll_action()).collect()
}

pub(crate) fn decoded(bytes: &[u8]) -> Message {
    let decoded = Message::decode(bytes, &MessageTypes::default());
    decoded.expect("a good message")
}

pub(crate) fn encoded(message: &Message) -> Vec<u8> {
    message.encode().expect("it is short")
}

/// A peer message of an app called `app`.
pub(crate) fn peer_message(kind: MessageType, peer: &Peer) -> Vec<u8> {
    let content = DefaultPeerPlugin.pack(peer).expect("a short peer");
    encoded(&Message::new(kind, "app", content).expect("it is short"))
}

/// An advertisement in an app called `app`.
pub(crate) fn advertisement(id: &str, data: &str) -> Vec<u8> {
    let peer = Peer::new(id.to_owned(), data.to_owned());
    peer_message(MessageType::ADVERTISE_PEER, &peer)
}

/// A request with an id, as it is on the wire.
pub(crate) fn request_with_id(uri: &str, content: &str, id: u64) -> Vec<u8> {
    let message = message(MessageType::REQUEST_URI, uri, content);
    let none = Layers::new();
    crate::frames::sealed(message, [&none, &none], Some(&id.to_be_bytes()))
}

/// Sends a `REQUEST_URI` that waits a second.
pub(crate) fn ask(node: &mut Node, to: u8, uri: &str) -> RequestId {
    let request = Request::new(request(uri, "")).timeout(Duration::from_secs(1));
    node.request(at(0), host(to), request).expect("it is sent")
}

/// A request's answer, which repeats its id.
pub(crate) fn answer(asked: &Message, content: impl AsRef<[u8]>) -> Vec<u8> {
    let answer = asked.respond(content).expect("it is short");
    encoded(&answer.with_fields(asked.fields().clone()))
}
