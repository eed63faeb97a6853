//! Where a message goes: from keys to handler ids.
//!
//! The router stores ids and layers, never closures: what an id stands for is
//! the caller's business.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::address::canonical;
use crate::peers::PeerManagement;
use crate::plugin::Layers;
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

/// Names a handler; given by the caller, who knows what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(pub u64);

impl HandlerId {
    /// Stands for [`Peers`](crate::Peers), which peer messages are for.
    pub const PEERS: Self = Self(u64::MAX);
}

/// What a route is registered under, and what messages are looked up by.
///
/// Made from a type, a pair `(type, uri)` or a triple `(type, uri, address)`:
///
/// ```
/// use netaio_proto::{MessageType, RouteKey};
///
/// let any_request = RouteKey::from(MessageType::REQUEST_URI);
/// let echo = RouteKey::from((MessageType::REQUEST_URI, "echo"));
/// assert_ne!(any_request, echo);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteKey {
    /// Messages of a type, for a URI, from an address (in its
    /// [canonical](crate::canonical_address) form, which `from` sees to).
    TypeUriAddress(MessageType, Box<[u8]>, SocketAddr),
    /// Messages of a type, for a URI.
    TypeUri(MessageType, Box<[u8]>),
    /// Messages of a type.
    Type(MessageType),
}

impl From<MessageType> for RouteKey {
    fn from(message_type: MessageType) -> Self {
        Self::Type(message_type)
    }
}

impl<U: AsRef<[u8]>> From<(MessageType, U)> for RouteKey {
    fn from((message_type, uri): (MessageType, U)) -> Self {
        Self::TypeUri(message_type, uri.as_ref().into())
    }
}

impl<U: AsRef<[u8]>> From<(MessageType, U, SocketAddr)> for RouteKey {
    fn from((message_type, uri, from): (MessageType, U, SocketAddr)) -> Self {
        let from = canonical(from);
        Self::TypeUriAddress(message_type, uri.as_ref().into(), from)
    }
}

/// As it is shown in logs: `REQUEST_URI echo`, and the address behind it if the
/// key has one.
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(message_type) => write!(f, "{message_type}"),
            Self::TypeUri(message_type, uri) => {
                write!(f, "{message_type} {}", uri.escape_ascii())
            }
            Self::TypeUriAddress(message_type, uri, from) => {
                write!(f, "{message_type} {} {from}", uri.escape_ascii())
            }
        }
    }
}

/// Decides by which keys a message is looked up. Replace it to route by
/// something else than the whole URI.
///
/// ```
/// use core::net::SocketAddr;
/// use netaio_proto::{KeyExtractor, Message, MessageType, RouteKey};
///
/// /// Routes by the first segment of a path.
/// #[derive(Debug)]
/// struct FirstSegment;
///
/// impl KeyExtractor for FirstSegment {
///     fn keys(
///         &self,
///         message: &Message,
///         _from: SocketAddr,
///         visit: &mut dyn FnMut(RouteKey) -> bool,
///     ) {
///         let first = message.uri().split(|byte| *byte == b'/').next();
///         visit((message.message_type(), first.unwrap_or_default()).into());
///     }
/// }
/// ```
pub trait KeyExtractor: fmt::Debug + Send + Sync {
    /// Calls `visit` with each key in the order of preference, until it says
    /// that a route was found (`true`).
    fn keys(
        &self,
        message: &Message,
        from: SocketAddr,
        visit: &mut dyn FnMut(RouteKey) -> bool,
    );
}

/// What becomes of a message that no route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultRoute {
    /// It is answered with `NOT_FOUND`: what a server does.
    #[default]
    NotFound,
    /// It is handed to the caller as `Action::Unrouted`: what a client does.
    Unrouted,
    /// It goes to this handler.
    Handler(HandlerId),
}

/// The routes of an endpoint.
///
/// Keys are tried in the order `(type, uri, address)`, `(type, uri)`, `type`;
/// at each key an ephemeral route comes before the lasting one, and the first
/// key that has either decides. An endpoint shares one router among all its
/// connections behind an `Arc`, and replaces it as a whole when routes change.
#[derive(Clone, Debug, Default)]
pub struct Router {
    types: BTreeMap<MessageType, TypeRoutes>,
    extractor: Option<Arc<dyn KeyExtractor>>,
    default_route: DefaultRoute,
}

#[derive(Clone, Debug, Default)]
struct TypeRoutes {
    any: Routes,
    uris: BTreeMap<Box<[u8]>, UriRoutes>,
}

#[derive(Clone, Debug, Default)]
struct UriRoutes {
    any: Routes,
    addresses: BTreeMap<SocketAddr, Routes>,
}

/// The routes under one key.
#[derive(Clone, Debug, Default)]
struct Routes {
    lasting: Option<Route>,
    ephemeral: Option<Route>,
}

/// Where messages of one key go.
#[derive(Clone, Debug)]
pub struct Route {
    handler: HandlerId,
    layers: RouteLayers,
    /// For an ephemeral route: whether a message has taken it. Shared by all
    /// clones of the router, so that exactly one message does.
    taken: Option<Arc<AtomicBool>>,
}

impl Route {
    /// Who handles the messages.
    pub fn handler(&self) -> HandlerId {
        self.handler
    }

    /// The inner layers that the messages must have, and their replies get.
    pub fn layers(&self) -> &Layers {
        self.layers.get()
    }

    pub(crate) fn shared_layers(&self) -> RouteLayers {
        self.layers.clone()
    }

    /// Whether the route serves one message only.
    pub fn is_ephemeral(&self) -> bool {
        self.taken.is_some()
    }

    /// Takes the route for one message; `false` if it is ephemeral and another
    /// message has it.
    pub(crate) fn claim(&self) -> bool {
        match &self.taken {
            None => true,
            Some(taken) => !taken.swap(true, Ordering::AcqRel),
        }
    }

    /// Gives the route back: the message that claimed it failed its checks.
    pub(crate) fn unclaim(&self) {
        if let Some(taken) = &self.taken {
            taken.store(false, Ordering::Release);
        }
    }

    fn is_open(&self) -> bool {
        match &self.taken {
            None => true,
            Some(taken) => !taken.load(Ordering::Acquire),
        }
    }
}

/// A route's layers, shared with what is to be answered. Most routes have none,
/// and then nothing is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteLayers(Option<Arc<Layers>>);

impl RouteLayers {
    fn new(layers: Layers) -> Self {
        Self((!layers.is_empty()).then(|| Arc::new(layers)))
    }

    pub(crate) fn get(&self) -> &Layers {
        static NONE: Layers = Layers::new();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl Router {
    /// A router without routes that answers everything with `NOT_FOUND`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a lasting route, in place of the one under the same key.
    pub fn insert(
        &mut self,
        key: impl Into<RouteKey>,
        handler: HandlerId,
        layers: Layers,
    ) -> Option<HandlerId> {
        let route = Route {
            handler,
            layers: RouteLayers::new(layers),
            taken: None,
        };
        let old = self.routes_mut(key.into()).lasting.replace(route);
        old.map(|route| route.handler)
    }

    /// Adds a route for one message, in place of such a one under the same key.
    pub fn insert_once(
        &mut self,
        key: impl Into<RouteKey>,
        handler: HandlerId,
        layers: Layers,
    ) -> Option<HandlerId> {
        let route = Route {
            handler,
            layers: RouteLayers::new(layers),
            taken: Some(Arc::default()),
        };
        let old = self.routes_mut(key.into()).ephemeral.replace(route);
        old.map(|route| route.handler)
    }

    /// Removes the lasting route under `key`; gives its handler.
    pub fn remove(&mut self, key: &RouteKey) -> Option<HandlerId> {
        let route = self.take(key, |routes| routes.lasting.take());
        route.map(|route| route.handler)
    }

    /// Removes the lasting route under `key` if it leads to this handler; another
    /// one, registered since, stays.
    pub fn remove_if(&mut self, key: &RouteKey, handler: HandlerId) -> bool {
        let route = self.take(key, |routes| {
            routes.lasting.take_if(|route| route.handler == handler)
        });
        route.is_some()
    }

    /// Removes the ephemeral route under `key`; gives its handler.
    pub fn remove_once(&mut self, key: &RouteKey) -> Option<HandlerId> {
        let route = self.take(key, |routes| routes.ephemeral.take());
        route.map(|route| route.handler)
    }

    /// Removes the ephemeral route under `key` if it leads to this handler;
    /// another one, registered since, stays.
    pub fn remove_once_if(&mut self, key: &RouteKey, handler: HandlerId) -> bool {
        let route = self.take(key, |routes| {
            routes.ephemeral.take_if(|route| route.handler == handler)
        });
        route.is_some()
    }

    /// Routes peer messages of an application to [`HandlerId::PEERS`], in place
    /// of what was routed there: gives the handlers that were. A
    /// [`Node`](crate::Node) does this by itself.
    pub fn manage_peers(&mut self, by: &PeerManagement) -> Vec<HandlerId> {
        let replaced = PEER_MESSAGES.into_iter().filter_map(|message_type| {
            let key = (message_type, by.app_id());
            self.insert(key, HandlerId::PEERS, by.inner().clone())
        });
        replaced.filter(|id| *id != HandlerId::PEERS).collect()
    }

    /// Takes the routes away again that [`manage_peers`](Self::manage_peers)
    /// has made.
    pub fn unmanage_peers(&mut self, by: &PeerManagement) {
        for message_type in PEER_MESSAGES {
            let key = (message_type, by.app_id()).into();
            self.take(&key, |routes| {
                let own = |route: &mut Route| route.handler == HandlerId::PEERS;
                routes.lasting.take_if(own)
            });
        }
    }

    /// Decides what becomes of messages that no route takes.
    pub fn set_default_route(&mut self, default: DefaultRoute) {
        self.default_route = default;
    }

    /// What becomes of messages that no route takes.
    pub fn default_route(&self) -> DefaultRoute {
        self.default_route
    }

    /// Replaces the way in which keys are found; `None`: the usual three.
    pub fn set_extractor(&mut self, extractor: Option<Arc<dyn KeyExtractor>>) {
        self.extractor = extractor;
    }

    /// The route for a message from an address.
    pub fn route(&self, message: &Message, from: SocketAddr) -> Option<&Route> {
        let Some(extractor) = &self.extractor else {
            let routes = self.types.get(&message.message_type())?;
            return routes.find(message.uri(), from);
        };
        let mut found = None;
        extractor.keys(message, from, &mut |key| {
            found = self.lookup(&key).and_then(Routes::choose);
            found.is_some()
        });
        found
    }

    fn lookup(&self, key: &RouteKey) -> Option<&Routes> {
        match key {
            RouteKey::Type(kind) => Some(&self.types.get(kind)?.any),
            RouteKey::TypeUri(kind, uri) => {
                Some(&self.types.get(kind)?.uris.get(uri)?.any)
            }
            RouteKey::TypeUriAddress(kind, uri, from) => {
                self.types.get(kind)?.uris.get(uri)?.addresses.get(from)
            }
        }
    }

    fn routes_mut(&mut self, key: RouteKey) -> &mut Routes {
        match key {
            RouteKey::Type(kind) => &mut self.types.entry(kind).or_default().any,
            RouteKey::TypeUri(kind, uri) => {
                let routes = self.types.entry(kind).or_default();
                &mut routes.uris.entry(uri).or_default().any
            }
            RouteKey::TypeUriAddress(kind, uri, from) => {
                let routes = self.types.entry(kind).or_default();
                let routes = routes.uris.entry(uri).or_default();
                routes.addresses.entry(from).or_default()
            }
        }
    }

    /// Takes a route out and drops what has become empty around it.
    fn take(
        &mut self,
        key: &RouteKey,
        out: impl FnOnce(&mut Routes) -> Option<Route>,
    ) -> Option<Route> {
        let (kind, uri, from) = match key {
            RouteKey::Type(kind) => (kind, None, None),
            RouteKey::TypeUri(kind, uri) => (kind, Some(uri), None),
            RouteKey::TypeUriAddress(kind, uri, from) => {
                (kind, Some(uri), Some(from))
            }
        };
        let of_type = self.types.get_mut(kind)?;
        let Some(uri) = uri else {
            return out(&mut of_type.any);
        };
        let of_uri = of_type.uris.get_mut(uri)?;
        let taken = match from {
            None => out(&mut of_uri.any),
            Some(from) => {
                let routes = of_uri.addresses.get_mut(from)?;
                let taken = out(routes);
                if routes.is_empty() {
                    of_uri.addresses.remove(from);
                }
                taken
            }
        };
        if of_uri.any.is_empty() && of_uri.addresses.is_empty() {
            of_type.uris.remove(uri);
        }
        taken
    }
}

/// What peers say to each other.
const PEER_MESSAGES: [MessageType; 3] = [
    MessageType::ADVERTISE_PEER,
    MessageType::PEER_DISCOVERED,
    MessageType::DISCONNECT,
];

impl TypeRoutes {
    fn find(&self, uri: &[u8], from: SocketAddr) -> Option<&Route> {
        if let Some(of_uri) = self.uris.get(uri) {
            let exact = of_uri.addresses.get(&from).and_then(Routes::choose);
            if let Some(route) = exact.or_else(|| of_uri.any.choose()) {
                return Some(route);
            }
        }
        self.any.choose()
    }
}

impl Routes {
    fn choose(&self) -> Option<&Route> {
        let ephemeral = self.ephemeral.as_ref().filter(|route| route.is_open());
        ephemeral.or(self.lasting.as_ref())
    }

    fn is_empty(&self) -> bool {
        self.lasting.is_none() && self.ephemeral.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: MessageType = MessageType::REQUEST_URI;
    const HERE: SocketAddr =
        SocketAddr::new(core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 1);

    fn handler(router: &Router, uri: &str) -> Option<u64> {
        let message = Message::new(REQUEST, uri, "").unwrap();
        Some(router.route(&message, HERE)?.handler().0)
    }

    #[test]
    fn the_narrowest_key_that_has_a_route_wins() {
        let mut router = Router::new();
        router.insert(REQUEST, HandlerId(1), Layers::new());
        router.insert((REQUEST, "a"), HandlerId(2), Layers::new());
        router.insert((REQUEST, "a", HERE), HandlerId(3), Layers::new());
        assert_eq!(handler(&router, "a"), Some(3));
        router.remove(&(REQUEST, "a", HERE).into());
        assert_eq!(handler(&router, "a"), Some(2));
        router.remove(&(REQUEST, "a").into());
        assert_eq!(handler(&router, "a"), Some(1));
        router.remove(&REQUEST.into());
        assert_eq!(handler(&router, "a"), None);
    }

    #[test]
    fn an_ephemeral_route_comes_first_and_is_taken_once_by_all_clones() {
        let mut router = Router::new();
        router.insert((REQUEST, "a"), HandlerId(1), Layers::new());
        router.insert_once((REQUEST, "a"), HandlerId(2), Layers::new());
        let clone = router.clone();
        let message = Message::new(REQUEST, "a", "").unwrap();
        let route = router.route(&message, HERE).unwrap();
        assert!(route.is_ephemeral() && route.claim());
        assert!(
            !clone.types[&REQUEST].uris[&b"a"[..]]
                .any
                .ephemeral
                .as_ref()
                .unwrap()
                .claim()
        );
        assert_eq!(handler(&clone, "a"), Some(1));
        route.unclaim();
        assert_eq!(handler(&clone, "a"), Some(2));
    }

    #[test]
    fn an_ephemeral_route_of_a_wide_key_does_not_beat_a_narrow_lasting_one() {
        let mut router = Router::new();
        router.insert_once(REQUEST, HandlerId(1), Layers::new());
        router.insert((REQUEST, "a"), HandlerId(2), Layers::new());
        assert_eq!(handler(&router, "a"), Some(2));
        assert_eq!(handler(&router, "b"), Some(1));
    }

    #[test]
    fn an_address_of_ipv4_is_the_same_in_the_form_of_ipv6() {
        let mapped = "[::ffff:127.0.0.1]:1".parse::<SocketAddr>().unwrap();
        let mut router = Router::new();
        router.insert((REQUEST, "a", mapped), HandlerId(1), Layers::new());
        assert_eq!(handler(&router, "a"), Some(1));
    }

    #[test]
    fn removing_every_route_leaves_nothing_behind() {
        let mut router = Router::new();
        router.insert((REQUEST, "a", HERE), HandlerId(1), Layers::new());
        router.insert_once((REQUEST, "a"), HandlerId(2), Layers::new());
        assert_eq!(
            router.remove_once(&(REQUEST, "a").into()),
            Some(HandlerId(2))
        );
        assert_eq!(
            router.remove(&(REQUEST, "a", HERE).into()),
            Some(HandlerId(1))
        );
        assert!(router.types[&REQUEST].uris.is_empty());
    }
}
