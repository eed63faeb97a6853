//! netaio's own ends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netaio_asyncstd::smol::{self as on_smol, Smol};
use netaio_tokio::{Layers, Limits, MessageType, TcpClient, TcpServer, UdpNode};

use crate::load::{Clock, Server, Started, Threads, asked, on_tokio, rate};

const ECHO: (MessageType, &str) = (MessageType::REQUEST_URI, "echo");

/// Connections that wait for their turn are not closed meanwhile.
fn limits() -> Limits {
    Limits {
        header_timeout: None,
        ..Limits::default()
    }
}

pub(crate) fn tcp(threads: Threads, layers: Layers) -> Server {
    Server::start(move |started| {
        on_tokio(threads, async {
            let builder = TcpServer::builder().limits(limits());
            let server = builder.layers(layers).build();
            server.on(ECHO, |m| m.respond(m.content()));
            let address = server.listen("127.0.0.1:0").await.expect("a port");
            started.at(address).await;
        });
    })
}

/// Requests a second over so many connections, `depth` at a time on each.
pub(crate) fn tcp_rate(
    server: SocketAddr,
    threads: Threads,
    layers: &Layers,
    [connections, depth, content]: [usize; 3],
    span: Duration,
) -> f64 {
    on_tokio(threads, async {
        let mut askers = Vec::new();
        for _ in 0..connections {
            let builder = TcpClient::builder().server(server);
            let client = builder.layers(layers.clone()).build();
            client.connect().await.expect("a connection");
            for _ in 0..depth {
                askers.push(ask(client.clone(), content));
            }
        }
        rate(askers, span).await
    })
}

fn ask(
    client: TcpClient,
    content: usize,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static
{
    let content: Arc<[u8]> = vec![7; content].into();
    move || {
        let request = client.request("echo").content(&*content);
        Box::pin(async move {
            let reply = request.await.expect("a reply");
            assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
        })
    }
}

pub(crate) fn smol_tcp() -> Server {
    Server::start(|started: Started| {
        let executor = Arc::new(smol::Executor::new());
        smol::block_on(executor.run(async {
            let builder =
                on_smol::TcpServer::builder_on(Smol::on(Arc::clone(&executor)));
            let server = builder.limits(limits()).build();
            server.on(ECHO, |m| m.respond(m.content()));
            let address = server.listen("127.0.0.1:0").await.expect("a port");
            started.at(address).await;
        }));
    })
}

/// Requests a second over one connection, on smol.
pub(crate) fn smol_rate(
    server: SocketAddr,
    depth: usize,
    content: usize,
    span: Duration,
) -> f64 {
    let executor = Arc::new(smol::Executor::new());
    smol::block_on(executor.run(async {
        let runtime = Smol::on(Arc::clone(&executor));
        let builder = on_smol::TcpClient::builder_on(runtime).server(server);
        let client = builder.build();
        client.connect().await.expect("a connection");
        let clock = Clock::new();
        let start = Instant::now();
        let tasks: Vec<_> = (0..depth)
            .map(|_| {
                let client = client.clone();
                let bytes = vec![7; content];
                let ask = move || {
                    let request = client.request("echo").content(&bytes);
                    async move {
                        request.await.expect("a reply");
                    }
                };
                executor.spawn(asked(ask, clock.clone()))
            })
            .collect();
        smol::Timer::after(span).await;
        clock.stop();
        let mut count = 0;
        for task in tasks {
            count += task.await;
        }
        count as f64 / start.elapsed().as_secs_f64()
    }))
}

pub(crate) fn udp() -> Server {
    Server::start(|started| {
        on_tokio(Threads::One, async {
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
    on_tokio(Threads::One, async {
        let node = node();
        node.start().await.expect("a port");
        let askers = (0..depth).map(|_| {
            let node = node.clone();
            let bytes = vec![7; content];
            move || {
                let request = node.request("echo", server).content(&bytes);
                async move {
                    request.await.expect("a reply");
                }
            }
        });
        let rate = rate(askers.collect(), span).await;
        node.stop().await;
        rate
    })
}
