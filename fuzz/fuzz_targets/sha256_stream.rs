#![no_main]
use netaio_fuzz::sha256_stream::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
