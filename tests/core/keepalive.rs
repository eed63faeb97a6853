//! Asking for a sign of life: a peer that has gone without a word is found, and
//! no other is disturbed.

use std::time::Duration;

use netaio_proto::{
    Action, AuthFields, CloseReason, Correlation, EndpointConfig, HmacAuthPlugin,
    Keepalive, Layers, Limits, MessageType, Role,
};

use crate::frames::{at, message, poll_all, request, tokens, written};
use crate::pair::{Pair, client};
use crate::python_server::PythonServer;
use crate::server::{OurServer, routes, server};

/// Every ten seconds, twice in vain at most.
fn alive() -> EndpointConfig {
    EndpointConfig {
        keepalive: Some(Keepalive::new(Duration::from_secs(10))),
        ..patient()
    }
}

/// Frames may take as long as they like.
fn patient() -> EndpointConfig {
    EndpointConfig {
        limits: Limits {
            header_timeout: None,
            frame_timeout: None,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    }
}

#[track_caller]
fn assert_open<S: crate::server::Server>(pair: &Pair<S>) {
    assert!(!pair.client.is_closing(), "{:?}", pair.client);
    assert!(pair.actions.is_empty(), "{:?}", pair.actions);
    assert!(pair.outcomes.is_empty(), "{:?}", pair.outcomes);
}

#[test]
fn r06_a_peer_that_gives_no_sign_of_life_is_given_up() {
    let mut client = client(alive());
    assert_eq!(client.poll_timeout(), Some(at(10_000)));
    client.handle_timeout(at(10_000));
    let asked = written(&mut client);
    assert!(!asked.is_empty(), "it asks");
    assert_eq!(client.pending(), 0, "but not for the caller");
    // It asks once: a stream loses nothing.
    assert_eq!(client.poll_timeout(), Some(at(30_000)));
    client.handle_timeout(at(29_999));
    assert!(written(&mut client).is_empty());
    client.handle_timeout(at(30_000));
    let actions = poll_all(&mut client);
    assert!(
        matches!(
            &actions[..],
            [Action::Closed {
                reason: CloseReason::KeepaliveTimeout
            }]
        ),
        "{actions:?}"
    );
}

#[test]
fn one_that_answers_is_asked_again_and_again_and_no_handler_hears_of_it() {
    let server = OurServer::new(patient(), routes());
    let mut pair = Pair::new(alive(), server, 1);
    pair.run_for(100_500);
    assert_open(&pair);
    assert!(pair.server.handled.is_empty());
    assert!(pair.server.actions.is_empty());
    assert_eq!(pair.client.counters().probes, 10);
    assert_eq!(pair.client.counters().requests, 10);
    assert_eq!(pair.client.counters().replies, 0, "none of the caller's");
}

#[test]
fn layers_are_kept_and_a_refusal_is_a_sign_of_life_too() {
    let with = |secret: &str| EndpointConfig {
        layers: Layers::new().auth(HmacAuthPlugin::new(secret)),
        ..alive()
    };
    for (secret, refused) in [("ours", false), ("another", true)] {
        let config = EndpointConfig {
            role: Role::Server,
            ..with(secret)
        };
        let server = OurServer::new(config, routes());
        let mut pair = Pair::new(with("ours"), server, 2);
        pair.run_for(45_000);
        assert_open(&pair);
        let failures = pair.server.connection.counters().auth_failures;
        assert_eq!(failures > 0, refused);
    }
}

#[test]
fn python_answers_that_it_does_not_know_the_uri_and_that_is_enough() {
    let mut pair = Pair::new(alive(), PythonServer::plain(), 3);
    pair.run_for(45_000);
    assert_open(&pair);
    assert_eq!(pair.server.handled, [Keepalive::URI; 4]);
    // Its unlabelled errors are still told apart.
    let id = pair.ask("nothing", "");
    pair.run_for(100);
    assert_eq!(pair.reply(id).message_type(), MessageType::NOT_FOUND);
}

#[test]
fn python_is_not_asked_while_a_request_waits_whose_error_could_be_the_answer() {
    let mut pair = Pair::new(alive(), PythonServer::plain(), 4);
    let id = pair.ask_for(40_000, "never", "");
    pair.run_for(39_000);
    assert_open(&pair);
    assert_eq!(pair.client.counters().probes, 0);
    pair.run_for(2_000);
    pair.assert_timed_out(id);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut client = client(alive());
    let notice = message(MessageType::NOTIFY_URI, "news", "")
        .encode()
        .unwrap();
    for (turn, byte) in notice.iter().enumerate() {
        let now = at(9_000 * (turn as u64 + 1));
        client.handle_timeout(now);
        client.handle_input(now, &[*byte]);
    }
    assert!(!client.is_closing());
    assert_eq!(client.counters().probes, 0);
}

#[test]
fn a_late_look_at_the_clock_asks_before_it_gives_up() {
    let mut client = client(alive());
    // The host had been asleep.
    client.handle_timeout(at(5_000_000));
    assert!(!client.is_closing());
    assert_eq!(client.poll_timeout(), Some(at(5_020_000)));
}

#[test]
fn a_server_asks_only_clients_that_send_ids() {
    let config = |correlation| EndpointConfig {
        correlation,
        ..EndpointConfig::default()
    };
    for (correlation, asked) in
        [(Correlation::RequestIds, true), (Correlation::Off, false)]
    {
        let ours = EndpointConfig {
            role: Role::Server,
            ..alive()
        };
        let server = OurServer::new(ours, routes());
        let mut pair = Pair::new(config(correlation), server, 5);
        let id = pair.ask("echo", "hello");
        pair.run_for(100_000);
        let _ = pair.reply(id);
        assert!(!pair.server.connection.is_closing());
        assert!(pair.actions.is_empty(), "{:?}", pair.actions);
        let probes = pair.server.connection.counters().probes;
        assert_eq!(probes > 0, asked, "{correlation:?}");
    }
}

#[test]
fn a_peer_that_is_not_read_from_is_not_blamed_for_it() {
    let mut ours = EndpointConfig {
        role: Role::Server,
        ..alive()
    };
    ours.limits.max_in_flight = 1;
    ours.limits.held_up_timeout = None;
    let mut server = server(ours, routes());
    let id = |content| {
        let mut message = request("never", content);
        let fields = message.fields_mut();
        fields.set_bytes(AuthFields::RID, &[7; 8]).unwrap();
        message.encode().unwrap()
    };
    server.handle_input(at(0), &id("one"));
    server.handle_input(at(0), &id("two"));
    let [_token] = tokens(&mut server);
    assert!(!server.wants_read());
    for second in 1..100 {
        server.handle_timeout(at(second * 1_000));
    }
    assert!(!server.is_closing());
}

#[test]
fn a_shutdown_does_not_wait_for_a_sign_of_life() {
    let mut client = client(alive());
    client.handle_timeout(at(10_000));
    let _ = written(&mut client);
    client.shutdown(at(10_001), Duration::from_secs(60));
    let actions = poll_all(&mut client);
    assert!(
        matches!(
            &actions[..],
            [Action::Closed {
                reason: CloseReason::Shutdown
            }]
        ),
        "{actions:?}"
    );
}

#[test]
fn the_shortest_interval_is_a_millisecond_and_one_miss_is_the_least() {
    let mut config = alive();
    config.keepalive = Some(Keepalive::new(Duration::ZERO).misses(0));
    let mut client = client(config);
    assert_eq!(client.poll_timeout(), Some(at(1)));
    client.handle_timeout(at(1));
    assert_eq!(client.poll_timeout(), Some(at(2)));
}
