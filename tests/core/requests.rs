//! Any number of requests at once: each gets its own reply and no other.

use std::collections::BTreeMap;

use netaio_proto::{
    Correlation, EndpointConfig, Layers, MessageType, Random, Request, RequestId,
    Router,
};

use crate::frames::{at, request};
use crate::pair::{Outcome, Pair};
use crate::python_server::PythonServer;
use crate::server::{OurServer, SLOW, Server, outer};

const REQUESTERS: usize = 64;

/// Each requester asks one thing after the other; the half of them for one URI,
/// the others each for its own. Every content is unlike all others.
fn interleaved<S: Server>(pair: &mut Pair<S>, seed: u8, requests: usize) {
    let mut dice = Random::from_seed([seed; 32]);
    let mut left = [requests; REQUESTERS];
    let mut waiting: BTreeMap<RequestId, (usize, String, String)> = BTreeMap::new();
    let mut idle: Vec<usize> = (0..REQUESTERS).collect();
    let mut done = 0;
    while done < REQUESTERS * requests {
        for who in std::mem::take(&mut idle) {
            if left[who] == 0 {
                continue;
            }
            let uri = match who % 2 {
                0 => "slow".to_owned(),
                _ => format!("slow/{who}"),
            };
            let delay = dice.below(4);
            let content = format!("{delay} {who} {}", left[who]);
            let request = Request::new(request(&uri, &content));
            let id = pair.send(request);
            left[who] -= 1;
            waiting.insert(id, (who, uri, content));
        }
        if !pair.step() {
            assert!(pair.advance(), "nothing happens, {} wait", waiting.len());
        }
        for (id, outcome) in pair.outcomes.drain(..) {
            let (who, uri, content) = waiting.remove(&id).expect("one outcome");
            let Outcome::Reply(reply) = outcome else {
                panic!("{content}: {outcome:?}");
            };
            assert_eq!(reply.message_type(), MessageType::RESPOND_URI);
            assert_eq!(reply.text(), content);
            assert_eq!(reply.uri_text(), uri);
            idle.push(who);
            done += 1;
        }
    }
    pair.drive();
    assert!(pair.actions.is_empty(), "{:?}", pair.actions);
    assert_eq!(
        pair.client.counters().replies,
        (REQUESTERS * requests) as u64
    );
}

fn slow_routes() -> Router {
    let mut router = Router::new();
    router.insert((MessageType::REQUEST_URI, "slow"), SLOW, Layers::new());
    for who in 0..REQUESTERS {
        let uri = format!("slow/{who}");
        router.insert((MessageType::REQUEST_URI, uri), SLOW, Layers::new());
    }
    router
}

fn config(correlation: Correlation, layers: Layers) -> EndpointConfig {
    EndpointConfig {
        correlation,
        layers,
        ..EndpointConfig::default()
    }
}

fn towards_ours(correlation: Correlation, seed: u8, requests: usize) {
    let layers = if seed.is_multiple_of(2) {
        outer()
    } else {
        Layers::new()
    };
    let config = config(correlation, layers);
    let server = OurServer::new(config.clone(), slow_routes());
    let mut pair = Pair::new(config, server, seed);
    pair.wire.longest = usize::from(seed) * 40;
    interleaved(&mut pair, seed, requests);
    assert_eq!(pair.server.connection.in_flight(), 0);
    pair.assert_at_rest();
}

fn towards_python(correlation: Correlation, seed: u8, requests: usize) {
    let layers = if seed.is_multiple_of(2) {
        outer()
    } else {
        Layers::new()
    };
    let config = config(correlation, layers.clone());
    let mut pair = Pair::new(config, PythonServer::new(layers), seed);
    pair.wire.longest = usize::from(seed) * 40;
    interleaved(&mut pair, seed, requests);
    pair.assert_at_rest();
}

#[test]
fn sixty_four_thousand_interleaved_requests_get_their_own_replies() {
    towards_ours(Correlation::RequestIds, 1, 1_000);
}

#[test]
fn so_they_do_from_a_peer_without_request_ids() {
    towards_python(Correlation::RequestIds, 1, 1_000);
}

#[test]
fn replies_belong_to_their_requests_however_the_bytes_are_cut() {
    for seed in 2..8 {
        towards_ours(Correlation::RequestIds, seed, 50);
        towards_python(Correlation::RequestIds, seed, 50);
    }
}

#[test]
fn replies_belong_to_their_requests_without_request_ids() {
    for seed in 2..8 {
        towards_ours(Correlation::Off, seed, 50);
        towards_python(Correlation::Off, seed, 50);
    }
    towards_ours(Correlation::Off, 1, 300);
}

#[test]
fn replies_take_their_time_and_still_find_their_requests() {
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        let config = config(correlation, Layers::new());
        let server = OurServer::new(config.clone(), slow_routes());
        let mut pair = Pair::new(config, server, 9);
        pair.wire.latency = std::time::Duration::from_millis(7);
        interleaved(&mut pair, 9, 20);
        assert!(pair.now >= at(20 * 14), "{:?}", pair.now);
    }
}
