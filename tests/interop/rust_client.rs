//! Our client with a Python server, when all goes well.

use crate::runtime::{
    Correlation, HmacAuthPlugin, Message, MessageType, RequestError,
    Sha256StreamCipherPlugin, wire,
};
use netaio_driver::{PluginError, SendError};
use netaio_tests::python::environment;

use super::ends::{Connected, INNER, OUTER, at_once, inner, outer, soon};

/// The most that a message without a cipher can carry, besides `uri`.
fn largest(uri: &str) -> usize {
    wire::MAX_URI_AND_CONTENT - uri.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn content_can_be_created_read_replaced_and_removed() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let client = &ends.client;

    for (request, kind, content) in [
        (client.request("k"), T::NOT_FOUND, "not found"),
        (client.update("k", "1"), T::NOT_FOUND, "not found"),
        (client.create("k", "2"), T::OK, "stored"),
        (client.create("k", "3"), T::ERROR, "exists"),
        (client.request("k"), T::RESPOND_URI, "2"),
        (client.update("k", "4"), T::OK, "stored"),
        (client.request("k"), T::RESPOND_URI, "4"),
        (client.delete("k"), T::OK, "deleted"),
        (client.delete("k"), T::NOT_FOUND, "not found"),
        (client.request("k"), T::NOT_FOUND, "not found"),
    ] {
        let what = format!("{request:?}");
        let reply = at_once(request).await.expect(&what);
        assert_eq!(reply.message_type(), kind, "{what}");
        assert_eq!(
            (reply.uri(), &*reply.text()),
            (&b"k"[..], content),
            "{what}"
        );
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_come_back_as_they_were() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();

    for content in [&b""[..], b"\0", b"hello", &every_byte] {
        let reply = at_once(ends.link.request("echo").content(content)).await;
        assert_eq!(reply.unwrap().content(), content);
    }
    for uri in [&b""[..], b"\0", b"ERROR", "\u{e9}".as_bytes(), &every_byte] {
        at_once(ends.client.create(uri, uri))
            .await
            .expect("is stored");
        let reply = at_once(ends.client.request(uri)).await.unwrap();
        assert_eq!((reply.uri(), reply.content()), (uri, uri));
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_messages_go_both_ways() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let most = largest("echo");

    let content = vec![b'x'; most];
    let reply = at_once(ends.link.request("echo").content(&content)).await;
    assert_eq!(reply.unwrap().content(), content);
    let request = ends.link.request("size").content(most.to_string());
    assert_eq!(at_once(request).await.unwrap().content().len(), most);

    let error = at_once(ends.link.request("echo").content(vec![0; most + 1]))
        .await
        .expect_err("is too long");
    let RequestError::NotSent(SendError::TooLong(too_long)) = error else {
        panic!("{error}")
    };
    assert_eq!(too_long.length, wire::MAX_URI_AND_CONTENT + 1);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cipher_that_hides_the_uri_takes_two_bytes_of_the_largest_message() {
    let Some(python) = environment() else { return };
    let ends = Connected::with(python, &OUTER, |c| c.layers(outer())).await;
    let most = largest("echo") - 2;

    let content = vec![b'x'; most];
    let reply = at_once(ends.link.request("echo").content(&content)).await;
    assert_eq!(reply.unwrap().content(), content);
    let request = ends.link.request("size").content(most.to_string());
    assert_eq!(at_once(request).await.unwrap().content().len(), most);
    let error = at_once(ends.link.request("echo").content(vec![0; most + 1]))
        .await
        .expect_err("is too long");
    assert!(
        matches!(
            &error,
            RequestError::NotSent(SendError::Plugin(PluginError::TooLong(_)))
        ),
        "{error}"
    );
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cipher_that_leaves_the_uri_clear_takes_no_room() {
    let Some(python) = environment() else { return };
    let args = ["--cipher", "outer key", "--encrypt-uri", "0"];
    let cipher = Sha256StreamCipherPlugin::new("outer key").encrypt_uri(false);
    let ends = Connected::with(python, &args, |c| c.cipher(cipher)).await;
    let most = largest("echo");

    let content = vec![b'x'; most];
    let reply = at_once(ends.link.request("echo").content(&content)).await;
    assert_eq!(reply.unwrap().content(), content);
    let request = ends.link.request("size").content(most.to_string());
    assert_eq!(at_once(request).await.unwrap().content().len(), most);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ciphers_carry_the_largest_message_of_the_tighter_one() {
    let Some(python) = environment() else { return };
    let args = [OUTER, INNER].concat();
    let ends = Connected::with(python, &args, |c| c.layers(outer())).await;
    let most = largest("inner") - "inner ".len() - 2;

    let content = vec![b'x'; most];
    let request = ends.link.request("inner").content(&content);
    let reply = at_once(request.layers(inner())).await.unwrap();
    assert_eq!(reply.content(), [b"inner ", &content[..]].concat());
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reply_is_waited_for() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let request = ends.link.request("slow").content("0.3;hello");
    assert_eq!(at_once(request).await.unwrap().content(), b"slow 0.3;hello");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_several_uris_may_be_under_way_together() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let ask = |uri, content| ends.link.request(uri).content(content).into_future();
    let (slow, echo, again, size, missing) = soon(async {
        tokio::join!(
            ask("slow", "0.2;a"),
            ask("echo", "b"),
            ask("echo", "c"),
            ask("size", "3"),
            ask("missing", ""),
        )
    })
    .await;
    let text = |reply: Result<Message, _>| reply.unwrap().text().into_owned();
    assert_eq!(text(slow), "slow 0.2;a");
    assert_eq!((text(echo), text(again)), ("b".into(), "c".into()));
    assert_eq!(
        (text(size), text(missing)),
        ("sss".into(), "not found".into())
    );
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reply_is_kept_for_whoever_receives() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    for content in ["a", "b"] {
        let reply = at_once(ends.link.request("twice").content(content)).await;
        assert_eq!(reply.unwrap().text(), format!("first {content}"));
        let echo = at_once(ends.link.request("echo").content("c")).await;
        assert_eq!(echo.unwrap().content(), b"c");
        let second = soon(ends.client.receive_once()).await.unwrap();
        assert_eq!(second.message_type(), MessageType::RESPOND_URI);
        assert_eq!(second.text(), format!("second {content}"));
    }
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reply_goes_to_the_handler_of_its_type() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &[]).await;
    let (sender, mut seconds) = tokio::sync::mpsc::unbounded_channel();
    ends.client
        .on((MessageType::RESPOND_URI, "twice"), move |m| {
            sender
                .send(m.text().into_owned())
                .expect("the test goes on");
        });
    let reply = at_once(ends.link.request("twice").content("a")).await;
    assert_eq!(reply.unwrap().content(), b"first a");
    assert_eq!(soon(seconds.recv()).await.unwrap(), "second a");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_ids_are_answered_as_well() {
    let Some(python) = environment() else { return };
    let off = Correlation::Off;
    let ends = Connected::with(python, &[], |c| c.correlation(off)).await;
    let reply = at_once(ends.link.request("echo").content("a"))
        .await
        .unwrap();
    assert_eq!(reply.content(), b"a");
    let seen = ends
        .server
        .wait_for(|e| e["handler"] == "echo", super::ends::LONG);
    assert_eq!(seen["auth"], serde_json::json!({}));
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_can_do_without_the_clients_auth_plugin() {
    let Some(python) = environment() else { return };
    let ends = Connected::with(python, &[], |c| {
        c.auth(HmacAuthPlugin::new("unknown to the server"))
    })
    .await;
    let request = ends.client.request("echo").content("a").use_auth(false);
    assert_eq!(at_once(request).await.unwrap().content(), b"a");
    // The server does not mind the proof, but it does not give one either.
    let request = ends.client.request("echo").content("b");
    let error = request
        .timeout(std::time::Duration::from_millis(300))
        .await
        .expect_err("the reply proves nothing");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(ends.link.pending(), 0);
}
