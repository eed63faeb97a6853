//! What happens when: deadlines in order of time.

use alloc::collections::BTreeSet;

use crate::time::Instant;

/// A set of deadlines, each with a key. A key has at most one deadline, which
/// its owner remembers; so removing is exact and nothing stale is kept.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    set: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Deadlines<K> {
    pub(crate) fn insert(&mut self, at: Instant, key: K) {
        self.set.insert((at, key));
    }

    pub(crate) fn remove(&mut self, at: Instant, key: K) {
        self.set.remove(&(at, key));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest deadline if it has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, _) = self.set.first()?;
        if *at > now {
            return None;
        }
        self.set.pop_first().map(|(_, key)| key)
    }
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            set: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_order_and_removed_ones_do_not() {
        let at = Instant::from_micros;
        let mut deadlines = Deadlines::default();
        for (time, key) in [(30, 'c'), (10, 'a'), (20, 'b'), (10, 'd')] {
            deadlines.insert(at(time), key);
        }
        deadlines.remove(at(20), 'b');
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(25)), Some('a'));
        assert_eq!(deadlines.pop_due(at(25)), Some('d'));
        assert_eq!(deadlines.pop_due(at(25)), None);
        assert_eq!(deadlines.pop_due(at(30)), Some('c'));
        assert_eq!(deadlines.next(), None);
    }
}
