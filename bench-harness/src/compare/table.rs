//! What a comparison prints: with every absolute figure its machine, kernel, commit, scenario and durability.

use std::fmt::Write as _;

use ringmx::metrics::report::size;

use super::round::{Bench, Run, Spooled};
use super::scenario::{Contestant, Figure, Goal, Program, Scenario};
use crate::failure::Failure;
use crate::measure::machine;
use crate::measure::statistics::Spread;

/// Share of the machine's time above which other processes are said to disturb.
const NOISE_PERCENT: f64 = 5.0;

/// What is measured, on what.
pub fn heading(title: &str, bench: &Bench, contestants: &[Contestant]) -> String {
    let shards = match bench.shards {
        _ if contestants.iter().any(|contestant| contestant.shards.is_some()) => "as each row says".to_owned(),
        0 => "one for each core".to_owned(),
        shards => shards.to_string(),
    };
    format!(
        "{title}\n{}; shards {shards}\nmachine {}\ncommit {}, {}\n",
        durability(bench, contestants),
        machine::describe(),
        machine::commit(),
        bench.engine.describe(),
    )
}

/// What a 250 means, and on what.
fn durability(bench: &Bench, contestants: &[Contestant]) -> String {
    const NONE: &str = "durability none: mail is discarded, no disk";
    let Some(place) = &bench.place else { return NONE.to_owned() };
    let one_is = |program: Program| contestants.iter().any(|contestant| contestant.program == program);
    let mut text = "durability durable: what had its 250 is on the disk (O_DIRECT and RWF_DSYNC)".to_owned();
    if one_is(Program::Ringmx) {
        text.push_str("; of ringmx without disk none");
    }
    format!("{text}\ndisk {} ({})", place.directory.display(), place.file_system)
}

/// The figures: each contestant's runs, in their order.
pub fn figures(scenario: Scenario, contestants: &[Contestant], runs: &[Vec<Run>]) -> String {
    let mut text = absolute(scenario, contestants, runs);
    text.push('\n');
    match scenario {
        Scenario::P17 => match steady(&runs[0]) {
            Ok(rows) => text.push_str(&rows),
            // Names of counters are tested; this is for a ringmx of another age.
            Err(failure) => text.push_str(&format!("{failure}\n")),
        },
        _ => text.push_str(&ratios(scenario, contestants, runs)),
    }
    if scenario == Scenario::P18 {
        match turns(contestants, runs) {
            Ok(rows) => text.push_str(&rows),
            Err(failure) => text.push_str(&format!("{failure}\n")),
        }
    }
    text
}

/// Where P18's ratio comes from: a shard that wakes finds fewer messages when there are more shards.
fn turns(contestants: &[Contestant], runs: &[Vec<Run>]) -> Result<String, Failure> {
    let mut text = format!("\n{:<40} {:>26} {:>26}\n", "in the steady state", "messages of a turn", "CPU µs of a turn");
    for (contestant, runs) in contestants.iter().zip(runs) {
        let (mut messages, mut cpu) = (Vec::new(), Vec::new());
        for run in runs {
            let Some(counted) = &run.steady else { continue };
            let turns = counted.total("turns")?.max(1) as f64;
            messages.push(counted.total("messages")? as f64 / turns);
            cpu.push(run.cpu_us * counted.total("messages")? as f64 / turns);
        }
        if let (Some(messages), Some(cpu)) = (Spread::of(messages), Spread::of(cpu)) {
            let (messages, cpu) = (format!("{messages:.2}"), format!("{cpu:.2}"));
            let _ = writeln!(text, "{:<40} {messages:>26} {cpu:>26}", contestant.name());
        }
    }
    text.push_str(
        "Messages that cross shards: none. The shard that has accepted a connection hears and answers all that comes over it.\n",
    );
    Ok(text)
}

fn absolute(scenario: Scenario, contestants: &[Contestant], runs: &[Vec<Run>]) -> String {
    let mut text =
        format!("{:<40} {:>26} {:>28} {:>26}", "server", "CPU µs/message", "messages/s", "machine CPU µs/message");
    let columns = columns(scenario);
    for (name, _) in &columns {
        let _ = write!(text, " {name:>26}");
    }
    text.push('\n');
    for (contestant, runs) in contestants.iter().zip(runs) {
        let spread = |of: fn(&Run) -> f64| Spread::of(runs.iter().map(of));
        let (Some(cpu), Some(rate), Some(machine)) =
            (spread(|run| run.cpu_us), spread(|run| run.rate), spread(|run| run.machine_us))
        else {
            continue;
        };
        let (cpu, rate, machine) = (format!("{cpu:.2}"), format!("{rate:.0}"), format!("{machine:.2}"));
        // Writing to a string cannot fail.
        let _ = write!(text, "{:<40} {cpu:>26} {rate:>28} {machine:>26}", contestant.name());
        for (_, of) in &columns {
            let column = spread(*of).map_or(String::new(), |spread| format!("{spread:.0}"));
            let _ = write!(text, " {column:>26}");
        }
        text.push('\n');
    }
    text.push_str(&blocks(contestants, runs));
    text.push_str(&footing(runs));
    text
}

/// A name, and what it is of a run.
type Column = (&'static str, fn(&Run) -> f64);

/// What a scenario's goals are about beside what every table has.
fn columns(scenario: Scenario) -> Vec<Column> {
    let goals = scenario.goals();
    let has = |figure| goals.iter().any(|goal| goal.figure == figure);
    let mut columns: Vec<Column> = Vec::new();
    if has(Figure::Tail) {
        columns.push(("p99.9 end of data, µs", |run| run.tail_us));
    }
    if has(Figure::Median) {
        columns.push(("p50 end of data, µs", |run| run.median_us));
    }
    if has(Figure::Octets) {
        columns.push(("MB/s", |run| run.octets / 1e6));
    }
    columns
}

/// What those that write have written: a figure of the disk is good as far as its blocks are like these.
fn blocks(contestants: &[Contestant], runs: &[Vec<Run>]) -> String {
    let mut text = String::new();
    for (contestant, runs) in contestants.iter().zip(runs) {
        let spread = |of: fn(&Spooled) -> f64| {
            Spread::of(runs.iter().filter_map(|run| run.spool.as_ref()).map(of)).map(|spread| spread.median)
        };
        let (Some(octets), Some(messages)) = (
            spread(|spool| spool.octets as f64 / spool.blocks.max(1) as f64),
            spread(|spool| spool.messages as f64 / spool.blocks.max(1) as f64),
        ) else {
            continue;
        };
        let octets = size(octets as u64);
        let _ = write!(text, "{}: a block has {octets} and {messages:.1} messages", contestant.name());
        if let Some(delivered) = Spread::of(runs.iter().map(|run| 100.0 * run.delivered))
            && contestant.program == Program::Mx
        {
            let _ = write!(text, "; its sink had {delivered:.0} % of them when the last 250 came");
        }
        text.push('\n');
    }
    if contestants.iter().any(|contestant| contestant.program == Program::Disk) {
        text.push_str("disk ceiling: what is said of messages is said of blocks, and of the time of one write\n");
    }
    text
}

/// Where figures come from, and what disturbed them.
pub fn footing(runs: &[Vec<Run>]) -> String {
    let mut sources: Vec<String> = runs.iter().flatten().map(|run| run.source.to_string()).collect();
    sources.sort();
    sources.dedup();
    let mut text = format!("median (least–most); CPU of the server is user+system from {}\n", sources.join(" or "));
    if let Some(others) = Spread::of(runs.iter().flatten().map(|run| 100.0 * run.others)) {
        let noise = match others.median > NOISE_PERCENT {
            true => ": absolute figures are too high, and ratios wide",
            false => "",
        };
        let _ = writeln!(text, "other processes used {others:.0} % of all processors' time{noise}");
    }
    text
}

/// The ratio of pairs that a goal is about.
pub fn ratio(goal: &Goal, runs: &[Vec<Run>]) -> Option<Spread> {
    let figure = |run: &Run| match goal.figure {
        Figure::Cpu | Figure::CpuMore => run.cpu_us,
        Figure::Rate => run.rate,
        Figure::Octets => run.octets,
        Figure::Median => run.median_us,
        Figure::Tail => run.tail_us,
    };
    let values = |at: usize| runs[at].iter().map(figure).collect::<Vec<_>>();
    let (above, below) = (values(goal.above), values(goal.below));
    match goal.figure {
        Figure::CpuMore => Spread::of(above.iter().zip(&below).map(|(above, below)| above - below)),
        _ => Spread::of_ratios(&above, &below),
    }
}

fn ratios(scenario: Scenario, contestants: &[Contestant], runs: &[Vec<Run>]) -> String {
    let mut text = format!("{:<82} {:>20} {:>16} {:>16}\n", "ratio of pairs", "median", "goal", "stretch");
    for goal in &scenario.goals() {
        let Some(ratio) = ratio(goal, runs) else { continue };
        let (above, below) = (&contestants[goal.above], &contestants[goal.below]);
        // What is said of both is said once.
        let above = if above.remark == below.remark { above.program.name().to_owned() } else { above.name() };
        let name = format!("{above} {} {}: {}", goal.sign(), below.name(), goal.figure.name());
        let median = format!("{ratio:.2}");
        let _ = writeln!(
            text,
            "{name:<82} {median:>20} {:>16} {:>16}",
            verdict(goal, ratio.median, goal.goal),
            verdict(goal, ratio.median, goal.stretch)
        );
    }
    text
}

fn verdict(goal: &Goal, ratio: f64, bound: f64) -> String {
    let sign = match goal.figure {
        Figure::Cpu | Figure::CpuMore | Figure::Tail | Figure::Median => '≤',
        Figure::Rate | Figure::Octets => '≥',
    };
    format!("{sign} {bound:.2} {}", if goal.is_met(ratio, bound) { "met" } else { "missed" })
}

/// P17, from what ringmx counted between two looks in the steady state.
fn steady(runs: &[Run]) -> Result<String, Failure> {
    let spread = |above: &str, below: &str| -> Result<Spread, Failure> {
        let mut values = Vec::new();
        for stats in runs.iter().filter_map(|run| run.steady.as_ref()) {
            values.push(stats.total(above)? as f64 / stats.total(below)?.max(1) as f64);
        }
        Spread::of(values).ok_or_else(|| Failure::System("ringmx was not looked at".to_owned()))
    };
    let met = |value: f64, bound: f64| if value <= bound { "met" } else { "missed" };
    let mut text = String::new();
    let mut row = |name: &str, spread: Spread, goals: Option<(f64, f64)>| {
        let wanted = goals.map_or(String::new(), |(goal, stretch)| {
            let (first, second) = (met(spread.median, goal), met(spread.median, stretch));
            format!("goal ≤ {goal} {first}, stretch ≤ {stretch} {second}")
        });
        let _ = writeln!(text, "{name:<44} {:>28}  {wanted}", format!("{spread:.5}"));
    };
    row("copied octets of content, each message", spread("octets_copied_content", "messages")?, Some((0.0, 0.0)));
    row("copied for cut commands, each octet received", spread("octets_copied_commands", "octets_received")?, None);
    row("copied for pauses, each octet received", spread("octets_copied_paused", "octets_received")?, None);
    row("system calls, each message", spread("system_calls", "messages")?, Some((0.02, 0.01)));
    row("turns, each message", spread("turns", "messages")?, None);
    text.push_str("Allocations are not seen from outside: a test with a counting allocator has them.\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::processor::Source;

    fn run(cpu_us: f64, rate: f64) -> Run {
        Run {
            cpu_us,
            source: Source::Schedstat,
            machine_us: 2.0 * cpu_us,
            others: 0.25,
            rate,
            octets: 4096.0 * rate,
            tail_us: 0.0,
            median_us: 0.0,
            spool: None,
            delivered: 1.0,
            steady: None,
        }
    }

    #[test]
    fn what_the_disk_costs_is_a_difference() {
        let runs =
            [vec![run(1.5, 1.0), run(1.7, 1.0), run(1.2, 1.0)], vec![run(0.5, 1.0), run(1.1, 1.0), run(0.5, 1.0)]];
        let text = figures(Scenario::P8, &Scenario::P8.contestants(), &runs);
        for expected in ["ringmx with disk − ringmx: CPU µs/message", "0.70 (0.60–1.00)", "≤ 1.00 met", "≤ 0.50 missed"]
        {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn goals_are_judged_by_the_median_of_pairs() {
        let runs = [
            vec![run(12.0, 10_000.0), run(13.0, 9_000.0), run(11.5, 11_000.0)],
            vec![run(10.0, 12_000.0), run(10.0, 12_000.0), run(10.0, 12_000.0)],
            vec![run(20.0, 10_000.0), run(20.0, 10_000.0), run(20.0, 10_000.0)],
        ];
        let text = figures(Scenario::P4, &Scenario::P4.contestants(), &runs);
        for expected in [
            "12.00 (11.50–13.00)",
            "1.20 (1.15–1.30)",
            "≤ 1.25 met",
            "≤ 1.10 missed",
            "0.60 (0.57–0.65)",
            "≤ 0.65 met",
            "≤ 0.56 missed",
            "≥ 1.00 met",
            "≥ 1.10 missed",
            "schedstat",
            "other processes used 25 (25–25) %",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }
}
