//! This program's `floor`: no server, but what the machine can do one command at a time.

use std::process::Command;

use serde_json::Value;

use super::{Contender, Home, Kind, Lack, PATIENCE, Places, Promise};
use crate::compare::process::Process;
use crate::failure::Failure;

/// It answers by rote.
pub const KIND: Kind = Kind { name: "floor", promise: Promise::Nothing, install: "it is in this program", find };

#[derive(Debug)]
struct Floor {
    shards: u16,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    Ok(Box::new(Floor { shards: places.0.shards }))
}

impl Contender for Floor {
    fn version(&self) -> String {
        "the engine's reactor without a parser: a ceiling, no server".to_owned()
    }

    fn prepare(&self, _home: &Home) -> Result<Command, Failure> {
        let this = std::env::current_exe().map_err(Failure::while_doing("cannot find this program"))?;
        let mut command = Command::new(this);
        command.args(["floor", "127.0.0.1:0", "--shards", &self.shards.to_string()]);
        Ok(command)
    }

    fn announces_itself(&self) -> bool {
        true
    }

    fn stop(&self, mut process: Process, _home: &Home) -> Result<Option<u64>, Failure> {
        process.end_input();
        let lines = process.finish(PATIENCE)?;
        let json = lines.iter().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let messages = json.and_then(|json| json["messages"].as_u64());
        messages.map(Some).ok_or_else(|| Failure::System("the floor has not told what it counted".to_owned()))
    }
}
