//! Every scan that the machine has says the same as the naive one, wherever the octets begin in memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::scan::{Found, Scanner};
use ringmx_fuzz::scalar::{self, Scanned};

fuzz_target!(|input: &[u8]| {
    for octets in [input, input.get(1..).unwrap_or_default(), input.get(7..).unwrap_or_default()] {
        let Scanned { ordinary, nul, eight_bit } = scalar::scan(octets);
        for scanner in Scanner::available() {
            assert_eq!(scanner.scan(octets), Found { ordinary, nul, eight_bit }, "{}", scanner.name());
        }
    }
});
