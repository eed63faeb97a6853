//! Requests that are given up: their replies are nobody else's.

use std::time::Duration;

use netaio_proto::{
    Action, CloseReason, Correlation, EndpointConfig, Limits, MessageType, Request,
    RequestError, SendError,
};

use crate::frames::{at, message, poll_all, request, written};
use crate::pair::{Outcome, Pair, client, table_length};
use crate::python_server::PythonServer;
use crate::server::{OurServer, Server, outer};

fn python() -> Pair<PythonServer> {
    Pair::new(EndpointConfig::default(), PythonServer::plain(), 1)
}

fn ours(correlation: Correlation) -> Pair<OurServer> {
    let config = EndpointConfig {
        correlation,
        ..EndpointConfig::default()
    };
    Pair::new(config, OurServer::plain(), 1)
}

/// Lets the client see how this peer answers.
fn acquaint<S: Server>(pair: &mut Pair<S>) {
    let id = pair.ask("echo", "hello");
    pair.run_for(1);
    assert_eq!(pair.reply(id).text(), "hello");
}

#[track_caller]
fn closed_by<S>(pair: &Pair<S>) -> Option<&CloseReason> {
    use netaio_proto::Action::Closed;
    pair.actions.iter().find_map(|action| match action {
        Closed { reason } => Some(reason),
        _ => None,
    })
}

fn after_a_timeout<S: Server>(mut pair: Pair<S>) {
    let late = pair.ask_for(100, "slow", "300 late");
    pair.run_for(150);
    pair.assert_timed_out(late);
    let next = pair.ask("slow", "0 next");
    pair.run_for(1_000);
    assert_eq!(pair.reply(next).text(), "0 next");
    assert_eq!(pair.client.counters().late_replies, 1);
    assert_eq!(pair.client.counters().timeouts, 1);
    assert_eq!(closed_by(&pair), None);
    pair.assert_at_rest();
}

#[test]
fn after_a_timeout_the_next_request_gets_its_own_reply() {
    after_a_timeout(ours(Correlation::RequestIds));
    after_a_timeout(ours(Correlation::Off));
    after_a_timeout(python());
    let mut acquainted = python();
    acquaint(&mut acquainted);
    after_a_timeout(acquainted);
}

fn after_a_cancellation<S: Server>(mut pair: Pair<S>) {
    let cancelled = pair.ask("slow", "300 cancelled");
    pair.run_for(100);
    assert!(pair.cancel(cancelled));
    assert!(!pair.cancel(cancelled), "it has ended already");
    let next = pair.ask("slow", "0 next");
    pair.run_for(1_000);
    assert_eq!(pair.reply(next).text(), "0 next");
    assert!(pair.outcome(cancelled).is_none());
    assert_eq!(pair.client.counters().late_replies, 1);
    pair.assert_at_rest();
}

#[test]
fn after_a_cancellation_the_next_request_gets_its_own_reply() {
    after_a_cancellation(ours(Correlation::RequestIds));
    after_a_cancellation(ours(Correlation::Off));
    after_a_cancellation(python());
}

#[test]
fn a_late_reply_does_not_end_a_request_that_is_already_under_way() {
    for correlation in [Correlation::RequestIds, Correlation::Off] {
        let mut pair = ours(correlation);
        let late = pair.ask_for(100, "slow", "300 late");
        let other = pair.ask("slow", "400 other");
        pair.run_for(350);
        pair.assert_timed_out(late);
        assert!(pair.outcome(other).is_none());
        pair.run_for(100);
        assert_eq!(pair.reply(other).text(), "400 other");
    }
}

#[test]
fn a_timeout_says_what_had_been_asked() {
    let mut pair = python();
    let id = pair.ask_for(100, "never", "");
    pair.run_for(99);
    assert!(pair.outcome(id).is_none());
    pair.run_for(1);
    let Some(Outcome::TimedOut(context)) = pair.outcome(id) else {
        panic!("{:?}", pair.outcome(id));
    };
    assert_eq!(&context.uri[..], b"never");
    assert_eq!(context.message_type, MessageType::REQUEST_URI);
    assert_eq!(context.timeout, Duration::from_millis(100));
    assert_eq!(context.server, crate::pair::SERVER);
    let types: Vec<_> = context.keys.iter().map(|(kind, _)| *kind).collect();
    assert!(types.contains(&MessageType::RESPOND_URI));
    assert!(types.contains(&MessageType::NOT_PERMITTED));
    assert!(!types.contains(&MessageType::CONFIRM_SUBSCRIBE));
    assert!(context.keys.iter().all(|(_, uri)| &uri[..] == b"never"));
}

#[test]
fn the_time_of_an_undated_request_begins_when_the_time_is_told() {
    let mut client = client(EndpointConfig::default());
    let mut ask = || {
        let asked = Request::new(request("echo", ""));
        let asked = asked.timeout(Duration::from_millis(100));
        client.request_undated(asked).unwrap()
    };
    let (given_up, late) = (ask(), ask());
    written(&mut client);
    assert_eq!(client.poll_timeout(), None);
    assert!(client.cancel(at(1_000), given_up));
    client.handle_timeout(at(1_099));
    assert_eq!(client.poll_timeout(), Some(at(1_100)));
    assert!(poll_all(&mut client).is_empty());
    client.handle_timeout(at(1_100));
    assert!(matches!(
        &poll_all(&mut client)[..],
        [Action::TimedOut { request, .. }] if *request == late
    ));
}

#[test]
fn the_second_timeout_behind_a_first_closes_a_stream_without_ids() {
    let mut pair = python();
    acquaint(&mut pair);
    let bystander = pair.ask("never/2", "");
    let first = pair.ask_for(100, "never", "");
    pair.run_for(100);
    pair.assert_timed_out(first);
    assert_eq!(closed_by(&pair), None);
    let second = pair.ask_for(100, "never", "");
    pair.run_for(100);
    pair.assert_timed_out(second);
    let reason = CloseReason::OutOfStep;
    assert_eq!(closed_by(&pair), Some(&reason));
    let sent = true;
    let lost = RequestError::Disconnected { sent, reason };
    assert_eq!(pair.failure(bystander), &lost);
    assert!(pair.client.is_closed());
}

#[test]
fn a_swallowed_reply_that_may_have_been_the_next_ones_closes_the_stream() {
    let mut pair = python();
    acquaint(&mut pair);
    let first = pair.ask_for(100, "never", "");
    pair.run_for(100);
    pair.assert_timed_out(first);
    // The server answers this one, but nobody can know that it does.
    let second = Request::new(message(MessageType::CREATE_URI, "never", ""));
    let second = pair.send(second.timeout(Duration::from_millis(100)));
    let reply = message(MessageType::RESPOND_URI, "never", "whose?");
    let bytes = reply.encode().unwrap();
    pair.client.handle_input(pair.now, &bytes);
    pair.run_for(100);
    pair.assert_timed_out(second);
    assert_eq!(closed_by(&pair), Some(&CloseReason::OutOfStep));
}

#[test]
fn ten_timeouts_at_once_do_not_close_the_stream() {
    let mut pair = python();
    acquaint(&mut pair);
    let ids: Vec<_> = (0..10).map(|_| pair.ask_for(100, "never", "")).collect();
    pair.run_for(200);
    ids.iter().for_each(|id| pair.assert_timed_out(*id));
    assert_eq!(closed_by(&pair), None);
    acquaint(&mut pair);
}

#[test]
fn timeouts_never_close_a_stream_whose_peer_repeats_ids() {
    let mut pair = ours(Correlation::RequestIds);
    acquaint(&mut pair);
    for _ in 0..10 {
        let id = pair.ask_for(100, "never", "");
        pair.run_for(100);
        pair.assert_timed_out(id);
    }
    assert_eq!(closed_by(&pair), None);
    assert_eq!(table_length(&pair.client), 0, "no place is kept");
    acquaint(&mut pair);
}

#[test]
fn after_the_grace_nothing_is_left_of_a_request_that_was_given_up() {
    let config = EndpointConfig {
        limits: Limits {
            max_pending: 1,
            late_reply_grace: Duration::from_millis(500),
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let mut pair = Pair::new(config, PythonServer::plain(), 1);
    acquaint(&mut pair);
    let id = pair.ask_for(100, "never", "");
    pair.run_for(599);
    pair.assert_timed_out(id);
    let refused = pair
        .client
        .request(pair.now, Request::new(request("echo", "")));
    assert_eq!(refused, Err(SendError::TooManyPending { limit: 1 }));
    pair.run_for(1);
    pair.assert_at_rest();
    acquaint(&mut pair);
}

#[test]
fn a_peer_that_repeats_only_some_ids_gives_nobody_anothers_reply() {
    let mut server = PythonServer::plain();
    server.returns_requests_for = Some("echo");
    let mut pair = Pair::new(EndpointConfig::default(), server, 1);
    acquaint(&mut pair);
    let late = pair.ask_for(100, "slow", "300 late");
    pair.run_for(100);
    pair.assert_timed_out(late);
    assert_eq!(
        table_length(&pair.client),
        0,
        "so far all ids were repeated"
    );
    // Which of the two replies without an id that come now is whose cannot be
    // known: it keeps neither.
    let unlucky = pair.ask_for(1_000, "slow", "0 unlucky");
    pair.run_for(1_000);
    pair.assert_timed_out(unlucky);
    assert_eq!(pair.client.counters().late_replies, 2);
    acquaint(&mut pair);
    pair.run_for(61_000);
    let next = pair.ask("slow", "0 next");
    pair.run_for(1);
    assert_eq!(pair.reply(next).text(), "0 next");
    assert_eq!(closed_by(&pair), None);
    pair.assert_at_rest();
}

#[test]
fn a_late_raw_refusal_is_not_taken_for_the_next_requests() {
    let client = EndpointConfig {
        layers: outer(),
        ..EndpointConfig::default()
    };
    let layers = netaio_proto::Layers::new()
        .auth(netaio_proto::HmacAuthPlugin::new("another secret"));
    let mut pair = Pair::new(client, PythonServer::new(layers), 1);
    pair.wire.latency = Duration::from_millis(100);
    let cancelled = pair.ask("echo", "");
    pair.run_for(50);
    assert!(pair.cancel(cancelled));
    let next = pair.ask("echo", "");
    // The first refusal comes after 200 ms, the second after 250 ms.
    pair.run_for(180);
    assert!(pair.outcome(next).is_none(), "{:?}", pair.outcome(next));
    assert_eq!(pair.client.counters().late_replies, 1);
    pair.run_for(50);
    assert!(matches!(
        pair.failure(next),
        RequestError::Unauthorized {
            verified: false,
            ..
        }
    ));
}

/// A thousand at a time, every other one cancelled, the rest timed out.
fn a_hundred_thousand_given_up<S: Server>(mut pair: Pair<S>, pause: u64) {
    let mut timeouts = 0;
    pair.outcomes.clear();
    for _ in 0..100 {
        for n in 0..1_000 {
            let id = pair.ask_for(100, "silent", "");
            if n % 2 == 0 {
                assert!(pair.cancel(id));
            }
        }
        pair.run_for(100);
        timeouts += pair.outcomes.len();
        let timed_out = |(_, outcome): &_| matches!(outcome, Outcome::TimedOut(_));
        assert!(pair.outcomes.drain(..).all(|outcome| timed_out(&outcome)));
        pair.run_for(pause);
    }
    assert_eq!(timeouts, 50_000);
    pair.assert_at_rest();
}

#[test]
fn a_hundred_thousand_requests_given_up_leave_nothing_behind() {
    let mut pair = ours(Correlation::RequestIds);
    pair.wire.longest = 10_000;
    acquaint(&mut pair);
    a_hundred_thousand_given_up(pair, 0);
    let mut pair = ours(Correlation::Off);
    pair.wire.longest = 10_000;
    a_hundred_thousand_given_up(pair, 60_000);
}
