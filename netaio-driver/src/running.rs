//! Running handlers: what a task does with messages that a route leads to one,
//! and with what handlers make of them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, Stream as _};
use netaio_proto::{
    AuthFailed, Connection, HandlerId, Instant, Limits, Message, Node, ReplyToken,
    RouteKey, Router, SendError,
};

use crate::endpoint::{Endpoint, Registered, Replaced, Snapshot};
use crate::handler::{Answer, AuthFailure, Outcome, caught, guarded};
use crate::log_limit::{LogLimit, Topic};
use crate::runtime::{Runtime, until};

/// The handlers of one task, and those of them that run.
pub(crate) struct Handlers<R, I> {
    /// Boxed so that tasks can be moved whatever it is.
    runtime: Box<R>,
    endpoint: Arc<Endpoint<I>>,
    snapshot: Snapshot<I>,
    /// Handlers that were replaced while messages for them waited to be handled.
    replaced: Replaced<I>,
    /// Made when it is needed: an empty set has memory too.
    running: Option<FuturesUnordered<Running>>,
    /// Those of them that run for messages which are answers themselves, and
    /// how many of these may.
    unanswerable: usize,
    most: usize,
    /// How long each may take.
    timeout: Option<Duration>,
    /// What is to be answered, and the bytes that it has.
    finished: Vec<(ReplyToken, Finished)>,
    finished_bytes: usize,
}

/// How a dispatched message is answered.
pub(crate) enum Finished {
    Answer(Answer),
    /// The handler panicked.
    Broken,
    /// The handler took too long.
    Overdue,
    /// What the auth error handler decided.
    Raw(Option<Message>),
}

/// A handler that was not done at once.
struct Running {
    token: Option<ReplyToken>,
    future: Pin<Box<dyn Future<Output = Finished> + Send>>,
}

impl Future for Running {
    type Output = (Option<ReplyToken>, Finished);

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let finished = std::task::ready!(self.future.as_mut().poll(context));
        Poll::Ready((self.token.take(), finished))
    }
}

impl<R: Runtime, I> Handlers<R, I> {
    pub(crate) fn new(
        runtime: R,
        endpoint: Arc<Endpoint<I>>,
        limits: &Limits,
    ) -> Self {
        Self {
            runtime: Box::new(runtime),
            snapshot: endpoint.snapshot(),
            replaced: Replaced::default(),
            running: None,
            unanswerable: 0,
            most: limits.max_in_flight,
            timeout: limits.handler_timeout,
            finished: Vec::new(),
            finished_bytes: 0,
            endpoint,
        }
    }

    /// Gives back memory that is of no use while nothing happens.
    pub(crate) fn release(&mut self) {
        if self.finished.is_empty() {
            self.finished = Vec::new();
        }
        if self.is_empty() {
            self.running = None;
        }
    }

    /// Holds no routes and handlers until they are looked at again: then they have
    /// changed. Gives what the routes are until then.
    pub(crate) fn forget_routes(&mut self) -> Arc<Router> {
        self.snapshot = self.endpoint.stale_snapshot();
        self.router()
    }

    /// The routes as they are known.
    pub(crate) fn router(&self) -> Arc<Router> {
        Arc::clone(&self.snapshot.router)
    }

    /// The routes, if they have changed since they were last looked at.
    /// Messages for the handlers that are `waiting` have been taken in before.
    /// May drop handlers, and with them what they have captured.
    #[inline]
    pub(crate) fn changed_router(
        &mut self,
        waiting: impl Iterator<Item = HandlerId>,
    ) -> Option<Arc<Router>> {
        let changed = self.endpoint.version() != self.snapshot.version;
        changed.then(|| self.look_again(waiting))
    }

    #[cold]
    fn look_again(
        &mut self,
        waiting: impl Iterator<Item = HandlerId>,
    ) -> Arc<Router> {
        let new = self.endpoint.snapshot();
        let old = std::mem::replace(&mut self.snapshot, new);
        self.replaced.keep(waiting, &old, &self.snapshot);
        self.router()
    }

    /// Calls a handler. `false` if too many run for messages that are answers
    /// themselves: then the message is dropped.
    pub(crate) fn dispatch(
        &mut self,
        id: HandlerId,
        message: Message,
        from: &SocketAddr,
        token: Option<ReplyToken>,
        incoming: impl FnOnce(Message) -> I,
        context: &mut Context<'_>,
    ) -> bool {
        let found = self.snapshot.handler(id);
        let Some(handler) = found.or_else(|| self.replaced.handler(id)) else {
            self.not_found(&message, token);
            return true;
        };
        // One that is for a single message would never be called.
        let dropped = token.is_none() && handler.once().is_none();
        if dropped && self.unanswerable >= self.most {
            self.log_drop(&message, from);
            return false;
        }
        if let Some(key) = handler.once() {
            self.endpoint.served(key, id);
        }
        let finished = match caught(|| handler.call(incoming(message))) {
            Some(Outcome::Ready(Ok(answer))) => {
                self.answered(token, Finished::Answer(Ok(answer)));
                return true;
            }
            Some(Outcome::Ready(failed)) => Finished::Answer(failed),
            None => Finished::Broken,
            Some(Outcome::Pending(mut future)) => {
                // Often it is done at once, and then needs no place in the set.
                match caught(|| future.as_mut().poll(context)) {
                    None => Finished::Broken,
                    Some(Poll::Ready(answer)) => Finished::Answer(answer),
                    Some(Poll::Pending) => {
                        let origin = Origin::new(from, handler);
                        self.run(token, future, origin);
                        return true;
                    }
                }
            }
        };
        if finished.is_failure() {
            Origin::new(from, handler).log(&self.endpoint.log, &finished);
        }
        self.answered(token, finished);
        true
    }

    /// The handler was removed between routing and now: as if it had never been
    /// there.
    #[cold]
    fn not_found(&mut self, message: &Message, token: Option<ReplyToken>) {
        let reply = message.not_found().map_err(|e| e.to_string());
        self.answered(token, Finished::Answer(reply.map(Some)));
    }

    /// A message that is an answer holds no place among the requests in flight,
    /// which bound the handlers of all others.
    #[cold]
    fn log_drop(&self, message: &Message, from: &SocketAddr) {
        if self.endpoint.log.allows(Topic::TooManyHandlers) {
            tracing::warn!(
                %from, uri = %message.uri_text(), "too many handlers run"
            );
        }
    }

    /// Lets a handler run that is not done yet.
    #[inline(never)]
    fn run(
        &mut self,
        token: Option<ReplyToken>,
        future: Pin<Box<dyn Future<Output = Answer> + Send>>,
        origin: Origin,
    ) {
        self.unanswerable += usize::from(token.is_none());
        let future = self.supervise(future, origin);
        let running = self.running.get_or_insert_default();
        running.push(Running { token, future });
    }

    /// A handler that is not done yet, with an end that comes in any case.
    fn supervise(
        &self,
        future: Pin<Box<dyn Future<Output = Answer> + Send>>,
        origin: Origin,
    ) -> Pin<Box<dyn Future<Output = Finished> + Send>> {
        let log = Arc::clone(&self.endpoint.log);
        let Some(most) = self.timeout else {
            let future = future.map(Finished::Answer);
            return Box::pin(watched(log, origin, future));
        };
        let runtime = R::clone(&self.runtime);
        let deadline = runtime.now() + most;
        let future = async move {
            let answer = until(&runtime, deadline, future).await;
            answer.map_or(Finished::Overdue, Finished::Answer)
        };
        Box::pin(watched(log, origin, future))
    }

    /// Asks the auth error handler what to answer.
    pub(crate) fn auth_failed(&mut self, failed: AuthFailed) {
        if self.endpoint.log.allows(Topic::AuthFailed) {
            tracing::warn!(
                from = %failed.from, layer = ?failed.layer, error = %failed.error,
                "message failed authentication"
            );
        }
        let reply = match self.endpoint.auth_error_handler() {
            None => failed.default_reply,
            Some(handler) => {
                let failure = AuthFailure {
                    message: failed.message,
                    from: failed.from,
                    layer: failed.layer,
                    error: failed.error,
                    default_reply: failed.default_reply,
                };
                let log = &self.endpoint.log;
                guarded(log, "the auth error handler", || handler(failure)).flatten()
            }
        };
        self.answered(failed.reply, Finished::Raw(reply));
    }

    pub(crate) fn answered(
        &mut self,
        token: Option<ReplyToken>,
        finished: Finished,
    ) {
        match token {
            Some(token) => {
                self.finished_bytes += finished.length();
                self.finished.push((token, finished));
            }
            None => drop_answer(finished),
        }
    }

    /// Lets handlers that wait go on.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) {
        while let Some(running) = &mut self.running
            && let Poll::Ready(Some((token, finished))) =
                Pin::new(running).poll_next(context)
        {
            self.unanswerable -= usize::from(token.is_none());
            self.answered(token, finished);
        }
    }

    /// Whether something is to be answered.
    pub(crate) fn has_answers(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Bytes of what is to be answered.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.finished_bytes
    }

    /// No message waits for a handler any more.
    #[inline]
    pub(crate) fn forget_replaced(&mut self) {
        self.replaced.forget();
    }

    /// Hands over what is to be answered.
    pub(crate) fn answer(&mut self, answering: &mut impl Answering, now: Instant) {
        self.finished_bytes = 0;
        for (token, finished) in self.finished.drain(..) {
            answer(&self.endpoint.log, answering, now, token, finished);
        }
    }

    /// Whether no handler runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.as_ref().is_none_or(FuturesUnordered::is_empty)
    }

    /// Drops all that run, and holds none of the others any more: no message comes
    /// from now on.
    pub(crate) fn clear(&mut self) {
        self.running = None;
        self.replaced.forget();
        self.snapshot = self.endpoint.stale_snapshot();
    }
}

/// What takes the answers to messages that it has dispatched.
pub(crate) trait Answering {
    fn reply(
        &mut self,
        now: Instant,
        token: ReplyToken,
        reply: Message,
    ) -> Result<(), SendError>;

    fn reply_error(
        &mut self,
        now: Instant,
        token: ReplyToken,
        text: &str,
    ) -> Result<(), SendError>;

    fn no_reply(&mut self, token: ReplyToken);
}

macro_rules! answering {
    ($core:ty) => {
        impl Answering for $core {
            fn reply(
                &mut self,
                now: Instant,
                token: ReplyToken,
                reply: Message,
            ) -> Result<(), SendError> {
                <$core>::reply(self, now, token, reply)
            }

            fn reply_error(
                &mut self,
                now: Instant,
                token: ReplyToken,
                text: &str,
            ) -> Result<(), SendError> {
                <$core>::reply_error(self, now, token, text)
            }

            fn no_reply(&mut self, token: ReplyToken) {
                <$core>::no_reply(self, token);
            }
        }
    };
}
answering!(Connection);
answering!(Node);

impl Finished {
    fn length(&self) -> usize {
        match self {
            Self::Answer(Ok(Some(reply))) | Self::Raw(Some(reply)) => {
                reply.body().len()
            }
            _ => 0,
        }
    }

    fn is_failure(&self) -> bool {
        matches!(self, Self::Answer(Err(_)) | Self::Broken | Self::Overdue)
    }
}

fn answer(
    log: &LogLimit,
    answering: &mut impl Answering,
    now: Instant,
    token: ReplyToken,
    finished: Finished,
) {
    let sent = match finished {
        Finished::Answer(Ok(Some(reply))) | Finished::Raw(Some(reply)) => {
            answering.reply(now, token, reply)
        }
        Finished::Answer(Ok(None)) | Finished::Raw(None) => {
            answering.no_reply(token);
            Ok(())
        }
        Finished::Answer(Err(text)) => answering.reply_error(now, token, &text),
        Finished::Broken => answering.reply_error(now, token, "internal error"),
        Finished::Overdue => {
            answering.reply_error(now, token, "the handler took too long")
        }
    };
    if let Err(error) = sent {
        log_unsent(log, &error);
    }
}

#[cold]
fn log_unsent(log: &LogLimit, error: &SendError) {
    if log.allows(Topic::ReplyNotSent) {
        tracing::warn!(%error, "a reply could not be sent");
    }
}

#[cold]
fn drop_answer(finished: Finished) {
    if let Finished::Answer(Ok(Some(_))) = finished {
        tracing::debug!("an answer to an answer is not sent");
    }
}

/// A handler's future, whatever it does.
async fn watched(
    log: Arc<LogLimit>,
    origin: Origin,
    future: impl Future<Output = Finished> + Send,
) -> Finished {
    let outcome = std::panic::AssertUnwindSafe(future).catch_unwind().await;
    let finished = outcome.unwrap_or(Finished::Broken);
    if finished.is_failure() {
        origin.log(&log, &finished);
    }
    finished
}

/// What a handler was called for, as logs tell it.
struct Origin {
    from: SocketAddr,
    /// The default handler has no key.
    key: Option<Arc<RouteKey>>,
}

impl Origin {
    fn new<I>(from: &SocketAddr, handler: &Registered<I>) -> Self {
        Self {
            from: *from,
            key: handler.key().cloned(),
        }
    }

    /// Logs what became of the call, if it failed.
    #[cold]
    fn log(&self, log: &LogLimit, finished: &Finished) {
        let topic = match finished {
            Finished::Answer(Err(_)) => Topic::HandlerFailed,
            Finished::Broken => Topic::HandlerPanicked,
            Finished::Overdue => Topic::HandlerOverdue,
            _ => return,
        };
        if !log.allows(topic) {
            return;
        }
        let from = &self.from;
        let handler = self.key.as_deref().map(tracing::field::display);
        match finished {
            Finished::Answer(Err(text)) => {
                tracing::warn!(%from, handler, %text, "a handler failed");
            }
            Finished::Overdue => {
                tracing::warn!(%from, handler, "a handler took too long");
            }
            _ => tracing::error!(%from, handler, "a handler panicked"),
        }
    }
}
