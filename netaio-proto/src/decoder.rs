//! From bytes as they come to frames: the incremental decoder.

use core::fmt;

use bytes::BytesMut;

use crate::error::ProtocolError;
use crate::wire::auth_fields::AuthFields;
use crate::wire::frame::Frame;
use crate::wire::header::Header;
use crate::wire::message::{Message, uri_end};
use crate::wire::message_type::MessageTypes;

/// Room to read into at first, and the least later on. A great many connections
/// may have the beginning of a frame and nothing else.
const LEAST_ROOM: usize = 512;
/// Room to read into, at most.
const MOST_ROOM: usize = 128 * 1024;
/// A buffer of so many times the room that what comes lately needs is too much.
const MUCH: usize = 8;

/// Cuts a stream of bytes into frames, wherever its input is cut.
///
/// Never holds more than it was given, plus the room to read into. Growth
/// follows what came, not what a header announces. Messages are copied out of its
/// buffer, so that keeping one does not keep the buffer, and the buffer is filled
/// again and again as it is.
///
/// ```
/// use netaio_proto::{FrameDecoder, Message, MessageType, MessageTypes};
///
/// let types = MessageTypes::default();
/// let bytes = Message::new(MessageType::OK, "a", "b")?.encode()?;
/// let mut decoder = FrameDecoder::new();
/// for byte in &bytes[..bytes.len() - 1] {
///     decoder.push(&[*byte]);
///     assert!(decoder.next_frame(&types).is_none());
/// }
/// decoder.push(&bytes[bytes.len() - 1..]);
/// let message = decoder.next_frame(&types).expect("complete")?;
/// assert_eq!(message.uri(), b"a");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct FrameDecoder {
    /// All of it is initialised; `start..end` is what came and was not decoded.
    buffer: BytesMut,
    start: usize,
    end: usize,
    room: usize,
    /// The header of the next frame, once it is there.
    next: Option<Header>,
}

/// A frame that cannot be used. It has been passed over: what follows it in the
/// stream is decoded as if it had not been there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct BadFrame {
    /// What is wrong with it.
    pub error: ProtocolError,
    /// The frame as a message, if it is one but for its checksum or type.
    pub message: Option<Message>,
    /// The auth fields; none if they cannot be decoded.
    pub fields: AuthFields,
}

impl FrameDecoder {
    /// A decoder that has seen nothing. Holds no memory until it does.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room to read bytes into; tell how many came with
    /// [`received`](Self::received). Never empty.
    pub fn recv_buffer(&mut self) -> &mut [u8] {
        let room = self.room.clamp(LEAST_ROOM, MOST_ROOM);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            // What was needed once is not kept for a peer that says little.
            if self.buffer.len() > room.saturating_mul(MUCH) {
                self.buffer = BytesMut::new();
            }
        }
        if self.buffer.len().saturating_sub(self.end) < room / 2 {
            self.make_room(room);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Notes that `count` bytes of the receive buffer have been filled; never
    /// more than it has.
    pub fn received(&mut self, count: usize) {
        let room = self.buffer.len().saturating_sub(self.end);
        let count = count.min(room);
        // As much as has come lately: twice when that was all there was room for,
        // and slowly less when it was little.
        self.room = if count == room {
            room.saturating_mul(2).clamp(LEAST_ROOM, MOST_ROOM)
        } else if count < self.room / 4 {
            (self.room - self.room / 8).max(LEAST_ROOM)
        } else {
            self.room.max(count)
        };
        self.end = self.end.saturating_add(count);
        if self.next.is_none() {
            self.next = Header::decode(self.pending());
        }
    }

    /// Takes in a copy of `bytes`.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.recv_buffer();
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            if let Some(target) = room.get_mut(..count) {
                target.copy_from_slice(now);
            }
            self.received(count);
            bytes = later;
        }
    }

    /// Bytes that came and are not decoded.
    #[inline]
    pub fn buffered(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The header of the next frame, once it is there.
    #[inline]
    pub fn header(&self) -> Option<Header> {
        self.next
    }

    /// Whether the next frame is there as a whole.
    #[inline]
    pub fn has_frame(&self) -> bool {
        self.next
            .is_some_and(|header| header.frame_length() <= self.buffered())
    }

    /// About how many frames are there: as many as there would be if all of them
    /// were as long as the next.
    #[inline]
    pub fn frames(&self) -> usize {
        let length = self.next.map(|header| header.frame_length());
        let frames = length.and_then(|length| self.buffered().checked_div(length));
        frames.unwrap_or_default()
    }

    /// The next frame as it is, unchecked; `None` until it is there as a whole.
    #[inline]
    pub fn peek(&self) -> Option<Frame<'_>> {
        Frame::cut(self.next?, self.pending())
    }

    /// The next frame, checked for form and checksum; `None` until it is there
    /// as a whole. It is as it was on the wire: plugins that open it want its
    /// [`Envelope`](crate::Envelope) (`Message::into_envelope`).
    ///
    /// # Errors
    ///
    /// [`BadFrame`] if it cannot be used; it has been passed over.
    pub fn next_frame(
        &mut self,
        types: &MessageTypes,
    ) -> Option<Result<Message, BadFrame>> {
        let frame = self.peek()?;
        let outcome = match frame.verify(types) {
            Ok(()) => Ok(Message::from_frame(&frame)),
            Err(error) => Err(BadFrame::new(&frame, error)),
        };
        let length = frame.length();
        self.skip(length);
        Some(outcome)
    }

    /// Passes over the next frame without decoding it; `false` while it is not
    /// there as a whole.
    #[inline]
    pub fn skip_frame(&mut self) -> bool {
        let length = self.peek().map(|frame| frame.length());
        self.skip(length.unwrap_or_default());
        length.is_some()
    }

    /// Gives back the buffer if there is nothing in it.
    pub fn release(&mut self) {
        if self.start == self.end {
            self.shrink();
        }
    }

    /// Gives back the room to read into, and keeps what came. That is copied: to
    /// be called when nothing has come for a while.
    pub fn shrink(&mut self) {
        if self.has_room() {
            self.buffer = BytesMut::from(self.pending());
            self.end = self.buffered();
            self.start = 0;
        }
    }

    /// Whether it holds more memory than what came needs.
    fn has_room(&self) -> bool {
        self.buffer.capacity() > self.buffered()
    }

    #[inline]
    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    #[inline]
    fn skip(&mut self, length: usize) {
        self.start = self.start.saturating_add(length).min(self.end);
        self.next = Header::decode(self.pending());
    }

    /// Moves what is pending to the front, of a larger buffer if need be.
    fn make_room(&mut self, room: usize) {
        let pending = self.buffered();
        let wanted = pending.saturating_add(room);
        if self.buffer.len() < wanted {
            // A frame that needs several rounds doubles the buffer, so that
            // the copying stays in proportion.
            let doubled = self.buffer.len().saturating_mul(2);
            let most = pending.saturating_add(MOST_ROOM);
            let mut larger = BytesMut::zeroed(wanted.max(doubled.min(most)));
            if let Some(target) = larger.get_mut(..pending) {
                target.copy_from_slice(self.pending());
            }
            self.buffer = larger;
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.start = 0;
        self.end = pending;
    }
}

impl BadFrame {
    pub(crate) fn new(frame: &Frame<'_>, error: ProtocolError) -> Self {
        let fields = AuthFields::from_packed(frame.auth).ok();
        let whole = fields.is_some() && uri_end(frame.body).is_some();
        Self {
            error,
            message: whole.then(|| Message::from_frame(frame)),
            fields: fields.unwrap_or_default(),
        }
    }
}

impl fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecoder")
            .field("buffered", &self.buffered())
            .field("next", &self.header())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::message_type::MessageType;

    fn decode_all(decoder: &mut FrameDecoder) -> Vec<Message> {
        let types = MessageTypes::default();
        core::iter::from_fn(|| decoder.next_frame(&types))
            .map(Result::unwrap)
            .collect()
    }

    fn stream() -> (Vec<Message>, Vec<u8>) {
        let messages: Vec<_> = [0, 1, 100, 9_000, 65_000, 7, 20_000, 3]
            .into_iter()
            .map(|n| {
                let content = alloc::vec![n as u8; n];
                Message::new(MessageType::OK, "uri", content).unwrap()
            })
            .collect();
        let bytes = messages.iter().flat_map(|m| m.encode().unwrap()).collect();
        (messages, bytes)
    }

    #[test]
    fn pieces_of_any_size_give_the_same_frames() {
        let (messages, bytes) = stream();
        for size in [1, 2, 3, 9, 10, 1000, 4096, 65_536, bytes.len()] {
            let mut decoder = FrameDecoder::new();
            let mut decoded = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                decoded.extend(decode_all(&mut decoder));
            }
            assert_eq!(decoded, messages, "pieces of {size}");
            assert_eq!(decoder.buffered(), 0);
        }
    }

    #[test]
    fn reading_into_the_buffer_gives_the_same_frames() {
        let (messages, bytes) = stream();
        let mut decoder = FrameDecoder::new();
        let mut decoded = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = decoder.recv_buffer();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            decoder.received(count);
            rest = &rest[count..];
            decoded.extend(decode_all(&mut decoder));
        }
        assert_eq!(decoded, messages);
    }

    #[test]
    fn frames_are_counted_by_the_length_of_the_next() {
        let frame = Message::new(MessageType::OK, "a", "").unwrap();
        let frame = frame.encode().unwrap();
        let mut decoder = FrameDecoder::new();
        assert_eq!(decoder.frames(), 0);
        decoder.push(&frame[..frame.len() - 1]);
        assert_eq!(decoder.frames(), 0);
        decoder.push(&frame[frame.len() - 1..]);
        decoder.push(&frame.repeat(2));
        assert_eq!(decoder.frames(), 3);
        assert_eq!(decode_all(&mut decoder).len(), 3);
        assert_eq!(decoder.frames(), 0);
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert!(decoder.buffer.capacity() <= LEAST_ROOM);
        decoder.push(&[0; 100]);
        assert!(decoder.buffer.capacity() <= LEAST_ROOM);
    }

    #[test]
    fn a_bad_frame_is_passed_over_and_the_next_one_decoded() {
        let types = MessageTypes::default();
        let good = Message::new(MessageType::OK, "good", "").unwrap();
        let mut bytes = good.encode().unwrap();
        bytes[5] ^= 1;
        bytes.extend(good.encode().unwrap());
        let mut decoder = FrameDecoder::new();
        decoder.push(&bytes);
        let bad = decoder.next_frame(&types).unwrap().unwrap_err();
        assert!(matches!(bad.error, ProtocolError::BadChecksum { .. }));
        assert_eq!(bad.message.unwrap().uri(), b"good");
        assert_eq!(decode_all(&mut decoder), [good]);
    }

    #[test]
    fn room_for_much_is_not_kept_for_a_peer_that_says_little() {
        let types = MessageTypes::default();
        let fill = |decoder: &mut FrameDecoder, bytes: &[u8]| {
            let room = decoder.recv_buffer();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            decoder.received(count);
            while decoder.next_frame(&types).is_some() {}
            count
        };
        let (_, bytes) = stream();
        let mut decoder = FrameDecoder::new();
        let mut rest = &bytes.repeat(10)[..];
        while !rest.is_empty() {
            rest = &rest[fill(&mut decoder, rest)..];
        }
        let little = Message::new(MessageType::OK, "a", "").unwrap();
        let little = little.encode().unwrap();
        for _ in 0..60 {
            fill(&mut decoder, &little);
        }
        decoder.recv_buffer();
        assert!(decoder.buffer.capacity() <= MUCH * LEAST_ROOM);
    }

    #[test]
    fn room_for_what_comes_together_is_kept_when_a_little_comes_between() {
        let little = Message::new(MessageType::OK, "a", "").unwrap();
        let little = little.encode().unwrap();
        let mut decoder = FrameDecoder::new();
        let much = little.repeat(2_000);
        decoder.push(&much);
        decode_all(&mut decoder);
        for _ in 0..6 {
            decoder.push(&little);
            decode_all(&mut decoder);
        }
        assert!(decoder.recv_buffer().len() >= much.len() / 2);
    }

    #[test]
    fn room_that_is_used_is_kept_though_it_is_never_filled() {
        let little = Message::new(MessageType::OK, "a", "").unwrap();
        let much = little.encode().unwrap().repeat(250);
        let mut decoder = FrameDecoder::new();
        decoder.push(&much.repeat(2));
        decode_all(&mut decoder);
        let read = |decoder: &mut FrameDecoder, bytes: &[u8]| {
            let room = decoder.recv_buffer();
            assert!(room.len() > bytes.len());
            room[..bytes.len()].copy_from_slice(bytes);
            decoder.received(bytes.len());
            decode_all(decoder);
        };
        for _ in 0..100 {
            for _ in 0..2 {
                read(&mut decoder, &little.encode().unwrap());
            }
            read(&mut decoder, &much);
        }
    }

    #[test]
    fn an_empty_decoder_gives_its_buffer_back() {
        let mut decoder = FrameDecoder::new();
        decoder.push(b"1");
        decoder.release();
        assert_eq!(decoder.buffered(), 1);
        decoder.skip(1);
        decoder.release();
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    #[test]
    fn a_decoder_that_shrinks_holds_what_came_and_goes_on() {
        let (messages, bytes) = stream();
        let mut decoder = FrameDecoder::new();
        let mut decoded = Vec::new();
        for piece in bytes.chunks(777) {
            decoder.push(piece);
            decoder.shrink();
            assert!(!decoder.has_room());
            assert_eq!(decoder.buffer.capacity(), decoder.buffered());
            decoded.extend(decode_all(&mut decoder));
            decoder.shrink();
            assert_eq!(decoder.buffer.capacity(), decoder.buffered());
        }
        assert_eq!(decoded, messages);
    }
}
