//! Who wants to hear of what.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use crate::limits::Limits;

/// Subscriptions of an endpoint: keys, usually URIs, and who is told when
/// something is sent to them. `S` names a subscriber: a connection's number, or
/// an address.
///
/// ```
/// use netaio_proto::{Limits, Subscriptions};
///
/// let mut subscriptions = Subscriptions::new(&Limits::default());
/// assert_eq!(subscriptions.subscribe(7, b"news"), Ok(true));
/// assert_eq!(subscriptions.subscribe(7, b"news"), Ok(false));
/// assert_eq!(subscriptions.subscribers(b"news").collect::<Vec<_>>(), [7]);
/// assert_eq!(subscriptions.remove_subscriber(7), 1);
/// assert!(subscriptions.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Subscriptions<S> {
    by_key: BTreeMap<Arc<[u8]>, BTreeSet<S>>,
    by_subscriber: BTreeMap<S, BTreeSet<Arc<[u8]>>>,
    count: usize,
    key_bytes: usize,
    most_of_one: usize,
    most: usize,
    most_bytes: usize,
}

/// A subscription that would exceed a bound. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The subscriber has as many as `Limits::max_subscriptions_per_peer` allows.
    #[error("{limit} subscriptions of one subscriber are the most")]
    TooManyOfOne {
        /// The limit.
        limit: usize,
    },
    /// There are as many as `Limits::max_subscriptions` allows.
    #[error("{limit} subscriptions are the most")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The subscriber is not there any more.
    #[error("the connection is closed")]
    Closed,
    /// The keys would have more bytes than `Limits::max_subscription_bytes`
    /// allows.
    #[error("{limit} bytes of keys are the most")]
    TooManyBytes {
        /// The limit.
        limit: usize,
    },
}

impl<S: Ord + Copy> Subscriptions<S> {
    /// No subscriptions, with these bounds.
    pub fn new(limits: &Limits) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_subscriber: BTreeMap::new(),
            count: 0,
            key_bytes: 0,
            most_of_one: limits.max_subscriptions_per_peer,
            most: limits.max_subscriptions,
            most_bytes: limits.max_subscription_bytes,
        }
    }

    /// Subscribes; `false` if that was done already.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if a bound is reached.
    pub fn subscribe(
        &mut self,
        subscriber: S,
        key: &[u8],
    ) -> Result<bool, SubscribeError> {
        let known = self.by_key.get_key_value(key);
        if known.is_some_and(|(_, who)| who.contains(&subscriber)) {
            return Ok(false);
        }
        let own = self.by_subscriber.get(&subscriber).map_or(0, BTreeSet::len);
        if own >= self.most_of_one {
            let limit = self.most_of_one;
            return Err(SubscribeError::TooManyOfOne { limit });
        }
        if self.count >= self.most {
            return Err(SubscribeError::TooMany { limit: self.most });
        }
        let key = match known {
            Some((key, _)) => Arc::clone(key),
            None => {
                if self.key_bytes.saturating_add(key.len()) > self.most_bytes {
                    let limit = self.most_bytes;
                    return Err(SubscribeError::TooManyBytes { limit });
                }
                self.key_bytes += key.len();
                Arc::from(key)
            }
        };
        self.count += 1;
        let who = self.by_key.entry(Arc::clone(&key)).or_default();
        who.insert(subscriber);
        self.by_subscriber
            .entry(subscriber)
            .or_default()
            .insert(key);
        Ok(true)
    }

    /// Ends a subscription; `false` if there is none.
    pub fn unsubscribe(&mut self, subscriber: S, key: &[u8]) -> bool {
        if !self.drop_from_key(subscriber, key) {
            return false;
        }
        if let Some(keys) = self.by_subscriber.get_mut(&subscriber) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_subscriber.remove(&subscriber);
            }
        }
        true
    }

    /// Ends all subscriptions of one subscriber; gives how many there were.
    pub fn remove_subscriber(&mut self, subscriber: S) -> usize {
        let keys = self.by_subscriber.remove(&subscriber).unwrap_or_default();
        for key in &keys {
            self.drop_from_key(subscriber, key);
        }
        keys.len()
    }

    /// Who is subscribed to a key, in order.
    pub fn subscribers(&self, key: &[u8]) -> impl Iterator<Item = S> {
        self.by_key.get(key).into_iter().flatten().copied()
    }

    /// Subscriptions there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn drop_from_key(&mut self, subscriber: S, key: &[u8]) -> bool {
        let Some(who) = self.by_key.get_mut(key) else {
            return false;
        };
        let was_there = who.remove(&subscriber);
        self.count -= usize::from(was_there);
        if who.is_empty() {
            self.by_key.remove(key);
            self.key_bytes -= key.len();
        }
        was_there
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn small() -> Subscriptions<u32> {
        Subscriptions::new(&Limits {
            max_subscriptions_per_peer: 2,
            max_subscriptions: 3,
            max_subscription_bytes: 6,
            ..Limits::default()
        })
    }

    #[test]
    fn every_bound_refuses_and_changes_nothing() {
        let mut all = small();
        assert_eq!(all.subscribe(1, b"a"), Ok(true));
        assert_eq!(
            all.subscribe(1, b"too long"),
            Err(SubscribeError::TooManyBytes { limit: 6 })
        );
        assert_eq!(all.subscribe(1, b"b"), Ok(true));
        assert_eq!(
            all.subscribe(1, b"c"),
            Err(SubscribeError::TooManyOfOne { limit: 2 })
        );
        assert_eq!(all.subscribe(2, b"a"), Ok(true));
        assert_eq!(
            all.subscribe(3, b"a"),
            Err(SubscribeError::TooMany { limit: 3 })
        );
        assert_eq!((all.len(), all.key_bytes), (3, 2));
    }

    #[test]
    fn whoever_leaves_leaves_nothing_behind() {
        let mut all = small();
        for (who, key) in [(1, "a"), (1, "b"), (2, "a")] {
            assert_eq!(all.subscribe(who, key.as_bytes()), Ok(true));
        }
        assert!(all.unsubscribe(1, b"b"));
        assert!(!all.unsubscribe(1, b"b"));
        assert!(!all.unsubscribe(7, b"a"));
        assert_eq!(all.subscribers(b"a").collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all.remove_subscriber(1), 1);
        assert_eq!(all.remove_subscriber(2), 1);
        assert!(all.is_empty() && all.by_key.is_empty());
        assert!(all.by_subscriber.is_empty());
        assert_eq!(all.key_bytes, 0);
    }
}
