//! The canonical workload: what is run when nothing is asked for. The engine's blackhole under three loads, each beside its
//! ceiling, and what the disk of the current directory takes; in less than a minute.
//!
//! *Does not* judge: the goals of PERFORMANCE.md are `compare`'s.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ringmx::metrics::report::{grouped, size, time};

use crate::arguments::CanonicalArguments;
use crate::ceiling::disk::{Bed, Shape, binary};
use crate::compare::round::{Bench, Run};
use crate::compare::scenario::{CHUNKS, Contestant, NO_PIPELINING, Program, ROUND_TRIP, cpu};
use crate::compare::server::Engine;
use crate::compare::traffic::{Pace, Traffic};
use crate::compare::{Effort, in_turn, table};
use crate::failure::Failure;
use crate::generate::load::Load;
use crate::measure::progress::Progress;
use crate::measure::statistics::Spread;

const ROUNDS: u64 = 5;
const SECONDS: f64 = 0.9;
/// After which no further round begins.
const BUDGET: Duration = Duration::from_secs(42);

/// As the spool will write.
const BLOCKS: Shape = Shape { block_octets: 64 << 10, depth: 4 };
const DISK_OCTETS: u64 = 64 << 20;
const DISK_SPAN: Duration = Duration::from_secs(2);
const DISK_SPAN_SMALL: Duration = Duration::from_millis(20);

/// A load, and what it is measured against.
struct Row {
    name: &'static str,
    words: &'static str,
    ceiling: Program,
    messages_small: u64,
}

/// Durable ones will stand behind these, with the disk ceiling below them: `ringmx sink --disk` is not there yet.
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

/// Without a command.
pub fn run(options: &CanonicalArguments) -> Result<(), Failure> {
    let engine = Engine::find(options.ringmx.as_deref())?;
    let bench = Bench { engine, shards: options.shards, looks: false };
    let contestants: Vec<Contestant> = ROWS.iter().flat_map(Row::contestants).collect();
    let title = "The canonical workload: 20 connections, messages of 4 KiB, on loopback";
    print!("{}", table::heading(title, &bench, &contestants));
    let effort = match options.small {
        true => Effort::small(),
        false => Effort { rounds: ROUNDS, seconds: Some(SECONDS), budget: Some(BUDGET) },
    };
    let mut progress = Progress::new();
    progress.expect(1);
    progress.step("the disk of this directory");
    let disk = disk(if options.small { DISK_SPAN_SMALL } else { DISK_SPAN });
    let runs = in_turn(&bench, &contestants, effort, &mut progress)?;
    println!("{} rounds in turn; both sides' ledgers agree in every run\n", runs[0].len());
    print!("{}", text(&runs));
    println!("{}", table::footing(&runs).trim_end());
    println!("\ndurable: not in this build yet, so nothing above has written to a disk");
    match disk {
        Ok(words) => println!("{words}"),
        // The rest is as good without it.
        Err(failure) => println!("disk ceiling of this directory: none: {failure}"),
    }
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

/// What durable mail could at best reach here.
fn disk(span: Duration) -> Result<String, Failure> {
    let bed = Bed::prepare(Path::new("."), DISK_OCTETS, true)?;
    let speed = bed.write(BLOCKS, span)?;
    Ok(format!(
        "disk ceiling of {} ({}): {}/s, {} writes/s of {}, {} in flight, {}; p50 {}, p99 {}",
        bed.place.directory.display(),
        bed.place.file_system,
        size(speed.octets as u64),
        grouped(speed.writes as u64),
        binary(BLOCKS.block_octets),
        BLOCKS.depth,
        bed.way(),
        time(speed.p50_ns),
        time(speed.p99_ns),
    ))
}
