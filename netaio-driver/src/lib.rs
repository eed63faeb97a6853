//! The async glue of netaio, once, generic over a runtime.
//!
//! [`TcpClient`], [`TcpServer`] and [`UdpNode`] put the state machines of
//! `netaio-proto` to work on sockets. They know no runtime by name: whatever
//! implements [`Runtime`] will do. To use them, take `netaio-tokio` or
//! `netaio-asyncstd`, which give them concrete names; take this crate to bring a
//! runtime of your own.
//!
//! One task per connection, or node, owns its socket. Handles ([`Link`], [`TcpClient`])
//! share the connection's state with it behind one short lock, and wake it when
//! there is something to send. A stream therefore has exactly one reader, and
//! requests, [`Link::receive_once`] and handlers all take what that reader
//! decoded.

mod alarm;
mod builder;
mod client;
mod endpoint;
mod events;
mod handler;
mod inbox;
mod known_server;
mod link;
mod log_limit;
mod node;
mod peers;
mod pubsub;
mod reconnect;
mod reply;
mod request;
mod running;
mod runtime;
mod sealing;
mod server;
mod server_name;
mod signal;
mod subscription;
mod task;
mod tasks;
mod timeout;
mod udp;
mod waiters;
mod wall_clock;

pub use netaio_proto::*;

pub use builder::{ClientBuilder, NodeBuilder, ServerBuilder};
pub use client::{ConnectError, TcpClient};
pub use events::{ConnectionEvent, ConnectionEvents, EventStream, PeerEvents};
pub use handler::{
    Answer, AuthFailure, Deferred, Incoming, IntoAnswer, IntoOutcome, Outcome, Plain,
};
pub use known_server::ServerOptions;
pub use link::Link;
pub use node::{IncomingDatagram, UdpNode};
pub use reconnect::{AutoReconnectTimeoutHandler, Reconnecting};
pub use request::{PendingReply, RequestBuilder, RequestFuture};
pub use runtime::{ByteStream, DatagramSocket, Runtime, Timer, WrapStream};
pub use server::TcpServer;
pub use server_name::ServerName;
pub use subscription::{
    Notification, SubscribeBuilder, Subscription, SubscriptionEnd,
};
pub use timeout::{
    IntoTimeoutOutcome, IntoTimeoutResult, TimeoutEvent, TimeoutKind,
};
pub use udp::MulticastInterface;
