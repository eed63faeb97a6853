//! What is done when a reply does not come: timeout handlers.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use netaio_proto::{RequestError, TimeoutContext};

use crate::endpoint::lock;
use crate::handler::{Deferred, Outcome, Plain, guarded};
use crate::log_limit::{LogLimit, Topic};
use crate::runtime::Runtime;
use crate::server_name::ServerName;
use crate::tasks::TaskSet;

/// What a timeout handler is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimeoutEvent<N> {
    /// The client or node whose request or connection it was.
    pub node: N,
    /// What took too long.
    pub kind: TimeoutKind,
    /// The server that did not answer, as the client names it.
    pub server: ServerName,
    /// What the caller gets.
    pub error: RequestError,
    /// What was asked for; `None` for a connection.
    pub context: Option<TimeoutContext>,
    /// Which of the server's connections it was.
    pub(crate) link: u64,
}

/// What took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutKind {
    /// The reply to a request.
    Request,
    /// Connecting to a server.
    Connect,
}

/// What a timeout handler, plain or async, may return: nothing, or a `Result`
/// whose error is logged. `Kind` tells the two apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "a timeout handler cannot return `{Self}`",
    note = "return `()` or a `Result<(), impl Display>`; or a future of one, \
            which must be `Send`"
)]
pub trait IntoTimeoutOutcome<Kind> {
    /// Turns the value into an outcome.
    fn into_outcome(self) -> Outcome<Result<(), String>>;
}

/// What a timeout handler may return once it is done.
pub trait IntoTimeoutResult {
    /// Turns the value into a result whose error is a text.
    fn into_result(self) -> Result<(), String>;
}

impl IntoTimeoutResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> IntoTimeoutResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

impl<T: IntoTimeoutResult> IntoTimeoutOutcome<Plain> for T {
    fn into_outcome(self) -> Outcome<Result<(), String>> {
        Outcome::Ready(self.into_result())
    }
}

impl<F> IntoTimeoutOutcome<Deferred> for F
where
    F: Future<Output: IntoTimeoutResult> + Send + 'static,
{
    fn into_outcome(self) -> Outcome<Result<(), String>> {
        Outcome::Pending(Box::pin(async { self.await.into_result() }))
    }
}

const WHAT: &str = "the timeout handler";

type Handler<N> =
    dyn Fn(TimeoutEvent<N>) -> Outcome<Result<(), String>> + Send + Sync;

/// The timeout handler of a client or node, and the tasks that it has started.
pub(crate) struct TimeoutHandling<N> {
    handler: Mutex<Option<Arc<Handler<N>>>>,
    tasks: TaskSet,
}

impl<N: 'static> TimeoutHandling<N> {
    pub(crate) fn set<F, O, K>(&self, handler: F)
    where
        F: Fn(TimeoutEvent<N>) -> O + Send + Sync + 'static,
        O: IntoTimeoutOutcome<K>,
    {
        let handler = move |event| handler(event).into_outcome();
        let old = lock(&self.handler).replace(Arc::new(handler));
        // After the lock: it may have captured anything.
        drop(old);
    }

    pub(crate) fn clear(&self) {
        let old = lock(&self.handler).take();
        drop(old);
    }

    /// Tells the handler. A plain one has run when this returns; an async one
    /// runs on as a task. Whatever it does, the caller gets its error.
    pub(crate) fn tell<R: Runtime>(
        &self,
        runtime: &R,
        lines: &Arc<LogLimit>,
        event: TimeoutEvent<N>,
    ) {
        let Some(handler) = lock(&self.handler).clone() else {
            return;
        };
        match guarded(lines, WHAT, || handler(event)) {
            Some(Outcome::Ready(result)) => log(lines, result),
            Some(Outcome::Pending(future)) => {
                let lines = Arc::clone(lines);
                let task = async move { log(&lines, future.await) };
                self.tasks.spawn(runtime, WHAT, task);
            }
            None => {}
        }
    }

    pub(crate) async fn cancel_tasks(&self) {
        self.tasks.cancel().await;
    }

    pub(crate) fn running(&self) -> usize {
        self.tasks.len()
    }
}

fn log(lines: &LogLimit, result: Result<(), String>) {
    if let Err(error) = result
        && lines.allows(Topic::TimeoutHandlerFailed)
    {
        tracing::warn!(%error, "the timeout handler failed");
    }
}

impl<N> Default for TimeoutHandling<N> {
    fn default() -> Self {
        Self {
            handler: Mutex::default(),
            tasks: TaskSet::default(),
        }
    }
}

/// The methods by which clients and nodes alike take timeout handlers.
macro_rules! timeout_methods {
    () => {
        /// Is told of every request that was sent and not answered in time, and
        /// of every connection that a client could not make in time. Replaces
        /// the handler that was there.
        ///
        /// A plain closure has run before the caller gets its error; a future
        /// runs on as a task of its own. A handler that panics or fails is
        /// logged, and the caller gets its timeout error all the same.
        pub fn set_timeout_handler<F, O, K>(&self, handler: F)
        where
            F: Fn(TimeoutEvent<Self>) -> O + Send + Sync + 'static,
            O: IntoTimeoutOutcome<K>,
        {
            self.inner.timeouts.set(handler);
        }

        /// Removes the timeout handler. Those that run go on.
        pub fn clear_timeout_handler(&self) {
            self.inner.timeouts.clear();
        }

        /// Cancels the timeout handlers that run as tasks, and returns when they
        /// have ended. Reconnecting after a loss goes on. Not to be called from
        /// one of them: it would cancel itself.
        pub async fn cancel_timeout_handler_tasks(&self) {
            self.inner.timeouts.cancel_tasks().await;
        }

        /// Timeout handlers that run as tasks.
        pub fn timeout_handler_tasks(&self) -> usize {
            self.inner.timeouts.running()
        }
    };
}
pub(crate) use timeout_methods;

/// A request that was not answered in time, on its way to the handler and to
/// the caller.
#[derive(Debug)]
pub(crate) struct TimedOut {
    pub(crate) context: Box<TimeoutContext>,
}

impl TimedOut {
    pub(crate) fn new(context: Box<TimeoutContext>) -> Self {
        Self { context }
    }

    /// What the caller gets.
    pub(crate) fn error(&self) -> RequestError {
        RequestError::TimedOut(self.context.clone())
    }
}
