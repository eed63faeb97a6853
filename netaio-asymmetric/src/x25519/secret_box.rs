//! NaCl's box between two key pairs: X25519, then XSalsa20 and Poly1305.
//!
//! Put together from the parts: the crate that has it whole (`crypto_box` 0.9)
//! takes public keys of low order, leaves a copy of the secret key behind, and is
//! of another generation than everything else here. The tests hold this against
//! it, and against libsodium's results.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::cipher::consts::U10;
use salsa20::cipher::{Array, KeyIvInit as _, StreamCipher as _};
use salsa20::{XSalsa20, hsalsa};
use subtle::ConstantTimeEq as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// Bytes of a public or secret key.
pub(super) const KEY_LENGTH: usize = 32;
/// Bytes of a nonce: so many that random ones do not meet.
pub(super) const NONCE_LENGTH: usize = 24;
/// Bytes of the code that authenticates a text.
pub(super) const TAG_LENGTH: usize = 16;

/// The key that two key pairs have in common, the same for both directions.
pub(super) struct SecretBox {
    key: [u8; KEY_LENGTH],
}

/// A text that was not sealed with this key and nonce.
#[derive(Debug)]
pub(super) struct Forged;

impl SecretBox {
    /// What this key pair has in common with whoever has a public key; `None` if
    /// that is of low order, so that anybody would know it.
    pub(super) fn new(secret: &StaticSecret, public: [u8; 32]) -> Option<Self> {
        let shared = secret.diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return None;
        }
        let mut hashed =
            hsalsa::<U10>(&Array(*shared.as_bytes()), &Array::default());
        let key = hashed.0;
        hashed.zeroize();
        Some(Self { key })
    }

    /// Encrypts a text in place; gives what authenticates it.
    pub(super) fn seal(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        text: &mut [u8],
    ) -> [u8; TAG_LENGTH] {
        let (mut stream, code) = self.begin(nonce);
        stream.apply_keystream(text);
        code.compute_unpadded(text).into()
    }

    /// Decrypts a text in place; leaves it as it is if it is not authentic.
    pub(super) fn open(
        &self,
        nonce: &[u8; NONCE_LENGTH],
        tag: &[u8],
        text: &mut [u8],
    ) -> Result<(), Forged> {
        let (mut stream, code) = self.begin(nonce);
        let expected: [u8; TAG_LENGTH] = code.compute_unpadded(text).into();
        if bool::from(expected.ct_eq(tag)) {
            stream.apply_keystream(text);
            Ok(())
        } else {
            Err(Forged)
        }
    }

    /// The key stream for a text, and the authenticator that its first bytes are
    /// the key of.
    fn begin(&self, nonce: &[u8; NONCE_LENGTH]) -> (XSalsa20, Poly1305) {
        let mut stream = XSalsa20::new((&self.key).into(), nonce.into());
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        stream.apply_keystream(&mut *key);
        (stream, Poly1305::new((&*key).into()))
    }
}

impl Drop for SecretBox {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBox {}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use crypto_box::aead::AeadInPlace as _;
    use netaio_proto::Random;

    use super::*;

    #[test]
    fn boxes_are_those_of_an_independent_implementation() {
        let mut random = Random::from_seed([4; 32]);
        let lengths = (0..200).chain([255, 256, 257, 4095, 4096, 65_000]);
        for length in lengths {
            let [secret, other] = [random.bytes::<32>(), random.bytes::<32>()];
            let public = PublicKey::from(&StaticSecret::from(other)).to_bytes();
            let ours = SecretBox::new(&secret.into(), public).expect("a good key");
            let theirs = crypto_box::SalsaBox::new(&public.into(), &secret.into());
            let nonce = random.bytes();
            let mut text = alloc::vec![0; length];
            random.fill(&mut text);

            let (mut sealed, mut reference) = (text.clone(), text.clone());
            let tag = ours.seal(&nonce, &mut sealed);
            let expected = theirs
                .encrypt_in_place_detached(&nonce.into(), b"", &mut reference)
                .expect("short enough");
            assert_eq!((&sealed, &tag[..]), (&reference, &expected[..]));

            let back = PublicKey::from(&StaticSecret::from(secret)).to_bytes();
            let back = SecretBox::new(&other.into(), back).expect("a good key");
            let mut opened = sealed.clone();
            back.open(&nonce, &tag, &mut opened).expect("authentic");
            assert_eq!(opened, text);

            for bit in [0, 3, 8 * length / 2, 8 * (length + 16) - 1] {
                let mut changed: Vec<u8> = [&sealed[..], &tag].concat();
                changed[bit / 8] ^= 1 << (bit % 8);
                let (text, tag) = changed.split_at_mut(length);
                let before = text.to_vec();
                back.open(&nonce, tag, text).expect_err("changed");
                assert_eq!(text, before, "left as it was");
            }
        }
    }

    /// All the encodings of points of low order there are.
    #[test]
    fn public_keys_of_low_order_are_refused() {
        let secret = StaticSecret::from([7; 32]);
        let zero_and_one = [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }];
        let of_order_8 = [
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        ]
        .map(decoded);
        let mut around_p = [[0xff; 32]; 3];
        for (key, low) in around_p.iter_mut().zip([0xec, 0xed, 0xee]) {
            key[0] = low;
            key[31] = 0x7f;
        }
        let all = zero_and_one.into_iter().chain(of_order_8).chain(around_p);
        for mut key in all {
            for top in [0, 0x80] {
                key[31] = key[31] & 0x7f | top;
                assert!(SecretBox::new(&secret, key).is_none(), "{key:x?}");
            }
        }
        assert!(SecretBox::new(&secret, [9; 32]).is_some());
    }

    fn decoded(hex: &str) -> [u8; 32] {
        core::array::from_fn(|n| {
            u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).expect("hex")
        })
    }
}
