//! Where a recipient's maildir lies.

/// Octets that stand for themselves in a name.
pub(super) const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'-' | b'_' | b'.' | b'=')
}
