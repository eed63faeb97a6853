#![no_main]
use netaio_fuzz::layers::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
