//! The bundled plugins' arithmetic once more, from plain SHA-256.
//!
//! Some vectors give the key that a plugin derives from its secret, and no
//! plugin can be given that. They prove these functions, and these functions
//! prove the plugins.

use sha2::{Digest as _, Sha256};

/// The block size that Python netaio gives its HMAC.
const BLOCK: usize = 136;

/// Plain SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The hash of the hashes of all parts.
pub(crate) fn derive_key(parts: &[&[u8]]) -> [u8; 32] {
    sha256(
        &parts
            .iter()
            .map(|part| sha256(part))
            .collect::<Vec<_>>()
            .concat(),
    )
}

/// The authentication code of a message; `key` is the hash of a secret.
pub(crate) fn mac(key: &[u8], nonce: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = derive_key(&[key, nonce, b"mac"]).to_vec();
    padded.resize(BLOCK, 0);
    let pad = |with: u8| padded.iter().map(|byte| byte ^ with).collect::<Vec<_>>();
    let inner = sha256(&[&pad(0x36), message].concat());
    sha256(&[&pad(0x5c)[..], &inner].concat())
}

/// The key that the blocks of a key stream are made with.
pub(crate) fn stream_key(key: &[u8], iv: &[u8]) -> [u8; 32] {
    derive_key(&[key, iv, b"enc"])
}

/// The first bytes of a key stream; `key` is the hash of a plugin's key.
pub(crate) fn stream(key: &[u8], iv: &[u8], length: usize) -> Vec<u8> {
    let key = stream_key(key, iv);
    let block = |index: u32| sha256(&[&key[..], &index.to_be_bytes()].concat());
    let blocks = u32::try_from(length.div_ceil(32)).expect("a short stream");
    let mut stream: Vec<u8> = (0..blocks).flat_map(block).collect();
    stream.truncate(length);
    stream
}

/// Bytes under a key stream as long as they are.
pub(crate) fn xor(bytes: &[u8], stream: &[u8]) -> Vec<u8> {
    assert_eq!(bytes.len(), stream.len());
    bytes.iter().zip(stream).map(|(a, b)| a ^ b).collect()
}
