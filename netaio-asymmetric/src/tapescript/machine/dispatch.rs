//! From codes to what they do.

use alloc::vec;

use super::{Done, Run, TRUE};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;

impl Run<'_> {
    pub(super) fn execute(&mut self, code: u8) -> Done {
        let Some(opcode) = Opcode::from_code(code) else {
            return self.drop_items();
        };
        match opcode {
            Opcode::False => self.put(vec![0]),
            Opcode::True => self.put(vec![TRUE]),
            Opcode::Push0 => self.push(1),
            Opcode::Push1 => {
                let length = self.count()?;
                self.push(length)
            }
            Opcode::Push2 => {
                let length = self.blocks.current().read_length()?;
                self.push(length)
            }
            Opcode::GetMessage => self.get_message(),
            Opcode::GetValue => self.get_value(),

            Opcode::Pop0 => self.pop(1),
            Opcode::Pop1 => {
                let count = self.count()?;
                self.pop(count)
            }
            Opcode::WriteCache => self.write_cache(),
            Opcode::ReadCache => {
                let key = self.key_operand()?;
                self.read_cache(&key)
            }
            Opcode::ReadCacheSize => {
                let key = self.key_operand()?;
                self.read_cache_size(&key)
            }
            Opcode::ReadCacheStack => {
                let key = self.take()?;
                self.read_cache(&key)
            }
            Opcode::ReadCacheStackSize => {
                let key = self.take()?;
                self.read_cache_size(&key)
            }

            Opcode::AddInts => self.add_ints(),
            Opcode::SubtractInts => self.subtract_ints(),
            Opcode::MultInts => self.multiply_ints(),
            Opcode::DivInt | Opcode::ModInt => self.divide_by_operand(opcode),
            Opcode::DivInts | Opcode::ModInts => self.divide_ints(opcode),
            Opcode::Less | Opcode::LessOrEqual => self.compare_ints(opcode),
            Opcode::IntToFloat => self.int_to_float(),
            Opcode::FloatToInt => self.float_to_int(),

            Opcode::AddFloats => self.add_floats(),
            Opcode::SubtractFloats => self.subtract_floats(),
            Opcode::DivFloat | Opcode::ModFloat => {
                self.divide_float_by_operand(opcode)
            }
            Opcode::DivFloats | Opcode::ModFloats => self.divide_floats(opcode),
            Opcode::FloatLess | Opcode::FloatLessOrEqual => {
                self.compare_floats(opcode)
            }

            Opcode::Copy => self.copy(),
            Opcode::Dup => self.duplicate(),
            Opcode::Size => {
                let length = self.take()?.len();
                self.put_length(length)
            }
            Opcode::Depth => self.put_length(self.stack.len()),
            Opcode::Swap => self.swap(),
            Opcode::Swap2 => self.swap_top(),
            Opcode::Reverse => self.reverse(),

            Opcode::Sha256 => self.sha256(),
            Opcode::Shake256 => self.shake256(),
            Opcode::Equal => self.equal(),
            Opcode::EqualVerify => self.equal().and_then(|()| self.verify()),
            Opcode::Not => self.not(),
            Opcode::Xor => self.combine(|one, other| one ^ other),
            Opcode::Or => self.combine(|one, other| one | other),
            Opcode::And => self.combine(|one, other| one & other),
            Opcode::Concat => self.concat(),
            Opcode::Split => self.split(),
            Opcode::ConcatStr => self.concat_text(),
            Opcode::SplitStr => self.split_text(),

            Opcode::Verify => self.verify(),
            Opcode::Def => self.define(),
            Opcode::Call => self.call(),
            Opcode::If => self.if_(),
            Opcode::IfElse => self.if_else(),
            Opcode::Eval => self.eval(),
            Opcode::TryExcept => self.try_except(),
            Opcode::Loop => self.loop_(),
            Opcode::Return => self.return_(),
            Opcode::SetFlag => self.set_flag(),
            Opcode::UnsetFlag => self.unset_flag(),

            Opcode::CheckTimestamp => self.check_timestamp(),
            Opcode::CheckTimestampVerify => {
                self.check_timestamp().and_then(|()| self.verify())
            }
            Opcode::CheckEpoch => self.check_epoch(),
            Opcode::CheckEpochVerify => {
                self.check_epoch().and_then(|()| self.verify())
            }

            Opcode::CheckSig => self.check_signature(),
            Opcode::CheckSigVerify => {
                self.check_signature().and_then(|()| self.verify())
            }
            Opcode::CheckMultisig => self.check_multisig(),
            Opcode::CheckMultisigVerify => {
                self.check_multisig().and_then(|()| self.verify())
            }
            Opcode::CheckSigStack => self.check_signature_of_item(),
            Opcode::Sign => self.sign(),
            Opcode::SignStack => self.sign_item(),
            Opcode::CheckTemplate => self.check_template(),
            Opcode::CheckTemplateVerify => {
                self.check_template().and_then(|()| self.verify())
            }
            Opcode::Taproot => self.taproot(),
            Opcode::Merkleval => self.merkle_eval(),

            Opcode::DeriveScalar => self.derive_scalar(),
            Opcode::ClampScalar => self.clamp_scalar(),
            Opcode::AddScalars => self.add_scalars(),
            Opcode::SubtractScalars => self.subtract_scalars(),
            Opcode::DerivePoint => self.derive_point(),
            Opcode::AddPoints => self.add_points(),
            Opcode::SubtractPoints => self.subtract_points(),

            Opcode::MakeAdapterSigPublic => self.make_adapter_public(),
            Opcode::MakeAdapterSigPrivate => self.make_adapter_private(),
            Opcode::CheckAdapterSig => self.check_adapter(),
            Opcode::DecryptAdapterSig => self.decrypt_adapter(),

            Opcode::Random => Err(ScriptError::HostBound(opcode)),
            Opcode::Invoke => self.invoke(),
            Opcode::CheckTransfer => self.check_transfer(),
        }
    }
}
