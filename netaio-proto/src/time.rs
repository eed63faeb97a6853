//! Time as the core knows it: given by the caller, never read from a clock.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A moment, in microseconds since an epoch that the caller picked.
///
/// The core never asks what time it is. A driver maps its monotonic clock to
/// this type; a test invents the values. Arithmetic saturates: a deadline that
/// lies beyond the end of time never comes.
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::Instant;
///
/// let start = Instant::from_micros(5);
/// let later = start + Duration::from_millis(1);
/// assert_eq!(later.duration_since(start), Duration::from_millis(1));
/// assert_eq!(start.duration_since(later), Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch itself.
    pub const EPOCH: Self = Self(0);

    /// The moment `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time that has passed since `earlier`; zero if `earlier` is later.
    pub const fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let micros = span.as_secs().saturating_mul(1_000_000);
        let micros = micros.saturating_add(u64::from(span.subsec_micros()));
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_micros(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_instead_of_wrapping() {
        let last = Instant::from_micros(u64::MAX);
        assert_eq!(last + Duration::MAX, last);
        assert_eq!(Instant::EPOCH + Duration::MAX, last);
    }
}
