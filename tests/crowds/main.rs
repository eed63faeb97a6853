//! Requests by the million: none is mixed up with another, none is left behind,
//! and what they cost is known. Those that take long are run on demand: `cargo
//! test --release -p netaio-tests --test crowds -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::{Buf as _, Bytes};
use netaio_proto::{
    Action, CloseReason, Connection, Correlation, EndpointConfig, HandlerId,
    HmacAuthPlugin, Instant, Layers, Limits, Message, MessageType, Node, Request,
    RequestError, RequestId, Role, Router,
};

const THERE: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 8888);

/// As many as are under way at a time.
const CROWD: usize = 10_000;

fn config(role: Role, correlation: Correlation) -> Arc<EndpointConfig> {
    let limits = Limits {
        max_pending: usize::MAX,
        max_outgoing: usize::MAX,
        outgoing_high_water: usize::MAX,
        ..Limits::default()
    };
    Arc::new(EndpointConfig {
        role,
        correlation,
        limits,
        ..EndpointConfig::default()
    })
}

fn client(correlation: Correlation) -> Connection {
    let config = config(Role::Client, correlation);
    Connection::new(config, Arc::default(), THERE, [1; 32], Instant::EPOCH)
}

/// A server with an echo.
fn server() -> Connection {
    let mut router = Router::new();
    let echo = (MessageType::REQUEST_URI, "echo");
    router.insert(echo, HandlerId(1), Layers::new());
    let config = config(Role::Server, Correlation::RequestIds);
    Connection::new(config, Arc::new(router), THERE, [2; 32], Instant::EPOCH)
}

fn question(content: &str, timeout: Duration) -> Request {
    let message = Message::new(MessageType::REQUEST_URI, "echo", content);
    Request::new(message.expect("it is short")).timeout(timeout)
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Everything that a connection has to write.
fn written(connection: &mut Connection) -> Bytes {
    let outgoing = connection.outgoing();
    outgoing.copy_to_bytes(outgoing.remaining())
}

/// Answers what has come to a server, and gives the bytes.
fn answers(server: &mut Connection, now: Instant) -> Bytes {
    while let Some(action) = server.poll_action() {
        let Action::Dispatch {
            message,
            reply: Some(token),
            ..
        } = action
        else {
            panic!("{action:?}");
        };
        let answer = message.respond(message.content()).expect("it came");
        server.reply(now, token, answer).expect("it is open");
    }
    written(server)
}

// --- R3 ---

/// Ten thousand at a time for one URI; three of ten wait for less time than the
/// answers take.
fn late_answers(rounds: usize, correlation: Correlation) {
    let (mut client, mut server) = (client(correlation), server());
    let mut now = Instant::EPOCH;
    let (mut answered, mut timed_out) = (0, 0);
    for round in 0..rounds {
        let mut asked = BTreeMap::new();
        for n in 0..CROWD {
            let content = format!("{round} {n}");
            // A pattern of 70 and 30 that is another in each round.
            let hasty = (n * 7 + round) % 10 < 3;
            let timeout = millis(if hasty { 50 } else { 10_000 });
            let id = client.request(now, question(&content, timeout));
            asked.insert(id.expect("there is room"), (content, hasty));
        }
        server.handle_input(now, &written(&mut client));
        let answers = answers(&mut server, now);
        now = now + millis(50);
        client.handle_timeout(now);
        now = now + millis(50);
        client.handle_input(now, &answers);
        while let Some(action) = client.poll_action() {
            match action {
                Action::Reply { request, message } => {
                    let (content, hasty) = asked.remove(&request).expect("once");
                    assert!(!hasty);
                    assert_eq!(message.text(), content);
                    answered += 1;
                }
                Action::TimedOut { request, .. } => {
                    let (_, hasty) = asked.remove(&request).expect("once");
                    assert!(hasty);
                    timed_out += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(asked.is_empty(), "{} without an end", asked.len());
        assert_eq!((client.pending(), client.given_up()), (0, 0));
    }
    let late = client.counters().late_replies as usize;
    let all = rounds * CROWD;
    assert_eq!(
        (answered, timed_out, late),
        (all * 7 / 10, all * 3 / 10, all * 3 / 10)
    );
    assert_eq!((client.poll_timeout(), client.queued()), (None, 0));
    assert_eq!((server.in_flight(), server.queued()), (0, 0));
}

#[test]
fn r03_a_hundred_thousand_requests_for_one_uri_are_not_mixed_up() {
    late_answers(10, Correlation::RequestIds);
    late_answers(10, Correlation::Off);
}

#[test]
#[ignore = "takes long without optimisation"]
fn r03_a_million_requests_for_one_uri_are_not_mixed_up() {
    late_answers(100, Correlation::RequestIds);
    late_answers(100, Correlation::Off);
}

// --- R4 ---

/// Bytes that are still allocated after so many rounds of ten thousand requests
/// of which every other one is cancelled and the rest time out.
fn left_of_a_connection(rounds: usize, correlation: Correlation) -> i64 {
    let mut client = client(correlation);
    let mut now = Instant::EPOCH;
    let measured = measure(|| {
        for _ in 0..rounds {
            for n in 0..CROWD {
                let id = client.request(now, question("?", millis(100)));
                let id = id.expect("there is room");
                if n % 2 == 0 {
                    assert!(client.cancel(now, id));
                }
            }
            let length = client.outgoing().remaining();
            client.outgoing().advance(length);
            now = now + millis(100);
            client.handle_timeout(now);
            let mut timed_out = 0;
            while let Some(action) = client.poll_action() {
                assert!(matches!(action, Action::TimedOut { .. }));
                timed_out += 1;
            }
            assert_eq!(timed_out, CROWD / 2);
            assert_eq!((client.pending(), client.given_up()), (0, CROWD));
            now = now + Limits::default().late_reply_grace;
            client.handle_timeout(now);
            assert_eq!(client.given_up(), 0);
        }
        client.release_buffers();
    });
    assert_eq!((client.poll_timeout(), client.queued()), (None, 0));
    measured.bytes_current
}

/// The same of a node, whose requests keep no place.
fn left_of_a_node(rounds: usize) -> i64 {
    let config = config(Role::Client, Correlation::RequestIds);
    let mut now = Instant::EPOCH;
    let mut node = Node::new(config, Arc::default(), [1; 32], now);
    let measured = measure(|| {
        for _ in 0..rounds {
            for n in 0..CROWD {
                let id = node.request(now, THERE, question("?", millis(100)));
                let id = id.expect("there is room");
                if n % 2 == 0 {
                    assert!(node.cancel(now, id));
                }
            }
            while node.poll_datagram().is_some() {}
            now = now + millis(100);
            node.handle_timeout(now);
            let mut timed_out = 0;
            while node.poll_action().is_some() {
                timed_out += 1;
            }
            assert_eq!(timed_out, CROWD / 2);
            assert_eq!(node.pending(), 0);
        }
    });
    assert_eq!((node.poll_timeout(), node.queued()), (None, 0));
    measured.bytes_current
}

fn given_up(rounds: usize) {
    let left = [
        left_of_a_connection(rounds, Correlation::RequestIds),
        left_of_a_connection(rounds, Correlation::Off),
        left_of_a_node(rounds),
    ];
    println!("{left:?} bytes are left of {} requests", rounds * CROWD);
    // A table that has been emptied keeps no more than an empty one.
    assert!(left.iter().all(|bytes| *bytes <= 4096), "{left:?}");
}

#[test]
fn r04_a_hundred_thousand_requests_that_were_given_up_leave_no_memory_behind() {
    given_up(10);
}

#[test]
#[ignore = "takes long without optimisation"]
fn r04_a_million_requests_that_were_given_up_leave_no_memory_behind() {
    given_up(100);
}

// --- R5 ---

/// How ten thousand pending requests end, of which half had left and one had
/// begun to.
fn end(how: impl FnOnce(&mut Connection)) -> (Vec<bool>, CloseReason) {
    let mut client = client(Correlation::RequestIds);
    let ask = |client: &mut Connection| -> RequestId {
        let asked = client.request(Instant::EPOCH, question("?", millis(100)));
        asked.expect("there is room")
    };
    let mut asked: Vec<_> = (0..CROWD / 2).map(|_| ask(&mut client)).collect();
    let half = client.outgoing().remaining();
    asked.extend((0..CROWD / 2).map(|_| ask(&mut client)));
    client.outgoing().advance(half + 3);
    how(&mut client);
    let mut sent = Vec::new();
    loop {
        match client.poll_action() {
            Some(Action::Failed {
                request,
                error: RequestError::Disconnected { sent: was, .. },
            }) => {
                assert_eq!(request, asked[sent.len()]);
                sent.push(was);
            }
            Some(Action::Closed { reason }) => {
                assert_eq!(client.poll_action().map(drop), None);
                return (sent, reason);
            }
            // What has begun is brought to its end.
            None => {
                let rest = client.outgoing().remaining();
                assert!(rest > 0 && rest < half / CROWD * 2, "{rest} bytes");
                client.outgoing().advance(rest);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn r05_an_end_fails_ten_thousand_requests_and_tells_which_were_sent() {
    let expected =
        |sent: usize| -> Vec<_> { (0..CROWD).map(|n| n < sent).collect() };
    let (sent, reason) = end(|client| client.handle_eof(Instant::EPOCH));
    assert_eq!(reason, CloseReason::Eof);
    assert!(sent == expected(CROWD / 2 + 1));
    let reset = CloseReason::Io("reset".into());
    let (sent, reason) = end(|client| client.close(Instant::EPOCH, reset.clone()));
    assert_eq!(reason, reset);
    assert!(sent == expected(CROWD / 2));
}

// --- R10 ---

/// Bytes that each of so many pending requests for one URI takes.
fn bytes_each(count: usize) -> i64 {
    let mut client = client(Correlation::RequestIds);
    let measured = measure(|| {
        for n in 0..count {
            let timeout = millis(1_000 + n as u64 % 1_000);
            let id = client.request(Instant::EPOCH, question("?", timeout));
            id.expect("there is room");
            let length = client.outgoing().remaining();
            client.outgoing().advance(length);
        }
        client.release_buffers();
    });
    assert_eq!(client.pending(), count);
    measured.bytes_current / count as i64
}

#[track_caller]
fn assert_small(count: usize) {
    let bytes = bytes_each(count);
    println!("{bytes} bytes for each of {count} pending requests");
    assert!(bytes <= 300, "{bytes} bytes");
}

#[test]
fn r10_a_pending_request_takes_at_most_300_bytes() {
    assert_small(100_000);
}

#[test]
#[ignore = "takes long without optimisation"]
fn r10_each_of_a_million_pending_requests_takes_at_most_300_bytes() {
    assert_small(1_000_000);
}

/// A server that puts up with everything.
fn patient_server(layers: Layers) -> Connection {
    let mut config =
        EndpointConfig::clone(&config(Role::Server, Correlation::RequestIds));
    config.limits.max_errors_per_minute = u32::MAX;
    config.layers = layers;
    let (config, router) = (Arc::new(config), Arc::default());
    Connection::new(config, router, THERE, [2; 32], Instant::EPOCH)
}

#[test]
fn r15_bad_frames_are_cheap_and_leave_no_memory_behind() {
    const FRAMES: u64 = 50_000;
    let good = Message::new(MessageType::REQUEST_URI, "echo", "hello");
    let good = good.and_then(|good| good.encode()).expect("it is short");
    let spoiled = |at: usize, bit: u8| {
        let mut bad = good.clone();
        bad[at] ^= bit;
        bad
    };
    let hmac = || Layers::new().auth(HmacAuthPlugin::new("secret"));
    let cases = [
        ("an unknown type", spoiled(0, 0xc8), Layers::new()),
        ("a wrong checksum", spoiled(5, 1), Layers::new()),
        ("auth fields that are none", spoiled(9, 0xff), Layers::new()),
        ("no authentication", good.clone(), hmac()),
    ];
    for (what, bad, layers) in cases {
        let mut server = patient_server(layers);
        let mut flood = |frames| {
            for _ in 0..frames {
                server.handle_input(Instant::EPOCH, &bad);
                while let Some(action) = server.poll_action() {
                    match action {
                        Action::Rejected { .. } => {}
                        Action::AuthFailed(failed) => {
                            let reply = failed.reply.expect("it asks");
                            server.no_reply(reply);
                        }
                        other => panic!("{what}: {other:?}"),
                    }
                }
                written(&mut server);
            }
        };
        // After that buffers are as long as they get.
        flood(1_000);
        let cost = measure(|| flood(FRAMES));
        println!("{what}: {cost:?}");
        assert!(cost.bytes_current.unsigned_abs() < 100_000, "{what}");
        assert!(cost.count_total < 20 * FRAMES, "{what}: {cost:?}");
        assert!(cost.bytes_total < 2_000 * FRAMES, "{what}: {cost:?}");
    }
}
