//! ZeroMQ in Rust: a dealer that keeps so many messages on the way, and a
//! router that sends them back. Nobody tells which reply is to which message, or
//! waits for a single one, as with all others here.

use std::time::{Duration, Instant};

use zeromq::{
    DealerSocket, Endpoint, RouterSocket, Socket as _, SocketRecv as _,
    SocketSend as _, ZmqMessage,
};

use crate::load::{Clock, Server, Shape, Threads, client_on_tokio, on_tokio};

/// Round trips a second over one connection.
pub(crate) fn rate(shape: Shape, span: Duration) -> f64 {
    let server = server(shape.threads);
    client_on_tokio(shape.threads, async {
        let mut socket = DealerSocket::new();
        let address = format!("tcp://{}", server.address);
        socket.connect(&address).await.expect("a connection");
        let clock = Clock::new();
        let stop = clock.clone();
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            stop.stop();
        });
        let message = || ZmqMessage::from(vec![7; shape.content]);
        let start = Instant::now();
        for _ in 0..shape.depth {
            socket.send(message()).await.expect("it is sent");
        }
        let mut count = 0_u64;
        while !clock.is_over() {
            socket.recv().await.expect("a reply");
            socket.send(message()).await.expect("it is sent");
            count += 1;
        }
        count as f64 / start.elapsed().as_secs_f64()
    })
}

fn server(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_tokio(threads, async {
            let mut socket = RouterSocket::new();
            let bound = socket.bind("tcp://127.0.0.1:0").await.expect("a port");
            let Endpoint::Tcp(_, port) = bound else {
                unreachable!("it was TCP");
            };
            let echo = tokio::spawn(async move {
                while let Ok(message) = socket.recv().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
            started.at(([127, 0, 0, 1], port).into()).await;
            echo.abort();
        });
    })
}
