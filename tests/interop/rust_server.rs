//! Python clients with our server.

use std::time::Duration;

use crate::runtime::{Layers, Message, MessageType, wire};
use netaio_driver::Compatibility;
use netaio_tests::python::{PyClient, environment};
use serde_json::json;

use super::ends::{LONG, Served, eventually, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_creates_reads_replaces_and_removes() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let missing = json!({"type": "NOT_FOUND", "uri": "k"});
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "k", "expect": missing},
        {"op": "update", "uri": "k", "content": "1", "expect": missing},
        {"op": "create", "uri": "k", "content": "2", "expect": {"type": "OK"}},
        {"op": "create", "uri": "k", "content": "3",
         "expect": {"type": "ERROR", "content": "exists"}},
        {"op": "request", "uri": "k", "expect": {"content": "2"}},
        {"op": "update", "uri": "k", "content": "4", "expect": {"type": "OK"}},
        {"op": "request", "uri": "k", "expect": {"content": "4"}},
        {"op": "delete", "uri": "k", "expect": {"type": "OK"}},
        {"op": "delete", "uri": "k", "expect": missing},
        {"op": "create", "uri_hex": "00ff", "content_hex": "ff00",
         "expect": {"type": "OK"}},
        {"op": "request", "uri_hex": "00ff", "expect": {"content_hex": "ff00"}},
        {"op": "close"},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_gets_back_what_it_sends_up_to_the_largest() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let most = wire::MAX_URI_AND_CONTENT - "echo".len();
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "echo", "content": "hello",
         "expect": {"type": "RESPOND_URI", "uri": "echo", "content": "hello"}},
        {"op": "request", "uri": "echo", "expect": {"content": ""}},
        {"op": "request", "uri": "echo", "content_fill": ["61", most],
         "expect": {"type": "RESPOND_URI", "content_len": most}},
        {"op": "request", "uri": "size", "content": most.to_string(),
         "expect": {"type": "RESPOND_URI", "content_len": most}},
        {"op": "request", "uri": "size", "content": (most + 1).to_string(),
         "expect": {"type": "ERROR", "uri": "size"}},
        {"op": "repeat", "n": 200, "do":
            {"op": "request", "uri": "echo", "content": "again",
             "expect": {"content": "again"}}},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_sees_our_errors_at_once() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    // It would wait longer for a reply without its URI than an operation may
    // take, and then not be satisfied.
    let request = |uri: &str, kind: &str, text: &str| {
        json!({"op": "request", "uri": uri, "timeout": 30,
               "expect": {"type": kind, "uri": uri, "content": text}})
    };
    let ops = json!([
        {"op": "connect"},
        request("no-such-uri", "NOT_FOUND", "not found"),
        request("not-found", "NOT_FOUND", "not found"),
        request("error", "ERROR", "an error for you"),
        request("fails", "ERROR", "failed as asked"),
        request("raise", "ERROR", "internal error"),
        // A type that nobody handles: the default handler.
        {"op": "request", "type": "ADVERTISE_PEER", "uri": "p", "timeout": 30,
         "expect": {"type": "NOT_FOUND", "uri": "p", "content": "not found"}},
        request("echo", "RESPOND_URI", ""),
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_no_python_request_does_not_hurt_the_next() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let in_vain = |uri: &str| {
        json!({"op": "request", "uri": uri, "timeout": 0.3,
               "expect": {"error": "TimeoutError"}})
    };
    let echo = json!({"op": "request", "uri": "echo", "content": "a",
                      "expect": {"content": "a"}});
    let ops = json!([
        {"op": "connect"},
        in_vain("never"),
        echo,
        in_vain("not-permitted"),
        echo,
        in_vain("error-default-uri"),
        echo,
    ]);
    let report = served.report(python, &[], ops);
    report.assert_passed();
    let stray = |kind: &str, uri: &str| {
        let unexpected = |e: &&serde_json::Value| e["event"] == "unexpected";
        let mut events = report.events().iter().filter(unexpected);
        events.any(|e| e["type"] == kind && e["uri"] == uri)
    };
    assert!(stray("NOT_PERMITTED", "not-permitted"));
    assert!(stray("ERROR", "ERROR"));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_behaves_as_python_leaves_a_python_client_waiting() {
    let Some(python) = environment() else { return };
    let strict = Compatibility::Python;
    let served = Served::with(Layers::new(), |s| s.compatibility(strict)).await;
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "type": "ADVERTISE_PEER", "uri": "p", "timeout": 0.3,
         "expect": {"error": "TimeoutError"}},
        {"op": "request", "type": "ADVERTISE_PEER", "uri": "",
         "expect": {"type": "NOT_FOUND", "uri": ""}},
        {"op": "request", "uri": "echo", "content": "a",
         "expect": {"content": "a"}},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_holds_up_no_other() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let echo = json!({"op": "request", "uri": "echo", "content": "a",
                      "timeout": 30, "expect": {"content": "a"}});
    let client = PyClient::spawn(python, served.address.port(), &[]);
    client.do_op(json!({"op": "connect"}));
    let done = client.do_op(json!({"op": "parallel", "ops": [
        {"op": "request", "uri": "slow", "content": "1;b", "timeout": 30,
         "expect": {"content": "slow 1;b"}},
        echo,
        {"op": "request", "uri": "size", "content": "3", "timeout": 30,
         "expect": {"content": "sss"}},
    ]}));
    let ms = |i: usize| done["results"][i]["ms"].as_u64().expect("a time");
    assert!(ms(0) >= 1000, "{done}");
    assert!(ms(1) < ms(0) && ms(2) < ms(0), "{done}");
    client.finish().assert_passed();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_reply_of_ours_is_the_last_to_its_request() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    // The client has given up; the reply to its next request for that URI
    // leaves after the late one. Python takes the late one for it (it has no
    // means to tell), so it has to be gone before.
    let client = PyClient::spawn(python, served.address.port(), &[]);
    client.do_op(json!({"op": "connect"}));
    client.do_op(
        json!({"op": "request", "uri": "slow", "content": "0.3;late",
                        "timeout": 0.1, "expect": {"error": "TimeoutError"}}),
    );
    let late = |e: &serde_json::Value| e["event"] == "unexpected";
    let late = client.wait_for(late, LONG);
    assert_eq!(late["content"], "slow 0.3;late");
    client.do_op(json!({"op": "request", "uri": "slow", "content": "0;next",
                        "expect": {"content": "slow 0;next"}}));
    // The first operation has failed, as it should.
    let _ = client.finish();
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_subscribes_and_is_notified() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let notice = json!({"type": "NOTIFY_URI", "uri": "news", "content": "a"});
    let ops = json!([
        {"op": "connect"},
        {"op": "subscribe", "uri": "news",
         "expect": {"type": "CONFIRM_SUBSCRIBE", "uri": "news"}},
        {"op": "publish", "uri": "news", "content": "a",
         "expect": {"type": "OK", "content": "notified 1"}},
        {"op": "wait_notify", "expect": notice},
        {"op": "publish", "uri": "other", "content": "b",
         "expect": {"type": "OK", "content": "notified 0"}},
        {"op": "unsubscribe", "uri": "news",
         "expect": {"type": "CONFIRM_UNSUBSCRIBE", "uri": "news"}},
        {"op": "publish", "uri": "news", "content": "c",
         "expect": {"type": "OK", "content": "notified 0"}},
        {"op": "no_notify", "timeout": 0.1},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_can_send_to_all_python_clients() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let clients: Vec<_> = (0..2)
        .map(|_| PyClient::spawn(python, served.address.port(), &[]))
        .collect();
    for client in &clients {
        client.do_op(json!({"op": "connect"}));
    }
    let all = || served.server.links().len() == clients.len();
    eventually("both are accepted", all).await;
    let message = Message::new(MessageType::PUBLISH_URI, "u", "c").unwrap();
    for link in served.server.links() {
        soon(link.send(message.clone())).await.expect("room");
    }
    for client in clients {
        client.do_op(json!({"op": "wait_notify",
            "expect": {"type": "PUBLISH_URI", "uri": "u", "content": "c"}}));
        client.finish().assert_passed();
    }
    let none = || served.server.links().is_empty();
    eventually("both are gone", none).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_connects_again_after_we_close() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let ops = json!([
        {"op": "connect"},
        // It does not notice, and waits.
        {"op": "request", "uri": "close", "timeout": 0.3,
         "expect": {"error": "TimeoutError"}},
        {"op": "connect"},
        {"op": "request", "uri": "echo", "content": "a",
         "expect": {"content": "a"}},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_python_client_have_its_reply() {
    let Some(python) = environment() else { return };
    let served = Served::start().await;
    let client = PyClient::spawn(python, served.address.port(), &[]);
    client.do_op(json!({"op": "connect"}));
    let slow = client.begin_op(json!({"op": "request", "uri": "slow",
        "content": "0.3;a", "timeout": 30, "expect": {"content": "slow 0.3;a"}}));
    let link = || served.server.links().first().cloned();
    eventually("the request is in flight", || {
        link().is_some_and(|link| link.in_flight() == 1)
    })
    .await;
    soon(served.server.shutdown(Duration::from_secs(20))).await;
    client.result(slow);
    client.finish().assert_passed();
    served.end().await;
}
