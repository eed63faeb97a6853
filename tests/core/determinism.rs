//! The same inputs give the same outputs, however they are cut and whenever
//! they are asked for.

use std::time::Duration;

use bytes::Buf as _;
use netaio_proto::sim::Faults;
use netaio_proto::{
    Action, Connection, EndpointConfig, Layers, MessageType, Random, Request,
};

use crate::frames::{at, message, poll_all, request, sealed, written};
use crate::network::{Network, calm};
use crate::pair::{Outcome, Pair, client};
use crate::server::{OurServer, Server as _, inner, outer, routes, server};

fn secured() -> EndpointConfig {
    EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    }
}

/// Everything that both ends wrote in a session.
fn transcript(wire_seed: u8) -> [Vec<u8>; 2] {
    let mut server = OurServer::new(secured(), routes());
    let mut client = client(secured());
    client.set_unix_time(1_700_000_000);
    let mut dice = Random::from_seed([wire_seed; 32]);
    let mut sides = [Vec::new(), Vec::new()];
    for n in 0..50 {
        let uri = ["echo", "unknown", "error"][n % 3];
        let asked = Request::new(request(uri, &n.to_string()));
        client.request(at(n as u64), asked).unwrap();
        let bytes = written(&mut client);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let count = 1 + dice.below(rest.len() as u64) as usize;
            server.receive(at(n as u64), &rest[..count]);
            while server.work(at(n as u64)) {}
            rest = &rest[count..];
        }
        sides[0].extend(bytes);
        let bytes = written(&mut server.connection);
        client.handle_input(at(n as u64), &bytes);
        assert_eq!(poll_all(&mut client).len(), 1);
        sides[1].extend(bytes);
    }
    sides
}

#[test]
fn the_same_seeds_and_inputs_give_the_same_bytes() {
    let first = transcript(1);
    assert!(first.iter().all(|side| side.len() > 50 * 60));
    assert!(first == transcript(1));
    assert!(first == transcript(2), "the cuts do not matter");
}

/// A bit of everything that a server can be sent.
fn stream() -> Vec<u8> {
    use MessageType as T;
    let (none, outer, inner) = (Layers::new(), outer(), inner());
    let mut bytes = Vec::new();
    let messages = [
        (message(T::REQUEST_URI, "echo", "1"), [&none, &outer]),
        (message(T::REQUEST_URI, "protected", "2"), [&inner, &outer]),
        (message(T::REQUEST_URI, "protected", "3"), [&none, &outer]),
        (message(T::REQUEST_URI, "echo", "4"), [&none, &none]),
        (message(T::NOTIFY_URI, "", ""), [&none, &outer]),
        (message(T::RESPOND_URI, "echo", "5"), [&none, &outer]),
    ];
    for (message, layers) in messages {
        let rid = (bytes.len() % 2 == 0).then_some(&b"87654321"[..]);
        bytes.extend(sealed(message, layers, rid));
    }
    let mut damaged = sealed(message(T::OK, "a", "b"), [&none, &outer], None);
    damaged[6] ^= 0x10;
    bytes.extend(damaged);
    bytes.extend(sealed(message(T::OK, "a", "b"), [&none, &outer], None));
    // The last one is not complete.
    bytes.extend(&request("echo", "6").encode().unwrap()[..15]);
    bytes
}

/// What a server makes of these pieces: actions as text, and bytes.
fn digest(pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut router = routes();
    let protected = (MessageType::REQUEST_URI, "protected");
    router.insert(protected, crate::server::ECHO, inner());
    let mut server = server(secured(), router);
    let mut told = Vec::new();
    let mut take = |server: &mut Connection| {
        while let Some(action) = server.poll_action() {
            told.push(format!("{action:?}"));
            if let Action::Dispatch { message, reply, .. } = action {
                told.push(message.text().into_owned());
                let answer = message.respond("answer").unwrap();
                if let Some(token) = reply {
                    server.reply(at(0), token, answer).unwrap();
                }
            }
        }
    };
    for piece in pieces {
        server.handle_input(at(0), piece);
        take(&mut server);
    }
    server.handle_eof(at(0));
    take(&mut server);
    let bytes = written(&mut server);
    (told, bytes)
}

#[test]
fn every_split_of_a_stream_gives_the_same_actions_and_bytes() {
    let stream = stream();
    let whole = digest(&[&stream]);
    let text = whole.0.join("\n");
    for part in ["Dispatch", "Rejected", "AuthFailed", "Unrouted"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    for cut in 0..=stream.len() {
        let (one, two) = stream.split_at(cut);
        assert!(digest(&[one, two]) == whole, "cut at {cut}");
    }
    for size in [1, 2, 3, 7, 50] {
        let pieces: Vec<_> = stream.chunks(size).collect();
        assert!(digest(&pieces) == whole, "pieces of {size}");
    }
}

#[test]
fn reading_without_a_copy_gives_the_same_actions_and_bytes() {
    let stream = stream();
    let mut copied = server(secured(), routes());
    let mut direct = server(secured(), routes());
    let mut lent = server(secured(), routes());
    for piece in stream.chunks(11) {
        copied.handle_input(at(0), piece);
        direct.recv_buffer()[..piece.len()].copy_from_slice(piece);
        direct.handle_received(at(0), piece.len());
        let mut decoder = lent.take_decoder();
        decoder.recv_buffer()[..piece.len()].copy_from_slice(piece);
        lent.return_decoder(at(0), decoder, piece.len());
        let expected = format!("{:?}", poll_all(&mut copied));
        assert_eq!(format!("{:?}", poll_all(&mut direct)), expected);
        assert_eq!(format!("{:?}", poll_all(&mut lent)), expected);
    }
    let expected = written(&mut copied);
    assert!(!expected.is_empty());
    assert_eq!(written(&mut direct), expected);
    assert_eq!(written(&mut lent), expected);
}

/// Carries at most `most` bytes from one end to the other.
fn carry(from: &mut Connection, to: &mut Connection, now: u64, most: usize) {
    let outgoing = from.outgoing();
    let count = outgoing.chunk().len().min(most);
    let bytes = outgoing.copy_to_bytes(count);
    to.handle_input(at(now), &bytes);
}

#[test]
fn calls_in_any_order_and_any_subset_of_them_only_delay() {
    for seed in 0..20 {
        let mut dice = Random::from_seed([seed; 32]);
        let mut pair = Pair::new(secured(), OurServer::new(secured(), routes()), 1);
        let mut asked = Vec::new();
        let mut now = 0;
        for _ in 0..2_000 {
            let (client, server) = (&mut pair.client, &mut pair.server);
            let there = &mut server.connection;
            match dice.below(9) {
                0 if asked.len() < 100 => {
                    let n = asked.len();
                    let content = format!("{} {n}", dice.below(50));
                    let uri = ["slow", "echo"][n % 2];
                    let request = Request::new(request(uri, &content));
                    let id = client.request(at(now), request).unwrap();
                    asked.push((id, content));
                }
                1 => carry(client, there, now, dice.below(200) as usize),
                2 => carry(there, client, now, dice.below(200) as usize),
                3 => _ = server.work(at(now)),
                4 => {
                    pair.now = at(now);
                    if let Some(action) = client.poll_action() {
                        let Action::Reply { request, message } = action else {
                            panic!("{action:?}");
                        };
                        let reply = Outcome::Reply(message);
                        pair.outcomes.push((request, reply));
                    }
                }
                5 => client.handle_timeout(at(now)),
                6 => there.handle_timeout(at(now)),
                7 => {
                    client.release_buffers();
                    there.release_buffers();
                }
                _ => now += dice.below(5),
            }
        }
        pair.now = at(now);
        pair.run_for(1_000);
        assert_eq!(asked.len(), 100);
        for (id, content) in asked {
            assert_eq!(pair.reply(id).text(), content);
        }
        pair.assert_at_rest();
    }
}

/// All that members of a network sent in bad weather: when, and which bytes.
fn heard_on_a_network(seed: u8) -> Vec<(u64, usize, Vec<u8>)> {
    let faults = Faults {
        lost: 20,
        duplicated: 10,
        reordered: 20,
        cut: 5,
        ..calm()
    };
    let mut network = Network::managed(seed, 8, faults);
    for n in 0..200 {
        let (by, to) = (n % 8, (n * 3 + 1) % 8);
        let to = crate::network::address(to);
        let asked = Request::new(request("echo", &n.to_string()));
        let now = network.now();
        let node = &mut network.members[by].node;
        node.request(now, to, asked).unwrap();
        network.run_for(Duration::from_millis(100));
    }
    let sent = network.sent.drain(..);
    sent.map(|(at, by, d)| (at.as_micros(), by, d.bytes.to_vec()))
        .collect()
}

#[test]
fn the_same_seeds_give_the_same_datagrams_on_a_network() {
    let first = heard_on_a_network(1);
    assert!(first.len() > 300);
    assert!(first == heard_on_a_network(1));
    assert!(first != heard_on_a_network(2));
}
