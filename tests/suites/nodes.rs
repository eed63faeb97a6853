//! UDP nodes: they ask and answer each other, and nothing that is sent to one
//! stops it.

use std::future::IntoFuture as _;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use netaio_driver::{
    Correlation, HmacAuthPlugin, IncomingDatagram, Layers, Message, MessageType,
    NodeBuilder, Peer, PeerEvent, RequestError, SendError, Sha256StreamCipherPlugin,
    UdpNode,
};

use crate::ends::{limits, message};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, eventually, sleep, soon, spawn, within};

on_every_runtime![
    nodes_ask_each_other_in_both_directions,
    every_kind_of_request_has_its_answer_in_two_layers,
    a_slow_handler_holds_up_no_other_request,
    requests_at_the_same_time_get_their_own_answers,
    a_request_that_is_not_answered_ends_and_the_handler_is_told,
    a_timeout_handler_that_runs_on_can_be_cancelled,
    a_datagram_that_would_be_too_long_is_an_error_before_anything_is_sent,
    whatever_is_sent_to_a_node_does_not_stop_it,
    a_handler_that_panics_is_answered_with_an_error,
    handlers_of_one_message_and_of_all_others,
    two_default_nodes_do_not_keep_answering_each_other,
    a_message_goes_to_every_peer_and_to_every_subscriber,
    publishing_through_a_node_reaches_its_subscribers,
    a_request_that_is_dropped_leaves_nothing_behind,
    a_node_that_stops_fails_its_requests_and_frees_its_port,
    a_node_that_has_stopped_holds_neither_its_port_nor_its_handlers,
    a_node_whose_last_handle_is_dropped_stops,
    a_node_is_started_once_and_says_why_it_cannot_be,
    what_a_node_sends_to_itself_is_not_taken_in,
    a_node_of_ipv6_talks_to_one_of_ipv4,
];

/// A node on a free port of the loopback interface.
fn builder<R: TestRuntime>(runtime: &R) -> NodeBuilder<R> {
    UdpNode::builder_on(runtime.clone())
        .interface([127, 0, 0, 1])
        .port(0)
}

/// A node on an address that no other scenario uses, whose port is therefore
/// free once this node has gone.
fn apart<R: TestRuntime>(runtime: &R) -> NodeBuilder<R> {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    builder(runtime).interface([127, 0, 0, last])
}

/// A node that echoes at `echo` and is silent at `silence`.
async fn started<R: TestRuntime>(
    builder: NodeBuilder<R>,
) -> (UdpNode<R>, SocketAddr) {
    let node = builder.build();
    node.on(
        (MessageType::REQUEST_URI, "echo"),
        |m: IncomingDatagram<R>| m.respond(m.content()),
    );
    node.on((MessageType::REQUEST_URI, "silence"), |_| ());
    let address = node.start().await.expect("a free port");
    (node, address)
}

async fn nodes_ask_each_other_in_both_directions<R: TestRuntime>(runtime: R) {
    let (one, here) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    for (node, to) in [(&one, there), (&two, here)] {
        for length in [0, 1, 1_000, 60_000] {
            let content = vec![7; length];
            let reply = node.request("echo", to).content(&content).await;
            assert_eq!(reply.expect("a reply").content(), content);
        }
    }
    let missing = one.request("nowhere", there).await.expect("an answer");
    assert_eq!(missing.message_type(), MessageType::NOT_FOUND);
    let counters = one.counters();
    assert_eq!((counters.requests, counters.replies), (5, 5));
    assert_eq!((one.pending(), one.in_flight()), (0, 0));
}

async fn every_kind_of_request_has_its_answer_in_two_layers<R: TestRuntime>(
    runtime: R,
) {
    let outer = || {
        builder(&runtime)
            .auth(HmacAuthPlugin::new("outer"))
            .cipher(Sha256StreamCipherPlugin::new("outer"))
    };
    let inner = Layers::new()
        .auth(HmacAuthPlugin::new("inner").hmac_field("hmac2"))
        .cipher(
            Sha256StreamCipherPlugin::new("inner")
                .iv_field("iv2")
                .encrypt_uri(false),
        );
    let (one, _) = started(outer()).await;
    let (two, there) = started(outer()).await;
    for kind in [
        MessageType::REQUEST_URI,
        MessageType::CREATE_URI,
        MessageType::UPDATE_URI,
        MessageType::DELETE_URI,
    ] {
        two.on_with((kind, "guarded"), inner.clone(), move |m| {
            m.ok(format!("{kind} {}", m.text()))
        });
    }
    let guarded = [
        one.request("guarded", there).content("it"),
        one.create("guarded", "it", there),
        one.update("guarded", "it", there),
        one.delete("guarded", there).content("it"),
    ];
    let kinds = ["REQUEST_URI", "CREATE_URI", "UPDATE_URI", "DELETE_URI"];
    for (request, kind) in guarded.into_iter().zip(kinds) {
        let reply = request.layers(inner.clone()).await.expect("a reply");
        assert_eq!(reply.text(), format!("{kind} it"));
    }
    let refused = one.create("guarded", "it", there).await;
    assert!(
        matches!(refused, Err(RequestError::Unauthorized { .. })),
        "{refused:?}"
    );
}

async fn a_slow_handler_holds_up_no_other_request<R: TestRuntime>(runtime: R) {
    let (one, _) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    let clock = runtime.clone();
    let slow = move |m: IncomingDatagram<R>| {
        let clock = clock.clone();
        async move {
            sleep(&clock, Duration::from_millis(300)).await;
            m.respond("at last")
        }
    };
    two.on((MessageType::REQUEST_URI, "slow"), slow);
    let slow = one.clone();
    let slow = spawn(&runtime, async move { slow.request("slow", there).await });
    eventually(&runtime, "the slow one runs", || two.in_flight() == 1).await;
    let quick = one.request("echo", there).content("quick").await;
    assert_eq!(quick.expect("a reply").content(), b"quick");
    assert_eq!(two.in_flight(), 1, "the slow one still runs");
    let slow = soon(&runtime, slow.join()).await;
    assert_eq!(slow.expect("a reply").content(), b"at last");
}

async fn requests_at_the_same_time_get_their_own_answers<R: TestRuntime>(
    runtime: R,
) {
    let (one, _) = started(builder(&runtime)).await;
    let (_two, there) = started(builder(&runtime)).await;
    let (_three, elsewhere) = started(builder(&runtime)).await;
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let node = one.clone();
            spawn(&runtime, async move {
                for n in 0..20 {
                    let to = if n % 2 == 0 { there } else { elsewhere };
                    let content = format!("{task}.{n}");
                    let reply = node.request("echo", to).content(&content).await;
                    assert_eq!(reply.expect("a reply").text(), content);
                }
            })
        })
        .collect();
    for task in tasks {
        soon(&runtime, task.join()).await;
    }
    assert_eq!(one.counters().late_replies, 0);
    assert_eq!(one.pending(), 0);
}

async fn a_request_that_is_not_answered_ends_and_the_handler_is_told<
    R: TestRuntime,
>(
    runtime: R,
) {
    let told = Count::default();
    let teller = told.clone();
    let one = builder(&runtime).timeout_handler(move |event| {
        let node: UdpNode<R> = event.node;
        assert_eq!(node.pending(), 0);
        let context = event.context.expect("a request");
        assert_eq!(context.uri[..], b"silence"[..]);
        assert_eq!(event.server.to_string(), context.server.to_string());
        teller.add();
    });
    let (one, _) = started(one).await;
    let (_two, there) = started(builder(&runtime)).await;
    let patience = Duration::from_millis(30);
    let silence = one.request("silence", there).timeout(patience).await;
    match silence {
        Err(RequestError::TimedOut(context)) => {
            assert_eq!((context.server, context.timeout), (there, patience));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(told.get(), 1);
    assert_eq!(one.counters().timeouts, 1);
    let reply = one.request("echo", there).content("on").await;
    assert_eq!(reply.expect("a reply").content(), b"on");
}

async fn a_timeout_handler_that_runs_on_can_be_cancelled<R: TestRuntime>(
    runtime: R,
) {
    let (one, _) = started(builder(&runtime)).await;
    let (_two, there) = started(builder(&runtime)).await;
    one.set_timeout_handler(|_| std::future::pending::<()>());
    let silence = one
        .request("silence", there)
        .timeout(Duration::from_millis(10));
    assert!(silence.await.is_err());
    assert_eq!(one.timeout_handler_tasks(), 1);
    soon(&runtime, one.cancel_timeout_handler_tasks()).await;
    assert_eq!(one.timeout_handler_tasks(), 0);
}

async fn a_datagram_that_would_be_too_long_is_an_error_before_anything_is_sent<
    R: TestRuntime,
>(
    runtime: R,
) {
    let bounds = limits(|limits| limits.max_datagram = 1_000);
    let (one, _) = started(builder(&runtime).limits(bounds)).await;
    let (two, there) = started(builder(&runtime)).await;
    let long = || message(MessageType::NOTIFY_URI, "uri", vec![0; 1_000]);
    one.add_peer(Peer::new("two", "data"), there).unwrap();
    one.subscribe("key", there).unwrap();
    let outcomes = [
        one.send(long(), there).await,
        one.broadcast(long()).await.map(drop),
        one.notify("key", long()).await.map(drop),
        one.multicast(long()).await,
    ];
    for outcome in outcomes {
        assert!(
            matches!(outcome, Err(SendError::TooLongForDatagram(_))),
            "{outcome:?}"
        );
    }
    let request = one.request("echo", there).content(vec![0; 1_000]).await;
    assert!(
        matches!(
            request,
            Err(RequestError::NotSent(SendError::TooLongForDatagram(_)))
        ),
        "{request:?}"
    );
    assert_eq!(one.pending(), 0);
    assert_eq!(
        (one.counters().frames_out, two.counters().frames_in),
        (0, 0)
    );
}

async fn whatever_is_sent_to_a_node_does_not_stop_it<R: TestRuntime>(runtime: R) {
    let (one, _) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    let raw = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let good = message(MessageType::REQUEST_URI, "echo", "good")
        .encode()
        .unwrap();
    for n in 0..300_usize {
        let mut bytes = good.clone();
        match n % 4 {
            0 => bytes.truncate(n % good.len()),
            1 => bytes[n % good.len()] ^= 1 << (n % 8),
            2 => bytes = vec![n as u8; n * 7],
            _ => bytes.extend_from_slice(&good),
        }
        raw.send_to(&bytes, there).expect("room to send");
        if n % 50 == 0 {
            let reply = one.request("echo", there).content("still there").await;
            assert_eq!(reply.expect("a reply").content(), b"still there");
        }
    }
    let reply = one.request("echo", there).content("still there").await;
    assert_eq!(reply.expect("a reply").content(), b"still there");
    assert!(two.counters().rejected > 0);
}

async fn a_handler_that_panics_is_answered_with_an_error<R: TestRuntime>(
    runtime: R,
) {
    let (one, _) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    two.on((MessageType::REQUEST_URI, "fails"), |_| {
        crate::waiting::fail();
    });
    two.on((MessageType::REQUEST_URI, "refuses"), |_| {
        Err::<(), _>("not today")
    });
    // Longer than what the endpoint says by itself, which is never more than
    // came from a source that may be anybody.
    let content = "a content that is longer than the text of the error";
    let fails = one.request("fails", there).content(content).await.unwrap();
    assert_eq!(fails.message_type(), MessageType::ERROR);
    let refuses = one
        .request("refuses", there)
        .content(content)
        .await
        .unwrap();
    assert_eq!(refuses.text(), "not today");
    let short = one.request("refuses", there).await.unwrap();
    assert_eq!(
        (short.message_type(), short.content()),
        (MessageType::ERROR, &b""[..])
    );
    assert!(one.request("echo", there).await.is_ok());
}

async fn handlers_of_one_message_and_of_all_others<R: TestRuntime>(runtime: R) {
    let (one, _) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    two.set_default_handler(|m| m.respond("anything"));
    two.once((MessageType::REQUEST_URI, "once"), |m| m.respond("once"));
    let texts = async |uri: &str| {
        let reply = one.request(uri, there).await.expect("a reply");
        reply.text().into_owned()
    };
    assert_eq!(texts("once").await, "once");
    assert_eq!(texts("once").await, "anything");
    assert!(two.remove((MessageType::REQUEST_URI, "echo")));
    assert_eq!(texts("echo").await, "anything");
}

async fn two_default_nodes_do_not_keep_answering_each_other<R: TestRuntime>(
    runtime: R,
) {
    let (one, here) = started(builder(&runtime)).await;
    let (two, there) = started(builder(&runtime)).await;
    for kind in [MessageType::PUBLISH_URI, MessageType::NOT_FOUND] {
        one.send(message(kind, "unknown", ""), there).await.unwrap();
    }
    two.send(message(MessageType::OK, "unknown", ""), here)
        .await
        .unwrap();
    eventually(&runtime, "all have come", || {
        two.counters().unrouted == 2 && one.counters().unrouted == 2
    })
    .await;
    sleep(&runtime, Duration::from_millis(50)).await;
    assert_eq!(two.counters().frames_out, 2, "one answer, one of its own");
    assert_eq!(one.counters().frames_out, 2, "nothing but its own");
}

async fn a_message_goes_to_every_peer_and_to_every_subscriber<R: TestRuntime>(
    runtime: R,
) {
    let (one, _) = started(builder(&runtime).auth(HmacAuthPlugin::new("s"))).await;
    let mut events = one.peer_events();
    let heard = Count::default();
    let mut others = Vec::new();
    for n in 0..3 {
        let other = builder(&runtime).auth(HmacAuthPlugin::new("s"));
        let (other, address) = started(other).await;
        let hearer = heard.clone();
        other.on(MessageType::NOTIFY_URI, move |_| hearer.add());
        one.add_peer(Peer::new(vec![n], "data"), address).unwrap();
        if n > 0 {
            assert_eq!(one.subscribe("key", address), Ok(true));
        }
        let found = soon(&runtime, events.next()).await.expect("an event");
        assert!(matches!(found, PeerEvent::Found(_)), "{found:?}");
        others.push((other, address));
    }
    let news = message(MessageType::NOTIFY_URI, "news", "news");
    assert_eq!(one.broadcast(news.clone()).await, Ok(3));
    eventually(&runtime, "all heard it", || heard.get() == 3).await;
    assert_eq!(one.notify("key", news.clone()).await, Ok(2));
    eventually(&runtime, "those heard it", || heard.get() == 5).await;
    assert!(one.unsubscribe("key", others[1].1));
    assert!(one.remove_peer([2]));
    assert_eq!(one.subscribers("key"), [], "who left is not subscribed");
    assert_eq!(one.notify("key", news).await, Ok(0));
    assert_eq!(one.peers().len(), 2);
}

async fn publishing_through_a_node_reaches_its_subscribers<R: TestRuntime>(
    runtime: R,
) {
    let (hub, there) = started(builder(&runtime)).await;
    hub.pubsub_with(Layers::new(), |m| m.uri() != b"secret");
    let (reader, _) = started(builder(&runtime)).await;
    let (writer, _) = started(builder(&runtime)).await;
    let heard = Count::default();
    let hearer = heard.clone();
    reader.on(MessageType::NOTIFY_URI, move |m| {
        assert_eq!((m.uri(), m.content()), (&b"news"[..], &b"it works"[..]));
        hearer.add();
    });
    let ask = async |node: &UdpNode<R>, kind, uri: &str| {
        let request = node.request(uri, there).message_type(kind);
        request.content("it works").await.expect("an answer")
    };
    use MessageType as T;
    let confirmed = ask(&reader, T::SUBSCRIBE_URI, "news").await;
    assert_eq!(confirmed.message_type(), T::CONFIRM_SUBSCRIBE);
    let refused = ask(&reader, T::SUBSCRIBE_URI, "secret").await;
    assert_eq!(refused.message_type(), T::NOT_PERMITTED);
    assert_eq!(
        ask(&writer, T::PUBLISH_URI, "news").await.text(),
        "notified 1"
    );
    eventually(&runtime, "it is heard", || heard.get() == 1).await;
    let confirmed = ask(&reader, T::UNSUBSCRIBE_URI, "news").await;
    assert_eq!(confirmed.message_type(), T::CONFIRM_UNSUBSCRIBE);
    assert_eq!(
        ask(&writer, T::PUBLISH_URI, "news").await.text(),
        "notified 0"
    );
}

async fn a_request_that_is_dropped_leaves_nothing_behind<R: TestRuntime>(
    runtime: R,
) {
    let one = builder(&runtime).correlation(Correlation::Off);
    let (one, _) = started(one).await;
    let (_two, there) = started(builder(&runtime)).await;
    let brief = Duration::from_millis(20);
    let silence =
        within(&runtime, brief, one.request("silence", there).into_future());
    assert!(silence.await.is_none());
    assert_eq!(one.pending(), 0);
    // And nothing keeps a place that would swallow the next reply.
    let reply = one.request("echo", there).content("next").await;
    assert_eq!(reply.expect("a reply").content(), b"next");
}

async fn a_node_that_stops_fails_its_requests_and_frees_its_port<R: TestRuntime>(
    runtime: R,
) {
    let (one, here) = started(apart(&runtime)).await;
    let (_two, there) = started(builder(&runtime)).await;
    let asking = one.clone();
    let silence = spawn(
        &runtime,
        async move { asking.request("silence", there).await },
    );
    eventually(&runtime, "it is asked", || one.pending() == 1).await;
    soon(&runtime, one.stop()).await;
    let ended = soon(&runtime, silence.join()).await;
    assert!(
        matches!(ended, Err(RequestError::Disconnected { .. })),
        "{ended:?}"
    );
    soon(&runtime, one.stopped()).await;
    assert_eq!(one.local_addr(), None);
    let late = one.request("echo", there).await;
    assert!(matches!(late, Err(RequestError::NotConnected)), "{late:?}");
    let late = one.send(message(MessageType::OK, "", ""), there).await;
    assert_eq!(late, Err(SendError::Closed));
    let (again, address) =
        started(builder(&runtime).interface(here.ip()).port(here.port())).await;
    assert_eq!(address, here);
    assert!(again.request("echo", there).await.is_ok());
}

async fn a_node_that_has_stopped_holds_neither_its_port_nor_its_handlers<
    R: TestRuntime,
>(
    runtime: R,
) {
    let ip = apart(&runtime);
    let ip = started(ip).await.1.ip();
    for _ in 0..300 {
        let (dropped, captured) = (Count::default(), Count::default());
        let held = dropped.when_dropped();
        let (node, address) = started(builder(&runtime).interface(ip)).await;
        node.on(MessageType::PUBLISH_URI, move |_| {
            let _ = (&held, &captured);
        });
        soon(&runtime, node.stop()).await;
        assert_eq!(dropped.get(), 1);
        UdpSocket::bind(address).expect("the port is free");
    }
}

async fn a_node_whose_last_handle_is_dropped_stops<R: TestRuntime>(runtime: R) {
    let (one, here) = started(apart(&runtime)).await;
    let dropped = Count::default();
    let captured = dropped.when_dropped();
    one.on(MessageType::PUBLISH_URI, move |_| {
        let _ = &captured;
    });
    let clone = one.clone();
    drop(one);
    assert_eq!(clone.local_addr(), Some(here));
    drop(clone);
    eventually(&runtime, "its handlers go", || dropped.get() == 1).await;
    eventually(&runtime, "its port is free", || {
        UdpSocket::bind(here).is_ok()
    })
    .await;
}

async fn a_node_is_started_once_and_says_why_it_cannot_be<R: TestRuntime>(
    runtime: R,
) {
    let (one, here) = started(builder(&runtime)).await;
    assert!(one.start().await.is_err(), "it has been started");
    assert!(
        builder(&runtime)
            .port(here.port())
            .build()
            .start()
            .await
            .is_err()
    );
    let group = [127, 0, 0, 1];
    let odd = builder(&runtime).multicast_group(group).build();
    let error = odd.start().await.expect_err("no multicast address");
    assert!(
        error.to_string().contains("not a multicast address"),
        "{error}"
    );
    let new = builder(&runtime).build();
    let unstarted = new.request("echo", here).await;
    assert!(
        matches!(unstarted, Err(RequestError::NotConnected)),
        "{unstarted:?}"
    );
    let alone = builder(&runtime).no_multicast().build();
    alone.start().await.expect("a free port");
    let news = message(MessageType::NOTIFY_URI, "", "");
    assert_eq!(alone.multicast(news).await, Err(SendError::NoGroup));
    soon(&runtime, new.stop()).await;
    assert!(new.start().await.is_err(), "it has been stopped");
}

async fn what_a_node_sends_to_itself_is_not_taken_in<R: TestRuntime>(runtime: R) {
    let (one, here) = started(builder(&runtime)).await;
    one.send(message(MessageType::PUBLISH_URI, "", ""), here)
        .await
        .unwrap();
    eventually(&runtime, "it comes back", || one.counters().ignored == 1).await;
    assert_eq!(one.counters().frames_in, 0);
    let (two, there) = started(builder(&runtime).own_addresses([])).await;
    let reply = two.request("echo", there).content("to myself").await;
    assert_eq!(reply.expect("a reply").content(), b"to myself");
}

async fn a_node_of_ipv6_talks_to_one_of_ipv4<R: TestRuntime>(runtime: R) {
    if UdpSocket::bind("[::1]:0").is_err() {
        return netaio_tests::skip::skip("IPv6", "there is no ::1 here");
    }
    let all = builder(&runtime).interface(Ipv6Addr::UNSPECIFIED);
    let (all, address) = started(all).await;
    let port = address.port();
    let (four, here) = started(builder(&runtime)).await;
    let (six, there) =
        started(builder(&runtime).interface(Ipv6Addr::LOCALHOST)).await;
    for (node, to) in [
        (&four, SocketAddr::from(([127, 0, 0, 1], port))),
        (&six, SocketAddr::from((Ipv6Addr::LOCALHOST, port))),
        (&all, here),
        (&all, there),
    ] {
        let reply = node.request("echo", to).content("hello").await;
        assert_eq!(reply.expect("a reply").content(), b"hello", "to {to}");
    }
    // Handlers and routes see IPv4 as such, though the socket is for both.
    let (seen, from) = (Count::default(), here);
    let seer = seen.clone();
    all.on((MessageType::PUBLISH_URI, "who", from), move |m| {
        assert_eq!(m.from(), from);
        seer.add();
    });
    let who: Message = message(MessageType::PUBLISH_URI, "who", "");
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    four.send(who, to).await.unwrap();
    eventually(&runtime, "the route is found", || seen.get() == 1).await;
}
