//! `ringmx spool replay`: messages are handed to their sinks anew, of a server that runs, or that is started later.
//!
//! *Invariant*: what lay aside goes when its copy is on stable storage, and when nothing of it failed: a crash between the two leaves both.

use std::collections::BTreeMap;

use ringmx::spool::deferred::order::Verb;
use ringmx::spool::scan::content::ContentError;
use ringmx::spool::tools::message::State;
use ringmx::spool::tools::order::Orders;
use ringmx::spool::tools::replay::{Replay, ReplayError};

use super::arguments::ReplayArguments;
use super::{Place, all_found, counted};
use crate::cli::failure::Failure;
use crate::cli::say;

/// See the module.
pub fn replay(place: &Place, options: &ReplayArguments) -> Result<(), Failure> {
    let filter = options.which.filter.filter(&options.which.ids, &[]);
    if options.which.all && filter.states.is_empty() {
        let right = "such as --state dead,quarantined, or --state delivered for what retain_s has kept";
        return Err(Failure::Wish(format!(
            "--all wants a state: what is active or deferred goes to its sink by itself; {right}"
        )));
    }
    let known = place.survey().sinks()?;
    let is_known = |sink: &str| known.iter().any(|known| known == sink);
    if let Some(sink) = options.sink.as_deref().filter(|sink| !is_known(sink)) {
        return Err(Failure::Wish(format!("no sink {sink:?} has ever run on this spool; there is {}", listed(&known))));
    }
    let hand = place.hand("replay");
    let mut originals = Orders::new(&place.disk, &place.spool, place.hand("order"));
    let mut sinks: BTreeMap<String, Replay<'_>> = BTreeMap::new();
    let (mut found, mut handed, mut failed) = (Vec::new(), 0_u64, 0_u64);
    place.each(&filter, |survey, message, progress| {
        let id = message.id();
        found.push(id);
        let is_replayed = message.ordered == Some(Verb::Replayed);
        if is_replayed || message.place.log.ends_with("/inbox") || message.place.log.ends_with("/replay") {
            // It is on its way already.
            return Ok(());
        }
        let failed_before = failed;
        let mut not_handed = |error: String| {
            progress.wipe();
            say::error(&format!("ringmx: {id}: {error}"));
            failed += 1;
        };
        let content = match survey.content(&message) {
            Ok(content) => content,
            Err(ContentError::Storage(error)) => return Err(error.into()),
            Err(error) => {
                not_handed(error.to_string());
                return Ok(());
            }
        };
        if matches!(message.state, State::Active | State::Deferred) {
            progress.wipe();
            say::error(&format!("ringmx: {id} is {}, and goes to its sink by itself, too", message.state.name()));
        }
        let mut own: Vec<&str> = message.recipients().map(|(_, sink)| sink).collect();
        own.sort_unstable();
        own.dedup();
        let (to, everyone) = options.sink.as_deref().map_or((own, false), |sink| (vec![sink], true));
        for sink in to {
            if !is_known(sink) {
                not_handed(format!("no sink {sink:?} has ever run on this spool; --sink NAME hands it to another"));
                continue;
            }
            let make = || Replay::new(&place.disk, &place.spool, sink, hand.clone());
            match sinks.entry(sink.to_owned()).or_insert_with(make).add(&message, &content, everyone) {
                Ok(()) => handed += 1,
                Err(ReplayError::Storage(error)) => return Err(error.into()),
                Err(error) => not_handed(error.to_string()),
            }
        }
        if message.state.is_aside() && !options.keep && failed == failed_before {
            originals.add(Verb::Replayed, &message, true);
        }
        Ok(())
    })?;
    let names: Vec<String> = sinks.keys().cloned().collect();
    for replay in sinks.into_values() {
        match replay.finish() {
            Err(ReplayError::Storage(error)) => return Err(error.into()),
            Err(error) => return Err(Failure::InPart(error.to_string())),
            Ok(_) => {}
        }
    }
    originals.give()?;
    say::out(&format!(
        "{} handed to {}{}\n",
        counted(handed, "message"),
        if names.is_empty() { "nobody".into() } else { names.join(" ") },
        if names.is_empty() { String::new() } else { format!(": {}", place.who("takes them up")) }
    ));
    all_found(&options.which.ids, &found)?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::InPart(format!("{} could not be handed over", counted(failed, "message")))),
    }
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
