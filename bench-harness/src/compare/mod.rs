//! Comparisons in one run: servers in turn, A B C A B C …, the same load for each, ratios within each round.
//!
//! `scenario` says what is compared and what PERFORMANCE.md wants of it · `server` starts and stops the servers as children
//! (`own` is the engine as one) · `traffic` loads one · `round` measures one run and checks both ledgers · `stats` reads what
//! ringmx counted · `home` is where servers write · `table` prints.
//!
//! `servers` compares the mail servers that are installed, and stands for itself.
//!
//! Each run has a server of its own, which gets a small load before its account is opened, so that its memory is touched.

pub mod home;
pub mod own;
mod process;
pub mod round;
pub mod scenario;
pub mod server;
pub mod servers;
pub mod stats;
pub mod table;
pub mod traffic;

use std::time::{Duration, Instant};

use crate::arguments::CompareArguments;
use crate::failure::Failure;
use crate::idle;
use crate::measure::progress::Progress;
use round::{Bench, Run};
use scenario::{ANY_LAG, Contestant, Scenario};
use server::Engine;
use servers::arguments::{CompareCommand, Other};
use traffic::{Pace, Rate, Traffic};

/// How long the disk is written to in a small run.
pub const DISK_SPAN_SMALL: Duration = Duration::from_millis(20);

/// Of a small run in an open loop, of which no figure is taken.
const RATE_SMALL: Rate = Rate { a_second: 2_000.0, lag_most: ANY_LAG };

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
    let contestants = scenario.contestants();
    let span = if options.small { DISK_SPAN_SMALL } else { Duration::from_secs_f64(options.seconds) };
    let bench = Bench::new(engine, options.shards, &contestants, options.data_dir.as_deref(), span)?;
    let bench = Bench { looks: scenario.looks_inside(), ..bench };
    if scenario == Scenario::P10 {
        return idle::compare(&bench, options);
    }
    let title = format!("{}: {}", scenario.name(), scenario.title());
    print!("{}", table::heading(&title, &bench, &contestants));
    let effort = match options.small {
        true => Effort::small(),
        false => Effort { rounds: options.pairs, seconds: Some(options.seconds), budget: None },
    };
    let runs = in_turn(&bench, &contestants, effort, &mut Progress::new())?;
    println!("{} rounds; both sides' ledgers agree in every run\n", effort.rounds);
    print!("{}", table::figures(scenario, &contestants, &runs));
    if options.small {
        println!("\nA small run checks that both sides agree; its figures mean nothing.");
    }
    Ok(())
}

/// How long a comparison may take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each contestant runs.
    pub rounds: u64,
    /// About how long each time; without it in the small size.
    pub seconds: Option<f64>,
    /// No round but the first begins later.
    pub budget: Option<Duration>,
}

impl Effort {
    /// For the test suite.
    pub fn small() -> Self {
        Self { rounds: 1, seconds: None, budget: None }
    }
}

/// All contestants in turn. Gives the runs of each.
pub fn in_turn(
    bench: &Bench,
    contestants: &[Contestant],
    effort: Effort,
    progress: &mut Progress,
) -> Result<Vec<Vec<Run>>, Failure> {
    let Effort { rounds, seconds, budget } = effort;
    let began = Instant::now();
    progress.expect((contestants.len() as u64) * (rounds + u64::from(seconds.is_some())));
    let amounts = match seconds {
        None => contestants.iter().map(Amount::small).collect(),
        Some(seconds) => warm_up(bench, contestants, seconds, progress)?,
    };
    let mut runs: Vec<Vec<Run>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        if round > 1 && budget.is_some_and(|budget| began.elapsed() > budget) {
            break;
        }
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
    rate: Option<Rate>,
}

impl Amount {
    fn small(contestant: &Contestant) -> Self {
        Self { messages: contestant.messages_small, rate: paced(contestant, 1.0).map(|_| RATE_SMALL) }
    }
}

/// The rate of an open loop, by what is reached in a closed one.
fn paced(contestant: &Contestant, reached: f64) -> Option<Rate> {
    match contestant.traffic {
        Traffic::Run { pace: Pace::OfHighest { share, lag_most }, .. } => {
            Some(Rate { a_second: share * reached, lag_most })
        }
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
        let rate = paced(contestant, slowest);
        let reached = rate.map_or(slowest, |rate| rate.a_second);
        Amount { messages: contestant.messages_for(reached, seconds), rate }
    };
    Ok(contestants.iter().map(amount).collect())
}
