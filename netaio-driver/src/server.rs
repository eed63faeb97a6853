//! The TCP server.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use netaio_proto::{
    Admission, Backoff, CloseReason, Counters, KeyExtractor, KnownPeer, Layers,
    LossReason, Message, OuterUse, Peer, PeerError, PeerEvent, PeerManagement,
    PluginError, Random, RouteKey, Sealer, SendError, SubscribeError, Subscriptions,
};

use crate::builder::ServerBuilder;
use crate::endpoint::{Endpoint, lock};
use crate::events::{ConnectionEvent, ConnectionEvents, Events, PeerEvents};
use crate::handler::{AuthFailure, Incoming, IntoOutcome, handler_methods};
use crate::link::{Link, LinkLabel, Owner, fresh_seed, sum_open};
use crate::log_limit::Topic;
use crate::peers::{SharedPeers, peer_methods};
use crate::pubsub::pubsub_methods;
use crate::runtime::{ByteStream, Runtime, WrapStream, until};
use crate::signal::Signal;
use crate::task::ConnectionTask;
use crate::timeout::TimedOut;
use crate::wall_clock::unix_time;

/// A TCP server: handlers, and the connections that they serve.
///
/// Cheap to clone; all clones are one server. When the last one is dropped, it
/// stops listening and its connections are closed. A handler that captures the
/// server keeps it alive until [`shutdown`](Self::shutdown).
pub struct TcpServer<R: Runtime> {
    inner: Arc<Inner<R>>,
    _stop: Arc<StopOnDrop<R>>,
}

struct Inner<R: Runtime> {
    runtime: R,
    endpoint: Arc<Endpoint<Incoming<R>>>,
    admission: Mutex<Admission>,
    links: Mutex<BTreeMap<u64, Link<R>>>,
    /// Sockets that are being listened on.
    listeners: AtomicUsize,
    next_link: AtomicU64,
    events: Events<ConnectionEvent>,
    peers: SharedPeers,
    subscriptions: Mutex<Subscriptions<u64>>,
    /// Seals what goes to many. `None` if the system had no randomness to give.
    sealer: Mutex<Option<Sealer>>,
    stopping: AtomicBool,
    stopped: AtomicBool,
    /// Tells that connections came or went, or that the server is stopping.
    changed: Signal,
}

/// Closes everything when the user's last handle is gone.
struct StopOnDrop<R: Runtime>(Arc<Inner<R>>);

impl<R: Runtime> Drop for StopOnDrop<R> {
    fn drop(&mut self) {
        self.0.stop_listening();
        self.0.say_farewell();
        self.0.begin_shutdown(Duration::ZERO);
        self.0.endpoint.clear();
    }
}

impl<R: Runtime + Default> TcpServer<R> {
    /// A server without plugins. It does not listen yet.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Starts to describe a server.
    pub fn builder() -> ServerBuilder<R> {
        ServerBuilder::on(R::default())
    }
}

impl<R: Runtime + Default> Default for TcpServer<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime> TcpServer<R> {
    /// Starts to describe a server on a runtime of your own.
    pub fn builder_on(runtime: R) -> ServerBuilder<R> {
        ServerBuilder::on(runtime)
    }

    pub(crate) fn from_parts(runtime: R, endpoint: Endpoint<Incoming<R>>) -> Self {
        let config = &endpoint.config;
        let admission = Admission::new(&config.limits);
        let sealer = fresh_seed().ok();
        let sealer = sealer.map(|seed| Sealer::new(Arc::clone(config), seed));
        let inner = Arc::new(Inner {
            runtime,
            peers: SharedPeers::new(config),
            subscriptions: Mutex::new(Subscriptions::new(&config.limits)),
            sealer: Mutex::new(sealer),
            endpoint: Arc::new(endpoint),
            admission: Mutex::new(admission),
            links: Mutex::default(),
            listeners: AtomicUsize::new(0),
            next_link: AtomicU64::new(0),
            events: Events::default(),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            changed: Signal::default(),
        });
        Self {
            _stop: Arc::new(StopOnDrop(Arc::clone(&inner))),
            inner,
        }
    }

    // --- serving ---

    /// Listens on `host:port` and serves whoever connects, in the background;
    /// gives the address, which tells the port if 0 was asked for. May be
    /// called for several addresses.
    ///
    /// # Errors
    ///
    /// If the name cannot be resolved or the address cannot be listened on; or
    /// after [`shutdown`](Self::shutdown).
    pub async fn listen(&self, address: impl AsRef<str>) -> io::Result<SocketAddr> {
        let runtime = &self.inner.runtime;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in runtime.resolve(address.as_ref()).await? {
            match runtime.listen(address).await {
                Ok(listener) => return self.accept_from(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn accept_from(&self, listener: R::TcpListener) -> io::Result<SocketAddr> {
        if self.inner.stopping.load(Ordering::Acquire) {
            return Err(io::Error::other("the server has been shut down"));
        }
        let address = self.inner.runtime.local_addr(&listener)?;
        tracing::info!(%address, "listening");
        self.inner.listeners.fetch_add(1, Ordering::AcqRel);
        let closed = ListenerClosed(Arc::clone(&self.inner));
        let accepting = accept_loop(Arc::clone(&self.inner), listener);
        self.inner.runtime.spawn(async move {
            accepting.await;
            drop(closed);
        });
        Ok(address)
    }

    /// Serves a stream that is connected already: a TLS stream, a Unix socket,
    /// a pipe. `from` is what handlers and routes are told; a stream without an
    /// address may take any. It counts as one of `Limits::max_connections`, and of
    /// its address, but is served even if there are as many.
    ///
    /// # Errors
    ///
    /// If the operating system has no randomness to give.
    pub fn serve_stream<S>(&self, stream: S, from: SocketAddr) -> io::Result<Link<R>>
    where
        R: WrapStream<S>,
    {
        lock(&self.inner.admission).count(from);
        self.inner.serve(R::wrap(stream), from)
    }

    /// Stops listening, lets the connections answer what they have accepted,
    /// and closes them; at the latest after `within`, whatever handlers do.
    /// Then drops all handlers. A handler that blocks its thread cannot be ended
    /// before it returns.
    ///
    /// Dropping the future ends the shutdown early: what it had begun goes on,
    /// and the server counts as stopped. A handler of this server that awaits
    /// it waits for itself, until `within` has passed: let it start a task.
    pub async fn shutdown(&self, within: Duration) {
        let mut stopped = Stopped {
            server: &self.inner,
            within: Some(within),
        };
        let runtime = &self.inner.runtime;
        let start = runtime.now();
        let deadline = start + within;
        // First the listening sockets, so that a client which connects again
        // at once does not reach what is about to go.
        self.inner.stop_listening();
        let _ = until(runtime, start + TURN, self.inner.no_listeners()).await;
        self.inner.say_farewell();
        self.inner
            .begin_shutdown(deadline.duration_since(runtime.now()));
        stopped.within = None;
        let drained = until(runtime, deadline, self.inner.nothing_open()).await;
        if drained.is_none() {
            self.inner.abort_all();
            // Closing takes each connection's task one turn.
            let grace = runtime.now() + TURN;
            let _ = until(runtime, grace, self.inner.nothing_open()).await;
        }
    }

    /// Waits until [`shutdown`](Self::shutdown) has ended.
    pub async fn stopped(&self) {
        let stopped = &self.inner.stopped;
        self.inner
            .changed
            .wait_until(|| stopped.load(Ordering::Acquire))
            .await;
    }

    /// The connections that are open.
    pub fn links(&self) -> Vec<Link<R>> {
        lock(&self.inner.links).values().cloned().collect()
    }

    /// What happens to the server's connections, from now on.
    pub fn events(&self) -> ConnectionEvents {
        self.inner.events.subscribe()
    }

    /// What all connections, open and ended, have done so far.
    pub fn counters(&self) -> Counters {
        let open = || sum_open(self.links());
        self.inner.endpoint.counters(open)
    }

    handler_methods!(Incoming<R>);

    // --- subscriptions ---

    /// Sends a message to the connections that are subscribed to a key; gives
    /// how many that were. A client's subscription takes a `NOTIFY_URI` whose URI is
    /// the key; anything else is for its handlers.
    ///
    /// It is sealed once for all of them, unless a plugin's work depends on who
    /// receives it. Nobody is waited for: a client that takes too little loses
    /// notifications, or its connection, as `Limits::max_notices` and
    /// `Limits::lag_policy` say, and delays no other. Returns after the tasks of
    /// connections had a turn.
    ///
    /// Cancel safe: the message has been queued at the first poll.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the message cannot be sealed.
    pub async fn notify(
        &self,
        key: impl AsRef<[u8]>,
        message: Message,
    ) -> Result<usize, SendError> {
        self.notify_with(key, message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message to the connections that are subscribed to a key, with
    /// inner layers and some of the server's own plugins.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub async fn notify_with(
        &self,
        key: impl AsRef<[u8]>,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let links = self.inner.subscribers(key.as_ref());
        self.inner.send_to_all(&links, message, inner, outer).await
    }

    /// Sends a message to all connections; gives how many that were. Otherwise as
    /// [`notify`](Self::notify).
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub async fn broadcast(&self, message: Message) -> Result<usize, SendError> {
        self.broadcast_with(message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message to all connections, with inner layers and some of the
    /// server's own plugins.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub async fn broadcast_with(
        &self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let links = self.links();
        self.inner.send_to_all(&links, message, inner, outer).await
    }

    /// Subscribes a connection to a key; `false` if that was done already. It
    /// ends with the connection.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] if a bound is reached, or the connection is over or not
    /// one of this server.
    pub fn subscribe(
        &self,
        key: impl AsRef<[u8]>,
        link: &Link<R>,
    ) -> Result<bool, SubscribeError> {
        self.inner.subscribe(key.as_ref(), link)
    }

    /// Ends a connection's subscription to a key; `false` if there is none.
    pub fn unsubscribe(&self, key: impl AsRef<[u8]>, link: &Link<R>) -> bool {
        let key = key.as_ref();
        lock(&self.inner.subscriptions).unsubscribe(link.id(), key)
    }

    /// The connections that are subscribed to a key.
    pub fn subscribers(&self, key: impl AsRef<[u8]>) -> Vec<Link<R>> {
        self.inner.subscribers(key.as_ref())
    }

    pubsub_methods!(
        Incoming<R>,
        "Everybody who can connect, and passes the auth plugin if there is one, may \
         subscribe and publish."
    );

    // --- peers ---

    peer_methods!();

    /// Clients have been told that this server leaves, which ends nothing.
    #[expect(clippy::unused_self, reason = "a client has something to do then")]
    fn farewell_said(&self) {}
}

/// Lets other tasks of this thread have a turn.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How long tasks that have nothing to wait for may take to end.
const TURN: Duration = Duration::from_millis(50);

impl<R: Runtime> Inner<R> {
    /// Serves a stream that has been counted by `admission`.
    fn serve<S: ByteStream>(
        self: &Arc<Self>,
        stream: S,
        remote: SocketAddr,
    ) -> io::Result<Link<R>> {
        let link = self.begin(remote);
        match &link {
            Ok(link) => {
                let task = ConnectionTask::new(link.clone(), stream);
                self.runtime.spawn(task);
            }
            Err(_) => lock(&self.admission).release(remote),
        }
        link
    }

    fn begin(self: &Arc<Self>, remote: SocketAddr) -> io::Result<Link<R>> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(io::Error::other("the server has been shut down"));
        }
        let weak = Arc::downgrade(self);
        let owner: Weak<dyn Owner<R>> = weak;
        let id = self.next_link.fetch_add(1, Ordering::Relaxed);
        let link = Link::new(
            self.runtime.clone(),
            Arc::clone(&self.endpoint),
            owner,
            LinkLabel {
                id,
                remote,
                server: None,
            },
            Arc::clone(&self.endpoint.config),
        )?;
        lock(&self.links).insert(id, link.clone());
        // In this order, or one that is added meanwhile would be missed.
        link.set_peer(self.peers.at(remote).map(|known| known.peer));
        if self.stopping.load(Ordering::Acquire) {
            // A shutdown that began meanwhile may not have seen this one.
            link.begin_shutdown(Duration::ZERO);
        }
        self.events.send(&ConnectionEvent::Connected {
            server: None,
            remote,
        });
        tracing::debug!(%remote, "accepted");
        Ok(link)
    }

    fn subscribe(&self, key: &[u8], link: &Link<R>) -> Result<bool, SubscribeError> {
        let mut subscriptions = lock(&self.subscriptions);
        // What ends takes its link out first, and then its subscriptions.
        let links = lock(&self.links);
        match links.get(&link.id()) {
            Some(own) if own.is_same(link) => {
                subscriptions.subscribe(link.id(), key)
            }
            _ => Err(SubscribeError::Closed),
        }
    }

    fn subscribers(&self, key: &[u8]) -> Vec<Link<R>> {
        let subscriptions = lock(&self.subscriptions);
        let links = lock(&self.links);
        let ids = subscriptions.subscribers(key);
        ids.filter_map(|id| links.get(&id).cloned()).collect()
    }

    async fn send_to_all(
        &self,
        links: &[Link<R>],
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<usize, SendError> {
        let sealed = {
            let mut sealer = lock(&self.sealer);
            let sealer = sealer.as_mut().ok_or_else(|| {
                PluginError::Other("the system has no randomness".into())
            })?;
            match sealer.is_peer_specific(inner, outer) {
                true => None,
                false => {
                    let message = message.clone();
                    Some(sealer.seal(unix_time(), message, inner, outer)?)
                }
            }
        };
        let mut told = 0;
        for link in links {
            let queued = match &sealed {
                Some(sealed) => link.notify_sealed(sealed),
                None => link.seal_and_notify(message.clone(), inner, outer),
            };
            match queued {
                Ok(_) => told += 1,
                Err(error) => {
                    tracing::debug!(remote = %link.remote(), %error, "not notified");
                }
            }
        }
        yield_once().await;
        Ok(told)
    }

    fn subscribe_sender(&self, m: &Incoming<R>) -> Result<bool, SubscribeError> {
        self.subscribe(m.uri(), m.link())
    }

    fn unsubscribe_sender(&self, m: &Incoming<R>) {
        lock(&self.subscriptions).unsubscribe(m.link().id(), m.uri());
    }

    async fn publish(
        &self,
        key: &[u8],
        notice: Message,
        layers: &Layers,
    ) -> Result<usize, SendError> {
        let links = self.subscribers(key);
        self.send_to_all(&links, notice, layers, OuterUse::default())
            .await
    }

    /// A server says who it is when it is asked.
    fn greet(&self) {}

    /// Tells the peers among the clients that this server leaves.
    fn say_farewell(&self) {
        if let Some((farewell, layers)) = self.peers.farewell() {
            self.tell_all(&farewell, &layers);
        }
    }

    /// Sends a message to those clients that are known as peers.
    fn tell_all(&self, message: &Message, layers: &Layers) {
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        for link in links {
            if self.peers.at(link.remote()).is_some() {
                // One that takes nothing is not told.
                let _ = link.try_send(message.clone(), layers);
            }
        }
    }

    /// Notes what has happened to peers: connections are told who is at their
    /// other ends, and who has left is not subscribed any more.
    fn note_peers(&self, events: &[PeerEvent], own: Option<&Link<R>>) {
        let all = || lock(&self.links).values().cloned().collect();
        for (event, link) in self.peers.introduce(events, own, all) {
            if let PeerEvent::Lost {
                reason: LossReason::Left | LossReason::Removed,
                ..
            } = event
            {
                lock(&self.subscriptions).remove_subscriber(link.id());
            }
        }
        self.peers.tell(events);
    }

    fn stop_listening(&self) {
        self.stopping.store(true, Ordering::Release);
        self.changed.tell();
    }

    fn begin_shutdown(&self, within: Duration) {
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        for link in links {
            link.begin_shutdown(within);
        }
    }

    fn abort_all(&self) {
        let links: Vec<_> = lock(&self.links).values().cloned().collect();
        for link in links {
            link.abort(CloseReason::Shutdown);
        }
    }

    /// Waits until no listening socket is open.
    async fn no_listeners(&self) {
        self.changed
            .wait_until(|| self.listeners.load(Ordering::Acquire) == 0)
            .await;
    }

    /// Ends the streams of events, if the server has stopped and the last
    /// connection is over.
    fn end_events_if_over(&self) {
        if self.stopped.load(Ordering::Acquire) && lock(&self.links).is_empty() {
            self.events.end();
            self.peers.end_events();
        }
    }

    /// Waits until nothing is open, neither connection nor listening socket.
    async fn nothing_open(&self) {
        self.no_listeners().await;
        self.changed
            .wait_until(|| lock(&self.links).is_empty())
            .await;
    }

    /// Waits until the server is told to stop.
    async fn told_to_stop(&self) {
        self.changed
            .wait_until(|| self.stopping.load(Ordering::Acquire))
            .await;
    }

    /// Waits until there is room for another connection.
    async fn has_room(&self) {
        self.changed
            .wait_until(|| lock(&self.admission).has_room())
            .await;
    }

    /// Waits for a connection, and then takes it.
    async fn accept(self: &Arc<Self>, listener: &R::TcpListener) -> io::Result<()> {
        self.has_room().await;
        let (stream, remote) = self.runtime.accept(listener).await?;
        // Another listening socket may have taken the last place.
        let admitted = loop {
            self.has_room().await;
            let mut admission = lock(&self.admission);
            if admission.has_room() {
                break admission.admit(remote);
            }
        };
        if admitted {
            self.serve(stream, remote)?;
        } else {
            self.refused(remote);
        }
        Ok(())
    }

    /// A connection is not served: its address has as many as it may have.
    fn refused(&self, remote: SocketAddr) {
        let mut counters = Counters::default();
        counters.refused = 1;
        self.endpoint.add_ended(counters);
        if self.endpoint.log.allows(Topic::ConnectionRefused) {
            tracing::warn!(%remote, "too many connections from one address");
        }
    }
}

/// Accepts connections until the server is told to stop. When the system has
/// no more to give (files, memory), waits a little before the next try.
async fn accept_loop<R: Runtime>(server: Arc<Inner<R>>, listener: R::TcpListener) {
    let mut random = Random::from_seed(fresh_seed().unwrap_or_default());
    let mut backoff = Backoff::new(Duration::from_millis(5))
        .cap(Duration::from_secs(1))
        .jitter(false);
    loop {
        let accepted = {
            let stop = std::pin::pin!(server.told_to_stop());
            let accept = std::pin::pin!(server.accept(&listener));
            match select(stop, accept).await {
                Either::Left(_) => return,
                Either::Right((accepted, _)) => accepted,
            }
        };
        match accepted {
            Ok(()) => backoff.reset(),
            Err(error) => {
                let delay = backoff.next_delay(&mut random).unwrap_or_default();
                tracing::warn!(%error, ?delay, "accepting failed");
                let again = server.runtime.now() + delay;
                let _ = until(&server.runtime, again, server.told_to_stop()).await;
            }
        }
    }
}

/// Dropped when a shutdown has ended, or has been given up.
struct Stopped<'a, R: Runtime> {
    server: &'a Inner<R>,
    /// How long connections have, if they have not been told.
    within: Option<Duration>,
}

impl<R: Runtime> Drop for Stopped<'_, R> {
    fn drop(&mut self) {
        let Self { server, within } = self;
        if let Some(within) = *within {
            server.begin_shutdown(within);
        }
        server.endpoint.clear();
        server.stopped.store(true, Ordering::Release);
        server.end_events_if_over();
        server.changed.tell();
    }
}

/// Dropped when a listening socket has been closed.
struct ListenerClosed<R: Runtime>(Arc<Inner<R>>);

impl<R: Runtime> Drop for ListenerClosed<R> {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.tell();
    }
}

impl<R: Runtime> Owner<R> for Inner<R> {
    fn timed_out(self: Arc<Self>, link: &Link<R>, timed_out: TimedOut) {
        let uri = String::from_utf8_lossy(&timed_out.context.uri).into_owned();
        tracing::debug!(remote = %link.remote(), %uri, "a client did not answer");
    }

    fn peer_message(&self, link: &Link<R>, message: &Message) -> Option<Message> {
        let now = self.runtime.now();
        let (reply, events) = self.peers.receive(now, link.remote(), message);
        self.note_peers(&events, Some(link));
        reply
    }

    fn ended(self: Arc<Self>, link: &Link<R>, reason: &CloseReason) {
        lock(&self.links).remove(&link.id());
        lock(&self.admission).release(link.remote());
        lock(&self.subscriptions).remove_subscriber(link.id());
        let events = self.peers.disconnected(link.remote());
        self.note_peers(&events, Some(link));
        self.events.send(&ConnectionEvent::Disconnected {
            server: None,
            remote: link.remote(),
            reason: reason.clone(),
        });
        self.end_events_if_over();
        self.changed.tell();
    }
}

impl<R: Runtime> Clone for TcpServer<R> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _stop: Arc::clone(&self._stop),
        }
    }
}

impl<R: Runtime> fmt::Debug for TcpServer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer")
            .field("connections", &lock(&self.inner.links).len())
            .field("stopping", &self.inner.stopping)
            .finish_non_exhaustive()
    }
}
