//! Both layers of a message, made of any of the bundled plugins, on an
//! endpoint's way in: what was sealed is dispatched as it was, and what was
//! changed since is not, as far as the plugins protect it. Beside that come bytes
//! of no meaning.

use std::net::SocketAddr;
use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Buf as _;
use netaio_proto::{
    Action, Compatibility, Connection, Context, EndpointConfig, HandlerId,
    HmacAuthPlugin, Instant, Layers, Message, MessageType, NullAuthPlugin,
    NullCipherPlugin, Random, Role, Router, Sha256StreamCipherPlugin,
};

/// The layers of a server, a message for it, and what becomes of that on its
/// way.
#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    outer: Plugins,
    inner: Plugins,
    /// As Python, where that differs.
    python: bool,
    seed: u8,
    kind: u8,
    /// Which byte of the frame is changed, and how.
    place: u16,
    change: u8,
    content: &'a [u8],
    /// What comes before it.
    junk: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Plugins {
    auth: Auth,
    cipher: Cipher,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
enum Auth {
    None,
    Null,
    Hmac,
    /// The same, taking all that Python's takes.
    LenientHmac,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Cipher {
    None,
    Null,
    Stream,
    /// The same, with the URI in the clear.
    StreamOfContents,
}

const HANDLER: HandlerId = HandlerId(1);
const URI: &str = "asked";

/// Sends the message to the server, and looks at what it makes of it.
pub fn run(input: Input<'_>) {
    let kinds = MessageType::STANDARD;
    let kind = kinds[usize::from(input.kind) % kinds.len()];
    let Ok(message) = Message::new(kind, URI, input.content) else {
        return;
    };
    // By an inner layer that hides the URI nothing can be routed.
    let inner = layers(input.inner, "2", false);
    let outer = layers(input.outer, "", true);
    let Some(mut frame) = sealed(&message, [&inner, &outer], input.seed) else {
        return;
    };
    let mut server = server(&input, outer, inner);
    server.handle_input(Instant::EPOCH, input.junk);
    drain(&mut server, |_| {});
    if server.is_closed() || !at_a_border(&server) {
        return;
    }
    let place = usize::from(input.place) % frame.len();
    frame[place] ^= input.change;
    server.handle_input(Instant::EPOCH, &frame);
    let mut dispatched = Vec::new();
    drain(&mut server, |message| dispatched.push(message));
    assert!(dispatched.len() <= 1);
    let same = |m: &Message| {
        m.body() == message.body() && m.message_type() == message.message_type()
    };
    if input.change == 0 {
        let [came] = &dispatched[..] else {
            panic!("{} were dispatched", dispatched.len());
        };
        assert!(same(came));
    } else if is_hmac(input.outer.auth) || is_hmac(input.inner.auth) {
        // Neither the type nor fields of others are covered; the body is, unless
        // an iv was changed that no outer code covers.
        let iv = !matches!(input.inner.cipher, Cipher::None | Cipher::Null)
            || !matches!(input.outer.cipher, Cipher::None | Cipher::Null);
        for came in &dispatched {
            assert!(iv || came.body() == message.body());
        }
    }
}

/// Whether all that came has been taken.
fn at_a_border(server: &Connection) -> bool {
    format!("{server:?}").contains("buffered: 0")
}

/// Takes all actions and answers them; `dispatched` is given what came for the
/// handler.
fn drain(server: &mut Connection, mut dispatched: impl FnMut(Message)) {
    while let Some(action) = server.poll_action() {
        let (token, reply) = match action {
            Action::Dispatch {
                handler,
                message,
                reply,
                ..
            } => {
                assert_eq!(handler, HANDLER);
                let answer = message.respond(message.content());
                dispatched(message);
                (reply, answer.ok())
            }
            Action::Unrouted { reply, .. } => (reply, None),
            Action::AuthFailed(failed) => (failed.reply, failed.default_reply),
            _ => (None, None),
        };
        match (token, reply) {
            (Some(token), Some(reply)) => {
                let _ = server.reply(Instant::EPOCH, token, reply);
            }
            (Some(token), None) => server.no_reply(token),
            (None, _) => {}
        }
    }
    assert_eq!(server.in_flight(), 0);
    let outgoing = server.outgoing();
    outgoing.advance(outgoing.remaining());
}

fn server(input: &Input<'_>, outer: Layers, inner: Layers) -> Connection {
    let mut config = EndpointConfig {
        role: Role::Server,
        layers: outer,
        ..EndpointConfig::default()
    };
    if input.python {
        config.compatibility = Compatibility::Python;
    }
    let mut router = Router::new();
    for kind in MessageType::STANDARD {
        router.insert((*kind, URI), HANDLER, inner.clone());
    }
    let from = SocketAddr::from(([192, 0, 2, 1], 1));
    let (config, router) = (Arc::new(config), Arc::new(router));
    Connection::new(config, router, from, [2; 32], Instant::EPOCH)
}

fn layers(plugins: Plugins, suffix: &str, whole: bool) -> Layers {
    let hmac = HmacAuthPlugin::new("secret").hmac_field(&format!("hmac{suffix}"));
    let cipher = |whole| {
        Sha256StreamCipherPlugin::new("key")
            .iv_field(&format!("iv{suffix}"))
            .encrypt_uri(whole)
    };
    let layers = match plugins.auth {
        Auth::None => Layers::new(),
        Auth::Null => Layers::new().auth(NullAuthPlugin),
        Auth::Hmac => Layers::new().auth(hmac),
        Auth::LenientHmac => Layers::new().auth(hmac.python_compatible()),
    };
    match plugins.cipher {
        Cipher::None => layers,
        Cipher::Null => layers.cipher(NullCipherPlugin),
        Cipher::Stream => layers.cipher(cipher(whole)),
        Cipher::StreamOfContents => layers.cipher(cipher(false)),
    }
}

fn is_hmac(auth: Auth) -> bool {
    matches!(auth, Auth::Hmac | Auth::LenientHmac)
}

/// The message as it is on the wire, unless it is too long to be sealed.
fn sealed(message: &Message, layers: [&Layers; 2], seed: u8) -> Option<Vec<u8>> {
    let mut random = Random::from_seed([seed; 32]);
    let mut context = Context {
        unix_time: 1_700_000_000,
        random: &mut random,
        local_peer: None,
        peer: None,
    };
    let mut envelope = message.clone().into_envelope();
    for layer in layers {
        layer.seal(&mut envelope, &mut context).ok()?;
    }
    envelope.into_message()?.encode().ok()
}
