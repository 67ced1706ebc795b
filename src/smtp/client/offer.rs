//! What a server offers: the reply to EHLO or LHLO, read once (RFC 5321 §4.1.1.1).
//!
//! *Tolerant*: keywords in any case, unknown ones and unreadable values are passed over, `AUTH=` of old servers is AUTH.
//! *Does not* know what the client makes of it.

use crate::smtp::client::reply::Reply;
use crate::smtp::extension::{Extension, Extensions};

/// See the module. Nothing is offered until EHLO is answered, nor by HELO.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Offer {
    extensions: Extensions,
    size_bytes: Option<u64>,
    limits: Limits,
    auth: Vec<u8>,
    xclient: Vec<u8>,
}

/// The limits of RFC 9422 §4; `None` is none that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// Transactions in a session.
    pub mail_max: Option<u32>,
    /// Recipients in a transaction.
    pub rcpt_max: Option<u32>,
    /// Different domains of recipients in a session.
    pub rcpt_domain_max: Option<u32>,
}

impl Offer {
    pub(super) fn parse(reply: Reply<'_>) -> Self {
        let mut offer = Self::default();
        let mut extensions = Vec::new();
        // The first line is the server's name.
        for line in reply.lines().skip(1) {
            let mut words = line.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            let (keyword, first) = match memchr::memchr(b'=', keyword) {
                Some(at) => (&keyword[..at], Some(&keyword[at + 1..])),
                None => (keyword, None),
            };
            let Some(extension) = std::str::from_utf8(keyword).ok().and_then(Extension::from_keyword) else { continue };
            extensions.push(extension);
            match extension {
                // RFC 1870 §4: 0 is no fixed limit.
                Extension::Size => offer.size_bytes = words.next().and_then(number).filter(|size| *size > 0),
                Extension::Limits => words.for_each(|word| offer.limits.read(word)),
                Extension::Auth => first.into_iter().chain(words).for_each(|word| add(&mut offer.auth, word)),
                Extension::Xclient => words.for_each(|word| add(&mut offer.xclient, word)),
                _ => {}
            }
        }
        offer.extensions = extensions.into_iter().collect();
        // RFC 3030 §3: BINARYMIME needs CHUNKING.
        if !offer.has(Extension::Chunking) {
            offer.extensions = offer.extensions.without(Extension::BinaryMime);
        }
        offer
    }

    /// Whether the extension is offered.
    pub fn has(&self, extension: Extension) -> bool {
        self.extensions.has(extension)
    }

    /// The largest message in octets, where the server names one: RFC 1870 §3.
    pub fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    /// See [`Limits`].
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The SASL mechanisms of AUTH (RFC 4954 §3), as the server wrote them.
    pub fn auth_mechanisms(&self) -> impl Iterator<Item = &[u8]> {
        words(&self.auth)
    }

    /// Whether the mechanism is one of them, in any case.
    pub fn has_auth_mechanism(&self, name: &str) -> bool {
        self.auth_mechanisms().any(|mechanism| mechanism.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The attributes that XCLIENT may set, as the server wrote them.
    pub fn xclient_attributes(&self) -> impl Iterator<Item = &[u8]> {
        words(&self.xclient)
    }
}

impl Limits {
    /// RFC 9422 §3: what cannot be read, and what is not known, is passed over.
    fn read(&mut self, word: &[u8]) {
        let Some(at) = memchr::memchr(b'=', word) else { return };
        let (name, value) = (&word[..at], &word[at + 1..]);
        let limit = match () {
            () if name.eq_ignore_ascii_case(b"MAILMAX") => &mut self.mail_max,
            () if name.eq_ignore_ascii_case(b"RCPTMAX") => &mut self.rcpt_max,
            () if name.eq_ignore_ascii_case(b"RCPTDOMAINMAX") => &mut self.rcpt_domain_max,
            () => return,
        };
        // RFC 9422 §4: six digits at most, and not 0.
        if let Some(value @ 1..=999_999) = number(value) {
            *limit = Some(value as u32);
        }
    }
}

/// One to twenty digits, saturated.
fn number(text: &[u8]) -> Option<u64> {
    let is_number = (1..=20).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| text.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

fn add(list: &mut Vec<u8>, word: &[u8]) {
    if !list.is_empty() {
        list.push(b' ');
    }
    list.extend_from_slice(word);
}

fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|octet| *octet == b' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::client::reply::ReplyReader;

    fn offer(text: &str) -> Offer {
        let mut reader = ReplyReader::default();
        let mut input = text.as_bytes();
        let found = reader.find(&mut input).unwrap().expect("a whole reply");
        Offer::parse(found.reply(&reader))
    }

    #[test]
    fn keywords_and_values_are_read_in_any_case_and_junk_is_passed_over() {
        let offer = offer(
            "250-pipelining hello\r\n250-pipeLining\r\n250-Size 35882577\r\n250-8bitmime\r\n250-\r\n250-@@@ \x01\r\n\
             250-LIMITS mailmax=20 RCPTMAX=x FOO=1 RCPTDOMAINMAX=1 RCPTMAX\r\n250-AUTH=LOGIN\r\n250-auth PLAIN  XOAUTH2\r\n\
             250-X-OTHER 1 2\r\n250-XCLIENT NAME ADDR\r\n250-STARTTLS\r\n250 dsn\r\n",
        );
        for has in
            [Extension::Pipelining, Extension::Size, Extension::EightBitMime, Extension::StartTls, Extension::Dsn]
        {
            assert!(offer.has(has), "{has:?}");
        }
        assert!(!offer.has(Extension::Chunking) && !offer.has(Extension::SmtpUtf8));
        assert_eq!(offer.size_bytes(), Some(35_882_577));
        assert_eq!(offer.limits(), Limits { mail_max: Some(20), rcpt_max: None, rcpt_domain_max: Some(1) });
        assert_eq!(offer.auth_mechanisms().collect::<Vec<_>>(), [b"LOGIN".as_slice(), b"PLAIN", b"XOAUTH2"]);
        assert!(offer.has_auth_mechanism("plain") && !offer.has_auth_mechanism("CRAM-MD5"));
        assert_eq!(offer.xclient_attributes().collect::<Vec<_>>(), [b"NAME".as_slice(), b"ADDR"]);
    }

    #[test]
    fn the_servers_name_is_no_keyword() {
        let offer = offer("250-PIPELINING\r\n250 STARTTLS\r\n");
        assert!(!offer.has(Extension::Pipelining) && offer.has(Extension::StartTls));
    }

    #[test]
    fn a_size_that_says_nothing_is_no_limit() {
        for (text, size) in [
            ("SIZE", None),
            ("SIZE 0", None),
            ("SIZE -1", None),
            ("SIZE 99999999999999999999", Some(u64::MAX)),
            ("SIZE 1", Some(1)),
        ] {
            let offer = offer(&format!("250-x\r\n250 {text}\r\n"));
            assert!(offer.has(Extension::Size));
            assert_eq!(offer.size_bytes(), size, "{text}");
        }
    }

    #[test]
    fn binarymime_without_chunking_is_not_offered() {
        assert!(!offer("250-x\r\n250 BINARYMIME\r\n").has(Extension::BinaryMime));
        assert!(offer("250-x\r\n250-BINARYMIME\r\n250 CHUNKING\r\n").has(Extension::BinaryMime));
    }
}
