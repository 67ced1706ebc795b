//! Five clients: how each is told to send files, and what it changes in them.

mod curl;
mod msmtp;
mod nodemailer;
mod smtplib;
mod swaks;

use std::path::{Path, PathBuf};

/// A script of this directory.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/clients").join(name)
}

/// Transparency for each line behind this end, and the first.
pub fn stuffed(content: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 16);
    for (at, octet) in content.iter().enumerate() {
        if *octet == b'.' && (at == 0 || content[..at].ends_with(behind)) {
            wire.push(b'.');
        }
        wire.push(*octet);
    }
    wire
}

/// The same with CRLF at the end, where it is not.
fn ended(mut wire: Vec<u8>) -> Vec<u8> {
    if !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire
}
