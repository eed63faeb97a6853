//! SHA-256 block by block, for what the bundled plugins hash with each message.
//!
//! Most of that is short and of a known length, so its blocks are made in place,
//! padding and all: a hasher that takes whatever comes spends as much time on
//! that as on the hash.

use sha2::block_api::compress256;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::sha256;

/// Bytes of a hash, and of a key.
pub(super) const HASH: usize = 32;

/// Bytes that are hashed at a time.
pub(super) const BLOCK: usize = 64;

/// Where the last block has the length of all that was hashed.
const LENGTH_AT: usize = BLOCK - 8;

/// What follows the last byte that is hashed.
const END: u8 = 0x80;

/// The usual length of what a message's key is derived from.
const USUAL_LENGTH: usize = 16;

/// A plugin's key, and what the keys that are derived from it are for.
pub(super) struct MessageKeys {
    key_hash: [u8; HASH],
    /// The purpose, hashed, as the last block of what is hashed for a key.
    purpose: [u8; BLOCK],
}

impl MessageKeys {
    pub(super) fn new(key: &[u8], purpose: &[u8]) -> Self {
        let mut once = sha256(&[key]);
        let key_hash = sha256(&[&once]);
        once.zeroize();
        Self {
            key_hash,
            purpose: last_block(&sha256(&[purpose]), 3 * HASH),
        }
    }

    /// The key of the message that has this nonce or initialisation vector.
    pub(super) fn derive(&self, per_message: &[u8]) -> [u8; HASH] {
        let value = match <&[u8; USUAL_LENGTH]>::try_from(per_message) {
            Ok(usual) => {
                let mut state = State::new();
                state.add(&last_block(usual, USUAL_LENGTH));
                state.hash()
            }
            Err(_) => sha256(&[per_message]),
        };
        let mut block = [0; BLOCK];
        block[..HASH].copy_from_slice(&self.key_hash);
        block[HASH..].copy_from_slice(&value);
        let mut state = State::new();
        state.add(&block);
        state.add(&self.purpose);
        block.as_mut_slice().zeroize();
        state.hash()
    }
}

impl Drop for MessageKeys {
    fn drop(&mut self) {
        self.key_hash.zeroize();
    }
}

impl ZeroizeOnDrop for MessageKeys {}

/// A hash between two blocks; wiped on dropping. What is moved leaves a copy
/// behind, so better do not move it.
pub(super) struct State([u32; HASH / 4]);

impl State {
    /// Before the first block: what the standard says.
    const START: [u32; HASH / 4] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    pub(super) fn new() -> Self {
        Self(Self::START)
    }

    /// Forgets all blocks.
    pub(super) fn restart(&mut self) {
        self.0 = Self::START;
    }

    pub(super) fn add(&mut self, block: &[u8; BLOCK]) {
        compress256(&mut self.0, core::slice::from_ref(block));
    }

    /// Hides bytes behind the hash, if that was the last block, or shows them.
    pub(super) fn mask(&self, bytes: &mut [u8; HASH]) {
        let (words, _) = bytes.as_chunks_mut();
        for (bytes, word) in words.iter_mut().zip(self.0) {
            *bytes = (u32::from_be_bytes(*bytes) ^ word).to_be_bytes();
        }
    }

    /// The hash, if that was the last block.
    pub(super) fn hash(&self) -> [u8; HASH] {
        let mut hash = [0; HASH];
        let (words, _) = hash.as_chunks_mut();
        for (bytes, word) in words.iter_mut().zip(self.0) {
            *bytes = word.to_be_bytes();
        }
        hash
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

/// The last block of a hash over `length` bytes, of which these are the last.
/// They must leave room for the length.
pub(super) fn last_block<const N: usize>(
    bytes: &[u8; N],
    length: usize,
) -> [u8; BLOCK] {
    const { assert!(N < LENGTH_AT) };
    let mut block = [0; BLOCK];
    let (start, rest) = block.split_at_mut(N);
    start.copy_from_slice(bytes);
    if let Some(end) = rest.first_mut() {
        *end = END;
    }
    block[LENGTH_AT..].copy_from_slice(&bits(length));
    block
}

fn bits(length: usize) -> [u8; 8] {
    (length as u64).wrapping_mul(8).to_be_bytes()
}

/// The hash of parts of any lengths, after blocks that were hashed already.
pub(super) struct Parts<'s> {
    state: &'s mut State,
    /// What is too little for a block, at its start.
    block: [u8; BLOCK],
    filled: usize,
    length: usize,
}

impl<'s> Parts<'s> {
    /// Goes on where `length` bytes, which are whole blocks, gave this state.
    pub(super) fn after(state: &'s mut State, length: usize) -> Self {
        Self {
            state,
            block: [0; BLOCK],
            filled: 0,
            length,
        }
    }

    pub(super) fn add(&mut self, mut bytes: &[u8]) {
        self.length = self.length.wrapping_add(bytes.len());
        if self.filled > 0 {
            bytes = self.fill(bytes);
            if self.filled < BLOCK {
                return;
            }
            self.state.add(&self.block);
        }
        let (blocks, rest) = bytes.as_chunks();
        if !blocks.is_empty() {
            compress256(&mut self.state.0, blocks);
        }
        self.filled = 0;
        self.fill(rest);
    }

    /// Puts into the block what it has room for, and gives back the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.block.get_mut(self.filled..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        let (taken, rest) = bytes.split_at(count);
        if let Some(room) = room.get_mut(..count) {
            room.copy_from_slice(taken);
        }
        self.filled += count;
        rest
    }

    /// The hash of all that was added. Never called with a full block.
    pub(super) fn hash(mut self) -> [u8; HASH] {
        let free = self.block.get_mut(self.filled..).unwrap_or_default();
        free.fill(0);
        if let Some(end) = free.first_mut() {
            *end = END;
        }
        if self.filled >= LENGTH_AT {
            self.state.add(&self.block);
            self.block = [0; BLOCK];
        }
        self.block[LENGTH_AT..].copy_from_slice(&bits(self.length));
        self.state.add(&self.block);
        self.state.hash()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn keys_are_what_the_whole_hashes_give() {
        let keys = MessageKeys::new(b"secret", b"enc");
        let key_hash = sha256(&[&sha256(&[b"secret"])]);
        for length in [0, 15, 16, 17, 63, 64, 300] {
            let value = vec![9; length];
            let expected =
                sha256(&[&key_hash, &sha256(&[&value]), &sha256(&[b"enc"])]);
            assert_eq!(keys.derive(&value), expected);
        }
    }

    #[test]
    fn a_block_made_in_place_is_what_a_hasher_makes() {
        let mut state = State::new();
        state.add(&last_block(&[7; 36], 36));
        assert_eq!(state.hash(), sha256(&[&[7; 36]]));
        let mut masked = [7; HASH];
        state.mask(&mut masked);
        state.mask(&mut masked);
        assert_eq!(masked, [7; HASH]);
        state.restart();
        state.add(&[1; BLOCK]);
        state.add(&last_block(&[7; LENGTH_AT - 1], BLOCK + LENGTH_AT - 1));
        assert_eq!(state.hash(), sha256(&[&[1; BLOCK], &[7; LENGTH_AT - 1]]));
    }

    #[test]
    fn parts_of_any_lengths_are_hashed_as_one() {
        let bytes = [5; 200];
        for first in 0..=130 {
            for second in [0, 1, 4, 8, 51, 52, 55, 56, 60, 64, 65] {
                let mut state = State::new();
                state.add(&[1; BLOCK]);
                let mut parts = Parts::after(&mut state, BLOCK);
                parts.add(&bytes[..first]);
                parts.add(&bytes[..second]);
                let all = [&[1; BLOCK], &bytes[..first], &bytes[..second]];
                assert_eq!(parts.hash(), sha256(&all), "{first}, {second}");
            }
        }
    }
}
