#![no_main]
use netaio_fuzz::x25519::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
