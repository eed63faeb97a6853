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

use std::error::Error;
use std::time::Duration;

use netaio_tokio::{
    DefaultPeerPlugin, KnownPeer, Peer, PeerEvent, PeerManagement, PeerPlugin,
    UdpNode, wire::packify::Value,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let name = std::env::args().nth(1);
    let name = name.unwrap_or_else(|| format!("process {}", std::process::id()));

    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    // What a peer says of itself is any value that can be packed.
    let data = DefaultPeerPlugin.encode_data(&Value::Str(name.clone()))?;
    let node = UdpNode::builder()
        .local_peer(Peer::new(id.to_vec(), data))
        .reuse_address(true)
        .build();
    let mut events = node.peer_events();
    let address = node.start().await?;
    println!("{name} is here, on {address}; Ctrl-C ends");
    let management = PeerManagement::new("discovery")
        .every(Duration::from_secs(1))
        .timeout(Duration::from_secs(5));
    node.manage_peers(management)?;

    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => show(&event),
                None => break,
            },
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                break;
            }
        }
    }
    // The others are told.
    node.stop().await;
    Ok(())
}

fn show(event: &PeerEvent) {
    match event {
        PeerEvent::Found(peer) => println!("+ {}", describe(peer)),
        PeerEvent::Updated(peer) => println!("~ {}", describe(peer)),
        PeerEvent::Lost { peer, reason } => {
            println!("- {} ({reason:?})", describe(peer));
        }
        _ => {}
    }
}

fn describe(known: &KnownPeer) -> String {
    let data = known.peer.data.as_deref().unwrap_or_default();
    let name = match DefaultPeerPlugin.parse_data(data) {
        Ok(Value::Str(name)) => name,
        _ => "somebody".to_owned(),
    };
    format!("{name} at {:?}", known.addresses)
}
