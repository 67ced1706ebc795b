//! The reports of several machines, added up: counts, replies, and histograms bucket by bucket, so that quantiles are those of
//! all messages and not means of quantiles.

use std::path::Path;

use serde_json::Value;

use super::arguments::MergeArguments;
use super::figures::Figures;
use super::report;
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
        let times = sum.tally.histogram(what);
        for step in report["histograms_ns"][name].as_array().ok_or("histograms_ns")? {
            let (value, count) = step[0].as_u64().zip(step[1].as_u64()).ok_or("histograms_ns")?;
            times.saturating_record_n(value.max(1), count);
        }
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
