//! Command lines out of pieces of input: whole ones are lent from the input, cut ones are put together in a carry.

use crate::limits;
use crate::smtp::scan::classes::find_newline;

/// What the input holds of the next command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'i> {
    /// All of it.
    Whole(Line<'i>),
    /// A part, which is now in the carry; the input is used up.
    Partial,
    /// More than a line may have: [`limits::COMMAND_LINE_OCTETS`].
    TooLong,
}

/// A whole command line. It lies in the input, or else in the carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'i> {
    /// Without its line end; `None` when it lies in the carry.
    of_input: Option<&'i [u8]>,
    /// Whether it ended with LF alone.
    pub bare_newline: bool,
}

impl<'i> Line<'i> {
    /// The line without its line end.
    pub fn text(self, carry: &'i Carry) -> &'i [u8] {
        self.of_input.unwrap_or_else(|| cut(&carry.octets).0)
    }
}

/// The beginning of a command line whose end has not come yet.
#[derive(Debug, Default)]
pub struct Carry {
    octets: Vec<u8>,
    state: State,
    copied_octets: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `octets` lack their end.
    #[default]
    Open,
    /// `octets` are a whole line that was lent and is now done with.
    Spent,
    /// `octets` are a whole line that was given back to be read again.
    Held,
}

/// Capacity that a carry keeps between lines; more is given back, for the sake of idle connections.
const KEPT_OCTETS: usize = 256;

impl Carry {
    /// Takes the next line from the front of `input`, or what there is of it.
    ///
    /// COST: nearly every line lies in the input as a whole, behind another that did.
    #[inline(always)]
    pub fn find<'i>(&mut self, input: &mut &'i [u8]) -> Found<'i> {
        if self.state == State::Open
            && self.octets.is_empty()
            && let Some(newline) = find_newline(input)
            && newline < limits::COMMAND_LINE_OCTETS
        {
            let octets = *input;
            *input = &octets[newline + 1..];
            return Found::Whole(match &octets[..newline] {
                [text @ .., b'\r'] => Line { of_input: Some(text), bare_newline: false },
                text => Line { of_input: Some(text), bare_newline: true },
            });
        }
        self.find_cut(input)
    }

    /// The same for a line that lies in the carry, or will.
    #[inline(never)]
    fn find_cut<'i>(&mut self, input: &mut &'i [u8]) -> Found<'i> {
        match self.state {
            State::Held => {
                self.state = State::Spent;
                return Found::Whole(Line { of_input: None, bare_newline: cut(&self.octets).1 });
            }
            State::Spent => {
                self.octets.clear();
                self.octets.shrink_to(KEPT_OCTETS);
                self.state = State::Open;
            }
            State::Open => {}
        }
        let found = find_newline(input);
        let octets = found.map_or(input.len(), |at| at + 1);
        if self.octets.len() + octets > limits::COMMAND_LINE_OCTETS {
            return Found::TooLong;
        }
        let (piece, rest) = input.split_at(octets);
        *input = rest;
        if found.is_some() && self.octets.is_empty() {
            let (text, bare_newline) = cut(piece);
            return Found::Whole(Line { of_input: Some(text), bare_newline });
        }
        self.octets.extend_from_slice(piece);
        self.copied_octets += octets as u64;
        if found.is_none() {
            return Found::Partial;
        }
        self.state = State::Spent;
        Found::Whole(Line { of_input: None, bare_newline: cut(&self.octets).1 })
    }

    /// Forgets what there is of a line; says how many octets that was.
    pub fn give_up(&mut self) -> usize {
        let octets = if self.is_empty() { 0 } else { self.octets.len() };
        *self = Self { copied_octets: self.copied_octets, ..Self::default() };
        octets
    }

    /// Gives the line that was lent last back, to be lent again; `before` is the input as it was before it was lent.
    pub fn hold<'l>(&mut self, input: &mut &'l [u8], before: &'l [u8]) {
        if self.state == State::Spent {
            self.state = State::Held;
        } else {
            *input = before;
        }
    }

    /// Whether no part of a line waits for the rest.
    pub fn is_empty(&self) -> bool {
        self.state == State::Spent || self.octets.is_empty()
    }

    /// Whether a whole line waits to be read again.
    pub fn is_held(&self) -> bool {
        self.state == State::Held
    }

    /// Octets copied so far, since this was last asked.
    pub fn take_copied_octets(&mut self) -> u64 {
        std::mem::take(&mut self.copied_octets)
    }
}

/// RFC 5321 §4.1.2 has spaces between the words of a line; the tab, RFC 5322's other blank, is taken as one. A CR is not.
fn is_blank_octet(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Whether the text is blanks at most.
pub fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|octet| is_blank_octet(*octet))
}

/// The text without the blanks before it.
pub fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank_octet(*first)
    {
        text = rest;
    }
    text
}

/// The text without the blanks behind it.
pub fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_blank_octet(*last)
    {
        text = rest;
    }
    text
}

/// The text without the blanks around it.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// What follows this beginning of the text, which is given in upper case and read in any.
///
/// COST: about two instructions for an octet. A letter differs from its other case in one bit, which is left out of account
/// where the beginning has a letter; `eq_ignore_ascii_case` costs four times as much.
#[inline]
pub fn after<'t, const N: usize>(text: &'t [u8], beginning: &[u8; N]) -> Option<&'t [u8]> {
    let (head, rest) = text.split_first_chunk::<N>()?;
    let mut different = 0;
    for at in 0..N {
        let case = if beginning[at].is_ascii_uppercase() { 0x20 } else { 0 };
        different |= (head[at] ^ beginning[at]) & !case;
    }
    (different == 0).then_some(rest)
}

/// A line without its line end, and whether that was LF alone.
fn cut(line: &[u8]) -> (&[u8], bool) {
    match line {
        [text @ .., b'\r', b'\n'] => (text, false),
        [text @ .., b'\n'] => (text, true),
        _ => unreachable!("a whole line ends with LF"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let stream = b"EHLO c.test\r\nNOOP\n\r\nQUIT\r\n";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut carry = Carry::default();
                let mut lines = Vec::new();
                for mut piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    while !piece.is_empty() {
                        if let Found::Whole(line) = carry.find(&mut piece) {
                            lines.push((line.text(&carry).to_vec(), line.bare_newline));
                        }
                    }
                }
                let expected: Vec<(Vec<u8>, bool)> = vec![
                    (b"EHLO c.test".into(), false),
                    (b"NOOP".into(), true),
                    (b"".into(), false),
                    (b"QUIT".into(), false),
                ];
                assert_eq!(lines, expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn blanks_are_spaces_and_tabs() {
        assert!(is_blank(b"") && is_blank(b" \t") && !is_blank(b" \r"));
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b"  "), b"");
        assert_eq!(trim_start(b" a "), b"a ");
    }

    #[test]
    fn a_beginning_is_read_in_any_case_and_no_other_octet_for_it() {
        assert_eq!(after(b"bOdY=x", b"BODY="), Some(b"x".as_slice()));
        assert_eq!(after(b"BODY=", b"BODY="), Some(b"".as_slice()));
        assert_eq!(after(b"BODY", b"BODY="), None);
        for octet in 0..=255_u8 {
            assert_eq!(after(&[octet], b"K").is_some(), octet.eq_ignore_ascii_case(&b'K'), "{octet}");
            assert_eq!(after(&[octet], b"=").is_some(), octet == b'=', "{octet}");
            assert_eq!(after(&[octet], b"8").is_some(), octet == b'8', "{octet}");
        }
    }

    #[test]
    fn a_line_given_back_is_lent_again() {
        let mut carry = Carry::default();
        let mut input: &[u8] = b"QU";
        assert_eq!(carry.find(&mut input), Found::Partial);
        let mut input: &[u8] = b"IT\r\nrest";
        let before = input;
        for _ in 0..2 {
            let Found::Whole(line) = carry.find(&mut input) else { panic!("the line is whole") };
            assert_eq!((line.text(&carry), line.bare_newline), (b"QUIT".as_slice(), false));
            carry.hold(&mut input, before);
        }
        assert!(carry.is_held());
        assert_eq!(input, b"rest");
    }

    #[test]
    fn the_bound_holds_for_whole_and_cut_lines() {
        let longest = [vec![b'x'; limits::COMMAND_LINE_OCTETS - 2], b"\r\n".to_vec()].concat();
        let mut carry = Carry::default();
        assert!(matches!(carry.find(&mut longest.as_slice()), Found::Whole(_)));
        let longer = [b"x".as_slice(), &longest].concat();
        assert_eq!(carry.find(&mut longer.as_slice()), Found::TooLong);
        assert_eq!(carry.find(&mut &longest[..100]), Found::Partial);
        assert_eq!(carry.find(&mut &longest[..]), Found::TooLong);
    }
}
