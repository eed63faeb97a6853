//! Python clients with a server of ours that demands one or two layers.

use crate::runtime::{Layers, Sha256StreamCipherPlugin, wire};
use netaio_tests::python::{PyClient, environment};
use serde_json::{Value, json};

use super::ends::{INNER, OUTER, Served, inner, outer};

/// Changes of the store and a request, all with the inner layers.
fn protected() -> Value {
    json!([
        {"op": "connect"},
        {"op": "create", "uri": "k", "content": "1", "inner": true,
         "expect": {"type": "OK", "uri": "k", "content": "stored"}},
        {"op": "create", "uri": "k", "content": "2", "inner": true,
         "expect": {"type": "ERROR", "content": "exists"}},
        {"op": "update", "uri": "k", "content": "3", "inner": true,
         "expect": {"type": "OK"}},
        {"op": "request", "uri": "inner", "content": "4", "inner": true,
         "expect": {"type": "RESPOND_URI", "content": "inner 4"}},
        {"op": "request", "uri": "k", "expect": {"content": "3"}},
        {"op": "delete", "uri": "k", "inner": true, "expect": {"type": "OK"}},
        {"op": "delete", "uri": "k", "inner": true,
         "expect": {"type": "NOT_FOUND", "content": "not found"}},
        {"op": "request", "uri": "echo", "content": "5",
         "expect": {"content": "5"}},
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_passes_two_layers() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s.layers(outer())).await;
    served.run(python, &[OUTER, INNER].concat(), protected());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_passes_an_inner_layer_alone() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s).await;
    served.run(python, &INNER, protected());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_may_leave_the_uri_clear_in_both_layers() {
    let Some(python) = environment() else { return };
    let cipher = Sha256StreamCipherPlugin::new("outer key").encrypt_uri(false);
    let outer = outer().cipher(cipher);
    let served = Served::with(inner(), |s| s.layers(outer)).await;
    let clear = ["--encrypt-uri", "0"];
    let args = [&OUTER[..], &INNER, &clear].concat();
    served.run(python, &args, protected());
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_sends_and_gets_the_largest_encrypted_message() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s.layers(outer())).await;
    let most = wire::MAX_URI_AND_CONTENT - "echo".len() - 2;
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "echo", "content_fill": ["61", most],
         "expect": {"type": "RESPOND_URI", "content_len": most}},
        {"op": "request", "uri": "size", "content": most.to_string(),
         "expect": {"type": "RESPOND_URI", "content_len": most}},
        // A reply that its own server cannot seal is an error, not the end.
        {"op": "request", "uri": "size", "content": (most + 1).to_string(),
         "expect": {"type": "ERROR", "content": "the reply cannot be sent"}},
        {"op": "request", "uri": "echo", "content": "a",
         "expect": {"content": "a"}},
    ]);
    served.run(python, &OUTER, ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_without_the_secret_is_told_at_once() {
    let Some(python) = environment() else { return };
    let auth = Layers {
        cipher: None,
        ..outer()
    };
    let served = Served::with(Layers::new(), |s| s.layers(auth)).await;
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "echo", "timeout": 30,
         "expect": {"type": "AUTH_ERROR", "uri": "echo",
                    "content": "HMAC auth failed"}},
        {"op": "create", "uri": "k", "timeout": 30,
         "expect": {"type": "AUTH_ERROR", "uri": "k"}},
    ]);
    served.run(python, &[], ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_with_a_wrong_secret_reaches_no_handler() {
    let Some(python) = environment() else { return };
    let served = Served::with(Layers::new(), |s| s.layers(outer())).await;
    let args = [&OUTER[..], &["--hmac", "wrong"]].concat();
    // It cannot verify the refusal, and waits for something better.
    let ops = json!([
        {"op": "connect"},
        {"op": "create", "uri": "k", "timeout": 0.3,
         "expect": {"error": "TimeoutError"}},
    ]);
    served.run(python, &args, ops);
    let counters = served.server.counters();
    assert_eq!((counters.dispatched, counters.auth_failures), (0, 1));
    // The right secret is still welcome.
    let ops = json!([
        {"op": "connect"},
        {"op": "request", "uri": "k", "expect": {"type": "NOT_FOUND"}},
    ]);
    served.run(python, &OUTER, ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_needs_the_inner_secret_for_a_protected_endpoint() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s).await;
    let refused = json!({"type": "AUTH_ERROR", "uri": "k"});
    let ops = json!([
        {"op": "connect"},
        {"op": "create", "uri": "k", "content": "1", "timeout": 30,
         "expect": refused},
        {"op": "delete", "uri": "k", "timeout": 30, "expect": refused},
        {"op": "request", "uri": "k", "expect": {"type": "NOT_FOUND"}},
    ]);
    served.run(python, &INNER, ops);
    let args = [&INNER[..], &["--inner-hmac", "wrong"]].concat();
    // It checks the refusal with its own inner layer, in vain.
    let ops = json!([
        {"op": "connect"},
        {"op": "create", "uri": "k", "content": "1", "inner": true,
         "timeout": 0.3, "expect": {"error": "TimeoutError"}},
        {"op": "request", "uri": "k", "expect": {"type": "NOT_FOUND"}},
    ]);
    served.run(python, &args, ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_is_notified_through_the_outer_layer() {
    let Some(python) = environment() else { return };
    let served = Served::with(Layers::new(), |s| s.layers(outer())).await;
    let ops = json!([
        {"op": "connect"},
        {"op": "subscribe", "uri": "news", "expect": {"uri": "news"}},
        {"op": "publish", "uri": "news", "content": "a",
         "expect": {"content": "notified 1"}},
        {"op": "wait_notify",
         "expect": {"type": "NOTIFY_URI", "uri": "news", "content": "a"}},
    ]);
    served.run(python, &OUTER, ops);
    served.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_python_clients_are_served_side_by_side() {
    let Some(python) = environment() else { return };
    let served = Served::with(inner(), |s| s.layers(outer())).await;
    let (args, address) = ([OUTER, INNER].concat(), served.address);
    let client = |name: &str| {
        let echo = json!({"op": "request", "uri": "echo", "content": name,
                          "timeout": 30, "expect": {"content": name}});
        let inner = json!({"op": "request", "uri": "inner", "content": name,
                           "inner": true, "timeout": 30,
                           "expect": {"content": format!("inner {name}")}});
        let ops = json!([
            {"op": "connect"},
            {"op": "repeat", "n": 100, "do": echo},
            {"op": "repeat", "n": 100, "do": inner},
        ]);
        PyClient::run(python, address.port(), &args, ops).assert_passed();
    };
    std::thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            scope.spawn(|| client(name));
        }
    });
    assert_eq!(served.server.counters().dispatched, 800);
    served.end().await;
}
