//! Message types: the byte that opens a frame.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;

/// The type of a message: one byte on the wire.
///
/// Values 0 to 30 belong to the protocol; 31 to 255 are free for applications
/// and become known to an endpoint with [`MessageTypes::register`]. Names are
/// those of Python netaio.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType(u8);

macro_rules! message_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl MessageType {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// Every type that the protocol itself defines, by rising code.
            pub const STANDARD: &'static [Self] = &[$(Self::$name),*];

            /// The protocol's name of this type; `None` for any other code.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

message_types! {
    /// Asks for the content of a URI.
    REQUEST_URI = 0;
    /// Answers a request with content.
    RESPOND_URI = 1;
    /// Asks to create a URI with the given content.
    CREATE_URI = 2;
    /// Asks to replace the content of a URI.
    UPDATE_URI = 3;
    /// Asks to remove a URI.
    DELETE_URI = 4;
    /// Asks to be notified of what is published to a URI.
    SUBSCRIBE_URI = 5;
    /// Ends a subscription.
    UNSUBSCRIBE_URI = 6;
    /// Hands content to a URI's subscribers.
    PUBLISH_URI = 7;
    /// Brings a subscriber what was published.
    NOTIFY_URI = 8;
    /// Tells who is here.
    ADVERTISE_PEER = 9;
    /// Says that a request was carried out.
    OK = 10;
    /// Says that a subscription has begun.
    CONFIRM_SUBSCRIBE = 11;
    /// Says that a subscription has ended.
    CONFIRM_UNSUBSCRIBE = 12;
    /// Answers an `ADVERTISE_PEER`.
    PEER_DISCOVERED = 13;
    /// Says that something went wrong.
    ERROR = 20;
    /// Says that a message's authentication was refused.
    AUTH_ERROR = 23;
    /// Says that there is nothing at a URI, or nobody who handles it.
    NOT_FOUND = 24;
    /// Says that the sender may not do what it asked for.
    NOT_PERMITTED = 25;
    /// Says that a peer leaves.
    DISCONNECT = 30;
}

impl MessageType {
    /// The lowest code that an application may give a meaning to.
    pub const FIRST_CUSTOM: u8 = 31;

    /// The type with this code, known or not.
    pub const fn from_code(code: u8) -> Self {
        Self(code)
    }

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Whether the code is an application's to define.
    pub const fn is_custom(self) -> bool {
        self.0 >= Self::FIRST_CUSTOM
    }

    /// Whether this type says that something was refused or failed: `ERROR`,
    /// `AUTH_ERROR`, `NOT_FOUND` or `NOT_PERMITTED`.
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::ERROR | Self::AUTH_ERROR | Self::NOT_FOUND | Self::NOT_PERMITTED
        )
    }

    /// Whether a message of this type is itself an answer, and so is never
    /// answered: two endpoints that answered each other's answers would go on
    /// for ever.
    pub const fn is_reply(self) -> bool {
        self.is_error()
            || matches!(
                self,
                Self::RESPOND_URI
                    | Self::OK
                    | Self::CONFIRM_SUBSCRIBE
                    | Self::CONFIRM_UNSUBSCRIBE
                    | Self::PEER_DISCOVERED
                    | Self::DISCONNECT
            )
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

/// The message types that an endpoint understands: the protocol's own, and
/// those an application registered.
///
/// ```
/// use netaio_proto::{MessageType, MessageTypes};
///
/// let mut types = MessageTypes::default();
/// let ping = types.register("PING", 31)?;
/// assert!(types.contains(ping));
/// assert_eq!(types.name(ping), Some("PING"));
/// assert!(types.register("PONG", 30).is_err());
/// assert!(!types.contains(MessageType::from_code(32)));
/// # Ok::<(), netaio_proto::MessageTypeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageTypes {
    custom: BTreeMap<u8, Arc<str>>,
}

impl MessageTypes {
    /// Makes a custom type known by name.
    ///
    /// # Errors
    ///
    /// [`MessageTypeError`] if the code is reserved (0 to 30) or taken, or if
    /// the name is already in use.
    pub fn register(
        &mut self,
        name: &str,
        code: u8,
    ) -> Result<MessageType, MessageTypeError> {
        let new = MessageType(code);
        if !new.is_custom() {
            return Err(MessageTypeError::Reserved { code });
        }
        let standard = MessageType::STANDARD.iter().any(|t| t.name() == Some(name));
        if standard || self.custom.values().any(|taken| **taken == *name) {
            return Err(MessageTypeError::NameTaken { name: name.into() });
        }
        if self.custom.contains_key(&code) {
            return Err(MessageTypeError::CodeTaken { code });
        }
        self.custom.insert(code, name.into());
        Ok(new)
    }

    /// Whether this type is understood.
    #[inline]
    pub fn contains(&self, message_type: MessageType) -> bool {
        message_type.name().is_some() || self.custom.contains_key(&message_type.0)
    }

    /// The name of a type, the protocol's or a registered one.
    pub fn name(&self, message_type: MessageType) -> Option<&str> {
        message_type
            .name()
            .or_else(|| self.custom.get(&message_type.0).map(|name| &**name))
    }
}

/// Why a custom message type cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageTypeError {
    /// Codes 0 to 30 belong to the protocol.
    #[error("message type {code} is reserved: custom types are 31 to 255")]
    Reserved {
        /// The code that was asked for.
        code: u8,
    },
    /// The name means something already.
    #[error("the message type name {name} is already in use")]
    NameTaken {
        /// The name that was asked for.
        name: Arc<str>,
    },
    /// The code means something already.
    #[error("message type {code} is already registered")]
    CodeTaken {
        /// The code that was asked for.
        code: u8,
    },
}

/// A set of message types; 32 bytes, no allocation.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TypeSet([u64; 4]);

impl TypeSet {
    pub(crate) fn insert(&mut self, message_type: MessageType) {
        let code = message_type.0;
        if let Some(word) = self.0.get_mut(usize::from(code >> 6)) {
            *word |= 1 << (code & 63);
        }
    }

    pub(crate) fn extend(&mut self, other: Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    pub(crate) fn contains(&self, message_type: MessageType) -> bool {
        let code = message_type.0;
        self.0
            .get(usize::from(code >> 6))
            .is_some_and(|word| word & (1 << (code & 63)) != 0)
    }
}

impl fmt::Debug for TypeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = (0..=255).map(MessageType).filter(|t| self.contains(*t));
        f.debug_set().entries(members).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_reserved_codes_are_unknown() {
        let types = MessageTypes::default();
        for code in 0..=255 {
            let named = MessageType::STANDARD.iter().any(|t| t.code() == code);
            assert_eq!(types.contains(MessageType(code)), named, "{code}");
        }
    }

    #[test]
    fn names_and_codes_are_registered_once() {
        let mut types = MessageTypes::default();
        assert!(types.register("OK", 40).is_err());
        assert!(types.register("MINE", 255).is_ok());
        assert!(types.register("MINE", 254).is_err());
        assert!(types.register("OTHER", 255).is_err());
    }

    #[test]
    fn a_type_set_holds_what_was_put_in() {
        let mut set = TypeSet::default();
        for code in [0, 63, 64, 200, 255] {
            assert!(!set.contains(MessageType(code)));
            set.insert(MessageType(code));
            assert!(set.contains(MessageType(code)));
        }
        assert!(!set.contains(MessageType(1)));
    }
}
