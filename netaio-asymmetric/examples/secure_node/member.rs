//! A member of a group: a node that only members can talk to, and an endpoint on
//! it that only the one who is asked can read.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
use netaio_asymmetric::{TapescriptAuthPlugin, X25519CipherPlugin};
use netaio_tokio::wire::packify::Value;
use netaio_tokio::{
    DefaultPeerPlugin, Layers, Message, MessageType, Peer, PeerEvent,
    PeerManagement, PeerPlugin as _, ReplayGuard, UdpNode,
};

/// The group's name, under which members look for each other.
const GROUP: &str = "secure";

/// A member and what it needs to talk to another.
pub(crate) struct Member {
    pub(crate) node: UdpNode,
    myself: Peer,
    /// For one recipient alone.
    inner: Layers,
}

impl Member {
    /// A node for the member with this name and seed. All members have keys that
    /// the others know.
    pub(crate) fn new(
        name: &'static str,
        seed: &[u8; 32],
        members: &[[u8; 32]],
        port: u16,
    ) -> Result<Self, Box<dyn Error>> {
        let key = SigningKey::from_seed(seed);
        let cipher = Arc::new(X25519CipherPlugin::new(seed));

        // What it says of itself: how to write to it, and what it signs with.
        let all = SigFlags::ALL_SIGNED;
        let my_lock = lock::single_signature(&key.public_key(), all).into_bytes();
        let mut data = vec![("lock".into(), Value::Bytes(my_lock))];
        if let Value::Dict(keys) = cipher.peer_data() {
            data.extend(keys);
        }
        let data = DefaultPeerPlugin.encode_data(&Value::Dict(data))?;
        let myself = Peer::new(name, data);

        // Who is not known yet must be some member. Who is known must be the same
        // one as before. And nothing is heard twice.
        let any_member = lock::multisig(members, 1, all)?;
        let auth = TapescriptAuthPlugin::new(any_member, key).use_peer_lock();
        let node = UdpNode::builder()
            .interface(Ipv4Addr::LOCALHOST)
            .port(port)
            .no_multicast()
            .auth(ReplayGuard::new(auth))
            .local_peer(myself.clone())
            .build();

        let inner = Layers::new().cipher(cipher);
        let secret = (MessageType::REQUEST_URI, "secret");
        node.on_with(secret, inner.clone(), move |m| {
            m.respond([name.as_bytes(), b" knows ", m.content()].concat())
        });
        Ok(Self {
            node,
            myself,
            inner,
        })
    }

    /// Starts it, and looks after who is there. On a network, where members find
    /// each other by multicast, that is all there is to do.
    pub(crate) async fn start(&self) -> Result<SocketAddr, Box<dyn Error>> {
        let address = self.node.start().await?;
        let management = PeerManagement::new(GROUP)
            .every(Duration::from_secs(5))
            .timeout(Duration::from_secs(60));
        self.node.manage_peers(management)?;
        Ok(address)
    }

    /// Introduces itself to a node whose address it was told, and waits until that
    /// has done the same. Gives that one's name.
    pub(crate) async fn meet(
        &self,
        other: SocketAddr,
    ) -> Result<String, Box<dyn Error>> {
        let mut events = self.node.peer_events();
        let content = DefaultPeerPlugin.pack(&self.myself)?;
        let hello = Message::new(MessageType::ADVERTISE_PEER, GROUP, content)?;
        self.node.send(hello, other).await?;
        while let Some(event) = events.next().await {
            if let PeerEvent::Found(known) = event
                && known.addresses.contains(&other)
            {
                let name = known.peer.id.clone().unwrap_or_default();
                return Ok(String::from_utf8_lossy(&name).into_owned());
            }
        }
        Err("the node was stopped".into())
    }

    /// Tells another member something that nobody else can read, and gives what
    /// that answers.
    pub(crate) async fn tell(
        &self,
        other: SocketAddr,
        secret: &str,
    ) -> Result<String, Box<dyn Error>> {
        let request = self.node.request("secret", other).content(secret);
        let reply = request.layers(self.inner.clone()).await?;
        Ok(reply.text().into_owned())
    }
}
