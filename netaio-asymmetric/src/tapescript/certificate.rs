//! One key's word that another may speak for it.

use alloc::vec::Vec;

use super::key::SigningKey;

/// Lets a key speak in the place of another for some time. See
/// [`lock::delegate_key`].
///
/// Both ends of the time are outside of it. They must be below 2³¹, which is in
/// January 2038: larger ones count as negative, and so as long past.
///
/// [`lock::delegate_key`]: super::lock::delegate_key
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The key that may speak.
    pub delegate: [u8; 32],
    /// The last second, since 1970, in which it may not yet.
    pub begin: u32,
    /// The first second in which it may no more.
    pub end: u32,
    /// Whether it may pass this on, where a lock knows of chains.
    pub may_delegate: bool,
    /// The signature of the key that gives its word.
    pub signature: [u8; 64],
}

impl Certificate {
    /// Signs that a key may speak between two times.
    pub fn sign(
        root: &SigningKey,
        delegate: [u8; 32],
        times: core::ops::Range<u32>,
        may_delegate: bool,
    ) -> Self {
        let mut certificate = Self {
            delegate,
            begin: times.start,
            end: times.end,
            may_delegate,
            signature: [0; 64],
        };
        certificate.signature = root.sign(&certificate.signed_part());
        certificate
    }

    /// As a witness carries it, in 105 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.signed_part();
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut bytes = self.delegate.to_vec();
        bytes.extend_from_slice(&self.begin.to_be_bytes());
        bytes.extend_from_slice(&self.end.to_be_bytes());
        bytes.push(if self.may_delegate { 0xff } else { 0 });
        bytes
    }
}
