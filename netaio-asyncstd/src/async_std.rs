//! netaio on async-std.

use std::future::Future;
use std::time::Instant as StdInstant;

use crate::stream::async_io_runtime;

/// The async-std runtime. Tasks run on its global executor.
#[derive(Clone, Copy, Debug)]
pub struct AsyncStd {
    epoch: StdInstant,
}

impl Default for AsyncStd {
    /// Counts time from now.
    fn default() -> Self {
        Self {
            epoch: StdInstant::now(),
        }
    }
}

impl AsyncStd {
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(async_std::task::spawn(task));
    }
}

async_io_runtime!(AsyncStd);

/// A client of one or several TCP servers, on async-std. See
/// [`netaio_driver::TcpClient`].
///
/// ```
/// use netaio_asyncstd::{MessageType, TcpClient, TcpServer};
///
/// #[async_std::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let server = TcpServer::new();
///     server.on(MessageType::CREATE_URI, |m| m.ok("created"));
///     let address = server.listen("127.0.0.1:0").await?;
///
///     let client = TcpClient::new(address);
///     client.connect().await?;
///     let reply = client.create("/notes/1", "remember the milk").await?;
///     assert_eq!(reply.message_type(), MessageType::OK);
///     Ok(())
/// }
/// ```
pub type TcpClient = netaio_driver::TcpClient<AsyncStd>;

/// A TCP server on async-std. See [`netaio_driver::TcpServer`], and
/// [`TcpClient`] for an example.
pub type TcpServer = netaio_driver::TcpServer<AsyncStd>;

/// One live connection, on async-std. See [`netaio_driver::Link`].
pub type Link = netaio_driver::Link<AsyncStd>;

/// A message on its way to a handler, on async-std. See
/// [`netaio_driver::Incoming`].
pub type Incoming = netaio_driver::Incoming<AsyncStd>;

/// Connects again when a request was not answered in time, on async-std. See
/// [`netaio_driver::AutoReconnectTimeoutHandler`].
pub type AutoReconnectTimeoutHandler =
    netaio_driver::AutoReconnectTimeoutHandler<AsyncStd>;

/// Describes a client on async-std. See [`netaio_driver::ClientBuilder`].
pub type ClientBuilder = netaio_driver::ClientBuilder<AsyncStd>;

/// Describes a server on async-std. See [`netaio_driver::ServerBuilder`].
pub type ServerBuilder = netaio_driver::ServerBuilder<AsyncStd>;

/// A request that has not been sent, on async-std. See
/// [`netaio_driver::RequestBuilder`].
pub type RequestBuilder = netaio_driver::RequestBuilder<AsyncStd>;

/// A UDP node on async-std. See [`netaio_driver::UdpNode`].
///
/// ```
/// use netaio_asyncstd::{MessageType, UdpNode};
///
/// #[async_std::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let here = || UdpNode::builder().interface([127, 0, 0, 1]).port(0).build();
///     let (one, two) = (here(), here());
///     two.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
///     one.start().await?;
///     let address = two.start().await?;
///
///     let reply = one.request("echo", address).content("hello").await?;
///     assert_eq!(reply.content(), b"hello");
///     Ok(())
/// }
/// ```
pub type UdpNode = netaio_driver::UdpNode<AsyncStd>;

/// A message on its way to a node's handler, on async-std. See
/// [`netaio_driver::IncomingDatagram`].
pub type IncomingDatagram = netaio_driver::IncomingDatagram<AsyncStd>;

/// Describes a node on async-std. See [`netaio_driver::NodeBuilder`].
pub type NodeBuilder = netaio_driver::NodeBuilder<AsyncStd>;

/// What a server notifies of, as a stream, on async-std. See
/// [`netaio_driver::Subscription`].
pub type Subscription = netaio_driver::Subscription<AsyncStd>;

/// A subscription that has not been made, on async-std. See
/// [`netaio_driver::SubscribeBuilder`].
pub type SubscribeBuilder = netaio_driver::SubscribeBuilder<AsyncStd>;
