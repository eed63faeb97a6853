//! Messages that are sealed once and sent to many.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::config::EndpointConfig;
use crate::error::{PluginError, SendError};
use crate::exchange::{SealedFrame, seal};
use crate::plugin::{Context, Layers, Peer, seal_both};
use crate::random::Random;
use crate::request::{OuterUse, Request};
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

/// Seals one message apart from the connection or node that will send it, which
/// gave this: where its plugins take long ([`Layers::is_costly`]), on another
/// thread for instance. Nobody has to: sending an unsealed message does the work
/// at once, and takes as long.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use netaio_proto::{Connection, Instant, Message, MessageType, Request};
///
/// # let address = "192.0.2.1:8888".parse()?;
/// # let now = Instant::EPOCH;
/// # let mut connection =
/// #     Connection::new(Default::default(), Default::default(), address, [1; 32], now);
/// let message = Message::new(MessageType::REQUEST_URI, "echo", "hello")?;
/// let sealing = connection.sealing();
/// let cancelled = AtomicBool::new(false);
/// // Wherever you like:
/// let sealed = sealing.request(&cancelled, Request::new(message))?;
/// // And back again:
/// connection.request(now, sealed)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it does nothing by itself"]
pub struct Sealing {
    config: Arc<EndpointConfig>,
    unix_time: u64,
    random: Random,
    peer: Option<Arc<Peer>>,
}

impl Sealing {
    pub(crate) fn new(
        config: Arc<EndpointConfig>,
        unix_time: u64,
        seed: [u8; 32],
        peer: Option<Arc<Peer>>,
    ) -> Self {
        Self {
            config,
            unix_time,
            random: Random::from_seed(seed),
            peer,
        }
    }

    /// Puts its layers on a request, to be sent where this came from. Gives up
    /// soon after `cancelled` has been set.
    ///
    /// # Errors
    ///
    /// [`SendError`] if a plugin refuses, or gave up.
    pub fn request(
        self,
        cancelled: &AtomicBool,
        mut request: Request,
    ) -> Result<Request, SendError> {
        let message = request.message.clone();
        let outer = request.outer;
        let sealed = self.message(cancelled, message, request.inner(), outer)?;
        request.special().sealed = Some(sealed);
        Ok(request)
    }

    /// Puts layers on a message that expects no reply: send it without any
    /// (`OuterUse::NEITHER`) where this came from. Gives up soon after
    /// `cancelled` has been set.
    ///
    /// # Errors
    ///
    /// [`SendError`] if a plugin refuses, or gave up.
    pub fn message(
        mut self,
        cancelled: &AtomicBool,
        message: Message,
        inner: &Layers,
        outer: OuterUse,
    ) -> Result<Message, SendError> {
        let mut context = Context {
            unix_time: self.unix_time,
            random: &mut self.random,
            local_peer: self.config.local_peer.as_deref(),
            peer: self.peer.as_deref(),
        };
        let mut envelope = message.into_envelope();
        let outer = outer.of(&self.config.layers);
        seal_both(inner, &outer, cancelled, &mut envelope, &mut context)?;
        let sealed = envelope.into_message();
        let none = || PluginError::Other("a plugin left no message".into());
        Ok(sealed.ok_or_else(none)?)
    }
}
