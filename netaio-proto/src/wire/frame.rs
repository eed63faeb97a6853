//! One frame in a borrowed buffer: where its sections are and whether they are
//! in order. Nothing here allocates.

use core::fmt;

use super::auth_fields;
use super::header::Header;
use super::message::uri_end;
use super::message_type::MessageTypes;
use crate::error::ProtocolError;

/// A frame in somebody else's buffer.
///
/// ```
/// use netaio_proto::{Frame, MessageTypes};
///
/// let bytes = [
///     0, 0, 3, 0, 8, 0x33, 0x95, 0x03, 0xac, 0x4d, 0x40, 0, 0, 4, b'e', b'c',
///     b'h', b'o', b'h', b'i', 0xff,
/// ];
/// let frame = Frame::parse(&bytes).expect("it is all there");
/// frame.check(&MessageTypes::default())?;
/// frame.verify_checksum()?;
/// assert_eq!(frame.uri(), b"echo");
/// assert_eq!(frame.content(), b"hi");
/// assert_eq!(frame.length(), 20);
/// # Ok::<(), netaio_proto::ProtocolError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// The fixed part.
    pub header: Header,
    /// The auth section: one packed value.
    pub auth: &'a [u8],
    /// The body section: URI length, URI and content.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`; `None` while it is not complete.
    /// Nothing but the lengths is looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::cut(Header::decode(bytes)?, bytes)
    }

    /// The frame at the start of `bytes`, which begin with this header; `None`
    /// while it is not complete.
    #[inline]
    pub(crate) fn cut(header: Header, bytes: &'a [u8]) -> Option<Self> {
        let sections = bytes.get(Header::LENGTH..header.frame_length())?;
        let (auth, body) =
            sections.split_at_checked(usize::from(header.auth_length))?;
        Some(Self { header, auth, body })
    }

    /// The frame of a datagram: cut at the lengths in the header as far as there
    /// are bytes, whatever follows; `None` if there is not even a header.
    pub(crate) fn parse_cut(bytes: &'a [u8]) -> Option<Self> {
        let header = Header::decode(bytes)?;
        let sections = bytes.get(Header::LENGTH..)?;
        let auth_length = usize::from(header.auth_length).min(sections.len());
        let (auth, rest) = sections.split_at_checked(auth_length)?;
        let body_length = usize::from(header.body_length).min(rest.len());
        let body = rest.get(..body_length)?;
        Some(Self { header, auth, body })
    }

    /// Bytes of the whole frame.
    pub fn length(&self) -> usize {
        Header::LENGTH + self.auth.len() + self.body.len()
    }

    /// Whether the frame is well formed: a known type, decodable auth fields
    /// and a body section whose URI fits. The checksum is not looked at.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] names the first thing that is wrong.
    #[inline]
    pub fn check(&self, types: &MessageTypes) -> Result<(), ProtocolError> {
        let message_type = self.header.message_type;
        if !types.contains(message_type) {
            return Err(ProtocolError::UnknownMessageType { message_type });
        }
        auth_fields::check_section(self.auth)?;
        match uri_end(self.body) {
            Some(_) => Ok(()),
            None => Err(ProtocolError::BadUriLength),
        }
    }

    /// Whether the body section is what the sender wrote.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::BadChecksum`] if it is not.
    #[inline]
    pub fn verify_checksum(&self) -> Result<(), ProtocolError> {
        let actual = crc32fast::hash(self.body);
        let announced = self.header.checksum;
        if actual == announced {
            Ok(())
        } else {
            Err(ProtocolError::BadChecksum { announced, actual })
        }
    }

    /// Whether the frame is well formed and its body what the sender wrote.
    #[inline(always)]
    pub(crate) fn verify(&self, types: &MessageTypes) -> Result<(), ProtocolError> {
        self.check(types)?;
        self.verify_checksum()
    }

    /// Whether there are as many bytes as the header says.
    pub(crate) fn is_whole(&self) -> bool {
        self.length() == self.header.frame_length()
    }

    /// The URI; empty if the body section is malformed.
    pub fn uri(&self) -> &'a [u8] {
        uri_end(self.body)
            .and_then(|end| self.body.get(2..end))
            .unwrap_or_default()
    }

    /// The content; empty if the body section is malformed.
    pub fn content(&self) -> &'a [u8] {
        uri_end(self.body)
            .and_then(|end| self.body.get(end..))
            .unwrap_or_default()
    }
}

impl fmt::Debug for Frame<'_> {
    /// Shows the header and the lengths; never what the sections hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("header", &self.header)
            .field("auth_length", &self.auth.len())
            .field("body_length", &self.body.len())
            .finish()
    }
}
