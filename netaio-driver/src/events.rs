//! What happens to connections and peers, for whoever wants to know.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::Stream;
use netaio_proto::{CloseReason, PeerEvent};

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
    /// A connection ended. At a client also one whose server sends no more, though
    /// what the server has asked before is still answered.
    Disconnected {
        /// The server's name, at a client.
        server: Option<ServerName>,
        /// The other end.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A client has connected again by itself, and has renewed its
    /// subscriptions; those that the server did not confirm have ended. A
    /// `Connected` came before.
    Reconnected {
        /// The server's name.
        server: ServerName,
        /// The other end.
        remote: SocketAddr,
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
    /// A client will not connect again by itself: it has tried as often as it was
    /// to.
    GaveUp {
        /// The server's name.
        server: ServerName,
        /// Why the last attempt failed.
        why: String,
    },
}

/// A stream of events. A reader that is more than 256 events behind loses the
/// oldest.
#[derive(Debug)]
pub struct EventStream<E> {
    receiver: Pin<Box<async_channel::Receiver<E>>>,
}

/// What happens to connections, as a stream.
pub type ConnectionEvents = EventStream<ConnectionEvent>;

/// What happens to peers, as a stream.
pub type PeerEvents = EventStream<PeerEvent>;

impl<E> EventStream<E> {
    /// The next event; `None` once no more can come: what it is about has been
    /// stopped or shut down, or is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<E> {
        self.receiver.recv().await.ok()
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<E> {
        self.receiver.try_recv().ok()
    }
}

impl<E> Stream for EventStream<E> {
    type Item = E;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<E>> {
        self.receiver.as_mut().poll_next(context)
    }
}

/// All who want to know.
#[derive(Debug)]
pub(crate) struct Events<E> {
    /// `None`: no more events can come.
    senders: Mutex<Option<Vec<async_channel::Sender<E>>>>,
}

impl<E: Clone> Events<E> {
    pub(crate) fn subscribe(&self) -> EventStream<E> {
        let (sender, receiver) = async_channel::bounded(KEPT);
        if let Some(senders) = &mut *lock(&self.senders) {
            senders.retain(|sender| !sender.is_closed());
            senders.push(sender);
        }
        EventStream {
            receiver: Box::pin(receiver),
        }
    }

    pub(crate) fn send(&self, event: &E) {
        // Sending wakes readers, which is not to be done under the lock.
        let senders = lock(&self.senders).clone().unwrap_or_default();
        let mut closed = false;
        for sender in senders {
            closed |= sender.force_send(event.clone()).is_err();
        }
        if closed && let Some(senders) = &mut *lock(&self.senders) {
            senders.retain(|sender| !sender.is_closed());
        }
    }

    /// Ends all streams, once they have been read: no more events can come.
    pub(crate) fn end(&self) {
        // Dropping wakes readers as well.
        drop(lock(&self.senders).take());
    }
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self {
            senders: Mutex::new(Some(Vec::new())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_nobody_reads_any_more_are_forgotten_at_the_next() {
        let events = Events::<u8>::default();
        for _ in 0..10 {
            drop(events.subscribe());
        }
        assert_eq!(lock(&events.senders).as_ref().map(Vec::len), Some(1));
    }
}
