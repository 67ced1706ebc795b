//! What others have written, on a line of ours: in a log, or on a terminal.
//!
//! *Invariants*: it never ends what it stands in, nor the line, and no control octet reaches a terminal: what is not plain is shown as
//! `\xHH` for each octet, so that what was received can be read back.

use std::fmt::{self, Write};

use crate::limits;
use crate::mail::address::{Mailbox, Path};

/// A path without its brackets.
#[derive(Clone, Copy, Debug)]
pub struct ShownPath<'a>(pub Path<'a>);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |octets| Shown { octets, most: limits::PATH_OCTETS_LOOSE / 2, spaces: false };
        match self.0 {
            Path::Null => Ok(()),
            Path::Local(local_part) => write!(f, "{}", part(local_part)),
            Path::Mailbox(Mailbox { local_part, domain }) => write!(f, "{}@{}", part(local_part), part(domain)),
        }
    }
}

/// What others have written, such that it ends nothing that it stands in.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// As they came.
    pub octets: &'a [u8],
    /// More octets are cut off.
    pub most: usize,
    /// Whether spaces may stand as they are: between quotes, where angle brackets may, too.
    pub spaces: bool,
}

impl Shown<'_> {
    fn is_plain(&self, character: char) -> bool {
        match character {
            '"' | '\\' => false,
            ' ' | '<' | '>' => self.spaces,
            '!'..='~' => true,
            // Other readers take other white space for the end of a field or a line; and what has no width, or turns the
            // direction of text round, makes a line look like another.
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' => false,
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' => false,
            _ => !character.is_control() && !character.is_whitespace(),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.octets[..self.octets.len().min(self.most)];
        for chunk in shown.utf8_chunks() {
            let text = chunk.valid();
            // Up to here it is written.
            let mut done = 0;
            for (at, character) in text.char_indices().filter(|(_, character)| !self.is_plain(*character)) {
                let behind = at + character.len_utf8();
                f.write_str(&text[done..at])?;
                escape(f, &text.as_bytes()[at..behind])?;
                done = behind;
            }
            f.write_str(&text[done..])?;
            escape(f, chunk.invalid())?;
        }
        if shown.len() < self.octets.len() { f.write_char('…') } else { Ok(()) }
    }
}

fn escape(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    octets.iter().try_for_each(|octet| write!(f, "\\x{octet:02X}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_escaped() {
        for (octets, between_brackets, between_quotes) in [
            (&b"a<b>c d"[..], r"a\x3Cb\x3Ec\x20d", "a<b>c d"),
            (b"\0\t\x7f\x1b[31m", r"\x00\x09\x7F\x1B[31m", r"\x00\x09\x7F\x1B[31m"),
            (b"\xff\xfea\xc3", r"\xFF\xFEa\xC3", r"\xFF\xFEa\xC3"),
            ("ä\u{85}\u{2028}\u{3000}\u{202e}日".as_bytes(), r"ä\xC2\x85\xE2\x80\xA8\xE3\x80\x80\xE2\x80\xAE日", ""),
            (br"\x41", r"\x5Cx41", r"\x5Cx41"),
        ] {
            let shown = |spaces| Shown { octets, most: 100, spaces }.to_string();
            assert_eq!(shown(false), between_brackets);
            assert_eq!(shown(true), if between_quotes.is_empty() { between_brackets } else { between_quotes });
        }
        assert_eq!(Shown { octets: b"abcd", most: 3, spaces: true }.to_string(), "abc…");
    }

    #[test]
    fn a_path_is_shown_without_its_brackets() {
        let mailbox = Path::Mailbox(Mailbox { local_part: b"a b", domain: b"ok.test" });
        for (path, shown) in
            [(Path::Null, ""), (Path::Local(b"postmaster"), "postmaster"), (mailbox, r"a\x20b@ok.test")]
        {
            assert_eq!(ShownPath(path).to_string(), shown);
        }
    }
}
