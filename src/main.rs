//! The program: arguments → plan → engine → watch it until it ends.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser;

use cli::arguments::{Arguments, Command};
use cli::failure::Failure;
use cli::{check, prepare, run, sink, spool};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = Arguments::try_parse().map_err(Failure::from).and_then(|arguments| go(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn go(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.check {
        return check::check(arguments.config.as_deref());
    }
    prepare::raise_limits();
    match &arguments.command {
        Some(Command::Sink(options)) => sink::sink(options),
        Some(Command::Spool(options)) => spool::spool(options),
        None => run::serve(arguments),
    }
}
