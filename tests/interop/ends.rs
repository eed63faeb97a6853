//! A client of ours with a Python server, and a server of ours with the same
//! endpoints for Python clients.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use crate::runtime::{
    HmacAuthPlugin, Incoming, Layers, Link, Message, MessageType, Own, RequestError,
    Sha256StreamCipherPlugin, TcpClient, TcpServer,
};
use netaio_driver::{ClientBuilder, ServerBuilder};
use netaio_tests::python::{ClientReport, Environment, PyClient, PyServer};
use serde_json::Value;

use super::endpoints::add_endpoints;

/// What has not happened by then never will.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// What happens without waiting for a timeout has happened by then, on a busy
/// machine too.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The Python programs' options for [`outer`].
pub(crate) const OUTER: [&str; 4] = ["--hmac", "outer", "--cipher", "outer key"];
/// The Python programs' options for [`inner`].
pub(crate) const INNER: [&str; 4] =
    ["--inner-hmac", "inner", "--inner-cipher", "inner key"];

/// What a Python program with [`OUTER`] uses for everything.
pub(crate) fn outer() -> Layers {
    Layers::new()
        .auth(HmacAuthPlugin::new("outer"))
        .cipher(Sha256StreamCipherPlugin::new("outer key"))
}

/// What a Python program with [`INNER`] protects some endpoints with.
pub(crate) fn inner() -> Layers {
    inner_with("inner")
}

/// The inner layers, with another secret.
pub(crate) fn inner_with(secret: &str) -> Layers {
    let cipher = Sha256StreamCipherPlugin::new("inner key");
    Layers::new()
        .auth(HmacAuthPlugin::new(secret).hmac_field("hmac2"))
        .cipher(cipher.iv_field("iv2").encrypt_uri(false))
}

/// What `future` gives, which it must do before long.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    within(LONG, future).await
}

/// How a request ends that must not wait for its timeout.
pub(crate) async fn at_once<F>(request: F) -> Result<Message, RequestError>
where
    F: IntoFuture<Output = Result<Message, RequestError>>,
{
    within(AT_ONCE, request.into_future()).await
}

async fn within<F: Future>(span: Duration, future: F) -> F::Output {
    let output = tokio::time::timeout(span, future).await;
    output.expect("this should not take so long")
}

/// Waits until `condition` holds, which nobody tells of.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A Python server, and a client of it that is connected.
pub(crate) struct Connected {
    pub(crate) server: PyServer,
    pub(crate) client: TcpClient,
    pub(crate) link: Link,
}

impl Connected {
    /// Starts a server with these options, and a client without plugins.
    pub(crate) async fn start(python: &Environment, args: &[&str]) -> Self {
        Self::with(python, args, |client| client).await
    }

    /// Starts a server with these options, and a client with these settings.
    pub(crate) async fn with(
        python: &Environment,
        args: &[&str],
        set: impl FnOnce(ClientBuilder<Own>) -> ClientBuilder<Own>,
    ) -> Self {
        let server = PyServer::start(python, args);
        let client = TcpClient::builder().server(server.address());
        let client = set(client).build();
        let link = soon(client.connect()).await.expect("a connection");
        Self {
            server,
            client,
            link,
        }
    }

    /// Ends both, and checks that nothing is left of what was done.
    pub(crate) async fn end(self) {
        self.expect_alive().await;
        assert_eq!(self.link.pending(), 0);
        let idle = || self.link.in_flight() == 0;
        eventually("all handlers have ended", idle).await;
        soon(self.client.close()).await;
        assert!(self.link.is_closed());
        assert!(self.server.stop(), "{}", self.server.story());
    }

    /// Checks that this is still the connection, and works.
    async fn expect_alive(&self) {
        assert_eq!(self.link.close_reason(), None);
        let reply = at_once(self.link.request("echo").content("alive")).await;
        assert_eq!(reply.expect("a reply").content(), b"alive");
    }
}

/// A server of ours with the endpoints of `py_server.py`.
pub(crate) struct Served {
    pub(crate) server: TcpServer,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// A server without plugins.
    pub(crate) async fn start() -> Self {
        Self::with(Layers::new(), |server| server).await
    }

    /// A server with these settings, whose protected endpoints have these
    /// layers.
    pub(crate) async fn with(
        inner: Layers,
        set: impl FnOnce(ServerBuilder<Own>) -> ServerBuilder<Own>,
    ) -> Self {
        let server = set(TcpServer::builder()).build();
        add_endpoints!(server, Incoming, inner);
        add_server_endpoints(&server);
        let address = server.listen("127.0.0.1:0").await.expect("a free port");
        Self { server, address }
    }

    /// Runs a Python client with these options through these operations, all
    /// of which must end as they expect.
    pub(crate) fn run(&self, python: &Environment, args: &[&str], ops: Value) {
        self.report(python, args, ops).assert_passed();
    }

    /// Runs a Python client with these options through these operations.
    pub(crate) fn report(
        &self,
        python: &Environment,
        args: &[&str],
        ops: Value,
    ) -> ClientReport {
        PyClient::run(python, self.address.port(), args, ops)
    }

    /// Ends it, and checks that nothing is left of what was done.
    pub(crate) async fn end(self) {
        soon(self.server.shutdown(LONG)).await;
        assert!(self.server.links().is_empty());
    }
}

/// Endpoints that a node does not have.
fn add_server_endpoints(server: &TcpServer) {
    let ask = |uri: &str| (MessageType::REQUEST_URI, uri.to_owned());
    server.on(ask("not-found"), |m| m.not_found());
    server.on(ask("fails"), |_| Err::<(), _>("failed as asked"));
    // A panic that nobody reports.
    server.on(ask("raise"), |_| -> () {
        resume_unwind(Box::new("as asked"))
    });
    server.on(ask("close"), async |m: Incoming| {
        m.link().close_within(Duration::ZERO).await;
    });
}
