//! XCLIENT, with which a trusted client says for whom it speaks: Postfix' XCLIENT_README.
//!
//! *Invariants*: values are whole and safe to write into a log or a header field: no control characters; a text has at most
//! [`limits::XCLIENT_VALUE_OCTETS`] octets. They are lent from the command unless xtext had to be decoded.
//!
//! *Why this way*: an attribute that stands twice is refused, of which XCLIENT_README says nothing: it comes from a client that
//! puts text of its own client into the command without encoding it, and which one to believe cannot be known.
//!
//! *Does not* know who may send it, nor what it changes in a session.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::limits;
use crate::smtp::line::after;
use crate::smtp::path::is_domain_or_literal;

/// Names of the attributes as the EHLO keyword lists them.
pub const ATTRIBUTES: &str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

const UNAVAILABLE: &[u8; 13] = b"[UNAVAILABLE]";
const TEMPORARILY_UNAVAILABLE: &[u8; 13] = b"[TEMPUNAVAIL]";

/// What the command says. `None` is what it does not speak of, and what stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xclient<'a> {
    /// NAME: the client's host name.
    pub name: Option<Name<'a>>,
    /// ADDR: the client's address.
    pub address: Option<Known<IpAddr>>,
    /// PORT: the client's port.
    pub port: Option<Known<u16>>,
    /// PROTO: which greeting the client sent.
    pub protocol: Option<Protocol>,
    /// HELO: the argument of its greeting. Any text: it has not been read as a domain.
    pub helo: Option<Known<Cow<'a, [u8]>>>,
    /// LOGIN: the name with which it authenticated; any text.
    pub login: Option<Known<Cow<'a, [u8]>>>,
    /// DESTADDR: the address at which the client was served.
    pub destination_address: Option<Known<IpAddr>>,
    /// DESTPORT: the port at which it was served.
    pub destination_port: Option<Known<u16>>,
}

/// A value that the sender may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// It has.
    Value(T),
    /// `[UNAVAILABLE]`.
    Unavailable,
}

/// What the sender knows of the client's host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A domain.
    Value(Cow<'a, [u8]>),
    /// `[UNAVAILABLE]`: it has none, or none that leads back to its address.
    Unavailable,
    /// `[TEMPUNAVAIL]`: it could not be looked up.
    TemporarilyUnavailable,
}

/// The protocol that the client spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It greeted with HELO.
    Smtp,
    /// It greeted with EHLO.
    Esmtp,
}

/// An attribute of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// NAME
    Name,
    /// ADDR
    Addr,
    /// PORT
    Port,
    /// PROTO
    Proto,
    /// HELO
    Helo,
    /// LOGIN
    Login,
    /// DESTADDR
    DestAddr,
    /// DESTPORT
    DestPort,
}

impl Attribute {
    const ALL: [Self; 8] =
        [Self::Name, Self::Addr, Self::Port, Self::Proto, Self::Helo, Self::Login, Self::DestAddr, Self::DestPort];

    /// As it stands in the command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::Addr => "ADDR",
            Self::Port => "PORT",
            Self::Proto => "PROTO",
            Self::Helo => "HELO",
            Self::Login => "LOGIN",
            Self::DestAddr => "DESTADDR",
            Self::DestPort => "DESTPORT",
        }
    }
}

/// Why the argument was not taken; all of it is the client's fault, and 501 5.5.4 the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XclientError {
    /// No attribute at all.
    #[error("XCLIENT needs an attribute")]
    Empty,
    /// A word that is not `name=value`, or has nothing behind the sign.
    #[error("an attribute has the form name=value")]
    Malformed,
    /// An attribute that is not in [`ATTRIBUTES`].
    #[error("an attribute is unknown")]
    Unknown,
    /// It stands twice.
    #[error("{} stands twice", .0.name())]
    Twice(Attribute),
    /// Its value is not of its form, or too long.
    #[error("{} has a malformed value", .0.name())]
    Value(Attribute),
}

/// Reads what follows the verb.
///
/// A value that is not xtext is taken as it stands: XCLIENT_README, note 3, asks to be prepared for clients that do not
/// encode.
///
/// ```
/// use ringmx::protocol::xclient::{self, Known};
///
/// let said = xclient::parse(b"ADDR=IPV6:2001:db8::1 LOGIN=jo+2Bx").unwrap();
/// assert_eq!(said.address, Some(Known::Value("2001:db8::1".parse().unwrap())));
/// assert_eq!(said.login, Some(Known::Value(b"jo+x".into())));
/// ```
pub fn parse(argument: &[u8]) -> Result<Xclient<'_>, XclientError> {
    let mut said = Xclient::default();
    let mut is_empty = true;
    for word in argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty()) {
        let at = memchr::memchr(b'=', word).ok_or(XclientError::Malformed)?;
        let (name, value) = (&word[..at], &word[at + 1..]);
        let is_named = |attribute: &Attribute| attribute.name().as_bytes().eq_ignore_ascii_case(name);
        let attribute = Attribute::ALL.into_iter().find(is_named).ok_or(XclientError::Unknown)?;
        if value.is_empty() {
            return Err(XclientError::Malformed);
        }
        let value = text(value).ok_or(XclientError::Value(attribute))?;
        let is_first = said.set(attribute, value).ok_or(XclientError::Value(attribute))?;
        if !is_first {
            return Err(XclientError::Twice(attribute));
        }
        is_empty = false;
    }
    if is_empty { Err(XclientError::Empty) } else { Ok(said) }
}

impl<'a> Xclient<'a> {
    /// `None` when the value is not of the attribute's form; otherwise whether the attribute was not set before.
    fn set(&mut self, attribute: Attribute, value: Cow<'a, [u8]>) -> Option<bool> {
        Some(match attribute {
            Attribute::Name => self.name.replace(name(value)?).is_none(),
            Attribute::Addr => self.address.replace(known(value, |value| address(&value))?).is_none(),
            Attribute::Port => self.port.replace(known(value, |value| port(&value))?).is_none(),
            Attribute::Proto => self.protocol.replace(protocol(&value)?).is_none(),
            Attribute::Helo => self.helo.replace(known(value, Some)?).is_none(),
            Attribute::Login => self.login.replace(known(value, Some)?).is_none(),
            Attribute::DestAddr => self.destination_address.replace(known(value, |value| address(&value))?).is_none(),
            Attribute::DestPort => self.destination_port.replace(known(value, |value| port(&value))?).is_none(),
        })
    }

    /// Appends the argument for which [`parse`] gives this, without the verb. XCLIENT_README, note 1: with the verb it shall
    /// not have more than 512 octets, which long texts exceed; they are then to be said in a command of their own, before
    /// the one with NAME and ADDR.
    pub fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        let mut append = |attribute: Attribute, value: &[u8]| {
            if out.len() > begin {
                out.push(b' ');
            }
            out.extend_from_slice(attribute.name().as_bytes());
            out.push(b'=');
            append_xtext(value, out);
        };
        let address = |known: &Known<IpAddr>| match known {
            Known::Value(IpAddr::V4(address)) => address.to_string(),
            Known::Value(IpAddr::V6(address)) => format!("IPV6:{address}"),
            Known::Unavailable => "[UNAVAILABLE]".to_owned(),
        };
        let port = |known: &Known<u16>| match known {
            Known::Value(port) => port.to_string(),
            Known::Unavailable => "[UNAVAILABLE]".to_owned(),
        };
        if let Some(known) = &self.helo {
            append(Attribute::Helo, known_text(known));
        }
        if let Some(protocol) = self.protocol {
            append(Attribute::Proto, if protocol == Protocol::Smtp { b"SMTP" } else { b"ESMTP" });
        }
        if let Some(known) = &self.login {
            append(Attribute::Login, known_text(known));
        }
        if let Some(known) = &self.destination_address {
            append(Attribute::DestAddr, address(known).as_bytes());
        }
        if let Some(known) = &self.destination_port {
            append(Attribute::DestPort, port(known).as_bytes());
        }
        if let Some(name) = &self.name {
            let value = match name {
                Name::Value(name) => name,
                Name::Unavailable => UNAVAILABLE.as_slice(),
                Name::TemporarilyUnavailable => TEMPORARILY_UNAVAILABLE.as_slice(),
            };
            append(Attribute::Name, value);
        }
        if let Some(known) = &self.address {
            append(Attribute::Addr, address(known).as_bytes());
        }
        if let Some(known) = &self.port {
            append(Attribute::Port, port(known).as_bytes());
        }
    }
}

fn known_text<'k>(known: &'k Known<Cow<'_, [u8]>>) -> &'k [u8] {
    match known {
        Known::Value(text) => text,
        Known::Unavailable => UNAVAILABLE,
    }
}

/// A value without its xtext. `None` when it is too long or has control characters.
fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = decode_xtext(value).unwrap_or(Cow::Borrowed(value));
    let is_good = text.len() <= limits::XCLIENT_VALUE_OCTETS && !text.iter().any(u8::is_ascii_control);
    is_good.then_some(text)
}

/// RFC 3461 §4: octets from `!` to `~` stand for themselves but for `+` and `=`; any is `+` and two digits, `0` to `9` and `A`
/// to `F`. `None` when the text is not of that form.
fn decode_xtext(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let stands_for_itself = |octet: u8| matches!(octet, b'!'..=b'~') && octet != b'+' && octet != b'=';
    if text.iter().all(|octet| stands_for_itself(*octet)) {
        return Some(Cow::Borrowed(text));
    }
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    // BOUND: each turn takes an octet at least.
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if stands_for_itself(octet) {
            decoded.push(octet);
        } else if octet == b'+'
            && let [high, low, behind @ ..] = behind
        {
            decoded.push(digit(*high)? << 4 | digit(*low)?);
            rest = behind;
        } else {
            return None;
        }
    }
    Some(Cow::Owned(decoded))
}

fn append_xtext(text: &[u8], out: &mut Vec<u8>) {
    for octet in text {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => out.push(*octet),
            _ => write!(out, "+{octet:02X}").expect("a vector takes all that is written"),
        }
    }
}

fn known<'a, T>(value: Cow<'a, [u8]>, read: impl FnOnce(Cow<'a, [u8]>) -> Option<T>) -> Option<Known<T>> {
    if value.eq_ignore_ascii_case(UNAVAILABLE) { Some(Known::Unavailable) } else { read(value).map(Known::Value) }
}

/// Domains as senders write them, but no address.
fn name(value: Cow<'_, [u8]>) -> Option<Name<'_>> {
    if value.eq_ignore_ascii_case(UNAVAILABLE) {
        return Some(Name::Unavailable);
    }
    if value.eq_ignore_ascii_case(TEMPORARILY_UNAVAILABLE) {
        return Some(Name::TemporarilyUnavailable);
    }
    let is_address = value.first() == Some(&b'[') || parsed::<Ipv4Addr>(&value).is_some();
    (!is_address && is_domain_or_literal(&value, true)).then_some(Name::Value(value))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match after(value, b"IPV6:") {
        Some(value) => parsed(value).map(IpAddr::V6),
        None => parsed(value).map(IpAddr::V4),
    }
}

fn port(value: &[u8]) -> Option<u16> {
    // The number parser would take a sign.
    if value.iter().all(u8::is_ascii_digit) { parsed(value) } else { None }
}

fn protocol(value: &[u8]) -> Option<Protocol> {
    if value.eq_ignore_ascii_case(b"SMTP") {
        Some(Protocol::Smtp)
    } else {
        value.eq_ignore_ascii_case(b"ESMTP").then_some(Protocol::Esmtp)
    }
}

fn parsed<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::smtp::extension::Extension;
    use crate::smtp::settings::{Settings, Terms};

    fn error(argument: &str) -> XclientError {
        parse(argument.as_bytes()).expect_err(argument)
    }

    /// CONFORMANCE T212, T213.
    #[test]
    fn attributes_are_read_in_any_case_and_order() {
        let said = parse(b"NAME=spike.example ADDR=192.0.2.9").unwrap();
        assert_eq!(
            said,
            Xclient {
                name: Some(Name::Value(b"spike.example".into())),
                address: Some(Known::Value(IpAddr::from([192, 0, 2, 9]))),
                ..Xclient::default()
            }
        );
        let all = b"destport=25  DestAddr=ipv6:::1 login=u Helo=h proto=esmtp port=0 addr=IPv6:2001:db8::1 name=x_y. ";
        let said = parse(all).unwrap();
        assert_eq!(
            said,
            Xclient {
                name: Some(Name::Value(b"x_y.".into())),
                address: Some(Known::Value("2001:db8::1".parse().unwrap())),
                port: Some(Known::Value(0)),
                protocol: Some(Protocol::Esmtp),
                helo: Some(Known::Value(b"h".into())),
                login: Some(Known::Value(b"u".into())),
                destination_address: Some(Known::Value("::1".parse().unwrap())),
                destination_port: Some(Known::Value(25)),
            }
        );
        assert_eq!(parse(b"PROTO=Smtp").unwrap().protocol, Some(Protocol::Smtp));
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unavailable() {
        let said = parse(
            b"NAME=[unavailable] ADDR=[UNAVAILABLE] PORT=[Unavailable] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE] \
              DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]",
        );
        assert_eq!(
            said,
            Ok(Xclient {
                name: Some(Name::Unavailable),
                address: Some(Known::Unavailable),
                port: Some(Known::Unavailable),
                protocol: None,
                helo: Some(Known::Unavailable),
                login: Some(Known::Unavailable),
                destination_address: Some(Known::Unavailable),
                destination_port: Some(Known::Unavailable),
            })
        );
        assert_eq!(parse(b"NAME=[TempUnavail]").unwrap().name, Some(Name::TemporarilyUnavailable));
        // For nothing else it has a meaning.
        assert_eq!(error("ADDR=[TEMPUNAVAIL]"), XclientError::Value(Attribute::Addr));
        assert_eq!(error("PROTO=[UNAVAILABLE]"), XclientError::Value(Attribute::Proto));
        let helo = parse(b"HELO=[TEMPUNAVAIL]").unwrap().helo;
        assert_eq!(helo, Some(Known::Value(b"[TEMPUNAVAIL]".into())));
    }

    #[test]
    fn xtext_is_decoded_and_what_is_none_taken_as_it_stands() {
        fn login(argument: &str) -> Cow<'_, [u8]> {
            match parse(argument.as_bytes()).unwrap().login {
                Some(Known::Value(login)) => login,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(&*login("LOGIN=a+2Bb+3Dc+20d+C3+A9"), b"a+b=c d\xC3\xA9");
        for as_it_stands in ["a+b=c", "jo+ta", "a+2b", "a+", "a+2", "a+2BC=", "jörg"] {
            assert_eq!(&*login(&format!("LOGIN={as_it_stands}")), as_it_stands.as_bytes());
        }
        assert!(matches!(login("LOGIN=plain"), Cow::Borrowed(b"plain")));
        assert_eq!(parse(b"NAME=a+2Etest").unwrap().name, Some(Name::Value(b"a.test".into())));
    }

    #[test]
    fn control_characters_do_not_come_through() {
        use Attribute::{Helo, Login, Name};
        for (argument, attribute) in [
            ("HELO=x+0D+0AReceived:", Helo),
            ("LOGIN=a+00", Login),
            ("LOGIN=a+7F", Login),
            ("LOGIN=a\tb", Login),
            ("LOGIN=a+\0", Login),
            ("NAME=a+0Ab", Name),
        ] {
            assert_eq!(error(argument), XclientError::Value(attribute), "{argument:?}");
        }
    }

    #[test]
    fn what_is_not_of_its_form_is_refused_by_name() {
        use XclientError::{Empty, Malformed, Twice, Unknown, Value};
        assert_eq!((error(""), error("  ")), (Empty, Empty));
        for malformed in ["NAME", "NAME=", "NAME= ADDR=192.0.2.1", "PORT=1 x"] {
            assert_eq!(error(malformed), Malformed, "{malformed}");
        }
        for unknown in ["=x", "FOO=1", "NAMES=x", "PORT\t=1", "NAME =x=y"] {
            let expected = if unknown == "NAME =x=y" { Malformed } else { Unknown };
            assert_eq!(error(unknown), expected, "{unknown}");
        }
        assert_eq!(error("PORT=1 HELO=x port=2"), Twice(Attribute::Port));
        let bad = [
            (Attribute::Name, vec!["192.0.2.1", "[192.0.2.1]", "IPV6:::1", "a..b", "x+20y", "[UNAVAIL]"]),
            (
                Attribute::Addr,
                vec!["2001:db8::1", "[192.0.2.1]", "IPV6:192.0.2.1", "192.0.2.01", "x", "IPV6:", "::1%1"],
            ),
            (Attribute::Port, vec!["65536", "-1", "+2B1", "0x10", "x", "1.0", "99999999999999999999"]),
            (Attribute::Proto, vec!["LMTP", "SMTPS", "E"]),
            (Attribute::DestAddr, vec!["192.0.2.256"]),
            (Attribute::DestPort, vec!["65536"]),
        ];
        for (attribute, values) in bad {
            for value in values {
                assert_eq!(error(&format!("{}={value}", attribute.name())), Value(attribute), "{value}");
            }
        }
        let helo = |octets| format!("HELO={}", "x".repeat(octets));
        assert!(parse(helo(limits::XCLIENT_VALUE_OCTETS).as_bytes()).is_ok());
        assert_eq!(error(&helo(limits::XCLIENT_VALUE_OCTETS + 1)), Value(Attribute::Helo));
    }

    #[test]
    fn the_listed_attributes_are_those_that_are_read() {
        assert_eq!(Attribute::ALL.map(Attribute::name).join(" "), ATTRIBUTES);
    }

    fn known_of<T: Clone + std::fmt::Debug + 'static>(
        value: impl Strategy<Value = T> + 'static,
    ) -> BoxedStrategy<Option<Known<T>>> {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(Known::Unavailable)),
            3 => value.prop_map(|value| Some(Known::Value(value))),
        ]
        .boxed()
    }

    fn texts() -> impl Strategy<Value = Cow<'static, [u8]>> {
        let octet = prop_oneof![32..127_u8, 128..=255_u8, Just(b'+'), Just(b'='), Just(b' ')];
        prop::collection::vec(octet, 1..40).prop_map(Cow::Owned)
    }

    fn xclients() -> impl Strategy<Value = Xclient<'static>> {
        let name = prop_oneof![
            Just(None),
            Just(Some(Name::Unavailable)),
            Just(Some(Name::TemporarilyUnavailable)),
            "[a-z]{1,9}\\.test".prop_map(|name| Some(Name::Value(Cow::Owned(name.into_bytes())))),
        ];
        let protocol = prop_oneof![Just(None), Just(Some(Protocol::Smtp)), Just(Some(Protocol::Esmtp))];
        let address = || known_of(any::<IpAddr>());
        let port = || known_of(any::<u16>());
        (name, address(), port(), protocol, known_of(texts()), known_of(texts()), address(), port()).prop_map(
            |(name, address, port, protocol, helo, login, destination_address, destination_port)| Xclient {
                name,
                address,
                port,
                protocol,
                helo,
                login,
                destination_address,
                destination_port,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(said in xclients()) {
            let mut argument = Vec::new();
            said.write(&mut argument);
            let read = parse(&argument);
            if said == Xclient::default() {
                prop_assert_eq!(read, Err(XclientError::Empty));
            } else {
                prop_assert_eq!(read, Ok(said), "{}", argument.escape_ascii());
            }
        }

        #[test]
        fn no_argument_brings_it_down_and_no_control_character_comes_through(
            words in prop::collection::vec(
                ("(?i)(name|addr|port|helo|login|destaddr|x)?", prop::sample::select(vec!["=", "", "=="]), any::<Vec<u8>>()),
                0..4,
            ),
        ) {
            let words: Vec<Vec<u8>> =
                words.into_iter().map(|(name, sign, value)| [name.as_bytes(), sign.as_bytes(), &value].concat()).collect();
            if let Ok(Xclient { helo: Some(Known::Value(text)), .. }) = parse(&words.join(&b' ')) {
                prop_assert!(!text.is_empty() && !text.iter().any(u8::is_ascii_control));
            }
        }
    }

    /// EHLO lists what is read here.
    #[test]
    fn every_attribute_is_listed() {
        let extensions = [Extension::Xclient].into_iter().collect();
        let settings = Settings::new(Terms { extensions, ..Terms::public("mx.test") });
        assert_eq!(settings.ehlo(false), format!("250-mx.test\r\n250 XCLIENT {ATTRIBUTES}\r\n").as_bytes());
    }
}
