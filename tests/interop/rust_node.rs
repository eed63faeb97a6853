//! Our node asks a Python node.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::runtime::{
    HmacAuthPlugin, Layers, Message, MessageType, RequestError, SendError,
    TimeoutContext, TimeoutKind, wire,
};
use netaio_tests::python::environment;
use serde_json::json;
use tokio::sync::mpsc;

use super::ends::{
    INNER, LONG, OUTER, at_once, eventually, inner, inner_with, outer, soon,
};
use super::node_ends::Nodes;
use super::setups::setups;

/// For what is not answered.
const SHORT: Duration = Duration::from_millis(300);
/// For what has an answer, which is none: it comes long before, on a busy machine
/// too.
const PATIENT: Duration = Duration::from_secs(3);

/// How a request ends that nobody answers.
async fn in_vain<F>(request: F) -> TimeoutContext
where
    F: IntoFuture<Output = Result<Message, RequestError>>,
{
    match at_once(request).await {
        Err(RequestError::TimedOut(context)) => *context,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_answers_every_kind_of_request_in_every_setup() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    for setup in setups() {
        let nodes = Nodes::set_up(python, &setup).await;
        let (node, to) = (&nodes.node, nodes.python.address());
        let inner = || setup.inner.clone();
        let ask = |uri: &str, content: &str| node.request(uri, to).content(content);
        for (request, kind, content) in [
            (ask("k", ""), T::NOT_FOUND, "not found"),
            (
                node.update("k", "1", to).layers(inner()),
                T::NOT_FOUND,
                "not found",
            ),
            (node.create("k", "2", to).layers(inner()), T::OK, "stored"),
            (
                node.create("k", "3", to).layers(inner()),
                T::ERROR,
                "exists",
            ),
            (ask("k", ""), T::RESPOND_URI, "2"),
            (node.update("k", "4", to).layers(inner()), T::OK, "stored"),
            (ask("k", ""), T::RESPOND_URI, "4"),
            (node.delete("k", to).layers(inner()), T::OK, "deleted"),
            (
                node.delete("k", to).layers(inner()),
                T::NOT_FOUND,
                "not found",
            ),
            (ask("inner", "5").layers(inner()), T::RESPOND_URI, "inner 5"),
            (ask("slow", "0.1;6"), T::RESPOND_URI, "slow 0.1;6"),
            (ask("size", "3"), T::RESPOND_URI, "sss"),
            (ask("error", ""), T::ERROR, "an error for you"),
            (ask("not-permitted", ""), T::NOT_PERMITTED, "not permitted"),
        ] {
            let what = format!("{}: {request:?}", setup.name);
            let reply = at_once(request).await.expect(&what);
            assert_eq!(
                (reply.message_type(), &*reply.text()),
                (kind, content),
                "{what}"
            );
        }
        for content in [&b""[..], b"\0\xff", &[b'x'; 60_000]] {
            let reply = at_once(node.request("echo", to).content(content)).await;
            assert_eq!(reply.unwrap().content(), content, "{}", setup.name);
        }
        let silent = in_vain(node.request("never", to).timeout(SHORT)).await;
        assert_eq!(silent.hint, None, "{}", setup.name);
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_does_not_say_what_it_is_about_is_a_hint() {
    let Some(python) = environment() else { return };
    let mut waiting = Vec::new();
    for setup in setups() {
        let nodes = Nodes::set_up(python, &setup).await;
        let to = nodes.python.address();
        let request = nodes.node.request("error-default-uri", to);
        let context = tokio::spawn(in_vain(request.timeout(PATIENT)));
        waiting.push((setup.name, nodes, context));
    }
    for (setup, nodes, context) in waiting {
        let hint = hint(context.await.expect("a timeout"));
        let expected = ("ERROR".to_owned(), "an error for nobody".to_owned());
        assert_eq!(hint, Some(expected), "{setup}");
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_handler_is_told_before_the_caller() {
    let Some(python) = environment() else { return };
    let nodes = Nodes::start(python).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&told);
    nodes
        .node
        .set_timeout_handler(move |event| events.lock().unwrap().push(event));
    let request = nodes.node.request("never", nodes.python.address());
    let context = in_vain(request.timeout(SHORT)).await;
    let events = std::mem::take(&mut *told.lock().unwrap());
    let [event] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(event.kind, TimeoutKind::Request);
    assert_eq!(event.server, nodes.python.address().into());
    assert_eq!(event.context.as_ref(), Some(&context));
    assert_eq!((&*context.uri, context.timeout), (&b"never"[..], SHORT));

    // What comes in time is none of its business.
    let request = nodes.node.request("echo", nodes.python.address());
    assert!(at_once(request).await.is_ok());
    assert!(told.lock().unwrap().is_empty());
    drop(events);
    nodes.end().await;
}

/// What a Python node says to a secret that is not its own.
fn refusal() -> Option<(String, String)> {
    Some(("AUTH_ERROR".to_owned(), "HMAC auth failed".to_owned()))
}

/// What came that may have been meant for this request.
fn hint(context: TimeoutContext) -> Option<(String, String)> {
    let hint = context.hint?;
    Some((hint.message_type.to_string(), hint.text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_outer_secret_is_answered_with_a_hint_at_most() {
    let Some(python) = environment() else { return };
    let wrong = outer().auth(HmacAuthPlugin::new("wrong"));
    let nodes =
        Nodes::with(python, &OUTER, Layers::new(), |n| n.layers(wrong)).await;
    let to = nodes.python.address();
    let request = nodes.node.request("echo", to).timeout(PATIENT);
    assert_eq!(hint(in_vain(request).await), refusal());
    let seen = nodes.python.events();
    assert!(!seen.iter().any(|event| event["event"] == "message"));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_inner_secret_is_answered_with_a_hint_at_most() {
    let Some(python) = environment() else { return };
    let args = [OUTER, INNER].concat();
    let nodes = Nodes::with(python, &args, inner(), |n| n.layers(outer())).await;
    let to = nodes.python.address();
    for layers in [inner_with("wrong"), Layers::new()] {
        let request = nodes.node.create("k", "1", to).layers(layers);
        let context = in_vain(request.timeout(PATIENT)).await;
        assert_eq!(hint(context), refusal());
    }
    let request = nodes.node.create("k", "1", to).layers(inner());
    assert_eq!(at_once(request).await.unwrap().text(), "stored");
    nodes.end().await;
}

/// How often a request is made before its datagrams cannot all have got lost.
const ATTEMPTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_requests_at_a_time_each_get_their_own_answer() {
    let Some(python) = environment() else { return };
    let quiet = [&OUTER[..], &["--quiet"]].concat();
    let nodes =
        Nodes::with(python, &quiet, Layers::new(), |n| n.layers(outer())).await;
    let to = nodes.python.address();
    let uris: Vec<_> = (0..500).map(|n| format!("/{n}")).collect();
    for uri in &uris {
        let content = format!("the content of {uri}");
        let reply = at_once(nodes.node.create(uri, content, to)).await;
        assert_eq!(reply.unwrap().message_type(), MessageType::OK);
    }
    let requests: Vec<_> = uris
        .into_iter()
        .map(|uri| {
            let node = nodes.node.clone();
            tokio::spawn(async move {
                // The system drops what does not fit the socket's buffer.
                for _ in 0..ATTEMPTS {
                    let request = node.request(&uri, to);
                    match request.timeout(Duration::from_secs(2)).await {
                        Ok(reply) => return (uri, reply),
                        Err(error) => assert!(error.is_timeout(), "{error}"),
                    }
                }
                panic!("{uri} was never answered");
            })
        })
        .collect();
    for request in requests {
        let (uri, reply) = soon(request).await.expect("an answer");
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        assert_eq!(reply.text(), format!("the content of {uri}"));
    }
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_notifies_ours_until_it_unsubscribes() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    for setup in setups() {
        let nodes = Nodes::set_up(python, &setup).await;
        let (sender, mut notices) = mpsc::unbounded_channel();
        nodes.node.on(T::NOTIFY_URI, move |m| {
            sender.send(m.into_message()).expect("the test goes on");
        });
        let ask = |kind, content: &str| {
            let request = nodes.node.request("news", nodes.python.address());
            at_once(request.message_type(kind).content(content))
        };
        let reply = ask(T::SUBSCRIBE_URI, "").await.unwrap();
        assert_eq!(reply.message_type(), T::CONFIRM_SUBSCRIBE);
        let reply = ask(T::PUBLISH_URI, "extra").await.unwrap();
        assert_eq!(reply.text(), "notified 1");
        let notice = soon(notices.recv()).await.expect("a notice");
        assert_eq!(
            (notice.uri(), notice.content()),
            (&b"news"[..], &b"extra"[..])
        );

        let reply = ask(T::UNSUBSCRIBE_URI, "").await.unwrap();
        assert_eq!(reply.message_type(), T::CONFIRM_UNSUBSCRIBE);
        let reply = ask(T::PUBLISH_URI, "more").await.unwrap();
        assert_eq!(reply.text(), "notified 0");
        assert!(notices.try_recv().is_err(), "{}", setup.name);
        nodes.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_node_keeps_silent_if_told_so() {
    let Some(python) = environment() else { return };
    let args = [&OUTER[..], &["--auth-error", "drop"]].concat();
    let wrong = outer().auth(HmacAuthPlugin::new("wrong"));
    let nodes = Nodes::with(python, &args, Layers::new(), |n| n.layers(wrong)).await;
    let to = nodes.python.address();
    let request = nodes.node.request("echo", to).timeout(SHORT);
    assert_eq!(in_vain(request).await.hint, None);
    nodes.python.wait_for(|e| e["event"] == "auth_error", LONG);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_waits_for_any_more_is_dropped() {
    let Some(python) = environment() else { return };
    let nodes = Nodes::start(python).await;
    let (node, to) = (&nodes.node, nodes.python.address());
    let slow = node.request("slow", to).content("1;late");
    assert_eq!(in_vain(slow.timeout(SHORT / 3)).await.hint, None);
    let late = || node.counters().frames_in == 1;
    eventually("the late answer comes", late).await;

    let reply = at_once(node.request("slow", to).content("0;next")).await;
    assert_eq!(reply.unwrap().text(), "slow 0;next");
    // It was not answered either.
    assert_eq!(node.counters().frames_out, 2);
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_messages_go_both_ways_as_datagrams() {
    let Some(python) = environment() else { return };
    let nodes = Nodes::start(python).await;
    let most = wire::MAX_URI_AND_CONTENT - "echo".len();
    let content = vec![b'x'; most];
    let request = nodes.node.request("echo", nodes.python.address());
    let reply = at_once(request.content(&content)).await.unwrap();
    assert!(reply.content() == content);
    nodes.python_does(json!({
        "op": "request", "uri": "echo", "content_fill": ["61", most],
        "timeout": 30,
        "expect": {"type": "RESPOND_URI", "content_len": most},
    }));
    nodes.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_for_a_datagram_with_its_layers_is_not_sent() {
    let Some(python) = environment() else { return };
    let nodes =
        Nodes::with(python, &OUTER, Layers::new(), |n| n.layers(outer())).await;
    // With the two bytes that a cipher takes which hides the URI.
    let most = wire::MAX_URI_AND_CONTENT - "echo".len() - 2;
    let request = nodes.node.request("echo", nodes.python.address());
    match at_once(request.content(vec![0; most])).await {
        Err(RequestError::NotSent(SendError::TooLongForDatagram(it))) => {
            assert_eq!(it.limit, 65_507);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(nodes.node.counters().frames_out, 0);
    nodes.end().await;
}
