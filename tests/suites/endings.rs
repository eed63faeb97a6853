//! How requests and connections end, other than with a reply.

use std::time::Duration;

use netaio_driver::{
    AuthError, AuthPlugin, CloseReason, Context, Counters, Envelope, HmacAuthPlugin,
    Incoming, LayerKind, Layers, Link, MessageType, PluginError, RequestError,
    SendError, TcpClient, TcpServer,
};

use crate::ends::{self, client_builder, connected, listen, message, only_link};
use crate::raw_peer::{RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{
    Count, Joined, LONG, eventually, fail, off_thread, soon, spawn, within,
};

on_every_runtime![
    a_wrong_secret_ends_a_request_at_once,
    a_peer_without_the_secret_is_told_so_and_reaches_no_handler,
    not_permitted_ends_a_request_at_once,
    an_unknown_uri_ends_a_request_at_once,
    a_closed_socket_ends_all_requests_at_once,
    a_request_without_a_connection_ends_at_once,
    a_message_without_its_inner_auth_never_reaches_a_handler,
    the_auth_error_handler_decides_what_is_answered,
    one_bad_message_does_not_end_a_connection,
    counters_never_go_back_while_connections_end,
    too_many_bad_messages_end_a_connection,
    dropping_the_client_closes_its_connections,
    dropping_the_client_flushes_what_it_sent,
    dropping_the_server_closes_its_connections,
    closing_the_client_flushes_what_it_sent,
    closing_the_client_fails_its_pending_requests,
    closing_the_client_waits_for_what_is_still_written,
    a_plugin_that_panics_leaves_no_reply_that_came_before_untold,
    a_plugin_that_panics_leaves_no_timeout_untold,
];

async fn a_wrong_secret_ends_a_request_at_once<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone())
        .auth(HmacAuthPlugin::new("the server's"))
        .build();
    let server = ends::with_echo(server);
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .auth(HmacAuthPlugin::new("another"))
        .build();
    let link = client.connect().await.unwrap();
    let request = client.request("echo").into_future();
    match soon(&runtime, request).await.unwrap_err() {
        RequestError::Unauthorized { verified, text } => {
            assert!(!verified);
            assert!(!text.is_empty());
        }
        error => panic!("{error:?}"),
    }
    assert_eq!(link.pending(), 0);
    assert!(!link.is_closed());
    assert_eq!(server.counters().dispatched, 0);
    assert_eq!(server.counters().auth_failures, 1);
}

async fn a_peer_without_the_secret_is_told_so_and_reaches_no_handler<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone())
        .auth(HmacAuthPlugin::new("the server's"))
        .build();
    let server = ends::with_echo(server);
    let address = listen(&server).await;
    let reply = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        peer.request("echo", "hello");
        peer.receive().unwrap()
    })
    .await;
    assert_eq!(reply.message_type(), MessageType::AUTH_ERROR);
    assert_eq!(reply.uri(), b"echo");
    assert_eq!(server.counters().dispatched, 0);
}

async fn not_permitted_ends_a_request_at_once<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    server.on((MessageType::REQUEST_URI, "private"), |m: Incoming<R>| {
        m.not_permitted()
    });
    let request = client.request("private").into_future();
    let reply = soon(&runtime, request).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::NOT_PERMITTED);
    let request = client.request("private").error_for_status().into_future();
    match soon(&runtime, request).await.unwrap_err() {
        RequestError::Status(error) => {
            let kind = error.message.message_type();
            assert_eq!(kind, MessageType::NOT_PERMITTED);
        }
        error => panic!("{error:?}"),
    }
    assert_eq!(link.pending(), 0);
}

async fn an_unknown_uri_ends_a_request_at_once<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    for request in [
        client.request("nothing here"),
        client.create("nothing here", "content"),
        client.update("nothing here", "content"),
        client.delete("nothing here"),
    ] {
        let reply = soon(&runtime, request.into_future()).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
        assert_eq!(reply.uri(), b"nothing here");
    }
    let request = client
        .request("nothing here")
        .error_for_status()
        .into_future();
    let error = soon(&runtime, request).await.unwrap_err();
    assert!(matches!(error, RequestError::Status(_)), "{error}");
    assert_eq!(link.pending(), 0);
}

async fn a_closed_socket_ends_all_requests_at_once<R: TestRuntime>(runtime: R) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let (client, link) = connected(&runtime, address).await;
    let requests: Vec<_> = (0..500)
        .map(|_| {
            let client = client.clone();
            spawn(&runtime, async move { client.request("anything").await })
        })
        .collect();
    off_thread(move || {
        let mut peer = RawPeer::accept(&listener);
        for _ in 0..500 {
            peer.receive().expect("a request");
        }
    })
    .await;
    for request in requests {
        match soon(&runtime, request.join()).await.unwrap_err() {
            RequestError::Disconnected { sent, reason } => {
                assert!(sent);
                assert_eq!(reason, CloseReason::Eof);
            }
            error => panic!("{error:?}"),
        }
    }
    assert_eq!(link.pending(), 0);
    assert!(soon(&runtime, client.receive_once()).await.is_err());
}

async fn a_request_without_a_connection_ends_at_once<R: TestRuntime>(runtime: R) {
    let (server, _client, link) = ends::pair(&runtime).await;
    let stranger = client_builder(&runtime, link.remote()).build();
    let error = stranger.request("echo").await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    let error = stranger.receive_once().await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    let lonely = message(MessageType::PUBLISH_URI, "echo", "");
    let error = stranger.send(lonely.clone()).await.unwrap_err();
    assert_eq!(error, SendError::Closed);
    soon(&runtime, server.shutdown(Duration::ZERO)).await;
    soon(&runtime, link.closed()).await;
    match soon(&runtime, link.request("echo").into_future())
        .await
        .unwrap_err()
    {
        RequestError::Disconnected { sent, .. } => assert!(!sent),
        error => panic!("{error:?}"),
    }
    assert_eq!(link.send(lonely).await.unwrap_err(), SendError::Closed);
}

fn inner(secret: &str) -> Layers {
    let plugin = HmacAuthPlugin::new(secret)
        .hmac_field("hmac2")
        .nonce_field("nonce2")
        .ts_field("ts2");
    Layers::new().auth(plugin)
}

async fn a_message_without_its_inner_auth_never_reaches_a_handler<R: TestRuntime>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone())
        .auth(HmacAuthPlugin::new("outer"))
        .build();
    let (handled, refused) = (Count::default(), Count::default());
    let count = handled.clone();
    let key = (MessageType::REQUEST_URI, "guarded");
    server.on_with(key, inner("inner"), move |m: Incoming<R>| {
        count.add();
        ends::echo(m)
    });
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .auth(HmacAuthPlugin::new("outer"))
        .build();
    let link = client.connect().await.unwrap();

    let request = client.request("guarded").layers(inner("inner"));
    assert!(request.await.is_ok());
    assert_eq!(handled.get(), 1);
    for layers in [inner("another"), Layers::new()] {
        let request = client.request("guarded").layers(layers).into_future();
        let outcome = soon(&runtime, request).await;
        let refused = match &outcome {
            Ok(reply) => reply.message_type() == MessageType::AUTH_ERROR,
            Err(error) => matches!(error, RequestError::Unauthorized { .. }),
        };
        assert!(refused, "{outcome:?}");
    }
    let count = refused.clone();
    server.set_auth_error_handler(move |failure| {
        assert_eq!(failure.layer, LayerKind::Inner);
        assert_eq!(failure.message.uri(), b"guarded");
        count.add();
        None
    });
    for (number, layers) in [inner("another"), Layers::new()].into_iter().enumerate()
    {
        let request = client.request("guarded").layers(layers);
        let request = request.timeout(Duration::from_millis(100));
        assert!(request.await.unwrap_err().is_timeout());
        assert_eq!(refused.get(), number + 1);
    }
    assert_eq!(handled.get(), 1);
    assert_eq!(link.pending(), 0);
    let request = client.request("guarded").layers(inner("inner"));
    assert!(request.await.is_ok());
    assert_eq!(handled.get(), 2);
}

async fn the_auth_error_handler_decides_what_is_answered<R: TestRuntime>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone())
        .auth(HmacAuthPlugin::new("the server's"))
        .build();
    let address = listen(&server).await;
    let ask = async || {
        off_thread(move || {
            let mut peer = RawPeer::connect(address);
            peer.request("echo", "hello");
            peer.receive().unwrap()
        })
        .await
    };
    server.set_auth_error_handler(|failure| {
        assert_eq!(failure.layer, LayerKind::Outer);
        failure.message.error("go away").ok()
    });
    let reply = ask().await;
    assert_eq!(reply.message_type(), MessageType::ERROR);
    assert_eq!(reply.content(), b"go away");
    server.set_auth_error_handler(|failure| failure.default_reply);
    assert_eq!(ask().await.message_type(), MessageType::AUTH_ERROR);
    // One that panics is one that says nothing; the connection lives on.
    server.set_auth_error_handler(|failure| {
        if failure.message.uri() == b"panic" {
            fail();
        }
        failure.default_reply
    });
    let reply = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        peer.request("panic", "");
        peer.request("echo", "");
        peer.receive().unwrap()
    })
    .await;
    assert_eq!(reply.uri(), b"echo");
}

async fn one_bad_message_does_not_end_a_connection<R: TestRuntime>(runtime: R) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    off_thread(move || {
        let mut peer = RawPeer::connect(address);
        let good = message(MessageType::REQUEST_URI, "echo", "good");
        let frame = good.encode().unwrap();
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let mut unknown = frame.clone();
        unknown[0] = 200;
        for bad in [damaged, unknown] {
            // Beside good ones, and in two writes.
            peer.write(&frame);
            let (first, second) = bad.split_at(5);
            peer.write(first);
            peer.write(second);
            peer.write(&frame);
            for expected in [
                MessageType::RESPOND_URI,
                MessageType::ERROR,
                MessageType::RESPOND_URI,
            ] {
                let reply = peer.receive().expect("the connection lives on");
                assert_eq!(reply.message_type(), expected);
            }
        }
    })
    .await;
    assert_eq!(server.counters().rejected, 2);
}

async fn counters_never_go_back_while_connections_end<R: TestRuntime>(runtime: R) {
    const ROUNDS: u64 = 100;
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let counted = server.clone();
    let counting = off_thread(move || {
        let (mut last, mut reads) = (0, 0);
        while last < ROUNDS {
            let now = counted.counters().frames_in;
            assert!(now >= last, "{now} after {last}");
            last = now;
            reads += 1;
        }
        reads
    });
    let asking = async {
        for _ in 0..ROUNDS {
            let client = ends::client(&runtime, address);
            client.connect().await.unwrap();
            client.request("echo").await.unwrap();
        }
    };
    let (reads, ()) =
        soon(&runtime, futures_util::future::join(counting, asking)).await;
    assert!(reads > 0);
    let links = || server.links().is_empty();
    eventually(&runtime, "all have ended", links).await;
    assert_eq!(server.counters().frames_in, ROUNDS);
}

async fn too_many_bad_messages_end_a_connection<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone())
        .limits(ends::limits(|limits| limits.max_errors_per_minute = 10))
        .build();
    let address = listen(&server).await;
    let mut events = server.events();
    off_thread(move || {
        let mut peer = RawPeer::connect(address);
        let mut bad = message(MessageType::REQUEST_URI, "echo", "bad")
            .encode()
            .unwrap();
        *bad.last_mut().unwrap() ^= 1;
        peer.write(&bad.repeat(11));
        peer.wait_for_end();
    })
    .await;
    let reason = ends::event(&runtime, &mut events, ends::reason).await;
    assert_eq!(reason, CloseReason::TooManyErrors);
}

async fn dropping_the_client_closes_its_connections<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    let other = ends::server(&runtime);
    let second = client.connect_to(listen(&other).await).await.unwrap();
    only_link(&runtime, &server).await;
    only_link(&runtime, &other).await;
    let clone = client.clone();
    drop(client);
    assert!(clone.request("echo").await.is_ok());
    drop(clone);
    for server in [server, other] {
        eventually(&runtime, "it is closed", || server.links().is_empty()).await;
    }
    for link in [link, second] {
        assert_eq!(soon(&runtime, link.closed()).await, CloseReason::Local);
        assert_eq!(link.pending(), 0);
    }
}

/// A server that counts the messages for `count`.
fn counting<R: TestRuntime>(runtime: &R) -> (TcpServer<R>, Count) {
    let (server, count) = (ends::server(runtime), Count::default());
    let counted = count.clone();
    server.on((MessageType::PUBLISH_URI, "count"), move |_| {
        counted.add();
    });
    (server, count)
}

const SENT: usize = 200;

async fn send_many<R: TestRuntime>(link: &Link<R>) {
    for _ in 0..SENT {
        let message = message(MessageType::PUBLISH_URI, "count", [7; 10_000]);
        link.send(message).await.unwrap();
    }
}

async fn dropping_the_client_flushes_what_it_sent<R: TestRuntime>(runtime: R) {
    let (server, count) = counting(&runtime);
    let (client, link) = connected(&runtime, listen(&server).await).await;
    send_many(&link).await;
    drop((client, link));
    eventually(&runtime, "all has come", || count.get() == SENT).await;
    eventually(&runtime, "it is closed", || server.links().is_empty()).await;
}

async fn closing_the_client_flushes_what_it_sent<R: TestRuntime>(runtime: R) {
    let (server, count) = counting(&runtime);
    let (client, link) = connected(&runtime, listen(&server).await).await;
    for round in 1..=3 {
        send_many(&client.connect().await.unwrap()).await;
        soon(&runtime, client.close()).await;
        assert!(client.link(None).is_none());
        eventually(&runtime, "all has come", || count.get() == SENT * round).await;
    }
    assert_eq!(link.close_reason(), Some(CloseReason::Local));
}

async fn closing_the_client_fails_its_pending_requests<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let asking = client.clone();
    let request = spawn(&runtime, async move { asking.request("silence").await });
    eventually(&runtime, "it is sent", || link.counters().requests == 1).await;
    soon(&runtime, client.close()).await;
    match soon(&runtime, request.join()).await.unwrap_err() {
        RequestError::Disconnected { reason, .. } => {
            assert_eq!(reason, CloseReason::Local);
        }
        error => panic!("{error:?}"),
    }
    let mut again = Box::pin(client.close());
    assert!(
        within(&runtime, Duration::from_secs(5), &mut again)
            .await
            .is_some()
    );
}

/// Whoever closes it once more, too; and what it does until then is counted.
async fn closing_the_client_waits_for_what_is_still_written<R: TestRuntime>(
    runtime: R,
) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let (client, link) = connected(&runtime, address).await;
    for _ in 0..100 {
        let message = message(MessageType::PUBLISH_URI, "count", [7; 60_000]);
        link.send(message).await.unwrap();
    }
    let mut first = Box::pin(client.close());
    let mut second = Box::pin(client.close());
    let short = Duration::from_millis(50);
    assert!(within(&runtime, short, &mut first).await.is_none());
    assert!(within(&runtime, short, &mut second).await.is_none());
    assert_eq!(client.counters().frames_out, 100);
    let reading = off_thread(move || {
        let mut peer = RawPeer::accept(&listener);
        for _ in 0..100 {
            peer.receive().expect("a message");
        }
    });
    let closing = futures_util::future::join3(reading, first, second);
    soon(&runtime, closing).await;
    assert_eq!(link.close_reason(), Some(CloseReason::Local));
    assert_eq!(client.counters().frames_out, 100);
}

async fn dropping_the_server_closes_its_connections<R: TestRuntime>(runtime: R) {
    let (server, client, link) = ends::pair(&runtime).await;
    only_link(&runtime, &server).await;
    let address = link.remote();
    let clone = server.clone();
    drop(server);
    assert!(client.request("echo").await.is_ok());
    assert_ne!(clone.counters(), Counters::default());
    drop(clone);
    soon(&runtime, link.closed()).await;
    // Nobody listens any more.
    let refused = async {
        while off_thread(move || std::net::TcpStream::connect(address).is_ok()).await
        {
        }
    };
    soon(&runtime, refused).await;
}

/// A plugin that panics at a certain message.
#[derive(Debug)]
struct Trap;

const SPRINGS: &str = "the trap springs";

impl AuthPlugin for Trap {
    fn make(
        &self,
        _: &mut Envelope,
        _: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        Ok(())
    }

    fn check(
        &self,
        message: &Envelope,
        _: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        assert!(!message.body.ends_with(SPRINGS.as_bytes()), "{SPRINGS}");
        Ok(())
    }
}

async fn trapped<R: TestRuntime>(
    runtime: &R,
    peer: impl FnOnce(RawPeer) -> RawPeer + Send + 'static,
) -> (TcpClient<R>, Joined<RawPeer>) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let playing = move || peer(RawPeer::accept(&listener));
    let playing = spawn(runtime, off_thread(playing));
    let trap = Layers::new().auth(Trap);
    let client = client_builder(runtime, address).layers(trap).build();
    client.connect().await.unwrap();
    (client, playing)
}

async fn a_plugin_that_panics_leaves_no_reply_that_came_before_untold<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (client, playing) = trapped(&runtime, |mut peer| {
        assert!(peer.receive().is_some());
        let reply = message(MessageType::RESPOND_URI, "asked", "fine");
        let trap = message(MessageType::RESPOND_URI, "asked", SPRINGS);
        let both = [reply, trap].map(|message| message.encode().unwrap());
        peer.write(&both.concat());
        peer
    })
    .await;
    let asked = client.request("asked").timeout(LONG * 10).into_future();
    // It is told of its reply, or of the end. A task of its own is woken by
    // nothing else.
    let _ = soon(&runtime, spawn(&runtime, asked).join()).await;
    drop(soon(&runtime, playing.join()).await);
}

async fn a_plugin_that_panics_leaves_no_timeout_untold<R: TestRuntime>(runtime: R) {
    let (client, playing) = trapped(&runtime, |mut peer| {
        assert!(peer.receive().is_some());
        peer.request("block", "");
        std::thread::sleep(Duration::from_millis(100));
        // It is there when the handler has returned, and so is the timeout.
        peer.send(&message(MessageType::RESPOND_URI, "asked", SPRINGS));
        peer
    })
    .await;
    client.on((MessageType::REQUEST_URI, "block"), |_: Incoming<R>| {
        std::thread::sleep(Duration::from_millis(400));
    });
    let asked = client.request("asked").timeout(Duration::from_millis(200));
    assert!(soon(&runtime, asked.into_future()).await.is_err());
    drop(soon(&runtime, playing.join()).await);
}
