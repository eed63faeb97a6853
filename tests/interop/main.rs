//! Live tests against Python netaio 0.0.9: our client with its server, its client
//! with ours, and nodes of both. They need a Python interpreter; see
//! `peers/README.md`.
//!
//! They are compiled once for each runtime; this is tokio's target. What differs
//! between the targets is in [`runtime`]. The tests themselves are run by tokio
//! in all of them, on several threads: what a test does with a Python program
//! blocks the test's own thread, and nothing else.

/// The runtime whose clients, servers and nodes are tested.
mod runtime {
    pub(crate) use netaio_tokio::Tokio as Own;
    pub(crate) use netaio_tokio::*;
    pub(crate) use tokio::time::sleep;
}

#[path = "modules.rs"]
mod modules;

// What is the same with every runtime.
mod scripts;
mod secure_node;
