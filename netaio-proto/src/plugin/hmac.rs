//! Authentication by a shared secret, byte-compatible with Python netaio's
//! `HMACAuthPlugin`.

use alloc::string::{String, ToString as _};
use core::fmt;

use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use super::blocks::{BLOCK, HASH, MessageKeys, Parts, State, last_block};
use super::{AuthPlugin, Context};
use crate::error::{AuthError, PluginError};
use crate::wire::auth_fields::AuthFields;
use crate::wire::message::Envelope;
use crate::wire::packify::{Kind, Raw};

/// Bytes that a key is padded to: not the 64 of the standard HMAC-SHA256, so a
/// stock implementation gives other results. Two blocks and a few bytes more.
const PADDED: usize = 2 * BLOCK + MORE;
const MORE: usize = 8;
/// What pads the key of the inner and of the outer hash.
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5c;

const NONCE_LENGTH: usize = 16;
const TS_LENGTH: usize = 4;

/// Proves knowledge of a shared secret with an HMAC over a timestamp and the
/// body section.
///
/// What it does not protect, because the wire format does not let it: the
/// message type, the other auth fields, the direction, and against a second
/// delivery of the same bytes.
///
/// By default `ts` must be exactly 4 bytes and `nonce` exactly 16: the code
/// covers `ts` and body without a border between them, so that a `ts` of any
/// length would let bytes wander from one to the other. Python netaio always
/// sends these lengths. [`python_compatible`](Self::python_compatible) accepts
/// what Python accepts.
pub struct HmacAuthPlugin {
    keys: MessageKeys,
    hmac_field: String,
    nonce_field: String,
    ts_field: String,
    strict: bool,
}

impl HmacAuthPlugin {
    /// A plugin with this secret and the fields `hmac`, `nonce` and `ts`.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self {
            keys: MessageKeys::new(secret.as_ref(), b"mac"),
            hmac_field: AuthFields::HMAC.to_string(),
            nonce_field: AuthFields::NONCE.to_string(),
            ts_field: AuthFields::TS.to_string(),
            strict: true,
        }
    }

    /// The same with another field for the code. Two layers of one message
    /// need different ones.
    #[must_use]
    pub fn hmac_field(mut self, name: &str) -> Self {
        self.hmac_field = name.to_string();
        self
    }

    /// The same with another field for the nonce. Two layers may share one.
    #[must_use]
    pub fn nonce_field(mut self, name: &str) -> Self {
        self.nonce_field = name.to_string();
        self
    }

    /// The same with another field for the timestamp. Two layers may share one.
    #[must_use]
    pub fn ts_field(mut self, name: &str) -> Self {
        self.ts_field = name.to_string();
        self
    }

    /// The same, accepting a `ts` that is an integer or bytes of any length and
    /// a `nonce` of any length, as Python netaio 0.0.9 does.
    #[must_use]
    pub fn python_compatible(mut self) -> Self {
        self.strict = false;
        self
    }

    fn code(&self, nonce: &[u8], ts: &[u8], body: &[u8]) -> [u8; HASH] {
        let mut key = self.keys.derive(nonce);
        // The two do not need each other yet: a CPU may work on both at once.
        let (mut inner, mut outer) = (State::new(), State::new());
        add_padded(&mut inner, &key, INNER);
        add_padded(&mut outer, &key, OUTER);
        key.as_mut_slice().zeroize();
        inner.add(&[INNER; BLOCK]);
        outer.add(&[OUTER; BLOCK]);
        let mut inner = Parts::after(&mut inner, 2 * BLOCK);
        inner.add(&[INNER; MORE]);
        inner.add(ts);
        inner.add(body);
        let mut last = [OUTER; MORE + HASH];
        last[MORE..].copy_from_slice(&inner.hash());
        outer.add(&last_block(&last, PADDED + HASH));
        outer.hash()
    }

    /// The timestamp field as the code covers it.
    fn checked_ts<'a>(
        &self,
        field: Option<Raw<'a>>,
        buffer: &'a mut [u8; TS_LENGTH],
    ) -> Result<&'a [u8], AuthError> {
        let field = required(field, &self.ts_field)?;
        let bad = || bad(&self.ts_field);
        if let Some(bytes) = field.as_bytes() {
            let fits = !self.strict || bytes.len() == TS_LENGTH;
            return if fits { Ok(bytes) } else { Err(bad()) };
        }
        let number = field.as_u64().or(field.as_bool().map(u64::from));
        match number.map(u32::try_from) {
            Some(Ok(number)) if number > 0 && !self.strict => {
                *buffer = number.to_be_bytes();
                Ok(buffer)
            }
            _ => Err(bad()),
        }
    }

    /// The timestamp to send: the one that is there already, else now.
    fn own_ts(
        &self,
        field: Option<Raw<'_>>,
        unix_time: u64,
    ) -> Result<[u8; TS_LENGTH], PluginError> {
        let Some(field) = field else {
            // Four bytes last until 2106; then the time starts over.
            return Ok((unix_time as u32).to_be_bytes());
        };
        let number = match field.as_bytes() {
            Some(bytes) => big_endian(bytes),
            None => field.as_u64(),
        };
        number
            .and_then(|number| u32::try_from(number).ok())
            .map(u32::to_be_bytes)
            .ok_or_else(|| PluginError::BadField {
                field: self.ts_field.clone(),
            })
    }
}

impl AuthPlugin for HmacAuthPlugin {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let names: [&str; 2] = [&self.nonce_field, &self.ts_field];
        let [nonce, ts] = envelope.fields.get_all(names);
        let kept = nonce.filter(|nonce| nonce.kind() == Kind::Bytes);
        let kept = kept.and_then(|nonce| nonce.as_bytes());
        let nonce: [u8; NONCE_LENGTH] = match kept.map(TryInto::try_into) {
            Some(Ok(nonce)) => nonce,
            _ => context.random.bytes(),
        };
        let ts = self.own_ts(ts, context.unix_time)?;
        let code = self.code(&nonce, &ts, &envelope.body);
        let fields: [(&str, &[u8]); 3] = [
            (&self.nonce_field, &nonce),
            (&self.ts_field, &ts),
            (&self.hmac_field, &code),
        ];
        envelope
            .fields
            .set_many(&fields)
            .map_err(|_| PluginError::FieldsTooLong)
    }

    fn check(
        &self,
        envelope: &Envelope,
        _context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        let names: [&str; 3] = [&self.ts_field, &self.nonce_field, &self.hmac_field];
        let [ts, nonce, code] = envelope.fields.get_all(names);
        let bytes = |field, name| {
            let bytes = required(field, name)?.as_bytes();
            bytes.ok_or_else(|| bad(name))
        };
        let mut buffer = [0; TS_LENGTH];
        let ts = self.checked_ts(ts, &mut buffer)?;
        let nonce = bytes(nonce, &self.nonce_field)?;
        if self.strict && nonce.len() != NONCE_LENGTH {
            return Err(bad(&self.nonce_field));
        }
        let claimed = bytes(code, &self.hmac_field)?;
        let actual = self.code(nonce, ts, &envelope.body);
        if is_same(&actual, claimed) {
            Ok(())
        } else {
            Err(AuthError::Mismatch)
        }
    }

    fn error_text(&self) -> &str {
        "HMAC auth failed"
    }
}

/// Adds the first block of a padded key.
fn add_padded(state: &mut State, key: &[u8; HASH], pad: u8) {
    let mut block = [pad; BLOCK];
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    state.add(&block);
    block.as_mut_slice().zeroize();
}

/// Compares in a time that does not depend on the codes.
fn is_same(actual: &[u8; HASH], claimed: &[u8]) -> bool {
    let Ok(claimed) = <&[u8; HASH]>::try_from(claimed) else {
        return false;
    };
    words(actual)
        .zip(words(claimed))
        .fold(Choice::from(1), |all, (a, b)| all & a.ct_eq(&b))
        .into()
}

fn words(code: &[u8; HASH]) -> impl Iterator<Item = u64> {
    let (words, _) = code.as_chunks();
    words.iter().map(|word| u64::from_ne_bytes(*word))
}

fn required<'a>(field: Option<Raw<'a>>, name: &str) -> Result<Raw<'a>, AuthError> {
    field.ok_or_else(|| AuthError::MissingField {
        field: name.to_string(),
    })
}

fn bad(name: &str) -> AuthError {
    AuthError::BadField {
        field: name.to_string(),
    }
}

/// The number that these bytes spell; `None` if it needs more than 64 bits.
fn big_endian(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0_u64, |number, byte| {
        let shifted = number.checked_mul(256)?;
        Some(shifted | u64::from(*byte))
    })
}

impl fmt::Debug for HmacAuthPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HmacAuthPlugin")
            .field("hmac_field", &self.hmac_field)
            .field("nonce_field", &self.nonce_field)
            .field("ts_field", &self.ts_field)
            .finish_non_exhaustive()
    }
}

impl ZeroizeOnDrop for HmacAuthPlugin {}
