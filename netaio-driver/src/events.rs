//! What happens to connections, for whoever wants to know.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::Stream;
use netaio_proto::CloseReason;

use crate::endpoint::lock;
use crate::server_name::ServerName;

/// Events that a stream keeps for a reader that is slow.
const KEPT: usize = 256;

/// Something that happened to a connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A connection was made, or accepted.
    Connected {
        /// The server's name, at a client.
        server: Option<ServerName>,
        /// The other end.
        remote: SocketAddr,
    },
    /// A connection ended.
    Disconnected {
        /// The server's name, at a client.
        server: Option<ServerName>,
        /// The other end.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A client is about to connect again.
    Reconnecting {
        /// The server's name.
        server: ServerName,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// How long was waited before it.
        after: Duration,
    },
}

/// A stream of [`ConnectionEvent`]s. A reader that is more than 256 events
/// behind loses the oldest.
#[derive(Debug)]
pub struct ConnectionEvents {
    receiver: Pin<Box<async_channel::Receiver<ConnectionEvent>>>,
}

impl ConnectionEvents {
    /// The next event; `None` once the client or server is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        self.receiver.recv().await.ok()
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<ConnectionEvent> {
        self.receiver.try_recv().ok()
    }
}

impl Stream for ConnectionEvents {
    type Item = ConnectionEvent;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<ConnectionEvent>> {
        self.receiver.as_mut().poll_next(context)
    }
}

/// All who want to know.
#[derive(Debug, Default)]
pub(crate) struct Events {
    senders: Mutex<Vec<async_channel::Sender<ConnectionEvent>>>,
}

impl Events {
    pub(crate) fn subscribe(&self) -> ConnectionEvents {
        let (sender, receiver) = async_channel::bounded(KEPT);
        lock(&self.senders).push(sender);
        ConnectionEvents {
            receiver: Box::pin(receiver),
        }
    }

    pub(crate) fn send(&self, event: &ConnectionEvent) {
        // Sending wakes readers, which is not to be done under the lock.
        let senders = lock(&self.senders).clone();
        let mut closed = false;
        for sender in senders {
            closed |= sender.force_send(event.clone()).is_err();
        }
        if closed {
            lock(&self.senders).retain(|sender| !sender.is_closed());
        }
    }
}
