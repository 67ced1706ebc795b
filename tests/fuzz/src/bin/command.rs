//! Arguments that are read hold nothing that ends a line and nothing that was not offered, and an envelope gives them back
//! as they were; those that are not are refused for good.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::mail::address::Path;
use ringmx::mail::envelope::{Body, Envelope, MailParameters, RcptParameters};
use ringmx::smtp::command::{Chunk, Verb, line_fault, parse_bdat, parse_hello, parse_mail, parse_rcpt};
use ringmx::smtp::extension::{Extension, Extensions};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::settings::AddressSyntax;
use ringmx_fuzz::{header, is_one_line};

fn check_mail(mail: MailParameters<'_>, offered: Extensions) {
    assert!(offered.has(Extension::Size) || mail.size_bytes.is_none());
    assert!(offered.has(Extension::EightBitMime) || mail.body != Body::EightBitMime);
    assert!(offered.has(Extension::BinaryMime) || mail.body != Body::BinaryMime);
    assert!(offered.has(Extension::SmtpUtf8) || !mail.smtputf8);
    assert!(offered.has(Extension::Dsn) || (mail.ret.is_none() && mail.envid.is_none()));
    assert!(offered.has(Extension::RequireTls) || !mail.requiretls);
    assert!(offered.has(Extension::Auth) || mail.auth.is_none());
    assert!([mail.envid, mail.auth].into_iter().flatten().all(is_one_line));
}

fn check_rcpt(rcpt: RcptParameters<'_>, offered: Extensions) {
    assert!(offered.has(Extension::Dsn) || (rcpt.notify.is_none() && rcpt.orcpt.is_none()));
    assert!(rcpt.orcpt.is_none_or(is_one_line));
}

fn check_path(path: Path<'_>, smtputf8: bool) {
    let (local_part, domain): (&[u8], &[u8]) = match path {
        Path::Null => (b"", b""),
        Path::Local(local_part) => (local_part, b""),
        Path::Mailbox(mailbox) => (mailbox.local_part, mailbox.domain),
    };
    assert!(is_one_line(local_part) && is_one_line(domain));
    assert!((local_part.is_ascii() && domain.is_ascii()) || smtputf8);
    assert!(std::str::from_utf8(local_part).is_ok() && std::str::from_utf8(domain).is_ok());
}

/// What was read, unless the argument was refused; a fault of the line comes before all others.
fn taken<T>(argument: &[u8], read: Result<T, Reply>) -> Option<T> {
    let fault = line_fault(argument);
    match &read {
        Ok(_) => assert_eq!(fault, None),
        Err(reply) => assert!(reply.code() >= 500 && fault.is_none_or(|fault| fault == *reply), "{reply:?} {fault:?}"),
    }
    read.ok()
}

/// RFC 3030 §2, word by word; leading spaces are let through.
fn chunk(argument: &[u8]) -> Option<Chunk> {
    let text = std::str::from_utf8(argument).ok()?;
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let last = match words[..] {
        [_] => false,
        [_, last] if last.eq_ignore_ascii_case("LAST") => true,
        _ => return None,
    };
    let is_size = words[0].bytes().all(|octet| octet.is_ascii_digit());
    // What does not fit is as large as can be.
    is_size.then(|| Chunk { octets: words[0].parse().unwrap_or(u64::MAX), last })
}

fuzz_target!(|input: &[u8]| {
    let ([high, low], text) = header::<2>(input);
    let line = text.split(|octet| *octet == b'\n').next().unwrap_or_default();
    // Zeros offer everything.
    let bits = u16::from_be_bytes([high, low]);
    let offered: Extensions =
        (0..).zip(Extension::ALL).filter(|(bit, _)| bits >> bit & 1 == 0).map(|(_, one)| one).collect();
    let (_, argument) = Verb::split(line);
    assert!(line.ends_with(argument));
    assert_eq!(parse_bdat(argument), chunk(argument));
    let mut envelope = Envelope::default();
    for syntax in [AddressSyntax::Strict, AddressSyntax::Loose] {
        let is_strict = syntax == AddressSyntax::Strict;
        if let Some(mail) = taken(argument, parse_mail(argument, syntax, offered)) {
            check_path(mail.reverse_path, mail.parameters.smtputf8);
            check_mail(mail.parameters, offered);
            envelope.begin(mail.reverse_path, &mail.parameters);
            assert_eq!(envelope.sender(), (mail.reverse_path, mail.parameters));
            assert!(!is_strict || parse_mail(argument, AddressSyntax::Loose, offered) == Ok(mail));
        }
        for smtputf8 in [false, true] {
            let Some(rcpt) = taken(argument, parse_rcpt(argument, syntax, offered, smtputf8)) else { continue };
            check_path(rcpt.forward_path, smtputf8);
            check_rcpt(rcpt.parameters, offered);
            envelope.begin(Path::Null, &MailParameters::default());
            envelope.add(rcpt.forward_path, &rcpt.parameters).expect("one recipient has room");
            assert!(
                envelope.recipients().map(|to| (to.path, to.parameters)).eq([(rcpt.forward_path, rcpt.parameters)])
            );
            assert!(!is_strict || parse_rcpt(argument, AddressSyntax::Loose, offered, smtputf8) == Ok(rcpt));
        }
        if let Some(name) = taken(argument, parse_hello(argument, syntax)) {
            assert!(!name.is_empty() && argument.windows(name.len()).any(|window| window == name));
        }
    }
});
