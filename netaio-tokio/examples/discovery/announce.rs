//! A node that says its name to others, and shows theirs. `netaio` is the crate
//! for the runtime that `main.rs` has chosen.

use std::error::Error;
use std::time::Duration;

use crate::netaio::{
    DefaultPeerPlugin, KnownPeer, Peer, PeerError, PeerEvent, PeerEvents,
    PeerManagement, PeerPlugin, UdpNode, wire::packify::Value,
};

/// A node that has something to say of itself.
pub(crate) fn node(name: &str) -> Result<UdpNode, Box<dyn Error>> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    // What a peer says of itself is any value that can be packed.
    let data = DefaultPeerPlugin.encode_data(&Value::Str(name.to_owned()))?;
    Ok(UdpNode::builder()
        .local_peer(Peer::new(id.to_vec(), data))
        .reuse_address(true)
        .build())
}

/// Says every second that the node is there, and who is gone after five.
pub(crate) fn begin(node: &UdpNode) -> Result<(), PeerError> {
    let management = PeerManagement::new("discovery")
        .every(Duration::from_secs(1))
        .timeout(Duration::from_secs(5));
    node.manage_peers(management)
}

/// Prints peers as they come and go.
pub(crate) async fn show(mut events: PeerEvents) {
    while let Some(event) = events.next().await {
        match event {
            PeerEvent::Found(peer) => println!("+ {}", describe(&peer)),
            PeerEvent::Updated(peer) => println!("~ {}", describe(&peer)),
            PeerEvent::Lost { peer, reason } => {
                println!("- {} ({reason:?})", describe(&peer));
            }
            _ => {}
        }
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
