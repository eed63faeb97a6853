//! Randomness as the core knows it: a stream that one seed decides.

use core::fmt;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A cryptographically strong stream of random bytes, decided by its seed.
///
/// The core draws request ids, nonces, initialisation vectors and jitter from
/// it. A driver seeds it from the operating system; a test seeds it with a
/// constant and gets the same bytes again.
#[derive(Clone)]
pub struct Random(ChaCha12Rng);

impl Random {
    /// The stream that belongs to this seed. In production the seed must be
    /// secret and never used twice.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Fills `buffer` with the next bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill_bytes(buffer);
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// The next 64 bits as a number.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to `bound - 1`, each as likely as any other to within
    /// one part in 2⁶⁴ ÷ `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream() {
        let mut one = Random::from_seed([3; 32]);
        let mut two = one.clone();
        assert_eq!(one.bytes::<40>(), two.bytes::<40>());
        assert_ne!(one.bytes::<16>(), one.bytes::<16>());
    }

    #[test]
    fn below_keeps_to_its_bound() {
        let mut random = Random::from_seed([9; 32]);
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
