//! `ringmx spool show`: all that is known of a message.

use std::fmt::Write as _;
use std::io::{self, Write};

use ringmx::mail::date::Timestamp;
use ringmx::mail::envelope::Body;
use ringmx::mail::shown::{Shown, ShownPath};
use ringmx::metrics::report::grouped;
use ringmx::spool::tools::export;
use ringmx::spool::tools::filter::Filter;
use ringmx::spool::tools::message::Message;

use super::arguments::ShowArguments;
use super::ls::{is_closed, ordered, printing};
use super::{Place, all_found};
use crate::cli::failure::Failure;
use crate::cli::say;

/// See the module. A message that waits in several places is shown for each; its content once.
pub fn show(place: &Place, options: &ShowArguments) -> Result<(), Failure> {
    let (filter, mut found) = (Filter { ids: [options.id].into(), ..Filter::default() }, Vec::new());
    place.each(&filter, |survey, message, progress| {
        progress.wipe();
        if !options.content {
            say::out(&text(&message));
        } else if found.is_empty() {
            let content = survey.content(&message);
            let content = content.map_err(|error| Failure::Content { id: options.id.to_string(), error })?;
            let mut out = io::stdout().lock();
            let printed = out.write_all(&export::head(&message)).and_then(|()| out.write_all(&content));
            match printed.and_then(|()| out.flush()).map_err(printing) {
                Err(failure) if is_closed(&failure) => {}
                printed => printed?,
            }
        }
        found.push(options.id);
        Ok(())
    })?;
    all_found(&[options.id], &found)
}

fn text(message: &Message) -> String {
    let (manifest, place) = (message.manifest(), &message.place);
    let mut text = String::new();
    let mut row = |what: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {what:<22} {value}");
    };
    let time = |ms: u64| Timestamp::from_unix_milliseconds(ms).to_string();
    row("state", message.state.name());
    if let Some(verb) = message.ordered {
        row("ordered", ordered(verb));
    }
    row("received", &time(manifest.received_at_ms));
    row("size", &format!("{} bytes", grouped(message.content_octets())));
    row("checksum", &format!("CRC32C {:08x}", message.content_crc()));
    row("listener", manifest.listener);
    row("sender", &format!("<{}>", ShownPath(manifest.envelope.sender().0)));
    let parameters = manifest.envelope.sender().1;
    let body = match parameters.body {
        Body::SevenBit => "7BIT",
        Body::EightBitMime => "8BITMIME",
        Body::BinaryMime => "BINARYMIME",
    };
    row("body", &format!("{body}{}", if parameters.smtputf8 { " SMTPUTF8" } else { "" }));
    let mut trace = Vec::new();
    manifest.trace().write_received(&mut trace);
    for (number, line) in String::from_utf8_lossy(&trace).lines().enumerate() {
        row(if number == 0 { "trace" } else { "" }, line.trim_start());
    }
    row("recipients in all", &grouped(manifest.recipients.into()));
    for (recipient, sink) in message.recipients() {
        let what = if message.state.waits() { "waits for" } else { "went to" };
        row(what, &format!("{sink}: <{}>", ShownPath(recipient.path)));
    }
    if let Some(wait) = message.wait() {
        row("attempts", &grouped(wait.attempts.into()));
        row("deferred since", &time(wait.since_ms));
        row("next attempt", &if wait.next_ms == 0 { "none by itself".to_owned() } else { time(wait.next_ms) });
        let reply = Shown { octets: wait.reply, most: usize::MAX, spaces: true };
        row("last reply", &if wait.code == 0 { reply.to_string() } else { format!("{} {reply}", wait.code) });
    }
    let record = &place.record;
    row("lies in", &format!("{}/{}", place.log, place.segment));
    row("at", &format!("{} to {}, message {} of start {}", record.first, record.place, record.number, record.epoch));
    format!("{}\n{text}", manifest.id)
}
