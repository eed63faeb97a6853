//! What can go wrong, named after whoever is at fault.

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use crate::action::{CloseReason, TimeoutContext};
use crate::wire::message::StatusError;
use crate::wire::message_type::MessageType;
use crate::wire::packify::UnpackError;

/// The peer sent something that the protocol does not allow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The type byte means nothing to this endpoint.
    #[error("unknown message type {}", message_type.code())]
    UnknownMessageType {
        /// The type that was announced.
        message_type: MessageType,
    },
    /// The auth section is not one packed value.
    #[error("undecodable auth fields: {0}")]
    BadAuthFields(#[from] UnpackError),
    /// The body section is shorter than its URI length says.
    #[error("the body is shorter than its URI length says")]
    BadUriLength,
    /// The body section is not what the header's checksum says.
    #[error("checksum {actual:08x}, but {announced:08x} was announced")]
    BadChecksum {
        /// The checksum in the header.
        announced: u32,
        /// The checksum of the body that came.
        actual: u32,
    },
    /// The message could not be decrypted.
    #[error("undecryptable message: {0}")]
    Undecryptable(PluginError),
    /// The bytes end before the message does.
    #[error("the message is cut short")]
    Truncated,
}

/// A message would be longer than the wire format or a plugin can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes where {limit} is the most")]
pub struct TooLong {
    /// Bytes that there would be.
    pub length: usize,
    /// Bytes that there may be.
    pub limit: usize,
}

/// A plugin could not do its work on a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// An auth field that the plugin needs is not there.
    #[error("the auth field {field} is missing")]
    MissingField {
        /// The field's name.
        field: String,
    },
    /// An auth field has a type or length that the plugin cannot use.
    #[error("the auth field {field} is malformed")]
    BadField {
        /// The field's name.
        field: String,
    },
    /// The message is too long once the plugin has worked on it.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The auth section cannot take another field.
    #[error("the auth fields are too long")]
    FieldsTooLong,
    /// Two plugins of one message write the same auth field, so that what the
    /// first has written is lost: give one of them another name for it.
    #[error("two plugins use the auth field {field}")]
    FieldTaken {
        /// The field's name.
        field: String,
    },
    /// The plugin needs to know the peer, and nobody does.
    #[error("the peer is not known")]
    UnknownPeer,
    /// Its work took long, and was given up.
    #[error("the work was given up")]
    Cancelled,
    /// Whatever else a plugin has to say.
    #[error("{0}")]
    Other(String),
}

/// A message did not pass an auth plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// An auth field that the plugin needs is not there.
    #[error("the auth field {field} is missing")]
    MissingField {
        /// The field's name.
        field: String,
    },
    /// An auth field has a type or length that the plugin does not accept.
    #[error("the auth field {field} is malformed")]
    BadField {
        /// The field's name.
        field: String,
    },
    /// The proof does not belong to this message and secret.
    #[error("the authentication code does not match")]
    Mismatch,
    /// It was made too long ago, or says that it will be made: by a clock that
    /// is wrong, or it was held back.
    #[error("made {age} seconds ago, which is outside of the window")]
    OutsideWindow {
        /// How many seconds ago; negative if it is in the future.
        age: i64,
    },
    /// It has come before. It is not answered: what came first is, or was.
    #[error("the message has come before")]
    Replayed,
    /// It is one of this endpoint's own that somebody has sent back. It is not
    /// answered.
    #[error("the message was made by this endpoint itself")]
    Reflected,
    /// So much has come that nobody remembers whether this message has.
    #[error("too many messages to tell whether this one has come before")]
    Forgotten,
    /// Whatever else a plugin has to say.
    #[error("{0}")]
    Other(String),
}

/// A message could not be sent. Nothing of it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message does not fit the wire format.
    #[error("the message is too long: {0}")]
    TooLong(#[from] TooLong),
    /// A plugin refused it.
    #[error("a plugin failed: {0}")]
    Plugin(#[from] PluginError),
    /// One datagram cannot carry it: `Limits::max_datagram`.
    #[error("too long for a datagram: {0}")]
    TooLongForDatagram(TooLong),
    /// There is no multicast group to send it to.
    #[error("there is no multicast group")]
    NoGroup,
    /// The connection or node is closed, or is about to be.
    #[error("the connection is closed")]
    Closed,
    /// As many requests are pending as `Limits::max_pending` allows.
    #[error("{limit} requests are pending already")]
    TooManyPending {
        /// The limit.
        limit: usize,
    },
    /// More bytes wait to be written than `Limits::max_outgoing` allows.
    #[error("{limit} bytes wait to be written already")]
    OutgoingFull {
        /// The limit.
        limit: usize,
    },
    /// The reply's token belongs to another connection, or was used before.
    #[error("the reply token is not one of this connection")]
    StaleToken,
}

/// How a request ended, if not with a reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply came in time. The timeout handler has been told.
    #[error("no reply within {:?}", .0.timeout.saturating_add(.0.waited))]
    TimedOut(Box<TimeoutContext>),
    /// The connection ended first.
    #[error("disconnected ({reason}), the request {}", was_sent(*.sent))]
    Disconnected {
        /// Whether the request's bytes had been handed to the socket. If not, the
        /// peer cannot have acted on it, and never will: what had not left is
        /// not sent any more.
        sent: bool,
        /// Why the connection ended.
        reason: CloseReason,
    },
    /// The peer refused the request's authentication.
    #[error("unauthorized{}: {text}", how_sure(*.verified))]
    Unauthorized {
        /// Whether the refusal itself was authenticated. Python netaio sends
        /// its own without authentication, so anybody may have made it up.
        verified: bool,
        /// What the peer says about it.
        text: String,
    },
    /// The peer refused the request in a message that does not have the layers
    /// that a reply to this request should have.
    #[error("refused with {message_type}{}: {text}", how_sure(*.verified))]
    Refused {
        /// The type of the refusal.
        message_type: MessageType,
        /// Whether the refusal passed the endpoint's own (outer) layers. One
        /// that did lacks only the request's inner ones.
        verified: bool,
        /// What the peer says about it.
        text: String,
    },
    /// The reply is an error, and `error_for_status` was asked for.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// The request could not be sent.
    #[error("not sent: {0}")]
    NotSent(#[from] SendError),
    /// There is no connection to send it on.
    #[error("not connected")]
    NotConnected,
}

impl RequestError {
    /// Whether this is a timeout.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// How long was waited, if this is a timeout.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::TimedOut(context) => Some(context.timeout),
            _ => None,
        }
    }
}

impl From<TooLong> for RequestError {
    fn from(error: TooLong) -> Self {
        Self::NotSent(error.into())
    }
}

fn was_sent(sent: bool) -> &'static str {
    if sent {
        "had been sent"
    } else {
        "had not been sent"
    }
}

fn how_sure(verified: bool) -> &'static str {
    if verified { "" } else { " (unverified)" }
}
