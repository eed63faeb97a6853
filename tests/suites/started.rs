//! Requests that are sent before anybody waits for their replies.

use std::fmt;
use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use netaio_driver::{MessageType, RequestError, UdpNode};
use netaio_proto::{AuthError, AuthPlugin, Context, Envelope, Layers, PluginError};

use crate::ends::{self, client, client_builder, limits, listen};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, LONG, eventually, fail, poll_once, sleep, soon};

on_every_runtime![
    started_requests_are_sent_at_once_and_get_their_own_replies,
    a_started_request_that_is_dropped_leaves_nothing,
    a_started_request_times_out_though_nobody_waits,
    a_started_request_fails_with_its_connection,
    a_request_that_cannot_be_started_is_sent_when_it_is_awaited,
    the_status_of_a_started_request_is_checked,
    a_plugin_that_panics_at_a_start_holds_up_no_later_request,
    a_plugin_is_told_the_time_at_a_connections_first_request,
    a_node_starts_requests,
];

const MANY: usize = 500;

async fn started_requests_are_sent_at_once_and_get_their_own_replies<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let start = |number: usize| {
        client
            .request("echo")
            .content(number.to_string())
            .timeout(LONG)
            .start()
    };
    let mut replies: Vec<_> = (0..MANY).map(start).collect();
    assert_eq!(link.counters().requests, MANY as u64);
    // Nobody has polled them.
    eventually(&runtime, "all are answered", || link.pending() == 0).await;
    replies.extend((MANY..2 * MANY).map(start));
    for (number, reply) in replies.into_iter().enumerate().rev() {
        let reply = soon(&runtime, reply).await.unwrap();
        assert_eq!(reply.content(), number.to_string().as_bytes());
    }
}

async fn a_started_request_that_is_dropped_leaves_nothing<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let answered = client.request("echo").start();
    let silent = client.request("silence").start();
    assert_eq!(link.counters().requests, 2);
    eventually(&runtime, "one is answered", || link.pending() == 1).await;
    drop(answered);
    assert_eq!(link.pending(), 1);
    drop(silent);
    assert_eq!(link.pending(), 0);
    assert!(client.request("echo").await.is_ok());
}

async fn a_started_request_times_out_though_nobody_waits<R: TestRuntime>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let told = Count::default();
    let counted = told.clone();
    client.set_timeout_handler(move |_| counted.add());
    let short = Duration::from_millis(30);
    let mut reply = client.request("silence").timeout(short).start();
    assert!(poll_once(&mut reply).is_pending());
    eventually(&runtime, "the handler is told", || told.get() == 1).await;
    assert_eq!(link.pending(), 0);
    // It counts from the start, not from here.
    let error = soon(&runtime, reply).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

async fn a_started_request_fails_with_its_connection<R: TestRuntime>(runtime: R) {
    let (_server, client, link) = ends::pair(&runtime).await;
    let reply = client.request("silence").start();
    eventually(&runtime, "it is sent", || link.queued() == 0).await;
    client.close().await;
    let error = soon(&runtime, reply).await.unwrap_err();
    assert!(
        matches!(error, RequestError::Disconnected { sent: true, .. }),
        "{error:?}"
    );
    let error = soon(&runtime, client.request("echo").start()).await;
    assert_eq!(error, Err(RequestError::NotConnected));
}

async fn a_request_that_cannot_be_started_is_sent_when_it_is_awaited<
    R: TestRuntime,
>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    // There is no connection yet.
    let early = client(&runtime, address);
    let reply = early.request("echo").content("early").start();
    let link = early.connect().await.unwrap();
    // One that came later is answered before.
    assert!(early.request("echo").await.is_ok());
    assert_eq!(link.counters().requests, 1);
    assert_eq!(soon(&runtime, reply).await.unwrap().content(), b"early");
    assert_eq!(link.counters().requests, 2);
    // There is no room.
    let narrow = client_builder(&runtime, address)
        .limits(limits(|limits| limits.max_outgoing = 1))
        .build();
    narrow.connect().await.unwrap();
    let replies: Vec<_> = (0..20_u8)
        .map(|number| narrow.request("echo").content([number]).start())
        .collect();
    for (number, reply) in replies.into_iter().enumerate() {
        let reply = soon(&runtime, reply).await.unwrap();
        assert_eq!(reply.content(), [number as u8]);
    }
}

async fn the_status_of_a_started_request_is_checked<R: TestRuntime>(runtime: R) {
    let (_server, client, _link) = ends::pair(&runtime).await;
    let reply = client.request("nothing").start();
    let reply = soon(&runtime, reply).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
    let reply = client.request("nothing").error_for_status().start();
    let error = soon(&runtime, reply).await.unwrap_err();
    assert!(matches!(error, RequestError::Status(_)), "{error:?}");
    // One that is too long is not sent at all.
    let reply = client.request("echo").content(vec![0; 70_000]).start();
    let error = soon(&runtime, reply).await.unwrap_err();
    assert!(matches!(error, RequestError::NotSent(_)), "{error:?}");
}

async fn a_node_starts_requests<R: TestRuntime>(runtime: R) {
    let node = || {
        let builder = UdpNode::builder_on(runtime.clone());
        let builder = builder.interface([127, 0, 0, 1]).port(0);
        builder.no_multicast().build()
    };
    let (one, two) = (node(), node());
    two.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    one.start().await.unwrap();
    let address = two.start().await.unwrap();
    let replies: Vec<_> = (0..50_u8)
        .map(|number| one.request("echo", address).content([number]).start())
        .collect();
    for (number, reply) in replies.into_iter().enumerate().rev() {
        let reply = soon(&runtime, reply).await.unwrap();
        assert_eq!(reply.content(), [number as u8]);
    }
    one.stop().await;
    two.stop().await;
}

/// Calls this with the time, seconds since 1970, when it makes a proof.
struct Making<F>(F);

impl<F> fmt::Debug for Making<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Making")
    }
}

impl<F: Fn(u64) + Send + Sync> AuthPlugin for Making<F> {
    fn make(
        &self,
        _envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (self.0)(context.unix_time);
        Ok(())
    }

    fn check(
        &self,
        _envelope: &Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        Ok(())
    }
}

async fn a_plugin_that_panics_at_a_start_holds_up_no_later_request<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, client, link) = ends::pair(&runtime).await;
    // The connection is at rest, and nothing else would wake its task.
    sleep(&runtime, Duration::from_millis(100)).await;
    let start = || {
        let layers = Layers::new().auth(Making(|_| fail()));
        drop(client.request("echo").layers(layers).start());
    };
    let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start));
    assert!(started.is_err());
    assert_eq!(link.pending(), 0);
    let later = client.request("echo").into_future();
    assert!(soon(&runtime, later).await.is_ok());
}

async fn a_plugin_is_told_the_time_at_a_connections_first_request<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let times = Arc::new(Mutex::new(Vec::new()));
    let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for _ in 0..20 {
        let client = client(&runtime, address);
        client.connect().await.unwrap();
        let noted = Arc::clone(&times);
        let note = move |time| noted.lock().unwrap().push(time);
        let layers = Layers::new().auth(Making(note));
        let replies =
            [(); 3].map(|()| client.request("echo").layers(layers.clone()).start());
        for reply in replies {
            assert!(soon(&runtime, reply).await.is_ok());
        }
    }
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 60);
    assert!(times.iter().all(|time| *time >= before), "{times:?}");
}
