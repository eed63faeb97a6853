//! The nine bytes that open every frame.

use super::message_type::MessageType;

/// The fixed part of a frame: its type, the lengths of its two sections and the
/// checksum of the second one.
///
/// Layout: type `u8`, auth length `u16`, body length `u16`, CRC-32 of the body
/// `u32`; all big-endian. A header is computed when a message is encoded and
/// never kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is; not necessarily a known type.
    pub message_type: MessageType,
    /// Bytes of the auth section.
    pub auth_length: u16,
    /// Bytes of the body section.
    pub body_length: u16,
    /// CRC-32 (IEEE 802.3) of the body section as it is on the wire.
    pub checksum: u32,
}

impl Header {
    /// Bytes of an encoded header.
    pub const LENGTH: usize = 9;

    /// The longest frame that lengths of 16 bits can announce: 131,079 bytes.
    pub const MAX_FRAME: usize = Self::LENGTH + 2 * u16::MAX as usize;

    /// Reads a header from the start of `bytes`; `None` while there are fewer
    /// than nine.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let &[kind, a0, a1, b0, b1, c0, c1, c2, c3] =
            bytes.first_chunk::<{ Self::LENGTH }>()?;
        Some(Self {
            message_type: MessageType::from_code(kind),
            auth_length: u16::from_be_bytes([a0, a1]),
            body_length: u16::from_be_bytes([b0, b1]),
            checksum: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// The header as it goes on the wire.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let [a0, a1] = self.auth_length.to_be_bytes();
        let [b0, b1] = self.body_length.to_be_bytes();
        let [c0, c1, c2, c3] = self.checksum.to_be_bytes();
        [self.message_type.code(), a0, a1, b0, b1, c0, c1, c2, c3]
    }

    /// Bytes of the whole frame, this header included.
    pub fn frame_length(&self) -> usize {
        Self::LENGTH + usize::from(self.auth_length) + usize::from(self.body_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = Header {
            message_type: MessageType::DISCONNECT,
            auth_length: 0x0102,
            body_length: 0xFFFE,
            checksum: 0xDEAD_BEEF,
        };
        assert_eq!(Header::decode(&header.encode()), Some(header));
        assert_eq!(Header::decode(&header.encode()[..8]), None);
    }
}
