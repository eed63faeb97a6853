//! A Python server goes away and comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::runtime::{
    AutoReconnectTimeoutHandler, ConnectionEvent, ConnectionEvents, MessageType,
    RequestError, TcpClient,
};
use netaio_tests::python::{PyServer, environment};
use tokio::sync::mpsc;

use super::ends::{Connected, LONG, at_once, soon};

const SHORT: Duration = Duration::from_millis(300);

/// Rules that do not make a test wait.
fn quickly() -> AutoReconnectTimeoutHandler {
    AutoReconnectTimeoutHandler::new()
        .spread(Duration::ZERO)
        .delay(Duration::from_millis(5))
        .max_delay(Duration::from_millis(50))
}

/// Waits for an event.
async fn wait_for(
    events: &mut ConnectionEvents,
    wanted: impl Fn(&ConnectionEvent) -> bool,
) {
    let found = async {
        while let Some(event) = events.next().await {
            if wanted(&event) {
                return;
            }
        }
        panic!("no more events");
    };
    soon(found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_again() {
    let Some(python) = environment() else { return };
    let ends =
        Connected::with(python, &[], |c| c.reconnect_when_lost(quickly())).await;
    let Connected {
        mut server,
        client,
        link,
    } = ends;
    let mut events = client.events();

    let slow = client.request("slow").content("30").timeout(LONG);
    let slow = tokio::spawn(at_once(slow.into_future()));
    server.wait_for(|e| e["handler"] == "slow", LONG);
    server.kill();
    let error = slow.await.unwrap().unwrap_err();
    let lost = matches!(error, RequestError::Disconnected { sent: true, .. });
    assert!(lost, "{error}");
    let tried_in_vain = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::Reconnecting { attempt: 3.., .. })
    };
    wait_for(&mut events, tried_in_vain).await;

    // A request made meanwhile waits for the new connection.
    let meanwhile = client.request("echo").content("a").timeout(LONG);
    let meanwhile = tokio::spawn(meanwhile.into_future());
    server.restart_on(server.port);
    assert_eq!(soon(meanwhile).await.unwrap().unwrap().content(), b"a");
    let connected =
        |event: &ConnectionEvent| matches!(event, ConnectionEvent::Connected { .. });
    wait_for(&mut events, connected).await;

    let new = client.link(None).expect("a connection");
    assert_ne!(new.id(), link.id());
    assert_eq!((link.pending(), new.pending()), (0, 0));
    soon(client.close()).await;
    assert!(client.link(None).is_none());
    assert!(server.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_made_again_as_often_as_it_is_lost() {
    let Some(python) = environment() else { return };
    let ends =
        Connected::with(python, &[], |c| c.reconnect_when_lost(quickly())).await;
    for round in 0..200 {
        let uri = if round % 2 == 0 { "close" } else { "raise" };
        let error = at_once(ends.client.request(uri)).await.unwrap_err();
        let lost = matches!(error, RequestError::Disconnected { .. });
        assert!(lost, "{error}");
        let next = ends.client.request("echo").content(uri);
        assert_eq!(at_once(next).await.unwrap().text(), uri);
    }
    soon(ends.client.close()).await;
    assert!(ends.server.stop());
}

/// Kills the server in the middle of a timeout, so that the first attempts to
/// connect again are in vain.
fn kill_then_reconnect(
    client: &TcpClient,
    server: &Arc<Mutex<PyServer>>,
    rules: AutoReconnectTimeoutHandler,
) {
    let reconnect = rules.into_handler();
    let server = Arc::clone(server);
    client.set_timeout_handler(move |event| {
        server.lock().unwrap().kill();
        reconnect(event)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_reconnects_to_a_server_that_is_started_again() {
    let Some(python) = environment() else { return };
    let Connected {
        server,
        client,
        link,
    } = Connected::start(python, &[]).await;
    let mut events = client.events();
    let server = Arc::new(Mutex::new(server));
    let (sender, mut reconnected) = mpsc::unbounded_channel();
    let rules = quickly().on_reconnect(move |client: TcpClient| {
        let sender = sender.clone();
        async move {
            let subscribe = client.request("news");
            let subscribe = subscribe.message_type(MessageType::SUBSCRIBE_URI);
            sender
                .send(subscribe.await)
                .map_err(|error| error.to_string())
        }
    });
    kill_then_reconnect(&client, &server, rules);

    let error = at_once(client.request("never").timeout(SHORT))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let tried_in_vain = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::Reconnecting { attempt: 3.., .. })
    };
    wait_for(&mut events, tried_in_vain).await;
    assert!(link.is_closed());
    {
        let mut server = server.lock().unwrap();
        let port = server.port;
        server.restart_on(port);
    }
    let subscribed = soon(reconnected.recv()).await.unwrap().unwrap();
    assert_eq!(subscribed.message_type(), MessageType::CONFIRM_SUBSCRIBE);
    let reply = at_once(client.request("echo").content("a")).await.unwrap();
    assert_eq!(reply.content(), b"a");
    client.cancel_timeout_handler_tasks().await;
    assert_eq!(client.timeout_handler_tasks(), 0);
    assert_eq!(client.link(None).expect("a connection").pending(), 0);
    assert_eq!(link.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_timeouts_together_make_one_new_connection() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (sender, mut reconnected) = mpsc::unbounded_channel();
    let rules = quickly().on_reconnect(move |_| {
        sender.send(()).expect("the test goes on");
    });
    ends.client.set_timeout_handler(rules.into_handler());
    let mut requests = Vec::new();
    for n in 0..10 {
        let content = format!("30;{n}");
        let request = ends.client.request("slow").content(content).timeout(SHORT);
        requests.push(tokio::spawn(request.into_future()));
    }
    let mut timeouts = 0;
    for request in requests {
        match soon(request).await.unwrap().unwrap_err() {
            RequestError::TimedOut(_) => timeouts += 1,
            // The new connection came before its own timeout.
            RequestError::Disconnected { .. } => {}
            error => panic!("{error}"),
        }
    }
    assert!(timeouts > 0);
    soon(reconnected.recv()).await.expect("a new connection");
    let reply = at_once(ends.client.request("echo").content("a"))
        .await
        .unwrap();
    assert_eq!(reply.content(), b"a");
    assert!(reconnected.try_recv().is_err());
    assert_eq!(ends.link.pending(), 0);
    assert_eq!(ends.client.link(None).expect("a connection").pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stays_away_is_given_up() {
    let Some(python) = environment() else { return };
    let rules = quickly().max_retries(Some(3));
    let ends = Connected::with(python, &[], |c| c.reconnect_when_lost(rules)).await;
    let mut events = ends.client.events();
    ends.server.kill();
    let last = |event: &ConnectionEvent| {
        matches!(event, ConnectionEvent::Reconnecting { attempt: 4, .. })
    };
    wait_for(&mut events, last).await;
    let error = at_once(ends.client.request("echo")).await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    let gave_up =
        |event: &ConnectionEvent| matches!(event, ConnectionEvent::GaveUp { .. });
    wait_for(&mut events, gave_up).await;
    assert!(events.try_next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn to_connect_after_a_loss_makes_a_new_connection() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &["--quiet"]).await;
    for _ in 0..200 {
        let error = at_once(ends.client.request("close")).await.unwrap_err();
        let lost = matches!(error, RequestError::Disconnected { .. });
        assert!(lost, "{error}");
        // Not the one that is just ending.
        let link = soon(ends.client.connect()).await.expect("a connection");
        assert!(at_once(link.request("echo")).await.is_ok());
    }
    soon(ends.client.close()).await;
    assert!(ends.server.stop());
}
