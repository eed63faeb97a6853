//! Messages that are sealed once and sent to many.

use alloc::sync::Arc;
use core::fmt;

use bytes::Bytes;

use crate::config::EndpointConfig;
use crate::error::SendError;
use crate::exchange::{SealedFrame, seal};
use crate::plugin::{Context, Layers};
use crate::random::Random;
use crate::request::OuterUse;
use crate::wire::message::Message;

/// A message with all its layers, as it goes on the wire. Clones share its
/// bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Bytes);

impl Sealed {
    pub(crate) fn new(frame: &SealedFrame) -> Self {
        Self(frame.to_bytes())
    }

    /// The bytes: one frame. Shared, not copied.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

/// Seals messages that go to several connections of one endpoint, where no
/// plugin's work depends on who receives them (`Layers::is_peer_specific`).
///
/// ```
/// use std::sync::Arc;
/// use netaio_proto::{
///     EndpointConfig, HmacAuthPlugin, Layers, Message, MessageType, OuterUse,
///     Sealer,
/// };
///
/// let config = EndpointConfig {
///     layers: Layers::new().auth(HmacAuthPlugin::new("secret")),
///     ..EndpointConfig::default()
/// };
/// let mut sealer = Sealer::new(Arc::new(config), [7; 32]);
/// let news = Message::new(MessageType::NOTIFY_URI, "news", "it works")?;
/// let once = sealer.seal(0, news, &Layers::new(), OuterUse::default())?;
/// assert_eq!(once.bytes().as_ptr(), once.clone().bytes().as_ptr());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sealer {
    config: Arc<EndpointConfig>,
    random: Random,
}

impl Sealer {
    /// A sealer for this endpoint. `seed` decides its randomness: secret, fresh
    /// bytes, or a test's constant.
    pub fn new(config: Arc<EndpointConfig>, seed: [u8; 32]) -> Self {
        Self {
            config,
            random: Random::from_seed(seed),
        }
    }

    /// Applies inner layers, and those of the endpoint's own that are to be
    /// used. `unix_time` is the time on the wall, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`SendError`] if a plugin refuses, or the message is too long.
    pub fn seal(
        &mut self,
        unix_time: u64,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<Sealed, SendError> {
        let mut context = Context {
            unix_time,
            random: &mut self.random,
            local_peer: self.config.local_peer.as_deref(),
            peer: None,
        };
        let outer = outer.of(&self.config.layers);
        let frame = seal(message, inner, &outer, None, &mut context)?;
        Ok(Sealed::new(&frame))
    }

    /// Whether what these layers make depends on who receives it: then seal for
    /// each connection, with `Connection::seal`.
    pub fn is_peer_specific(&self, inner: &Layers, outer: OuterUse) -> bool {
        inner.is_peer_specific() || outer.of(&self.config.layers).is_peer_specific()
    }
}
