//! The oracle of `scan` and `data`: the same answers, found octet by octet and line by line in the most obvious way.
//!
//! Tests compare every implementation with it, and `benches/scan.rs` includes this file, so it names nothing outside.

/// What [`scan`] found, as `smtp::scan::Found`.
pub struct Scanned {
    pub ordinary: usize,
    pub nul: bool,
    pub eight_bit: bool,
}

/// What [`decode`] made of the mail data.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    pub content: Vec<u8>,
    /// How much of the input is mail data, when its end is there.
    pub end: Option<usize>,
    pub bare_lf: bool,
    pub bare_cr: bool,
    pub nul: bool,
    pub eight_bit: bool,
    pub false_end: bool,
}

/// What ends a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Crlf,
    BareCr,
    BareLf,
    /// The input ends first. A CR that could still become CRLF is in the line.
    Missing,
}

/// Counts the ordinary octets at the start.
pub fn scan(octets: &[u8]) -> Scanned {
    let mut ordinary = octets.len();
    for here in 1..octets.len() {
        let (before, octet) = (octets[here - 1], octets[here]);
        let bare = (before == b'\r') != (octet == b'\n');
        let lone = before == b'\n' && (octet == b'.' || octet == 0);
        if bare || lone {
            ordinary = here;
            break;
        }
    }
    let nul = octets[..ordinary].contains(&0);
    let eight_bit = octets[..ordinary].iter().any(|&octet| octet > 127);
    Scanned { ordinary, nul, eight_bit }
}

/// Decodes mail data that lies there as a whole.
pub fn decode(input: &[u8], normalize: bool) -> Decoded {
    // The CRLF that ended the DATA line counts.
    let with_crlf = [b"\r\n", input].concat();
    let end = with_crlf.windows(5).position(|window| window == b"\r\n.\r\n");
    let data = &input[..end.unwrap_or(input.len())];
    let mut decoded = Decoded {
        end: end.map(|content_and_crlf| content_and_crlf + 3),
        nul: data.contains(&0),
        eight_bit: data.iter().any(|&octet| octet > 127),
        ..Decoded::default()
    };
    let mut before = LineEnd::Crlf;
    for (line, line_end) in lines(data) {
        decoded.bare_cr |= line_end == LineEnd::BareCr;
        decoded.bare_lf |= line_end == LineEnd::BareLf;
        let without_nul: Vec<u8> = line.iter().copied().filter(|&octet| octet != 0).collect();
        decoded.false_end |= without_nul == b"." && line_end != LineEnd::Missing;

        let transparent = before == LineEnd::Crlf && line.first() == Some(&b'.');
        let line = if transparent { &line[1..] } else { line };
        if !(transparent && line == b"\r" && line_end == LineEnd::Missing) {
            decoded.content.extend_from_slice(line);
        }
        decoded.content.extend_from_slice(match (line_end, normalize) {
            (LineEnd::Missing, _) => b"",
            (LineEnd::Crlf, _) | (_, true) => b"\r\n",
            (LineEnd::BareCr, false) => b"\r",
            (LineEnd::BareLf, false) => b"\n",
        });
        before = line_end;
    }
    decoded
}

/// Splits behind each CRLF, bare CR and bare LF.
fn lines(data: &[u8]) -> Vec<(&[u8], LineEnd)> {
    let mut lines = Vec::new();
    let (mut start, mut here) = (0, 0);
    while here < data.len() {
        let (line_end, size) = match &data[here..] {
            [b'\r', b'\n', ..] => (LineEnd::Crlf, 2),
            [b'\r', _, ..] => (LineEnd::BareCr, 1),
            [b'\n', ..] => (LineEnd::BareLf, 1),
            _ => {
                here += 1;
                continue;
            }
        };
        lines.push((&data[start..here], line_end));
        here += size;
        start = here;
    }
    lines.push((&data[start..], LineEnd::Missing));
    lines
}
