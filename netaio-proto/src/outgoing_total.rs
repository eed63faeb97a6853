//! What waits to be written on all connections of an endpoint together.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

/// By how much a connection's share must have changed to be counted anew: most
/// messages come and go without touching what connections share.
const STEP: usize = 16 * 1024;

/// Bytes that wait to be written on all connections of an endpoint together;
/// see `Limits::max_outgoing_total`.
#[derive(Debug, Default)]
pub struct OutgoingTotal(AtomicUsize);

impl OutgoingTotal {
    /// How many they are. Less than 16 KiB of each connection may be missing.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's part in the total.
#[derive(Debug)]
pub(crate) struct OutgoingShare {
    total: Arc<OutgoingTotal>,
    counted: usize,
}

impl OutgoingShare {
    pub(crate) fn new(total: Arc<OutgoingTotal>) -> Self {
        Self { total, counted: 0 }
    }

    /// Notes that now so many bytes of this connection wait.
    #[inline]
    pub(crate) fn update(&mut self, queued: usize) {
        let counted = if queued < STEP { 0 } else { queued };
        if counted != self.counted {
            self.count(counted);
        }
    }

    #[cold]
    fn count(&mut self, counted: usize) {
        let little = counted.abs_diff(self.counted) < STEP && counted != 0;
        if little {
            return;
        }
        if counted >= self.counted {
            let more = counted - self.counted;
            if more > 0 {
                self.total.0.fetch_add(more, Ordering::Relaxed);
            }
        } else {
            let less = self.counted - counted;
            self.total.0.fetch_sub(less, Ordering::Relaxed);
        }
        self.counted = counted;
    }

    /// Whether all together have reached `limit`, and this one has a part in it.
    #[inline]
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.counted > 0 && self.total.bytes() >= limit
    }
}

impl Drop for OutgoingShare {
    fn drop(&mut self) {
        self.update(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_in_steps_and_given_back() {
        let total = Arc::new(OutgoingTotal::default());
        let mut one = OutgoingShare::new(Arc::clone(&total));
        let mut other = OutgoingShare::new(Arc::clone(&total));
        one.update(STEP - 1);
        assert_eq!(total.bytes(), 0, "less than a step");
        one.update(100_000);
        other.update(50_000);
        assert_eq!(total.bytes(), 150_000);
        one.update(99_000);
        assert_eq!(total.bytes(), 150_000, "less than a step");
        assert!(one.is_full(150_000) && !one.is_full(150_001));
        other.update(3);
        assert_eq!(total.bytes(), 100_000);
        assert!(!other.is_full(0), "it has no part in it");
        drop(one);
        assert_eq!(total.bytes(), 0);
    }
}
