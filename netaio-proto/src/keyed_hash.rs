//! The hash of tables whose keys somebody else may choose.

use core::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::random::Random;

/// A hash that nobody can choose collisions for, and that the caller's seed
/// decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedHash {
    keys: (u64, u64),
}

impl KeyedHash {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            keys: (random.next_u64(), random.next_u64()),
        }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}
