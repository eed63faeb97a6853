//! Many tasks share one connection to a Python server, which repeats no request
//! ids: every reply must still find its request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::runtime::{CloseReason, Layers, Link, Message, MessageType};
use netaio_tests::python::{PyServer, environment};
use serde_json::json;
use tokio::task::JoinSet;

use super::ends::{
    Connected, INNER, LONG, OUTER, at_once, eventually, inner, outer, soon,
};

/// What one task asks for the `i`th time, and the answer to it. Every other
/// request is for the one URI `echo`.
async fn ask(link: &Link, inner: &Layers, task: usize, i: usize) {
    use MessageType as T;
    let tag = format!("{task}/{i}");
    let own = format!("own/{task}");
    let request = |uri: &str, content: &str| link.request(uri).content(content);
    let (request, kind, uri, content) = match (i % 2, i / 2 % 7) {
        (0, _) => (request("echo", &tag), T::RESPOND_URI, "echo", tag),
        (_, 0) => {
            let content = format!("0;{tag}");
            let reply = format!("slow {content}");
            (request("slow", &content), T::RESPOND_URI, "slow", reply)
        }
        (_, 1) => {
            let reply = format!("inner {tag}");
            let request = request("inner", &tag).layers(inner.clone());
            (request, T::RESPOND_URI, "inner", reply)
        }
        (_, 2) => {
            let length = (task * 31 + i) % 997;
            let reply = "s".repeat(length);
            (
                request("size", &length.to_string()),
                T::RESPOND_URI,
                "size",
                reply,
            )
        }
        (_, 3) => {
            let reply = "not found".to_owned();
            (request(&own, ""), T::NOT_FOUND, &*own, reply)
        }
        // Two types of request for one URI, which several tasks send.
        (_, 4) => {
            let update = request("shared", "x").message_type(T::UPDATE_URI);
            let update = update.layers(inner.clone());
            (update, T::OK, "shared", "stored".to_owned())
        }
        (_, 5) => {
            let reply = "x".to_owned();
            (request("shared", ""), T::RESPOND_URI, "shared", reply)
        }
        _ => {
            let reply = "an error for nobody".to_owned();
            (request("error-default-uri", ""), T::ERROR, "ERROR", reply)
        }
    };
    let reply = request.timeout(Duration::from_secs(300)).await;
    let reply = reply.unwrap_or_else(|error| panic!("{task}/{i}: {error}"));
    assert_eq!(reply.message_type(), kind, "{task}/{i}");
    assert_eq!((&*reply.uri_text(), &*reply.text()), (uri, &*content));
}

/// Has the server notify and broadcast in turn until it is told to stop; gives
/// how often it did each.
fn disturb(server: &PyServer, stop: &AtomicBool) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let content = count.to_string();
        for cmd in ["notify", "broadcast"] {
            let uri = "news";
            server.command(&json!({"cmd": cmd, "uri": uri, "content": content}));
        }
        count += 1;
    }
    count
}

/// Checks that what comes is what the server broadcasts, in order, to the end.
async fn receive_all(link: Link, count: Arc<AtomicUsize>) {
    loop {
        match link.receive_once().await {
            Ok(message) => {
                assert_eq!(message.message_type(), MessageType::PUBLISH_URI);
                let before = count.fetch_add(1, Ordering::SeqCst);
                assert_eq!(message.text(), before.to_string());
            }
            Err(reason) => {
                assert_eq!(reason, CloseReason::Local);
                return;
            }
        }
    }
}

async fn race(ends: Connected, inner: Layers, tasks: usize, requests: usize) {
    let Connected {
        server,
        client,
        link,
    } = ends;
    let notices = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&notices);
    client.on(MessageType::NOTIFY_URI, move |_| {
        let seen = Arc::clone(&seen);
        async move {
            tokio::task::yield_now().await;
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let subscribe = client.request("news");
    let subscribe = subscribe.message_type(MessageType::SUBSCRIBE_URI);
    at_once(subscribe).await.expect("a subscription");
    let create = client.create("shared", "x").layers(inner.clone());
    at_once(create.error_for_status()).await.expect("is stored");

    let broadcasts = Arc::new(AtomicUsize::new(0));
    let receiver = tokio::spawn(receive_all(link.clone(), Arc::clone(&broadcasts)));
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let disturber = tokio::task::spawn_blocking(move || {
        let count = disturb(&server, &told);
        (server, count)
    });

    let start = Instant::now();
    let mut all = JoinSet::new();
    for task in 0..tasks {
        let (link, inner) = (link.clone(), inner.clone());
        all.spawn(async move {
            for i in 0..requests {
                ask(&link, &inner, task, i).await;
            }
        });
    }
    all.join_all().await;
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (server, count) = soon(disturber).await.unwrap();
    println!("{tasks} tasks x {requests} requests in {took:?}, {count} notices");

    assert!(count > 0);
    let counts = [notices, broadcasts];
    let came = || counts.iter().all(|c| c.load(Ordering::SeqCst) == count);
    eventually("what the server sent has come", came).await;
    let counters = link.counters();
    assert_eq!((counters.late_replies, counters.timeouts), (0, 0));
    assert_eq!((link.pending(), link.dropped()), (0, 0));
    eventually("all handlers have ended", || link.in_flight() == 0).await;
    soon(client.close()).await;
    soon(receiver).await.unwrap();
    assert!(server.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_belongs_to_its_request() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &["--quiet"]).await;
    race(ends, Layers::new(), 64, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_belongs_to_its_request_under_two_layers() {
    let Some(python) = environment() else { return };
    let args = [&OUTER[..], &INNER, &["--quiet"]].concat();
    let ends = Connected::with(python, &args, |c| c.layers(outer())).await;
    race(ends, inner(), 64, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_given_up_do_not_shift_the_replies_of_others() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &["--quiet"]).await;
    let mut all = JoinSet::new();
    for task in 0..32 {
        let link = ends.link.clone();
        all.spawn(async move {
            for i in 0..100 {
                let tag = format!("{task}/{i}");
                let uri = ["echo", "slow"][i % 2];
                let content = ["", "0;"][i % 2].to_owned() + &tag;
                let request = link.request(uri).content(&content).timeout(LONG);
                if (task + i) % 5 == 0 {
                    give_up(request.into_future()).await;
                    continue;
                }
                let reply = request.await.expect("a reply");
                let prefix = ["", "slow "][i % 2].to_owned();
                assert_eq!(reply.text(), prefix + &content);
            }
        });
    }
    soon(all.join_all()).await;
    assert_eq!(ends.link.pending(), 0);
    ends.end().await;
}

/// Sends a request, lets others run, and drops it.
async fn give_up<F, E>(mut request: F)
where
    F: Future<Output = Result<Message, E>> + Unpin,
{
    let poll = std::pin::Pin::new(&mut request);
    // Whether the reply is there by now makes no difference.
    let _ = futures_util::poll!(poll);
    tokio::task::yield_now().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_fits_the_queues_goes_both_ways_at_once() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &["--quiet"]).await;
    let mut all = JoinSet::new();
    // 15 MB, of which 8 MiB may wait to be written.
    for task in 0..256_usize {
        let link = ends.link.clone();
        all.spawn(async move {
            let content = vec![task as u8; 60_000];
            let request = link.request("echo").content(&content).timeout(LONG);
            assert_eq!(request.await.expect("a reply").content(), content);
        });
    }
    soon(all.join_all()).await;
    ends.end().await;
}
