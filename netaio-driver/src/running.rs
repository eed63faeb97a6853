//! Running handlers: what a task does with messages that a route leads to one,
//! and with what handlers make of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, Stream as _};
use netaio_proto::{
    AuthFailed, Connection, HandlerId, Instant, Message, Node, ReplyToken, Router,
    SendError,
};

use crate::endpoint::{Endpoint, Snapshot};
use crate::handler::{Answer, AuthFailure, Outcome, guarded};

/// The handlers of one task, and those of them that run.
pub(crate) struct Handlers<I> {
    endpoint: Arc<Endpoint<I>>,
    snapshot: Snapshot<I>,
    running: FuturesUnordered<Running>,
    /// Those of them that run for messages which are answers themselves, and
    /// how many of these may.
    unanswerable: usize,
    most: usize,
    /// What is to be answered.
    finished: Vec<(ReplyToken, Finished)>,
}

/// How a dispatched message is answered.
pub(crate) enum Finished {
    Answer(Answer),
    /// The handler panicked, or is not there.
    Broken,
    /// What the auth error handler decided.
    Raw(Option<Message>),
}

/// A handler that was not done at once.
struct Running {
    token: Option<ReplyToken>,
    future: Pin<Box<dyn Future<Output = Option<Answer>> + Send>>,
}

impl Future for Running {
    type Output = (Option<ReplyToken>, Finished);

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let answer = std::task::ready!(self.future.as_mut().poll(context));
        let finished = answer.map_or(Finished::Broken, Finished::Answer);
        Poll::Ready((self.token.take(), finished))
    }
}

impl<I> Handlers<I> {
    pub(crate) fn new(endpoint: Arc<Endpoint<I>>) -> Self {
        Self {
            snapshot: endpoint.snapshot(),
            running: FuturesUnordered::new(),
            unanswerable: 0,
            most: endpoint.config.limits.max_in_flight,
            finished: Vec::new(),
            endpoint,
        }
    }

    /// The routes as they are known.
    pub(crate) fn router(&self) -> Arc<Router> {
        Arc::clone(&self.snapshot.router)
    }

    /// The routes, if they have changed since they were last looked at.
    pub(crate) fn changed_router(&mut self) -> Option<Arc<Router>> {
        if self.endpoint.version() == self.snapshot.version {
            return None;
        }
        self.snapshot = self.endpoint.snapshot();
        Some(self.router())
    }

    /// Calls a handler. `false` if too many run for messages that are answers
    /// themselves: then the message is dropped.
    pub(crate) fn dispatch(
        &mut self,
        id: HandlerId,
        message: Message,
        token: Option<ReplyToken>,
        incoming: impl FnOnce(Message) -> I,
        context: &mut Context<'_>,
    ) -> bool {
        let Some((handler, once)) = self.snapshot.handler(id) else {
            // Removed between routing and now: as if it had never been there.
            let reply = message.not_found().map_err(|e| e.to_string());
            self.answered(token, Finished::Answer(reply.map(Some)));
            return true;
        };
        if token.is_none() && self.unanswerable >= self.most {
            // An answer holds no place among the requests in flight, which
            // bound the handlers of all other messages.
            tracing::warn!(uri = %message.uri_text(), "too many handlers run");
            return false;
        }
        if let Some(key) = once {
            self.endpoint.served(key, id);
        }
        match guarded("a handler", || handler(incoming(message))) {
            None => self.answered(token, Finished::Broken),
            Some(Outcome::Ready(answer)) => {
                self.answered(token, Finished::Answer(answer));
            }
            Some(Outcome::Pending(mut future)) => {
                // Often it is done at once, and then needs no place in the set.
                let polled = guarded("a handler", || future.as_mut().poll(context));
                match polled {
                    None => self.answered(token, Finished::Broken),
                    Some(Poll::Ready(answer)) => {
                        self.answered(token, Finished::Answer(answer));
                    }
                    Some(Poll::Pending) => {
                        self.unanswerable += usize::from(token.is_none());
                        self.running.push(Running {
                            token,
                            future: Box::pin(guarded_future(future)),
                        });
                    }
                }
            }
        }
        true
    }

    /// Asks the auth error handler what to answer.
    pub(crate) fn auth_failed(&mut self, failed: AuthFailed) {
        tracing::debug!(
            from = %failed.from, layer = ?failed.layer, error = %failed.error,
            "message failed authentication"
        );
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
                guarded("the auth error handler", || handler(failure)).flatten()
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
            Some(token) => self.finished.push((token, finished)),
            None => {
                if let Finished::Answer(Ok(Some(_))) = finished {
                    tracing::debug!("an answer to an answer is not sent");
                }
            }
        }
    }

    /// Lets handlers that wait go on.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some((token, finished))) =
            Pin::new(&mut self.running).poll_next(context)
        {
            self.unanswerable -= usize::from(token.is_none());
            self.answered(token, finished);
        }
    }

    /// Whether something is to be answered.
    pub(crate) fn has_answers(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Hands over what is to be answered.
    pub(crate) fn answer(&mut self, answering: &mut impl Answering, now: Instant) {
        for (token, finished) in self.finished.drain(..) {
            answer(answering, now, token, finished);
        }
    }

    /// Whether no handler runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops all that run.
    pub(crate) fn clear(&mut self) {
        self.running = FuturesUnordered::new();
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

fn answer(
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
        Finished::Answer(Err(text)) => {
            tracing::warn!(%text, "a handler failed");
            answering.reply_error(now, token, &text)
        }
        Finished::Broken => answering.reply_error(now, token, "internal error"),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "a reply could not be sent");
    }
}

async fn guarded_future(
    future: Pin<Box<dyn Future<Output = Answer> + Send>>,
) -> Option<Answer> {
    let outcome = std::panic::AssertUnwindSafe(future).catch_unwind().await;
    if outcome.is_err() {
        tracing::error!("a handler panicked");
    }
    outcome.ok()
}
