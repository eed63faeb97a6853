//! Messages between two key pairs, ours and Python's: `X25519CipherPlugin` as the
//! inner layer, and as the outer one where Python can.

use crate::runtime::{
    DefaultPeerPlugin, Layers, Message, MessageType, OuterUse, Peer, PeerManagement,
    PeerPlugin as _,
};
use netaio_asymmetric::X25519CipherPlugin;
use netaio_tests::python::{Environment, PyClient, environment};
use netaio_tests::vectors::to_hex;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;

use super::ends::{Connected, OUTER, Served, at_once, eventually, outer, soon};
use super::node_ends::Nodes;

const OUR_SEED: [u8; 32] = [0x11; 32];
/// The Python programs' options: an id, and a seed whose keys they say.
const PYTHON: [&str; 4] = [
    "--peer-id",
    "python",
    "--x25519-seed",
    "2222222222222222222222222222222222222222222222222222222222222222",
];
const THEIR_SEED: [u8; 32] = [0x22; 32];

fn plugin() -> X25519CipherPlugin {
    X25519CipherPlugin::new(&OUR_SEED)
}

fn sealed() -> Layers {
    Layers::new().cipher(plugin())
}

fn us() -> Peer {
    plugin().peer("rust")
}

/// Who the Python end is, with what its program says of itself.
fn them() -> Peer {
    X25519CipherPlugin::new(&THEIR_SEED).peer("python")
}

fn management() -> PeerManagement {
    PeerManagement::new(PeerManagement::APP_ID)
}

async fn client_of_python(python: &Environment, args: &[&str]) -> Connected {
    let args = [&PYTHON[..], args].concat();
    let layers = if args.contains(&"--hmac") {
        outer()
    } else {
        Layers::new()
    };
    Connected::with(python, &args, |client| {
        client.layers(layers).local_peer(us())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_seals_for_a_python_server_that_it_has_found() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    for outer in [&OUTER[..], &[]] {
        let args = [&["--manage-peers"], outer].concat();
        let ends = client_of_python(python, &args).await;
        let ask = || ends.client.request("inner").content("1").layers(sealed());
        // Before it is known who is there, nothing can be sealed.
        at_once(ask()).await.expect_err("nobody is known");
        let mut events = ends.client.peer_events();
        ends.client.manage_peers(management()).unwrap();
        soon(events.next()).await.expect("the server is found");
        assert_eq!(ends.client.peers()[0].peer.data, them().data);

        let reply = at_once(ask()).await.expect("a reply");
        assert_eq!(reply.text(), "inner 1");
        for content in [vec![], vec![b'x'; 60_000]] {
            let create = ends.client.create("k", &content).layers(sealed());
            let reply = at_once(create).await.expect("a reply");
            assert_eq!(reply.message_type(), T::OK);
            let read = at_once(ends.client.request("k")).await;
            assert_eq!(read.expect("a reply").content(), content);
            let delete = ends.client.delete("k").layers(sealed());
            at_once(delete).await.expect("a reply");
        }
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_seals_for_our_server_that_it_has_found() {
    let Some(python) = environment() else { return };
    for (options, layers) in [(&OUTER[..], outer()), (&[], Layers::new())] {
        let served =
            Served::with(sealed(), |server| server.layers(layers).local_peer(us()));
        let served = served.await;
        served.server.manage_peers(management()).unwrap();
        let mut events = served.server.peer_events();
        let args = [&PYTHON[..], options].concat();
        let client = PyClient::spawn(python, served.address.port(), &args);
        client.do_op(json!({"op": "manage_peers"}));
        client.do_op(json!({"op": "connect"}));
        soon(events.next()).await.expect("the client is found");
        let knows = || client.do_op(json!({"op": "peers"}))["count"] == 1;
        eventually("the client knows us", knows).await;
        for content in ["", "1", &"x".repeat(10_000)] {
            client.do_op(json!({
                "op": "request", "uri": "inner", "content": content,
                "inner": true, "timeout": 30,
                "expect": {"type": "RESPOND_URI",
                           "content_len": content.len() + "inner ".len()},
            }));
        }
        client.do_op(json!({
            "op": "create", "uri": "k", "content": "2", "inner": true,
            "timeout": 30, "expect": {"type": "OK", "content": "stored"},
        }));
        // One that is not sealed reaches no handler. That is said in the clear,
        // which a client with an outer layer of its own does not take.
        let before = served.server.counters().dispatched;
        let (timeout, told) = match options.is_empty() {
            true => (30.0, json!({"type": "ERROR"})),
            false => (0.3, json!({"error": "TimeoutError"})),
        };
        client.do_op(json!({
            "op": "create", "uri": "l", "content": "x".repeat(100),
            "timeout": timeout, "expect": told,
        }));
        assert_eq!(served.server.counters().dispatched, before);
        client.do_op(json!({"op": "request", "uri": "k",
                            "expect": {"content": "2"}}));
        client.finish().assert_passed();
        served.end().await;
    }
}

/// A Python node and ours that know each other.
async fn nodes(python: &Environment, args: &[&str], outer: Layers) -> Nodes {
    let inner = match outer.cipher.is_some() {
        true => Layers::new(),
        false => sealed(),
    };
    let args = [&PYTHON[..], args].concat();
    let nodes = Nodes::with(python, &args, inner, |node| {
        node.layers(outer).local_peer(us())
    });
    let nodes = nodes.await;
    nodes
        .node
        .add_peer(them(), nodes.python.address())
        .expect("room");
    nodes.python_does(json!({
        "op": "add_peer", "id": "rust",
        "data_hex": to_hex(us().data.as_deref().expect("it has keys")),
    }));
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_seal_for_each_other_as_the_inner_layer() {
    let Some(python) = environment() else { return };
    let nodes = nodes(python, &[], Layers::new()).await;
    let to = nodes.python.address();
    let request = nodes
        .node
        .request("inner", to)
        .content("1")
        .layers(sealed());
    assert_eq!(at_once(request).await.expect("a reply").text(), "inner 1");
    let create = nodes.node.create("k", "2", to).layers(sealed());
    assert_eq!(at_once(create).await.expect("a reply").text(), "stored");
    nodes.python_does(json!({
        "op": "request", "uri": "inner", "content": "3", "inner": true,
        "timeout": 30, "expect": {"content": "inner 3"},
    }));
    nodes.python_does(json!({
        "op": "create", "uri": "k", "content": "4", "inner": true,
        "timeout": 30, "expect": {"type": "OK"},
    }));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_find_each_other_by_advertisements_seal_for_each_other() {
    let Some(python) = environment() else { return };
    let never = Duration::from_secs(600);
    let args = [&PYTHON[..], &OUTER, &["--manage-peers", "--every", "600"]].concat();
    let nodes = Nodes::with(python, &args, sealed(), |node| {
        node.layers(outer()).local_peer(us())
    });
    let nodes = nodes.await;
    let by = management().every(never).timeout(never);
    nodes.node.manage_peers(by).unwrap();
    let mut events = nodes.node.peer_events();
    nodes.python_does(json!({"op": "advertise_to", "type": "ADVERTISE_PEER"}));
    soon(events.next()).await.expect("the node is found");
    let to = nodes.python.address();
    let request = nodes
        .node
        .request("inner", to)
        .content("1")
        .layers(sealed());
    assert_eq!(at_once(request).await.expect("a reply").text(), "inner 1");
    nodes.python_does(json!({
        "op": "request", "uri": "inner", "content": "3", "inner": true,
        "timeout": 30, "expect": {"content": "inner 3"},
    }));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_seal_for_each_other_as_the_outer_layer() {
    let Some(python) = environment() else { return };
    for hidden in [false, true] {
        let mut args = vec!["--x25519-layer", "outer"];
        args.extend(hidden.then_some("--x25519-encrypt-uri"));
        let outer = Layers::new().cipher(plugin().encrypt_uri(hidden));
        let nodes = nodes(python, &args, outer).await;
        let to = nodes.python.address();
        for content in ["", "1", &"x".repeat(10_000)] {
            let request = nodes.node.request("echo", to).content(content);
            assert_eq!(at_once(request).await.expect("a reply").text(), content);
            nodes.python_does(json!({
                "op": "request", "uri": "echo", "content": content,
                "timeout": 30, "expect": {"type": "RESPOND_URI",
                                          "content_len": content.len()},
            }));
        }
        // A broadcast is sealed for each peer.
        let (sender, mut heard) = mpsc::unbounded_channel();
        nodes.node.on(MessageType::NOTIFY_URI, move |m| {
            sender.send(m.into_message()).expect("the test goes on");
        });
        nodes.python_does(json!({"op": "broadcast", "uri": "u",
                                 "content": "from python"}));
        let message = soon(heard.recv()).await.expect("a message");
        assert_eq!(message.text(), "from python");
        let news = Message::new(MessageType::NOTIFY_URI, "u", "from rust").unwrap();
        assert_eq!(soon(nodes.node.broadcast(news)).await, Ok(1));
        nodes.python.do_op(json!({
            "op": "wait_notify", "timeout": 30,
            "expect": {"uri": "u", "content": "from rust"},
        }));
        nodes.end().await;
    }
}

/// Python drops what comes from peers it does not know, and with this as its
/// outer layer there is no way to make oneself known.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_server_with_an_outer_box_drops_unknown_peers() {
    let Some(python) = environment() else { return };
    let args =
        [&PYTHON[..], &["--x25519-layer", "outer", "--manage-peers"]].concat();
    let ends = Connected::with(python, &args, |client| {
        client.local_peer(us()).cipher(plugin())
    });
    let ends = ends.await;
    let address = ends.server.address();
    ends.client.add_peer(them(), address).expect("room");
    let short = Duration::from_millis(300);
    let lost = ends.client.request("echo").timeout(short).into_future();
    soon(lost).await.expect_err("it is dropped");
    // So is who says in the clear who it is.
    let content = DefaultPeerPlugin.pack(&us()).unwrap();
    let kind = MessageType::ADVERTISE_PEER;
    let hello = Message::new(kind, PeerManagement::APP_ID, content).unwrap();
    let clear = OuterUse {
        cipher: false,
        ..OuterUse::default()
    };
    let none = Layers::new();
    let said = ends.link.send_with(hello, &none, clear);
    soon(said).await.expect("it is sent");
    let lost = ends.client.request("echo").timeout(short).into_future();
    soon(lost).await.expect_err("it is dropped");
    soon(ends.client.close()).await;
    assert!(ends.server.stop());
}
