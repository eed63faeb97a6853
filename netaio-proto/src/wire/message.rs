//! A whole message, and the ready-made ones of the protocol.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::auth_fields::AuthFields;
use super::frame::Frame;
use super::header::Header;
use super::message_type::{MessageType, MessageTypes};
use crate::error::{ProtocolError, TooLong};

/// Most bytes that a URI and its content may have together in a message of our
/// own. Python netaio refuses to send more, and so do we; both receive up to
/// 65,533.
pub const MAX_URI_AND_CONTENT: usize = 65_422;

/// Bytes of the URI's length, which opens a body section.
const URI_LENGTH: usize = 2;

/// A message: its type, its auth fields, a URI and a content.
///
/// Owned, cheap to clone, and one allocation however it came to be: URI and
/// content are ranges of one buffer, the body section as it is on the wire.
///
/// ```
/// use netaio_proto::{Message, MessageType, MessageTypes};
///
/// let message = Message::new(MessageType::REQUEST_URI, "echo", "hi")?;
/// let bytes = message.encode()?;
/// assert_eq!(bytes[..9], [0, 0, 3, 0, 8, 0x33, 0x95, 0x03, 0xac]);
///
/// let same = Message::decode(&bytes, &MessageTypes::default())?;
/// assert_eq!((same.uri(), same.content()), (&b"echo"[..], &b"hi"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Message {
    message_type: MessageType,
    fields: AuthFields,
    body: Bytes,
    /// Where in the body the URI ends: never more than 65,537.
    uri_end: u32,
}

impl Message {
    /// A message without auth fields.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if URI and content together exceed
    /// [`MAX_URI_AND_CONTENT`] bytes.
    pub fn new(
        message_type: MessageType,
        uri: impl AsRef<[u8]>,
        content: impl AsRef<[u8]>,
    ) -> Result<Self, TooLong> {
        let (uri, content) = (uri.as_ref(), content.as_ref());
        check_length(uri.len(), content.len(), 0)?;
        let uri_length = u16::try_from(uri.len()).unwrap_or(u16::MAX);
        let mut body = Vec::with_capacity(URI_LENGTH + uri.len() + content.len());
        body.extend_from_slice(&uri_length.to_be_bytes());
        body.extend_from_slice(uri);
        body.extend_from_slice(content);
        Ok(Self {
            message_type,
            fields: AuthFields::new(),
            body: body.into(),
            uri_end: (URI_LENGTH + uri.len()) as u32,
        })
    }

    /// A frame that has been checked, in buffers of its own.
    #[inline(always)]
    pub(crate) fn from_frame(frame: &Frame<'_>) -> Self {
        let body = Bytes::copy_from_slice(frame.body);
        let fields = AuthFields::from_checked(frame.auth);
        Self::from_sections(frame.header.message_type, fields, body)
    }

    /// Sections that have been checked.
    #[inline]
    pub(crate) fn from_sections(
        message_type: MessageType,
        fields: AuthFields,
        body: Bytes,
    ) -> Self {
        debug_assert!(uri_end(&body).is_some(), "it has been checked");
        Self {
            message_type,
            fields,
            uri_end: uri_end(&body).unwrap_or_default() as u32,
            body,
        }
    }

    /// What this message is.
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// The same message as one of another type.
    #[must_use]
    pub fn with_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    /// The URI: any bytes, often text, possibly none.
    pub fn uri(&self) -> &[u8] {
        self.body
            .get(URI_LENGTH..self.uri_end())
            .unwrap_or_default()
    }

    /// The content: any bytes, possibly none.
    pub fn content(&self) -> &[u8] {
        self.body.get(self.uri_end()..).unwrap_or_default()
    }

    #[inline]
    fn uri_end(&self) -> usize {
        self.uri_end as usize
    }

    /// The URI as text, for people: bytes that are not UTF-8 are replaced.
    pub fn uri_text(&self) -> Cow<'_, str> {
        alloc::string::String::from_utf8_lossy(self.uri())
    }

    /// The content as text, for people: bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        alloc::string::String::from_utf8_lossy(self.content())
    }

    /// The content as a buffer of its own, without copying it.
    pub fn into_content(mut self) -> Bytes {
        let end = self.uri_end().min(self.body.len());
        bytes::Buf::advance(&mut self.body, end);
        self.body
    }

    /// The auth fields that travel with the message.
    pub fn fields(&self) -> &AuthFields {
        &self.fields
    }

    /// The auth fields, to be changed. Plugins set their own on sending.
    pub fn fields_mut(&mut self) -> &mut AuthFields {
        &mut self.fields
    }

    /// The body section: URI length, URI and content.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Bytes of its two sections.
    #[inline]
    pub fn length(&self) -> usize {
        self.fields.packed().len() + self.body.len()
    }

    /// The same message with other auth fields.
    #[must_use]
    pub fn with_fields(mut self, fields: AuthFields) -> Self {
        self.fields = fields;
        self
    }

    /// Reads one message from `bytes`, which hold it and nothing else, as
    /// Python's `Message.decode` does: what follows the auth section is the
    /// body, whatever length the header gives for it.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] says what is wrong with the bytes.
    pub fn decode(
        bytes: &[u8],
        types: &MessageTypes,
    ) -> Result<Self, ProtocolError> {
        let header = Header::decode(bytes).ok_or(ProtocolError::Truncated)?;
        let sections = bytes.get(Header::LENGTH..).unwrap_or_default();
        let (auth, body) = sections
            .split_at_checked(usize::from(header.auth_length))
            .ok_or(ProtocolError::Truncated)?;
        let frame = Frame { header, auth, body };
        frame.check(types)?;
        frame.verify_checksum()?;
        let envelope = Envelope {
            message_type: header.message_type,
            fields: AuthFields::from_packed(auth)?,
            body: BytesMut::from(body),
        };
        envelope.into_message().ok_or(ProtocolError::BadUriLength)
    }

    /// The message as one frame.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if a section has more than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, TooLong> {
        let header = self.header()?;
        let mut bytes = Vec::with_capacity(header.frame_length());
        bytes.put_slice(&header.encode());
        bytes.put_slice(self.fields.packed());
        bytes.put_slice(&self.body);
        Ok(bytes)
    }

    /// The header that this message has on the wire.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if a section has more than 65,535 bytes.
    pub fn header(&self) -> Result<Header, TooLong> {
        header_of(self.message_type, self.fields.packed(), &self.body)
    }

    /// The message ready for plugins to work on; without copying if nobody
    /// else holds its buffer.
    pub fn into_envelope(self) -> Envelope {
        let body = match self.body.try_into_mut() {
            Ok(own) => own,
            Err(shared) => BytesMut::from(&*shared),
        };
        Envelope {
            message_type: self.message_type,
            fields: self.fields,
            body,
        }
    }

    /// The body section alone.
    #[inline]
    pub(crate) fn into_body(self) -> Bytes {
        self.body
    }

    pub(crate) fn into_parts(self) -> (MessageType, AuthFields, Bytes) {
        (self.message_type, self.fields, self.body)
    }
}

impl fmt::Debug for Message {
    /// Shows the type, the URI and how long the content is; never the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("message_type", &self.message_type)
            .field("uri", &self.uri_text())
            .field("content_length", &self.content().len())
            .field("fields", &self.fields)
            .finish()
    }
}

/// A message while plugins work on it: the body section is one mutable buffer,
/// so that encryption needs no second one.
#[derive(Clone)]
pub struct Envelope {
    /// What the message is. Ciphers leave it as it is.
    pub message_type: MessageType,
    /// The auth fields, shared by all layers.
    pub fields: AuthFields,
    /// The body section: URI length, URI and content, as it is at this layer.
    pub body: BytesMut,
}

impl Envelope {
    /// The message that this envelope holds; `None` if the body section is not
    /// one: shorter than two bytes, or shorter than its URI length says.
    pub fn into_message(self) -> Option<Message> {
        let uri_end = uri_end(&self.body)? as u32;
        Some(Message {
            message_type: self.message_type,
            fields: self.fields,
            body: self.body.freeze(),
            uri_end,
        })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("message_type", &self.message_type)
            .field("body_length", &self.body.len())
            .field("fields", &self.fields)
            .finish()
    }
}

/// Where the URI of this body section ends; `None` if it is not one.
pub(crate) fn uri_end(body: &[u8]) -> Option<usize> {
    let length = u16::from_be_bytes(*body.first_chunk::<URI_LENGTH>()?);
    let end = URI_LENGTH + usize::from(length);
    (end <= body.len()).then_some(end)
}

/// The header of a frame with these sections.
#[inline]
pub(crate) fn header_of(
    message_type: MessageType,
    auth: &[u8],
    body: &[u8],
) -> Result<Header, TooLong> {
    let section = |length: usize| {
        u16::try_from(length).map_err(|_| TooLong {
            length,
            limit: usize::from(u16::MAX),
        })
    };
    Ok(Header {
        message_type,
        auth_length: section(auth.len())?,
        body_length: section(body.len())?,
        checksum: crc32fast::hash(body),
    })
}

/// Whether Python netaio would send a URI and a content of these lengths, with
/// `overhead` bytes kept free for a plugin.
///
/// # Errors
///
/// [`TooLong`] if not.
pub fn check_length(
    uri: usize,
    content: usize,
    overhead: i64,
) -> Result<(), TooLong> {
    let length = uri.saturating_add(content);
    let widest = MAX_URI_AND_CONTENT as i64;
    let limit = usize::try_from(widest.saturating_sub(overhead)).unwrap_or(0);
    let fits = overhead <= widest && length <= limit;
    if fits {
        Ok(())
    } else {
        Err(TooLong { length, limit })
    }
}

/// Answers to a message: each carries its URI, so that whoever asked can tell
/// what is answered.
impl Message {
    /// `RESPOND_URI` with this content.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn respond(&self, content: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        Self::new(MessageType::RESPOND_URI, self.uri(), content)
    }

    /// `OK` with this content.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn ok(&self, content: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        Self::new(MessageType::OK, self.uri(), content)
    }

    /// `ERROR` with this text.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn error(&self, text: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        Self::new(MessageType::ERROR, self.uri(), text)
    }

    /// `NOT_FOUND`, saying so.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if the URI leaves no room for the text.
    pub fn not_found(&self) -> Result<Self, TooLong> {
        Self::new(MessageType::NOT_FOUND, self.uri(), NOT_FOUND_TEXT)
    }

    /// `NOT_PERMITTED`, saying so.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if the URI leaves no room for the text.
    pub fn not_permitted(&self) -> Result<Self, TooLong> {
        Self::new(MessageType::NOT_PERMITTED, self.uri(), NOT_PERMITTED_TEXT)
    }
}

/// The URI of Python netaio's error messages that are given none.
pub const ERROR_URI: &str = "ERROR";

const NOT_FOUND_TEXT: &str = "not found";
const NOT_PERMITTED_TEXT: &str = "not permitted";

/// Messages that answer nothing in particular, with Python netaio's defaults
/// where an argument is `None`.
impl Message {
    /// `RESPOND_URI`: Python's `make_respond_uri_msg`.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn make_respond(
        content: impl AsRef<[u8]>,
        uri: impl AsRef<[u8]>,
    ) -> Result<Self, TooLong> {
        Self::new(MessageType::RESPOND_URI, uri, content)
    }

    /// `OK`: Python's `make_ok_msg`. Default content and URI: empty.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn make_ok(
        content: Option<&[u8]>,
        uri: Option<&[u8]>,
    ) -> Result<Self, TooLong> {
        let (uri, content) = (uri.unwrap_or_default(), content.unwrap_or_default());
        Self::new(MessageType::OK, uri, content)
    }

    /// `NOT_FOUND`: Python's `make_not_found_msg`. Default text: `not found`,
    /// default URI: empty.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn make_not_found(
        text: Option<&[u8]>,
        uri: Option<&[u8]>,
    ) -> Result<Self, TooLong> {
        let text = text.unwrap_or(NOT_FOUND_TEXT.as_bytes());
        Self::new(MessageType::NOT_FOUND, uri.unwrap_or_default(), text)
    }

    /// `NOT_PERMITTED`: Python's `make_not_permitted_msg`. Default text: `not
    /// permitted`, default URI: empty.
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn make_not_permitted(
        text: Option<&[u8]>,
        uri: Option<&[u8]>,
    ) -> Result<Self, TooLong> {
        let text = text.unwrap_or(NOT_PERMITTED_TEXT.as_bytes());
        Self::new(MessageType::NOT_PERMITTED, uri.unwrap_or_default(), text)
    }

    /// An error: Python's `make_error_msg`. The default URI is [`ERROR_URI`];
    /// the default type is read from the text, see
    /// [`error_type_of`](Self::error_type_of).
    ///
    /// # Errors
    ///
    /// [`TooLong`], as for [`Message::new`].
    pub fn make_error(
        text: impl AsRef<[u8]>,
        uri: Option<&[u8]>,
        message_type: Option<MessageType>,
    ) -> Result<Self, TooLong> {
        let text = text.as_ref();
        let message_type = message_type.unwrap_or_else(|| Self::error_type_of(text));
        Self::new(message_type, uri.unwrap_or(ERROR_URI.as_bytes()), text)
    }

    /// The type that Python netaio gives an error with this text: the first of
    /// `not found`, `auth` and `not permitted` that the text contains decides;
    /// otherwise `ERROR`.
    pub fn error_type_of(text: &[u8]) -> MessageType {
        let has = |part: &str| {
            text.windows(part.len())
                .any(|window| window == part.as_bytes())
        };
        if has(NOT_FOUND_TEXT) {
            MessageType::NOT_FOUND
        } else if has("auth") {
            MessageType::AUTH_ERROR
        } else if has(NOT_PERMITTED_TEXT) {
            MessageType::NOT_PERMITTED
        } else {
            MessageType::ERROR
        }
    }

    /// The message itself, or an error if its type is one: `ERROR`,
    /// `AUTH_ERROR`, `NOT_FOUND` or `NOT_PERMITTED`.
    ///
    /// # Errors
    ///
    /// [`StatusError`] with the message's type and text.
    pub fn error_for_status(self) -> Result<Self, StatusError> {
        if self.message_type.is_error() {
            Err(StatusError { message: self })
        } else {
            Ok(self)
        }
    }
}

/// A reply that says that the request was refused or failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} for {:?}: {}", message.message_type(), message.uri_text(), message.text())]
pub struct StatusError {
    /// The reply.
    pub message: Message,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_at_the_limit_is_made_and_one_over_it_is_not() {
        let content = alloc::vec![0; MAX_URI_AND_CONTENT - 3];
        assert!(Message::new(MessageType::OK, "abc", &content).is_ok());
        let error = Message::new(MessageType::OK, "abcd", &content).unwrap_err();
        assert_eq!(error.length, MAX_URI_AND_CONTENT + 1);
    }

    #[test]
    fn taking_the_content_copies_nothing() {
        let message = Message::new(MessageType::OK, "abc", "content").unwrap();
        let before = message.content().as_ptr();
        assert_eq!(message.into_content().as_ptr(), before);
    }

    #[test]
    fn debug_does_not_show_the_content() {
        let message = Message::new(MessageType::OK, "abc", "hush").unwrap();
        assert!(!alloc::format!("{message:?}").contains("hush"));
    }

    #[test]
    fn an_envelope_with_a_wrong_uri_length_is_no_message() {
        let envelope = |body: &[u8]| Envelope {
            message_type: MessageType::OK,
            fields: AuthFields::new(),
            body: BytesMut::from(body),
        };
        assert!(envelope(b"\0").into_message().is_none());
        assert!(envelope(b"\0\x01").into_message().is_none());
        assert!(envelope(b"\0\0").into_message().is_some());
    }
}
