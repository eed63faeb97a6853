//! Publish and subscribe, in one process: a server, two subscribers of whom one
//! is too slow, and a publisher. Ends by itself.
//!
//! ```text
//! cargo run -p netaio-tokio --example pubsub
//! ```
//!
//! What is worth reading is `news.rs`, which is the same on every runtime.

use std::error::Error;

use netaio_tokio as netaio;
use tokio::time::sleep;

mod news;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    news::tell().await
}
