//! Addresses in the one form that they are compared in.

use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// An address in the one form that it is compared in: IPv4 as such even if a
/// socket for both gave it as IPv6, and without what says nothing about where it
/// is.
///
/// ```
/// use netaio_proto::canonical_address;
///
/// let mapped = "[::ffff:192.0.2.1]:8888".parse()?;
/// assert_eq!(canonical_address(mapped), "192.0.2.1:8888".parse()?);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn canonical(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = address else {
        return address;
    };
    match v6.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), v6.port()),
        IpAddr::V6(ip) => {
            let scope = if is_scoped(ip) { v6.scope_id() } else { 0 };
            SocketAddrV6::new(ip, v6.port(), 0, scope).into()
        }
    }
}

/// Whether an address means something on one link only.
fn is_scoped(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local() || ip.is_multicast()
}
