//! Comparisons in one run: servers in turn, A B C A B C …, the same load for each, ratios within each round.
//!
//! `scenario` says what is compared and what PERFORMANCE.md wants of it · `server` starts and stops the servers as children
//! (`own` is the engine as one) · `traffic` loads one · `round` measures one run and checks both ledgers · `stats` reads what
//! ringmx counted · `table` prints.
//!
//! `servers` compares the mail servers that are installed, and stands for itself.
//!
//! Each run has a server of its own, which gets a small load before its account is opened, so that its memory is touched.

pub mod own;
mod process;
pub mod round;
pub mod scenario;
pub mod server;
pub mod servers;
pub mod stats;
pub mod table;
pub mod traffic;

use crate::arguments::CompareArguments;
use crate::failure::Failure;
use crate::idle;
use crate::measure::progress::Progress;
use round::{Bench, Run};
use scenario::{Contestant, Scenario};
use server::Engine;
use servers::arguments::{CompareCommand, Other};
use traffic::{Pace, Traffic};

/// Messages a second of a small run in an open loop.
const RATE_SMALL: f64 = 2_000.0;

/// The command `compare`.
pub fn run(command: &CompareCommand) -> Result<(), Failure> {
    match (&command.other, &command.scenario) {
        (Some(Other::Servers(options)), _) => servers::run(options),
        (None, Some(options)) => run_scenario(options),
        (None, None) => Err(Failure::Usage("nothing is said to be compared".to_owned())),
    }
}

fn run_scenario(options: &CompareArguments) -> Result<(), Failure> {
    let scenario = options.scenario;
    let engine = Engine::find(options.ringmx.as_deref())?;
    let bench = Bench { engine, shards: options.shards, looks: scenario == Scenario::P17 };
    if scenario == Scenario::P10 {
        return idle::compare(&bench, options);
    }
    print!("{}", table::heading(&format!("{}: {}", scenario.name(), scenario.title()), &bench));
    let contestants = scenario.contestants();
    let (rounds, seconds) = if options.small { (1, None) } else { (options.pairs, Some(options.seconds)) };
    let runs = in_turn(&bench, &contestants, rounds, seconds, &mut Progress::new())?;
    println!("{rounds} rounds; both sides' ledgers agree in every run\n");
    print!("{}", table::figures(scenario, &contestants, &runs));
    if options.small {
        println!("\nA small run checks that both sides agree; its figures mean nothing.");
    }
    Ok(())
}

/// All contestants in turn, so many rounds, about so many seconds each; without those in their small size. Gives the runs of
/// each.
pub fn in_turn(
    bench: &Bench,
    contestants: &[Contestant],
    rounds: u64,
    seconds: Option<f64>,
    progress: &mut Progress,
) -> Result<Vec<Vec<Run>>, Failure> {
    progress.expect((contestants.len() as u64) * (rounds + u64::from(seconds.is_some())));
    let amounts = match seconds {
        None => contestants.iter().map(Amount::small).collect(),
        Some(seconds) => warm_up(bench, contestants, seconds, progress)?,
    };
    let mut runs: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for ((contestant, amount), runs) in contestants.iter().zip(&amounts).zip(&mut runs) {
            progress.step(&format!("round {round} of {rounds}: {}", contestant.name()));
            runs.push(bench.run(contestant, amount.messages, amount.rate)?);
        }
    }
    progress.clear();
    Ok(runs)
}

/// What a contestant gets in each round.
#[derive(Clone, Copy, Debug)]
struct Amount {
    messages: u64,
    rate: Option<f64>,
}

impl Amount {
    fn small(contestant: &Contestant) -> Self {
        Self { messages: contestant.messages_small, rate: share(contestant).map(|_| RATE_SMALL) }
    }
}

/// Of an open loop.
fn share(contestant: &Contestant) -> Option<f64> {
    match contestant.traffic {
        Traffic::Run { pace: Pace::OfHighest(share), .. } => Some(share),
        _ => None,
    }
}

/// A round that does not count, in closed loops. Contestants with the same load get the same amount, by the slowest of them.
fn warm_up(
    bench: &Bench,
    contestants: &[Contestant],
    seconds: f64,
    progress: &mut Progress,
) -> Result<Vec<Amount>, Failure> {
    let mut rates = Vec::new();
    for contestant in contestants {
        progress.step(&format!("warm-up: {}", contestant.name()));
        rates.push(bench.run(contestant, contestant.messages_of_warm_up(), None)?.rate);
    }
    let amount = |contestant: &Contestant| {
        let alike = contestants.iter().zip(&rates).filter(|(other, _)| other.traffic == contestant.traffic);
        let slowest = alike.map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
        let rate = share(contestant).map(|share| share * slowest);
        Amount { messages: contestant.messages_for(rate.unwrap_or(slowest), seconds), rate }
    };
    Ok(contestants.iter().map(amount).collect())
}
