//! Whether a text can stand as this server's name: a domain or an address literal (RFC 5321 §4.2).

use std::net::IpAddr;

use super::error::{Mistake, shown};
use crate::smtp::path;

/// Finds out what keeps `text` from being a server's name.
pub(super) fn check(text: &str) -> Result<(), Mistake> {
    let hint = match text.parse() {
        Ok(IpAddr::V4(ip)) => format!(" but an address, whose literal is \"[{ip}]\""),
        Ok(IpAddr::V6(ip)) => format!(" but an address, whose literal is \"[IPv6:{ip}]\""),
        Err(_) if path::is_domain_or_literal(text.as_bytes(), false) => return Ok(()),
        Err(_) if !text.is_ascii() => ", only its form that begins with xn-- can be".into(),
        Err(_) => String::new(),
    };
    Err(Mistake::new(
        format!("{} is no domain{hint}", shown(text)),
        "a domain or an address literal is wanted, such as \"mx.example.net\" or \"[192.0.2.1]\"",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_address_literals_are_names() {
        for name in ["localhost", "mx.example.net", "MX-1.example.net", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        for (name, hint) in [
            ("", "is no domain"),
            ("mx.example.net.", "is no domain"),
            ("mx_1.example.net", "is no domain"),
            ("a\r\nb", "is no domain"),
            ("(none)", "is no domain"),
            ("[2001:db8::1]", "is no domain"),
            ("[]", "is no domain"),
            ("müller.example", "begins with xn--"),
            ("192.0.2.1", "\"[192.0.2.1]\""),
            ("2001:DB8::1", "\"[IPv6:2001:db8::1]\""),
        ] {
            let mistake = check(name).expect_err(name);
            assert!(mistake.wrong.contains(hint), "{name}: {mistake}");
        }
    }
}
