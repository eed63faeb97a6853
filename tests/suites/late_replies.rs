//! Replies that come after their request was given up.

use std::sync::Arc;
use std::time::Duration;

use netaio_driver::{
    CloseReason, Correlation, Incoming, MessageType, RequestError, TcpClient,
    TcpServer,
};
use tokio::sync::Semaphore;

use crate::ends::{self, client_builder, listen};
use crate::runtimes::TestRuntime;
use crate::waiting::{eventually, soon, within};

on_every_runtime![
    a_late_reply_is_not_taken_for_the_next_requests,
    a_late_reply_without_ids_is_not_taken_for_the_next_requests,
    a_late_reply_to_a_dropped_request_is_not_taken_for_the_next_requests,
    replies_that_cannot_be_told_apart_end_the_connection,
];

const SHORT: Duration = Duration::from_millis(60);

async fn a_late_reply_is_not_taken_for_the_next_requests<R: TestRuntime>(
    runtime: R,
) {
    late(runtime, Correlation::RequestIds).await;
}

async fn a_late_reply_without_ids_is_not_taken_for_the_next_requests<
    R: TestRuntime,
>(
    runtime: R,
) {
    late(runtime, Correlation::Off).await;
}

async fn late<R: TestRuntime>(runtime: R, correlation: Correlation) {
    let (_server, gate, client) = gated(&runtime, correlation).await;
    for round in 0..5 {
        let first = client.request("slow").content("first").timeout(SHORT);
        assert!(first.await.unwrap_err().is_timeout());
        let second = client.request("slow").content("second").into_future();
        let mut second = Box::pin(second);
        // It is sent, and both replies leave after that, in order.
        assert!(
            within(&runtime, Duration::ZERO, &mut second)
                .await
                .is_none()
        );
        gate.add_permits(2);
        let reply = soon(&runtime, second).await.unwrap();
        assert_eq!(reply.content(), b"second");
        eventually(&runtime, "the late reply comes", || {
            client.counters().late_replies == round + 1
        })
        .await;
        let third = client.request("slow").content("third").into_future();
        gate.add_permits(1);
        assert_eq!(soon(&runtime, third).await.unwrap().content(), b"third");
    }
    assert_eq!(client.counters().timeouts, 5);
}

async fn a_late_reply_to_a_dropped_request_is_not_taken_for_the_next_requests<
    R: TestRuntime,
>(
    runtime: R,
) {
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        let (_server, gate, client) = gated(&runtime, correlation).await;
        let first = client.request("slow").content("first").into_future();
        assert!(within(&runtime, SHORT, first).await.is_none());
        assert_eq!(client.link(None).unwrap().pending(), 0);
        gate.add_permits(2);
        let second = client.request("slow").content("second").into_future();
        assert_eq!(soon(&runtime, second).await.unwrap().content(), b"second");
        assert_eq!(client.counters().timeouts, 0);
    }
}

/// A peer that answers in order, without ids, and has left out an answer: no
/// later reply for that URI can be trusted.
async fn replies_that_cannot_be_told_apart_end_the_connection<R: TestRuntime>(
    runtime: R,
) {
    let (server, _gate, client) = gated(&runtime, Correlation::Off).await;
    ends::with_echo(server.clone());
    client.request("echo").await.unwrap();
    let link = client.link(None).unwrap();
    let first = client.request("silence").timeout(SHORT);
    assert!(first.await.unwrap_err().is_timeout());
    let second = client.request("silence").timeout(SHORT);
    let error = soon(&runtime, second.into_future()).await.unwrap_err();
    assert!(
        matches!(
            error,
            RequestError::TimedOut(_)
                | RequestError::Disconnected {
                    reason: CloseReason::OutOfStep,
                    ..
                }
        ),
        "{error}"
    );
    let reason = soon(&runtime, link.closed()).await;
    assert_eq!(reason, CloseReason::OutOfStep);
}

/// A server that answers at `slow` whenever the gate gives a permit, in the
/// order of its requests; and a client of it.
async fn gated<R: TestRuntime>(
    runtime: &R,
    correlation: Correlation,
) -> (TcpServer<R>, Arc<Semaphore>, TcpClient<R>) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    server.on((MessageType::REQUEST_URI, "slow"), move |m: Incoming<R>| {
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await.unwrap().forget();
            ends::echo(m)
        }
    });
    let address = listen(&server).await;
    let client = client_builder(runtime, address)
        .correlation(correlation)
        .build();
    client.connect().await.unwrap();
    (server, gate, client)
}
