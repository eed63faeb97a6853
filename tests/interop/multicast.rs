//! Nodes that find each other by multicast: one of ours and a Python node, and
//! two of ours on one host or on two.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::runtime::{
    LossReason, Message, MessageType, Own, Peer, PeerManagement, UdpNode,
};
use netaio_driver::NodeBuilder;
use netaio_tests::namespace::{HERE, LOOPBACK, OtherHost, THERE, in_namespace};
use netaio_tests::python::{Environment, PyNode, environment};
use netaio_tests::skip::skip;
use serde_json::json;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::ends::{OUTER, at_once, outer, soon};
use super::node_peers::{
    PYTHON_PEER, expect_found, expect_lost, listed, python_peer, rust_peer,
};

/// In a namespace any port is free.
const PORT: u16 = 40_001;
const OTHER_PORT: u16 = 40_002;

/// Runs a test that awaits.
fn run(test: impl Future<Output = ()>) {
    Runtime::new().expect("a runtime").block_on(test);
}

fn management(every: Duration) -> PeerManagement {
    PeerManagement::new(PeerManagement::APP_ID).every(every)
}

const OFTEN: Duration = Duration::from_millis(200);
/// Only once, at the start.
const ONCE: Duration = Duration::from_secs(600);

fn builder() -> NodeBuilder<Own> {
    UdpNode::builder().layers(outer()).local_peer(rust_peer())
}

/// What a node is sent to `NOTIFY_URI`.
fn messages(node: &UdpNode) -> UnboundedReceiver<Message> {
    let (sender, receiver) = mpsc::unbounded_channel();
    node.on(MessageType::NOTIFY_URI, move |m| {
        sender.send(m.into_message()).expect("the test goes on");
    });
    receiver
}

/// A node of ours whose multicasts go to the port of the Python node, since two
/// on one host cannot share one.
async fn beside_python() -> UdpNode {
    let node = builder().port(PORT).multicast_port(OTHER_PORT).build();
    soon(node.start()).await.expect("is free");
    node
}

/// A Python node whose multicasts go to ours, with these options.
fn python_node(python: &Environment, more: &[&str]) -> PyNode {
    let (port, to) = (OTHER_PORT.to_string(), PORT.to_string());
    let args = [
        "--interface",
        "0.0.0.0",
        "--port",
        &port,
        "--multicast-port",
        &to,
    ];
    PyNode::start(python, &[&args, &OUTER[..], &PYTHON_PEER, more].concat())
}

/// Waits until a Python node knows as many peers; gives them.
fn python_knows(python: &PyNode, count: usize) -> serde_json::Value {
    let wait = json!({"op": "wait_peers", "count": count, "timeout": 30,
                      "expect": {"count": count}});
    python.do_op(wait)["peers"].clone()
}

#[test]
fn a_python_node_that_starts_later_finds_ours_and_is_found() {
    let Some(python) = environment() else { return };
    in_namespace(LOOPBACK, || {
        run(async {
            let node = beside_python().await;
            let mut events = node.peer_events();
            node.manage_peers(management(ONCE)).unwrap();
            let python = python_node(python, &["--manage-peers"]);
            expect_found(&mut events, &python_peer()).await;
            assert_eq!(python_knows(&python, 1), json!([listed(&rust_peer())]));

            // It is known by the address that it answers at.
            let address = node.peers()[0].addresses[0];
            let reply = at_once(node.request("echo", address).content("a")).await;
            assert_eq!(reply.unwrap().content(), b"a");

            python.do_op(json!({"op": "stop_peers"}));
            expect_lost(&mut events, LossReason::Left).await;
            soon(node.stop()).await;
            assert!(python.stop());
        });
    });
}

#[test]
fn our_node_that_starts_later_finds_a_python_node_and_is_found() {
    let Some(python) = environment() else { return };
    in_namespace(LOOPBACK, || {
        run(async {
            let python = python_node(python, &["--manage-peers", "--every", "600"]);
            let node = beside_python().await;
            let mut events = node.peer_events();
            node.manage_peers(management(ONCE)).unwrap();
            expect_found(&mut events, &python_peer()).await;
            assert_eq!(python_knows(&python, 1), json!([listed(&rust_peer())]));

            soon(node.stop_peer_management()).await;
            python_knows(&python, 0);
            // Those that are known stay so.
            assert_eq!(node.peers().len(), 1);
            soon(node.stop()).await;
            assert!(python.stop());
        });
    });
}

#[test]
fn our_node_leaves_its_python_peers_when_it_stops() {
    let Some(python) = environment() else { return };
    in_namespace(LOOPBACK, || {
        run(async {
            let python = python_node(python, &["--manage-peers", "--every", "600"]);
            let node = beside_python().await;
            node.manage_peers(management(OFTEN)).unwrap();
            python_knows(&python, 1);
            soon(node.stop()).await;
            python_knows(&python, 0);
            assert!(python.stop());
        });
    });
}

#[test]
fn multicasts_go_both_ways_between_ours_and_a_python_node() {
    let Some(python) = environment() else { return };
    in_namespace(LOOPBACK, || {
        run(async {
            let python = python_node(python, &[]);
            let node = beside_python().await;
            let mut heard = messages(&node);
            let message = Message::new(MessageType::NOTIFY_URI, "m", "to Python");
            let sent = node.multicast(message.unwrap());
            assert_eq!(soon(sent).await, Ok(()));
            let expect = json!({"type": "NOTIFY_URI", "uri": "m",
                                "content": "to Python"});
            python.do_op(json!({"op": "wait_notify", "timeout": 30,
                                "expect": expect}));
            let multicast = json!({"op": "multicast", "uri": "m",
                                   "content": "to ours"});
            python.do_op(multicast);
            let message = soon(heard.recv()).await.expect("a message");
            assert_eq!(message.text(), "to ours");
            soon(node.stop()).await;
            assert!(python.stop());
        });
    });
}

/// Checks that two nodes of ours, which are started, find each other, hear each
/// other's multicasts and not their own, and lose each other.
async fn meet(one: &UdpNode, two: &UdpNode) {
    let (mut seen_by_one, mut seen_by_two) = (one.peer_events(), two.peer_events());
    let (mut heard_by_one, mut heard_by_two) = (messages(one), messages(two));
    one.manage_peers(management(OFTEN)).unwrap();
    two.manage_peers(management(OFTEN)).unwrap();
    expect_found(&mut seen_by_one, &other_peer()).await;
    expect_found(&mut seen_by_two, &rust_peer()).await;

    for (node, heard, text) in
        [(one, &mut heard_by_two, "1"), (two, &mut heard_by_one, "2")]
    {
        let message = Message::new(MessageType::NOTIFY_URI, "m", text).unwrap();
        assert_eq!(soon(node.multicast(message)).await, Ok(()));
        let message = soon(heard.recv()).await.expect("a message");
        assert_eq!(message.text(), text);
    }

    soon(two.stop_peer_management()).await;
    expect_lost(&mut seen_by_one, LossReason::Left).await;
    soon(one.stop()).await;
    soon(two.stop()).await;
    assert!(heard_by_one.try_recv().is_err());
    assert!(heard_by_two.try_recv().is_err());
}

/// Who the second one of ours is.
fn other_peer() -> Peer {
    Peer::new("another rust peer", "")
}

/// Starts two nodes with these settings, one here and one on the other host.
async fn on_two_hosts(
    host: &OtherHost,
    set: impl Fn(NodeBuilder<Own>, u32) -> NodeBuilder<Own>,
) -> (UdpNode, UdpNode) {
    let one = set(builder(), HERE.index).build();
    let two = builder().local_peer(other_peer());
    let two = set(two, THERE.index).build();
    let handle = Handle::current();
    soon(one.start()).await.expect("is free");
    host.run(|| handle.block_on(soon(two.start())))
        .expect("is free");
    (one, two)
}

#[test]
fn two_hosts_find_each_other_by_ipv4_with_default_settings() {
    in_namespace("", || {
        run(async {
            let host = OtherHost::connected();
            let (one, two) = on_two_hosts(&host, |node, _| node).await;
            assert_eq!(one.local_addr().unwrap().port(), 8888);
            meet(&one, &two).await;
        });
    });
}

#[test]
fn two_hosts_find_each_other_in_a_group_of_their_own() {
    in_namespace("", || {
        run(async {
            let host = OtherHost::connected();
            let group = Ipv4Addr::new(239, 1, 2, 3);
            let (one, two) = on_two_hosts(&host, |node, index| {
                node.port(PORT)
                    .multicast_group(group)
                    .multicast_interface(index)
            })
            .await;
            meet(&one, &two).await;
        });
    });
}

/// Whether there is IPv6 here; says so if not.
fn has_ipv6() -> bool {
    let bound = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
    if let Err(error) = &bound {
        skip("IPv6", &format!("::1 cannot be bound: {error}"));
    }
    bound.is_ok()
}

#[test]
fn two_hosts_find_each_other_by_ipv6() {
    if !has_ipv6() {
        return;
    }
    in_namespace(LOOPBACK, || {
        run(async {
            let host = OtherHost::connected();
            let (one, two) = on_two_hosts(&host, |node, index| {
                node.interface(Ipv6Addr::UNSPECIFIED)
                    .multicast_interface(index)
            })
            .await;
            // Where the other one is says by which interface.
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
            let to = SocketAddrV6::new(link_local, 8888, 0, HERE.index);
            two.on((MessageType::REQUEST_URI, "echo"), |m| {
                m.respond(m.content())
            });
            let reply = at_once(one.request("echo", to.into()).content("a")).await;
            assert_eq!(reply.unwrap().content(), b"a");
            meet(&one, &two).await;
        });
    });
}

#[test]
fn two_hosts_find_each_other_in_an_ipv6_group_of_their_own() {
    if !has_ipv6() {
        return;
    }
    in_namespace(LOOPBACK, || {
        run(async {
            let host = OtherHost::connected();
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x1234);
            let (one, two) = on_two_hosts(&host, |node, index| {
                node.interface(Ipv6Addr::UNSPECIFIED)
                    .port(PORT)
                    .multicast_group(group)
                    .multicast_interface(index)
            })
            .await;
            meet(&one, &two).await;
        });
    });
}

#[test]
fn two_nodes_of_one_host_find_each_other_on_a_port_that_they_share() {
    in_namespace(LOOPBACK, || {
        run(async {
            let shared = |node: NodeBuilder<Own>| node.reuse_address(true).build();
            let one = shared(builder());
            let two = shared(builder().local_peer(other_peer()));
            let (mut seen_by_one, mut seen_by_two) =
                (one.peer_events(), two.peer_events());
            let address = soon(one.start()).await.expect("is free");
            assert_eq!(soon(two.start()).await.expect("may be shared"), address);
            one.manage_peers(management(OFTEN)).unwrap();
            two.manage_peers(management(OFTEN)).unwrap();
            expect_found(&mut seen_by_one, &other_peer()).await;
            expect_found(&mut seen_by_two, &rust_peer()).await;

            // Both hear what either sends, the sender included.
            let (mut heard_by_one, mut heard_by_two) =
                (messages(&one), messages(&two));
            let message = Message::new(MessageType::NOTIFY_URI, "m", "a").unwrap();
            assert_eq!(soon(one.multicast(message)).await, Ok(()));
            for heard in [&mut heard_by_one, &mut heard_by_two] {
                assert_eq!(soon(heard.recv()).await.unwrap().text(), "a");
            }

            soon(two.stop_peer_management()).await;
            expect_lost(&mut seen_by_one, LossReason::Left).await;
            soon(one.stop()).await;
            soon(two.stop()).await;
        });
    });
}

#[test]
fn a_port_that_is_not_shared_is_refused_to_a_second_node() {
    in_namespace(LOOPBACK, || {
        run(async {
            let one = builder().build();
            soon(one.start()).await.expect("is free");
            let two = builder().build();
            let error = soon(two.start()).await.expect_err("is taken");
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
            assert_eq!(two.local_addr(), None);
        });
    });
}

#[test]
fn a_node_without_a_network_does_without_multicasts() {
    in_namespace("", || {
        run(async {
            let node = builder().build();
            soon(node.start()).await.expect("needs no network");
            let message = Message::new(MessageType::NOTIFY_URI, "m", "a").unwrap();
            let sent = soon(node.multicast(message)).await;
            assert_eq!(sent, Err(crate::runtime::SendError::NoGroup));

            let node = builder().port(PORT).multicast_group([224, 0, 0, 1]).build();
            soon(node.start()).await.expect_err("asked for that group");
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_reached_by_ipv6_and_by_both_if_it_is_bound_to_all() {
    if !has_ipv6() {
        return;
    }
    let bound_to = async |interface: IpAddr| {
        let node = UdpNode::builder().interface(interface).port(0);
        let node = node.no_multicast().build();
        node.on((MessageType::REQUEST_URI, "echo"), |m| {
            m.respond(m.from().ip().to_string())
        });
        let address = soon(node.start()).await.expect("a free port");
        (node, address)
    };
    let localhost = IpAddr::from(Ipv6Addr::LOCALHOST);
    let (one, _) = bound_to(localhost).await;
    let (two, address) = bound_to(localhost).await;
    let reply = at_once(one.request("echo", address)).await.unwrap();
    assert_eq!(reply.text(), "::1");

    let (all, address) = bound_to(Ipv6Addr::UNSPECIFIED.into()).await;
    let (four, _) = bound_to(Ipv4Addr::LOCALHOST.into()).await;
    for (node, own) in [
        (&two, localhost),
        (&four, IpAddr::from(Ipv4Addr::LOCALHOST)),
    ] {
        let to = SocketAddr::new(own, address.port());
        let reply = at_once(node.request("echo", to)).await.unwrap();
        assert_eq!(reply.text(), own.to_string());
        // And it reaches them.
        let to = node.local_addr().expect("is bound");
        let reply = at_once(all.request("echo", to)).await.unwrap();
        assert_eq!(reply.text(), own.to_string());
    }
    for node in [one, two, four, all] {
        soon(node.stop()).await;
    }
}
