//! What all connections of a client or server share, and what a node has:
//! configuration, routes, handlers, counters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netaio_proto::{
    Counters, DefaultRoute, EndpointConfig, HandlerId, KeyExtractor, Layers,
    PeerManagement, RouteKey, Router,
};

use crate::handler::{Answer, AuthErrorHandler, Handler, Outcome};
use crate::log_limit::LogLimit;

/// What all connections of a client or server share. `I` is what its handlers
/// are given.
pub(crate) struct Endpoint<I> {
    pub(crate) config: Arc<EndpointConfig>,
    routes: Mutex<Routes<I>>,
    /// Counts changes of the routes, so that a connection sees at a glance
    /// whether its snapshot is stale.
    version: AtomicU64,
    /// What is known of the routes by those who have to look anew.
    stale: Snapshot<I>,
    /// How many lines are logged about what peers and handlers do.
    pub(crate) log: Arc<LogLimit>,
    auth_error: Mutex<Option<Arc<AuthErrorHandler>>>,
    ended: Mutex<Ended>,
}

/// What has been done by what is over.
#[derive(Clone, Copy, Default)]
struct Ended {
    counters: Counters,
    /// How often something was added.
    additions: u64,
}

struct Routes<I> {
    router: Router,
    handlers: BTreeMap<HandlerId, Registered<I>>,
    next_id: u64,
    /// Handlers that the change under way has removed.
    removed: Vec<Registered<I>>,
    /// Made when a connection asks for it, dropped when the routes change.
    snapshot: Option<Snapshot<I>>,
}

/// The routes and handlers at one time.
pub(crate) struct Snapshot<I> {
    pub(crate) version: u64,
    pub(crate) router: Arc<Router>,
    handlers: Arc<BTreeMap<HandlerId, Registered<I>>>,
}

/// A handler, and how it was registered.
pub(crate) struct Registered<I> {
    handler: Arc<Handler<I>>,
    /// It was taken away, and not just replaced: it is not called any more.
    removed: Arc<AtomicBool>,
    /// The key that it is registered under. The default handler has none.
    key: Option<Arc<RouteKey>>,
    /// It is for one message only.
    once: bool,
}

impl<I> Endpoint<I> {
    pub(crate) fn new(config: EndpointConfig, default: DefaultRoute) -> Self {
        let mut router = Router::new();
        router.set_default_route(default);
        let lines = config.limits.max_log_lines_per_minute;
        Self {
            log: Arc::new(LogLimit::new(lines)),
            config: Arc::new(config),
            routes: Mutex::new(Routes {
                router,
                handlers: BTreeMap::new(),
                next_id: 0,
                removed: Vec::new(),
                snapshot: None,
            }),
            version: AtomicU64::new(0),
            stale: Snapshot {
                version: u64::MAX,
                router: Arc::default(),
                handlers: Arc::default(),
            },
            auth_error: Mutex::default(),
            ended: Mutex::default(),
        }
    }

    pub(crate) fn on(
        &self,
        key: RouteKey,
        layers: Layers,
        handler: Arc<Handler<I>>,
    ) {
        drop(self.route(key, layers, handler));
    }

    pub(crate) fn once(
        &self,
        key: RouteKey,
        layers: Layers,
        handler: Arc<Handler<I>>,
    ) {
        self.change(|routes| {
            let id = routes.register(handler, Some(&key), true);
            let old = routes.router.insert_once(key, id, layers);
            routes.replace(old);
        });
    }

    pub(crate) fn remove(&self, key: &RouteKey) -> bool {
        self.change(|routes| {
            let old = routes.router.remove(key);
            routes.forget(old)
        })
    }

    pub(crate) fn remove_once(&self, key: &RouteKey) -> bool {
        self.change(|routes| {
            let old = routes.router.remove_once(key);
            routes.forget(old)
        })
    }

    pub(crate) fn set_default_handler(&self, handler: Arc<Handler<I>>) {
        self.change(|routes| {
            let id = routes.register(handler, None, false);
            if let DefaultRoute::Handler(old) = routes.router.default_route() {
                routes.replace(Some(old));
            }
            routes.router.set_default_route(DefaultRoute::Handler(id));
        });
    }

    pub(crate) fn set_extractor(&self, extractor: Option<Arc<dyn KeyExtractor>>) {
        self.change(|routes| routes.router.set_extractor(extractor));
    }

    /// Routes the messages of peers to [`HandlerId::PEERS`].
    pub(crate) fn manage_peers(&self, by: &PeerManagement) {
        self.change(|routes| {
            for old in routes.router.manage_peers(by) {
                routes.replace(Some(old));
            }
        });
    }

    pub(crate) fn unmanage_peers(&self, by: &PeerManagement) {
        self.change(|routes| routes.router.unmanage_peers(by));
    }

    /// Drops every handler, and with them what they have captured.
    pub(crate) fn clear(&self) {
        self.change(|routes| {
            routes.router = Router::new();
            let handlers = std::mem::take(&mut routes.handlers);
            for registered in handlers.into_values() {
                registered.removed.store(true, Ordering::Release);
                routes.removed.push(registered);
            }
        });
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// No routes and no handlers, of no version: for those who will look anew.
    pub(crate) fn stale_snapshot(&self) -> Snapshot<I> {
        self.stale.clone()
    }

    pub(crate) fn snapshot(&self) -> Snapshot<I> {
        let mut routes = lock(&self.routes);
        let version = self.version();
        let routes = &mut *routes;
        let made = routes.snapshot.get_or_insert_with(|| Snapshot {
            version,
            router: Arc::new(routes.router.clone()),
            handlers: Arc::new(routes.handlers.clone()),
        });
        made.clone()
    }

    /// A handler of one message has been given it.
    pub(crate) fn served(&self, key: &RouteKey, id: HandlerId) {
        self.change(|routes| {
            routes.router.remove_once_if(key, id);
            routes.forget(Some(id));
        });
    }

    pub(crate) fn set_auth_error_handler(&self, handler: Arc<AuthErrorHandler>) {
        let old = lock(&self.auth_error).replace(handler);
        drop(old);
    }

    pub(crate) fn auth_error_handler(&self) -> Option<Arc<AuthErrorHandler>> {
        lock(&self.auth_error).clone()
    }

    /// Adds what has been done by what is over. A connection counts as open until
    /// then, and not any more afterwards: its lock must be held.
    pub(crate) fn add_ended(&self, counters: Counters) {
        let mut ended = lock(&self.ended);
        ended.counters += counters;
        ended.additions += 1;
    }

    /// What all connections have done, those included that `open` sums up.
    pub(crate) fn counters(&self, open: impl Fn() -> Counters) -> Counters {
        loop {
            let ended = *lock(&self.ended);
            let mut counters = ended.counters;
            counters += open();
            // One that has ended meanwhile may be in both, or in neither.
            if lock(&self.ended).additions == ended.additions {
                return counters;
            }
        }
    }

    /// The same as [`on`](Self::on); gives the handler's id too, and what is to be
    /// dropped once no lock is held.
    pub(crate) fn route(
        &self,
        key: RouteKey,
        layers: Layers,
        handler: Arc<Handler<I>>,
    ) -> (HandlerId, Removed<I>) {
        self.change_routes(|routes| {
            let id = routes.register(handler, Some(&key), false);
            let old = routes.router.insert(key, id, layers);
            routes.replace(old);
            id
        })
    }

    /// Removes a handler, unless another one has taken its place; gives what is to
    /// be dropped once no lock is held.
    pub(crate) fn unroute(&self, key: &RouteKey, id: HandlerId) -> Removed<I> {
        let (_, removed) = self.change_routes(|routes| {
            let own = routes.router.remove_if(key, id);
            routes.forget(own.then_some(id));
        });
        removed
    }

    /// Changes the routes, and drops what is removed.
    fn change<T>(&self, change: impl FnOnce(&mut Routes<I>) -> T) -> T {
        self.change_routes(change).0
    }

    /// Changes the routes. What is removed is given to the caller, after the lock
    /// has been released.
    fn change_routes<T>(
        &self,
        change: impl FnOnce(&mut Routes<I>) -> T,
    ) -> (T, Removed<I>) {
        let mut routes = lock(&self.routes);
        let snapshot = routes.snapshot.take();
        let outcome = change(&mut routes);
        self.version.fetch_add(1, Ordering::Release);
        let handlers = std::mem::take(&mut routes.removed);
        (outcome, Removed(snapshot, handlers))
    }
}

/// Handlers that have been removed. They may have captured anything, so they are not
/// to be dropped while a lock is held.
#[must_use = "it is to be dropped once no lock is held"]
pub(crate) struct Removed<I>(
    #[expect(dead_code, reason = "it is there to be dropped")] Option<Snapshot<I>>,
    #[expect(dead_code, reason = "it is there to be dropped")] Vec<Registered<I>>,
);

impl<I> Routes<I> {
    fn register(
        &mut self,
        handler: Arc<Handler<I>>,
        key: Option<&RouteKey>,
        once: bool,
    ) -> HandlerId {
        let id = HandlerId(self.next_id);
        self.next_id += 1;
        let registered = Registered {
            handler,
            removed: Arc::default(),
            key: key.cloned().map(Arc::new),
            once,
        };
        self.handlers.insert(id, registered);
        id
    }

    /// Takes away a handler that another one takes the place of: messages that
    /// were routed to it before that are still given to it.
    fn replace(&mut self, id: Option<HandlerId>) {
        self.removed
            .extend(id.and_then(|id| self.handlers.remove(&id)));
    }

    /// Takes away a handler; `false` if there is none.
    fn forget(&mut self, id: Option<HandlerId>) -> bool {
        let removed = id.and_then(|id| self.handlers.remove(&id));
        let was_there = removed.is_some();
        if let Some(removed) = &removed {
            removed.removed.store(true, Ordering::Release);
        }
        self.removed.extend(removed);
        was_there
    }
}

impl<I> Snapshot<I> {
    pub(crate) fn handler(&self, id: HandlerId) -> Option<&Registered<I>> {
        self.handlers.get(&id)
    }
}

/// Handlers that are in no snapshot any more, since others took their place, and
/// have messages to handle all the same.
pub(crate) struct Replaced<I>(BTreeMap<HandlerId, Registered<I>>);

impl<I> Replaced<I> {
    /// Keeps those that messages are `waiting` for, and that the change from one
    /// snapshot to the next has taken away; forgets all others.
    pub(crate) fn keep(
        &mut self,
        waiting: impl Iterator<Item = HandlerId>,
        old: &Snapshot<I>,
        new: &Snapshot<I>,
    ) {
        let mut kept = BTreeMap::new();
        for id in waiting.filter(|id| !new.handlers.contains_key(id)) {
            let known = old.handlers.get(&id).or_else(|| self.0.get(&id));
            kept.extend(known.map(|known| (id, known.clone())));
        }
        self.0 = kept;
    }

    /// Drops them.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if !self.0.is_empty() {
            self.0.clear();
        }
    }

    /// A handler that was replaced, and not taken away.
    pub(crate) fn handler(&self, id: HandlerId) -> Option<&Registered<I>> {
        let registered = self.0.get(&id)?;
        let removed = registered.removed.load(Ordering::Acquire);
        (!removed).then_some(registered)
    }
}

impl<I> Default for Replaced<I> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<I> Registered<I> {
    pub(crate) fn call(&self, incoming: I) -> Outcome<Answer> {
        (self.handler)(incoming)
    }

    /// The key that it is registered under, unless it is the default handler.
    pub(crate) fn key(&self) -> Option<&Arc<RouteKey>> {
        self.key.as_ref()
    }

    /// Its key, if it is for one message only.
    pub(crate) fn once(&self) -> Option<&RouteKey> {
        self.key.as_deref().filter(|_| self.once)
    }
}

impl<I> Clone for Snapshot<I> {
    fn clone(&self) -> Self {
        Self {
            version: self.version,
            router: Arc::clone(&self.router),
            handlers: Arc::clone(&self.handlers),
        }
    }
}

impl<I> Clone for Registered<I> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            removed: Arc::clone(&self.removed),
            key: self.key.clone(),
            once: self.once,
        }
    }
}

impl<I> fmt::Debug for Endpoint<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("config", &self.config)
            .field("handlers", &lock(&self.routes).handlers.len())
            .finish_non_exhaustive()
    }
}

/// Locks a mutex whose contents are sound even if a holder has panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
