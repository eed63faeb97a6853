//! The golden vectors. Where we deviate on purpose, the deviation is named, and
//! it is a failure if it goes away.

use std::collections::BTreeSet;

use netaio_asymmetric::tapescript::{
    Certificate, Machine, Opcode, Script, SigFields, SigFlags, SigningKey, lock,
    witness,
};
use serde_json::Value;

use crate::notation::{Outside, bytes, cases, file, hex, key, text};

/// What Python lets open a lock and we, by default, do not.
const NOT_OPENED_ON_PURPOSE: [&str; 1] =
    ["OP_RETURN in the witness, lock with an IF before the check"];

/// Runs that leave something else in the cache: our words for a failure.
const OTHER_WORDS: [&str; 2] =
    ["TRY_EXCEPT", "TRY_EXCEPT keeps what the try part did"];

#[test]
fn the_instructions_have_their_numbers() {
    let file = file();
    let codes = file["opcodes"].as_object().expect("opcodes");
    assert_eq!(codes.len(), Opcode::ALL.len());
    for opcode in Opcode::ALL {
        assert_eq!(codes[opcode.name()], opcode.code(), "{opcode:?}");
    }
}

#[test]
fn every_witness_opens_what_it_opens_in_python() {
    let mut refused = BTreeSet::new();
    for case in cases(&file(), "auth", 119) {
        let (id, note) = (text(case, "id"), text(case, "note"));
        let expected = case["expected"].as_bool().expect("a truth value");
        let faithful = Machine::new().sticky_return(true);
        assert_eq!(opens(&faithful, case), expected, "{id}: {note}");
        if opens(&Machine::new(), case) != expected {
            assert!(expected, "{id}: {note}: Python refuses it");
            refused.insert(note.to_owned());
        }
    }
    assert_eq!(refused, NOT_OPENED_ON_PURPOSE.map(str::to_owned).into());
}

fn opens(machine: &Machine, case: &Value) -> bool {
    let (witness, lock) = (bytes(case, "witness"), bytes(case, "lock"));
    let outside = Outside::of(case);
    machine.open(witness, lock, &outside.inputs()).is_ok()
}

#[test]
fn every_run_leaves_the_stack_and_the_cache_of_python() {
    let mut other_words = BTreeSet::new();
    for case in cases(&file(), "vm", 222) {
        let (id, note) = (text(case, "id"), text(case, "note"));
        let outside = Outside::of(case);
        let run = |code: &[u8]| Machine::new().run(code, &outside.inputs());
        let code = bytes(case, "code");
        let Some(stack) = case["stack"].as_array() else {
            let left = run(&code);
            assert!(left.is_err(), "{id}: {note}: {left:x?}");
            continue;
        };
        let mut expected = items(stack);
        assert_eq!(run(&code).as_ref(), Ok(&expected), "{id}: {note}");

        // What is in the cache shows when it is read behind everything else.
        let no_cache = serde_json::Map::new();
        for (key, stored) in case["cache"].as_object().unwrap_or(&no_cache) {
            let key = hex(key);
            let read = [&[Opcode::ReadCache.code(), key.len() as u8], &key[..]];
            let code = [&code[..], &read.concat()].concat();
            let stored = items(stored.as_array().expect("items"));
            let count = expected.len();
            expected.extend(stored);
            let left = run(&code).unwrap_or_else(|e| panic!("{id}: {note}: {e}"));
            if key == b"E" {
                assert_ne!(left, expected, "{id}: {note}");
                assert_eq!(left.len(), count + 1, "{id}: {note}");
                other_words.insert(note.to_owned());
            } else {
                assert_eq!(left, expected, "{id}: {note}: {key:x?}");
            }
            expected.truncate(count);
        }
    }
    assert_eq!(other_words, OTHER_WORDS.map(str::to_owned).into());
}

fn items(stack: &[Value]) -> Vec<Vec<u8>> {
    let item = |item: &Value| hex(item.as_str().expect("hex"));
    stack.iter().map(item).collect()
}

/// Kinds of locks that this crate can run but does not make.
const NOT_MADE: [&str; 5] = [
    "delegate_key_chain",
    "graftap",
    "graftroot",
    "merkle",
    "nonnative_taproot",
];

#[test]
fn every_lock_has_the_bytes_that_pythons_tools_give_it() {
    let mut not_made = BTreeSet::new();
    for case in cases(&file(), "locks", 19) {
        let (kind, params) = (text(case, "kind"), &case["params"]);
        let flags = params["sigflags"].as_str().map(|flags| hex(flags)[0]);
        let flags = SigFlags(flags.unwrap_or(0));
        let script = || Script::from(bytes(params, "script"));
        let made = match kind {
            "single_sig" => lock::single_signature(&key(params, "pubkey"), flags),
            "single_sig2" => {
                lock::single_signature_by_hash(&key(params, "pubkey"), flags)
            }
            "multisig" => {
                let keys = params["pubkeys"].as_array().expect("keys").iter();
                let keys: Vec<_> = keys
                    .map(|key| hex(key.as_str().expect("hex")).try_into())
                    .collect::<Result<_, _>>()
                    .expect("keys of 32 bytes");
                let quorum = params["quorum"].as_u64().expect("a quorum") as u8;
                lock::multisig(&keys, quorum, flags).expect("a quorum")
            }
            "taproot" => lock::taproot(&key(params, "pubkey"), &script(), flags)
                .expect("a valid key"),
            "delegate_key" => lock::delegate_key(&key(params, "root"), flags),
            "scripthash" => lock::script_hash(&script()),
            "certificate" => certificate(params).to_bytes().into(),
            other => {
                not_made.insert(other.to_owned());
                continue;
            }
        };
        assert_eq!(made, Script::from(bytes(case, "bytes")), "{params}");
    }
    assert_eq!(not_made, NOT_MADE.map(str::to_owned).into());
}

fn certificate(params: &Value) -> Certificate {
    let root = SigningKey::from_seed(&key(params, "root_seed"));
    let time = |field| params[field].as_u64().expect("a time") as u32;
    let may_delegate = params["can_further_delegate"].as_bool().expect("a truth");
    let times = time("begin")..time("end");
    Certificate::sign(&root, key(params, "delegate"), times, may_delegate)
}

#[test]
fn keys_are_those_of_their_seeds() {
    for case in cases(&file(), "keys", 6) {
        let public_key = SigningKey::from_seed(&key(case, "seed")).public_key();
        assert_eq!(public_key, key(case, "verify_key"));
    }
}

/// What opens it, for a key of a seed and some fields.
type MakeWitness = fn(&SigningKey, &SigFields<'_>) -> Script;

/// The witnesses of the vectors that are signed by one key are exactly those that
/// are made here.
#[test]
fn witnesses_have_the_bytes_that_pythons_tools_give_them() {
    let all = SigFlags::ALL_SIGNED;
    let single: MakeWitness = |key, fields| {
        witness::single_signature(key, fields, SigFlags::ALL_SIGNED).expect("short")
    };
    let by_hash: MakeWitness = |key, fields| {
        witness::single_signature_with_key(key, fields, SigFlags::ALL_SIGNED)
            .expect("short")
    };
    let file = file();
    let keys: Vec<_> = cases(&file, "keys", 6)
        .iter()
        .map(|case| SigningKey::from_seed(&key(case, "seed")))
        .collect();
    let find = |note| {
        let mut cases = cases(&file, "auth", 119).iter();
        cases.find(|case| text(case, "note") == note).expect(note)
    };
    for (note, make) in [
        ("single sig, lock flags 00", single),
        ("single sig 2", by_hash),
        ("1 of 2", single),
    ] {
        let case = find(note);
        let outside = Outside::of(case);
        let fields = outside.inputs().fields;
        let made = keys.iter().map(|key| make(key, &fields));
        let expected = Script::from(bytes(case, "witness"));
        assert_eq!(made.filter(|made| *made == expected).count(), 1, "{note}");
    }

    let case = find("taproot key spend");
    let outside = Outside::of(case);
    let fields = outside.inputs().fields;
    let committed = cases(&file, "locks", 19).iter();
    let committed = committed.filter(|case| text(case, "kind") == "taproot");
    let made = committed.flat_map(|case| {
        let script = Script::from(bytes(&case["params"], "script"));
        let make = move |key| witness::taproot_key(key, &script, &fields, all);
        keys.iter().map(make).collect::<Vec<_>>()
    });
    let expected = Script::from(bytes(case, "witness"));
    let made = made.filter(|made| made.as_ref() == Ok(&expected));
    assert_eq!(made.count(), 1);
}
