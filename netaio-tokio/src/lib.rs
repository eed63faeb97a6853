//! netaio on tokio: requests, replies, routing, publishing, peer discovery,
//! authentication, encryption and timeouts for messages over TCP and UDP,
//! wire-compatible with Python netaio 0.0.9.
//!
//! The examples in this crate's `examples` are whole programs: `quickstart`,
//! `server`, `client`, `node`, `pubsub`, `discovery`, `tls` and `by_hand`.
//!
//! # A server
//!
//! ```no_run
//! use netaio_tokio::{HmacAuthPlugin, MessageType, TcpServer};
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let server = TcpServer::builder()
//!         .auth(HmacAuthPlugin::new("a shared secret"))
//!         .build();
//!     server.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
//!     server.listen("127.0.0.1:8888").await?;
//!     server.stopped().await;
//!     Ok(())
//! }
//! ```
//!
//! # A client
//!
//! ```no_run
//! use netaio_tokio::{HmacAuthPlugin, TcpClient};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = TcpClient::builder()
//!         .server("127.0.0.1:8888")
//!         .auth(HmacAuthPlugin::new("a shared secret"))
//!         .build();
//!     client.connect().await?;
//!     let reply = client.request("echo").content("hello").await?;
//!     println!("{}: {}", reply.message_type(), reply.text());
//!     client.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # When an answer does not come
//!
//! Every request has a timeout. A timeout handler, once for the client, decides
//! what else is done about it; [`AutoReconnectTimeoutHandler`] is a ready-made
//! one.
//!
//! ```
//! use netaio_tokio::{AutoReconnectTimeoutHandler, TcpClient};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread()
//! #     .enable_all().build().unwrap();
//! # let _guard = runtime.enter();
//! let client = TcpClient::new("127.0.0.1:8888");
//! client.set_timeout_handler(|event| {
//!     eprintln!("{} did not answer: {}", event.server, event.error);
//! });
//! let reconnect = AutoReconnectTimeoutHandler::new().max_retries(Some(5));
//! client.set_timeout_handler(reconnect.into_handler());
//! ```
//!
//! # Publish and subscribe
//!
//! [`TcpServer::pubsub`] answers those who subscribe and publish;
//! [`TcpClient::subscribe`] gives a bounded [`Subscription`].
//!
//! ```
//! use netaio_tokio::{Message, MessageType, TcpClient, TcpServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TcpServer::new();
//! server.pubsub();
//! let client = TcpClient::new(server.listen("127.0.0.1:0").await?);
//! client.connect().await?;
//! let mut news = client.subscribe("/news").await?;
//!
//! let note = Message::new(MessageType::NOTIFY_URI, "/news", "it works")?;
//! assert_eq!(server.notify("/news", note).await?, 1);
//! let note = news.next().await.ok_or("it has ended")?;
//! assert_eq!((note.text(), note.lost), ("it works".into(), 0));
//! # Ok(())
//! # }
//! ```
//!
//! # Nodes and peers
//!
//! A [`UdpNode`] asks and answers others over UDP. Nodes find each other by
//! multicast, once they [manage peers](UdpNode::manage_peers); clients and servers
//! can tell each other who they are in the same way.
//!
//! ```no_run
//! use netaio_tokio::{MessageType, Peer, PeerManagement, UdpNode};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = UdpNode::builder()
//!     .local_peer(Peer::new("an id of my own", "what I say of myself"))
//!     .build();
//! node.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
//! node.start().await?;
//! node.manage_peers(PeerManagement::new("my app"))?;
//! let mut events = node.peer_events();
//! while let Some(event) = events.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Other streams
//!
//! [`TcpServer::serve_stream`] and [`TcpClient::connect_stream`] take anything
//! that is `AsyncRead + AsyncWrite` and connected already. Accepting is then up
//! to you, and so is connecting again: only you know how. A new stream under the
//! same name takes the place of the one before, and its subscriptions if it is still
//! there. Those of a stream that was lost have ended with it.
//!
//! ## TLS
//!
//! With `tokio-rustls`; the example `tls` is the whole program.
//!
//! ```no_run
//! use std::io;
//! use netaio_tokio::{Link, TcpClient, TcpServer};
//! use tokio::net::{TcpListener, TcpStream};
//! use tokio_rustls::{TlsAcceptor, TlsConnector, rustls::pki_types::ServerName};
//!
//! async fn serve(server: TcpServer, tls: TlsAcceptor) -> io::Result<()> {
//!     let listener = TcpListener::bind("0.0.0.0:8843").await?;
//!     loop {
//!         let (stream, from) = listener.accept().await?;
//!         let (server, tls) = (server.clone(), tls.clone());
//!         // A task each: a slow handshake keeps nobody waiting.
//!         tokio::spawn(async move {
//!             server.serve_stream(tls.accept(stream).await?, from)
//!         });
//!     }
//! }
//!
//! async fn connect(client: &TcpClient, tls: TlsConnector) -> io::Result<Link> {
//!     let stream = TcpStream::connect("example.org:8843").await?;
//!     let remote = stream.peer_addr()?;
//!     let name = ServerName::try_from("example.org").map_err(io::Error::other)?;
//!     let stream = tls.connect(name, stream).await?;
//!     client.connect_stream("example.org:8843", remote, stream)
//! }
//! ```
//!
//! ## Unix sockets
//!
//! They have no address of the kind that handlers are told: give them any.
//! Streams that share one also share a peer, where peers are managed.
//!
//! ```
//! use netaio_tokio::{MessageType, TcpClient, TcpServer};
//! # #[cfg(unix)]
//! use tokio::net::{UnixListener, UnixStream};
//!
//! # #[cfg(unix)]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = format!("netaio-tokio-doc-{}", std::process::id());
//! # let path = std::env::temp_dir().join(path);
//! # let _ = std::fs::remove_file(&path);
//! let server = TcpServer::new();
//! server.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
//! let listener = UnixListener::bind(&path)?;
//! let local = ([127, 0, 0, 1], 0).into();
//! let serving = server.clone();
//! tokio::spawn(async move {
//!     while let Ok((stream, _)) = listener.accept().await {
//!         let _ = serving.serve_stream(stream, local);
//!     }
//! });
//!
//! let client = TcpClient::builder().server("the socket").build();
//! client.connect_stream("the socket", local, UnixStream::connect(&path).await?)?;
//! let reply = client.request("echo").content("hello").await?;
//! assert_eq!(reply.content(), b"hello");
//! # std::fs::remove_file(&path)?;
//! # Ok(())
//! # }
//! # #[cfg(not(unix))]
//! # fn main() {}
//! ```

mod runtime;

/// The code in the project's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use netaio_driver::{
    Answer, AuthError, AuthFailure, AuthFields, AuthPlugin, Both, ByteStream,
    CipherPlugin, CloseReason, Compatibility, ConnectError, ConnectionEvent,
    ConnectionEvents, Context, Correlation, Counters, DEFAULT_TIMEOUT,
    DatagramSocket, DefaultPeerPlugin, Envelope, EventStream, Hint, HmacAuthPlugin,
    Instant, IntoAnswer, IntoOutcome, IntoTimeoutOutcome, Keepalive, KeyExtractor,
    KnownPeer, LagPolicy, LayerKind, Layers, Limits, LossReason, Message,
    MessageType, MessageTypeError, MessageTypes, MulticastInterface, Notification,
    Outcome, OuterUse, Peer, PeerError, PeerEvent, PeerEvents, PeerManagement,
    PeerPlugin, PendingReply, PluginError, ProtocolError, Reconnecting, Refusals,
    ReplayGuard, ReplayMemory, RequestError, RequestFuture, RouteKey, Runtime,
    SendError, ServerName, ServerOptions, Sha256StreamCipherPlugin, StatusError,
    SubscribeError, SubscriptionEnd, TimeoutContext, TimeoutEvent, TimeoutKind,
    Timer, TooLong, WrapStream, wire,
};
pub use runtime::{Tokio, TokioStream, TokioTimer, TokioUdpSocket};

/// A client of one or several TCP servers, on tokio. See
/// [`netaio_driver::TcpClient`].
///
/// ```
/// use std::time::Duration;
/// use netaio_tokio::{MessageType, TcpClient, TcpServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = TcpServer::new();
/// server.on(MessageType::CREATE_URI, async |m: netaio_tokio::Incoming| {
///     m.ok("created")
/// });
/// let address = server.listen("127.0.0.1:0").await?;
///
/// let client = TcpClient::new(address);
/// client.connect().await?;
/// let reply = client
///     .create("/notes/1", "remember the milk")
///     .timeout(Duration::from_secs(2))
///     .error_for_status()
///     .await?;
/// assert_eq!(reply.message_type(), MessageType::OK);
/// client.close().await;
/// # Ok(())
/// # }
/// ```
pub type TcpClient = netaio_driver::TcpClient<Tokio>;

/// A TCP server on tokio. See [`netaio_driver::TcpServer`].
///
/// ```
/// use std::time::Duration;
/// use netaio_tokio::{MessageType, TcpClient, TcpServer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = TcpServer::new();
/// server.on((MessageType::REQUEST_URI, "time"), |m| m.respond("noon"));
/// let address = server.listen("127.0.0.1:0").await?;
///
/// let client = TcpClient::new(address);
/// client.connect().await?;
/// assert_eq!(client.request("time").await?.content(), b"noon");
/// server.shutdown(Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
pub type TcpServer = netaio_driver::TcpServer<Tokio>;

/// One live connection, on tokio. See [`netaio_driver::Link`].
pub type Link = netaio_driver::Link<Tokio>;

/// A message on its way to a handler, on tokio. See
/// [`netaio_driver::Incoming`].
pub type Incoming = netaio_driver::Incoming<Tokio>;

/// Connects again when a request was not answered in time, on tokio. See
/// [`netaio_driver::AutoReconnectTimeoutHandler`].
pub type AutoReconnectTimeoutHandler =
    netaio_driver::AutoReconnectTimeoutHandler<Tokio>;

/// Describes a client on tokio. See [`netaio_driver::ClientBuilder`].
pub type ClientBuilder = netaio_driver::ClientBuilder<Tokio>;

/// Describes a server on tokio. See [`netaio_driver::ServerBuilder`].
pub type ServerBuilder = netaio_driver::ServerBuilder<Tokio>;

/// A request that has not been sent, on tokio. See
/// [`netaio_driver::RequestBuilder`].
pub type RequestBuilder = netaio_driver::RequestBuilder<Tokio>;

/// A UDP node on tokio. See [`netaio_driver::UdpNode`].
///
/// ```
/// use netaio_tokio::{MessageType, UdpNode};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let here = || UdpNode::builder().interface([127, 0, 0, 1]).port(0).build();
/// let (one, two) = (here(), here());
/// two.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
/// one.start().await?;
/// let address = two.start().await?;
///
/// let reply = one.request("echo", address).content("hello").await?;
/// assert_eq!(reply.content(), b"hello");
/// two.stop().await;
/// # Ok(())
/// # }
/// ```
pub type UdpNode = netaio_driver::UdpNode<Tokio>;

/// A message on its way to a node's handler, on tokio. See
/// [`netaio_driver::IncomingDatagram`].
pub type IncomingDatagram = netaio_driver::IncomingDatagram<Tokio>;

/// Describes a node on tokio. See [`netaio_driver::NodeBuilder`].
pub type NodeBuilder = netaio_driver::NodeBuilder<Tokio>;

/// What a server notifies of, as a stream, on tokio. See
/// [`netaio_driver::Subscription`].
pub type Subscription = netaio_driver::Subscription<Tokio>;

/// A subscription that has not been made, on tokio. See
/// [`netaio_driver::SubscribeBuilder`].
pub type SubscribeBuilder = netaio_driver::SubscribeBuilder<Tokio>;
