//! Proof of work: who asks something has spent a while on it.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use netaio_proto::{
    AuthError, AuthPlugin, Context, Envelope, MessageType, PluginError, Refusals,
    ReplayMemory,
};
use sha2::{Digest as _, Sha256};

/// Demands, and makes, a proof that somebody's computer has worked on a message:
/// a number with which its SHA-256 begins with so many zero bits.
///
/// It makes sending many messages dear, and checking them cheap. It is no
/// authentication: anybody can do the work, and the proof says nothing about who
/// did. Use it where anybody may ask, in place of an auth plugin, or before one
/// that is dear to check:
///
/// ```
/// use netaio_asymmetric::HashcashAuthPlugin;
/// use netaio_proto::{Both, HmacAuthPlugin, Layers};
///
/// let work = HashcashAuthPlugin::new(20).audience("example.org:8888");
/// let auth = Both(work, HmacAuthPlugin::new("secret"));
/// let layers = Layers::new().auth(auth);
/// # drop(layers);
/// ```
///
/// # What is proved
///
/// The proof is bound to the body as it is at its layer, the type, the time, 16
/// random bytes, and the [`audience`](Self::audience); it is good once, within
/// the window of its [`ReplayMemory`], whose bound a flood of proofs has to pay
/// for. Checking costs one hash of the message, and is done after the window has
/// been checked and before anything is remembered. Other auth fields are not
/// covered.
///
/// # Which messages
///
/// Those that ask something: `REQUEST_URI`, `CREATE_URI`, `UPDATE_URI`,
/// `DELETE_URI`, `SUBSCRIBE_URI`, `PUBLISH_URI` and all custom types. Answers,
/// notifications and what peers say of themselves carry no proof and need none,
/// so a server never works for those who ask. Python netaio has no such plugin.
///
/// # What it costs the sender
///
/// Each bit doubles the work: a quarter of a second for 20 bits, 4 s for 24, a
/// minute for 28, more or less as luck has it. The time in the proof is that of
/// the beginning, so work that takes longer than the window is in vain. Drivers
/// do it on a thread apart ([`AuthPlugin::is_costly`]) for requests and for
/// messages that are sent to one recipient; dropping the future of such a one
/// ends the work. A core driven by hand works where it is called, unless you use
/// its `Sealing`; so does what is multicast, broadcast or published.
pub struct HashcashAuthPlugin {
    bits: u32,
    field: String,
    audience: Vec<u8>,
    spent: Mutex<ReplayMemory>,
}

const TS_LENGTH: usize = 4;
const SALT_LENGTH: usize = 16;
const COUNTER_LENGTH: usize = 8;
const PROOF_LENGTH: usize = TS_LENGTH + SALT_LENGTH + COUNTER_LENGTH;

/// Attempts between two looks at whether the work is still wanted: less than a
/// millisecond.
const ATTEMPTS: u64 = 1024;

impl HashcashAuthPlugin {
    /// The most zero bits that are worked for: about a minute, which is the usual
    /// window. A plugin that demands more still checks, and sends nothing.
    pub const MOST_BITS: u32 = 28;

    /// A plugin that demands, and works for, this many leading zero bits, in the
    /// field `hashcash`, for no audience in particular.
    pub fn new(bits: u32) -> Self {
        Self {
            bits,
            field: "hashcash".to_string(),
            audience: Vec::new(),
            spent: Mutex::default(),
        }
    }

    /// The same with another field for the proof. Two layers of one message
    /// need different ones.
    #[must_use]
    pub fn field(mut self, name: &str) -> Self {
        self.field = name.to_string();
        self
    }

    /// The same for work that counts only here, and not at others that demand
    /// some: both ends must name the same audience.
    #[must_use]
    pub fn audience(mut self, name: impl AsRef<[u8]>) -> Self {
        self.audience = name.as_ref().to_vec();
        self
    }

    /// The same with this memory of proofs that have been spent: its window and
    /// its capacity.
    #[must_use]
    pub fn memory(mut self, memory: ReplayMemory) -> Self {
        self.spent = Mutex::new(memory);
        self
    }

    /// How many proofs are remembered as spent.
    pub fn remembered(&self) -> usize {
        self.lock().len()
    }

    /// How many messages with proofs have been refused for their time, or because
    /// the proof had been spent.
    pub fn refusals(&self) -> Refusals {
        self.lock().refusals()
    }

    fn lock(&self) -> MutexGuard<'_, ReplayMemory> {
        // What it holds is whole between any two calls.
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of all that a proof is bound to, but for the number.
    fn bound(&self, envelope: &Envelope, ts: &[u8], salt: &[u8]) -> Sha256 {
        let audience = self.audience.len() as u64;
        Sha256::new()
            .chain_update(b"netaio hashcash 1")
            .chain_update([envelope.message_type.code()])
            .chain_update(ts)
            .chain_update(salt)
            .chain_update(audience.to_be_bytes())
            .chain_update(&self.audience)
            .chain_update(&envelope.body)
    }

    /// Looks for a number that makes enough zeros.
    fn work(
        &self,
        bound: &Sha256,
        cancelled: &AtomicBool,
    ) -> Result<[u8; COUNTER_LENGTH], PluginError> {
        if self.bits > Self::MOST_BITS {
            let most = Self::MOST_BITS;
            let bits = self.bits;
            let text = alloc::format!("{bits} bits of work, where {most} is most");
            return Err(PluginError::Other(text));
        }
        // Not to find one among so many takes more luck than there is.
        let most = 64_u64 << self.bits;
        for counter in 0..most {
            if counter % ATTEMPTS == 0 && cancelled.load(Ordering::Relaxed) {
                return Err(PluginError::Cancelled);
            }
            let counter = counter.to_be_bytes();
            if zero_bits(bound.clone(), &counter) >= self.bits {
                return Ok(counter);
            }
        }
        Err(PluginError::Cancelled)
    }

    fn bad_field(&self) -> AuthError {
        AuthError::BadField {
            field: self.field.clone(),
        }
    }
}

/// How many zero bits a hash begins with, with this number at its end.
fn zero_bits(bound: Sha256, counter: &[u8]) -> u32 {
    let hash: [u8; 32] = bound.chain_update(counter).finalize().into();
    let mut zeros = 0;
    for byte in hash {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros
}

/// Whether a message of this type asks something.
fn asks(kind: MessageType) -> bool {
    use MessageType as T;
    kind.is_custom()
        || matches!(
            kind,
            T::REQUEST_URI
                | T::CREATE_URI
                | T::UPDATE_URI
                | T::DELETE_URI
                | T::SUBSCRIBE_URI
                | T::PUBLISH_URI
        )
}

impl AuthPlugin for HashcashAuthPlugin {
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
        if !asks(envelope.message_type) {
            return Ok(());
        }
        // Four bytes last until 2106; then the time starts over.
        let made = context.unix_time as u32;
        let ts = made.to_be_bytes();
        let salt: [u8; SALT_LENGTH] = context.random.bytes();
        let bound = self.bound(envelope, &ts, &salt);
        let counter = self.work(&bound, cancelled)?;
        // Nobody is to spend it here.
        self.lock().note_own(context.unix_time, made, &salt);
        let proof = [&ts[..], &salt, &counter].concat();
        envelope
            .fields
            .set_bytes(&self.field, &proof)
            .map_err(|_| PluginError::FieldsTooLong)
    }

    fn check(
        &self,
        envelope: &Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), AuthError> {
        if !asks(envelope.message_type) {
            return Ok(());
        }
        let Some(proof) = envelope.fields.get(&self.field) else {
            let field = self.field.clone();
            return Err(AuthError::MissingField { field });
        };
        let proof: &[u8; PROOF_LENGTH] = proof
            .as_bytes()
            .and_then(|proof| proof.try_into().ok())
            .ok_or_else(|| self.bad_field())?;
        let cut = || proof.split_first_chunk::<TS_LENGTH>();
        let (ts, rest) = cut().ok_or_else(|| self.bad_field())?;
        let (salt, counter) = rest
            .split_first_chunk::<SALT_LENGTH>()
            .ok_or_else(|| self.bad_field())?;
        let (now, made) = (context.unix_time, u32::from_be_bytes(*ts));
        self.lock().check_time(now, made)?;
        let bound = self.bound(envelope, ts, salt);
        if zero_bits(bound, counter) < self.bits {
            return Err(AuthError::Other("too little work".to_string()));
        }
        self.lock().accept(now, made, salt)
    }

    fn error_text(&self) -> &str {
        "proof of work needed"
    }

    /// Anybody can do the work.
    fn authenticates(&self) -> bool {
        false
    }

    fn is_costly(&self, message_type: MessageType) -> bool {
        asks(message_type)
    }
}

impl fmt::Debug for HashcashAuthPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashcashAuthPlugin")
            .field("bits", &self.bits)
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}
