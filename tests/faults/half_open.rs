//! R6: a peer whose process has stopped. Its sockets stay open, its system
//! acknowledges what comes as long as there is room, and nobody reads it.

use std::time::Duration;

use netaio_asyncstd::smol::Smol;
use netaio_driver::{CloseReason, Keepalive, MessageType, RequestError, TcpServer};
use netaio_tokio::Tokio;

use crate::ends::{self, client_builder, limits, listen, message, only_link};
use crate::process::OtherEnd;
use crate::runtimes::{Flavour, TestRuntime, run};
use crate::waiting::{LONG, eventually, off_thread, poll_once, sleep, soon, spawn};

#[test]
fn r06_a_write_that_a_stopped_peer_stalls_closes_the_connection_on_tokio() {
    run::<Tokio, _>(Flavour::Threads, stalled);
}

#[test]
fn r06_a_write_that_a_stopped_peer_stalls_closes_the_connection_on_smol() {
    run::<Smol, _>(Flavour::OneThread, stalled);
}

#[test]
fn r06_a_stopped_peer_is_found_by_keepalive_on_tokio() {
    run::<Tokio, _>(Flavour::Threads, found);
}

#[test]
fn r06_a_stopped_peer_is_found_by_keepalive_on_smol() {
    run::<Smol, _>(Flavour::OneThread, found);
}

const INTERVAL: Duration = Duration::from_millis(200);
const MISSES: u32 = 2;
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);

async fn found<R: TestRuntime>(runtime: R) {
    let most = INTERVAL * (MISSES + 1);
    let keepalive = Keepalive::new(INTERVAL).misses(MISSES);

    // A server that stops, with a request under way and without one.
    for asks in [false, true] {
        let (server, address) = off_thread(|| OtherEnd::server("tokio", "")).await;
        let client = client_builder(&runtime, address)
            .keepalive(keepalive)
            .build();
        let link = client.connect().await.expect("a connection");
        assert!(client.request("echo").await.is_ok());
        // One that lives is not given up.
        sleep(&runtime, most * 2).await;
        assert!(!link.is_closed());
        server.stop();
        let begun = runtime.now();
        let asked = asks.then(|| {
            let mut asked = client.request("echo").timeout(LONG * 2).into_future();
            assert!(poll_once(&mut asked).is_pending());
            asked
        });
        let reason = soon(&runtime, link.closed()).await;
        let took = runtime.now().duration_since(begun);
        assert_eq!(reason, CloseReason::KeepaliveTimeout);
        assert!(took <= most + SLACK, "{took:?}");
        if let Some(asked) = asked {
            let error = soon(&runtime, asked).await.unwrap_err();
            assert!(matches!(
                error,
                RequestError::Disconnected { sent: true, .. }
            ));
        }
    }

    // Clients that stop.
    let server = TcpServer::builder_on(runtime.clone())
        .keepalive(keepalive)
        .build();
    let server = ends::with_echo(server);
    let address = listen(&server).await;
    let clients = off_thread(move || {
        let mut clients = OtherEnd::start(&format!("clients tokio {address} 1"));
        assert_eq!(clients.line(), "1");
        clients
    })
    .await;
    let link = only_link(&runtime, &server).await;
    sleep(&runtime, most * 2).await;
    assert!(!link.is_closed());
    clients.stop();
    let begun = runtime.now();
    let reason = soon(&runtime, link.closed()).await;
    let took = runtime.now().duration_since(begun);
    assert_eq!(reason, CloseReason::KeepaliveTimeout);
    assert!(took <= most + SLACK, "{took:?}");
}

async fn stalled<R: TestRuntime>(runtime: R) {
    const DEADLINE: Duration = Duration::from_millis(300);
    let (server, address) = off_thread(|| OtherEnd::server("tokio", "")).await;
    let client = client_builder(&runtime, address)
        .limits(limits(|limits| limits.write_timeout = Some(DEADLINE)))
        .build();
    let link = client.connect().await.expect("a connection");
    assert!(client.request("echo").await.is_ok());
    server.stop();
    let before = link.counters().bytes_out;
    let mut asked = client.request("echo").timeout(LONG * 2).into_future();
    assert!(poll_once(&mut asked).is_pending());
    eventually(&runtime, "it leaves", || link.counters().bytes_out > before).await;
    let begun = runtime.now();
    let sending = link.clone();
    spawn(&runtime, async move {
        let large = message(MessageType::PUBLISH_URI, "any", [7; 60_000]);
        while sending.send(large.clone()).await.is_ok() {}
    });
    let reason = soon(&runtime, link.closed()).await;
    let took = runtime.now().duration_since(begun);
    assert_eq!(reason, CloseReason::WriteStalled);
    assert!(took >= DEADLINE, "{took:?}");
    // Whoever waits for an answer is told then, and not at the request's timeout.
    match soon(&runtime, asked).await.unwrap_err() {
        RequestError::Disconnected { sent, reason } => {
            assert!(sent);
            assert_eq!(reason, CloseReason::WriteStalled);
        }
        error => panic!("{error:?}"),
    }
    server.go_on();
    // What it was is not held against it.
    client.connect().await.expect("a connection");
    assert!(client.request("echo").await.is_ok());
}
