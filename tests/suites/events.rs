//! What clients and servers tell of their connections: events and counters.

use std::time::Duration;

use netaio_driver::{
    CloseReason, ConnectionEvent, MessageType, ServerName, UdpNode,
};

use crate::ends::{self, client, connected, listen, message};
use crate::runtimes::TestRuntime;
use crate::waiting::{eventually, soon};

on_every_runtime![
    both_ends_tell_when_connections_come_and_go,
    a_reader_that_is_slow_loses_the_oldest_events,
    events_end_with_what_they_are_about,
    counters_add_up_over_connections,
];

async fn both_ends_tell_when_connections_come_and_go<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let client = client(&runtime, address);
    let (mut here, mut there) = (client.events(), server.events());
    let name = ServerName::from(address);
    let next = async |events: &mut netaio_driver::ConnectionEvents| {
        soon(&runtime, events.next()).await.expect("an event")
    };
    client.connect().await.unwrap();
    let connected = ConnectionEvent::Connected {
        server: Some(name.clone()),
        remote: address,
    };
    assert_eq!(next(&mut here).await, connected);
    let remote = match next(&mut there).await {
        ConnectionEvent::Connected {
            server: None,
            remote,
        } => remote,
        event => panic!("{event:?}"),
    };
    client.close().await;
    let disconnected = ConnectionEvent::Disconnected {
        server: Some(name.clone()),
        remote: address,
        reason: CloseReason::Local,
    };
    assert_eq!(next(&mut here).await, disconnected);
    let disconnected = ConnectionEvent::Disconnected {
        server: None,
        remote,
        reason: CloseReason::Eof,
    };
    assert_eq!(next(&mut there).await, disconnected);

    client.connect().await.unwrap();
    assert_eq!(next(&mut here).await, connected);
    assert!(matches!(
        next(&mut there).await,
        ConnectionEvent::Connected { .. }
    ));
    server.shutdown(Duration::from_secs(1)).await;
    let disconnected = ConnectionEvent::Disconnected {
        server: Some(name),
        remote: address,
        reason: CloseReason::Eof,
    };
    assert_eq!(next(&mut here).await, disconnected);
    match next(&mut there).await {
        ConnectionEvent::Disconnected { reason, .. } => {
            assert_eq!(reason, CloseReason::Shutdown);
        }
        event => panic!("{event:?}"),
    }
    drop((client, server));
    assert_eq!(soon(&runtime, here.next()).await, None);
    assert_eq!(soon(&runtime, there.next()).await, None);
}

async fn events_end_with_what_they_are_about<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    ends::only_link(&runtime, &server).await;
    let (mut events, mut peers) = (server.events(), server.peer_events());
    soon(&runtime, server.shutdown(Duration::from_secs(1))).await;
    let mut last = None;
    while let Some(event) = soon(&runtime, events.next()).await {
        last = Some(event);
    }
    assert!(matches!(last, Some(ConnectionEvent::Disconnected { .. })));
    assert!(soon(&runtime, peers.next()).await.is_none());
    assert!(soon(&runtime, server.events().next()).await.is_none());

    // A client may connect again, as long as there is one.
    let mut events = client.events();
    client.close().await;
    assert!(events.try_next().is_none_or(|event| {
        matches!(event, ConnectionEvent::Disconnected { .. })
    }));
    drop(client);
    while soon(&runtime, events.next()).await.is_some() {}

    for started in [true, false] {
        let node = UdpNode::builder_on(runtime.clone());
        let node = node.interface([127, 0, 0, 1]).port(0).build();
        if started {
            node.start().await.expect("a free port");
        }
        let mut peers = node.peer_events();
        soon(&runtime, node.stop()).await;
        assert!(soon(&runtime, peers.next()).await.is_none());
    }
}

async fn a_reader_that_is_slow_loses_the_oldest_events<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let mut slow = server.events();
    // Is told of each event after the other.
    let mut quick = server.events();
    for _ in 0..150 {
        let (client, _) = connected(&runtime, address).await;
        client.close().await;
        soon(&runtime, quick.next()).await.unwrap();
        soon(&runtime, quick.next()).await.unwrap();
    }
    let kept = std::iter::from_fn(|| slow.try_next()).count();
    assert_eq!(kept, 256);
}

async fn counters_add_up_over_connections<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    server.on(MessageType::PUBLISH_URI, |_| ());
    let client = client(&runtime, listen(&server).await);
    for round in 1..=3 {
        let link = client.connect().await.unwrap();
        for _ in 0..10 {
            assert!(client.request("echo").await.is_ok());
        }
        let silence = client.request("silence").timeout(Duration::from_millis(10));
        assert!(silence.await.is_err());
        assert!(client.request("unknown").await.is_ok());
        client
            .send(message(MessageType::PUBLISH_URI, "any", ""))
            .await
            .unwrap();
        client.close().await;
        assert_eq!(link.counters().requests, 12);
        let here = client.counters();
        assert_eq!(here.requests, 12 * round);
        assert_eq!(here.replies, 11 * round);
        assert_eq!(here.timeouts, round);
        assert_eq!(here.frames_out, 13 * round);
        eventually(&runtime, "it is closed", || server.links().is_empty()).await;
        let there = server.counters();
        assert_eq!(there.frames_in, 13 * round);
        assert_eq!(there.dispatched, 12 * round);
        assert_eq!(there.unrouted, round);
        assert_eq!(there.bytes_in, here.bytes_out);
        assert_eq!(there.bytes_out, here.bytes_in);
    }
}
