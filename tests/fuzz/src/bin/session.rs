//! See `ringmx_fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringmx_fuzz::session::check(input));
