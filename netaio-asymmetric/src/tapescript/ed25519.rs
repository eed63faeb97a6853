//! Ed25519 by the rules of libsodium, which Python's scripts run on: what it
//! accepts as a point, a scalar or a signature, and what it makes of odd ones.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity as _;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

/// Whether a key has signed a message. Refuses keys and signatures with which
/// more than one message or signature could be right: of small order, or not in
/// their shortest form.
pub(super) fn is_signed(
    public_key: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> bool {
    let signature = Signature::from_bytes(signature);
    is_canonical(public_key)
        && VerifyingKey::from_bytes(public_key)
            .and_then(|key| key.verify_strict(message, &signature))
            .is_ok()
}

/// SHA-512 of the concatenation of `parts`.
pub(super) fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-512 of the concatenation of `parts`, as a scalar below the order.
pub(super) fn hash_to_scalar(parts: &[&[u8]]) -> [u8; 32] {
    Scalar::from_bytes_mod_order_wide(&sha512(parts)).to_bytes()
}

/// What an Ed25519 seed multiplies the base point with.
pub(super) fn secret_scalar(seed: &[u8]) -> [u8; 32] {
    let mut hash = sha512(&[seed]);
    let [mut scalar, mut prefix] = halves(&hash);
    clamp_secret(&mut scalar);
    hash.zeroize();
    prefix.zeroize();
    scalar
}

/// The two halves of a SHA-512.
pub(super) fn halves(hash: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    for (byte, half) in halves.as_flattened_mut().iter_mut().zip(hash) {
        *byte = *half;
    }
    halves
}

/// Makes the bits of a secret scalar what Ed25519 wants of them.
pub(super) fn clamp_secret(scalar: &mut [u8; 32]) {
    let [first, .., last] = scalar;
    *first &= 0xf8;
    *last = (*last & 0x7f) | 0x40;
}

/// Clears the top bit, which is all that tapescript does to scalars that are not
/// secret keys.
pub(super) fn clear_top_bit(mut scalar: [u8; 32]) -> [u8; 32] {
    let [.., last] = &mut scalar;
    *last &= 0x7f;
    scalar
}

/// The sum below the order. What the plain sum has beyond 256 bits is lost, as
/// in libsodium; it only matters to scalars that are far from reduced.
pub(super) fn add_scalars(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let mut sum = [0; 32];
    let mut carry = 0_u16;
    for ((byte, one), other) in sum.iter_mut().zip(one).zip(other) {
        carry += u16::from(*one) + u16::from(*other);
        *byte = carry as u8;
        carry >>= 8;
    }
    Scalar::from_bytes_mod_order(sum).to_bytes()
}

/// The difference below the order, with the same loss.
pub(super) fn subtract_scalars(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let negative = -Scalar::from_bytes_mod_order(*other);
    add_scalars(one, &negative.to_bytes())
}

/// The product below the order.
pub(super) fn multiply_scalars(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    let [one, other] = [one, other].map(|s| Scalar::from_bytes_mod_order(*s));
    (one * other).to_bytes()
}

/// That multiple of the base point, without its top bit; `None` if it is the
/// neutral element.
pub(super) fn base_multiple(scalar: &[u8; 32]) -> Option<[u8; 32]> {
    let scalar = Scalar::from_bytes_mod_order(clear_top_bit(*scalar));
    encode_unless_neutral(EdwardsPoint::mul_base(&scalar))
}

/// That multiple of a valid point; `None` if it is not valid, or the result is
/// the neutral element.
pub(super) fn multiple(scalar: &[u8; 32], point: &[u8; 32]) -> Option<[u8; 32]> {
    let point = valid_point(point)?;
    let scalar = Scalar::from_bytes_mod_order(clear_top_bit(*scalar));
    encode_unless_neutral(point * scalar)
}

fn encode_unless_neutral(point: EdwardsPoint) -> Option<[u8; 32]> {
    (!point.is_identity()).then(|| point.compress().to_bytes())
}

/// A point other than the neutral one, of the main subgroup and in its shortest
/// form.
pub(super) fn valid_point(encoded: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = any_point(encoded).filter(|_| is_canonical(encoded))?;
    (!point.is_small_order() && point.is_torsion_free()).then_some(point)
}

/// Any point of the curve, in any form.
pub(super) fn any_point(encoded: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*encoded).decompress()
}

/// Whether the coordinate is below the prime 2²⁵⁵ - 19. The top bit is the sign
/// of the other one.
fn is_canonical(encoded: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = encoded;
    *first < 0xed || middle.iter().any(|byte| *byte != 0xff) || last | 0x80 != 0xff
}

/// Signs with a scalar in place of a seed, as tapescript does it: the result is
/// an ordinary signature under that multiple of the base point. `None` if that
/// is the neutral element.
pub(super) fn sign_with_scalar(
    scalar: &[u8; 32],
    message: &[u8],
) -> Option<[u8; 64]> {
    let seed = Zeroizing::new(hash_to_scalar(&[scalar, message]));
    let public_key = base_multiple(scalar)?;
    let secret = Zeroizing::new(nonce(&*seed, message));
    let point = base_multiple(&secret)?;
    let challenge = hash_to_scalar(&[&point, &public_key, message]);
    let answer = add_scalars(&secret, &multiply_scalars(&challenge, scalar));
    let mut signature = [0; 64];
    let parts = point.iter().chain(&answer);
    signature
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = *from);
    Some(signature)
}

/// The secret nonce that tapescript draws from a seed and a message.
pub(super) fn nonce(seed: &[u8], message: &[u8]) -> [u8; 32] {
    let hash = Zeroizing::new(sha512(&[seed]));
    let halves = Zeroizing::new(halves(&hash));
    let [_, prefix] = &*halves;
    let hash = Zeroizing::new(sha512(&[prefix, message]));
    hash_to_scalar(&[&*hash])
}
