//! Subscriptions that are renewed on a new connection, when that is lost too.

use std::net::TcpListener;
use std::time::Duration;

use netaio_driver::{
    AutoReconnectTimeoutHandler, ConnectionEvent, ConnectionEvents, MessageType,
    Subscription, SubscriptionEnd, TcpClient,
};

use crate::ends::{client_builder, event, message};
use crate::raw_peer::{RawPeer, listener};
use crate::runtimes::TestRuntime;
use crate::waiting::{off_thread, soon, spawn};

on_every_runtime![
    a_connection_lost_before_subscriptions_are_renewed_is_not_announced,
    a_renewal_goes_on_when_the_reconnect_is_cancelled,
];

/// Accepts a connection and reads from it that `news` is subscribed to.
async fn subscribed(listener: &TcpListener) -> RawPeer {
    let listener = listener.try_clone().unwrap();
    off_thread(move || {
        let mut peer = RawPeer::accept(&listener);
        let asked = peer.receive().expect("a message");
        assert_eq!(asked.message_type(), MessageType::SUBSCRIBE_URI);
        peer
    })
    .await
}

/// Connects a client and subscribes it to `news`; the other end of the connection, and
/// the subscription.
async fn subscribe<R: TestRuntime>(
    runtime: &R,
    client: &TcpClient<R>,
    listener: &TcpListener,
) -> (RawPeer, Subscription<R>) {
    client.connect().await.unwrap();
    let subscribing = spawn(runtime, client.subscribe("news").into_future());
    let mut peer = soon(runtime, subscribed(listener)).await;
    confirm(&mut peer);
    let news = soon(runtime, subscribing.join()).await.unwrap();
    (peer, news)
}

fn confirm(peer: &mut RawPeer) {
    peer.send(&message(MessageType::CONFIRM_SUBSCRIBE, "news", ""));
}

/// The events that are there already which say that a reconnect is done.
fn announced(events: &mut ConnectionEvents) -> usize {
    std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, ConnectionEvent::Reconnected { .. }))
        .count()
}

async fn a_renewal_goes_on_when_the_reconnect_is_cancelled<R: TestRuntime>(
    runtime: R,
) {
    let listener = listener();
    let rules = AutoReconnectTimeoutHandler::new();
    let client = client_builder(&runtime, listener.local_addr().unwrap())
        .timeout_handler(rules.into_handler())
        .build();
    let (_first, mut news) = subscribe(&runtime, &client, &listener).await;
    let mut events = client.events();

    let silence = client.request("silence").timeout(Duration::from_millis(30));
    silence.await.unwrap_err();
    let mut second = soon(&runtime, subscribed(&listener)).await;
    soon(&runtime, client.cancel_timeout_handler_tasks()).await;
    assert_eq!(announced(&mut events), 0);
    second.send(&message(MessageType::NOT_PERMITTED, "news", ""));

    // It is told what the server says, and so are those who look at events.
    assert_eq!(soon(&runtime, news.next()).await, None);
    let end = news.end();
    assert!(matches!(end, Some(SubscriptionEnd::Refused(_))), "{end:?}");
    event(&runtime, &mut events, |event| {
        matches!(event, ConnectionEvent::Reconnected { .. }).then_some(())
    })
    .await;
}

async fn a_connection_lost_before_subscriptions_are_renewed_is_not_announced<
    R: TestRuntime,
>(
    runtime: R,
) {
    let listener = listener();
    let rules = AutoReconnectTimeoutHandler::new()
        .delay(Duration::from_millis(1))
        .spread(Duration::ZERO);
    let client = client_builder(&runtime, listener.local_addr().unwrap())
        .reconnect_when_lost(rules)
        .build();
    let (first, mut news) = subscribe(&runtime, &client, &listener).await;
    let mut events = client.events();

    drop(first);
    drop(soon(&runtime, subscribed(&listener)).await);
    let mut third = soon(&runtime, subscribed(&listener)).await;
    assert_eq!(announced(&mut events), 0);

    confirm(&mut third);
    third.send(&message(MessageType::NOTIFY_URI, "news", "at last"));
    event(&runtime, &mut events, |event| {
        matches!(event, ConnectionEvent::Reconnected { .. }).then_some(())
    })
    .await;
    let notification = soon(&runtime, news.next()).await.unwrap();
    assert_eq!(notification.text(), "at last");
    assert!(notification.resumed);
}
