//! Items as strings of bytes, and of text.

use alloc::string::String;
use alloc::vec::Vec;

use num_traits::ToPrimitive as _;
use sha2::{Digest as _, Sha256};

use super::{Done, Run};
use crate::tapescript::error::ScriptError;
use crate::tapescript::opcode::Opcode;
use crate::tapescript::script::shake256;

impl Run<'_> {
    pub(super) fn sha256(&mut self) -> Done {
        let item = self.take()?;
        self.work.spend_bytes(item.len())?;
        self.put(Sha256::digest(&item).to_vec())
    }

    pub(super) fn shake256(&mut self) -> Done {
        let length = self.count()?;
        let item = self.take()?;
        self.work.spend_bytes(item.len())?;
        self.put(shake256(&item, length))
    }

    pub(super) fn equal(&mut self) -> Done {
        let (one, other) = (self.take()?, self.take()?);
        self.put_bool(one == other)
    }

    pub(super) fn not(&mut self) -> Done {
        let mut item = self.take()?;
        item.iter_mut().for_each(|byte| *byte = !*byte);
        self.put(item)
    }

    /// Byte by byte, with zeros behind the shorter of the two.
    pub(super) fn combine(&mut self, with: impl Fn(u8, u8) -> u8) -> Done {
        let (mut one, mut other) = (self.take()?, self.take()?);
        let length = one.len().max(other.len());
        one.resize(length, 0);
        other.resize(length, 0);
        for (byte, other) in one.iter_mut().zip(other) {
            *byte = with(*byte, other);
        }
        self.put(one)
    }

    pub(super) fn concat(&mut self) -> Done {
        let second = self.take()?;
        let mut item = self.take()?;
        item.extend_from_slice(&second);
        self.put(item)
    }

    /// Cuts an item in two, of which the first may be empty and the second not.
    pub(super) fn split(&mut self) -> Done {
        let opcode = Opcode::Split;
        let at = self.take_int(opcode)?.to_usize();
        let mut item = self.take()?;
        let Some(at) = at.filter(|at| *at < item.len()) else {
            return Err(ScriptError::BadOperand { opcode });
        };
        let second = item.split_off(at);
        self.put(item)?;
        self.put(second)
    }

    pub(super) fn concat_text(&mut self) -> Done {
        let second = self.take_text(Opcode::ConcatStr)?;
        let first = self.take_text(Opcode::ConcatStr)?;
        self.put((first + &second).into_bytes())
    }

    /// As [`split`](Self::split), counting characters.
    pub(super) fn split_text(&mut self) -> Done {
        let opcode = Opcode::SplitStr;
        let at = self.take_int(opcode)?.to_usize();
        let mut text = self.take_text(opcode)?;
        let place = at.and_then(|at| text.char_indices().nth(at));
        let Some((place, _)) = place else {
            return Err(ScriptError::BadOperand { opcode });
        };
        let second = text.split_off(place);
        self.put(text.into_bytes())?;
        self.put(second.into_bytes())
    }

    fn take_text(&mut self, opcode: Opcode) -> Result<String, ScriptError> {
        let item: Vec<u8> = self.take()?;
        self.work.spend_bytes(item.len())?;
        let text = String::from_utf8(item);
        text.map_err(|_| ScriptError::BadOperand { opcode })
    }
}
