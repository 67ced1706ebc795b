//! Faults that AddressSanitizer must find: `run` builds this with the flags of the tests, and expects each to end badly.

use std::hint::black_box;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("heap-buffer-overflow") => {
            let octets = black_box(vec![1_u8; 16]);
            // SAFETY: none: this is the fault.
            black_box(unsafe { octets.as_ptr().add(16).read() });
        }
        Some("heap-use-after-free") => {
            let octets = black_box(vec![1_u8; 16]);
            let start = octets.as_ptr();
            drop(octets);
            // SAFETY: none: this is the fault.
            black_box(unsafe { start.read() });
        }
        Some("detected memory leaks") => {
            black_box(vec![1_u8; 16]).leak();
        }
        other => panic!("no such fault: {other:?}"),
    }
}
