//! What a comparison prints: with every absolute figure its machine, kernel, commit, scenario and durability.

use std::fmt::Write as _;

use super::round::{Bench, Run};
use super::scenario::{Contestant, Figure, Goal, Scenario};
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
        "{title}\ndurability none: mail is discarded, no disk; shards {shards}\nmachine {}\ncommit {}, {}\n",
        machine::describe(),
        machine::commit(),
        bench.engine.describe(),
    )
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
    let has_tail = scenario.goals().iter().any(|goal| goal.figure == Figure::Tail);
    if has_tail {
        text.push_str(&format!(" {:>26}", "p99.9 end of data, µs"));
    }
    text.push('\n');
    for (contestant, runs) in contestants.iter().zip(runs) {
        let spread = |of: fn(&Run) -> f64| Spread::of(runs.iter().map(of));
        let (Some(cpu), Some(rate), Some(machine), Some(tail)) =
            (spread(|run| run.cpu_us), spread(|run| run.rate), spread(|run| run.machine_us), spread(|run| run.tail_us))
        else {
            continue;
        };
        let (cpu, rate, machine) = (format!("{cpu:.2}"), format!("{rate:.0}"), format!("{machine:.2}"));
        // Writing to a string cannot fail.
        let _ = write!(text, "{:<40} {cpu:>26} {rate:>28} {machine:>26}", contestant.name());
        let _ = if has_tail { writeln!(text, " {:>26}", format!("{tail:.0}")) } else { writeln!(text) };
    }
    text.push_str(&footing(runs));
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
        Figure::Cpu => run.cpu_us,
        Figure::Rate => run.rate,
        Figure::Tail => run.tail_us,
    };
    let values = |at: usize| runs[at].iter().map(figure).collect::<Vec<_>>();
    Spread::of_ratios(&values(goal.above), &values(goal.below))
}

fn ratios(scenario: Scenario, contestants: &[Contestant], runs: &[Vec<Run>]) -> String {
    let mut text = format!("{:<82} {:>20} {:>16} {:>16}\n", "ratio of pairs", "median", "goal", "stretch");
    for goal in &scenario.goals() {
        let Some(ratio) = ratio(goal, runs) else { continue };
        let (above, below) = (&contestants[goal.above], &contestants[goal.below]);
        // What is said of both is said once.
        let above = if above.remark == below.remark { above.program.name().to_owned() } else { above.name() };
        let name = format!("{above} ÷ {}: {}", below.name(), goal.figure.name());
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
        Figure::Cpu | Figure::Tail => '≤',
        Figure::Rate => '≥',
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
            tail_us: 0.0,
            steady: None,
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
