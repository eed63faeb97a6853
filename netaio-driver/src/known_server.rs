//! What a client knows of one server: its options, its connection, and who is
//! making one.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netaio_proto::{CloseReason, Instant, Layers, Limits};

use crate::client::WeakTcpClient;
use crate::endpoint::lock;
use crate::link::Link;
use crate::runtime::Runtime;
use crate::server_name::ServerName;
use crate::signal::Signal;

/// What differs for one server of a client.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// The plugins to use with this server, in place of the client's.
    pub layers: Option<Layers>,
    /// The bounds of its connection, in place of the client's.
    pub limits: Option<Limits>,
    /// How long connecting may take, in place of the client's.
    pub connect_timeout: Option<Duration>,
}

impl ServerOptions {
    fn is_default(&self) -> bool {
        let Self {
            layers,
            limits,
            connect_timeout,
        } = self;
        layers.is_none() && limits.is_none() && connect_timeout.is_none()
    }
}

/// What somebody finds who wants a connection.
pub(crate) enum Found<R: Runtime> {
    /// It is there.
    Link(Link<R>),
    /// It is to be made.
    Attempt(Attempt<R>),
    /// It is not wanted any more.
    GivenUp,
}

/// A server that the client has been told of.
pub(crate) struct KnownServer<R: Runtime> {
    name: ServerName,
    state: Mutex<State<R>>,
    changed: Signal,
}

struct State<R: Runtime> {
    options: ServerOptions,
    /// How many are about to make or to find a connection.
    users: usize,
    stage: Stage,
    /// How often the client was told to want no connection.
    given_up: u64,
    /// The connection that is there, or that was there last.
    link: Option<Link<R>>,
    /// Connections before it that are not over yet.
    parting: Vec<Link<R>>,
    /// It came as a stream that somebody else had connected, and cannot be made
    /// again by connecting to the server's name.
    foreign: bool,
    /// How many attempts the connection took, if it was made in place of another,
    /// and when it was made.
    attempts: Option<(u32, Instant)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is no connection, and nobody is making one.
    Apart,
    /// Somebody is making one; the number tells this attempt from others.
    Connecting(u64),
    /// There is one, which may be coming to its end.
    Connected,
}

impl<R: Runtime> KnownServer<R> {
    pub(crate) fn new(name: ServerName) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                options: ServerOptions::default(),
                users: 0,
                stage: Stage::Apart,
                given_up: 0,
                link: None,
                parting: Vec::new(),
                foreign: false,
                attempts: None,
            }),
            changed: Signal::default(),
        }
    }

    pub(crate) fn name(&self) -> &ServerName {
        &self.name
    }

    pub(crate) fn options(&self) -> ServerOptions {
        lock(&self.state).options.clone()
    }

    pub(crate) fn set_options(&self, options: ServerOptions) {
        lock(&self.state).options = options;
    }

    /// The connection, if there is one that takes messages.
    pub(crate) fn live_link(&self) -> Option<Link<R>> {
        self.current_link().filter(Link::is_open)
    }

    /// The connection, if there is one, which may be coming to its end.
    pub(crate) fn current_link(&self) -> Option<Link<R>> {
        let state = lock(&self.state);
        let link = state.link.as_ref();
        link.filter(|_| state.stage == Stage::Connected).cloned()
    }

    /// The connection that is there, or that was there last.
    pub(crate) fn last_link(&self) -> Option<Link<R>> {
        lock(&self.state).link.clone()
    }

    /// All connections to the server that are not over; one that is may be among
    /// them.
    pub(crate) fn links(&self) -> Vec<Link<R>> {
        let state = lock(&self.state);
        state.link.iter().chain(&state.parting).cloned().collect()
    }

    /// Connections that are given up or replaced, and not over yet.
    pub(crate) fn parting(&self) -> Vec<Link<R>> {
        lock(&self.state).parting.clone()
    }

    /// Waits while a connection is being made, or is coming to its end; gives
    /// the open one, or `None` if there is none and nobody makes one.
    pub(crate) async fn connected(&self) -> Option<Link<R>> {
        let look = || {
            let state = lock(&self.state);
            match (state.stage, &state.link) {
                (Stage::Connected, Some(link)) if link.is_open() => {
                    Some(Some(link.clone()))
                }
                (Stage::Apart, _) => Some(None),
                _ => None,
            }
        };
        self.changed.wait_for(look).await
    }

    /// The connection, once there is an open one; or, if nobody else is making
    /// one, the task of making it, unless the client was told meanwhile to want
    /// none.
    pub(crate) async fn link_or_attempt(
        self: &Arc<Self>,
        next_id: impl Fn() -> u64,
    ) -> Found<R> {
        let begun = lock(&self.state).given_up;
        let look = || {
            let mut state = lock(&self.state);
            match (state.stage, &state.link) {
                _ if state.given_up != begun => Some(Found::GivenUp),
                (Stage::Connected, Some(link)) if link.is_open() => {
                    Some(Found::Link(link.clone()))
                }
                (Stage::Apart, _) => {
                    Some(Found::Attempt(self.begin(&mut state, next_id())))
                }
                _ => None,
            }
        };
        self.changed.wait_for(look).await
    }

    /// Takes it upon the caller to connect again in place of a broken
    /// connection, which is given as well.
    pub(crate) fn begin_reconnect(
        self: &Arc<Self>,
        id: u64,
        broken: u64,
    ) -> Option<(Attempt<R>, Link<R>)> {
        let mut state = lock(&self.state);
        if state.foreign || matches!(state.stage, Stage::Connecting(_)) {
            return None;
        }
        let link = state.link.clone().filter(|link| link.id() == broken)?;
        Some((self.begin(&mut state, id), link))
    }

    fn begin(self: &Arc<Self>, state: &mut State<R>, id: u64) -> Attempt<R> {
        state.stage = Stage::Connecting(id);
        Attempt {
            server: Arc::clone(self),
            id,
            _end: None,
        }
    }

    /// Notes a new connection; gives the one before it, if that has to be ended. A
    /// connection that comes of an `attempt` which is no longer wanted is an
    /// `Interrupted` error.
    pub(crate) fn install(
        &self,
        link: Link<R>,
        attempt: Option<u64>,
        attempts: Option<(u32, Instant)>,
    ) -> io::Result<Option<Link<R>>> {
        let mut state = lock(&self.state);
        let wanted = attempt.map_or(state.stage, Stage::Connecting);
        if state.stage != wanted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        state.stage = Stage::Connected;
        state.foreign = attempt.is_none();
        // Before it can be lost again.
        state.attempts = attempts;
        let old = state.link.replace(link);
        let old = old.filter(|old| !old.is_closed());
        state.parting.extend(old.clone());
        // One whose other end has left ends by itself.
        Ok(old.filter(|old| !old.has_left()))
    }

    /// Notes that a connection cannot be used any more. With an id, takes it upon
    /// the caller to make another one at once, if this was the one in use.
    pub(crate) fn lost(
        self: &Arc<Self>,
        link: &Link<R>,
        reconnect: Option<u64>,
    ) -> Option<Attempt<R>> {
        let attempt = {
            let mut state = lock(&self.state);
            let own = state.link.as_ref().is_some_and(|own| own.is_same(link));
            if !own || state.stage != Stage::Connected {
                return None;
            }
            state.stage = Stage::Apart;
            let reconnect = reconnect.filter(|_| !state.foreign);
            reconnect.map(|id| self.begin(&mut state, id))
        };
        self.notify();
        attempt
    }

    /// Notes that a connection is over.
    pub(crate) fn over(&self, link: &Link<R>) {
        let mut state = lock(&self.state);
        state.parting.retain(|other| !other.is_same(link));
    }

    /// Whether there is no connection, and nobody is making one.
    pub(crate) fn is_apart(&self) -> bool {
        lock(&self.state).stage == Stage::Apart
    }

    /// How many attempts the connection took that has just been lost, if it was
    /// made in place of another and lost within `settled`.
    pub(crate) fn recall_attempts(
        &self,
        now: Instant,
        settled: Duration,
    ) -> Option<u32> {
        let (attempts, made) = lock(&self.state).attempts.take()?;
        (now.duration_since(made) < settled).then_some(attempts)
    }

    /// Wants no connection any more; gives those that nobody has told to end yet.
    pub(crate) fn give_up(&self) -> Vec<Link<R>> {
        let links = {
            let mut state = lock(&self.state);
            state.stage = Stage::Apart;
            state.given_up += 1;
            let left = state.parting.iter().filter(|link| link.has_left());
            let mut links: Vec<_> = left.cloned().collect();
            let link = state.link.take().filter(|link| !link.is_closed());
            state.parting.extend(link.clone());
            links.extend(link);
            links
        };
        self.notify();
        links
    }

    /// Notes that somebody is about to make or to find a connection.
    pub(crate) fn enter(&self) {
        lock(&self.state).users += 1;
    }

    /// Notes that they have done so.
    pub(crate) fn leave(&self) {
        lock(&self.state).users -= 1;
    }

    /// Whether there is nothing to know of this server but its name. If so, nobody
    /// makes a connection to it any more without entering.
    pub(crate) fn forget_if_blank(&self) -> bool {
        let mut state = lock(&self.state);
        let over = state.link.as_ref().is_none_or(Link::is_closed);
        let apart = state.stage == Stage::Apart && state.parting.is_empty();
        let blank = over && apart && state.users == 0 && state.options.is_default();
        // Nor in place of one that is over.
        let link = if blank { state.link.take() } else { None };
        drop(state);
        drop(link);
        blank
    }

    /// Tells whoever waits for a connection to look again.
    pub(crate) fn notify(&self) {
        self.changed.tell();
    }
}

/// An attempt to connect, which only one makes at a time. Dropped, it makes
/// room for another.
pub(crate) struct Attempt<R: Runtime> {
    server: Arc<KnownServer<R>>,
    id: u64,
    /// Dropped after the attempt has made room for another.
    _end: Option<EndIfApart<R>>,
}

impl<R: Runtime> Attempt<R> {
    /// The server that a connection to is being made.
    pub(crate) fn server(&self) -> &KnownServer<R> {
        &self.server
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// If it makes no connection, and nobody else does, the client's subscriptions
    /// at the server end, for the reason for which the last connection ended.
    pub(crate) fn or_end(
        mut self,
        client: WeakTcpClient<R>,
        reason: CloseReason,
    ) -> Self {
        self._end = Some(EndIfApart {
            client,
            server: self.server.name.clone(),
            reason,
        });
        self
    }

    /// Waits until the client does not want the connection any more.
    pub(crate) async fn unwanted(&self) {
        let changed = &self.server.changed;
        changed.wait_until(|| !self.is_wanted()).await;
    }

    /// Whether the client still wants the connection.
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.server.state).stage == Stage::Connecting(self.id)
    }
}

impl<R: Runtime> Drop for Attempt<R> {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.server.state);
            if state.stage != Stage::Connecting(self.id) {
                return;
            }
            state.stage = Stage::Apart;
        }
        self.server.notify();
    }
}

/// Dropped when an attempt is over: if there is no connection then, and nobody makes
/// one, subscriptions end.
struct EndIfApart<R: Runtime> {
    client: WeakTcpClient<R>,
    server: ServerName,
    /// How the last connection ended.
    reason: CloseReason,
}

impl<R: Runtime> Drop for EndIfApart<R> {
    fn drop(&mut self) {
        if let Some(client) = self.client.upgrade() {
            client.end_if_apart(&self.server, &self.reason);
        }
    }
}
