//! Witnesses: what opens a lock.
//!
//! Each belongs to one message; [`SigFields`] are what it signs. Where a lock
//! wants more than one thing, witnesses are put one after the other with
//! [`Script::then`].

use netaio_proto::TooLong;

use super::certificate::Certificate;
use super::fields::{SigFields, SigFlags};
use super::key::SigningKey;
use super::script::Script;
use super::{ed25519, lock};

/// The longest message that a script can check a signature of: it is an item of
/// the stack. That leaves 1002 bytes for URI and content of a netaio message.
pub const MAX_SIGNED: usize = 1024;

/// One signature. Opens [`lock::single_signature`], and is what a
/// [`lock::multisig`] wants several of.
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn single_signature(
    key: &SigningKey,
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    let message = signed_message(fields, flags)?;
    Ok(push_signature(&key.sign(&message), flags))
}

/// One signature and its key. Opens [`lock::single_signature_by_hash`].
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn single_signature_with_key(
    key: &SigningKey,
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    let signature = single_signature(key, fields, flags)?;
    Ok(signature.push(&key.public_key()))
}

/// Signatures of all these keys. Opens a [`lock::multisig`] with as many.
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn multisig<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    let mut witness = Script::new();
    for key in keys {
        witness = witness.then(&single_signature(key, fields, flags)?);
    }
    Ok(witness)
}

/// A signature of the key in a [`lock::taproot`], with the script that the lock
/// commits to.
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn taproot_key(
    key: &SigningKey,
    script: &Script,
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    let message = signed_message(fields, flags)?;
    let tweak = lock::taproot_tweak(&key.public_key(), &script.commitment());
    let scalar = ed25519::add_scalars(&key.secret_scalar(), &tweak);
    let scalar = zeroize::Zeroizing::new(scalar);
    // There is none for the scalar 0 only, and no key hashes to it.
    let signature = ed25519::sign_with_scalar(&scalar, &message);
    Ok(push_signature(&signature.unwrap_or([0; 64]), flags))
}

/// The script that a [`lock::taproot`] commits to, and the lock's key. Comes
/// after the script's own witness.
pub fn taproot_script(public_key: &[u8; 32], script: &Script) -> Script {
    Script::new().push(script.as_bytes()).push(public_key)
}

/// A signature of a key, and the certificate that it has of the key in a
/// [`lock::delegate_key`].
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn delegate_key(
    key: &SigningKey,
    certificate: &Certificate,
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    let signature = single_signature(key, fields, flags)?;
    Ok(signature.push(&certificate.to_bytes()))
}

/// The script that a [`lock::script_hash`] knows the hash of. Comes after the
/// script's own witness.
pub fn script(script: &Script) -> Script {
    Script::new().push(script.as_bytes())
}

/// A signature, and the secret. Opens a [`lock::hash_lock`]; for the key that may
/// speak later, any secret but the right one will do, as one zero byte.
///
/// # Errors
///
/// [`TooLong`] if what is signed has more than [`MAX_SIGNED`] bytes.
pub fn hash_lock(
    key: &SigningKey,
    secret: &[u8],
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<Script, TooLong> {
    Ok(single_signature(key, fields, flags)?.push(secret))
}

fn signed_message(
    fields: &SigFields<'_>,
    flags: SigFlags,
) -> Result<alloc::vec::Vec<u8>, TooLong> {
    let length = fields.message_len(flags);
    if length > MAX_SIGNED {
        let limit = MAX_SIGNED;
        return Err(TooLong { length, limit });
    }
    Ok(fields.message(flags))
}

/// A signature says which flags it uses, unless it uses none.
fn push_signature(signature: &[u8; 64], flags: SigFlags) -> Script {
    let mut item = signature.to_vec();
    if flags != SigFlags::ALL_SIGNED {
        item.push(flags.0);
    }
    Script::new().push(&item)
}
