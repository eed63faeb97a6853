//! How long the core takes, piece by piece: `cargo bench -p netaio-bench --bench
//! core`. Figures are for one message; see the README beside for comparing.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netaio_bench::{
    Ask, Decode, Echo, Pend, Route, SMALL, Seal, Work, both_layers, of_a_read,
};
use netaio_proto::Layers;

/// Bytes of a content that does not fit beside others in one read.
const LARGE: usize = 60_000;

fn measure(criterion: &mut Criterion, name: &str, mut work: impl Work) {
    let count = work.once();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(count));
    group.bench_function(format!("{count} messages"), |bencher| {
        bencher.iter(|| work.once());
    });
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let (none, both) = (Layers::new(), both_layers());
    let read = |layers: &Layers, content| of_a_read(layers, content).max(1);
    for (name, layers, content) in [
        ("decode, route and reply, 64 B", &none, SMALL),
        ("decode, route and reply, 60,000 B", &none, LARGE),
        ("open, route and reply, 64 B", &both, SMALL),
        ("open, route and reply, 4 KiB", &both, 4096),
    ] {
        let count = read(layers, content);
        measure(criterion, name, Echo::new(layers, content, count));
    }
    for (name, content) in [("decode, 64 B", SMALL), ("decode, 60,000 B", LARGE)] {
        measure(criterion, name, Decode::new(content, read(&none, content)));
    }
    measure(criterion, "request and reply, 64 B", Ask::new(SMALL, 64));
    for (name, layers, content) in [
        ("frame, 64 B", &none, SMALL),
        ("frame, 4,000 B", &none, 4_000),
        ("seal and frame, 64 B", &both, SMALL),
        ("seal and frame, 4,000 B", &both, 4_000),
    ] {
        measure(criterion, name, Seal::new(layers, content, 64));
    }
    measure(criterion, "look a route up, of 100", Route::new(100));
    for (name, others) in [
        ("insert and cancel", 0),
        ("insert and cancel, 100,000 wait", 100_000),
    ] {
        measure(criterion, name, Pend::new(64, others));
    }
}

criterion_group! {
    name = core;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(core);
