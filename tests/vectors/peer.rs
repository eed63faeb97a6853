//! Peers, what they say of themselves, and the messages that say it, against
//! the golden vectors.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use netaio_proto::{
    Action, AuthFields, AuthPlugin as _, Datagram, DefaultPeerPlugin,
    EndpointConfig, HmacAuthPlugin, Instant, Layers, LossReason, Message,
    MessageType, MessageTypes, Node, Peer, PeerEvent, PeerManagement,
    PeerPlugin as _, PluginError,
};
use netaio_tests::vectors::{bytes, text, to_hex, value};
use serde_json::Value;

use crate::notation::{is_same, message_type, raised, truth, with_context};
use crate::section::{Section, load_with};

const ENCODE_DATA: Section = Section {
    name: "encode_data",
    count: 9,
    columns: &["data", "encoded", "parsed"],
};
const PACK: Section = Section {
    name: "pack",
    count: 24,
    columns: &[
        "peer_id",
        "data",
        "packed",
        "unpacked_id",
        "unpacked_data",
        "unpacked_addrs",
        "validate",
    ],
};
const UNPACK_ODD: Section = Section {
    name: "unpack_odd",
    count: 13,
    columns: &["packed", "error", "id", "data", "advertise"],
};
const MESSAGES: Section = Section {
    name: "messages",
    count: 12,
    columns: &[
        "type",
        "app_id",
        "peer_id",
        "peer_data",
        "message",
        "hmac_secret",
    ],
};

/// What Python unpacks, only to fail on it later, and we do not: an id or data
/// that is not bytes.
const REFUSED_ON_PURPOSE: [&str; 4] = [
    "41026162",
    "43026162",
    "4c400202034405410164",
    "4c400203054101614303737472",
];

fn file() -> Value {
    let sections = [ENCODE_DATA, PACK, UNPACK_ODD, MESSAGES];
    load_with("peer", &sections, &[])
}

#[test]
fn a_peers_data_is_packed_and_parsed_as_in_python() {
    ENCODE_DATA.each(&file(), |case| {
        let packed = DefaultPeerPlugin.encode_data(&value(&case["data"]));
        let packed = packed.expect("data that can be packed");
        assert_eq!(to_hex(&packed), text(case, "encoded"));
        let parsed = DefaultPeerPlugin.parse_data(&packed).expect("own data");
        assert!(is_same(&parsed, &value(&case["parsed"])), "{case}");
    });
}

#[test]
fn a_peer_is_packed_and_unpacked_as_in_python() {
    PACK.each(&file(), |case| {
        let peer = peer(&case["peer_id"], &case["data"]);
        let packed = DefaultPeerPlugin.pack(&peer).expect("a short peer");
        assert_eq!(to_hex(&packed), text(case, "packed"));
        let unpacked = DefaultPeerPlugin.unpack(&packed).expect("own peer");
        let expected = self::peer(&case["unpacked_id"], &case["unpacked_data"]);
        assert_eq!(unpacked, expected, "{case}");
        assert_eq!(unpacked, peer, "{case}");
        // A peer without an id is nobody, and no address is ever packed.
        assert_eq!(peer.id.is_some(), truth(case, "validate"), "{case}");
        assert_eq!(case["unpacked_addrs"], 0, "{case}");
    });
}

#[test]
fn odd_peers_are_unpacked_or_refused_as_in_python() {
    let mut deviating = Vec::new();
    UNPACK_ODD.each(&file(), |case| {
        let packed = text(case, "packed");
        let unpacked = DefaultPeerPlugin.unpack(&bytes(&case["packed"]));
        assert_eq!(advertised(&unpacked), safe_outcome(case), "{packed}");
        match unpacked {
            Ok(peer) => {
                let parts = [peer.id, peer.data].map(packable);
                let expected = [&case["id"], &case["data"]].map(value);
                assert_eq!(parts, expected, "{packed}");
            }
            Err(error) => {
                assert!(matches!(error, PluginError::Other(_)), "{error:?}");
                if !raised(case) {
                    deviating.push(packed.to_owned());
                }
            }
        }
    });
    assert_eq!(deviating, REFUSED_ON_PURPOSE);
}

#[test]
fn the_messages_of_peers_are_pythons() {
    let mut authenticated = 0;
    MESSAGES.each(&file(), |case| {
        let mut fields = AuthFields::new();
        let secret = case["hmac_secret"].as_str();
        if secret.is_some() {
            authenticated += 1;
            fields = nonce_and_time(case);
        }
        let peer = peer(&case["peer_id"], &case["peer_data"]);
        let content = DefaultPeerPlugin.pack(&peer).expect("a short peer");
        let app_id = bytes(&case["app_id"]);
        let message = Message::new(message_type(&case["type"]), app_id, content);
        let message = message.expect("a short message").with_fields(fields);
        let message = match secret {
            Some(secret) => authenticate(secret, message),
            None => message,
        };
        let encoded = message.encode().expect("a short message");
        assert_eq!(to_hex(&encoded), text(case, "message"));
    });
    assert_eq!(authenticated, 6);
}

#[test]
fn the_messages_of_pythons_peers_are_understood() {
    MESSAGES.each(&file(), |case| {
        let message = received(case);
        assert_eq!(message.message_type(), message_type(&case["type"]));
        assert_eq!(message.uri(), bytes(&case["app_id"]));
        let sender = DefaultPeerPlugin.unpack(message.content());
        let expected = peer(&case["peer_id"], &case["peer_data"]);
        assert_eq!(sender, Ok(expected), "{case}");
        if let Some(secret) = case["hmac_secret"].as_str() {
            let plugin = HmacAuthPlugin::new(secret);
            let envelope = message.into_envelope();
            let checked = with_context(|c| plugin.check(&envelope, c));
            assert_eq!(checked, Ok(()), "{case}");
        } else {
            assert!(message.fields().is_empty(), "{case}");
        }
    });
}

#[test]
fn a_managed_node_takes_odd_advertisements_as_pythons_does() {
    UNPACK_ODD.each(&file(), |case| {
        let packed = text(case, "packed");
        let mut node = managed(b"netaio", &Peer::new("me", "it is I"), None);
        let advertisement = Message::new(
            MessageType::ADVERTISE_PEER,
            PeerManagement::APP_ID,
            bytes(&case["packed"]),
        );
        let advertisement = advertisement.and_then(|message| message.encode());
        let advertisement = advertisement.expect("a short message");
        // So long an advertisement that the answer is no longer than it.
        let datagram = pad(advertisement);
        node.handle_datagram(NOW, THERE, &datagram);
        let answers = sent(&mut node);
        let outcome = match (node.peers().len(), &answers[..]) {
            (0, []) => "ignored",
            (1, [answer]) => {
                let expected = (THERE, MessageType::PEER_DISCOVERED);
                let answer = (answer.to, decoded(&answer.bytes));
                assert_eq!((answer.0, answer.1.message_type()), expected);
                "added, answered"
            }
            other => panic!("{packed}: {other:?}"),
        };
        assert_eq!(outcome, safe_outcome(case), "{packed}");
    });
}

#[test]
fn a_managed_node_takes_and_sends_the_messages_of_pythons_peers() {
    let mut compared = 0;
    MESSAGES.each(&file(), |case| {
        let kind = message_type(&case["type"]);
        let app_id = bytes(&case["app_id"]);
        let other = peer(&case["peer_id"], &case["peer_data"]);
        let secret = case["hmac_secret"].as_str();
        let datagram = bytes(&case["message"]);
        let mut node = managed(&app_id, &Peer::new("me", "here"), secret);
        if kind == MessageType::DISCONNECT {
            node.handle_datagram(NOW, THERE, &introduction(&app_id, &other, secret));
            assert_eq!(sent(&mut node).len(), 1, "it is answered");
            assert_eq!(events(&mut node).len(), 1, "it is found");
        }
        node.handle_datagram(NOW, THERE, &datagram);
        let answers = sent(&mut node);
        let events = events(&mut node);
        let [event] = &events[..] else {
            panic!("{case}: {events:?}");
        };
        assert_eq!(*event.peer().peer, other, "{case}");
        assert_eq!(event.peer().addresses, [THERE], "{case}");
        let left = matches!(event, PeerEvent::Lost { reason, .. }
            if *reason == LossReason::Left);
        assert_eq!(left, kind == MessageType::DISCONNECT, "{case}");
        let asked = kind == MessageType::ADVERTISE_PEER;
        assert_eq!(answers.len(), usize::from(asked), "{case}");
        if secret.is_none() {
            let own = own_messages(&app_id, &other);
            assert_eq!(own.len(), 3);
            let own = own.iter().find(|m| decoded(m).message_type() == kind);
            assert_eq!(to_hex(own.expect("one of it")), text(case, "message"));
            compared += 1;
        }
    });
    assert_eq!(compared, 6);
}

const NOW: Instant = Instant::EPOCH;
const THERE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    8888,
);
const GROUP: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(224, 0, 0, 1)),
    8888,
);

/// A node that manages peers and has advertised itself, with an hmac plugin of
/// its own if there is a secret.
fn managed(app_id: &[u8], local: &Peer, secret: Option<&str>) -> Node {
    managed_with_introduction(app_id, local, secret).0
}

/// What a node advertises itself with.
fn introduction(app_id: &[u8], local: &Peer, secret: Option<&str>) -> Vec<u8> {
    managed_with_introduction(app_id, local, secret).1
}

fn managed_with_introduction(
    app_id: &[u8],
    local: &Peer,
    secret: Option<&str>,
) -> (Node, Vec<u8>) {
    let layers = match secret {
        Some(secret) => Layers::new().auth(HmacAuthPlugin::new(secret)),
        None => Layers::new(),
    };
    let config = EndpointConfig {
        layers,
        local_peer: Some(Arc::new(local.clone())),
        ..EndpointConfig::default()
    };
    let mut node = Node::new(Arc::new(config), Arc::default(), [1; 32], NOW);
    node.set_group(Some(GROUP));
    let management = PeerManagement::new(app_id);
    node.manage_peers(NOW, management).expect("it has an id");
    node.handle_timeout(NOW);
    let advertised = sent(&mut node);
    let [advertisement] = &advertised[..] else {
        panic!("one advertisement: {advertised:?}");
    };
    let bytes = advertisement.bytes.to_vec();
    (node, bytes)
}

/// What a managed node sends of itself: it advertises, is asked, and leaves.
fn own_messages(app_id: &[u8], local: &Peer) -> Vec<Vec<u8>> {
    let mut node = managed(app_id, local, None);
    let other = DefaultPeerPlugin.pack(&Peer::new("other", "another"));
    let other = other.expect("a short peer");
    let ask = Message::new(MessageType::ADVERTISE_PEER, app_id, other);
    let ask = ask.and_then(|message| message.encode());
    node.handle_datagram(NOW, THERE, &pad(ask.expect("a short message")));
    let answer = sent(&mut node);
    assert_eq!(answer.len(), 1);
    node.stop_peer_management(NOW);
    let farewell = sent(&mut node);
    node.manage_peers(NOW, PeerManagement::new(app_id))
        .expect("again");
    node.handle_timeout(NOW);
    let advertisement = sent(&mut node);
    let all = [answer, farewell, advertisement];
    all.concat().into_iter().map(|d| d.bytes.to_vec()).collect()
}

/// The same with bytes behind it, which mean nothing in a datagram.
fn pad(mut datagram: Vec<u8>) -> Vec<u8> {
    datagram.resize(datagram.len() + 300, 0);
    datagram
}

fn sent(node: &mut Node) -> Vec<Datagram> {
    std::iter::from_fn(|| node.poll_datagram()).collect()
}

fn events(node: &mut Node) -> Vec<PeerEvent> {
    let actions = std::iter::from_fn(|| node.poll_action());
    let events = actions.map(|action| match action {
        Action::Peer(event) => event,
        other => panic!("{other:?}"),
    });
    events.collect()
}

fn decoded(datagram: &[u8]) -> Message {
    let message = Message::decode(datagram, &MessageTypes::default());
    message.expect("a good message")
}

/// What becomes of a peer that advertises itself so.
fn advertised(unpacked: &Result<Peer, PluginError>) -> &'static str {
    match unpacked {
        Ok(peer) if peer.id.is_some() && peer.data.is_some() => "added, answered",
        _ => "ignored",
    }
}

/// What Python makes of it, except that we ignore what makes its handler raise.
fn safe_outcome(case: &Value) -> &str {
    match text(case, "advertise") {
        "handler raises (TCP: connection closed)" => "ignored",
        outcome => outcome,
    }
}

fn peer(id: &Value, data: &Value) -> Peer {
    let part = |part: &Value| (!part.is_null()).then(|| bytes(part).into());
    Peer {
        id: part(id),
        data: part(data),
    }
}

fn packable(part: Option<Bytes>) -> netaio_proto::wire::packify::Value {
    match part {
        Some(bytes) => bytes[..].into(),
        None => netaio_proto::wire::packify::Value::None,
    }
}

fn received(case: &Value) -> Message {
    decoded(&bytes(&case["message"]))
}

/// The two fields of a received message that a sender picks and a plugin keeps.
fn nonce_and_time(case: &Value) -> AuthFields {
    let message = received(case);
    let mut fields = AuthFields::new();
    for name in [AuthFields::NONCE, AuthFields::TS] {
        let value = message.fields().get_bytes(name).expect(name);
        fields.set_bytes(name, value).expect("room");
    }
    fields
}

fn authenticate(secret: &str, message: Message) -> Message {
    let mut envelope = message.into_envelope();
    let plugin = HmacAuthPlugin::new(secret);
    let made = with_context(|context| plugin.make(&mut envelope, context));
    made.expect("a message that can be authenticated");
    envelope.into_message().expect("a message")
}
