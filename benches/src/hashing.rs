//! What the hashing of the bundled plugins costs alone: a loop of the same
//! SHA-256 calls.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Round trips a second that the hashing of one side would allow for, if there
/// were nothing else to do: each of its two messages is encrypted or decrypted,
/// and signed or checked.
pub(crate) fn rate(content: usize, span: Duration) -> f64 {
    let body = vec![7; 2 + "echo".len() + content];
    let start = Instant::now();
    let mut count = 0_u64;
    while start.elapsed() < span {
        for _ in 0..16 {
            for _ in 0..2 {
                black_box(encrypt(black_box(&body)));
                black_box(sign(black_box(&body)));
            }
        }
        count += 16;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn encrypt(body: &[u8]) -> u8 {
    let key = derive(b"enc");
    let mut all = 0;
    for block in 0..body.len().div_ceil(32) as u32 {
        let stream = hash(&[&key, &block.to_be_bytes()]);
        all ^= stream[0];
    }
    all
}

fn sign(body: &[u8]) -> [u8; 32] {
    let mut pads = [[0x36; 136], [0x5c; 136]];
    for (byte, key) in derive(b"mac").iter().enumerate() {
        pads[0][byte] ^= key;
        pads[1][byte] ^= key;
    }
    let inner = hash(&[&pads[0], &[0; 4], body]);
    hash(&[&pads[1], &inner])
}

/// A key for one message; that of the plugin is hashed beforehand.
fn derive(purpose: &[u8]) -> [u8; 32] {
    hash(&[&[1; 32], &hash(&[&[2; 16]]), &hash(&[purpose])])
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
