//! Content, marks and end of mail data are those of the naive way, under each setting and scan, however input is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::data::{BareNewline, DataDecoder, DataStep, Marks};
use ringmx::smtp::scan::Scanner;
use ringmx_fuzz::scalar::{self, Decoded};
use ringmx_fuzz::{header, pieces};

fn decode(mut decoder: DataDecoder, pieces: &[&[u8]]) -> Decoded {
    let (mut decoded, mut consumed) = (Decoded::default(), 0);
    'input: for piece in pieces {
        let mut rest = *piece;
        loop {
            match decoder.step(&mut rest) {
                DataStep::Content([]) => panic!("a piece of content is never empty"),
                DataStep::Content(content) => decoded.content.extend_from_slice(content),
                DataStep::NeedInput => break,
                DataStep::End => {
                    decoded.end = Some(consumed + piece.len() - rest.len());
                    break 'input;
                }
            }
        }
        assert!(rest.is_empty(), "input is used up before more is asked for");
        consumed += piece.len();
    }
    assert_eq!(decoder.content_bytes(), decoded.content.len() as u64);
    let Marks { bare_lf, bare_cr, nul, eight_bit, false_end } = decoder.marks();
    Decoded { bare_lf, bare_cr, nul, eight_bit, false_end, ..decoded }
}

fuzz_target!(|input: &[u8]| {
    let ([how], octets) = header(input);
    let cuts = [pieces(octets, 0), pieces(octets, 1), pieces(octets, how)];
    for bare in [BareNewline::Normalize, BareNewline::Preserve, BareNewline::Reject] {
        let expected = scalar::decode(octets, bare == BareNewline::Normalize);
        for scanner in Scanner::available() {
            for pieces in &cuts {
                let decoded = decode(DataDecoder::with_scanner(bare, scanner), pieces);
                assert_eq!(decoded, expected, "{bare:?} {}, in pieces of {how}", scanner.name());
            }
        }
    }
});
