//! `ringmx spool`: what lies in a spool, and what an operator does with it.

pub mod arguments;
mod export;
mod ls;
mod order;
mod replay;
mod show;
mod verify;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use ringmx::config::Plan;
use ringmx::engine::data_dir;
use ringmx::mail::id::MessageId;
use ringmx::spool::deferred::order::Verb;
use ringmx::spool::storage::Storage;
use ringmx::spool::storage::disk::Disk;
use ringmx::spool::tools::filter::Filter;
use ringmx::spool::tools::hand::Hand;
use ringmx::spool::tools::message::Message;
use ringmx::spool::tools::survey::Survey;

use self::arguments::{SpoolArguments, SpoolCommand, now_ms};
use super::progress::Progress;
use crate::cli::failure::Failure;

/// Does what it is asked.
pub fn spool(options: &SpoolArguments) -> Result<(), Failure> {
    let place = Place::find(options)?;
    match &options.command {
        SpoolCommand::Ls(options) => ls::ls(&place, options),
        SpoolCommand::Show(options) => show::show(&place, options),
        SpoolCommand::Verify => verify::verify(&place),
        SpoolCommand::Export(options) => export::export(&place, options),
        SpoolCommand::Hold(options) => order::order(&place, Verb::Hold, options),
        SpoolCommand::Release(options) => order::order(&place, Verb::Release, options),
        SpoolCommand::Remove(options) => order::remove(&place, options),
        SpoolCommand::Replay(options) => replay::replay(&place, options),
    }
}

/// Where the spool lies.
struct Place {
    disk: Disk,
    data_dir: PathBuf,
    spool: PathBuf,
    node: u32,
    epoch: u32,
}

impl Place {
    fn find(options: &SpoolArguments) -> Result<Self, Failure> {
        let data_dir = match (&options.data_dir, &options.config) {
            (Some(data_dir), _) => data_dir.clone(),
            (None, Some(config)) => Plan::load(config)?.data_dir().to_owned(),
            (None, None) => Plan::embedded().data_dir().to_owned(),
        };
        let (disk, spool) = (Disk::new(&data_dir), data_dir.join("spool"));
        let Some((node, epoch)) = data_dir::identity(&data_dir)? else { return Err(Failure::NoSpool(data_dir)) };
        match disk.entries(&spool) {
            Err(error) if error.is_not_found() => Err(Failure::NoSpool(data_dir)),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(Self { disk, data_dir, spool, node, epoch }),
        }
    }

    fn survey(&self) -> Survey<'_> {
        Survey { storage: &self.disk, spool: self.spool.clone(), node: self.node }
    }

    /// The sinks that have run on it, if this is one of them: a name that is mistyped would look like one without mail.
    fn known(&self, sink: &str) -> Result<Vec<String>, Failure> {
        let known = self.survey().sinks()?;
        if known.iter().any(|known| known == sink) {
            return Ok(known);
        }
        let names: Vec<String> = known.iter().map(|name| format!("{name:?}")).collect();
        let there = if names.is_empty() { "none".into() } else { names.join(", ") };
        Err(Failure::Wish(format!("no sink {sink:?} has ever run on this spool; there is {there}")))
    }

    /// What is handed over now; `what` is the beginning of its files' names.
    fn hand(&self, what: &str) -> Hand {
        let name = format!("{what}-{:013}-{}", now_ms(), std::process::id());
        Hand { node: self.node, epoch: self.epoch, name }
    }

    /// Who carries out what is handed over, and when: who "does so", or "takes them up".
    fn who(&self, does: &str) -> String {
        match data_dir::owner(&self.data_dir) {
            Some(process) => format!("the server (process {process}) {does} within moments"),
            None => format!("no server is seen to run on this spool; the next one {does} when it starts"),
        }
    }

    /// Gives each message that is asked for, until one fails.
    fn each(
        &self,
        filter: &Filter,
        mut visit: impl FnMut(&Survey<'_>, Message, &Progress) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (survey, progress, mut failed) = (self.survey(), Progress::new(), None);
        survey.messages(filter, &mut |read, all| progress.show(read, all), &mut |message| match visit(
            &survey, message, &progress,
        ) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// The failure that some ids were not found, if that is so.
fn all_found<'f>(asked: &[MessageId], found: impl IntoIterator<Item = &'f MessageId>) -> Result<(), Failure> {
    let found: BTreeSet<&MessageId> = found.into_iter().collect();
    let missing: Vec<String> = asked.iter().filter(|id| !found.contains(id)).map(MessageId::to_string).collect();
    if missing.is_empty() { Ok(()) } else { Err(Failure::NoMessage(missing.join(" "))) }
}

/// A message with this many.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", ringmx::metrics::report::grouped(count), if count == 1 { "" } else { "s" })
}
