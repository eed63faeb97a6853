//! What is fuzzed: a module a target. Each takes an input, which is made of any
//! bytes, and panics if what it is about does not hold for that.
//!
//! The targets in `fuzz_targets` give these modules to libFuzzer;
//! `tests/corpus` gives them what that has found before. The README beside this
//! says how to run, add and reproduce.
#![forbid(unsafe_code)]

pub mod auth_fields;
pub mod body;
pub mod connection;
pub mod frames;
pub mod hmac;
pub mod layers;
pub mod node;
pub mod packify;
pub mod pair;
pub mod peer;
pub mod replays;
pub mod sha256_stream;
pub mod tapescript;
pub mod x25519;

use arbitrary::{Arbitrary, Unstructured};
use netaio_proto::{Action, Connection};

/// A module that is fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Runs it with the input that these bytes make.
    pub run: fn(&[u8]),
}

macro_rules! target {
    ($name:ident) => {
        Target {
            name: stringify!($name),
            run: |bytes| {
                if let Some(input) = read::<$name::Input<'_>>(bytes) {
                    $name::run(input);
                }
            },
        }
    };
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target!(auth_fields),
    target!(body),
    target!(connection),
    target!(frames),
    target!(hmac),
    target!(layers),
    target!(node),
    target!(packify),
    target!(pair),
    target!(peer),
    target!(replays),
    target!(sha256_stream),
    target!(tapescript),
    target!(x25519),
];

/// The input that these bytes make, as in libFuzzer's glue.
pub fn read<'a, I: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<I> {
    I::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

/// The next action, which comes the short way if it can and that is asked for.
fn next_action(connection: &mut Connection, short: bool) -> Option<Action> {
    let mut next = None;
    if short {
        let from = connection.remote();
        let count = connection.poll_dispatches(1, |handler, message, reply| {
            next = Some(Action::Dispatch {
                handler,
                message,
                from,
                reply: Some(reply),
            });
        });
        connection.poll_replies(1 - count, |request, message| {
            next = Some(Action::Reply { request, message });
        });
    }
    next.or_else(|| connection.poll_action())
}
