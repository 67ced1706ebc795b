//! `ringmx sink`: the engine on its blackhole.

use std::process::Command;

use rustix::process::Signal;

use super::{Contender, Home, Kind, Lack, PATIENCE, Places, Promise, told};
use crate::compare::process::Process;
use crate::compare::server::Engine;
use crate::compare::stats::Stats;
use crate::failure::Failure;

/// The blackhole discards content as it comes (src/sink): nothing is kept.
pub const KIND: Kind =
    Kind { name: "ringmx", promise: Promise::Nothing, install: "cargo build --release --workspace", find };

/// Where it writes its counters.
pub const STATS: &str = "stats.json";

/// Counters that must be 0.
const NEVER: [&str; 6] = [
    "messages_void",
    "connections_lost_in_transaction",
    "stale_completions",
    "accept_failures",
    "spool_failures",
    "spool_writes_hung",
];

#[derive(Debug)]
struct Ringmx {
    engine: Engine,
    shards: u16,
    options: Vec<String>,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    let Places(asked) = places;
    let engine = Engine::find(asked.ringmx.as_deref()).map_err(|failure| failure.to_string())?;
    let options = asked.ringmx_options.clone();
    if matches!(engine, Engine::Own) && !options.is_empty() {
        return Err("options are those of a program, which --ringmx or RINGMX_BIN names".to_owned().into());
    }
    Ok(Box::new(Ringmx { engine, shards: asked.shards, options }))
}

impl Ringmx {
    /// Whether its options say how many shards, which can be said once.
    fn says_shards(&self) -> bool {
        self.options.iter().any(|option| option.starts_with("--shards"))
    }
}

impl Contender for Ringmx {
    fn version(&self) -> String {
        let version = match &self.engine {
            Engine::Own => format!("ringmx {}, {}", env!("CARGO_PKG_VERSION"), self.engine.describe()),
            Engine::Program(program) => told(Command::new(program).arg("--version")).unwrap_or_default(),
        };
        let shards = match (self.says_shards(), self.shards) {
            (true, _) => String::new(),
            (false, 0) => ", a shard for each core".to_owned(),
            (false, shards) => format!(", --shards {shards}"),
        };
        let options: String = self.options.iter().map(|option| format!(" {option}")).collect();
        format!("{version}, its blackhole{shards}{options}")
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let mut command = self.engine.command()?;
        command.args(["127.0.0.1:0", "--stats-json"]).arg(home.directory.join(STATS));
        if !self.says_shards() {
            command.args(["--shards", &self.shards.to_string()]);
        }
        command.args(&self.options);
        Ok(command)
    }

    fn announces_itself(&self) -> bool {
        true
    }

    fn stop(&self, process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        stopped(process, home)?.total("messages").map(Some)
    }
}

/// Stops a ringmx, whichever it is; gives what it counted, of which nothing is wrong.
pub fn stopped(process: Process, home: &Home) -> Result<Stats, Failure> {
    process.signal(Signal::TERM);
    process.finish(PATIENCE)?;
    let stats = Stats::read(&home.directory.join(STATS))?;
    for name in NEVER {
        let count = stats.total(name)?;
        if count > 0 {
            return Err(Failure::Disagreement(format!("ringmx counted {name} {count}")));
        }
    }
    Ok(stats)
}
