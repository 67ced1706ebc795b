//! The name of a message's file: `seconds.id.host`, as maildir readers know it.
//!
//! *Invariants*: it follows from the message alone, so that a repeat has the same and overwrites; it has no `/` and no `:`, which
//! readers put their flags behind, and no dot first; with what readers append it is far below [`limits::FILE_NAME_OCTETS`]. A name
//! that [`is_ours`] was made here, or by someone who wants it to look so.
//!
//! *Why this way*: readers sort by the seconds, and ask the rest to be unique. The id is, everywhere; the host is there because
//! people look for it. Neither the recipient nor the size is in it: a message lies once in a maildir, whatever the number of
//! recipients that the maildir is for, and a size would change with the line ends that are configured.

use crate::limits;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;

/// Appends the name of a message's file.
pub(super) fn write(manifest: &Manifest<'_>, out: &mut Vec<u8>) {
    let seconds = (manifest.received_at_ms / 1000).min(limits::TIME_S);
    out.extend_from_slice(seconds.to_string().as_bytes());
    out.push(b'.');
    out.extend_from_slice(&manifest.id.text());
    out.push(b'.');
    let host = manifest.by.as_bytes();
    for octet in &host[..host.len().min(limits::MAILDIR_HOST_OCTETS)] {
        // As the maildir convention has it for `/` and `:`; a host's name has no other octet than these.
        if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-' | b'_') {
            out.push(*octet);
        } else {
            let digits = [octet >> 6, octet >> 3 & 7, octet & 7].map(|digit| b'0' + digit);
            out.push(b'\\');
            out.extend_from_slice(&digits);
        }
    }
}

/// Whether [`write`] could have made it: a file that is not ours is left alone.
pub(super) fn is_ours(name: &[u8]) -> bool {
    let mut parts = name.splitn(3, |octet| *octet == b'.');
    let (Some(seconds), Some(id), Some(_host)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let is_number = !seconds.is_empty() && seconds.iter().all(u8::is_ascii_digit);
    is_number && str::from_utf8(id).is_ok_and(|id| id.parse::<MessageId>().is_ok())
}

/// What a reader's name for a file is without the flags that it appended.
pub(super) fn without_flags(name: &[u8]) -> &[u8] {
    name.split(|octet| *octet == b':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::maildir::samples;

    fn name(by: &str) -> String {
        let envelope = samples::envelope(&[]);
        let manifest = Manifest { by, ..samples::manifest(&envelope, 7, b"") };
        let mut out = Vec::new();
        write(&manifest, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_name_is_what_readers_expect() {
        assert_eq!(name("mx.example.net"), format!("1136214245.{}.mx.example.net", samples::id(7)));
        assert!(name("a/b:c d").ends_with(r".a\057b\072c\040d"));
        assert!(name(&"/".repeat(255)).len() + ":2,DFPRST".len() <= limits::FILE_NAME_OCTETS);
        for by in ["mx.example.net", "", "a:b"] {
            assert!(is_ours(name(by).as_bytes()), "{by}");
        }
        assert_eq!(without_flags(b"1.a.b:2,S"), b"1.a.b");
        assert_eq!(without_flags(b"1.a.b"), b"1.a.b");
    }

    #[test]
    fn what_others_wrote_is_not_ours() {
        let id = samples::id(1).to_string();
        for other in
            ["", "1", "1.M2P3.host", "1136214245.", &format!("x.{id}.host"), &format!(".{id}.h"), &format!("1.{id}")]
        {
            assert!(!is_ours(other.as_bytes()), "{other}");
        }
    }
}
