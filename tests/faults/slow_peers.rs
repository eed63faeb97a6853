//! R13 and R14: peers that open connections and say next to nothing, or announce
//! a great deal and do not send it.
//!
//! Full size, 5,000 connections of the first kind, and 1,000 of the second:
//!
//! ```text
//! cargo test --release -p netaio-tests --test faults -- --ignored --nocapture r13
//! cargo test --release -p netaio-tests --test faults -- --ignored --nocapture r14
//! ```

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netaio_tokio::Tokio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ends::connected;
use crate::process::{OtherEnd, allow_files};
use crate::runtimes::{Flavour, TestRuntime};
use crate::waiting::{eventually, off_thread, sleep};

/// The header of the largest frame that there is: a request's.
const LARGEST: [u8; 9] = [0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

#[test]
fn r13_connections_that_say_next_to_nothing_are_ended_by_their_deadlines() {
    let slow = Slow {
        peers: 240,
        header: Duration::from_millis(600),
        frame: Duration::from_millis(600),
        slack: Duration::from_secs(8),
        honest_suffer: None,
    };
    // The first needs longer for a header than it has.
    slow.beset([100, 20].map(Duration::from_millis));
}

#[test]
#[ignore = "it takes a minute"]
fn r13_five_thousand_slow_connections_are_ended_and_honest_clients_served() {
    let slow = Slow {
        peers: 5_000,
        header: Duration::from_secs(10),
        frame: Duration::from_secs(30),
        slack: Duration::from_secs(5),
        honest_suffer: Some(2),
    };
    slow.beset([2, 1].map(Duration::from_secs));
}

/// A server that is beset by slow peers.
struct Slow {
    peers: usize,
    /// The server's deadlines.
    header: Duration,
    frame: Duration,
    /// How much later connections may be seen to end.
    slack: Duration,
    /// By which factor the 99th percentile of honest clients may grow.
    honest_suffer: Option<u32>,
}

impl Slow {
    /// Some peers say nothing, the others a byte at each of these intervals. The
    /// first of them is too long for a header.
    fn beset(self, [longer, shorter]: [Duration; 2]) {
        allow_files(20_000);
        Tokio::block_on(Flavour::Threads, async move {
            let runtime = Tokio::default();
            let (header, frame) = (self.header.as_millis(), self.frame.as_millis());
            let options = format!("header={header} frame={frame}");
            let start = move || OtherEnd::server("tokio", &options);
            let (mut server, address) = off_thread(start).await;
            let alone = Honest::begin(address);
            sleep(&runtime, Duration::from_secs(2)).await;
            let alone = alone.end().await;

            let beset = Honest::begin(address);
            let header_deadline = self.header + self.slack;
            let frame_deadline = shorter * 9 + self.frame + self.slack;
            let mut peers = Vec::new();
            for number in 0..self.peers {
                let (interval, deadline) = match number % 3 {
                    0 => (None, header_deadline),
                    1 => (Some(longer), header_deadline),
                    _ => (Some(shorter), frame_deadline),
                };
                let peer = tokio::spawn(lasts(address, interval));
                peers.push((number % 3, deadline, peer));
                if number % 100 == 99 {
                    // Who finds the system's queue full believes to be connected
                    // until they say something, which these never do.
                    sleep(&runtime, Duration::from_millis(30)).await;
                }
            }
            let mut longest = [Duration::ZERO; 3];
            for (kind, deadline, peer) in peers {
                let lasted = peer.await.expect("the peer has panicked");
                assert!(lasted <= deadline, "{kind}: {lasted:?}");
                assert!(lasted >= self.header, "{kind}: {lasted:?}");
                longest[kind] = longest[kind].max(lasted);
            }
            let beset = beset.end().await;
            println!(
                "they lasted up to {longest:?}; p99 {alone:?} without, \
                 {beset:?} with them"
            );
            if let Some(factor) = self.honest_suffer {
                let least = Duration::from_millis(1);
                assert!(beset <= alone.max(least) * factor);
            }
            eventually(&runtime, "none is left", || {
                server.number("connections") == 0
            })
            .await;
        });
    }
}

/// For how long the server keeps a connection by which a byte comes now and then.
async fn lasts(address: SocketAddr, interval: Option<Duration>) -> Duration {
    let begun = Instant::now();
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut input, mut output) = stream.into_split();
    let mut byte = [0];
    let trickle = async {
        if let Some(interval) = interval {
            for byte in LARGEST.into_iter().chain([0].into_iter().cycle()) {
                if output.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(interval).await;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = trickle => unreachable!("it waits for the end"),
        end = input.read(&mut byte) => {
            assert_eq!(end.unwrap_or(0), 0, "nothing was asked");
            begun.elapsed()
        }
    }
}

/// A client that asks all the time.
struct Honest {
    enough: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<Vec<Duration>>,
}

impl Honest {
    fn begin(address: SocketAddr) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let asking = tokio::spawn(async move {
            let (client, _) = connected(&Tokio::default(), address).await;
            let mut took = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                client
                    .request("echo")
                    .content("hello")
                    .await
                    .expect("a reply");
                took.push(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            client.close().await;
            took
        });
        Self { enough, asking }
    }

    /// The 99th percentile of how long an answer took.
    async fn end(self) -> Duration {
        self.enough.store(true, Ordering::Relaxed);
        let mut took = self.asking.await.expect("it has panicked");
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }
}

#[test]
fn r14_what_is_announced_and_does_not_come_takes_no_memory() {
    for (sent, most) in [(0, 6 * 1024), (100, 6 * 1024), (20_000, 26_000)] {
        announced("tokio", 300, sent, most);
    }
    announced("smol", 300, 0, 6 * 1024);
}

#[test]
#[ignore = "it measures memory, which needs a release build"]
fn r14_a_thousand_connections_that_stall_take_4_kib_each_and_what_came() {
    for runtime in ["tokio", "smol"] {
        for sent in [0, 100] {
            announced(runtime, 1_000, sent, 4 * 1024);
        }
        // What a buffer has left behind while it grew is free, but the system
        // does not get it back.
        for sent in [1_000, 20_000, 60_000] {
            announced(runtime, 1_000, sent, sent as u64 + 4 * 1024);
        }
    }
}

/// Each of so many connections, by which a header and so many bytes of the largest
/// frame have come, costs the server these and at most `most` bytes.
fn announced(runtime: &str, connections: usize, sent: usize, most: u64) {
    allow_files(20_000);
    let (mut server, address) =
        OtherEnd::server(runtime, "header=600000 frame=600000");
    let mut announce = |connections| {
        let mut frame = LARGEST.to_vec();
        frame.resize(LARGEST.len() + sent, 7);
        let before = server.number("received");
        let streams: Vec<_> = (0..connections)
            .map(|_| {
                let mut stream = StdTcpStream::connect(address).expect("a place");
                stream.write_all(&frame).expect("room for some bytes");
                stream
            })
            .collect();
        let all = before + connections * frame.len();
        let deadline = Instant::now() + crate::waiting::LONG;
        while server.number("received") < all {
            assert!(Instant::now() < deadline, "it does not read");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(100));
        (streams, server.memory())
    };
    // What the first connections bring with them once is not counted.
    let (_first, before) = announce(20);
    let (_streams, after) = announce(connections);
    let each = after.saturating_sub(before) / connections as u64;
    println!("{runtime}: {each} bytes each, of which {sent} came");
    let most = (LARGEST.len() + sent) as u64 + most;
    assert!(each <= most, "{each} bytes each, of which {sent} came");
}
