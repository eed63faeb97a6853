//! Nodes in noise: what gets lost, what is made up, and what is only junk.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use netaio_proto::sim::Faults;
use netaio_proto::{
    Action, EndpointConfig, Layers, Limits, Message, MessageType, Random, Request,
    RequestError, RequestId,
};

use crate::datagrams::{
    advertisement, encoded, host, node, request_with_id, sent, told,
};
use crate::frames::{at, message, request};
use crate::network::{Network, address, calm};
use crate::server::outer;

const MEMBERS: usize = 6;
const JUNK: u32 = 100_000;
/// What members say of themselves.
const REAL: &str = "real, and more than many say";

/// What was asked, by whom, and what therefore must be answered.
#[derive(Default)]
struct Oracle {
    open: BTreeMap<(usize, RequestId), String>,
    asked: usize,
    answered: usize,
}

impl Oracle {
    /// One member asks another for an echo that nobody else asks for.
    fn ask(&mut self, network: &mut Network, dice: &mut Random) {
        let by = dice.below(MEMBERS as u64) as usize;
        let to = (by + 1 + dice.below(MEMBERS as u64 - 1) as usize) % MEMBERS;
        let content = format!("{by} asks {to} for {}", self.asked);
        let timeout = Duration::from_millis(200 + dice.below(5_000));
        let request = Request::new(request("echo", &content)).timeout(timeout);
        let now = network.now();
        let node = &mut network.members[by].node;
        let id = node.request(now, address(to), request);
        network.flush(by);
        let id = id.expect("there is room");
        assert_eq!(self.open.insert((by, id), content), None);
        self.asked += 1;
    }

    /// Compares what members were told with what they asked.
    fn check(&mut self, network: &mut Network) {
        for (n, member) in network.members.iter_mut().enumerate() {
            for action in member.actions.drain(..) {
                let request = match &action {
                    // It was cut on its way, and whoever got it says so.
                    Action::Reply { request, message }
                        if message.message_type() == MessageType::ERROR =>
                    {
                        *request
                    }
                    Action::Failed {
                        request,
                        error:
                            RequestError::Refused {
                                verified: false, ..
                            },
                    } => *request,
                    Action::Reply { request, message } => {
                        let expected = self.open.get(&(n, *request));
                        assert_eq!(Some(&*message.text()), expected.map(|e| &**e));
                        self.answered += 1;
                        *request
                    }
                    Action::TimedOut { request, .. } => *request,
                    Action::Failed { .. } => panic!("{action:?}"),
                    _ => continue,
                };
                let ended = self.open.remove(&(n, request));
                assert!(ended.is_some(), "it ends twice: {action:?}");
            }
        }
    }
}

/// Whatever may come from anybody, and where it comes from.
fn junk(n: u32, dice: &mut Random) -> (SocketAddr, Vec<u8>) {
    let [_, a, b, c] = n.to_be_bytes();
    let stranger = SocketAddr::new(Ipv4Addr::new(172, a, b, c).into(), 4_000);
    let member = address(dice.below(MEMBERS as u64) as usize);
    match dice.below(8) {
        0 => (stranger, random_bytes(dice, 200)),
        1 => {
            let mut good = request_with_id("echo", "hello", dice.next_u64());
            let place = dice.below(good.len() as u64) as usize;
            good[place] ^= 1 + dice.below(255) as u8;
            (stranger, good)
        }
        2 => (stranger, encoded(&any_message(dice))),
        3 => (stranger, request_with_id("echo", "me too", dice.next_u64())),
        4 => {
            let data = "x".repeat(dice.below(60) as usize);
            (stranger, advertisement(&format!("spoofed {n}"), &data))
        }
        // In the name of a member: replies that nobody asked for, and peers.
        5 => (member, encoded(&any_message(dice))),
        6 => (member, advertisement(&format!("peer 0{}", n % 9), "forged")),
        _ if n.is_multiple_of(50) => (stranger, random_bytes(dice, 70_000)),
        _ => (member, random_bytes(dice, 40)),
    }
}

fn random_bytes(dice: &mut Random, most: u64) -> Vec<u8> {
    let mut bytes = vec![0; dice.below(most) as usize];
    dice.fill(&mut bytes);
    // A header that can be read, more often than chance has it.
    if let [kind, auth, ..] = &mut bytes[..] {
        *kind %= 40;
        *auth = 0;
    }
    bytes
}

/// A well-formed message of any type, about something that nobody knows or a
/// member may have asked for.
fn any_message(dice: &mut Random) -> Message {
    let kinds = MessageType::STANDARD;
    let kind = kinds[dice.below(kinds.len() as u64) as usize];
    let uri = ["unknown", "app", "ERROR", ""][dice.below(4) as usize];
    message(kind, uri, "forged")
}

/// Runs members in bad weather, of which the first is sent junk from all over.
fn in_noise(layers: &Layers) -> Network {
    let mut dice = Random::from_seed([21; 32]);
    let mut network = Network::new(21, calm());
    for n in 0..MEMBERS {
        let peer = netaio_proto::Peer::new(format!("peer {n:02}"), REAL);
        let member = network.join(EndpointConfig {
            layers: layers.clone(),
            local_peer: Some(peer.into()),
            ..EndpointConfig::default()
        });
        network.manage(member);
    }
    network.set_faults(Faults {
        lost: 30,
        duplicated: 10,
        reordered: 20,
        cut: 5,
        delay: Duration::from_millis(3),
        ..Faults::default()
    });
    let mut oracle = Oracle::default();
    for n in 0..JUNK {
        let (from, bytes) = junk(n, &mut dice);
        let key = dice.next_u64().to_be_bytes();
        let subscriber = host((n % 8) as u8);
        // A node refuses what is too much, as an application asks it to.
        let _ = network.members[0].node.subscribe(&key, subscriber);
        network.sent.clear();
        network.inject(from, 0, &bytes);
        assert_no_more_than(&network, from, bytes.len());
        assert_bounded(&network);
        if n.is_multiple_of(40) {
            oracle.ask(&mut network, &mut dice);
        }
        if n.is_multiple_of(4) {
            network.run_for(Duration::from_millis(3));
        }
        oracle.check(&mut network);
    }
    network.run_for(Duration::from_secs(10));
    oracle.check(&mut network);
    assert_eq!(oracle.open, BTreeMap::new(), "requests without an end");
    assert!(
        oracle.answered > oracle.asked * 2 / 5,
        "{}",
        oracle.answered
    );
    for member in &network.members {
        let node = &member.node;
        assert_eq!((node.pending(), node.in_flight(), node.queued()), (0, 0, 0));
    }
    network
}

/// Nobody gets back more than it sent.
#[track_caller]
fn assert_no_more_than(network: &Network, from: SocketAddr, length: usize) {
    let back = network.sent.iter().filter(|(.., d)| d.to == from);
    let back: usize = back.map(|(.., d)| d.bytes.len()).sum();
    assert!(back <= length, "{back} bytes for {length}");
}

#[track_caller]
fn assert_bounded(network: &Network) {
    let (node, limits) = (&network.members[0].node, Limits::default());
    assert!(node.peers().len() <= limits.max_peers);
    assert!(node.subscriptions().len() <= 8 * 64);
    assert!(node.in_flight() <= limits.max_in_flight);
    assert!(node.queued() <= limits.outgoing_high_water);
    assert!(node.pending() < limits.max_pending);
}

#[test]
fn r21_nodes_in_noise_keep_to_their_bounds_and_mix_nothing_up() {
    let network = in_noise(&Layers::new());
    let node = &network.members[0].node;
    assert_eq!(node.peers().len(), 1_024, "as many were made up");
    assert_eq!(node.subscriptions().len(), 8 * 64);
    let counters = node.counters();
    assert!(counters.rejected > 10_000 && counters.ignored > 1_000);
    assert!(counters.withheld > 1_000);
}

#[test]
fn r21_junk_reaches_nothing_behind_an_auth_plugin() {
    let network = in_noise(&outer());
    let node = &network.members[0].node;
    let counters = node.counters();
    assert_eq!(node.peers().len(), MEMBERS - 1);
    assert!(
        node.peers()
            .iter()
            .all(|p| p.peer.data.as_deref() == Some(REAL.as_bytes()))
    );
    assert!(counters.auth_failures > 10_000);
}

#[test]
fn unusable_datagrams_are_told_of_a_hundred_times_a_minute() {
    let short = vec![0; 3];
    let unknown = vec![200; 60];
    let mut damaged = encoded(&request("asked", "hello"));
    damaged[6] ^= 1;
    for bytes in [short, unknown, damaged] {
        let mut node = node(EndpointConfig::default());
        for minute in 0..3 {
            for n in 0..300 {
                node.handle_datagram(at(minute * 60_000 + n), host(2), &bytes);
            }
            let told = told(&mut node);
            let rejected = |a: &Action| matches!(a, Action::Rejected { .. });
            assert!(told.iter().all(rejected), "{told:?}");
            assert_eq!(told.len(), 100, "for {bytes:02x?}");
            assert!(sent(&mut node).len() <= 100);
        }
        assert_eq!(node.counters().rejected, 900);
    }
}
