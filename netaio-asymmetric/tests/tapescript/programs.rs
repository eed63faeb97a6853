//! Byte code that nobody has made. The live tests of this repository run the same
//! programs here and in Python.

use netaio_asymmetric::tapescript::Opcode;
use netaio_proto::Random;

fn below(random: &mut Random, bound: usize) -> usize {
    random.below(bound as u64) as usize
}

/// A program: any bytes, sensible instructions in any order, or what was changed.
pub(crate) fn program(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
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
