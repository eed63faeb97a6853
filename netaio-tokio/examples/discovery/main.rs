//! Prints peers as they come and go, found by multicast.
//!
//! ```text
//! cargo run -p netaio-tokio --example discovery [NAME]
//! ```
//!
//! Run it on several hosts of a network, or several times on one: its nodes share
//! the port 8888. Each says its name every second or so; one that ends with
//! Ctrl-C says so, one that is killed is missed after five seconds. Python
//! netaio's nodes with the app id `discovery` take part as well.
//!
//! The node is in `announce.rs`, which is the same on every runtime.

use std::error::Error;

use netaio_tokio as netaio;

mod announce;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let name = std::env::args().nth(1);
    let name = name.unwrap_or_else(|| format!("process {}", std::process::id()));

    let node = announce::node(&name)?;
    let events = node.peer_events();
    let address = node.start().await?;
    println!("{name} is here, on {address}; Ctrl-C ends");
    announce::begin(&node)?;

    tokio::select! {
        () = announce::show(events) => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    // The others are told.
    node.stop().await;
    Ok(())
}
