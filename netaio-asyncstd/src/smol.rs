//! netaio on smol: all the names of the crate's root, for another runtime. To
//! move here from async-std, change the `use` line.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant as StdInstant;

pub use crate::names::*;
use crate::stream::async_io_runtime;

/// The smol runtime. Tasks run on its global executor, or on one of yours.
#[derive(Clone, Debug)]
pub struct Smol {
    epoch: StdInstant,
    executor: Option<Arc<smol::Executor<'static>>>,
}

impl Default for Smol {
    /// Counts time from now, and uses the global executor.
    fn default() -> Self {
        Self {
            epoch: StdInstant::now(),
            executor: None,
        }
    }
}

impl Smol {
    /// Runs tasks on this executor, which somebody must run.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use netaio_asyncstd::smol::{MessageType, Smol, TcpClient, TcpServer};
    ///
    /// let executor = Arc::new(smol::Executor::new());
    /// let runtime = Smol::on(Arc::clone(&executor));
    /// smol::block_on(executor.run(async {
    ///     let server = TcpServer::builder_on(runtime.clone()).build();
    ///     server.on((MessageType::REQUEST_URI, "echo"), |m| m.respond("hi"));
    ///     let address = server.listen("127.0.0.1:0").await?;
    ///     let client =
    ///         TcpClient::builder_on(runtime).server(address).build();
    ///     client.connect().await?;
    ///     assert_eq!(client.request("echo").await?.content(), b"hi");
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// }))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on(executor: Arc<smol::Executor<'static>>) -> Self {
        Self {
            executor: Some(executor),
            ..Self::default()
        }
    }

    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.executor {
            Some(executor) => executor.spawn(task).detach(),
            None => smol::spawn(task).detach(),
        }
    }
}

async_io_runtime!(Smol);

/// A client of one or several TCP servers, on smol. See
/// [`netaio_driver::TcpClient`].
///
/// ```
/// use netaio_asyncstd::smol::{MessageType, TcpClient, TcpServer};
///
/// smol::block_on(async {
///     let server = TcpServer::new();
///     server.on(MessageType::CREATE_URI, |m| m.ok("created"));
///     let address = server.listen("127.0.0.1:0").await?;
///
///     let client = TcpClient::new(address);
///     client.connect().await?;
///     let reply = client.create("/notes/1", "remember the milk").await?;
///     assert_eq!(reply.message_type(), MessageType::OK);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub type TcpClient = netaio_driver::TcpClient<Smol>;

/// A TCP server on smol. See [`netaio_driver::TcpServer`], and [`TcpClient`]
/// for an example.
pub type TcpServer = netaio_driver::TcpServer<Smol>;

/// One live connection, on smol. See [`netaio_driver::Link`].
pub type Link = netaio_driver::Link<Smol>;

/// A message on its way to a handler, on smol. See
/// [`netaio_driver::Incoming`].
pub type Incoming = netaio_driver::Incoming<Smol>;

/// Connects again when a request was not answered in time, on smol. See
/// [`netaio_driver::AutoReconnectTimeoutHandler`].
pub type AutoReconnectTimeoutHandler =
    netaio_driver::AutoReconnectTimeoutHandler<Smol>;

/// Describes a client on smol. See [`netaio_driver::ClientBuilder`].
pub type ClientBuilder = netaio_driver::ClientBuilder<Smol>;

/// Describes a server on smol. See [`netaio_driver::ServerBuilder`].
pub type ServerBuilder = netaio_driver::ServerBuilder<Smol>;

/// A request that has not been sent, on smol. See
/// [`netaio_driver::RequestBuilder`].
pub type RequestBuilder = netaio_driver::RequestBuilder<Smol>;

/// A UDP node on smol. See [`netaio_driver::UdpNode`].
///
/// ```
/// use netaio_asyncstd::smol::{MessageType, UdpNode};
///
/// smol::block_on(async {
///     let here = || UdpNode::builder().interface([127, 0, 0, 1]).port(0).build();
///     let (one, two) = (here(), here());
///     two.on((MessageType::REQUEST_URI, "echo"), |m| m.respond(m.content()));
///     one.start().await?;
///     let address = two.start().await?;
///
///     let reply = one.request("echo", address).content("hello").await?;
///     assert_eq!(reply.content(), b"hello");
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// ```
pub type UdpNode = netaio_driver::UdpNode<Smol>;

/// A message on its way to a node's handler, on smol. See
/// [`netaio_driver::IncomingDatagram`].
pub type IncomingDatagram = netaio_driver::IncomingDatagram<Smol>;

/// Describes a node on smol. See [`netaio_driver::NodeBuilder`].
pub type NodeBuilder = netaio_driver::NodeBuilder<Smol>;

/// What a server notifies of, as a stream, on smol. See
/// [`netaio_driver::Subscription`].
pub type Subscription = netaio_driver::Subscription<Smol>;

/// A subscription that has not been made, on smol. See
/// [`netaio_driver::SubscribeBuilder`].
pub type SubscribeBuilder = netaio_driver::SubscribeBuilder<Smol>;
