//! netaio on async-std and on smol: requests, replies, routing, authentication,
//! encryption and timeouts for messages over TCP and UDP, wire-compatible with
//! Python netaio 0.0.9. The names are those of `netaio-tokio`.
//!
//! | feature | gives | tasks run on |
//! |---|---|---|
//! | `async-std` (default) | the names at this crate's root | async-std's global executor |
//! | `smol` | the same names in the module `smol` | smol's global executor, or one of yours |
//!
//! Features add up: with both, both sets of names are there. Sockets and timers
//! come from `async-io` either way; only the tasks differ.
//!
//! To move a program from one runtime to another, change its `use` lines:
//!
//! ```text
//! use netaio_tokio::{MessageType, TcpServer};
//! use netaio_asyncstd::{MessageType, TcpServer};
//! use netaio_asyncstd::smol::{MessageType, TcpServer};
//! ```
//!
//! The examples in this crate's `examples` are `quickstart`, `server`, `client`,
//! `node`, `pubsub`, `discovery`, and `smol`, which is the `quickstart` on smol.
//! They are those of netaio-tokio but for these lines, the main function, and
//! what comes from the runtime itself: sleeping, and waiting for Ctrl-C.
//!
//! # async-std is discontinued
//!
//! Its authors ended its development and recommend smol (RUSTSEC-2025-0052).
//! If you use it today, that means:
//!
//! - It works, and so does this crate on it: all scenarios are run on it.
//! - Nobody mends it any more, not even where its security is at stake.
//!   `cargo audit` and `cargo deny` report it for that reason.
//! - netaio needs little of it: the executor that tasks run on. Sockets and
//!   timers come from `async-io`, which smol's authors look after.
//! - With `default-features = false, features = ["smol"]` it is gone.
//!
//! | you have | take |
//! |---|---|
//! | a program that is on async-std | the default; plan to move |
//! | a new one that is to stay small, or brings its own executor | `smol` |
//! | any other, or libraries that want tokio | `netaio-tokio` |
//!
//! # Other streams
//!
//! `TcpServer::serve_stream` and `TcpClient::connect_stream` take anything that
//! is `futures-io`'s `AsyncRead + AsyncWrite` and connected already. Accepting is
//! then up to you, and so is connecting again: only you know how. A new stream
//! under the same name takes the place of the one before, and its subscriptions if
//! it is still there. Those of a stream that was lost have ended with it.
//!
//! ## TLS
//!
//! With `futures-rustls`:
//!
//! ```no_run
//! # #[cfg(feature = "async-std")]
//! # mod example {
//! use std::io;
//! use async_std::net::{TcpListener, TcpStream};
//! use futures_rustls::{TlsAcceptor, TlsConnector, pki_types::ServerName};
//! use netaio_asyncstd::{Link, TcpClient, TcpServer};
//!
//! async fn serve(server: TcpServer, tls: TlsAcceptor) -> io::Result<()> {
//!     let listener = TcpListener::bind("0.0.0.0:8843").await?;
//!     loop {
//!         let (stream, from) = listener.accept().await?;
//!         let (server, tls) = (server.clone(), tls.clone());
//!         // A task each: a slow handshake keeps nobody waiting.
//!         async_std::task::spawn(async move {
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
//! # }
//! ```
//!
//! How the two configurations are made is in netaio-tokio's example `tls`; they
//! are rustls's, and the same here.
//!
//! ## Unix sockets
//!
//! Take those of smol, on async-std too (`smol::net::unix`, or the crate
//! `async-net` alone). async-std's own and `Async<UnixStream>` work as well, but
//! do not pass a close on: the peer hears of it only when the socket is dropped,
//! up to a second later.
//!
//! They have no address of the kind that handlers are told: give them any.
//! Streams that share one also share a peer, where peers are managed.
//!
//! ```
//! # #[cfg(all(unix, feature = "async-std"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use netaio_asyncstd::{MessageType, TcpClient, TcpServer};
//! use smol::net::unix::{UnixListener, UnixStream};
//!
//! # let path = format!("netaio-asyncstd-doc-{}", std::process::id());
//! # let path = std::env::temp_dir().join(path);
//! # let _ = std::fs::remove_file(&path);
//! # async_std::task::block_on(async {
//! let server = TcpServer::new();
//! server.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
//! let listener = UnixListener::bind(&path)?;
//! let local = ([127, 0, 0, 1], 0).into();
//! let serving = server.clone();
//! async_std::task::spawn(async move {
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
//! # })
//! # }
//! # #[cfg(not(all(unix, feature = "async-std")))]
//! # fn main() {}
//! ```

#[cfg(not(any(feature = "async-std", feature = "smol")))]
compile_error!(
    "netaio-asyncstd needs a runtime: enable the feature `async-std` or `smol`"
);

#[cfg(feature = "async-std")]
mod async_std;
mod names;
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
pub use names::*;
#[cfg(any(feature = "async-std", feature = "smol"))]
pub use stream::{AsyncIoTcpStream, AsyncIoTimer, AsyncIoUdpSocket, FuturesStream};
