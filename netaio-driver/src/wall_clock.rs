//! The clock on the wall, which is not looked at for every message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netaio_proto::Instant;

/// How old what the clock said may be, where seconds count. By the runtime's clock:
/// while the system sleeps, that may stand still.
const FRESH: Duration = Duration::from_millis(50);

/// The clock on the wall, as it was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct WallClock {
    looked: Option<Instant>,
}

impl WallClock {
    /// Seconds since 1970, if it is time to look again.
    #[inline]
    pub(crate) fn news(&mut self, now: Instant) -> Option<u64> {
        let fresh = |at: Instant| now.duration_since(at) < FRESH;
        if self.looked.is_some_and(fresh) {
            return None;
        }
        Some(self.look(now))
    }

    #[cold]
    fn look(&mut self, now: Instant) -> u64 {
        self.looked = Some(now);
        unix_time()
    }
}

/// Seconds since 1970 by the wall clock; 0 before that.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
