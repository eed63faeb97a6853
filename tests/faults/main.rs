//! Faults: peers and processes that stop, die, stall or flood, over real sockets
//! and at sizes that show.
//!
//! Each is run at a reduced size by `cargo test`, and at full size by hand, as
//! the head of its file says. All of them:
//!
//! ```text
//! cargo test --release -p netaio-tests --test faults -- --ignored --test-threads 1
//! ```
//!
//! Where the other end has to be a process of its own, this program is started
//! once more, as an [`end`].

#![cfg(target_os = "linux")]

#[path = "../suites/ends.rs"]
#[allow(dead_code, reason = "the scenarios use all of it")]
mod ends;
#[path = "../suites/logs.rs"]
#[allow(dead_code, reason = "the scenarios use all of it")]
mod logs;
#[path = "../suites/raw_peer.rs"]
#[allow(dead_code, reason = "the scenarios use all of it")]
mod raw_peer;
#[path = "../suites/runtimes.rs"]
#[allow(dead_code, reason = "the scenarios use all of it")]
mod runtimes;
#[path = "../suites/waiting.rs"]
#[allow(dead_code, reason = "the scenarios use all of it")]
mod waiting;

mod end;
mod files;
mod half_open;
mod handlers;
mod herd;
mod idle;
mod pipelining;
mod process;
mod shutdown;
mod slow_peers;
