#![no_main]
use netaio_fuzz::frames::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
