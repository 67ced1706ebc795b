//! The octets of a BDAT chunk: exactly as many as were announced, whatever they are (RFC 3030 §2); and what was seen in
//! them.

use crate::smtp::data::Marks;
use crate::smtp::scan::Scanner;

/// Counts down the octets of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkDecoder {
    remaining_octets: u64,
}

impl ChunkDecoder {
    /// Awaits as many octets as BDAT announced.
    pub fn new(octets: u64) -> Self {
        Self { remaining_octets: octets }
    }

    /// Takes what belongs to the chunk from the front of `input`.
    pub fn take<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let octets = usize::try_from(self.remaining_octets).map_or(input.len(), |most| most.min(input.len()));
        let (piece, rest) = input.split_at(octets);
        self.remaining_octets -= octets as u64;
        *input = rest;
        piece
    }

    /// Whether all octets have come.
    pub fn is_done(self) -> bool {
        self.remaining_octets == 0
    }
}

/// Notices in the chunks of one message what the decoder notices in mail data. Nothing of it changes the content, and a
/// dot line means nothing here: [`Marks::false_end`] is never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkMarks {
    marks: Marks,
    /// The last octet so far is a CR: the next one says whether it is bare.
    behind_cr: bool,
}

impl ChunkMarks {
    /// Every mark that there can be: nothing is left to notice.
    const FULL: Marks = Marks { bare_lf: true, bare_cr: true, nul: true, eight_bit: true, false_end: false };

    /// Looks at the next octets of the message, wherever they were cut.
    pub fn see(&mut self, octets: &[u8]) {
        let scanner = Scanner::fastest();
        let mut rest = octets;
        // BOUND: each turn takes an octet at least. Binary content, which stops the scan often, soon has every mark.
        while let Some(&first) = rest.first()
            && self.marks != Self::FULL
        {
            self.marks.bare_lf |= first == b'\n' && !self.behind_cr;
            self.marks.bare_cr |= first != b'\n' && self.behind_cr;
            let found = scanner.scan(rest);
            self.marks.nul |= found.nul;
            self.marks.eight_bit |= found.eight_bit;
            self.behind_cr = rest[found.ordinary - 1] == b'\r';
            rest = &rest[found.ordinary..];
        }
    }

    /// What was noticed, when no more octets come.
    pub fn at_end(self) -> Marks {
        Marks { bare_cr: self.marks.bare_cr || self.behind_cr, ..self.marks }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_what_was_announced_and_no_more() {
        let mut chunk = ChunkDecoder::new(5);
        let mut input: &[u8] = b"hel";
        assert_eq!(chunk.take(&mut input), b"hel");
        assert!(input.is_empty() && !chunk.is_done());
        let mut input: &[u8] = b"loQUIT";
        assert_eq!(chunk.take(&mut input), b"lo");
        assert_eq!(input, b"QUIT");
        assert!(chunk.is_done());
        assert_eq!(chunk.take(&mut input), b"");
    }

    /// Octet for octet.
    fn naive(octets: &[u8]) -> Marks {
        let before = |at: usize| at.checked_sub(1).map(|at| octets[at]);
        let bare_lf = (0..octets.len()).any(|at| octets[at] == b'\n' && before(at) != Some(b'\r'));
        let bare_cr = (0..octets.len()).any(|at| octets[at] == b'\r' && octets.get(at + 1) != Some(&b'\n'));
        Marks {
            bare_lf,
            bare_cr,
            nul: octets.contains(&0),
            eight_bit: octets.iter().any(|octet| *octet > 127),
            false_end: false,
        }
    }

    proptest! {
        #[test]
        fn marks_are_the_same_however_the_octets_are_cut(
            octets in prop::collection::vec(prop::sample::select(b"\r\n\r\n.\0ab\x80".to_vec()), 0..40),
            text in 0..200_usize,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let octets = [b"a line\r\n".repeat(text / 8), octets].concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
            cuts.extend([0, octets.len()]);
            cuts.sort_unstable();
            let mut marks = ChunkMarks::default();
            cuts.windows(2).for_each(|cut| marks.see(&octets[cut[0]..cut[1]]));
            assert_eq!(marks.at_end(), naive(&octets), "{}", octets.escape_ascii());
        }
    }
}
