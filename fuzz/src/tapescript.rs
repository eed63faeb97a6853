//! Scripts: whatever byte code is run, it ends, costs no more than it may, does
//! the same again, and opens no lock of a key that has signed nothing.

use arbitrary::Arbitrary;
use netaio_asymmetric::tapescript::{
    Inputs, Machine, ScriptLimits, SigFields, SigFlags, lock,
};

/// A key of which no seed is in the golden vectors, or anywhere else here: the
/// first of RFC 8032.
const SILENT: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9,
    0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02,
    0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

/// A witness and a lock.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    /// What the scripts are told, and the clock.
    pub time: u64,
    /// How much of the code is the witness.
    pub witness_length: u16,
    /// Both, one after the other.
    pub code: &'a [u8],
}

/// Runs them together, as one script, and with the locks that must stay shut.
pub fn run(input: Input<'_>) {
    let length = usize::from(input.witness_length).min(input.code.len());
    let (witness, lock) = input.code.split_at(length);
    let inputs = Inputs {
        fields: SigFields::of_message(b"\0\x04echohello", &[9; 16], &[0, 0, 0, 1]),
        timestamp: input.time,
        now: input.time,
    };
    let limits = ScriptLimits {
        work: 2_000,
        bytes: 32 * 1024,
        depth: 64,
    };
    let machine = Machine::new().limits(limits);
    let opened = machine.open(witness, lock, &inputs);
    assert_eq!(machine.open(witness, lock, &inputs), opened);

    let left = machine.run(input.code, &inputs);
    if let Ok(stack) = &left {
        assert!(stack.len() <= 1024);
        assert!(stack.iter().all(|item| item.len() <= 1024));
        assert!(stack.iter().map(Vec::len).sum::<usize>() <= limits.bytes);
    }
    // What ends by itself ends the same way when it could cost more.
    if left.is_ok() {
        assert_eq!(Machine::new().run(input.code, &inputs), left);
    }

    let silent = lock::single_signature(&SILENT, SigFlags::ALL_SIGNED);
    for shut in [silent, lock::nobody()] {
        assert!(machine.open(input.code, &shut, &inputs).is_err());
        assert!(machine.open(witness, &shut, &inputs).is_err());
    }
}
