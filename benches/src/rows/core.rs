//! The core alone: no socket, no task, no clock.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use bytes::Buf as _;
use netaio_proto::{
    Action, Connection, EndpointConfig, HandlerId, Instant, Layers, Limits, Message,
    MessageType, Request, Role, Router,
};

use crate::arguments::Arguments;
use crate::report::Row;
use crate::sockets;

/// Bytes that come at a time.
const READ: usize = 64 * 1024;

pub(crate) fn rows(arguments: &Arguments) -> Vec<Row> {
    let span = arguments.span;
    let many = if arguments.quick { 10_000 } else { 1_000_000 };
    vec![
        Row::new("core: decode, route and reply, 64 B", "messages/s")
            .subject("netaio-proto", move || decode(span))
            .subject("60 ns each", || 1e9 / 60.0)
            .goal("60 ns each", 1.0)
            .subject("bare framing and checksum", move || bare(span)),
        Row::new("core: 1,000,000 pending requests, insert", "requests/s")
            .subject("netaio-proto", move || pending(many).0)
            .subject("1 µs each", || 1e6)
            .goal("1 µs each", 1.0),
        Row::new("core: 1,000,000 pending requests, cancel", "requests/s")
            .subject("netaio-proto", move || pending(many).1)
            .subject("1.5 µs each", || 1e6 / 1.5)
            .goal("1.5 µs each", 1.0),
        Row::new("core: timers that fire, of 100,000", "timers/s")
            .subject("netaio-proto", move || timers(many / 10))
            .subject("of 10,000", move || timers(many / 100)),
        Row::new("core: damaged frames", "frames/s")
            .subject("netaio-proto", damaged)
            .subject("2 µs each", || 5e5)
            .goal("2 µs each", 1.0),
    ]
}

fn remote() -> SocketAddr {
    ([192, 0, 2, 1], 8888).into()
}

fn server(limits: Limits) -> Connection {
    let mut router = Router::new();
    let key = (MessageType::REQUEST_URI, "echo");
    router.insert(key, HandlerId(1), Layers::new());
    let config = EndpointConfig {
        role: Role::Server,
        limits,
        ..EndpointConfig::default()
    };
    let (config, router) = (Arc::new(config), Arc::new(router));
    Connection::new(config, router, remote(), [1; 32], Instant::EPOCH)
}

/// Requests with ids, as our clients send them.
fn requests() -> (Vec<u8>, u64) {
    let config = Arc::new(EndpointConfig::default());
    let mut client =
        Connection::new(config, Arc::default(), remote(), [2; 32], Instant::EPOCH);
    let mut count = 0;
    while client.outgoing().remaining() < READ {
        let kind = MessageType::REQUEST_URI;
        let message = Message::new(kind, "echo", [7; 64]).expect("it is short");
        client
            .request(Instant::EPOCH, Request::new(message))
            .expect("there is room");
        count += 1;
    }
    let outgoing = client.outgoing();
    let bytes = outgoing.copy_to_bytes(outgoing.remaining());
    (bytes.to_vec(), count)
}

fn decode(span: Duration) -> f64 {
    let (bytes, count) = requests();
    let mut server = server(Limits {
        outgoing_high_water: usize::MAX,
        ..Limits::default()
    });
    let start = Clock::now();
    let mut done = 0;
    while start.elapsed() < span {
        server.handle_input(Instant::EPOCH, &bytes);
        while let Some(action) = server.poll_action() {
            let Action::Dispatch {
                message,
                reply: Some(token),
                ..
            } = action
            else {
                panic!("{action:?}");
            };
            let reply = message.respond(message.content()).expect("it is short");
            server
                .reply(Instant::EPOCH, token, reply)
                .expect("it is open");
        }
        let outgoing = server.outgoing();
        black_box(outgoing.chunk());
        outgoing.advance(outgoing.remaining());
        done += count;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn bare(span: Duration) -> f64 {
    let body = sockets::body(64);
    let mut bytes = sockets::buffer();
    let mut count = 0;
    while bytes.len() < READ {
        sockets::put_frame(&mut bytes, 0, &body);
        count += 1;
    }
    let (mut input, mut output) = (sockets::buffer(), sockets::buffer());
    let start = Clock::now();
    let mut done = 0_u64;
    while start.elapsed() < span {
        input.extend_from_slice(&bytes);
        while let Some(body) = sockets::next_body(&mut input) {
            sockets::put_frame(&mut output, 1, &body);
        }
        black_box(&output[..]);
        output.clear();
        done += count;
    }
    done as f64 / start.elapsed().as_secs_f64()
}

fn client() -> Connection {
    let config = EndpointConfig {
        limits: Limits {
            max_pending: usize::MAX,
            max_outgoing: usize::MAX,
            ..Limits::default()
        },
        ..EndpointConfig::default()
    };
    let config = Arc::new(config);
    Connection::new(config, Arc::default(), remote(), [3; 32], Instant::EPOCH)
}

/// How many requests a second are sent and cancelled while so many wait.
fn pending(many: usize) -> (f64, f64) {
    let mut client = client();
    let kind = MessageType::REQUEST_URI;
    let message = Message::new(kind, "echo", "").expect("it is short");
    let start = Clock::now();
    let ids: Vec<_> = (0..many)
        .map(|_| {
            let id = client.request(Instant::EPOCH, Request::new(message.clone()));
            let outgoing = client.outgoing();
            if outgoing.remaining() > READ {
                outgoing.advance(outgoing.remaining());
            }
            id.expect("there is room")
        })
        .collect();
    let inserted = start.elapsed();
    let start = Clock::now();
    for id in ids {
        assert!(client.cancel(Instant::EPOCH, id));
    }
    let cancelled = start.elapsed();
    let rate = |span: Duration| many as f64 / span.as_secs_f64();
    (rate(inserted), rate(cancelled))
}

/// How many timeouts a second are told if so many come at once.
fn timers(many: usize) -> f64 {
    let mut client = client();
    for number in 0..many {
        let kind = MessageType::REQUEST_URI;
        let message = Message::new(kind, "echo", "").expect("it is short");
        let timeout = Duration::from_micros(1_000_000 + number as u64);
        let request = Request::new(message).timeout(timeout);
        client.request(Instant::EPOCH, request).expect("room");
    }
    let start = Clock::now();
    client.handle_timeout(Instant::EPOCH + Duration::from_secs(3));
    let mut fired = 0;
    while let Some(action) = client.poll_action() {
        assert!(matches!(action, Action::TimedOut { .. }), "{action:?}");
        fired += 1;
    }
    assert_eq!(fired, many);
    many as f64 / start.elapsed().as_secs_f64()
}

/// How many frames a second are found to be damaged, each by another fault.
fn damaged() -> f64 {
    const FRAMES: usize = 20_000;
    let mut server = server(Limits {
        max_errors_per_minute: u32::MAX,
        outgoing_high_water: usize::MAX,
        max_outgoing: usize::MAX,
        ..Limits::default()
    });
    let kind = MessageType::REQUEST_URI;
    let message = Message::new(kind, "echo", [7; 64]).expect("it is short");
    let good = message.encode().expect("it is short");
    let faults: Vec<Vec<u8>> = [(0, 200), (5, 1), (10, 0xff), (13, 0xff)]
        .into_iter()
        .map(|(at, with)| {
            let mut bad = good.clone();
            bad[at] ^= with;
            bad
        })
        .collect();
    let start = Clock::now();
    for number in 0..FRAMES {
        server.handle_input(Instant::EPOCH, &faults[number % faults.len()]);
        while let Some(action) = server.poll_action() {
            black_box(action);
        }
        let outgoing = server.outgoing();
        outgoing.advance(outgoing.remaining());
    }
    assert_eq!(server.counters().rejected, FRAMES as u64);
    FRAMES as f64 / start.elapsed().as_secs_f64()
}
