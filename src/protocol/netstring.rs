//! Netstrings as they come: decimal length, `:`, so many octets, `,` (D. J. Bernstein, *Netstrings*, 1997).
//!
//! *Invariants*: what is read is the same however the input is cut; content is lent, never kept; nothing behind the comma is
//! taken.
//!
//! *Nesting*: who reads netstrings within a netstring asks the outer one for its [`Reader::content`], reads that with another
//! reader, and tells the outer one with [`Reader::advance`] how much was used. The inner one's bound is what
//! [`Reader::remaining_octets`] then says: an inner netstring that reaches beyond its outer one is refused at its length.
//!
//! *Does not* know what is in one.

use std::io::Write as _;

/// What the next octets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A netstring begins: so many octets of content follow.
    Begin(u64),
    /// The next octets of its content, at least one.
    Content(&'i [u8]),
    /// It ends. What follows is read as the next one.
    End,
}

/// What is wrong with a netstring. All of it is the sender's fault; where the next one begins is then unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetstringError {
    /// Neither a digit nor, behind one, a colon.
    #[error("octet {0:#04x} stands in the length of a netstring")]
    Length(u8),
    /// A digit behind a zero at the beginning.
    #[error("the length of a netstring begins with a zero")]
    LeadingZero,
    /// More octets of content than the reader's bound.
    #[error("a netstring has more than {most} octets")]
    TooLong {
        /// The bound.
        most: u64,
    },
    /// No comma behind the content.
    #[error("octet {0:#04x} stands where a netstring should end")]
    Comma(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit.
    Between,
    /// Behind a digit.
    Length { octets: u64 },
    /// Within the content, or behind all of it.
    Content { remaining: u64 },
}

/// Reads one netstring after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    state: State,
    most: u64,
}

impl Reader {
    /// A reader of netstrings with at most so many octets of content each.
    pub fn new(most: u64) -> Self {
        Self { state: State::Between, most }
    }

    /// Sets another bound for netstrings whose length has not been read yet.
    pub fn set_most(&mut self, most: u64) {
        self.most = most;
    }

    /// Whether no octet of a netstring has come since the last one ended.
    pub fn is_between(&self) -> bool {
        self.state == State::Between
    }

    /// Octets of content that are still to come.
    pub fn remaining_octets(&self) -> u64 {
        match self.state {
            State::Content { remaining } => remaining,
            State::Between | State::Length { .. } => 0,
        }
    }

    /// What of the input, which begins where this reader is, is content.
    pub fn content<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        let octets = usize::try_from(self.remaining_octets()).map_or(input.len(), |most| most.min(input.len()));
        &input[..octets]
    }

    /// Counts octets of content that someone else took from the front of the input.
    ///
    /// # Panics
    ///
    /// When they are more than [`Reader::remaining_octets`], which nobody who took them from [`Reader::content`] has.
    pub fn advance(&mut self, octets: usize) {
        let remaining = self.remaining_octets().checked_sub(octets as u64).expect("only content was taken");
        if octets > 0 {
            self.state = State::Content { remaining };
        }
    }

    /// Takes what comes next from the front of `input`; `None` when more input is needed, and then all of it was taken.
    ///
    /// # Errors
    ///
    /// What is wrong; the reader is then done with.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, NetstringError> {
        // BOUND: each turn takes an octet.
        while let Some((&octet, rest)) = input.split_first() {
            match self.state {
                State::Content { remaining: 0 } => {
                    if octet != b',' {
                        return Err(NetstringError::Comma(octet));
                    }
                    *input = rest;
                    self.state = State::Between;
                    return Ok(Some(Event::End));
                }
                State::Content { .. } => {
                    let content = self.content(input);
                    self.advance(content.len());
                    *input = &input[content.len()..];
                    return Ok(Some(Event::Content(content)));
                }
                State::Length { octets } if octet == b':' => {
                    *input = rest;
                    self.state = State::Content { remaining: octets };
                    return Ok(Some(Event::Begin(octets)));
                }
                State::Between | State::Length { .. } => {
                    self.state = State::Length { octets: self.with_digit(octet)? };
                    *input = rest;
                }
            }
        }
        Ok(None)
    }

    /// The length so far, with one more digit. The bound also bounds the digits, because none is a zero in front.
    fn with_digit(&self, octet: u8) -> Result<u64, NetstringError> {
        if !octet.is_ascii_digit() {
            return Err(NetstringError::Length(octet));
        }
        let before = match self.state {
            State::Length { octets: 0 } => return Err(NetstringError::LeadingZero),
            State::Length { octets } => octets,
            State::Between | State::Content { .. } => 0,
        };
        let octets = before.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(octet - b'0')));
        octets.filter(|octets| *octets <= self.most).ok_or(NetstringError::TooLong { most: self.most })
    }
}

/// Appends the content as a netstring.
pub fn write(content: &[u8], out: &mut Vec<u8>) {
    write!(out, "{}:", content.len()).expect("a vector takes all that is written");
    out.extend_from_slice(content);
    out.push(b',');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Netstrings in input that is cut where `cuts` say, with the octets of the last one that were not taken.
    fn read(pieces: &[&[u8]], most: u64) -> Result<(Vec<Vec<u8>>, bool), NetstringError> {
        let mut reader = Reader::new(most);
        let (mut whole, mut current) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while let Some(event) = reader.next(&mut input)? {
                match event {
                    Event::Begin(octets) => current = Vec::with_capacity(octets as usize),
                    Event::Content(content) => {
                        assert!(!content.is_empty());
                        current.extend_from_slice(content);
                    }
                    Event::End => whole.push(std::mem::take(&mut current)),
                }
            }
            assert!(input.is_empty(), "it took all before it asked for more");
        }
        Ok((whole, reader.is_between()))
    }

    fn cut<'i>(input: &'i [u8], cuts: &[prop::sample::Index]) -> Vec<&'i [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect()
    }

    #[test]
    fn netstrings_are_read_and_others_refused() {
        use NetstringError::{Comma, LeadingZero, Length, TooLong};
        let one = |text: &'static str| read(&[text.as_bytes()], 20);
        let whole = |contents: &[&[u8]]| Ok((contents.iter().map(|content| content.to_vec()).collect(), true));
        assert_eq!(one("12:hello world!,"), whole(&[b"hello world!"]));
        assert_eq!(one("0:,"), whole(&[b""]));
        assert_eq!(one("3:a,b,0:,1:,,"), whole(&[b"a,b", b"", b","]));
        assert_eq!(one("20:12345678901234567890,"), whole(&[b"12345678901234567890"]));
        assert_eq!(one("5:hell"), Ok((vec![], false)));
        assert_eq!(one("5:hello"), Ok((vec![], false)));
        assert_eq!(one("1"), Ok((vec![], false)));
        assert_eq!(one("21"), Err(TooLong { most: 20 }));
        assert_eq!(one("99999999999999999999999"), Err(TooLong { most: 20 }));
        assert_eq!(read(&[b"18446744073709551616"], u64::MAX), Err(TooLong { most: u64::MAX }));
        assert_eq!(one("00:,"), Err(LeadingZero));
        assert_eq!(one("05:hello,"), Err(LeadingZero));
        assert_eq!(one(":,"), Err(Length(b':')));
        assert_eq!(one("-1:,"), Err(Length(b'-')));
        assert_eq!(one("1 :a,"), Err(Length(b' ')));
        assert_eq!(one("EHLO"), Err(Length(b'E')));
        assert_eq!(one("1:ab"), Err(Comma(b'b')));
        assert_eq!(one("0:1:a,"), Err(Comma(b'1')));
    }

    #[test]
    fn an_outer_netstring_lends_its_content_and_no_more() {
        let mut outer = Reader::new(100);
        let mut input: &[u8] = b"6:1:a,0:,,QUIT";
        assert_eq!(outer.next(&mut input), Ok(Some(Event::Begin(6))));
        assert_eq!(outer.content(input), b"1:a,0:");
        assert_eq!(outer.content(b"1:"), b"1:");
        outer.advance(6);
        outer.advance(0);
        assert_eq!((outer.remaining_octets(), outer.content(b",")), (0, b"".as_slice()));
        let mut input: &[u8] = b",QUIT";
        assert_eq!(outer.next(&mut input), Ok(Some(Event::End)));
        assert_eq!((input, outer.is_between()), (b"QUIT".as_slice(), true));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut octets = Vec::new();
            contents.iter().for_each(|content| write(content, &mut octets));
            let expected = Ok((contents, true));
            prop_assert_eq!(&read(&cut(&octets, &cuts), 120), &expected);
            prop_assert_eq!(&read(&octets.chunks(1).collect::<Vec<_>>(), 120), &expected);
        }

        #[test]
        fn any_input_has_one_outcome_however_it_is_cut(
            octets in prop::collection::vec(prop::sample::select(b"00112:::,,,a".to_vec()), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            prop_assert_eq!(read(&cut(&octets, &cuts), 11), read(&[&octets], 11));
        }
    }
}
