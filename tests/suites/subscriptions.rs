//! Subscriptions of a client: bounded streams that say what they lost, and that
//! outlive a connection.

use std::sync::Mutex;
use std::time::Duration;

use netaio_driver::{
    AutoReconnectTimeoutHandler, CloseReason, ConnectionEvent, Incoming, LagPolicy,
    Layers, Message, MessageType, RequestError, Subscription, SubscriptionEnd,
    TcpClient, TcpServer,
};

use crate::ends::{client, client_builder, connected, limits, listen, message};
use crate::runtimes::TestRuntime;
use crate::waiting::{Count, eventually, poll_once, soon, spawn};

on_every_runtime![
    a_slow_reader_loses_the_oldest_and_is_told_how_many,
    a_slow_reader_loses_the_newest_and_is_told_how_many,
    a_slow_reader_may_be_given_up,
    a_subscription_that_is_dropped_is_ended_at_the_server,
    a_subscription_can_be_ended_and_waited_for,
    subscriptions_to_one_uri_are_apart_for_their_readers,
    one_server_does_not_notify_in_anothers_name,
    a_subscription_is_renewed_before_a_reconnect_is_announced,
    a_renewal_that_is_refused_ends_the_subscription,
    a_renewal_that_is_not_confirmed_ends_the_subscription,
    a_subscription_ends_with_the_last_handle_of_its_client,
    without_a_reconnect_a_subscription_ends_with_its_connection,
    a_reconnect_that_is_given_up_ends_subscriptions,
    to_connect_again_by_hand_needs_a_new_subscription,
    a_refused_subscription_leaves_nothing_behind,
    a_subscription_ends_when_its_client_closes_whoever_connects_next,
    a_subscription_ends_with_a_reconnect_that_is_not_begun,
    a_handler_that_holds_a_subscription_may_be_replaced_by_one,
    the_applications_own_handler_outlives_a_subscription,
    to_unsubscribe_waits_for_room_unless_it_is_wanted_again,
];

async fn hub<R: TestRuntime>(runtime: &R) -> (TcpServer<R>, String) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.pubsub();
    let address = listen(&server).await.to_string();
    (server, address)
}

/// Publishes numbers.
async fn publish<R: TestRuntime>(
    server: &TcpServer<R>,
    numbers: std::ops::Range<usize>,
) {
    for n in numbers {
        let news = message(MessageType::NOTIFY_URI, "news", n.to_string());
        server.notify("news", news).await.expect("a short message");
    }
}

fn next<R: TestRuntime>(news: &mut Subscription<R>) -> Option<(usize, u64)> {
    let notification = news.try_next()?;
    let number = notification.text().parse().expect("a number");
    Some((number, notification.lost))
}

async fn a_slow_reader_loses_the_oldest_and_is_told_how_many<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    client.connect().await.unwrap();
    let mut news = client.subscribe("news").capacity(3).await.unwrap();
    publish(&server, 0..10).await;
    eventually(&runtime, "all have come", || news.lost() == 7).await;
    assert_eq!(next(&mut news), Some((7, 7)));
    assert_eq!(next(&mut news), Some((8, 0)));
    publish(&server, 10..13).await;
    eventually(&runtime, "all have come", || news.lost() == 8).await;
    assert_eq!(next(&mut news), Some((10, 1)));
    assert_eq!(next(&mut news), Some((11, 0)));
    assert_eq!(next(&mut news), Some((12, 0)));
    assert_eq!(next(&mut news), None);
    assert_eq!(news.end(), None);
}

async fn a_slow_reader_loses_the_newest_and_is_told_how_many<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    client.connect().await.unwrap();
    let news = client.subscribe("news").capacity(3);
    let mut news = news.lag_policy(LagPolicy::DropNewest).await.unwrap();
    publish(&server, 0..10).await;
    eventually(&runtime, "all have come", || news.lost() == 7).await;
    for n in 0..3 {
        assert_eq!(next(&mut news), Some((n, 0)));
    }
    publish(&server, 10..12).await;
    let first = soon(&runtime, news.next()).await.expect("news");
    assert_eq!((first.text(), first.lost), ("10".into(), 7));
    let second = soon(&runtime, news.next()).await.expect("news");
    assert_eq!((second.text(), second.lost), ("11".into(), 0));
}

async fn a_slow_reader_may_be_given_up<R: TestRuntime>(runtime: R) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    client.connect().await.unwrap();
    let news = client.subscribe("news").capacity(3);
    let mut news = news.lag_policy(LagPolicy::Disconnect).await.unwrap();
    publish(&server, 0..10).await;
    eventually(&runtime, "it ends", || news.end().is_some()).await;
    assert_eq!(news.end(), Some(SubscriptionEnd::Lagged));
    for n in 0..3 {
        let kept = soon(&runtime, news.next()).await.expect("news");
        assert_eq!(kept.text(), n.to_string());
    }
    assert_eq!(soon(&runtime, news.next()).await, None);
    eventually(&runtime, "the server knows", || {
        server.subscribers("news").is_empty()
    })
    .await;
    assert!(
        client.link(None).is_some(),
        "the connection is not given up"
    );
}

async fn a_subscription_that_is_dropped_is_ended_at_the_server<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    let link = client.connect().await.unwrap();
    let one = client.subscribe("news").await.unwrap();
    let two = client.subscribe("news").await.unwrap();
    drop(one);
    assert!(client.request("unknown").await.is_ok());
    assert_eq!(server.subscribers("news").len(), 1, "another one is there");
    drop(two);
    eventually(&runtime, "it is ended", || {
        server.subscribers("news").is_empty()
    })
    .await;
    assert!(client.request("unknown").await.is_ok());
    assert_eq!((link.pending(), link.dropped()), (0, 0));
}

async fn a_subscription_can_be_ended_and_waited_for<R: TestRuntime>(runtime: R) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    client.connect().await.unwrap();
    let mut news = client.subscribe("news").await.unwrap();
    publish(&server, 0..1).await;
    eventually(&runtime, "it has come", || news.waiting() == 1).await;
    soon(&runtime, news.unsubscribe()).await.expect("confirmed");
    assert!(server.subscribers("news").is_empty());
    assert_eq!(news.end(), Some(SubscriptionEnd::Unsubscribed));
    assert_eq!(soon(&runtime, news.next()).await.unwrap().text(), "0");
    assert_eq!(soon(&runtime, news.next()).await, None);
    soon(&runtime, news.unsubscribe())
        .await
        .expect("nothing to do");
}

async fn subscriptions_to_one_uri_are_apart_for_their_readers<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let client = client(&runtime, address.parse().unwrap());
    client.connect().await.unwrap();
    let mut all = client.subscribe("news").await.unwrap();
    let mut few = client.subscribe("news").capacity(1).await.unwrap();
    publish(&server, 0..5).await;
    eventually(&runtime, "all have come", || few.lost() == 4).await;
    for n in 0..5 {
        let news = soon(&runtime, all.next()).await.expect("news");
        assert_eq!((news.text(), news.lost), (n.to_string().into(), 0));
    }
    let last = soon(&runtime, few.next()).await.expect("news");
    assert_eq!((last.text(), last.lost), ("4".into(), 4));
}

async fn one_server_does_not_notify_in_anothers_name<R: TestRuntime>(runtime: R) {
    let (_first, one) = hub(&runtime).await;
    let (other, two) = hub(&runtime).await;
    let client = client(&runtime, one.parse().unwrap());
    client.connect().await.unwrap();
    let link = client.connect_to(&two[..]).await.unwrap();
    let mut news = client.subscribe("news").await.unwrap();
    let forged = message(MessageType::NOTIFY_URI, "news", "forged");
    assert_eq!(other.broadcast(forged).await, Ok(1));
    let stray = soon(&runtime, link.receive_once())
        .await
        .expect("a message");
    assert_eq!(stray.content(), b"forged");
    assert_eq!(news.try_next(), None);
    let mut news = client.subscribe("news").server(&two[..]).await.unwrap();
    let real = message(MessageType::NOTIFY_URI, "news", "real");
    assert_eq!(other.notify("news", real).await, Ok(1));
    assert_eq!(soon(&runtime, news.next()).await.unwrap().text(), "real");
}

/// Rules for a client that has its server to itself.
fn at_once<R: TestRuntime>() -> AutoReconnectTimeoutHandler<R> {
    AutoReconnectTimeoutHandler::new().spread(Duration::ZERO)
}

async fn a_subscription_is_renewed_before_a_reconnect_is_announced<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let client = client_builder(&runtime, address.parse().unwrap())
        .reconnect_when_lost(at_once())
        .build();
    client.connect().await.unwrap();
    let mut news = client.subscribe("news").await.unwrap();
    let mut weather = client.subscribe("weather").await.unwrap();
    let mut events = client.events();
    for round in 0..3 {
        for link in server.links() {
            link.close_within(Duration::from_secs(1)).await;
        }
        let reconnected = async {
            loop {
                let event = events.next().await.expect("an event");
                if let ConnectionEvent::Reconnected { server, .. } = event {
                    break server;
                }
            }
        };
        let name = soon(&runtime, reconnected).await;
        assert_eq!(name.as_str(), address);
        // At once: no waiting, no other round trip.
        assert_eq!(server.subscribers("news").len(), 1, "round {round}");
        assert_eq!(server.subscribers("weather").len(), 1);
        publish(&server, round..round + 1).await;
        let first = soon(&runtime, news.next()).await.expect("news");
        assert_eq!(first.text(), round.to_string());
        assert!(first.resumed, "some may be missing");
        publish(&server, 0..1).await;
        assert!(!soon(&runtime, news.next()).await.expect("news").resumed);
    }
    assert_eq!(weather.try_next(), None);
}

async fn a_renewal_that_is_refused_ends_the_subscription<R: TestRuntime>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    let asked = Count::default();
    let counter = asked.clone();
    server.pubsub_with(Layers::new(), move |_| counter.next() == 0);
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(at_once())
        .build();
    client.connect().await.unwrap();
    let mut news = client.subscribe("news").await.unwrap();
    server.links()[0].close_within(Duration::from_secs(1)).await;
    assert_eq!(soon(&runtime, news.next()).await, None);
    let end = news.end();
    assert!(matches!(end, Some(SubscriptionEnd::Refused(_))), "{end:?}");
    assert_eq!(asked.get(), 2);
}

async fn a_renewal_that_is_not_confirmed_ends_the_subscription<R: TestRuntime>(
    runtime: R,
) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    let asked = Count::default();
    let counter = asked.clone();
    let subscribe = (MessageType::SUBSCRIBE_URI, "news");
    server.on(subscribe, move |m: Incoming<R>| {
        let confirms = counter.next() == 0;
        async move {
            if !confirms {
                std::future::pending::<()>().await;
            }
            Message::new(MessageType::CONFIRM_SUBSCRIBE, m.uri(), "")
        }
    });
    let address = listen(&server).await;
    let client = client_builder(&runtime, address)
        .reconnect_when_lost(at_once())
        .build();
    client.connect().await.unwrap();
    let news = client.subscribe("news").timeout(Duration::from_millis(100));
    let mut news = news.await.unwrap();
    server.links()[0].close_within(Duration::from_secs(1)).await;
    assert_eq!(soon(&runtime, news.next()).await, None);
    let end = news.end();
    let Some(SubscriptionEnd::NotRenewed(error)) = end else {
        panic!("{end:?}");
    };
    assert!(error.is_timeout());
    assert_eq!(asked.get(), 2);
}

async fn a_subscription_ends_with_the_last_handle_of_its_client<R: TestRuntime>(
    runtime: R,
) {
    let (_server, address) = hub(&runtime).await;
    let (client, _) = connected(&runtime, address.parse().unwrap()).await;
    let mut news = client.subscribe("news").await.unwrap();
    let waiting = spawn(&runtime, async move { (news.next().await, news.end()) });
    drop(client);
    let end = SubscriptionEnd::Disconnected(CloseReason::Local);
    assert_eq!(soon(&runtime, waiting.join()).await, (None, Some(end)));
}

async fn without_a_reconnect_a_subscription_ends_with_its_connection<
    R: TestRuntime,
>(
    runtime: R,
) {
    for closes in [true, false] {
        let (server, address) = hub(&runtime).await;
        let (client, _) = connected(&runtime, address.parse().unwrap()).await;
        let mut news = client.subscribe("news").await.unwrap();
        if closes {
            soon(&runtime, client.close()).await;
        } else {
            server.shutdown(Duration::from_secs(1)).await;
        }
        assert_eq!(soon(&runtime, news.next()).await, None);
        let end = news.end();
        assert!(
            matches!(end, Some(SubscriptionEnd::Disconnected(_))),
            "{end:?}"
        );
    }
}

async fn a_reconnect_that_is_given_up_ends_subscriptions<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let rules = at_once()
        .max_retries(Some(1))
        .delay(Duration::from_millis(1));
    let client = client_builder(&runtime, address.parse().unwrap())
        .reconnect_when_lost(rules)
        .build();
    client.connect().await.unwrap();
    let mut news = client.subscribe("news").await.unwrap();
    server.shutdown(Duration::from_secs(1)).await;
    assert_eq!(soon(&runtime, news.next()).await, None);
    let end = SubscriptionEnd::Disconnected(CloseReason::Eof);
    assert_eq!(news.end(), Some(end));
}

async fn to_connect_again_by_hand_needs_a_new_subscription<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let (client, _) = connected(&runtime, address.parse().unwrap()).await;
    let mut news = client.subscribe("news").await.unwrap();
    soon(&runtime, client.close()).await;
    assert_eq!(soon(&runtime, news.next()).await, None);
    client.connect().await.unwrap();
    eventually(&runtime, "nobody subscribes", || {
        server.subscribers("news").is_empty()
    })
    .await;
    let mut news = client.subscribe("news").await.unwrap();
    publish(&server, 0..1).await;
    assert_eq!(soon(&runtime, news.next()).await.unwrap().text(), "0");
}

async fn a_refused_subscription_leaves_nothing_behind<R: TestRuntime>(runtime: R) {
    let server = TcpServer::builder_on(runtime.clone()).build();
    server.pubsub_with(Layers::new(), |_| false);
    let address = listen(&server).await;
    let (client, link) = connected(&runtime, address).await;
    let refused = client.subscribe("news").await;
    assert!(
        matches!(refused, Err(RequestError::Status(_))),
        "{refused:?}"
    );
    let news = message(MessageType::NOTIFY_URI, "news", "for nobody");
    assert_eq!(server.broadcast(news).await, Ok(1));
    let stray = soon(&runtime, link.receive_once())
        .await
        .expect("a message");
    assert_eq!(stray.content(), b"for nobody", "no handler is left");
    let alone = TcpClient::builder_on(runtime).build();
    let refused = alone.subscribe("news").await;
    assert!(
        matches!(refused, Err(RequestError::NotConnected)),
        "{refused:?}"
    );
}

async fn a_subscription_ends_when_its_client_closes_whoever_connects_next<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, address) = hub(&runtime).await;
    let (client, _) = connected(&runtime, address.parse().unwrap()).await;
    let mut news = client.subscribe("news").await.unwrap();
    let mut closing = Box::pin(client.close());
    let closed = poll_once(&mut closing).is_ready();
    let mut connecting = Box::pin(client.connect());
    let _ = poll_once(&mut connecting);
    if !closed {
        soon(&runtime, closing).await;
    }
    drop(connecting);
    assert_eq!(soon(&runtime, news.next()).await, None);
    let end = SubscriptionEnd::Disconnected(CloseReason::Local);
    assert_eq!(news.end(), Some(end));
}

async fn a_subscription_ends_with_a_reconnect_that_is_not_begun<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    server.on((MessageType::REQUEST_URI, "silence"), |_| ());
    let (client, link) = connected(&runtime, address.parse().unwrap()).await;
    // Its future is dropped before anybody has polled it.
    let handler = at_once().into_handler();
    client.set_timeout_handler(move |event| drop(handler(event)));
    let mut news = client.subscribe("news").await.unwrap();
    let silence = client.request("silence").timeout(Duration::from_millis(30));
    assert!(silence.await.unwrap_err().is_timeout());
    soon(&runtime, link.closed()).await;
    assert_eq!(soon(&runtime, news.next()).await, None);
}

async fn a_handler_that_holds_a_subscription_may_be_replaced_by_one<
    R: TestRuntime,
>(
    runtime: R,
) {
    let (_server, address) = hub(&runtime).await;
    let (client, _) = connected(&runtime, address.parse().unwrap()).await;
    let weather = Mutex::new(client.subscribe("weather").await.unwrap());
    let waits = weather.lock().unwrap().waiting();
    client.on((MessageType::NOTIFY_URI, "news"), move |_: Incoming<R>| {
        assert_eq!(weather.lock().unwrap().waiting(), waits);
    });
    let subscribing = spawn(&runtime, client.subscribe("news").into_future());
    assert!(soon(&runtime, subscribing.join()).await.is_ok());
}

async fn the_applications_own_handler_outlives_a_subscription<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    let (client, _) = connected(&runtime, address.parse().unwrap()).await;
    let mut news = client.subscribe("news").await.unwrap();
    let handled = Count::default();
    let count = handled.clone();
    client.on((MessageType::NOTIFY_URI, "news"), move |_: Incoming<R>| {
        count.add();
    });
    news.unsubscribe().await.unwrap();
    let note = message(MessageType::NOTIFY_URI, "news", "");
    server.links()[0].send(note).await.unwrap();
    eventually(&runtime, "it is handled", || handled.get() == 1).await;
}

async fn to_unsubscribe_waits_for_room_unless_it_is_wanted_again<R: TestRuntime>(
    runtime: R,
) {
    let (server, address) = hub(&runtime).await;
    server.on((MessageType::CREATE_URI, "much"), |_: Incoming<R>| ());
    let limits = limits(|limits| limits.max_outgoing = 1_000);
    let client = client_builder(&runtime, address.parse().unwrap());
    let client = client.limits(limits).build();
    let link = client.connect().await.unwrap();
    for again in [false, true] {
        let news = client.subscribe("news").await.unwrap();
        assert_eq!(server.subscribers("news").len(), 1);
        // On one thread nothing is written before this task waits.
        let much = message(MessageType::CREATE_URI, "much", [0; 50_000]);
        link.send(much).await.unwrap();
        drop(news);
        if again {
            let _news = client.subscribe("news").await.unwrap();
            // What was sent before is there when this is answered.
            client.request("nobody").await.unwrap();
            assert_eq!(server.subscribers("news").len(), 1);
        } else {
            let gone = || server.subscribers("news").is_empty();
            eventually(&runtime, "it has ended", gone).await;
        }
    }
}
