//! How connections end, and what becomes of what was under way.

use std::time::Duration;

use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Connection, EndpointConfig, Instant, Layers, Limits,
    MessageType, MessageTypes, Outgoing, Request, RequestError, SendError,
};

use crate::frames::{at, frames, message, poll_all, request, tokens, written};
use crate::pair::{Pair, client, table_length};
use crate::server::{OurServer, Server as _, routes, server};

fn plain() -> Connection {
    client(EndpointConfig::default())
}

fn ask(client: &mut Connection, content: &str) {
    let asked = Request::new(request("echo", content));
    client.request(at(0), asked).unwrap();
}

/// The reason of the last action, which must be the only one of its kind.
#[track_caller]
fn closed(actions: &[Action]) -> &CloseReason {
    let count = actions
        .iter()
        .filter(|action| matches!(action, Action::Closed { .. }))
        .count();
    assert_eq!(count, 1, "{actions:?}");
    match actions.last() {
        Some(Action::Closed { reason }) => reason,
        other => panic!("not closed, but {other:?}"),
    }
}

/// For each request that failed as disconnected, whether it had been sent.
fn sent(actions: &[Action]) -> Vec<bool> {
    let sent = |action: &Action| match action {
        Action::Failed {
            error: RequestError::Disconnected { sent, .. },
            ..
        } => Some(*sent),
        _ => None,
    };
    actions.iter().filter_map(sent).collect()
}

#[test]
fn an_end_of_stream_fails_every_request_and_tells_whether_it_was_sent() {
    let mut client = plain();
    ask(&mut client, "1");
    ask(&mut client, "2");
    let both = client.outgoing().remaining();
    ask(&mut client, "3");
    ask(&mut client, "4");
    client.outgoing().advance(both);
    client.handle_eof(at(1));
    let actions = poll_all(&mut client);
    assert_eq!(sent(&actions), [true, true, false, false]);
    assert_eq!(closed(&actions), &CloseReason::Eof);
    assert!(client.is_closed());
}

/// Asks four times, of which the second has left in part, and has something
/// else to say in between.
fn half_sent() -> Connection {
    let mut client = plain();
    ask(&mut client, "1");
    let first = client.outgoing().remaining();
    ask(&mut client, "2");
    ask(&mut client, "3");
    let news = message(MessageType::NOTIFY_URI, "news", "between");
    client.send(at(0), news, &Layers::new()).unwrap();
    ask(&mut client, &"4".repeat(10_000));
    client.outgoing().advance(first + 5);
    client
}

/// What is still written, and which requests were said to have been sent.
fn still_written(client: &mut Connection) -> (Vec<String>, Vec<bool>) {
    let mut asked = plain();
    ask(&mut asked, "2");
    let mut bytes = written(&mut asked)[..5].to_vec();
    let actions = poll_all(client);
    bytes.extend(written(client));
    // What came out in two halves is one frame.
    let texts = frames(&bytes)
        .iter()
        .map(|m| m.text().into_owned())
        .collect();
    (texts, sent(&actions))
}

#[test]
fn what_is_said_not_to_have_been_sent_is_not_sent_afterwards() {
    let expected = vec!["2".to_owned(), "between".to_owned()];
    let told = vec![true, true, false, false];
    let mut client = half_sent();
    client.handle_eof(at(1));
    assert_eq!(still_written(&mut client), (expected.clone(), told.clone()));
    assert_eq!(closed(&poll_all(&mut client)), &CloseReason::Eof);

    let mut client = half_sent();
    client.finish(at(1), Duration::from_secs(1));
    assert_eq!(still_written(&mut client), (expected, told));
    assert_eq!(closed(&poll_all(&mut client)), &CloseReason::Local);

    // What somebody else is about to write counts as sent.
    let mut client = half_sent();
    let mut taken = Outgoing::new();
    client.take_outgoing(&mut taken);
    client.finish(at(1), Duration::from_secs(1));
    assert_eq!(sent(&poll_all(&mut client)), [true; 4]);
}

#[test]
fn a_request_counts_as_sent_with_its_last_byte_and_not_before() {
    for missing in [0, 1] {
        let mut client = plain();
        ask(&mut client, "1");
        let mut taken = Outgoing::new();
        client.take_outgoing(&mut taken);
        let count = taken.remaining() - missing;
        client.handle_written(at(0), count);
        client.close(at(1), CloseReason::Local);
        let actions = poll_all(&mut client);
        assert_eq!(sent(&actions), [missing == 0]);
        assert_eq!(closed(&actions), &CloseReason::Local);
    }
}

#[test]
fn ten_thousand_pending_requests_all_fail_at_the_end_of_the_stream() {
    let mut client = plain();
    for n in 0..10_000 {
        ask(&mut client, &n.to_string());
    }
    let total = client.outgoing().remaining();
    client.outgoing().advance(total);
    assert_eq!(client.pending(), 10_000);
    client.handle_eof(at(1));
    let actions = poll_all(&mut client);
    assert_eq!(sent(&actions), vec![true; 10_000]);
    assert_eq!(closed(&actions), &CloseReason::Eof);
    assert_eq!(table_length(&client), 0);
    assert_eq!(client.poll_timeout(), None);
    let asked = Request::new(request("echo", ""));
    assert_eq!(client.request(at(2), asked), Err(SendError::Closed));
}

/// Works until nothing more happens by itself, and gives what was written.
fn run(server: &mut OurServer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut now = Instant::EPOCH;
    loop {
        while server.work(now) {}
        bytes.extend(written(&mut server.connection));
        while server.work(now) {}
        match server.wakeup() {
            Some(next) => now = next,
            None => return bytes,
        }
    }
}

#[test]
fn a_peer_that_half_closes_gets_all_its_answers_and_then_the_end() {
    let mut server = OurServer::plain();
    for n in 0..1_000 {
        let delay = n % 7;
        let asked = request("slow", &format!("{delay} {n}"));
        server.receive(at(0), &asked.encode().unwrap());
    }
    server.connection.handle_eof(at(0));
    let answers = frames(&run(&mut server));
    assert_eq!(answers.len(), 1_000);
    assert_eq!(closed(&server.actions), &CloseReason::Eof);
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_told_apart() {
    let asked = request("echo", "").encode().unwrap();
    for cut in 1..asked.len() {
        let mut server = OurServer::plain();
        server.receive(at(0), &asked);
        server.receive(at(0), &asked[..cut]);
        server.connection.handle_eof(at(0));
        assert_eq!(frames(&run(&mut server)).len(), 1);
        assert_eq!(closed(&server.actions), &CloseReason::UnexpectedEof);
        assert_eq!(server.handled.len(), 1, "the whole one only");
    }
}

#[test]
fn after_the_end_of_the_stream_a_hanging_handler_is_waited_for_so_long_only() {
    // One request more than may be in flight, so that one is not yet decoded.
    for asked in [1, 257] {
        let mut server = server(EndpointConfig::default(), routes());
        for _ in 0..asked {
            let asked = request("never", "").encode().unwrap();
            server.handle_input(at(0), &asked);
        }
        server.handle_eof(at(0));
        let actions = poll_all(&mut server);
        assert!(actions.len() >= asked.min(256));
        let deadline = server.poll_timeout();
        assert_eq!(deadline, Some(at(30_000)), "{asked}");
        server.handle_timeout(at(30_000));
        assert_eq!(closed(&poll_all(&mut server)), &CloseReason::Eof);
    }
}

#[test]
fn a_shutdown_answers_what_was_accepted_and_then_ends() {
    let mut pair = Pair::new(EndpointConfig::default(), OurServer::plain(), 1);
    let ids = ["300", "200", "100"].map(|content| pair.ask("slow", content));
    pair.run_for(50);
    let server = &mut pair.server.connection;
    server.shutdown(pair.now, Duration::from_secs(5));
    let refused = server.request(pair.now, Request::new(request("echo", "")));
    assert_eq!(refused, Err(SendError::Closed));
    let notice = message(MessageType::NOTIFY_URI, "news", "");
    let refused = server.send(pair.now, notice, &Default::default());
    assert_eq!(refused, Err(SendError::Closed));
    // Too late to be accepted.
    let late = pair.ask("echo", "");
    pair.run_for(200);
    assert!(!pair.server.connection.is_closed());
    pair.run_for(100);
    for id in ids {
        assert_eq!(pair.reply(id).message_type(), MessageType::RESPOND_URI);
    }
    assert!(pair.server.connection.is_closed());
    assert_eq!(closed(&pair.server.actions), &CloseReason::Shutdown);
    assert!(pair.outcome(late).is_none());
    assert_eq!(pair.server.handled.len(), 3);
}

#[test]
fn a_shutdown_ends_at_its_deadline_if_a_handler_hangs() {
    let mut pair = Pair::new(EndpointConfig::default(), OurServer::plain(), 1);
    let hanging = pair.ask("never", "");
    let quick = pair.ask("slow", "10");
    pair.run_for(1);
    let server = &mut pair.server.connection;
    server.shutdown(pair.now, Duration::from_secs(5));
    assert_eq!(server.poll_timeout(), Some(at(5_001)));
    pair.run_for(4_999);
    assert!(!pair.server.connection.is_closed());
    pair.run_for(1);
    assert_eq!(closed(&pair.server.actions), &CloseReason::Shutdown);
    assert_eq!(pair.reply(quick).text(), "10");
    assert!(pair.outcome(hanging).is_none());
}

#[test]
fn a_shutdown_waits_for_replies_to_own_requests_and_finish_does_not() {
    let mut pair = Pair::new(EndpointConfig::default(), OurServer::plain(), 1);
    let id = pair.ask("slow", "100");
    pair.run_for(1);
    pair.client.shutdown(pair.now, Duration::from_secs(5));
    pair.run_for(100);
    assert_eq!(pair.reply(id).text(), "100");
    assert_eq!(closed(&pair.actions), &CloseReason::Shutdown);

    let mut pair = Pair::new(EndpointConfig::default(), OurServer::plain(), 1);
    let id = pair.ask("slow", "100");
    pair.run_for(1);
    pair.client.finish(pair.now, Duration::from_secs(5));
    pair.run_for(0);
    let lost = RequestError::Disconnected {
        sent: true,
        reason: CloseReason::Local,
    };
    assert_eq!(pair.failure(id), &lost);
    assert_eq!(closed(&pair.actions), &CloseReason::Local);
}

#[test]
fn a_shutdown_waits_for_replies_of_a_custom_type_too() {
    let mut types = MessageTypes::default();
    let pong = types.register("PONG", 77).unwrap();
    let mut client = client(EndpointConfig {
        types,
        ..EndpointConfig::default()
    });
    let asked = Request::new(request("ping", "")).accept(pong);
    let id = client.request(at(0), asked).unwrap();
    let _ = written(&mut client);
    client.shutdown(at(0), Duration::from_secs(5));
    let reply = message(pong, "ping", "").encode().unwrap();
    client.handle_input(at(1), &reply);
    let actions = poll_all(&mut client);
    assert!(
        matches!(&actions[..], [Action::Reply { request, .. }, _] if *request == id),
        "{actions:?}"
    );
    assert_eq!(closed(&actions), &CloseReason::Shutdown);
}

#[test]
fn what_comes_after_a_shutdown_is_not_accepted_even_if_the_peer_then_leaves() {
    for leaves in [false, true] {
        let mut server = server(EndpointConfig::default(), routes());
        let asked = request("never", "").encode().unwrap();
        server.handle_input(at(0), &asked);
        let [token] = tokens(&mut server);
        server.shutdown(at(0), Duration::from_secs(5));
        server.handle_input(at(1), &asked);
        if leaves {
            server.handle_eof(at(1));
        }
        assert!(poll_all(&mut server).is_empty());
        assert_eq!(server.in_flight(), 1);
        server.no_reply(token);
        let actions = poll_all(&mut server);
        assert_eq!(closed(&actions), &CloseReason::Shutdown);
    }
}

#[test]
fn a_shutdown_with_nothing_to_do_ends_when_all_is_written() {
    let mut client = plain();
    let notice = message(MessageType::NOTIFY_URI, "news", "");
    client.send(at(0), notice, &Default::default()).unwrap();
    client.shutdown(at(0), Duration::from_secs(5));
    assert!(poll_all(&mut client).is_empty());
    assert_eq!(frames(&written(&mut client)).len(), 1);
    assert_eq!(closed(&poll_all(&mut client)), &CloseReason::Shutdown);
    assert!(poll_all(&mut client).is_empty());
}

#[test]
fn the_drain_deadline_is_a_limit_that_can_be_set() {
    let limits = Limits {
        drain_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let config = EndpointConfig {
        limits,
        ..EndpointConfig::default()
    };
    let mut server = server(config, routes());
    let asked = request("never", "").encode().unwrap();
    server.handle_input(at(0), &asked);
    server.handle_eof(at(500));
    let [_token] = tokens(&mut server);
    assert_eq!(server.poll_timeout(), Some(at(1_500)));
}
