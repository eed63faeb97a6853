//! Byte code that nobody has made: random, and changed from the vectors.

use netaio_asymmetric::tapescript::{
    Inputs, Machine, ScriptError, ScriptLimits, SigFields,
};
use netaio_proto::Random;
use serde_json::Value;

use crate::notation::{NOW, bytes, cases, file};
use crate::programs::program;

/// Fewer where the code is slow because it is not optimised.
const PROGRAMS: usize = if cfg!(debug_assertions) {
    5_000
} else {
    100_000
};

/// The scripts of the vectors.
fn seeds() -> Vec<Vec<u8>> {
    let file = file();
    let auth = cases(&file, "auth", 119).iter();
    let auth = auth.flat_map(|case| {
        let (witness, lock) = (bytes(case, "witness"), bytes(case, "lock"));
        [[&witness[..], &lock].concat(), lock]
    });
    let vm = cases(&file, "vm", 222).iter();
    auth.chain(vm.map(|case: &Value| bytes(case, "code")))
        .collect()
}

#[test]
fn no_program_does_harm() {
    let seeds = seeds();
    let mut random = Random::from_seed([11; 32]);
    let limits = ScriptLimits {
        work: 1_000,
        bytes: 20_000,
        depth: 50,
    };
    let machine = Machine::new().limits(limits);
    let (mut done, mut failed, mut stopped) = (0, 0, 0);
    for _ in 0..PROGRAMS {
        let (witness, lock) =
            (program(&mut random, &seeds), program(&mut random, &seeds));
        let inputs = Inputs {
            fields: SigFields::of_message(b"body", &[9; 16], &[1; 4]),
            timestamp: NOW,
            now: NOW,
        };
        match machine.run(&lock, &inputs) {
            Ok(stack) => {
                done += 1;
                let bytes: usize = stack.iter().map(Vec::len).sum();
                assert!(stack.len() <= 1024 && bytes <= limits.bytes);
            }
            Err(error) if error.is_final() => stopped += 1,
            Err(_) => failed += 1,
        }
        // One that opens a lock of its own is no surprise; it must only end.
        let _ = machine.open(&witness, &lock, &inputs);
    }
    // That all kinds of ends are met shows that the programs are good for
    // something.
    let some = PROGRAMS / 1000;
    assert!(
        done > some && failed > some && stopped > 0,
        "{done} {failed} {stopped}"
    );
}

#[test]
fn no_program_opens_the_lock_of_another_key() {
    let mut random = Random::from_seed([12; 32]);
    let seeds = seeds();
    let file = file();
    let single = &cases(&file, "auth", 119)[0];
    let lock = bytes(single, "lock");
    let inputs = Inputs {
        fields: SigFields::of_message(b"not what was signed", &[9; 16], &[1; 4]),
        timestamp: NOW,
        now: NOW,
    };
    let machine = Machine::new();
    for _ in 0..PROGRAMS / 2 {
        let witness = program(&mut random, &seeds);
        let opened = machine.open(&witness, &lock, &inputs);
        assert!(opened.is_err(), "{witness:x?}");
    }
    assert_eq!(
        machine.open([], [0x23], &inputs),
        Err(ScriptError::EndOfCode)
    );
}
