//! A network in one process, with a clock of its own: to test what you build on
//! netaio without sockets, without waiting, and with everything going wrong that
//! can.
//!
//! A [`Network`] carries streams and datagrams between [`Connection`]s and
//! [`Node`]s as its [`Faults`] say: late, cut into pieces, held up, reset; lost,
//! twice, out of order. Time passes only when it is told to, so that an hour takes
//! no time. One seed decides everything: what fails once fails again, and
//! [`Network::trace_hash`] tells whether two runs were the same.
//!
//! Needs the feature `sim`.
//!
//! # To test a handler
//!
//! A server and a client on a network that is slow and cuts everything to
//! pieces. The handler is what you test; what becomes of the request is known
//! after ten seconds that nobody waits for.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use netaio_proto::sim::{Faults, Network, StreamHost};
//! use netaio_proto::{
//!     Action, Connection, EndpointConfig, HandlerId, Layers, Message, MessageType,
//!     Request, Role, Router,
//! };
//!
//! /// The handler that is to be tested.
//! fn shout(message: &Message) -> Vec<u8> {
//!     message.content().to_ascii_uppercase()
//! }
//!
//! let mut network = Network::new(42);
//! network.set_faults(Faults {
//!     delay: Duration::from_millis(20),
//!     jitter: Duration::from_millis(80),
//!     longest_write: 5,
//!     ..Faults::default()
//! });
//! let (here, there) = ("192.0.2.1:40000".parse()?, "192.0.2.2:8888".parse()?);
//! network.listen(there);
//! let end = network.connect(here, there);
//!
//! // The client.
//! let now = network.now();
//! let seed = network.random().bytes();
//! let client = Connection::new(Arc::default(), Arc::default(), there, seed, now);
//! let mut outcome = None;
//! let mut client = StreamHost::new(end, client, |_, _, action| {
//!     outcome.get_or_insert(action);
//! });
//! let question = Message::new(MessageType::REQUEST_URI, "shout", "hello")?;
//! let id = client.connection.request(now, Request::new(question))?;
//!
//! // Until the stream has come to the server.
//! network.run_until(now + Duration::from_millis(100), &mut [&mut client]);
//! let (end, from) = network.accept(there).expect("100 ms is the longest delay");
//!
//! // The server.
//! let mut router = Router::new();
//! let key = (MessageType::REQUEST_URI, "shout");
//! router.insert(key, HandlerId(1), Layers::new());
//! let config = EndpointConfig { role: Role::Server, ..Default::default() };
//! let seed = network.random().bytes();
//! let now = network.now();
//! let server =
//!     Connection::new(Arc::new(config), Arc::new(router), from, seed, now);
//! let mut server = StreamHost::new(end, server, |now, connection, action| {
//!     if let Action::Dispatch { message, reply: Some(token), .. } = action {
//!         let answer = message.respond(shout(&message)).expect("it is short");
//!         connection.reply(now, token, answer).expect("it is open");
//!     }
//! });
//!
//! let end = network.now() + Duration::from_secs(10);
//! network.run_until(end, &mut [&mut client, &mut server]);
//! drop(client);
//! match outcome {
//!     Some(Action::Reply { request, message }) => {
//!         assert_eq!(request, id);
//!         assert_eq!(message.content(), b"HELLO");
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Datagrams
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use netaio_proto::sim::{Faults, Network, NodeHost};
//! use netaio_proto::{Action, Message, MessageType, Node, Request};
//!
//! let mut network = Network::new(7);
//! network.set_faults(Faults { lost: 100, ..Faults::default() });
//! let (here, there) = ("192.0.2.1:8888".parse()?, "192.0.2.2:8888".parse()?);
//! network.bind(here);
//! let seed = network.random().bytes();
//! let mut node = Node::new(Arc::default(), Arc::default(), seed, network.now());
//! let message = Message::new(MessageType::REQUEST_URI, "echo", "hello")?;
//! let request = Request::new(message).timeout(Duration::from_secs(3600));
//! node.request(network.now(), there, request)?;
//! let mut timed_out = None;
//! let mut host = NodeHost::new(here, node, |now, _, action| {
//!     if let Action::TimedOut { .. } = action {
//!         timed_out = Some(now);
//!     }
//! });
//! let end = network.now() + Duration::from_secs(4000);
//! network.run_until(end, &mut [&mut host]);
//! drop(host);
//! assert_eq!(timed_out.map(|at| at.as_micros()), Some(3_600_000_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Connection`]: crate::Connection
//! [`Node`]: crate::Node

mod faults;
mod host;
mod network;
mod stream;
mod trace;

pub use faults::Faults;
pub use host::{Host, NodeHost, StreamHost};
pub use network::Network;
pub use stream::{Read, StreamEnd};
pub use trace::{TraceEvent, TraceKind};
