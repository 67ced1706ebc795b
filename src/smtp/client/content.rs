//! Content on its way out: mail data with its transparency (RFC 5321 §4.5.2), and the octets of chunks, counted down.
//!
//! *Idea*: what is sent is made of slices of the content. A dot at the start of a line is doubled by ending a slice behind it
//! and beginning the next one with it: nothing is copied, and only a line that begins with a dot, or has a wrong end, costs a
//! slice. *Invariants*: end of mail data is sent by [`DataEncoder::end`] alone, whatever the content is, and however it is
//! cut; a bare CR or LF is never followed by anything but what makes it CRLF (CONFORMANCE "Bare CR and LF", item 5). Linear
//! time.
//!
//! *Why the CR at a slice's end is not held back*: it is sent in any case, and LF behind it if no LF comes.

use crate::smtp::scan::Scanner;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const DOT: u8 = b'.';

/// What is done with a CR or LF that is not part of CRLF, in mail data. Chunks are sent as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareLineEnd {
    /// It is sent as CRLF: what a server that normalises makes of it.
    Normalize,
    /// The content is not sent to its end. Nothing but closing the connection ends mail data without a message, so where a
    /// message is known to have such line ends (the [`Marks`](crate::smtp::data::Marks) of its reception say so) the caller
    /// better does not begin.
    Refuse,
}

/// The content has a bare CR or LF, and these are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BareLineEndFound;

/// What has just been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing, or CRLF.
    LineStart,
    /// CR, of which it is not known whether LF follows.
    Cr,
    /// Anything else.
    Text,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataEncoder {
    place: Place,
    bare: BareLineEnd,
    scanner: Scanner,
}

impl DataEncoder {
    pub(super) fn new(bare: BareLineEnd) -> Self {
        Self { place: Place::LineStart, bare, scanner: Scanner::fastest() }
    }

    /// Takes content from the front of the slice, and returns what to send for it: empty when the slice is used up.
    pub(super) fn step<'c>(&mut self, content: &mut &'c [u8]) -> Result<&'c [u8], BareLineEndFound> {
        // The first `run` octets are to be sent as they are.
        let mut run = 0;
        // BOUND: each turn passes an octet, leaves the place behind a CR, or ends the loop.
        while let Some(&octet) = content.get(run) {
            match (self.place, octet) {
                (Place::Cr, LF) => {
                    self.place = Place::LineStart;
                    run += 1;
                }
                (Place::Cr, _) | (_, LF) if self.bare == BareLineEnd::Refuse => return Err(BareLineEndFound),
                // A bare CR went out: this makes it CRLF.
                (Place::Cr, _) => {
                    if run > 0 {
                        break;
                    }
                    self.place = Place::LineStart;
                    return Ok(b"\n");
                }
                // A bare LF: the CR goes first.
                (_, LF) => {
                    if run > 0 {
                        break;
                    }
                    self.place = Place::LineStart;
                    *content = &content[1..];
                    return Ok(b"\r\n");
                }
                // The dot is sent with what is before it, and again with what is behind it.
                (Place::LineStart, DOT) => {
                    self.place = Place::Text;
                    let piece = &content[..run + 1];
                    *content = &content[run..];
                    return Ok(piece);
                }
                (_, octet) => {
                    self.place = if octet == CR { Place::Cr } else { Place::Text };
                    run += 1;
                    // Not in front of a CR or LF, where a scan passes one octet or two: it is dear for so few.
                    if octet != CR && content.get(run).is_some_and(|&next| next > CR) {
                        run += self.pass_ordinary(&content[run - 1..]);
                    }
                }
            }
        }
        let (piece, rest) = content.split_at(run);
        *content = rest;
        Ok(piece)
    }

    /// How many octets behind the first, which is text, are ordinary.
    fn pass_ordinary(&mut self, octets: &[u8]) -> usize {
        let ordinary = self.scanner.scan(octets).ordinary;
        self.place = match octets[ordinary - 1] {
            CR => Place::Cr,
            // An LF that is ordinary has its CR before it.
            LF => Place::LineStart,
            _ => Place::Text,
        };
        ordinary - 1
    }

    /// What to send behind the content: its line end, if it has none, and the end of mail data.
    pub(super) fn end(self) -> Result<&'static [u8], BareLineEndFound> {
        match (self.place, self.bare) {
            (Place::LineStart, _) => Ok(b".\r\n"),
            (Place::Text, _) => Ok(b"\r\n.\r\n"),
            (Place::Cr, BareLineEnd::Normalize) => Ok(b"\n.\r\n"),
            (Place::Cr, BareLineEnd::Refuse) => Err(BareLineEndFound),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::data::{BareNewline, DataDecoder, DataStep};

    /// What the pieces become, and how many slices that takes.
    fn encode<'c>(
        bare: BareLineEnd,
        pieces: impl IntoIterator<Item = &'c [u8]>,
    ) -> Result<(Vec<u8>, usize), BareLineEndFound> {
        let mut encoder = DataEncoder::new(bare);
        let (mut sent, mut slices) = (Vec::new(), 0);
        for mut piece in pieces {
            loop {
                let slice = encoder.step(&mut piece)?;
                if slice.is_empty() {
                    break;
                }
                sent.extend_from_slice(slice);
                slices += 1;
            }
            assert!(piece.is_empty());
        }
        sent.extend_from_slice(encoder.end()?);
        Ok((sent, slices))
    }

    /// One octet after the other, in the plainest way.
    fn oracle(content: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut line = Vec::new();
        let mut octets = content.iter().copied().peekable();
        while let Some(octet) = octets.next() {
            match octet {
                CR => {
                    octets.next_if_eq(&LF);
                    lines.push(std::mem::take(&mut line));
                }
                LF => lines.push(std::mem::take(&mut line)),
                _ => line.push(octet),
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        let stuffed = lines.into_iter().map(|line| {
            let dot: &[u8] = if line.first() == Some(&DOT) { b"." } else { b"" };
            [dot, &line, b"\r\n"].concat()
        });
        stuffed.chain([b".\r\n".to_vec()]).collect::<Vec<_>>().concat()
    }

    /// What a server makes of it.
    fn decode(mut sent: &[u8]) -> Vec<u8> {
        let mut decoder = DataDecoder::new(BareNewline::Preserve);
        let mut content = Vec::new();
        loop {
            match decoder.step(&mut sent) {
                DataStep::Content(piece) => content.extend_from_slice(piece),
                DataStep::End => break,
                DataStep::NeedInput => panic!("the end was sent"),
            }
        }
        assert!(sent.is_empty(), "the end is at the end");
        content
    }

    #[test]
    fn a_dot_at_the_start_of_a_line_is_doubled() {
        for (content, sent) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..\r\n.a\r\n", "...\r\n..a\r\n.\r\n"),
            ("a.\r\n", "a.\r\n.\r\n"),
            ("\r\n.\r\nMAIL", "\r\n..\r\nMAIL\r\n.\r\n"),
        ] {
            for bare in [BareLineEnd::Normalize, BareLineEnd::Refuse] {
                assert_eq!(encode(bare, [content.as_bytes()]).unwrap().0, sent.as_bytes(), "{content:?}");
            }
        }
    }

    #[test]
    fn a_bare_line_end_is_made_whole_or_refused() {
        for (content, sent) in [
            ("a\nb", "a\r\nb\r\n.\r\n"),
            ("a\rb", "a\r\nb\r\n.\r\n"),
            ("a\r", "a\r\n.\r\n"),
            ("\n.\n", "\r\n..\r\n.\r\n"),
            ("\r.\r\n", "\r\n..\r\n.\r\n"),
            ("a\n.\r\n", "a\r\n..\r\n.\r\n"),
            ("a\r\r\n", "a\r\n\r\n.\r\n"),
            ("\n\r", "\r\n\r\n.\r\n"),
        ] {
            assert_eq!(encode(BareLineEnd::Normalize, [content.as_bytes()]).unwrap().0, sent.as_bytes(), "{content:?}");
            assert_eq!(encode(BareLineEnd::Refuse, [content.as_bytes()]), Err(BareLineEndFound), "{content:?}");
        }
    }

    #[test]
    fn ordinary_content_is_one_slice_and_a_dot_line_one_more() {
        let lines = b"a line of text. with dots\r\n".repeat(1000);
        assert_eq!(encode(BareLineEnd::Refuse, [lines.as_slice()]).unwrap().1, 1);
        let dots = [lines.as_slice(), b".dot\r\n", &lines, b"..\r\n", &lines].concat();
        assert_eq!(encode(BareLineEnd::Refuse, [dots.as_slice()]).unwrap().1, 3);
    }

    fn content() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            b"\r\n",
            b"\r",
            b"\n",
            b".",
            b"\r\n.",
            b"\r\n.\r\n",
            b"\0",
            b"\x80",
            b"x",
            b"text of some length, so that it is scanned",
            b"a whole line. of text\r\nand another one.\r\n",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn mail_data_is_what_the_oracle_says_for_every_split(content in content(), size in 1..40_usize) {
            let expected = oracle(&content);
            prop_assert_eq!(encode(BareLineEnd::Normalize, [content.as_slice()]).unwrap().0, expected.as_slice());
            prop_assert_eq!(encode(BareLineEnd::Normalize, content.chunks(size)).unwrap().0, expected.as_slice());
            let refused = encode(BareLineEnd::Refuse, content.chunks(size));
            prop_assert_eq!(&refused.is_err(), &encode(BareLineEnd::Refuse, [content.as_slice()]).is_err());
            let whole = [content.as_slice(), if content.is_empty() || content.ends_with(b"\r\n") { b"" } else { b"\r\n" }].concat();
            match refused {
                Ok((sent, _)) => prop_assert_eq!(decode(&sent), whole),
                Err(_) => prop_assert_ne!(decode(&expected), whole),
            }
        }
    }
}
