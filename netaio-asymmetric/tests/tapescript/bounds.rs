//! What a script may cost, and that no script costs more.

use netaio_asymmetric::tapescript::{
    Inputs, Machine, Opcode, Script, ScriptError, ScriptLimits, lock,
};

fn run(code: &[u8]) -> Result<Vec<Vec<u8>>, ScriptError> {
    Machine::new().run(code, &Inputs::default())
}

/// Code that is a block of an instruction: its length in two bytes, and itself.
fn block(code: &[u8]) -> Vec<u8> {
    let length = u16::try_from(code.len()).expect("a short block");
    [&length.to_be_bytes(), code].concat()
}

fn op(opcode: Opcode, operands: &[&[u8]]) -> Vec<u8> {
    [&[opcode.code()], &operands.concat()[..]].concat()
}

#[test]
fn loops_within_loops_end_when_their_work_is_done() {
    // Each level multiplies the turns by 128, and no failure stops the next.
    let idle = [op(Opcode::Not, &[]), op(Opcode::Not, &[])].concat();
    let code = (0..4).fold(idle, |code, _| {
        let turns = op(Opcode::Loop, &[&block(&code)]);
        op(Opcode::TryExcept, &[&block(&turns), &block(&[])])
    });
    let code = [op(Opcode::True, &[]), code].concat();
    assert!(code.len() < 50);
    assert_eq!(run(&code), Err(ScriptError::TooMuchWork));
}

#[test]
fn no_failure_to_pay_is_caught() {
    let caught = |code: &[u8]| op(Opcode::TryExcept, &[&block(code), &block(&[])]);
    let turns = op(Opcode::Loop, &[&block(&op(Opcode::Sha256, &[]))]);
    let again = caught(&[op(Opcode::True, &[]), turns].concat());
    assert!(run(&again).is_ok());
    assert_eq!(run(&again.repeat(40)), Err(ScriptError::TooMuchWork));
    let random = caught(&op(Opcode::Random, &[]));
    assert_eq!(run(&random), Err(ScriptError::HostBound(Opcode::Random)));
}

#[test]
fn signatures_cost_more_than_other_work() {
    let item = |length: usize| Script::new().push(&vec![1; length]);
    let check = item(64)
        .then(&item(1))
        .then(&item(32))
        .op(Opcode::CheckSigStack);
    let checks = |count| check.as_bytes().repeat(count);
    assert_eq!(run(&checks(50)).map(|stack| stack.len()), Ok(50));
    assert_eq!(run(&checks(150)), Err(ScriptError::TooMuchWork));
}

#[test]
fn what_is_held_is_bounded_wherever_it_is() {
    let kilobyte = Script::new().push(&[7; 1024]);
    let full = kilobyte.clone().op_with(Opcode::Copy, 254);
    let limits = ScriptLimits {
        work: u64::MAX,
        ..ScriptLimits::default()
    };
    let run =
        |code: &[u8]| Machine::new().limits(limits).run(code, &Inputs::default());
    assert_eq!(run(full.as_bytes()).map(|stack| stack.len()), Ok(255));
    let fuller = full.clone().then(&kilobyte).then(&kilobyte);
    assert_eq!(run(fuller.as_bytes()), Err(ScriptError::TooManyBytes));

    // From the stack to the cache, again and again.
    let store = |key| op(Opcode::WriteCache, &[&[1, key, 255]]);
    let stored: Vec<u8> = (0..9)
        .flat_map(|key| [full.as_bytes().to_vec(), store(key)].concat())
        .collect();
    assert_eq!(run(&stored), Err(ScriptError::TooManyBytes));
    // What replaces something takes its place.
    let small = Script::new().push(&[7; 100]).op_with(Opcode::Copy, 254);
    let replaced = [small.as_bytes().to_vec(), store(1)].concat().repeat(50);
    assert_eq!(run(&replaced), Ok(vec![]));
    // Items without bytes are not for nothing either.
    let empty = Script::new().push(&[]).op_with(Opcode::Copy, 254);
    let empty: Vec<u8> = (0..255)
        .flat_map(|key| [empty.as_bytes().to_vec(), store(key)].concat())
        .collect();
    assert_eq!(run(&empty), Err(ScriptError::TooManyBytes));
}

#[test]
fn blocks_are_nested_only_so_deep() {
    let nested = |depth: usize| {
        let inner = op(Opcode::True, &[]);
        (0..depth).fold(inner, |code, _| {
            [op(Opcode::True, &[]), op(Opcode::If, &[&block(&code)])].concat()
        })
    };
    assert_eq!(run(&nested(512)), Ok(vec![vec![0xff]]));
    assert_eq!(run(&nested(513)), Err(ScriptError::TooDeep));
    // As deep as lengths allow, without any harm to the stack of this thread.
    let limits = ScriptLimits {
        work: u64::MAX,
        depth: usize::MAX,
        ..Default::default()
    };
    let deep = Machine::new().limits(limits);
    assert_eq!(
        deep.run(nested(16_000), &Inputs::default()),
        Ok(vec![vec![0xff]])
    );
}

#[test]
fn a_product_that_cannot_fit_is_not_computed() {
    let limits = ScriptLimits {
        work: u64::MAX,
        ..ScriptLimits::default()
    };
    let run =
        |code: &[u8]| Machine::new().limits(limits).run(code, &Inputs::default());
    let factor = Script::new().push(&[0x7f; 1024]).op_with(Opcode::Copy, 200);
    let product = factor.clone().op_with(Opcode::MultInts, 200);
    let failed = run(product.as_bytes());
    assert!(
        matches!(failed, Err(ScriptError::ItemTooLong(_))),
        "{failed:?}"
    );
    let zero = factor.push(&[0]).op_with(Opcode::MultInts, 202);
    assert_eq!(run(zero.as_bytes()), Ok(vec![vec![0]]));
}

#[test]
fn a_mark_of_the_witness_does_not_end_the_lock() {
    let witness = op(Opcode::Return, &[]);
    let skipped = op(Opcode::If, &[&block(&[])]);
    let lock = [op(Opcode::True, &[]), op(Opcode::True, &[]), skipped].concat();
    let refusing = [&lock[..], lock::nobody().as_bytes()].concat();
    let inputs = Inputs::default();
    let open = |machine: Machine| machine.open(&witness, &refusing, &inputs);
    assert_eq!(open(Machine::new()), Err(ScriptError::NotVerified));
    assert_eq!(open(Machine::new().sticky_return(true)), Ok(()));
}

#[test]
fn nobody_opens_the_lock_of_nobody() {
    for witness in [&[][..], &[1], &[0], &[0x30], &[1, 0x30]] {
        let machine = Machine::new().sticky_return(true);
        let opened = machine.open(witness, lock::nobody(), &Inputs::default());
        assert!(opened.is_err(), "{witness:?}");
    }
}
