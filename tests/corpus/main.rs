//! What fuzzing has found, again: each input of the committed corpus and each
//! golden vector goes through the target that it is for, on stable Rust.
//!
//! The targets, and how to run them, are in `fuzz/`.

mod memory;
mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use netaio_fuzz::{TARGETS, Target};

/// Bytes of all inputs that are committed, at most.
const MOST_BYTES: u64 = 2_000_000;
/// How many they are, at most.
const MOST_FILES: usize = 1_500;

/// `fuzz/{name}`.
fn folder(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.with_file_name("fuzz").join(name)
}

/// What is in a folder, in order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// The committed inputs of a target.
fn corpus(target: &str) -> Vec<PathBuf> {
    let inputs = entries(&folder("corpus").join(target));
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

fn stems(paths: &[PathBuf]) -> BTreeSet<String> {
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    paths
        .iter()
        .map(|path| stem(path).expect("a name"))
        .collect()
}

/// Runs a target with an input. If it fails, says with which.
fn run(target: &Target, input: &[u8], name: &str) {
    if let Err(panic) = catch_unwind(|| (target.run)(input)) {
        eprintln!("{} fails with {name}", target.name);
        resume_unwind(panic);
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("no target {name}"));
    for path in corpus(name) {
        let input = fs::read(&path).expect("an input");
        run(target, &input, &path.display().to_string());
    }
    for (input, origin) in seeds::of(name) {
        run(target, &input, &origin);
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        /// A test for each target.
        mod the_corpus_and_the_vectors_pass {
            $(#[test]
            fn $name() {
                super::replay(stringify!($name));
            })*
        }

        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replayed! {
    auth_fields
    body
    connection
    frames
    hmac
    layers
    node
    packify
    pair
    peer
    replays
    sha256_stream
    tapescript
    x25519
}

#[test]
fn every_target_is_built_and_replayed() {
    let known: BTreeSet<_> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let replayed = REPLAYED.iter().map(|name| (*name).to_owned());
    assert_eq!(replayed.collect::<BTreeSet<_>>(), known);
    assert_eq!(stems(&entries(&folder("fuzz_targets"))), known);
    assert_eq!(stems(&entries(&folder("corpus"))), known);
}

#[test]
fn the_corpus_is_small() {
    let inputs: Vec<_> = TARGETS.iter().flat_map(|t| corpus(t.name)).collect();
    let length = |path: &PathBuf| fs::metadata(path).expect("an input").len();
    let bytes: u64 = inputs.iter().map(length).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    assert!(inputs.len() <= MOST_FILES, "{} inputs", inputs.len());
}
