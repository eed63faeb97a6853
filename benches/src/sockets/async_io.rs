//! Bare TCP streams on async-io, whose sockets netaio-asyncstd uses.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_io::Async;
use bytes::BytesMut;
use futures_util::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{body, buffer, put_frame, turn_round};
use crate::load::{
    Clock, Server, Shape, Threads, client_on_smol, on_smol, rate_on_smol,
};

pub(crate) fn server(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_smol(threads, |executor| async move {
            let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0));
            let listener = listener.expect("a port");
            let address = listener.get_ref().local_addr().expect("an address");
            let spawner = Arc::clone(&executor);
            let _accept = executor.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    spawner.spawn(echo(stream)).detach();
                }
            });
            started.at(address).await;
        });
    })
}

async fn echo(mut stream: Async<TcpStream>) {
    stream.get_ref().set_nodelay(true).expect("a socket");
    let (mut input, mut output) = (Input::new(), buffer());
    while input.read(&mut stream).await.is_ok_and(|count| count > 0) {
        turn_round(&mut input.bytes, &mut output, 1);
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// Round trips a second.
pub(crate) fn rate(server: SocketAddr, shape: Shape, span: Duration) -> f64 {
    client_on_smol(shape.threads, |executor| async move {
        let mut streams = Vec::new();
        for _ in 0..shape.connections {
            let stream = Async::<TcpStream>::connect(server).await;
            let stream = stream.expect("a connection");
            stream.get_ref().set_nodelay(true).expect("a socket");
            streams.push(stream);
        }
        let clock = Clock::new();
        let tasks = streams.into_iter();
        let tasks = tasks.map(|stream| ask(stream, shape, clock.clone()));
        rate_on_smol(&executor, tasks.collect(), &clock, span).await
    })
}

async fn ask(mut stream: Async<TcpStream>, shape: Shape, clock: Clock) -> u64 {
    let (mut input, mut output) = (Input::new(), buffer());
    let body = body(shape.content);
    let mut count = 0;
    for _ in 0..shape.depth {
        put_frame(&mut output, 0, &body);
    }
    while !clock.is_over() {
        stream.write_all(&output).await.expect("it is open");
        output.clear();
        input.read(&mut stream).await.expect("it is open");
        count += turn_round(&mut input.bytes, &mut output, 0);
    }
    count
}

/// What has come, and a place to read into.
struct Input {
    bytes: BytesMut,
    buffer: Vec<u8>,
}

impl Input {
    fn new() -> Self {
        Self {
            bytes: buffer(),
            buffer: vec![0; 128 * 1024],
        }
    }

    async fn read(
        &mut self,
        stream: &mut Async<TcpStream>,
    ) -> std::io::Result<usize> {
        let count = stream.read(&mut self.buffer).await?;
        self.bytes.extend_from_slice(&self.buffer[..count]);
        Ok(count)
    }
}
