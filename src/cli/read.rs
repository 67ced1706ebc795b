//! The plan to run: from a file, or the embedded one.

use std::path::Path;

use ringmx::config::{Plan, SinkKind};

use super::failure::Failure;

/// Reads it. What only a program can run that embeds the library is refused.
pub fn plan(config: Option<&Path>) -> Result<Plan, Failure> {
    let plan = match config {
        Some(path) => Plan::load(path)?,
        None => Plan::embedded(),
    };
    match plan.sinks().iter().find(|sink| sink.kind == SinkKind::Program) {
        Some(sink) => Err(Failure::NoProgram { sink: sink.name.clone() }),
        None => Ok(plan),
    }
}
