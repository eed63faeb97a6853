//! Publishing to many subscribers of whom one stops reading: what that costs the
//! others, and what it holds.
//!
//! Rounds without and with such a one alternate in one run. Latency is from
//! before `notify` to when a subscriber has the notification.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netaio_tokio::{LagPolicy, Limits, Message, MessageType, TcpServer};

use crate::load::{Threads, on_tokio};

/// Subscribers.
const READERS: usize = 1_000;
/// Notifications of one round, and the pause between two.
const NOTICES: usize = 600;
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes of content of each: more in all than any socket takes in.
const CONTENT: usize = 8 * 1024;

/// What one round gave.
#[derive(Clone, Copy)]
struct Round {
    p50: Duration,
    p99: Duration,
    /// Most memory that the stalled one's notifications took.
    held: usize,
    lost: u64,
}

pub(crate) fn run(rounds: usize) {
    println!();
    println!(
        "| notify {READERS} subscribers, {CONTENT} B, one stalled | p50 | p99 | \
         p99 beside none stalled | held | lost |"
    );
    println!("|---|---|---|---|---|---|");
    for policy in [
        LagPolicy::DropOldest,
        LagPolicy::DropNewest,
        LagPolicy::Disconnect,
    ] {
        let mut rows = Vec::new();
        for _ in 0..rounds {
            rows.push((round(policy, false), round(policy, true)));
        }
        let ratio = |(without, with): &(Round, Round)| {
            with.p99.as_secs_f64() / without.p99.as_secs_f64()
        };
        rows.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let middle = &rows[rows.len() / 2];
        println!(
            "| {policy:?} | {:.1?} | {:.1?} | {:.2} | {} KiB | {} |",
            middle.1.p50,
            middle.1.p99,
            ratio(middle),
            rows.iter().map(|row| row.1.held).max().unwrap_or(0) / 1024,
            middle.1.lost,
        );
    }
}

fn round(policy: LagPolicy, stalled: bool) -> Round {
    let (sender, receiver) = mpsc::channel();
    let (ready, readers_ready) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        on_tokio(Threads::ONE, async {
            let server = TcpServer::builder()
                .limits(Limits {
                    lag_policy: policy,
                    header_timeout: None,
                    write_timeout: None,
                    ..Limits::default()
                })
                .build();
            server.pubsub();
            let address = server.listen("127.0.0.1:0").await.unwrap();
            sender.send(address).unwrap();
            let _ = readers_ready.await;
            publish(&server).await
        })
    });
    let address = receiver.recv().unwrap();
    let idle = stalled.then(|| subscribe(address));
    let start = Instant::now();
    let mut latencies = on_tokio(Threads::ONE, read(address, ready, start));
    let (sent, held, lost) = server.join().unwrap();
    drop(idle);
    let mut spans: Vec<Duration> = latencies
        .drain(..)
        .map(|(n, at)| at.saturating_duration_since(sent[n]))
        .collect();
    spans.sort();
    Round {
        p50: spans[spans.len() / 2],
        p99: spans[spans.len() * 99 / 100],
        held,
        lost,
    }
}

/// Publishes; gives when each was sent, and what waited for one link at most.
async fn publish(server: &TcpServer) -> (Vec<Instant>, usize, u64) {
    let mut sent = Vec::new();
    let mut held = 0;
    for n in 0..NOTICES {
        let mut content = (n as u32).to_be_bytes().to_vec();
        content.resize(CONTENT, 0);
        let news = Message::new(MessageType::NOTIFY_URI, "news", content).unwrap();
        sent.push(Instant::now());
        server.notify("news", news).await.unwrap();
        let links = server.links();
        let most = links
            .iter()
            .map(|link| link.notices() + link.queued())
            .max();
        held = held.max(most.unwrap_or(0));
        tokio::time::sleep(PAUSE).await;
    }
    // Readers still have to get the last ones.
    tokio::time::sleep(Duration::from_millis(300)).await;
    (sent, held, server.counters().lagged)
}

/// A subscriber that reads its confirmation and nothing more.
fn subscribe(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    let ask = Message::new(MessageType::SUBSCRIBE_URI, "news", "").unwrap();
    stream.write_all(&ask.encode().unwrap()).unwrap();
    let mut confirmed = [0; 18];
    stream.read_exact(&mut confirmed).unwrap();
    stream
}

/// Many bare sockets that subscribe and read; gives what came, and when.
async fn read(
    server: SocketAddr,
    ready: tokio::sync::oneshot::Sender<()>,
    start: Instant,
) -> Vec<(usize, Instant)> {
    use tokio::io::AsyncReadExt as _;
    let mut tasks = Vec::new();
    for _ in 0..READERS {
        let stream = subscribe(server);
        stream.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        tasks.push(tokio::spawn(async move {
            let mut came = Vec::with_capacity(NOTICES);
            // Header, no auth fields, URI length, URI, number; the rest.
            let mut frame = vec![0; 9 + 3 + 2 + 4 + CONTENT];
            for _ in 0..NOTICES {
                if stream.read_exact(&mut frame).await.is_err() {
                    break;
                }
                let at = Instant::now();
                let number = [frame[18], frame[19], frame[20], frame[21]];
                came.push((u32::from_be_bytes(number) as usize, at));
            }
            came
        }));
    }
    let _ = ready.send(());
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), READERS * NOTICES, "in {:?}", start.elapsed());
    all
}
