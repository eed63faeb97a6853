#![no_main]
use netaio_fuzz::auth_fields::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(input));
