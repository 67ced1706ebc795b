//! A PROXY header is read alike however it is cut, to its last octet and no further, and what is written of it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::protocol::proxy::{Preamble, Tlv, write_v2};
use ringmx_fuzz::{header, pieces};

/// What came of the octets: the header, or why there is none, and how many octets were taken; `None` while more are awaited.
fn read(octets: &[u8], how: u8) -> Option<(String, usize)> {
    let mut preamble = Preamble::default();
    let mut taken = 0;
    for piece in pieces(octets, how) {
        let mut rest = piece;
        let read = preamble.take(&mut rest);
        let used = taken + piece.len() - rest.len();
        match read {
            Ok(None) => assert!(rest.is_empty(), "more is wanted while there is more"),
            Ok(Some(header)) => {
                let tlvs: Vec<Tlv<'_>> = header.tlvs.collect();
                let mut written = Vec::new();
                // What came with more than may be written is longer than what is written here.
                if write_v2(&header.origin, &tlvs, how & 1 == 1, &mut written).is_ok() {
                    let mut again = Preamble::default();
                    let mut input = written.as_slice();
                    let again = again.take(&mut input).expect("it was written here").expect("all of it");
                    assert_eq!((again.origin, again.tlvs.collect::<Vec<_>>()), (header.origin, tlvs));
                    assert!(input.is_empty());
                }
                return Some((format!("{header:?}"), used));
            }
            // Where a wrong octet is seen depends on the cuts; that it is wrong does not.
            Err(error) => return Some((format!("{error:?}"), 0)),
        }
        taken += piece.len();
    }
    None
}

fuzz_target!(|input: &[u8]| {
    let ([how], octets) = header::<1>(input);
    assert_eq!(read(octets, how), read(octets, 0));
});
