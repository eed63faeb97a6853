//! Where fuzzing starts: the golden vectors, as inputs of the targets.

use std::fs;

use netaio_fuzz::{
    TARGETS, auth_fields, hmac, packify, read, sha256_stream, tapescript,
};
use netaio_proto::wire::packify::pack;
use netaio_tests::vectors::{bytes, cases, load, value};
use serde_json::Value;

/// An input, and the vector that it was made of.
type Seed = (Vec<u8>, String);

/// The inputs of a target. Those which make operations of their input have none.
pub(crate) fn of(target: &str) -> Vec<Seed> {
    match target {
        "frames" => messages(),
        "packify" => behind(&[32], packed()),
        "auth_fields" => behind(&[0; 16], packed()),
        "body" => behind(&[0], bodies()),
        "peer" => peers(),
        "hmac" => sections("hmac", &["check"], &[0; 11]),
        "sha256_stream" => [
            sections("sha256_stream", &["odd"], &[0; 2]),
            sections("sha256_stream", &["odd"], &[1; 2]),
        ]
        .concat(),
        "tapescript" => behind(&1_600_000_000_u64.to_le_bytes(), scripts()),
        _ => Vec::new(),
    }
}

/// Inputs that begin with these bytes.
fn behind(start: &[u8], seeds: Vec<Seed>) -> Vec<Seed> {
    let seed = |(input, origin): Seed| ([start, &input].concat(), origin);
    seeds.into_iter().map(seed).collect()
}

/// The bytes in one column of a section, of those cases that give them whole.
fn column(file: &str, section: &str, column: &str) -> Vec<Seed> {
    let vectors = load(file);
    let cases = cases(&vectors, section).iter().enumerate();
    let given = cases.filter(|(_, case)| case[column].is_string());
    let seed = |(n, case): (usize, &Value)| {
        (bytes(&case[column]), format!("{file}, {section} {n}"))
    };
    let seeds: Vec<_> = given.map(seed).collect();
    assert!(!seeds.is_empty(), "no {column} in {file}, {section}");
    seeds
}

fn messages() -> Vec<Seed> {
    [
        column("messages", "vectors", "encoded"),
        column("messages", "custom_types", "encoded"),
        column("messages_bad", "vectors", "hex"),
        column("peer", "messages", "message"),
        column("two_layers", "vectors", "message"),
        column("sha256_stream", "decrypt", "message"),
    ]
    .concat()
}

fn packed() -> Vec<Seed> {
    [
        column("packify", "vectors", "packed"),
        column("packify_bad", "vectors", "hex"),
    ]
    .concat()
}

fn peers() -> Vec<Seed> {
    [
        column("peer", "pack", "packed"),
        column("peer", "unpack_odd", "packed"),
        column("peer", "encode_data", "encoded"),
    ]
    .concat()
}

/// The body sections of whole messages.
fn bodies() -> Vec<Seed> {
    let body = |(message, origin): Seed| {
        let auth: [u8; 2] = message.get(1..3)?.try_into().ok()?;
        let start = 9 + usize::from(u16::from_be_bytes(auth));
        Some((message.get(start..)?.to_vec(), origin))
    };
    messages().into_iter().filter_map(body).collect()
}

/// Auth sections and body sections, with the length of the former before them,
/// as the targets of the plugins take them.
fn sections(file: &str, names: &[&str], start: &[u8]) -> Vec<Seed> {
    let vectors = load(file);
    let seeds = names.iter().flat_map(|section| {
        let cases = cases(&vectors, section).iter().enumerate();
        // Long ones are given by their hash.
        let whole = cases.filter(|(_, case)| case["body"].is_string());
        whole.map(move |(n, case)| {
            let auth = pack(&value(&case["auth"])).expect("a section");
            let length = u16::try_from(auth.len()).expect("a section");
            let length = length.to_le_bytes();
            let input = [start, &length, &auth, &bytes(&case["body"])].concat();
            (input, format!("{file}, {section} {n}"))
        })
    });
    seeds.collect()
}

/// Witnesses and locks, with the length of the former before them, and scripts
/// that are neither.
fn scripts() -> Vec<Seed> {
    let text = include_str!("../../netaio-asymmetric/tests/tapescript/vectors.json");
    let vectors: Value = serde_json::from_str(text).expect("JSON");
    let seed = |witness: &[u8], rest: &[u8], case: &Value| {
        let length = u16::try_from(witness.len()).expect("a short witness");
        let input = [&length.to_le_bytes(), witness, rest].concat();
        (input, format!("tapescript, {}", case["id"]))
    };
    let auth = cases(&vectors, "auth").iter();
    let auth =
        auth.map(|case| seed(&bytes(&case["witness"]), &bytes(&case["lock"]), case));
    let vm = cases(&vectors, "vm").iter();
    auth.chain(vm.map(|case| seed(&[], &bytes(&case["code"]), case)))
        .collect()
}

/// Writes the seeds to `fuzz/seeds`, for `cargo fuzz` to start with.
#[test]
#[ignore = "writes files; fuzz/README.md says when to run it"]
fn write_seeds() {
    for target in TARGETS {
        let folder = super::folder("seeds").join(target.name);
        fs::create_dir_all(&folder).expect("a folder");
        for (n, (input, _)) in of(target.name).into_iter().enumerate() {
            fs::write(folder.join(format!("{n:04}")), input).expect("a file");
        }
    }
}

#[test]
fn seeds_are_read_as_they_are_meant() {
    for (input, origin) in of("packify") {
        let (depth, packed) = read::<packify::Input<'_>>(&input).expect("an input");
        assert_eq!((depth, packed), (32, &input[1..]), "{origin}");
    }
    for (input, origin) in of("auth_fields") {
        let read = read::<auth_fields::Input<'_>>(&input).expect("an input");
        assert_eq!(read.section, &input[16..], "{origin}");
    }
    for (input, origin) in of("hmac") {
        let read = read::<hmac::Input<'_>>(&input).expect("an input");
        assert_eq!(read.sections, &input[13..], "{origin}");
        assert!(usize::from(read.auth_length) <= read.sections.len());
    }
    for (input, origin) in of("tapescript") {
        let read = read::<tapescript::Input<'_>>(&input).expect("an input");
        assert_eq!(read.code, &input[10..], "{origin}");
        assert!(usize::from(read.witness_length) <= read.code.len());
        assert_eq!(read.time, 1_600_000_000);
    }
    for (input, origin) in of("sha256_stream") {
        let read = read::<sha256_stream::Input<'_>>(&input).expect("an input");
        assert_eq!(read.sections, &input[4..], "{origin}");
        assert!(usize::from(read.auth_length) <= read.sections.len());
    }
}
