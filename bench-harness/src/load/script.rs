//! What a connection says, rendered once for all connections, and what it must be answered.

use ringmx::smtp::reply::Reply;

use crate::ceiling::byte_sink::Answer;
use crate::failure::Failure;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// MAIL, RCPT, BDAT LAST and its octets; many transactions in one write.
    Bdat,
    /// The end of data and the next MAIL, RCPT, DATA in one write.
    Data,
}

/// The shape of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How messages are sent.
    pub mode: Mode,
    /// Transactions in one write, with [`Mode::Bdat`].
    pub depth: u64,
    /// Octets of content of a message.
    pub size: usize,
    /// Recipients of a message.
    pub recipients: u64,
}

/// Octets to write at once, and the replies to read before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// To write.
    pub octets: Vec<u8>,
    /// To read: these replies …
    pub replies: Vec<Reply>,
    /// … so many times.
    pub times: u64,
    /// Messages that are accepted with it.
    pub messages: u64,
    /// Octets of their content.
    pub content_octets: u64,
}

impl Exchange {
    /// One that accepts no message.
    pub fn plain(octets: Vec<u8>, replies: Vec<Reply>) -> Self {
        Self { octets, replies, times: 1, messages: 0, content_octets: 0 }
    }

    /// The same with one message accepted.
    fn accepting(self, content_octets: usize) -> Self {
        Self { messages: 1, content_octets: content_octets as u64, ..self }
    }

    fn repeated(&self, times: u64) -> Self {
        Self {
            octets: self.octets.repeat(times as usize),
            replies: self.replies.clone(),
            times: self.times * times,
            messages: self.messages * times,
            content_octets: self.content_octets * times,
        }
    }

    /// As a byte sink is told of it.
    pub fn answer(&self) -> Answer {
        Answer { octets: self.octets.len() as u64, replies: self.replies.clone(), times: self.times }
    }
}

/// All that one connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// EHLO.
    pub hello: Exchange,
    /// What comes before the first unit.
    pub opening: Option<Exchange>,
    /// What is repeated …
    pub unit: Exchange,
    /// … so many times.
    pub units: u64,
    /// What is left when the messages are no multiple of the depth.
    pub rest: Option<Exchange>,
    /// The end; the client shuts its side behind it.
    pub ending: Exchange,
}

/// Octets that a script may have: they stand in memory.
const OCTETS_MOST: u64 = 256 << 20;

impl Script {
    /// A connection that sends so many messages.
    pub fn new(shape: &Shape, messages: u64) -> Result<Self, Failure> {
        let depth = if shape.mode == Mode::Bdat { shape.depth } else { 1 };
        let each = shape.size as u64 + 32 * shape.recipients;
        if each.saturating_mul(depth) > OCTETS_MOST {
            let text = format!("{depth} messages at once, of {each} octets each, are above {OCTETS_MOST} octets");
            return Err(Failure::Usage(text));
        }
        if shape.mode == Mode::Data && shape.size < 2 {
            return Err(Failure::Usage("with DATA, content ends with CRLF: --size is 2 at least".to_owned()));
        }
        let hello = Exchange::plain(b"EHLO bench.example\r\n".to_vec(), vec![Reply::Ehlo]);
        let (mut envelope, mut replies) = envelope(shape.recipients);
        let content = content(shape.size, shape.mode);
        match shape.mode {
            Mode::Bdat => {
                envelope.extend_from_slice(format!("BDAT {} LAST\r\n", shape.size).as_bytes());
                envelope.extend_from_slice(&content);
                replies.push(Reply::Discarded);
                let one = Exchange::plain(envelope, replies).accepting(shape.size);
                let rest = messages % depth;
                Ok(Self {
                    hello,
                    opening: None,
                    unit: one.repeated(depth),
                    units: messages / depth,
                    rest: (rest > 0).then(|| one.repeated(rest)),
                    ending: Exchange::plain(b"QUIT\r\n".to_vec(), vec![Reply::Bye]),
                })
            }
            Mode::Data => {
                envelope.extend_from_slice(b"DATA\r\n");
                replies.push(Reply::StartMail);
                let data = |next: &[u8], then: &[Reply]| {
                    let octets = [&content[..], b".\r\n", next].concat();
                    Exchange::plain(octets, [&[Reply::Discarded], then].concat()).accepting(shape.size)
                };
                Ok(Self {
                    hello,
                    unit: data(&envelope, &replies),
                    units: messages - 1,
                    rest: None,
                    ending: data(b"QUIT\r\n", &[Reply::Bye]),
                    opening: Some(Exchange::plain(envelope, replies)),
                })
            }
        }
    }
}

fn envelope(recipients: u64) -> (Vec<u8>, Vec<Reply>) {
    let mut octets = b"MAIL FROM:<sender@bench.example>\r\n".to_vec();
    let mut replies = vec![Reply::MailOk];
    for number in 0..recipients {
        octets.extend_from_slice(format!("RCPT TO:<recipient{number}@bench.example>\r\n").as_bytes());
        replies.push(Reply::RcptOk);
    }
    (octets, replies)
}

/// Text of exactly so many octets: a header, then lines of 76, the last one whatever is left. With DATA it ends with CRLF,
/// and no line begins with a dot.
fn content(size: usize, mode: Mode) -> Vec<u8> {
    let mut octets = b"From: sender@bench.example\r\nTo: recipient0@bench.example\r\nSubject: bench\r\n\r\n".to_vec();
    let letters = (b'a'..=b'z').cycle();
    let mut line: Vec<u8> = letters.take(76).collect();
    line.extend_from_slice(b"\r\n");
    while octets.len() < size {
        octets.extend_from_slice(&line);
    }
    octets.truncate(size);
    if mode == Mode::Data {
        // A CR just before would make the line end "\r\r\n".
        let end = size - 2;
        if end > 0 && octets[end - 1] == b'\r' {
            octets[end - 1] = b'x';
        }
        octets[end..].copy_from_slice(b"\r\n");
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(mode: Mode, size: usize) -> Shape {
        Shape { mode, depth: 32, size, recipients: 2 }
    }

    #[test]
    fn a_script_sends_what_it_was_asked_to() {
        for mode in [Mode::Bdat, Mode::Data] {
            for messages in [1, 31, 32, 33, 100] {
                let script = Script::new(&shape(mode, 1000), messages).unwrap();
                let exchanges = script.opening.iter().chain(&script.rest).chain([&script.ending]);
                let sent: u64 = exchanges.map(|exchange| exchange.messages).sum();
                assert_eq!(sent + script.units * script.unit.messages, messages, "{mode:?}");
                assert_eq!(script.unit.content_octets, script.unit.messages * 1000);
            }
        }
    }

    #[test]
    fn content_has_its_size_and_ends_as_data_must() {
        for size in 2..400 {
            let octets = content(size, Mode::Data);
            assert_eq!(octets.len(), size);
            let text = String::from_utf8(octets).unwrap();
            assert!(text.ends_with("\r\n"), "{size}");
            for line in text.split_terminator("\r\n") {
                assert!(!line.starts_with('.') && !line.contains(['\r', '\n']), "{size}: {line:?}");
            }
            assert_eq!(content(size, Mode::Bdat).len(), size);
        }
    }

    #[test]
    fn what_does_not_fit_memory_is_refused() {
        assert!(Script::new(&shape(Mode::Bdat, 100 << 20), 10).is_err());
        assert!(Script::new(&shape(Mode::Data, 100 << 20), 10).is_ok());
    }
}
