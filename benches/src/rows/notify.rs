//! Notifying many: a server beside a bare loop that writes the same bytes.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use bytes::BytesMut;
use netaio_tokio::{Limits, Link, Message, MessageType, TcpServer};
use tokio::net::TcpListener;

use crate::arguments::Arguments;
use crate::load::{Threads, on_tokio};
use crate::report::Row;
use crate::rows::named;
use crate::sockets::put_frame;

const URI: &str = "news";
const CONTENT: usize = 64;
/// Header, no auth fields, URI length, URI, content.
const FRAME: usize = 9 + 3 + 2 + URI.len() + CONTENT;

pub(crate) fn row(arguments: &Arguments) -> Row {
    let (readers, notices) = match arguments.quick {
        true => (50, 20),
        false => (1_000, 300),
    };
    let threads = arguments.threads;
    let name = named("notify to 1,000 subscribers, 64 B", threads);
    Row::new(name, "notifications/s")
        .subject("netaio", move || {
            measure(readers, notices, threads, |listening| {
                on_tokio(threads, publish(readers, notices, listening))
            })
        })
        .subject("a bare loop of writes", move || {
            measure(readers, notices, threads, |listening| {
                on_tokio(threads, write(readers, notices, listening))
            })
        })
        .goal("a bare loop of writes", 0.85)
}

/// What a publisher uses to say where it listens.
type Listening = mpsc::Sender<SocketAddr>;

/// Runs a publisher on this thread, and its readers on another, from when it
/// begins to publish, which it gives, until all has come.
fn measure(
    readers: usize,
    notices: usize,
    threads: Threads,
    publisher: impl FnOnce(Listening) -> Instant,
) -> f64 {
    let (sender, receiver) = mpsc::channel();
    let reading = thread::spawn(move || {
        let address = receiver.recv().expect("it listens");
        on_tokio(threads, read(address, readers, notices));
        Instant::now()
    });
    let start = publisher(sender);
    let end = reading.join().expect("all has come");
    (readers * notices) as f64 / (end - start).as_secs_f64()
}

/// Bare sockets that read all.
async fn read(server: SocketAddr, readers: usize, notices: usize) {
    use tokio::io::AsyncReadExt as _;
    let mut tasks = Vec::new();
    for _ in 0..readers {
        let stream = TcpStream::connect(server).expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
        let mut stream = stream;
        tasks.push(tokio::spawn(async move {
            let mut left = notices * FRAME;
            let mut buffer = [0; 16 * 1024];
            while left > 0 {
                let most = left.min(buffer.len());
                let count = stream.read(&mut buffer[..most]).await;
                left -= count.expect("it is open");
            }
        }));
    }
    for task in tasks {
        task.await.expect("all has come");
    }
}

/// Lets nothing wait for long: netaio drops what waits too long, and a bare loop
/// has nowhere to keep it.
const TOGETHER: usize = 8;

async fn publish(readers: usize, notices: usize, listening: Listening) -> Instant {
    let limits = Limits {
        header_timeout: None,
        max_connections_per_address: readers,
        ..Limits::default()
    };
    let server = TcpServer::builder().limits(limits).build();
    let address = server.listen("127.0.0.1:0").await.expect("a port");
    listening.send(address).expect("a reader");
    let links = loop {
        let links = server.links();
        if links.len() == readers {
            break links;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    for link in &links {
        server.subscribe(URI, link).expect("there is room");
    }
    let start = Instant::now();
    for notice in 0..notices {
        let news = Message::new(MessageType::NOTIFY_URI, URI, [7; CONTENT]);
        let told = server.notify(URI, news.expect("it is short")).await;
        assert_eq!(told, Ok(readers));
        let waits = |link: &Link| link.notices() + link.queued() > 0;
        while notice % TOGETHER == 0 && links.iter().any(waits) {
            tokio::task::yield_now().await;
        }
    }
    while links.iter().any(|link| !link.is_closed()) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    start
}

async fn write(readers: usize, notices: usize, listening: Listening) -> Instant {
    use tokio::io::AsyncWriteExt as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    listening.send(address).expect("a reader");
    let mut streams = Vec::new();
    for _ in 0..readers {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        streams.push(stream);
    }
    let mut body = vec![0, URI.len() as u8];
    body.extend_from_slice(URI.as_bytes());
    body.resize(body.len() + CONTENT, 7);
    let start = Instant::now();
    for _ in 0..notices {
        let mut frame = BytesMut::new();
        put_frame(&mut frame, 8, &body);
        for stream in &mut streams {
            stream.write_all(&frame).await.expect("it is open");
        }
    }
    start
}
