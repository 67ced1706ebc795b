//! Messages for tests.

use crate::letter;
use crate::mail::envelope::Envelope;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;

/// Of that number.
pub(super) fn id(number: u64) -> MessageId {
    MessageId::new(0x0123_4567, 3, 1, number)
}

/// To these, as `local@domain`.
pub(super) fn envelope(recipients: &[&str]) -> Envelope {
    letter::envelope("sender@example.org", recipients.iter().map(|to| (*to, 0)))
}

/// Of the message of that number.
pub(super) fn manifest<'a>(envelope: &'a Envelope, number: u64, content: &[u8]) -> Manifest<'a> {
    letter::manifest(envelope, id(number), content.len())
}
