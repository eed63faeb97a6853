//! Bytes on their way out.

use alloc::collections::VecDeque;
use core::fmt;
use core::ops::Range;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};

/// A body of at least this length stays a chunk of its own instead of being
/// copied behind what waits already.
const OWN_CHUNK: usize = 4 * 1024;

/// What waits to be written, as a [`bytes::Buf`]: write a chunk, or several at
/// once, then `advance` by as much as was taken.
///
/// Small messages gather in one chunk, so that all that are made in one turn
/// leave in one write; large ones are not copied.
#[derive(Default)]
pub struct Outgoing {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    remaining: usize,
}

impl Outgoing {
    /// An empty queue. Holds no memory until something is put in.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.remaining == 0
    }

    /// Gives back all memory if nothing waits.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, start: [&[u8]; 2], body: Bytes) {
        let [header, auth] = start;
        self.tail.put_slice(header);
        self.tail.put_slice(auth);
        self.remaining += header.len() + auth.len() + body.len();
        if body.len() < OWN_CHUNK {
            self.tail.put_slice(&body);
        } else {
            self.chunks.push_back(self.tail.split().freeze());
            self.chunks.push_back(body);
        }
    }
}

impl Outgoing {
    /// Takes out what lies between these positions, which are in order and count
    /// from the next byte to be written.
    pub(crate) fn cut_out(&mut self, ranges: impl Iterator<Item = Range<u64>>) {
        let mut old = core::mem::take(self);
        old.chunks.push_back(old.tail.split().freeze());
        let mut at = 0;
        for range in ranges {
            while let Some(kept) = old.pop(range.start.saturating_sub(at)) {
                at += kept.len() as u64;
                self.push_back(kept);
            }
            while let Some(dropped) = old.pop(range.end.saturating_sub(at)) {
                at += dropped.len() as u64;
            }
        }
        while let Some(kept) = old.pop(u64::MAX) {
            self.push_back(kept);
        }
    }

    /// Takes at most so many bytes out of the first chunk, if that is any.
    fn pop(&mut self, most: u64) -> Option<Bytes> {
        while self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
        let chunk = self.chunks.front_mut().filter(|_| most > 0)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Some(chunk.split_to(chunk.len().min(most)))
    }

    fn push_back(&mut self, bytes: Bytes) {
        if bytes.len() < OWN_CHUNK {
            self.remaining += bytes.len();
            self.tail.put_slice(&bytes);
        } else {
            self.push_shared(bytes);
        }
    }

    /// Puts in a whole frame whose bytes others share: it is not copied.
    pub(crate) fn push_shared(&mut self, frame: Bytes) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.remaining += frame.len();
        self.chunks.push_back(frame);
    }
}

impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        match self.chunks.front() {
            Some(chunk) => chunk,
            None => &self.tail,
        }
    }

    #[cfg(feature = "std")]
    fn chunks_vectored<'a>(&'a self, target: &mut [std::io::IoSlice<'a>]) -> usize {
        let chunks = self.chunks.iter().map(|chunk| &chunk[..]);
        let all = chunks.chain([&self.tail[..]]).filter(|c| !c.is_empty());
        let mut used = 0;
        for (slot, chunk) in target.iter_mut().zip(all) {
            *slot = std::io::IoSlice::new(chunk);
            used += 1;
        }
        used
    }

    fn advance(&mut self, count: usize) {
        let mut left = count.min(self.remaining);
        self.remaining -= left;
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.len() > left {
                chunk.advance(left);
                return;
            }
            left -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail.advance(left.min(self.tail.len()));
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("remaining", &self.remaining)
            .field("chunks", &(self.chunks.len() + 1))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn filled() -> (Outgoing, Vec<u8>) {
        let mut outgoing = Outgoing::new();
        let mut bytes = Vec::new();
        for (n, length) in [3_usize, 5_000, 0, 10, 4_096].into_iter().enumerate() {
            let body = vec![n as u8; length];
            outgoing.push([b"header", b"auth"], body.clone().into());
            bytes.extend_from_slice(b"headerauth");
            bytes.extend_from_slice(&body);
        }
        (outgoing, bytes)
    }

    #[test]
    fn what_was_pushed_comes_out_whatever_the_steps() {
        for step in [1, 2, 7, 4_000, 100_000] {
            let (mut outgoing, bytes) = filled();
            let mut written = Vec::new();
            while outgoing.has_remaining() {
                let chunk = outgoing.chunk();
                let count = chunk.len().min(step);
                written.extend_from_slice(&chunk[..count]);
                outgoing.advance(count);
            }
            assert_eq!(written, bytes);
        }
    }

    #[test]
    fn what_is_cut_out_never_comes_out_and_the_rest_does() {
        let cuts: [&[Range<u64>]; 4] = [
            &[],
            &[0..2, 2..3],
            &[13..5_000, 5_000..5_001, 9_000..9_170],
            &[0..9_000, 9_000..9_169],
        ];
        for ranges in cuts {
            let (mut outgoing, bytes) = filled();
            outgoing.cut_out(ranges.iter().cloned());
            let kept = bytes.iter().enumerate().filter(|(at, _)| {
                let at = *at as u64;
                !ranges.iter().any(|range| range.contains(&at))
            });
            let kept: Vec<_> = kept.map(|(_, byte)| *byte).collect();
            assert_eq!(outgoing.remaining(), kept.len());
            let length = outgoing.remaining();
            assert!(outgoing.copy_to_bytes(length) == kept, "{ranges:?}");
        }
    }

    #[test]
    fn small_messages_share_a_chunk_and_large_ones_are_not_copied() {
        let mut outgoing = Outgoing::new();
        outgoing.push([b"h", b"a"], Bytes::from_static(b"small"));
        outgoing.push([b"h", b"a"], Bytes::from_static(b"small"));
        assert_eq!(outgoing.chunk(), b"hasmallhasmall");
        let large = Bytes::from(vec![0; 10_000]);
        outgoing.push([b"h", b"a"], large.clone());
        outgoing.advance(16);
        assert_eq!(outgoing.chunk().as_ptr(), large.as_ptr());
    }

    #[test]
    #[cfg(feature = "std")]
    fn vectored_chunks_are_the_whole_queue() {
        let (outgoing, bytes) = filled();
        let mut slices = [std::io::IoSlice::new(&[]); 16];
        let count = outgoing.chunks_vectored(&mut slices);
        let joined: Vec<u8> =
            slices[..count].iter().flat_map(|s| s.to_vec()).collect();
        assert_eq!(joined, bytes);
    }
}
