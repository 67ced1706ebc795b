//! `compare servers`: the mail servers that are installed, in turn, under the same load.
//!
//! `kind` has a file for each server · `tree` is a server with all its processes · `load` is our generator as a child ·
//! `run` is one run of one server, `table` what is said of all of them · `dialogue` says a few words to a server.
//!
//! *Invariants*: a server has a configuration, a queue and a log of its own in a directory that goes, and so do its processes,
//! whatever happens. A run in which a message was refused, or not counted as it was sent, has no figure. Ratios are taken only
//! of servers that promise the same.

pub mod arguments;
mod dialogue;
mod kind;
mod load;
mod run;
mod table;
mod tree;

use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::statfs;

use crate::failure::Failure;
use crate::measure::machine;
use arguments::ServersArguments;
use kind::{Contender, Kind, Lack, Places};
use run::{Amount, Run};

/// How long a run of the round that does not count lasts, in s.
const WARM_UP_SECONDS: f64 = 0.7;

/// Of statfs(2): file systems that are in memory.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A server that runs.
#[derive(Debug)]
struct Entrant {
    kind: &'static Kind,
    contender: Box<dyn Contender>,
}

/// A server that does not.
#[derive(Debug)]
struct LeftOut {
    kind: &'static Kind,
    lack: Lack,
}

/// The command `compare servers`.
pub fn run(asked: &ServersArguments) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without this nobody would end the servers.
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(Failure::while_doing("cannot listen for signals"))?;
    }
    let compared = compare(asked, &interrupted);
    show("");
    compared.map_err(|failure| match interrupted.load(Ordering::Relaxed) {
        true => Failure::Interrupted,
        false => failure,
    })
}

fn compare(asked: &ServersArguments, interrupted: &AtomicBool) -> Result<(), Failure> {
    let (entrants, left_out) = muster(asked)?;
    let directory = asked.directory.clone().unwrap_or_else(std::env::temp_dir);
    let is_disk = is_on_disk(&directory)?;
    let disk =
        format!("{}, {}", directory.display(), if is_disk { "on a disk" } else { "IN MEMORY: nothing is durable" });
    print!("{}", table::heading(asked, &entrants, &left_out, &disk, &machine::describe(), &machine::commit()));

    let measure = |entrant: &Entrant, amount: Amount, round: &str| -> Result<Run, Failure> {
        show(&format!("{round}: {}", entrant.kind.name));
        run::run(asked, entrant.kind, entrant.contender.as_ref(), amount, interrupted)
    };
    // A round that does not count gives the messages of the others: each server is to be loaded for as long.
    let mut amounts = Vec::new();
    for entrant in &entrants {
        amounts.push(match asked.small {
            true => Amount::small(asked),
            false => {
                let rate = measure(entrant, Amount::Seconds(WARM_UP_SECONDS), "warm-up")?.rate;
                Amount::Messages(Amount::at(asked, rate, asked.seconds))
            }
        });
    }
    let rounds = if asked.small { 1 } else { asked.pairs };
    let mut rows: Vec<table::Row> = entrants.iter().map(|entrant| (entrant.kind, Vec::new())).collect();
    for round in 1..=rounds {
        for ((entrant, amount), (_, runs)) in entrants.iter().zip(&amounts).zip(&mut rows) {
            runs.push(measure(entrant, *amount, &format!("round {round} of {rounds}"))?);
        }
    }
    show("");
    match asked.small {
        true => println!("one small round; every message was accepted\n"),
        false => {
            println!(
                "{rounds} rounds; each loaded each server for about {} s; every message was accepted\n",
                asked.seconds
            );
        }
    }
    print!("{}", table::figures(&rows, is_disk));
    if asked.small {
        println!("\nA small run checks that both sides agree; its figures mean nothing.");
    }
    Ok(())
}

/// Looks for the servers. One that was asked for by its name has to be there.
fn muster(asked: &ServersArguments) -> Result<(Vec<Entrant>, Vec<LeftOut>), Failure> {
    let is_asked = |kind: &&&Kind| asked.servers.is_empty() || asked.servers.contains(*kind);
    let (mut entrants, mut left_out) = (Vec::new(), Vec::new());
    for kind in kind::ALL.iter().filter(is_asked) {
        let found = (kind.find)(&Places(asked)).and_then(|contender| match contender.cannot(asked.load) {
            Some(why) => Err(Lack::Unusable(why.to_owned())),
            None => Ok(contender),
        });
        match found {
            Ok(contender) => entrants.push(Entrant { kind, contender }),
            Err(lack) => left_out.push(LeftOut { kind, lack }),
        }
    }
    match asked.servers.is_empty() || left_out.is_empty() {
        true => Ok((entrants, left_out)),
        false => {
            let missing = left_out.iter().map(|LeftOut { kind, lack }| format!("{}: {}", kind.name, lack.words(kind)));
            Err(Failure::Unavailable(missing.collect::<Vec<_>>().join("\n")))
        }
    }
}

fn is_on_disk(directory: &Path) -> Result<bool, Failure> {
    let status = statfs(directory).map_err(Failure::while_doing(format!("cannot look at {}", directory.display())))?;
    Ok(!IN_MEMORY.contains(&(status.f_type as u64)))
}

/// One line for somebody who looks on, over the one before.
fn show(text: &str) {
    let mut errors = std::io::stderr();
    if errors.is_terminal() {
        // Nobody may be left to look on.
        let _ = write!(errors, "\r\x1b[K{text}");
        let _ = errors.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_no_disk() {
        assert!(!is_on_disk(Path::new("/dev/shm")).unwrap() || !Path::new("/dev/shm").is_dir());
        assert!(is_on_disk(Path::new("/nowhere/at/all")).is_err());
    }
}
