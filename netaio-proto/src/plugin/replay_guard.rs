//! Protection from messages that come a second time, around any auth plugin.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::replay_memory::{Refusals, ReplayMemory};
use super::{AuthPlugin, Context};
use crate::error::{AuthError, PluginError};
use crate::wire::auth_fields::AuthFields;
use crate::wire::message::Envelope;
use crate::wire::message_type::MessageType;

/// Around an auth plugin that lets a message pass as often as it comes: lets it
/// pass once.
///
/// The protocol's own proofs say who made a message and when, and nothing about
/// how often it may be delivered. A guard refuses what was made too long ago
/// (or too far in the future), what it has let pass before, on whichever
/// connection, and what its own endpoint has made and somebody sends back as
/// the answer. It remembers only messages that the plugin within has let pass,
/// so nobody without the secret can fill its memory; and it never holds more
/// than its [`ReplayMemory`] allows. On the wire nothing changes: the other end
/// needs no guard.
///
/// ```
/// use std::sync::Arc;
/// use netaio_proto::{HmacAuthPlugin, Layers, ReplayGuard};
///
/// let guard = Arc::new(ReplayGuard::new(HmacAuthPlugin::new("secret")));
/// let layers = Layers::new().auth(Arc::clone(&guard));
/// // Later: what it has refused.
/// assert_eq!(guard.refusals().replayed, 0);
/// # drop(layers);
/// ```
///
/// # One for each endpoint and layer
///
/// All connections of one endpoint share its guard, so that what came on one is
/// refused on another. Two endpoints need two guards, in one process too: one
/// that they share would refuse what the first sends to the second as its own.
/// So would the guard of a node that sends to itself. The same goes for two
/// layers: each needs its own, as each sees every message.
///
/// # What it needs
///
/// The plugin within must authenticate the nonce and the timestamp, as
/// `HmacAuthPlugin` does; the timestamp must be 4 bytes or an integer. Clocks
/// must agree to within the window, and the endpoint must be told the time
/// (`set_unix_time`; drivers do).
///
/// # What it cannot do
///
/// - The type of a message is not authenticated: one that was *held back* and
///   comes for the first time may come as another type.
/// - It starts with nothing. What an earlier run of the program has received can
///   be replayed within the window, unless [`ReplayMemory::not_before`] forbids
///   it.
/// - A message that is sent again as an object, with the auth fields that it was
///   sent or received with, keeps its nonce, and a guard at the other end
///   refuses it. With a guard of its own the sender notices: the message gets a
///   fresh nonce. But if it has a second layer without a guard that shares
///   nonce and timestamp, the proof of that one no longer holds: give layers
///   separate fields where messages are passed on. Python netaio repeats nonces
///   when it sends one message object again, as its client does with peer
///   messages that have an inner layer each time it connects.
///
/// What was replayed or sent back is never answered, so that a datagram which
/// the network has doubled does not fail the request that it carries.
///
/// It needs the feature `std`, for a lock that waits without spinning: with it
/// one guard is shared by connections on several threads. Without, put a
/// [`ReplayMemory`] into a plugin of your own.
pub struct ReplayGuard<P> {
    plugin: P,
    nonce_field: String,
    ts_field: String,
    memory: Mutex<ReplayMemory>,
}

impl<P: AuthPlugin> ReplayGuard<P> {
    /// A guard around this plugin, with its usual memory and the fields `nonce`
    /// and `ts`.
    pub fn new(plugin: P) -> Self {
        Self {
            plugin,
            nonce_field: AuthFields::NONCE.to_string(),
            ts_field: AuthFields::TS.to_string(),
            memory: Mutex::default(),
        }
    }

    /// The same with another field for the nonce: that of the plugin within.
    #[must_use]
    pub fn nonce_field(mut self, name: &str) -> Self {
        self.nonce_field = name.to_string();
        self
    }

    /// The same with another field for the timestamp: that of the plugin within.
    #[must_use]
    pub fn ts_field(mut self, name: &str) -> Self {
        self.ts_field = name.to_string();
        self
    }

    /// The same with this memory: its window and its capacity.
    #[must_use]
    pub fn memory(mut self, memory: ReplayMemory) -> Self {
        self.memory = Mutex::new(memory);
        self
    }

    /// How many messages are remembered.
    pub fn remembered(&self) -> usize {
        self.lock().len()
    }

    /// How many messages have been refused, and why. Those that the plugin
    /// within refuses are not among them, except for such as are outside of the
    /// window: it is not asked about those.
    pub fn refusals(&self) -> Refusals {
        self.lock().refusals()
    }

    fn lock(&self) -> MutexGuard<'_, ReplayMemory> {
        // What it holds is whole between any two calls.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a message was made, and its nonce.
    fn identity<'a>(
        &self,
        fields: &'a AuthFields,
    ) -> Result<(u32, &'a [u8]), BadField<'_>> {
        let field = |name| fields.get(name).ok_or(BadField::Missing(name));
        let made = field(&self.ts_field)?;
        let made = match made.as_bytes() {
            Some(bytes) => bytes.try_into().map(u32::from_be_bytes).ok(),
            None => made.as_u64().and_then(|made| made.try_into().ok()),
        };
        let made = made.ok_or(BadField::Malformed(&self.ts_field))?;
        let nonce = field(&self.nonce_field)?.as_bytes();
        let nonce = nonce.ok_or(BadField::Malformed(&self.nonce_field))?;
        Ok((made, nonce))
    }
}

impl<P: AuthPlugin> AuthPlugin for ReplayGuard<P> {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        self.make_unless(&AtomicBool::new(false), envelope, context)
    }

    fn make_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let now = context.unix_time;
        if let Ok((made, nonce)) = self.identity(&envelope.fields)
            && self.lock().contains(now, made, nonce)
        {
            envelope.fields.remove(&self.nonce_field);
            envelope.fields.remove(&self.ts_field);
        }
        self.plugin.make_unless(cancelled, envelope, context)?;
        let (made, nonce) = self.identity(&envelope.fields)?;
        if self.lock().note_own(now, made, nonce) {
            Ok(())
        } else {
            Err(BadField::Malformed(&self.ts_field).into())
        }
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        let now = context.unix_time;
        if let Ok((made, _)) = self.identity(&envelope.fields) {
            self.lock().check_time(now, made)?;
        }
        self.plugin.check(envelope, context)?;
        let (made, nonce) = self.identity(&envelope.fields)?;
        self.lock().accept(now, made, nonce)
    }

    fn error_text(&self) -> &str {
        self.plugin.error_text()
    }

    fn is_peer_specific(&self) -> bool {
        self.plugin.is_peer_specific()
    }

    fn authenticates(&self) -> bool {
        self.plugin.authenticates()
    }

    fn is_costly(&self, message_type: MessageType) -> bool {
        self.plugin.is_costly(message_type)
    }
}

/// A field that does not say what it should.
enum BadField<'a> {
    Missing(&'a str),
    Malformed(&'a str),
}

impl From<BadField<'_>> for AuthError {
    fn from(bad: BadField<'_>) -> Self {
        match bad {
            BadField::Missing(name) => Self::MissingField { field: name.into() },
            BadField::Malformed(name) => Self::BadField { field: name.into() },
        }
    }
}

impl From<BadField<'_>> for PluginError {
    fn from(bad: BadField<'_>) -> Self {
        match bad {
            BadField::Missing(name) => Self::MissingField { field: name.into() },
            BadField::Malformed(name) => Self::BadField { field: name.into() },
        }
    }
}

impl<P: fmt::Debug> fmt::Debug for ReplayGuard<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayGuard")
            .field("plugin", &self.plugin)
            .field("nonce_field", &self.nonce_field)
            .field("ts_field", &self.ts_field)
            .finish_non_exhaustive()
    }
}
