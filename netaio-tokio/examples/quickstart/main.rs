//! The whole of netaio in a few seconds: a server and a client in one process.
//!
//! ```text
//! cargo run --release -p netaio-tokio --example quickstart
//! ```
//!
//! Four parts, each printed as it happens: messages, requests at the same
//! time, an answer that does not come, and a server that dies. Ends by itself,
//! with an error if anything is not as this text says.
//!
//! What is worth reading is `tour.rs`. It is the same on every runtime; this
//! file says which one it is.

use std::time::Duration;

use netaio_tokio as netaio;
use tokio::time::{sleep, timeout};

mod tour;

#[tokio::main]
async fn main() -> tour::Outcome<()> {
    // Whatever goes wrong, do not hang.
    timeout(Duration::from_secs(30), tour::tour()).await?
}
