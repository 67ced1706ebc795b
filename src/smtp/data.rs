//! The decoder of mail data: finds its end, removes transparency, marks what is wrong with its line ends.
//!
//! **Invariants.** End of data is CRLF `.` CRLF and nothing else, whatever the setting; the CRLF that ended the DATA
//! line counts as the first. A dot is removed behind exactly CRLF, never behind a line end that is bare or was made
//! whole here. Content, marks and the place of the end do not depend on how the input is cut. No octet is held over an
//! edge but the CR of a line that so far is a lone dot; its dot is either removed or part of the end. Content borrows
//! from the input but for that CR and the octets that `Normalize` inserts. The work is linear: a step begins where the
//! one before ended.
//!
//! **Why this way.** The end is never refused midway: the decoder keeps in step to the true end, so what follows it is
//! commands and what precedes it is not (SMTP smuggling). The scan passes over ordinary lines; only what surrounds a
//! bare CR, a bare LF, or a dot or NUL at the start of a line is judged octet by octet. COST: no copy, no allocation;
//! 16 octets of state.
//!
//! **Does not** refuse, limit or store: that is the session.
//!
//! **RFC** 5321 §2.3.8, §4.1.1.4, §4.5.2.
#![forbid(unsafe_code)]

pub use crate::mail::marks::Marks;

use super::scan::Scanner;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const DOT: u8 = b'.';
const NUL: u8 = 0;

/// How a bare CR or a bare LF in mail data is treated. No value changes what ends the data or which dots are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// It becomes CRLF in the content.
    Normalize,
    /// It is content as it is.
    Preserve,
    /// It is content as it is, and the session refuses the message at the end of data because of the marks.
    Reject,
}

/// What [`DataDecoder::step`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataStep<'i> {
    /// The next octets of the content, never none, without transparency. Mostly a part of the input.
    Content(&'i [u8]),
    /// The end of the mail data. What is left of the input is commands. Every further step says the same.
    End,
    /// The input is consumed.
    NeedInput,
}

/// Decodes the mail data of one message.
///
/// ```
/// use ringmx::smtp::data::{BareNewline, DataDecoder, DataStep};
/// let mut decoder = DataDecoder::new(BareNewline::Normalize);
/// let mut input = &b"..a\r\n.\r\nQUIT\r\n"[..];
/// assert_eq!(decoder.step(&mut input), DataStep::Content(b".a\r\n"));
/// assert_eq!(decoder.step(&mut input), DataStep::End);
/// assert_eq!(input, b"QUIT\r\n");
/// ```
#[derive(Clone, Debug)]
pub struct DataDecoder {
    content_bytes: u64,
    marks: Marks,
    place: Place,
    normalize: bool,
    scanner: Scanner,
}

const _: () = assert!(size_of::<DataDecoder>() <= 32);

/// Where the octets that were consumed have led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a line that is not, or no more, a lone dot.
    Text,
    /// Behind CRLF.
    LineStart,
    /// Behind a bare CR or LF, or in a line of NULs.
    LooseLineStart,
    /// Behind CRLF and one dot, which is not content.
    Dot,
    /// In a line of one dot and at least a NUL, or of one dot behind a bare CR or LF.
    LooseDot,
    /// Behind a CR; none of the two below.
    Cr,
    /// Behind the CR of [`Self::Dot`]. That CR is held: it is not yet content.
    DotCr,
    /// Behind the CR of [`Self::LooseDot`].
    LooseDotCr,
    /// Behind the end of data.
    End,
}

impl DataDecoder {
    /// A decoder that starts as if it had just seen CRLF.
    pub fn new(bare: BareNewline) -> Self {
        Self::with_scanner(bare, Scanner::fastest())
    }

    /// The same with a chosen scan, for tests and benchmarks.
    pub fn with_scanner(bare: BareNewline, scanner: Scanner) -> Self {
        let normalize = bare == BareNewline::Normalize;
        Self { content_bytes: 0, marks: Marks::default(), place: Place::LineStart, normalize, scanner }
    }

    /// What has been noticed so far.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// How many octets of content there were so far: with the last CRLF, without the dot line and without transparency.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Consumes input up to the next piece of content, the end of data, or the end of the input.
    pub fn step<'i>(&mut self, input: &mut &'i [u8]) -> DataStep<'i> {
        // The first `run` octets of the input are content that has been consumed but not yet given out. Whatever breaks
        // the run is left to the next step, which begins with it.
        let mut run = 0;
        // BOUND: each turn consumes an octet, leaves a place that awaits LF for one that does not, or ends the loop.
        while let Some(&octet) = input.get(run) {
            match (self.place, octet) {
                (Place::End, _) => return DataStep::End,
                (Place::DotCr, LF) => {
                    self.place = Place::End;
                    *input = &input[1..];
                    return DataStep::End;
                }
                // The CR before this octet is bare. This octet is judged in the next turn.
                (Place::Cr | Place::DotCr | Place::LooseDotCr, _) if octet != LF => {
                    let late: &[u8] = match (self.place, self.normalize) {
                        (Place::DotCr, true) => b"\r\n",
                        (Place::DotCr, false) => b"\r",
                        (_, true) => b"\n",
                        (_, false) => b"",
                    };
                    if run > 0 && !late.is_empty() {
                        break;
                    }
                    self.marks.bare_cr = true;
                    self.marks.false_end |= self.place != Place::Cr;
                    self.place = Place::LooseLineStart;
                    if !late.is_empty() {
                        return self.content(late);
                    }
                }
                // This LF is bare.
                (place, LF) if !matches!(place, Place::Cr | Place::LooseDotCr) => {
                    if run > 0 && self.normalize {
                        break;
                    }
                    self.marks.bare_lf = true;
                    self.marks.false_end |= matches!(place, Place::Dot | Place::LooseDot);
                    self.place = Place::LooseLineStart;
                    if self.normalize {
                        *input = &input[1..];
                        return self.content(b"\r\n");
                    }
                    run += 1;
                }
                // Transparency, or the end, or the CR that tells which.
                (Place::LineStart, DOT) | (Place::Dot, CR) => {
                    if run > 0 {
                        break;
                    }
                    self.place = if octet == DOT { Place::Dot } else { Place::DotCr };
                    *input = &input[1..];
                }
                (place, octet) => {
                    self.place = self.keep(place, octet);
                    run += 1;
                    // Not in front of a CR or LF: a scan that passes nothing is dear, and a hostile client could have
                    // one for each octet.
                    if self.place == Place::Text && input.get(run).is_some_and(|&next| next > CR) {
                        run += self.pass_ordinary(&input[run - 1..]);
                    }
                }
            }
        }
        let (content, rest) = input.split_at(run);
        *input = rest;
        match (self.place, content) {
            (Place::End, []) => DataStep::End,
            (_, []) => DataStep::NeedInput,
            (_, content) => self.content(content),
        }
    }

    /// Takes an octet as content, and says where that leads to.
    fn keep(&mut self, place: Place, octet: u8) -> Place {
        self.marks.nul |= octet == NUL;
        self.marks.eight_bit |= octet > 127;
        match (place, octet) {
            (Place::Cr, LF) => Place::LineStart,
            (Place::LooseDotCr, LF) => {
                self.marks.false_end = true;
                Place::LineStart
            }
            (Place::LooseDot, CR) => Place::LooseDotCr,
            (_, CR) => Place::Cr,
            (Place::LooseLineStart, DOT) | (Place::Dot | Place::LooseDot, NUL) => Place::LooseDot,
            (Place::LineStart | Place::LooseLineStart, NUL) => Place::LooseLineStart,
            _ => Place::Text,
        }
    }

    /// Takes the ordinary octets behind the first one of `octets`, which is text, as content; says how many.
    fn pass_ordinary(&mut self, octets: &[u8]) -> usize {
        let found = self.scanner.scan(octets);
        self.marks.nul |= found.nul;
        self.marks.eight_bit |= found.eight_bit;
        self.place = match octets[found.ordinary - 1] {
            CR => Place::Cr,
            // An LF that the scan passes has its CR.
            LF => Place::LineStart,
            _ => Place::Text,
        };
        found.ordinary - 1
    }

    fn content<'i>(&mut self, content: &'i [u8]) -> DataStep<'i> {
        self.content_bytes += content.len() as u64;
        DataStep::Content(content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::scan::scalar::{self, Decoded};

    const BARE: [BareNewline; 3] = [BareNewline::Normalize, BareNewline::Preserve, BareNewline::Reject];

    /// What follows a suspicious sequence: the message that the sender would smuggle, and the true end.
    const SMUGGLED: &[u8] = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nhello\r\n.\r\n";

    /// S1 to S17 of the conformance list: the octets in the body, and whether a line of them is a false end.
    const SEQUENCES: [(&str, &[u8], bool); 30] = [
        ("S1", b"\n.\n", true),
        ("S2", b"\n.\r\n", true),
        ("S3", b"\r\n.\n", true),
        ("S4", b"\r.\r", true),
        ("S5", b"\r.\n", true),
        ("S6", b"\n.\r", true),
        ("S7", b"\r.\r\n", true),
        ("S8", b"\r\n.\rx", true),
        ("S9", b"\r\n\0.\r\n", true),
        ("S9 twice", b"\r\n\0\0.\r\n", true),
        ("S10", b"\r\n.\0\r\n", true),
        ("S10 twice", b"\r\n.\0\0\r\n", true),
        ("S9 and S10", b"\n\0.\0\r\n", true),
        ("S11", b"\r\n.\r\r\n", true),
        ("S12", b"\r\r\n.\r\r\n", true),
        ("S13 LF LF", b"\n\n.\r\n", true),
        ("S13 NUL LF", b"\r\n\0.\n", true),
        ("S13 NUL CR", b"\r\n\0.\r", true),
        ("LF dot CR CRLF", b"\n.\r\r\n", true),
        ("S14 SP before", b"\r\n .\r\n", false),
        ("S14 SP behind", b"\r\n. \r\n", false),
        ("S14 TAB", b"\r\n.\t\r\n", false),
        ("S15", b"\r\n..\r\n", false),
        ("S15 bare", b"\n..\n", false),
        ("S16 VT", b"\r\n.\x0B\r\n", false),
        ("S16 FF", b"\r\n.\x0C\r\n", false),
        ("S16 NEL", b"\r\n.\x85\r\n", false),
        ("S16 U+2028", b"\r\n.\xE2\x80\xA8\r\n", false),
        ("S17", b"\r\n\xAE\r\n", false),
        ("S17 both", b"\x8D\x8A.\x8D\x8A", false),
    ];

    /// Feeds the input in parts and gives what the decoder made of it, in the oracle's form.
    fn decode<'i>(mut decoder: DataDecoder, parts: impl IntoIterator<Item = &'i [u8]>) -> Decoded {
        let mut decoded = Decoded::default();
        let mut consumed = 0;
        for part in parts {
            let mut rest = part;
            loop {
                match decoder.step(&mut rest) {
                    DataStep::Content(content) => {
                        assert!(!content.is_empty());
                        decoded.content.extend_from_slice(content);
                    }
                    DataStep::End => {
                        decoded.end.get_or_insert(consumed + part.len() - rest.len());
                        break;
                    }
                    DataStep::NeedInput => {
                        assert!(rest.is_empty());
                        break;
                    }
                }
            }
            consumed += part.len();
        }
        assert_eq!(decoder.content_bytes(), decoded.content.len() as u64);
        let Marks { bare_lf, bare_cr, nul, eight_bit, false_end } = decoder.marks();
        Decoded { bare_lf, bare_cr, nul, eight_bit, false_end, ..decoded }
    }

    /// Decodes the input as a whole and in the given parts, with each setting and scan, and compares with the oracle.
    #[track_caller]
    fn check(input: &[u8], cuts: &[usize]) {
        let mut parts = Vec::new();
        let mut start = 0;
        for &cut in cuts {
            parts.push(&input[start..cut]);
            start = cut;
        }
        parts.push(&input[start..]);
        for bare in BARE {
            let expected = scalar::decode(input, bare == BareNewline::Normalize);
            for scanner in Scanner::available() {
                let decoded = decode(DataDecoder::with_scanner(bare, scanner), parts.iter().copied());
                assert_eq!(decoded, expected, "{} {bare:?} {} cut at {cuts:?}", scanner.name(), input.escape_ascii());
            }
        }
    }

    /// The same for the whole, each single cut, and every cut at once.
    #[track_caller]
    fn check_cut_anywhere(input: &[u8]) {
        check(input, &[]);
        for cut in 0..=input.len() {
            check(input, &[cut]);
        }
        check(input, &(1..input.len()).collect::<Vec<_>>());
    }

    fn content(bare: BareNewline, input: &[u8]) -> Vec<u8> {
        decode(DataDecoder::new(bare), [input]).content
    }

    #[test]
    fn transparency_and_end() {
        let seeds: [(&[u8], &[u8], usize); 12] = [
            (b".\r\n", b"", 3),
            (b".\r\nQUIT\r\n", b"", 3),
            (b"\r\n.\r\n", b"\r\n", 5),
            (b"..a\r\n.\r\n", b".a\r\n", 8),
            (b".a\r\n.\r\n", b"a\r\n", 7),
            (b"..\r\n.\r\n", b".\r\n", 7),
            (b"...\r\n.\r\n", b"..\r\n", 8),
            (b"a.\r\n.\r\n", b"a.\r\n", 7),
            (b"a\r\n..b\r\n.c\r\n.\r\n", b"a\r\n.b\r\nc\r\n", 15),
            (b"a\r\n.\r\n.\r\n", b"a\r\n", 6),
            (b"a\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n", 10),
            (b"a\r\n.b\r\n..\r\n.\r\nMAIL", b"a\r\nb\r\n.\r\n", 14),
        ];
        for (input, content, end) in seeds {
            for bare in BARE {
                let decoded = decode(DataDecoder::new(bare), [input]);
                let expected = Decoded { content: content.to_vec(), end: Some(end), ..Decoded::default() };
                assert_eq!(decoded, expected, "{}", input.escape_ascii());
            }
            check_cut_anywhere(input);
        }
    }

    #[test]
    fn bare_newlines() {
        let seeds: [(&[u8], &[u8]); 10] = [
            (b"a\nb\r\n", b"a\r\nb\r\n"),
            (b"a\rb\r\n", b"a\r\nb\r\n"),
            (b"\n\n\r\r\r\n", b"\r\n\r\n\r\n\r\n\r\n"),
            (b"a\n.b\r\n", b"a\r\n.b\r\n"),
            (b"a\r.b\r\n", b"a\r\n.b\r\n"),
            (b"a\n.\r\nb\r\n", b"a\r\n.\r\nb\r\n"),
            (b".\rb\r\n", b"\r\nb\r\n"),
            (b".\r\r\nb\r\n", b"\r\n\r\nb\r\n"),
            (b".\nb\r\n", b"\r\nb\r\n"),
            (b"..\nb\r\n", b".\r\nb\r\n"),
        ];
        for (data, normalized) in seeds {
            let input = [data, b".\r\n"].concat();
            assert_eq!(content(BareNewline::Normalize, &input), normalized, "{}", data.escape_ascii());
            check_cut_anywhere(&input);
        }
        assert_eq!(content(BareNewline::Preserve, b"a\nb\rc\n.d\r\n.\r\n"), b"a\nb\rc\n.d\r\n");
        assert_eq!(content(BareNewline::Reject, b".\rb\n\r\n.\r\n"), b"\rb\n\r\n");
    }

    /// S1 to S17, followed by a message to smuggle (S19), with every cut (S18). S20 is about BDAT.
    #[test]
    fn smuggling_sequences() {
        for (name, sequence, false_end) in SEQUENCES {
            for before in [&b"body"[..], b"", b"body\r\n"] {
                let input = [before, sequence, SMUGGLED].concat();
                for bare in BARE {
                    let decoded = decode(DataDecoder::new(bare), [&input[..]]);
                    assert_eq!(decoded.end, Some(input.len()), "{name}");
                    assert_eq!(decoded.false_end, false_end, "{name}");
                }
                check_cut_anywhere(&input);
            }
        }
    }

    /// The last of S13: what is no end yet does not become one when the client closes.
    #[test]
    fn cut_off_before_the_end() {
        for input in [&b"a\r\n."[..], b"a\r\n.\r", b".", b".\r", b"a\r", b"a\n.\r", b"a\r\n\0.", b""] {
            assert_eq!(decode(DataDecoder::new(BareNewline::Preserve), [input]).end, None);
            check_cut_anywhere(input);
        }
    }

    /// Octets behind the end are commands: they are not consumed and set no mark.
    #[test]
    fn nothing_behind_the_end_is_looked_at() {
        let input = [b"a\r\n.\r\n", &b"\0\x80\n.\n\r.\r"[..]].concat();
        check_cut_anywhere(&input);
        let mut decoder = DataDecoder::new(BareNewline::Preserve);
        let mut rest = &input[..];
        assert_eq!(decoder.step(&mut rest), DataStep::Content(b"a\r\n"));
        for _ in 0..2 {
            assert_eq!(decoder.step(&mut rest), DataStep::End);
            assert_eq!(rest, &input[6..]);
        }
        assert_eq!(decoder.marks(), Marks::default());
        assert_eq!(decoder.step(&mut &b""[..]), DataStep::End);
    }

    #[test]
    fn content_is_as_long_as_it_can_be() {
        let crlf = b"a line of the text.\r\n".repeat(3000);
        let lf = b"a line of the text.\n".repeat(3000);
        for (bare, input) in [(BareNewline::Normalize, &crlf), (BareNewline::Preserve, &lf), (BareNewline::Reject, &lf)]
        {
            let mut rest = &input[..];
            assert_eq!(DataDecoder::new(bare).step(&mut rest), DataStep::Content(input));
            assert!(rest.is_empty());
        }
    }

    fn data() -> impl Strategy<Value = Vec<u8>> {
        let odd = prop::collection::vec(prop::sample::select(b"\r\n.\0ab\x80".to_vec()), 0..12);
        let pieces: Vec<&[u8]> =
            vec![b"\r\n", b".", b"\r\n.", b"\r\n.\r", b"\n.", b"\r.", b"\r\n\0", b"\0.", b"\r\n.."];
        let pieces = prop::collection::vec(prop::sample::select(pieces), 0..6).prop_map(|pieces| pieces.concat());
        let text = (0..400_usize, 3..90_usize).prop_map(|(size, width)| {
            (0..size)
                .map(|index| {
                    if index % width == 0 {
                        b'\r'
                    } else if index % width == 1 {
                        b'\n'
                    } else {
                        b'a'
                    }
                })
                .collect()
        });
        let part = prop_oneof![3 => odd, 3 => pieces, 2 => text];
        prop::collection::vec(part, 0..6).prop_map(|parts: Vec<Vec<u8>>| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn same_as_the_oracle(
            data in data(),
            behind in prop::collection::vec(prop::sample::select(b"\r\n.\0a\x80".to_vec()), 0..4),
            ended in any::<bool>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let end: &[u8] = if ended { b"\r\n.\r\n" } else { b"" };
            let input = [&data, end, &behind].concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            check(&input, &[]);
            check(&input, &cuts);
            check(&input, &(1..input.len()).collect::<Vec<_>>());
        }
    }
}
