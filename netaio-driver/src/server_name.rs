//! How a client names its servers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A server as its client names it: `host:port`.
///
/// Two names of one server are two servers to a client, each with its own
/// connection.
///
/// ```
/// use netaio_driver::ServerName;
///
/// let name = ServerName::from(("localhost", 8888));
/// assert_eq!(name, "localhost:8888".into());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ServerName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for ServerName {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&ServerName> for ServerName {
    fn from(name: &ServerName) -> Self {
        name.clone()
    }
}

impl From<SocketAddr> for ServerName {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl From<(&str, u16)> for ServerName {
    fn from((host, port): (&str, u16)) -> Self {
        // A bare IPv6 address needs brackets to keep its port apart.
        if let Ok(ip) = host.parse::<IpAddr>() {
            return SocketAddr::new(ip, port).into();
        }
        Self(format!("{host}:{port}").into())
    }
}

impl From<(IpAddr, u16)> for ServerName {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        SocketAddr::new(ip, port).into()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
