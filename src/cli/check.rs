//! `--check`: what a configuration amounts to, or what is wrong with it.

use std::path::Path;

use super::failure::Failure;
use super::{read, say, show};

/// Reads the configuration and shows it; nothing is started.
pub fn check(config: Option<&Path>) -> Result<(), Failure> {
    let plan = read::plan(config)?;
    say::out(&show::plan(&plan));
    say::out("The configuration is good.\n");
    Ok(())
}
