//! Nobody gets a node to send more than it sent itself, or two nodes to go on
//! for ever.

use std::net::SocketAddr;
use std::time::Duration;

use netaio_proto::{
    Action, Compatibility, EndpointConfig, Layers, MessageType, Node, Peer,
    PeerManagement, Request,
};

use crate::datagrams::{
    advertisement, config_of, default_node, encoded, host, node, only_sent,
    peer_message, request_with_id, sent, sent_messages, told,
};
use crate::frames::{at, message, request, sealed};
use crate::network::GROUP;
use crate::server::{outer, refusal};

/// Carries datagrams between two nodes until none is left; gives how many went
/// each way.
fn exchange(nodes: [&mut Node; 2], now: u64) -> [usize; 2] {
    let [one, two] = nodes;
    let mut counts = [0; 2];
    loop {
        let (there, back) = (sent(one), sent(two));
        if there.is_empty() && back.is_empty() {
            return counts;
        }
        counts[0] += there.len();
        counts[1] += back.len();
        assert!(counts.iter().sum::<usize>() < 100, "it goes on and on");
        for datagram in there {
            two.handle_datagram(at(now), host(1), &datagram.bytes);
        }
        for datagram in back {
            one.handle_datagram(at(now), host(2), &datagram.bytes);
        }
    }
}

#[test]
fn two_default_nodes_exchange_one_reply_at_most_for_any_message() {
    for kind in MessageType::STANDARD {
        for uri in ["unknown", ""] {
            let mut one = default_node(EndpointConfig::default());
            let mut two = default_node(EndpointConfig::default());
            let message = message(*kind, uri, "hello");
            one.send(at(0), host(2), message, &Layers::new()).unwrap();
            let counts = exchange([&mut one, &mut two], 0);
            let reply = usize::from(!kind.is_reply());
            assert_eq!(counts, [1, reply], "{kind} {uri}");
            assert_eq!((one.in_flight(), two.in_flight()), (0, 0));
        }
    }
}

#[test]
fn a_reply_that_comes_after_the_timeout_starts_nothing() {
    let mut one = default_node(EndpointConfig::default());
    let mut two = node(EndpointConfig::default());
    let asked = Request::new(request("asked", "slow"));
    let asked = asked.timeout(Duration::from_millis(100));
    let id = one.request(at(0), host(2), asked).unwrap();
    let asked = only_sent(&mut one);
    two.handle_datagram(at(1), host(1), &encoded(&asked));
    one.handle_timeout(at(100));
    assert!(matches!(&told(&mut one)[..],
        [Action::TimedOut { request, .. }] if *request == id));
    for action in told(&mut two) {
        let Action::Dispatch {
            reply: Some(token), ..
        } = action
        else {
            panic!("{action:?}");
        };
        let answer = asked.respond("late").unwrap();
        two.reply(at(200), token, answer).unwrap();
    }
    assert_eq!(exchange([&mut one, &mut two], 200), [0, 1]);
    assert!(told(&mut one).is_empty() && told(&mut two).is_empty());
    assert_eq!(one.counters().late_replies, 1);
}

#[test]
fn replies_are_never_answered_good_or_bad() {
    let replies = MessageType::STANDARD.iter().filter(|kind| kind.is_reply());
    let mut count = 0;
    for kind in replies {
        count += 1;
        let good = encoded(&message(*kind, "unknown", "hello"));
        let mut damaged = good.clone();
        damaged[6] ^= 1;
        let none = Layers::new();
        let with_id = message(*kind, "unknown", "hello");
        let with_id = sealed(with_id, [&none, &none], Some(b"12345678"));
        let cut = good[..good.len() - 2].to_vec();
        for config in [EndpointConfig::default(), secured()] {
            let mut node = default_node(config);
            for bytes in [&good, &damaged, &with_id, &cut] {
                node.handle_datagram(at(0), host(2), bytes);
            }
            for action in told(&mut node) {
                if let Action::AuthFailed(failed) = action {
                    assert!(failed.reply.is_none(), "{failed:?}");
                }
            }
            assert_eq!(sent(&mut node), [], "{kind}");
            assert_eq!(node.in_flight(), 0);
        }
    }
    assert_eq!(count, 10);
}

fn secured() -> EndpointConfig {
    EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    }
}

#[test]
fn whoever_is_not_authenticated_gets_no_more_than_it_sent() {
    let short = |kind| encoded(&message(kind, "", ""));
    let named = |kind| encoded(&message(kind, "unknown", "hi"));
    let mut answered = 0;
    for config in [EndpointConfig::default(), secured()] {
        for kind in MessageType::STANDARD.iter().copied() {
            for good in [short(kind), named(kind)] {
                let mut damaged = good.clone();
                damaged[5] ^= 1;
                for bytes in [good, damaged] {
                    let mut node = default_node(config.clone());
                    node.handle_datagram(at(0), host(2), &bytes);
                    refuse(&mut node);
                    let sent = sent(&mut node);
                    let length: usize = sent.iter().map(|d| d.bytes.len()).sum();
                    assert!(length <= bytes.len(), "{kind}: {length} bytes");
                    answered += sent.len();
                    let withheld = node.counters().withheld as usize;
                    let answerable = usize::from(!kind.is_reply());
                    assert_eq!(sent.len() + withheld, answerable, "{kind}");
                }
            }
        }
    }
    assert!(answered > 50, "{answered}");
}

/// Says to everybody who failed a check what is usually said.
fn refuse(node: &mut Node) {
    for action in told(node) {
        if let Action::AuthFailed(failed) = action
            && failed.reply.is_some()
        {
            let (token, refusal) = refusal(*failed);
            node.reply(at(0), token, refusal).unwrap();
        }
    }
}

#[test]
fn a_refusal_without_room_for_its_text_is_sent_without_it() {
    let mut node = default_node(EndpointConfig::default());
    let asked = request_with_id("unknown", "four", 7);
    node.handle_datagram(at(0), host(2), &asked);
    let refusal = only_sent(&mut node);
    assert_eq!(refusal.message_type(), MessageType::NOT_FOUND);
    assert_eq!(
        (refusal.uri(), refusal.content()),
        (&b"unknown"[..], &b""[..])
    );
    assert!(refusal.fields().get("rid").is_some());
    let asked = request_with_id("unknown", "nine char", 7);
    node.handle_datagram(at(0), host(2), &asked);
    assert_eq!(only_sent(&mut node).content(), b"not found");
}

/// A managed node that has advertised itself.
fn managed(config: EndpointConfig) -> Node {
    let mut node = node(config);
    node.set_group(Some(GROUP));
    node.manage_peers(at(0), PeerManagement::new("app"))
        .unwrap();
    node.handle_timeout(at(0));
    assert_eq!(sent(&mut node).len(), 1);
    node
}

fn talkative() -> EndpointConfig {
    config_of(Peer::new("me", "x".repeat(200)))
}

#[test]
fn whoever_advertises_in_less_bytes_hears_of_a_node_through_the_group() {
    let mut node = managed(talkative());
    let regular = node.poll_timeout().unwrap();
    assert!(regular >= at(16_000));
    node.handle_datagram(at(500), host(2), &advertisement("two", "short"));
    assert_eq!(sent(&mut node), []);
    assert_eq!((node.counters().withheld, node.peers().len()), (1, 1));
    let soon = node.poll_timeout().unwrap();
    assert!(soon >= at(1_000) && soon <= at(2_000), "{soon:?}");
    node.handle_timeout(soon);
    let sent = sent(&mut node);
    assert_eq!((sent.len(), sent[0].to), (1, GROUP));
    assert_eq!(sent[0].bytes[0], MessageType::ADVERTISE_PEER.code());
    // What says nothing new brings nothing forward.
    let regular = node.poll_timeout().unwrap();
    node.handle_datagram(at(2_500), host(2), &advertisement("two", "short"));
    assert_eq!(node.poll_timeout(), Some(regular));
}

#[test]
fn made_up_peers_make_a_node_advertise_once_a_second_at_most() {
    let mut node = managed(talkative());
    let mut times = Vec::new();
    for n in 0..20_000 {
        let now = at(n);
        let from = SocketAddr::new(host(2).ip(), n as u16);
        let spoofed = advertisement(&format!("spoofed {n}"), "");
        node.handle_datagram(now, from, &spoofed);
        if node.poll_timeout().is_some_and(|due| due <= now) {
            node.handle_timeout(now);
        }
        let sent = sent_messages(&mut node);
        assert!(told(&mut node).len() <= 2);
        times.extend(sent.iter().map(|message| {
            assert_eq!(message.message_type(), MessageType::ADVERTISE_PEER);
            n
        }));
    }
    assert!(times.windows(2).all(|w| w[1] - w[0] >= 1_000), "{times:?}");
    assert!(times.len() >= 10, "{times:?}");
}

#[test]
fn whoever_advertises_in_as_many_bytes_is_answered() {
    let mut node = managed(config_of(Peer::new("one", "short")));
    node.handle_datagram(at(0), host(2), &advertisement("two", "short"));
    let reply = only_sent(&mut node);
    assert_eq!(reply.message_type(), MessageType::PEER_DISCOVERED);
    assert_eq!(node.counters().withheld, 0);
}

#[test]
fn whoever_is_authenticated_is_answered_whatever_its_length() {
    let config = EndpointConfig {
        layers: outer(),
        ..talkative()
    };
    let mut node = managed(config);
    let short = advertisement("two", "short");
    let short = crate::datagrams::decoded(&short);
    let none = Layers::new();
    let short = sealed(short, [&none, &outer()], None);
    node.handle_datagram(at(0), host(2), &short);
    let sent = sent(&mut node);
    assert_eq!((sent.len(), sent[0].to), (1, host(2)));
    assert!(sent[0].bytes.len() > short.len());
}

#[test]
fn a_python_like_node_answers_whoever_advertises_as_python_does() {
    let config = EndpointConfig {
        compatibility: Compatibility::Python,
        ..talkative()
    };
    let mut node = managed(config);
    let short = advertisement("two", "short");
    node.handle_datagram(at(0), host(2), &short);
    let reply = only_sent(&mut node);
    assert_eq!(reply.message_type(), MessageType::PEER_DISCOVERED);
    assert!(encoded(&reply).len() > short.len());
    assert_eq!(node.counters().withheld, 0);
}

#[test]
fn those_who_leave_are_not_answered() {
    let mut node = managed(talkative());
    let peer = Peer::new("two", "short");
    let bytes = peer_message(MessageType::ADVERTISE_PEER, &peer);
    node.handle_datagram(at(0), host(2), &bytes);
    let bytes = peer_message(MessageType::DISCONNECT, &peer);
    for _ in 0..2 {
        node.handle_datagram(at(0), host(2), &bytes);
    }
    assert_eq!((sent(&mut node).len(), node.peers().len()), (0, 0));
}
