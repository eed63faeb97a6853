//! How many instructions the core takes, piece by piece, counted by valgrind:
//! `cargo bench -p netaio-bench --bench instructions`. Each figure is for 100
//! messages, and the same on a busy machine; see the README beside.

#![expect(missing_docs, reason = "the macros make public items")]

use std::hint::black_box;

use gungraun::prelude::*;
use gungraun::{Callgrind, CallgrindMetrics, EventKind};
use netaio_bench::{Ask, Decode, Echo, Pend, Route, SMALL, Seal, Work, both_layers};
use netaio_proto::Layers;

const COUNT: u64 = 100;

/// Work whose buffers and tables are as large as they get.
fn warm<W: Work>(mut work: W) -> W {
    for _ in 0..4 {
        work.once();
    }
    work
}

/// Does the work; gives it back, so that its end is not counted.
fn done<W: Work>(mut work: W) -> W {
    black_box(&mut work).once();
    work
}

#[library_benchmark]
#[bench::plain(warm(Echo::new(&Layers::new(), SMALL, COUNT)))]
#[bench::sealed(warm(Echo::new(&both_layers(), SMALL, COUNT)))]
fn decode_route_reply(work: Echo) -> Echo {
    done(work)
}

#[library_benchmark]
#[bench::small(warm(Decode::new(SMALL, COUNT)))]
fn decode(work: Decode) -> Decode {
    done(work)
}

#[library_benchmark]
#[bench::small(warm(Ask::new(SMALL, COUNT)))]
fn request_and_reply(work: Ask) -> Ask {
    done(work)
}

#[library_benchmark]
#[bench::plain(warm(Seal::new(&Layers::new(), SMALL, COUNT)))]
#[bench::sealed(warm(Seal::new(&both_layers(), SMALL, COUNT)))]
fn frame(work: Seal) -> Seal {
    done(work)
}

#[library_benchmark]
#[bench::of_a_hundred(warm(Route::new(COUNT)))]
fn route(work: Route) -> Route {
    done(work)
}

#[library_benchmark]
#[bench::alone(warm(Pend::new(COUNT, 0)))]
#[bench::among_many(warm(Pend::new(COUNT, 10_000)))]
fn insert_and_cancel(work: Pend) -> Pend {
    done(work)
}

library_benchmark_group!(
    name = core,
    benchmarks = [
        decode_route_reply,
        decode,
        request_and_reply,
        frame,
        route,
        insert_and_cancel,
    ]
);

/// What is told, and by how many percent more is a regression.
fn config() -> LibraryBenchmarkConfig {
    let told = [EventKind::Ir, EventKind::EstimatedCycles];
    let mut callgrind = Callgrind::default();
    callgrind
        .format(told.map(CallgrindMetrics::from))
        .soft_limits([(EventKind::Ir, 3.0)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

main!(config = config(), library_benchmark_groups = core);
