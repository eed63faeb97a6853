//! Describing clients, servers and nodes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{
    AuthPlugin, CipherPlugin, Compatibility, Correlation, DefaultRoute,
    EndpointConfig, Keepalive, Layers, Limits, MessageTypes, Peer, Role,
};

use crate::client::TcpClient;
use crate::endpoint::Endpoint;
use crate::node::UdpNode;
use crate::reconnect::AutoReconnectTimeoutHandler;
use crate::runtime::Runtime;
use crate::server::TcpServer;
use crate::server_name::ServerName;
use crate::timeout::{IntoTimeoutOutcome, TimeoutEvent};
use crate::udp::{Group, MulticastInterface, UdpOptions};

/// What the builders of clients, servers and nodes have in common.
macro_rules! common_settings {
    () => {
        /// Authenticates all messages, unless a message is sent without.
        pub fn auth(mut self, plugin: impl AuthPlugin + 'static) -> Self {
            self.config.layers.auth = Some(Arc::new(plugin));
            self
        }

        /// Encrypts all messages, unless a message is sent without.
        pub fn cipher(mut self, plugin: impl CipherPlugin + 'static) -> Self {
            self.config.layers.cipher = Some(Arc::new(plugin));
            self
        }

        /// Both plugins at once.
        pub fn layers(mut self, layers: Layers) -> Self {
            self.config.layers = layers;
            self
        }

        /// The bounds of each connection, or of the node.
        pub fn limits(mut self, limits: Limits) -> Self {
            self.config.limits = limits;
            self
        }

        /// The message types that are understood: the protocol's own and
        /// yours.
        pub fn message_types(mut self, types: MessageTypes) -> Self {
            self.config.types = types;
            self
        }

        /// Whether requests carry ids. Default: they do.
        pub fn correlation(mut self, correlation: Correlation) -> Self {
            self.config.correlation = correlation;
            self
        }

        /// How far to go in behaving as Python netaio 0.0.9 does. Default: no
        /// further than its users need.
        pub fn compatibility(mut self, compatibility: Compatibility) -> Self {
            self.config.compatibility = compatibility;
            self
        }

        /// Who this endpoint is: what other peers are told of it, and plugins
        /// that want to know.
        pub fn local_peer(mut self, peer: Peer) -> Self {
            self.config.local_peer = Some(Arc::new(peer));
            self
        }
    };
}

/// What the builders of clients and servers have in common.
macro_rules! connection_settings {
    () => {
        /// Asks the other end of each connection for a sign of life when none
        /// comes, and closes those that give none: see [`Keepalive`], also for
        /// what it means towards Python. Default: not.
        pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
            self.config.keepalive = Some(keepalive);
            self
        }
    };
}

/// Describes a [`TcpClient`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder<R: Runtime> {
    runtime: R,
    config: EndpointConfig,
    server: Option<ServerName>,
    connect_timeout: Duration,
    reconnect: Option<AutoReconnectTimeoutHandler<R>>,
    then: Vec<Setup<TcpClient<R>>>,
}

type Setup<T> = Box<dyn FnOnce(&T) + Send>;

impl<R: Runtime> ClientBuilder<R> {
    pub(crate) fn on(runtime: R) -> Self {
        Self {
            runtime,
            config: EndpointConfig::default(),
            server: None,
            connect_timeout: Duration::from_secs(5),
            reconnect: None,
            then: Vec::new(),
        }
    }

    common_settings!();
    connection_settings!();

    /// The default server: `host:port`.
    pub fn server(mut self, server: impl Into<ServerName>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// How long connecting may take. Default: 5 seconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Connects again, by these rules, whenever a connection ends that this
    /// client did not close. Requests that were pending have failed with
    /// `RequestError::Disconnected`; those made meanwhile wait for the new
    /// connection, within their own timeout. It is made within a time of up to
    /// [`spread`](AutoReconnectTimeoutHandler::spread). Default: not.
    pub fn reconnect_when_lost(
        mut self,
        rules: AutoReconnectTimeoutHandler<R>,
    ) -> Self {
        self.reconnect = Some(rules);
        self
    }

    /// Is told of every request and connection that takes too long; see
    /// [`TcpClient::set_timeout_handler`].
    pub fn timeout_handler<F, O, K>(mut self, handler: F) -> Self
    where
        F: Fn(TimeoutEvent<TcpClient<R>>) -> O + Send + Sync + 'static,
        O: IntoTimeoutOutcome<K>,
    {
        self.then.push(Box::new(move |client: &TcpClient<R>| {
            client.set_timeout_handler(handler);
        }));
        self
    }

    /// The client. It does not connect yet.
    pub fn build(self) -> TcpClient<R> {
        let endpoint = Endpoint::new(self.config, DefaultRoute::Unrouted);
        let client = TcpClient::from_parts(
            self.runtime,
            endpoint,
            self.server,
            self.connect_timeout,
            self.reconnect,
        );
        for setup in self.then {
            setup(&client);
        }
        client
    }
}

/// Describes a [`TcpServer`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder<R: Runtime> {
    runtime: R,
    config: EndpointConfig,
}

impl<R: Runtime> ServerBuilder<R> {
    pub(crate) fn on(runtime: R) -> Self {
        Self {
            runtime,
            config: EndpointConfig {
                role: Role::Server,
                ..EndpointConfig::default()
            },
        }
    }

    common_settings!();
    connection_settings!();

    /// The server. It does not listen yet.
    pub fn build(self) -> TcpServer<R> {
        let endpoint = Endpoint::new(self.config, DefaultRoute::NotFound);
        TcpServer::from_parts(self.runtime, endpoint)
    }
}

/// Describes a [`UdpNode`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct NodeBuilder<R: Runtime> {
    runtime: R,
    config: EndpointConfig,
    udp: UdpOptions,
    own_addresses: Option<Vec<SocketAddr>>,
    then: Vec<Setup<UdpNode<R>>>,
}

impl<R: Runtime> NodeBuilder<R> {
    pub(crate) fn on(runtime: R) -> Self {
        Self {
            runtime,
            config: EndpointConfig::default(),
            udp: UdpOptions::default(),
            own_addresses: None,
            then: Vec::new(),
        }
    }

    common_settings!();

    /// The address to bind. `::` stands for all interfaces of IPv6, and of IPv4
    /// as well where the system has sockets for both. A socket that is bound to
    /// one unicast address hears no multicasts on Linux. Default: `0.0.0.0`.
    pub fn interface(mut self, interface: impl Into<IpAddr>) -> Self {
        self.udp.interface = interface.into();
        self
    }

    /// The port to bind; 0: one that is free. Default: 8888.
    pub fn port(mut self, port: u16) -> Self {
        self.udp.port = port;
        self
    }

    /// The multicast group to join and to send to; a node that cannot join it
    /// does not start. Default: all hosts of the link, which is 224.0.0.1, or
    /// ff02::1 for a node that is bound to IPv6, if that can be joined.
    pub fn multicast_group(mut self, group: impl Into<IpAddr>) -> Self {
        self.udp.group = Group::Address(group.into());
        self
    }

    /// Takes no part in multicasts.
    pub fn no_multicast(mut self) -> Self {
        self.udp.group = Group::None;
        self
    }

    /// The port that multicasts are sent to. Default: the one that is bound.
    pub fn multicast_port(mut self, port: u16) -> Self {
        self.udp.multicast_port = Some(port);
        self
    }

    /// The interface that multicasts leave and enter by: an IPv4 address, or an
    /// index, which alone will do for IPv6. Default: the one that is bound; if
    /// that is all of them, the system chooses.
    pub fn multicast_interface(
        mut self,
        interface: impl Into<MulticastInterface>,
    ) -> Self {
        self.udp.multicast_interface = Some(interface.into());
        self
    }

    /// How many routers a multicast may pass, and one more. Default: the
    /// system's, which is 1: none.
    pub fn multicast_ttl(mut self, ttl: u32) -> Self {
        self.udp.multicast_ttl = Some(ttl);
        self
    }

    /// Whether multicasts are heard on the host that they are sent from.
    /// Default: the system's, which is yes.
    pub fn multicast_loopback(mut self, heard: bool) -> Self {
        self.udp.multicast_loopback = Some(heard);
        self
    }

    /// Whether other sockets of this host may bind the same address and port.
    /// Every one of them hears multicasts, so that nodes find each other; what
    /// is sent to the address itself reaches one of them, by the system's
    /// choice. Own multicasts then come back, since they cannot be told from the
    /// others' by where they come from; only own advertisements are recognised.
    /// Default: no.
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.udp.reuse_address = reuse;
        self
    }

    /// The addresses by which the node's own multicasts come back; what comes
    /// from them is dropped. Default: the addresses of this host's interfaces at
    /// the start, with the port that is bound; none if that may be shared.
    pub fn own_addresses(
        mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Self {
        self.own_addresses = Some(addresses.into_iter().collect());
        self
    }

    /// Is told of every request that is not answered in time; see
    /// [`UdpNode::set_timeout_handler`].
    pub fn timeout_handler<F, O, K>(mut self, handler: F) -> Self
    where
        F: Fn(TimeoutEvent<UdpNode<R>>) -> O + Send + Sync + 'static,
        O: IntoTimeoutOutcome<K>,
    {
        self.then.push(Box::new(move |node: &UdpNode<R>| {
            node.set_timeout_handler(handler);
        }));
        self
    }

    /// The node. It is not bound yet.
    pub fn build(self) -> UdpNode<R> {
        let endpoint = Endpoint::new(self.config, DefaultRoute::NotFound);
        let node = UdpNode::from_parts(
            self.runtime,
            endpoint,
            self.udp,
            self.own_addresses,
        );
        for setup in self.then {
            setup(&node);
        }
        node
    }
}

impl<R: Runtime> fmt::Debug for NodeBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("config", &self.config)
            .field("udp", &self.udp)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> fmt::Debug for ClientBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.config)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl<R: Runtime> fmt::Debug for ServerBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
