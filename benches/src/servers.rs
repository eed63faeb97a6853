//! netaio's own ends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netaio_asyncstd::smol::{self as on_smol, Smol};
use netaio_tokio::{Layers, Limits, MessageType, TcpClient, TcpServer, UdpNode};

use crate::load::{Clock, Server, Shape, Threads, asked, on_smol, on_tokio, rate};

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

/// Requests a second.
pub(crate) fn tcp_rate(
    server: SocketAddr,
    layers: &Layers,
    shape: Shape,
    span: Duration,
) -> f64 {
    on_tokio(shape.threads, async {
        let mut askers = Vec::new();
        for _ in 0..shape.connections {
            let builder = TcpClient::builder().server(server);
            let client = builder.layers(layers.clone()).build();
            client.connect().await.expect("a connection");
            for _ in 0..shape.depth {
                askers.push(ask(client.clone(), shape.content));
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

pub(crate) fn smol_tcp(threads: Threads) -> Server {
    Server::start(move |started| {
        on_smol(threads, |executor| async {
            let builder = on_smol::TcpServer::builder_on(Smol::on(executor));
            let server = builder.limits(limits()).build();
            server.on(ECHO, |m| m.respond(m.content()));
            let address = server.listen("127.0.0.1:0").await.expect("a port");
            started.at(address).await;
        });
    })
}

/// Requests a second, on smol.
pub(crate) fn smol_rate(server: SocketAddr, shape: Shape, span: Duration) -> f64 {
    on_smol(shape.threads, |executor| async move {
        let mut clients = Vec::new();
        for _ in 0..shape.connections {
            let runtime = Smol::on(Arc::clone(&executor));
            let builder = on_smol::TcpClient::builder_on(runtime).server(server);
            let client = builder.build();
            client.connect().await.expect("a connection");
            clients.push(client);
        }
        let clock = Clock::new();
        let start = Instant::now();
        let mut tasks = Vec::new();
        for client in clients {
            for _ in 0..shape.depth {
                let client = client.clone();
                let bytes = vec![7; shape.content];
                let ask = move || {
                    let request = client.request("echo").content(&bytes);
                    async move {
                        request.await.expect("a reply");
                    }
                };
                tasks.push(executor.spawn(asked(ask, clock.clone())));
            }
        }
        smol::Timer::after(span).await;
        clock.stop();
        let mut count = 0;
        for task in tasks {
            count += task.await;
        }
        count as f64 / start.elapsed().as_secs_f64()
    })
}

pub(crate) fn udp() -> Server {
    Server::start(|started| {
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
    on_tokio(Threads::ONE, async {
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
