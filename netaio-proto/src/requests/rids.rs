//! The ids that requests carry. They tell where a request is kept, so that no
//! table of ids is needed, and tell it to nobody else.

use core::fmt;

use crate::random::Random;

/// How many bits of an id may be the number of a slot: as few as will do, as the
/// others are random.
const WIDTHS: [u32; 3] = [16, 24, 32];

/// Makes ids and reads them.
pub(super) struct Rids {
    /// Decides how numbers of slots are changed. Odd.
    key: u64,
}

impl Rids {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            key: random.next_u64() | 1,
        }
    }

    /// A new id for the request in a slot.
    #[inline]
    pub(super) fn fresh(&self, random: &mut Random, slot: u32) -> u64 {
        let fits = |width: &u32| u64::from(slot) >> width == 0;
        let width = WIDTHS.into_iter().find(fits).unwrap_or(u32::BITS);
        let bits = random.next_u64() >> width << width;
        bits | self.veiled(bits, width, u64::from(slot))
    }

    /// The slots in which the request with this id may be, of so many that there
    /// are.
    #[inline]
    pub(super) fn slots(&self, rid: u64, there: usize) -> impl Iterator<Item = u32> {
        let mut wide = 0;
        WIDTHS.into_iter().map_while(move |width| {
            let worth_it = there as u64 >> wide > 0;
            wide = width;
            let bits = rid >> width << width;
            worth_it.then(|| self.veiled(bits, width, rid ^ bits) as u32)
        })
    }

    /// Makes a slot's number look random beside the random bits of its id, and
    /// finds it again.
    fn veiled(&self, bits: u64, width: u32, number: u64) -> u64 {
        let veil = bits.wrapping_mul(self.key) >> (u64::BITS - width);
        number ^ veil
    }
}

impl fmt::Debug for Rids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rids(..)")
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_tells_its_slot_and_no_two_are_alike() {
        let mut random = Random::from_seed([7; 32]);
        let rids = Rids::new(&mut random);
        let mut seen = BTreeSet::new();
        for slot in [0, 1, 65_535, 65_536, 0xff_ffff, 0x100_0000, u32::MAX] {
            for _ in 0..100 {
                let rid = rids.fresh(&mut random, slot);
                let there = slot as usize + 1;
                assert!(rids.slots(rid, there).any(|found| found == slot));
                assert!(seen.insert(rid));
            }
        }
    }

    #[test]
    fn the_bits_of_a_slot_look_random_too() {
        let mut random = Random::from_seed([8; 32]);
        let rids = Rids::new(&mut random);
        let mut ones = [0; u64::BITS as usize];
        for _ in 0..1000 {
            let rid = rids.fresh(&mut random, 0);
            for (bit, ones) in ones.iter_mut().enumerate() {
                *ones += rid >> bit & 1;
            }
        }
        assert!(
            ones.iter().all(|ones| (400..600).contains(ones)),
            "{ones:?}"
        );
    }
}
