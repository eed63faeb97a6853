//! Our client with a Python server that demands one or two layers.

use std::time::Duration;

use crate::runtime::{
    HmacAuthPlugin, Layers, MessageType, RequestError, Sha256StreamCipherPlugin,
};
use netaio_tests::python::environment;

use super::ends::{Connected, INNER, OUTER, at_once, inner, inner_with, outer};

/// How a Python server's refusal comes: without any layer.
fn refused(text: &str) -> RequestError {
    RequestError::Unauthorized {
        verified: false,
        text: text.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_layers_protect_what_changes_the_store() {
    use MessageType as T;
    let Some(python) = environment() else { return };
    let args = [OUTER, INNER].concat();
    let ends = Connected::with(python, &args, |c| c.layers(outer())).await;
    let client = &ends.client;

    for (request, kind, content) in [
        (client.create("k", "1"), T::OK, "stored"),
        (client.create("k", "2"), T::ERROR, "exists"),
        (client.update("k", "3"), T::OK, "stored"),
        (
            client.request("inner").content("4"),
            T::RESPOND_URI,
            "inner 4",
        ),
        (client.delete("k"), T::OK, "deleted"),
        (client.delete("k"), T::NOT_FOUND, "not found"),
    ] {
        let what = format!("{request:?}");
        let reply = at_once(request.layers(inner())).await.expect(&what);
        assert_eq!(reply.message_type(), kind, "{what}");
        assert_eq!(reply.text(), content, "{what}");
    }
    let plain = at_once(client.request("echo").content("5")).await.unwrap();
    assert_eq!(plain.content(), b"5");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_layer_needs_no_outer_one() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &INNER).await;
    let request = ends.client.create("k", "1").layers(inner());
    assert_eq!(at_once(request).await.unwrap().content(), b"stored");
    let request = ends.client.request("k");
    assert_eq!(at_once(request).await.unwrap().content(), b"1");
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_outer_secret_is_refused_at_once() {
    let Some(python) = environment() else { return };
    let ends = Connected::with(python, &OUTER, |c| {
        c.layers(outer().auth(HmacAuthPlugin::new("wrong")))
    })
    .await;
    for _ in 0..3 {
        let error = at_once(ends.client.request("echo")).await.unwrap_err();
        assert_eq!(error, refused("HMAC auth failed"));
    }
    let seen = ends.server.events();
    assert!(!seen.iter().any(|event| event["event"] == "message"));
    assert_eq!((ends.link.pending(), ends.link.is_closed()), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_secret_is_told_so() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &["--hmac", "outer"]).await;
    let reply = at_once(ends.client.request("echo")).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::AUTH_ERROR);
    assert_eq!(reply.text(), "HMAC auth failed");
    let request = ends.client.request("echo").error_for_status();
    let error = at_once(request).await.unwrap_err();
    assert!(matches!(error, RequestError::Status(_)), "{error}");
    assert_eq!(ends.link.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_inner_secret_is_refused_at_once() {
    let Some(python) = environment() else { return };
    let args = [OUTER, INNER].concat();
    let ends = Connected::with(python, &args, |c| c.layers(outer())).await;
    for layers in [inner_with("wrong"), Layers::new()] {
        let request = ends.client.create("k", "1").layers(layers);
        let error = at_once(request).await.unwrap_err();
        assert_eq!(error, refused("HMAC auth failed"));
    }
    let seen = ends.server.events();
    assert!(!seen.iter().any(|event| event["event"] == "message"));
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_inner_secret_is_refused_at_once_without_an_outer_layer() {
    let Some(python) = environment() else { return };
    let ends = Connected::start(python, &INNER).await;
    let request = ends.client.delete("k").layers(inner_with("wrong"));
    let error = at_once(request).await.unwrap_err();
    assert_eq!(error, refused("HMAC auth failed"));

    let reply = at_once(ends.client.delete("k")).await.unwrap();
    assert_eq!(reply.message_type(), MessageType::AUTH_ERROR);
    ends.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_silent_about_a_wrong_secret_costs_the_timeout() {
    let Some(python) = environment() else { return };
    let args = [&OUTER[..], &["--auth-error", "drop"]].concat();
    let ends = Connected::with(python, &args, |c| {
        c.layers(outer().auth(HmacAuthPlugin::new("wrong")))
    })
    .await;
    let request = ends
        .client
        .request("echo")
        .timeout(Duration::from_millis(300));
    let error = at_once(request).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(ends.link.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_costs_the_timeout_and_not_the_connection() {
    let Some(python) = environment() else { return };
    let ends = Connected::with(python, &OUTER, |c| {
        c.layers(outer().cipher(Sha256StreamCipherPlugin::new("wrong")))
    })
    .await;
    let request = ends
        .client
        .request("echo")
        .timeout(Duration::from_millis(300));
    let error = at_once(request).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!((ends.link.pending(), ends.link.is_closed()), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_uri_may_stay_clear_under_an_outer_cipher() {
    let Some(python) = environment() else { return };
    let args = [&OUTER[..], &["--encrypt-uri", "0"]].concat();
    let cipher = Sha256StreamCipherPlugin::new("outer key").encrypt_uri(false);
    let ends =
        Connected::with(python, &args, |c| c.layers(outer().cipher(cipher))).await;
    let request = ends.client.create("k", "1").error_for_status();
    assert_eq!(at_once(request).await.unwrap().content(), b"stored");
    ends.end().await;
}
