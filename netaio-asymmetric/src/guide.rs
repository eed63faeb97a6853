//! Guide: which plugin against what, how they go together, and keys.
//!
//! - [`choosing`]: what each plugin protects from, and what none does.
//! - [`combining`]: layers that belong together, in code.
//! - [`keys`]: where keys come from, where they stay, and who may know which.

/// Which plugin against what.
///
/// # In short
///
/// | you want | use |
/// |---|---|
/// | only your own programs to be heard, all with one secret | [`HmacAuthPlugin`] |
/// | contents that nobody else can read, with that secret | [`Sha256StreamCipherPlugin`] beside it, with another key |
/// | to know *which* of several speaks, or that two of three agree | [`TapescriptAuthPlugin`] |
/// | contents that only one recipient can read | [`X25519CipherPlugin`](crate::X25519CipherPlugin) |
/// | anybody to ask, and nobody to ask very often | [`HashcashAuthPlugin`](crate::HashcashAuthPlugin) |
/// | nothing to be done twice, and nothing to come back as its own answer | [`ReplayGuard`] around the auth plugin |
///
/// # What somebody on the way can do
///
/// The wire format decides this, not the implementation: these plugins speak with
/// Python netaio 0.0.9. *Yes* means that it can be done.
///
/// | | HMAC | stream cipher | X25519 | tapescript |
/// |---|---|---|---|---|
/// | read the content | yes | no | no | yes |
/// | change the content | no | yes | no | no |
/// | change the URI | no | yes | yes, unless encrypted | no |
/// | change the message type | yes | yes | yes | yes |
/// | change other auth fields | yes | yes | yes | yes |
/// | deliver a message again | yes | yes | yes | yes |
/// | send a message back to its sender as an answer | yes | yes | yes | yes |
///
/// [`ReplayGuard`] takes away the last two, and with them most of what can be done
/// with the type: a message that has been delivered cannot come again as another
/// type. One that was held back can come late, within the guard's window, and as
/// another type. If it matters what is asked for, say so in the content, which is
/// authenticated, and compare.
///
/// The stream cipher alone is no protection from changes: who knows or guesses
/// what is in a message can change it bit by bit. Never use it without an auth
/// plugin in the same layer; that then covers the ciphertext.
///
/// # What somebody with a key can do
///
/// - With **HMAC** and the **stream cipher**, everybody who can check can also
///   make, and everybody who can write can read. All who have the secret are one.
/// - With **tapescript**, who can check cannot make. A lock that many keys open
///   does not say which it was; a lock for each peer
///   ([`use_peer_lock`](crate::TapescriptAuthPlugin::use_peer_lock)) does.
/// - With **X25519**, the two ends of a pair are one: either could have written
///   what they read. It proves to nobody else who it was.
///
/// # What no plugin does
///
/// - *Who somebody is.* Nothing ties the id in an advertisement to who sends it,
///   and a lock or a public key in a peer's data is as good as the message that
///   brought it. Going by a peer's own lock means: the same one as at first. If
///   that is not enough, check the advertisement with a lock of your own, or
///   add peers by hand.
/// - *Forward secrecy.* Who records messages and gets the key later reads them.
///   Over streams, TLS is what has it; see the example `tls` of `netaio-tokio`.
/// - *Hiding* who speaks to whom, when, how much, and about which type.
/// - *Refusals.* An `AUTH_ERROR` comes without authentication, as Python sends it,
///   and anybody may have made it up: `RequestError::Unauthorized` says so with
///   `verified: false`.
/// - *Cost.* Checking an HMAC is cheap, a signature costs tens of microseconds, and
///   a witness is a program that a stranger has written. Its run is bounded
///   ([`ScriptLimits`](crate::tapescript::ScriptLimits)), a few milliseconds at the
///   most. Where strangers can reach you, let something cheap be checked before:
///   an HMAC, or proof of work.
///
/// # tapescript in particular
///
/// - Body, nonce and timestamp are signed without borders between them. So the
///   plugin takes a nonce of 16 bytes only, unless told to be
///   [`python_compatible`](crate::TapescriptAuthPlugin::python_compatible). Python's own
///   plugin takes any, and can be made to see another content than was signed.
/// - Flags other than
///   [`ALL_SIGNED`](crate::tapescript::SigFlags::ALL_SIGNED) in a lock allow a
///   signature to leave out the body, the nonce or the timestamp. Without the
///   nonce or the timestamp in it, a [`ReplayGuard`] is no good either.
/// - What is signed has 1024 bytes at the most: URI and content have 1002.
///
/// [`HmacAuthPlugin`]: netaio_proto::HmacAuthPlugin
/// [`ReplayGuard`]: netaio_proto::ReplayGuard
/// [`Sha256StreamCipherPlugin`]: netaio_proto::Sha256StreamCipherPlugin
/// [`TapescriptAuthPlugin`]: crate::TapescriptAuthPlugin
pub mod choosing {}

/// Layers that belong together.
///
/// A layer is an auth plugin and a cipher plugin, either of which may be absent.
/// The *outer* one is that of an endpoint and is around everything it says; an
/// *inner* one is that of a route or of a request, for what needs more. On the way
/// out the cipher of a layer comes first, so that the auth plugin covers what the
/// cipher has made.
///
/// # One secret for all
///
/// Two keys, since the plugins know nothing of each other, and a guard:
///
/// ```
/// use netaio_proto::{
///     HmacAuthPlugin, Layers, ReplayGuard, Sha256StreamCipherPlugin,
/// };
///
/// # let (secret, key) = ([1; 32], [2; 32]);
/// let outer = Layers::new()
///     .auth(ReplayGuard::new(HmacAuthPlugin::new(secret)))
///     .cipher(Sha256StreamCipherPlugin::new(key));
/// # drop(outer);
/// ```
///
/// # A key for each, and contents for one
///
/// The outer layer says who may speak at all: each member of a group has a key,
/// and the lock knows all of them. Once a peer is known, its own lock counts. The
/// inner layer encrypts what is for one peer alone:
///
/// ```
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
/// use netaio_asymmetric::{TapescriptAuthPlugin, X25519CipherPlugin};
/// use netaio_proto::wire::packify::Value;
/// use netaio_proto::{DefaultPeerPlugin, Layers, Peer, PeerPlugin, ReplayGuard};
///
/// # let (my_seed, members) = ([7; 32], [[1; 32], [2; 32]].map(|seed| SigningKey::from_seed(&seed).public_key()));
/// let key = SigningKey::from_seed(&my_seed);
/// let all = SigFlags::ALL_SIGNED;
/// let any_member = lock::multisig(&members, 1, all)?;
/// let my_lock = lock::single_signature(&key.public_key(), all);
/// let auth = TapescriptAuthPlugin::new(any_member, key).use_peer_lock();
/// let cipher = X25519CipherPlugin::new(&my_seed);
///
/// // What this endpoint says of itself: its public key, and its lock.
/// let mut data = vec![("lock".into(), Value::Bytes(my_lock.into_bytes()))];
/// if let Value::Dict(keys) = cipher.peer_data() {
///     data.extend(keys);
/// }
/// let data = DefaultPeerPlugin.encode_data(&Value::Dict(data))?;
/// let myself = Peer::new("an id of my own", data);
///
/// let outer = Layers::new().auth(ReplayGuard::new(auth));
/// let inner = Layers::new().cipher(cipher);
/// # drop((myself, outer, inner));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The example `secure_node` is this, whole; `secure_node.py` beside the live tests
/// is the same in Python, and they talk to each other.
///
/// # What a guard does
///
/// ```
/// use bytes::BytesMut;
/// use netaio_asymmetric::TapescriptAuthPlugin;
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
/// use netaio_proto::{
///     AuthError, AuthFields, Context, Envelope, Layers, MessageType, OpenError,
///     Random, ReplayGuard,
/// };
///
/// let end = || {
///     let key = SigningKey::from_seed(&[1; 32]);
///     let lock = lock::single_signature(&key.public_key(), SigFlags::ALL_SIGNED);
///     let auth = TapescriptAuthPlugin::new(lock, key);
///     Layers::new().auth(ReplayGuard::new(auth))
/// };
/// let (sender, receiver) = (end(), end());
/// let mut context = Context {
///     unix_time: 1_800_000_000,
///     random: &mut Random::from_seed([2; 32]),
///     local_peer: None,
///     peer: None,
/// };
/// let mut message = Envelope {
///     message_type: MessageType::REQUEST_URI,
///     fields: AuthFields::new(),
///     body: BytesMut::from(&b"\0\x04echohello"[..]),
/// };
/// sender.seal(&mut message, &mut context)?;
///
/// assert_eq!(receiver.open(&mut message.clone(), &mut context), Ok(()));
/// let again = receiver.open(&mut message.clone(), &mut context);
/// assert_eq!(again, Err(OpenError::Auth(AuthError::Replayed)));
/// let back = sender.open(&mut message, &mut context);
/// assert_eq!(back, Err(OpenError::Auth(AuthError::Reflected)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Work before a witness
///
/// Two auth plugins in one layer, of which the second is asked only about what has
/// passed the first. Here anybody who wants a witness to be run has to work for
/// it. Python netaio has no proof of work, so this is for ends of ours only:
///
/// ```
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
/// use netaio_asymmetric::{HashcashAuthPlugin, TapescriptAuthPlugin};
/// use netaio_proto::{Both, Layers, ReplayGuard};
///
/// # let (key, their_key) = (SigningKey::from_seed(&[1; 32]), [2; 32]);
/// let lock = lock::single_signature(&their_key, SigFlags::ALL_SIGNED);
/// let witness = ReplayGuard::new(TapescriptAuthPlugin::new(lock, key));
/// let work = HashcashAuthPlugin::new(18).audience("example.org:8888");
/// let outer = Layers::new().auth(Both(work, witness));
/// # drop(outer);
/// ```
///
/// # Two auth plugins in one message
///
/// All layers share the auth fields. Two plugins of a kind need a field of their
/// own each for the proof; nonce and timestamp they may share, unless one has a
/// guard and the other none:
///
/// ```
/// use netaio_asymmetric::TapescriptAuthPlugin;
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
/// use netaio_proto::{HmacAuthPlugin, Layers, ReplayGuard};
///
/// # let (secret, admins) = ([1; 32], [[1; 32], [2; 32], [3; 32]].map(|seed| SigningKey::from_seed(&seed).public_key()));
/// # let key = SigningKey::from_seed(&[1; 32]);
/// // Everybody with the secret is heard, cheaply checked.
/// let outer = Layers::new().auth(ReplayGuard::new(HmacAuthPlugin::new(secret)));
/// // Who changes something is one of the administrators.
/// let admin = lock::multisig(&admins, 1, SigFlags::ALL_SIGNED)?;
/// let admin = TapescriptAuthPlugin::new(admin, key)
///     .nonce_field("nonce2")
///     .ts_field("ts2");
/// let guard = ReplayGuard::new(admin).nonce_field("nonce2").ts_field("ts2");
/// let inner = Layers::new().auth(guard);
/// # drop((outer, inner));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod combining {}

/// Keys: where they come from, where they stay, who may know which.
///
/// - A **seed** is 32 bytes from the operating system's source of randomness, or
///   from somewhere as good. A password is none; make one from it with a function
///   that is meant for that, such as Argon2.
/// - One seed for each endpoint. [`SigningKey`] and
///   [`X25519CipherPlugin`](crate::X25519CipherPlugin) may have the same, as in
///   Python. Two endpoints with one seed are one to everybody else.
/// - **Secrets of HMAC and of the stream cipher** are whatever bytes both ends have.
///   Give the two plugins, and each layer, a key of its own.
/// - All plugins wipe their secrets when they are dropped, and none shows them in
///   `Debug`. The array that a seed was read into is yours to wipe.
/// - **Public keys and locks** are no secrets. What matters is that they are the
///   right ones when they arrive: put them into a configuration, or show their hash
///   to somebody who can compare.
///
/// ```
/// use netaio_asymmetric::X25519CipherPlugin;
/// use netaio_asymmetric::tapescript::{SigFlags, SigningKey, lock};
///
/// let mut seed = [0; 32];
/// getrandom::fill(&mut seed)?;
/// let key = SigningKey::from_seed(&seed);
/// let cipher = X25519CipherPlugin::new(&seed);
/// assert_eq!(key.public_key(), cipher.verify_key());
/// // This goes to the others.
/// let lock = lock::single_signature(&key.public_key(), SigFlags::ALL_SIGNED);
/// # drop(lock);
/// # Ok::<(), getrandom::Error>(())
/// ```
///
/// # Letting others speak for a key
///
/// Changing a key everywhere is work; so a key that locks name is best kept away
/// from the network, and another one speaks for it, for a while:
///
/// ```
/// use netaio_asymmetric::TapescriptAuthPlugin;
/// use netaio_asymmetric::tapescript::{
///     Certificate, SigFlags, SigningKey, lock, witness,
/// };
///
/// # let (root, daily) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
/// let all = SigFlags::ALL_SIGNED;
/// let lock = lock::delegate_key(&root.public_key(), all);
/// // Made where the root key is, once a month:
/// let times = 1_800_000_000..1_802_592_000;
/// let certificate = Certificate::sign(&root, daily.public_key(), times, false);
/// // Used where the daily key is:
/// let plugin =
///     TapescriptAuthPlugin::new(lock, daily).witness(move |daily, fields| {
///         Ok(witness::delegate_key(daily, &certificate, fields, all)?)
///     });
/// # drop(plugin);
/// ```
///
/// [`SigningKey`]: crate::tapescript::SigningKey
pub mod keys {}
