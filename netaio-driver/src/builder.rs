//! Describing clients and servers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{
    AuthPlugin, CipherPlugin, Compatibility, Correlation, DefaultRoute,
    EndpointConfig, Layers, Limits, MessageTypes, Peer, Role,
};

use crate::client::TcpClient;
use crate::endpoint::Endpoint;
use crate::reconnect::AutoReconnectTimeoutHandler;
use crate::runtime::Runtime;
use crate::server::TcpServer;
use crate::server_name::ServerName;
use crate::timeout::{IntoTimeoutOutcome, TimeoutEvent};

/// What the builders of clients and servers have in common.
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

        /// The bounds of each connection.
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

        /// Who this endpoint is, for plugins that want to know.
        pub fn local_peer(mut self, peer: Peer) -> Self {
            self.config.local_peer = Some(Arc::new(peer));
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
    /// connection, within their own timeout. Default: not.
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
    max_connections: usize,
}

impl<R: Runtime> ServerBuilder<R> {
    pub(crate) fn on(runtime: R) -> Self {
        Self {
            runtime,
            config: EndpointConfig {
                role: Role::Server,
                ..EndpointConfig::default()
            },
            max_connections: 16_384,
        }
    }

    common_settings!();

    /// Most connections at a time; further ones wait until one ends. Looked at
    /// by each listening socket before it accepts; streams that are given to
    /// `serve_stream` count, but are not refused. Default: 16,384.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// The server. It does not listen yet.
    pub fn build(self) -> TcpServer<R> {
        let endpoint = Endpoint::new(self.config, DefaultRoute::NotFound);
        TcpServer::from_parts(self.runtime, endpoint, self.max_connections)
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
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
