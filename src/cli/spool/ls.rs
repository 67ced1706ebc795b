//! `ringmx spool ls`: a line for each message that waits, and what they come to.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};

use ringmx::mail::shown::{Shown, ShownPath};
use ringmx::metrics::report::{grouped, size};
use ringmx::spool::deferred::order::Verb;
use ringmx::spool::tools::message::{Message, State};
use serde_json::json;

use super::arguments::{LsArguments, now_ms};
use super::{Place, counted};
use crate::cli::failure::Failure;
use crate::cli::say;

/// Octets of a reply that a line shows.
const REPLY_OCTETS: usize = 200;

/// See the module.
pub fn ls(place: &Place, options: &LsArguments) -> Result<(), Failure> {
    let filter = options.filter.filter(&[], &options.sink);
    let now_ms = now_ms();
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut sums: BTreeMap<State, (u64, u64)> = BTreeMap::new();
    if !options.json {
        let head = ["id", "state", "size", "age", "tries", "next"];
        let [id, state, size, age, tries, next] = head;
        write(&mut out, &format!("{id:<26} {state:<11} {size:>9} {age:>5} {tries:>5} {next:>5} from -> recipients\n"))?;
    }
    let listed = place.each(&filter, |_, message, progress| {
        let (count, octets) = sums.entry(message.state).or_default();
        (*count, *octets) = (*count + 1, *octets + message.content_octets());
        progress.wipe();
        let line = if options.json { object(&message) } else { line(&message, now_ms, is_coloured) };
        write(&mut out, &line)
    });
    let flushed = out.flush().map_err(printing);
    drop(out);
    match listed.and(flushed) {
        // Whoever read it has read enough.
        Err(failure) if is_closed(&failure) => return Ok(()),
        done => done?,
    }
    if sums.is_empty() {
        options.sink.iter().try_for_each(|sink| place.known(sink).map(drop))?;
    }
    let sum = summary(&sums);
    if options.json {
        say::error(&sum)
    } else {
        say::out(&(sum + "\n"))
    }
    Ok(())
}

fn write(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).map_err(printing)
}

/// Standard output could not be written.
pub(super) fn printing(error: io::Error) -> Failure {
    Failure::Write { path: "standard output".into(), error }
}

/// Whether nobody reads standard output any more.
pub(super) fn is_closed(failure: &Failure) -> bool {
    matches!(failure, Failure::Write { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
}

fn line(message: &Message, now_ms: u64, is_coloured: bool) -> String {
    let manifest = message.manifest();
    let state = format!("{:<11}", message.state.name());
    let state = if is_coloured { coloured(message.state, &state) } else { state };
    let wait = message.wait();
    let next = match wait.map(|wait| wait.next_ms) {
        _ if message.state.is_aside() || !message.state.waits() => "-".to_owned(),
        Some(next) if next > now_ms => span(next - now_ms),
        _ => "now".to_owned(),
    };
    let mut recipients = message.recipients();
    let first = recipients.next();
    let others = recipients.count();
    let first = first.map_or(String::new(), |(recipient, sink)| format!("<{}> ({sink})", ShownPath(recipient.path)));
    let others = if others == 0 { String::new() } else { format!(" and {} more", grouped(others as u64)) };
    let said = wait.filter(|wait| wait.code > 0 || !wait.reply.is_empty());
    let said = said.map_or(String::new(), |wait| {
        let reply = Shown { octets: wait.reply, most: REPLY_OCTETS, spaces: true };
        format!(": {} {reply}", wait.code)
    });
    let ordered = message.ordered.map_or(String::new(), |verb| format!(" ({})", ordered(verb)));
    format!(
        "{} {state} {:>9} {:>5} {:>5} {next:>5} <{}> -> {first}{others}{ordered}{said}\n",
        manifest.id,
        size(message.content_octets()),
        span(now_ms.saturating_sub(manifest.received_at_ms)),
        wait.map_or(0, |wait| wait.attempts),
        ShownPath(manifest.envelope.sender().0),
    )
}

/// What an operator has ordered, and waits for a server to do it.
pub(super) fn ordered(verb: Verb) -> &'static str {
    match verb {
        Verb::Hold => "to be held",
        Verb::Release => "to be released",
        Verb::Remove => "to be removed",
        Verb::Replayed => "replayed, to be removed here",
    }
}

fn coloured(state: State, text: &str) -> String {
    let colour = match state {
        State::Active => "32",
        State::Deferred => "33",
        State::Held => "36",
        State::Quarantined => "35",
        State::Dead => "31",
        State::Delivered => "2",
    };
    format!("\x1b[{colour}m{text}\x1b[0m")
}

/// A time in one number: `59s`, `12m`, `3h`, `5d`.
pub(super) fn span(time_ms: u64) -> String {
    let seconds = time_ms / 1000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    // Twice the unit at least, so that the number says something.
    match units.into_iter().find(|(unit, _)| seconds >= 2 * unit) {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

fn object(message: &Message) -> String {
    let manifest = message.manifest();
    let recipients: Vec<_> = message
        .recipients()
        .map(|(recipient, sink)| json!({ "recipient": ShownPath(recipient.path).to_string(), "sink": sink }))
        .collect();
    let wait = message.wait();
    let reply = wait
        .filter(|wait| wait.code > 0)
        .map(|wait| json!({ "code": wait.code, "text": String::from_utf8_lossy(wait.reply) }));
    let object = json!({
        "id": manifest.id.to_string(),
        "state": message.state.name(),
        "size_bytes": message.content_octets(),
        "received_at_ms": manifest.received_at_ms,
        "listener": manifest.listener,
        "sender": ShownPath(manifest.envelope.sender().0).to_string(),
        "recipients": recipients,
        "attempts": wait.map_or(0, |wait| wait.attempts),
        "deferred_since_ms": wait.map(|wait| wait.since_ms),
        "next_attempt_ms": wait.map(|wait| wait.next_ms).filter(|next| *next > 0),
        "last_reply": reply,
        "ordered": message.ordered.map(Verb::name),
        "log": &*message.place.log,
        "segment": message.place.segment,
    });
    format!("{object}\n")
}

fn summary(sums: &BTreeMap<State, (u64, u64)>) -> String {
    let (count, octets) =
        sums.values().fold((0, 0), |(count, octets), (more, more_octets)| (count + more, octets + more_octets));
    let states: Vec<String> =
        sums.iter().map(|(state, (count, _))| format!("{} {}", grouped(*count), state.name())).collect();
    match count {
        0 => "no message".to_owned(),
        _ => format!("{}, {}: {}", counted(count, "message"), size(octets), states.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_number() {
        for (time_ms, text) in
            [(0, "0s"), (119_999, "119s"), (120_000, "2m"), (7_199_999, "119m"), (7_200_000, "2h"), (172_800_000, "2d")]
        {
            assert_eq!(span(time_ms), text);
        }
    }

    #[test]
    fn what_they_come_to_is_told_by_state() {
        assert_eq!(summary(&BTreeMap::new()), "no message");
        let sums = BTreeMap::from([(State::Dead, (1, 500)), (State::Active, (1_234, 2_000_000))]);
        assert_eq!(summary(&sums), "1,235 messages, 2.0 MB: 1,234 active, 1 dead");
    }
}
