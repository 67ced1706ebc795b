//! `ringmx spool verify`: everything is read and held against its checksums.

use ringmx::mail::shown::ShownPath;
use ringmx::metrics::report::{grouped, size};
use ringmx::spool::tools::message::Message;
use ringmx::spool::tools::verify::Finding;

use super::{Place, counted};
use crate::cli::failure::Failure;
use crate::cli::progress::Progress;
use crate::cli::say;

/// See the module.
pub fn verify(place: &Place) -> Result<(), Failure> {
    let (progress, mut corrupt) = (Progress::new(), 0_u64);
    let verified = place.survey().verify(&mut |read, all| progress.show(read, all), &mut |finding| {
        progress.wipe();
        corrupt += u64::from(finding.is_corruption());
        say::out(&format!("{}\n", text(&finding)));
    })?;
    drop(progress);
    say::out(&format!(
        "read {} of {} in {} and {}: {}; {} without an end, {} unused\n",
        size(verified.octets),
        counted(verified.blocks, "block"),
        counted(verified.logs, "log"),
        counted(verified.segments, "segment"),
        counted(verified.messages, "whole message"),
        grouped(verified.unfinished),
        counted(verified.spare, "segment"),
    ));
    match corrupt {
        0 => Ok(()),
        _ => Err(Failure::Corruption(format!(
            "{} of what was promised to somebody; what is not named above is whole",
            counted(corrupt, "damage")
        ))),
    }
}

fn text(finding: &Finding) -> String {
    match finding {
        Finding::Blocks { log, segment, offset, sequences } => {
            let count = sequences.end.saturating_sub(sequences.start);
            format!(
                "DAMAGED {log}/{segment}: {} from octet {} on cannot be read; messages that ended there are lost, and nothing else knows \
                 their names",
                counted(count, "block"),
                grouped(*offset)
            )
        }
        Finding::Message(message, why) => format!("DAMAGED message {}: {why}; {}", message.id(), whose(message)),
        Finding::Unreadable(place) => format!(
            "DAMAGED {}/{}: the end of message {} of start {} says nothing that can be read",
            place.log, place.segment, place.record.number, place.record.epoch
        ),
        Finding::Records { log, blocks } => {
            format!("DAMAGED {log}: {} with records that this version cannot read", counted(*blocks, "sound block"))
        }
        Finding::Tail { log, ignored } => format!(
            "{log}: a write was cut short, or is under way; {} behind it count for nothing, and nobody was told otherwise",
            counted(*ignored, "block")
        ),
        Finding::Strange(strange) => strange.clone(),
    }
}

/// Who must be told.
fn whose(message: &Message) -> String {
    let manifest = message.manifest();
    let recipients: Vec<String> =
        message.recipients().map(|(recipient, _)| format!("<{}>", ShownPath(recipient.path))).collect();
    format!("from <{}> for {}", ShownPath(manifest.envelope.sender().0), recipients.join(" "))
}
