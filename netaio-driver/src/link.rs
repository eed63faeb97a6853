//! One live connection, from either side, as user code holds it.
//!
//! A link and its connection's task share the protocol state behind one short
//! lock; the task alone owns the socket. Whoever makes the connection have
//! something to do wakes the task.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::Waker;
use std::time::Duration;

use netaio_proto::{
    CloseReason, Connection, Counters, EndpointConfig, Instant, Layers, Message,
    MessageType, OuterUse, Peer, Request, RequestError, RequestId, Sealed, Sealing,
    SendError, canonical_address,
};

use crate::endpoint::{Endpoint, lock};
use crate::handler::Incoming;
use crate::inbox::Inbox;
use crate::reply::{Origin, ReplyFuture};
use crate::request::RequestBuilder;
use crate::runtime::{Runtime, until};
use crate::sealing::{is_costly, must_seal, sealed_message, sealed_request};
use crate::server_name::ServerName;
use crate::signal::Signal;
use crate::timeout::TimedOut;
use crate::waiters::Waiters;
use crate::wall_clock::WallClock;

/// One live connection.
///
/// A client has one per server, a server one per client, and both can send
/// messages and requests over theirs. Cheap to clone; holding one does not keep
/// the connection open.
///
/// What both ends send is read in order. While as many requests of the other end as
/// `Limits::max_in_flight` allows are unanswered and one more waits, what comes behind
/// that one waits too. So a handler that awaits an answer of its own caller may wait
/// in vain, if that caller has more requests under way than the bound.
pub struct Link<R: Runtime> {
    shared: Arc<Shared<R>>,
}

pub(crate) struct Shared<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) endpoint: Arc<Endpoint<Incoming<R>>>,
    pub(crate) owner: Weak<dyn Owner<R>>,
    pub(crate) label: LinkLabel,
    /// Its own, which may differ from the endpoint's.
    pub(crate) config: Arc<EndpointConfig>,
    state: Mutex<LinkState>,
    /// Something has been done to the connection since its task last looked.
    poked: AtomicBool,
    /// Cut off: no handler is to be called any more.
    aborted: AtomicBool,
    /// Tells that messages came in, room came free or the end came.
    changed: Signal,
}

/// What tells a link from others.
#[derive(Debug)]
pub(crate) struct LinkLabel {
    pub(crate) id: u64,
    pub(crate) remote: SocketAddr,
    /// The server's name, at a client.
    pub(crate) server: Option<ServerName>,
}

/// What a link belongs to: a client or a server.
pub(crate) trait Owner<R: Runtime>: Send + Sync {
    /// A request was not answered in time. Called before the caller is told.
    fn timed_out(self: Arc<Self>, link: &Link<R>, timed_out: TimedOut);

    /// A message by or about a peer came; gives what to answer.
    fn peer_message(&self, link: &Link<R>, message: &Message) -> Option<Message>;

    /// The other end sends no more, and some of what it has asked is still to be
    /// answered: the connection is not over yet, and good for nothing else.
    fn left(self: Arc<Self>, _link: &Link<R>, _reason: &CloseReason) {}

    /// The connection is over.
    fn ended(self: Arc<Self>, link: &Link<R>, reason: &CloseReason);
}

pub(crate) struct LinkState {
    pub(crate) connection: Connection,
    pub(crate) inbox: Inbox,
    pub(crate) waiters: Waiters,
    /// Of the task, if it sleeps.
    task: Option<Waker>,
    wall_clock: WallClock,
    /// The other end sends no more, and the owner has been told.
    pub(crate) left: bool,
    closed: Option<CloseReason>,
}

impl<R: Runtime> Link<R> {
    pub(crate) fn new(
        runtime: R,
        endpoint: Arc<Endpoint<Incoming<R>>>,
        owner: Weak<dyn Owner<R>>,
        mut label: LinkLabel,
        config: Arc<EndpointConfig>,
    ) -> std::io::Result<Self> {
        label.remote = canonical_address(label.remote);
        let router = Arc::clone(&endpoint.snapshot().router);
        let now = runtime.now();
        let (own, remote) = (Arc::clone(&config), label.remote);
        let connection = Connection::new(own, router, remote, fresh_seed()?, now);
        let shared = Shared {
            runtime,
            endpoint,
            owner,
            label,
            config,
            state: Mutex::new(LinkState {
                connection,
                inbox: Inbox::default(),
                waiters: Waiters::default(),
                task: None,
                wall_clock: WallClock::default(),
                left: false,
                closed: None,
            }),
            poked: AtomicBool::new(true),
            aborted: AtomicBool::new(false),
            changed: Signal::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The other end.
    pub fn remote(&self) -> SocketAddr {
        self.shared.label.remote
    }

    /// A number that no other connection of this client or server has.
    pub fn id(&self) -> u64 {
        self.shared.label.id
    }

    /// The server's name, if this is a client's connection.
    pub fn server(&self) -> Option<&ServerName> {
        self.shared.label.server.as_ref()
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    /// What the connection has done so far.
    pub fn counters(&self) -> Counters {
        self.lock().connection.counters()
    }

    /// Bytes that wait to be written, notifications not counted.
    pub fn queued(&self) -> usize {
        self.lock().connection.queued()
    }

    /// Memory of notifications that wait for the peer to take them, in bytes; at
    /// most `Limits::max_notices`.
    pub fn notices(&self) -> usize {
        self.lock().connection.notices()
    }

    /// Requests of this side that wait for a reply.
    pub fn pending(&self) -> usize {
        self.lock().connection.pending()
    }

    /// Requests of the other side that are not yet answered.
    pub fn in_flight(&self) -> usize {
        self.lock().connection.in_flight()
    }

    /// Messages that were dropped because nobody took them with
    /// [`receive_once`](Self::receive_once) in time, or because as many handlers
    /// run for messages that are answers as `Limits::max_in_flight` allows.
    pub fn dropped(&self) -> u64 {
        self.lock().inbox.dropped()
    }

    /// Asks for the content of a URI: a `REQUEST_URI`.
    pub fn request(&self, uri: impl AsRef<[u8]>) -> RequestBuilder<R> {
        RequestBuilder::over(self.clone(), MessageType::REQUEST_URI, uri.as_ref())
    }

    /// Asks to create a URI with this content: a `CREATE_URI`.
    pub fn create(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> RequestBuilder<R> {
        RequestBuilder::over(self.clone(), MessageType::CREATE_URI, uri.as_ref())
            .content(content)
    }

    /// Asks to replace the content of a URI: an `UPDATE_URI`.
    pub fn update(
        &self,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> RequestBuilder<R> {
        RequestBuilder::over(self.clone(), MessageType::UPDATE_URI, uri.as_ref())
            .content(content)
    }

    /// Asks to remove a URI: a `DELETE_URI`.
    pub fn delete(&self, uri: impl AsRef<[u8]>) -> RequestBuilder<R> {
        RequestBuilder::over(self.clone(), MessageType::DELETE_URI, uri.as_ref())
    }

    /// Sends a message that expects no reply. Waits while
    /// `Limits::max_outgoing` bytes wait to be written; done when the message
    /// is queued.
    ///
    /// Cancel safe: a message is queued as a whole or not at all.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the message cannot be sealed or the connection is over.
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        self.send_with(message, &Layers::new(), OuterUse::default())
            .await
    }

    /// Sends a message with inner layers, and with some of the endpoint's own
    /// plugins. Otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`SendError`] if the message cannot be sealed or the connection is over.
    pub async fn send_with(
        &self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<(), SendError> {
        let kind = message.message_type();
        let sealing = self.sealing_apart(kind, inner, outer);
        let (message, inner, outer) = match sealing {
            None => (message, inner, outer),
            Some(sealing) => {
                let runtime = &self.shared.runtime;
                let sealed = sealed_message(runtime, sealing, message, inner, outer);
                (sealed.await?, &Layers::new(), OuterUse::NEITHER)
            }
        };
        let send = || {
            let outcome = self.act(|state, now| {
                let copy = message.clone();
                state.connection.send_with(now, copy, inner, outer)
            });
            let full = matches!(outcome, Err(SendError::OutgoingFull { .. }));
            (!full).then_some(outcome)
        };
        self.shared.changed.wait_for(send).await
    }

    /// The next message that no request and no handler took. At most
    /// 1,024 of them and 1 MiB are kept; then the oldest is dropped and
    /// [counted](Self::dropped).
    ///
    /// Cancel safe: a message is given out or kept.
    ///
    /// # Errors
    ///
    /// The reason, once the connection is over and all messages are taken.
    pub async fn receive_once(&self) -> Result<Incoming<R>, CloseReason> {
        let receive = || {
            let mut state = self.lock();
            match state.inbox.pop() {
                Some(message) => Some(Ok(message)),
                None => state.closed.clone().map(Err),
            }
        };
        let message = self.shared.changed.wait_for(receive).await?;
        Ok(Incoming::new(message, self.clone()))
    }

    /// Ends the connection: answers what was accepted, writes what is queued,
    /// fails pending requests, and waits for the end; at most for `within`.
    pub async fn close_within(&self, within: Duration) {
        self.finish_within(within);
        self.closed().await;
    }

    /// Waits until the connection is over; tells why.
    pub async fn closed(&self) -> CloseReason {
        let changed = &self.shared.changed;
        changed.wait_for(|| self.close_reason()).await
    }

    // --- for the rest of the driver ---

    /// Looks again whenever room came free or messages came in, until something is
    /// found or the connection is over.
    pub(crate) async fn look_until<T>(
        &self,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let look = || match self.close_reason() {
            Some(_) => Some(None),
            None => look().map(Some),
        };
        self.shared.changed.wait_for(look).await
    }

    /// Gives up a request that nobody waits for any more.
    pub(crate) fn leave(&self, waiter: usize, request: RequestId) {
        let mut state = self.lock();
        if !state.waiters.leave(waiter) {
            return;
        }
        let now = self.shared.runtime.now();
        state.connection.cancel(now, request);
        // A connection that is ending may have waited for just this reply.
        let ending = state.connection.can_send() == Err(SendError::Closed);
        let task = if ending { state.task.take() } else { None };
        self.shared.poked.fetch_or(ending, Ordering::Release);
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    pub(crate) fn shared(&self) -> &Shared<R> {
        &self.shared
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, LinkState> {
        lock(&self.shared.state)
    }

    /// Whether the connection takes messages: it is neither over nor ending.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.lock();
        state.closed.is_none()
            && state.connection.can_send() != Err(SendError::Closed)
    }

    /// Whether its owner has been told that the other end sends no more.
    pub(crate) fn has_left(&self) -> bool {
        self.lock().left
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Closes at once, without waiting for anything.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.shared.aborted.store(true, Ordering::Release);
        self.act(|state, now| state.connection.close(now, reason));
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.shared.aborted.load(Ordering::Acquire)
    }

    /// Ends the connection in order; does not wait for it.
    pub(crate) fn finish_within(&self, within: Duration) {
        self.act(|state, now| state.connection.finish(now, within));
    }

    /// Answers what was accepted, then closes; does not wait for it.
    pub(crate) fn begin_shutdown(&self, within: Duration) {
        self.act(|state, now| state.connection.shutdown(now, within));
    }

    /// Notes that something has been done to the connection.
    pub(crate) fn poke(&self) {
        self.shared.poked.store(true, Ordering::Release);
    }

    /// Whether something has been done to the connection since this was last
    /// asked.
    pub(crate) fn is_poked(&self) -> bool {
        let poked = &self.shared.poked;
        poked.load(Ordering::Relaxed) && poked.swap(false, Ordering::Acquire)
    }

    /// Tells whoever waits on `changed`.
    pub(crate) fn notify(&self) {
        self.shared.changed.tell();
    }

    /// Sends a message, if there is room for it now.
    pub(crate) fn try_send(
        &self,
        message: Message,
        inner: &Layers,
    ) -> Result<(), SendError> {
        self.act(|state, now| state.connection.send(now, message, inner))
    }

    /// Puts a message in line that was sealed for many.
    pub(crate) fn notify_sealed(&self, message: &Sealed) -> Result<u64, SendError> {
        self.act(|state, now| state.connection.notify(now, message))
    }

    /// Seals a message for this connection alone, and puts it in line with those
    /// that were sealed for many.
    pub(crate) fn seal_and_notify(
        &self,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<u64, SendError> {
        self.act(|state, now| {
            let sealed = state.connection.seal(message, inner, outer)?;
            state.connection.notify(now, &sealed)
        })
    }

    /// Says who is at the other end.
    pub(crate) fn set_peer(&self, peer: Option<Arc<Peer>>) {
        self.lock().connection.set_peer(peer);
    }

    /// Does something to the connection, and wakes its task.
    #[inline]
    fn act<T>(&self, action: impl FnOnce(&mut LinkState, Instant) -> T) -> T {
        let now = self.shared.runtime.now();
        let mut state = self.lock();
        state.set_wall_clock(now);
        let outcome = action(&mut state, now);
        self.wake_task(state);
        outcome
    }

    /// Does something to the connection, and wakes its task. Unless the time is
    /// `needed`, the clock is left alone if the task has been woken already: it is
    /// about to look itself, and somebody did when it was woken.
    #[inline]
    fn act_soon<T>(
        &self,
        needed: bool,
        action: impl FnOnce(&mut LinkState) -> T,
    ) -> T {
        let mut state = self.lock();
        if needed || state.task.is_some() {
            state.look_at_clock(self.shared.runtime.now());
        }
        let outcome = action(&mut state);
        self.wake_task(state);
        outcome
    }

    /// Wakes the task, as something has been done to the connection. Its waker is
    /// not taken before that: a plugin may panic.
    #[inline]
    fn wake_task(&self, mut state: std::sync::MutexGuard<'_, LinkState>) {
        let task = state.task.take();
        self.poke();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// What seals a message of this type, if that takes long and is to be done
    /// apart from the connection.
    fn sealing_apart(
        &self,
        kind: MessageType,
        inner: &Layers,
        outer: OuterUse,
    ) -> Option<Sealing> {
        if !is_costly(&self.shared.config, kind, inner, outer) {
            return None;
        }
        let now = self.shared.runtime.now();
        let mut state = self.lock();
        state.set_wall_clock(now);
        Some(state.connection.sealing())
    }

    /// Whether a request has to be sealed before it can be sent, since that takes
    /// long: [`submit`](Self::submit) does.
    pub(crate) fn must_seal(&self, request: &Request) -> bool {
        must_seal(&self.shared.config, request)
    }

    /// Sends a request, if there is room for it now. Its reply wakes `waker`, if
    /// that is known already.
    #[inline]
    pub(crate) fn try_request(
        self,
        request: Request,
        waker: Option<&Waker>,
    ) -> Submitted<R> {
        // Plugins write down what time it is.
        let layers = &self.shared.config.layers;
        let timed = !layers.is_empty() || !request.inner().is_empty();
        let send = |state: &mut LinkState| {
            if let Err(error) = state.connection.can_send() {
                return Err(Submitted::NotNow(Box::new(request), error));
            }
            let sent = state.connection.request_undated(request);
            let request = sent.map_err(|error| Submitted::Failed(error.into()))?;
            Ok((request, state.waiters.wait_for(request, waker)))
        };
        let sent = self.act_soon(timed, send);
        match sent {
            Ok((request, waiter)) => {
                let origin = Origin::Link(self);
                Submitted::Sent(ReplyFuture::new(origin, request, waiter))
            }
            Err(submitted) => submitted,
        }
    }

    /// Sends a request once there is room for it; gives up at `deadline`.
    pub(crate) async fn request_when_possible(
        &self,
        request: Request,
        deadline: Instant,
    ) -> Result<ReplyFuture<R>, RequestError> {
        match self.submit(request, deadline).await {
            Submitted::Sent(reply) => Ok(reply),
            Submitted::Failed(error) => Err(error),
            Submitted::NotNow(_, error) => {
                let end = until(&self.shared.runtime, deadline, self.closing());
                Err(end.await.unwrap_or_else(|| error.into()))
            }
        }
    }

    /// Sends a request once there is room for it; gives up at `deadline`, and
    /// gives the request back (`NotNow`) if the connection takes no more.
    pub(crate) async fn submit(
        &self,
        mut request: Request,
        deadline: Instant,
    ) -> Submitted<R> {
        let kind = request.message().message_type();
        let (inner, outer) = (request.inner(), request.outer_use());
        if let Some(sealing) = self.sealing_apart(kind, inner, outer) {
            let runtime = &self.shared.runtime;
            let sealed = sealed_request(runtime, sealing, request, deadline);
            match sealed.await {
                Ok(sealed) => request = sealed,
                Err(error) => return Submitted::Failed(error),
            }
        }
        let runtime = &self.shared.runtime;
        let (mut unsent, mut full) = (Some(request), SendError::Closed);
        let submit = || {
            // What was spent on waiting is not there to wait for the reply.
            let left = deadline.duration_since(runtime.now());
            let request = unsent.take()?.time_left(left);
            match self.clone().try_request(request, None) {
                Submitted::NotNow(again, SendError::Closed) => {
                    let again = Box::new(again.unsealed());
                    Some(Submitted::NotNow(again, SendError::Closed))
                }
                Submitted::NotNow(again, error) => {
                    (unsent, full) = (Some(*again), error);
                    None
                }
                submitted => Some(submitted),
            }
        };
        let submitted = self.shared.changed.wait_for(submit);
        let submitted = until(runtime, deadline, submitted).await;
        submitted.unwrap_or_else(|| Submitted::Failed(full.into()))
    }

    /// Waits for the end of a connection that takes no more requests.
    pub(crate) async fn closing(&self) -> RequestError {
        let reason = self.closed().await;
        RequestError::Disconnected {
            sent: false,
            reason,
        }
    }
}

/// What became of a request that was to be sent at once.
pub(crate) enum Submitted<R: Runtime> {
    /// It is on its way.
    Sent(ReplyFuture<R>),
    /// There is no room for it now, or the connection is ending.
    NotNow(Box<Request>, SendError),
    /// It cannot be sent.
    Failed(RequestError),
}

impl LinkState {
    /// Tells the connection what time it is.
    pub(crate) fn look_at_clock(&mut self, now: Instant) {
        self.set_wall_clock(now);
        self.connection.advance(now);
    }

    /// Tells the connection what the clock on the wall says, if that may have
    /// changed.
    pub(crate) fn set_wall_clock(&mut self, now: Instant) {
        if let Some(seconds) = self.wall_clock.news(now) {
            self.connection.set_unix_time(seconds);
        }
    }

    /// Says that the task sleeps and is to be woken with `waker`.
    pub(crate) fn park(&mut self, waker: &Waker) {
        match &mut self.task {
            Some(task) if task.will_wake(waker) => {}
            task => *task = Some(waker.clone()),
        }
    }

    /// Notes that the connection is over, and adds what it has done to that of the
    /// others of its endpoint.
    pub(crate) fn set_closed<I>(
        &mut self,
        endpoint: &Endpoint<I>,
        reason: CloseReason,
    ) {
        self.closed = Some(reason);
        self.task = None;
        endpoint.add_ended(self.connection.counters());
    }

    /// Gives back memory that an idle connection does not need.
    pub(crate) fn release(&mut self) {
        self.connection.release_buffers();
        self.waiters.release();
    }
}

impl<R: Runtime> Clone for Link<R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<R: Runtime> fmt::Debug for Link<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.shared.label.id)
            .field("remote", &self.shared.label.remote)
            .field("closed", &self.close_reason())
            .finish()
    }
}

/// What those of these connections have done that are not over.
pub(crate) fn sum_open<R: Runtime>(
    links: impl IntoIterator<Item = Link<R>>,
) -> Counters {
    let mut sum = Counters::default();
    for link in links {
        let state = link.lock();
        if state.closed.is_none() {
            sum += state.connection.counters();
        }
    }
    sum
}

/// Secret bytes that nobody has had before.
pub(crate) fn fresh_seed() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
    Ok(seed)
}
