//! A Python node asks ours.

use crate::runtime::{Layers, Message, MessageType};
use netaio_tests::python::environment;
use serde_json::{Value, json};

use super::ends::{INNER, LONG, OUTER, at_once, eventually, inner, outer, soon};
use super::node_ends::Nodes;
use super::setups::setups;

#[tokio::test(flavor = "multi_thread")]
async fn our_node_answers_every_kind_of_request_in_every_setup() {
    let Some(python) = environment() else { return };
    for setup in setups() {
        let nodes = Nodes::set_up(python, &setup).await;
        let ask = |kind: &str, uri: &str, content: &str, answer: [&str; 2]| {
            let [answer, text] = answer;
            nodes.python_does(json!({
                "op": kind, "uri": uri, "content": content, "timeout": 30,
                "inner": uri == "inner" || kind != "request",
                "expect": {"type": answer, "uri": uri, "content": text},
            }))
        };
        let missing = ["NOT_FOUND", "not found"];
        ask("request", "k", "", missing);
        ask("update", "k", "1", missing);
        ask("create", "k", "2", ["OK", "stored"]);
        ask("create", "k", "3", ["ERROR", "exists"]);
        ask("request", "k", "", ["RESPOND_URI", "2"]);
        ask("update", "k", "4", ["OK", "stored"]);
        ask("request", "k", "", ["RESPOND_URI", "4"]);
        ask("delete", "k", "", ["OK", "deleted"]);
        ask("delete", "k", "", missing);
        ask("request", "echo", "hello", ["RESPOND_URI", "hello"]);
        ask("request", "inner", "5", ["RESPOND_URI", "inner 5"]);
        // A handler that waits, which Python's own nodes cannot have.
        ask("request", "slow", "0.1;6", ["RESPOND_URI", "slow 0.1;6"]);
        ask("request", "size", "3", ["RESPOND_URI", "sss"]);
        ask("request", "error", "", ["ERROR", "an error for you"]);
        nodes.python_does(json!({
            "op": "request", "uri": "echo", "content_fill": ["61", 60_000],
            "timeout": 30,
            "expect": {"type": "RESPOND_URI", "content_len": 60_000},
        }));
        for uri in ["never", "not-permitted", "error-default-uri"] {
            nodes.python_does(json!({
                "op": "request", "uri": uri, "timeout": 0.2,
                "expect": {"error": "TimeoutError"},
            }));
        }
        // They came, and end no request of Python's.
        for (kind, uri) in [("NOT_PERMITTED", "not-permitted"), ("ERROR", "ERROR")] {
            let stray = |e: &Value| {
                e["event"] == "unexpected" && e["type"] == kind && e["uri"] == uri
            };
            nodes.python.wait_for(stray, LONG);
        }
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_of_our_node_holds_up_no_other() {
    let Some(python) = environment() else { return };
    let nodes = Nodes::start(python).await;
    let port = nodes.address.port();
    let ask = |uri: &str, content: &str, answer: &str| {
        json!({"op": "request", "uri": uri, "content": content, "timeout": 30,
               "port": port, "expect": {"content": answer}})
    };
    let done = nodes.python.do_op(json!({"op": "parallel", "ops": [
        ask("slow", "1;a", "slow 1;a"),
        ask("echo", "b", "b"),
        ask("size", "3", "sss"),
    ]}));
    let ms = |i: usize| done["results"][i]["ms"].as_u64().expect("a time");
    assert!(ms(0) >= 1000, "{done}");
    assert!(ms(1) < ms(0) && ms(2) < ms(0), "{done}");
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_node_notifies_a_python_node_until_it_unsubscribes() {
    let Some(python) = environment() else { return };
    for setup in setups() {
        let nodes = Nodes::set_up(python, &setup).await;
        let python_does = |operation| nodes.python_does(operation);
        let publish = |content: &str, told: &str| {
            python_does(json!({
                "op": "request", "type": "PUBLISH_URI", "uri": "news",
                "content": content, "timeout": 30,
                "expect": {"type": "OK", "content": told},
            }));
        };
        python_does(json!({"op": "subscribe", "uri": "news", "timeout": 30,
            "expect": {"type": "CONFIRM_SUBSCRIBE", "uri": "news"}}));
        publish("extra", "notified 1");
        let notice = Message::new(MessageType::NOTIFY_URI, "news", "more").unwrap();
        assert_eq!(soon(nodes.node.notify("news", notice)).await, Ok(1));
        for content in ["extra", "more"] {
            python_does(json!({"op": "wait_notify", "timeout": 30, "expect":
                {"type": "NOTIFY_URI", "uri": "news", "content": content}}));
        }
        python_does(json!({"op": "unsubscribe", "uri": "news", "timeout": 30,
            "expect": {"type": "CONFIRM_UNSUBSCRIBE", "uri": "news"}}));
        publish("none", "notified 0");
        // In order: what had been sent before this reply would be here.
        python_does(json!({"op": "no_notify", "timeout": 0.01,
                           "expect": {"ok": true}}));
        assert!(nodes.node.subscribers("news").is_empty(), "{}", setup.name);
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_with_a_wrong_outer_secret_reaches_no_handler() {
    let Some(python) = environment() else { return };
    let wrong = ["--hmac", "wrong", "--cipher", "outer key"];
    let nodes =
        Nodes::with(python, &wrong, Layers::new(), |n| n.layers(outer())).await;
    nodes.python_does(json!({"op": "request", "uri": "echo", "timeout": 0.3,
                             "expect": {"error": "TimeoutError"}}));
    // It is told, without authentication, and does not believe it.
    let told = |e: &Value| e["event"] == "auth_error" && e["type"] == "AUTH_ERROR";
    nodes.python.wait_for(told, LONG);
    let counters = nodes.node.counters();
    assert_eq!((counters.auth_failures, counters.dispatched), (1, 0));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_with_a_wrong_inner_secret_changes_nothing() {
    let Some(python) = environment() else { return };
    let wrong = ["--inner-hmac", "wrong", "--inner-cipher", "inner key"];
    let args = [OUTER, wrong].concat();
    let nodes = Nodes::with(python, &args, inner(), |n| n.layers(outer())).await;
    for inner in [true, false] {
        nodes.python_does(json!({
            "op": "create", "uri": "k", "content": "1", "inner": inner,
            "timeout": 0.3, "expect": {"error": "TimeoutError"},
        }));
    }
    let refused = || nodes.node.counters().auth_failures == 2;
    eventually("both were refused", refused).await;
    nodes.python_does(json!({"op": "request", "uri": "k", "timeout": 30,
                             "expect": {"type": "NOT_FOUND"}}));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_hurt_our_node() {
    let Some(python) = environment() else { return };
    let args = [OUTER, INNER].concat();
    let nodes = Nodes::with(python, &args, inner(), |n| n.layers(outer())).await;
    let whole = Message::new(MessageType::REQUEST_URI, "echo", "a").unwrap();
    let whole = whole.encode().unwrap();
    let mut garbage = vec![
        vec![],
        vec![0],
        vec![0xff; 9],
        vec![0; 2_000],
        [&whole[..], &[0; 100]].concat(),
    ];
    garbage.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
    for at in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[at] ^= 0xff;
        garbage.push(changed);
    }
    for bytes in &garbage {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        nodes.python_does(json!({"op": "raw", "hex": hex, "timeout": 0}));
    }
    nodes.python_does(json!({"op": "request", "uri": "echo", "content": "well",
                             "timeout": 30, "expect": {"content": "well"}}));
    let counters = nodes.node.counters();
    let received = counters.rejected + counters.auth_failures + counters.ignored;
    assert_eq!(received, garbage.len() as u64, "{counters:?}");
    assert_eq!(counters.dispatched, 1);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_node_and_a_python_node_do_not_answer_each_others_answers() {
    let Some(python) = environment() else { return };
    let args = ["--default-handler", "not_found"];
    let nodes = Nodes::with(python, &args, Layers::new(), |node| node).await;
    // Two Python nodes say NOT_FOUND to each other's NOT_FOUND without end.
    let stray = Message::new(MessageType::OK, "stray", "").unwrap();
    let to = nodes.python.address();
    assert_eq!(soon(nodes.node.send(stray, to)).await, Ok(()));
    let answered = || nodes.node.counters().frames_in == 1;
    eventually("the Python node has answered", answered).await;

    // Neither handles this: ours says so, and is told that Python's does not
    // handle that.
    nodes.python_does(json!({"op": "send", "type": "ADVERTISE_PEER", "uri": "u"}));
    let answered = || nodes.node.counters().frames_in == 3;
    eventually("both have answered once", answered).await;
    // In order: what had been said before this reply would have come.
    let reply = at_once(nodes.node.request("echo", to)).await;
    assert_eq!(reply.unwrap().message_type(), MessageType::RESPOND_URI);
    let counters = nodes.node.counters();
    assert_eq!((counters.frames_in, counters.frames_out), (4, 3));
    nodes.end().await;
}
