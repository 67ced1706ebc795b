//! A chunk has as many octets as were announced; its marks are those of the naive way, however input is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::smtp::chunk::{ChunkDecoder, ChunkMarks};
use ringmx::smtp::data::Marks;
use ringmx_fuzz::{header, pieces};

/// Octet for octet. Nothing before the first and nothing behind the last makes either whole.
fn marks(octets: &[u8]) -> Marks {
    let pair = |first: fn(u8) -> bool, second: fn(u8) -> bool| {
        let with_ends = [b"x", octets, b"x"].concat();
        with_ends.windows(2).any(|pair| first(pair[0]) && second(pair[1]))
    };
    Marks {
        bare_lf: pair(|octet| octet != b'\r', |octet| octet == b'\n'),
        bare_cr: pair(|octet| octet == b'\r', |octet| octet != b'\n'),
        nul: octets.contains(&0),
        eight_bit: !octets.is_ascii(),
        false_end: false,
    }
}

fuzz_target!(|input: &[u8]| {
    let ([how, announced @ ..], octets) = header::<3>(input);
    let announced = u64::from(u16::from_be_bytes(announced));
    let own = octets.len().min(announced as usize);
    let (mut chunk, mut seen) = (ChunkDecoder::new(announced), ChunkMarks::default());
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for mut piece in pieces(octets, how) {
        let part = chunk.take(&mut piece);
        seen.see(part);
        taken.extend_from_slice(part);
        left.extend_from_slice(piece);
    }
    assert_eq!((&taken[..], &left[..]), octets.split_at(own));
    assert_eq!(chunk.is_done(), own as u64 == announced);
    assert_eq!(seen.at_end(), marks(&taken));
});
