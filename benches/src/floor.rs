//! The floor: a bare tokio socket pair that moves netaio frames with their
//! checksum, and does nothing else. Reads and writes are batched.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime;

/// Round trips a second of `depth` frames at a time.
pub(crate) fn measure(depth: usize, content: usize, span: Duration) -> f64 {
    let (sender, receiver) = mpsc::channel();
    let server = thread::spawn(move || runtime().block_on(echo(sender)));
    let address = receiver.recv().unwrap();
    let rate = runtime().block_on(ask(address, depth, content, span));
    server.join().unwrap();
    rate
}

async fn echo(sender: mpsc::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    sender.send(listener.local_addr().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut input, mut output) = (buffer(), buffer());
    // The client ends by going away, in the middle of what is on its way.
    while stream
        .read_buf(&mut input)
        .await
        .is_ok_and(|count| count > 0)
    {
        while let Some(body) = next_body(&mut input) {
            put_frame(&mut output, 1, &body);
        }
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

async fn ask(
    address: SocketAddr,
    depth: usize,
    content: usize,
    span: Duration,
) -> f64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut input, mut output) = (buffer(), buffer());
    let mut body = vec![0, 4, b'e', b'c', b'h', b'o'];
    body.resize(body.len() + content, 7);
    let start = Instant::now();
    let mut count = 0_u64;
    for _ in 0..depth {
        put_frame(&mut output, 0, &body);
    }
    while start.elapsed() < span {
        stream.write_all(&output).await.unwrap();
        output.clear();
        stream.read_buf(&mut input).await.unwrap();
        while let Some(reply) = next_body(&mut input) {
            count += 1;
            put_frame(&mut output, 0, &reply);
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn buffer() -> BytesMut {
    BytesMut::with_capacity(64 * 1024)
}

fn put_frame(output: &mut BytesMut, kind: u8, body: &[u8]) {
    output.extend_from_slice(&[kind, 0, 3]);
    output.extend_from_slice(&(body.len() as u16).to_be_bytes());
    output.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    output.extend_from_slice(&[0x4d, 0x40, 0]);
    output.extend_from_slice(body);
}

fn next_body(input: &mut BytesMut) -> Option<BytesMut> {
    let header = input.first_chunk::<9>()?;
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    let checksum = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    if input.len() < 12 + length {
        return None;
    }
    input.advance(12);
    let body = input.split_to(length);
    assert_eq!(crc32fast::hash(&body), checksum);
    Some(body)
}
