//! A header field as words on lines: RFC 5322 §2.2.3.
//!
//! *Invariant*: a line has more than 78 octets only if it is one word. Words are what the caller says, and are not
//! looked into.

use crate::limits;

/// A field that is being written at the end of a target.
pub(super) struct Field<'o> {
    out: &'o mut Vec<u8>,
    /// Where the last line begins.
    line: usize,
    /// Whether that line is empty but for the blank of its fold, so that the next word needs no space before it.
    is_folded: bool,
}

/// Where a line goes on, with the blank that makes it part of the field.
const FOLD: &[u8; 3] = b"\r\n\t";

/// One octet is kept for a semicolon.
const LINE_OCTETS: usize = limits::TEXT_LINE_OCTETS_WISHED - 1;

impl<'o> Field<'o> {
    /// With its name and colon.
    pub(super) fn begin(out: &'o mut Vec<u8>, name: &str) -> Self {
        let line = out.len();
        out.extend_from_slice(name.as_bytes());
        Self { out, line, is_folded: false }
    }

    /// Appends what is written as one word, on the next line if it does not fit this one.
    pub(super) fn word(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let space = self.out.len();
        if !self.is_folded {
            self.out.push(b' ');
        }
        write(self.out);
        if !self.is_folded && self.out.len() - self.line > LINE_OCTETS {
            let end = self.out.len();
            self.out.extend_from_slice(&FOLD[1..]);
            self.out.copy_within(space + 1..end, space + FOLD.len());
            self.out[space..space + FOLD.len()].copy_from_slice(FOLD);
            self.line = space + FOLD.len() - 1;
        }
        self.is_folded = false;
    }

    /// Appends a semicolon to the last word.
    pub(super) fn semicolon(&mut self) {
        self.out.push(b';');
    }

    /// The next word stands on a line of its own.
    pub(super) fn fold(&mut self) {
        self.out.extend_from_slice(FOLD);
        self.line = self.out.len() - 1;
        self.is_folded = true;
    }

    /// Ends the field.
    pub(super) fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}
