//! Byte code that nobody has made: random, and changed from the vectors.

use netaio_asymmetric::tapescript::{
    Inputs, Machine, Opcode, ScriptError, ScriptLimits, SigFields,
};
use netaio_proto::Random;
use serde_json::Value;

use crate::notation::{NOW, bytes, cases, file};

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

fn below(random: &mut Random, bound: usize) -> usize {
    random.below(bound as u64) as usize
}

/// A program: any bytes, sensible instructions in any order, or what was changed.
fn program(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut code = match random.below(4) {
        0 => {
            let mut code = vec![0; below(random, 300)];
            random.fill(&mut code);
            code
        }
        1 => (0..below(random, 60))
            .flat_map(|_| instruction(random))
            .collect(),
        _ => seeds[below(random, seeds.len())].clone(),
    };
    for _ in 0..random.below(4) {
        change(random, &mut code, seeds);
    }
    code
}

/// An instruction with operands that it often can use.
fn instruction(random: &mut Random) -> Vec<u8> {
    let lengths = [0, 1, 2, 4, 32, 64, 100];
    if random.below(2) == 0 {
        let mut item = vec![0; lengths[below(random, lengths.len())]];
        random.fill(&mut item);
        let push = [Opcode::Push1.code(), item.len() as u8];
        return [&push[..], &item].concat();
    }
    let mut operands = vec![0; below(random, 4)];
    operands.fill_with(|| random.below(5) as u8);
    let opcode = random.below(Opcode::ALL.len() as u64) as u8;
    [&[opcode], &operands[..]].concat()
}

fn change(random: &mut Random, code: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = below(random, code.len() + 1);
    let byte = random.next_u64() as u8;
    match random.below(6) {
        0 => code.truncate(at),
        1 => code.insert(at, byte),
        2 if at < code.len() => code[at] = byte,
        3 if at < code.len() => code[at] ^= 1 << (byte % 8),
        4 if at < code.len() => {
            code.remove(at);
        }
        _ => {
            let other = &seeds[below(random, seeds.len())];
            let from = below(random, other.len() + 1);
            code.truncate(at);
            code.extend_from_slice(&other[from..]);
        }
    }
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
