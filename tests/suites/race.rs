//! The race: many requests on one connection, beside everything else that the
//! connection is used for. Every reply must reach its own caller.

use std::sync::Arc;
use std::time::Duration;

use netaio_driver::{
    Correlation, Incoming, Link, MessageType, RequestError, TcpClient,
};
use tokio::sync::Semaphore;

use crate::ends::{self, client_builder, listen, message, only_link};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, Joined, eventually, poll_once, soon, spawn};

const TASKS: usize = 64;
const REQUESTS: usize = 1_000;
/// Pushed messages that may be on their way.
const WINDOW: usize = 400;
const PUSHED: usize = 3_000;

on_every_runtime![
    every_reply_reaches_its_own_caller_beside_a_reader_and_handlers,
    every_reply_reaches_its_own_caller_without_request_ids,
    a_request_that_times_out_never_takes_the_place_of_one_made_meanwhile,
    requests_that_time_out_and_are_dropped_disturb_no_others,
];

async fn every_reply_reaches_its_own_caller_beside_a_reader_and_handlers<
    R: TestRuntime,
>(
    runtime: R,
) {
    race(runtime, Correlation::RequestIds).await;
}

async fn every_reply_reaches_its_own_caller_without_request_ids<R: TestRuntime>(
    runtime: R,
) {
    race(runtime, Correlation::Off).await;
}

async fn race<R: TestRuntime>(runtime: R, correlation: Correlation) {
    let server = ends::server(&runtime);
    // Some handlers are done at once, some are not.
    let pace = runtime.clone();
    server.on(MessageType::REQUEST_URI, move |m: Incoming<R>| {
        let pace = pace.clone();
        async move {
            if m.content().last() == Some(&b'7') {
                spawn(&pace, async {}).join().await;
            }
            ends::echo(m)
        }
    });
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .correlation(correlation)
        .build();
    let room = Arc::new(Semaphore::new(WINDOW));
    let notified = Count::default();
    let handled = (notified.clone(), Arc::clone(&room));
    client.on(MessageType::NOTIFY_URI, move |m: Incoming<R>| {
        let (notified, room) = &handled;
        assert_eq!(m.text(), notified.next().to_string());
        room.add_permits(1);
    });
    client.connect().await.unwrap();
    let link = only_link(&runtime, &server).await;

    let pusher = spawn(&runtime, push(link, Arc::clone(&room)));
    let reader = spawn(&runtime, read(client.clone(), room));
    let callers: Vec<Joined<()>> = (0..TASKS)
        .map(|task| spawn(&runtime, call(client.clone(), task)))
        .collect();
    for caller in callers {
        caller.join().await;
    }
    pusher.join().await;
    reader.join().await;
    eventually(&runtime, "all are notified", || notified.get() == PUSHED).await;
    let counters = client.counters();
    assert_eq!(counters.replies, (TASKS * REQUESTS) as u64);
    assert_eq!(counters.late_replies, 0);
    assert_eq!(counters.timeouts, 0);
    assert_eq!(client.link(None).unwrap().pending(), 0);
    assert_eq!(client.link(None).unwrap().dropped(), 0);
}

async fn call<R: TestRuntime>(client: TcpClient<R>, task: usize) {
    for number in 0..REQUESTS {
        let content = format!("{task}/{number}");
        let uri = if number % 2 == 0 {
            "shared"
        } else {
            content.as_str()
        };
        let reply = client
            .request(uri)
            .content(&content)
            .timeout(Duration::from_secs(50))
            .await
            .unwrap();
        assert_eq!(reply.text(), content);
        assert_eq!(reply.uri_text(), uri);
    }
}

async fn push<R: TestRuntime>(link: Link<R>, room: Arc<Semaphore>) {
    for number in 0..PUSHED {
        for kind in [MessageType::NOTIFY_URI, MessageType::PUBLISH_URI] {
            room.acquire().await.unwrap().forget();
            let pushed = message(kind, "shared", number.to_string());
            link.send(pushed).await.unwrap();
        }
    }
}

async fn read<R: TestRuntime>(client: TcpClient<R>, room: Arc<Semaphore>) {
    for number in 0..PUSHED {
        let received = client.receive_once().await.unwrap();
        assert_eq!(received.message_type(), MessageType::PUBLISH_URI);
        assert_eq!(received.text(), number.to_string());
        room.add_permits(1);
    }
}

/// Between the time when a request is found to be late and the time when its
/// caller is told, the timeout handler runs, and others go on.
async fn a_request_that_times_out_never_takes_the_place_of_one_made_meanwhile<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    // From now on it is known that replies repeat the request's id.
    client.request("echo").await.unwrap();
    let made = Arc::new(std::sync::Mutex::new(None));
    let place = Arc::clone(&made);
    client.set_timeout_handler(move |event| {
        let mut request = event
            .node
            .request("echo")
            .content("meanwhile")
            .into_future();
        assert!(poll_once(&mut request).is_pending());
        *place.lock().unwrap() = Some(request);
    });
    let silence = client.request("silence").timeout(Duration::from_millis(50));
    let error = soon(&runtime, silence.into_future()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let meanwhile = made.lock().unwrap().take().expect("the handler has run");
    let reply = soon(&runtime, meanwhile).await.unwrap();
    assert_eq!(reply.content(), b"meanwhile");
    assert_eq!(link.pending(), 0);
}

async fn requests_that_time_out_and_are_dropped_disturb_no_others<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let late = Count::default();
    let told = late.clone();
    client.set_timeout_handler(move |_| {
        told.add();
    });
    let silent: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move {
                for number in 0..40 {
                    let span = Duration::from_millis(1 + number % 7);
                    let request = client.request("silence").timeout(span);
                    match request.await {
                        Err(RequestError::TimedOut(_)) => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let dropped: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            let pace = runtime.clone();
            spawn(&runtime, async move {
                for number in 0..200 {
                    let mut request = client.request("echo").into_future();
                    let _ = poll_once(&mut request);
                    if number % 3 == 0 {
                        spawn(&pace, async {}).join().await;
                    }
                }
            })
        })
        .collect();
    let callers: Vec<_> = (0..8)
        .map(|task| {
            let client = client.clone();
            spawn(&runtime, async move {
                for number in 0..500 {
                    let content = format!("{task}/{number}");
                    let request = client.request("echo").content(&content);
                    assert_eq!(request.await.unwrap().text(), content);
                }
            })
        })
        .collect();
    for task in silent.into_iter().chain(dropped).chain(callers) {
        task.join().await;
    }
    assert_eq!(late.get(), 320);
    assert_eq!(link.pending(), 0);
}
