//! How many connections a server has, in all and from each address.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::canonical;
use crate::limits::Limits;

/// Counts the connections of a server, in all and by where they come from, so
/// that one address cannot take all places.
///
/// ```
/// use netaio_proto::{Admission, Limits};
///
/// let limits = Limits {
///     max_connections_per_address: 1,
///     ..Limits::default()
/// };
/// let mut admission = Admission::new(&limits);
/// let first = "192.0.2.1:4000".parse().unwrap();
/// let second = "192.0.2.1:4001".parse().unwrap();
/// assert!(admission.has_room());
/// assert!(admission.admit(first));
/// assert!(!admission.admit(second), "as many as there may be");
/// admission.release(first);
/// assert!(admission.admit(second));
/// ```
#[derive(Debug)]
pub struct Admission {
    most: usize,
    most_from_one: usize,
    all: usize,
    by_source: BTreeMap<Source, usize>,
}

/// Whom connections are counted for: an IPv4 address, or the network that a host
/// with IPv6 picks its addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Source {
    fn of(address: SocketAddr) -> Self {
        match canonical(address).ip() {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(network(ip)),
        }
    }
}

fn network(ip: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = ip.segments();
    [a, b, c, d]
}

impl Admission {
    /// None are there yet.
    pub fn new(limits: &Limits) -> Self {
        Self {
            most: limits.max_connections,
            most_from_one: limits.max_connections_per_address,
            all: 0,
            by_source: BTreeMap::new(),
        }
    }

    /// Connections that are counted.
    pub fn len(&self) -> usize {
        self.all
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// Whether one more may be accepted, wherever it comes from.
    pub fn has_room(&self) -> bool {
        self.all < self.most
    }

    /// Counts a connection, unless as many have come from its address as may;
    /// `false` then. Whoever was admitted must be [released](Self::release).
    #[must_use]
    pub fn admit(&mut self, from: SocketAddr) -> bool {
        let source = Source::of(from);
        let there = self.by_source.get(&source).copied().unwrap_or(0);
        let admitted = there < self.most_from_one;
        if admitted {
            self.count(from);
        }
        admitted
    }

    /// Counts a connection whatever the bounds are. It must be
    /// [released](Self::release).
    pub fn count(&mut self, from: SocketAddr) {
        self.all += 1;
        *self.by_source.entry(Source::of(from)).or_default() += 1;
    }

    /// Notes that a connection which was counted is over.
    pub fn release(&mut self, from: SocketAddr) {
        let source = Source::of(from);
        let Some(there) = self.by_source.get_mut(&source) else {
            return;
        };
        *there -= 1;
        if *there == 0 {
            self.by_source.remove(&source);
        }
        self.all -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn admission(most: usize, most_from_one: usize) -> Admission {
        Admission::new(&Limits {
            max_connections: most,
            max_connections_per_address: most_from_one,
            ..Limits::default()
        })
    }

    #[test]
    fn an_ipv6_host_has_one_bound_for_all_addresses_of_its_network() {
        let mut admission = admission(100, 2);
        assert!(admission.admit(at("[2001:db8::1]:1")));
        assert!(admission.admit(at("[2001:db8::2]:1")));
        assert!(!admission.admit(at("[2001:db8::ffff]:1")));
        assert!(admission.admit(at("[2001:db8:0:1::1]:1")));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mut admission = admission(100, 1);
        assert!(admission.admit(at("[::ffff:192.0.2.1]:1")));
        assert!(!admission.admit(at("192.0.2.1:2")));
        admission.release(at("192.0.2.1:1"));
        assert!(admission.is_empty());
    }

    #[test]
    fn nothing_is_kept_of_those_that_have_gone() {
        let mut admission = admission(3, 3);
        for port in 1..=3 {
            assert!(admission.has_room());
            admission.count(SocketAddr::from(([10, 0, 0, port as u8], port)));
        }
        assert!(!admission.has_room());
        for port in 1..=3 {
            admission.release(SocketAddr::from(([10, 0, 0, port as u8], port)));
        }
        assert_eq!(admission.len(), 0);
        assert!(admission.by_source.is_empty());
        admission.release(at("10.0.0.1:1"));
        assert_eq!(admission.len(), 0, "one that was not counted");
    }
}
