//! The reports of several machines, added up: counts, replies, and histograms bucket by bucket, so that quantiles are those of
//! all messages and not means of quantiles.

use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::Value;

use super::arguments::MergeArguments;
use super::figures::Figures;
use super::report;
use super::schedule::Span;
use super::steps::Step;
use super::tally::{Counts, Timed};
use crate::failure::Failure;

/// The command `merge`.
pub fn run(options: &MergeArguments) -> Result<(), Failure> {
    let mut sum = Figures::empty();
    let mut ledger = "agrees";
    let mut is_partial = false;
    for path in &options.files {
        let report = read(path)?;
        let wrong = |what: &str| Failure::Usage(format!("{}: it is no report of `run --json`: {what}", path.display()));
        add(&mut sum, &report).map_err(|what| wrong(&what))?;
        ledger = match (ledger, report["ledger"].as_str()) {
            ("DISAGREES", _) | (_, Some("DISAGREES")) => "DISAGREES",
            ("agrees", Some("agrees")) => "agrees",
            _ => "not compared",
        };
        is_partial |= report["partial"] == true;
    }
    println!("{} reports", options.files.len());
    print!("{}", report::table(&mut sum, ledger, is_partial));
    if let Some(why) = sum.void {
        return Err(Failure::Disagreement(format!("one of the machines has none: {why}")));
    }
    if let Some(why) = sum.saturated {
        return Err(Failure::Saturated(why));
    }
    let failing = sum.failing(&options.assertions);
    if failing.is_empty() { Ok(()) } else { Err(Failure::Assertion(failing.join("; "))) }
}

fn read(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Unavailable(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

fn add(sum: &mut Figures, report: &Value) -> Result<(), String> {
    let is_first = sum.seconds == 0.0;
    let accepted = counts(&mut sum.tally.counts, &report["counts"])?;
    counts(&mut sum.window, &report["window"])?;
    let number = |name: &str| report[name].as_f64().ok_or_else(|| name.to_owned());
    sum.seconds = sum.seconds.max(number("seconds")?);
    sum.cpu_ns += (number("generator_cpu_us")? * 1000.0 * accepted as f64) as u64;
    sum.busy = sum.busy.max(number("generator_busy")?);
    sum.behind += report["behind"].as_u64().ok_or("behind")?;
    sum.is_open_loop |= report["open_loop"] == true;
    if let Some(why) = report["void"].as_str() {
        sum.void.get_or_insert_with(|| why.to_owned());
    }
    if let Some(why) = report["saturated"].as_str() {
        sum.saturated.get_or_insert_with(|| why.to_owned());
    }
    let warnings = report["warnings"].as_array().ok_or("warnings")?;
    sum.warnings.extend(warnings.iter().filter_map(Value::as_str).map(str::to_owned));
    for reply in report["replies"].as_array().ok_or("replies")? {
        let place = reply["command"].as_str().zip(reply["code"].as_u64());
        let place = place.and_then(|(command, code)| sum.tally.reply_by_name(command, code)).ok_or("replies")?;
        *place += reply["count"].as_u64().ok_or("replies")?;
    }
    for (what, name) in Timed::ALL {
        times(sum.tally.histogram(what), &report["histograms_ns"][name])?;
    }
    let steps: Vec<Step> = report["steps"].as_array().into_iter().flatten().map(step).collect::<Result<_, _>>()?;
    // Machines that had other rates, or were stopped earlier, have no steps in common.
    let spans = |steps: &[Step]| steps.iter().map(|step| step.span).collect::<Vec<_>>();
    if !is_first && spans(&sum.steps) != spans(&steps) {
        return Err("its steps are not those of the other machines".to_owned());
    }
    sum.add_steps(steps);
    Ok(())
}

/// A step of the rate, as it was reported.
fn step(report: &Value) -> Result<Step, String> {
    let wrong = || "steps".to_owned();
    let number = |name: &str| report[name].as_u64().ok_or_else(wrong);
    let real = |name: &str| report[name].as_f64().ok_or_else(wrong);
    let (from_ns, to_ns) = (number("from_ns")?, number("to_ns")?);
    let mut step = Step::new(Span { from_ns, to_ns, from: real("from_rate")?, to: real("to_rate")? });
    step.ns = (real("seconds")? * 1e9) as u64;
    (step.offered, step.late, step.accepted) = (number("offered")?, number("late")?, number("accepted")?);
    (step.busy_ns, step.thread_ns) = (number("busy_ns")?, number("thread_ns")?);
    step.is_saturated = report["saturated"] == true;
    let histograms = &report["histograms_ns"];
    times(&mut step.message, &histograms["message"])?;
    times(&mut step.lag, &histograms["lag"])?;
    times(&mut step.own_lag, &histograms["own_lag"])?;
    Ok(step)
}

/// Adds a histogram, as it was reported.
fn times(sum: &mut Histogram<u64>, report: &Value) -> Result<(), String> {
    for step in report.as_array().ok_or("histograms_ns")? {
        let (value, count) = step[0].as_u64().zip(step[1].as_u64()).ok_or("histograms_ns")?;
        sum.saturating_record_n(value.max(1), count);
    }
    Ok(())
}

/// Adds counts, and gives how many messages were accepted among them.
fn counts(sum: &mut Counts, report: &Value) -> Result<u64, String> {
    for (name, value) in report.as_object().ok_or("counts")? {
        let place = sum.by_name(name).ok_or_else(|| name.clone())?;
        *place = place.wrapping_add(value.as_u64().ok_or_else(|| name.clone())?);
    }
    report["accepted"].as_u64().ok_or_else(|| "accepted".to_owned())
}
