//! Addresses as they were received: RFC 5321 §2.3.11, §4.1.2.

/// A mailbox: local-part and domain as the client wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// With its quotes, if it has any.
    pub local_part: &'a [u8],
    /// A domain, or an address literal with its brackets.
    pub domain: &'a [u8],
}

/// What stands between the angle brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path<'a> {
    /// `<>`, the null reverse-path.
    Null,
    /// A local-part alone, as in `<postmaster>`.
    Local(&'a [u8]),
    /// A full mailbox.
    Mailbox(Mailbox<'a>),
}
