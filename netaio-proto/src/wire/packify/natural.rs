//! Natural numbers of any size: just the arithmetic that comparing and printing
//! integers and decimals takes.

use alloc::vec::Vec;

/// A natural number as 32-bit digits, least significant first, no zeros on top.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    /// Big-endian bytes; leading zeros are allowed.
    pub(super) fn from_be_bytes(bytes: &[u8]) -> Self {
        let fold = |n: u32, byte: &u8| (n << 8) | u32::from(*byte);
        let digits = bytes.rchunks(4).map(|chunk| chunk.iter().fold(0, fold));
        let mut natural = Self(digits.collect());
        natural.trim();
        natural
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// `self = self * factor + addend`.
    pub(super) fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            // (2^32 - 1)^2 + 2^32 - 1 < 2^64: neither step wraps.
            let wide = u64::from(*digit)
                .wrapping_mul(u64::from(factor))
                .wrapping_add(carry);
            *digit = wide as u32;
            carry = wide >> 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    /// Divides by `divisor` (zero counts as one); returns the remainder.
    pub(super) fn divide(&mut self, divisor: u32) -> u32 {
        let divisor = u64::from(divisor.max(1));
        let mut remainder = 0_u64;
        for digit in self.0.iter_mut().rev() {
            let wide = (remainder << 32) | u64::from(*digit);
            *digit = (wide / divisor) as u32;
            remainder = wide % divisor;
        }
        self.trim();
        remainder as u32
    }

    /// Takes all factors of two out and returns how many they were.
    pub(super) fn take_twos(&mut self) -> u64 {
        let zeros = self.0.iter().take_while(|digit| **digit == 0).count();
        self.0.drain(..zeros);
        let bits = self.0.first().map_or(0, |digit| digit.trailing_zeros());
        self.shift_right(bits);
        (zeros as u64)
            .saturating_mul(32)
            .saturating_add(u64::from(bits))
    }

    /// `bits` is less than 32.
    fn shift_right(&mut self, bits: u32) {
        let mut above = 0_u64;
        for digit in self.0.iter_mut().rev() {
            let wide = (above << 32) | u64::from(*digit);
            above = u64::from(*digit);
            *digit = (wide >> bits) as u32;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_crosses_digit_boundaries() {
        let mut n = Natural::from_be_bytes(&[0, 1, 0, 0, 0, 0]);
        n.multiply_add(10, 7);
        assert_eq!(n, Natural::from_be_bytes(&[10, 0, 0, 0, 7]));
        assert_eq!(n.divide(10), 7);
        assert_eq!(n, Natural::from_be_bytes(&[1, 0, 0, 0, 0]));
    }

    #[test]
    fn twos_are_taken_out_across_digits() {
        let mut n = Natural::from_be_bytes(&[0x18, 0, 0, 0, 0, 0]);
        assert_eq!(n.take_twos(), 43);
        assert_eq!(n, Natural::from_be_bytes(&[3]));
        let mut zero = Natural::default();
        assert_eq!(zero.take_twos(), 0);
        assert!(zero.is_zero());
    }
}
