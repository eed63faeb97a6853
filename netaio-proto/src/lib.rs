//! The netaio protocol as state machines: bytes, time and randomness in; bytes,
//! actions and deadlines out.
//!
//! This crate holds the whole protocol and does no input or output. It has no
//! socket, no thread, no clock, no `async` and no global; it is `no_std` (with
//! `alloc`) and never panics on input. Use it to put netaio into an event loop
//! of your own, to test a protocol under a time that you invent, or to fuzz
//! it. If you just want a client or a server, use `netaio-tokio` or
//! `netaio-asyncstd` instead.
//!
//! # The picture
//!
//! ```text
//!   socket ──bytes──► handle_input ┐                ┌► poll_action ──► you
//!   clock ───────► handle_timeout ─┤   Connection   ├► outgoing ──bytes──► socket
//!   you ──► request, reply, send ──┘                └► poll_timeout ──► clock
//! ```
//!
//! [`Connection`] is one stream, seen from either end. Its three outputs may be
//! taken in any order and forgotten without harm. [`Node`] is the same for
//! datagrams: one socket, many remote ends, datagrams in and out in place of
//! bytes, and [`Peers`] that find each other. A [`Router`] says which
//! handler a message is for, [`Layers`] of [plugins](AuthPlugin) authenticate
//! and encrypt, [`Limits`] bound everything, and [`wire`] is what is on the
//! wire. With the feature `sim` there is a network in one process, to test what
//! you build.
//!
//! # A loop by hand
//!
//! Two ends in one process, with a `Vec` for a wire and a number for a clock.
//! Around a real socket the loop is the same.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::Buf;
//! use netaio_proto::{
//!     Action, Connection, EndpointConfig, HandlerId, Instant, Layers, Message,
//!     MessageType, Request, Role, Router,
//! };
//!
//! const ECHO: HandlerId = HandlerId(1);
//! let mut router = Router::new();
//! router.insert((MessageType::REQUEST_URI, "echo"), ECHO, Layers::new());
//! let address = "192.0.2.1:8888".parse()?;
//!
//! let now = Instant::EPOCH;
//! let server = EndpointConfig { role: Role::Server, ..Default::default() };
//! let mut server =
//!     Connection::new(Arc::new(server), Arc::new(router), address, [1; 32], now);
//! let mut client =
//!     Connection::new(Arc::default(), Arc::default(), address, [2; 32], now);
//!
//! let message = Message::new(MessageType::REQUEST_URI, "echo", "hello")?;
//! let id = client.request(now, Request::new(message))?;
//!
//! /// Carries what one end has to say to the other.
//! fn carry(now: Instant, from: &mut Connection, to: &mut Connection) {
//!     while from.outgoing().has_remaining() {
//!         let count = from.outgoing().chunk().len();
//!         to.handle_input(now, from.outgoing().chunk());
//!         from.outgoing().advance(count);
//!     }
//! }
//!
//! carry(now, &mut client, &mut server);
//! while let Some(action) = server.poll_action() {
//!     if let Action::Dispatch { handler: ECHO, message, reply, .. } = action {
//!         let answer = message.respond(message.content())?;
//!         server.reply(now, reply.expect("a request can be answered"), answer)?;
//!     }
//! }
//! carry(now, &mut server, &mut client);
//! match client.poll_action() {
//!     Some(Action::Reply { request, message }) => {
//!         assert_eq!(request, id);
//!         assert_eq!(message.content(), b"hello");
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

extern crate alloc;

mod action;
mod address;
mod admission;
mod backoff;
mod config;
mod connection;
mod counters;
mod decoder;
mod error;
mod exchange;
mod in_flight;
mod keyed_hash;
mod limits;
mod node;
mod outgoing;
mod outgoing_total;
mod peers;
mod plugin;
mod random;
mod request;
mod requests;
mod router;
mod sealed;
#[cfg(feature = "sim")]
pub mod sim;
mod subscriptions;
mod time;
pub mod wire;

pub use action::{
    Action, AuthFailed, CloseReason, Hint, LayerKind, ReplyToken, TimeoutContext,
};
pub use address::canonical as canonical_address;
pub use admission::Admission;
pub use backoff::Backoff;
pub use config::{Compatibility, EndpointConfig, Keepalive, Role};
pub use connection::Connection;
pub use counters::Counters;
pub use decoder::{BadFrame, FrameDecoder};
pub use error::{
    AuthError, PluginError, ProtocolError, RequestError, SendError, TooLong,
};
pub use limits::{LagPolicy, Limits};
pub use node::{Datagram, Node};
pub use outgoing::Outgoing;
pub use outgoing_total::OutgoingTotal;
pub use peers::{
    KnownPeer, LossReason, PeerError, PeerEvent, PeerManagement, Peers,
};
#[cfg(feature = "std")]
pub use plugin::ReplayGuard;
pub use plugin::{
    AuthPlugin, Both, CipherPlugin, Context, DefaultPeerPlugin, HmacAuthPlugin,
    Layers, NullAuthPlugin, NullCipherPlugin, OpenError, Peer, PeerPlugin, Refusals,
    ReplayMemory, Sha256StreamCipherPlugin,
};
pub use random::Random;
pub use request::{Correlation, DEFAULT_TIMEOUT, OuterUse, Request};
pub use requests::RequestId;
pub use router::{DefaultRoute, HandlerId, KeyExtractor, Route, RouteKey, Router};
pub use sealed::{Sealed, Sealer, Sealing};
pub use subscriptions::{SubscribeError, Subscriptions};
pub use time::Instant;
pub use wire::{
    AuthFields, Envelope, Frame, Header, Message, MessageType, MessageTypeError,
    MessageTypes, StatusError,
};
