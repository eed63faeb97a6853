//! Peers over TCP: our client and a Python server, a Python client and our
//! server.

use crate::runtime::{CloseReason, Layers, LossReason, PeerManagement, TcpClient};
use netaio_tests::python::{Environment, PyClient, environment};
use serde_json::{Value, json};

use super::ends::{Connected, OUTER, Served, at_once, eventually, outer, soon};
use super::node_peers::{
    PYTHON_PEER, expect_found, expect_lost, listed, python_peer, rust_peer,
};

fn management() -> PeerManagement {
    PeerManagement::new(PeerManagement::APP_ID)
}

/// A Python server that manages peers, and our client.
async fn client_of_python(python: &Environment) -> Connected {
    let args = [&OUTER[..], &PYTHON_PEER, &["--manage-peers"]].concat();
    Connected::with(python, &args, |client| {
        client.layers(outer()).local_peer(rust_peer())
    })
    .await
}

/// Waits until a Python server knows these peers.
async fn server_knows(ends: &Connected, peers: Value) {
    let command = json!({"cmd": "peers"});
    let known = || ends.server.command(&command)["peers"] == peers;
    eventually("the server knows who is there", known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_and_a_python_server_know_each_other_until_it_closes() {
    let Some(python) = environment() else { return };
    let ends = client_of_python(python).await;
    let mut events = ends.client.peer_events();
    ends.client.manage_peers(management()).unwrap();
    expect_found(&mut events, &python_peer()).await;
    let known = ends.client.peers();
    assert_eq!(known[0].addresses, [ends.server.address()]);
    server_knows(&ends, json!([listed(&rust_peer())])).await;

    soon(ends.client.close()).await;
    expect_lost(&mut events, LossReason::Disconnected).await;
    // The Python server keeps those that do not say that they leave.
    server_knows(&ends, json!([])).await;
    assert!(ends.server.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_says_on_each_new_connection_who_it_is() {
    let Some(python) = environment() else { return };
    let ends = client_of_python(python).await;
    let mut events = ends.client.peer_events();
    soon(ends.client.close()).await;
    ends.client.manage_peers(management()).unwrap();
    for _ in 0..3 {
        soon(ends.client.connect()).await.expect("a connection");
        expect_found(&mut events, &python_peer()).await;
        server_knows(&ends, json!([listed(&rust_peer())])).await;
        soon(ends.client.close()).await;
        expect_lost(&mut events, LossReason::Disconnected).await;
        server_knows(&ends, json!([])).await;
    }
    assert!(ends.server.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_leaves_its_peers_and_keeps_connection_and_subscriptions() {
    let Some(python) = environment() else { return };
    let ends = client_of_python(python).await;
    ends.client.manage_peers(management()).unwrap();
    server_knows(&ends, json!([listed(&rust_peer())])).await;
    let subscribing = ends.client.subscribe("news").into_future();
    let mut news = soon(subscribing).await.expect("is confirmed");
    soon(ends.client.stop_peer_management()).await;
    server_knows(&ends, json!([])).await;
    // The server has ended the subscription with the peer, and then renewed it.
    let notice = json!({"cmd": "notify", "uri": "news", "content": "still here"});
    let told = || ends.server.command(&notice)["subscribers"] == 1;
    eventually("it is subscribed again", told).await;
    let notification = soon(news.next()).await.expect("it goes on");
    assert_eq!(notification.text(), "still here");
    assert!(notification.resumed);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_known_by_a_host_name_is_a_peer_as_well() {
    let Some(python) = environment() else { return };
    let ends = client_of_python(python).await;
    let client = TcpClient::builder()
        .server(format!("localhost:{}", ends.server.port))
        .layers(outer())
        .local_peer(rust_peer())
        .build();
    let mut events = client.peer_events();
    client.manage_peers(management()).unwrap();
    soon(client.connect()).await.expect("a connection");
    expect_found(&mut events, &python_peer()).await;
    server_knows(&ends, json!([listed(&rust_peer())])).await;
    soon(client.stop_peer_management()).await;
    server_knows(&ends, json!([])).await;
    soon(client.close()).await;
    expect_lost(&mut events, LossReason::Disconnected).await;
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_manage_peers_is_none() {
    let Some(python) = environment() else { return };
    let ends = client_of_python(python).await;
    let reply = at_once(ends.client.request("peers")).await.unwrap();
    assert_eq!(reply.text(), "[]");
    assert_eq!(ends.client.peers(), []);
    ends.end().await;
}

/// Our server, which manages peers, and a Python client that knows it.
async fn python_client(python: &Environment) -> (Served, PyClient) {
    let served = Served::with(Layers::new(), |server| {
        server.layers(outer()).local_peer(rust_peer())
    })
    .await;
    served.server.manage_peers(management()).unwrap();
    let mut events = served.server.peer_events();
    let args = [&OUTER[..], &PYTHON_PEER].concat();
    let client = PyClient::spawn(python, served.address.port(), &args);
    client.do_op(json!({"op": "manage_peers"}));
    client.do_op(json!({"op": "connect"}));
    expect_found(&mut events, &python_peer()).await;
    client_knows(&client, json!([listed(&rust_peer())])).await;
    (served, client)
}

/// Waits until a Python client knows these peers.
async fn client_knows(client: &PyClient, peers: Value) {
    let known = || client.do_op(json!({"op": "peers"}))["peers"] == peers;
    eventually("the client knows who is there", known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_and_our_server_know_each_other_until_it_closes() {
    let Some(python) = environment() else { return };
    let (served, client) = python_client(python).await;
    let link = served.server.links().remove(0);
    let known = served.server.peers();
    assert_eq!(known[0].addresses, [link.remote()]);

    let mut events = served.server.peer_events();
    client.do_op(json!({"op": "close"}));
    expect_lost(&mut events, LossReason::Left).await;
    assert_eq!(soon(link.closed()).await, CloseReason::Eof);
    assert_eq!(served.server.peers(), []);
    client.finish().assert_passed();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_that_leaves_its_peers_loses_its_subscriptions() {
    let Some(python) = environment() else { return };
    let (served, client) = python_client(python).await;
    client.do_op(json!({"op": "subscribe", "uri": "news", "timeout": 30,
                        "expect": {"type": "CONFIRM_SUBSCRIBE"}}));
    assert_eq!(served.server.subscribers("news").len(), 1);
    let mut events = served.server.peer_events();
    client.do_op(json!({"op": "stop_peers"}));
    expect_lost(&mut events, LossReason::Left).await;
    let none = || served.server.subscribers("news").is_empty();
    eventually("nobody is subscribed", none).await;
    client.do_op(json!({"op": "request", "uri": "echo", "content": "a",
                        "timeout": 30, "expect": {"content": "a"}}));
    client.finish().assert_passed();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_tells_a_python_client_when_it_manages_peers_no_more() {
    let Some(python) = environment() else { return };
    let (served, client) = python_client(python).await;
    soon(served.server.stop_peer_management()).await;
    client_knows(&client, json!([])).await;
    client.do_op(json!({"op": "request", "uri": "echo", "content": "a",
                        "timeout": 30, "expect": {"content": "a"}}));
    client.finish().assert_passed();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_tells_a_python_client_when_it_stops() {
    let Some(python) = environment() else { return };
    let (served, client) = python_client(python).await;
    let mut events = served.server.peer_events();
    served.end().await;
    expect_lost(&mut events, LossReason::Disconnected).await;
    client_knows(&client, json!([])).await;
    client.finish().assert_passed();
}
