//! Publish and subscribe, in one process: a server, two subscribers of whom one
//! is too slow, and a publisher. Ends by itself.
//!
//! ```text
//! cargo run -p netaio-asyncstd --example pubsub
//! ```
//!
//! What is worth reading is netaio-tokio's `news.rs`, which is the same on every
//! runtime.

use std::error::Error;

use async_std::task::sleep;
use netaio_asyncstd as netaio;

#[path = "../../../netaio-tokio/examples/pubsub/news.rs"]
mod news;

#[async_std::main]
async fn main() -> Result<(), Box<dyn Error>> {
    news::tell().await
}
