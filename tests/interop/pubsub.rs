//! Subscriptions as streams of our client at a Python server, and those of
//! Python clients at our server.

use std::time::Duration;

use crate::runtime::{
    AutoReconnectTimeoutHandler, ConnectionEvent, LagPolicy, Message, MessageType,
    Subscription, SubscriptionEnd,
};
use netaio_tests::python::{PyClient, environment};
use serde_json::{Value, json};

use super::ends::{Connected, LONG, Served, at_once, eventually, soon};
use super::setups::{Setup, setups};

async fn connected(setup: &Setup) -> Connected {
    let python = environment().expect("was there a moment ago");
    let layers = setup.outer.clone();
    Connected::with(python, &setup.args, |c| c.layers(layers)).await
}

/// Has a Python server notify of something; gives how many it told.
fn notify(ends: &Connected, uri: &str, content: &str) -> u64 {
    let command = json!({"cmd": "notify", "uri": uri, "content": content});
    let done = ends.server.command(&command);
    done["subscribers"].as_u64().expect("a number")
}

/// The text of the next notification, which none was lost before.
async fn next(subscription: &mut Subscription) -> String {
    let notification = soon(subscription.next()).await.expect("a notification");
    assert_eq!(notification.message_type(), MessageType::NOTIFY_URI);
    assert_eq!((notification.uri(), notification.lost), (&b"news"[..], 0));
    notification.text().into_owned()
}

/// Waits until a Python server has been told that a client unsubscribes.
fn expect_unsubscribed(ends: &Connected) {
    let unsubscribed = |e: &Value| e["handler"] == "unsubscribe";
    let seen = ends.server.wait_for(unsubscribed, LONG);
    assert_eq!(seen["uri"], "news");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_python_server_notifies_of_comes_in_order_until_unsubscribed() {
    if environment().is_none() {
        return;
    }
    for setup in setups() {
        let ends = connected(&setup).await;
        assert_eq!(notify(&ends, "news", "too early"), 0, "{}", setup.name);
        let mut news = soon(ends.client.subscribe("news").into_future())
            .await
            .expect("is confirmed");
        for n in 0..20 {
            assert_eq!(notify(&ends, "news", &n.to_string()), 1);
            assert_eq!(notify(&ends, "other", "not for us"), 0);
        }
        for n in 0..20 {
            assert_eq!(next(&mut news).await, n.to_string());
        }
        assert_eq!(notify(&ends, "news", "last"), 1);
        // It has come when what was sent later has.
        assert!(at_once(ends.link.request("echo")).await.is_ok());
        assert_eq!(soon(news.unsubscribe()).await, Ok(()));
        assert_eq!(notify(&ends, "news", "too late"), 0);
        // What came before can still be taken.
        assert_eq!(next(&mut news).await, "last");
        assert_eq!(soon(news.next()).await, None);
        assert_eq!(news.end(), Some(SubscriptionEnd::Unsubscribed));
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_dropped_unsubscribes() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let news = soon(ends.client.subscribe("news").into_future())
        .await
        .unwrap();
    assert_eq!(notify(&ends, "news", "a"), 1);
    drop(news);
    expect_unsubscribed(&ends);
    assert_eq!(notify(&ends, "news", "b"), 0);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_to_one_uri_share_one_at_a_python_server() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let subscribe = || soon(ends.client.subscribe("news").into_future());
    let mut one = subscribe().await.unwrap();
    let mut two = subscribe().await.unwrap();
    assert_eq!(notify(&ends, "news", "for both"), 1);
    assert_eq!(next(&mut one).await, "for both");
    assert_eq!(next(&mut two).await, "for both");

    drop(one);
    assert_eq!(notify(&ends, "news", "for one"), 1);
    assert_eq!(next(&mut two).await, "for one");
    drop(two);
    expect_unsubscribed(&ends);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_too_slow_loses_what_its_policy_says() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let with = |policy| {
        let subscribe = ends.client.subscribe("news").capacity(2);
        soon(subscribe.lag_policy(policy).into_future())
    };
    let mut newest = with(LagPolicy::DropOldest).await.unwrap();
    let mut oldest = with(LagPolicy::DropNewest).await.unwrap();
    let mut strict = with(LagPolicy::Disconnect).await.unwrap();
    for n in 0..5 {
        assert_eq!(notify(&ends, "news", &n.to_string()), 1);
    }
    let dropped = || newest.lost() == 3 && oldest.lost() == 3;
    eventually("all five have come", dropped).await;
    for (subscription, kept, lost) in
        [(&mut newest, ["3", "4"], 3), (&mut oldest, ["0", "1"], 0)]
    {
        let first = soon(subscription.next()).await.unwrap();
        assert_eq!((&*first.text(), first.lost), (kept[0], lost));
        assert_eq!(next(subscription).await, kept[1]);
        assert_eq!(subscription.try_next(), None);
    }
    for kept in ["0", "1"] {
        assert_eq!(next(&mut strict).await, kept);
    }
    assert_eq!(soon(strict.next()).await, None);
    assert_eq!(strict.end(), Some(SubscriptionEnd::Lagged));
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_renewed_before_the_reconnect_is_announced() {
    let Some(python) = environment() else { return };
    for setup in setups() {
        let rules = AutoReconnectTimeoutHandler::new()
            .delay(Duration::from_millis(5))
            .max_delay(Duration::from_millis(50));
        let layers = setup.outer.clone();
        let mut ends = Connected::with(python, &setup.args, |client| {
            client.layers(layers).reconnect_when_lost(rules)
        })
        .await;
        let mut news = soon(ends.client.subscribe("news").into_future())
            .await
            .expect("is confirmed");
        assert_eq!(notify(&ends, "news", "before"), 1);
        assert_eq!(next(&mut news).await, "before");

        let mut events = ends.client.events();
        ends.server.restart_on(ends.server.port);
        let reconnected = async {
            while let Some(event) = events.next().await {
                if matches!(event, ConnectionEvent::Reconnected { .. }) {
                    return;
                }
            }
            panic!("no more events");
        };
        soon(reconnected).await;
        assert_eq!(notify(&ends, "news", "after"), 1, "{}", setup.name);
        let after = soon(news.next()).await.expect("a notification");
        assert_eq!((&*after.text(), after.resumed), ("after", true));
        assert_eq!(notify(&ends, "news", "later"), 1);
        let later = soon(news.next()).await.expect("a notification");
        assert_eq!((&*later.text(), later.resumed), ("later", false));
        drop(news);
        expect_unsubscribed(&ends);
        soon(ends.client.close()).await;
        assert!(ends.server.stop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_ends_with_a_connection_that_nobody_makes_again() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let mut news = soon(ends.client.subscribe("news").into_future())
        .await
        .unwrap();
    assert_eq!(notify(&ends, "news", "last"), 1);
    ends.server.kill();
    assert_eq!(next(&mut news).await, "last");
    assert_eq!(soon(news.next()).await, None);
    let end = news.end().expect("has ended");
    assert!(matches!(end, SubscriptionEnd::Disconnected(_)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_clients_get_what_they_subscribed_to_and_what_is_for_all() {
    let Some(python) = environment() else { return };
    for setup in setups() {
        let layers = setup.outer.clone();
        let served = Served::with(setup.inner.clone(), |s| s.layers(layers)).await;
        let spawn = || PyClient::spawn(python, served.address.port(), &setup.args);
        let (reader, other) = (spawn(), spawn());
        for client in [&reader, &other] {
            client.do_op(json!({"op": "connect"}));
        }
        let uris = [(&reader, "news"), (&other, "other")];
        for (client, uri) in uris {
            client.do_op(json!({"op": "subscribe", "uri": uri, "timeout": 30,
                "expect": {"type": "CONFIRM_SUBSCRIBE", "uri": uri}}));
        }
        let send = |uri: &str, content: &str| {
            Message::new(MessageType::NOTIFY_URI, uri, content).unwrap()
        };
        let told = served.server.notify("news", send("news", "a"));
        assert_eq!(soon(told).await, Ok(1), "{}", setup.name);
        let told = served.server.broadcast(send("all", "b"));
        assert_eq!(soon(told).await, Ok(2));
        let told = served.server.notify("nothing", send("nothing", "c"));
        assert_eq!(soon(told).await, Ok(0));
        let hears = |client: &PyClient, uri: &str, content: &str| {
            client.do_op(json!({"op": "wait_notify", "timeout": 30, "expect":
                {"type": "NOTIFY_URI", "uri": uri, "content": content}}));
        };
        hears(&reader, "news", "a");
        hears(&reader, "all", "b");
        hears(&other, "all", "b");

        other.do_op(json!({"op": "publish", "uri": "news", "content": "d",
            "timeout": 30, "expect": {"type": "OK", "content": "notified 1"}}));
        hears(&reader, "news", "d");
        reader.do_op(json!({"op": "unsubscribe", "uri": "news", "timeout": 30,
            "expect": {"type": "CONFIRM_UNSUBSCRIBE", "uri": "news"}}));
        other.do_op(json!({"op": "publish", "uri": "news", "content": "e",
            "timeout": 30, "expect": {"type": "OK", "content": "notified 0"}}));
        // In order: what had been sent before the confirmation would be here.
        for client in [reader, other] {
            client.do_op(json!({"op": "no_notify", "timeout": 0.01}));
            client.finish().assert_passed();
        }
        served.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_that_goes_away_is_subscribed_no_more() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let client = PyClient::spawn(python, served.address.port(), &[]);
    client.do_op(json!({"op": "connect"}));
    client.do_op(json!({"op": "subscribe", "uri": "news", "timeout": 30,
                        "expect": {"type": "CONFIRM_SUBSCRIBE"}}));
    assert_eq!(served.server.subscribers("news").len(), 1);
    client.kill();
    let none = || served.server.subscribers("news").is_empty();
    eventually("nobody is subscribed", none).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_may_subscribe_only_to_what_it_is_allowed_to() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let allow = |m: &crate::runtime::Incoming| m.uri() != b"secret";
    served.server.pubsub_with(Default::default(), allow);
    let client = PyClient::spawn(python, served.address.port(), &[]);
    client.do_op(json!({"op": "connect"}));
    client.do_op(json!({"op": "subscribe", "uri": "secret", "timeout": 0.3,
                        "expect": {"error": "TimeoutError"}}));
    // It was told so, which ends nothing that Python waits for.
    let told = |e: &Value| e["type"] == "NOT_PERMITTED" && e["uri"] == "secret";
    client.wait_for(told, LONG);
    client.do_op(json!({"op": "subscribe", "uri": "open", "timeout": 30,
                        "expect": {"type": "CONFIRM_SUBSCRIBE"}}));
    assert!(served.server.subscribers("secret").is_empty());
    assert_eq!(served.server.subscribers("open").len(), 1);
    let _ = client.finish();
    served.end().await;
}
