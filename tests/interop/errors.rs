//! How our client's requests to a Python server end that are not answered with
//! what was asked for. A Python client waits for its timeout in most of these
//! cases.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::runtime::{CloseReason, MessageType, RequestError, TimeoutKind};
use netaio_tests::python::environment;
use serde_json::json;

use super::ends::{Connected, LONG, at_once, soon};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_in_a_timeout_that_says_what_was_asked() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let request = ends.client.request("never").content("x").timeout(SHORT);
    let error = at_once(request).await.unwrap_err();
    assert_eq!(error.timeout(), Some(SHORT));
    let RequestError::TimedOut(context) = error else {
        panic!("{error}")
    };
    assert_eq!(context.uri, "never");
    assert_eq!(context.message_type, MessageType::REQUEST_URI);
    assert_eq!(context.server, ends.server.address());
    // Those that Python netaio waits for are among the keys.
    for kind in [
        MessageType::RESPOND_URI,
        MessageType::NOT_FOUND,
        MessageType::ERROR,
        MessageType::AUTH_ERROR,
    ] {
        assert!(context.keys.contains(&(kind, "never".into())), "{kind}");
    }

    assert_eq!(ends.link.pending(), 0);
    let reply = at_once(ends.client.request("size").content("3")).await;
    assert_eq!(reply.unwrap().content(), b"sss");
    let reply = at_once(ends.client.request("missing")).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_handler_is_told_once_before_the_caller() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    ends.client.set_timeout_handler(move |event| {
        events.lock().unwrap().push(event);
    });
    let request = ends.client.request("never").timeout(SHORT);
    let error = at_once(request).await.unwrap_err();
    let told = std::mem::take(&mut *told.lock().unwrap());
    let [event] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(event.kind, TimeoutKind::Request);
    assert_eq!(event.server, ends.server.address().into());
    assert_eq!(event.error, error);
    assert_eq!(event.context.as_ref().unwrap().uri, "never");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_a_request_at_once_whatever_its_uri() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    for (uri, kind, its_uri, text) in [
        ("error", T::ERROR, "error", "an error for you"),
        (
            "error-default-uri",
            T::ERROR,
            "ERROR",
            "an error for nobody",
        ),
        ("not-found", T::NOT_FOUND, "not-found", "not found"),
        (
            "not-permitted",
            T::NOT_PERMITTED,
            "not-permitted",
            "not permitted",
        ),
        ("no-such-uri", T::NOT_FOUND, "no-such-uri", "not found"),
    ] {
        let request = || ends.link.request(uri).timeout(LONG);
        let reply = at_once(request()).await.expect(uri);
        assert_eq!(reply.message_type(), kind);
        assert_eq!((&*reply.uri_text(), &*reply.text()), (its_uri, text));

        let error = at_once(request().error_for_status()).await.unwrap_err();
        let RequestError::Status(status) = error else {
            panic!("{error}")
        };
        assert_eq!(status.message, reply);
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_handles_is_not_found_at_once() {
    let Some(python) = environment() else { return };
    for (default, uri) in [("not_found", ""), ("not_found_uri", "peer")] {
        let args = ["--default-handler", default];
        let ends = Connected::start(python, &args).await;
        let request = ends.client.request("peer").timeout(LONG);
        let request = request.message_type(MessageType::ADVERTISE_PEER);
        let reply = at_once(request).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::NOT_FOUND);
        assert_eq!(reply.uri_text(), uri);
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_uri_ends_the_request_that_was_sent_first() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let ask = |uri, content| ends.link.request(uri).content(content).into_future();
    let (slow, error, echo) = tokio::join!(
        ask("slow", "0.2;a"),
        ask("error-default-uri", ""),
        ask("echo", "b"),
    );
    assert_eq!(slow.unwrap().content(), b"slow 0.2;a");
    assert_eq!(error.unwrap().message_type(), MessageType::ERROR);
    assert_eq!(echo.unwrap().content(), b"b");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_uri_is_not_for_a_request_that_was_passed_over() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let given_up = ends.client.request("never").timeout(SHORT);
    assert!(at_once(given_up).await.unwrap_err().is_timeout());
    let never = ends.client.request("never").timeout(LONG);
    let never = tokio::spawn(never.into_future());
    ends.server.wait_for(|e| e["handler"] == "never", LONG);
    ends.server.wait_for(|e| e["handler"] == "never", LONG);

    // The server answers one message after the other: having answered this one
    // it has nothing to say about those before.
    assert!(at_once(ends.client.request("echo")).await.is_ok());
    for _ in 0..2 {
        let reply = at_once(ends.client.request("error-default-uri")).await;
        assert_eq!(reply.unwrap().text(), "an error for nobody");
    }
    assert_eq!(ends.link.pending(), 1);
    never.abort();
    assert!(never.await.unwrap_err().is_cancelled());
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_ends_all_requests_at_once() {
    let Some(python) = environment() else { return };
    for uri in ["close", "raise"] {
        let ends = Connected::start(python, &["--quiet"]).await;
        let ask = |uri| at_once(ends.client.request(uri).timeout(LONG));
        // All are sent while it is busy with the first.
        let slow = ends.client.request("slow").content("0.3").into_future();
        let (slow, first, second) = tokio::join!(slow, ask(uri), ask("echo"));
        assert!(slow.is_ok());
        for outcome in [first, second] {
            let Err(RequestError::Disconnected { sent, .. }) = outcome else {
                panic!("{uri}: {outcome:?}")
            };
            assert!(sent, "{uri}");
        }
        assert_eq!(ends.link.pending(), 0);
        // It is not sent to a connection that is just ending.
        let after = at_once(ends.client.request("echo")).await.unwrap_err();
        assert_eq!(after, RequestError::NotConnected);
        let after = at_once(ends.link.request("echo")).await.unwrap_err();
        let RequestError::Disconnected { sent, .. } = after else {
            panic!("{after}")
        };
        assert!(!sent);
        // The server goes on, and so may the client.
        let link = ends.client.connect().await.expect("a connection");
        assert!(at_once(link.request("echo")).await.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_ends_all_requests_at_once() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let slow = ends.client.request("slow").content("30").timeout(LONG);
    let slow = tokio::spawn(at_once(slow.into_future()));
    ends.server.wait_for(|e| e["handler"] == "slow", LONG);
    ends.server.kill();
    let error = slow.await.unwrap().unwrap_err();
    let RequestError::Disconnected { sent: true, reason } = error else {
        panic!("{error}")
    };
    let closed = matches!(reason, CloseReason::Eof | CloseReason::Io(_));
    assert!(closed, "{reason}");
    assert_eq!(ends.link.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_too_long_for_the_server_ends_the_connection() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let length = crate::runtime::wire::MAX_URI_AND_CONTENT.to_string();
    let request = ends.client.request("size").content(length).timeout(LONG);
    let error = at_once(request).await.unwrap_err();
    let disconnected = matches!(error, RequestError::Disconnected { .. });
    assert!(disconnected, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_client_fails_what_is_pending() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let never = ends.client.request("never").timeout(LONG);
    let never = tokio::spawn(at_once(never.into_future()));
    ends.server.wait_for(|e| e["handler"] == "never", LONG);
    ends.client.close().await;
    let error = never.await.unwrap().unwrap_err();
    let RequestError::Disconnected { sent: true, reason } = error else {
        panic!("{error}")
    };
    assert_eq!(reason, CloseReason::Local);
    assert_eq!(ends.link.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_ending_keeps_no_request_beyond_its_timeout() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    ends.client.on(MessageType::PUBLISH_URI, move |_| {
        started.send(()).expect("the test goes on");
        std::future::pending::<()>()
    });
    assert!(at_once(ends.client.request("echo")).await.is_ok());
    ends.server
        .command(&json!({"cmd": "broadcast", "uri": "u"}));
    soon(starts.recv()).await.expect("the handler runs");

    // The server is gone, but the handler may still have something to say.
    let error = at_once(ends.client.request("close")).await.unwrap_err();
    let lost = matches!(error, RequestError::Disconnected { .. });
    assert!(lost, "{error}");
    for request in [ends.link.request("echo"), ends.client.request("echo")] {
        let outcome = at_once(request.timeout(SHORT)).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
    assert_eq!(ends.link.pending(), 0);
}
