//! Writes command lines: RFC 5321 §4.1.1 and the parameters of what the server offers. The counterpart of
//! [`smtp::command`](crate::smtp::command), whose types it takes.
//!
//! *Does not* check: [`Message::check`](super::message::Message) has.

use crate::mail::address::Path;
use crate::mail::envelope::{Body, Notify, Return};
use crate::smtp::client::offer::Offer;
use crate::smtp::command::{MailCommand, RcptCommand};
use crate::smtp::extension::Extension;

/// RFC 5321 §4.1.1.2, RFC 1870, 6152, 6531, 3461, 8689, 4954.
pub(super) fn mail(command: &MailCommand<'_>, offer: &Offer, out: &mut Vec<u8>) {
    let parameters = &command.parameters;
    out.extend_from_slice(b"MAIL FROM:");
    path(command.reverse_path, out);
    if let Some(size) = parameters.size_bytes
        && offer.has(Extension::Size)
    {
        out.extend_from_slice(b" SIZE=");
        decimal(size, out);
    }
    match parameters.body {
        Body::EightBitMime if offer.has(Extension::EightBitMime) => out.extend_from_slice(b" BODY=8BITMIME"),
        Body::BinaryMime => out.extend_from_slice(b" BODY=BINARYMIME"),
        // RFC 6152 §3: nothing said is 7BIT.
        _ => {}
    }
    if parameters.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if offer.has(Extension::Dsn) {
        match parameters.ret {
            Some(Return::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Return::Headers) => out.extend_from_slice(b" RET=HDRS"),
            None => {}
        }
        value(b" ENVID=", parameters.envid, out);
    }
    if parameters.requiretls {
        out.extend_from_slice(b" REQUIRETLS");
    }
    if offer.has(Extension::Auth) {
        value(b" AUTH=", parameters.auth, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 5321 §4.1.1.3, RFC 3461.
pub(super) fn rcpt(command: &RcptCommand<'_>, offer: &Offer, out: &mut Vec<u8>) {
    out.extend_from_slice(b"RCPT TO:");
    path(command.forward_path, out);
    if offer.has(Extension::Dsn) {
        if let Some(notify) = command.parameters.notify {
            out.extend_from_slice(b" NOTIFY=");
            match notify {
                Notify::Never => out.extend_from_slice(b"NEVER"),
                Notify::On { success, failure, delay } => {
                    let cases = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                    for (index, (_, word)) in cases.iter().filter(|(is_set, _)| *is_set).enumerate() {
                        if index > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(word.as_bytes());
                    }
                }
            }
        }
        value(b" ORCPT=", command.parameters.orcpt, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 3030 §2.
pub(super) fn bdat(octets: u64, last: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BDAT ");
    decimal(octets, out);
    out.extend_from_slice(if last { b" LAST\r\n" } else { b"\r\n" });
}

/// A verb with its argument.
pub(super) fn line(verb: &[u8], argument: &[u8], out: &mut Vec<u8>) {
    for part in [verb, argument, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

fn path(path: Path<'_>, out: &mut Vec<u8>) {
    out.push(b'<');
    match path {
        Path::Null => {}
        Path::Local(local_part) => out.extend_from_slice(local_part),
        Path::Mailbox(mailbox) => {
            out.extend_from_slice(mailbox.local_part);
            out.push(b'@');
            out.extend_from_slice(mailbox.domain);
        }
    }
    out.push(b'>');
}

fn value(keyword: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(keyword);
        out.extend_from_slice(value);
    }
}

/// COST: one copy of at most twenty octets; a formatter costs several times as much, for each message.
fn decimal(number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    // BOUND: each turn takes a digit, of which there are twenty at most.
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 9, 10, 12345, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn cases_of_notify_are_a_list() {
        let mut out = Vec::new();
        let offer = crate::smtp::client::tests::offer(&["DSN"]);
        let mut command = RcptCommand { forward_path: Path::Local(b"postmaster"), parameters: Default::default() };
        for (notify, text) in [
            (Notify::Never, "NEVER"),
            (Notify::On { success: true, failure: false, delay: true }, "SUCCESS,DELAY"),
            (Notify::On { success: false, failure: true, delay: false }, "FAILURE"),
        ] {
            out.clear();
            command.parameters.notify = Some(notify);
            rcpt(&command, &offer, &mut out);
            assert_eq!(out, format!("RCPT TO:<postmaster> NOTIFY={text}\r\n").into_bytes());
        }
    }
}
