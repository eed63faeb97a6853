//! What a second thread of a server brings, where there is a core for it.

use std::thread::available_parallelism;

use netaio_proto::Layers;

use crate::arguments::Arguments;
use crate::load::{Askers, Server, Shape, Threads};
use crate::report::Row;
use crate::{servers, sockets};

/// Cores that a server with two threads and the load need.
const CORES: usize = 4;

pub(crate) fn rows(arguments: &Arguments) -> Vec<Row> {
    let span = arguments.span;
    // The load is bare sockets, to keep up with two threads of a server.
    let cores = available_parallelism().map_or(1, usize::from);
    let shape = Shape {
        threads: Threads(cores.saturating_sub(2).max(2)),
        connections: 64,
        depth: 16,
        askers: Askers::One,
        content: 64,
    };
    let netaio = |threads| servers::tcp(threads, Layers::new());
    let row = |name: &str, first, second, server: fn(Threads) -> Server| {
        let rate = move |threads| {
            let server = server(Threads(threads));
            sockets::tokio::rate(server.address, shape, span)
        };
        Row::new(name, "requests/s")
            .subject(first, move || rate(2))
            .subject(second, move || rate(1))
    };
    let one = "netaio, 1 thread";
    let ours = row(
        "scaling: 1 to 2 server threads, 64 connections",
        "netaio, 2 threads",
        one,
        netaio,
    );
    let ours = match cores {
        CORES.. => ours.goal(one, 1.7),
        _ => ours.goal_elsewhere(
            one,
            1.7,
            format!(
                "not judged: this machine has {cores} cores, {CORES} are needed"
            ),
        ),
    };
    let floor = row(
        "scaling of the floor: 1 to 2 server threads, 64 connections",
        "bare tokio, 2 threads",
        "bare tokio, 1 thread",
        sockets::tokio::server,
    );
    vec![ours, floor]
}
