//! The hash of tables whose keys somebody else may choose.

use core::hash::{BuildHasher, BuildHasherDefault, Hasher};

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

/// The hash of tables whose keys are random numbers of our own, which nobody can
/// choose: the number itself.
pub(crate) type RandomKeys = BuildHasherDefault<RandomKey>;

/// See [`RandomKeys`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RandomKey(u64);

impl Hasher for RandomKey {
    fn write(&mut self, bytes: &[u8]) {
        // Keys are numbers; of anything else each byte counts.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
