//! The clock of one end: it need not agree with that of the network.

use netaio_proto::Instant;

/// A clock that began at some time of its own and runs fast or slow.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// What it said at the network's epoch, in microseconds.
    pub(crate) start: u64,
    /// How much it advances in a thousand.
    pub(crate) rate: u64,
}

impl Clock {
    /// What it says at this time of the network.
    pub(crate) fn local(self, at: Instant) -> Instant {
        Instant::from_micros(self.start + at.as_micros() * self.rate / 1000)
    }

    /// The first time of the network at which it says this, or more.
    pub(crate) fn when(self, local: Instant) -> Instant {
        let span = local.as_micros().saturating_sub(self.start);
        Instant::from_micros(span.saturating_mul(1000).div_ceil(self.rate))
    }
}
