//! Frames: however a stream is cut, the decoder gives the same frames, and what
//! it accepts encodes to the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netaio_proto::{FrameDecoder, Message, MessageTypes};

/// Every frame of `stream`, given in pieces of `size` bytes.
fn decode(stream: &[u8], size: usize) -> Vec<Result<Message, String>> {
    let types = MessageTypes::default();
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(size) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame(&types) {
            frames.push(match frame {
                Ok(envelope) => Ok(envelope.into_message().expect("checked")),
                Err(bad) => Err(bad.to_string()),
            });
        }
    }
    frames
}

fuzz_target!(|input: (u16, &[u8])| {
    let (size, stream) = input;
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(whole, decode(stream, usize::from(size).max(1)));
    for message in whole.into_iter().flatten() {
        let bytes = message.encode().expect("it came from the wire");
        let again = Message::decode(&bytes, &MessageTypes::default());
        assert_eq!(again.as_ref(), Ok(&message));
    }
});
