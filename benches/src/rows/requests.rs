//! Requests and replies over TCP and UDP.

use netaio_bench::both_layers;
use netaio_proto::Layers;

use crate::arguments::Arguments;
use crate::load::Threads;
use crate::report::Row;
use crate::{hashing, rivals, servers, sockets};

pub(crate) fn rows(arguments: &Arguments) -> Vec<Row> {
    let span = arguments.span;
    let one = Threads::One;
    let mut rows = vec![
        with_rivals("1 connection, depth 1, 64 B", arguments, 1, 64)
            .goal("bare tokio", 0.95)
            .goal("Python netaio", 4.0),
        with_rivals("1 connection, depth 64, 64 B", arguments, 64, 64)
            .goal("bare tokio", 0.60)
            .goal("zeromq", 1.2)
            .goal("tarpc", 2.5)
            .goal("Python netaio, uvloop", 25.0),
        beside_floor("64 connections, depth 1, 64 B, 2 threads", arguments, {
            Shape {
                threads: Threads::Two,
                connections: 64,
                depth: 1,
                content: 64,
            }
        })
        .goal("bare tokio", 0.90),
        beside_floor("1 connection, depth 8, 60,000 B", arguments, {
            Shape {
                threads: one,
                connections: 1,
                depth: 8,
                content: 60_000,
            }
        })
        .goal("bare tokio", 0.80),
    ];
    for (name, content) in [
        ("HMAC and stream cipher, depth 64, 64 B", 64),
        ("HMAC and stream cipher, depth 64, 4 KiB", 4096),
    ] {
        let row = Row::new(name, "requests/s")
            .subject("netaio", move || {
                let layers = both_layers();
                let server = servers::tcp(one, layers.clone());
                let shape = [1, 64, content];
                servers::tcp_rate(server.address, one, &layers, shape, span)
            })
            .subject("the hashing alone", move || hashing::rate(content, span))
            .goal("the hashing alone", 0.85);
        rows.push(row);
    }
    rows.push(
        Row::new("UDP, depth 64, 64 B", "requests/s")
            .subject("netaio", move || {
                let server = servers::udp();
                servers::udp_rate(server.address, 64, 64, span)
            })
            .subject("bare tokio", move || {
                let server = sockets::udp::server();
                sockets::udp::rate(server.address, 64, 64, span)
            })
            .goal("bare tokio", 0.85),
    );
    for (name, depth, content) in [
        ("smol: 1 connection, depth 1, 64 B", 1, 64),
        ("smol: 1 connection, depth 64, 64 B", 64, 64),
        ("smol: 1 connection, depth 8, 60,000 B", 8, 60_000),
    ] {
        let row = Row::new(name, "requests/s")
            .subject("netaio-asyncstd", move || {
                let server = servers::smol_tcp();
                servers::smol_rate(server.address, depth, content, span)
            })
            .subject("bare async-io", move || {
                let server = sockets::async_io::server();
                sockets::async_io::rate(server.address, depth, content, span)
            })
            .goal("bare async-io", 0.9);
        rows.push(row);
    }
    rows
}

#[derive(Clone, Copy)]
struct Shape {
    threads: Threads,
    connections: usize,
    depth: usize,
    content: usize,
}

fn beside_floor(name: &'static str, arguments: &Arguments, shape: Shape) -> Row {
    let span = arguments.span;
    let Shape {
        threads,
        connections,
        depth,
        content,
    } = shape;
    Row::new(name, "requests/s")
        .subject("netaio", move || {
            let none = Layers::new();
            let server = servers::tcp(threads, none.clone());
            let shape = [connections, depth, content];
            servers::tcp_rate(server.address, threads, &none, shape, span)
        })
        .subject("bare tokio", move || {
            let server = sockets::tokio::server(threads);
            let address = server.address;
            sockets::tokio::rate(address, threads, connections, depth, content, span)
        })
}

fn with_rivals(
    name: &'static str,
    arguments: &Arguments,
    depth: usize,
    content: usize,
) -> Row {
    let span = arguments.span;
    let shape = Shape {
        threads: Threads::One,
        connections: 1,
        depth,
        content,
    };
    let row = beside_floor(name, arguments, shape);
    #[cfg(feature = "rivals")]
    let row = row
        .subject("tarpc", move || rivals::tarpc::rate(depth, content, span))
        .subject("zeromq", move || rivals::zeromq::rate(depth, content, span));
    row.guest("Python netaio", move || {
        rivals::python::rate(depth, content, span, false)
    })
    .guest("Python netaio, uvloop", move || {
        rivals::python::rate(depth, content, span, true)
    })
}
