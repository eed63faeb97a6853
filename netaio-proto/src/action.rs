//! What a connection asks its caller to do.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::net::SocketAddr;
use core::num::NonZeroU64;
use core::time::Duration;

use bytes::Bytes;

use crate::error::{AuthError, ProtocolError, RequestError};
use crate::peers::PeerEvent;
use crate::requests::RequestId;
use crate::router::HandlerId;
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

/// Something that happened on a connection or node, for its caller to act on.
// The tag has a word of its own. In a spare corner of an address, where it would be
// otherwise, it has all else copied in pieces that straddle words: 8 % slower.
#[derive(Debug)]
#[non_exhaustive]
#[repr(u64)]
pub enum Action {
    /// A message came that a route leads to a handler. It has passed every
    /// check of its layers.
    Dispatch {
        /// Whom the route names.
        handler: HandlerId,
        /// The message.
        message: Message,
        /// Where it came from.
        from: SocketAddr,
        /// The means to answer it; `None` if the message is itself an answer.
        reply: Option<ReplyToken>,
    },
    /// A message came that no request, route or default took.
    Unrouted {
        /// The message.
        message: Message,
        /// Where it came from.
        from: SocketAddr,
        /// The means to answer it; `None` if the message is itself an answer.
        reply: Option<ReplyToken>,
    },
    /// A request of ours was answered. The answer may be of an error type.
    Reply {
        /// The request.
        request: RequestId,
        /// The answer, which passed the checks that the request asks for.
        message: Message,
    },
    /// No answer came in time.
    TimedOut {
        /// The request.
        request: RequestId,
        /// What was asked, and how long was waited. In a box, as it is large.
        context: Box<TimeoutContext>,
    },
    /// A request of ours ended without an answer, and not by a timeout.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        error: RequestError,
    },
    /// A message did not pass an auth plugin. It goes to no handler, whatever
    /// is done about this action. In a box, since it is much larger than the
    /// actions that come often.
    AuthFailed(Box<AuthFailed>),
    /// The peer sent something that cannot be used. The connection goes on,
    /// unless a `Closed` follows.
    Rejected {
        /// Where it came from.
        from: SocketAddr,
        /// What is wrong with it.
        error: ProtocolError,
    },
    /// Something happened to a peer. Only a node says so; around connections
    /// [`Peers`](crate::Peers) does.
    Peer(PeerEvent),
    /// The connection is over. Every request of ours has been reported before.
    /// Comes once, and is the last action.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// A message that did not pass an auth plugin.
#[derive(Debug)]
pub struct AuthFailed {
    /// The message as it came, still encrypted if its layer encrypts.
    pub message: Message,
    /// Where it came from.
    pub from: SocketAddr,
    /// The layer that refused it.
    pub layer: LayerKind,
    /// What the plugin found.
    pub error: AuthError,
    /// The means to answer it, without any layers; `None` if the message is
    /// itself an answer or an error.
    pub reply: Option<ReplyToken>,
    /// What to answer, as a rule: an `AUTH_ERROR` with the plugin's text. Send
    /// it with `Connection::reply`, or stay silent with `Connection::no_reply`.
    pub default_reply: Option<Message>,
}

/// One of the two layers that a message may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// The endpoint's own.
    Outer,
    /// A route's or a request's.
    Inner,
}

/// The right to answer one message, once.
///
/// Give it back with `Connection::reply` or `Connection::no_reply`: until then
/// the message counts as in flight, and later answers for the same URI to a
/// peer without request ids wait their turn. A token of another connection, or
/// of one that has been closed, is refused.
#[derive(PartialEq, Eq)]
#[must_use = "a message stays in flight until its token is given back"]
pub struct ReplyToken {
    /// Not zero, so that no token needs no room of its own.
    pub(crate) connection: NonZeroU64,
    /// The slot, and its generation: two words are handed on in registers.
    place: u64,
}

impl ReplyToken {
    pub(crate) fn new(connection: NonZeroU64, slot: u32, generation: u32) -> Self {
        let place = u64::from(slot) << 32 | u64::from(generation);
        Self { connection, place }
    }

    pub(crate) fn slot(&self) -> u32 {
        (self.place >> 32) as u32
    }

    pub(crate) fn generation(&self) -> u32 {
        self.place as u32
    }
}

impl fmt::Debug for ReplyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyToken({}.{})", self.slot(), self.generation())
    }
}

/// What a request that timed out had asked for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TimeoutContext {
    /// The request's URI.
    pub uri: Bytes,
    /// The request's type.
    pub message_type: MessageType,
    /// How long was waited for the reply.
    pub timeout: Duration,
    /// How long the request had waited before that, for a connection or for room:
    /// with `timeout` that is the timeout that it was given.
    pub waited: Duration,
    /// The server, or the node, that did not answer.
    pub server: SocketAddr,
    /// The types of reply, each with the URI, that would have ended it.
    pub keys: alloc::vec::Vec<(MessageType, Bytes)>,
    /// On datagrams: an error that came from there meanwhile and did not say
    /// what it was about. It may have been meant for this request, or for
    /// another, and anybody may have made it up.
    pub hint: Option<Hint>,
}

/// An error that does not say what it is about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hint {
    /// Its type.
    pub message_type: MessageType,
    /// What it says.
    pub text: String,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it, between two messages.
    Eof,
    /// The peer closed it in the middle of a message.
    UnexpectedEof,
    /// The socket failed.
    Io(String),
    /// This side closed it.
    Local,
    /// This side shut down gracefully.
    Shutdown,
    /// No header came within `Limits::header_timeout`.
    HeaderTimeout,
    /// A frame was not complete within `Limits::frame_timeout`.
    FrameTimeout,
    /// Nothing happened for `Limits::idle_timeout`.
    Idle,
    /// Nothing came, although the peer was asked for a sign of life; see
    /// `Keepalive`.
    KeepaliveTimeout,
    /// As many requests as may be were in flight, none was answered, and another
    /// waited for `Limits::held_up_timeout`.
    HeldUp,
    /// The peer took nothing for `Limits::write_timeout`.
    WriteStalled,
    /// Two requests for one URI went unanswered by a peer that does not repeat
    /// request ids: which request the next reply belongs to cannot be known.
    OutOfStep,
    /// The peer took notices more slowly than they came, and
    /// `Limits::lag_policy` is to give it up then.
    Lagging,
    /// More bad messages came than `Limits::max_errors_per_minute` allows.
    TooManyErrors,
    /// A malformed frame came, and strict Python behaviour was asked for.
    Malformed(ProtocolError),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("closed by the peer"),
            Self::UnexpectedEof => {
                f.write_str("closed by the peer in the middle of a message")
            }
            Self::Io(error) => write!(f, "the socket failed: {error}"),
            Self::Local => f.write_str("closed by this side"),
            Self::Shutdown => f.write_str("shut down by this side"),
            Self::HeaderTimeout => f.write_str("no header in time"),
            Self::FrameTimeout => f.write_str("no complete frame in time"),
            Self::Idle => f.write_str("idle for too long"),
            Self::KeepaliveTimeout => f.write_str("no sign of life"),
            Self::HeldUp => f.write_str("held up by unanswered requests"),
            Self::WriteStalled => f.write_str("the peer takes no data"),
            Self::OutOfStep => f.write_str("requests and replies out of step"),
            Self::Lagging => f.write_str("the peer takes too little"),
            Self::TooManyErrors => f.write_str("too many bad messages"),
            Self::Malformed(error) => write!(f, "a malformed message: {error}"),
        }
    }
}
