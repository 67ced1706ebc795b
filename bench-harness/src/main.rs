//! The benchmark instrument: ceilings to measure against, a load to measure with, comparisons in one run.
//!
//! `measure` reads the kernel's accounts and does the arithmetic · `ceiling` is what the machine can do when nothing is
//! parsed: floor and byte sink, on the engine's own reactor; `disk-ceiling` what a disk can do · `generate` is the load generator,
//! and makes every load · `through` follows its messages through a server into a sink of its own · `compare` starts servers in
//! turn, loads each, checks both ledgers and prints ratios · `canonical` is what runs without a command · `idle` holds
//! connections that say nothing · `deferred` has an MX whose sink refuses some of its mail for ever.
//!
//! *Invariants*: loopback only, but for `run` and `through`; every wait has a limit; a run whose ledgers disagree has no figure
//! (exit status 3).

// One file lifts it: the writer of the disk ceiling. In tests another does, to count allocations.
#![deny(unsafe_code)]

#[cfg(test)]
mod allocations;
mod arguments;
mod canonical;
mod ceiling;
mod compare;
mod deferred;
mod failure;
mod generate;
mod idle;
mod measure;
mod through;

use std::process::ExitCode;

use arguments::{Command, Misuse};
use failure::Failure;

/// As ringmx has it, so that the engine within is the same.
#[cfg(not(test))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(Misuse::Arguments(error)) => {
            // Help goes to standard output; nobody is left to hear that it could not be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS };
        }
        Err(Misuse::Scenario(failure)) => return failure.report(),
    };
    let done = match arguments.command {
        Some(command) => go(command),
        None => canonical::run(&arguments.canonical),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn go(command: Command) -> Result<(), Failure> {
    match command {
        Command::Floor(options) => ceiling::floor::serve(&options),
        Command::ByteSink(options) => ceiling::byte_sink::serve(&options),
        Command::DiskCeiling(options) => ceiling::disk::run(&options),
        Command::Run(options) => generate::run(&options),
        Command::Through(options) => through::run(&options),
        Command::Merge(options) => generate::merge::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Idle(options) => idle::run(&options),
        Command::Deferred(options) => deferred::run(&options),
        Command::Engine(options) => compare::own::serve(&options),
    }
}
