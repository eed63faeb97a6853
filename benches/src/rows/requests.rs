//! Requests and replies over TCP and UDP.

use std::time::Duration;

use netaio_bench::both_layers;
use netaio_proto::Layers;

use crate::apart::{Apart, Kind};
use crate::arguments::Arguments;
use crate::load::{Askers, Shape, Threads};
use crate::report::Row;
use crate::rows::named;
use crate::{hashing, rivals, servers, sockets};

pub(crate) fn rows(arguments: &Arguments) -> Vec<Row> {
    let span = arguments.span;
    let threads = arguments.threads;
    // Of some rows several threads are a part in any case.
    let several = match threads {
        Threads::ONE => Threads(2),
        more => more,
    };
    let one = |depth, content| Shape {
        threads,
        connections: 1,
        depth,
        askers: Askers::One,
        content,
    };
    let many = Shape {
        threads: several,
        connections: 64,
        ..one(1, 64)
    };
    let mut rows = vec![
        with_rivals("1 connection, depth 1, 64 B", one(1, 64), span)
            .goal("bare tokio", 0.95)
            .goal("Python netaio", 4.0),
        with_rivals("1 connection, depth 64, 64 B", one(64, 64), span)
            .goal("bare tokio", 0.60)
            .goal("zeromq", 1.2)
            .goal("tarpc", 2.5)
            .goal("Python netaio, uvloop", 25.0),
        beside_floor("64 connections, depth 1, 64 B", many, span)
            .goal("bare tokio", 0.90),
        beside_floor("1 connection, depth 8, 60,000 B", one(8, 60_000), span)
            .goal("bare tokio", 0.80),
    ];
    for (name, content) in [
        ("HMAC and stream cipher, depth 64, 64 B", 64),
        ("HMAC and stream cipher, depth 64, 4 KiB", 4096),
    ] {
        let shape = one(64, content);
        let row = Row::new(named(name, threads), "requests/s")
            .subject("netaio", move || netaio(&both_layers(), shape, span))
            .subject("the hashing alone", move || hashing::rate(content, span))
            .goal("the hashing alone", 0.85);
        rows.push(row);
    }
    if threads == Threads::ONE {
        rows.push(udp(span));
    }
    for (name, shape) in [
        ("smol: 1 connection, depth 1, 64 B", one(1, 64)),
        ("smol: 1 connection, depth 64, 64 B", one(64, 64)),
        ("smol: 64 connections, depth 1, 64 B", many),
        ("smol: 1 connection, depth 8, 60,000 B", one(8, 60_000)),
    ] {
        let row = Row::new(named(name, shape.threads), "requests/s")
            .subject("netaio-asyncstd", move || netaio_smol(shape, span))
            .subject("bare async-io", move || {
                let server = Apart::start(Kind::Bare, shape.threads);
                sockets::async_io::rate(server.address, shape, span)
            })
            .goal("bare async-io", 0.9)
            .subject("netaio-tokio", move || netaio(&Layers::new(), shape, span));
        rows.push(match with_tasks(shape) {
            None => row,
            Some((name, shape)) => {
                row.subject(name, move || netaio_smol(shape, span))
            }
        });
    }
    rows
}

fn netaio(layers: &Layers, shape: Shape, span: Duration) -> f64 {
    let server = servers::tcp(shape.threads, layers.clone());
    servers::tcp_rate(server.address, layers, shape, span)
}

fn netaio_smol(shape: Shape, span: Duration) -> f64 {
    let server = Apart::start(Kind::Netaio, shape.threads);
    servers::smol_rate(server.address, shape, span)
}

/// The same work by a task for each request that is under way, if that differs.
fn with_tasks(shape: Shape) -> Option<(&'static str, Shape)> {
    let askers = Askers::Many;
    let many = Shape { askers, ..shape };
    (shape.depth == 64).then_some(("netaio, 64 tasks", many))
}

fn beside_floor(name: &str, shape: Shape, span: Duration) -> Row {
    let mut row = Row::new(named(name, shape.threads), "requests/s")
        .subject("netaio", move || netaio(&Layers::new(), shape, span))
        .subject("bare tokio", move || {
            let server = sockets::tokio::server(shape.threads);
            sockets::tokio::rate(server.address, shape, span)
        });
    // It reads less at a time than long messages want.
    if shape.content == 64 {
        row = row.subject("bare tokio, handed over", move || {
            let server = sockets::tokio::server(shape.threads);
            sockets::tokio::handed_over::rate(server.address, shape, span)
        });
    }
    if let Some((name, shape)) = with_tasks(shape) {
        row = row.subject(name, move || netaio(&Layers::new(), shape, span));
    }
    row
}

fn with_rivals(name: &str, shape: Shape, span: Duration) -> Row {
    let row = beside_floor(name, shape, span);
    #[cfg(feature = "rivals")]
    let row = row
        .subject("tarpc", move || rivals::tarpc::rate(shape, span))
        .subject("tonic", move || rivals::tonic::rate(shape, span))
        .subject("zeromq", move || rivals::zeromq::rate(shape, span));
    // Python has one thread a side, whatever the others have.
    let python =
        move |uvloop| rivals::python::rate(shape.depth, shape.content, span, uvloop);
    row.guest("Python netaio", move || python(false))
        .guest("Python netaio, uvloop", move || python(true))
}

fn udp(span: Duration) -> Row {
    Row::new("UDP, depth 64, 64 B", "requests/s")
        .subject("netaio", move || {
            let server = servers::udp();
            servers::udp_rate(server.address, 64, 64, span)
        })
        .subject("bare tokio", move || {
            let server = sockets::udp::server();
            sockets::udp::rate(server.address, 64, 64, span)
        })
        .goal("bare tokio", 0.85)
}
