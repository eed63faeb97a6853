//! The runtimes that scenarios run on.

use std::future::Future;
use std::time::Duration;

use netaio_driver::Runtime;

use crate::waiting::within;

/// A scenario that takes longer than this is stuck.
const LIMIT: Duration = Duration::from_secs(60);

/// How many threads a scenario's tasks share.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flavour {
    /// One: tasks run in turn.
    OneThread,
    /// Several: tasks run at the same time.
    Threads,
}

/// A runtime that scenarios run on.
pub(crate) trait TestRuntime: Runtime {
    /// The runtime as clients and servers take it.
    fn new() -> Self;

    /// Starts the runtime, runs `scenario` to its end, and stops the runtime.
    fn block_on(flavour: Flavour, scenario: impl Future<Output = ()>);
}

/// Runs a scenario, within the time that is given to it.
pub(crate) fn run<R, F>(flavour: Flavour, scenario: impl FnOnce(R) -> F)
where
    R: TestRuntime,
    F: Future<Output = ()>,
{
    crate::logs::listen();
    R::block_on(flavour, async {
        let runtime = R::new();
        let ended = within(&runtime, LIMIT, scenario(runtime.clone())).await;
        assert!(ended.is_some(), "the scenario is stuck");
    });
}

impl TestRuntime for netaio_tokio::Tokio {
    fn new() -> Self {
        Self::default()
    }

    fn block_on(flavour: Flavour, scenario: impl Future<Output = ()>) {
        let mut builder = match flavour {
            Flavour::OneThread => tokio::runtime::Builder::new_current_thread(),
            Flavour::Threads => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(scenario);
        runtime.shutdown_background();
    }
}

/// Runs on async-std's global executor, which has a thread per core whatever
/// the flavour.
impl TestRuntime for netaio_asyncstd::AsyncStd {
    fn new() -> Self {
        Self::default()
    }

    fn block_on(_: Flavour, scenario: impl Future<Output = ()>) {
        async_std::task::block_on(scenario);
    }
}

/// Runs on smol's global executor, which has one thread unless it is told
/// otherwise; the scenario itself runs on the test's.
impl TestRuntime for netaio_asyncstd::smol::Smol {
    fn new() -> Self {
        Self::default()
    }

    fn block_on(_: Flavour, scenario: impl Future<Output = ()>) {
        smol::block_on(scenario);
    }
}
