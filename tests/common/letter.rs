//! An envelope and a manifest as most tests want them: plain. Whoever cares for a field sets it: `Manifest { listener, ..manifest(…) }`.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::envelope::{Envelope, MailParameters, RcptParameters, Route};
use ringmx::mail::id::MessageId;
use ringmx::mail::manifest::{Manifest, Origin};
use ringmx::mail::marks::Marks;
use ringmx::mail::trace::{Transfer, With};

/// `local@domain`, a local-part alone, or nothing: the null path.
pub fn path(text: &str) -> Path<'_> {
    match text.rsplit_once('@') {
        None if text.is_empty() => Path::Null,
        None => Path::Local(text.as_bytes()),
        Some((local_part, domain)) => {
            Path::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() })
        }
    }
}

/// From one to all of these, each by its route.
pub fn envelope<'a>(from: &str, to: impl IntoIterator<Item = (&'a str, u16)>) -> Envelope {
    let mut envelope = Envelope::default();
    envelope.begin(path(from), &MailParameters::default());
    for (to, route) in to {
        let place = envelope.add(path(to), &RcptParameters::default()).expect("there is room");
        envelope.set_route(place, Route(route));
    }
    envelope
}

/// Of a message that came by ESMTP.
pub fn manifest(envelope: &Envelope, id: MessageId, content_octets: usize) -> Manifest<'_> {
    let envelope = envelope.view();
    Manifest {
        id,
        received_at_ms: 1_136_214_245_000,
        content_octets: content_octets as u64,
        recipients: envelope.recipients().count() as u32,
        marks: Marks::default(),
        with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
        origin: Origin::UnixSocket,
        listener: "mx",
        by: "mx.example.net",
        hello: b"client.example.org",
        envelope,
    }
}

/// As it is written.
pub fn encoded(manifest: &Manifest<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    manifest.encode(&mut octets);
    octets
}
