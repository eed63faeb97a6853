//! Handlers: what answers messages, and how an answer is made from what a
//! handler returns.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use netaio_proto::{AuthError, LayerKind, Message};

use crate::link::Link;
use crate::log_limit::{LogLimit, Topic};
use crate::runtime::Runtime;

/// A message on its way to a handler, with where it came from.
///
/// Dereferences to its [`Message`], so that `incoming.respond(..)` makes a
/// reply to it.
#[derive(Clone)]
pub struct Incoming<R: Runtime> {
    message: Message,
    link: Link<R>,
}

impl<R: Runtime> Incoming<R> {
    pub(crate) fn new(message: Message, link: Link<R>) -> Self {
        Self { message, link }
    }

    /// Where the message came from.
    pub fn from(&self) -> SocketAddr {
        self.link.remote()
    }

    /// The connection that it came by: to send something besides the reply.
    pub fn link(&self) -> &Link<R> {
        &self.link
    }

    /// The message alone.
    pub fn into_message(self) -> Message {
        self.message
    }
}

impl<R: Runtime> Deref for Incoming<R> {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl<R: Runtime> fmt::Debug for Incoming<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("message", &self.message)
            .field("from", &self.from())
            .finish()
    }
}

/// What a handler made of a message: a reply, nothing, or an error text that
/// the sender gets in an `ERROR`.
pub type Answer = Result<Option<Message>, String>;

/// A value that a handler may return.
///
/// | returned | the sender gets |
/// |---|---|
/// | `Message` | that message |
/// | `()`, `None` | nothing |
/// | `Ok(value)`, `Some(value)` | what `value` says |
/// | `Err(error)` | `ERROR` with the error's text |
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return a `Message`, `()`, or an `Option` or `Result` of those; or a \
            future of one, which must be `Send`"
)]
pub trait IntoAnswer {
    /// Turns the value into an answer.
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for Message {
    fn into_answer(self) -> Answer {
        Ok(Some(self))
    }
}

impl IntoAnswer for () {
    fn into_answer(self) -> Answer {
        Ok(None)
    }
}

impl<T: IntoAnswer> IntoAnswer for Option<T> {
    fn into_answer(self) -> Answer {
        self.map_or(Ok(None), IntoAnswer::into_answer)
    }
}

impl<T: IntoAnswer, E: fmt::Display> IntoAnswer for Result<T, E> {
    fn into_answer(self) -> Answer {
        match self {
            Ok(value) => value.into_answer(),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A handler's answer, at once or later.
pub enum Outcome<T> {
    /// The handler has returned.
    Ready(T),
    /// The handler is running.
    Pending(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> fmt::Debug for Outcome<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready(..)",
            Self::Pending(_) => "Pending(..)",
        })
    }
}

/// Marks what a plain function returns.
#[derive(Debug)]
pub enum Plain {}

/// Marks what an async function returns.
#[derive(Debug)]
pub enum Deferred {}

/// What a handler, plain or async, may return. `Kind` tells the two apart and
/// is always inferred.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "return a `Message`, `()`, or an `Option` or `Result` of those; or a \
            future of one, which must be `Send`"
)]
pub trait IntoOutcome<Kind> {
    /// Turns the value into an outcome.
    fn into_outcome(self) -> Outcome<Answer>;
}

impl<T: IntoAnswer> IntoOutcome<Plain> for T {
    fn into_outcome(self) -> Outcome<Answer> {
        Outcome::Ready(self.into_answer())
    }
}

impl<F> IntoOutcome<Deferred> for F
where
    F: Future<Output: IntoAnswer> + Send + 'static,
{
    fn into_outcome(self) -> Outcome<Answer> {
        Outcome::Pending(Box::pin(async { self.await.into_answer() }))
    }
}

/// A handler, whatever closure it is. `I` is what it is given.
pub(crate) type Handler<I> = dyn Fn(I) -> Outcome<Answer> + Send + Sync;

/// A closure as a handler.
pub(crate) fn erase<I, F, O, K>(handler: F) -> Arc<Handler<I>>
where
    F: Fn(I) -> O + Send + Sync + 'static,
    O: IntoOutcome<K>,
{
    Arc::new(move |incoming| handler(incoming).into_outcome())
}

/// A message that did not pass an auth plugin, for the auth error handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct AuthFailure {
    /// The message as it came; it must not be trusted.
    pub message: Message,
    /// Where it came from.
    pub from: SocketAddr,
    /// Which layer refused it.
    pub layer: LayerKind,
    /// What the plugin found.
    pub error: AuthError,
    /// What is answered unless the handler says otherwise.
    pub default_reply: Option<Message>,
}

pub(crate) type AuthErrorHandler =
    dyn Fn(AuthFailure) -> Option<Message> + Send + Sync;

/// The methods by which clients, servers and nodes alike take handlers, which are
/// given an `$incoming`.
macro_rules! handler_methods {
    ($incoming:ty) => {
        /// Handles messages. The key is a type, a pair `(type, uri)` or a triple
        /// `(type, uri, address)`; the narrowest key that has a handler decides.
        ///
        /// A handler is a closure, plain or async, that returns a `Message`, `()`,
        /// or an `Option` or `Result` of those. An async one that waits holds up
        /// nothing but its own reply (and, towards clients that send no request
        /// ids, later replies for the same URI). One that panics is answered with
        /// `ERROR`.
        ///
        /// All handlers of a connection run in its task, one at a time: what
        /// computes or blocks for long belongs on a thread or a task of its own,
        /// which the handler awaits. If the connection is cut, the futures of its
        /// handlers are dropped where they wait: what must not be left half done
        /// belongs in a task of its own too.
        ///
        /// What is returned is sent whatever its type. If the other end has a
        /// handler that answers that type likewise (a `NOTIFY_URI` for a
        /// `NOTIFY_URI`), the two go on without end.
        pub fn on<F, O, K>(&self, key: impl Into<RouteKey>, handler: F)
        where
            F: Fn($incoming) -> O + Send + Sync + 'static,
            O: IntoOutcome<K>,
        {
            self.on_with(key, Layers::new(), handler);
        }

        /// Handles messages that have these inner layers, and gives the replies the
        /// same ones.
        pub fn on_with<F, O, K>(
            &self,
            key: impl Into<RouteKey>,
            inner: Layers,
            handler: F,
        ) where
            F: Fn($incoming) -> O + Send + Sync + 'static,
            O: IntoOutcome<K>,
        {
            let handler = $crate::handler::erase(handler);
            self.inner.endpoint.on(key.into(), inner, handler);
        }

        /// Handles the next message of a key, and no other.
        ///
        /// Any change of the routes has connections look at all of them anew, which
        /// takes about 0.2 µs for each route there is. So a program with thousands
        /// of routes had better not wait for each answer by a route of its own:
        /// that is what requests are for.
        pub fn once<F, O, K>(&self, key: impl Into<RouteKey>, handler: F)
        where
            F: Fn($incoming) -> O + Send + Sync + 'static,
            O: IntoOutcome<K>,
        {
            self.once_with(key, Layers::new(), handler);
        }

        /// Handles the next message of a key that has these inner layers.
        pub fn once_with<F, O, K>(
            &self,
            key: impl Into<RouteKey>,
            inner: Layers,
            handler: F,
        ) where
            F: Fn($incoming) -> O + Send + Sync + 'static,
            O: IntoOutcome<K>,
        {
            let handler = $crate::handler::erase(handler);
            self.inner.endpoint.once(key.into(), inner, handler);
        }

        /// Removes the lasting handler of a key; `false` if there is none. It is
        /// called no more from now on. What it has captured is dropped once each
        /// connection that does something has seen that.
        pub fn remove(&self, key: impl Into<RouteKey>) -> bool {
            self.inner.endpoint.remove(&key.into())
        }

        /// Removes the handler of the next message of a key; `false` if there is
        /// none.
        pub fn remove_once(&self, key: impl Into<RouteKey>) -> bool {
            self.inner.endpoint.remove_once(&key.into())
        }

        /// Handles messages that no other handler takes. Without it a server or
        /// node answers them with `NOT_FOUND`, and a client keeps them for
        /// `receive_once`.
        pub fn set_default_handler<F, O, K>(&self, handler: F)
        where
            F: Fn($incoming) -> O + Send + Sync + 'static,
            O: IntoOutcome<K>,
        {
            let handler = $crate::handler::erase(handler);
            self.inner.endpoint.set_default_handler(handler);
        }

        /// Replaces the way in which messages are matched to keys.
        pub fn set_key_extractor(&self, extractor: Option<Arc<dyn KeyExtractor>>) {
            self.inner.endpoint.set_extractor(extractor);
        }

        /// Decides what is answered to a message that fails authentication: a
        /// message, or nothing. Whatever it says, the message reaches no handler.
        pub fn set_auth_error_handler<F>(&self, handler: F)
        where
            F: Fn(AuthFailure) -> Option<Message> + Send + Sync + 'static,
        {
            self.inner
                .endpoint
                .set_auth_error_handler(Arc::new(handler));
        }
    };
}
pub(crate) use handler_methods;

/// Calls user code; `None` if it panics.
#[inline]
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// The same, and logs it if it panics.
#[inline]
pub(crate) fn guarded<T>(
    log: &LogLimit,
    what: &str,
    call: impl FnOnce() -> T,
) -> Option<T> {
    let outcome = caught(call);
    if outcome.is_none() {
        log_panic(log, what);
    }
    outcome
}

#[cold]
fn log_panic(log: &LogLimit, what: &str) {
    if log.allows(Topic::HandlerPanicked) {
        tracing::error!("{what} panicked");
    }
}
