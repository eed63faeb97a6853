//! What a request is before it is sent, and how it is to be sent.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::time::Duration;

use crate::plugin::Layers;
use crate::wire::message::Message;
use crate::wire::message_type::{MessageType, TypeSet};

/// A request, before it is sent: the message and how to send it.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    pub(crate) message: Message,
    pub(crate) timeout: Duration,
    pub(crate) outer: OuterUse,
    pub(crate) special: Option<Box<Special>>,
}

/// What few requests have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Special {
    pub(crate) layers: Layers,
    pub(crate) accepts: TypeSet,
    /// The message with its layers, if that was done apart.
    pub(crate) sealed: Option<Message>,
    /// What of its timeout was over before it was sent.
    pub(crate) waited: Duration,
}

/// Python netaio's default timeout of a request.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl Request {
    /// A request that waits [`DEFAULT_TIMEOUT`] and has no inner layers.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            timeout: DEFAULT_TIMEOUT,
            outer: OuterUse::default(),
            special: None,
        }
    }

    /// How long to wait for the reply.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What is left of its timeout, if it could not be sent at once. The rest is
    /// told with its timeout ([`TimeoutContext::waited`](crate::TimeoutContext)).
    pub fn time_left(mut self, left: Duration) -> Self {
        let waited = self.timeout.saturating_sub(left);
        if !waited.is_zero() {
            let before = &mut self.special().waited;
            *before = before.saturating_add(waited);
            self.timeout = left;
        }
        self
    }

    /// The inner layers of the request and of its reply.
    pub fn layers(mut self, inner: Layers) -> Self {
        if !inner.is_empty() || self.special.is_some() {
            self.special().layers = inner;
        }
        self
    }

    /// Which of the endpoint's own plugins to use.
    pub fn outer(mut self, outer: OuterUse) -> Self {
        self.outer = outer;
        self
    }

    /// A type of reply that ends the request, besides the protocol's own. Only
    /// custom types can be named; others change nothing.
    pub fn accept(mut self, message_type: MessageType) -> Self {
        if message_type.is_custom() {
            self.special().accepts.insert(message_type);
        }
        self
    }

    /// The same for another connection than it was [sealed](crate::Sealing) for.
    pub fn unsealed(mut self) -> Self {
        if let Some(special) = &mut self.special {
            special.sealed = None;
        }
        self
    }

    /// Whether its layers have been [put on](crate::Sealing) already.
    #[inline]
    pub fn is_sealed(&self) -> bool {
        self.special.as_ref().is_some_and(|s| s.sealed.is_some())
    }

    /// The inner layers of the request and of its reply.
    #[inline]
    pub fn inner(&self) -> &Layers {
        static NONE: Layers = Layers::new();
        self.special.as_ref().map_or(&NONE, |s| &s.layers)
    }

    /// Which of the endpoint's own plugins are used.
    #[inline]
    pub fn outer_use(&self) -> OuterUse {
        self.outer
    }

    /// The message to send.
    #[inline]
    pub fn message(&self) -> &Message {
        &self.message
    }

    pub(crate) fn special(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }
}

/// Which of an endpoint's own plugins are used for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OuterUse {
    /// The auth plugin. Without it a reply need not be authenticated either.
    pub auth: bool,
    /// The cipher plugin. Without it a reply need not be encrypted either.
    pub cipher: bool,
}

impl Default for OuterUse {
    /// Both.
    fn default() -> Self {
        Self {
            auth: true,
            cipher: true,
        }
    }
}

impl OuterUse {
    /// Neither: for a message that has its layers already.
    pub const NEITHER: Self = Self {
        auth: false,
        cipher: false,
    };

    /// Those of `layers` that are used.
    pub(crate) fn of(self, layers: &Layers) -> Cow<'_, Layers> {
        if self == Self::default() {
            return Cow::Borrowed(layers);
        }
        Cow::Owned(Layers {
            auth: layers.auth.clone().filter(|_| self.auth),
            cipher: layers.cipher.clone().filter(|_| self.cipher),
        })
    }
}

/// Whether requests carry an id that tells their replies apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Correlation {
    /// Requests carry a random id in the auth field `rid`.
    #[default]
    RequestIds,
    /// Requests carry no id; every peer is taken to answer in order, per URI.
    Off,
}
