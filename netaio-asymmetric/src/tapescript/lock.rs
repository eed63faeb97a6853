//! Locks: who may speak.
//!
//! Byte for byte what tapescript 0.7.2 makes with its tools. The flags say which
//! fields a signature may leave out; [`SigFlags::ALL_SIGNED`] is what one wants,
//! since a message of which something is not signed can be changed there.
//!
//! ```
//! use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
//!
//! let keys = [[1; 32], [2; 32], [3; 32]];
//! let keys = keys.map(|seed| SigningKey::from_seed(&seed).public_key());
//! let two_of_three = lock::multisig(&keys, 2, SigFlags::ALL_SIGNED)?;
//! assert_eq!(two_of_three.as_bytes().len(), 3 * 34 + 4);
//! # Ok::<(), lock::LockError>(())
//! ```

use sha2::{Digest as _, Sha256};

use super::ed25519;
use super::fields::SigFlags;
use super::opcode::Opcode;
use super::script::{Script, shake256};

/// Bytes of a key's hash in [`single_signature_by_hash`].
const KEY_HASH: u8 = 20;

/// Bytes of a script's hash in [`script_hash`].
const SCRIPT_HASH: u8 = 26;

/// A lock cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// More signatures are wanted than there are different keys, or there are
    /// more keys than the 255 that a lock can name.
    #[error("{quorum} signatures of {keys} different keys")]
    BadQuorum {
        /// Signatures that are wanted.
        quorum: usize,
        /// Different keys.
        keys: usize,
    },
    /// A public key is not a valid point of the curve.
    #[error("not a valid public key")]
    BadPublicKey,
}

/// One key. Opened by [`witness::single_signature`].
///
/// [`witness::single_signature`]: super::witness::single_signature
pub fn single_signature(public_key: &[u8; 32], flags: SigFlags) -> Script {
    Script::new()
        .push(public_key)
        .op_flags(Opcode::CheckSig, flags)
}

/// One key, of which the lock has only the hash. Opened by
/// [`witness::single_signature_with_key`].
///
/// [`witness::single_signature_with_key`]: super::witness::single_signature_with_key
pub fn single_signature_by_hash(public_key: &[u8; 32], flags: SigFlags) -> Script {
    known_by_hash(&shake256(public_key, KEY_HASH.into()), KEY_HASH)
        .op_flags(Opcode::CheckSig, flags)
}

/// So many of these keys. Opened by as many signatures of different keys, one
/// [`witness::single_signature`] after the other, in any order.
///
/// # Errors
///
/// [`LockError::BadQuorum`] if that many different keys are not there.
///
/// [`witness::single_signature`]: super::witness::single_signature
pub fn multisig(
    public_keys: &[[u8; 32]],
    quorum: u8,
    flags: SigFlags,
) -> Result<Script, LockError> {
    let different: alloc::collections::BTreeSet<_> = public_keys.iter().collect();
    let count = u8::try_from(public_keys.len()).ok();
    let count = count.filter(|_| usize::from(quorum) <= different.len());
    let Some(count) = count else {
        return Err(LockError::BadQuorum {
            quorum: quorum.into(),
            keys: different.len(),
        });
    };
    let keys = public_keys.iter();
    let script = keys.fold(Script::new(), |script, key| script.push(key));
    let counts = Script::from(&[quorum, count][..]);
    Ok(script.op_flags(Opcode::CheckMultisig, flags).then(&counts))
}

/// One key, or a script that it has committed to. What the script is shows only
/// when it is used. Opened by [`witness::taproot_key`] or by
/// [`witness::taproot_script`].
///
/// # Errors
///
/// [`LockError::BadPublicKey`].
///
/// [`witness::taproot_key`]: super::witness::taproot_key
/// [`witness::taproot_script`]: super::witness::taproot_script
pub fn taproot(
    public_key: &[u8; 32],
    script: &Script,
    flags: SigFlags,
) -> Result<Script, LockError> {
    let root = taproot_root(public_key, &script.commitment());
    let root = root.ok_or(LockError::BadPublicKey)?;
    Ok(Script::new().push(&root).op_flags(Opcode::Taproot, flags))
}

/// What a taproot key signs with in place of its own scalar, less that scalar.
pub(super) fn taproot_tweak(
    public_key: &[u8; 32],
    commitment: &[u8; 32],
) -> [u8; 32] {
    let hash = Sha256::new()
        .chain_update(public_key)
        .chain_update(commitment)
        .finalize();
    ed25519::clear_top_bit(hash.into())
}

/// The key that a taproot lock shows.
pub(super) fn taproot_root(
    public_key: &[u8; 32],
    commitment: &[u8; 32],
) -> Option<[u8; 32]> {
    let tweak = taproot_tweak(public_key, commitment);
    let tweak = ed25519::valid_point(&ed25519::base_multiple(&tweak)?)?;
    let root = tweak + ed25519::valid_point(public_key)?;
    Some(root.compress().to_bytes())
}

/// One key, and not before a time, in seconds since 1970. It is compared with
/// the receiver's clock.
pub fn not_before(time: u64, public_key: &[u8; 32], flags: SigFlags) -> Script {
    Script::new()
        .push_number(time)
        .op(Opcode::CheckTimestampVerify)
        .then(&single_signature(public_key, flags))
}

/// Any key that has a [`Certificate`] of this one, within the certificate's time.
/// Opened by [`witness::delegate_key`].
///
/// [`Certificate`]: super::Certificate
/// [`witness::delegate_key`]: super::witness::delegate_key
pub fn delegate_key(root_key: &[u8; 32], flags: SigFlags) -> Script {
    let timestamp = b"timestamp";
    // The witness leaves a signature and the certificate: key (32 bytes), begin
    // (4), end (4), whether it may delegate (1), signature of the root (64).
    Script::new()
        .push(&[41])
        .op(Opcode::Split)
        .store(b's')
        .op(Opcode::Dup)
        .push(&[40])
        .op(Opcode::Split)
        .op(Opcode::Pop0)
        .push(&[36])
        .op(Opcode::Split)
        .store(b'e')
        .push(&[32])
        .op(Opcode::Split)
        .store(b'b')
        .store(b'd')
        .op_with(Opcode::GetValue, timestamp.len() as u8)
        .then(&Script::from(&timestamp[..]))
        .op(Opcode::Dup)
        .load(b'b')
        .op(Opcode::Less)
        .op(Opcode::Verify)
        .load(b'e')
        .op(Opcode::Swap2)
        .op(Opcode::Less)
        .op(Opcode::Verify)
        .load(b's')
        .op(Opcode::Swap2)
        .push(root_key)
        .op(Opcode::CheckSigStack)
        .op(Opcode::Verify)
        .load(b'd')
        .op_flags(Opcode::CheckSig, flags)
}

/// Whatever opens a script of which the lock has only the hash. Opened by that
/// script's witness, followed by [`witness::script`].
///
/// [`witness::script`]: super::witness::script
pub fn script_hash(script: &Script) -> Script {
    known_by_hash(&script.shake256(SCRIPT_HASH.into()), SCRIPT_HASH).op(Opcode::Eval)
}

/// Who may open a [`hash_lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashLock {
    /// The SHA-256 of the secret that the receiver has to show.
    pub digest: [u8; 32],
    /// The key of who may speak with the secret.
    pub receiver: [u8; 32],
    /// The key of who may speak without it, ...
    pub refund: [u8; 32],
    /// ... from this time on, in seconds since 1970.
    pub refund_from: u64,
}

/// One key with a secret, or another key later. Opened by [`witness::hash_lock`].
///
/// [`witness::hash_lock`]: super::witness::hash_lock
pub fn hash_lock(who: &HashLock, flags: SigFlags) -> Script {
    let with_secret = Script::new().push(&who.receiver);
    let later = Script::new()
        .push_number(who.refund_from)
        .op(Opcode::CheckTimestampVerify)
        .push(&who.refund);
    Script::new()
        .op(Opcode::Sha256)
        .push(&who.digest)
        .op(Opcode::Equal)
        .op(Opcode::IfElse)
        .block(&with_secret)
        .block(&later)
        .op_flags(Opcode::CheckSig, flags)
}

/// Nobody. A lock for those whose own lock is not known, see
/// [`use_peer_lock`](super::TapescriptAuthPlugin::use_peer_lock).
pub fn nobody() -> Script {
    Script::new().op(Opcode::False).op(Opcode::Verify)
}

/// Whether the top of the stack is what hashes to this; it stays there.
fn known_by_hash(hash: &[u8], length: u8) -> Script {
    Script::new()
        .op(Opcode::Dup)
        .op_with(Opcode::Shake256, length)
        .push(hash)
        .op(Opcode::EqualVerify)
}
