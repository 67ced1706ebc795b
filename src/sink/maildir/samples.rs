//! Messages for tests.

use crate::mail::address::{Mailbox, Path};
use crate::mail::envelope::{Envelope, MailParameters, RcptParameters};
use crate::mail::id::MessageId;
use crate::mail::manifest::{Manifest, Origin};
use crate::mail::marks::Marks;
use crate::mail::trace::{Transfer, With};

/// Of that number.
pub(super) fn id(number: u64) -> MessageId {
    MessageId::new(0x0123_4567, 3, 1, number)
}

/// To these, as `local@domain`.
pub(super) fn envelope(recipients: &[&str]) -> Envelope {
    let mut envelope = Envelope::default();
    let sender = Path::Mailbox(Mailbox { local_part: b"sender", domain: b"example.org" });
    envelope.begin(sender, &MailParameters::default());
    for recipient in recipients {
        let path = match recipient.rsplit_once('@') {
            Some((local, domain)) => Path::Mailbox(Mailbox { local_part: local.as_bytes(), domain: domain.as_bytes() }),
            None => Path::Local(recipient.as_bytes()),
        };
        envelope.add(path, &RcptParameters::default()).expect("there is room");
    }
    envelope
}

/// Of the message of that number.
pub(super) fn manifest<'a>(envelope: &'a Envelope, number: u64, content: &[u8]) -> Manifest<'a> {
    Manifest {
        id: id(number),
        received_at_ms: 1_136_214_245_000,
        content_octets: content.len() as u64,
        recipients: envelope.recipients().count() as u32,
        marks: Marks::default(),
        with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
        origin: Origin::UnixSocket,
        listener: "mx",
        by: "mx.example.net",
        hello: b"client.example.org",
        envelope: envelope.view(),
    }
}
