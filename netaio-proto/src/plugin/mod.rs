//! Plugins: what authenticates, encrypts and describes.
//!
//! A pair of an auth plugin and a cipher plugin is a layer. An endpoint's own
//! layer is the outer one; a route's or a request's is the inner one. Sending
//! goes inner cipher, inner auth, outer cipher, outer auth; receiving goes back
//! the same way. [`Layers::seal`] and [`Layers::open`] are the only two places
//! that apply a layer.

mod blocks;
mod both;
mod hmac;
mod null;
mod peer;
#[cfg(feature = "std")]
mod replay_guard;
mod replay_memory;
mod sha256_stream;

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::AtomicBool;

pub use both::Both;
pub use hmac::HmacAuthPlugin;
pub use null::{NullAuthPlugin, NullCipherPlugin};
pub use peer::{DefaultPeerPlugin, Peer, PeerPlugin};
#[cfg(feature = "std")]
pub use replay_guard::ReplayGuard;
pub use replay_memory::{Refusals, ReplayMemory};
pub use sha256_stream::Sha256StreamCipherPlugin;

use crate::error::{AuthError, PluginError};
use crate::random::Random;
use crate::wire::auth_fields::AuthFields;
use crate::wire::message::Envelope;
use crate::wire::message_type::MessageType;

/// Authenticates messages.
///
/// Works on the envelope as it is at its layer: what it covers of the body is
/// what the cipher of the same layer has made of it. All layers share the auth
/// fields, so two auth plugins of one message need different field names.
pub trait AuthPlugin: fmt::Debug + Send + Sync {
    /// Adds a proof to a message that is about to be sent.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if no proof can be made; the message is not sent.
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError>;

    /// Whether a received message carries a valid proof. Called once for each
    /// message at each layer, so that a plugin may count or remember them.
    ///
    /// # Errors
    ///
    /// [`AuthError`] if it does not. The message then reaches no handler.
    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError>;

    /// What to tell a sender whose message did not pass.
    fn error_text(&self) -> &str {
        "auth failed"
    }

    /// Whether the proof depends on who receives the message. If not, a
    /// broadcast is sealed once for everybody.
    fn is_peer_specific(&self) -> bool {
        false
    }

    /// Whether a message that passes is from somebody who is meant to send some.
    /// If not, it still counts as anybody's: over UDP nobody is sent more than
    /// came, and a refusal is marked as unverified.
    fn authenticates(&self) -> bool {
        true
    }

    /// Whether making a proof for a message of this type takes so long that
    /// nobody should have to wait for it: then drivers make it apart
    /// ([`Sealing`](crate::Sealing)), with
    /// [`make_unless`](Self::make_unless).
    fn is_costly(&self, message_type: MessageType) -> bool {
        let _ = message_type;
        false
    }

    /// Does what [`make`](Self::make) does, and gives up soon after `cancelled`
    /// has been set, if it takes long.
    ///
    /// # Errors
    ///
    /// [`PluginError::Cancelled`] if it gave up; otherwise as `make`.
    fn make_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let _ = cancelled;
        self.make(envelope, context)
    }
}

/// Encrypts messages.
pub trait CipherPlugin: fmt::Debug + Send + Sync {
    /// Encrypts a message that is about to be sent, in place.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if it cannot; the message is not sent.
    fn encrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError>;

    /// Decrypts a received message, in place. What it leaves must be a body
    /// section.
    ///
    /// # Errors
    ///
    /// [`PluginError`] if it cannot. The message then reaches no handler.
    fn decrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError>;

    /// Whether the ciphertext depends on who receives the message. If not, a
    /// broadcast is sealed once for everybody.
    fn is_peer_specific(&self) -> bool {
        false
    }
}

/// A plugin that is also looked at from elsewhere, or is in several layers.
impl<P: AuthPlugin + ?Sized> AuthPlugin for Arc<P> {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (**self).make(envelope, context)
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        (**self).check(envelope, context)
    }

    fn error_text(&self) -> &str {
        (**self).error_text()
    }

    fn is_peer_specific(&self) -> bool {
        (**self).is_peer_specific()
    }

    fn authenticates(&self) -> bool {
        (**self).authenticates()
    }

    fn is_costly(&self, message_type: MessageType) -> bool {
        (**self).is_costly(message_type)
    }

    fn make_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (**self).make_unless(cancelled, envelope, context)
    }
}

/// A plugin that is also looked at from elsewhere, or is in several layers.
impl<P: CipherPlugin + ?Sized> CipherPlugin for Arc<P> {
    fn encrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (**self).encrypt(envelope, context)
    }

    fn decrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        (**self).decrypt(envelope, context)
    }

    fn is_peer_specific(&self) -> bool {
        (**self).is_peer_specific()
    }
}

/// What a plugin may use besides the message itself.
#[derive(Debug)]
pub struct Context<'a> {
    /// Wall-clock time in seconds since 1970, as the caller gave it.
    pub unix_time: u64,
    /// Where nonces come from.
    pub random: &'a mut Random,
    /// Who this endpoint is, if it has a peer identity.
    pub local_peer: Option<&'a Peer>,
    /// Who is at the other end, if that is known.
    pub peer: Option<&'a Peer>,
}

/// A pair of plugins, either of which may be absent.
///
/// ```
/// use netaio_proto::{HmacAuthPlugin, Layers, Sha256StreamCipherPlugin};
///
/// let outer = Layers::new()
///     .auth(HmacAuthPlugin::new("secret"))
///     .cipher(Sha256StreamCipherPlugin::new("key"));
/// assert!(!outer.is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Layers {
    /// Authenticates.
    pub auth: Option<Arc<dyn AuthPlugin>>,
    /// Encrypts.
    pub cipher: Option<Arc<dyn CipherPlugin>>,
}

impl Layers {
    /// No plugins.
    pub const fn new() -> Self {
        Self {
            auth: None,
            cipher: None,
        }
    }

    /// The same with this auth plugin.
    #[must_use]
    pub fn auth(mut self, plugin: impl AuthPlugin + 'static) -> Self {
        self.auth = Some(Arc::new(plugin));
        self
    }

    /// The same with this cipher plugin.
    #[must_use]
    pub fn cipher(mut self, plugin: impl CipherPlugin + 'static) -> Self {
        self.cipher = Some(Arc::new(plugin));
        self
    }

    /// Whether there is neither plugin.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.auth.is_none() && self.cipher.is_none()
    }

    /// Whether a message must be sealed for each recipient by itself.
    pub fn is_peer_specific(&self) -> bool {
        self.auth.as_ref().is_some_and(|p| p.is_peer_specific())
            || self.cipher.as_ref().is_some_and(|p| p.is_peer_specific())
    }

    /// Whether who has passed the auth plugin is who it says it is.
    #[inline]
    pub fn authenticates(&self) -> bool {
        self.auth.as_ref().is_some_and(|auth| auth.authenticates())
    }

    /// Whether sealing a message of this type takes so long that nobody should
    /// have to wait for it.
    #[inline]
    pub fn is_costly(&self, message_type: MessageType) -> bool {
        let auth = self.auth.as_ref();
        auth.is_some_and(|auth| auth.is_costly(message_type))
    }

    /// The way out: encrypts, then authenticates.
    ///
    /// # Errors
    ///
    /// [`PluginError`] of the plugin that could not do its work.
    pub fn seal(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        self.seal_unless(&AtomicBool::new(false), envelope, context)
    }

    /// The same, which gives up soon after `cancelled` has been set.
    ///
    /// # Errors
    ///
    /// [`PluginError`] of the plugin that could not do its work.
    pub fn seal_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        if let Some(cipher) = &self.cipher {
            cipher.encrypt(envelope, context)?;
        }
        if let Some(auth) = &self.auth {
            auth.make_unless(cancelled, envelope, context)?;
        }
        Ok(())
    }

    /// The way in: checks, then decrypts. An envelope that fails is as it was.
    ///
    /// # Errors
    ///
    /// [`OpenError`] tells which of the two failed.
    pub fn open(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), OpenError> {
        if let Some(auth) = &self.auth {
            auth.check(envelope, context).map_err(OpenError::Auth)?;
        }
        if let Some(cipher) = &self.cipher {
            cipher
                .decrypt(envelope, context)
                .map_err(OpenError::Cipher)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers")
            .field("auth", &self.auth)
            .field("cipher", &self.cipher)
            .finish()
    }
}

/// Which plugin of a layer refused a received message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The auth plugin: the message proves nothing.
    #[error(transparent)]
    Auth(AuthError),
    /// The cipher plugin: the message cannot be decrypted.
    #[error(transparent)]
    Cipher(PluginError),
}

/// The way out through both layers: inner cipher, inner auth, outer cipher, outer
/// auth. Gives up soon after `cancelled` has been set.
pub(crate) fn seal_both(
    inner: &Layers,
    outer: &Layers,
    cancelled: &AtomicBool,
    envelope: &mut Envelope,
    context: &mut Context<'_>,
) -> Result<(), PluginError> {
    if inner.is_empty() || outer.is_empty() {
        inner.seal_unless(cancelled, envelope, context)?;
        return outer.seal_unless(cancelled, envelope, context);
    }
    let before = envelope.fields.clone();
    inner.seal_unless(cancelled, envelope, context)?;
    let between = envelope.fields.clone();
    outer.seal_unless(cancelled, envelope, context)?;
    keeps(&before, &between, &envelope.fields)
}

/// Whether all that was written between `before` and `then` is still there `now`.
fn keeps(
    before: &AuthFields,
    then: &AuthFields,
    now: &AuthFields,
) -> Result<(), PluginError> {
    match now.overwritten(before, then) {
        Some(field) => Err(PluginError::FieldTaken { field }),
        None => Ok(()),
    }
}

/// SHA-256 of the concatenation of `parts`.
fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
