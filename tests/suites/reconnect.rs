//! Connecting again: as a timeout handler, and when a connection is lost.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use netaio_driver::{
    AutoReconnectTimeoutHandler, CloseReason, ConnectionEvent, ConnectionEvents,
    Link, RequestError, TcpClient, TcpServer,
};

use crate::ends::{self, attempt, client_builder, connected, event, listen};
use crate::raw_peer::{BlackHole, RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, LONG, eventually, fail, off_thread, poll_once, sleep, soon, spawn,
};

on_every_runtime![
    a_timeout_makes_a_new_connection,
    ten_timeouts_at_once_make_one_new_connection,
    a_late_timeout_of_an_old_connection_leaves_the_new_one_alone,
    a_request_that_waited_for_its_connection_says_nothing_against_that,
    a_connection_that_takes_too_long_is_not_reconnected,
    on_reconnect_may_be_plain_or_async_and_may_fail,
    reconnecting_gives_up_after_its_retries,
    delays_between_attempts_grow_up_to_their_bound,
    attempts_without_a_delay_are_further_and_further_apart_all_the_same,
    an_attempt_takes_no_longer_than_connect_timeout,
    without_a_bound_it_is_tried_until_the_server_is_back,
    closing_the_client_stops_a_reconnect,
    cancelling_handler_tasks_stops_a_reconnect,
    dropping_the_client_stops_a_reconnect,
    a_lost_connection_is_made_again_by_itself,
    a_lost_connection_is_made_again_by_the_rules_for_lost_connections,
    connections_that_never_last_are_made_as_often_as_is_allowed,
    a_connection_that_was_closed_on_purpose_is_not_made_again,
    a_request_after_a_lost_one_waits_for_the_new_connection,
];

const SHORT: Duration = Duration::from_millis(30);

type Rules<R> = AutoReconnectTimeoutHandler<R>;

async fn time_out<R: TestRuntime>(runtime: &R, client: &TcpClient<R>) {
    let request = client.request("silence").timeout(SHORT);
    let error = soon(runtime, request.into_future()).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

async fn a_timeout_makes_a_new_connection<R: TestRuntime>(runtime: R) {
    let (server, client, old) = ends::pair(&runtime).await;
    let mut events = client.events();
    let on_reconnect = Count::default();
    let count = on_reconnect.clone();
    let rules = Rules::new().on_reconnect(move |_| count.add());
    client.set_timeout_handler(rules.into_handler());
    time_out(&runtime, &client).await;
    // This waits for the new connection.
    let reply = client.request("echo").content("hello").await.unwrap();
    assert_eq!(reply.content(), b"hello");
    let new = client.link(None).unwrap();
    assert_ne!(new.id(), old.id());
    assert_eq!(soon(&runtime, old.closed()).await, CloseReason::Local);
    eventually(&runtime, "on_reconnect runs", || on_reconnect.get() == 1).await;
    eventually(&runtime, "the server sees one end", || {
        server.links().len() == 1
    })
    .await;
    let first = event(&runtime, &mut events, attempt).await;
    assert_eq!(first, 1);
}

async fn ten_timeouts_at_once_make_one_new_connection<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    ends::only_link(&runtime, &server).await;
    let mut events = server.events();
    let on_reconnect = Count::default();
    let count = on_reconnect.clone();
    let rules = Rules::new().on_reconnect(move |_| count.add());
    client.set_timeout_handler(rules.into_handler());
    let span = Duration::from_millis(300);
    let silence = || client.request("silence").timeout(span).into_future();
    let mut requests: Vec<_> = (0..10).map(|_| silence()).collect();
    for request in &mut requests {
        assert!(poll_once(request).is_pending());
    }
    assert_eq!(link.pending(), 10);
    let mut timeouts = 0;
    for request in requests {
        match soon(&runtime, request).await.unwrap_err() {
            RequestError::TimedOut(_) => timeouts += 1,
            // One that is a little later ends with the old connection.
            RequestError::Disconnected { .. } => {}
            error => panic!("{error}"),
        }
    }
    assert!(timeouts >= 1);
    assert!(client.request("echo").await.is_ok());
    eventually(&runtime, "all handlers end", || {
        client.timeout_handler_tasks() == 0
    })
    .await;
    assert_eq!(on_reconnect.get(), 1);
    let mut connections = 0;
    while let Some(event) = events.try_next() {
        let connected = matches!(event, ConnectionEvent::Connected { .. });
        connections += usize::from(connected);
    }
    assert_eq!(connections, 1);
}

async fn a_late_timeout_of_an_old_connection_leaves_the_new_one_alone<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let rules = Rules::new();
    let handler = rules.into_handler();
    let (sender, mut kept) = tokio::sync::mpsc::unbounded_channel();
    client.set_timeout_handler(move |event| drop(sender.send(event)));
    time_out(&runtime, &client).await;
    let event = kept.recv().await.unwrap();
    soon(&runtime, handler(event.clone())).await.unwrap();
    let new = client.link(None).unwrap();
    soon(&runtime, handler(event)).await.unwrap();
    assert_eq!(client.link(None).unwrap().id(), new.id());
    assert!(!new.is_closed());
}

async fn a_request_that_waited_for_its_connection_says_nothing_against_that<
    R: TestRuntime,
>(
    runtime: R,
) {
    const TIMEOUT: Duration = Duration::from_secs(2);
    const AWAY: Duration = Duration::from_millis(1_200);
    let (server, client, _) = ends::pair(&runtime).await;
    let address = client.link(None).unwrap().remote();
    soon(&runtime, client.close()).await;
    server.shutdown(Duration::ZERO).await;
    let rules = || {
        let rules = Rules::new().spread(Duration::ZERO);
        rules.max_delay(Duration::from_millis(20))
    };
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(rules())
        .timeout_handler(rules().into_handler())
        .build();
    let first = ends::server(&runtime);
    first.listen(&address.to_string()).await.unwrap();
    client.connect().await.unwrap();
    first.shutdown(Duration::ZERO).await;
    eventually(&runtime, "it is lost", || client.link(None).is_none()).await;
    let silence = client.request("silence").timeout(TIMEOUT);
    let asking = spawn(&runtime, silence.into_future());
    sleep(&runtime, AWAY).await;
    let second = ends::server(&runtime);
    second.listen(&address.to_string()).await.unwrap();
    let error = soon(&runtime, asking.join()).await.unwrap_err();
    let RequestError::TimedOut(context) = &error else {
        panic!("{error}");
    };
    assert!(context.waited > context.timeout, "{context:?}");
    assert_eq!(context.waited + context.timeout, TIMEOUT);
    assert_eq!(error.to_string(), "no reply within 2s");
    let link = client.link(None).expect("a connection");
    client.request("echo").await.unwrap();
    assert_eq!(client.link(None).unwrap().id(), link.id());
}

async fn a_connection_that_takes_too_long_is_not_reconnected<R: TestRuntime>(
    runtime: R,
) {
    let hole = off_thread(|| {
        let mut hole = BlackHole::open();
        hole.fill();
        hole
    })
    .await;
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(SHORT)
        .timeout_handler(Rules::new().into_handler())
        .build();
    let mut events = client.events();
    assert!(soon(&runtime, client.connect()).await.is_err());
    eventually(&runtime, "the handler ends", || {
        client.timeout_handler_tasks() == 0
    })
    .await;
    assert_eq!(events.try_next(), None);
}

async fn on_reconnect_may_be_plain_or_async_and_may_fail<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, _) = ends::pair(&runtime).await;
    let done = Count::default();
    let again = async |before: usize| {
        time_out(&runtime, &client).await;
        eventually(&runtime, "on_reconnect runs", || done.get() == before + 1).await;
        eventually(&runtime, "it ends", || client.timeout_handler_tasks() == 0)
            .await;
        assert!(client.request("echo").await.is_ok());
    };
    let count = done.clone();
    let rules = Rules::new().on_reconnect(move |client: TcpClient<R>| {
        let count = count.clone();
        async move {
            // It can use the new connection.
            client.request("echo").content("hello").await?;
            count.add();
            Ok::<(), RequestError>(())
        }
    });
    client.set_timeout_handler(rules.into_handler());
    again(0).await;
    let count = done.clone();
    let rules = Rules::new().on_reconnect(move |_| {
        count.add();
        Err::<(), _>("a failure")
    });
    client.set_timeout_handler(rules.into_handler());
    again(1).await;
    let count = done.clone();
    let rules = Rules::new().on_reconnect(move |_| {
        count.add();
        fail();
    });
    client.set_timeout_handler(rules.into_handler());
    again(2).await;
}

/// A client whose server no longer listens, and does not answer.
struct Stranded<R: TestRuntime> {
    client: TcpClient<R>,
    events: ConnectionEvents,
    address: SocketAddr,
    link: Link<R>,
    _peer: RawPeer,
}

async fn stranded<R: TestRuntime>(runtime: &R) -> Stranded<R> {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let (client, link) = connected(runtime, address).await;
    let accept = move || RawPeer::accept(&listener);
    let peer = off_thread(accept).await;
    Stranded {
        events: client.events(),
        client,
        address,
        link,
        _peer: peer,
    }
}

impl<R: TestRuntime> Stranded<R> {
    async fn begin_reconnect(&mut self, runtime: &R, rules: Rules<R>) {
        self.client.set_timeout_handler(rules.into_handler());
        time_out(runtime, &self.client).await;
        assert_eq!(event(runtime, &mut self.events, attempt).await, 1);
    }

    async fn attempts(&mut self, runtime: &R, number: u32) {
        while event(runtime, &mut self.events, attempt).await < number {}
    }
}

fn fast<R: TestRuntime>() -> Rules<R> {
    Rules::new()
        .delay(Duration::from_millis(1))
        .max_delay(Duration::from_millis(5))
}

async fn server_at<R: TestRuntime>(
    runtime: &R,
    address: SocketAddr,
) -> TcpServer<R> {
    let server = ends::server(runtime);
    server
        .listen(address.to_string())
        .await
        .expect("the old port");
    server
}

async fn reconnecting_gives_up_after_its_retries<R: TestRuntime>(runtime: R) {
    let mut stranded = stranded(&runtime).await;
    let rules = fast().max_retries(Some(3));
    stranded.begin_reconnect(&runtime, rules).await;
    // This waits for the new connection, and is told when there is none.
    let request = stranded.client.request("echo").timeout(LONG);
    let error = soon(&runtime, request.into_future()).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    eventually(&runtime, "it ends", || {
        stranded.client.timeout_handler_tasks() == 0
    })
    .await;
    let mut attempts = 1;
    while let Some(event) = stranded.events.try_next() {
        attempts += usize::from(attempt(&event).is_some());
    }
    assert_eq!(attempts, 4);
    // It can be tried again.
    let _server = server_at(&runtime, stranded.address).await;
    stranded.client.connect().await.unwrap();
    assert!(stranded.client.request("echo").await.is_ok());
}

/// The number of a `Reconnecting` event, and how long was waited before it.
fn delayed(event: &ConnectionEvent) -> Option<(u32, Duration)> {
    match event {
        ConnectionEvent::Reconnecting { attempt, after, .. } => {
            Some((*attempt, *after))
        }
        _ => None,
    }
}

async fn delays_between_attempts_grow_up_to_their_bound<R: TestRuntime>(runtime: R) {
    let mut stranded = stranded(&runtime).await;
    let rules = Rules::new()
        .delay(Duration::from_millis(4))
        .max_delay(Duration::from_millis(16))
        .max_retries(Some(12));
    stranded.client.set_timeout_handler(rules.into_handler());
    let begun = runtime.now();
    time_out(&runtime, &stranded.client).await;
    let mut waited = Duration::ZERO;
    for expected in 1..=13 {
        let (number, after) = event(&runtime, &mut stranded.events, delayed).await;
        assert_eq!(number, expected);
        let bound = match number {
            1 => 0,
            2 => 4,
            3 => 8,
            _ => 16,
        };
        assert!(after <= Duration::from_millis(bound), "{number}: {after:?}");
        waited += after;
        assert!(runtime.now().duration_since(begun) >= waited);
    }
    assert!(waited > Duration::ZERO);
}

async fn attempts_without_a_delay_are_further_and_further_apart_all_the_same<
    R: TestRuntime,
>(
    runtime: R,
) {
    let mut stranded = stranded(&runtime).await;
    let rules = Rules::new()
        .delay(Duration::ZERO)
        .max_delay(Duration::from_millis(64))
        .max_retries(Some(20));
    stranded.client.set_timeout_handler(rules.into_handler());
    time_out(&runtime, &stranded.client).await;
    let mut waited = Duration::ZERO;
    for expected in 1..=21 {
        let (number, after) = event(&runtime, &mut stranded.events, delayed).await;
        assert_eq!(number, expected);
        waited += after;
    }
    // Fourteen of up to 64 ms each: that all are so short does not happen.
    assert!(waited > Duration::from_millis(64), "{waited:?}");
}

async fn an_attempt_takes_no_longer_than_connect_timeout<R: TestRuntime>(
    runtime: R,
) {
    let hole = off_thread(BlackHole::open).await;
    // The default would be longer than the scenario has.
    let client = client_builder(&runtime, hole.address())
        .connect_timeout(LONG * 2)
        .build();
    client.connect().await.unwrap();
    let _hole = off_thread(move || {
        let mut hole = hole;
        let peer = hole.accept();
        hole.fill();
        (hole, peer)
    })
    .await;
    let mut events = client.events();
    let rules = fast().connect_timeout(SHORT).max_retries(Some(2));
    client.set_timeout_handler(rules.into_handler());
    time_out(&runtime, &client).await;
    while event(&runtime, &mut events, attempt).await < 3 {}
    eventually(&runtime, "it ends", || client.timeout_handler_tasks() == 0).await;
}

async fn without_a_bound_it_is_tried_until_the_server_is_back<R: TestRuntime>(
    runtime: R,
) {
    let mut stranded = stranded(&runtime).await;
    stranded.begin_reconnect(&runtime, fast()).await;
    stranded.attempts(&runtime, 20).await;
    let client = stranded.client.clone();
    let waiting = spawn(&runtime, async move {
        client.request("echo").content("patience").await
    });
    stranded.attempts(&runtime, 25).await;
    let _server = server_at(&runtime, stranded.address).await;
    let reply = soon(&runtime, waiting.join()).await.unwrap();
    assert_eq!(reply.content(), b"patience");
    assert!(stranded.link.is_closed());
}

/// Nobody tries to connect to `address` any more.
async fn nobody_comes<R: TestRuntime>(runtime: &R, address: SocketAddr) {
    let server = server_at(runtime, address).await;
    // With the delays that these scenarios use, twenty attempts would fit.
    sleep(runtime, Duration::from_millis(100)).await;
    assert_eq!(server.counters(), Default::default());
    assert!(server.links().is_empty());
    server.shutdown(Duration::ZERO).await;
}

async fn closing_the_client_stops_a_reconnect<R: TestRuntime>(runtime: R) {
    let mut stranded = stranded(&runtime).await;
    stranded.begin_reconnect(&runtime, fast()).await;
    stranded.attempts(&runtime, 3).await;
    let client = stranded.client.clone();
    let waiting = spawn(&runtime, async move { client.request("echo").await });
    soon(&runtime, stranded.client.close()).await;
    let error = soon(&runtime, waiting.join()).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    eventually(&runtime, "it ends", || {
        stranded.client.timeout_handler_tasks() == 0
    })
    .await;
    nobody_comes(&runtime, stranded.address).await;
    assert!(stranded.client.link(None).is_none());
}

async fn cancelling_handler_tasks_stops_a_reconnect<R: TestRuntime>(runtime: R) {
    let mut stranded = stranded(&runtime).await;
    stranded.begin_reconnect(&runtime, fast()).await;
    stranded.attempts(&runtime, 3).await;
    let client = stranded.client.clone();
    let waiting = spawn(&runtime, async move { client.request("echo").await });
    soon(&runtime, stranded.client.cancel_timeout_handler_tasks()).await;
    assert_eq!(stranded.client.timeout_handler_tasks(), 0);
    let error = soon(&runtime, waiting.join()).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    nobody_comes(&runtime, stranded.address).await;
    // Connecting is free for whoever wants to.
    let _server = server_at(&runtime, stranded.address).await;
    stranded.client.connect().await.unwrap();
    assert!(stranded.client.request("echo").await.is_ok());
}

async fn dropping_the_client_stops_a_reconnect<R: TestRuntime>(runtime: R) {
    let mut stranded = stranded(&runtime).await;
    stranded.begin_reconnect(&runtime, fast()).await;
    stranded.attempts(&runtime, 3).await;
    let Stranded {
        client,
        mut events,
        address,
        ..
    } = stranded;
    drop(client);
    // The stream of events ends with the client.
    let ended = async { while events.next().await.is_some() {} };
    soon(&runtime, ended).await;
    nobody_comes(&runtime, address).await;
}

async fn a_lost_connection_is_made_again_by_itself<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let on_reconnect = Count::default();
    let count = on_reconnect.clone();
    let rules = fast().on_reconnect(move |_| count.add());
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(rules)
        .build();
    client.connect().await.unwrap();
    let mut server = server;
    for _ in 0..3 {
        let before = on_reconnect.get();
        let mut events = client.events();
        server.shutdown(Duration::ZERO).await;
        event(&runtime, &mut events, attempt).await;
        server = server_at(&runtime, address).await;
        let asking = async {
            loop {
                match client.request("echo").content("hello").await {
                    Ok(reply) => return reply,
                    // The old server's system may have accepted once more.
                    Err(RequestError::Disconnected { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        assert_eq!(soon(&runtime, asking).await.content(), b"hello");
        eventually(&runtime, "on_reconnect runs", || {
            on_reconnect.get() > before
        })
        .await;
    }
}

async fn a_lost_connection_is_made_again_by_the_rules_for_lost_connections<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    // After a timeout one attempt is made, after a loss any number.
    let after_timeouts = Rules::new().max_retries(Some(0));
    let client = client_builder(&runtime, address)
        .timeout_handler(after_timeouts.into_handler())
        .reconnect_when_lost(fast())
        .build();
    client.connect().await.unwrap();
    time_out(&runtime, &client).await;
    let reply = client.request("echo").await.unwrap();
    assert_eq!(reply.uri(), b"echo");
    let mut events = client.events();
    server.shutdown(Duration::ZERO).await;
    while event(&runtime, &mut events, attempt).await < 4 {}
    let _server = server_at(&runtime, address).await;
    // This waits for the new connection.
    let request = client.request("echo").timeout(LONG);
    let reply = soon(&runtime, request.into_future()).await.unwrap();
    assert_eq!(reply.uri(), b"echo");
}

async fn connections_that_never_last_are_made_as_often_as_is_allowed<
    R: TestRuntime,
>(
    runtime: R,
) {
    for retries in [0, 1, 3] {
        let listener = listener();
        let address = listener.local_addr().expect("an address");
        let accepting = std::thread::spawn(move || {
            // One more than is made again, and the first.
            for _ in 0..retries + 2 {
                drop(RawPeer::accept(&listener));
            }
        });
        let client = client_builder(&runtime, address)
            .reconnect_when_lost(fast().max_retries(Some(retries)))
            .build();
        let mut events = client.events();
        client.connect().await.expect("it is accepted");
        let mut attempts = Vec::new();
        loop {
            match soon(&runtime, events.next()).await.expect("an event") {
                ConnectionEvent::Reconnecting { attempt, .. } => {
                    attempts.push(attempt);
                }
                ConnectionEvent::GaveUp { .. } => break,
                _ => {}
            }
        }
        assert!(attempts.iter().copied().eq(1..=retries + 1), "{attempts:?}");
        accepting.join().expect("all were accepted");
    }
}

async fn a_connection_that_was_closed_on_purpose_is_not_made_again<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(fast())
        .build();
    let mut events = client.events();
    client.connect().await.unwrap();
    soon(&runtime, client.close()).await;
    eventually(&runtime, "the server notices", || server.links().is_empty()).await;
    sleep(&runtime, Duration::from_millis(50)).await;
    assert!(server.links().is_empty());
    while let Some(event) = events.try_next() {
        assert_eq!(attempt(&event), None);
    }
    assert_eq!(client.timeout_handler_tasks(), 0);
    let error = client.request("echo").await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
}

/// A caller that learns that its request was lost, and repeats it at once.
async fn a_request_after_a_lost_one_waits_for_the_new_connection<R: TestRuntime>(
    runtime: R,
) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(fast())
        .build();
    let connecting = client.connect();
    connecting.await.unwrap();
    let rounds = 30;
    // Each connection but the last ends when a request has come.
    let peer = forgetful_peer(listener, rounds);
    for _ in 0..rounds {
        let error = client.request("first").await.unwrap_err();
        assert!(
            matches!(error, RequestError::Disconnected { .. }),
            "{error}"
        );
        let reply = client.request("second").await;
        assert!(reply.is_ok(), "{reply:?}");
    }
    soon(&runtime, peer).await.expect("the peer has panicked");
}

/// Answers `second`, and closes the connection at `first`.
fn forgetful_peer(
    listener: TcpListener,
    rounds: usize,
) -> tokio::sync::oneshot::Receiver<()> {
    let (sender, done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut closed = 0;
        while closed < rounds {
            let mut peer = RawPeer::accept(&listener);
            while let Some(request) = peer.receive() {
                if request.uri() == b"first" {
                    closed += 1;
                    break;
                }
                let rid = request.fields().clone();
                peer.send(&request.respond("").unwrap().with_fields(rid));
            }
        }
        // The last second one.
        let mut peer = RawPeer::accept(&listener);
        let request = peer.receive().unwrap();
        let rid = request.fields().clone();
        peer.send(&request.respond("").unwrap().with_fields(rid));
        // Nobody may be interested.
        let _ = sender.send(());
        peer.wait_for_end();
    });
    done
}
