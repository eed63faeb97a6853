//! The TCP client: several servers, a connection to each.

mod connecting;
mod subscribing;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use netaio_proto::{
    CloseReason, Counters, KeyExtractor, KnownPeer, Layers, Message, MessageType,
    Peer, PeerError, PeerEvent, PeerManagement, Request, RequestError, RouteKey,
    SendError,
};

use crate::builder::ClientBuilder;
use crate::endpoint::{Endpoint, lock};
use crate::events::{ConnectionEvent, ConnectionEvents, Events, PeerEvents};
use crate::handler::{AuthFailure, Incoming, IntoOutcome, handler_methods};
use crate::known_server::{KnownServer, ServerOptions};
use crate::link::{Link, Owner, Submitted, sum_open};
use crate::peers::{SharedPeers, peer_methods};
use crate::reconnect::{AutoReconnectTimeoutHandler, Cause};
use crate::reply::ReplyFuture;
use crate::request::RequestBuilder;
use crate::runtime::{Runtime, WrapStream, until};
use crate::server_name::ServerName;
use crate::subscription::{ClientSubscriptions, SubscribeBuilder, SubscriptionEnd};
use crate::tasks::TaskSet;
use crate::timeout::{
    IntoTimeoutOutcome, TimedOut, TimeoutEvent, TimeoutHandling, TimeoutKind,
    timeout_methods,
};

/// A client of one or several TCP servers.
///
/// Cheap to clone; all clones are one client. When the last one is dropped, its
/// connections are closed, which takes a moment: a program that ends at once loses
/// what was to be sent. [`close`](Self::close) waits for that. A handler that captures the client keeps it alive:
/// take what the handler is given instead.
pub struct TcpClient<R: Runtime> {
    inner: Arc<Inner<R>>,
}

struct Inner<R: Runtime> {
    runtime: R,
    endpoint: Arc<Endpoint<Incoming<R>>>,
    default_server: Option<ServerName>,
    connect_timeout: Duration,
    /// How to connect again when a connection is lost; `None`: not at all.
    reconnect: Option<Arc<AutoReconnectTimeoutHandler<R>>>,
    servers: Mutex<BTreeMap<ServerName, Arc<KnownServer<R>>>>,
    /// The default one of them, which most requests go to.
    default: OnceLock<Arc<KnownServer<R>>>,
    next_link: AtomicU64,
    timeouts: TimeoutHandling<TcpClient<R>>,
    /// Those that connect again where a connection was lost.
    tasks: TaskSet,
    events: Events<ConnectionEvent>,
    peers: SharedPeers,
    subscriptions: ClientSubscriptions,
}

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The client has no default server, and none was named.
    #[error("no server was named, and the client has no default one")]
    NoServer,
    /// It took too long. The timeout handler has been told.
    #[error("no connection to {server} within {timeout:?}")]
    TimedOut {
        /// The server.
        server: ServerName,
        /// How long was waited.
        timeout: Duration,
    },
    /// The name could not be resolved, or the connection was refused.
    #[error("no connection to {server}: {error}")]
    Io {
        /// The server.
        server: ServerName,
        /// What the system says.
        error: io::Error,
    },
    /// The client was told to close the connection while it was being made.
    #[error("connecting to {server} was given up")]
    GivenUp {
        /// The server.
        server: ServerName,
    },
}

impl<R: Runtime + Default> TcpClient<R> {
    /// A client of this server, with no plugins. It does not connect yet.
    pub fn new(server: impl Into<ServerName>) -> Self {
        Self::builder().server(server).build()
    }

    /// Starts to describe a client.
    pub fn builder() -> ClientBuilder<R> {
        ClientBuilder::on(R::default())
    }
}

impl<R: Runtime> TcpClient<R> {
    /// Starts to describe a client on a runtime of your own.
    pub fn builder_on(runtime: R) -> ClientBuilder<R> {
        ClientBuilder::on(runtime)
    }

    pub(crate) fn from_parts(
        runtime: R,
        endpoint: Endpoint<Incoming<R>>,
        default_server: Option<ServerName>,
        connect_timeout: Duration,
        reconnect: Option<AutoReconnectTimeoutHandler<R>>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                peers: SharedPeers::new(&endpoint.config),
                subscriptions: ClientSubscriptions::default(),
                runtime,
                endpoint: Arc::new(endpoint),
                default_server,
                connect_timeout,
                reconnect: reconnect.map(Arc::new),
                servers: Mutex::default(),
                default: OnceLock::new(),
                next_link: AtomicU64::new(0),
                timeouts: TimeoutHandling::default(),
                tasks: TaskSet::default(),
                events: Events::default(),
            }),
        }
    }

    // --- connections ---

    /// Connects to the default server. Does nothing if that is done already;
    /// waits if it is under way.
    ///
    /// Cancel safe: dropping it gives the attempt up.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a connection can be tried again.
    pub async fn connect(&self) -> Result<Link<R>, ConnectError> {
        let server = self.default_server().ok_or(ConnectError::NoServer)?;
        self.connect_to(server).await
    }

    /// Connects to a server. Otherwise as [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a connection can be tried again.
    pub async fn connect_to(
        &self,
        server: impl Into<ServerName>,
    ) -> Result<Link<R>, ConnectError> {
        self.establish(&server.into(), None).await
    }

    /// Connects to a server with options of its own, which are kept for when
    /// the client connects to it again. Otherwise as
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; a connection can be tried again.
    pub async fn connect_with(
        &self,
        server: impl Into<ServerName>,
        options: ServerOptions,
    ) -> Result<Link<R>, ConnectError> {
        self.establish(&server.into(), Some(options)).await
    }

    /// Uses a stream that is connected already, under a name: a TLS stream, a
    /// Unix socket, a pipe. `remote` is what handlers and routes are told; a
    /// stream without an address may take any. An earlier connection of that
    /// name is closed, and its subscriptions go on here. If the stream is lost, it
    /// is not replaced by itself, and its subscriptions end: only you can connect
    /// another one.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness to give.
    pub fn connect_stream<S>(
        &self,
        server: impl Into<ServerName>,
        remote: SocketAddr,
        stream: S,
    ) -> io::Result<Link<R>>
    where
        R: WrapStream<S>,
    {
        let server = self.enter(&server.into());
        let link = self.install(&server, remote, R::wrap(stream), None, None)?;
        self.renew_over(&link);
        Ok(link)
    }

    /// The open connection to a server (`None`: the default one), if any.
    pub fn link(&self, server: Option<&ServerName>) -> Option<Link<R>> {
        self.live_link(server)
    }

    /// Closes the connection to the default server: what is queued is written,
    /// pending requests fail, its subscriptions end, and no attempt to connect goes
    /// on.
    ///
    /// Dropping the future leaves the connection closing. A handler of this client
    /// that awaits it waits for itself, for 5 seconds: let it start a task.
    pub async fn close(&self) {
        if let Some(server) = self.default_server() {
            self.close_server(server).await;
        }
    }

    /// Closes the connection to a server, as [`close`](Self::close).
    pub async fn close_server(&self, server: impl Into<ServerName>) {
        let name = server.into();
        let Some(server) = self.known_server(&name) else {
            return;
        };
        self.begin_close(&server);
        self.forget_if_blank(&name);
        for link in server.parting() {
            link.closed().await;
        }
    }

    /// Closes the connection to a server, as [`close`](Self::close), and forgets
    /// the options that it was [connected to with](Self::connect_with). A server
    /// without options of its own is forgotten whenever there is no connection to
    /// it; the default one never is.
    pub async fn forget_server(&self, server: impl Into<ServerName>) {
        let name = server.into();
        if let Some(server) = self.known_server(&name) {
            server.set_options(ServerOptions::default());
        }
        self.close_server(name).await;
    }

    /// Closes the connections to all servers, as [`close`](Self::close).
    pub async fn close_all(&self) {
        let servers: Vec<_> = lock(&self.inner.servers).values().cloned().collect();
        for server in &servers {
            self.begin_close(server);
        }
        for server in &servers {
            self.forget_if_blank(server.name());
        }
        for link in servers.iter().flat_map(|server| server.parting()) {
            link.closed().await;
        }
    }

    /// Wants no connection to a server any more; the one that is there is closing.
    fn begin_close(&self, server: &KnownServer<R>) {
        for link in server.give_up() {
            self.inner.say_farewell(&link);
            link.finish_within(CLOSE_WITHIN);
        }
        // Even if somebody connects again before it is over.
        self.end_subscriptions(server.name(), &CloseReason::Local);
    }

    /// What happens to the client's connections, from now on.
    pub fn events(&self) -> ConnectionEvents {
        self.inner.events.subscribe()
    }

    /// What all connections, open and ended, have done so far.
    pub fn counters(&self) -> Counters {
        let open = || {
            let servers = lock(&self.inner.servers);
            sum_open(servers.values().flat_map(|server| server.links()))
        };
        self.inner.endpoint.counters(open)
    }

    // --- messages ---

    /// Asks for the content of a URI: a `REQUEST_URI`.
    pub fn request(&self, uri: impl AsRef<[u8]>) -> RequestBuilder<R> {
        self.ask(MessageType::REQUEST_URI, uri.as_ref())
    }

    /// Asks to create a URI with this content: a `CREATE_URI`.
    pub fn create(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::CREATE_URI, uri.as_ref())
            .content(content)
    }

    /// Asks to replace the content of a URI: an `UPDATE_URI`.
    pub fn update(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> RequestBuilder<R> {
        self.ask(MessageType::UPDATE_URI, uri.as_ref())
            .content(content)
    }

    /// Asks to remove a URI: a `DELETE_URI`.
    pub fn delete(&self, uri: impl AsRef<[u8]>) -> RequestBuilder<R> {
        self.ask(MessageType::DELETE_URI, uri.as_ref())
    }

    fn ask(&self, kind: MessageType, uri: &[u8]) -> RequestBuilder<R> {
        RequestBuilder::by(self.clone(), kind, uri)
    }

    /// Sends a message that expects no reply to the default server. Done when
    /// the message is queued; waits while too much is. [`close`](Self::close) waits
    /// until it has been sent. For another server, or
    /// with inner layers, send over its [`link`](Self::link).
    ///
    /// Cancel safe: a message is queued as a whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if there is no connection; otherwise as
    /// [`Link::send`].
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        match self.live_link(None) {
            Some(link) => link.send(message).await,
            None => Err(SendError::Closed),
        }
    }

    /// The next message from the default server that no request and no handler
    /// took; see [`Link::receive_once`]. May run beside any number of requests:
    /// the connection has one reader, and it is neither of them.
    ///
    /// Cancel safe: a message is given out or kept.
    ///
    /// # Errors
    ///
    /// [`RequestError::NotConnected`] or [`RequestError::Disconnected`].
    pub async fn receive_once(&self) -> Result<Incoming<R>, RequestError> {
        let name = self.default_server().ok_or(RequestError::NotConnected)?;
        let link = self.known_server(&name).and_then(|known| known.last_link());
        let link = link.ok_or(RequestError::NotConnected)?;
        let received = link.receive_once().await;
        received.map_err(|reason| RequestError::Disconnected { sent: true, reason })
    }

    handler_methods!(Incoming<R>);

    // --- subscriptions ---

    /// Subscribes to a URI: a `SUBSCRIBE_URI`, and then what the server sends to
    /// that URI as `NOTIFY_URI`, as a bounded stream. Takes the place of the
    /// handler of `(NOTIFY_URI, uri)`, if there is one.
    ///
    /// The subscription is renewed when the client connects again by itself,
    /// before that is [announced](ConnectionEvent::Reconnected).
    pub fn subscribe(&self, uri: impl AsRef<[u8]>) -> SubscribeBuilder<R> {
        SubscribeBuilder::new(self.clone(), uri.as_ref())
    }

    // --- peers ---

    peer_methods!();

    // --- timeouts ---

    timeout_methods!();

    // --- for the rest of the driver ---

    pub(crate) fn downgrade(&self) -> WeakTcpClient<R> {
        WeakTcpClient(Arc::downgrade(&self.inner))
    }

    pub(crate) fn runtime(&self) -> &R {
        &self.inner.runtime
    }

    pub(crate) fn events_sender(&self) -> &Events<ConnectionEvent> {
        &self.inner.events
    }

    pub(crate) fn default_server(&self) -> Option<ServerName> {
        self.inner.default_server.clone()
    }

    pub(crate) fn live_link(&self, server: Option<&ServerName>) -> Option<Link<R>> {
        let link = self.current_link(server);
        link.filter(|link| link.is_open())
    }

    /// The connection to a server, if there is one, which may be coming to its
    /// end.
    pub(crate) fn current_link(
        &self,
        server: Option<&ServerName>,
    ) -> Option<Link<R>> {
        match server {
            Some(name) => self.known_server(name)?.current_link(),
            None => self.inner.default.get()?.current_link(),
        }
    }

    /// Sends a request as soon as there is a connection with room for it. Waits
    /// only for a connection that is being made, or will be in place of one
    /// that is being lost.
    pub(crate) async fn request_when_possible(
        &self,
        server: Option<ServerName>,
        mut request: Request,
        timeout: Duration,
    ) -> Result<ReplyFuture<R>, RequestError> {
        let runtime = &self.inner.runtime;
        let deadline = runtime.now() + timeout;
        let name = server.or_else(|| self.default_server());
        let server = name.and_then(|name| self.known_server(&name));
        let server = server.ok_or(RequestError::NotConnected)?;
        loop {
            let link = until(runtime, deadline, server.connected()).await;
            let link = link.flatten().ok_or(RequestError::NotConnected)?;
            match link.submit(request, deadline).await {
                Submitted::Sent(reply) => return Ok(reply),
                Submitted::Failed(error) => return Err(error),
                // It is coming to its end; there may be another one then.
                Submitted::NotNow(again, _) if self.inner.reconnect.is_some() => {
                    request = *again;
                }
                Submitted::NotNow(_, error) => {
                    let end = until(runtime, deadline, link.closing()).await;
                    return Err(end.unwrap_or_else(|| error.into()));
                }
            }
        }
    }

    fn known_server(&self, name: &ServerName) -> Option<Arc<KnownServer<R>>> {
        lock(&self.inner.servers).get(name).cloned()
    }
}

/// How long an orderly close may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A client that is not kept alive.
pub(crate) struct WeakTcpClient<R: Runtime>(Weak<Inner<R>>);

impl<R: Runtime> Clone for WeakTcpClient<R> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<R: Runtime> WeakTcpClient<R> {
    pub(crate) fn upgrade(&self) -> Option<TcpClient<R>> {
        self.0.upgrade().map(|inner| TcpClient { inner })
    }
}

impl<R: Runtime> Inner<R> {
    /// The connections that are open.
    fn links(&self) -> Vec<Link<R>> {
        let servers: Vec<_> = lock(&self.servers).values().cloned().collect();
        servers.iter().filter_map(|s| s.live_link()).collect()
    }

    /// Says on every connection who this is.
    fn greet(&self) {
        if let Some((advertisement, layers)) = self.peers.advertisement() {
            self.tell_all(&advertisement, &layers);
        }
    }

    /// Says on a connection that is about to be closed that this client leaves.
    fn say_farewell(&self, link: &Link<R>) {
        if let Some((farewell, layers)) = self.peers.farewell() {
            let _ = link.try_send(farewell, &layers);
        }
    }

    fn tell_all(&self, message: &Message, layers: &Layers) {
        for link in self.links() {
            // A server that takes nothing is not told.
            let _ = link.try_send(message.clone(), layers);
        }
    }

    /// Notes what has happened to peers: connections are told who is at their
    /// other ends.
    fn note_peers(&self, events: &[PeerEvent], own: Option<&Link<R>>) {
        self.peers.introduce(events, own, || self.links());
        self.peers.tell(events);
    }
}

impl<R: Runtime> Owner<R> for Inner<R> {
    fn peer_message(&self, link: &Link<R>, message: &Message) -> Option<Message> {
        let now = self.runtime.now();
        let (reply, events) = self.peers.receive(now, link.remote(), message);
        self.note_peers(&events, Some(link));
        reply
    }

    fn timed_out(self: Arc<Self>, link: &Link<R>, timed_out: TimedOut) {
        let Some(server) = link.server().cloned() else {
            return;
        };
        let error = timed_out.error();
        let event = TimeoutEvent {
            node: TcpClient {
                inner: Arc::clone(&self),
            },
            kind: TimeoutKind::Request,
            server,
            error,
            context: Some(*timed_out.context),
            link: link.id(),
        };
        self.timeouts.tell(&self.runtime, &self.endpoint.log, event);
    }

    fn left(self: Arc<Self>, link: &Link<R>, reason: &CloseReason) {
        TcpClient { inner: self }.lost(link, reason);
    }

    fn ended(self: Arc<Self>, link: &Link<R>, reason: &CloseReason) {
        let client = TcpClient { inner: self };
        if !link.has_left() {
            client.lost(link, reason);
        }
        if let Some(name) = link.server() {
            if let Some(known) = client.known_server(name) {
                known.over(link);
            }
            client.forget_if_blank(name);
        }
    }
}

impl<R: Runtime> TcpClient<R> {
    /// A connection cannot be used any more: it is over, or its other end has left.
    fn lost(&self, link: &Link<R>, reason: &CloseReason) {
        let server = link.server().cloned();
        let known = server.as_ref().and_then(|name| self.known_server(name));
        let wanted = *reason != CloseReason::Local;
        let again = self.inner.reconnect.clone().filter(|_| wanted);
        let id = again.as_ref().map(|_| self.next_id());
        // Another connection may lead there by now, or by another name.
        let another = |other: &Link<R>| {
            other.remote() == link.remote() && !other.is_same(link)
        };
        let events = if self.inner.links().iter().any(another) {
            Vec::new()
        } else {
            self.inner.peers.server_left(link.remote())
        };
        self.inner.note_peers(&events, Some(link));
        let attempt = known.as_ref().and_then(|known| known.lost(link, id));
        if let Some(known) = known {
            self.end_if_apart(known.name(), reason);
        }
        self.inner.events.send(&ConnectionEvent::Disconnected {
            server,
            remote: link.remote(),
            reason: reason.clone(),
        });
        if let (Some(again), Some(attempt)) = (again, attempt) {
            let weak = self.downgrade();
            let attempt = attempt.or_end(weak.clone(), reason.clone());
            let cause = Cause::Lost;
            let task = async move {
                let result = again.run(weak, attempt, cause).await;
                if let Err(error) = result {
                    tracing::warn!(%error, "the connection is lost");
                }
            };
            let Inner { runtime, tasks, .. } = &*self.inner;
            tasks.spawn(runtime, "reconnecting", task);
        }
    }
}

impl<R: Runtime> Drop for Inner<R> {
    fn drop(&mut self) {
        for server in lock(&self.servers).values() {
            for link in server.give_up() {
                self.say_farewell(&link);
                link.finish_within(CLOSE_WITHIN);
            }
        }
        let end = SubscriptionEnd::Disconnected(CloseReason::Local);
        self.subscriptions.end_all(&end);
        // They may hold connections, which hold them.
        self.endpoint.clear();
    }
}

impl<R: Runtime> Clone for TcpClient<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<R: Runtime> fmt::Debug for TcpClient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpClient")
            .field("default_server", &self.inner.default_server)
            .field("servers", &lock(&self.inner.servers).keys())
            .finish_non_exhaustive()
    }
}
