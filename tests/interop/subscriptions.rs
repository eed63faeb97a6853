//! What a Python server sends our client without being asked.

use crate::runtime::{Message, MessageType, TcpClient};
use netaio_tests::python::environment;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::ends::{Connected, OUTER, at_once, outer, soon};

/// Takes all messages of a type out of the client, in order.
fn messages(client: &TcpClient, kind: MessageType) -> UnboundedReceiver<Message> {
    let (sender, receiver) = mpsc::unbounded_channel();
    client.on(kind, move |m| {
        sender.send(m.into_message()).expect("the test goes on");
    });
    receiver
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_notified_until_it_unsubscribes() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    for args in [&[][..], &OUTER] {
        let layers = if args.is_empty() {
            Default::default()
        } else {
            outer()
        };
        let ends = Connected::with(python, args, |c| c.layers(layers)).await;
        let mut notices = messages(&ends.client, T::NOTIFY_URI);
        let client = ends.client.clone();
        let ask = |kind| client.request("news").message_type(kind);

        let reply = at_once(ask(T::SUBSCRIBE_URI)).await.unwrap();
        assert_eq!(reply.message_type(), T::CONFIRM_SUBSCRIBE);
        for n in 0..20 {
            let content = n.to_string();
            let notify = json!({"cmd": "notify", "uri": "news", "content": content});
            assert_eq!(ends.server.command(&notify)["subscribers"], 1);
            let notice = soon(notices.recv()).await.unwrap();
            assert_eq!((notice.uri(), &*notice.text()), (&b"news"[..], &*content));
        }
        let reply = at_once(ask(T::PUBLISH_URI).content("all")).await.unwrap();
        assert_eq!(reply.message_type(), T::OK);
        assert_eq!(reply.text(), "notified 1");
        assert_eq!(soon(notices.recv()).await.unwrap().content(), b"all");

        let reply = at_once(ask(T::UNSUBSCRIBE_URI)).await.unwrap();
        assert_eq!(reply.message_type(), T::CONFIRM_UNSUBSCRIBE);
        let reply = at_once(ask(T::PUBLISH_URI).content("none")).await.unwrap();
        assert_eq!(reply.text(), "notified 0");
        // In order: what had been sent before this reply would be here.
        assert!(notices.try_recv().is_err());
        ends.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_of_a_uri_comes_before_that_of_its_type() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (sender, mut narrow) = mpsc::unbounded_channel();
    ends.client.on((MessageType::PUBLISH_URI, "a"), move |m| {
        sender
            .send(m.text().into_owned())
            .expect("the test goes on");
    });
    let mut wide = messages(&ends.client, MessageType::PUBLISH_URI);
    assert!(at_once(ends.link.request("echo")).await.is_ok());
    for uri in ["a", "b"] {
        let broadcast = json!({"cmd": "broadcast", "uri": uri, "content": uri});
        ends.server.command(&broadcast);
    }
    assert_eq!(soon(narrow.recv()).await.unwrap(), "a");
    assert_eq!(soon(wide.recv()).await.unwrap().uri(), b"b");
    assert!(wide.try_recv().is_err());
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_every_client() {
    let Some(python) = environment() else { return };
    let ends = Connected::with(python, &OUTER, |c| c.layers(outer())).await;
    let server = ends.server.address();
    let builder = TcpClient::builder().server(server).layers(outer());
    let other = builder.build();
    other.connect().await.expect("a connection");
    for client in [&ends.client, &other] {
        // It has been accepted when it is answered.
        assert!(at_once(client.request("echo")).await.is_ok());
    }
    let broadcast = json!({"cmd": "broadcast", "uri": "u", "content": "c"});
    ends.server.command(&broadcast);
    for client in [&ends.client, &other] {
        let message = soon(client.receive_once()).await.unwrap();
        assert_eq!(message.message_type(), MessageType::PUBLISH_URI);
        assert_eq!((message.uri(), message.content()), (&b"u"[..], &b"c"[..]));
    }
    soon(other.close()).await;
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_takes_are_kept_in_order() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let waiting = ends.client.clone();
    let first = tokio::spawn(async move { waiting.receive_once().await });
    assert!(at_once(ends.link.request("echo")).await.is_ok());
    for uri in ["1", "2", "3"] {
        ends.server
            .command(&json!({"cmd": "broadcast", "uri": uri}));
    }
    assert_eq!(soon(first).await.unwrap().unwrap().uri(), b"1");
    // A reply that follows them is not held up by them, nor taken for one.
    assert!(at_once(ends.link.request("echo")).await.is_ok());
    for uri in ["2", "3"] {
        let message = soon(ends.client.receive_once()).await.unwrap();
        assert_eq!(message.uri_text(), uri);
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_one_message_takes_one() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (sender, mut once) = mpsc::unbounded_channel();
    ends.client.once(MessageType::PUBLISH_URI, move |m| {
        sender.send(m.uri().to_vec()).expect("the test goes on");
    });
    assert!(at_once(ends.link.request("echo")).await.is_ok());
    for uri in ["1", "2"] {
        ends.server
            .command(&json!({"cmd": "broadcast", "uri": uri}));
    }
    assert_eq!(soon(once.recv()).await.unwrap(), b"1");
    let rest = soon(ends.client.receive_once()).await.unwrap();
    assert_eq!(rest.uri(), b"2");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_handler_can_answer_and_ask() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (sender, mut asked) = mpsc::unbounded_channel();
    ends.client.on(MessageType::NOTIFY_URI, move |m| {
        let sender = sender.clone();
        async move {
            let echo = m.link().request("echo").content(m.content()).await;
            sender.send(echo).expect("the test goes on");
            Message::new(MessageType::CREATE_URI, "answer", m.content())
        }
    });
    let subscribe = MessageType::SUBSCRIBE_URI;
    let subscribe = ends.client.request("news").message_type(subscribe);
    assert!(at_once(subscribe).await.is_ok());
    let notify = json!({"cmd": "notify", "uri": "news", "content": "hello"});
    ends.server.command(&notify);
    let echo = soon(asked.recv()).await.unwrap().unwrap();
    assert_eq!(echo.content(), b"hello");
    // What the handler returned was sent, as a server's answer would be.
    let created = |e: &Value| e["handler"] == "create";
    let created = ends.server.wait_for(created, super::ends::LONG);
    assert_eq!(
        (&created["uri"], &created["content"]),
        (&json!("answer"), &json!("hello"))
    );
    let confirmed = soon(ends.client.receive_once()).await.unwrap();
    assert_eq!(confirmed.message_type(), MessageType::OK);
    ends.end().await;
}
