//! R17: a server that may have 256 files open is dialled 1,000 times. It keeps to
//! what it has, waits without spinning, and serves again once files are free.
//!
//! This is its full size, except that `cargo test` leaves it more time.

use std::time::{Duration, Instant};

use netaio_tokio::Tokio;
use tokio::net::TcpStream;

use crate::ends::{client, client_builder};
use crate::process::{OtherEnd, allow_files};
use crate::runtimes::{Flavour, TestRuntime};
use crate::waiting::{eventually, off_thread, sleep, within};

#[test]
fn r17_a_server_without_files_rests_and_serves_again_on_tokio() {
    dialled_too_often("tokio", Duration::from_secs(8));
}

#[test]
fn r17_a_server_without_files_rests_and_serves_again_on_smol() {
    dialled_too_often("smol", Duration::from_secs(8));
}

#[test]
#[ignore = "it measures time, which needs an idle machine"]
fn r17_a_server_without_files_serves_again_within_two_seconds() {
    dialled_too_often("tokio", Duration::from_secs(2));
    dialled_too_often("smol", Duration::from_secs(2));
}

fn dialled_too_often(server: &'static str, bound: Duration) {
    const FILES: usize = 256;
    const DIALS: usize = 1_000;
    allow_files(20_000);
    Tokio::block_on(Flavour::Threads, async move {
        let runtime = Tokio::default();
        let options = format!("files={FILES} header=600000");
        let start = move || OtherEnd::server(server, &options);
        let (mut server, address) = off_thread(start).await;
        let early = client(&runtime, address);
        early.connect().await.expect("a connection");
        assert!(early.request("echo").await.is_ok());

        // Those that find no room with the system hang.
        let dials: Vec<_> = (0..DIALS)
            .map(|_| tokio::spawn(TcpStream::connect(address)))
            .collect();
        eventually(&runtime, "its files are used up", || {
            server.number("connections") > FILES - 50
        })
        .await;
        // The last of them.
        sleep(&runtime, Duration::from_millis(500)).await;
        let before = server.processor_time();
        sleep(&runtime, Duration::from_secs(2)).await;
        let busy = server.processor_time() - before;
        let connections = server.number("connections");
        println!(
            "{connections} connections; busy for {busy:?} of 2 s without files"
        );
        assert!(busy < Duration::from_millis(500), "{busy:?}");
        assert!(connections < FILES);
        assert!(early.request("echo").await.is_ok());

        for dial in dials {
            dial.abort();
            drop(dial.await);
        }
        let free = Instant::now();
        let served = async {
            loop {
                // What the system had no room for it asks again, but not soon.
                let late = client_builder(&runtime, address)
                    .connect_timeout(Duration::from_millis(300))
                    .build();
                if late.connect().await.is_ok() {
                    return late.request("echo").await;
                }
            }
        };
        let served = within(&runtime, bound, served).await;
        println!("serves again after {:?}", free.elapsed());
        assert!(served.expect("in time").is_ok());
        assert!(early.request("echo").await.is_ok());
    });
}
