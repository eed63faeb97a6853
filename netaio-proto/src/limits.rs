//! Every bound of an endpoint, in one place.

use core::time::Duration;

/// What a connection or node keeps, waits for and puts up with, at most.
///
/// Start from the default and change what you need:
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::Limits;
///
/// let limits = Limits {
///     idle_timeout: Some(Duration::from_secs(300)),
///     ..Limits::default()
/// };
/// assert_eq!(limits.max_in_flight, 256);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of ours that wait for a reply, those included that were given
    /// up but whose late reply may still come. At the bound a request fails
    /// with `SendError::TooManyPending`. Default: 65,536.
    pub max_pending: usize,
    /// Requests of the peer that have been dispatched but not yet answered. At
    /// the bound no further request is decoded, and the peer is not read from
    /// while one waits: what comes behind it waits as well, answers to requests of
    /// ours and to `Keepalive` included. One that the peer has given up counts
    /// until it is answered. A node drops requests that come then, whoever sends
    /// them, and counts them as `Counters::ignored`. Default: 256; 0 lets nothing
    /// pass.
    pub max_in_flight: usize,
    /// Bytes of the messages that are in flight. At the bound as for
    /// `max_in_flight`; one message is taken in whatever its length. Default:
    /// 4 MiB.
    pub max_in_flight_bytes: usize,
    /// Time that a request of the peer may wait because as many are in flight
    /// as may, none of which is answered meanwhile. What came behind it, the
    /// peer's end included, is not seen until then. At the bound the connection
    /// is closed with `CloseReason::HeldUp`. Default: 60 seconds.
    pub held_up_timeout: Option<Duration>,
    /// Time that a handler may take. At the bound the driver drops its future,
    /// and the peer is answered with `ERROR`. A handler that blocks its thread
    /// cannot be ended before it returns; a caller that drives the core by hand
    /// has its own handlers, and nothing happens to those. Default: none.
    pub handler_timeout: Option<Duration>,
    /// Bytes of answers waiting to be written at which no further request is
    /// decoded, and the peer is not read from while one waits: a peer that does not
    /// take its replies gets no more of them made. Of a node all bytes that wait
    /// count, and it drops requests that come then. Default: 256 KiB.
    pub outgoing_high_water: usize,
    /// Bytes waiting to be written at which sending fails with
    /// `SendError::OutgoingFull`. Replies to what was accepted before still get
    /// their place. Default: 8 MiB.
    pub max_outgoing: usize,
    /// Bytes waiting to be written on all connections of an endpoint. At the
    /// bound no further request is decoded, and sending fails with
    /// `SendError::OutgoingFull`, on those of them that have a part in it: a
    /// peer that takes what it is sent is not held up by others that do not.
    /// Counted in steps of 16 KiB a connection; notices are not counted, for
    /// their bytes are shared. Default: 256 MiB.
    pub max_outgoing_total: usize,
    /// Time for the nine bytes of a header to come, from the first of them; on
    /// an accepted connection also from its start, so that one which never says
    /// anything does not stay. At the bound the connection is closed with
    /// `CloseReason::HeaderTimeout`. Default: 10 seconds.
    pub header_timeout: Option<Duration>,
    /// Time for the rest of a frame to come, from its header. At the bound the
    /// connection is closed with `CloseReason::FrameTimeout`. Default: 30
    /// seconds.
    pub frame_timeout: Option<Duration>,
    /// Time without a byte in either direction after which the connection is
    /// closed with `CloseReason::Idle`. Default: none.
    pub idle_timeout: Option<Duration>,
    /// Time in which at least one byte must leave while some wait. At the bound
    /// the connection is closed with `CloseReason::WriteStalled`. Default: 30
    /// seconds.
    pub write_timeout: Option<Duration>,
    /// Time that a connection whose peer has stopped sending may take to answer
    /// what it was asked. Default: 30 seconds.
    pub drain_timeout: Duration,
    /// Malformed, unauthentic or undecryptable messages within one minute after
    /// which a connection is closed with `CloseReason::TooManyErrors`, and a
    /// node, which anybody can send anything to, only counts further ones for
    /// the rest of that minute. Default: 100.
    pub max_errors_per_minute: u32,
    /// Lines of one kind within one minute that an endpoint logs as warnings or
    /// errors about what peers and handlers do. Further ones are counted, and
    /// their number is told with the next. Default: 60.
    pub max_log_lines_per_minute: u32,
    /// Connections of a server at a time. At the bound further ones wait to be
    /// accepted until one ends. Default: 16,384.
    pub max_connections: usize,
    /// Connections of a server from one IPv4 address, or one IPv6 network of 64
    /// bits, at a time. At the bound further ones are closed as soon as they have
    /// been accepted. Default: 1,024.
    pub max_connections_per_address: usize,
    /// How long a request on a stream that was given up keeps its place, if its
    /// peer does not repeat request ids: a reply that comes within this time is
    /// taken for its late one. Default: 60 seconds.
    pub late_reply_grace: Duration,
    /// Memory of notices (what was published, or sent to all connections) that
    /// wait for one peer to take what it has got so far, in bytes; up to 64 KiB
    /// more are on their way to the socket. At the bound `lag_policy` decides.
    /// Default: 512 KiB.
    pub max_notices: usize,
    /// What becomes of a peer that takes notices more slowly than they come.
    /// Default: it loses the oldest.
    pub lag_policy: LagPolicy,
    /// Bytes of one datagram of ours. A longer one fails with
    /// `SendError::TooLongForDatagram` before anything is sent. Default: 65,507,
    /// which is what UDP over IPv4 carries; networks split what is longer than
    /// about 1,400 bytes and lose it whole if one part gets lost.
    pub max_datagram: usize,
    /// Peers that are known at a time. At the bound the one that was heard of
    /// longest ago goes, unless it is pinned; what it has subscribed to stays until
    /// it unsubscribes. Default: 1,024.
    pub max_peers: usize,
    /// Bytes of one peer's id and data together. What says more of itself is not
    /// kept. Default: 8 KiB.
    pub max_peer_size: usize,
    /// Addresses of one peer; at the bound further ones are not noted.
    /// Default: 8.
    pub max_peer_addresses: usize,
    /// Subscriptions of one connection or address. At the bound further ones
    /// are refused. Default: 64.
    pub max_subscriptions_per_peer: usize,
    /// Subscriptions in all. At the bound further ones are refused. Default:
    /// 65,536.
    pub max_subscriptions: usize,
    /// Bytes of the keys that are subscribed to. At the bound further keys are
    /// refused. Default: 4 MiB.
    pub max_subscription_bytes: usize,
}

/// What becomes of whoever takes messages more slowly than they come, once as
/// many wait as may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagPolicy {
    /// The messages that have waited longest are dropped.
    #[default]
    DropOldest,
    /// The message that came last is dropped.
    DropNewest,
    /// It is given up: a connection is closed, a subscription ended.
    Disconnect,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending: 65_536,
            max_in_flight: 256,
            max_in_flight_bytes: 4 * 1024 * 1024,
            held_up_timeout: Some(Duration::from_secs(60)),
            handler_timeout: None,
            outgoing_high_water: 256 * 1024,
            max_outgoing: 8 * 1024 * 1024,
            max_outgoing_total: 256 * 1024 * 1024,
            header_timeout: Some(Duration::from_secs(10)),
            frame_timeout: Some(Duration::from_secs(30)),
            idle_timeout: None,
            write_timeout: Some(Duration::from_secs(30)),
            drain_timeout: Duration::from_secs(30),
            max_errors_per_minute: 100,
            max_log_lines_per_minute: 60,
            max_connections: 16_384,
            max_connections_per_address: 1024,
            late_reply_grace: Duration::from_secs(60),
            max_notices: 512 * 1024,
            lag_policy: LagPolicy::DropOldest,
            max_datagram: 65_507,
            max_peers: 1024,
            max_peer_size: 8 * 1024,
            max_peer_addresses: 8,
            max_subscriptions_per_peer: 64,
            max_subscriptions: 65_536,
            max_subscription_bytes: 4 * 1024 * 1024,
        }
    }
}
