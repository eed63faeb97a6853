//! Our node and a Python node as peers of each other, by unicast: for what they
//! do by themselves, by multicast, see `multicast`.

use std::time::Duration;

use crate::runtime::{
    DefaultPeerPlugin, Layers, LossReason, Message, MessageType, Peer, PeerEvent,
    PeerEvents, PeerManagement, PeerPlugin, UdpNode, wire::packify::Value,
};
use netaio_tests::python::{Environment, PyNode, environment};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::ends::{INNER, OUTER, eventually, inner, outer, soon};
use super::node_ends::Nodes;

/// What tells how long peers live, in tests that do not wait for that.
const NEVER: Duration = Duration::from_secs(600);
/// A Python peer's options, besides its layers: it says nothing by itself but
/// once, at its start.
pub(crate) const PYTHON_PEER: [&str; 4] = [
    "--peer-id",
    "a python peer",
    "--peer-data-json",
    r#"{"name": "python"}"#,
];
const MANAGED: [&str; 3] = ["--manage-peers", "--every", "600"];

/// Who our end is.
pub(crate) fn rust_peer() -> Peer {
    let data = [(Value::Str("name".into()), Value::Str("rust".into()))];
    let data = DefaultPeerPlugin.encode_data(&Value::Dict(data.into()));
    Peer::new("a rust peer", data.unwrap())
}

/// Who the Python end is, with [`PYTHON_PEER`].
pub(crate) fn python_peer() -> Peer {
    let data = [(Value::Str("name".into()), Value::Str("python".into()))];
    let data = DefaultPeerPlugin.encode_data(&Value::Dict(data.into()));
    Peer::new("a python peer", data.unwrap())
}

/// A peer as the Python programs list it.
pub(crate) fn listed(peer: &Peer) -> Json {
    let hex = |bytes: &[u8]| -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let part = |part: &Option<_>| part.as_deref().map(hex);
    json!({"id": part(&peer.id), "data": part(&peer.data), "addrs": 1})
}

/// The next thing that happens to a peer.
pub(crate) async fn next(events: &mut PeerEvents) -> PeerEvent {
    soon(events.next()).await.expect("an event")
}

/// Waits until a peer is found that is none but this one.
pub(crate) async fn expect_found(events: &mut PeerEvents, peer: &Peer) {
    match next(events).await {
        PeerEvent::Found(known) => assert_eq!(*known.peer, *peer),
        other => panic!("{other:?}"),
    }
}

/// Waits until a peer is lost.
pub(crate) async fn expect_lost(events: &mut PeerEvents, why: LossReason) {
    match next(events).await {
        PeerEvent::Lost { reason, .. } => assert_eq!(reason, why),
        other => panic!("{other:?}"),
    }
}

fn management() -> PeerManagement {
    PeerManagement::new(PeerManagement::APP_ID)
        .every(NEVER)
        .timeout(NEVER)
}

/// A Python peer and one of ours that trust each other's addresses, since they
/// authenticate their messages.
async fn peers(python: &Environment) -> Nodes {
    let args = [&OUTER[..], &PYTHON_PEER, &MANAGED].concat();
    let nodes = Nodes::with(python, &args, Layers::new(), |node| {
        node.layers(outer()).local_peer(rust_peer())
    })
    .await;
    nodes.node.manage_peers(management()).unwrap();
    nodes
}

/// Sends by unicast what a node sends to its group by itself.
async fn say(nodes: &Nodes, kind: MessageType, layers: &Layers) {
    let content = DefaultPeerPlugin.pack(&rust_peer()).unwrap();
    let message = Message::new(kind, PeerManagement::APP_ID, content).unwrap();
    let to = nodes.python.address();
    let sent = nodes
        .node
        .send_with(message, to, layers, Default::default());
    soon(sent).await.expect("is sent");
}

/// Has the Python node do the same.
fn python_says(nodes: &Nodes, kind: &str) {
    nodes.python_does(json!({"op": "advertise_to", "type": kind}));
}

/// Waits until the Python node knows as many peers; gives them.
fn python_knows(nodes: &Nodes, count: usize) -> Json {
    let wait = json!({"op": "wait_peers", "count": count, "timeout": 30,
                      "expect": {"count": count}});
    nodes.python.do_op(wait)["peers"].clone()
}

fn first_address(node: &UdpNode) -> Option<std::net::SocketAddr> {
    node.peers().first()?.addresses.first().copied()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_that_advertises_itself_finds_ours_and_is_found() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let mut events = nodes.node.peer_events();
    python_says(&nodes, "ADVERTISE_PEER");
    expect_found(&mut events, &python_peer()).await;
    assert_eq!(first_address(&nodes.node), Some(nodes.python.address()));
    assert_eq!(python_knows(&nodes, 1), json!([listed(&rust_peer())]));

    python_says(&nodes, "DISCONNECT");
    expect_lost(&mut events, LossReason::Left).await;
    assert_eq!(nodes.node.peers(), []);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_node_that_advertises_itself_finds_a_python_node_and_is_found() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let mut events = nodes.node.peer_events();
    say(&nodes, MessageType::ADVERTISE_PEER, &Layers::new()).await;
    expect_found(&mut events, &python_peer()).await;
    assert_eq!(python_knows(&nodes, 1), json!([listed(&rust_peer())]));

    say(&nodes, MessageType::DISCONNECT, &Layers::new()).await;
    python_knows(&nodes, 0);
    nodes.end().await;
}

/// Nodes without authentication, ours with this id.
async fn plain_peers(python: &Environment, id: &'static str) -> Nodes {
    let args = [&PYTHON_PEER[..], &MANAGED].concat();
    let nodes = Nodes::with(python, &args, Layers::new(), |node| {
        node.local_peer(Peer::new(id, ""))
    })
    .await;
    nodes.node.manage_peers(management()).unwrap();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_longer_than_its_question_needs_no_secret() {
    let Some(python) = environment() else { return };
    let nodes = plain_peers(python, "r").await;
    let mut events = nodes.node.peer_events();
    python_says(&nodes, "ADVERTISE_PEER");
    expect_found(&mut events, &python_peer()).await;
    assert_eq!(
        python_knows(&nodes, 1),
        json!([listed(&Peer::new("r", ""))])
    );
    assert_eq!(nodes.node.counters().withheld, 0);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_longer_than_its_question_is_withheld() {
    let Some(python) = environment() else { return };
    let nodes = plain_peers(python, "a peer whose id is longer than a short one");
    let nodes = nodes.await;
    let mut events = nodes.node.peer_events();
    python_says(&nodes, "ADVERTISE_PEER");
    expect_found(&mut events, &python_peer()).await;
    // In order: the answer would be there before this one.
    nodes.python_does(json!({"op": "request", "uri": "echo", "timeout": 30,
                             "expect": {"type": "RESPOND_URI"}}));
    python_knows(&nodes, 0);
    assert_eq!(nodes.node.counters().withheld, 1);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_get_what_is_broadcast() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    nodes.node.on(MessageType::NOTIFY_URI, move |m| {
        sender.send(m.into_message()).expect("the test goes on");
    });
    let message = Message::new(MessageType::NOTIFY_URI, "u", "from ours").unwrap();
    assert_eq!(soon(nodes.node.broadcast(message.clone())).await, Ok(0));
    say(&nodes, MessageType::ADVERTISE_PEER, &Layers::new()).await;
    let known = || nodes.node.peers().len() == 1;
    eventually("the Python node is known", known).await;

    assert_eq!(soon(nodes.node.broadcast(message)).await, Ok(1));
    nodes.python_does(json!({
        "op": "wait_notify", "timeout": 30,
        "expect": {"type": "NOTIFY_URI", "uri": "u", "content": "from ours"},
    }));
    nodes.python_does(json!({
        "op": "broadcast", "uri": "u", "content": "from Python",
        "expect": {"peers": 1},
    }));
    let message = soon(heard.recv()).await.expect("a message");
    assert_eq!(
        (message.uri(), &*message.text()),
        (&b"u"[..], "from Python")
    );
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_peer_that_is_not_heard_of_is_lost() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let mut events = nodes.node.peer_events();
    python_says(&nodes, "ADVERTISE_PEER");
    expect_found(&mut events, &python_peer()).await;
    let impatient = management().timeout(Duration::from_millis(100));
    nodes.node.manage_peers(impatient).unwrap();
    expect_lost(&mut events, LossReason::TimedOut).await;
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_loses_ours_when_it_does_not_hear_of_it() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    say(&nodes, MessageType::ADVERTISE_PEER, &Layers::new()).await;
    python_knows(&nodes, 1);
    // It counts whole seconds.
    nodes.python_does(json!({"op": "manage_peers", "every": 0.2,
                             "peer_timeout": 1}));
    python_knows(&nodes, 0);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_speaks_for_a_peer_from_another_address() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let mut events = nodes.node.peer_events();
    python_says(&nodes, "ADVERTISE_PEER");
    expect_found(&mut events, &python_peer()).await;

    // One that has the secret, and the id.
    let name = r#"{"name": "an impostor"}"#;
    let args = ["--peer-id", "a python peer", "--peer-data-json", name];
    let impostor = PyNode::start(python, &[&OUTER[..], &args, &MANAGED].concat());
    let port = nodes.address.port();
    for kind in ["ADVERTISE_PEER", "DISCONNECT"] {
        impostor.do_op(json!({"op": "advertise_to", "type": kind, "port": port}));
    }
    // In order: what it had said before this was heard.
    impostor.do_op(json!({"op": "request", "uri": "echo", "port": port,
        "timeout": 30, "expect": {"type": "RESPOND_URI"}}));
    assert_eq!(events.try_next(), None);
    assert_eq!(*nodes.node.peers()[0].peer, python_peer());
    assert!(impostor.stop());
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn once_peers_are_managed_no_more_nobody_is_found_or_answered() {
    let Some(python) = environment() else { return };
    let nodes = peers(python).await;
    let mut events = nodes.node.peer_events();
    soon(nodes.node.stop_peer_management()).await;
    python_says(&nodes, "ADVERTISE_PEER");
    nodes.python_does(json!({"op": "request", "uri": "echo", "timeout": 30,
                             "expect": {"type": "RESPOND_URI"}}));
    python_knows(&nodes, 0);
    assert_eq!(events.try_next(), None);

    // And the other way round.
    nodes.node.manage_peers(management()).unwrap();
    nodes.python_does(json!({"op": "stop_peers"}));
    say(&nodes, MessageType::ADVERTISE_PEER, &Layers::new()).await;
    let request = nodes.node.request("echo", nodes.python.address());
    assert!(soon(request.into_future()).await.is_ok());
    assert_eq!(events.try_next(), None);
    python_knows(&nodes, 0);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_messages_can_have_layers_of_their_own() {
    let Some(python) = environment() else { return };
    let args = [&OUTER[..], &INNER, &PYTHON_PEER].concat();
    let nodes = Nodes::with(python, &args, inner(), |node| {
        node.layers(outer()).local_peer(rust_peer())
    })
    .await;
    let managed = management().layers(inner());
    nodes.node.manage_peers(managed).unwrap();
    nodes.python_does(json!({"op": "manage_peers", "every": 600, "inner": true}));
    let mut events = nodes.node.peer_events();

    // Without them nobody is found.
    python_says(&nodes, "ADVERTISE_PEER");
    say(&nodes, MessageType::ADVERTISE_PEER, &Layers::new()).await;
    nodes.python_does(json!({"op": "request", "uri": "echo", "timeout": 30,
                             "expect": {"type": "RESPOND_URI"}}));
    let request = nodes.node.request("echo", nodes.python.address());
    assert!(soon(request.into_future()).await.is_ok());
    python_knows(&nodes, 0);
    assert_eq!(events.try_next(), None);

    nodes.python_does(json!({"op": "advertise_to", "inner": true}));
    expect_found(&mut events, &python_peer()).await;
    assert_eq!(python_knows(&nodes, 1), json!([listed(&rust_peer())]));
    say(&nodes, MessageType::DISCONNECT, &inner()).await;
    python_knows(&nodes, 0);
    say(&nodes, MessageType::ADVERTISE_PEER, &inner()).await;
    python_knows(&nodes, 1);
    nodes.end().await;
}
