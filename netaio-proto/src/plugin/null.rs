//! Plugins that do nothing: for fuzzing past authentication, and as the
//! shortest example of the traits.

use super::{AuthPlugin, CipherPlugin, Context};
use crate::error::{AuthError, PluginError};
use crate::wire::message::Envelope;

/// Accepts every message. Authenticates nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullAuthPlugin;

impl AuthPlugin for NullAuthPlugin {
    fn make(
        &self,
        _envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        Ok(())
    }

    fn check(
        &self,
        _envelope: &Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        Ok(())
    }
}

/// Leaves every message as it is. Hides nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullCipherPlugin;

impl CipherPlugin for NullCipherPlugin {
    fn encrypt(
        &self,
        _envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        Ok(())
    }

    fn decrypt(
        &self,
        _envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        Ok(())
    }
}
