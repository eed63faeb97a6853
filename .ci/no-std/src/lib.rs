//! A library with a panic handler of its own. If anything below it linked std,
//! there would be two, and it would not build.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::sync::Arc;

use netaio_proto::{Connection, Instant};

#[global_allocator]
static HEAP: linked_list_allocator::LockedHeap =
    linked_list_allocator::LockedHeap::empty();

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Uses enough of the crate for all of it to be built.
pub fn connection() -> Option<Connection> {
    let remote = "192.0.2.1:8888".parse().ok()?;
    let now = Instant::EPOCH;
    Some(Connection::new(
        Arc::default(),
        Arc::default(),
        remote,
        [0; 32],
        now,
    ))
}

/// The same of the plugin with key pairs.
pub fn plugin(seed: &[u8; 32]) -> netaio_asymmetric::X25519CipherPlugin {
    netaio_asymmetric::X25519CipherPlugin::new(seed)
}
