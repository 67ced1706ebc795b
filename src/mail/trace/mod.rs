//! Trace fields: what a host writes on top of a message that it took, RFC 5321 §4.4.
//!
//! *Invariants*: each function appends one header field, each line of which has at most 998 octets, and 78 wherever it can
//! be folded. No control octet of any input is written, so that no input can end the field: what the client chose freely
//! is shown only as a domain, an address literal, or in xtext; of what was parsed before, the parser took no controls, and
//! one that is there all the same (a fault of ours) becomes `?`. A Received field is ASCII, but for the recipient of a
//! transaction with SMTPUTF8. COST: nothing is allocated but by the target when it grows.
//!
//! *Why this way*: a field is one string of words, and each word is written once, then moved by two octets when it turns out
//! not to fit the line.
//!
//! *Does not* look names up, decide which field a message gets, or know how many recipients a message has.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits;
use crate::mail::address::{Mailbox, Path};
use crate::mail::date::DateTime;
use crate::mail::id::MessageId;

mod field;
#[cfg(test)]
mod tests;

use field::Field;

/// How a message came, for the Received field that tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The name in HELO, EHLO or LHLO, as the client wrote it; empty where the protocol has none.
    pub hello: &'a [u8],
    /// Where the connection came from.
    pub peer: Peer<'a>,
    /// Our own name: a domain of letters, digits and hyphens.
    pub by: &'a str,
    /// The protocol.
    pub with: With,
    /// The message's name.
    pub id: MessageId,
    /// What protects the connection.
    pub tls: Option<TlsNames<'a>>,
    /// The recipient; only if there is exactly one, because others are none of its business (RFC 5321 §7.2).
    pub recipient: Option<Path<'a>>,
    /// When the message was taken over, in seconds since 1970.
    pub received_at_s: u64,
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// Another host, or another process by way of IP.
    Host {
        /// Its address.
        address: IpAddr,
        /// Its name, if the DNS leads from the address to the name and back. One that is no domain is not shown.
        name: Option<&'a str>,
    },
    /// A process of this machine, by a Unix socket.
    UnixSocket,
    /// Nothing is known.
    Unknown,
}

/// The names that the TLS registries have; one that is made of anything but letters, digits, `.`, `_` and `-`, or is longer
/// than [`limits::TLS_NAME_OCTETS`], is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsNames<'a> {
    /// The version, such as `TLSv1.3`. It is shown in a comment.
    pub version: &'a str,
    /// The cipher suite, such as `TLS_AES_128_GCM_SHA256`. It is shown in the clause `tls` of RFC 8314 §4.3.
    pub cipher: &'a str,
}

/// The protocol that a message came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct With {
    /// Which one.
    pub transfer: Transfer,
    /// EHLO was said rather than HELO.
    pub extended: bool,
    /// TLS is on: by STARTTLS, or from the start (RFC 8314 §4.3).
    pub secure: bool,
    /// AUTH succeeded.
    pub authenticated: bool,
    /// The transaction has SMTPUTF8.
    pub utf8: bool,
}

/// A protocol, without what was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transfer {
    /// RFC 5321.
    Smtp,
    /// RFC 2033. It has no form that is not extended.
    Lmtp,
    /// The Quick Mail Queuing Protocol. It has nothing to negotiate.
    Qmqp,
}

impl With {
    /// The name in the registry of RFC 3848 and RFC 6531 §4.3. SMTP with any extension in use is ESMTP, also after HELO:
    /// the registry has no name for HELO within TLS. `QMQP` is in use everywhere, and in no registry.
    pub const fn keyword(self) -> &'static str {
        match (self.transfer, self.utf8, self.secure, self.authenticated) {
            (Transfer::Qmqp, ..) => "QMQP",
            (Transfer::Smtp, false, false, false) if !self.extended => "SMTP",
            (Transfer::Smtp, false, false, false) => "ESMTP",
            (Transfer::Smtp, false, false, true) => "ESMTPA",
            (Transfer::Smtp, false, true, false) => "ESMTPS",
            (Transfer::Smtp, false, true, true) => "ESMTPSA",
            (Transfer::Smtp, true, false, false) => "UTF8SMTP",
            (Transfer::Smtp, true, false, true) => "UTF8SMTPA",
            (Transfer::Smtp, true, true, false) => "UTF8SMTPS",
            (Transfer::Smtp, true, true, true) => "UTF8SMTPSA",
            (Transfer::Lmtp, false, false, false) => "LMTP",
            (Transfer::Lmtp, false, false, true) => "LMTPA",
            (Transfer::Lmtp, false, true, false) => "LMTPS",
            (Transfer::Lmtp, false, true, true) => "LMTPSA",
            (Transfer::Lmtp, true, false, false) => "UTF8LMTP",
            (Transfer::Lmtp, true, false, true) => "UTF8LMTPA",
            (Transfer::Lmtp, true, true, false) => "UTF8LMTPS",
            (Transfer::Lmtp, true, true, true) => "UTF8LMTPSA",
        }
    }

    /// The verb with which the client gave its name.
    const fn greeting(self) -> &'static str {
        match self.transfer {
            Transfer::Lmtp => "LHLO",
            Transfer::Smtp if self.extended => "EHLO",
            Transfer::Smtp | Transfer::Qmqp => "HELO",
        }
    }
}

impl Trace<'_> {
    /// Appends the Received field, at most [`limits::RECEIVED_OCTETS`] of it (RFC 5321 §4.4 `Time-stamp-line`).
    ///
    /// What the client called itself stands behind `from` if it is a domain, or an address literal of a peer that has an
    /// address. Else the peer's address stands there (`localhost` for a Unix socket, `unknown` for nobody knows what), and
    /// the client's words follow in a comment, in the xtext of RFC 3461 §4. So they do when they are not ASCII, with SMTPUTF8
    /// too: a client must greet in ASCII (RFC 6531 §3.7.1). The peer's port has no place in the grammar, and is not shown.
    ///
    /// A recipient without a domain is left out, because `for` takes a whole mailbox; so is one that needs SMTPUTF8 in a
    /// transaction without.
    pub fn write_received(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut field = Field::begin(out, "Received:");
        self.write_from(&mut field);

        field.fold();
        field.word(|out| push(out, "by"));
        field.word(|out| push_text(out, self.by.as_bytes()));
        field.word(|out| push(out, "with"));
        field.word(|out| push(out, self.with.keyword()));
        if let Some(version) = self.tls.map(|tls| tls.version).filter(|name| is_tls_name(name)) {
            field.word(|out| pushes(out, &["(", version, ")"]));
        }
        field.word(|out| push(out, "id"));
        field.word(|out| out.extend_from_slice(&self.id.text()));

        let recipient = self.recipient.filter(|path| self.is_shown(path));
        let cipher = self.tls.map(|tls| tls.cipher).filter(|name| is_tls_name(name));
        if recipient.is_some() || cipher.is_some() {
            field.fold();
        }
        if let Some(recipient) = recipient {
            field.word(|out| push(out, "for"));
            field.word(|out| push_path(out, recipient));
        }
        if let Some(cipher) = cipher {
            field.word(|out| push(out, "tls"));
            field.word(|out| push(out, cipher));
        }

        field.semicolon();
        field.fold();
        field.word(|out| push_shown(out, format_args!("{}", DateTime::from_unix_seconds(self.received_at_s))));
        field.end();
        debug_assert!(out.len() - start <= limits::RECEIVED_OCTETS);
    }

    /// `From-domain`, and what the connection and not the client says (`TCP-info`).
    fn write_from(&self, field: &mut Field<'_>) {
        let name_is_shown =
            is_domain(self.hello) || (matches!(self.peer, Peer::Host { .. }) && is_address_literal(self.hello));
        field.word(|out| push(out, "from"));
        field.word(|out| match self.peer {
            _ if name_is_shown => out.extend_from_slice(self.hello),
            Peer::Host { address, .. } => push_literal(out, address),
            Peer::UnixSocket => push(out, "localhost"),
            Peer::Unknown => push(out, "unknown"),
        });
        match self.peer {
            Peer::Host { address, name } => {
                let name = name.filter(|name| is_domain(name.as_bytes()));
                if let Some(name) = name {
                    field.word(|out| pushes(out, &["(", name]));
                }
                field.word(|out| {
                    push(out, if name.is_some() { "" } else { "(" });
                    push_literal(out, address);
                    push(out, ")");
                });
            }
            Peer::UnixSocket => field.word(|out| push(out, "(Unix socket)")),
            Peer::Unknown => {}
        }
        if !name_is_shown && !self.hello.is_empty() {
            field.word(|out| pushes(out, &["(", self.with.greeting()]));
            field.word(|out| {
                push_xtext(out, &self.hello[..self.hello.len().min(limits::TRACE_HELLO_OCTETS)]);
                push(out, ")");
            });
        }
    }

    fn is_shown(&self, recipient: &Path<'_>) -> bool {
        let Path::Mailbox(mailbox) = recipient else { return false };
        is_sound(*recipient) && (self.with.utf8 || (mailbox.local_part.is_ascii() && mailbox.domain.is_ascii()))
    }
}

/// Appends the Return-Path field of a final delivery: RFC 5321 §4.4 `Return-path-line`. The path is shown as the client
/// wrote it, without its source route; in UTF-8 only if the transaction had SMTPUTF8, as no other takes such a path.
pub fn write_return_path(reverse_path: Path<'_>, out: &mut Vec<u8>) {
    debug_assert!(is_sound(reverse_path), "no parser takes such a path");
    push(out, "Return-Path: ");
    push_path(out, reverse_path);
    push(out, "\r\n");
}

/// Appends the Delivered-To field of a final delivery: RFC 9228. The recipient stands there without brackets, as the client
/// wrote it; [`Path::Null`] is no recipient, and gets no field.
pub fn write_delivered_to(recipient: Path<'_>, out: &mut Vec<u8>) {
    debug_assert!(is_sound(recipient), "no parser takes such a path");
    if recipient != Path::Null {
        push(out, "Delivered-To: ");
        push_address(out, recipient);
        push(out, "\r\n");
    }
}

/// What holds for every path that a parser took: it is as long as one can be, and has no control octet.
fn is_sound(path: Path<'_>) -> bool {
    let (local_part, domain): (&[u8], &[u8]) = match path {
        Path::Null => (&[], &[]),
        Path::Local(local_part) => (local_part, &[]),
        Path::Mailbox(Mailbox { local_part, domain }) => (local_part, domain),
    };
    let is_text = |octets: &[u8]| str::from_utf8(octets).is_ok_and(|text| !text.contains(char::is_control));
    "<@>".len() + local_part.len() + domain.len() <= limits::PATH_OCTETS_LOOSE && is_text(local_part) && is_text(domain)
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn pushes(out: &mut Vec<u8>, texts: &[&str]) {
    texts.iter().for_each(|text| push(out, text));
}

/// Text that was looked at before it came here; a control octet becomes `?`.
fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().map(|octet| if octet.is_ascii_control() { b'?' } else { *octet }));
}

fn push_path(out: &mut Vec<u8>, path: Path<'_>) {
    push(out, "<");
    push_address(out, path);
    push(out, ">");
}

fn push_address(out: &mut Vec<u8>, path: Path<'_>) {
    match path {
        Path::Null => {}
        Path::Local(local_part) => push_text(out, local_part),
        Path::Mailbox(Mailbox { local_part, domain }) => {
            push_text(out, local_part);
            push(out, "@");
            push_text(out, domain);
        }
    }
}

/// RFC 5321 §4.1.3. An IPv4 address that came in one of IPv6 is shown as what it is.
fn push_literal(out: &mut Vec<u8>, address: IpAddr) {
    match address.to_canonical() {
        IpAddr::V4(address) => push_shown(out, format_args!("[{address}]")),
        IpAddr::V6(address) => push_shown(out, format_args!("[IPv6:{address}]")),
    }
}

/// xtext of RFC 3461 §4: printable ASCII as it is but for `+` and `=`, any other octet as `+` and two digits of base 16.
/// What means something in a comment or a string is written that way too, and so are square brackets: a reader that looks for
/// the peer's address shall not find one that the client made up.
fn push_xtext(out: &mut Vec<u8>, octets: &[u8]) {
    for octet in octets {
        match octet {
            b'+' | b'=' | b'(' | b')' | b'[' | b']' | b'\\' | b'"' => push_shown(out, format_args!("+{octet:02X}")),
            b'!'..=b'~' => out.push(*octet),
            _ => push_shown(out, format_args!("+{octet:02X}")),
        }
    }
}

fn push_shown(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    /// Only `std::io::Write` takes a `Vec<u8>` of its own, and there is no I/O here.
    struct Target<'o>(&'o mut Vec<u8>);

    impl Write for Target<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            push(self.0, text);
            Ok(())
        }
    }

    Target(out).write_fmt(text).expect("a vector takes everything, and so do the values shown");
}

fn is_tls_name(name: &str) -> bool {
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    (1..=limits::TLS_NAME_OCTETS).contains(&name.len()) && name.bytes().all(is_part)
}

/// RFC 5321 §4.1.2 `Domain`, in ASCII.
fn is_domain(text: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=limits::DOMAIN_LABEL_OCTETS).contains(&label.len())
            && label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
            && !label.starts_with(b"-")
            && !label.ends_with(b"-")
    };
    text.len() <= limits::DOMAIN_OCTETS && text.split(|octet| *octet == b'.').all(is_label)
}

/// RFC 5321 §4.1.3, of the two kinds that there are.
fn is_address_literal(text: &[u8]) -> bool {
    let Some(text) = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")) else { return false };
    let Ok(text) = str::from_utf8(text) else { return false };
    match text.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => address.parse::<Ipv6Addr>().is_ok(),
        _ => text.parse::<Ipv4Addr>().is_ok(),
    }
}
