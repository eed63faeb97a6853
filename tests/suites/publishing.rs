//! Publishing: what a server sends to many reaches them all, and nobody waits for
//! anybody.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use netaio_driver::{
    AuthFields, CloseReason, HmacAuthPlugin, LagPolicy, Layers, Limits, MessageType,
    Sha256StreamCipherPlugin, SubscribeError, TcpServer,
};

use crate::ends::{client, client_builder, connected, limits, listen, message};
use crate::raw_peer::RawPeer;
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, eventually, off_thread, soon};

on_every_runtime![
    what_is_published_reaches_those_who_subscribed,
    a_hook_may_refuse_who_subscribes_and_who_publishes,
    subscriptions_end_with_their_connection,
    too_many_subscriptions_are_refused,
    what_goes_to_many_is_sealed_once,
    a_broadcast_reaches_every_connection,
    notifications_have_the_inner_layers_of_their_handlers,
    r12_a_subscriber_that_does_not_read_loses_the_oldest_and_delays_nobody,
    r12_a_subscriber_that_does_not_read_loses_the_newest_and_delays_nobody,
    r12_a_subscriber_that_does_not_read_is_disconnected_and_delays_nobody,
];

fn hub<R: TestRuntime>(runtime: &R, limits: Limits) -> TcpServer<R> {
    let builder = TcpServer::builder_on(runtime.clone()).limits(limits);
    let server = builder.build();
    server.pubsub();
    server
}

async fn what_is_published_reaches_those_who_subscribed<R: TestRuntime>(runtime: R) {
    let server = hub(&runtime, Limits::default());
    let address = listen(&server).await;
    let mut readers = Vec::new();
    for n in 0..5 {
        let (client, _) = connected(&runtime, address).await;
        let uri = if n < 3 { "news" } else { "weather" };
        let subscription = client.subscribe(uri).await.expect("a subscription");
        readers.push((client, subscription));
    }
    let (writer, _) = connected(&runtime, address).await;
    for n in 0..50 {
        let published = writer
            .request("news")
            .message_type(MessageType::PUBLISH_URI)
            .content(n.to_string());
        let published = published.await.expect("an answer");
        assert_eq!(published.message_type(), MessageType::OK);
        assert_eq!(published.text(), "notified 3");
    }
    let weather = message(MessageType::NOTIFY_URI, "weather", "rain");
    assert_eq!(server.notify("weather", weather).await, Ok(2));
    for (n, (_, reader)) in readers.iter_mut().enumerate() {
        if n >= 3 {
            let rain = soon(&runtime, reader.next()).await.expect("news");
            assert_eq!((rain.text(), rain.lost), ("rain".into(), 0));
            continue;
        }
        for n in 0..50 {
            let news = soon(&runtime, reader.next()).await.expect("news");
            assert_eq!((news.text(), news.lost), (n.to_string().into(), 0));
            assert!(!news.resumed);
        }
    }
}

async fn a_hook_may_refuse_who_subscribes_and_who_publishes<R: TestRuntime>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.pubsub_with(Layers::new(), |m| {
        let publishes = m.message_type() == MessageType::PUBLISH_URI;
        m.uri() == b"open" || publishes && m.uri() == b"drop box"
    });
    let (client, _) = connected(&runtime, listen(&server).await).await;
    let answer = async |kind, uri: &str| {
        let request = client.request(uri).message_type(kind);
        request.await.expect("an answer").message_type()
    };
    use MessageType as T;
    assert_eq!(answer(T::SUBSCRIBE_URI, "drop box").await, T::NOT_PERMITTED);
    assert_eq!(answer(T::PUBLISH_URI, "drop box").await, T::OK);
    assert_eq!(answer(T::PUBLISH_URI, "secret").await, T::NOT_PERMITTED);
    assert_eq!(answer(T::SUBSCRIBE_URI, "open").await, T::CONFIRM_SUBSCRIBE);
    let confirmed = answer(T::UNSUBSCRIBE_URI, "open").await;
    assert_eq!(confirmed, T::CONFIRM_UNSUBSCRIBE);
    // Whoever is not subscribed may say so as often as it likes.
    let confirmed = answer(T::UNSUBSCRIBE_URI, "never").await;
    assert_eq!(confirmed, T::CONFIRM_UNSUBSCRIBE);
    assert!(server.subscribers("open").is_empty());
}

async fn subscriptions_end_with_their_connection<R: TestRuntime>(runtime: R) {
    let server = hub(&runtime, Limits::default());
    let address = listen(&server).await;
    let (client, _) = connected(&runtime, address).await;
    let _news = client.subscribe("news").await.expect("a subscription");
    let link = server.links().remove(0);
    assert_eq!(server.subscribe("by hand", &link), Ok(true));
    assert_eq!(server.subscribe("by hand", &link), Ok(false));
    assert_eq!(server.subscribers("news")[0].id(), link.id());
    client.close().await;
    soon(&runtime, link.closed()).await;
    eventually(&runtime, "nobody is subscribed", || {
        ["news", "by hand"]
            .iter()
            .all(|uri| server.subscribers(uri).is_empty())
    })
    .await;
    let late = server.subscribe("late", &link);
    assert_eq!(late, Err(SubscribeError::Closed));
    let (_other, elsewhere) =
        connected(&runtime, listen(&hub(&runtime, Limits::default())).await).await;
    let foreign = server.subscribe("late", &elsewhere);
    assert_eq!(foreign, Err(SubscribeError::Closed));
    assert!(!server.unsubscribe("late", &link));
}

async fn too_many_subscriptions_are_refused<R: TestRuntime>(runtime: R) {
    let few = limits(|limits| limits.max_subscriptions_per_peer = 2);
    let server = hub(&runtime, few);
    let (client, _) = connected(&runtime, listen(&server).await).await;
    let mut kept = Vec::new();
    for uri in ["one", "two"] {
        kept.push(client.subscribe(uri).await.expect("a subscription"));
    }
    let third = client.subscribe("three").await.expect_err("one too many");
    assert!(third.to_string().contains("2 subscriptions"), "{third}");
    let link = server.links().remove(0);
    let third = server.subscribe("three", &link);
    assert_eq!(third, Err(SubscribeError::TooManyOfOne { limit: 2 }));
    kept.pop();
    eventually(&runtime, "there is room", || {
        server.subscribers("two").is_empty()
    })
    .await;
    assert!(client.subscribe("three").await.is_ok());
}

/// Every recipient gets the same nonce and iv, as from Python's servers.
async fn what_goes_to_many_is_sealed_once<R: TestRuntime>(runtime: R) {
    let layers = || {
        Layers::new()
            .auth(HmacAuthPlugin::new("secret"))
            .cipher(Sha256StreamCipherPlugin::new("key"))
    };
    let server = TcpServer::builder_on(runtime.clone()).layers(layers());
    let server = server.build();
    server.pubsub();
    let address = listen(&server).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let client = client_builder(&runtime, address).layers(layers()).build();
        client.connect().await.expect("a connection");
        let news = client.subscribe("news").await.expect("a subscription");
        readers.push((client, news));
    }
    let news = message(MessageType::NOTIFY_URI, "news", "for all");
    for _ in 0..2 {
        assert_eq!(server.notify("news", news.clone()).await, Ok(4));
        let mut seals = BTreeSet::new();
        for (_, reader) in &mut readers {
            let news = soon(&runtime, reader.next()).await.expect("news");
            assert_eq!(news.text(), "for all");
            let field = |name| news.fields().get_bytes(name).map(<[u8]>::to_vec);
            seals.insert((field(AuthFields::NONCE), field(AuthFields::IV)));
        }
        assert_eq!(seals.len(), 1, "{seals:?}");
    }
}

async fn a_broadcast_reaches_every_connection<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    let address = listen(&server).await;
    let heard = Count::default();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let client = client(&runtime, address);
        let hearer = heard.clone();
        client.on((MessageType::PUBLISH_URI, "all"), move |_| hearer.add());
        client.connect().await.expect("a connection");
        clients.push(client);
    }
    eventually(&runtime, "all are accepted", || server.links().len() == 10).await;
    let all = message(MessageType::PUBLISH_URI, "all", "");
    assert_eq!(server.broadcast(all).await, Ok(10));
    eventually(&runtime, "all have heard it", || heard.get() == 10).await;
}

async fn notifications_have_the_inner_layers_of_their_handlers<R: TestRuntime>(
    runtime: R,
) {
    let cipher = Sha256StreamCipherPlugin::new("inner").encrypt_uri(false);
    let inner = Layers::new()
        .auth(HmacAuthPlugin::new("inner"))
        .cipher(cipher);
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.pubsub_with(inner.clone(), |_| true);
    let (client, _) = connected(&runtime, listen(&server).await).await;
    assert!(
        client.subscribe("news").await.is_err(),
        "without the layers"
    );
    let news = client.subscribe("news").layers(inner.clone());
    let mut news = news.await.expect("a subscription");
    let published = client
        .request("news")
        .message_type(MessageType::PUBLISH_URI)
        .layers(inner)
        .content("for those who know");
    assert_eq!(published.await.expect("an answer").text(), "notified 1");
    let heard = soon(&runtime, news.next()).await.expect("news");
    assert_eq!(heard.text(), "for those who know");
}

async fn r12_a_subscriber_that_does_not_read_loses_the_oldest_and_delays_nobody<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (server, mut raw) = stalled(&runtime, LagPolicy::DropOldest).await;
    // The rest comes in order, up to the very last.
    let numbers = off_thread(move || {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&(PUBLISHED - 1)) {
            let news = raw.receive().expect("still connected");
            numbers.push(number(news.content()));
        }
        numbers
    })
    .await;
    assert!(numbers.windows(2).all(|n| n[0] < n[1]), "{numbers:?}");
    let lost = server.counters().lagged as usize;
    assert_eq!(lost, PUBLISHED - numbers.len());
}

async fn r12_a_subscriber_that_does_not_read_loses_the_newest_and_delays_nobody<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (server, mut raw) = stalled(&runtime, LagPolicy::DropNewest).await;
    let lost = server.counters().lagged as usize;
    // What came while there was room comes in order, and nothing else.
    let (numbers, last) = off_thread(move || {
        let next = || number(raw.receive().expect("still connected").content());
        let numbers: Vec<_> = std::iter::repeat_with(next)
            .take(PUBLISHED - lost)
            .collect();
        raw.request("mark", "");
        (numbers, raw.receive().expect("an answer"))
    })
    .await;
    assert_eq!(numbers[0], 0);
    assert!(numbers.windows(2).all(|n| n[0] < n[1]), "{numbers:?}");
    assert_eq!(last.uri(), b"mark");
}

async fn r12_a_subscriber_that_does_not_read_is_disconnected_and_delays_nobody<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (server, _raw) = stalled(&runtime, LagPolicy::Disconnect).await;
    assert_eq!(server.counters().lagged, 1);
}

/// Subscribers that read.
const READERS: usize = 20;
/// Notifications that are published, and the length of each.
const PUBLISHED: usize = 2_000;
const LENGTH: usize = 4_000;

fn number(content: &[u8]) -> usize {
    let digits = content.split(|byte| *byte == b' ').next().unwrap();
    String::from_utf8_lossy(digits).parse().expect("a number")
}

/// A server that has published more than a stalled subscriber takes, and that
/// subscriber. All others have got all of it, in order.
async fn stalled<R: TestRuntime>(
    runtime: &R,
    policy: LagPolicy,
) -> (TcpServer<R>, RawPeer) {
    let limits = limits(|limits| {
        limits.lag_policy = policy;
        limits.max_notices = 512 * 1024;
    });
    let server = hub(runtime, limits);
    let address = listen(&server).await;
    let raw = off_thread(move || subscribed(address)).await;
    let link = server.links().remove(0);
    let (writer, _) = connected(runtime, address).await;
    // Whoever says nothing for long is not kept.
    assert!(writer.request("unknown").await.is_ok());
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (client, _) = connected(runtime, address).await;
        let news = client.subscribe("news").await.expect("a subscription");
        readers.push((client, news));
    }
    // In steps that the readers keep up with; the stalled one keeps up with none.
    for step in 0..PUBLISHED / 50 {
        for n in step * 50..(step + 1) * 50 {
            let mut content = format!("{n} ").into_bytes();
            content.resize(LENGTH, b'.');
            let news = message(MessageType::NOTIFY_URI, "news", content);
            server.notify("news", news).await.expect("a short message");
            assert!(link.notices() <= 512 * 1024 && link.queued() <= 256 * 1024);
        }
        for (_, news) in &mut readers {
            for n in step * 50..(step + 1) * 50 {
                let news = soon(runtime, news.next()).await.expect("news");
                assert_eq!((number(news.content()), news.lost), (n, 0));
            }
        }
    }
    assert!(server.counters().lagged > 0, "it took all of it");
    if policy == LagPolicy::Disconnect {
        let reason = soon(runtime, link.closed()).await;
        assert_eq!(reason, CloseReason::Lagging);
        let left = READERS + 1;
        eventually(runtime, "it is gone", || server.links().len() == left).await;
    } else {
        assert!(!link.is_closed());
    }
    assert!(writer.request("unknown").await.is_ok());
    (server, raw)
}

fn subscribed(server: SocketAddr) -> RawPeer {
    let mut raw = RawPeer::connect(server);
    raw.send(&message(MessageType::SUBSCRIBE_URI, "news", ""));
    let confirmed = raw.receive().expect("an answer");
    assert_eq!(confirmed.message_type(), MessageType::CONFIRM_SUBSCRIBE);
    raw
}
