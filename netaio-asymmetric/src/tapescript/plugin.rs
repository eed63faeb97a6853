//! The plugin.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use netaio_proto::wire::packify::{Raw, Value};
use netaio_proto::{
    AuthError, AuthFields, AuthPlugin, Context, DefaultPeerPlugin, Envelope, Peer,
    PeerPlugin, PluginError,
};

use super::error::ScriptError;
use super::fields::{Inputs, SigFields, SigFlags};
use super::key::SigningKey;
use super::machine::Machine;
use super::script::Script;
use super::witness;

const NONCE_LENGTH: usize = 16;
const TS_LENGTH: usize = 4;
const LOCK: &str = "lock";

type MakeWitness =
    dyn Fn(&SigningKey, &SigFields<'_>) -> Result<Script, PluginError> + Send + Sync;

/// Adds a witness to each message, and lets pass what opens a lock.
///
/// The witness is for the body section, a nonce and a timestamp. What it does not
/// protect, because the wire format does not let it: the message type, the other
/// auth fields, the direction, and against a second delivery of the same bytes.
///
/// A message that is signed has at most 1024 bytes with nonce and timestamp; URI
/// and content have 1002 together. A longer one is refused when it is to be sent,
/// with [`PluginError::TooLong`].
///
/// By default `ts` must be exactly 4 bytes and `nonce` exactly 16: what is signed
/// has no border between body, nonce and timestamp, so that a nonce of any length
/// would let bytes wander from one to the other. Python netaio always sends these
/// lengths. [`python_compatible`](Self::python_compatible) accepts what Python
/// accepts.
///
/// ```
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
/// use netaio_asymmetric::TapescriptAuthPlugin;
/// use netaio_proto::Layers;
///
/// // Both ends have the same key: each signs with it and accepts only it.
/// let key = SigningKey::from_seed(&[1; 32]);
/// let lock = lock::single_signature(&key.public_key(), SigFlags::ALL_SIGNED);
/// let layers = Layers::new().auth(TapescriptAuthPlugin::new(lock, key));
/// # let _ = layers;
/// ```
pub struct TapescriptAuthPlugin {
    lock: Script,
    key: SigningKey,
    make_witness: Box<MakeWitness>,
    peer_plugin: Option<Box<dyn PeerPlugin>>,
    machine: Machine,
    nonce_field: String,
    ts_field: String,
    witness_field: String,
    strict: bool,
}

impl TapescriptAuthPlugin {
    /// A plugin that accepts what opens this lock, and signs with this key: one
    /// signature of all fields. The fields are `nonce`, `ts` and `witness`.
    pub fn new(lock: Script, key: SigningKey) -> Self {
        Self {
            lock,
            key,
            make_witness: Box::new(|key, fields| {
                let flags = SigFlags::ALL_SIGNED;
                Ok(witness::single_signature(key, fields, flags)?)
            }),
            peer_plugin: None,
            machine: Machine::new(),
            nonce_field: AuthFields::NONCE.to_string(),
            ts_field: AuthFields::TS.to_string(),
            witness_field: "witness".to_string(),
            strict: true,
        }
    }

    /// The same, making witnesses this way: for locks that want more than one
    /// signature, or something else. Keys that it holds are its own business.
    ///
    /// ```
    /// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock, witness};
    /// use netaio_asymmetric::TapescriptAuthPlugin;
    ///
    /// let [first, second] = [[1; 32], [2; 32]].map(|s| SigningKey::from_seed(&s));
    /// let keys = [first.public_key(), second.public_key()];
    /// let both = lock::multisig(&keys, 2, SigFlags::ALL_SIGNED)?;
    /// let plugin = TapescriptAuthPlugin::new(both, first).witness(
    ///     move |first, fields| {
    ///         let keys = [first, &second];
    ///         Ok(witness::multisig(keys, fields, SigFlags::ALL_SIGNED)?)
    ///     },
    /// );
    /// # let _ = plugin;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn witness(
        mut self,
        make: impl Fn(&SigningKey, &SigFields<'_>) -> Result<Script, PluginError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.make_witness = Box::new(make);
        self
    }

    /// The same, using the lock of whoever is known to be at the other end: what
    /// that peer has in its data, a dict, under `lock`. The plugin's own lock is
    /// for all who are not known or have none there; if they are to be refused,
    /// it must be [`lock::nobody`](super::lock::nobody).
    ///
    /// It is the peer that says what its lock is. Unless the message in which it
    /// did so passed a check of something else, that only shows that it is still
    /// the same one.
    #[must_use]
    pub fn use_peer_lock(self) -> Self {
        self.use_peer_lock_with(DefaultPeerPlugin)
    }

    /// As [`use_peer_lock`](Self::use_peer_lock), for peers whose data another
    /// plugin parses.
    #[must_use]
    pub fn use_peer_lock_with(mut self, plugin: impl PeerPlugin + 'static) -> Self {
        self.peer_plugin = Some(Box::new(plugin));
        self
    }

    /// The same with another machine to run scripts: other limits, for instance.
    #[must_use]
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// The same with another field for the witness. Two layers of one message
    /// need different ones.
    #[must_use]
    pub fn witness_field(mut self, name: &str) -> Self {
        self.witness_field = name.to_string();
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
    /// a `nonce` of any length, and keeping such a nonce where one is there when
    /// a message is sent, as Python netaio 0.0.9 does. The machine's own rules
    /// stay as they are.
    #[must_use]
    pub fn python_compatible(mut self) -> Self {
        self.strict = false;
        self
    }

    /// The nonce to send: the one that is there already, else a new one.
    fn own_nonce(&self, fields: &AuthFields, context: &mut Context<'_>) -> Vec<u8> {
        let kept = fields.get_bytes(&self.nonce_field);
        let fits = |nonce: &&[u8]| !self.strict || nonce.len() == NONCE_LENGTH;
        match kept.filter(fits) {
            Some(nonce) => nonce.to_vec(),
            None => context.random.bytes::<NONCE_LENGTH>().to_vec(),
        }
    }

    /// The timestamp to send: the one that is there already, else now.
    fn own_ts(
        &self,
        fields: &AuthFields,
        unix_time: u64,
    ) -> Result<[u8; TS_LENGTH], PluginError> {
        let Some(field) = fields.get(&self.ts_field) else {
            // Four bytes last until 2106; then the time starts over.
            return Ok((unix_time as u32).to_be_bytes());
        };
        number(field)
            .map(u32::to_be_bytes)
            .ok_or_else(|| PluginError::BadField {
                field: self.ts_field.clone(),
            })
    }

    /// The timestamp as it was signed.
    fn checked_ts(&self, fields: &AuthFields) -> Result<[u8; TS_LENGTH], AuthError> {
        let field = required(fields, &self.ts_field)?;
        let length = field.as_bytes().map(<[u8]>::len);
        let fits = !self.strict || length == Some(TS_LENGTH);
        let number = number(field).filter(|number| fits && *number != 0);
        number
            .map(u32::to_be_bytes)
            .ok_or_else(|| AuthError::BadField {
                field: self.ts_field.clone(),
            })
    }

    /// The lock that a peer has to open: its own, if it is to be used and there
    /// is one.
    fn peer_lock(&self, peer: Option<&Peer>) -> Result<Option<Script>, AuthError> {
        let (Some(plugin), Some(peer)) = (&self.peer_plugin, peer) else {
            return Ok(None);
        };
        let Some(data) = &peer.data else {
            return Ok(None);
        };
        let other = |text: String| AuthError::Other(text);
        let data = plugin.parse_data(data);
        let data = data.map_err(|error| other(error.to_string()))?;
        let Value::Dict(entries) = data else {
            return Ok(None);
        };
        // Of entries with the same key, the last counts.
        let mut entries = entries.into_iter().rev();
        match entries.find(|(key, _)| *key == Value::from(LOCK)) {
            None => Ok(None),
            Some((_, Value::Bytes(code) | Value::Bytearray(code))) => {
                Ok(Some(code.into()))
            }
            Some(_) => Err(other("the peer's lock is not bytes".to_string())),
        }
    }
}

impl AuthPlugin for TapescriptAuthPlugin {
    fn make(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let nonce = self.own_nonce(&envelope.fields, context);
        let ts = self.own_ts(&envelope.fields, context.unix_time)?;
        let signed = SigFields::of_message(&envelope.body, &nonce, &ts);
        let witness = (self.make_witness)(&self.key, &signed)?;
        let fields: [(&str, &[u8]); 3] = [
            (&self.nonce_field, &nonce),
            (&self.ts_field, &ts),
            (&self.witness_field, witness.as_bytes()),
        ];
        envelope
            .fields
            .set_many(&fields)
            .map_err(|_| PluginError::FieldsTooLong)
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        let fields = &envelope.fields;
        let ts = self.checked_ts(fields)?;
        let nonce = required_bytes(fields, &self.nonce_field)?;
        if self.strict && nonce.len() != NONCE_LENGTH {
            return Err(AuthError::BadField {
                field: self.nonce_field.clone(),
            });
        }
        let witness = required_bytes(fields, &self.witness_field)?;
        let peer_lock = self.peer_lock(context.peer)?;
        let inputs = Inputs {
            fields: SigFields::of_message(&envelope.body, nonce, &ts),
            timestamp: context.unix_time,
            now: context.unix_time,
        };
        let lock = peer_lock.as_ref().unwrap_or(&self.lock);
        let opened = self.machine.open(witness, lock, &inputs);
        opened.map_err(|error| match error {
            ScriptError::NotOpened => AuthError::Mismatch,
            error => AuthError::Other(error.to_string()),
        })
    }

    fn error_text(&self) -> &str {
        "tapescript auth failed"
    }

    /// As in Python: each recipient gets a witness of its own.
    fn is_peer_specific(&self) -> bool {
        true
    }
}

fn required<'a>(fields: &'a AuthFields, name: &str) -> Result<Raw<'a>, AuthError> {
    fields.get(name).ok_or_else(|| AuthError::MissingField {
        field: name.to_string(),
    })
}

fn required_bytes<'a>(
    fields: &'a AuthFields,
    name: &str,
) -> Result<&'a [u8], AuthError> {
    let bytes = required(fields, name)?.as_bytes();
    bytes.ok_or_else(|| AuthError::BadField {
        field: name.to_string(),
    })
}

/// A timestamp in any form that Python reads: an integer, or the bytes of one.
fn number(field: Raw<'_>) -> Option<u32> {
    if let Some(bytes) = field.as_bytes() {
        return bytes.iter().try_fold(0_u32, |number, byte| {
            let shifted = number.checked_mul(256)?;
            Some(shifted | u32::from(*byte))
        });
    }
    let number = field.as_u64().or(field.as_bool().map(u64::from));
    number?.try_into().ok()
}

/// No key, and no witness function.
impl fmt::Debug for TapescriptAuthPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TapescriptAuthPlugin")
            .field("lock", &self.lock)
            .field("use_peer_lock", &self.peer_plugin.is_some())
            .field("nonce_field", &self.nonce_field)
            .field("ts_field", &self.ts_field)
            .field("witness_field", &self.witness_field)
            .finish_non_exhaustive()
    }
}
