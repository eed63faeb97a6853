//! The end of a connection's task.

use std::task::{Context, Poll};
use std::time::Duration;

use netaio_proto::{CloseReason, Instant};

use super::{TURNS, Worker};
use crate::link::Link;
use crate::log_limit::Topic;
use crate::runtime::{ByteStream, Runtime};

/// How long the peer of a connection that ends in order may take to read what
/// was sent to it.
const LINGER: Duration = Duration::from_secs(1);

/// The end of a connection: the last bytes leave, the peer is told.
#[derive(Debug)]
pub(super) struct Parting {
    reason: CloseReason,
    /// Whether the peer is given the time to take what is on its way.
    orderly: bool,
    until: Instant,
    reported: bool,
}

impl Parting {
    pub(super) fn new(now: Instant, reason: CloseReason) -> Self {
        use CloseReason as R;
        let orderly =
            matches!(reason, R::Eof | R::UnexpectedEof | R::Local | R::Shutdown);
        Self {
            reason,
            orderly,
            until: now + LINGER,
            reported: false,
        }
    }
}

impl<R: Runtime, S: ByteStream> Worker<R, S> {
    /// Takes leave of the peer, and tells whoever wants to know.
    #[cold]
    pub(super) fn part(
        &mut self,
        link: &Link<R>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(Parting { until, orderly, .. }) = self.parting else {
            return Poll::Ready(());
        };
        let now = link.shared().runtime.now();
        let flushed = self.stream.poll_flush(context).is_ready();
        let closed = flushed && self.stream.poll_close(context).is_ready();
        if !orderly || closed || now >= until {
            self.report(link);
            if !orderly || self.input_ended || self.linger(context) || now >= until {
                return Poll::Ready(());
            }
        }
        // Looked at again by then at the latest.
        let woken = self.alarm.poll_until(until, context);
        woken.map(|()| self.report(link))
    }

    /// Reads what the peer has still sent, and drops it: a socket that is closed
    /// with something unread takes back what it was to deliver. `true` when the
    /// peer has closed as well.
    fn linger(&mut self, context: &mut Context<'_>) -> bool {
        let mut nowhere = [0; 4096];
        for _ in 0..TURNS {
            match self.stream.poll_read(context, &mut nowhere) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        context.waker().wake_by_ref();
        false
    }

    /// Tells that the connection is over; once.
    fn report(&mut self, link: &Link<R>) {
        let Some(parting) = &mut self.parting else {
            return;
        };
        if std::mem::replace(&mut parting.reported, true) {
            return;
        }
        let reason = &parting.reason;
        let remote = link.remote();
        if *reason == CloseReason::HeldUp
            && link.shared().endpoint.log.allows(Topic::HeldUp)
        {
            tracing::warn!(%remote, "no handler has answered for long: disconnected");
        }
        tracing::debug!(%remote, %reason, "disconnected");
        {
            let mut state = link.lock();
            state.set_closed(&link.shared().endpoint, reason.clone());
            state.connection.release_buffers();
        }
        link.notify();
        if let Some(owner) = link.shared().owner.upgrade() {
            owner.ended(link, reason);
        }
    }
}
