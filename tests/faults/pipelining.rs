//! R16: a peer that asks and asks, and never reads an answer.
//!
//! Full size, 1,000,000 requests:
//!
//! ```text
//! cargo test --release -p netaio-tests --test faults -- --ignored --nocapture r16
//! ```

use std::time::Duration;

use netaio_asyncstd::smol::Smol;
use netaio_driver::{Incoming, Link, MessageType};
use netaio_tokio::Tokio;

use crate::ends::{self, listen, message, only_link};
use crate::raw_peer::RawPeer;
use crate::runtimes::{Flavour, TestRuntime, run};
use crate::waiting::{Count, off_thread, sleep, soon};

/// The default bounds.
const IN_FLIGHT: usize = 256;
const QUEUED: u64 = 256 * 1024;

#[test]
fn r16_a_peer_that_never_reads_is_not_read_from_without_end_on_tokio() {
    run::<Tokio, _>(Flavour::Threads, |runtime| {
        flooded(runtime, &[60_000, 1_000], 100_000)
    });
}

#[test]
fn r16_a_peer_that_never_reads_is_not_read_from_without_end_on_smol() {
    run::<Smol, _>(Flavour::OneThread, |runtime| {
        flooded(runtime, &[60_000, 1_000], 100_000)
    });
}

#[test]
#[ignore = "a million requests take a while"]
fn r16_a_million_requests_of_a_peer_that_never_reads_are_not_read() {
    run::<Tokio, _>(Flavour::Threads, |runtime| {
        // The shortest need that many, before they fill what the system has.
        flooded(runtime, &[60_000, 1_000, 10], 1_000_000)
    });
}

/// With replies of these lengths, and with none.
async fn flooded<R: TestRuntime>(
    runtime: R,
    replies: &'static [usize],
    requests: usize,
) {
    // What replies get beside their content is counted once they are queued.
    const FRAMING: u64 = 4 * 1024;
    for &length in replies {
        let link = flood(&runtime, "reply", length, requests).await;
        let counters = link.counters();
        // All frames are of one length: what waits is what is not written.
        let frame = message(MessageType::RESPOND_URI, "reply", vec![0; length]);
        let frame = frame.encode().expect("it fits").len() as u64;
        let queued = counters.frames_out * frame - counters.bytes_out;
        println!("replies of {frame} bytes: {queued} bytes are queued");
        assert!(
            queued <= QUEUED + frame + FRAMING,
            "{queued} bytes are queued"
        );
        assert!(queued >= QUEUED / 2, "it stopped before it had to");
        assert!(link.in_flight() <= IN_FLIGHT);
        assert!(!link.is_closed());
    }
    // None at all: each request stays in flight.
    let link = flood(&runtime, "hang", 0, requests).await;
    assert_eq!(link.in_flight(), IN_FLIGHT);
    assert_eq!(link.counters().dispatched, IN_FLIGHT as u64);
}

/// Sends so many requests to a server of its own, until it takes no more of them;
/// gives the server's end of the connection. It rests.
async fn flood<R: TestRuntime>(
    runtime: &R,
    uri: &'static str,
    reply: usize,
    requests: usize,
) -> Link<R> {
    let server = ends::server(runtime);
    server.on(
        (MessageType::REQUEST_URI, "reply"),
        move |m: Incoming<R>| m.respond(vec![7; reply]),
    );
    let (running, most) = (Count::default(), Count::default());
    let count = running.clone();
    let too_many = most.clone();
    server.on((MessageType::REQUEST_URI, "hang"), move |_| {
        if count.next() >= IN_FLIGHT {
            too_many.add();
        }
        std::future::pending::<()>()
    });
    let address = listen(&server).await;
    let peer = off_thread(move || {
        let mut peer = RawPeer::connect(address);
        let request = message(MessageType::REQUEST_URI, uri, [7; 500]);
        let request = request.encode().expect("it fits");
        let (sent, _) = peer.flood(&request, requests);
        assert!(sent < requests, "the server reads without end");
        peer
    })
    .await;
    let link = only_link(runtime, &server).await;
    let rests = async {
        loop {
            let before = link.counters();
            sleep(runtime, Duration::from_millis(100)).await;
            if link.counters() == before {
                return;
            }
        }
    };
    soon(runtime, rests).await;
    assert_eq!(most.get(), 0, "more are in flight than may be");
    // Others are served meanwhile.
    let (other, _) = ends::connected(runtime, address).await;
    let asked = other.request("echo").into_future();
    assert!(soon(runtime, asked).await.is_ok());
    // For as long as the link is looked at.
    runtime.spawn({
        let runtime = runtime.clone();
        async move {
            sleep(&runtime, Duration::from_secs(2)).await;
            drop((server, peer));
        }
    });
    link
}
