//! netaio's own ends.

use std::future::Future;
use std::iter::repeat_n;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netaio_asyncstd::smol::{self as netaio_smol, Smol};
use netaio_driver::{RequestBuilder, Runtime};
use netaio_tokio::{Layers, Limits, MessageType, TcpClient, TcpServer, UdpNode};

use crate::load::{
    self, Askers, Clock, Server, Shape, Threads, client_on_smol, client_on_tokio,
    on_smol, on_tokio,
};

const ECHO: (MessageType, &str) = (MessageType::REQUEST_URI, "echo");

/// Connections that wait for their turn are not closed meanwhile.
fn limits() -> Limits {
    Limits {
        header_timeout: None,
        ..Limits::default()
    }
}

pub(crate) fn tcp(threads: Threads, layers: Layers) -> Server {
    Server::start(threads, move |started| {
        on_tokio(threads, async {
            let builder = TcpServer::builder().limits(limits());
            let server = builder.layers(layers).build();
            server.on(ECHO, |m| m.respond(m.content()));
            let address = server.listen("127.0.0.1:0").await.expect("a port");
            started.at(address).await;
        });
    })
}

/// Requests a second.
pub(crate) fn tcp_rate(
    server: SocketAddr,
    layers: &Layers,
    shape: Shape,
    span: Duration,
) -> f64 {
    client_on_tokio(shape.threads, async {
        let mut clients = Vec::new();
        for _ in 0..shape.connections {
            let builder = TcpClient::builder().server(server);
            let client = builder.layers(layers.clone()).build();
            client.connect().await.expect("a connection");
            clients.push(client);
        }
        let clock = Clock::new();
        load::rate(tasks(clients, shape, &clock), &clock, span).await
    })
}

/// The tasks that ask over these connections.
fn tasks<R: Runtime>(
    clients: Vec<netaio_driver::TcpClient<R>>,
    shape: Shape,
    clock: &Clock,
) -> Vec<impl Future<Output = u64> + Send + 'static> {
    let (tasks, depth) = match shape.askers {
        Askers::One => (1, shape.depth),
        Askers::Many => (shape.depth, 1),
    };
    let clients = clients.iter().flat_map(|client| repeat_n(client, tasks));
    let tasks = clients.map(|client| {
        let (client, clock) = (client.clone(), clock.clone());
        let content = vec![7; shape.content];
        let ask = move || client.request("echo").content(&content);
        asked(ask, depth, clock)
    });
    tasks.collect()
}

/// Asks until the time is over; gives how many answers came.
async fn asked<R: Runtime>(
    ask: impl Fn() -> RequestBuilder<R>,
    depth: usize,
    clock: Clock,
) -> u64 {
    if depth > 1 {
        return load::kept_on_the_way(depth, || ask().start(), clock).await;
    }
    let ask = || async { drop(ask().await.expect("a reply")) };
    load::asked(ask, clock).await
}

pub(crate) fn smol_tcp(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_smol(threads, |executor| async {
            let builder = netaio_smol::TcpServer::builder_on(Smol::on(executor));
            let server = builder.limits(limits()).build();
            server.on(ECHO, |m| m.respond(m.content()));
            let address = server.listen("127.0.0.1:0").await.expect("a port");
            started.at(address).await;
        });
    })
}

/// Requests a second, on smol.
pub(crate) fn smol_rate(server: SocketAddr, shape: Shape, span: Duration) -> f64 {
    client_on_smol(shape.threads, |executor| async move {
        let mut clients = Vec::new();
        for _ in 0..shape.connections {
            let runtime = Smol::on(Arc::clone(&executor));
            let builder = netaio_smol::TcpClient::builder_on(runtime).server(server);
            let client = builder.build();
            client.connect().await.expect("a connection");
            clients.push(client);
        }
        let clock = Clock::new();
        let tasks = tasks(clients, shape, &clock);
        load::rate_on_smol(&executor, tasks, &clock, span).await
    })
}

pub(crate) fn udp() -> Server {
    Server::start(Threads::ONE, |started| {
        on_tokio(Threads::ONE, async {
            let node = node();
            node.on(ECHO, |m| m.respond(m.content()));
            started.at(node.start().await.expect("a port")).await;
            node.stop().await;
        });
    })
}

fn node() -> UdpNode {
    let builder = UdpNode::builder().interface([127, 0, 0, 1]).port(0);
    builder.no_multicast().build()
}

/// Requests a second between two nodes.
pub(crate) fn udp_rate(
    server: SocketAddr,
    depth: usize,
    content: usize,
    span: Duration,
) -> f64 {
    client_on_tokio(Threads::ONE, async {
        let node = node();
        node.start().await.expect("a port");
        let (clock, content) = (Clock::new(), vec![7; content]);
        let asking = node.clone();
        let ask = move || asking.request("echo", server).content(&content);
        let task = asked(ask, depth, clock.clone());
        let rate = load::rate(vec![task], &clock, span).await;
        node.stop().await;
        rate
    })
}
