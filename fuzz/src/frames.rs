//! Frames: however a stream is cut and read, the decoder gives the same frames,
//! and what it accepts encodes to bytes that mean the same.

use netaio_proto::{AuthFields, FrameDecoder, Message, MessageTypes};

/// A stream of bytes.
pub type Input<'a> = &'a [u8];

/// What the decoder said of one frame.
type Verdict = Result<Message, (String, Option<Message>, AuthFields)>;

/// Decodes the stream in many ways.
pub fn run(stream: Input<'_>) {
    let whole = decode(&[stream], push);
    for size in [1, 2, 7, 100] {
        let pieces: Vec<_> = stream.chunks(size).collect();
        assert_eq!(whole, decode(&pieces, push), "pieces of {size}");
        assert_eq!(whole, decode(&pieces, fill), "read in pieces of {size}");
    }
    // Every place, or as many as the time allows.
    let step = stream.len().div_ceil(64).max(1);
    for cut in (0..=stream.len()).step_by(step) {
        let (one, two) = stream.split_at(cut);
        assert_eq!(whole, decode(&[one, two], push), "cut at {cut}");
    }
    assert_eq!(whole.len(), skip(stream));
    for message in whole.into_iter().flatten() {
        let bytes = message.encode().expect("it came from the wire");
        let again = Message::decode(&bytes, &MessageTypes::default());
        assert_eq!(again.as_ref(), Ok(&message));
    }
}

/// Every frame of a stream that comes in these pieces.
fn decode(pieces: &[&[u8]], give: fn(&mut FrameDecoder, &[u8])) -> Vec<Verdict> {
    let types = MessageTypes::default();
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    let mut given = 0;
    for piece in pieces {
        give(&mut decoder, piece);
        given += piece.len();
        loop {
            let expected = decoder.peek().map(|frame| frame.length());
            assert_eq!(decoder.has_frame(), expected.is_some());
            let before = decoder.buffered();
            let Some(frame) = decoder.next_frame(&types) else {
                assert_eq!(decoder.buffered(), before);
                break;
            };
            assert_eq!(Some(before - decoder.buffered()), expected);
            frames.push(match frame {
                Ok(message) => Ok(message),
                Err(bad) => Err((bad.error.to_string(), bad.message, bad.fields)),
            });
        }
        assert!(decoder.buffered() <= given);
        decoder.release();
    }
    frames
}

fn push(decoder: &mut FrameDecoder, piece: &[u8]) {
    decoder.push(piece);
}

/// As a socket is read: into the decoder's own buffer.
fn fill(decoder: &mut FrameDecoder, mut piece: &[u8]) {
    while !piece.is_empty() {
        let room = decoder.recv_buffer();
        let count = room.len().min(piece.len());
        let (now, later) = piece.split_at(count);
        room[..count].copy_from_slice(now);
        decoder.received(count);
        piece = later;
    }
}

/// How many frames can be passed over.
fn skip(stream: &[u8]) -> usize {
    let mut decoder = FrameDecoder::new();
    decoder.push(stream);
    std::iter::from_fn(|| decoder.skip_frame().then_some(())).count()
}
