//! Requests as user code makes them: a builder that can be awaited.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use netaio_proto::{
    DEFAULT_TIMEOUT, Layers, Message, MessageType, OuterUse, Request, RequestError,
    TooLong,
};
use smallvec::SmallVec;

use crate::client::TcpClient;
use crate::link::{Link, Submitted};
use crate::node::NodeHandle;
use crate::reply::ReplyFuture;
use crate::runtime::Runtime;
use crate::server_name::ServerName;

/// A request that has not been sent: say what you need, then await it.
///
/// The reply may be of an error type; [`error_for_status`](Self::error_for_status)
/// turns such a one into an error.
///
/// Cancel safe in this sense: dropping the future gives the request up and
/// leaves nothing behind on this side. Whether the peer has acted on it cannot be
/// known: its handler, if it has begun, runs to its end, and the request counts
/// there until then (`Limits::max_in_flight`; a server bounds that with
/// `Limits::handler_timeout`).
#[must_use = "a request does nothing unless it is awaited"]
pub struct RequestBuilder<R: Runtime> {
    target: Target<R>,
    message_type: MessageType,
    uri: SmallVec<[u8; 24]>,
    /// The message, once its content is known.
    message: Option<Message>,
    too_long: Option<Box<TooLong>>,
    timeout: Duration,
    outer: OuterUse,
    check_status: bool,
    /// It has been sent, or that has been tried.
    spent: bool,
    /// What few requests have.
    special: Option<Box<Special>>,
}

#[derive(Default)]
struct Special {
    layers: Layers,
    accepts: SmallVec<[MessageType; 2]>,
}

#[derive(Clone)]
enum Target<R: Runtime> {
    Link(Link<R>),
    Client(TcpClient<R>, Option<ServerName>),
    Node(NodeHandle<R>, SocketAddr),
}

impl<R: Runtime> RequestBuilder<R> {
    pub(crate) fn over(link: Link<R>, kind: MessageType, uri: &[u8]) -> Self {
        Self::new(Target::Link(link), kind, uri)
    }

    pub(crate) fn by(client: TcpClient<R>, kind: MessageType, uri: &[u8]) -> Self {
        Self::new(Target::Client(client, None), kind, uri)
    }

    pub(crate) fn to(
        node: NodeHandle<R>,
        address: SocketAddr,
        kind: MessageType,
        uri: &[u8],
    ) -> Self {
        Self::new(Target::Node(node, address), kind, uri)
    }

    fn new(target: Target<R>, message_type: MessageType, uri: &[u8]) -> Self {
        Self {
            target,
            message_type,
            uri: SmallVec::from_slice(uri),
            message: None,
            too_long: None,
            timeout: DEFAULT_TIMEOUT,
            outer: OuterUse::default(),
            check_status: false,
            spent: false,
            special: None,
        }
    }

    /// The content to send; empty by default.
    pub fn content(mut self, content: impl AsRef<[u8]>) -> Self {
        match Message::new(self.message_type, &self.uri, content) {
            Ok(message) => {
                self.message = Some(message);
                self.too_long = None;
            }
            Err(error) => self.too_long = Some(Box::new(error)),
        }
        self
    }

    /// How long to wait for the reply, connecting included where that is under
    /// way. Default: 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server to ask, if it is not the client's default one. No effect on
    /// a request over a [`Link`] or by a node.
    pub fn server(mut self, server: impl Into<ServerName>) -> Self {
        if let Target::Client(_, chosen) = &mut self.target {
            *chosen = Some(server.into());
        }
        self
    }

    /// The inner layers of the request and of its reply.
    pub fn layers(mut self, inner: Layers) -> Self {
        self.special.get_or_insert_default().layers = inner;
        self
    }

    /// The type of the message to send.
    pub fn message_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    /// A custom type of reply that ends the request, besides the protocol's
    /// own.
    pub fn accept(mut self, message_type: MessageType) -> Self {
        let special = self.special.get_or_insert_default();
        special.accepts.push(message_type);
        self
    }

    /// Whether to use the endpoint's own auth plugin. Without it the reply need
    /// not be authenticated either. Default: yes.
    pub fn use_auth(mut self, use_it: bool) -> Self {
        self.outer.auth = use_it;
        self
    }

    /// Whether to use the endpoint's own cipher plugin. Without it the reply need
    /// not be encrypted either. Default: yes.
    pub fn use_cipher(mut self, use_it: bool) -> Self {
        self.outer.cipher = use_it;
        self
    }

    /// Makes a reply of an error type an error: [`RequestError::Status`].
    pub fn error_for_status(mut self) -> Self {
        self.check_status = true;
        self
    }

    /// Sends the request now, not when it is first awaited, and gives the future
    /// of its reply: one task can ask many things, and then take the replies one
    /// after the other.
    ///
    /// Its time counts from here. If it cannot be sent at once (there is no
    /// connection yet, or no room, or it takes long to seal), it is when the future
    /// is awaited, and its time counts from there.
    pub fn start(mut self) -> PendingReply<R> {
        self.send(None)
    }

    /// Sends the request if that can be done at once, and its reply will wake
    /// `waker`; otherwise says what to wait for.
    fn send(&mut self, waker: Option<&Waker>) -> PendingReply<R> {
        PendingReply {
            check_status: self.check_status,
            stage: self.try_send(waker),
        }
    }

    #[inline]
    fn try_send(&mut self, waker: Option<&Waker>) -> Stage<R> {
        if std::mem::replace(&mut self.spent, true) {
            // A plugin panicked at the first attempt: that was the end of it.
            return Stage::Failed(None);
        }
        if let Some(error) = self.too_long.take() {
            return Stage::failed((*error).into());
        }
        let message = match self.message.take() {
            Some(message) => message,
            None => match Message::new(self.message_type, &self.uri, "") {
                Ok(message) => message,
                Err(error) => return Stage::failed(error.into()),
            },
        };
        let mut request = Request::new(message.with_type(self.message_type))
            .timeout(self.timeout)
            .outer(self.outer);
        if let Some(special) = self.special.take() {
            request = special.accepts.into_iter().fold(request, Request::accept);
            request = request.layers(special.layers);
        }
        let submitted = match &self.target {
            Target::Link(link) if !link.must_seal(&request) => {
                link.clone().try_request(request, waker)
            }
            Target::Client(client, server) => {
                match client.current_link(server.as_ref()) {
                    Some(link) if !link.must_seal(&request) => {
                        link.try_request(request, waker)
                    }
                    _ => return Stage::Starting(self.start_later(request)),
                }
            }
            Target::Node(node, to) if !node.must_seal(&request) => {
                node.try_request(*to, request, waker)
            }
            _ => return Stage::Starting(self.start_later(request)),
        };
        match submitted {
            Submitted::Sent(reply) => Stage::Waiting(reply),
            Submitted::Failed(error) => Stage::failed(error),
            Submitted::NotNow(again, _) => Stage::Starting(self.start_later(*again)),
        }
    }

    /// Waits for a connection, or for room, and sends the request.
    fn start_later(&self, request: Request) -> Starting<R> {
        let timeout = self.timeout;
        match self.target.clone() {
            Target::Link(link) => Box::pin(async move {
                let deadline = link.shared().runtime.now() + timeout;
                link.request_when_possible(request, deadline).await
            }),
            Target::Client(client, server) => Box::pin(async move {
                client.request_when_possible(server, request, timeout).await
            }),
            Target::Node(node, to) => Box::pin(async move {
                node.request_when_possible(to, request, timeout).await
            }),
        }
    }
}

impl<R: Runtime> IntoFuture for RequestBuilder<R> {
    type Output = Result<Message, RequestError>;
    type IntoFuture = RequestFuture<R>;

    fn into_future(self) -> RequestFuture<R> {
        RequestFuture(State::New(self))
    }
}

impl<R: Runtime> fmt::Debug for RequestBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("message_type", &self.message_type)
            .field("uri", &String::from_utf8_lossy(&self.uri))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A request that is sent when this is first polled. Made by awaiting a
/// [`RequestBuilder`]; see there.
#[must_use = "futures do nothing unless polled"]
pub struct RequestFuture<R: Runtime>(State<R>);

enum State<R: Runtime> {
    New(RequestBuilder<R>),
    Sent(PendingReply<R>),
}

/// The wait for the reply to a request that has been sent, as a rule. Made by
/// [`RequestBuilder::start`].
///
/// Cancel safe as the request is: dropping it gives the request up and leaves
/// nothing behind.
#[must_use = "dropping it gives the request up"]
pub struct PendingReply<R: Runtime> {
    stage: Stage<R>,
    check_status: bool,
}

type Starting<R> =
    Pin<Box<dyn Future<Output = Result<ReplyFuture<R>, RequestError>> + Send>>;

enum Stage<R: Runtime> {
    Starting(Starting<R>),
    Waiting(ReplyFuture<R>),
    Failed(Option<Box<RequestError>>),
}

impl<R: Runtime> Stage<R> {
    fn failed(error: RequestError) -> Self {
        Self::Failed(Some(Box::new(error)))
    }
}

impl<R: Runtime> Future for RequestFuture<R> {
    type Output = Result<Message, RequestError>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.0 {
            State::Sent(reply) => Pin::new(reply).poll(context),
            State::New(builder) => {
                let mut reply = builder.send(Some(context.waker()));
                let sent = matches!(reply.stage, Stage::Waiting(_));
                let polled = if sent {
                    Poll::Pending
                } else {
                    Pin::new(&mut reply).poll(context)
                };
                this.0 = State::Sent(reply);
                polled
            }
        }
    }
}

impl<R: Runtime> Future for PendingReply<R> {
    type Output = Result<Message, RequestError>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Self::Output> {
        let this = &mut *self;
        // As nearly always: what comes is given on as it is.
        if let Stage::Waiting(reply) = &mut this.stage
            && !this.check_status
        {
            return Pin::new(reply).poll(context);
        }
        let outcome = loop {
            match &mut this.stage {
                Stage::Starting(starting) => {
                    match std::task::ready!(starting.as_mut().poll(context)) {
                        Ok(reply) => this.stage = Stage::Waiting(reply),
                        Err(error) => this.stage = Stage::failed(error),
                    }
                }
                Stage::Waiting(reply) => {
                    break std::task::ready!(Pin::new(reply).poll(context));
                }
                Stage::Failed(error) => match error.take() {
                    Some(error) => break Err(*error),
                    None => return Poll::Pending,
                },
            }
        };
        Poll::Ready(match outcome {
            Ok(message) if this.check_status => {
                message.error_for_status().map_err(RequestError::from)
            }
            outcome => outcome,
        })
    }
}

impl<R: Runtime> fmt::Debug for RequestFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestFuture")
            .field(match &self.0 {
                State::New(builder) => builder as &dyn fmt::Debug,
                State::Sent(reply) => reply,
            })
            .finish()
    }
}

impl<R: Runtime> fmt::Debug for PendingReply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Starting(_) => "PendingReply(not sent yet)",
            Stage::Waiting(_) => "PendingReply(sent)",
            Stage::Failed(_) => "PendingReply(failed)",
        })
    }
}
