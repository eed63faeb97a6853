//! What happened on a simulated network, folded to a number.

use alloc::vec::Vec;
use core::hash::Hasher as _;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::time::Instant;

/// One thing that happened on a simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: TraceKind,
    /// Who wrote or sent it, or the end of a stream that it happened to.
    pub from: SocketAddr,
    /// Who is at the other end, or is to receive it.
    pub to: SocketAddr,
    /// The stream's number, in the order of connecting; 0 for datagrams.
    pub stream: u32,
    /// Bytes that it was about.
    pub length: u64,
    /// A hash of these bytes.
    pub hash: u64,
}

/// What can happen on a simulated network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum TraceKind {
    /// A stream was begun.
    Connect = 1,
    /// A stream was taken by who listens.
    Accept = 2,
    /// A stream was begun to where nobody listens.
    Refuse = 3,
    /// Bytes were written to a stream.
    Write = 4,
    /// Bytes were read from a stream.
    Read = 5,
    /// An end of a stream said that it writes no more.
    Finish = 6,
    /// An end of a stream was reset.
    Reset = 7,
    /// An end of a stream has read that the other writes no more.
    ReadEnd = 8,
    /// An end of a stream was found to be reset.
    ReadReset = 9,
    /// A datagram was sent.
    Send = 10,
    /// A datagram was lost.
    Lose = 11,
    /// A datagram came.
    Receive = 12,
    /// Something of the caller's own, by [`Network::note`](super::Network::note).
    Note = 13,
}

/// All that happened, folded.
#[derive(Debug)]
pub(super) struct Trace {
    folded: u64,
    count: u64,
    kept: Option<Vec<TraceEvent>>,
}

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            folded: 0,
            count: 0,
            kept: None,
        }
    }

    pub(super) fn keep(&mut self) {
        self.kept.get_or_insert_default();
    }

    pub(super) fn kept(&self) -> &[TraceEvent] {
        self.kept.as_deref().unwrap_or_default()
    }

    pub(super) fn hash(&self) -> u64 {
        self.folded
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn fold(&mut self, event: TraceEvent) {
        let mut hasher = SipHasher13::new();
        hasher.write(&self.folded.to_le_bytes());
        hasher.write(&event.at.as_micros().to_le_bytes());
        hasher.write(&[event.kind as u8]);
        for address in [event.from, event.to] {
            write_address(&mut hasher, address);
        }
        hasher.write(&event.stream.to_le_bytes());
        hasher.write(&event.length.to_le_bytes());
        hasher.write(&event.hash.to_le_bytes());
        self.folded = hasher.finish();
        self.count += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(event);
        }
    }
}

fn write_address(hasher: &mut SipHasher13, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&address.port().to_le_bytes());
}

/// A hash of bytes that is the same on every machine.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}
