//! Two auth plugins as one.

use core::sync::atomic::AtomicBool;

use super::{AuthPlugin, Context, keeps};
use crate::error::{AuthError, PluginError};
use crate::wire::message::Envelope;
use crate::wire::message_type::MessageType;

/// Two auth plugins in one layer: what arrives must pass the first, then the
/// second. Put the cheaper check first. Their fields need different names, or no
/// message can be sent ([`PluginError::FieldTaken`]).
///
/// ```
/// use netaio_proto::{Both, HmacAuthPlugin, Layers};
///
/// let department = HmacAuthPlugin::new("theirs").hmac_field("hmac2");
/// let auth = Both(HmacAuthPlugin::new("everybody's"), department);
/// let layers = Layers::new().auth(auth);
/// # drop(layers);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Both<A, B>(
    /// The one that checks first.
    pub A,
    /// The one that checks what has passed the first.
    pub B,
);

impl<A: AuthPlugin, B: AuthPlugin> AuthPlugin for Both<A, B> {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        self.make_unless(&AtomicBool::new(false), envelope, context)
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        self.0.check(envelope, context)?;
        self.1.check(envelope, context)
    }

    fn is_peer_specific(&self) -> bool {
        self.0.is_peer_specific() || self.1.is_peer_specific()
    }

    fn authenticates(&self) -> bool {
        self.0.authenticates() || self.1.authenticates()
    }

    fn is_costly(&self, message_type: MessageType) -> bool {
        self.0.is_costly(message_type) || self.1.is_costly(message_type)
    }

    fn make_unless(
        &self,
        cancelled: &AtomicBool,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let before = envelope.fields.clone();
        self.0.make_unless(cancelled, envelope, context)?;
        let between = envelope.fields.clone();
        self.1.make_unless(cancelled, envelope, context)?;
        keeps(&before, &between, &envelope.fields)
    }
}
