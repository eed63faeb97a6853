//! The core alone: no socket, no task, no clock.

use std::hint::black_box;
use std::time::{Duration, Instant as Clock};

use netaio_bench::{
    Ask, Decode, Echo, READ, SMALL, Work, both_layers, client, discard, of_a_read,
    question, server,
};
use netaio_proto::{Action, Instant, Layers, Request};

use crate::arguments::Arguments;
use crate::report::Row;
use crate::{hashing, sockets};

pub(crate) fn rows(arguments: &Arguments) -> Vec<Row> {
    let span = arguments.span;
    let many = if arguments.quick { 10_000 } else { 1_000_000 };
    let none = Layers::new();
    let read = of_a_read(&none, SMALL);
    vec![
        Row::new("core: decode, route and reply, 64 B", "messages/s")
            .subject("netaio-proto", move || {
                rate(Echo::new(&none, SMALL, read), span)
            })
            .subject("60 ns each", || 1e9 / 60.0)
            .goal("60 ns each", 1.0)
            .subject("bare framing and checksum", move || bare(span))
            .subject("decoding alone", move || {
                rate(Decode::new(SMALL, read), span)
            }),
        Row::new("core: HMAC and stream cipher, 64 B", "round trips/s")
            .subject("netaio-proto, one side", move || {
                let layers = both_layers();
                let read = of_a_read(&layers, SMALL);
                rate(Echo::new(&layers, SMALL, read), span)
            })
            .subject("the hashing alone", move || hashing::rate(SMALL, span)),
        Row::new(
            "core: requests and their replies, 64 B, depth 64",
            "requests/s",
        )
        .subject("netaio-proto", move || rate(Ask::new(SMALL, 64), span)),
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
            .subject("of 10,000", move || timers(many / 100))
            .goal("of 10,000", 0.5),
        Row::new("core: damaged frames", "frames/s")
            .subject("netaio-proto", damaged)
            .subject("2 µs each", || 5e5)
            .goal("2 µs each", 1.0),
    ]
}

/// Messages a second.
fn rate(mut work: impl Work, span: Duration) -> f64 {
    let start = Clock::now();
    let mut done = 0;
    while start.elapsed() < span {
        done += work.once();
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

/// How many requests a second are sent and cancelled while so many wait.
fn pending(many: usize) -> (f64, f64) {
    let mut client = client(Layers::new());
    let message = question(0);
    let start = Clock::now();
    let ids: Vec<_> = (0..many)
        .map(|_| {
            let id = client.request(Instant::EPOCH, Request::new(message.clone()));
            if client.queued() > READ {
                discard(&mut client);
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
    let mut client = client(Layers::new());
    for number in 0..many {
        let timeout = Duration::from_micros(1_000_000 + number as u64);
        let request = Request::new(question(0)).timeout(timeout);
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
    let mut server = server(Layers::new());
    let good = question(SMALL).encode().expect("it is short");
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
        discard(&mut server);
    }
    assert_eq!(server.counters().rejected, FRAMES as u64);
    FRAMES as f64 / start.elapsed().as_secs_f64()
}
