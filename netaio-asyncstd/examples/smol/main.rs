//! The tour of the example `quickstart`, on smol.
//!
//! ```text
//! cargo run -p netaio-asyncstd --features smol --example smol
//! ```
//!
//! smol has no main attribute: `block_on` runs what `main` wants, and the tasks
//! of clients and servers run on smol's global executor.

use std::time::Duration;

use netaio_asyncstd::smol as netaio;
use smol::Timer;

#[path = "../../../netaio-tokio/examples/quickstart/tour.rs"]
mod tour;

fn main() -> tour::Outcome<()> {
    smol::block_on(smol::future::or(tour::tour(), give_up()))
}

/// Whatever goes wrong, do not hang.
async fn give_up() -> tour::Outcome<()> {
    sleep(Duration::from_secs(30)).await;
    Err("it takes too long".into())
}

async fn sleep(span: Duration) {
    Timer::after(span).await;
}
