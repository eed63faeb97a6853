//! netaio on async-std and on smol: requests, replies, routing, authentication,
//! encryption and timeouts for messages over TCP, wire-compatible with Python
//! netaio 0.0.9. The names are those of `netaio-tokio`.
//!
//! | feature | gives | tasks run on |
//! |---|---|---|
//! | `async-std` (default) | the names at this crate's root | async-std's global executor |
//! | `smol` | the same names in the module `smol` | smol's global executor, or one of yours |
//!
//! Features add up: with both, both sets of names are there. Sockets and timers
//! come from `async-io` either way; only the tasks differ.
//!
//! # async-std is discontinued
//!
//! Its authors have ended its development and recommend smol
//! (RUSTSEC-2025-0052). What exists goes on working, but nobody mends it. Use
//! the default feature for a program that is on async-std already. Start new
//! ones on smol (`default-features = false, features = ["smol"]`), or on tokio
//! with `netaio-tokio`, whose ecosystem is the larger one.
//!
//! # A server and a client
//!
//! `TcpClient` has an example. `TcpServer::serve_stream` and
//! `TcpClient::connect_stream` take anything that is `futures-io`'s
//! `AsyncRead + AsyncWrite`: TLS streams, Unix sockets, pipes.

#[cfg(not(any(feature = "async-std", feature = "smol")))]
compile_error!(
    "netaio-asyncstd needs a runtime: enable the feature `async-std` or `smol`"
);

#[cfg(feature = "async-std")]
mod async_std;
#[cfg(feature = "smol")]
pub mod smol;
#[cfg(any(feature = "async-std", feature = "smol"))]
mod stream;

#[cfg(feature = "async-std")]
pub use self::async_std::{
    AsyncStd, AutoReconnectTimeoutHandler, ClientBuilder, Incoming,
    IncomingDatagram, Link, NodeBuilder, RequestBuilder, ServerBuilder,
    SubscribeBuilder, Subscription, TcpClient, TcpServer, UdpNode,
};
pub use netaio_driver::{
    Answer, AuthError, AuthFailure, AuthFields, AuthPlugin, ByteStream,
    CipherPlugin, CloseReason, Compatibility, ConnectError, ConnectionEvent,
    ConnectionEvents, Context, Correlation, Counters, DEFAULT_TIMEOUT,
    DatagramSocket, DefaultPeerPlugin, Envelope, EventStream, Hint, HmacAuthPlugin,
    Instant, IntoAnswer, IntoOutcome, IntoTimeoutOutcome, KeyExtractor, KnownPeer,
    LagPolicy, LayerKind, Layers, Limits, LossReason, Message, MessageType,
    MessageTypeError, MessageTypes, MulticastInterface, Notification, Outcome,
    OuterUse, Peer, PeerError, PeerEvent, PeerEvents, PeerManagement, PeerPlugin,
    PluginError, ProtocolError, Reconnecting, RequestError, RequestFuture, RouteKey,
    Runtime, SendError, ServerName, ServerOptions, Sha256StreamCipherPlugin,
    StatusError, SubscribeError, SubscriptionEnd, TimeoutContext, TimeoutEvent,
    TimeoutKind, Timer, TooLong, WrapStream, wire,
};
#[cfg(any(feature = "async-std", feature = "smol"))]
pub use stream::{AsyncIoTcpStream, AsyncIoTimer, AsyncIoUdpSocket, FuturesStream};
