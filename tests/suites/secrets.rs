//! Secrets stay secret: they are neither logged nor shown.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use netaio_driver::{
    HmacAuthPlugin, Incoming, Layers, MessageType, ServerOptions,
    Sha256StreamCipherPlugin, TcpServer,
};
use sha2::{Digest as _, Sha256};

use crate::ends::{self, client_builder, listen};
use crate::logs;
use crate::raw_peer::RawPeer;
use crate::runtimes::TestRuntime;
use crate::waiting::{off_thread, soon};

on_every_runtime![secrets_are_neither_logged_nor_shown];

const SECRETS: [&str; 4] = [
    "hush-outer-auth",
    "hush-outer-cipher",
    "hush-inner-auth",
    "hush-inner-cipher",
];

/// A secret in every form in which it might be shown.
fn forms(secret: &str) -> Vec<String> {
    let once = Sha256::digest(secret);
    let twice = Sha256::digest(once);
    let mut forms = vec![secret.to_owned()];
    for bytes in [secret.as_bytes(), &once, &twice] {
        let mut hex = String::new();
        for byte in &bytes[..8] {
            write!(hex, "{byte:02x}").expect("a string takes it");
        }
        forms.push(hex.to_uppercase());
        forms.push(hex);
        let list = format!("{:?}", &bytes[..8]);
        forms.push(list.trim_matches(['[', ']']).to_owned());
    }
    forms
}

fn assert_hides(text: &str) {
    let dense = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in SECRETS {
        for form in forms(secret) {
            assert!(!text.contains(&form), "{text}");
            assert!(!dense.contains(&form), "{text}");
        }
    }
}

fn assert_shows_none(value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.is_empty());
        assert_hides(&text);
    }
}

async fn secrets_are_neither_logged_nor_shown<R: TestRuntime>(runtime: R) {
    let [outer_auth, outer_cipher, inner_auth, inner_cipher] = SECRETS;
    let outer = Layers::new()
        .auth(HmacAuthPlugin::new(outer_auth))
        .cipher(Sha256StreamCipherPlugin::new(outer_cipher));
    let inner = Layers::new()
        .auth(HmacAuthPlugin::new(inner_auth).hmac_field("hmac2"))
        .cipher(
            Sha256StreamCipherPlugin::new(inner_cipher)
                .iv_field("iv2")
                .encrypt_uri(false),
        );
    assert_shows_none(&HmacAuthPlugin::new(outer_auth));
    assert_shows_none(&Sha256StreamCipherPlugin::new(outer_cipher));
    assert_shows_none(&outer);
    let options = ServerOptions {
        layers: Some(outer.clone()),
        ..Default::default()
    };
    assert_shows_none(&options);

    let builder = TcpServer::builder_on(runtime.clone()).layers(outer.clone());
    assert_shows_none(&builder);
    let server = ends::with_echo(builder.build());
    let key = (MessageType::REQUEST_URI, "guarded");
    server.on_with(key, inner.clone(), |m: Incoming<R>| {
        assert_shows_none(&m);
        ends::echo(m)
    });
    server.on((MessageType::REQUEST_URI, "broken"), |_| {
        Err::<(), _>("broken")
    });
    let address = listen(&server).await;
    let builder = client_builder(&runtime, address).layers(outer);
    assert_shows_none(&builder);
    let client = builder.build();
    client.set_timeout_handler(|event| {
        assert_shows_none(&event);
        Err::<(), _>("a failure")
    });
    let link = client.connect_with(address, options).await.unwrap();
    let mut outcomes = Vec::new();
    for uri in ["echo", "guarded", "broken", "unknown", "silence"] {
        for layers in [Layers::new(), inner.clone()] {
            let request = client
                .request(uri)
                .layers(layers)
                .timeout(Duration::from_millis(100));
            assert_shows_none(&request);
            let request = request.into_future();
            assert_shows_none(&request);
            outcomes.push(soon(&runtime, request).await);
        }
    }
    assert_shows_none(&outcomes);
    let refused = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        peer.request("echo", "who am I?");
        peer.receive().unwrap()
    })
    .await;
    assert_shows_none(&refused);
    assert_shows_none(&link);
    assert_shows_none(&client);
    assert_shows_none(&server);
    client.close().await;
    server.shutdown(Duration::from_secs(1)).await;
    let lines = logs::lines();
    // The logs are there: what this server and client did is among them.
    assert!(lines.iter().any(|line| line.contains(&address.to_string())));
    for line in lines {
        assert_hides(&line);
    }
}
