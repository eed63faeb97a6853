//! Byte code that nobody has made, run here and by Python tapescript 0.7.2.

#[path = "../../netaio-asymmetric/tests/tapescript/programs.rs"]
mod programs;

use std::time::SystemTime;

use netaio_asymmetric::tapescript::{
    Inputs, Machine, Opcode, ScriptLimits, SigFields,
};
use netaio_proto::Random;
use netaio_tests::python::{environment, run_scripts};
use netaio_tests::vectors::{bytes, cases, to_hex};
use serde_json::{Value, json};

const PROGRAMS: usize = 4_000;
const TIMESTAMP: u64 = 1_600_000_000;
const FIELDS: [&[u8]; 3] = [b"a body section", &[9; 16], &[0x5f, 0x5e, 0x10, 0]];

/// The programs of the golden vectors, to be changed.
fn seeds() -> Vec<Vec<u8>> {
    let text = include_str!("../../netaio-asymmetric/tests/tapescript/vectors.json");
    let file: Value = serde_json::from_str(text).expect("JSON");
    let both =
        |case: &Value| [bytes(&case["witness"]), bytes(&case["lock"])].concat();
    let auth = cases(&file, "auth").iter().map(both);
    let vm = cases(&file, "vm").iter().map(|case| bytes(&case["code"]));
    auth.chain(vm).collect()
}

/// The program in a `TRY_EXCEPT` that does nothing about a failure: so that what
/// it had done until then can be seen.
fn tried(program: &[u8]) -> Vec<u8> {
    let length = u16::try_from(program.len()).expect("a short program");
    let opcode = [Opcode::TryExcept.code()];
    [&opcode, &length.to_be_bytes()[..], program, &[0, 0]].concat()
}

#[test]
fn what_a_program_leaves_here_it_leaves_in_python() {
    let Some(python) = environment() else { return };
    let (mut random, seeds) = (Random::from_seed([13; 32]), seeds());
    let [body, nonce, ts] = FIELDS;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let inputs = Inputs {
        fields: SigFields::of_message(body, nonce, ts),
        timestamp: TIMESTAMP,
        now: now.expect("a time after 1970").as_secs(),
    };
    // Python has no limit to its work, and nearly none to what it holds.
    let machine = Machine::new().limits(ScriptLimits {
        work: 20_000,
        bytes: usize::MAX,
        ..ScriptLimits::default()
    });
    let programs = (0..PROGRAMS).map(|_| programs::program(&mut random, &seeds));
    let programs = programs.enumerate().map(|(number, program)| {
        if number % 2 == 0 {
            program
        } else {
            tried(&program)
        }
    });
    let runs = programs.map(|program| {
        let left = machine.run(&program, &inputs);
        (program, left)
    });
    // What stops us does not stop Python, or after a long time.
    let is_final = |left: &Result<_, netaio_asymmetric::tapescript::ScriptError>| {
        left.as_ref().is_err_and(|error| error.is_final())
    };
    let runs: Vec<_> = runs.filter(|(_, left)| !is_final(left)).collect();
    assert!(runs.len() > PROGRAMS / 10 * 9, "{}", runs.len());

    let codes: Vec<_> = runs.iter().map(|(program, _)| to_hex(program)).collect();
    let job = json!({
        "fields": FIELDS.map(to_hex), "timestamp": TIMESTAMP, "codes": codes,
    });
    let results = run_scripts(python, &job);
    assert_eq!(results.len(), runs.len());
    let (mut done, mut failed) = (0, 0);
    for ((program, left), result) in runs.iter().zip(&results) {
        let stack = left.as_ref().ok();
        let stack = stack.map(|stack| stack.iter().map(|i| to_hex(i)).collect());
        let expected: Option<Vec<String>> =
            serde_json::from_value(result["stack"].clone()).expect("a stack");
        if stack != expected {
            // The one thing that is meant to differ: the words for a failure.
            let reads_words = program.windows(3).any(|w| w == [0x0a, 1, b'E']);
            assert!(
                result["told"] == true && reads_words,
                "{}: {left:x?}, in Python {expected:?}",
                to_hex(program)
            );
        }
        if stack.is_some() {
            done += 1
        } else {
            failed += 1
        }
    }
    assert!(
        done > PROGRAMS / 10 && failed > PROGRAMS / 10,
        "{done}, {failed}"
    );
}
