//! Subscriptions of a client: bounded streams of what a server notifies of.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::stream::Stream;
use netaio_proto::{
    CloseReason, DEFAULT_TIMEOUT, HandlerId, LagPolicy, Layers, Message,
    RequestError, StatusError,
};

use crate::client::{TcpClient, WeakTcpClient};
use crate::endpoint::lock;
use crate::runtime::Runtime;
use crate::server_name::ServerName;

/// Notifications that a subscription keeps, unless it is told otherwise.
const KEPT: usize = 1024;
/// Bytes of them.
const KEPT_BYTES: usize = 1024 * 1024;

/// A subscription that has not been made: say what you need, then await it.
///
/// Cancel safe: dropping the future subscribes to nothing, or unsubscribes.
#[must_use = "a subscription is not made unless it is awaited"]
pub struct SubscribeBuilder<R: Runtime> {
    client: TcpClient<R>,
    uri: Vec<u8>,
    server: Option<ServerName>,
    options: Options,
}

/// How a subscription is made, and made again.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) layers: Layers,
    pub(crate) timeout: Duration,
    capacity: usize,
    policy: LagPolicy,
}

impl<R: Runtime> SubscribeBuilder<R> {
    pub(crate) fn new(client: TcpClient<R>, uri: &[u8]) -> Self {
        Self {
            client,
            uri: uri.to_vec(),
            server: None,
            options: Options {
                layers: Layers::new(),
                timeout: DEFAULT_TIMEOUT,
                capacity: KEPT,
                policy: LagPolicy::default(),
            },
        }
    }

    /// The server to subscribe at, if it is not the client's default one.
    pub fn server(mut self, server: impl Into<ServerName>) -> Self {
        self.server = Some(server.into());
        self
    }

    /// The inner layers of the subscription and of its notifications. All
    /// subscriptions of a client to one URI share those of the last one.
    pub fn layers(mut self, inner: Layers) -> Self {
        self.options.layers = inner;
        self
    }

    /// How long to wait for the server to confirm. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How many notifications may wait to be taken, at least one; never more than
    /// 1 MiB of them. Default: 1,024.
    pub fn capacity(mut self, notifications: usize) -> Self {
        self.options.capacity = notifications.max(1);
        self
    }

    /// What becomes of a subscription whose reader is too slow: it loses the
    /// oldest notifications, or the newest, or it ends. Default: the oldest.
    pub fn lag_policy(mut self, policy: LagPolicy) -> Self {
        self.options.policy = policy;
        self
    }
}

impl<R: Runtime> IntoFuture for SubscribeBuilder<R> {
    type Output = Result<Subscription<R>, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                client,
                uri,
                server,
                options,
            } = self;
            let server = server.or_else(|| client.default_server());
            let server = server.ok_or(RequestError::NotConnected)?;
            let key = Key { server, uri };
            // Before it is asked for: a notification may overtake the answer.
            let subscription = Subscription {
                queue: client.add_subscription(&key, &options),
                client: client.downgrade(),
                key,
            };
            let Key { server, uri } = &subscription.key;
            client.ask_to_subscribe(server, uri, &options).await?;
            Ok(subscription)
        })
    }
}

impl<R: Runtime> fmt::Debug for SubscribeBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeBuilder")
            .field("uri", &String::from_utf8_lossy(&self.uri))
            .field("server", &self.server)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) server: ServerName,
    pub(crate) uri: Vec<u8>,
}

/// A stream of what a server notifies of. Dropping it unsubscribes.
///
/// It is bounded: a reader that is too slow loses some, as its lag policy says,
/// and each notification tells how many were lost before it. When the client
/// connects again by itself, the subscription is renewed. It
/// [ends](Self::end) when the connection is lost for good, and when the last
/// handle of its client is dropped.
///
/// Its notifications are taken by a handler of the client: [`TcpClient::on`] with
/// the same key, later, takes them away from it.
pub struct Subscription<R: Runtime> {
    queue: Arc<Queue>,
    client: WeakTcpClient<R>,
    key: Key,
}

/// What a server has notified of. Dereferences to its [`Message`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Notification {
    /// The message.
    pub message: Message,
    /// How many that had come were dropped between the one before and this one,
    /// since nobody took them in time. What the server has dropped since this end
    /// did not read fast enough is not known here: it is in the server's counters.
    pub lost: u64,
    /// Whether the subscription was renewed between the one before and this one, as
    /// a rule since the connection was lost and made again: what was published
    /// meanwhile is missing, and not counted.
    pub resumed: bool,
}

impl Deref for Notification {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// Why a subscription has ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionEnd {
    /// Its reader was too slow, and its lag policy is to end then.
    Lagged,
    /// The connection is lost, and nobody makes another.
    Disconnected(CloseReason),
    /// The server refused to renew it after a reconnect.
    Refused(StatusError),
    /// The server did not confirm that it is renewed after a reconnect.
    NotRenewed(RequestError),
    /// It was ended by [`Subscription::unsubscribe`].
    Unsubscribed,
}

impl<R: Runtime> Subscription<R> {
    /// The next notification; `None` once the subscription has ended and all are
    /// taken. Cancel safe.
    pub async fn next(&mut self) -> Option<Notification> {
        poll_fn(|context| self.queue.poll(context)).await
    }

    /// The next notification if there is one already.
    pub fn try_next(&mut self) -> Option<Notification> {
        lock(&self.queue.state).pop()
    }

    /// Why the subscription has ended, if it has. What came before can still be
    /// taken.
    pub fn end(&self) -> Option<SubscriptionEnd> {
        lock(&self.queue.state).end.clone()
    }

    /// How many notifications wait to be taken.
    pub fn waiting(&self) -> usize {
        lock(&self.queue.state).items.len()
    }

    /// How many notifications were dropped in all.
    pub fn lost(&self) -> u64 {
        lock(&self.queue.state).lost
    }

    /// The URI that is subscribed to.
    pub fn uri(&self) -> &[u8] {
        &self.key.uri
    }

    /// The server that is subscribed at.
    pub fn server(&self) -> &ServerName {
        &self.key.server
    }

    /// Ends the subscription, and returns when the server has confirmed it. The
    /// same as dropping it, but for the waiting. What has come can still be
    /// taken.
    ///
    /// Cancel safe: the subscription has ended from the first poll on.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if the server does not confirm.
    pub async fn unsubscribe(&mut self) -> Result<(), RequestError> {
        self.queue.end(SubscriptionEnd::Unsubscribed);
        let Some(client) = self.client.upgrade() else {
            return Ok(());
        };
        match client.remove_subscription(&self.key, &self.queue) {
            Some(unsubscribing) => unsubscribing.await.map(drop),
            None => Ok(()),
        }
    }
}

impl<R: Runtime> Stream for Subscription<R> {
    type Item = Notification;

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Notification>> {
        self.queue.poll(context)
    }
}

impl<R: Runtime> Drop for Subscription<R> {
    fn drop(&mut self) {
        if let Some(client) = self.client.upgrade() {
            // Nobody waits for the confirmation.
            drop(client.remove_subscription(&self.key, &self.queue));
        }
    }
}

impl<R: Runtime> fmt::Debug for Subscription<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.queue.state);
        f.debug_struct("Subscription")
            .field("uri", &String::from_utf8_lossy(&self.key.uri))
            .field("server", &self.key.server)
            .field("waiting", &state.items.len())
            .field("lost", &state.lost)
            .field("end", &state.end)
            .finish_non_exhaustive()
    }
}

/// Notifications that wait for their reader.
#[derive(Debug)]
pub(crate) struct Queue {
    capacity: usize,
    policy: LagPolicy,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    items: VecDeque<Notification>,
    bytes: usize,
    /// What is to be said of the next notification that comes.
    next_lost: u64,
    next_resumed: bool,
    lost: u64,
    end: Option<SubscriptionEnd>,
    waker: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(options: &Options) -> Arc<Self> {
        Arc::new(Self {
            capacity: options.capacity,
            policy: options.policy,
            state: Mutex::default(),
        })
    }

    /// Puts in a notification. `false` if there was no room and the
    /// subscription is to end by that.
    pub(crate) fn push(&self, message: Message) -> bool {
        let waker = {
            let mut state = lock(&self.state);
            if state.end.is_some() {
                return true;
            }
            let length = message.length();
            while state.items.len() >= self.capacity
                || (state.bytes + length > KEPT_BYTES && !state.items.is_empty())
            {
                state.lost += 1;
                match self.policy {
                    LagPolicy::DropOldest => state.drop_oldest(),
                    LagPolicy::DropNewest => {
                        state.next_lost += 1;
                        return true;
                    }
                    LagPolicy::Disconnect => return false,
                }
            }
            state.bytes += length;
            let notification = Notification {
                message,
                lost: std::mem::take(&mut state.next_lost),
                resumed: std::mem::take(&mut state.next_resumed),
            };
            state.items.push_back(notification);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Ends the subscription, unless that has been done.
    pub(crate) fn end(&self, end: SubscriptionEnd) {
        let waker = {
            let mut state = lock(&self.state);
            state.end.get_or_insert(end);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Notes that notifications may be missing from here on.
    pub(crate) fn resumed(&self) {
        lock(&self.state).next_resumed = true;
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Notification>> {
        let mut state = lock(&self.state);
        if let Some(notification) = state.pop() {
            return Poll::Ready(Some(notification));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl QueueState {
    fn pop(&mut self) -> Option<Notification> {
        let notification = self.items.pop_front()?;
        self.bytes -= notification.message.length();
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
        Some(notification)
    }

    /// Drops the oldest; whatever comes after it says so.
    fn drop_oldest(&mut self) {
        let Some(dropped) = self.pop() else { return };
        let (lost, resumed) = match self.items.front_mut() {
            Some(next) => (&mut next.lost, &mut next.resumed),
            None => (&mut self.next_lost, &mut self.next_resumed),
        };
        *lost += dropped.lost + 1;
        *resumed |= dropped.resumed;
    }
}

/// All subscriptions of a client.
#[derive(Debug, Default)]
pub(crate) struct ClientSubscriptions {
    state: Mutex<SubscriptionState>,
}

#[derive(Debug, Default)]
struct SubscriptionState {
    by_key: BTreeMap<Key, Subscribed>,
    /// The handler of notifications, for each URI.
    handlers: BTreeMap<Vec<u8>, HandlerId>,
}

#[derive(Debug)]
struct Subscribed {
    options: Options,
    queues: Vec<Arc<Queue>>,
}

impl ClientSubscriptions {
    /// Puts in a subscription. `route` sees to it that notifications get here; it
    /// is called under the lock, so that it and what [`remove`](Self::remove)
    /// calls do not pass each other. What it gives besides is to be dropped without
    /// the lock.
    pub(crate) fn add<D>(
        &self,
        key: &Key,
        options: &Options,
        route: impl FnOnce() -> (HandlerId, D),
    ) -> (Arc<Queue>, D) {
        let queue = Queue::new(options);
        let mut state = lock(&self.state);
        let (handler, removed) = route();
        state.handlers.insert(key.uri.clone(), handler);
        let subscribed =
            state
                .by_key
                .entry(key.clone())
                .or_insert_with(|| Subscribed {
                    options: options.clone(),
                    queues: Vec::new(),
                });
        subscribed.options = options.clone();
        subscribed.queues.push(Arc::clone(&queue));
        (queue, removed)
    }

    /// Takes out a subscription. If it was the last one with its key, gives what
    /// `tell` makes of how it was made; if it was the last one of all to its URI,
    /// what `unroute` makes of its handler too, to be dropped without the lock.
    pub(crate) fn remove<D, T>(
        &self,
        key: &Key,
        queue: &Arc<Queue>,
        unroute: impl FnOnce(HandlerId) -> D,
        tell: impl FnOnce(Options) -> T,
    ) -> Option<(T, Option<D>)> {
        let state = &mut *lock(&self.state);
        let subscribed = state.by_key.get_mut(key)?;
        let before = subscribed.queues.len();
        subscribed.queues.retain(|own| !Arc::ptr_eq(own, queue));
        if subscribed.queues.len() == before || !subscribed.queues.is_empty() {
            return None;
        }
        let subscribed = state.by_key.remove(key)?;
        let removed = match state.by_key.keys().any(|other| other.uri == key.uri) {
            true => None,
            false => state.handlers.remove(&key.uri).map(unroute),
        };
        Some((tell(subscribed.options), removed))
    }

    /// Does something under the lock, unless there is a subscription with this key.
    pub(crate) fn unless_wanted(
        &self,
        key: &Key,
        act: impl FnOnce() -> Option<()>,
    ) -> Option<()> {
        let state = lock(&self.state);
        match state.by_key.contains_key(key) {
            true => Some(()),
            false => act(),
        }
    }

    /// Ends all of them.
    pub(crate) fn end_all(&self, end: &SubscriptionEnd) {
        let all = std::mem::take(&mut lock(&self.state).by_key);
        for queue in all.values().flat_map(|subscribed| &subscribed.queues) {
            queue.end(end.clone());
        }
    }

    /// Who is to be told of a notification.
    pub(crate) fn queues(&self, server: &ServerName, uri: &[u8]) -> Vec<Arc<Queue>> {
        let key = Key {
            server: server.clone(),
            uri: uri.to_vec(),
        };
        let state = lock(&self.state);
        let found = state.by_key.get(&key);
        found.map_or_else(Vec::new, |s| s.queues.clone())
    }

    /// The subscriptions at a server.
    pub(crate) fn at(&self, server: &ServerName) -> Vec<(Key, Options)> {
        let state = lock(&self.state);
        let own = state.by_key.iter().filter(|(key, _)| key.server == *server);
        own.map(|(key, subscribed)| (key.clone(), subscribed.options.clone()))
            .collect()
    }
}
