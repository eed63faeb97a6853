//! How a client's connections are made.

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{Either, select};
use netaio_proto::{CloseReason, EndpointConfig, Instant, RequestError};

use super::subscribing::renew_subscriptions;
use super::{ConnectError, Inner, TcpClient};
use crate::endpoint::lock;
use crate::events::ConnectionEvent;
use crate::known_server::{Attempt, Found, KnownServer, ServerOptions};
use crate::link::{Link, LinkLabel, Owner};
use crate::runtime::{ByteStream, Runtime, until};
use crate::server_name::ServerName;
use crate::task::ConnectionTask;
use crate::timeout::{TimeoutEvent, TimeoutKind};

impl<R: Runtime> TcpClient<R> {
    /// Sees to it that there is a connection: the one that is there, the one
    /// that somebody else is making, or a new one.
    pub(super) async fn establish(
        &self,
        name: &ServerName,
        options: Option<ServerOptions>,
    ) -> Result<Link<R>, ConnectError> {
        let server = self.enter(name);
        if let Some(options) = options {
            server.set_options(options);
        }
        let timeout = self.connect_timeout(&server);
        let deadline = self.inner.runtime.now() + timeout;
        let found = server.link_or_attempt(|| self.next_id());
        match until(&self.inner.runtime, deadline, found).await {
            Some(Found::Link(link)) => Ok(link),
            Some(Found::GivenUp) => Err(given_up(name)),
            Some(Found::Attempt(attempt)) => {
                let attempt = attempt.or_end(self.downgrade(), CloseReason::Local);
                // What was spent on waiting for another one's is not there.
                self.attempt(&attempt, timeout, deadline, None).await
            }
            None => Err(self.connect_timed_out(&server, self.next_id(), timeout)),
        }
    }

    fn connect_timeout(&self, server: &KnownServer<R>) -> Duration {
        let configured = server.options().connect_timeout;
        configured.unwrap_or(self.inner.connect_timeout)
    }

    /// Makes one attempt to connect, by a deadline that is `timeout` after the
    /// caller was asked for it. One that connects again has a `count`.
    pub(crate) async fn attempt(
        &self,
        attempt: &Attempt<R>,
        timeout: Duration,
        deadline: Instant,
        count: Option<u32>,
    ) -> Result<Link<R>, ConnectError> {
        let server = attempt.server();
        let dial = pin!(self.dial(server.name(), deadline));
        let dial = async {
            match select(dial, pin!(attempt.unwanted())).await {
                Either::Left((dialled, _)) => Some(dialled),
                Either::Right(_) => None,
            }
        };
        let dialled = match until(&self.inner.runtime, deadline, dial).await {
            Some(None) => return Err(given_up(server.name())),
            Some(Some(dialled)) => dialled,
            None => Err(io::ErrorKind::TimedOut.into()),
        };
        match dialled {
            Ok((stream, remote)) => {
                let id = Some(attempt.id());
                let link = self.install(server, remote, stream, id, count);
                let link = link.map_err(|error| match error.kind() {
                    io::ErrorKind::Interrupted => given_up(server.name()),
                    _ => ConnectError::Io {
                        server: server.name().clone(),
                        error,
                    },
                })?;
                let announced = count.is_some();
                if announced || self.has_subscriptions(server.name()) {
                    self.renewed(&link, announced).await;
                }
                Ok(link)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(self.connect_timed_out(server, attempt.id(), timeout))
            }
            Err(error) => Err(ConnectError::Io {
                server: server.name().clone(),
                error,
            }),
        }
    }

    /// Tries the addresses of a server one after the other.
    async fn dial(
        &self,
        name: &ServerName,
        deadline: Instant,
    ) -> io::Result<(R::TcpStream, SocketAddr)> {
        let runtime = &self.inner.runtime;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let addresses = runtime.resolve(name.as_str()).await;
        let addresses = addresses.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => {
                let text = format!("{error} (host:port is expected)");
                io::Error::new(error.kind(), text)
            }
            _ => error,
        })?;
        let mut left = addresses.len() as u32;
        for address in addresses {
            // One that does not answer leaves the others their share.
            let now = runtime.now();
            let share = deadline.duration_since(now) / left;
            left -= 1;
            let dialled = runtime.connect(address);
            match until(runtime, now + share, dialled).await {
                Some(Ok(stream)) => return Ok((stream, address)),
                Some(Err(error)) => last = error,
                None => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// Puts a stream to work as the connection to a server. An `attempt` that
    /// has been given up meanwhile is an `Interrupted` error.
    pub(super) fn install<S: ByteStream>(
        &self,
        server: &KnownServer<R>,
        remote: SocketAddr,
        stream: S,
        attempt: Option<u64>,
        count: Option<u32>,
    ) -> io::Result<Link<R>> {
        let id = attempt.unwrap_or_else(|| self.next_id());
        let weak = Arc::downgrade(&self.inner);
        let owner: Weak<dyn Owner<R>> = weak;
        let link = Link::new(
            self.inner.runtime.clone(),
            Arc::clone(&self.inner.endpoint),
            owner,
            LinkLabel {
                id,
                remote,
                server: Some(server.name().clone()),
            },
            self.config_for(&server.options()),
        )?;
        let attempts = count.map(|count| (count, self.inner.runtime.now()));
        let old = server.install(link.clone(), attempt, attempts)?;
        // In this order, or one that is added meanwhile would be missed.
        let known = self.inner.peers.at(link.remote());
        link.set_peer(known.map(|known| known.peer));
        if let Some(old) = old {
            old.abort(CloseReason::Local);
        }
        tracing::debug!(server = %server.name(), %remote, "connected");
        self.inner.events.send(&ConnectionEvent::Connected {
            server: Some(server.name().clone()),
            remote,
        });
        if let Some((advertisement, layers)) = self.inner.peers.advertisement() {
            // First of all that it says; a new connection has room for it.
            let _ = link.try_send(advertisement, &layers);
        }
        let task = ConnectionTask::new(link.clone(), stream);
        self.inner.runtime.spawn(task);
        server.notify();
        Ok(link)
    }

    fn config_for(&self, options: &ServerOptions) -> Arc<EndpointConfig> {
        let own = &self.inner.endpoint.config;
        if options.layers.is_none() && options.limits.is_none() {
            return Arc::clone(own);
        }
        let mut config = EndpointConfig::clone(own);
        if let Some(layers) = &options.layers {
            config.layers = layers.clone();
        }
        if let Some(limits) = &options.limits {
            config.limits = limits.clone();
        }
        Arc::new(config)
    }

    /// Tells the timeout handler; gives what the caller gets.
    fn connect_timed_out(
        &self,
        server: &KnownServer<R>,
        attempt: u64,
        timeout: Duration,
    ) -> ConnectError {
        let event = TimeoutEvent {
            node: self.clone(),
            kind: TimeoutKind::Connect,
            server: server.name().clone(),
            error: RequestError::NotConnected,
            context: None,
            link: attempt,
        };
        let inner = &self.inner;
        inner
            .timeouts
            .tell(&inner.runtime, &inner.endpoint.log, event);
        ConnectError::TimedOut {
            server: server.name().clone(),
            timeout,
        }
    }

    /// Sees to it that subscriptions are renewed over a new connection, and waits
    /// for that. It goes on when the caller is cancelled. A connection that is made
    /// in place of another is announced by that.
    async fn renewed(&self, link: &Link<R>, announced: bool) {
        let (client, link) = (self.downgrade(), link.clone());
        let renewing = async move {
            renew_subscriptions(&client, &link).await;
            // Or it is made again by somebody else.
            let client = client.upgrade().filter(|_| announced && link.is_open());
            if let (Some(client), Some(server)) = (client, link.server().cloned()) {
                let remote = link.remote();
                let reconnected = ConnectionEvent::Reconnected { server, remote };
                client.inner.events.send(&reconnected);
            }
        };
        let Inner { runtime, tasks, .. } = &*self.inner;
        tasks.spawn_and_wait(runtime, "subscribing", renewing).await;
    }

    /// Takes it upon the caller to connect again in place of a broken
    /// connection, which is closed; `None` if somebody else does or has done
    /// so, or if the client no longer wants it.
    pub(crate) fn begin_reconnect(
        &self,
        server: &ServerName,
        broken: u64,
    ) -> Option<Attempt<R>> {
        let server = self.known_server(server)?;
        let (attempt, link) = server.begin_reconnect(self.next_id(), broken)?;
        link.abort(CloseReason::Local);
        Some(attempt.or_end(self.downgrade(), CloseReason::Local))
    }

    pub(super) fn next_id(&self) -> u64 {
        self.inner.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets a server of which there is nothing to know but its name, so that a
    /// client of ever more servers does not grow.
    pub(super) fn forget_if_blank(&self, name: &ServerName) {
        if self.inner.default_server.as_ref() == Some(name) {
            return;
        }
        let mut servers = lock(&self.inner.servers);
        let blank = servers
            .get(name)
            .is_some_and(|server| server.forget_if_blank());
        let forgotten = blank.then(|| servers.remove(name));
        drop(servers);
        drop(forgotten);
    }

    /// A server that somebody is about to make or to find a connection to.
    pub(super) fn enter(&self, name: &ServerName) -> Entered<'_, R> {
        let mut servers = lock(&self.inner.servers);
        let server = servers
            .entry(name.clone())
            .or_insert_with(|| Arc::new(KnownServer::new(name.clone())));
        // Under the lock, or it might be forgotten before.
        server.enter();
        if self.inner.default_server.as_ref() == Some(name) {
            self.inner.default.get_or_init(|| Arc::clone(server));
        }
        Entered {
            client: self,
            server: Arc::clone(server),
        }
    }
}

fn given_up(server: &ServerName) -> ConnectError {
    ConnectError::GivenUp {
        server: server.clone(),
    }
}

/// A server that somebody is about to make or to find a connection to. It is
/// forgotten if none comes of that.
pub(super) struct Entered<'a, R: Runtime> {
    client: &'a TcpClient<R>,
    server: Arc<KnownServer<R>>,
}

impl<R: Runtime> Deref for Entered<'_, R> {
    type Target = Arc<KnownServer<R>>;

    fn deref(&self) -> &Arc<KnownServer<R>> {
        &self.server
    }
}

impl<R: Runtime> Drop for Entered<'_, R> {
    fn drop(&mut self) {
        self.server.leave();
        self.client.forget_if_blank(self.server.name());
    }
}
