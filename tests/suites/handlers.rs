//! Handlers: what they may be and return, and that they do not hold each other
//! up.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use netaio_driver::{
    HmacAuthPlugin, Incoming, Link, Message, MessageType, TcpServer, TooLong,
};

use crate::ends::{self, connected, limits, listen, message, only_link};
use crate::raw_peer::{RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, LONG, eventually, fail, off_thread, sleep, soon, spawn, within,
};

on_every_runtime![
    a_handler_may_be_plain_or_async_and_return_many_things,
    r29_a_handler_that_panics_is_answered_with_an_error,
    a_slow_handler_does_not_hold_up_others,
    r29_a_handler_that_never_returns_holds_up_nobody,
    r29_a_handler_that_takes_too_long_is_dropped_and_answered_for,
    r15_what_handlers_do_again_and_again_is_not_logged_each_time,
    r15_messages_that_prove_nothing_are_not_all_logged,
    what_goes_wrong_in_a_handler_is_logged_with_its_route_and_the_peer,
    an_error_is_answered_with_its_text,
    replies_for_one_uri_come_in_order_to_whoever_sends_no_ids,
    a_handler_can_use_the_connection_that_its_message_came_by,
    what_came_before_an_answer_has_been_handled_when_that_is_told,
    a_server_can_ask_its_clients,
    both_ends_ask_each_other_at_once,
    what_waits_for_a_handler_that_is_replaced_is_given_to_it_all_the_same,
    what_waits_for_a_handler_that_is_removed_is_not_given_to_it,
    a_handler_of_an_ended_connection_is_dropped,
    a_handler_that_panics_when_it_is_dropped_leaves_nothing_behind,
    a_client_that_is_dropped_drops_handlers_that_hold_its_connections,
    a_handler_of_one_message_is_not_passed_over,
    a_connection_that_rests_holds_no_handler_that_is_removed,
];

const REQUEST: MessageType = MessageType::REQUEST_URI;

async fn a_handler_may_be_plain_or_async_and_return_many_things<R: TestRuntime>(
    runtime: R,
) {
    type Maybe = Option<Result<Message, TooLong>>;
    let (server, client, _) = ends::pair(&runtime).await;
    let pace = runtime.clone();
    server.on((REQUEST, "plain"), |m: Incoming<R>| m.respond("plain"));
    server.on((REQUEST, "message"), |m: Incoming<R>| {
        m.respond("message").unwrap()
    });
    server.on((REQUEST, "ready"), async |m: Incoming<R>| {
        m.respond("ready")
    });
    server.on((REQUEST, "pending"), move |m: Incoming<R>| {
        let pace = pace.clone();
        async move {
            spawn(&pace, async {}).join().await;
            m.respond("pending")
        }
    });
    server.on((REQUEST, "some"), |m: Incoming<R>| -> Maybe {
        Some(m.respond("some"))
    });
    server.on((REQUEST, "nested"), async |m: Incoming<R>| {
        Ok::<_, String>(Some(m.respond("nested")))
    });
    for uri in ["plain", "message", "ready", "pending", "some", "nested"] {
        let reply = client.request(uri).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        assert_eq!(reply.text(), uri);
        assert_eq!(reply.uri_text(), uri);
    }
    server.on((REQUEST, "unit"), |_| ());
    server.on((REQUEST, "async unit"), async |_| ());
    server.on((REQUEST, "none"), |_| -> Maybe { None });
    server.on((REQUEST, "async none"), async |_| {
        Ok::<Option<Message>, String>(None)
    });
    for uri in ["unit", "async unit", "none", "async none"] {
        let request = client.request(uri).timeout(Duration::from_millis(30));
        assert!(request.await.unwrap_err().is_timeout(), "{uri}");
    }
    let accepted = only_link(&runtime, &server).await;
    assert_eq!(accepted.in_flight(), 0);
}

async fn an_error_is_answered_with_its_text<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    server.on((REQUEST, "plain"), |_| Err::<(), _>("no luck"));
    server.on((REQUEST, "async"), async |_| {
        Err::<Message, _>(std::io::Error::other("no luck"))
    });
    for uri in ["plain", "async"] {
        let reply = client.request(uri).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::ERROR);
        assert_eq!(reply.text(), "no luck");
        assert_eq!(reply.uri_text(), uri);
    }
    let long = "é".repeat(40_000);
    let text = long.clone();
    server.on((REQUEST, "long"), move |_| Err::<(), _>(text.clone()));
    let reply = client.request("long").await.unwrap();
    assert_eq!(reply.message_type(), MessageType::ERROR);
    assert!(reply.text().len() > 50_000 && long.starts_with(&*reply.text()));
    assert!(!link.is_closed());
}

async fn r29_a_handler_that_panics_is_answered_with_an_error<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, link) = ends::pair(&runtime).await;
    let pace = runtime.clone();
    server.on((REQUEST, "plain"), |_| fail());
    server.on((REQUEST, "ready"), async |_| fail());
    server.on((REQUEST, "pending"), move |_| {
        let pace = pace.clone();
        async move {
            spawn(&pace, async {}).join().await;
            fail();
        }
    });
    for uri in ["plain", "ready", "pending", "plain", "ready", "pending"] {
        let request = client.request(uri).into_future();
        let reply = soon(&runtime, request).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::ERROR);
        assert_eq!(reply.uri_text(), uri);
        // What has happened inside is nobody's business.
        assert!(!reply.text().contains("scenario"));
        assert!(client.request("echo").await.is_ok());
    }
    assert!(!link.is_closed());
}

async fn a_slow_handler_does_not_hold_up_others<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    let (go_on, wait) = tokio::sync::watch::channel(false);
    server.on((REQUEST, "slow"), move |m: Incoming<R>| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go_on| *go_on).await.unwrap();
            m.respond("at last")
        }
    });
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move { client.request("slow").await })
        })
        .collect();
    let accepted = only_link(&runtime, &server).await;
    eventually(&runtime, "they run", || accepted.in_flight() == 20).await;
    for _ in 0..100 {
        let request = client.request("echo").content("quick").into_future();
        let reply = soon(&runtime, request).await.unwrap();
        assert_eq!(reply.content(), b"quick");
    }
    assert_eq!(accepted.in_flight(), 20);
    go_on.send(true).unwrap();
    for slow in slow {
        let reply = soon(&runtime, slow.join()).await.unwrap();
        assert_eq!(reply.content(), b"at last");
    }
}

async fn r29_a_handler_that_takes_too_long_is_dropped_and_answered_for<
    R: TestRuntime,
>(
    runtime: R,
) {
    let limits = limits(|limits| {
        limits.handler_timeout = Some(Duration::from_millis(50));
    });
    let server = TcpServer::builder_on(runtime.clone()).limits(limits);
    let server = ends::with_echo(server.build());
    let dropped = Count::default();
    let count = dropped.clone();
    server.on((REQUEST, "hang"), move |_| {
        let guard = count.when_dropped();
        async move {
            std::future::pending::<()>().await;
            drop(guard);
        }
    });
    let (client, _) = connected(&runtime, listen(&server).await).await;
    let reply = soon(&runtime, client.request("hang").into_future()).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.message_type(), MessageType::ERROR);
    assert_eq!(reply.text(), "the handler took too long");
    assert_eq!(dropped.get(), 1);
    assert_eq!(only_link(&runtime, &server).await.in_flight(), 0);
    assert!(client.request("echo").await.is_ok());
}

async fn r15_what_handlers_do_again_and_again_is_not_logged_each_time<
    R: TestRuntime,
>(
    runtime: R,
) {
    let limits = limits(|limits| limits.max_log_lines_per_minute = 3);
    let server = TcpServer::builder_on(runtime.clone())
        .limits(limits)
        .build();
    // Whatever else runs in this process, no other says this.
    let complaint = format!("again and again on {:?}", std::thread::current().id());
    let text = complaint.clone();
    server.on((REQUEST, "fail"), move |_| Err::<Message, _>(text.clone()));
    let (client, _) = connected(&runtime, listen(&server).await).await;
    for _ in 0..10 {
        let reply = soon(&runtime, client.request("fail").into_future()).await;
        assert_eq!(reply.expect("an answer").text(), complaint);
    }
    let lines = crate::logs::lines();
    let about = lines.iter().filter(|line| line.contains(&complaint));
    assert_eq!(about.count(), 3);
}

async fn r15_messages_that_prove_nothing_are_not_all_logged<R: TestRuntime>(
    runtime: R,
) {
    let limits = limits(|limits| limits.max_log_lines_per_minute = 3);
    let server = TcpServer::builder_on(runtime.clone())
        .limits(limits)
        .auth(HmacAuthPlugin::new("secret"))
        .build();
    let (client, _) = connected(&runtime, listen(&server).await).await;
    let from = only_link(&runtime, &server).await.remote();
    for _ in 0..10 {
        let reply = soon(&runtime, client.request("echo").into_future()).await;
        let kind = reply.expect("a refusal").message_type();
        assert_eq!(kind, MessageType::AUTH_ERROR);
    }
    let lines = crate::logs::lines();
    let from = format!(" from={from} ");
    let about = lines.iter().filter(|line| line.contains(&from));
    let about = about.filter(|line| line.contains("failed authentication"));
    assert_eq!(about.count(), 3);
}

async fn what_goes_wrong_in_a_handler_is_logged_with_its_route_and_the_peer<
    R: TestRuntime,
>(
    runtime: R,
) {
    let limits = limits(|limits| {
        limits.handler_timeout = Some(Duration::from_millis(500));
    });
    let server = TcpServer::builder_on(runtime.clone()).limits(limits);
    let server = ends::with_echo(server.build());
    server.on((REQUEST, "fail"), |_| Err::<Message, _>("at once"));
    server.on((REQUEST, "fail later"), |m: Incoming<R>| async move {
        // It waits: its future is kept.
        m.link().request("echo").await.expect("an answer");
        Err::<Message, _>("later")
    });
    server.on((REQUEST, "break"), |_| -> Message { panic!("on purpose") });
    server.on((REQUEST, "hang"), |_| std::future::pending::<()>());
    // An answer to a notification goes nowhere: only the log can tell of it.
    let told = (MessageType::NOTIFY_URI, "news");
    let (client, link) = connected(&runtime, listen(&server).await).await;
    client.on(told, |_| Err::<Message, _>("not understood"));
    client.on((REQUEST, "echo"), ends::echo);
    let accepted = only_link(&runtime, &server).await;
    for uri in ["fail", "fail later", "break", "hang"] {
        let reply = soon(&runtime, client.request(uri).into_future()).await;
        let kind = reply.expect("an answer").message_type();
        assert_eq!(kind, MessageType::ERROR);
    }
    let news = message(MessageType::NOTIFY_URI, "news", "?");
    accepted.send(news).await.expect("it is sent");
    assert!(accepted.request("echo").await.is_ok());

    let from = accepted.remote();
    let server_lines = [
        format!("from={from} handler=REQUEST_URI fail text=at once"),
        format!("from={from} handler=REQUEST_URI fail later text=later"),
        format!("from={from} handler=REQUEST_URI break"),
        format!("from={from} handler=REQUEST_URI hang"),
    ];
    let from = link.remote();
    let client_line = format!("from={from} handler=NOTIFY_URI news text=not");
    let lines = crate::logs::lines();
    for expected in server_lines.into_iter().chain([client_line]) {
        let found = lines.iter().any(|line| line.contains(&expected));
        assert!(found, "{expected} is logged");
    }
}

async fn r29_a_handler_that_never_returns_holds_up_nobody<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, _) = ends::pair(&runtime).await;
    server.on((REQUEST, "hang"), |_| std::future::pending::<()>());
    let request = client.request("hang").timeout(Duration::from_millis(50));
    assert!(request.await.unwrap_err().is_timeout());
    assert!(client.request("echo").await.is_ok());
    let (other, _) = connected(&runtime, client.link(None).unwrap().remote()).await;
    assert!(other.request("echo").await.is_ok());
    soon(&runtime, client.close()).await;
    soon(&runtime, server.shutdown(Duration::from_millis(50))).await;
}

/// The server's way with a peer that does not send request ids.
async fn replies_for_one_uri_come_in_order_to_whoever_sends_no_ids<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let (release, wait) = tokio::sync::watch::channel(0);
    server.on((REQUEST, "slow"), move |m: Incoming<R>| {
        let mut wait = wait.clone();
        async move {
            // The later it came, the sooner it is done.
            let number: usize = m.text().parse().unwrap();
            wait.wait_for(|done| *done >= 10 - number).await.unwrap();
            ends::echo(m)
        }
    });
    let address = listen(&server).await;
    let raw = crate::waiting::off_thread(move || {
        let mut peer = crate::raw_peer::RawPeer::connect(address);
        for number in 0..10 {
            peer.request("slow", number.to_string());
        }
        peer.request("echo", "quick");
        // Another URI need not wait.
        assert_eq!(peer.receive().unwrap().content(), b"quick");
        for done in 1..=10 {
            release.send(done).unwrap();
        }
        for number in 0..10 {
            let reply = peer.receive().unwrap();
            assert_eq!(reply.text(), number.to_string());
        }
    });
    soon(&runtime, raw).await;
}

async fn a_handler_can_use_the_connection_that_its_message_came_by<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.on(
        (MessageType::SUBSCRIBE_URI, "news"),
        async |m: Incoming<R>| {
            let link = m.link().clone();
            // More than the reply: first two messages, then a request.
            for number in 0..2 {
                let news =
                    message(MessageType::NOTIFY_URI, "news", number.to_string());
                link.send(news).await.map_err(|error| error.to_string())?;
            }
            let name = link
                .request("name")
                .await
                .map_err(|error| error.to_string())?;
            m.respond(name.content())
                .map(|reply| reply.with_type(MessageType::CONFIRM_SUBSCRIBE))
                .map_err(|error| error.to_string())
        },
    );
    let address = listen(&server).await;
    let (client, link) = connected(&runtime, address).await;
    client.on((REQUEST, "name"), |m: Incoming<R>| m.respond("Alice"));
    let kind = MessageType::SUBSCRIBE_URI;
    let request = client.request("news").message_type(kind).into_future();
    let reply = soon(&runtime, request).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::CONFIRM_SUBSCRIBE);
    assert_eq!(reply.content(), b"Alice");
    for number in 0..2 {
        let news = soon(&runtime, client.receive_once()).await.unwrap();
        assert_eq!(news.message_type(), MessageType::NOTIFY_URI);
        assert_eq!(news.text(), number.to_string());
        assert_eq!(news.from(), address);
        assert_eq!(news.link().id(), link.id());
    }
}

async fn what_came_before_an_answer_has_been_handled_when_that_is_told<
    R: TestRuntime,
>(
    runtime: R,
) {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    let (client, _) = connected(&runtime, address).await;
    let handled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&handled);
    client.on(MessageType::NOTIFY_URI, move |_: Incoming<R>| {
        // Long enough for whoever waits for the answer to be woken.
        std::thread::sleep(Duration::from_millis(50));
        handled.store(true, Ordering::Release);
    });
    let peer = std::thread::spawn(move || {
        let mut peer = RawPeer::accept(&listener);
        let question = peer.receive().expect("a request");
        let news = message(MessageType::NOTIFY_URI, "news", "");
        let answer = question.respond("").expect("it is short");
        let both = [news, answer].map(|m| m.encode().expect("it is short"));
        peer.write(&both.concat());
        peer
    });
    assert!(
        soon(&runtime, client.request("a").into_future())
            .await
            .is_ok()
    );
    assert!(seen.load(Ordering::Acquire));
    drop(peer.join().expect("it has answered"));
}

async fn a_server_can_ask_its_clients<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let mut clients = Vec::new();
    for number in 0..5 {
        let (client, link) = connected(&runtime, address).await;
        client.on((REQUEST, "number"), move |m: Incoming<R>| {
            m.respond(number.to_string())
        });
        client.on((REQUEST, "broken"), async |_| Err::<(), _>("broken"));
        clients.push((client, link));
    }
    eventually(&runtime, "all are accepted", || server.links().len() == 5).await;
    let mut numbers = Vec::new();
    for link in server.links() {
        let number = soon(&runtime, link.request("number").into_future()).await;
        numbers.push(number.unwrap().text().into_owned());
        let broken = link.request("broken").error_for_status().into_future();
        assert!(soon(&runtime, broken).await.is_err());
        // A client keeps for `receive_once` what it has no handler for.
        let unknown = link.request("unknown").timeout(Duration::from_millis(30));
        assert!(unknown.await.unwrap_err().is_timeout());
    }
    numbers.sort();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
    for (client, _) in &clients {
        let unknown = soon(&runtime, client.receive_once()).await.unwrap();
        assert_eq!(unknown.uri(), b"unknown");
    }
}

async fn both_ends_ask_each_other_at_once<R: TestRuntime>(runtime: R) {
    async fn ask<R: TestRuntime>(link: Link<R>, name: &'static str) {
        for number in 0..500 {
            let content = format!("{name} {number}");
            let request = link.request("echo").content(&content).timeout(LONG);
            assert_eq!(request.await.unwrap().text(), content);
        }
    }
    let (server, client, link) = ends::pair(&runtime).await;
    client.on((REQUEST, "echo"), ends::echo);
    let accepted = only_link(&runtime, &server).await;
    let asking: Vec<_> = (0..8)
        .flat_map(|_| {
            [
                spawn(&runtime, ask(link.clone(), "client")),
                spawn(&runtime, ask(accepted.clone(), "server")),
            ]
        })
        .collect();
    for asking in asking {
        asking.join().await;
    }
    assert_eq!((link.pending(), accepted.pending()), (0, 0));
}

/// A server and eight requests for a handler that does this when it is called for
/// the first time. So much waits to be written then that the others wait as well.
/// Gives their replies.
async fn eight_replies<R: TestRuntime>(
    runtime: &R,
    change: impl Fn(&TcpServer<R>) + Send + Sync + 'static,
) -> Vec<Message> {
    let builder = TcpServer::builder_on(runtime.clone());
    let limits = limits(|limits| limits.outgoing_high_water = 1_000);
    let server = builder.limits(limits).build();
    let (changed, calls) = (server.clone(), Count::default());
    server.on((REQUEST, "a"), move |m: Incoming<R>| {
        if calls.next() == 0 {
            change(&changed);
        }
        m.respond([b'o'; 2_000])
    });
    let address = listen(&server).await;
    let (client, _) = connected(runtime, address).await;
    let requests: Vec<_> = (0..8).map(|_| client.request("a").start()).collect();
    let mut replies = Vec::new();
    for request in requests {
        replies.push(soon(runtime, request).await.expect("a reply"));
    }
    soon(runtime, server.shutdown(LONG)).await;
    replies
}

async fn what_waits_for_a_handler_that_is_replaced_is_given_to_it_all_the_same<
    R: TestRuntime,
>(
    runtime: R,
) {
    let replies = eight_replies(&runtime, |server| {
        for _ in 0..3 {
            server.on((REQUEST, "a"), |m: Incoming<R>| m.respond("new"));
        }
    });
    for reply in replies.await {
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        assert!([2_000, 3].contains(&reply.content().len()), "{reply:?}");
    }
}

async fn what_waits_for_a_handler_that_is_removed_is_not_given_to_it<
    R: TestRuntime,
>(
    runtime: R,
) {
    let replies = eight_replies(&runtime, |server| {
        assert!(server.remove((REQUEST, "a")));
    });
    let replies = replies.await;
    let kinds = replies.iter().map(Message::message_type);
    let (first, others) = (MessageType::RESPOND_URI, MessageType::NOT_FOUND);
    let expected = [first].into_iter().chain([others; 7]);
    assert!(kinds.eq(expected), "{replies:?}");
}

async fn a_handler_of_an_ended_connection_is_dropped<R: TestRuntime>(runtime: R) {
    let (server, client, _) = ends::pair(&runtime).await;
    let dropped = Count::default();
    let count = dropped.clone();
    server.on((REQUEST, "hang"), move |_| {
        let dropped = count.when_dropped();
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
        }
    });
    let request = client.request("hang").into_future();
    assert!(
        within(&runtime, Duration::from_millis(50), request)
            .await
            .is_none()
    );
    let accepted = only_link(&runtime, &server).await;
    assert_eq!(accepted.in_flight(), 1);
    soon(&runtime, accepted.close_within(Duration::from_millis(50))).await;
    eventually(&runtime, "it is dropped", || dropped.get() == 1).await;
}

async fn a_handler_that_panics_when_it_is_dropped_leaves_nothing_behind<
    R: TestRuntime,
>(
    runtime: R,
) {
    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            fail();
        }
    }

    let (server, client, link) = ends::pair(&runtime).await;
    server.on((REQUEST, "hang"), |_| {
        let bomb = PanicsWhenDropped;
        async move {
            std::future::pending::<()>().await;
            drop(bomb);
        }
    });
    let request = client.request("hang").timeout(LONG * 3).into_future();
    let request = spawn(&runtime, request);
    let accepted = only_link(&runtime, &server).await;
    eventually(&runtime, "it runs", || accepted.in_flight() == 1).await;
    soon(&runtime, accepted.close_within(Duration::ZERO)).await;
    assert!(soon(&runtime, request.join()).await.is_err());
    soon(&runtime, link.closed()).await;
    eventually(&runtime, "it is forgotten", || server.links().is_empty()).await;
    client.connect().await.unwrap();
    assert!(client.request("echo").await.is_ok());
    soon(&runtime, server.shutdown(LONG * 3)).await;
}

async fn a_client_that_is_dropped_drops_handlers_that_hold_its_connections<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let dropped = Count::default();
    let (held, guard) = (link.clone(), dropped.when_dropped());
    client.on(MessageType::NOTIFY_URI, move |_: Incoming<R>| {
        let _both = (&held, &guard);
    });
    client.request("echo").await.unwrap();
    drop(client);
    soon(&runtime, link.closed()).await;
    drop(link);
    eventually(&runtime, "it is dropped", || dropped.get() == 1).await;
}

async fn a_handler_of_one_message_is_not_passed_over<R: TestRuntime>(runtime: R) {
    let limits = limits(|limits| limits.max_in_flight = 1);
    let server = TcpServer::builder_on(runtime.clone())
        .limits(limits)
        .build();
    let (answer, called) = (MessageType::OK, Count::default());
    server.on((answer, "hang"), |_: Incoming<R>| {
        std::future::pending::<()>()
    });
    let count = called.clone();
    server.once((answer, "once"), move |_: Incoming<R>| count.add());
    let address = listen(&server).await;
    let _peer = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        // As many as may run, and one more that has a handler to itself.
        peer.send(&message(answer, "hang", ""));
        peer.send(&message(answer, "once", ""));
        peer
    })
    .await;
    eventually(&runtime, "it is called", || called.get() == 1).await;
    assert!(!server.remove_once((answer, "once")));
}

async fn a_connection_that_rests_holds_no_handler_that_is_removed<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, _link) = ends::pair(&runtime).await;
    let dropped = Count::default();
    let held = dropped.when_dropped();
    server.on((REQUEST, "held"), move |m: Incoming<R>| {
        let _ = &held;
        m.respond("")
    });
    client.request("held").await.unwrap();
    // It rests before that: later than now it does nothing by itself.
    sleep(&runtime, Duration::from_millis(200)).await;
    assert!(server.remove((REQUEST, "held")));
    eventually(&runtime, "it is dropped", || dropped.get() == 1).await;
    let reply = client.request("held").await.unwrap();
    assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
    assert!(client.request("echo").await.is_ok());
}
