//! Parameters of MAIL and RCPT: RFC 5321 §4.1.2 `esmtp-param`, and the grammar of each.

use ringmx::smtp::extension::{Extension, Extensions};
use ringmx::smtp::reply::Reply;

use super::{Rules, address};

/// What MAIL's parameters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfMail {
    pub size: Option<u128>,
    pub body: Option<&'static str>,
    pub smtputf8: bool,
    pub ret: Option<&'static str>,
    pub envid: Option<String>,
    pub requiretls: bool,
    pub auth: Option<String>,
}

impl OfMail {
    /// In one order and spelling, without SIZE; what nothing depends on is left out.
    pub fn written(&self) -> String {
        let words = [
            self.body.filter(|body| *body != "7BIT").map(|body| format!("BODY={body}")),
            self.smtputf8.then(|| "SMTPUTF8".to_owned()),
            self.ret.map(|ret| format!("RET={ret}")),
            self.envid.as_ref().map(|envid| format!("ENVID={envid}")),
            self.requiretls.then(|| "REQUIRETLS".to_owned()),
            self.auth.as_ref().map(|auth| format!("AUTH={auth}")),
        ];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// What RCPT's parameters say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfRcpt {
    /// The words, in the order success, failure, delay; or NEVER.
    pub notify: Option<String>,
    pub orcpt: Option<String>,
}

impl OfRcpt {
    pub fn written(&self) -> String {
        let notify = self.notify.as_ref().map(|notify| format!("NOTIFY={notify}"));
        let orcpt = self.orcpt.as_ref().map(|orcpt| format!("ORCPT={orcpt}"));
        [notify, orcpt].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

struct Parameter {
    /// Upper case.
    keyword: String,
    value: Option<Vec<u8>>,
}

/// `esmtp-keyword ["=" esmtp-value]`
fn parameter(word: &[u8], smtputf8: bool) -> Option<Parameter> {
    let (keyword, value) = match word.iter().position(|octet| *octet == b'=') {
        Some(at) => (&word[..at], Some(word[at + 1..].to_vec())),
        None => (word, None),
    };
    let is_keyword = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    // RFC 6531 §3.3 adds UTF8-non-ascii to esmtp-value.
    let is_value = |value: &Vec<u8>| match smtputf8 {
        true => {
            value.iter().all(|octet| matches!(octet, 33..=60 | 62..=126 | 0x80..)) && std::str::from_utf8(value).is_ok()
        }
        false => value.iter().all(|octet| matches!(octet, 33..=60 | 62..=126)),
    };
    if !is_keyword || !value.as_ref().is_none_or(is_value) {
        return None;
    }
    let keyword = String::from_utf8(keyword.to_ascii_uppercase()).expect("it is ASCII");
    Some(Parameter { keyword, value })
}

/// `1*20DIGIT`
fn size(value: &[u8]) -> Option<u128> {
    let is_size = (1..=20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_size.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0')))
}

/// RFC 3461 §4: `xtext = *( xchar / hexchar )`, `hexchar = "+" 2(upper case hexadecimal digit)`. What it says.
fn xtext(value: &[u8]) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    let mut at = 0;
    while at < value.len() {
        match value[at] {
            b'+' => {
                let digits = value.get(at + 1..at + 3)?;
                if digits.iter().any(|octet| !matches!(octet, b'0'..=b'9' | b'A'..=b'F')) {
                    return None;
                }
                said.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                at += 3;
            }
            octet @ (33..=60 | 62..=126) => {
                said.push(octet);
                at += 1;
            }
            _ => return None,
        }
    }
    Some(said)
}

/// RFC 3461 §4.2, §4.4: what ENVID and ORCPT say is made of printable characters and white space.
fn is_printable(value: &[u8]) -> bool {
    xtext(value).is_some_and(|said| said.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~')))
}

/// RFC 4954 §5: `"<>"`, or a mailbox in xtext; as it is read elsewhere, in UTF-8 with SMTPUTF8.
fn is_auth(value: &[u8], rules: Rules, smtputf8: bool) -> bool {
    let is_sender = |said: Vec<u8>| (smtputf8 || said.is_ascii()) && address::is_mailbox(&said, rules);
    value == b"<>" || (value.len() <= 500 && xtext(value).is_some_and(is_sender))
}

/// Whether no second one is there: `replace` says what was.
fn once<T>(before: Option<T>) -> Option<()> {
    before.is_none().then_some(())
}

/// Reads MAIL's; `words` stand behind the path. Also what is wrong with them, in their order. `AUTH=` is read where AUTH is
/// offered.
pub fn of_mail(words: &[Vec<u8>], all: Extensions, offered: Extensions, rules: Rules) -> (OfMail, Vec<Reply>) {
    let mut found = OfMail::default();
    let mut faults = Vec::new();
    let has = |extension| offered.has(extension);
    // Open: it holds for what stands before it, too, and where it is refused itself.
    found.smtputf8 = has(Extension::SmtpUtf8) && words.iter().any(|word| word.eq_ignore_ascii_case(b"SMTPUTF8"));
    let mut smtputf8_words = 0;
    for word in words {
        let Some(Parameter { keyword, value }) = parameter(word, found.smtputf8) else {
            faults.push(Reply::BadArguments);
            continue;
        };
        let value = value.as_deref();
        let letters = value.unwrap_or_default().to_ascii_uppercase();
        let read = match keyword.as_str() {
            "SIZE" if has(Extension::Size) => value.and_then(size).and_then(|size| once(found.size.replace(size))),
            "BODY" if has(Extension::EightBitMime) => {
                let body = match &letters[..] {
                    b"7BIT" => Some("7BIT"),
                    b"8BITMIME" => Some("8BITMIME"),
                    b"BINARYMIME" if has(Extension::BinaryMime) => Some("BINARYMIME"),
                    _ => None,
                };
                body.and_then(|body| once(found.body.replace(body)))
            }
            "SMTPUTF8" if has(Extension::SmtpUtf8) => {
                smtputf8_words += 1;
                (value.is_none() && smtputf8_words == 1).then_some(())
            }
            "RET" if has(Extension::Dsn) => {
                let ret = ["FULL", "HDRS"].into_iter().find(|ret| ret.as_bytes() == letters);
                ret.and_then(|ret| once(found.ret.replace(ret)))
            }
            "ENVID" if has(Extension::Dsn) => {
                let envid = value.filter(|value| (1..=100).contains(&value.len()) && is_printable(value));
                envid.and_then(|envid| once(found.envid.replace(String::from_utf8_lossy(envid).into_owned())))
            }
            // RFC 8689 §4: offered within TLS only.
            "REQUIRETLS" if all.has(Extension::RequireTls) => {
                if !has(Extension::RequireTls) {
                    faults.push(Reply::TlsRequired);
                }
                (value.is_none() && !std::mem::replace(&mut found.requiretls, true)).then_some(())
            }
            "AUTH" if has(Extension::Auth) => {
                let auth = value.filter(|value| is_auth(value, rules, found.smtputf8));
                auth.and_then(|auth| once(found.auth.replace(String::from_utf8_lossy(auth).into_owned())))
            }
            _ => {
                faults.push(Reply::UnknownParameter);
                continue;
            }
        };
        if read.is_none() {
            faults.push(Reply::BadParameterValue);
        }
    }
    (found, faults)
}

/// Reads RCPT's, and says what is wrong with them.
pub fn of_rcpt(words: &[Vec<u8>], offered: Extensions, smtputf8: bool) -> (OfRcpt, Vec<Reply>) {
    let mut found = OfRcpt::default();
    let mut faults = Vec::new();
    for word in words {
        let Some(Parameter { keyword, value }) = parameter(word, smtputf8) else {
            faults.push(Reply::BadArguments);
            continue;
        };
        let value = value.unwrap_or_default();
        let has_dsn = offered.has(Extension::Dsn);
        let read = match keyword.as_str() {
            "NOTIFY" if has_dsn => notify(&value).and_then(|notify| once(found.notify.replace(notify))),
            "ORCPT" if has_dsn => is_orcpt(&value, smtputf8)
                .then(|| String::from_utf8_lossy(&value).into_owned())
                .and_then(|orcpt| once(found.orcpt.replace(orcpt))),
            _ => {
                faults.push(Reply::UnknownParameter);
                continue;
            }
        };
        if read.is_none() {
            faults.push(Reply::BadParameterValue);
        }
    }
    (found, faults)
}

/// RFC 3461 §4.2: `addr-type ";" xtext`, of 500 octets at most; RFC 6533 §3 has another encoding for one type.
fn is_orcpt(value: &[u8], smtputf8: bool) -> bool {
    let Some(semicolon) = value.iter().position(|octet| *octet == b';') else { return false };
    let (kind, address) = (&value[..semicolon], &value[semicolon + 1..]);
    let is_atom = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet);
    let is_kind = !kind.is_empty() && kind.iter().all(is_atom);
    let is_address = match kind.eq_ignore_ascii_case(b"utf-8") {
        true => is_utf8_address(address, smtputf8),
        false => is_printable(address),
    };
    is_kind && is_address && value.len() <= 500
}

/// `1*(QUCHAR / EmbeddedUnicodeChar)`; QCHAR in place of QUCHAR without SMTPUTF8.
fn is_utf8_address(address: &[u8], smtputf8: bool) -> bool {
    let Ok(text) = std::str::from_utf8(address) else { return false };
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < characters.len() {
        match characters[at] {
            '\\' => {
                let Some(end) = characters[at..].iter().position(|one| *one == '}') else { return false };
                let embedded: String = characters[at..at + end].iter().collect();
                let Some(point) = embedded.strip_prefix("\\x{") else { return false };
                if !is_hexpoint(point) {
                    return false;
                }
                at += end + 1;
            }
            '+' | '=' => return false,
            '!'..='~' => at += 1,
            '\u{80}'.. if smtputf8 => at += 1,
            _ => return false,
        }
    }
    at > 0
}

/// `HEXPOINT`, rule by rule. Open: no controls.
fn is_hexpoint(point: &str) -> bool {
    let is_hex = |octet: &u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
    if !point.bytes().all(|octet| is_hex(&octet)) {
        return false;
    }
    match point.as_bytes() {
        b"20" | b"2B" | b"3D" | b"5C" => true,
        [b'8'..=b'9' | b'A'..=b'F', _] => true,
        [b'1'..=b'9' | b'A'..=b'F', _, _] => true,
        // NZDHEXDIG: neither zero nor D, for there are the surrogates.
        [b'1'..=b'9' | b'A'..=b'C' | b'E' | b'F', _, _, _] | [b'D', b'0'..=b'7', _, _] => true,
        [b'1'..=b'9' | b'A'..=b'F', _, _, _, _] => true,
        [b'1', b'0', _, _, _, _] => true,
        _ => false,
    }
}

/// RFC 3461 §4.1: `"NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" )`.
fn notify(value: &[u8]) -> Option<String> {
    let value = String::from_utf8(value.to_ascii_uppercase()).ok()?;
    if value == "NEVER" {
        return Some(value);
    }
    let words: Vec<&str> = value.split(',').collect();
    let all = ["SUCCESS", "FAILURE", "DELAY"];
    if !words.iter().all(|word| all.contains(word)) {
        return None;
    }
    Some(all.into_iter().filter(|word| words.contains(word)).collect::<Vec<_>>().join(","))
}
