//! A ready-made timeout handler: connect again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use netaio_proto::{Backoff, Random};

use crate::client::{TcpClient, WeakTcpClient};
use crate::events::ConnectionEvent;
use crate::handler::Outcome;
use crate::known_server::Attempt;
use crate::link::fresh_seed;
use crate::runtime::{Runtime, until};
use crate::timeout::{IntoTimeoutOutcome, TimeoutEvent, TimeoutKind};

type OnReconnect<R> =
    dyn Fn(TcpClient<R>) -> Outcome<Result<(), String>> + Send + Sync;

/// Connects again when a request was not answered in time: closes the old
/// connection, makes a new one, and says so. Python netaio's handler of the
/// same name.
///
/// As a timeout handler it acts on request timeouts only; the same rules can
/// be applied when a connection is lost, with [`reconnect_when_lost`].
///
/// [`reconnect_when_lost`]: crate::ClientBuilder::reconnect_when_lost
///
/// Requests that time out together cause one reconnect; requests made meanwhile
/// wait for it, within their own timeout. One that has waited longer for the
/// connection than then for its reply says nothing against that connection. A
/// connection that is lost within a second of being made counts as a failed attempt.
/// A stream that came from `connect_stream` is never replaced.
///
/// One request that is not answered ends all others of its connection, which fail as
/// `Disconnected`; at the server, handlers of the old connection run on. So this is
/// for servers that answer everything in time. Give what may take long a
/// [timeout](crate::RequestBuilder::timeout) of its own, or a handler of your own
/// that tells them apart by [`TimeoutEvent::context`].
///
/// After a timeout the first attempt is made at once. A lost connection is often
/// one of many that a server had, and whose clients must not come back all at
/// once: there the first attempt is made within a time of up to `spread`. The
/// delays between attempts grow from `delay` (or `spread`) up to `max_delay`, with
/// full jitter.
pub struct AutoReconnectTimeoutHandler<R: Runtime> {
    connect_timeout: Duration,
    max_retries: Option<u32>,
    delay: Duration,
    max_delay: Duration,
    spread: Duration,
    on_reconnect: Option<Arc<OnReconnect<R>>>,
}

impl<R: Runtime> AutoReconnectTimeoutHandler<R> {
    /// A handler that tries for ever, 5 seconds each time, with delays that
    /// start at up to 100 ms, or up to 1 s for a lost connection, and grow to up
    /// to 30 s.
    pub fn new() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            max_retries: None,
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            spread: Duration::from_secs(1),
            on_reconnect: None,
        }
    }

    /// How long one attempt may take.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many attempts to make after the first one; `None`: until one
    /// succeeds.
    #[must_use]
    pub fn max_retries(mut self, retries: Option<u32>) -> Self {
        self.max_retries = retries;
        self
    }

    /// The bound of the first delay, at least 1 ms: even who wants none must not ask a
    /// server that refuses without a pause.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The bound of every later delay.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// When a connection was lost: the bound of the time before the first
    /// attempt, and of the delay after it if `delay` is less; never more than
    /// `max_delay`. Zero: at once, for clients that have a server to themselves.
    #[must_use]
    pub fn spread(mut self, spread: Duration) -> Self {
        self.spread = spread;
        self
    }

    /// What to do once connected again; a plain closure or an async one.
    #[must_use]
    pub fn on_reconnect<F, O, K>(mut self, action: F) -> Self
    where
        F: Fn(TcpClient<R>) -> O + Send + Sync + 'static,
        O: IntoTimeoutOutcome<K>,
    {
        let action = move |client| action(client).into_outcome();
        self.on_reconnect = Some(Arc::new(action));
        self
    }

    /// The handler itself, for
    /// [`set_timeout_handler`](TcpClient::set_timeout_handler). The old
    /// connection is given up when it is called, so that whatever the caller
    /// asks for next waits for the new one; connecting is what it returns.
    pub fn into_handler(
        self,
    ) -> impl Fn(TimeoutEvent<TcpClient<R>>) -> Reconnecting + Send + Sync + 'static
    {
        let this = Arc::new(self);
        move |event| {
            let this = Arc::clone(&this);
            let attempt = match event.kind {
                TimeoutKind::Request if !mostly_waited(&event) => {
                    event.node.begin_reconnect(&event.server, event.link)
                }
                TimeoutKind::Request | TimeoutKind::Connect => None,
            };
            let client = event.node.downgrade();
            Reconnecting(Box::pin(async move {
                match attempt {
                    Some(attempt) => {
                        this.run(client, attempt, Cause::TimedOut).await
                    }
                    None => Ok(()),
                }
            }))
        }
    }

    /// The time of up to which the first attempt is put off.
    fn spread_after(&self, cause: &Cause) -> Duration {
        match cause {
            Cause::TimedOut => Duration::ZERO,
            Cause::Lost => self.spread.min(self.max_delay),
        }
    }

    fn backoff(&self, cause: &Cause) -> Backoff {
        let first = self.delay.max(self.spread_after(cause));
        Backoff::new(first.max(SHORTEST))
            .cap(self.max_delay)
            .max_retries(self.max_retries)
    }

    /// Connects, as often as it takes and is allowed. Does not keep the client
    /// alive between attempts.
    pub(crate) async fn run(
        &self,
        client: WeakTcpClient<R>,
        attempt: Attempt<R>,
        cause: Cause,
    ) -> Result<(), String> {
        let name = attempt.server().name().clone();
        let seed = fresh_seed().map_err(|error| error.to_string())?;
        let mut random = Random::from_seed(seed);
        let gave_up = |client: &TcpClient<R>, why: &dyn fmt::Display| {
            client.events_sender().send(&ConnectionEvent::GaveUp {
                server: name.clone(),
                why: why.to_string(),
            });
            format!("gave up reconnecting: {why}")
        };
        // None before it is known when the first attempt is to be made.
        let mut after = None;
        let mut backoff = self.backoff(&cause);
        let client = loop {
            let Some(client) = client.upgrade().filter(|_| attempt.is_wanted())
            else {
                return Ok(());
            };
            let runtime = client.runtime().clone();
            let Some(waited) = after else {
                let server = attempt.server();
                // They may have been made by other rules: after a timeout, say,
                // when now a connection was lost.
                let delay = match server.recall_attempts(runtime.now(), SETTLED) {
                    None => below(self.spread_after(&cause), &mut random),
                    // The last connection was lost as soon as it was made.
                    Some(attempts) => {
                        backoff = backoff.after_attempts(attempts);
                        backoff
                            .next_delay(&mut random)
                            .ok_or_else(|| gave_up(&client, &"it never lasts"))?
                    }
                };
                after = Some(delay);
                if !delay.is_zero() {
                    drop(client);
                    pause(&runtime, delay, &attempt).await;
                }
                continue;
            };
            client.events_sender().send(&ConnectionEvent::Reconnecting {
                server: name.clone(),
                attempt: backoff.attempts() + 1,
                after: waited,
            });
            let timeout = self.connect_timeout;
            let deadline = runtime.now() + timeout;
            let count = Some(backoff.attempts());
            let made = client.attempt(&attempt, timeout, deadline, count).await;
            let error = match made {
                // One that was lost while subscriptions were renewed is made again
                // by another call of this.
                Ok(_) => break client,
                Err(error) => error,
            };
            tracing::debug!(server = %name, %error, "reconnect failed");
            let delay = backoff.next_delay(&mut random);
            let delay = delay.ok_or_else(|| gave_up(&client, &error))?;
            after = Some(delay);
            drop(client);
            pause(&runtime, delay, &attempt).await;
        };
        match &self.on_reconnect {
            None => Ok(()),
            Some(action) => match action(client) {
                Outcome::Ready(result) => result,
                Outcome::Pending(future) => future.await,
            },
        }
    }
}

/// Why a connection has to be made again.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// A request was not answered in time.
    TimedOut,
    /// It was lost, perhaps together with those of many others.
    Lost,
}

/// The least bound of a delay between attempts.
const SHORTEST: Duration = Duration::from_millis(1);

/// A connection that has lasted so long counts as a success: after it is lost,
/// the delays start over.
const SETTLED: Duration = Duration::from_secs(1);

/// Whether a request that timed out had waited for most of its time before it was
/// sent: what was left may be too little for any answer.
fn mostly_waited<N>(event: &TimeoutEvent<N>) -> bool {
    let context = event.context.as_ref();
    context.is_some_and(|context| context.waited > context.timeout)
}

/// A time of up to `bound`.
fn below(bound: Duration, random: &mut Random) -> Duration {
    let first = Backoff::new(bound).next_delay(random);
    first.unwrap_or(bound)
}

/// Waits, but not once the connection is not wanted any more.
async fn pause<R: Runtime>(runtime: &R, span: Duration, attempt: &Attempt<R>) {
    let _ = until(runtime, runtime.now() + span, attempt.unwanted()).await;
}

impl<R: Runtime> Default for AutoReconnectTimeoutHandler<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Runtime> fmt::Debug for AutoReconnectTimeoutHandler<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AutoReconnectTimeoutHandler")
            .field("connect_timeout", &self.connect_timeout)
            .field("max_retries", &self.max_retries)
            .field("delay", &self.delay)
            .field("spread", &self.spread)
            .finish_non_exhaustive()
    }
}

/// A reconnect that is under way. Dropping it gives it up.
pub struct Reconnecting(Pin<Box<dyn Future<Output = Result<(), String>> + Send>>);

impl Future for Reconnecting {
    type Output = Result<(), String>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reconnecting(..)")
    }
}
