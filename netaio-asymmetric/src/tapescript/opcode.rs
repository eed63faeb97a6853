//! The instructions and their numbers.

/// Declares the instructions in the order of their codes.
macro_rules! opcodes {
    ($($variant:ident $name:literal,)*) => {
        /// An instruction of the machine. Its code is its place in this list, from
        /// 0 on; the codes behind the last are instructions that only take items
        /// off the stack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "`name` is what there is to say")]
        pub enum Opcode {
            $($variant,)*
        }

        impl Opcode {
            /// All instructions, in the order of their codes.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name that tapescript has for it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

opcodes! {
    False "FALSE",
    True "TRUE",
    Push0 "PUSH0",
    Push1 "PUSH1",
    Push2 "PUSH2",
    GetMessage "GET_MESSAGE",
    Pop0 "POP0",
    Pop1 "POP1",
    Size "SIZE",
    WriteCache "WRITE_CACHE",
    ReadCache "READ_CACHE",
    ReadCacheSize "READ_CACHE_SIZE",
    ReadCacheStack "READ_CACHE_STACK",
    ReadCacheStackSize "READ_CACHE_STACK_SIZE",
    AddInts "ADD_INTS",
    SubtractInts "SUBTRACT_INTS",
    MultInts "MULT_INTS",
    DivInt "DIV_INT",
    DivInts "DIV_INTS",
    ModInt "MOD_INT",
    ModInts "MOD_INTS",
    AddFloats "ADD_FLOATS",
    SubtractFloats "SUBTRACT_FLOATS",
    DivFloat "DIV_FLOAT",
    DivFloats "DIV_FLOATS",
    ModFloat "MOD_FLOAT",
    ModFloats "MOD_FLOATS",
    AddPoints "ADD_POINTS",
    Copy "COPY",
    Dup "DUP",
    Sha256 "SHA256",
    Shake256 "SHAKE256",
    Verify "VERIFY",
    Equal "EQUAL",
    EqualVerify "EQUAL_VERIFY",
    CheckSig "CHECK_SIG",
    CheckSigVerify "CHECK_SIG_VERIFY",
    CheckTimestamp "CHECK_TIMESTAMP",
    CheckTimestampVerify "CHECK_TIMESTAMP_VERIFY",
    CheckEpoch "CHECK_EPOCH",
    CheckEpochVerify "CHECK_EPOCH_VERIFY",
    Def "DEF",
    Call "CALL",
    If "IF",
    IfElse "IF_ELSE",
    Eval "EVAL",
    Not "NOT",
    Random "RANDOM",
    Return "RETURN",
    SetFlag "SET_FLAG",
    UnsetFlag "UNSET_FLAG",
    Depth "DEPTH",
    Swap "SWAP",
    Swap2 "SWAP2",
    Reverse "REVERSE",
    Concat "CONCAT",
    Split "SPLIT",
    ConcatStr "CONCAT_STR",
    SplitStr "SPLIT_STR",
    CheckTransfer "CHECK_TRANSFER",
    Merkleval "MERKLEVAL",
    TryExcept "TRY_EXCEPT",
    Less "LESS",
    LessOrEqual "LESS_OR_EQUAL",
    GetValue "GET_VALUE",
    FloatLess "FLOAT_LESS",
    FloatLessOrEqual "FLOAT_LESS_OR_EQUAL",
    IntToFloat "INT_TO_FLOAT",
    FloatToInt "FLOAT_TO_INT",
    Loop "LOOP",
    CheckMultisig "CHECK_MULTISIG",
    CheckMultisigVerify "CHECK_MULTISIG_VERIFY",
    Sign "SIGN",
    SignStack "SIGN_STACK",
    CheckSigStack "CHECK_SIG_STACK",
    DeriveScalar "DERIVE_SCALAR",
    ClampScalar "CLAMP_SCALAR",
    AddScalars "ADD_SCALARS",
    SubtractScalars "SUBTRACT_SCALARS",
    DerivePoint "DERIVE_POINT",
    SubtractPoints "SUBTRACT_POINTS",
    MakeAdapterSigPublic "MAKE_ADAPTER_SIG_PUBLIC",
    MakeAdapterSigPrivate "MAKE_ADAPTER_SIG_PRIVATE",
    CheckAdapterSig "CHECK_ADAPTER_SIG",
    DecryptAdapterSig "DECRYPT_ADAPTER_SIG",
    Invoke "INVOKE",
    Xor "XOR",
    Or "OR",
    And "AND",
    CheckTemplate "CHECK_TEMPLATE",
    CheckTemplateVerify "CHECK_TEMPLATE_VERIFY",
    Taproot "TAPROOT",
}

impl Opcode {
    /// The instruction with this code, if it is not one of those that only drop.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its code.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_place_in_the_list() {
        for (place, opcode) in (0..).zip(Opcode::ALL) {
            assert_eq!(opcode.code(), place);
            assert_eq!(Opcode::from_code(place), Some(*opcode));
        }
        assert_eq!(Opcode::ALL.len(), 92);
        assert_eq!(Opcode::from_code(92), None);
        assert_eq!(Opcode::Taproot.name(), "TAPROOT");
    }
}
