//! One client of several servers.

use netaio_driver::{
    HmacAuthPlugin, Layers, RequestError, ServerOptions, Sha256StreamCipherPlugin,
    TcpClient, TcpServer,
};

use crate::ends::{self, limits, listen};
use crate::runtimes::TestRuntime;
use crate::waiting::{eventually, soon, spawn};

on_every_runtime![
    each_server_may_have_options_of_its_own,
    closing_one_connection_leaves_the_others,
    options_are_kept_for_the_next_connection,
    servers_without_a_connection_are_forgotten,
    what_many_want_at_once_is_neither_lost_nor_kept,
];

fn layers(secret: &str) -> Layers {
    Layers::new()
        .auth(HmacAuthPlugin::new(secret))
        .cipher(Sha256StreamCipherPlugin::new(secret))
}

fn server<R: TestRuntime>(runtime: &R, secret: &str) -> TcpServer<R> {
    let server = TcpServer::builder_on(runtime.clone())
        .layers(layers(secret))
        .build();
    ends::with_echo(server)
}

fn options(secret: &str) -> ServerOptions {
    ServerOptions {
        layers: Some(layers(secret)),
        ..Default::default()
    }
}

async fn each_server_may_have_options_of_its_own<R: TestRuntime>(runtime: R) {
    let (first, second) = (server(&runtime, "first"), server(&runtime, "second"));
    let plain = ends::server(&runtime);
    let first = (listen(&first).await, first);
    let second = (listen(&second).await, second);
    let plain = (listen(&plain).await, plain);
    let client = TcpClient::builder_on(runtime.clone())
        .server(first.0)
        .layers(layers("first"))
        .build();
    client.connect().await.unwrap();
    client
        .connect_with(second.0, options("second"))
        .await
        .unwrap();
    let without = ServerOptions {
        layers: Some(Layers::new()),
        limits: Some(limits(|limits| limits.max_pending = 0)),
        ..Default::default()
    };
    client.connect_with(plain.0, without).await.unwrap();
    for address in [first.0, second.0] {
        let request = client.request("echo").content("hello").server(address);
        let reply = soon(&runtime, request.into_future()).await.unwrap();
        assert_eq!(reply.content(), b"hello");
    }
    let error = client.request("echo").server(plain.0).await.unwrap_err();
    assert!(matches!(error, RequestError::NotSent(_)), "{error}");
    assert_eq!(client.counters().replies, 2);
}

async fn closing_one_connection_leaves_the_others<R: TestRuntime>(runtime: R) {
    let (first, second) = (ends::server(&runtime), ends::server(&runtime));
    let (a, b) = (listen(&first).await, listen(&second).await);
    let client = ends::client(&runtime, a);
    client.connect().await.unwrap();
    let link = client.connect_to(b).await.unwrap();
    soon(&runtime, client.close()).await;
    assert!(client.link(None).is_none());
    let error = client.request("echo").await.unwrap_err();
    assert_eq!(error, RequestError::NotConnected);
    assert!(client.request("echo").server(b).await.is_ok());
    assert!(!link.is_closed());
    client.connect().await.unwrap();
    soon(&runtime, client.close_server(b)).await;
    assert!(link.is_closed());
    assert!(client.request("echo").await.is_ok());
    client.connect_to(b).await.unwrap();
    soon(&runtime, client.close_all()).await;
    for server in [first, second] {
        eventually(&runtime, "it is closed", || server.links().is_empty()).await;
    }
}

/// How many servers a client knows by this, as it shows itself.
fn known<R: TestRuntime>(client: &TcpClient<R>) -> usize {
    format!("{client:?}").matches("127.0.0.").count()
}

async fn servers_without_a_connection_are_forgotten<R: TestRuntime>(runtime: R) {
    let (server, default) = (server(&runtime, "secret"), ends::server(&runtime));
    let server = (listen(&server).await, server);
    let plain = ends::server(&runtime);
    let plain = (listen(&plain).await, plain);
    let client = TcpClient::builder_on(runtime.clone()).build();
    // Closed here, refused, closed there, each of them forgotten.
    client.connect_to(plain.0).await.unwrap();
    assert_eq!(known(&client), 1);
    soon(&runtime, client.close_server(plain.0)).await;
    eventually(&runtime, "it is forgotten", || known(&client) == 0).await;
    client.connect_to("127.0.0.1:no port").await.unwrap_err();
    client
        .connect_to(crate::raw_peer::refusing())
        .await
        .unwrap_err();
    assert_eq!(known(&client), 0);
    let link = client.connect_to(plain.0).await.unwrap();
    plain.1.shutdown(std::time::Duration::ZERO).await;
    soon(&runtime, link.closed()).await;
    eventually(&runtime, "it is forgotten", || known(&client) == 0).await;
    // Unless it has options, which are asked for.
    let with = options("secret");
    client.connect_with(server.0, with).await.unwrap();
    soon(&runtime, client.close_all()).await;
    assert_eq!(known(&client), 1);
    client.connect_to(server.0).await.unwrap();
    assert!(client.request("echo").server(server.0).await.is_ok());
    soon(&runtime, client.forget_server(server.0)).await;
    eventually(&runtime, "it is forgotten", || known(&client) == 0).await;
    assert_eq!(client.counters().replies, 1);
    // The default one is shown as such, and known for ever.
    let client = ends::client(&runtime, listen(&default).await);
    client.connect().await.unwrap();
    assert_eq!(known(&client), 2);
    soon(&runtime, client.close()).await;
    assert_eq!(known(&client), 2);
}

/// Connections that are made, used and closed by many at once lead somewhere as long
/// as they are there, and leave nothing behind.
async fn what_many_want_at_once_is_neither_lost_nor_kept<R: TestRuntime>(
    runtime: R,
) {
    let server = ends::server(&runtime);
    let address = listen(&server).await;
    let client = TcpClient::builder_on(runtime.clone()).build();
    let work = |n: usize| {
        let client = client.clone();
        spawn(&runtime, async move {
            for round in 0..40 {
                // Somebody else may close it meanwhile.
                let _ = client.connect_to(address).await;
                let _ = client.request("echo").server(address).await;
                if round % 3 == n % 3 {
                    client.close_server(address).await;
                }
            }
        })
    };
    let tasks: Vec<_> = (0..6).map(work).collect();
    for task in tasks {
        soon(&runtime, task.join()).await;
    }
    soon(&runtime, client.close_all()).await;
    eventually(&runtime, "it is forgotten", || known(&client) == 0).await;
    eventually(&runtime, "all are closed", || server.links().is_empty()).await;
    client.connect_to(address).await.unwrap();
    assert!(client.request("echo").server(address).await.is_ok());
}

async fn options_are_kept_for_the_next_connection<R: TestRuntime>(runtime: R) {
    let server = server(&runtime, "secret");
    let address = listen(&server).await;
    let client = ends::client(&runtime, address);
    client
        .connect_with(address, options("secret"))
        .await
        .unwrap();
    assert!(client.request("echo").await.is_ok());
    soon(&runtime, client.close()).await;
    client.connect().await.unwrap();
    assert!(client.request("echo").await.is_ok());
}
