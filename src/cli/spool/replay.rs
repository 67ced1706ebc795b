//! `ringmx spool replay`: messages are handed to their sinks anew, of a server that runs, or that is started later.
//!
//! *Invariant*: what lay aside goes when its copy is on stable storage, and when nothing of it failed: a crash between the two leaves both.

use std::collections::BTreeMap;

use ringmx::mail::id::MessageId;
use ringmx::spool::deferred::order::Verb;
use ringmx::spool::scan::content::ContentError;
use ringmx::spool::tools::contents::Contents;
use ringmx::spool::tools::hand::Hand;
use ringmx::spool::tools::message::{Message, State};
use ringmx::spool::tools::order::Orders;
use ringmx::spool::tools::replay::{Replay, ReplayError};

use super::arguments::ReplayArguments;
use super::{Place, all_found, counted};
use crate::cli::failure::Failure;
use crate::cli::progress::Progress;
use crate::cli::say;

/// See the module.
pub fn replay(place: &Place, options: &ReplayArguments) -> Result<(), Failure> {
    let mut filter = options.which.filter.filter(&options.which.ids, &[]);
    if options.which.all && filter.states.is_empty() {
        let right = "such as --state dead,quarantined, or --state delivered for what retain_s has kept";
        return Err(Failure::Wish(format!(
            "--all wants a state: what is active or deferred goes to its sink by itself; {right}"
        )));
    }
    let known = match &options.sink {
        Some(sink) => place.known(sink)?,
        None => place.survey().sinks()?,
    };
    let survey = place.survey();
    let mut handing = Handing {
        place,
        contents: Contents::new(&survey),
        options,
        known,
        hand: place.hand("replay"),
        originals: Orders::new(&place.disk, &place.spool, place.hand("order")),
        sinks: BTreeMap::new(),
        found: Vec::new(),
        handed: 0,
        failed: 0,
    };
    // By name it is what lies aside; else what goes to its sink by itself; else what is kept. What lies aside may lie where it came in, too,
    // as what was dealt with there, which is noted a little later.
    let aside = vec![State::Held, State::Quarantined, State::Dead];
    let turns = match filter.states.is_empty() {
        true => vec![aside, vec![State::Active, State::Deferred], vec![State::Delivered]],
        false => vec![filter.states.clone()],
    };
    for states in turns {
        filter.states = states;
        place.each(&filter, |_, message, progress| handing.add(&message, progress))?;
        filter.ids.retain(|id| !handing.found.contains(id));
        if filter.ids.is_empty() {
            break;
        }
    }
    handing.finish()
}

/// What is handed over.
struct Handing<'p> {
    place: &'p Place,
    contents: Contents<'p>,
    options: &'p ReplayArguments,
    /// Sinks that take it up.
    known: Vec<String>,
    hand: Hand,
    originals: Orders<'p>,
    sinks: BTreeMap<String, Replay<'p>>,
    found: Vec<MessageId>,
    handed: u64,
    failed: u64,
}

impl Handing<'_> {
    fn add(&mut self, message: &Message, progress: &Progress) -> Result<(), Failure> {
        let id = message.id();
        self.found.push(id);
        let is_replayed = message.ordered == Some(Verb::Replayed);
        if is_replayed || message.place.log.ends_with("/inbox") || message.place.log.ends_with("/replay") {
            // It is on its way already.
            return Ok(());
        }
        let before = self.failed;
        let content = match self.contents.of(message) {
            Ok(content) => content,
            Err(ContentError::Storage(error)) => return Err(error.into()),
            Err(error) => {
                self.not_handed(id, &error.to_string(), progress);
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
        let (to, everyone) = self.options.sink.as_deref().map_or((own, false), |sink| (vec![sink], true));
        for sink in to {
            if !self.known.iter().any(|known| known == sink) {
                let why = format!("no sink {sink:?} has ever run on this spool; --sink NAME hands it to another");
                self.not_handed(id, &why, progress);
                continue;
            }
            let make = || Replay::new(&self.place.disk, &self.place.spool, sink, self.hand.clone());
            match self.sinks.entry(sink.to_owned()).or_insert_with(make).add(message, &content, everyone) {
                Ok(()) => self.handed += 1,
                Err(ReplayError::Storage(error)) => return Err(error.into()),
                Err(error) => self.not_handed(id, &error.to_string(), progress),
            }
        }
        if message.state.is_aside() && !self.options.keep && self.failed == before {
            self.originals.add(Verb::Replayed, message, true);
        }
        Ok(())
    }

    fn not_handed(&mut self, id: MessageId, why: &str, progress: &Progress) {
        progress.wipe();
        say::error(&format!("ringmx: {id}: {why}"));
        self.failed += 1;
    }

    fn finish(self) -> Result<(), Failure> {
        let names: Vec<String> = self.sinks.keys().cloned().collect();
        for replay in self.sinks.into_values() {
            match replay.finish() {
                Err(ReplayError::Storage(error)) => return Err(error.into()),
                Err(error) => return Err(Failure::InPart(error.to_string())),
                Ok(_) => {}
            }
        }
        self.originals.give()?;
        let handed = counted(self.handed, "message");
        if names.is_empty() {
            say::out(&format!("{handed} handed to nobody\n"));
        } else {
            say::out(&format!("{handed} handed to {}: {}\n", names.join(" "), self.place.who("takes them up")));
        }
        all_found(&self.options.which.ids, &self.found)?;
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::InPart(format!("{} could not be handed over", counted(failed, "message")))),
        }
    }
}
