#![no_main]
use netaio_fuzz::replays::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
