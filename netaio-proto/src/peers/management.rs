//! How peers are managed, as the application says.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::error::PluginError;
use crate::plugin::{DefaultPeerPlugin, Layers, Peer, PeerPlugin};
use crate::wire::message::Message;
use crate::wire::message_type::MessageType;

/// How peers of one application find each other.
///
/// ```
/// use core::time::Duration;
/// use netaio_proto::{HmacAuthPlugin, Layers, PeerManagement};
///
/// let management = PeerManagement::new("my app")
///     .layers(Layers::new().auth(HmacAuthPlugin::new("for peers only")))
///     .every(Duration::from_secs(5))
///     .timeout(Duration::from_secs(15));
/// assert_eq!(management.app_id(), b"my app");
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until peers are managed by it"]
pub struct PeerManagement {
    pub(super) app_id: Bytes,
    pub(super) layers: Layers,
    pub(super) plugin: Arc<dyn PeerPlugin>,
    pub(super) every: Option<Duration>,
    pub(super) timeout: Option<Duration>,
    pub(super) from_anywhere: bool,
}

impl PeerManagement {
    /// Python netaio's default app id.
    pub const APP_ID: &str = "netaio";

    /// Peers of the application with this id; endpoints of another one do not
    /// see each other. Python netaio's default is [`APP_ID`](Self::APP_ID).
    pub fn new(app_id: impl AsRef<[u8]>) -> Self {
        Self {
            app_id: Bytes::copy_from_slice(app_id.as_ref()),
            layers: Layers::new(),
            plugin: Arc::new(DefaultPeerPlugin),
            every: Some(Duration::from_secs(20)),
            timeout: Some(Duration::from_secs(60)),
            from_anywhere: false,
        }
    }

    /// Inner layers for peer messages alone. Default: none.
    pub fn layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// Packs peers into messages and back. Default: Python's.
    pub fn plugin(mut self, plugin: impl PeerPlugin + 'static) -> Self {
        self.plugin = Arc::new(plugin);
        self
    }

    /// How often a node says that it is there, within a fifth more or less; at
    /// least 10 ms. Default: 20 seconds. On a stream a client says so once per
    /// connection.
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = Some(interval.max(Duration::from_millis(10)));
        self
    }

    /// How long a peer is kept that is not heard of. Default: 60 seconds. On a
    /// stream a peer is kept until its connection ends.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whether a known peer may speak from an address that it is not known by:
    /// update its data and say that it leaves. Python netaio lets it, and so
    /// lets anybody speak in its name. Default: no; a peer that moves is found
    /// again once it has timed out at its old address.
    pub fn from_anywhere(mut self, allowed: bool) -> Self {
        self.from_anywhere = allowed;
        self
    }

    /// The same for streams: peers come and go with their connections, not by
    /// the clock.
    pub fn without_interval(mut self) -> Self {
        self.every = None;
        self.timeout = None;
        self
    }

    /// The application's id.
    pub fn app_id(&self) -> &[u8] {
        &self.app_id
    }

    /// The inner layers of peer messages.
    pub fn inner(&self) -> &Layers {
        &self.layers
    }

    pub(super) fn message(
        &self,
        message_type: MessageType,
        local: &Peer,
    ) -> Result<Message, PluginError> {
        let content = self.plugin.pack(local)?;
        Ok(Message::new(message_type, &self.app_id, content)?)
    }
}

impl fmt::Debug for PeerManagement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerManagement")
            .field("app_id", &String::from_utf8_lossy(&self.app_id))
            .field("layers", &self.layers)
            .field("every", &self.every)
            .field("timeout", &self.timeout)
            .field("from_anywhere", &self.from_anywhere)
            .finish_non_exhaustive()
    }
}
