//! What a QMQP client sends: one netstring that holds a message, a sender and recipients, a netstring each (D. J. Bernstein,
//! *QMQP*, 1998).
//!
//! *Invariants*: the inner netstrings make up the outer one to the octet; what is read is the same however the input is cut;
//! content is lent, of addresses at most one that is cut is kept.
//!
//! *Does not* know what makes a good address or message, nor the reply. One thing follows for whoever does: nothing may be
//! answered before [`Event::End`], and what has not come to it must be thrown away.

use crate::limits;
use crate::protocol::netstring::{self, NetstringError};

/// What the next octets are. The events come in this order, with as many pieces and recipients as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message of so many octets begins.
    Message(u64),
    /// The next octets of it, at least one.
    Content(&'a [u8]),
    /// It ends.
    MessageEnd,
    /// The sender, as it came; empty for the null reverse-path.
    Sender(&'a [u8]),
    /// A recipient, as it came. There may be none: the protocol asks for one at least.
    Recipient(&'a [u8]),
    /// All has come. What follows is not the client's to send.
    End,
}

/// What is wrong with what a client sends. All of it is the client's fault, and the connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QmqpError {
    /// A netstring, the outer one or one within it. An inner one that reaches beyond the outer one is too long.
    #[error(transparent)]
    Netstring(#[from] NetstringError),
    /// An address of more octets than [`limits::PATH_OCTETS_LOOSE`].
    #[error("an address has {0} octets")]
    AddressTooLong(u64),
    /// The outer netstring ends within an inner one, or before the sender.
    #[error("the outer netstring ends too early")]
    Cut,
}

/// What the inner netstring is that is read, or comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Message,
    Sender,
    Recipient,
}

/// Reads what one client sends.
#[derive(Debug)]
pub struct Reader {
    outer: netstring::Reader,
    inner: netstring::Reader,
    part: Part,
    /// What has come of an address that is cut, or the cut one that was given out last.
    carry: Vec<u8>,
}

impl Reader {
    /// A reader for at most so many octets in all: message, addresses, and their lengths.
    pub fn new(most: u64) -> Self {
        Self {
            outer: netstring::Reader::new(most),
            inner: netstring::Reader::new(0),
            part: Part::Message,
            carry: Vec::new(),
        }
    }

    /// Takes what comes next from the front of `input`; `None` when more input is needed, and then all of it was taken.
    ///
    /// # Errors
    ///
    /// What is wrong; the reader is then done with, as it is behind [`Event::End`].
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Event<'a>>, QmqpError> {
        let mut lent: Option<&'i [u8]> = None;
        // BOUND: each turn takes an octet, or is the last.
        let part = loop {
            if self.outer.remaining_octets() == 0 {
                match self.outer.next(input)? {
                    Some(netstring::Event::End) if self.inner.is_between() && self.part == Part::Recipient => {
                        return Ok(Some(Event::End));
                    }
                    Some(netstring::Event::End) => return Err(QmqpError::Cut),
                    Some(netstring::Event::Begin(_) | netstring::Event::Content(_)) => continue,
                    None => return Ok(None),
                }
            }
            let event = self.inner_event(input)?;
            match (event, self.part) {
                (Some(netstring::Event::Begin(octets)), Part::Message) => return Ok(Some(Event::Message(octets))),
                (Some(netstring::Event::Content(content)), Part::Message) => return Ok(Some(Event::Content(content))),
                (Some(netstring::Event::End), Part::Message) => {
                    self.part = Part::Sender;
                    return Ok(Some(Event::MessageEnd));
                }
                (Some(netstring::Event::Begin(octets)), Part::Sender | Part::Recipient) => {
                    if octets > limits::PATH_OCTETS_LOOSE as u64 {
                        return Err(QmqpError::AddressTooLong(octets));
                    }
                    self.carry.clear();
                }
                (Some(netstring::Event::Content(content)), Part::Sender | Part::Recipient) => {
                    if self.carry.is_empty() && self.inner.remaining_octets() == 0 {
                        lent = Some(content);
                    } else {
                        self.carry.extend_from_slice(content);
                    }
                }
                (Some(netstring::Event::End), part) => break part,
                (None, _) if input.is_empty() => {
                    self.carry.extend_from_slice(lent.unwrap_or_default());
                    return Ok(None);
                }
                // The outer netstring is used up, and says so in the next turn.
                (None, _) => {}
            }
        };
        self.part = Part::Recipient;
        let address = lent.unwrap_or(&self.carry);
        Ok(Some(if part == Part::Sender { Event::Sender(address) } else { Event::Recipient(address) }))
    }

    /// What comes next of the inner netstrings.
    fn inner_event<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<netstring::Event<'i>>, QmqpError> {
        let content = self.outer.content(input);
        let mut rest = content;
        if self.inner.is_between() {
            self.inner.set_most(self.outer.remaining_octets());
        }
        let event = self.inner.next(&mut rest)?;
        let used = content.len() - rest.len();
        self.outer.advance(used);
        *input = &input[used..];
        match event {
            // Its comma has no place.
            Some(netstring::Event::Begin(octets)) if octets >= self.outer.remaining_octets() => Err(QmqpError::Cut),
            event => Ok(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What came before the end, or before more input was needed.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Package {
        announced_octets: Option<u64>,
        message: Vec<u8>,
        is_message_whole: bool,
        sender: Option<Vec<u8>>,
        recipients: Vec<Vec<u8>>,
        is_whole: bool,
        behind: Vec<u8>,
    }

    fn read(pieces: &[&[u8]], most: u64) -> Result<Package, QmqpError> {
        let mut reader = Reader::new(most);
        let mut package = Package::default();
        for piece in pieces {
            let mut input = *piece;
            while !package.is_whole
                && let Some(event) = reader.next(&mut input)?
            {
                match event {
                    Event::Message(octets) => assert_eq!(package.announced_octets.replace(octets), None),
                    Event::Content(content) => {
                        assert!(!content.is_empty() && !package.is_message_whole);
                        package.message.extend_from_slice(content);
                    }
                    Event::MessageEnd => package.is_message_whole = true,
                    Event::Sender(sender) => assert_eq!(package.sender.replace(sender.to_vec()), None),
                    Event::Recipient(recipient) => {
                        assert!(package.sender.is_some());
                        package.recipients.push(recipient.to_vec());
                    }
                    Event::End => package.is_whole = true,
                }
            }
            assert!(package.is_whole || input.is_empty(), "it took all before it asked for more");
            package.behind.extend_from_slice(input);
        }
        Ok(package)
    }

    fn written(parts: &[&[u8]]) -> Vec<u8> {
        let (mut inner, mut outer) = (Vec::new(), Vec::new());
        parts.iter().for_each(|part| netstring::write(part, &mut inner));
        netstring::write(&inner, &mut outer);
        outer
    }

    fn cut<'i>(input: &'i [u8], cuts: &[prop::sample::Index]) -> Vec<&'i [u8]> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect()
    }

    /// CONFORMANCE T195, T196, T198, as far as reading goes.
    #[test]
    fn a_package_is_read() {
        let package = read(&[b"32:5:hello,8:s@x.test,2:r1,2:r2,0:,,rest"], 100);
        let Ok(package) = package else { panic!("{package:?}") };
        assert_eq!((package.announced_octets, package.message.as_slice()), (Some(5), b"hello".as_slice()));
        assert_eq!(package.sender.as_deref(), Some(b"s@x.test".as_slice()));
        assert_eq!(package.recipients, [b"r1".as_slice(), b"r2", b""]);
        assert_eq!((package.is_whole, package.behind.as_slice()), (true, b"rest".as_slice()));

        let none = read(&[b"6:0:,0:,,"], 100).unwrap();
        assert!(none.is_whole && none.recipients.is_empty() && none.sender == Some(Vec::new()));

        let cut = read(&[b"32:5:hello,8:s@x.test,2:r1,2:r2,0:,"], 100).unwrap();
        assert!(!cut.is_whole && cut.recipients.len() == 3);
    }

    #[test]
    fn inner_netstrings_fill_the_outer_one_exactly() {
        use NetstringError::{Comma, LeadingZero, TooLong};
        let error = |text: &'static str| read(&[text.as_bytes()], 100).expect_err(text);
        for cut in [
            "0:,",
            "3:0:,,",
            "4:0:,0,",
            "5:0:,0:,",
            "5:0:,1:,",
            "8:0:,0:,2:,",
            "7:0:,0:,1,",
            "7:5:hello,",
            "8:6:hello,,",
        ] {
            assert_eq!(error(cut), QmqpError::Cut, "{cut}");
        }
        // It is known before the content comes.
        assert_eq!(error("8:6:"), QmqpError::Cut);
        assert_eq!(error("10:11"), TooLong { most: 10 }.into());
        assert_eq!(error("10:99999999999999999999999"), TooLong { most: 10 }.into());
        assert_eq!(error("101"), TooLong { most: 100 }.into());
        assert_eq!(error("10:05"), LeadingZero.into());
        assert_eq!(error("6:0:,0:,;"), Comma(b';').into());
        assert_eq!(error("10:1:ab"), Comma(b'b').into());
        assert_eq!(error("EHLO"), NetstringError::Length(b'E').into());
    }

    #[test]
    fn an_address_is_bounded_before_it_comes() {
        let most = limits::PATH_OCTETS_LOOSE;
        let sender = vec![b's'; most];
        assert_eq!(read(&[&written(&[b"m", &sender])], 2000).unwrap().sender, Some(sender));
        let error = Err(QmqpError::AddressTooLong(most as u64 + 1));
        assert_eq!(read(&[format!("1000:1:m,{}:", most + 1).as_bytes()], 2000), error);
        assert_eq!(read(&[format!("1000:1:m,0:,{}:", most + 1).as_bytes()], 2000), error);
    }

    proptest! {
        #[test]
        fn a_package_is_read_however_it_is_cut(
            message in prop::collection::vec(any::<u8>(), 0..200),
            sender in prop::collection::vec(any::<u8>(), 0..30),
            recipients in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut parts: Vec<&[u8]> = vec![&message, &sender];
            parts.extend(recipients.iter().map(Vec::as_slice));
            let octets = [written(&parts), b"behind".to_vec()].concat();
            let expected = Ok(Package {
                announced_octets: Some(message.len() as u64),
                message,
                is_message_whole: true,
                sender: Some(sender),
                recipients,
                is_whole: true,
                behind: b"behind".to_vec(),
            });
            prop_assert_eq!(&read(&cut(&octets, &cuts), 1000), &expected);
            prop_assert_eq!(&read(&octets.chunks(1).collect::<Vec<_>>(), 1000), &expected);
        }

        #[test]
        fn any_input_has_one_outcome_however_it_is_cut(
            begin in prop::sample::select(vec!["20:", "15:1:a,", "12:0:,0:,", ""]),
            octets in prop::collection::vec(prop::sample::select(b"0112:::,,,a".to_vec()), 0..30),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let octets = [begin.as_bytes(), &octets].concat();
            prop_assert_eq!(read(&cut(&octets, &cuts), 30), read(&[&octets], 30));
        }
    }
}
