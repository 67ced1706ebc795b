//! `ringmx --config`: the engine as a durable MX, whose sink throws away what is delivered to it.

use std::process::Command;

use super::ringmx::{STATS, stopped};
use super::{Contender, Home, Kind, Lack, Places, Promise};
use crate::ceiling::disk::place::Place;
use crate::compare::process::Process;
use crate::compare::server::{Engine, mx};
use crate::failure::Failure;

/// The block that has a message is written and synced before its reply (src/spool/writer); one sync is for all messages of a block.
pub const KIND: Kind = Kind { name: "ringmx-mx", promise: Promise::Synced, install: super::ringmx::KIND.install, find };

#[derive(Debug)]
struct RingmxMx {
    engine: Engine,
    shards: u16,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let Places(asked) = places;
    let engine = Engine::find(asked.ringmx.as_deref()).map_err(|failure| failure.to_string())?;
    let directory = asked.directory.clone().unwrap_or_else(std::env::temp_dir);
    // It would not start: what is in memory it cannot promise to keep.
    Place::of(&directory).map_err(|failure| Lack::Unusable(format!("{failure}; --directory DIR names a disk")))?;
    Ok(Box::new(RingmxMx { engine, shards: asked.shards }))
}

impl Contender for RingmxMx {
    fn version(&self) -> String {
        let shards = match self.shards {
            0 => "a shard for each core".to_owned(),
            shards => format!("{shards} shards"),
        };
        let (version, engine) = (env!("CARGO_PKG_VERSION"), self.engine.describe());
        format!("ringmx {version}, {engine}, a durable MX and its blackhole sink, {shards}")
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let mut command = self.engine.serving()?;
        command.arg(home.write("mx.toml", &mx(self.shards, &home.directory))?);
        command.arg("--stats-json").arg(home.directory.join(STATS));
        Ok(command)
    }

    fn announces_itself(&self) -> bool {
        true
    }

    /// What was taken over is in its sink's hands within 1 ms or so, long before the account is read.
    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        let stats = stopped(process, home)?;
        let (messages, written) = (stats.total("messages")?, stats.total("spool_messages")?);
        let (recipients, delivered) = (stats.total("recipients")?, stats.of_sinks("delivered")?);
        if (written, delivered) != (messages, recipients) {
            return Err(Failure::Disagreement(format!(
                "ringmx accepted {messages} messages for {recipients} recipients, wrote {written} and delivered {delivered}"
            )));
        }
        Ok(Some(messages))
    }
}
