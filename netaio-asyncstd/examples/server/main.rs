//! A server that stores content under URIs: the one from Python netaio's
//! readme, in Rust. Either can take the other's place.
//!
//! ```text
//! cargo run -p netaio-asyncstd --example server [ADDRESS]
//! ```
//!
//! The address is `127.0.0.1:8888` unless you give another one. Try it with the
//! example `client`, or with the client of Python's readme. End it with Ctrl-C.
//! `RUST_LOG=debug` shows what happens to connections.
//!
//! Everybody who knows the first secret may read. To create, update and delete
//! one must know the second secret as well: it is an inner layer of those
//! three handlers.
//!
//! The server is in netaio-tokio's `store.rs`, which is the same on every
//! runtime.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_signal::{Signal, Signals};
use async_std::stream::StreamExt as _;
use netaio::{HmacAuthPlugin, TcpServer};
use netaio_asyncstd as netaio;

#[path = "../../../netaio-tokio/examples/server/store.rs"]
mod store;

#[async_std::main]
async fn main() -> io::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8888");

    let server = TcpServer::builder()
        .auth(HmacAuthPlugin::new("test"))
        .build();
    store::serve(&server, &Arc::default());
    let address = server.listen(address).await?;
    println!("listening on {address}, Ctrl-C ends");

    Signals::new([Signal::Int])?.next().await;
    // What was accepted is still answered, for at most 5 seconds.
    server.shutdown(Duration::from_secs(5)).await;
    Ok(())
}
