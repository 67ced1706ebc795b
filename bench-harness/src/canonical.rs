//! The canonical workload: what is run when nothing is asked for. The engine's blackhole under three loads, each beside its
//! ceiling; then durable mail, beside what the disk takes and what ringmx does without one; in about a minute.
//!
//! *Does not* judge: the goals of PERFORMANCE.md are `compare`'s.

use std::fmt::Write as _;
use std::time::Duration;

use ringmx::metrics::report::{grouped, size, time};

use crate::arguments::CanonicalArguments;
use crate::compare::round::{Bench, Run};
use crate::compare::scenario::{CHUNKS, Contestant, Figure, Goal, NO_PIPELINING, Program, ROUND_TRIP, Scenario, cpu};
use crate::compare::server::Engine;
use crate::compare::traffic::{Pace, Traffic};
use crate::compare::{DISK_SPAN_SMALL, Effort, in_turn, table};
use crate::failure::Failure;
use crate::generate::load::Load;
use crate::measure::progress::Progress;
use crate::measure::statistics::Spread;

const ROUNDS: u64 = 5;
const SECONDS: f64 = 0.6;
/// After which no further round begins, without disk and with one.
const BUDGET: Duration = Duration::from_secs(22);
const BUDGET_DURABLE: Duration = Duration::from_secs(36);

/// A load, and what it is measured against.
struct Row {
    name: &'static str,
    words: &'static str,
    ceiling: Program,
    messages_small: u64,
}

/// Nothing is written in these.
const ROWS: [Row; 3] = [
    Row {
        name: "one round trip for each message (DATA)",
        words: ROUND_TRIP,
        ceiling: Program::ByteSink,
        messages_small: 1_000,
    },
    Row { name: "pipelined (BDAT, 32 in flight)", words: CHUNKS, ceiling: Program::ByteSink, messages_small: 6_400 },
    Row {
        name: "each command a round trip (DATA)",
        words: NO_PIPELINING,
        ceiling: Program::Floor,
        messages_small: 500,
    },
];

/// What is durable, as PERFORMANCE.md has it: the first goal of each, and in words what it is about.
const DURABLE: [(Scenario, &str); 5] = [
    (Scenario::P6, "MX, pipelined (BDAT, 32 in flight)"),
    (Scenario::P7, "MX, one client, one message at a time"),
    (Scenario::P8, "blackhole with disk, pipelined"),
    (Scenario::P5, "MX, each command a round trip, 200 connections"),
    (Scenario::P21, "MX, 16 shards"),
];

/// Without a command.
pub fn run(options: &CanonicalArguments) -> Result<(), Failure> {
    let engine = Engine::find(options.ringmx.as_deref())?;
    let contestants: Vec<Contestant> = ROWS.iter().flat_map(Row::contestants).collect();
    let bench = Bench::new(engine.clone(), options.shards, &contestants, None, Duration::ZERO)?;
    let title = "The canonical workload: 20 connections, messages of 4 KiB, on loopback";
    print!("{}", table::heading(title, &bench, &contestants));
    let effort = match options.small {
        true => Effort::small(),
        false => Effort { rounds: ROUNDS, seconds: Some(SECONDS), budget: Some(BUDGET) },
    };
    let mut progress = Progress::new();
    let runs = in_turn(&bench, &contestants, effort, &mut progress)?;
    println!("{} rounds in turn; both sides' ledgers agree in every run\n", runs[0].len());
    print!("{}", text(&runs));
    println!("{}", table::footing(&runs).trim_end());
    println!();
    durable(engine, options, Effort { budget: effort.budget.map(|_| BUDGET_DURABLE), ..effort })?;
    if options.small {
        println!("\nA small run checks that both sides agree; its figures mean nothing.");
    }
    Ok(())
}

impl Row {
    fn contestants(&self) -> [Contestant; 2] {
        let traffic = Traffic::Run { load: Load::new(self.words), pace: Pace::Closed };
        [Program::Ringmx, self.ceiling]
            .map(|program| Contestant { remark: self.name, ..Contestant::new(program, &traffic, self.messages_small) })
    }
}

fn text(runs: &[Vec<Run>]) -> String {
    let mut text = format!(
        "{:<40} {:>12} {:>16} {:>10} {:>16} {:>20}\n",
        "ringmx", "messages/s", "CPU µs/message", "ceiling", "CPU µs/message", "ringmx ÷ ceiling"
    );
    for (number, row) in ROWS.iter().enumerate() {
        let (above, below) = (2 * number, 2 * number + 1);
        let spread = |at: usize, of: fn(&Run) -> f64| Spread::of(runs[at].iter().map(of)).map(|spread| spread.median);
        let (Some(rate), Some(own), Some(ceiling), Some(ratio)) = (
            spread(above, |run| run.rate),
            spread(above, |run| run.cpu_us),
            spread(below, |run| run.cpu_us),
            table::ratio(&cpu(above, below, 0.0, 0.0), runs),
        ) else {
            continue;
        };
        let (rate, ratio) = (grouped(rate as u64), format!("{ratio:.2}"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<40} {rate:>12} {own:>16.2} {:>10} {ceiling:>16.2} {ratio:>20}",
            row.name,
            row.ceiling.name()
        );
    }
    text
}

/// What PERFORMANCE.md wants to know of durable mail. Where there is no disk the rest is as good without it.
fn durable(engine: Engine, options: &CanonicalArguments, effort: Effort) -> Result<(), Failure> {
    let span = if options.small { DISK_SPAN_SMALL } else { Duration::from_secs_f64(SECONDS) };
    let mut contestants: Vec<Contestant> = Vec::new();
    let mut goals = Vec::new();
    for (scenario, words) in DURABLE {
        // Only those that the goal is about.
        let (goal, all) = (scenario.goals()[0], scenario.contestants());
        let at = contestants.len();
        contestants.extend([all[goal.above].clone(), all[goal.below].clone()]);
        goals.push((words, Goal { above: at, below: at + 1, ..goal }));
    }
    let bench = match Bench::new(engine, options.shards, &contestants, options.data_dir.as_deref(), span) {
        Ok(bench) => bench,
        Err(Failure::Unavailable(text)) if options.data_dir.is_none() => {
            println!("durable: none: {text}");
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    if let Some(place) = &bench.place {
        println!(
            "durable: what had its 250 is on the disk of {} ({}; O_DIRECT and RWF_DSYNC)",
            place.directory.display(),
            place.file_system
        );
    }
    let runs = in_turn(&bench, &contestants, effort, &mut Progress::new())?;
    println!("{} rounds in turn; both sides' ledgers and the spool's counters agree in every run\n", runs[0].len());
    println!("{:<48} {:>18}  {:<52} {:>18} {:>20}", "durable", "", "beside", "", "");
    for (words, goal) in goals {
        let (above, below) = (&runs[goal.above], &runs[goal.below]);
        let (Some(ratio), Some(own), Some(other)) =
            (table::ratio(&goal, &runs), figure(&goal, above), figure(&goal, below))
        else {
            continue;
        };
        let beside = &contestants[goal.below];
        let name = format!("{}, {}", beside.name(), beside.traffic.title());
        let name: String = if beside.program == Program::Disk { name } else { beside.name() };
        println!("{words:<48} {own:>18}  {} {name:<50} {other:>18} {:>20}", goal.sign(), format!("{ratio:.2}"));
    }
    println!("{}", table::footing(&runs).trim_end());
    Ok(())
}

/// The median of what a goal is about, in words.
fn figure(goal: &Goal, runs: &[Run]) -> Option<String> {
    let median = |of: fn(&Run) -> f64| Spread::of(runs.iter().map(of)).map(|spread| spread.median);
    Some(match goal.figure {
        Figure::Cpu | Figure::CpuMore => format!("{:.2} µs/message", median(|run| run.cpu_us)?),
        Figure::Rate => format!("{}/s", grouped(median(|run| run.rate)? as u64)),
        Figure::Octets => format!("{}/s", size(median(|run| run.octets)? as u64)),
        Figure::Median => format!("p50 {}", time((1000.0 * median(|run| run.median_us)?) as u64)),
        Figure::Tail => format!("p99.9 {}", time((1000.0 * median(|run| run.tail_us)?) as u64)),
    })
}
