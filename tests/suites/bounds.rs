//! What is bounded, and what happens at each bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netaio_driver::{
    CloseReason, Incoming, Keepalive, Limits, MessageType, RequestError, SendError,
    TcpServer,
};

use crate::ends::{
    self, client_builder, connected, event, limits, listen, message, only_link,
    reason,
};
use crate::raw_peer::{RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, LONG, eventually, off_thread, sleep, soon, spawn, within,
};

on_every_runtime![
    a_header_that_never_completes_ends_its_connection,
    a_frame_that_never_completes_ends_its_connection,
    a_connection_that_never_says_anything_is_ended,
    an_idle_connection_is_ended,
    a_connection_whose_handlers_have_used_up_their_share_is_ended_in_time,
    a_connection_whose_handlers_hold_up_the_next_request_is_ended_in_time,
    r16_a_peer_that_never_reads_is_no_longer_read_from,
    r06_a_peer_that_never_reads_is_given_up,
    no_more_connections_are_served_than_may_be,
    no_more_connections_are_served_from_one_address_than_may_be,
    r06_a_server_that_gives_no_sign_of_life_is_found,
    clients_and_servers_give_each_other_signs_of_life,
    no_more_requests_are_in_flight_than_may_be,
    no_more_handlers_of_answers_run_than_may,
    the_oldest_unread_messages_are_dropped_and_counted,
    no_more_requests_are_pending_than_may_be,
    sending_waits_for_room_and_goes_on,
    requests_wait_for_room_and_go_on,
    r16_what_is_not_answered_is_not_kept_while_much_waits_to_be_written,
    both_ends_may_say_much_at_once,
];

const SHORT: Duration = Duration::from_millis(150);

fn server_within<R: TestRuntime>(
    runtime: &R,
    change: impl FnOnce(&mut Limits),
) -> TcpServer<R> {
    let builder = TcpServer::builder_on(runtime.clone()).limits(limits(change));
    ends::with_echo(builder.build())
}

/// How a server ends a connection on which these bytes come, and no more.
async fn stalled<R: TestRuntime>(
    runtime: &R,
    server: TcpServer<R>,
    bytes: Vec<u8>,
) -> CloseReason {
    let address = listen(&server).await;
    let mut events = server.events();
    off_thread(move || {
        let mut peer = RawPeer::connect(address);
        peer.write(&bytes);
        peer.wait_for_end();
    })
    .await;
    // Honest clients are not concerned.
    let (client, _) = connected(runtime, address).await;
    assert!(client.request("echo").await.is_ok());
    event(runtime, &mut events, reason).await
}

fn frame() -> Vec<u8> {
    message(MessageType::REQUEST_URI, "echo", "hello")
        .encode()
        .expect("a frame")
}

async fn a_header_that_never_completes_ends_its_connection<R: TestRuntime>(
    runtime: R,
) {
    for bytes in [
        frame()[..3].to_vec(),
        [&frame()[..], &frame()[..8]].concat(),
    ] {
        let server = server_within(&runtime, |limits| {
            limits.header_timeout = Some(SHORT);
        });
        let reason = stalled(&runtime, server, bytes).await;
        assert_eq!(reason, CloseReason::HeaderTimeout);
    }
}

async fn a_frame_that_never_completes_ends_its_connection<R: TestRuntime>(
    runtime: R,
) {
    let server = server_within(&runtime, |limits| {
        limits.frame_timeout = Some(SHORT);
    });
    let frame = frame();
    let bytes = frame[..frame.len() - 1].to_vec();
    let reason = stalled(&runtime, server, bytes).await;
    assert_eq!(reason, CloseReason::FrameTimeout);
}

async fn a_connection_that_never_says_anything_is_ended<R: TestRuntime>(runtime: R) {
    let server = server_within(&runtime, |limits| {
        limits.header_timeout = Some(SHORT);
    });
    let reason = stalled(&runtime, server, Vec::new()).await;
    assert_eq!(reason, CloseReason::HeaderTimeout);
}

async fn an_idle_connection_is_ended<R: TestRuntime>(runtime: R) {
    let server = server_within(&runtime, |limits| {
        limits.idle_timeout = Some(SHORT);
    });
    let reason = stalled(&runtime, server, frame()).await;
    assert_eq!(reason, CloseReason::Idle);
}

/// A server that answers `large` with as much as fits.
fn generous<R: TestRuntime>(
    runtime: &R,
    change: impl FnOnce(&mut Limits),
) -> TcpServer<R> {
    let server = server_within(runtime, change);
    server.on((MessageType::REQUEST_URI, "large"), |m: Incoming<R>| {
        m.respond([7; 60_000])
    });
    server
}

async fn r16_a_peer_that_never_reads_is_no_longer_read_from<R: TestRuntime>(
    runtime: R,
) {
    const MOST: usize = 200_000;
    let server = generous(&runtime, |_| ());
    let address = listen(&server).await;
    let request = message(MessageType::REQUEST_URI, "large", [0; 1_000]);
    let request = request.encode().unwrap();
    let (mut peer, whole, rest) = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        let (whole, rest) = peer.flood(&request, MOST);
        (peer, whole, request[request.len() - rest..].to_vec())
    })
    .await;
    assert!(whole < MOST, "the server reads without end");
    let link = only_link(&runtime, &server).await;
    let comes_to_rest = async {
        loop {
            let before = link.counters();
            sleep(&runtime, SHORT).await;
            let after = link.counters();
            if after == before {
                return after;
            }
        }
    };
    let after = soon(&runtime, comes_to_rest).await;
    // What waits in the server is bounded: by the mark, and the reply that
    // reached it. No handler was called for what is beyond.
    let made = after.frames_out * 60_020;
    let most = 256 * 1024 + 60_020;
    assert!(made - after.bytes_out <= most, "{after:?}");
    assert!(link.in_flight() <= 256);
    assert!(after.dispatched < whole as u64);
    // Once it reads, all goes on where it had stopped.
    let replies = off_thread(move || {
        let mut replies = 0;
        let mut rest = Some(rest);
        while replies
            < whole + usize::from(rest.as_ref().is_none_or(|r| !r.is_empty()))
        {
            let reply = peer.receive().expect("a reply");
            assert_eq!(reply.content().len(), 60_000);
            replies += 1;
            if replies == whole / 2
                && let Some(rest) = rest.take_if(|rest| !rest.is_empty())
            {
                peer.write(&rest);
            }
        }
        replies
    });
    let replies = soon(&runtime, replies).await;
    assert!(replies >= whole);
}

/// What tokio's tasks may do at a time is bounded, and its timers take part in
/// that.
async fn a_connection_whose_handlers_have_used_up_their_share_is_ended_in_time<
    R: TestRuntime,
>(
    runtime: R,
) {
    let ended = ends_with_busy_handlers(&runtime, |limits| {
        limits.idle_timeout = Some(SHORT);
    });
    assert_eq!(ended.await, CloseReason::Idle);
}

async fn a_connection_whose_handlers_hold_up_the_next_request_is_ended_in_time<
    R: TestRuntime,
>(
    runtime: R,
) {
    let ended = ends_with_busy_handlers(&runtime, |limits| {
        limits.held_up_timeout = Some(SHORT);
    });
    assert_eq!(ended.await, CloseReason::HeldUp);
}

/// How a server ends a connection by which more comes than may be in flight, and
/// no handler is ever done but one.
async fn ends_with_busy_handlers<R: TestRuntime>(
    runtime: &R,
    change: impl FnOnce(&mut Limits),
) -> CloseReason {
    let server = server_within(runtime, change);
    let mutex = Arc::new(tokio::sync::Mutex::new(()));
    server.on(MessageType::REQUEST_URI, move |m: Incoming<R>| {
        let mutex = Arc::clone(&mutex);
        async move {
            let held = mutex.lock().await;
            std::mem::forget(held);
            m.ok("")
        }
    });
    let address = listen(&server).await;
    let mut events = server.events();
    // In this thread, so that all of it is there before the server looks.
    let mut peer = RawPeer::connect(address);
    let question = message(MessageType::REQUEST_URI, "a", "");
    let question = question.encode().expect("it is short");
    peer.write(&question.repeat(300));
    event(runtime, &mut events, reason).await
}

async fn r06_a_peer_that_never_reads_is_given_up<R: TestRuntime>(runtime: R) {
    let server = generous(&runtime, |limits| limits.write_timeout = Some(SHORT));
    let address = listen(&server).await;
    let mut events = server.events();
    let peer = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        for _ in 0..200 {
            peer.request("large", "");
        }
        peer
    })
    .await;
    let reason = event(&runtime, &mut events, reason).await;
    assert_eq!(reason, CloseReason::WriteStalled);
    drop(peer);
}

async fn no_more_connections_are_served_than_may_be<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone())
        .limits(Limits {
            max_connections: 3,
            ..Limits::default()
        })
        .build();
    let server = ends::with_echo(server);
    let address = listen(&server).await;
    let mut served = Vec::new();
    for _ in 0..3 {
        let (client, link) = connected(&runtime, address).await;
        assert!(client.request("echo").await.is_ok());
        served.push((client, link));
    }
    // The system accepts it, the server does not.
    let (fourth, _) = connected(&runtime, address).await;
    let mut waiting = Box::pin(fourth.request("echo").timeout(LONG).into_future());
    assert!(within(&runtime, SHORT, &mut waiting).await.is_none());
    assert_eq!(server.links().len(), 3);
    drop(served.pop());
    assert!(soon(&runtime, waiting).await.is_ok());
    assert_eq!(server.links().len(), 3);
}

async fn no_more_connections_are_served_from_one_address_than_may_be<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = server_within(&runtime, |limits| {
        limits.max_connections_per_address = 2;
    });
    let address = listen(&server).await;
    let mut served = Vec::new();
    for _ in 0..2 {
        let (client, link) = connected(&runtime, address).await;
        assert!(client.request("echo").await.is_ok());
        served.push((client, link));
    }
    for refused in 1..=3 {
        let (_client, link) = connected(&runtime, address).await;
        soon(&runtime, link.closed()).await;
        eventually(&runtime, "it is refused", || {
            server.counters().refused == refused
        })
        .await;
        assert_eq!(link.counters().bytes_in, 0);
    }
    assert_eq!(server.links().len(), 2);
    drop(served.pop());
    eventually(&runtime, "there is room", || server.links().len() == 1).await;
    let (client, _) = connected(&runtime, address).await;
    assert!(client.request("echo").await.is_ok());
}

async fn r06_a_server_that_gives_no_sign_of_life_is_found<R: TestRuntime>(
    runtime: R,
) {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    let client = client_builder(&runtime, address)
        .keepalive(Keepalive::new(SHORT))
        .build();
    let link = client.connect().await.expect("a connection");
    let peer = off_thread(move || RawPeer::accept(&listener)).await;
    let start = Instant::now();
    let reason = soon(&runtime, link.closed()).await;
    assert_eq!(reason, CloseReason::KeepaliveTimeout);
    assert!(start.elapsed() >= SHORT * 2, "{:?}", start.elapsed());
    assert_eq!(link.counters().probes, 1);
    drop(peer);
}

async fn clients_and_servers_give_each_other_signs_of_life<R: TestRuntime>(
    runtime: R,
) {
    let often = Keepalive::new(SHORT / 10).misses(100);
    let builder = TcpServer::builder_on(runtime.clone()).keepalive(often);
    let server = ends::with_echo(builder.build());
    let address = listen(&server).await;
    let client = client_builder(&runtime, address).keepalive(often).build();
    let link = client.connect().await.expect("a connection");
    assert!(client.request("echo").await.is_ok());
    let accepted = only_link(&runtime, &server).await;
    // Whoever hears the other's question need not ask by itself.
    eventually(&runtime, "they ask", || {
        link.counters().probes + accepted.counters().probes >= 5
    })
    .await;
    assert!(!link.is_closed() && !accepted.is_closed());
    for end in [&link, &accepted] {
        assert_eq!(end.pending(), 0);
        assert_eq!(end.counters().unrouted, 0, "nobody is bothered with it");
        assert_eq!(end.dropped(), 0);
    }
}

async fn no_more_requests_are_in_flight_than_may_be<R: TestRuntime>(runtime: R) {
    let server = server_within(&runtime, |limits| limits.max_in_flight = 5);
    let (running, most) = (Count::default(), Count::default());
    let (go_on, wait) = tokio::sync::watch::channel(());
    let inside = (running.clone(), most.clone());
    server.on((MessageType::REQUEST_URI, "slow"), move |m: Incoming<R>| {
        let (running, most) = inside.clone();
        let mut wait = wait.clone();
        wait.mark_unchanged();
        async move {
            running.add();
            if running.get() > 5 + most.get() {
                panic!("too many at a time");
            }
            wait.changed().await.unwrap();
            most.add();
            ends::echo(m)
        }
    });
    let (client, _) = connected(&runtime, listen(&server).await).await;
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move { client.request("slow").await })
        })
        .collect();
    for round in 1..=4 {
        eventually(&runtime, "five run", || running.get() == 5 * round).await;
        sleep(&runtime, Duration::from_millis(20)).await;
        assert_eq!(running.get(), 5 * round);
        go_on.send(()).unwrap();
    }
    for request in requests {
        let reply = soon(&runtime, request.join()).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
    }
}

async fn no_more_handlers_of_answers_run_than_may<R: TestRuntime>(runtime: R) {
    const MOST: usize = 8;
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let few = limits(|limits| limits.max_in_flight = MOST);
    let client = client_builder(&runtime, address).limits(few).build();
    let started = Count::default();
    let count = started.clone();
    client.on(MessageType::OK, move |_| {
        count.add();
        std::future::pending::<()>()
    });
    let link = client.connect().await.expect("a connection");
    let from_server = only_link(&runtime, &server).await;
    for _ in 0..MOST + 5 {
        let answer = message(MessageType::OK, "unasked", "");
        from_server.send(answer).await.expect("room");
    }
    eventually(&runtime, "the rest is dropped", || link.dropped() == 5).await;
    assert_eq!(started.get(), MOST);
    assert!(client.request("echo").await.is_ok());
}

async fn the_oldest_unread_messages_are_dropped_and_counted<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, link) = ends::pair(&runtime).await;
    let accepted = only_link(&runtime, &server).await;
    for number in 0..1_100 {
        let pushed = message(MessageType::NOTIFY_URI, "news", number.to_string());
        accepted.send(pushed).await.unwrap();
    }
    eventually(&runtime, "all has come", || {
        link.counters().unrouted == 1_100
    })
    .await;
    assert_eq!(link.dropped(), 76);
    for number in 76..1_100 {
        let kept = soon(&runtime, client.receive_once()).await.unwrap();
        assert_eq!(kept.text(), number.to_string());
    }
    let none = within(&runtime, SHORT / 5, client.receive_once()).await;
    assert!(none.is_none());
    // Giving up a wait loses nothing.
    accepted
        .send(message(MessageType::NOTIFY_URI, "news", "last"))
        .await
        .unwrap();
    let last = soon(&runtime, client.receive_once()).await.unwrap();
    assert_eq!(last.text(), "last");
    assert_eq!(link.dropped(), 76);
    // What was kept outlives the connection.
    accepted
        .send(message(MessageType::NOTIFY_URI, "news", "kept"))
        .await
        .unwrap();
    accepted.close_within(Duration::from_secs(1)).await;
    soon(&runtime, link.closed()).await;
    let kept = soon(&runtime, client.receive_once()).await.unwrap();
    assert_eq!(kept.text(), "kept");
    assert!(soon(&runtime, client.receive_once()).await.is_err());
}

async fn no_more_requests_are_pending_than_may_be<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .limits(limits(|limits| limits.max_pending = 3))
        .build();
    let link = client.connect().await.unwrap();
    // It is known from now on that replies repeat the request's id.
    assert!(client.request("echo").await.is_ok());
    let silence = |_| client.request("silence").into_future();
    let mut pending: Vec<_> = (0..3).map(silence).collect();
    for pending in &mut pending {
        assert!(within(&runtime, Duration::ZERO, pending).await.is_none());
    }
    assert_eq!(link.pending(), 3);
    let error = client.request("echo").await.unwrap_err();
    let expected = SendError::TooManyPending { limit: 3 };
    assert_eq!(error, RequestError::NotSent(expected));
    drop(pending.pop());
    assert!(client.request("echo").await.is_ok());
    assert_eq!(link.pending(), 2);
}

async fn sending_waits_for_room_and_goes_on<R: TestRuntime>(runtime: R) {
    const MESSAGES: usize = 3_000;
    let (server, count) = (ends::server(&runtime), Count::default());
    let counted = count.clone();
    server.on(MessageType::PUBLISH_URI, move |_| {
        counted.add();
    });
    let client = client_builder(&runtime, listen(&server).await)
        // One message is too much already.
        .limits(limits(|limits| limits.max_outgoing = 1))
        .build();
    let link = client.connect().await.unwrap();
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let link = link.clone();
            spawn(&runtime, async move {
                for _ in 0..MESSAGES {
                    let sent = message(MessageType::PUBLISH_URI, "any", [7; 500]);
                    link.send(sent).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        soon(&runtime, sender.join()).await;
    }
    eventually(&runtime, "all has come", || count.get() == 3 * MESSAGES).await;

    // A peer that does not read: the sender waits, in any order of things.
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let client = client_builder(&runtime, address)
        .limits(limits(|limits| limits.max_outgoing = 100_000))
        .build();
    let link = client.connect().await.unwrap();
    let large = || message(MessageType::PUBLISH_URI, "any", [7; 60_000]);
    let mut sent = 0;
    while within(&runtime, SHORT, link.send(large())).await.is_some() {
        sent += 1;
        assert!(sent < 10_000, "there is room without end");
    }
    let waiting = link.clone();
    let waiting = spawn(&runtime, async move { waiting.send(large()).await });
    let received = off_thread(move || {
        let mut peer = RawPeer::accept(&listener);
        for _ in 0..=sent {
            peer.receive().expect("a message");
        }
    });
    soon(&runtime, received).await;
    soon(&runtime, waiting.join()).await.unwrap();
}

async fn requests_wait_for_room_and_go_on<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let client = client_builder(&runtime, listen(&server).await)
        .limits(limits(|limits| limits.max_outgoing = 1))
        .build();
    let link = client.connect().await.unwrap();
    let callers: Vec<_> = (0..16)
        .map(|task| {
            let client = client.clone();
            spawn(&runtime, async move {
                for number in 0..200 {
                    let content = format!("{task}/{number}");
                    let request = client.request("echo").content(&content);
                    let reply = request.timeout(LONG).await.unwrap();
                    assert_eq!(reply.text(), content);
                }
            })
        })
        .collect();
    for caller in callers {
        soon(&runtime, caller.join()).await;
    }
    assert_eq!(link.pending(), 0);
}

async fn r16_what_is_not_answered_is_not_kept_while_much_waits_to_be_written<
    R: TestRuntime,
>(
    runtime: R,
) {
    const FRAMES: usize = 500;
    let server = ends::server(&runtime);
    server.on((MessageType::REQUEST_URI, "big"), |m: Incoming<R>| {
        m.respond([0; 60_000])
    });
    let handled = Count::default();
    let count = handled.clone();
    server.on(MessageType::RESPOND_URI, move |_: Incoming<R>| count.add());
    let address = listen(&server).await;
    let mut peer = off_thread(move || RawPeer::connect(address)).await;
    let link = only_link(&runtime, &server).await;
    // It reads nothing, until as much waits for it as may.
    let mut asked = 0;
    while link.queued() < 256 * 1024 {
        peer.request("big", "");
        asked += 1;
        let dispatched = || link.counters().dispatched == asked;
        eventually(&runtime, "it is answered", dispatched).await;
    }
    let answer = message(MessageType::RESPOND_URI, "x", [1; 1_000]);
    let answer = answer.encode().unwrap();
    let flood = move || (peer.flood(&answer, FRAMES).0, peer);
    let (whole, _peer) = off_thread(flood).await;
    assert_eq!(whole, FRAMES, "they are read");
    eventually(&runtime, "all are handled", || handled.get() == FRAMES).await;
    assert!(link.queued() >= 256 * 1024);
}

/// Only answers hold up requests: what both ends have to say themselves does not
/// keep either from reading.
async fn both_ends_may_say_much_at_once<R: TestRuntime>(runtime: R) {
    const SENT: usize = 300;
    const ASKED: usize = 100;
    let (server, client, link) = ends::pair(&runtime).await;
    let counts = [Count::default(), Count::default()];
    let [at_server, at_client] = counts.clone();
    server.on(MessageType::NOTIFY_URI, move |_| at_server.add());
    client.on(MessageType::NOTIFY_URI, move |_| at_client.add());
    client.on(MessageType::REQUEST_URI, |asked| asked.respond("fine"));
    server.on(MessageType::REQUEST_URI, |asked| asked.respond("fine"));
    let accepted = only_link(&runtime, &server).await;
    let told = [link, accepted].map(|link| async move {
        let asked = (0..ASKED).map(|_| {
            let request = link.request("any").content([7; 60_000]);
            request.timeout(LONG).start()
        });
        let asked: Vec<_> = asked.collect();
        for _ in 0..SENT {
            let notice = message(MessageType::NOTIFY_URI, "any", [7; 60_000]);
            link.send(notice).await.unwrap();
        }
        for reply in asked {
            assert_eq!(reply.await.unwrap().text(), "fine");
        }
    });
    soon(&runtime, futures_util::future::join_all(told)).await;
    let all = || counts.iter().all(|count| count.get() == SENT);
    eventually(&runtime, "all has come", all).await;
}
