//! Every bound: what is waited for, kept and put up with, and no more.

use std::time::Duration;

use bytes::Buf as _;
use netaio_proto::{
    Action, CloseReason, Connection, EndpointConfig, Header, Layers, Limits,
    MessageType, Request, SendError,
};

use crate::frames::{
    at, frames, message, poll_all, request, sent_rid, tokens, written,
};
use crate::pair::{Pair, client};
use crate::server::{OurServer, routes, server};

fn limited(limits: Limits) -> EndpointConfig {
    EndpointConfig {
        limits,
        ..EndpointConfig::default()
    }
}

fn echo() -> Vec<u8> {
    request("echo", "hello").encode().unwrap()
}

fn never() -> Vec<u8> {
    request("never", "").encode().unwrap()
}

fn plain_server() -> Connection {
    server(EndpointConfig::default(), routes())
}

/// It is closed by its next deadline, which is this one, and not before.
#[track_caller]
fn assert_closes(connection: &mut Connection, ms: u64, reason: &CloseReason) {
    assert_eq!(connection.poll_timeout(), Some(at(ms)));
    connection.handle_timeout(at(ms - 1));
    assert!(!connection.is_closing());
    connection.handle_timeout(at(ms));
    assert!(connection.is_closing());
    let closed = |action: &Action| match action {
        Action::Closed { reason: actual } => actual == reason,
        _ => false,
    };
    let actions = poll_all(connection);
    assert!(actions.last().is_some_and(closed), "{actions:?}");
    assert_eq!(connection.poll_timeout(), None);
}

/// The loop that `Connection`'s page gives, and nothing else.
#[test]
fn r16_what_waits_for_room_is_due_as_soon_as_there_is_some() {
    const REQUESTS: usize = 40;
    let big = vec![7; 60_000];
    let mut server = plain_server();
    server.handle_input(at(0), &echo().repeat(REQUESTS));
    let (mut replies, mut turns) = (0, 0);
    loop {
        server.handle_timeout(at(1));
        while let Some(action) = server.poll_action() {
            let Action::Dispatch { message, reply, .. } = action else {
                panic!("{action:?}");
            };
            let reply_to = reply.expect("it can be answered");
            let reply = message.respond(&big).unwrap();
            server.reply(at(1), reply_to, reply).unwrap();
        }
        replies += frames(&written(&mut server)).len();
        turns += 1;
        match server.poll_timeout() {
            Some(due) if due <= at(1) => {}
            later => break assert_eq!(later, None),
        }
    }
    assert_eq!(replies, REQUESTS);
    assert!(turns > 1, "there was no room for all at once");
}

#[test]
fn what_waited_and_comes_too_late_is_not_due_for_ever() {
    let mut server = server(
        limited(Limits {
            max_in_flight: 1,
            ..Limits::default()
        }),
        routes(),
    );
    server.handle_input(at(0), &[never(), echo()].concat());
    assert_eq!(poll_all(&mut server).len(), 1, "the other one waits");
    server.shutdown(at(1), Duration::from_secs(5));
    assert!(server.poll_action().is_none());
    assert_eq!(server.poll_timeout(), Some(at(5_001)));
}

#[test]
fn an_accepted_connection_that_sends_nothing_is_closed() {
    let mut server = plain_server();
    assert_closes(&mut server, 10_000, &CloseReason::HeaderTimeout);
}

#[test]
fn a_header_that_comes_byte_by_byte_must_come_in_time() {
    let mut server = plain_server();
    for (second, byte) in echo()[..8].iter().enumerate() {
        server.handle_input(at(1_000 * second as u64), &[*byte]);
        assert!(server.poll_action().is_none());
    }
    assert_closes(&mut server, 10_000, &CloseReason::HeaderTimeout);
}

#[test]
fn later_headers_are_timed_from_their_first_byte() {
    for mut connection in [plain_server(), client(EndpointConfig::default())] {
        connection.handle_input(at(1_000), &echo());
        let _ = poll_all(&mut connection);
        let _ = written(&mut connection);
        assert_eq!(connection.poll_timeout(), None, "it may be silent now");
        connection.handle_input(at(50_000), &echo()[..1]);
        connection.handle_input(at(55_000), &echo()[1..2]);
        assert_closes(&mut connection, 60_000, &CloseReason::HeaderTimeout);
    }
}

#[test]
fn a_client_waits_for_its_first_header_as_long_as_it_takes() {
    let client = client(EndpointConfig::default());
    assert_eq!(client.poll_timeout(), None);
}

#[test]
fn a_frame_must_be_complete_in_time_from_its_header_on() {
    let mut server = plain_server();
    server.handle_input(at(5_000), &echo()[..9]);
    server.handle_input(at(20_000), &echo()[9..12]);
    assert!(server.poll_action().is_none());
    assert_closes(&mut server, 35_000, &CloseReason::FrameTimeout);
}

#[test]
fn a_complete_frame_that_waits_to_be_polled_is_not_late() {
    let mut server = plain_server();
    server.handle_input(at(0), &echo());
    server.handle_input(at(0), &echo()[..3]);
    assert_eq!(server.poll_timeout(), None);
    server.handle_timeout(at(100_000));
    assert!(!server.is_closing());
    assert_eq!(tokens::<1>(&mut server).len(), 1);
    assert_closes(&mut server, 110_000, &CloseReason::HeaderTimeout);
}

#[test]
fn a_connection_is_idle_when_no_byte_came_or_went() {
    let limits = Limits {
        idle_timeout: Some(Duration::from_secs(60)),
        ..Limits::default()
    };
    let mut client = client(limited(limits));
    assert_eq!(client.poll_timeout(), Some(at(60_000)));
    client.handle_input(at(10_000), &echo());
    let _ = poll_all(&mut client);
    assert_eq!(client.poll_timeout(), Some(at(70_000)));
    let notice = message(MessageType::NOTIFY_URI, "news", "");
    client.send(at(60_000), notice, &Layers::new()).unwrap();
    assert_eq!(written(&mut client).len(), 18);
    client.handle_timeout(at(70_000));
    assert!(!client.is_closing(), "something was written");
    assert_closes(&mut client, 130_000, &CloseReason::Idle);
}

#[test]
fn a_peer_that_takes_no_byte_for_a_while_is_given_up() {
    let mut client = client(EndpointConfig::default());
    let notice = || message(MessageType::NOTIFY_URI, "news", "");
    client.send(at(1_000), notice(), &Layers::new()).unwrap();
    assert_eq!(client.poll_timeout(), Some(at(31_000)));
    client.outgoing().advance(1);
    client.handle_timeout(at(31_000));
    assert!(!client.is_closing(), "one byte is enough");
    client.send(at(50_000), notice(), &Layers::new()).unwrap();
    assert_closes(&mut client, 61_000, &CloseReason::WriteStalled);
}

#[test]
fn what_waits_to_be_written_has_its_time_from_when_it_began_to_wait() {
    let mut client = client(EndpointConfig::default());
    let none = Layers::new();
    let notice = || message(MessageType::NOTIFY_URI, "x", "");
    client.send(at(0), notice(), &none).unwrap();
    let _ = written(&mut client);
    client.send(at(100_000), notice(), &none).unwrap();
    assert_eq!(client.poll_timeout(), Some(at(130_000)));
}

#[test]
fn nothing_stalls_when_nothing_waits_to_be_written() {
    let mut client = client(EndpointConfig::default());
    let notice = || message(MessageType::NOTIFY_URI, "news", "");
    client.send(at(1_000), notice(), &Layers::new()).unwrap();
    let _ = written(&mut client);
    assert_eq!(client.poll_timeout(), None);
    client.send(at(90_000), notice(), &Layers::new()).unwrap();
    // However long the last one took is not held against this one.
    client.handle_timeout(at(90_000));
    assert_closes(&mut client, 120_000, &CloseReason::WriteStalled);
}

#[test]
fn reading_stops_while_too_many_requests_are_in_flight() {
    let limits = Limits {
        max_in_flight: 2,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    for _ in 0..5 {
        server.handle_input(at(0), &never());
    }
    let [one, two] = tokens(&mut server);
    assert_eq!(server.in_flight(), 2);
    assert!(!server.wants_read());
    server.no_reply(one);
    assert!(server.poll_action().is_some());
    assert!(!server.wants_read());
    server.no_reply(two);
    assert!(server.poll_action().is_some());
    assert!(server.poll_action().is_none());
    assert!(!server.wants_read(), "the fifth still waits");
}

#[test]
fn reading_goes_on_when_nothing_is_held_up() {
    let mut server = plain_server();
    for _ in 0..256 + 3 {
        server.handle_input(at(0), &never());
    }
    let mut tokens = tokens::<256>(&mut server).into_iter();
    assert!(!server.wants_read());
    tokens
        .by_ref()
        .take(3)
        .for_each(|token| server.no_reply(token));
    assert_eq!(crate::frames::tokens::<3>(&mut server).len(), 3);
    tokens.for_each(|token| server.no_reply(token));
    assert!(server.wants_read());
}

#[test]
fn replies_get_through_while_too_many_requests_are_in_flight() {
    let limits = Limits {
        max_in_flight: 1,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    server.handle_input(at(0), &never());
    let [token] = tokens(&mut server);
    // Its handler asks something of its own before it answers.
    let id = server.request(at(0), Request::new(request("you", "")));
    assert_eq!(sent_rid(&mut server).len(), 8);
    assert!(server.wants_read());
    let reply = message(MessageType::RESPOND_URI, "you", "")
        .encode()
        .unwrap();
    server.handle_input(at(0), &reply);
    let actions = poll_all(&mut server);
    assert!(
        matches!(&actions[..], [Action::Reply { request, .. }]
            if Ok(*request) == id.clone()),
        "{actions:?}"
    );
    server.no_reply(token);
}

#[test]
fn a_request_that_will_have_to_wait_can_be_completed_in_time() {
    let limits = Limits {
        max_in_flight: 1,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    server.handle_input(at(0), &never());
    let [token] = tokens(&mut server);
    server.handle_input(at(0), &never()[..12]);
    assert!(server.wants_read());
    assert_eq!(server.poll_timeout(), Some(at(30_000)));
    server.handle_input(at(29_000), &never()[12..]);
    assert!(!server.wants_read());
    assert_eq!(server.poll_timeout(), None);
    assert!(server.poll_action().is_none());
    server.no_reply(token);
    let [_token] = tokens(&mut server);
    assert!(server.wants_read());
}

#[test]
fn reading_stops_while_the_peer_does_not_take_its_replies() {
    let mut server = plain_server();
    let content = "x".repeat(60_000);
    let asked = request("echo", &content).encode().unwrap();
    let mut answered = 0;
    while server.wants_read() {
        server.handle_input(at(0), &asked);
        for action in poll_all(&mut server) {
            let Action::Dispatch {
                message,
                reply: Some(token),
                ..
            } = action
            else {
                panic!("{action:?}");
            };
            let answer = message.respond(message.content()).unwrap();
            server.reply(at(0), token, answer).unwrap();
            answered += 1;
        }
        assert!(answered < 10);
    }
    assert_eq!(answered, 5);
    assert!(server.queued() >= 256 * 1024);
    let _ = written(&mut server);
    assert!(poll_all(&mut server).len() <= 1);
    assert!(server.wants_read());
}

#[test]
fn reading_stops_while_actions_are_not_polled() {
    let mut server = plain_server();
    let mut fed = 0;
    while server.wants_read() {
        server.handle_input(at(0), &echo());
        fed += 1;
    }
    assert!(fed * echo().len() < Header::MAX_FRAME + echo().len());
    let mut served = 0;
    while let Some(action) = server.poll_action() {
        let Action::Dispatch { reply, .. } = action else {
            panic!("{action:?}");
        };
        server.no_reply(reply.expect("a request"));
        served += 1;
    }
    assert_eq!(served, fed);
    assert!(server.wants_read());
}

#[test]
fn a_client_that_pipelines_a_lot_over_a_narrow_wire_gets_all_its_replies() {
    let mut pair = Pair::new(EndpointConfig::default(), OurServer::plain(), 1);
    pair.wire.capacity = 64 * 1024;
    pair.wire.longest = 30_000;
    let content = "x".repeat(10_000);
    let ids: Vec<_> = (0..200)
        .map(|n| pair.ask("echo", &format!("{n} {content}")))
        .collect();
    assert!(pair.client.queued() > 4 * 256 * 1024);
    pair.drive();
    for (n, id) in ids.into_iter().enumerate() {
        let start = format!("{n} x");
        assert!(pair.reply(id).text().starts_with(&start));
    }
    pair.assert_at_rest();
}

#[test]
fn so_many_requests_may_be_pending_and_no_more() {
    let limits = Limits {
        max_pending: 10,
        ..Limits::default()
    };
    let mut client = client(limited(limits));
    let asked = || Request::new(request("echo", ""));
    for _ in 0..10 {
        client.request(at(0), asked()).unwrap();
    }
    let before = client.queued();
    let refused = client.request(at(0), asked());
    assert_eq!(refused, Err(SendError::TooManyPending { limit: 10 }));
    assert_eq!((client.queued(), client.pending()), (before, 10));
    let reply = message(MessageType::RESPOND_URI, "echo", "")
        .encode()
        .unwrap();
    client.handle_input(at(0), &reply);
    assert_eq!(poll_all(&mut client).len(), 1);
    assert!(client.request(at(0), asked()).is_ok());
}

#[test]
fn so_many_bytes_may_wait_and_no_more_but_replies_still_find_room() {
    let limits = Limits {
        max_outgoing: 1_000,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    server.handle_input(at(0), &never());
    let [token] = tokens(&mut server);
    let notice = || message(MessageType::NOTIFY_URI, "news", &"x".repeat(500));
    for _ in 0..2 {
        server.send(at(0), notice(), &Layers::new()).unwrap();
    }
    let full = SendError::OutgoingFull { limit: 1_000 };
    let refused = server.send(at(0), notice(), &Layers::new());
    assert_eq!(refused, Err(full.clone()));
    let refused = server.request(at(0), Request::new(request("you", "")));
    assert_eq!(refused, Err(full));
    assert_eq!(server.pending(), 0);
    let answer = message(MessageType::OK, "never", "");
    server.reply(at(0), token, answer).unwrap();
    assert_eq!(frames(&written(&mut server)).len(), 3);
    server.send(at(0), notice(), &Layers::new()).unwrap();
}

#[test]
fn r15_too_many_bad_messages_within_a_minute_close_the_connection() {
    let mut damaged = echo();
    damaged[5] ^= 1;
    let mut server = plain_server();
    let feed = |server: &mut Connection, ms| {
        server.handle_input(at(ms), &damaged);
        let actions = poll_all(server);
        let _ = written(server);
        actions
    };
    for n in 0..100 {
        assert_eq!(feed(&mut server, 1_000 + n).len(), 1);
    }
    for n in 0..100 {
        assert_eq!(feed(&mut server, 62_000 + n).len(), 1, "a new minute");
    }
    let actions = feed(&mut server, 63_000);
    let reason = CloseReason::TooManyErrors;
    let last = actions.last();
    assert!(
        matches!(last, Some(Action::Closed { reason: r }) if *r == reason),
        "{actions:?}"
    );
    assert_eq!(server.counters().rejected, 201);
}

#[test]
fn r15_too_many_unauthentic_messages_do_so_too() {
    let config = EndpointConfig {
        layers: crate::server::outer(),
        ..EndpointConfig::default()
    };
    let mut server = server(config, routes());
    for _ in 0..101 {
        server.handle_input(at(0), &echo());
    }
    let mut failed = 0;
    while let Some(action) = server.poll_action() {
        match action {
            Action::AuthFailed(failure) => {
                server.no_reply(failure.reply.expect("a request"));
                failed += 1;
            }
            Action::Closed { reason } => {
                assert_eq!(reason, CloseReason::TooManyErrors);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(failed, 100);
    assert!(server.is_closed());
}

#[test]
fn an_announced_length_reserves_nothing() {
    let mut server = plain_server();
    let header = Header {
        message_type: MessageType::REQUEST_URI,
        auth_length: u16::MAX,
        body_length: u16::MAX,
        checksum: 0,
    };
    server.handle_input(at(0), &header.encode());
    server.handle_input(at(0), &[0; 100]);
    assert!(server.poll_action().is_none());
    assert!(server.recv_buffer().len() <= 4 * 1024);
}

#[test]
fn asking_for_the_next_deadline_changes_nothing() {
    let mut server = plain_server();
    server.handle_input(at(0), &echo()[..5]);
    server
        .request(at(0), Request::new(request("you", "")))
        .unwrap();
    let before = format!("{server:?}");
    let first = server.poll_timeout();
    assert_eq!(first, Some(at(10_000)));
    assert!((0..100).all(|_| server.poll_timeout() == first));
    assert_eq!(format!("{server:?}"), before);
}

#[test]
fn handling_a_deadline_too_early_or_twice_changes_nothing() {
    let mut server = plain_server();
    let asked = Request::new(request("you", "")).timeout(Duration::from_secs(5));
    server.request(at(0), asked).unwrap();
    let _ = written(&mut server);
    for ms in [0, 1, 4_999] {
        server.handle_timeout(at(ms));
        assert!(server.poll_action().is_none());
    }
    server.handle_timeout(at(5_000));
    server.handle_timeout(at(5_000));
    // A clock that goes back is not believed.
    server.handle_timeout(at(0));
    assert_eq!(poll_all(&mut server).len(), 1);
}

#[test]
fn long_messages_in_flight_are_bounded_by_their_bytes() {
    let limits = Limits {
        max_in_flight_bytes: 100_000,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    let long = request("never", &"x".repeat(60_000)).encode().unwrap();
    for _ in 0..3 {
        server.handle_input(at(0), &long);
    }
    let [one, two] = tokens(&mut server);
    assert!(!server.wants_read());
    server.no_reply(one);
    let [three] = tokens(&mut server);
    assert!(server.wants_read());
    // What has been answered is not counted any longer.
    server.no_reply(two);
    server.no_reply(three);
    for _ in 0..10 {
        server.handle_input(at(0), &long);
        let [token] = tokens(&mut server);
        server.no_reply(token);
    }
}

#[test]
fn r29_a_connection_whose_handlers_all_hang_is_closed_if_a_request_waits() {
    let limits = Limits {
        max_in_flight: 1,
        ..Limits::default()
    };
    let mut server = server(limited(limits), routes());
    server.handle_input(at(0), &never());
    let [token] = tokens(&mut server);
    server.handle_input(at(1_000), &never());
    assert!(server.poll_action().is_none());
    assert_eq!(server.poll_timeout(), Some(at(61_000)));
    // An answer makes room, and the next one has as long.
    server.no_reply(token);
    let [_token] = tokens(&mut server);
    assert_eq!(server.poll_timeout(), None);
    server.handle_input(at(70_000), &never());
    assert!(server.poll_action().is_none());
    assert_closes(&mut server, 130_000, &CloseReason::HeldUp);
}

#[test]
fn a_peer_that_does_not_take_its_replies_has_as_long_as_writing_may_take() {
    let mut server = plain_server();
    let asked = request("echo", &"x".repeat(60_000)).encode().unwrap();
    while server.wants_read() {
        server.handle_input(at(0), &asked);
        for token in poll_all(&mut server).into_iter().filter_map(token_of) {
            let answer = message(MessageType::OK, "echo", &"x".repeat(60_000));
            server.reply(at(0), token, answer).unwrap();
        }
    }
    assert_closes(&mut server, 30_000, &CloseReason::WriteStalled);
}

fn token_of(action: Action) -> Option<netaio_proto::ReplyToken> {
    match action {
        Action::Dispatch { reply, .. } => reply,
        _ => None,
    }
}

#[test]
fn what_waits_on_all_connections_together_is_bounded() {
    let config = limited(Limits {
        max_outgoing_total: 200_000,
        ..Limits::default()
    });
    let mut slow: Vec<_> = (0..3).map(|_| client(config.clone())).collect();
    let long = || message(MessageType::NOTIFY_URI, "x", &"x".repeat(60_000));
    let none = Layers::new();
    for client in &mut slow[..2] {
        for _ in 0..2 {
            client.send(at(0), long(), &none).unwrap();
        }
    }
    assert_eq!(config.outgoing_total.bytes(), slow[0].queued() * 2);
    for client in &mut slow[..2] {
        let limit = 200_000;
        let full = SendError::OutgoingFull { limit };
        assert_eq!(client.send(at(0), long(), &none), Err(full));
    }
    // Whoever has no part in it goes on.
    slow[2].send(at(0), long(), &none).unwrap();
    let written = slow[2].outgoing().remaining();
    slow[2].outgoing().advance(written);
    assert!(slow[2].poll_action().is_none());
    // One that goes makes room for the others.
    slow.remove(0);
    assert_eq!(config.outgoing_total.bytes(), slow[0].queued());
    slow[0].send(at(0), long(), &none).unwrap();
}

#[test]
fn a_peer_is_not_read_from_while_too_much_waits_on_all_connections() {
    let config = limited(Limits {
        max_outgoing_total: 100_000,
        ..Limits::default()
    });
    let mut one = server(config.clone(), routes());
    let mut other = server(config, routes());
    let long = message(MessageType::NOTIFY_URI, "x", &"x".repeat(60_000));
    for server in [&mut one, &mut other] {
        server.send(at(0), long.clone(), &Layers::new()).unwrap();
        server.handle_input(at(0), &echo());
    }
    assert!(one.poll_action().is_none() && !one.wants_read());
    let _ = written(&mut other);
    assert!(
        other.poll_action().is_some(),
        "it has no part in it any more"
    );
    assert!(one.poll_action().is_some(), "there is room now");
}
