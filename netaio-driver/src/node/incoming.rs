//! What a node's handlers are given.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;

use netaio_proto::Message;

use super::UdpNode;
use super::shared::NodeHandle;
use crate::runtime::Runtime;

/// A message on its way to a node's handler, with where it came from.
///
/// Dereferences to its [`Message`], so that `incoming.respond(..)` makes a
/// reply to it.
#[derive(Clone)]
pub struct IncomingDatagram<R: Runtime> {
    message: Message,
    from: SocketAddr,
    node: NodeHandle<R>,
}

impl<R: Runtime> IncomingDatagram<R> {
    pub(crate) fn new(
        message: Message,
        from: SocketAddr,
        node: NodeHandle<R>,
    ) -> Self {
        Self {
            message,
            from,
            node,
        }
    }

    /// Where the message came from. Without an auth plugin, anybody may have
    /// sent it in that address's name.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// The node that it came to: to send something besides the reply. This
    /// handle does not keep the node running.
    pub fn node(&self) -> UdpNode<R> {
        self.node.handle()
    }

    /// The message alone.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl<R: Runtime> Deref for IncomingDatagram<R> {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl<R: Runtime> fmt::Debug for IncomingDatagram<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingDatagram")
            .field("message", &self.message)
            .field("from", &self.from)
            .finish()
    }
}
