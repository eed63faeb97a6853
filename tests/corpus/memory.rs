//! What can be decoded takes memory for what is there, and not for what is
//! announced: whatever the input, at no time more than four times its length
//! and a constant.
//!
//! The constant is what an entry point holds for an input of a few bytes: none
//! where bytes are only checked and copied, the first buffer of a decoder, the
//! tables of an endpoint. The owned tree of a packed value is the one
//! exception, and is bounded by another factor.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use allocation_counter::measure;
use bytes::{Buf as _, BytesMut};
use netaio_fuzz::TARGETS;
use netaio_proto::wire::packify::{Raw, Value, check, pack, unpack};
use netaio_proto::{
    Action, AuthFields, AuthPlugin as _, CipherPlugin as _, Connection, Context,
    DefaultPeerPlugin, EndpointConfig, Envelope, FrameDecoder, HmacAuthPlugin,
    Instant, Message, MessageType, MessageTypes, Node, Peer, PeerManagement,
    PeerPlugin as _, Random, ReplyToken, Role, Router, Sha256StreamCipherPlugin,
};

/// A way in for bytes: its name, the constant, and the way.
type Entry = (&'static str, u64, fn(&[u8]));

const KIB: u64 = 1024;

const ENTRIES: &[Entry] = &[
    ("check", 0, |bytes| _ = check(bytes)),
    ("Raw", 0, |bytes| _ = Raw::new(bytes)),
    ("AuthFields", 0, |bytes| {
        drop(AuthFields::from_packed(bytes))
    }),
    ("auth plugin", KIB, check_hmac),
    ("cipher plugin", KIB, decrypt),
    ("peer plugin", KIB, |bytes| {
        drop(DefaultPeerPlugin.unpack(bytes))
    }),
    ("Message", 0, |bytes| {
        drop(Message::decode(bytes, &MessageTypes::default()));
    }),
    ("FrameDecoder", 8 * KIB, decode_stream),
    ("Connection", 16 * KIB, receive),
    ("Node", 16 * KIB, receive_datagram),
];

/// The tree of a packed value takes more: 16 times as much for a list of nothing,
/// and while equal items are looked for in a set or a dict up to this.
const TREE_FACTOR: u64 = 48;

#[test]
fn r01_r24_what_is_decoded_takes_four_times_its_length_at_most() {
    for (input, origin) in inputs() {
        let length = input.len() as u64;
        for (name, constant, decode) in ENTRIES {
            let held = measure(|| decode(&input)).bytes_max;
            let most = 4 * length + constant;
            assert!(held <= most, "{name}: {held} > {most} bytes for {origin}");
        }
    }
}

#[test]
fn r01_a_tree_takes_so_many_times_what_it_is_made_of() {
    let mut most = 0;
    for (input, origin) in inputs() {
        let length = input.len() as u64;
        let held = measure(|| drop(unpack(&input))).bytes_max;
        let allowed = TREE_FACTOR * length + KIB;
        assert!(held <= allowed, "{held} > {allowed} bytes for {origin}");
        most = most.max(held.saturating_sub(KIB) / length.max(1));
    }
    // Should it ever take less, the factor is to be changed.
    assert!(most > TREE_FACTOR / 2, "{most}");
}

/// The corpora, the vectors, and what is made to take much memory.
fn inputs() -> Vec<(Vec<u8>, String)> {
    let mut inputs = bombs();
    for target in TARGETS {
        for path in super::corpus(target.name) {
            let input = fs::read(&path).expect("an input");
            inputs.push((input, path.display().to_string()));
        }
        inputs.extend(super::seeds::of(target.name));
    }
    inputs
}

/// Packed values that have many items for their length, by themselves and as
/// sections of frames.
fn bombs() -> Vec<(Vec<u8>, String)> {
    let many = |item: fn(u32) -> Value, count| (0..count).map(item).collect();
    let pair = |n: u32| (Value::from(n), Value::None);
    let deep = |value, _| Value::List(vec![value]);
    let values = [
        ("nothing", Value::List(many(|_| Value::None, 30_000))),
        (
            "empty lists",
            Value::List(many(|_| Value::List(vec![]), 15_000)),
        ),
        ("empty texts", Value::Tuple(many(|_| "".into(), 20_000))),
        ("numbers", Value::Set(many(Value::from, 12_000))),
        ("short numbers", Value::Set(many(Value::from, 256))),
        ("floats", Value::Set(many(|n| f64::from(n).into(), 5_000))),
        ("decimals", Value::Set(many(decimal, 5_000))),
        (
            "pairs",
            Value::Set(many(|n| Value::Tuple(vec![n.into()]), 5_000)),
        ),
        ("entries", Value::Dict((0..4_000).map(pair).collect())),
        ("bytes", Value::Bytes(vec![0; 65_000])),
        ("text", Value::Str("x".repeat(65_000))),
        ("depth", (0..31).fold(Value::None, deep)),
        ("deep items", Value::Set(many(deep_item, 400))),
    ];
    let mut bombs = vec![(Vec::new(), "nothing at all".to_owned())];
    for (name, value) in values {
        let packed = pack(&value).expect("a value");
        let peer = DefaultPeerPlugin.unpack(&packed);
        assert!(peer.is_err(), "{name}");
        let message = Message::new(MessageType::ADVERTISE_PEER, "app", &packed);
        let message = message.expect("it fits");
        let fields = AuthFields::from_packed(&packed).expect("it fits");
        let full = message
            .clone()
            .with_fields(fields)
            .encode()
            .expect("it fits");
        bombs.push((packed, format!("a lot of {name}")));
        bombs.push((full, format!("a lot of {name}, twice in a frame")));
        let stream = message.encode().expect("it fits").repeat(10);
        bombs.push((stream, format!("a lot of {name}, in ten frames")));
    }
    for (name, packed) in [
        ("a list of 4 G", &b"\xca\xc0\xff\xff\xff\xff\x01\x00"[..]),
        ("a dict of 4 G", b"\xcd\xc0\xff\xff\xff\xff\x01\x00"),
        ("4 GB of bytes", b"\xc1\xff\xff\xff\xffa"),
        (
            "lists of nothing",
            &[b"\x8a\x40\xff\x00", &[0; 0xff00][..]].concat(),
        ),
        ("nested lists", &b"\x4a\x40\x01\xff".repeat(16_000)),
    ] {
        assert!(check(packed).is_err(), "{name}");
        bombs.push((packed.to_vec(), name.to_owned()));
    }
    let header = [0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    bombs.push((header.to_vec(), "a header that announces a lot".to_owned()));
    let short = Message::new(MessageType::REQUEST_URI, "a", "").expect("short");
    let short = short.encode().expect("short").repeat(10_000);
    bombs.push((short, "short frames".to_owned()));
    bombs
}

/// A number in as many tuples as there may be.
fn deep_item(n: u32) -> Value {
    (0..31).fold(n.into(), |value, _| Value::Tuple(vec![value]))
}

fn decimal(n: u32) -> Value {
    Value::Decimal(format!("{n}.5").parse().expect("a number"))
}

/// A message whose auth section is the bytes, and its body as well.
fn envelope(bytes: &[u8]) -> Option<Envelope> {
    Some(Envelope {
        message_type: MessageType::REQUEST_URI,
        fields: AuthFields::from_packed(bytes).ok()?,
        body: BytesMut::from(bytes),
    })
}

fn with_context<T>(work: impl FnOnce(&mut Context<'_>) -> T) -> T {
    let mut random = Random::from_seed([1; 32]);
    work(&mut Context {
        unix_time: 0,
        random: &mut random,
        local_peer: None,
        peer: None,
    })
}

fn check_hmac(bytes: &[u8]) {
    if let Some(envelope) = envelope(bytes) {
        let plugin = HmacAuthPlugin::new("test");
        let _ = with_context(|context| plugin.check(&envelope, context));
    }
}

fn decrypt(bytes: &[u8]) {
    if let Some(mut envelope) = envelope(bytes) {
        let plugin = Sha256StreamCipherPlugin::new("k");
        let _ = with_context(|context| plugin.decrypt(&mut envelope, context));
    }
}

/// Gives the bytes to a decoder as a socket would, and takes the frames.
fn decode_stream(bytes: &[u8]) {
    let types = MessageTypes::default();
    let mut decoder = FrameDecoder::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let room = decoder.recv_buffer();
        let count = room.len().min(rest.len());
        room[..count].copy_from_slice(&rest[..count]);
        decoder.received(count);
        rest = &rest[count..];
        while let Some(frame) = decoder.next_frame(&types) {
            drop(frame);
        }
    }
}

/// Gives the bytes to a connection as a socket would, takes its actions and
/// writes what it says.
fn receive(bytes: &[u8]) {
    let now = Instant::EPOCH;
    let from = SocketAddr::from(([192, 0, 2, 1], 1));
    let config = Arc::new(EndpointConfig {
        role: Role::Server,
        ..EndpointConfig::default()
    });
    let router = Arc::new(Router::new());
    let mut connection = Connection::new(config, router, from, [1; 32], now);
    let mut rest = bytes;
    while !rest.is_empty() && connection.wants_read() {
        let room = connection.recv_buffer();
        let count = room.len().min(rest.len());
        room[..count].copy_from_slice(&rest[..count]);
        connection.handle_received(now, count);
        rest = &rest[count..];
        while let Some(action) = connection.poll_action() {
            answer(action, |token| connection.no_reply(token));
        }
        let outgoing = connection.outgoing();
        outgoing.advance(outgoing.remaining());
    }
}

/// Gives the bytes to a node as one datagram, and takes its actions.
fn receive_datagram(bytes: &[u8]) {
    let now = Instant::EPOCH;
    let from = SocketAddr::from(([192, 0, 2, 1], 1));
    let router = Arc::new(Router::new());
    let config = Arc::new(EndpointConfig {
        local_peer: Some(Arc::new(Peer::new("me", "mine"))),
        ..EndpointConfig::default()
    });
    let mut node = Node::new(config, router, [1; 32], now);
    node.manage_peers(now, PeerManagement::new("app"))
        .expect("it has an id");
    node.handle_datagram(now, from, bytes);
    while let Some(action) = node.poll_action() {
        answer(action, |token| node.no_reply(token));
    }
    while node.poll_datagram().is_some() {}
}

fn answer(action: Action, no_reply: impl FnOnce(ReplyToken)) {
    let token = match action {
        Action::Dispatch { reply, .. } | Action::Unrouted { reply, .. } => reply,
        Action::AuthFailed(failed) => failed.reply,
        _ => None,
    };
    token.map(no_reply);
}
