//! What an endpoint is made of: a client, a server, a node.

use alloc::sync::Arc;
use core::time::Duration;

use crate::limits::Limits;
use crate::outgoing_total::OutgoingTotal;
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
    /// Whether a connection asks its peer for a sign of life when none comes.
    pub keepalive: Option<Keepalive>,
    /// What waits to be written on all connections together.
    pub outgoing_total: Arc<OutgoingTotal>,
}

/// Asking the other end of a connection for a sign of life when none comes: a
/// host that has lost its power or its network closes no connection.
///
/// When nothing has come for an interval, a small request is sent, whose answer
/// the connection keeps to itself: a `REQUEST_URI` for [`URI`](Self::URI). An
/// endpoint of this crate answers it at once and shows it to no handler. If
/// nothing at all comes for as many intervals as there may be misses, the
/// connection is closed with `CloseReason::KeepaliveTimeout`: at the latest after
/// `interval * (misses + 1)` without a sign of life, and never if there was one.
///
/// An accepted connection must say something within `Limits::header_timeout`, for
/// which a client's first request of this kind is enough if the interval is
/// shorter.
///
/// A peer that works on as many requests as it takes at a time (this library: 256)
/// reads no more until one is answered, and gives no sign until then. If so many are
/// asked of it, let all misses together be longer than they take.
///
/// Nothing is asked through an own layer that is costly, such as one with proof of
/// work: it would have to be made where the clock is looked at.
///
/// Towards Python netaio 0.0.9:
///
/// - Its server answers with what it answers to any unknown URI, `NOT_FOUND`, at
///   the cost of one small message each way. A server whose handler takes every
///   `REQUEST_URI` gets to see this URI, and must answer it with something. It
///   answers one message at a time: let all misses together be longer than its
///   slowest handler takes.
/// - It does not tell to which request a `NOT_FOUND` belongs, so it is not asked
///   while another request waits: that has a timeout of its own.
/// - Its client answers no requests. Therefore a server asks only clients that
///   have sent request ids.
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::{EndpointConfig, Keepalive};
///
/// let config = EndpointConfig {
///     keepalive: Some(Keepalive::new(Duration::from_secs(20)).misses(3)),
///     ..EndpointConfig::default()
/// };
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing may come before the peer is asked.
    pub(crate) interval: Duration,
    pub(crate) misses: u32,
}

impl Keepalive {
    /// What is asked for.
    pub const URI: &str = "netaio/keepalive";

    /// Asks when nothing has come for `interval` (at least a millisecond), and
    /// gives up after two further ones.
    pub const fn new(interval: Duration) -> Self {
        let least = Duration::from_millis(1);
        let too_short = interval.as_nanos() < least.as_nanos();
        Self {
            interval: if too_short { least } else { interval },
            misses: 2,
        }
    }

    /// How many intervals (at least one) may pass without an answer.
    #[must_use]
    pub const fn misses(mut self, misses: u32) -> Self {
        self.misses = if misses == 0 { 1 } else { misses };
        self
    }

    /// How long an answer may take.
    pub(crate) fn patience(self) -> Duration {
        self.interval.saturating_mul(self.misses)
    }
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
