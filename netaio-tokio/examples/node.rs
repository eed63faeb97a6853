//! A node that finds others by multicast and asks them to echo: the one from
//! Python netaio's readme, in Rust. Any of them can be the Python one.
//!
//! ```text
//! cargo run -p netaio-tokio --example node [LOCAL [REMOTE]]
//! ```
//!
//! `LOCAL` is the address to bind, `0.0.0.0:8888` unless you give another one.
//! On a network, start it on several hosts: they find each other, and every
//! second each asks all it knows. On one host the ports must differ, and then
//! multicasts do not meet: name the other node, as in
//!
//! ```text
//! cargo run -p netaio-tokio --example node 127.0.0.1:8888
//! cargo run -p netaio-tokio --example node 127.0.0.1:8889 127.0.0.1:8888
//! ```
//!
//! End it with Ctrl-C: the others are told.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use netaio_tokio::{
    HmacAuthPlugin, IncomingDatagram, Message, MessageType, Peer, PeerManagement,
    UdpNode,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut arguments = std::env::args().skip(1);
    let local = arguments.next();
    let local: SocketAddr = local.as_deref().unwrap_or("0.0.0.0:8888").parse()?;
    let remote = arguments
        .next()
        .map(|a| a.parse::<SocketAddr>())
        .transpose()?;

    // Whoever runs this is a peer of its own.
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    let node = UdpNode::builder()
        .interface(local.ip())
        .port(local.port())
        .local_peer(Peer::new(id.to_vec(), ""))
        .auth(HmacAuthPlugin::new("test"))
        .build();
    node.on(MessageType::REQUEST_URI, |m: IncomingDatagram| {
        println!("Sending echo to {}...", m.from());
        m.into_message().with_type(MessageType::OK)
    });
    node.on(MessageType::OK, |m: IncomingDatagram| {
        println!("Received echo from {}.", m.from());
    });

    let address = node.start().await?;
    println!("bound to {address}, Ctrl-C ends");
    let management = PeerManagement::new(PeerManagement::APP_ID)
        .every(Duration::from_secs(1))
        .timeout(Duration::from_secs(3));
    node.manage_peers(management)?;

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = seconds.tick() => ask(&node, remote).await?,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                break;
            }
        }
    }
    node.stop().await;
    Ok(())
}

/// Asks the node that was named, or all that are known.
async fn ask(
    node: &UdpNode,
    remote: Option<SocketAddr>,
) -> Result<(), Box<dyn Error>> {
    let echo = Message::new(MessageType::REQUEST_URI, "", "echo")?;
    match remote {
        Some(remote) => {
            println!("Sending message to {remote}...");
            node.send(echo, remote).await?;
        }
        None if node.peers().is_empty() => {
            println!("No peers known, waiting to discover peers...");
        }
        None => {
            println!("Broadcasting message to all known peers...");
            node.broadcast(echo).await?;
        }
    }
    Ok(())
}
