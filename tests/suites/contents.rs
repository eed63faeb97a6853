//! What messages may carry, and how.

use netaio_driver::{
    HmacAuthPlugin, Incoming, Layers, Message, MessageType, MessageTypes,
    RequestError, SendError, Sha256StreamCipherPlugin, TcpClient, TcpServer,
};

use crate::ends::{self, client_builder, listen, message, only_link};
use crate::runtimes::TestRuntime;
use crate::waiting::{soon, spawn};

on_every_runtime![
    contents_may_be_empty_or_as_large_as_the_wire_allows,
    error_replies_become_errors_on_request,
    a_request_may_do_without_the_clients_plugins,
    inner_and_outer_layers_go_together,
    custom_types_may_be_asked_and_answered,
];

const MOST: usize = 65_422;

async fn contents_may_be_empty_or_as_large_as_the_wire_allows<R: TestRuntime>(
    runtime: R,
) {
    let (server, client, _) = ends::pair(&runtime).await;
    server.on((MessageType::REQUEST_URI, ""), ends::echo);
    let long_uri = "u".repeat(MOST);
    server.on((MessageType::REQUEST_URI, &long_uri), ends::echo);
    for length in [0, 1, 1_000, MOST - 4] {
        let content = vec![7; length];
        let reply = client.request("echo").content(&content).await.unwrap();
        assert_eq!(reply.content(), content);
    }
    for uri in ["", &long_uri] {
        let reply = client.request(uri).await.unwrap();
        assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        assert_eq!(reply.uri_text(), uri);
        assert_eq!(reply.content(), b"");
    }
    let too_long = client.request("echo").content(vec![7; MOST - 3]);
    match too_long.await.unwrap_err() {
        RequestError::NotSent(SendError::TooLong(error)) => {
            assert_eq!(error.length, MOST + 1);
            assert_eq!(error.limit, MOST);
        }
        error => panic!("{error:?}"),
    }
    // Many at once, both ways.
    let asking: Vec<_> = (0..100_u8)
        .map(|number| {
            let client = client.clone();
            spawn(&runtime, async move {
                let content = vec![number; MOST - 4];
                let reply = client.request("echo").content(&content).await.unwrap();
                assert_eq!(reply.content(), content);
            })
        })
        .collect();
    for asking in asking {
        soon(&runtime, asking.join()).await;
    }
}

async fn error_replies_become_errors_on_request<R: TestRuntime>(runtime: R) {
    type Reply = fn(&Message) -> Message;
    let (server, client, _) = ends::pair(&runtime).await;
    let replies: [(MessageType, Reply); 5] = [
        (MessageType::OK, |m| m.ok("fine").unwrap()),
        (MessageType::ERROR, |m| m.error("oh").unwrap()),
        (MessageType::NOT_FOUND, |m| m.not_found().unwrap()),
        (MessageType::NOT_PERMITTED, |m| m.not_permitted().unwrap()),
        (MessageType::AUTH_ERROR, |m| {
            m.error("who?").unwrap().with_type(MessageType::AUTH_ERROR)
        }),
    ];
    for (kind, reply) in replies {
        server.on((MessageType::UPDATE_URI, "it"), move |m: Incoming<R>| {
            reply(&m)
        });
        let plain = client.update("it", "").await.unwrap();
        assert_eq!(plain.message_type(), kind);
        let checked = client.update("it", "").error_for_status().await;
        match checked {
            Ok(reply) => {
                assert_eq!((kind, reply.text().as_ref()), (MessageType::OK, "fine"));
            }
            Err(RequestError::Status(error)) => {
                assert_eq!(error.message.message_type(), kind);
                assert_ne!(kind, MessageType::OK);
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn a_request_may_do_without_the_clients_plugins<R: TestRuntime>(runtime: R) {
    let auth = || HmacAuthPlugin::new("secret");
    let cipher = || Sha256StreamCipherPlugin::new("key");
    let both = Layers::new().auth(auth()).cipher(cipher());
    let servers = [
        (Layers::new(), false, false),
        (Layers::new().auth(auth()), true, false),
        (Layers::new().cipher(cipher()), false, true),
        (both.clone(), true, true),
    ];
    for (layers, use_auth, use_cipher) in servers {
        let server = TcpServer::builder_on(runtime.clone())
            .layers(layers)
            .build();
        let server = ends::with_echo(server);
        let client = client_builder(&runtime, listen(&server).await)
            .layers(both.clone())
            .build();
        let link = client.connect().await.unwrap();
        let requests: Vec<_> = (0..10)
            .map(|number: u32| {
                let request = client
                    .request("echo")
                    .content(number.to_string())
                    .use_auth(use_auth)
                    .use_cipher(use_cipher)
                    .into_future();
                spawn(&runtime, request)
            })
            .collect();
        for (number, request) in requests.into_iter().enumerate() {
            let reply = soon(&runtime, request.join()).await.unwrap();
            assert_eq!(reply.text(), number.to_string());
        }
        assert_eq!(server.counters().auth_failures, 0);
        assert_eq!(link.pending(), 0);
    }
}

async fn inner_and_outer_layers_go_together<R: TestRuntime>(runtime: R) {
    let outer = Layers::new()
        .auth(HmacAuthPlugin::new("outer"))
        .cipher(Sha256StreamCipherPlugin::new("outer"));
    let inner = Layers::new()
        .auth(HmacAuthPlugin::new("inner").hmac_field("hmac2"))
        .cipher(
            Sha256StreamCipherPlugin::new("inner")
                .iv_field("iv2")
                .encrypt_uri(false),
        );
    let server = TcpServer::builder_on(runtime.clone())
        .layers(outer.clone())
        .build();
    let server = ends::with_echo(server);
    let key = (MessageType::REQUEST_URI, "guarded");
    server.on_with(key, inner.clone(), ends::echo);
    server.once_with(
        (MessageType::CREATE_URI, "guarded"),
        inner.clone(),
        ends::echo,
    );
    let client: TcpClient<R> = client_builder(&runtime, listen(&server).await)
        .layers(outer)
        .build();
    client.connect().await.unwrap();
    for length in [0, 1, 60_000] {
        let content = vec![7; length];
        let request = client.request("guarded").content(&content);
        let reply = request.layers(inner.clone()).into_future();
        assert_eq!(soon(&runtime, reply).await.unwrap().content(), content);
        let request = client.request("echo").content(&content).into_future();
        assert_eq!(soon(&runtime, request).await.unwrap().content(), content);
    }
    let once = || client.create("guarded", "once").layers(inner.clone());
    let reply = soon(&runtime, once().into_future()).await.unwrap();
    assert_eq!(reply.content(), b"once");
    // Nothing shares the inner layers there any more.
    match soon(&runtime, once().into_future()).await.unwrap_err() {
        RequestError::Refused {
            message_type,
            verified,
            ..
        } => {
            assert_eq!(message_type, MessageType::NOT_FOUND);
            assert!(verified);
        }
        error => panic!("{error:?}"),
    }
}

async fn custom_types_may_be_asked_and_answered<R: TestRuntime>(runtime: R) {
    let mut types = MessageTypes::default();
    let ping = types.register("PING", 31).unwrap();
    let pong = types.register("PONG", 200).unwrap();
    let server = TcpServer::builder_on(runtime.clone())
        .message_types(types.clone())
        .build();
    server.on((ping, "ball"), move |m: Incoming<R>| {
        m.respond("pong").map(|reply| reply.with_type(pong))
    });
    let client = client_builder(&runtime, listen(&server).await)
        .message_types(types)
        .build();
    let link = client.connect().await.unwrap();
    let request = client.request("ball").message_type(ping).accept(pong);
    let reply = soon(&runtime, request.into_future()).await.unwrap();
    assert_eq!(reply.message_type(), pong);
    assert_eq!(reply.content(), b"pong");
    // Whoever does not say that it is a reply gets it as a message.
    let request = client.request("ball").message_type(ping);
    let request = request.timeout(std::time::Duration::from_millis(50));
    assert!(request.await.unwrap_err().is_timeout());
    let received = soon(&runtime, client.receive_once()).await.unwrap();
    assert_eq!(received.message_type(), pong);
    // And so come messages that the other end sends by itself.
    let accepted = only_link(&runtime, &server).await;
    accepted.send(message(pong, "ball", "again")).await.unwrap();
    let received = soon(&runtime, client.receive_once()).await.unwrap();
    assert_eq!(received.content(), b"again");
    assert_eq!(link.pending(), 0);
}
