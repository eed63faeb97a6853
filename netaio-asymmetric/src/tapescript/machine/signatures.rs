//! Signatures of the fields, and of items.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Done, Run, too_long};
use crate::tapescript::ed25519;
use crate::tapescript::error::ScriptError;
use crate::tapescript::fields::SigFlags;
use crate::tapescript::key::SigningKey;
use crate::tapescript::opcode::Opcode;
use crate::tapescript::witness::MAX_SIGNED;

impl Run<'_> {
    /// An item of exactly that many bytes.
    pub(super) fn take_array<const N: usize>(
        &mut self,
        opcode: Opcode,
    ) -> Result<[u8; N], ScriptError> {
        array(&self.take()?, opcode)
    }

    /// What a signature with these flags signs. It is an item for a moment, so it
    /// must be short enough for one.
    fn signed_message(&mut self, flags: SigFlags) -> Result<Vec<u8>, ScriptError> {
        let length = self.inputs.fields.message_len(flags);
        if length > MAX_SIGNED {
            return Err(too_long(length, MAX_SIGNED));
        }
        self.work.spend_bytes(length)?;
        Ok(self.inputs.fields.message(flags))
    }

    pub(super) fn get_message(&mut self) -> Done {
        let flags = SigFlags(self.operand()?);
        let message = self.signed_message(flags)?;
        self.put(message)
    }

    /// Whether a key (the top item) has made a signature of the fields.
    pub(super) fn check_signature(&mut self) -> Done {
        let allowed = SigFlags(self.operand()?);
        self.check_signature_within(allowed)
    }

    pub(super) fn check_signature_within(&mut self, allowed: SigFlags) -> Done {
        let public_key = self.take()?;
        let signature = self.take()?;
        let is_signed = self.is_signed(&public_key, &signature, allowed)?;
        self.put_bool(is_signed)
    }

    fn is_signed(
        &mut self,
        public_key: &[u8],
        signature: &[u8],
        allowed: SigFlags,
    ) -> Result<bool, ScriptError> {
        let opcode = Opcode::CheckSig;
        let public_key = array(public_key, opcode)?;
        let (signature, flags) = match signature.split_last_chunk::<1>() {
            Some((signature, [flags])) if signature.len() == 64 => {
                (signature, SigFlags(*flags))
            }
            _ => (signature, SigFlags::ALL_SIGNED),
        };
        let signature = array(signature, opcode)?;
        if !flags.is_within(allowed) {
            return Err(ScriptError::DisallowedFlag);
        }
        let message = self.signed_message(flags)?;
        self.work.spend_curve()?;
        Ok(ed25519::is_signed(&public_key, &message, &signature))
    }

    /// Whether enough different signatures are of as many of the keys.
    pub(super) fn check_multisig(&mut self) -> Done {
        let allowed = SigFlags(self.operand()?);
        let wanted = self.count()?;
        let count = self.count()?;
        let mut public_keys = self.take_many(count)?;
        let signatures = self.take_many(wanted)?;
        let mut confirmed = BTreeSet::new();
        for signature in &signatures {
            // A key that has signed is not asked again.
            for place in 0..public_keys.len() {
                let Some(public_key) = public_keys.get(place).cloned() else {
                    break;
                };
                if self.is_signed(&public_key, signature, allowed)? {
                    public_keys.remove(place);
                    confirmed.insert(signature);
                    break;
                }
            }
        }
        let is_enough = confirmed.len() == signatures.len();
        self.put_bool(is_enough)
    }

    /// Whether a key (the top item) has made a signature (the third) of an item
    /// (the second).
    pub(super) fn check_signature_of_item(&mut self) -> Done {
        let opcode = Opcode::CheckSigStack;
        let public_key = self.take_array(opcode)?;
        let message = self.take()?;
        let signature = self.take_array(opcode)?;
        self.work.spend_bytes(message.len())?;
        self.work.spend_curve()?;
        self.put_bool(ed25519::is_signed(&public_key, &message, &signature))
    }

    /// Signs the fields with a seed.
    pub(super) fn sign(&mut self) -> Done {
        let flags = SigFlags(self.operand()?);
        let seed = self.take_array(Opcode::Sign)?;
        let message = self.signed_message(flags)?;
        self.work.spend_curve()?;
        let mut signature = SigningKey::from_seed(&seed).sign(&message).to_vec();
        if flags != SigFlags::ALL_SIGNED {
            signature.push(flags.0);
        }
        self.store_result("s", &signature)?;
        self.put(signature)
    }

    /// Signs an item with a seed (the top item).
    pub(super) fn sign_item(&mut self) -> Done {
        let opcode = Opcode::SignStack;
        let seed = self.take()?;
        let message = self.take()?;
        let seed = array(&seed, opcode)?;
        self.work.spend_bytes(message.len())?;
        self.work.spend_curve()?;
        let signature = SigningKey::from_seed(&seed).sign(&message);
        self.store_result("s", &signature)?;
        self.put(signature.to_vec())
    }

    /// Whether fields are equal to items.
    pub(super) fn check_template(&mut self) -> Done {
        let wanted = SigFlags(self.operand()?);
        let mut all_equal = true;
        for place in (0..8).filter(|place| wanted.leaves_out(*place)) {
            let template = self.take()?;
            let field = self.inputs.fields.get(place);
            let field = field.ok_or(ScriptError::NotStored)?;
            if field.len() > MAX_SIGNED {
                return Err(too_long(field.len(), MAX_SIGNED));
            }
            self.work.spend_bytes(field.len())?;
            all_equal &= template == field;
        }
        self.put_bool(all_equal)
    }
}

pub(super) fn array<const N: usize>(
    item: &[u8],
    opcode: Opcode,
) -> Result<[u8; N], ScriptError> {
    let length = item.len();
    let array = item.try_into();
    array.map_err(|_| ScriptError::BadLength { opcode, length })
}
