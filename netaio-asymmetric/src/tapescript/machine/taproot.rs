//! Scripts that a lock knows by a hash, and shows only when they are used.

use sha2::{Digest as _, Sha256};

use super::{Done, Run};
use crate::tapescript::error::ScriptError;
use crate::tapescript::fields::SigFlags;
use crate::tapescript::lock::taproot_root;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    /// A root (the top item), and below it a signature of it, or a key and a
    /// script that it was made of.
    pub(super) fn taproot(&mut self) -> Done {
        let opcode = Opcode::Taproot;
        let allowed = SigFlags(self.operand()?);
        let root = self.take_array::<32>(opcode)?;
        if self.stack.top()?.len() != root.len() {
            self.put(root.to_vec())?;
            return self.check_signature_within(allowed);
        }
        let public_key = self.take_array(opcode)?;
        let script = self.take()?;
        self.work.spend_bytes(script.len())?;
        // The point of the tweak is made; two are checked.
        for _ in 0..3 {
            self.work.spend_curve()?;
        }
        let commitment = Sha256::digest(&script).into();
        let actual = taproot_root(&public_key, &commitment);
        if actual.ok_or(ScriptError::BadPoint)? != root {
            return self.put_bool(false);
        }
        self.put(script)?;
        self.eval()
    }

    /// A branch of a tree of scripts: the top item is a script, below it the hash
    /// of what it is combined with.
    pub(super) fn merkle_eval(&mut self) -> Done {
        let root = self.literal(32)?;
        self.duplicate()?;
        self.sha256()?;
        self.sha256()?;
        self.stack.swap(1, 2)?;
        self.swap_top()?;
        self.sha256()?;
        self.combine(|one, other| one ^ other)?;
        self.put(root)?;
        self.equal()?;
        self.verify()?;
        self.eval()
    }
}
