//! The wait for a reply.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use netaio_proto::{Message, RequestError, RequestId};

use crate::link::Link;
use crate::node::NodeHandle;
use crate::runtime::Runtime;

/// Waits for the reply to a request that has been sent. Dropping it gives the
/// request up and leaves nothing behind.
pub(crate) struct ReplyFuture<R: Runtime> {
    origin: Origin<R>,
    request: RequestId,
    /// `None` once the outcome has been taken.
    waiter: Option<usize>,
}

/// By what a request was sent.
pub(crate) enum Origin<R: Runtime> {
    Link(Link<R>),
    Node(NodeHandle<R>),
}

impl<R: Runtime> ReplyFuture<R> {
    pub(crate) fn new(origin: Origin<R>, request: RequestId, waiter: usize) -> Self {
        Self {
            origin,
            request,
            waiter: Some(waiter),
        }
    }
}

impl<R: Runtime> Future for ReplyFuture<R> {
    type Output = Result<Message, RequestError>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let Some(waiter) = self.waiter else {
            return Poll::Pending;
        };
        let polled = match &self.origin {
            Origin::Link(link) => link.lock().waiters.poll(waiter, context),
            Origin::Node(node) => node.lock().waiters.poll(waiter, context),
        };
        if polled.is_ready() {
            self.waiter = None;
        }
        polled
    }
}

impl<R: Runtime> Drop for ReplyFuture<R> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter else {
            return;
        };
        match &self.origin {
            Origin::Link(link) => link.leave(waiter, self.request),
            Origin::Node(node) => node.leave(waiter, self.request),
        }
    }
}
