//! Bare TCP streams on tokio.

pub(crate) mod handed_over;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{body, buffer, put_frame, turn_round};
use crate::load::{self, Clock, Server, Shape, Threads, client_on_tokio, on_tokio};

pub(crate) fn server(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_tokio(threads, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let accept = tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(echo(stream));
                }
            });
            started.at(address).await;
            accept.abort();
        });
    })
}

async fn echo(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("a socket");
    let (mut input, mut output) = (buffer(), buffer());
    // The client ends by going away, in the middle of what is on its way.
    while stream
        .read_buf(&mut input)
        .await
        .is_ok_and(|count| count > 0)
    {
        turn_round(&mut input, &mut output, 1);
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// Round trips a second.
pub(crate) fn rate(server: SocketAddr, shape: Shape, span: Duration) -> f64 {
    client_on_tokio(shape.threads, async {
        let mut streams = Vec::new();
        for _ in 0..shape.connections {
            let stream = TcpStream::connect(server).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            streams.push(stream);
        }
        let clock = Clock::new();
        let tasks = streams.into_iter();
        let tasks = tasks.map(|stream| ask(stream, shape, clock.clone()));
        load::rate(tasks.collect(), &clock, span).await
    })
}

async fn ask(mut stream: TcpStream, shape: Shape, clock: Clock) -> u64 {
    let (mut input, mut output) = (buffer(), buffer());
    let body = body(shape.content);
    let mut count = 0;
    for _ in 0..shape.depth {
        put_frame(&mut output, 0, &body);
    }
    while !clock.is_over() {
        stream.write_all(&output).await.expect("it is open");
        output.clear();
        stream.read_buf(&mut input).await.expect("it is open");
        count += turn_round(&mut input, &mut output, 0);
    }
    count
}
