//! Scenarios: clients and servers over real sockets, on every runtime.
//!
//! Each scenario is written once, for any [`TestRuntime`](runtimes::TestRuntime),
//! and is a test of its own on each runtime. A new runtime is one line in
//! [`on_every_runtime`].

/// Makes one test per scenario and runtime, in a module per runtime.
macro_rules! on_every_runtime {
    ($($scenario:ident),* $(,)?) => {
        on_runtime!(on_tokio, netaio_tokio::Tokio, OneThread, $($scenario)*);
        on_runtime!(on_tokio_threads, netaio_tokio::Tokio, Threads, $($scenario)*);
        on_runtime!(on_async_std, netaio_asyncstd::AsyncStd, Threads, $($scenario)*);
        on_runtime!(on_smol, netaio_asyncstd::smol::Smol, OneThread, $($scenario)*);
    };
}

macro_rules! on_runtime {
    ($module:ident, $runtime:ty, $flavour:ident, $($scenario:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    let flavour = crate::runtimes::Flavour::$flavour;
                    crate::runtimes::run::<$runtime, _>(flavour, super::$scenario);
                }
            )*
        }
    };
}

mod across;
mod bounds;
mod connecting;
mod contents;
mod dropped_futures;
mod endings;
mod ends;
mod events;
mod every_await;
mod handlers;
mod late_replies;
mod leaving;
mod logs;
mod nodes;
mod peers;
mod publishing;
mod race;
mod raw_peer;
mod reconnect;
mod renewals;
mod routes;
mod runtimes;
mod secrets;
mod several_servers;
mod shutdown;
mod started;
mod streams;
mod subscriptions;
mod timeout_handlers;
mod tls;
mod waiting;
mod work;
