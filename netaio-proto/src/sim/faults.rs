//! What a simulated network does to what it carries.

use core::time::Duration;

/// What a [`Network`](super::Network) does to what it carries. Start from the
/// default, which only takes a millisecond, and change what you need:
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::sim::Faults;
///
/// let faults = Faults {
///     jitter: Duration::from_millis(50),
///     lost: 20,
///     ..Faults::default()
/// };
/// assert_eq!(faults.window, 64 * 1024);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// How long everything takes at least. Default: 1 ms.
    pub delay: Duration,
    /// How much longer it takes at most; drawn anew for every write and
    /// datagram. What is written to a stream never overtakes what was written
    /// before; datagrams do. Default: none.
    pub jitter: Duration,
    /// Percent of datagrams that are lost. Default: 0.
    pub lost: u8,
    /// Percent of datagrams that come twice. Default: 0.
    pub duplicated: u8,
    /// Percent of datagrams that are late by up to ten times `delay`, besides
    /// the jitter. Default: 0.
    pub reordered: u8,
    /// Percent of datagrams of which only the beginning comes. Default: 0.
    pub cut: u8,
    /// Bytes that one write to a stream takes at most: a write takes one byte
    /// to so many. At least 1. Default: 64 KiB.
    pub longest_write: u32,
    /// Bytes that one read from a stream gives at most: a read gives one byte to
    /// so many. At least 1. Default: 64 KiB.
    pub longest_read: u32,
    /// Bytes of one direction of a stream that were written and have not been
    /// read, at most. While there are so many, a write takes none. At least 1.
    /// Default: 64 KiB.
    pub window: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            cut: 0,
            longest_write: 64 * 1024,
            longest_read: 64 * 1024,
            window: 64 * 1024,
        }
    }
}
