//! Encryption between two key pairs, byte-compatible with Python netaio's
//! `X25519CipherPlugin`.

#[cfg(feature = "std")]
mod known_boxes;
mod secret_box;

use alloc::boxed::Box;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
#[cfg(feature = "std")]
use std::sync::{Mutex, PoisonError};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ed25519_dalek::SigningKey;
use netaio_proto::wire::MAX_URI_AND_CONTENT;
use netaio_proto::wire::packify::{Raw, Value, pack};
use netaio_proto::{
    CipherPlugin, Context, Envelope, Peer, PeerPlugin, PluginError, TooLong,
};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

#[cfg(feature = "std")]
use self::known_boxes::KnownBoxes;
use self::secret_box::{KEY_LENGTH, NONCE_LENGTH, SecretBox, TAG_LENGTH};

const URI_LENGTH: usize = 2;
/// Bytes by which a ciphertext is longer than its text.
const OVERHEAD: usize = NONCE_LENGTH + TAG_LENGTH;

/// Encrypts each message for its recipient alone, with a box between its key
/// pair and this endpoint's.
///
/// Whoever is at the other end must be a known [`Peer`] whose data is a dict
/// with its public key as `pubkey`: peers that manage each other say so in their
/// advertisements, with [`peer`](Self::peer); others are added by hand
/// (`add_peer`). To or from anybody else, messages are refused with
/// [`PluginError::UnknownPeer`].
///
/// ```
/// use netaio_asymmetric::X25519CipherPlugin;
/// use netaio_proto::Layers;
///
/// let seed = [7; 32]; // 32 secret bytes, of your own
/// let plugin = X25519CipherPlugin::new(&seed);
/// let myself = plugin.peer("an id of my own");
/// let inner = Layers::new().cipher(plugin);
/// # drop((myself, inner));
/// ```
///
/// # Which layer
///
/// As an inner layer, of routes and of requests, it works once the peers have
/// found each other; leave the URI clear, which is the default, or messages
/// cannot be routed by it. As the outer layer it covers everything, also the
/// advertisements that would make a peer known. So each peer must be added by
/// hand before it is heard of: at a node by its address, at a client before it
/// connects, and at a server, which cannot know where clients come from, when
/// they have. Python's server drops unknown peers as well. Multicasts have no
/// recipient, and cannot be sent through it.
///
/// # What it does not protect
///
/// The key is the same in both directions, and neither the message type nor, by
/// default, the URI is authenticated: what one side has sent can be sent back to
/// it as an answer, and again. Put an auth plugin beside it, with a
/// `ReplayGuard` around that. That a public key belongs to a peer is only as
/// sure as how it came here: nothing ties an advertisement to its sender.
///
/// # Cost
///
/// An agreement on a key, some 50 µs, for each peer, not for each message: the
/// keys of the last 512 to 1,024 peers are kept, and wiped when they or the
/// plugin go. Without the feature `std` there is no lock to keep them behind, and
/// each message costs it.
pub struct X25519CipherPlugin {
    secret: StaticSecret,
    public_key: [u8; KEY_LENGTH],
    verify_key: [u8; KEY_LENGTH],
    encrypt_uri: bool,
    /// What parses the data of peers, if not packify.
    peer_plugin: Option<Box<dyn PeerPlugin>>,
    #[cfg(feature = "std")]
    known: Mutex<KnownBoxes>,
}

impl X25519CipherPlugin {
    /// A plugin with the key pair that belongs to this seed, which leaves the
    /// URI clear. Python's plugin derives the same from it.
    pub fn new(seed: &[u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(seed);
        let secret = Zeroizing::new(signing.to_scalar_bytes());
        let secret = StaticSecret::from(*secret);
        Self {
            public_key: PublicKey::from(&secret).to_bytes(),
            secret,
            verify_key: signing.verifying_key().to_bytes(),
            encrypt_uri: false,
            peer_plugin: None,
            #[cfg(feature = "std")]
            known: Mutex::default(),
        }
    }

    /// Whether the URI is hidden as well as the content, and so authenticated.
    /// An inner layer must leave it clear if messages are to be routed by it.
    #[must_use]
    pub fn encrypt_uri(mut self, encrypt: bool) -> Self {
        self.encrypt_uri = encrypt;
        self
    }

    /// The same for peers whose data this plugin parses, and not packify.
    #[must_use]
    pub fn peer_plugin(mut self, plugin: impl PeerPlugin + 'static) -> Self {
        self.peer_plugin = Some(Box::new(plugin));
        self
    }

    /// This endpoint's public key, which is no secret: what others encrypt for.
    pub fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// The Ed25519 key that verifies signatures made with the same seed, which
    /// is no secret.
    pub fn verify_key(&self) -> [u8; 32] {
        self.verify_key
    }

    /// What this endpoint has to say of itself for others to write to it: a dict
    /// with `pubkey` and `vkey`. Add what else there is to say.
    pub fn peer_data(&self) -> Value {
        let entry = |name: &str, key: [u8; KEY_LENGTH]| {
            (Value::from(name), Value::Bytes(key.to_vec()))
        };
        Value::Dict(vec![
            entry(PUBLIC_KEY, self.public_key),
            entry("vkey", self.verify_key),
        ])
    }

    /// This endpoint as a peer, with [`peer_data`](Self::peer_data) packed: its
    /// `local_peer`, and what others may add by hand.
    pub fn peer(&self, id: impl Into<Bytes>) -> Peer {
        // Two short entries always fit.
        let data = pack(&self.peer_data()).unwrap_or_default();
        Peer::new(id, data)
    }

    /// The box between this endpoint and a peer.
    fn box_with(&self, peer: Option<&Peer>) -> Result<Arc<SecretBox>, PluginError> {
        let peer = peer.ok_or(PluginError::UnknownPeer)?;
        let data = peer.data.as_deref().ok_or(PluginError::UnknownPeer)?;
        let key = match &self.peer_plugin {
            None => packed_key(data),
            Some(plugin) => parsed_key(&plugin.parse_data(data)?),
        };
        let key = key.ok_or_else(|| other("the peer has no public key"))?;
        #[cfg(feature = "std")]
        if let Some(known) = self.known().get(&key) {
            return Ok(known);
        }
        let new = SecretBox::new(&self.secret, key);
        let new = new.ok_or_else(|| other("the peer's public key is none"))?;
        let new = Arc::new(new);
        #[cfg(feature = "std")]
        self.known().insert(key, Arc::clone(&new));
        Ok(new)
    }

    #[cfg(feature = "std")]
    fn known(&self) -> std::sync::MutexGuard<'_, KnownBoxes> {
        // What it holds is whole between any two calls.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the public key in a peer's data.
const PUBLIC_KEY: &str = "pubkey";

/// The public key in packed data.
fn packed_key(data: &[u8]) -> Option<[u8; KEY_LENGTH]> {
    let raw = Raw::new(data).ok()?;
    let (_, key) = raw
        .entries()?
        .filter(|(name, _)| name.as_str() == Some(PUBLIC_KEY))
        .last()?;
    key.as_bytes()?.try_into().ok()
}

/// The public key in parsed data.
fn parsed_key(data: &Value) -> Option<[u8; KEY_LENGTH]> {
    let Value::Dict(entries) = data else {
        return None;
    };
    let name = Value::from(PUBLIC_KEY);
    match entries.iter().rfind(|(key, _)| *key == name)? {
        (_, Value::Bytes(key)) => key.as_slice().try_into().ok(),
        _ => None,
    }
}

impl CipherPlugin for X25519CipherPlugin {
    fn encrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let key = self.box_with(context.peer)?;
        let extra = if self.encrypt_uri { URI_LENGTH } else { 0 };
        check_length(&envelope.body, MAX_URI_AND_CONTENT - OVERHEAD - extra)?;
        // What stays clear, and what is hidden.
        let clear = match self.encrypt_uri {
            true => 0,
            false => uri_end(&envelope.body)?,
        };
        let length = envelope.body.len() + OVERHEAD;
        let mut body = BytesMut::with_capacity(extra + length);
        if self.encrypt_uri {
            // The ciphertext is cut anywhere into what looks like a URI and a
            // content.
            let places = length.saturating_sub(1) as u64;
            body.put_u16(context.random.below(places).saturating_add(1) as u16);
        }
        let nonce: [u8; NONCE_LENGTH] = context.random.bytes();
        let (clear, text) = split(&mut envelope.body, clear);
        let tag = key.seal(&nonce, text);
        for part in [&*clear, &nonce, &tag, &*text] {
            body.put_slice(part);
        }
        envelope.body = body;
        Ok(())
    }

    fn decrypt(
        &self,
        envelope: &mut Envelope,
        context: &mut Context<'_>,
    ) -> Result<(), PluginError> {
        let key = self.box_with(context.peer)?;
        let clear = match self.encrypt_uri {
            true => URI_LENGTH,
            false => uri_end(&envelope.body)?,
        };
        let (clear, sealed) = split(&mut envelope.body, clear);
        let short = || other("the body is too short to be encrypted");
        let (nonce, sealed) = sealed
            .split_first_chunk_mut::<NONCE_LENGTH>()
            .ok_or_else(short)?;
        let (tag, text) = sealed
            .split_first_chunk_mut::<TAG_LENGTH>()
            .ok_or_else(short)?;
        let most = MAX_URI_AND_CONTENT + URI_LENGTH;
        let kept = if self.encrypt_uri { 0 } else { clear.len() };
        if kept + text.len() > most {
            let length = kept + text.len() - URI_LENGTH;
            let limit = MAX_URI_AND_CONTENT;
            return Err(TooLong { length, limit }.into());
        }
        key.open(nonce, tag, text)
            .map_err(|_| other("the ciphertext is not authentic"))?;
        if self.encrypt_uri {
            envelope.body.advance(URI_LENGTH + OVERHEAD);
        } else {
            // The clear part, which is the shorter one as a rule, moves up.
            let clear = Vec::from(&*clear);
            envelope.body.advance(OVERHEAD);
            let (to, _) = split(&mut envelope.body, clear.len());
            to.copy_from_slice(&clear);
        }
        Ok(())
    }

    fn is_peer_specific(&self) -> bool {
        true
    }
}

/// Whether a body section holds no more URI and content than `limit`.
fn check_length(body: &[u8], limit: usize) -> Result<(), TooLong> {
    let length = body.len().saturating_sub(URI_LENGTH);
    if length <= limit {
        Ok(())
    } else {
        Err(TooLong { length, limit })
    }
}

/// Where the URI of a body section ends.
fn uri_end(body: &[u8]) -> Result<usize, PluginError> {
    let length = body.first_chunk::<URI_LENGTH>();
    let end = length.map(|l| URI_LENGTH + usize::from(u16::from_be_bytes(*l)));
    end.filter(|end| *end <= body.len())
        .ok_or_else(|| other("the body is shorter than its URI length says"))
}

/// `bytes` before and from `at`; everything before if there are fewer.
fn split(bytes: &mut BytesMut, at: usize) -> (&mut [u8], &mut [u8]) {
    let at = at.min(bytes.len());
    bytes.split_at_mut(at)
}

fn other(text: &str) -> PluginError {
    PluginError::Other(text.to_string())
}

impl fmt::Debug for X25519CipherPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X25519CipherPlugin")
            .field("encrypt_uri", &self.encrypt_uri)
            .finish_non_exhaustive()
    }
}
