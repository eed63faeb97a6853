//! The floor: bare sockets that move netaio frames with their checksum, and do
//! nothing else. Reads and writes are batched.

pub(crate) mod async_io;
pub(crate) mod tokio;
pub(crate) mod udp;

use bytes::{Buf as _, BytesMut};

pub(crate) fn buffer() -> BytesMut {
    BytesMut::with_capacity(128 * 1024)
}

/// The body of a request for `echo` with so much content.
pub(crate) fn body(content: usize) -> Vec<u8> {
    let mut body = vec![0, 4, b'e', b'c', b'h', b'o'];
    body.resize(body.len() + content, 7);
    body
}

pub(crate) fn put_frame(output: &mut BytesMut, kind: u8, body: &[u8]) {
    output.extend_from_slice(&[kind, 0, 3]);
    output.extend_from_slice(&(body.len() as u16).to_be_bytes());
    output.extend_from_slice(&crc32fast::hash(body).to_be_bytes());
    output.extend_from_slice(&[0x4d, 0x40, 0]);
    output.extend_from_slice(body);
}

pub(crate) fn next_body(input: &mut BytesMut) -> Option<BytesMut> {
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

/// Takes all frames that have come and puts as many into `output`; gives how
/// many.
fn turn_round(input: &mut BytesMut, output: &mut BytesMut, kind: u8) -> u64 {
    let mut count = 0;
    while let Some(body) = next_body(input) {
        put_frame(output, kind, &body);
        count += 1;
    }
    count
}
