//! UDP sockets: how a node's is bound, and how it takes part in multicasts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

/// How a node's socket is bound and takes part in multicasts.
///
/// The defaults are Python netaio's: port 8888 on all IPv4 interfaces, the group
/// 224.0.0.1, and what the system does for the rest.
#[derive(Clone, Debug)]
pub(crate) struct UdpOptions {
    /// The address to bind. All interfaces of IPv6 (`::`) are those of IPv4 as
    /// well, where the system has such sockets. Default: `0.0.0.0`.
    pub(crate) interface: IpAddr,
    /// The port to bind; 0: one that is free. Default: 8888.
    pub(crate) port: u16,
    /// The multicast group to join and to send to.
    pub(crate) group: Group,
    /// The port that multicasts are sent to. Default: the own one.
    pub(crate) multicast_port: Option<u16>,
    /// The interface that multicasts leave and enter by. Default: the one that
    /// is bound; for all of them the system chooses.
    pub(crate) multicast_interface: Option<MulticastInterface>,
    /// How many routers a multicast may pass, and one more. Default: the
    /// system's, which is 1: none.
    pub(crate) multicast_ttl: Option<u32>,
    /// Whether multicasts are heard on the host that they are sent from.
    /// Default: the system's, which is yes.
    pub(crate) multicast_loopback: Option<bool>,
    /// Whether other sockets of this host may bind the same address and port.
    /// All of them then hear multicasts, and one of them, by the system's
    /// choice, what is sent to the address itself. Default: no.
    pub(crate) reuse_address: bool,
}

/// The multicast group of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Group {
    /// All hosts of the link: 224.0.0.1, or ff02::1 on IPv6. A node that cannot
    /// join it, as without a network, does without.
    Auto,
    /// This one. A node that cannot join it does not start.
    Address(IpAddr),
    /// None.
    None,
}

/// A network interface, for multicasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MulticastInterface {
    /// By its IPv4 address.
    Address(Ipv4Addr),
    /// By its index, as `ip link` shows it.
    Index(u32),
}

impl From<Ipv4Addr> for MulticastInterface {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

impl From<u32> for MulticastInterface {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            interface: Ipv4Addr::UNSPECIFIED.into(),
            port: 8888,
            group: Group::Auto,
            multicast_port: None,
            multicast_interface: None,
            multicast_ttl: None,
            multicast_loopback: None,
            reuse_address: false,
        }
    }
}

/// A socket that is ready for use.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: UdpSocket,
    pub(crate) address: SocketAddr,
    /// Where multicasts are sent to.
    pub(crate) group: Option<SocketAddr>,
}

impl UdpOptions {
    /// Makes a socket of this kind.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        let domain = match self.interface {
            IpAddr::V4(_) => Domain::IPV4,
            IpAddr::V6(_) => Domain::IPV6,
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if self.interface == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%error, "no socket for both IPv4 and IPv6");
        }
        if self.reuse_address {
            socket.set_reuse_address(true)?;
            #[cfg(all(
                unix,
                not(any(target_os = "solaris", target_os = "illumos"))
            ))]
            socket.set_reuse_port(true)?;
        }
        socket.bind(&SocketAddr::new(self.interface, self.port).into())?;
        socket.set_nonblocking(true)?;
        let address = UdpSocket::from(socket.try_clone()?).local_addr()?;
        let group = self.join(&socket, address.port())?;
        Ok(Bound {
            socket: socket.into(),
            address,
            group,
        })
    }

    /// Joins the group; gives where its multicasts are sent to.
    fn join(&self, socket: &Socket, port: u16) -> io::Result<Option<SocketAddr>> {
        let group = match (self.group, self.interface) {
            (Group::None, _) => return Ok(None),
            (Group::Address(group), _) if !group.is_multicast() => {
                let what = format!("{group} is not a multicast address");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
            (Group::Address(group), _) => group,
            (Group::Auto, IpAddr::V4(_)) => Ipv4Addr::new(224, 0, 0, 1).into(),
            (Group::Auto, IpAddr::V6(_)) => {
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into()
            }
        };
        let joined = match group {
            IpAddr::V4(group) => self.join_v4(socket, group),
            IpAddr::V6(group) => self.join_v6(socket, group),
        };
        let port = self.multicast_port.unwrap_or(port);
        match (joined, self.group) {
            (Ok(scope), _) => Ok(Some(match group {
                IpAddr::V4(group) => SocketAddr::new(group.into(), port),
                IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, scope).into(),
            })),
            (Err(error), Group::Auto) => {
                tracing::warn!(%group, %error, "no multicasts: cannot join");
                Ok(None)
            }
            (Err(error), _) => {
                let what = format!("cannot join {group}: {error}");
                Err(io::Error::new(error.kind(), what))
            }
        }
    }

    fn join_v4(&self, socket: &Socket, group: Ipv4Addr) -> io::Result<u32> {
        let interface = match (self.multicast_interface, self.interface) {
            (Some(interface), _) => interface,
            (None, IpAddr::V4(own)) => MulticastInterface::Address(own),
            (None, IpAddr::V6(_)) => {
                MulticastInterface::Address(Ipv4Addr::UNSPECIFIED)
            }
        };
        let by = match interface {
            MulticastInterface::Address(own) => {
                InterfaceIndexOrAddress::Address(own)
            }
            MulticastInterface::Index(index) => {
                InterfaceIndexOrAddress::Index(index)
            }
        };
        socket.join_multicast_v4_n(&group, &by)?;
        match interface {
            MulticastInterface::Address(own) if own.is_unspecified() => {}
            MulticastInterface::Address(own) => socket.set_multicast_if_v4(&own)?,
            MulticastInterface::Index(index) => {
                socket.set_multicast_if_v4(&ipv4_of(index)?)?;
            }
        }
        if let Some(ttl) = self.multicast_ttl {
            socket.set_multicast_ttl_v4(ttl)?;
        }
        if let Some(heard) = self.multicast_loopback {
            socket.set_multicast_loop_v4(heard)?;
        }
        Ok(0)
    }

    /// Gives the index of the interface, for the group's address.
    fn join_v6(&self, socket: &Socket, group: Ipv6Addr) -> io::Result<u32> {
        let index = match self.multicast_interface {
            Some(MulticastInterface::Index(index)) => index,
            None => 0,
            Some(MulticastInterface::Address(_)) => {
                let what = "an interface for IPv6 is named by its index";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
            }
        };
        socket.join_multicast_v6(&group, index)?;
        if index != 0 {
            socket.set_multicast_if_v6(index)?;
        }
        if let Some(hops) = self.multicast_ttl {
            socket.set_multicast_hops_v6(hops)?;
        }
        if let Some(heard) = self.multicast_loopback {
            socket.set_multicast_loop_v6(heard)?;
        }
        Ok(index)
    }

    /// The addresses by which a node that is bound here gets its own multicasts
    /// back. None if others may share them.
    pub(crate) fn own_addresses(&self, bound: SocketAddr) -> Vec<SocketAddr> {
        if self.reuse_address {
            return Vec::new();
        }
        if !bound.ip().is_unspecified() {
            return vec![bound];
        }
        let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::warn!(%error, "own addresses are not known");
            Vec::new()
        });
        let address = |interface: if_addrs::Interface| match interface.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.into(), bound.port()),
            IpAddr::V6(ip) => {
                let index = interface.index.unwrap_or(0);
                SocketAddrV6::new(ip, bound.port(), 0, index).into()
            }
        };
        interfaces.into_iter().map(address).collect()
    }
}

/// An IPv4 address of an interface, by which it can be named as the one that
/// multicasts leave by: not every system takes an index there.
fn ipv4_of(index: u32) -> io::Result<Ipv4Addr> {
    let mut interfaces = if_addrs::get_if_addrs()?.into_iter();
    let own = interfaces.find_map(|interface| match interface.ip() {
        IpAddr::V4(ip) if interface.index == Some(index) => Some(ip),
        _ => None,
    });
    own.ok_or_else(|| {
        let what = format!("interface {index} has no IPv4 address");
        io::Error::new(io::ErrorKind::AddrNotAvailable, what)
    })
}

/// An address as a socket that is bound to `own` takes it: one for both IPv4 and
/// IPv6 takes IPv6 alone.
pub(crate) fn sendable(to: SocketAddr, own: SocketAddr) -> SocketAddr {
    match (to, own) {
        (SocketAddr::V4(to), SocketAddr::V6(_)) => {
            SocketAddr::new(to.ip().to_ipv6_mapped().into(), to.port())
        }
        _ => to,
    }
}
