//! R6: a peer whose process has stopped. Its sockets stay open, its system
//! acknowledges what comes as long as there is room, and nobody reads it.

use std::time::Duration;

use netaio_asyncstd::smol::Smol;
use netaio_driver::{CloseReason, MessageType, RequestError};
use netaio_tokio::Tokio;

use crate::ends::{client_builder, limits, message};
use crate::process::OtherEnd;
use crate::runtimes::{Flavour, TestRuntime, run};
use crate::waiting::{off_thread, soon, spawn};

#[test]
fn r06_a_write_that_a_stopped_peer_stalls_closes_the_connection_on_tokio() {
    run::<Tokio, _>(Flavour::Threads, stalled);
}

#[test]
fn r06_a_write_that_a_stopped_peer_stalls_closes_the_connection_on_smol() {
    run::<Smol, _>(Flavour::OneThread, stalled);
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
    let asking = client.clone();
    let asked = spawn(&runtime, async move {
        asking
            .request("echo")
            .timeout(Duration::from_secs(60))
            .await
    });
    let sending = link.clone();
    spawn(&runtime, async move {
        let large = message(MessageType::PUBLISH_URI, "any", [7; 60_000]);
        while sending.send(large.clone()).await.is_ok() {}
    });
    let begun = runtime.now();
    let reason = soon(&runtime, link.closed()).await;
    let took = runtime.now().duration_since(begun);
    assert_eq!(reason, CloseReason::WriteStalled);
    assert!(took >= DEADLINE, "{took:?}");
    // Whoever waits for an answer is told then, and not at the request's timeout.
    match soon(&runtime, asked.join()).await.unwrap_err() {
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
