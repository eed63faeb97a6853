//! Byte code, and putting it together.

use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest as _, Sha256};
use shake::Shake256;
use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};

use super::fields::SigFlags;
use super::opcode::Opcode;

/// Byte code of a lock or a witness. Any bytes are byte code; whether they do
/// anything sensible shows when they are run.
///
/// ```
/// use netaio_asymmetric::tapescript::{Opcode, Script};
///
/// // Opens for whoever knows what hashes to this, and needs no signature.
/// let lock = Script::new()
///     .op(Opcode::Sha256)
///     .push(&[7; 32])
///     .op(Opcode::Equal);
/// assert_eq!(lock.as_bytes().len(), 1 + 2 + 32 + 1);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Script(Vec<u8>);

impl Script {
    /// No code: does nothing. As a lock it is opened by anybody.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The code.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The code.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// This and an instruction without operands in the code.
    #[must_use]
    pub fn op(mut self, opcode: Opcode) -> Self {
        self.0.push(opcode.code());
        self
    }

    /// This and an instruction with one byte of operand, as `SHAKE256` with the
    /// length of its result.
    #[must_use]
    pub fn op_with(mut self, opcode: Opcode, operand: u8) -> Self {
        self.0.extend_from_slice(&[opcode.code(), operand]);
        self
    }

    /// This and an instruction that checks or makes a signature.
    #[must_use]
    pub fn op_flags(self, opcode: Opcode, flags: SigFlags) -> Self {
        self.op_with(opcode, flags.0)
    }

    /// This and an item pushed on the stack, in the form that tapescript's
    /// compiler uses. An item has at most 1024 bytes when it is run; of more than
    /// 65535 only the first would be pushed, and the run fails.
    #[must_use]
    pub fn push(mut self, item: &[u8]) -> Self {
        match (u8::try_from(item.len()), u16::try_from(item.len())) {
            (Ok(1), _) => self.0.push(Opcode::Push0.code()),
            (Ok(length), _) => {
                self.0.extend_from_slice(&[Opcode::Push1.code(), length]);
            }
            (_, length) => {
                let length = length.unwrap_or(u16::MAX).to_be_bytes();
                self.0.push(Opcode::Push2.code());
                self.0.extend_from_slice(&length);
            }
        }
        self.0.extend_from_slice(item);
        self
    }

    /// This and a number pushed on the stack, in as few bytes as a signed number
    /// takes.
    #[must_use]
    pub fn push_number(self, number: u64) -> Self {
        let [zero, number] = [[0; 8], number.to_be_bytes()];
        let bytes = [zero, number];
        let bytes = bytes.as_flattened();
        let spare = |pair: &[u8]| matches!(pair, [0, next] if *next < 0x80);
        let spare = bytes.windows(2).take_while(|pair| spare(pair)).count();
        self.push(bytes.get(spare..).unwrap_or_default())
    }

    /// This and a block of an instruction that has blocks, such as `IF`; at most
    /// 65535 bytes.
    #[must_use]
    pub(super) fn block(mut self, block: &Self) -> Self {
        let length = u16::try_from(block.0.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.then(block)
    }

    /// This and a value taken from the stack and stored under a name of one
    /// letter.
    #[must_use]
    pub(super) fn store(mut self, name: u8) -> Self {
        self.0
            .extend_from_slice(&[Opcode::WriteCache.code(), 1, name, 1]);
        self
    }

    /// This and the value that is stored under a name of one letter.
    #[must_use]
    pub(super) fn load(mut self, name: u8) -> Self {
        self.0
            .extend_from_slice(&[Opcode::ReadCache.code(), 1, name]);
        self
    }

    /// This and then all of another.
    #[must_use]
    pub fn then(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// The SHA-256 of the code, by which a taproot lock commits to it.
    pub fn commitment(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    /// The SHAKE256 of the code, by which a script hash lock knows it.
    pub(super) fn shake256(&self, length: usize) -> Vec<u8> {
        shake256(&self.0, length)
    }
}

/// SHAKE256 with a result of this many bytes.
pub(super) fn shake256(input: &[u8], length: usize) -> Vec<u8> {
    let mut hash = Shake256::default();
    hash.update(input);
    let mut output = alloc::vec![0; length];
    hash.finalize_xof().read(&mut output);
    output
}

impl From<Vec<u8>> for Script {
    fn from(code: Vec<u8>) -> Self {
        Self(code)
    }
}

impl From<&[u8]> for Script {
    fn from(code: &[u8]) -> Self {
        Self(code.to_vec())
    }
}

impl From<Script> for Vec<u8> {
    fn from(script: Script) -> Self {
        script.0
    }
}

impl AsRef<[u8]> for Script {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// As hex.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
