//! Peers of clients and servers: they find each other over their connections,
//! and lose each other with them.

use netaio_asymmetric::X25519CipherPlugin;
use netaio_driver::{
    DefaultPeerPlugin, HmacAuthPlugin, Layers, LossReason, Message, MessageType,
    Peer, PeerError, PeerEvent, PeerEvents, PeerManagement, PeerPlugin as _,
    Runtime, TcpClient, TcpServer,
};
use std::net::SocketAddr;
use std::time::Duration;

use crate::ends::{listen, message};
use crate::raw_peer::RawPeer;
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, eventually, off_thread, soon};

on_every_runtime![
    a_client_and_a_server_find_each_other_on_connecting,
    who_begins_to_manage_peers_later_is_found_then,
    a_client_that_closes_or_stops_says_so,
    a_server_that_shuts_down_says_so,
    a_peer_whose_connection_is_cut_is_lost,
    nobody_else_can_speak_for_a_peer,
    peer_messages_have_layers_of_their_own,
    a_peer_that_leaves_is_not_subscribed_any_more,
    a_client_that_only_stops_managing_peers_goes_on_being_notified,
    without_an_id_peers_cannot_be_managed,
    a_peer_that_was_added_by_hand_is_known_to_every_connection,
    a_server_that_is_connected_by_two_names_is_known_while_one_is,
    a_handler_of_peer_messages_goes_when_peers_are_managed,
];

fn management() -> PeerManagement {
    PeerManagement::new(PeerManagement::APP_ID)
}

fn server<R: Runtime>(runtime: &R) -> TcpServer<R> {
    let builder = TcpServer::builder_on(runtime.clone());
    builder.local_peer(Peer::new("server", "its data")).build()
}

fn client<R: Runtime>(runtime: &R, id: &str) -> TcpClient<R> {
    let builder = TcpClient::builder_on(runtime.clone());
    let peer = Peer::new(id.to_owned(), format!("data of {id}"));
    builder.local_peer(peer).build()
}

async fn found<R: Runtime>(runtime: &R, events: &mut PeerEvents) -> Peer {
    match soon(runtime, events.next()).await {
        Some(PeerEvent::Found(known)) => Peer::clone(&known.peer),
        other => panic!("{other:?}"),
    }
}

async fn lost<R: Runtime>(runtime: &R, events: &mut PeerEvents) -> LossReason {
    match soon(runtime, events.next()).await {
        Some(PeerEvent::Lost { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

async fn a_client_and_a_server_find_each_other_on_connecting<R: TestRuntime>(
    runtime: R,
) {
    let (server, client) = (server(&runtime), client(&runtime, "one"));
    let (mut there, mut here) = (server.peer_events(), client.peer_events());
    server.manage_peers(management()).unwrap();
    client.manage_peers(management()).unwrap();
    let address = listen(&server).await;
    let link = client.connect_to(address).await.expect("a connection");
    let peer = found(&runtime, &mut there).await;
    assert_eq!(peer, Peer::new("one", "data of one"));
    let peer = found(&runtime, &mut here).await;
    assert_eq!(peer, Peer::new("server", "its data"));
    assert_eq!(client.peers()[0].addresses, [link.remote()]);
    assert_eq!(server.peers()[0].addresses, [server.links()[0].remote()]);
}

async fn who_begins_to_manage_peers_later_is_found_then<R: TestRuntime>(runtime: R) {
    let (server, client) = (server(&runtime), client(&runtime, "one"));
    server.manage_peers(management()).unwrap();
    let mut here = client.peer_events();
    let address = listen(&server).await;
    client.connect_to(address).await.expect("a connection");
    assert!(client.peers().is_empty());
    client.manage_peers(management()).unwrap();
    found(&runtime, &mut here).await;
    assert_eq!(server.peers().len(), 1);
}

async fn a_client_that_closes_or_stops_says_so<R: TestRuntime>(runtime: R) {
    let (server, client) = (server(&runtime), client(&runtime, "one"));
    let mut there = server.peer_events();
    server.manage_peers(management()).unwrap();
    let address = listen(&server).await;
    for stops in [true, false] {
        client.manage_peers(management()).unwrap();
        client.connect_to(address).await.expect("a connection");
        found(&runtime, &mut there).await;
        if stops {
            client.stop_peer_management().await;
        } else {
            soon(&runtime, client.close_all()).await;
        }
        assert_eq!(lost(&runtime, &mut there).await, LossReason::Left);
        soon(&runtime, client.close_all()).await;
    }
    assert!(server.peers().is_empty());
}

async fn a_server_that_shuts_down_says_so<R: TestRuntime>(runtime: R) {
    for stops in [true, false] {
        let (server, client) = (server(&runtime), client(&runtime, "one"));
        server.manage_peers(management()).unwrap();
        client.manage_peers(management()).unwrap();
        let mut here = client.peer_events();
        let address = listen(&server).await;
        client.connect_to(address).await.expect("a connection");
        found(&runtime, &mut here).await;
        if stops {
            server.stop_peer_management().await;
        } else {
            server.shutdown(Duration::from_secs(5)).await;
        }
        assert_eq!(lost(&runtime, &mut here).await, LossReason::Left);
        assert!(client.peers().is_empty());
    }
}

async fn a_peer_whose_connection_is_cut_is_lost<R: TestRuntime>(runtime: R) {
    let server = server(&runtime);
    let mut there = server.peer_events();
    server.manage_peers(management()).unwrap();
    let address = listen(&server).await;
    let raw = off_thread(move || announced(address, "data")).await;
    found(&runtime, &mut there).await;
    drop(raw);
    assert_eq!(lost(&runtime, &mut there).await, LossReason::Disconnected);
    assert!(server.peers().is_empty());
}

async fn nobody_else_can_speak_for_a_peer<R: TestRuntime>(runtime: R) {
    let server = server(&runtime);
    let mut there = server.peer_events();
    server.manage_peers(management()).unwrap();
    server.on((MessageType::REQUEST_URI, "mark"), |m| m.respond(""));
    let address = listen(&server).await;
    let mut known = off_thread(move || announced(address, "data")).await;
    found(&runtime, &mut there).await;
    let before = server.peers();
    let other = off_thread(move || {
        // It is told who is here, and that is all.
        let mut other = announced(address, "forged");
        other.send(&peer_message(MessageType::DISCONNECT, "forged"));
        other.send(&peer_message(MessageType::ADVERTISE_PEER, "forged"));
        other.receive().expect("an answer");
        other.request("mark", "");
        assert_eq!(other.receive().expect("an answer").uri(), b"mark");
        other
    })
    .await;
    assert_eq!(server.peers(), before);
    off_thread(move || {
        known.send(&peer_message(MessageType::ADVERTISE_PEER, "new"));
        known.receive().expect("an answer");
    })
    .await;
    let updated = soon(&runtime, there.next()).await;
    assert!(
        matches!(updated, Some(PeerEvent::Updated(_))),
        "{updated:?}"
    );
    // Once the connection of the first one has ended, the id is free.
    assert_eq!(lost(&runtime, &mut there).await, LossReason::Disconnected);
    let peer = found(&runtime, &mut there).await;
    assert_eq!(peer, Peer::new("known", "forged"));
    drop(other);
    assert_eq!(lost(&runtime, &mut there).await, LossReason::Disconnected);
    assert!(server.peers().is_empty());
}

async fn peer_messages_have_layers_of_their_own<R: TestRuntime>(runtime: R) {
    let layers = |secret: &str| Layers::new().auth(HmacAuthPlugin::new(secret));
    let server = server(&runtime);
    server
        .manage_peers(management().layers(layers("for peers")))
        .unwrap();
    let address = listen(&server).await;
    let (good, bad) = (client(&runtime, "good"), client(&runtime, "bad"));
    let mut here = good.peer_events();
    bad.manage_peers(management().layers(layers("wrong")))
        .unwrap();
    bad.connect_to(address).await.expect("a connection");
    eventually(&runtime, "it is refused", || {
        server.counters().auth_failures == 1
    })
    .await;
    good.manage_peers(management().layers(layers("for peers")))
        .unwrap();
    good.connect_to(address).await.expect("a connection");
    found(&runtime, &mut here).await;
    let ids: Vec<_> = server.peers().into_iter().map(|p| p.peer).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].id.as_deref(), Some(&b"good"[..]));
    assert!(bad.peers().is_empty());
}

async fn a_peer_that_leaves_is_not_subscribed_any_more<R: TestRuntime>(runtime: R) {
    let server = server(&runtime);
    server.pubsub();
    server.manage_peers(management()).unwrap();
    let address = listen(&server).await;
    let mut raw = off_thread(move || {
        let mut raw = announced(address, "its data");
        raw.send(&message(MessageType::SUBSCRIBE_URI, "news", ""));
        let reply = raw.receive().expect("an answer");
        assert_eq!(reply.message_type(), MessageType::CONFIRM_SUBSCRIBE);
        raw
    })
    .await;
    assert_eq!(server.subscribers("news").len(), 1);
    raw.send(&peer_message(MessageType::DISCONNECT, "its data"));
    eventually(&runtime, "it has left", || {
        server.peers().is_empty() && server.subscribers("news").is_empty()
    })
    .await;
    assert_eq!(server.links().len(), 1, "it is still connected");
}

async fn a_client_that_only_stops_managing_peers_goes_on_being_notified<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (server, client) = (server(&runtime), client(&runtime, "one"));
    server.pubsub();
    server.manage_peers(management()).unwrap();
    client.manage_peers(management()).unwrap();
    let mut there = server.peer_events();
    let address = listen(&server).await;
    client.connect_to(address).await.expect("a connection");
    found(&runtime, &mut there).await;
    let subscribed = client.subscribe("news").server(address).await;
    let mut news = subscribed.expect("a subscription");
    client.stop_peer_management().await;
    assert_eq!(lost(&runtime, &mut there).await, LossReason::Left);
    eventually(&runtime, "it has subscribed again", || {
        server.subscribers("news").len() == 1
    })
    .await;
    let notice = message(MessageType::NOTIFY_URI, "news", "still here");
    assert_eq!(server.notify("news", notice).await, Ok(1));
    let notification = soon(&runtime, news.next()).await.expect("it goes on");
    assert_eq!(notification.text(), "still here");
    assert!(notification.resumed, "some may be missing");
}

async fn without_an_id_peers_cannot_be_managed<R: TestRuntime>(runtime: R) {
    let nobody = TcpServer::builder_on(runtime.clone()).build();
    let outcome = nobody.manage_peers(management());
    assert_eq!(outcome, Err(PeerError::NoLocalPeer));
    let nobody = TcpClient::builder_on(runtime).local_peer(Peer::default());
    let outcome = nobody.build().manage_peers(management());
    assert_eq!(outcome, Err(PeerError::NoLocalPeer));
}

/// A bare connection of the peer `known`, which has said so and was answered.
fn announced(server: SocketAddr, data: &'static str) -> RawPeer {
    let mut raw = RawPeer::connect(server);
    raw.send(&peer_message(MessageType::ADVERTISE_PEER, data));
    let reply = raw.receive().expect("an answer");
    assert_eq!(reply.message_type(), MessageType::PEER_DISCOVERED);
    raw
}

fn peer_message(kind: MessageType, data: &'static str) -> Message {
    let content = DefaultPeerPlugin.pack(&Peer::new("known", data)).unwrap();
    message(kind, PeerManagement::APP_ID, content)
}

/// The outer layer needs to know who is there from the first message on.
async fn a_peer_that_was_added_by_hand_is_known_to_every_connection<
    R: TestRuntime,
>(
    runtime: R,
) {
    let plugin = |seed| X25519CipherPlugin::new(&[seed; 32]);
    let (ours, theirs) = (plugin(1).peer("client"), plugin(2).peer("server"));
    let server = TcpServer::builder_on(runtime.clone())
        .cipher(plugin(2).encrypt_uri(true))
        .build();
    server.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    let address = listen(&server).await;
    let client = TcpClient::builder_on(runtime.clone())
        .cipher(plugin(1).encrypt_uri(true))
        .build();
    client.add_peer(theirs, address).expect("room");
    for _ in 0..3 {
        let link = client.connect_to(address).await.expect("a connection");
        let accepted = || server.links().len() == 1;
        eventually(&runtime, "it is accepted", accepted).await;
        let remote = server.links()[0].remote();
        server.add_peer(ours.clone(), remote).expect("room");
        let request = link.request("echo").content("sealed").into_future();
        let reply = soon(&runtime, request).await.expect("a reply");
        assert_eq!(reply.content(), b"sealed");
        // Cut off, the client still knows the server.
        link.close_within(Duration::ZERO).await;
        let gone = || server.links().is_empty() && server.peers().is_empty();
        eventually(&runtime, "the server notices", gone).await;
        assert_eq!(client.peers().len(), 1);
    }
}

async fn a_server_that_is_connected_by_two_names_is_known_while_one_is<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = server(&runtime);
    server.manage_peers(management()).unwrap();
    let address = listen(&server).await;
    let client = client(&runtime, "client");
    client.manage_peers(management()).unwrap();
    // The same address, written in two ways.
    let (one, other) = (address.to_string(), format!("127.1:{}", address.port()));
    client.connect_to(one.as_str()).await.unwrap();
    let link = client.connect_to(other.as_str()).await.unwrap();
    assert_eq!(link.remote(), address);
    eventually(&runtime, "found", || client.peers().len() == 1).await;
    client.close_server(one.as_str()).await;
    let echo = client.request("nobody").server(other.as_str());
    echo.await.expect("an answer");
    assert_eq!(client.peers().len(), 1);
}

async fn a_handler_of_peer_messages_goes_when_peers_are_managed<R: TestRuntime>(
    runtime: R,
) {
    let server = server(&runtime);
    let dropped = Count::default();
    let held = dropped.when_dropped();
    let key = (MessageType::ADVERTISE_PEER, PeerManagement::APP_ID);
    server.on(key, move |_| {
        let _ = &held;
    });
    server.manage_peers(management()).unwrap();
    assert_eq!(dropped.get(), 1);
}
