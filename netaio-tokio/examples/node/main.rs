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
//!
//! The node is in `echo.rs`, which is the same on every runtime.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use netaio_tokio as netaio;

mod echo;

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

    let node = echo::node(local)?;
    let address = node.start().await?;
    println!("bound to {address}, Ctrl-C ends");
    echo::find_others(&node)?;

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = seconds.tick() => echo::ask(&node, remote).await?,
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                break;
            }
        }
    }
    node.stop().await;
    Ok(())
}
