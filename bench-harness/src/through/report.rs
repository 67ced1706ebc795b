//! What is told of deliveries: behind the generator's own table, in its JSON, and in a line each second.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use ringmx::metrics::report::{grouped, time};
use serde_json::{Value, json};

use super::deliveries::{Deliveries, Standing};
use crate::generate::report::{QUANTILES, quantiles};

/// The table.
pub fn table(deliveries: &Deliveries, is_void: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_table(&mut text, deliveries, is_void);
    text
}

fn write_table(text: &mut String, deliveries: &Deliveries, is_void: bool) -> std::fmt::Result {
    writeln!(text)?;
    for (name, count) in deliveries.counts() {
        if let Some(name) = row(name, count) {
            writeln!(text, "{name:<24}{:>16}", grouped(count))?;
        }
    }
    if deliveries.is_partial {
        writeln!(text, "{:<24}{:>16}", "still on their way", grouped(deliveries.standing.outstanding()))?;
    }
    for fault in &deliveries.faults {
        writeln!(text, "FAULT: {fault}")?;
    }
    if is_void {
        return Ok(());
    }
    writeln!(text, "{:<24}{:>16}", "largest backlog", grouped(deliveries.backlog_most))?;
    writeln!(text, "{:<24}{:>16}", "drain", time(deliveries.drain_ns))?;
    writeln!(text, "{:<24}{:>16}", "arrivals/s", grouped(deliveries.rate() as u64))?;
    writeln!(text)?;
    let [q0, q1, q2, q3, q4] = QUANTILES.map(|(name, _)| name);
    writeln!(text, "{:<26}{:>12}{q0:>10}{q1:>10}{q2:>10}{q3:>10}{q4:>10}", "time", "count")?;
    write!(text, "{:<26}{:>12}", "end to end", grouped(deliveries.end_to_end.len()))?;
    for (_, share) in QUANTILES {
        write!(text, "{:>10}", time(deliveries.end_to_end.value_at_quantile(share)))?;
    }
    writeln!(text)
}

/// How the table calls a count. What never happens is not shown, but for what everybody looks for.
fn row(name: &str, count: u64) -> Option<&str> {
    let (name, is_looked_for) = match name {
        "accepted" => ("deliveries taken over", true),
        "arrived" => ("arrived", true),
        "messages" => ("arrived, in messages", true),
        "lost" => ("lost", true),
        "duplicates" => ("arrived twice", true),
        "altered" => ("altered", true),
        "misaddressed" => ("for somebody else", false),
        "trimmed" => ("with other empty lines", false),
        "foreign" => ("messages of others", false),
        other => (other, false),
    };
    (count > 0 || is_looked_for).then_some(name)
}

/// Puts it into the generator's report. Without agreement there is no figure that a program could take by mistake.
pub fn add_json(report: &mut Value, deliveries: &Deliveries, run: u64, is_void: bool) {
    let counts = deliveries.counts().into_iter().map(|(name, count)| (name.to_owned(), json!(count)));
    report["run"] = json!(format!("{run:016x}"));
    report["deliveries"] = Value::Object(counts.collect());
    report["deliveries"]["outstanding"] = json!(deliveries.standing.outstanding());
    report["faults"] = json!(deliveries.faults);
    if is_void {
        return;
    }
    report["backlog_most"] = json!(deliveries.backlog_most);
    report["drain_ns"] = json!(deliveries.drain_ns);
    report["arrival_rate"] = json!(deliveries.rate());
    let times = &deliveries.end_to_end;
    report["quantiles_ns"]["end_to_end"] = quantiles(times);
    report["histograms_ns"]["end_to_end"] =
        times.iter_recorded().map(|step| json!([step.value_iterated_to(), step.count_at_value()])).collect();
}

/// A second of the run, or of what came behind it.
#[derive(Debug)]
pub struct Second {
    /// Which, from 1.
    pub number: u64,
    /// Whether all was sent.
    pub is_draining: bool,
    /// Sums at its end.
    pub now: Standing,
    /// Sums at its beginning.
    pub before: Standing,
    /// End to end, of those that arrived in it.
    pub times: Histogram<u64>,
}

impl Second {
    /// As a line of JSON.
    pub fn json(&self) -> Value {
        let Self { now, before, .. } = self;
        json!({
            "second": self.number,
            "draining": self.is_draining,
            "accepted": now.accepted - before.accepted,
            "arrived": now.arrived - before.arrived,
            "duplicates": now.duplicates - before.duplicates,
            "altered": now.altered - before.altered,
            "foreign": now.foreign - before.foreign,
            "backlog": now.outstanding(),
            "end_to_end_ns": quantiles(&self.times),
        })
    }

    fn quantile(&self, share: f64) -> String {
        if self.times.is_empty() { "-".to_owned() } else { time(self.times.value_at_quantile(share)) }
    }

    /// As a line for somebody who looks on; with headings now and then.
    pub fn row(&self) -> String {
        let line = |columns: [String; 6]| columns.map(|column| format!("{column:>13}")).concat() + "\n";
        let head = match self.number % 20 {
            1 => line(["s", "accepted/s", "arrived/s", "backlog", "p50", "p99"].map(str::to_owned)),
            _ => String::new(),
        };
        let Self { now, before, .. } = self;
        let mark = if self.is_draining { " drain" } else { "" };
        head + &line([
            format!("{}{mark}", self.number),
            grouped(now.accepted - before.accepted),
            grouped(now.arrived - before.arrived),
            grouped(now.outstanding()),
            self.quantile(0.5),
            self.quantile(0.99),
        ])
    }
}
