//! Messages, and a sink that keeps them.

use std::path::Path as FilePath;

use ringmx::handoff::delivery::Verdict;
use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::envelope::{Envelope, MailParameters, RcptParameters};
use ringmx::mail::id::MessageId;
use ringmx::mail::manifest::{Manifest, Origin};
use ringmx::mail::marks::Marks;
use ringmx::mail::trace::{Transfer, With};
use ringmx::sink::maildir::options::MaildirOptions;
use ringmx::sink::maildir::{Maildir, Message};

/// A sink with this template below a directory.
pub fn maildir(directory: &FilePath, template: &str) -> Maildir {
    Maildir::open(options(directory, template)).expect("the root can be made")
}

pub fn options(directory: &FilePath, template: &str) -> MaildirOptions {
    MaildirOptions::new(format!("{}/{template}", directory.display()).parse().expect("it is a template"))
}

/// A message to each of these local-parts at `x.test`, numbered from `first`: all in one batch, each with its verdict.
pub fn deliver(maildir: &mut Maildir, local_parts: &[&str], content: &[u8], first: u64) -> Vec<Verdict> {
    let envelopes: Vec<Envelope> = local_parts.iter().map(|local_part| envelope(local_part)).collect();
    let messages: Vec<Message<'_>> =
        (first..).zip(&envelopes).map(|(number, envelope)| message(envelope, number, content)).collect();
    let mut verdicts = vec![None; messages.len()];
    maildir.keep(&messages, |message, _, verdict| {
        assert!(verdicts[message].replace(verdict).is_none(), "one verdict for each");
    });
    verdicts.into_iter().map(|verdict| verdict.expect("a verdict for each")).collect()
}

fn envelope(local_part: &str) -> Envelope {
    let mut envelope = Envelope::default();
    let mailbox = |local_part, domain| Path::Mailbox(Mailbox { local_part, domain });
    envelope.begin(mailbox(b"sender", b"example.org"), &MailParameters::default());
    envelope.add(mailbox(local_part.as_bytes(), b"x.test"), &RcptParameters::default()).expect("there is room");
    envelope
}

fn message<'a>(envelope: &'a Envelope, number: u64, content: &'a [u8]) -> Message<'a> {
    Message {
        manifest: Manifest {
            id: MessageId::new(7, 3, 1, number),
            received_at_ms: 1_136_214_245_000,
            content_octets: content.len() as u64,
            recipients: 1,
            marks: Marks::default(),
            with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
            origin: Origin::Host("192.0.2.1:25".parse().expect("an address")),
            listener: "mx",
            by: "mx.example.net",
            hello: b"client.example.org",
            envelope: envelope.view(),
        },
        is_repeat: false,
        recipients: (0..).zip(envelope.recipients().map(|recipient| recipient.path)).collect(),
        content: vec![content],
    }
}
