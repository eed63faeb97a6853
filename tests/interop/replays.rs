//! What Python clients and nodes have sent, recorded on the way and sent again by
//! somebody who has no secret.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::runtime::{
    HmacAuthPlugin, Layers, ReplayGuard, Sha256StreamCipherPlugin,
};
use netaio_tests::python::environment;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use super::ends::{INNER, OUTER, Served, eventually, inner, outer, soon};
use super::node_ends::Nodes;

type Guard = Arc<ReplayGuard<HmacAuthPlugin>>;

/// What was sent to our end, in the pieces in which it came.
type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

/// [`outer`] with a guard around it.
fn guarded() -> (Guard, Layers) {
    let guard = Arc::new(ReplayGuard::new(HmacAuthPlugin::new("outer")));
    let cipher = Sha256StreamCipherPlugin::new("outer key");
    let layers = Layers::new().auth(Arc::clone(&guard)).cipher(cipher);
    (guard, layers)
}

/// Carries one connection to our server, and records it.
async fn tap(to: SocketAddr) -> (u16, Recording, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let recording = Recording::default();
    let record = Arc::clone(&recording);
    let task = tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(to).await.expect("a server");
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        });
        let mut buffer = vec![0; 65_536];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            record.lock().unwrap().push(buffer[..count].to_vec());
            if to_server.write_all(&buffer[..count]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
        let _ = back.await;
    });
    (port, recording, task)
}

/// What our server says to these bytes on a connection of their own.
async fn said_to(server: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.write_all(bytes).await.expect("they are sent");
    stream.shutdown().await.expect("it is open");
    let mut answer = Vec::new();
    // The server may close it with something unread.
    let _ = soon(stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_python_clients_messages_sent_again_do_nothing() {
    let Some(python) = environment() else { return };
    let (guard, layers) = guarded();
    let served = Served::with(inner(), |s| s.layers(layers)).await;
    let (port, recording, task) = tap(served.address).await;
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "echo", "content": "1",
         "expect": {"content": "1"}},
        {"op": "create", "uri": "k", "content": "2", "inner": true,
         "expect": {"type": "OK"}},
        {"op": "delete", "uri": "k", "inner": true, "expect": {"type": "OK"}},
        {"op": "repeat", "n": 20, "do":
            {"op": "request", "uri": "echo", "content": "3",
             "expect": {"content": "3"}}},
        {"op": "request", "uri": "k", "expect": {"type": "NOT_FOUND"}},
    ]);
    let args = [OUTER, INNER].concat();
    netaio_tests::python::PyClient::run(python, port, &args, ops).assert_passed();
    soon(task).await.expect("it has ended");
    let all = recording.lock().unwrap().concat();
    let sent = 24;
    assert_eq!(served.server.counters().dispatched, sent);
    assert_eq!(guard.refusals().replayed, 0);

    for round in 1..=3 {
        assert_eq!(said_to(served.address, &all).await, b"");
        let refused = || guard.refusals().replayed == sent * round;
        eventually("all are refused", refused).await;
    }
    assert_eq!(served.server.counters().dispatched, sent);
    // What was created and deleted was not created again; new messages pass.
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "k", "expect": {"type": "NOT_FOUND"}},
    ]);
    served.run(python, &args, ops);
    served.end().await;
}

/// What it is good for: without a guard the same bytes do the same again.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_guard_a_python_clients_messages_can_be_sent_again() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s.layers(outer())).await;
    let (port, recording, task) = tap(served.address).await;
    let ops = json!([
        {"op": "connect"},
        {"op": "create", "uri": "k", "content": "2", "inner": true,
         "expect": {"type": "OK"}},
    ]);
    let args = [OUTER, INNER].concat();
    netaio_tests::python::PyClient::run(python, port, &args, ops).assert_passed();
    soon(task).await.expect("it has ended");
    let all = recording.lock().unwrap().concat();
    assert_ne!(said_to(served.address, &all).await, b"");
    assert_eq!(served.server.counters().dispatched, 2);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r25_a_python_nodes_messages_sent_again_do_nothing() {
    let Some(python) = environment() else { return };
    let (guard, layers) = guarded();
    let args = [OUTER, INNER].concat();
    let nodes = Nodes::with(python, &args, inner(), |n| n.layers(layers)).await;
    let tap = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = tap.local_addr().expect("it is bound").port();
    let (theirs, ours) = (nodes.python.address(), nodes.address);
    let recording = Recording::default();
    let record = Arc::clone(&recording);
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((count, from)) = tap.recv_from(&mut buffer).await {
            let to = if from == theirs {
                record.lock().unwrap().push(buffer[..count].to_vec());
                ours
            } else {
                theirs
            };
            let _ = tap.send_to(&buffer[..count], to).await;
        }
    });
    for n in 0..10 {
        nodes.python.do_op(json!({
            "op": "request", "uri": "echo", "content": n.to_string(),
            "port": port, "expect": {"content": n.to_string()},
        }));
    }
    nodes.python.do_op(json!({
        "op": "create", "uri": "k", "content": "2", "inner": true,
        "port": port, "expect": {"type": "OK"},
    }));
    task.abort();
    let sent = recording.lock().unwrap().clone();
    assert_eq!(sent.len(), 11);
    let before = nodes.node.counters();
    assert_eq!(before.dispatched, 11);
    assert_eq!(guard.refusals().replayed, 0);

    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    for datagram in &sent {
        socket.send_to(datagram, ours).await.expect("it is sent");
    }
    let refused = || guard.refusals().replayed == 11;
    eventually("all are refused", refused).await;
    let after = nodes.node.counters();
    assert_eq!(after.dispatched, before.dispatched);
    assert_eq!(after.frames_out, before.frames_out, "nothing is answered");
    let mut buffer = [0; 64];
    let heard = tokio::time::timeout(
        Duration::from_millis(50),
        socket.recv_from(&mut buffer),
    );
    assert!(heard.await.is_err());
    // Both still talk with each other, in either direction.
    nodes.python_does(json!({
        "op": "request", "uri": "echo", "content": "5",
        "expect": {"content": "5"},
    }));
    let reply = soon(
        nodes
            .node
            .request("echo", theirs)
            .content("6")
            .into_future(),
    );
    assert_eq!(reply.await.expect("a reply").content(), b"6");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_client_and_a_python_server_get_on() {
    let Some(python) = environment() else { return };
    let (guard, layers) = guarded();
    let ends = super::ends::Connected::with(python, &OUTER, |c| c.layers(layers));
    let ends = ends.await;
    for n in 0..20 {
        let n = n.to_string();
        let reply = soon(ends.link.request("echo").content(&n).into_future()).await;
        assert_eq!(reply.expect("a reply").text(), n);
    }
    assert_eq!(guard.remembered(), 40);
    ends.end().await;
}
