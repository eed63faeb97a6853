//! R9: what a connection that rests costs.
//!
//! Full size, 10,000 connections between two processes, on each runtime:
//!
//! ```text
//! cargo test --release -p netaio-tests --test faults -- --ignored --nocapture r09
//! ```

use std::thread::sleep;
use std::time::Duration;

use crate::process::OtherEnd;

#[test]
fn r09_resting_connections_cost_little_memory_on_tokio() {
    resting("tokio", 1_000, 10 * 1024);
}

#[test]
fn r09_resting_connections_cost_little_memory_on_smol() {
    resting("smol", 1_000, 10 * 1024);
}

#[test]
#[ignore = "it needs 20,000 open files"]
fn r09_ten_thousand_resting_connections_cost_4_kib_each_on_tokio() {
    resting("tokio", 10_000, 4 * 1024);
}

#[test]
#[ignore = "it needs 20,000 open files"]
fn r09_ten_thousand_resting_connections_cost_3_kib_each_on_smol() {
    resting("smol", 10_000, 3 * 1024);
}

/// Each of so many connections costs the server `most` bytes.
fn resting(runtime: &str, connections: usize, most: u64) {
    let (mut server, address) = OtherEnd::server(runtime, "");
    // What the first connections bring with them once is not counted.
    let told = format!("clients {runtime} {address} 50");
    let mut first = OtherEnd::start(&told);
    assert_eq!(first.line(), "50");
    let before = server.memory();
    let mut clients =
        OtherEnd::start(&format!("clients {runtime} {address} {connections}"));
    let clients_before = clients.memory();
    assert_eq!(clients.line(), connections.to_string());
    sleep(Duration::from_millis(300));
    assert_eq!(server.number("connections"), connections + 50);
    let each = server.memory().saturating_sub(before) / connections as u64;
    let client =
        clients.memory().saturating_sub(clients_before) / connections as u64;
    println!("{runtime}: {each} bytes each at the server, {client} at the clients");
    assert!(each <= most, "{each} bytes each");
}
