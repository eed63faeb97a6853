//! Packed values that are made to cost much: deep ones, ones that announce more
//! than there is, items of nothing. Wherever they come they are an error. What
//! memory they take is measured in `tests/corpus`.

use netaio_proto::wire::MAX_URI_AND_CONTENT;
use netaio_proto::wire::packify::{UnpackError, Value, check, pack, unpack};
use netaio_proto::{
    Action, AuthFields, DefaultPeerPlugin, EndpointConfig, Header, Message,
    MessageType, Peer, PeerManagement, PeerPlugin as _, ProtocolError,
};

use crate::datagrams::{advertisement, config_of, default_node, host, told};
use crate::frames::{at, frames, poll_all, request, written};
use crate::server::{routes, server};

/// Lists in lists, by hand: `pack` would refuse what it cannot read.
fn lists(depth: usize) -> Vec<u8> {
    let mut packed = vec![0x4a, 0x40, 0];
    for _ in 1..depth {
        // The type, and in four bytes each how many items and how long.
        let length = u32::try_from(packed.len()).unwrap().to_be_bytes();
        let one = 1_u32.to_be_bytes();
        packed = [&[0xca, 0xc0], &one[..], &length, &packed].concat();
    }
    packed
}

/// Dicts in dicts, each the value of the only key.
fn dicts(depth: usize) -> Vec<u8> {
    let deeper = |value, _| Value::Dict(vec![(Value::None, value)]);
    let deepest = Value::Dict(vec![]);
    pack(&(1..depth).fold(deepest, deeper)).unwrap()
}

/// As many nested lists as fit a message of ours.
fn deepest() -> Vec<u8> {
    let packed = lists(MAX_URI_AND_CONTENT / 10 - 1);
    assert!(packed.len() > MAX_URI_AND_CONTENT - 20);
    packed
}

/// What it is, packed, and whether an error is the right one.
type Bomb = (&'static str, Vec<u8>, fn(&UnpackError) -> bool);

fn bombs() -> Vec<Bomb> {
    let too_deep = |e: &UnpackError| matches!(e, UnpackError::TooDeep { .. });
    let truncated = |e: &UnpackError| matches!(e, UnpackError::Truncated { .. });
    let empty = |e: &UnpackError| matches!(e, UnpackError::EmptyItem { .. });
    let no_entry = |e: &UnpackError| matches!(e, UnpackError::InvalidEntry { .. });
    let zeros = |code: u8, count: u16| {
        let count_bytes = count.to_be_bytes();
        [&[code, 0x40], &count_bytes[..], &vec![0; count.into()]].concat()
    };
    let most = [0xff; 4];
    let list = |code| [&[code, 0xc0], &most[..], &[0; 8]].concat();
    vec![
        ("33 lists", lists(33), too_deep),
        ("33 dicts", dicts(33), too_deep),
        ("as many lists as fit", deepest(), too_deep),
        ("a count of 4 G in a list", list(0xca), truncated),
        ("a count of 4 G in a set", list(0xcb), truncated),
        ("a count of 4 G in a tuple", list(0xcc), truncated),
        ("a count of 4 G in a dict", list(0xcd), truncated),
        (
            "one more item than there is",
            vec![0x4a, 0x40, 2, 1, 1, 0],
            truncated,
        ),
        (
            "4 GB of bytes",
            [&[0xc1], &most[..], b"a"].concat(),
            truncated,
        ),
        (
            "4 GB of text",
            [&[0xc3], &most[..], b"a"].concat(),
            truncated,
        ),
        (
            "a number of 4 GB",
            [&[0x0e], &most[..], b"1"].concat(),
            truncated,
        ),
        (
            "an item of 4 GB",
            [&[0x4a, 0xc0, 1], &most[..], b"a"].concat(),
            truncated,
        ),
        ("lists of nothing", zeros(0x8a, 60_000), empty),
        ("sets of nothing", zeros(0x8b, 60_000), empty),
        ("tuples of nothing", zeros(0x8c, 60_000), empty),
        ("dicts of nothing", zeros(0x8d, 60_000), empty),
        (
            "a dict of numbers",
            vec![0x4d, 0x40, 1, 2, 0x44, 1],
            no_entry,
        ),
    ]
}

/// A frame with this auth section and a good body.
fn frame(auth: &[u8]) -> Vec<u8> {
    let body = b"\0\x04echo";
    let good = request("echo", "").encode().unwrap();
    let header = Header {
        auth_length: u16::try_from(auth.len()).unwrap(),
        ..Header::decode(&good).unwrap()
    };
    assert_eq!(usize::from(header.body_length), body.len());
    [&header.encode(), auth, body].concat()
}

#[test]
fn r24_a_bomb_is_an_error_of_the_right_kind() {
    for (name, packed, is_right) in bombs() {
        let error = check(&packed).unwrap_err();
        assert!(is_right(&error), "{name}: {error:?}");
        assert_eq!(unpack(&packed), Err(error), "{name}");
        assert_eq!(AuthFields::from_packed(&packed), Err(error), "{name}");
        assert!(DefaultPeerPlugin.unpack(&packed).is_err(), "{name}");
        assert!(DefaultPeerPlugin.parse_data(&packed).is_err(), "{name}");
    }
}

#[test]
fn r24_what_is_just_below_a_bound_is_taken() {
    for packed in [lists(32), dicts(32), vec![0x4a, 0x40, 2, 1, 1, 0, 0]] {
        assert_eq!(check(&packed), Ok(()));
        assert!(unpack(&packed).is_ok());
        let mut server = server(EndpointConfig::default(), routes());
        server.handle_input(at(0), &frame(&packed));
        let actions = poll_all(&mut server);
        assert!(
            matches!(&actions[..], [Action::Dispatch { .. }]),
            "{actions:?}"
        );
    }
}

#[test]
fn r24_a_bomb_among_auth_fields_costs_one_message_and_no_more() {
    for (name, packed, is_right) in bombs() {
        let mut server = server(EndpointConfig::default(), routes());
        let mut node = default_node(EndpointConfig::default());
        server.handle_input(at(0), &frame(&packed));
        node.handle_datagram(at(0), host(2), &frame(&packed));
        for action in [server.poll_action(), node.poll_action()] {
            let Some(Action::Rejected {
                error: ProtocolError::BadAuthFields(error),
                ..
            }) = action
            else {
                panic!("{name}: {action:?}");
            };
            assert!(is_right(&error), "{name}: {error:?}");
        }
        let [reply] = &frames(&written(&mut server))[..] else {
            panic!("{name}: no answer, or several");
        };
        assert_eq!(reply.message_type(), MessageType::ERROR);
        server.handle_input(at(0), &frame(&[0x4d, 0x40, 0]));
        let next = server.poll_action();
        assert!(matches!(next, Some(Action::Dispatch { .. })), "{next:?}");
    }
}

#[test]
fn r24_a_bomb_as_a_peer_makes_nobody_known() {
    let mut node = default_node(config_of(Peer::new("me", "mine")));
    node.manage_peers(at(0), PeerManagement::new("app"))
        .unwrap();
    for (name, packed, _) in bombs() {
        let kind = MessageType::ADVERTISE_PEER;
        let bomb = Message::new(kind, "app", &packed).unwrap();
        node.handle_datagram(at(0), host(2), &bomb.encode().unwrap());
        assert!(told(&mut node).is_empty(), "{name}");
        assert_eq!(node.peers().len(), 0, "{name}");
    }
    let good = advertisement("you", "yours");
    node.handle_datagram(at(0), host(2), &good);
    assert_eq!(node.peers().len(), 1);
}
