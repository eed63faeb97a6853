//! How a server stops.

use std::sync::Arc;
use std::time::Duration;

use netaio_driver::{CloseReason, Incoming, MessageType, RequestError};
use tokio::sync::Semaphore;

use crate::ends::{self, connected, listen, only_link};
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, LONG, eventually, poll_once, sleep, soon, spawn, within,
};

on_every_runtime![
    a_shutdown_answers_what_was_accepted,
    r26_a_shutdown_ends_by_its_deadline_whatever_handlers_do,
    a_shutdown_with_nothing_to_do_ends_at_once,
    a_shutdown_does_not_wait_for_a_request_that_was_dropped,
    a_shutdown_drops_the_handlers,
    whoever_waits_for_the_stop_is_told,
    a_server_that_was_shut_down_does_not_listen_again,
    connections_made_during_a_shutdown_do_not_outlive_it,
    a_shutdown_that_is_dropped_ends_connections_all_the_same,
];

/// How much later than its bound something may end on a loaded machine.
const SLACK: Duration = Duration::from_secs(5);

async fn a_shutdown_answers_what_was_accepted<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    server.on((MessageType::REQUEST_URI, "slow"), move |m: Incoming<R>| {
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await.unwrap().forget();
            m.respond([7; 10_000])
        }
    });
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move { client.request("slow").await })
        })
        .collect();
    let accepted = only_link(&runtime, &server).await;
    eventually(&runtime, "all are accepted", || accepted.in_flight() == 100).await;
    let stopping = server.clone();
    let shutdown = spawn(&runtime, async move { stopping.shutdown(LONG).await });
    // One that comes later is not accepted.
    let refused = async {
        loop {
            let listening = server.listen(ends::ANYWHERE).await;
            if listening.is_err() {
                return;
            }
            spawn(&runtime, async {}).join().await;
        }
    };
    soon(&runtime, refused).await;
    gate.add_permits(100);
    for request in requests {
        let reply = soon(&runtime, request.join()).await.unwrap();
        assert_eq!(reply.content(), [7; 10_000]);
    }
    soon(&runtime, shutdown.join()).await;
    soon(&runtime, link.closed()).await;
    assert_eq!(accepted.close_reason(), Some(CloseReason::Shutdown));
    assert!(server.links().is_empty());
}

async fn r26_a_shutdown_ends_by_its_deadline_whatever_handlers_do<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, _) = ends::pair(&runtime).await;
    let dropped = Count::default();
    let count = dropped.clone();
    server.on((MessageType::REQUEST_URI, "hang"), move |_| {
        let dropped = count.when_dropped();
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
        }
    });
    let requests: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move { client.request("hang").await })
        })
        .collect();
    let accepted = only_link(&runtime, &server).await;
    eventually(&runtime, "all are accepted", || accepted.in_flight() == 10).await;
    let begun = runtime.now();
    let bound = Duration::from_millis(200);
    soon(&runtime, server.shutdown(bound)).await;
    let took = runtime.now().duration_since(begun);
    assert!(took >= bound, "{took:?}");
    assert!(took < bound + SLACK, "{took:?}");
    for request in requests {
        match soon(&runtime, request.join()).await.unwrap_err() {
            RequestError::Disconnected { sent, .. } => assert!(sent),
            error => panic!("{error:?}"),
        }
    }
    eventually(&runtime, "the handlers are dropped", || dropped.get() == 10).await;
}

async fn a_shutdown_with_nothing_to_do_ends_at_once<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let mut others = Vec::new();
    for _ in 0..10 {
        others.push(connected(&runtime, link.remote()).await);
    }
    assert!(client.request("echo").await.is_ok());
    eventually(&runtime, "all are accepted", || server.links().len() == 11).await;
    soon(&runtime, server.shutdown(LONG * 3)).await;
    assert!(server.links().is_empty());
}

async fn a_shutdown_does_not_wait_for_a_request_that_was_dropped<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, _) = ends::pair(&runtime).await;
    client.on(MessageType::REQUEST_URI, |_| std::future::pending::<()>());
    // Otherwise the server would end it as one that never says anything.
    assert!(client.request("echo").await.is_ok());
    let link = only_link(&runtime, &server).await;
    let mut request = link.request("hang").timeout(LONG * 3).into_future();
    assert!(poll_once(&mut request).is_pending());
    let stopping = server.clone();
    let shutdown = spawn(&runtime, async move { stopping.shutdown(LONG * 3).await });
    eventually(&runtime, "it has begun", || {
        let before = link.counters().requests;
        let mut late = link.request("late").into_future();
        let _ = poll_once(&mut late);
        link.counters().requests == before
    })
    .await;
    // The connection has nothing else to do, and rests.
    sleep(&runtime, Duration::from_millis(50)).await;
    drop(request);
    soon(&runtime, shutdown.join()).await;
}

async fn a_shutdown_drops_the_handlers<R: TestRuntime>(runtime: R) {
    for _ in 0..30 {
        let (server, client, _) = ends::pair(&runtime).await;
        let dropped = Count::default();
        // It keeps the server alive.
        let captured = (dropped.when_dropped(), server.clone());
        server.on(
            (MessageType::REQUEST_URI, "links"),
            move |m: Incoming<R>| {
                let (_, server) = &captured;
                m.respond(server.links().len().to_string())
            },
        );
        assert_eq!(client.request("links").await.unwrap().content(), b"1");
        soon(&runtime, server.shutdown(Duration::from_secs(1))).await;
        assert_eq!(dropped.get(), 1);
    }
}

async fn whoever_waits_for_the_stop_is_told<R: TestRuntime>(runtime: R) {
    let (server, _client, _) = ends::pair(&runtime).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let server = server.clone();
            spawn(&runtime, async move { server.stopped().await })
        })
        .collect();
    let early = within(&runtime, Duration::from_millis(20), server.stopped()).await;
    assert!(early.is_none());
    soon(&runtime, server.shutdown(Duration::from_secs(1))).await;
    for waiting in waiting {
        soon(&runtime, waiting.join()).await;
    }
    soon(&runtime, server.stopped()).await;
}

async fn a_server_that_was_shut_down_does_not_listen_again<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    soon(&runtime, server.shutdown(Duration::ZERO)).await;
    assert!(server.listen(ends::ANYWHERE).await.is_err());
    // Its port is free again.
    let next = ends::server(&runtime);
    let free = async {
        while next.listen(address.to_string()).await.is_err() {
            spawn(&runtime, async {}).join().await;
        }
    };
    soon(&runtime, free).await;
    // A second shutdown has nothing to do.
    soon(&runtime, server.shutdown(LONG)).await;
}

async fn connections_made_during_a_shutdown_do_not_outlive_it<R: TestRuntime>(
    runtime: R,
) {
    for _ in 0..10 {
        let server = ends::server(&runtime);
        let address = listen(&server).await;
        let connecting: Vec<_> = (0..10)
            .map(|_| {
                let client = ends::client(&runtime, address);
                spawn(&runtime, async move {
                    // It may be refused as well.
                    if let Ok(link) = client.connect().await {
                        // Linux says nothing to who has connected just when
                        // the listening socket was closed, before they speak.
                        let _ = link.request("echo").await;
                        link.closed().await;
                    }
                })
            })
            .collect();
        eventually(&runtime, "some are accepted", || !server.links().is_empty())
            .await;
        soon(&runtime, server.shutdown(LONG * 3)).await;
        for connecting in connecting {
            soon(&runtime, connecting.join()).await;
        }
        assert!(server.links().is_empty());
    }
}

async fn a_shutdown_that_is_dropped_ends_connections_all_the_same<R: TestRuntime>(
    runtime: R,
) {
    let (server, _client, link) = ends::pair(&runtime).await;
    let mut shutting_down = Box::pin(server.shutdown(LONG));
    let _ = poll_once(&mut shutting_down);
    drop(shutting_down);
    soon(&runtime, server.stopped()).await;
    soon(&runtime, link.closed()).await;
}
