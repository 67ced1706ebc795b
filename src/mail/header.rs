//! What is noticed of content while it passes: how many hops a message has come, and how long its lines are.
//!
//! *Invariants*: what is counted does not depend on how the content is cut. The work is linear, and nothing is kept of the
//! content.
//!
//! *Where a line ends* is asked twice with two answers, because content may hold bare LFs (BDAT, or a listener that
//! preserves them), and each answer is the safe one for its use. For [`HeaderWatch`] every LF ends a line: fields that stand
//! on lines of bare LF are counted, and an empty line among such lines ends the header section. For [`LineWatch`] CRLF alone
//! does (RFC 5321 §2.3.8): a line that is too long for any reader is found, whatever that reader takes for a line end. A
//! bare CR ends a line for neither.
//!
//! *Does not* refuse, limit, or see transparency: it is fed content without it, and the session compares with the limits.

const CR: u8 = b'\r';
const LF: u8 = b'\n';

/// The name that is counted, in lower case.
const NAME: &[u8] = b"received";

/// Counts the Received fields of a header section, by which a loop is known (RFC 5321 §6.3).
///
/// A field counts when its name and colon stand at the start of a line, in any case; blanks may stand before the colon (RFC
/// 5322 §4.5.8). The header section ends at the first empty line and at nothing else: each host of a loop puts its field
/// above what it got, so an empty line never hides the loop's own, but if a line that can be no field ended the section,
/// a host that puts one on top each time would keep the count at one for ever. Without any empty line, all is header.
///
/// ```
/// use ringmx::mail::header::HeaderWatch;
///
/// let mut watch = HeaderWatch::default();
/// watch.feed(b"Received: from a\r\n\tby b\r\nRECEI");
/// watch.feed(b"VED : from c\r\n\r\nReceived: is text here\r\n");
/// assert_eq!(watch.received_fields(), 2);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderWatch {
    received: u32,
    place: Place,
}

/// Where in the header section the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind so many octets of [`NAME`] at the start of a line.
    Name(u8),
    /// Behind the name, and perhaps blanks.
    BehindName,
    /// Behind a CR that is all of the line.
    BehindCr,
    /// Somewhere in a line that cannot become a Received field, or has become one.
    Line,
    /// Behind the header section.
    Over,
}

impl Default for Place {
    fn default() -> Self {
        Self::LINE_START
    }
}

impl Place {
    const LINE_START: Self = Self::Name(0);
}

const _: () = assert!(size_of::<HeaderWatch>() <= 16);

impl HeaderWatch {
    /// Looks at the next piece of the content.
    #[inline]
    pub fn feed(&mut self, piece: &[u8]) {
        if self.place != Place::Over {
            self.look(piece);
        }
    }

    /// How many Received fields there were so far; no more than `u32::MAX`. To be compared with
    /// [`RECEIVED_FIELDS`](crate::limits::RECEIVED_FIELDS).
    pub const fn received_fields(&self) -> u32 {
        self.received
    }

    fn look(&mut self, mut piece: &[u8]) {
        // BOUND: each turn takes an octet.
        loop {
            if self.place == Place::Line {
                let Some(end) = memchr::memchr(LF, piece) else { return };
                self.place = Place::LINE_START;
                piece = &piece[end + 1..];
            }
            let [octet, behind @ ..] = piece else { return };
            self.place = match (self.place, *octet) {
                (Place::LINE_START | Place::BehindCr, LF) => {
                    self.place = Place::Over;
                    return;
                }
                (_, LF) => Place::LINE_START,
                (Place::LINE_START, CR) => Place::BehindCr,
                (Place::Name(octets), octet) if octet.eq_ignore_ascii_case(&NAME[usize::from(octets)]) => {
                    if usize::from(octets) + 1 == NAME.len() { Place::BehindName } else { Place::Name(octets + 1) }
                }
                (Place::BehindName, b' ' | b'\t') => Place::BehindName,
                (Place::BehindName, b':') => {
                    self.received = self.received.saturating_add(1);
                    Place::Line
                }
                _ => Place::Line,
            };
            piece = behind;
        }
    }
}

/// Knows the longest line of the content, for a listener that refuses those above
/// [`TEXT_LINE_OCTETS`](crate::limits::TEXT_LINE_OCTETS) (RFC 5321 §4.5.3.1.6).
///
/// A line ends with CRLF and nothing else; what follows the last CRLF is a line too.
///
/// ```
/// use ringmx::mail::header::LineWatch;
///
/// let mut watch = LineWatch::default();
/// watch.feed(b"four\r");
/// watch.feed(b"\nsix\nsix\r\n");
/// assert_eq!(watch.longest_octets(), 7);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineWatch {
    /// Of the lines that have ended.
    longest: u32,
    /// Of the line that has not, a CR at its end included.
    current: u32,
    /// Whether it ends with a CR.
    ends_with_cr: bool,
}

const _: () = assert!(size_of::<LineWatch>() <= 16);

impl LineWatch {
    /// Looks at the next piece of the content.
    #[inline]
    pub fn feed(&mut self, piece: &[u8]) {
        let Some(last) = piece.last() else { return };
        let mut start = 0;
        // BOUND: the search goes on behind each LF.
        for lf in memchr::memchr_iter(LF, piece) {
            let is_end = if lf == 0 { self.ends_with_cr } else { piece[lf - 1] == CR };
            if is_end {
                self.grow(lf - start);
                self.longest = self.longest.max(self.current - 1);
                self.current = 0;
                start = lf + 1;
            }
        }
        self.grow(piece.len() - start);
        self.ends_with_cr = *last == CR;
    }

    /// Octets of the longest line so far without its CRLF; no more than `u32::MAX`.
    pub fn longest_octets(&self) -> u32 {
        self.longest.max(self.current)
    }

    #[inline]
    fn grow(&mut self, octets: usize) {
        self.current = self.current.saturating_add(u32::try_from(octets).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fed as it is cut: behind each of the places, which may be the same or out of order.
    fn received(content: &[u8], cuts: &[usize]) -> u32 {
        let mut watch = HeaderWatch::default();
        cut(content, cuts, |piece| watch.feed(piece));
        watch.received_fields()
    }

    fn longest(content: &[u8], cuts: &[usize]) -> u32 {
        let mut watch = LineWatch::default();
        cut(content, cuts, |piece| watch.feed(piece));
        watch.longest_octets()
    }

    fn cut(content: &[u8], cuts: &[usize], mut feed: impl FnMut(&[u8])) {
        let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (content.len() + 1)).collect();
        cuts.sort();
        let mut start = 0;
        for at in cuts.into_iter().chain([content.len()]) {
            feed(&content[start..at]);
            start = at;
        }
    }

    /// The whole content at once: lines as they stand between LFs, up to the empty one.
    fn naive_received(content: &[u8]) -> u32 {
        let lines = content.split(|octet| *octet == b'\n');
        let header = lines.take_while(|line| !matches!(line, [] | [b'\r']));
        let is_received = |line: &&[u8]| {
            let Some(colon) = line.iter().position(|octet| *octet == b':') else { return false };
            let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
            name.trim_end_matches([' ', '\t']) == "received"
        };
        header.filter(is_received).count() as u32
    }

    fn naive_longest(content: &[u8]) -> u32 {
        let text: String = content.iter().map(|octet| char::from(*octet)).collect();
        text.split("\r\n").map(|line| line.chars().count()).max().unwrap_or(0) as u32
    }

    #[test]
    fn fields_of_the_header_section_count() {
        let cases: [(&str, u32); 22] = [
            ("", 0),
            ("Received:", 1),
            ("Received: a\r\nreceived:b\r\nRECEIVED:\r\n c\r\n\r\n", 3),
            ("Received \t : a\r\n\r\n", 1),
            ("Received\r\n : a\r\n\r\n", 0),
            ("Received-SPF: a\r\nX-Received: b\r\nReceive: c\r\nReceivedd: d\r\n\r\n", 0),
            (" Received: a continuation\r\n\tReceived: another\r\n\r\n", 0),
            ("Subject: a\r\n Received: b\r\nReceived: c\r\n\r\nReceived: text\r\n", 1),
            ("\r\nReceived: text\r\n", 0),
            ("\nReceived: text\r\n", 0),
            ("Received: a\nReceived: b\n\nReceived: text\n", 2),
            ("Received: a\n\r\nReceived: text\n", 1),
            ("Received: a\r\n\nReceived: text\n", 1),
            ("Received: a\r\n \r\nReceived: behind a blank line that is not empty\r\n\r\n", 2),
            ("From someone Thu Jan  1 00:00:00 1970\r\nReceived: a\r\n\r\n", 1),
            ("no field\r\nReceived: a\r\n\r\n", 1),
            ("Received: a\rReceived: b\r\n\r\n", 1),
            ("\r\rReceived: a\r\n", 0),
            ("\r\r\nReceived: a\r\n", 1),
            ("R\u{e9}ceived: a\r\n\0\r\nReceived: b\r\n", 1),
            ("ReReceived: a\r\nReceivReceived: b\r\n", 0),
            ("Received\r\nReceived \r\nReceived:\n", 1),
        ];
        for (content, expected) in cases {
            assert_eq!(naive_received(content.as_bytes()), expected, "naive {content:?}");
            assert_eq!(received(content.as_bytes(), &[]), expected, "{content:?}");
            for at in 0..content.len() {
                assert_eq!(received(content.as_bytes(), &[at]), expected, "{content:?} cut at {at}");
            }
            let everywhere: Vec<usize> = (0..content.len()).collect();
            assert_eq!(received(content.as_bytes(), &everywhere), expected, "{content:?} octet for octet");
        }
    }

    #[test]
    fn the_count_stops_at_its_highest() {
        let mut watch = HeaderWatch { received: u32::MAX - 1, ..HeaderWatch::default() };
        watch.feed(b"Received: a\r\nReceived: b\r\nReceived: c\r\n");
        assert_eq!(watch.received_fields(), u32::MAX);
    }

    #[test]
    fn lines_end_with_crlf_alone() {
        for (content, expected) in [
            ("", 0),
            ("\r\n", 0),
            ("a", 1),
            ("a\r\nbc\r\n", 2),
            ("ab\r\nc\r\n", 2),
            ("ab\nc\r\n", 4),
            ("ab\rc\r\n", 4),
            ("a\r\r\n", 2),
            ("a\r\n\r", 1),
            ("\n\n\n\r\n", 3),
            ("a\r\nbcd\n", 4),
        ] {
            assert_eq!(naive_longest(content.as_bytes()), expected, "naive {content:?}");
            for at in 0..=content.len() {
                assert_eq!(longest(content.as_bytes(), &[at]), expected, "{content:?} cut at {at}");
            }
        }
    }

    #[test]
    fn a_line_longer_than_the_count_is_as_long_as_it_can_say() {
        let mut watch = LineWatch { current: u32::MAX - 2, ..LineWatch::default() };
        watch.feed(b"1234\r");
        assert_eq!(watch.longest_octets(), u32::MAX);
        watch.feed(b"\nshort\r\n");
        assert_eq!(watch.longest_octets(), u32::MAX - 1);
    }

    /// Content in which the parts that matter are frequent.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let parts: Vec<&[u8]> = vec![
            b"\r\n",
            b"\r\n",
            b"\r\n\r\n",
            b"\r",
            b"\n",
            b"Received:",
            b"received",
            b"\r\nRECEIVED: ",
            b"\nReceived\t:",
            b" ",
            b":",
            b"Rec",
            b"eived",
            b"x",
            b"\0",
            b"\xC3",
            b"Subject: some text that is long enough for a vector of octets",
        ];
        prop::collection::vec(prop::sample::select(parts), 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn cuts_change_no_count(content in content(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            prop_assert_eq!(received(&content, &cuts), naive_received(&content));
        }

        #[test]
        fn cuts_change_no_length(content in content(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            prop_assert_eq!(longest(&content, &cuts), naive_longest(&content));
        }
    }
}
