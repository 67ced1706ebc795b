//! What is told of a run: a table for people, JSON for programs, a line each second for both.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use hdrhistogram::Histogram;
use ringmx::metrics::report::{grouped, size, time};
use serde_json::{Value, json};

use super::figures::Figures;
use super::plan::{Loop, Plan};
use super::steps::Step;
use super::tally::{Counts, Timed, histogram};
use crate::failure::Failure;
use crate::measure::machine;

/// Shares that are shown.
pub const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The table.
pub fn table(figures: &mut Figures, ledger: &str, is_partial: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_table(&mut text, figures, ledger, is_partial);
    text
}

fn write_table(text: &mut String, figures: &mut Figures, ledger: &str, is_partial: bool) -> std::fmt::Result {
    let counts = figures.tally.counts;
    match &figures.gone {
        Some(why) => writeln!(text, "this report is partial: {why}")?,
        None if is_partial => writeln!(text, "interrupted: this report is partial")?,
        None => {}
    }
    for (name, value) in counts.each().into_iter().filter(|(name, value)| is_shown(name, *value)) {
        let value = if name.contains("octets") { size(value) } else { grouped(value) };
        writeln!(text, "{:<24}{value:>16}", name.replace('_', " "))?;
    }
    writeln!(text, "{:<24}{:>16}", "ledger", ledger)?;
    if figures.checksums_agree {
        writeln!(text, "{:<24}{:>16}", "checksums of content", "agree")?;
    }
    writeln!(text)?;
    match (&figures.void, &figures.saturated) {
        (Some(_), _) => writeln!(text, "NO FIGURE: client and server do not agree, or cannot be compared")?,
        (None, Some(why)) => writeln!(text, "NO FIGURE: the generator was saturated: {why}")?,
        (None, None) => write_figures(text, figures)?,
    }
    if figures.void.is_none() {
        write_steps(text, &figures.steps)?;
    }
    writeln!(text)?;
    let [q0, q1, q2, q3, q4] = QUANTILES.map(|(name, _)| name);
    writeln!(text, "{:<26}{:>12}{q0:>10}{q1:>10}{q2:>10}{q3:>10}{q4:>10}", "time", "count")?;
    for (what, name) in Timed::ALL {
        let is_open_only = matches!(what, Timed::Lag | Timed::OwnLag | Timed::EndOfData | Timed::Message);
        let times = figures.tally.histogram(what);
        if times.is_empty() || (is_open_only && !figures.is_open_loop) {
            continue;
        }
        write!(text, "{:<26}{:>12}", name.replace('_', " "), grouped(times.len()))?;
        for (_, share) in QUANTILES {
            write!(text, "{:>10}", time(times.value_at_quantile(share)))?;
        }
        writeln!(text)?;
    }
    writeln!(text)?;
    for (command, code, count) in figures.tally.replies() {
        writeln!(text, "{command:<16}{code:>8}{:>16}", grouped(count))?;
    }
    for warning in &figures.warnings {
        writeln!(text, "WARNING: {warning}")?;
    }
    Ok(())
}

fn write_figures(text: &mut String, figures: &Figures) -> std::fmt::Result {
    let (own, server) = figures.cpu_us();
    writeln!(text, "{:<24}{:>16}", "seconds", format!("{:.3}", figures.seconds))?;
    writeln!(text, "{:<24}{:>16}", "messages/s", grouped(figures.rate() as u64))?;
    writeln!(text, "{:<24}{:>16}", "content/s", size(figures.goodput() as u64))?;
    writeln!(text, "{:<24}{:>16}", "generator CPU/message", format!("{own:.3} µs"))?;
    if let Some(server) = server {
        writeln!(text, "{:<24}{:>16}", "server CPU/message", format!("{server:.3} µs"))?;
        writeln!(text, "{:<24}{:>16}", "generator ÷ server", format!("{:.2}", own / server.max(1e-9)))?;
    }
    writeln!(text, "{:<24}{:>16}", "generator busy", format!("{:.0} %", figures.busy * 100.0))
}

/// A row for each step of the rate. What the generator itself has limited is no figure.
fn write_steps(text: &mut String, steps: &[Step]) -> std::fmt::Result {
    if steps.is_empty() {
        return Ok(());
    }
    let heading = ["seconds", "offered", "accepted", "accepted/s", "p50", "p99", "p99.9", "lag p99"];
    writeln!(text, "\n{:<20}{}", "step, messages/s", heading.map(|name| format!("{name:>12}")).concat())?;
    for step in steps {
        let name = match (step.span.from, step.span.to) {
            (from, to) if from == to => format!("{from}"),
            (from, to) => format!("{from:.1}..{to:.1}"),
        };
        let shown = |times: &Histogram<u64>, share| match times.is_empty() {
            true => "-".to_owned(),
            false => time(times.value_at_quantile(share)),
        };
        let figures = match step.is_saturated {
            true => ["-"; 4].map(str::to_owned),
            false => [
                grouped(step.rate() as u64),
                shown(&step.message, 0.5),
                shown(&step.message, 0.99),
                shown(&step.message, 0.999),
            ],
        };
        let counts = [format!("{:.3}", step.seconds()), grouped(step.offered), grouped(step.accepted)];
        let columns: String = counts.iter().chain(&figures).map(|column| format!("{column:>12}")).collect();
        let word = match (step.is_saturated, step.late) {
            (true, _) => "  generator saturated".to_owned(),
            (false, 0..=1) => String::new(),
            (false, late) => format!("  {} begun behind it", grouped(late)),
        };
        writeln!(text, "{name:<20}{columns}{:>12}{word}", shown(&step.lag, 0.99))?;
    }
    Ok(())
}

/// A step, with its histograms, so that those of several machines can be merged.
fn step_json(step: &Step) -> Value {
    let mut report = json!({
        "from_rate": step.span.from,
        "to_rate": step.span.to,
        "from_ns": step.span.from_ns,
        "to_ns": step.span.to_ns,
        "seconds": step.seconds(),
        "offered": step.offered,
        "late": step.late,
        "accepted": step.accepted,
        "saturated": step.is_saturated,
        "busy_ns": step.busy_ns,
        "thread_ns": step.thread_ns,
    });
    if !step.is_saturated {
        report["rate"] = json!(step.rate());
    }
    for (times, name) in [(&step.message, "message"), (&step.lag, "lag"), (&step.own_lag, "own_lag")] {
        report["quantiles_ns"][name] = quantiles(times);
        report["histograms_ns"][name] = recorded(times);
    }
    report
}

/// Values, and how often each was recorded.
fn recorded(times: &Histogram<u64>) -> Value {
    times.iter_recorded().map(|step| json!([step.value_iterated_to(), step.count_at_value()])).collect()
}

/// What never happens is not shown, but for what everybody looks for.
fn is_shown(name: &str, value: u64) -> bool {
    value > 0 || matches!(name, "accepted" | "tempfailed" | "refused" | "reset" | "undecided" | "timed_out")
}

/// What is known before a run.
pub fn heading(plan: &Plan) -> String {
    let at = plan.target.to_string();
    let at = if at == plan.target_text { String::new() } else { format!(" at {at}") };
    let mut text =
        format!("target {}{at}, {} connections on {} threads", plan.target_text, plan.connections, plan.threads);
    let _ = match &plan.pace {
        Loop::Closed => write!(text, ", closed loop"),
        Loop::Idle => write!(text, ", held open"),
        Loop::Open(_, spacing) => write!(text, ", open loop, {spacing:?} spacing"),
    };
    let _ = writeln!(text, ", {} in flight, seed {}", plan.terms.depth, plan.seed);
    for class in plan.classes() {
        let _ = writeln!(text, "messages {}", class.describe());
    }
    let _ = writeln!(text, "machine {}\ncommit {}\n", machine::describe(), machine::commit());
    text
}

/// Everything, so that reports of several machines can be merged.
pub fn json(plan: &Plan, figures: &mut Figures, ledger: &str, is_partial: bool) -> Value {
    let (own, server) = figures.cpu_us();
    let mut report = json!({
        "target": plan.target_text,
        "address": plan.target.to_string(),
        "seed": plan.seed,
        "connections": plan.connections,
        "threads": plan.threads,
        "depth": plan.terms.depth,
        "messages": plan.classes().iter().map(|class| class.describe()).collect::<Vec<_>>(),
        "machine": machine::describe(),
        "commit": machine::commit(),
        "ledger": ledger,
        "checksums": if figures.checksums_agree { "agree" } else { "not compared" },
        "partial": is_partial,
        "open_loop": figures.is_open_loop,
        "saturated": figures.saturated,
        "void": figures.void,
        "gone": figures.gone,
        "warnings": figures.warnings,
        "seconds": figures.seconds,
        "behind": figures.behind,
        "window": counts_json(&figures.window),
        "generator_cpu_us": own,
        "server_cpu_us": server,
        "generator_busy": figures.busy,
    });
    // Without agreement, and from a saturated generator, there is no figure that a program could take by mistake.
    if figures.is_valid() {
        report["rate"] = json!(figures.rate());
        report["goodput"] = json!(figures.goodput());
    }
    let tally = &mut figures.tally;
    report["counts"] = counts_json(&tally.counts);
    let replies = tally.replies();
    report["replies"] = replies
        .iter()
        .map(|(command, code, count)| json!({"command": command, "code": code, "count": count}))
        .collect();
    for (what, name) in Timed::ALL {
        let times = tally.histogram(what);
        report["quantiles_ns"][name] = quantiles(times);
        report["histograms_ns"][name] = recorded(times);
    }
    if figures.void.is_none() {
        report["steps"] = figures.steps.iter().map(step_json).collect();
    }
    report
}

/// Counts with their names.
fn counts_json(counts: &Counts) -> Value {
    Value::Object(counts.each().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect())
}

/// The shares of times, by name.
pub fn quantiles(times: &Histogram<u64>) -> Value {
    let values = QUANTILES.iter().map(|(name, share)| ((*name).to_owned(), json!(times.value_at_quantile(*share))));
    Value::Object(values.collect())
}

/// Where a report goes: a file, or standard output for `-`.
pub fn open(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    match File::create(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::Unavailable(format!("cannot write {}: {error}", path.display()))),
    }
}

/// A second of the whole run.
#[derive(Debug)]
pub struct Second {
    /// Which, from 1.
    pub number: u64,
    /// What was counted in it.
    pub counts: Counts,
    /// Times from the end of data to the reply.
    pub times: Histogram<u64>,
}

impl Second {
    /// Nothing yet.
    pub fn new(number: u64) -> Self {
        Self { number, counts: Counts::default(), times: histogram() }
    }

    /// As a line of JSON.
    pub fn json(&self) -> Value {
        let mut line = counts_json(&self.counts);
        line["second"] = json!(self.number);
        line["end_of_data_ns"] = quantiles(&self.times);
        line
    }

    /// As a line for somebody who looks on; with headings now and then.
    pub fn row(&self) -> String {
        let heading = |names: [&str; 7]| names.map(|name| format!("{name:>13}")).concat() + "\n";
        let head = match self.number % 20 {
            1 => heading(["s", "messages/s", "content/s", "refused", "failed", "p50", "p99"]),
            _ => String::new(),
        };
        let counts = &self.counts;
        let failed = counts.reset + counts.undecided + counts.timed_out + counts.connects_failed;
        let columns = [
            self.number.to_string(),
            grouped(counts.accepted),
            size(counts.accepted_octets),
            grouped(counts.refused + counts.tempfailed),
            grouped(failed),
            time(self.times.value_at_quantile(0.5)),
            time(self.times.value_at_quantile(0.99)),
        ];
        head + &columns.map(|column| format!("{column:>13}")).concat() + "\n"
    }
}
