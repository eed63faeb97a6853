//! The golden vectors: what Python netaio 0.0.9 and its packages were seen to
//! do, and that this implementation does the same.
//!
//! A module a file. Where we deviate on purpose, the test names the deviation,
//! and fails if it goes away.

mod fixture;
mod hmac;
mod messages;
mod messages_bad;
mod notation;
mod packify;
mod peer;
mod reference;
mod section;
mod sha256_stream;
mod two_layers;
mod x25519;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The files of vectors, each with the module of its name; `packify_bad` is in
/// `packify`.
const FILES: [&str; 9] = [
    "hmac",
    "messages",
    "messages_bad",
    "packify",
    "packify_bad",
    "peer",
    "sha256_stream",
    "two_layers",
    "x25519",
];

#[test]
fn every_file_of_vectors_is_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let entries = fs::read_dir(folder).expect("the folder of the vectors");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let found: BTreeSet<String> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    assert_eq!(found, FILES.map(str::to_owned).into());
}
