//! A node that echoes, and asks others to. `netaio` is the crate for the runtime
//! that `main.rs` has chosen.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use crate::netaio::{
    HmacAuthPlugin, IncomingDatagram, Message, MessageType, Peer, PeerError,
    PeerManagement, UdpNode,
};

/// A node that answers, and says what it gets.
pub(crate) fn node(local: SocketAddr) -> Result<UdpNode, Box<dyn Error>> {
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
    Ok(node)
}

/// Says every second that the node is there, and who is gone after three.
pub(crate) fn find_others(node: &UdpNode) -> Result<(), PeerError> {
    let management = PeerManagement::new(PeerManagement::APP_ID)
        .every(Duration::from_secs(1))
        .timeout(Duration::from_secs(3));
    node.manage_peers(management)
}

/// Asks the node that was named, or all that are known.
pub(crate) async fn ask(
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
