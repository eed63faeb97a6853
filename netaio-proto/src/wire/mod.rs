//! What is on the wire: frames, their parts, and the values in them.
//!
//! A frame is a [header](Header), an auth section (one [packed
//! value](packify), normally a dict) and a body section (URI length, URI,
//! content).

pub(crate) mod auth_fields;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod message;
pub(crate) mod message_type;
pub mod packify;

pub use auth_fields::AuthFields;
pub use frame::Frame;
pub use header::Header;
pub use message::{
    ERROR_URI, Envelope, MAX_URI_AND_CONTENT, Message, StatusError, check_length,
};
pub use message_type::{MessageType, MessageTypeError, MessageTypes};
