//! Adapter signatures: signatures that lack a scalar, which whoever completes
//! them gives away.

use super::signatures::array;
use super::{Done, Run};
use crate::tapescript::ed25519::{
    self, add_scalars, halves, hash_to_scalar, multiply_scalars, sha512,
};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    /// Signs an item with a seed, up to the scalar of a point.
    pub(super) fn make_adapter_public(&mut self) -> Done {
        let opcode = Opcode::MakeAdapterSigPublic;
        let (missing, message, seed) = (self.take()?, self.take()?, self.take()?);
        self.work.spend_bytes(message.len())?;
        let secret = ed25519::secret_scalar(&seed);
        let public_key = self.base_multiple(&secret)?;
        let nonce = ed25519::nonce(&seed, &message);
        let nonce_point = self.base_multiple(&nonce)?;
        let whole = self.add_two_points(&nonce_point, &missing, opcode)?;
        let challenge = hash_to_scalar(&[&whole, &public_key, &message]);
        let answer = add_scalars(&nonce, &multiply_scalars(&challenge, &secret));
        self.store_result("r", &nonce)?;
        self.store_result("R", &nonce_point)?;
        self.store_result("T", &missing)?;
        self.store_result("sa", &answer)?;
        self.put(nonce_point.to_vec())?;
        self.put(answer.to_vec())
    }

    /// Signs an item with a seed and a scalar.
    pub(super) fn make_adapter_private(&mut self) -> Done {
        let seed = self.take()?;
        let scalar = self.take_clamped(Opcode::MakeAdapterSigPrivate)?;
        let message = self.take()?;
        self.work.spend_bytes(message.len())?;
        let secret = ed25519::secret_scalar(&seed);
        let public_key = self.base_multiple(&secret)?;
        let point = self.base_multiple(&scalar)?;
        // Here the nonce is hashed once, not twice as elsewhere.
        let [_, prefix] = halves(&sha512(&[&seed]));
        let nonce = hash_to_scalar(&[&prefix, &message]);
        let nonce_point = self.base_multiple(&nonce)?;
        let challenge = hash_to_scalar(&[&nonce_point, &public_key, &message]);
        let whole = add_scalars(&scalar, &nonce);
        let answer = add_scalars(&whole, &multiply_scalars(&challenge, &secret));
        self.store_result("R", &nonce_point)?;
        self.store_result("t", &scalar)?;
        self.store_result("T", &point)?;
        self.store_result("sa", &answer)?;
        self.put(point.to_vec())?;
        self.put(nonce_point.to_vec())?;
        self.put(answer.to_vec())
    }

    /// Whether a signature is one but for the scalar of a point.
    pub(super) fn check_adapter(&mut self) -> Done {
        let opcode = Opcode::CheckAdapterSig;
        let (public_key, missing) = (self.take()?, self.take()?);
        let (message, nonce_point) = (self.take()?, self.take()?);
        let answer = self.take_array(opcode)?;
        self.work.spend_bytes(message.len())?;
        let left = self.base_multiple(&answer)?;
        let whole = self.add_two_points(&nonce_point, &missing, opcode)?;
        let challenge = hash_to_scalar(&[&whole, &public_key, &message]);
        self.work.spend_curve()?;
        let product = ed25519::multiple(&challenge, &array(&public_key, opcode)?);
        let product = product.ok_or(ScriptError::BadPoint)?;
        let right = self.add_two_points(&nonce_point, &product, opcode)?;
        self.put_bool(left == right)
    }

    /// Completes a signature with the scalar.
    pub(super) fn decrypt_adapter(&mut self) -> Done {
        let opcode = Opcode::DecryptAdapterSig;
        let scalar = self.take_clamped(opcode)?;
        let (nonce_point, answer) = (self.take()?, self.take()?);
        let point = self.base_multiple(&scalar)?;
        let whole = self.add_two_points(&nonce_point, &point, opcode)?;
        let answer = add_scalars(&array(&answer, opcode)?, &scalar);
        self.store_result("RT", &whole)?;
        self.store_result("s", &answer)?;
        self.put(whole.to_vec())?;
        self.put(answer.to_vec())
    }
}
