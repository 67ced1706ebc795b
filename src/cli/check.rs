//! `--check`: what a configuration amounts to, or what is wrong with it.

use std::path::Path;

use ringmx::config::Plan;

use super::failure::Failure;
use super::{say, show};

/// Reads the configuration and shows it; nothing is started.
pub fn check(config: Option<&Path>) -> Result<(), Failure> {
    let plan = match config {
        Some(path) => Plan::load(path)?,
        None => Plan::embedded(),
    };
    say::out(&show::plan(&plan));
    say::out("The configuration is good.\n");
    Ok(())
}
