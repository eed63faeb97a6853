//! What an endpoint is made of: a client, a server, a node.

use alloc::sync::Arc;

use crate::limits::Limits;
use crate::plugin::{Layers, Peer};
use crate::request::Correlation;
use crate::wire::message_type::MessageTypes;

/// What a client, a server or a node is made of, besides its routes. Shared,
/// behind an `Arc`, by all connections of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointConfig {
    /// Which end of its connections this is. A node has none.
    pub role: Role,
    /// The endpoint's own plugins.
    pub layers: Layers,
    /// The message types that are understood.
    pub types: MessageTypes,
    /// Every bound.
    pub limits: Limits,
    /// Whether requests carry ids.
    pub correlation: Correlation,
    /// How far to go in behaving as Python netaio 0.0.9 does.
    pub compatibility: Compatibility,
    /// Who this endpoint is, for plugins that want to know.
    pub local_peer: Option<Arc<Peer>>,
}

/// Which end of a stream a connection is. Both ends can send requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The end that connected.
    #[default]
    Client,
    /// The end that accepted: it expects a first frame in time.
    Server,
}

/// How far to go in behaving as Python netaio 0.0.9 does, where its behaviour
/// does its users no good. The bytes of messages are the same either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compatibility {
    /// Replies that the endpoint makes itself carry the request's URI; a
    /// malformed frame is answered with `ERROR` and passed over; an answer is
    /// never answered.
    #[default]
    Hardened,
    /// As Python: the default `NOT_FOUND` has an empty URI and errors have
    /// `ERROR`; a malformed frame closes the connection; answers that nobody
    /// handles are answered with `NOT_FOUND`; a message that cannot be
    /// decrypted is dropped in silence.
    Python,
}
