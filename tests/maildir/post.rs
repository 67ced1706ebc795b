//! Messages, and a sink that keeps them.

use std::path::Path as FilePath;

use ringmx::handoff::delivery::Verdict;
use ringmx::mail::envelope::Envelope;
use ringmx::mail::id::MessageId;
use ringmx::sink::maildir::options::MaildirOptions;
use ringmx::sink::maildir::{Maildir, Message};

use crate::letter;

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
    letter::envelope("sender@example.org", [(&*format!("{local_part}@x.test"), 0)])
}

fn message<'a>(envelope: &'a Envelope, number: u64, content: &'a [u8]) -> Message<'a> {
    Message {
        manifest: letter::manifest(envelope, MessageId::new(7, 3, 1, number), content.len()),
        is_repeat: false,
        recipients: (0..).zip(envelope.recipients().map(|recipient| recipient.path)).collect(),
        content: vec![content],
    }
}
