//! Plugins for netaio whose keys come in pairs, and proof of work.
#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(all(feature = "hashcash", feature = "tapescript", feature = "x25519"))]
pub mod guide;
#[cfg(feature = "hashcash")]
mod hashcash;
#[cfg(feature = "tapescript")]
pub mod tapescript;
#[cfg(feature = "x25519")]
mod x25519;

#[cfg(feature = "hashcash")]
pub use hashcash::HashcashAuthPlugin;
#[cfg(feature = "tapescript")]
pub use tapescript::TapescriptAuthPlugin;
#[cfg(feature = "x25519")]
pub use x25519::X25519CipherPlugin;
