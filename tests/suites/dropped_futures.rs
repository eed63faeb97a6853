//! Futures that are dropped before they are done: nothing is left behind.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use netaio_driver::{Link, MessageType, RequestError, SendError, TcpClient};

use crate::ends::{self, client_builder, limits, listen, message, only_link};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, LONG, eventually, soon, spawn, within};

on_every_runtime![
    a_request_dropped_at_any_await_leaves_nothing_pending,
    a_request_that_waits_for_room_can_be_dropped,
    a_request_that_waits_for_a_connection_can_be_dropped,
    a_send_that_is_dropped_sends_all_or_nothing,
    a_connect_dropped_at_any_await_leaves_room_for_another,
    a_reader_dropped_at_any_await_loses_nothing,
];

/// Polls `future` up to `times` times, each when it is woken; then drops it.
pub(crate) async fn poll_times<R: TestRuntime, F: Future>(
    runtime: &R,
    times: usize,
    future: F,
) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = times;
    let polled = std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match Pin::new(&mut future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    soon(runtime, polled).await
}

async fn a_request_dropped_at_any_await_leaves_nothing_pending<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let mut done = 0;
    for round in 0..60 {
        let request = client.request("echo").content("hello").into_future();
        let outcome = poll_times(&runtime, round % 4, request).await;
        assert_eq!(link.pending(), 0);
        if let Some(reply) = outcome {
            assert_eq!(reply.unwrap().content(), b"hello");
            done += 1;
        }
    }
    assert!(done > 0);
    // Nor does one that was polled and then forgotten by its task.
    for _ in 0..50 {
        let mut request = client.request("silence").into_future();
        assert!(crate::waiting::poll_once(&mut request).is_pending());
        assert_eq!(link.pending(), 1);
        drop(request);
        assert_eq!(link.pending(), 0);
    }
    assert!(client.request("echo").await.is_ok());
}

/// A connection to a peer that reads nothing, with no room to send.
async fn full<R: TestRuntime>(
    runtime: &R,
) -> (TcpClient<R>, Link<R>, std::net::TcpListener, usize) {
    let listener = crate::raw_peer::listener();
    let client = client_builder(runtime, listener.local_addr().unwrap())
        .limits(limits(|limits| limits.max_outgoing = 1))
        .build();
    let link = client.connect().await.unwrap();
    let mut sent = 0;
    let large = || message(MessageType::PUBLISH_URI, "any ", [7; 60_000]);
    // Long enough for the system to have taken all that it ever takes.
    let span = Duration::from_millis(500);
    while within(runtime, span, link.send(large())).await.is_some() {
        sent += 1;
    }
    (client, link, listener, sent)
}

async fn a_request_that_waits_for_room_can_be_dropped<R: TestRuntime>(runtime: R) {
    let (client, link, _listener, _) = full(&runtime).await;
    for round in 0..10 {
        let request = client.request("echo").into_future();
        assert!(poll_times(&runtime, 1, request).await.is_none());
        let request = client.request("echo").into_future();
        let span = Duration::from_millis(round);
        assert!(within(&runtime, span, request).await.is_none());
        assert_eq!(link.pending(), 0);
    }
    // One that is not dropped ends in time: it is not sent, or, where the
    // system has made a little room since, not answered.
    let request = client.request("echo").timeout(Duration::from_millis(50));
    let error = soon(&runtime, request.into_future()).await.unwrap_err();
    let unsent = SendError::OutgoingFull { limit: 1 };
    let unsent = error == RequestError::NotSent(unsent);
    assert!(unsent || error.is_timeout(), "{error}");
    assert_eq!(link.pending(), 0);
}

async fn a_request_that_waits_for_a_connection_can_be_dropped<R: TestRuntime>(
    runtime: R,
) {
    let hole = crate::waiting::off_thread(|| {
        let mut hole = crate::raw_peer::BlackHole::open();
        hole.fill();
        hole
    })
    .await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(LONG * 3)
        .build();
    let mut connecting = Box::pin(client.connect());
    let span = Duration::from_millis(20);
    assert!(within(&runtime, span, &mut connecting).await.is_none());
    for _ in 0..10 {
        let request = client.request("echo").into_future();
        assert!(poll_times(&runtime, 1, request).await.is_none());
    }
    // One that is not dropped waits no longer than it may.
    let request = client.request("echo").timeout(span);
    assert!(soon(&runtime, request.into_future()).await.is_err());
    drop(connecting);
    assert!(
        soon(&runtime, client.request("echo").into_future())
            .await
            .is_err()
    );
}

async fn a_send_that_is_dropped_sends_all_or_nothing<R: TestRuntime>(runtime: R) {
    let (_client, link, listener, sent) = full(&runtime).await;
    let before = link.counters().frames_out;
    let mut expected = vec![*b"any "; sent];
    for _ in 0..10 {
        let send = link.send(message(MessageType::PUBLISH_URI, "some", ""));
        if poll_times(&runtime, 1, send).await.is_some() {
            // There was room after all.
            expected.push(*b"some");
        }
    }
    let made = link.counters().frames_out - before;
    assert_eq!(made as usize, expected.len() - sent);
    expected.push(*b"last");
    let waiting = link.clone();
    let last = spawn(&runtime, async move {
        let last = message(MessageType::PUBLISH_URI, "last", "");
        waiting.send(last).await
    });
    let received = crate::waiting::off_thread(move || {
        let mut peer = crate::raw_peer::RawPeer::accept(&listener);
        for expected in expected {
            assert_eq!(peer.receive().unwrap().uri(), expected);
        }
    });
    soon(&runtime, received).await;
    soon(&runtime, last.join()).await.unwrap();
}

async fn a_connect_dropped_at_any_await_leaves_room_for_another<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    for times in 0..6 {
        let client = ends::client(&runtime, address);
        let connecting = poll_times(&runtime, times, client.connect()).await;
        let link = soon(&runtime, client.connect()).await.unwrap();
        if let Some(first) = connecting {
            assert_eq!(first.unwrap().id(), link.id());
        }
        assert!(client.request("echo").await.is_ok());
    }
    eventually(&runtime, "all are closed", || server.links().is_empty()).await;
}

async fn a_reader_dropped_at_any_await_loses_nothing<R: TestRuntime>(runtime: R) {
    const MESSAGES: usize = 500;
    let (server, client, _) = ends::pair(&runtime).await;
    let accepted = only_link(&runtime, &server).await;
    let sent = Count::default();
    let count = sent.clone();
    let sender = spawn(&runtime, async move {
        for number in 0..MESSAGES {
            let news = message(MessageType::NOTIFY_URI, "news", number.to_string());
            accepted.send(news).await.unwrap();
            count.add();
        }
    });
    let mut received = 0;
    let mut round = 0;
    while received < MESSAGES {
        round += 1;
        let reader = client.receive_once();
        if let Some(news) = poll_times(&runtime, round % 3, reader).await {
            assert_eq!(news.unwrap().text(), received.to_string());
            received += 1;
        } else {
            spawn(&runtime, async {}).join().await;
        }
    }
    sender.join().await;
    assert_eq!(sent.get(), MESSAGES);
}
