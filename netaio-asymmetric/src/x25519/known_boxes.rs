//! The boxes of peers that were heard of lately, so that a message costs no
//! agreement on a key.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::mem;

use super::secret_box::{KEY_LENGTH, SecretBox};

/// Boxes by public key, in two halves: one that fills up, and the one before it,
/// which goes when the first is full. What is used stays, or moves up.
#[derive(Default)]
pub(super) struct KnownBoxes {
    recent: Boxes,
    older: Boxes,
}

type Boxes = BTreeMap<[u8; KEY_LENGTH], Arc<SecretBox>>;

/// Boxes in each half. Together they are for as many peers as are known at a
/// time by default.
const HALF: usize = 512;

impl KnownBoxes {
    pub(super) fn get(
        &mut self,
        public: &[u8; KEY_LENGTH],
    ) -> Option<Arc<SecretBox>> {
        if let Some(known) = self.recent.get(public) {
            return Some(Arc::clone(known));
        }
        let known = self.older.remove(public)?;
        self.insert(*public, Arc::clone(&known));
        Some(known)
    }

    pub(super) fn insert(&mut self, public: [u8; KEY_LENGTH], new: Arc<SecretBox>) {
        if self.recent.len() >= HALF {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(public, new);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use x25519_dalek::StaticSecret;

    use super::*;

    #[test]
    fn what_is_used_stays_and_there_are_never_too_many() {
        let secret = StaticSecret::from([7; 32]);
        let new = Arc::new(SecretBox::new(&secret, [9; 32]).expect("a good key"));
        let key = |n: usize| {
            let mut key = [0; KEY_LENGTH];
            key[..8].copy_from_slice(&n.to_be_bytes());
            key
        };
        let mut known = KnownBoxes::default();
        for n in 0..10 * HALF {
            known.insert(key(n), Arc::clone(&new));
            assert!(known.get(&key(0)).is_some(), "it is used all the time");
            assert!(known.get(&key(n)).is_some());
            assert!(known.len() <= 2 * HALF);
        }
        assert!(known.get(&key(1)).is_none());
        assert!(Arc::strong_count(&new) <= 1 + 2 * HALF);
    }
}
