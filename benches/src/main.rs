//! Requests a second on one loopback connection, beside a bare tokio echo of
//! the same frames, measured in turn in one run.
//!
//! `cargo run --release -p netaio-bench` prints a table. Server and client have
//! a thread and a current-thread runtime each. Figures of one run can be
//! compared with each other, and with nothing else. `.. -p netaio-bench --
//! publish` measures what a subscriber that does not read costs the others, and
//! `.. -- witness` what a tapescript witness costs beside a bare signature.

mod floor;
mod publish;
mod witness;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netaio_tokio::{MessageType, TcpClient, TcpServer};

/// Rounds in which everything is measured once.
const ROUNDS: usize = 7;
/// How long each measurement takes.
const SPAN: Duration = Duration::from_millis(700);
/// Bytes of content of each request.
const CONTENT: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok());
    if arguments.iter().any(|argument| argument == "publish") {
        return publish::run(rounds.unwrap_or(3));
    }
    if arguments.iter().any(|argument| argument == "witness") {
        return witness::run(rounds.unwrap_or(ROUNDS));
    }
    let rounds = rounds.unwrap_or(ROUNDS);
    println!("| requests/s, {CONTENT} B | floor | netaio | ratio | spread |");
    println!("|---|---|---|---|---|");
    for depth in [1, 64] {
        let mut rows: Vec<(f64, f64)> = Vec::new();
        for _ in 0..rounds {
            rows.push((floor::measure(depth, CONTENT, SPAN), measure(depth)));
        }
        report(depth, rows);
    }
}

fn report(depth: usize, rows: Vec<(f64, f64)>) {
    let mut ratios: Vec<f64> =
        rows.iter().map(|(floor, ours)| ours / floor).collect();
    ratios.sort_by(f64::total_cmp);
    let median = |values: Vec<f64>| {
        let mut values = values;
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let spread = ratios[ratios.len() - 1] - ratios[0];
    println!(
        "| depth {depth} | {:.0} | {:.0} | {:.2} | {:.2} |",
        median(rows.iter().map(|row| row.0).collect()),
        median(rows.iter().map(|row| row.1).collect()),
        ratios[ratios.len() / 2],
        spread,
    );
}

/// Requests a second of netaio itself.
fn measure(depth: usize) -> f64 {
    let (sender, receiver) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        runtime().block_on(async {
            let server = TcpServer::new();
            server.on((MessageType::REQUEST_URI, "echo"), |m| {
                m.respond(m.content())
            });
            let address = server.listen("127.0.0.1:0").await.unwrap();
            sender.send(address).unwrap();
            let _ = stopped.await;
        });
    });
    let address = receiver.recv().unwrap();
    let rate = runtime().block_on(ask(address, depth));
    let _ = stop.send(());
    server.join().unwrap();
    rate
}

async fn ask(address: SocketAddr, depth: usize) -> f64 {
    let client = TcpClient::new(address);
    client.connect().await.unwrap();
    let start = Instant::now();
    let end = start + SPAN;
    let tasks: Vec<_> = (0..depth)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let content = [7; CONTENT];
                let mut count = 0_u64;
                while Instant::now() < end {
                    client.request("echo").content(content).await.unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
