//! Encryption with a SHA-256 key stream, byte-compatible with Python netaio's
//! `Sha256StreamCipherPlugin`.

use alloc::string::{String, ToString as _};
use core::fmt;

use bytes::{Buf as _, BufMut as _, BytesMut};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::blocks::{HASH, MessageKeys, State, last_block};
use super::{CipherPlugin, Context};
use crate::error::{PluginError, TooLong};
use crate::wire::auth_fields::AuthFields;
use crate::wire::message::{Envelope, MAX_URI_AND_CONTENT, uri_end};

const IV_LENGTH: usize = 16;
const URI_LENGTH: usize = 2;

/// Of the key stream each 32 bytes are the hash of the message's key and a
/// counter of 4 bytes: one block.
const HASHED: usize = HASH + 4;
/// Blocks that are made before the first of them is hashed.
const AT_ONCE: usize = 4;

/// Hides URI and content behind a key stream derived from a shared key and a
/// fresh initialisation vector.
///
/// It has no integrity of its own: with a wrong key, or after tampering, the
/// receiver reads garbage. Put an auth plugin beside it.
pub struct Sha256StreamCipherPlugin {
    keys: MessageKeys,
    iv_field: String,
    encrypt_uri: bool,
}

impl Sha256StreamCipherPlugin {
    /// A plugin with this key and the field `iv`, which hides the URI too.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self {
            keys: MessageKeys::new(key.as_ref(), b"enc"),
            iv_field: AuthFields::IV.to_string(),
            encrypt_uri: true,
        }
    }

    /// The same with another field for the initialisation vector. Two layers of
    /// one message need different ones
    /// ([`FieldTaken`](crate::PluginError::FieldTaken)).
    #[must_use]
    pub fn iv_field(mut self, name: &str) -> Self {
        self.iv_field = name.to_string();
        self
    }

    /// Whether the URI is hidden as well as the content. An inner layer must
    /// leave it clear if messages are to be routed by it.
    #[must_use]
    pub fn encrypt_uri(mut self, encrypt: bool) -> Self {
        self.encrypt_uri = encrypt;
        self
    }

    /// Encrypts or decrypts `bytes`: the two are one.
    fn apply(&self, iv: &[u8], bytes: &mut [u8]) {
        let mut key = self.keys.derive(iv);
        let mut start = [0; HASHED];
        start[..HASH].copy_from_slice(&key);
        let mut blocks = [last_block(&start, HASHED); AT_ONCE];
        let mut state = State::new();
        let mut counter = 0_u32;
        for part in bytes.chunks_mut(AT_ONCE * HASH) {
            // A CPU reads what was written just before more slowly: so all the
            // counters first.
            for block in &mut blocks {
                block[HASH..HASHED].copy_from_slice(&counter.to_be_bytes());
                counter = counter.wrapping_add(1);
            }
            let (chunks, rest) = part.as_chunks_mut();
            let mut blocks = blocks.iter();
            for (chunk, block) in chunks.iter_mut().zip(&mut blocks) {
                state.restart();
                state.add(block);
                state.mask(chunk);
            }
            if !rest.is_empty()
                && let Some(block) = blocks.next()
            {
                state.restart();
                state.add(block);
                for (byte, mask) in rest.iter_mut().zip(state.hash()) {
                    *byte ^= mask;
                }
            }
        }
        for secret in [&mut key[..], &mut start, blocks.as_flattened_mut()] {
            secret.zeroize();
        }
    }
}

impl CipherPlugin for Sha256StreamCipherPlugin {
    fn encrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let extra = if self.encrypt_uri { URI_LENGTH } else { 0 };
        check_length(envelope.body.len(), MAX_URI_AND_CONTENT - extra)?;
        let iv: [u8; IV_LENGTH] = context.random.bytes();
        if self.encrypt_uri {
            // The ciphertext is cut anywhere into what looks like a URI and a
            // content.
            let places = envelope.body.len().saturating_sub(1) as u64;
            let cut = context.random.below(places).saturating_add(1) as u16;
            let length = URI_LENGTH + envelope.body.len();
            let mut body = BytesMut::with_capacity(length);
            body.put_u16(cut);
            body.put_slice(&envelope.body);
            envelope.body = body;
            let (_, hidden) = split(&mut envelope.body, URI_LENGTH);
            self.apply(&iv, hidden);
        } else {
            let end = uri_end(&envelope.body).unwrap_or(URI_LENGTH);
            let (_, hidden) = split(&mut envelope.body, end);
            self.apply(&iv, hidden);
        }
        envelope
            .fields
            .set_bytes(&self.iv_field, &iv)
            .map_err(|_| PluginError::FieldsTooLong)
    }

    fn decrypt(
        &self,
        envelope: &mut Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let field = || self.iv_field.clone();
        let iv = envelope.fields.get(&self.iv_field);
        let iv = iv.ok_or_else(|| PluginError::MissingField { field: field() })?;
        let iv = iv
            .as_bytes()
            .ok_or_else(|| PluginError::BadField { field: field() })?;
        if !self.encrypt_uri {
            check_length(envelope.body.len(), MAX_URI_AND_CONTENT)?;
            let end = uri_end(&envelope.body).unwrap_or(URI_LENGTH);
            let (_, hidden) = split(&mut envelope.body, end);
            self.apply(iv, hidden);
            return Ok(());
        }
        let clear_length = envelope.body.len().saturating_sub(URI_LENGTH);
        if clear_length < URI_LENGTH {
            envelope.body = BytesMut::from(&[0, 0][..]);
            return Ok(());
        }
        check_length(clear_length, MAX_URI_AND_CONTENT)?;
        let (_, hidden) = split(&mut envelope.body, URI_LENGTH);
        self.apply(iv, hidden);
        envelope.body.advance(URI_LENGTH);
        if uri_end(&envelope.body).is_none() {
            // As Python: a URI that claims more than there is, is all there is.
            let rest = envelope.body.len().saturating_sub(URI_LENGTH) as u16;
            let (length, _) = split(&mut envelope.body, URI_LENGTH);
            length.copy_from_slice(&rest.to_be_bytes());
        }
        Ok(())
    }
}

/// Whether a body section of this length holds no more URI and content than
/// `limit`.
fn check_length(body: usize, limit: usize) -> Result<(), TooLong> {
    let length = body.saturating_sub(URI_LENGTH);
    if length <= limit {
        Ok(())
    } else {
        Err(TooLong { length, limit })
    }
}

/// `bytes` before and from `at`; everything before if there are fewer.
fn split(bytes: &mut BytesMut, at: usize) -> (&mut [u8], &mut [u8]) {
    let at = at.min(bytes.len());
    bytes.split_at_mut(at)
}

impl fmt::Debug for Sha256StreamCipherPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sha256StreamCipherPlugin")
            .field("iv_field", &self.iv_field)
            .field("encrypt_uri", &self.encrypt_uri)
            .finish_non_exhaustive()
    }
}

impl ZeroizeOnDrop for Sha256StreamCipherPlugin {}
