//! Comparisons in one run: servers in turn, A B C A B C …, the same load for each, ratios within each round.
//!
//! `scenario` says what is compared and what PERFORMANCE.md wants of it · `server` starts and stops the servers as children ·
//! `traffic` loads one · `round` measures one run and checks both ledgers · `stats` reads what ringmx counted · `table` prints.
//!
//! Each run has a server of its own, which gets a small load before its account is opened, so that its memory is touched.

mod process;
mod round;
pub mod scenario;
mod server;
pub mod stats;
mod table;
mod traffic;

use std::path::PathBuf;

use crate::arguments::CompareArguments;
use crate::failure::Failure;
use crate::measure::machine;
use round::{Bench, Run};

/// The command `compare`.
pub fn run(options: &CompareArguments) -> Result<(), Failure> {
    let scenario = options.scenario;
    let bench = Bench { scenario, shards: options.shards, ringmx: find_ringmx(options.ringmx.clone())? };
    print!("{}", table::heading(&bench, &machine::describe(), &machine::commit()));
    let (rounds, messages) = match options.small {
        true => (1, scenario.messages_small()),
        false => (options.pairs, warm_up(&bench, options.seconds)?),
    };
    let mut runs: Vec<Vec<Run>> = scenario.contestants().iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (contestant, runs) in scenario.contestants().iter().zip(&mut runs) {
            runs.push(bench.run(*contestant, messages)?);
        }
    }
    println!("{rounds} rounds of {messages} messages; both sides' ledgers agree in every run\n");
    print!("{}", table::figures(scenario, &runs));
    if options.small {
        println!("\nA small run checks that both sides agree; its figures mean nothing.");
    }
    Ok(())
}

/// A round that does not count; gives the messages with which ringmx takes so long.
fn warm_up(bench: &Bench, seconds: f64) -> Result<u64, Failure> {
    let messages = bench.scenario.messages_of_warm_up();
    let mut rate = 0.0;
    for contestant in bench.scenario.contestants().iter().rev() {
        rate = bench.run(*contestant, messages)?.rate;
    }
    Ok(bench.scenario.messages_for(rate, seconds))
}

/// The ringmx to measure.
fn find_ringmx(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("ringmx"));
    let path = named.or_else(|| std::env::var_os("RINGMX_BIN").map(PathBuf::from)).or_else(beside);
    match path {
        Some(path) if path.is_file() => Ok(path),
        other => Err(Failure::Unavailable(format!(
            "there is no ringmx at {}: build it (cargo build --release), or name it with --ringmx or RINGMX_BIN",
            other.unwrap_or_default().display()
        ))),
    }
}
