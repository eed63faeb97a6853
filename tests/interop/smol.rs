//! The live tests against Python netaio 0.0.9, on smol. See `main.rs`.

/// The runtime whose clients, servers and nodes are tested.
mod runtime {
    pub(crate) use netaio_asyncstd::smol::Smol as Own;
    pub(crate) use netaio_asyncstd::smol::*;

    /// Waits where handlers run: on smol, not on the tests' own runtime.
    pub(crate) async fn sleep(span: std::time::Duration) {
        async_io::Timer::after(span).await;
    }
}

#[path = "modules.rs"]
mod modules;
