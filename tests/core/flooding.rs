//! URIs and ids that are chosen to be slow: alike, in a row, of one length. A
//! table that can be filled by others costs about the same whatever its keys.

use std::net::SocketAddr;
use std::time::Instant as Clock;

use netaio_proto::{
    DefaultPeerPlugin, EndpointConfig, HandlerId, Layers, Limits, Message,
    MessageType, Peer, PeerManagement, PeerPlugin as _, Peers, Random, Request,
    Router, Subscriptions,
};

use crate::datagrams::host;
use crate::frames::at;

const KEYS: u32 = 100_000;
/// Bytes of each key.
const LENGTH: usize = 48;
/// Measurements of which one has to do.
const ROUNDS: usize = 10;

/// Makes the nth key of a kind.
type Kind = fn(u32) -> [u8; LENGTH];

/// Different from others from the first byte on, as a rule.
fn random(n: u32) -> [u8; LENGTH] {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    Random::from_seed(seed).bytes()
}

/// The same but for the last four bytes.
fn one_prefix(n: u32) -> [u8; LENGTH] {
    let mut key = [b'/'; LENGTH];
    key[LENGTH - 4..].copy_from_slice(&n.to_be_bytes());
    key
}

/// The same but for the first four bytes, which count.
fn one_suffix(n: u32) -> [u8; LENGTH] {
    let mut key = [b'/'; LENGTH];
    key[..4].copy_from_slice(&n.to_be_bytes());
    key
}

/// The same but for two places, so that sums and exclusive ors are alike.
fn balanced(n: u32) -> [u8; LENGTH] {
    let mut key = [0; LENGTH];
    key[8..12].copy_from_slice(&n.to_be_bytes());
    key[24..28].copy_from_slice(&n.to_be_bytes());
    for (place, byte) in n.to_be_bytes().into_iter().enumerate() {
        key[40 + place] = byte.wrapping_neg();
    }
    key
}

/// Each one bit different from the one before.
fn one_bit_apart(n: u32) -> [u8; LENGTH] {
    let mut key = [b'a'; LENGTH];
    let gray = n ^ (n >> 1);
    for (bit, byte) in key.iter_mut().take(32).enumerate() {
        *byte ^= (gray >> bit & 1) as u8;
    }
    key
}

/// As many keys, of these kinds in equal parts, in no order.
fn keys(kinds: &[Kind]) -> Vec<[u8; LENGTH]> {
    let each = KEYS / kinds.len() as u32;
    let mut keys: Vec<_> =
        kinds.iter().flat_map(|kind| (0..each).map(*kind)).collect();
    let mut dice = Random::from_seed([3; 32]);
    for n in (1..keys.len()).rev() {
        keys.swap(n, dice.below(n as u64 + 1) as usize);
    }
    keys
}

/// Crafted keys cost at most twice as much work as random ones. Whatever else
/// this machine does can make one measurement slow, but not all.
#[track_caller]
fn assert_no_slower(work: impl Fn(&[[u8; LENGTH]])) {
    let time = |keys: &[[u8; LENGTH]]| {
        let start = Clock::now();
        work(keys);
        start.elapsed()
    };
    let plain = keys(&[random]);
    let crafted = keys(&[one_prefix, one_suffix, balanced, one_bit_apart]);
    for round in 1.. {
        let (random, taken) = (time(&plain), time(&crafted));
        if taken <= 2 * random {
            break;
        }
        assert!(round < ROUNDS, "{taken:?}, random keys {random:?}");
    }
}

/// Bounds that none of these reaches.
fn wide() -> Limits {
    let most = KEYS as usize;
    Limits {
        max_pending: most,
        max_outgoing: usize::MAX,
        max_peers: most,
        max_subscriptions: most,
        max_subscriptions_per_peer: most,
        max_subscription_bytes: most * LENGTH,
        ..Limits::default()
    }
}

#[test]
fn r23_crafted_uris_of_requests_are_no_slower() {
    assert_no_slower(|keys| {
        let mut client = crate::pair::client(EndpointConfig {
            limits: wide(),
            ..EndpointConfig::default()
        });
        let kind = MessageType::REQUEST_URI;
        let ids: Vec<_> = keys
            .iter()
            .map(|key| {
                let asked = Request::new(Message::new(kind, key, "").unwrap());
                client.request(at(0), asked).unwrap()
            })
            .collect();
        assert_eq!(client.pending(), keys.len());
        for id in ids {
            assert!(client.cancel(at(0), id));
        }
    });
}

#[test]
fn r23_crafted_uris_of_routes_are_no_slower() {
    assert_no_slower(|keys| {
        let kind = MessageType::REQUEST_URI;
        let mut router = Router::new();
        for key in keys {
            router.insert((kind, *key), HandlerId(1), Layers::new());
        }
        for key in keys.iter().step_by(10) {
            let message = Message::new(kind, key, "").unwrap();
            assert!(router.route(&message, host(1)).is_some());
        }
    });
}

#[test]
fn r23_crafted_uris_of_subscriptions_are_no_slower() {
    assert_no_slower(|keys| {
        let mut subscriptions = Subscriptions::<u32>::new(&wide());
        for (n, key) in (0..).zip(keys) {
            subscriptions.subscribe(n % 7, key).unwrap();
        }
        assert_eq!(subscriptions.len(), keys.len());
        for key in keys.iter().step_by(10) {
            assert_eq!(subscriptions.subscribers(key).count(), 1);
        }
    });
}

#[test]
fn r23_crafted_peer_ids_are_no_slower() {
    assert_no_slower(|keys| {
        let local = Peer::new("me", "mine").into();
        let mut peers = Peers::new(&wide(), Some(local), [1; 32]);
        peers.manage(at(0), PeerManagement::new("app")).unwrap();
        for (n, key) in (0_u32..).zip(keys) {
            let peer = Peer::new(key.to_vec(), "");
            let content = DefaultPeerPlugin.pack(&peer).unwrap();
            let kind = MessageType::PEER_DISCOVERED;
            let message = Message::new(kind, "app", content).unwrap();
            let [_, a, b, c] = n.to_be_bytes();
            let from = SocketAddr::from(([172, a, b, c], 4_000));
            assert!(peers.receive(at(0), from, &message).is_none());
        }
        assert_eq!(peers.len(), keys.len());
        for key in keys.iter().step_by(10) {
            assert!(peers.get(key).is_some());
        }
    });
}
