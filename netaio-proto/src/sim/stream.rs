//! The two directions of a simulated stream.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::time::Instant;

/// One end of a simulated stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamEnd {
    pub(super) stream: u32,
    pub(super) side: Side,
}

/// Which end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Side {
    Connecting,
    Accepting,
}

impl StreamEnd {
    /// The stream's number, in the order of connecting, from 1 on.
    pub fn stream(self) -> u32 {
        self.stream
    }

    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        let side = match self.side {
            Side::Connecting => Side::Accepting,
            Side::Accepting => Side::Connecting,
        };
        Self { side, ..self }
    }
}

/// What a read from a simulated stream gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Bytes, at least one.
    Bytes(Bytes),
    /// Nothing has come, for now.
    Nothing,
    /// The other end writes no more. Comes once.
    End,
    /// The stream is no more. Comes once.
    Reset,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) connecting: Half,
    pub(super) accepting: Half,
}

/// What belongs to one end: where it is, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) address: SocketAddr,
    pub(super) inbound: Pipe,
    /// Whether this end may write.
    pub(super) writes: bool,
    /// Whether this end reads; if not, what comes is thrown away.
    pub(super) reads: bool,
    /// Until then reads give nothing.
    pub(super) paused_until: Instant,
}

impl Half {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            inbound: Pipe::default(),
            writes: true,
            reads: true,
            paused_until: Instant::EPOCH,
        }
    }

    /// When the next read gives something, if it does not do so now.
    pub(super) fn next_event(&self, now: Instant) -> Option<Instant> {
        let at = self.inbound.next().filter(|_| self.reads)?;
        Some(at.max(self.paused_until)).filter(|at| *at > now)
    }
}

impl Stream {
    pub(super) fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Connecting => &mut self.connecting,
            Side::Accepting => &mut self.accepting,
        }
    }

    /// Whether nothing will happen on it any more.
    pub(super) fn is_over(&self) -> bool {
        [&self.connecting, &self.accepting]
            .iter()
            .all(|half| !half.writes && (!half.reads || half.inbound.is_empty()))
    }
}

/// Bytes on their way to one end, in the pieces in which they were written.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pieces: VecDeque<(Instant, Piece)>,
    bytes: u64,
    /// When the last piece comes: none overtakes another.
    last: Instant,
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    End,
    Reset,
}

impl Pipe {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    fn next(&self) -> Option<Instant> {
        self.pieces.front().map(|(at, _)| *at)
    }

    fn push(&mut self, at: Instant, piece: Piece) {
        self.last = self.last.max(at);
        self.pieces.push_back((self.last, piece));
    }

    pub(super) fn push_bytes(&mut self, at: Instant, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        self.push(at, Piece::Bytes(bytes));
    }

    pub(super) fn push_end(&mut self, at: Instant) {
        self.push(at, Piece::End);
    }

    /// Ends it for good; the last `lost` bytes that are on their way never come.
    pub(super) fn push_reset(&mut self, at: Instant, mut lost: u64) {
        while lost > 0 {
            match self.pieces.pop_back() {
                Some((at, Piece::Bytes(mut bytes))) => {
                    let length = bytes.len() as u64;
                    let cut = lost.min(length);
                    lost -= cut;
                    self.bytes -= cut;
                    bytes.truncate((length - cut) as usize);
                    if !bytes.is_empty() {
                        self.pieces.push_back((at, Piece::Bytes(bytes)));
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        self.push(at, Piece::Reset);
    }

    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
    }

    /// What has come by now, at most so many bytes of it.
    pub(super) fn pop(&mut self, now: Instant, longest: u64) -> Read {
        match self.pieces.front_mut() {
            Some((at, piece)) if *at <= now => match piece {
                Piece::Bytes(bytes) if (bytes.len() as u64) > longest => {
                    self.bytes -= longest;
                    Read::Bytes(bytes.split_to(longest as usize))
                }
                _ => self.pop_whole(),
            },
            _ => Read::Nothing,
        }
    }

    fn pop_whole(&mut self) -> Read {
        match self.pieces.pop_front() {
            Some((_, Piece::Bytes(bytes))) => {
                self.bytes -= bytes.len() as u64;
                Read::Bytes(bytes)
            }
            Some((_, Piece::End)) => Read::End,
            Some((_, Piece::Reset)) => Read::Reset,
            None => Read::Nothing,
        }
    }

    /// Whether a read would give something by now.
    pub(super) fn has_come(&self, now: Instant) -> bool {
        self.next().is_some_and(|at| at <= now)
    }
}
