//! Bare UDP sockets on tokio.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::UdpSocket;

use super::{body, put_frame};
use crate::load::{Clock, Server, Threads, client_on_tokio, on_tokio};

pub(crate) fn server() -> Server {
    Server::start(Threads::ONE, |started| {
        on_tokio(Threads::ONE, async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = socket.local_addr().expect("an address");
            let echo = tokio::spawn(async move {
                let mut buffer = [0; 2048];
                // What arrives at a socket that has gone is an error here.
                loop {
                    let received = socket.recv_from(&mut buffer).await;
                    let Ok((length, from)) = received else {
                        continue;
                    };
                    check(&buffer[..length]);
                    let _ = socket.send_to(&buffer[..length], from).await;
                }
            });
            started.at(address).await;
            echo.abort();
        });
    })
}

/// Round trips a second of `depth` datagrams at a time.
pub(crate) fn rate(
    server: SocketAddr,
    depth: usize,
    content: usize,
    span: Duration,
) -> f64 {
    client_on_tokio(Threads::ONE, async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let mut frame = BytesMut::new();
        put_frame(&mut frame, 0, &body(content));
        let clock = Clock::new();
        let stop = clock.clone();
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            stop.stop();
        });
        let start = Instant::now();
        for _ in 0..depth {
            socket.send_to(&frame, server).await.expect("it is sent");
        }
        let mut buffer = [0; 2048];
        let mut count = 0_u64;
        while !clock.is_over() {
            let received = socket.recv_from(&mut buffer).await;
            let (length, _) = received.expect("a reply");
            check(&buffer[..length]);
            socket.send_to(&frame, server).await.expect("it is sent");
            count += 1;
        }
        count as f64 / start.elapsed().as_secs_f64()
    })
}

fn check(frame: &[u8]) {
    let checksum = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
    assert_eq!(crc32fast::hash(&frame[12..]), checksum);
}
