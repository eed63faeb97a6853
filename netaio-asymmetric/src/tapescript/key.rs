//! The key that witnesses are signed with.

use core::fmt;

use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use super::ed25519;

/// An Ed25519 key, from the seed of 32 bytes that Python netaio configures. Its
/// secret parts are wiped when it is dropped.
///
/// ```
/// use netaio_asymmetric::tapescript::SigningKey;
///
/// let key = SigningKey::from_seed(&[7; 32]);
/// assert_eq!(key.public_key().len(), 32);
/// assert_eq!(key.sign(b"message").len(), 64);
/// ```
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public_key: [u8; 32],
}

impl SigningKey {
    /// The key of this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public_key = key.verifying_key().to_bytes();
        Self { key, public_key }
    }

    /// What others know it by: what locks are made of.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// An Ed25519 signature.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// What it multiplies the base point with.
    pub(super) fn secret_scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(ed25519::secret_scalar(self.key.as_bytes()))
    }
}

/// Only the public part.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(public ")?;
        self.public_key
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
