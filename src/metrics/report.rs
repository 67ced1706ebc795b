//! A picture of all shards at one moment, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::metrics::counters::Counters;
use crate::metrics::histograms::Histograms;
use crate::metrics::sinks::SinkFigures;
use crate::smtp::reply::Reply;

/// The picture.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Time since start, in s.
    pub uptime_s: f64,
    /// Each counter: its name, its sum over the shards.
    pub totals: Vec<Number>,
    /// Each counter for each shard, in the order of `totals`.
    pub shards: Vec<Vec<u64>>,
    /// Replies given, by rule; those never given are left out.
    pub replies: Vec<ReplyCount>,
    /// Times and sizes.
    pub histograms: Vec<Quantiles>,
    /// What the sinks did, each of all its threads together.
    pub sinks: Vec<SinkReport>,
    /// What the log of deliveries came to; empty if there is none.
    pub delivery_log: Vec<Number>,
    /// What the spool is like; empty if there is none.
    pub spool: Vec<Number>,
}

/// What a sink did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SinkReport {
    /// Its name in the configuration.
    pub name: String,
    /// Each figure, summed over the sink's threads.
    pub totals: Vec<Number>,
    /// From a message's end to its delivery, in ms, counted for each recipient.
    pub delay_ms: Quantiles,
}

impl SinkReport {
    /// Sums the threads up.
    pub fn new<'f>(name: &str, threads: impl IntoIterator<Item = &'f SinkFigures> + Clone) -> Self {
        let values: Vec<_> = threads.clone().into_iter().map(SinkFigures::values).collect();
        let names = values.first().into_iter().flatten().map(|(name, _)| *name).enumerate();
        let sum = |index: usize| values.iter().map(|thread| thread[index].1).sum();
        Self {
            name: name.to_owned(),
            totals: names.map(|(index, name)| Number { name, value: sum(index) }).collect(),
            delay_ms: Quantiles::of("delay_ms", &SinkFigures::delays(threads)),
        }
    }

    /// The sum of a figure; 0 for a name that is none.
    pub fn total(&self, name: &str) -> u64 {
        self.totals.iter().find(|number| number.name == name).map_or(0, |number| number.value)
    }
}

/// A named number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Number {
    /// Of the counter.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

/// How often a reply was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplyCount {
    /// Reply code.
    pub code: u16,
    /// The rule behind it.
    pub rule: &'static str,
    /// How often.
    pub count: u64,
}

/// A histogram in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// What is measured, with its unit.
    pub name: &'static str,
    /// How many values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p999: u64,
    /// The largest.
    pub max: u64,
}

impl Quantiles {
    fn of(name: &'static str, histogram: &Histogram<u64>) -> Self {
        Self {
            name,
            count: histogram.len(),
            mean: if histogram.is_empty() { 0.0 } else { histogram.mean() },
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Report {
    /// Sums the shards up.
    pub fn new<'c>(uptime_s: f64, shards: impl IntoIterator<Item = &'c Counters>, histograms: &Histograms) -> Self {
        let shards: Vec<&Counters> = shards.into_iter().collect();
        let values: Vec<Vec<(&'static str, u64)>> = shards.iter().map(|shard| shard.values()).collect();
        let names: Vec<&'static str> = values.first().into_iter().flatten().map(|(name, _)| *name).collect();
        let totals = names
            .iter()
            .enumerate()
            .map(|(index, name)| Number {
                name,
                value: values.iter().fold(0, |sum, shard| sum.wrapping_add(shard[index].1)),
            })
            .collect();
        let replies = Reply::ALL
            .iter()
            .map(|reply| ReplyCount {
                code: reply.code(),
                rule: reply.name(),
                count: shards.iter().map(|shard| shard.replies[reply.index()].get()).sum(),
            })
            .filter(|reply| reply.count > 0)
            .collect();
        let histograms =
            histograms.each().into_iter().map(|(name, histogram)| Quantiles::of(name, histogram)).collect();
        let shards = values.into_iter().map(|shard| shard.into_iter().map(|(_, value)| value).collect()).collect();
        Self {
            uptime_s,
            totals,
            shards,
            replies,
            histograms,
            sinks: Vec::new(),
            delivery_log: Vec::new(),
            spool: Vec::new(),
        }
    }

    /// With what the sinks did, and their log.
    pub fn with_sinks(self, sinks: Vec<SinkReport>, delivery_log: Vec<Number>) -> Self {
        Self { sinks, delivery_log, ..self }
    }

    /// With what the spool is like.
    pub fn with_spool(self, spool: Vec<Number>) -> Self {
        Self { spool, ..self }
    }

    /// The sum of a figure over all sinks.
    pub fn total_of_sinks(&self, name: &str) -> u64 {
        self.sinks.iter().map(|sink| sink.total(name)).sum()
    }

    /// The sum of a counter; 0 for a name that is none.
    pub fn total(&self, name: &str) -> u64 {
        self.totals.iter().find(|number| number.name == name).map_or(0, |number| number.value)
    }

    /// The histogram of this name.
    pub fn quantiles(&self, name: &str) -> Option<&Quantiles> {
        self.histograms.iter().find(|histogram| histogram.name == name)
    }

    /// For people. Counters that are 0 are left out.
    pub fn table(&self) -> String {
        let mut table = String::new();
        // Writing to a string cannot fail.
        let mut line = |text: std::fmt::Arguments<'_>| {
            let _ = table.write_fmt(text);
            table.push('\n');
        };
        let messages = self.total("messages");
        let octets = self.total("message_octets");
        line(format_args!(
            "  after {:.1} s: {} messages, {} of content, {} connections, {} open now",
            self.uptime_s,
            grouped(messages),
            size(octets),
            grouped(self.total("connections_accepted")),
            grouped(self.total("connections_open")),
        ));
        line(format_args!("  {:<34} {:>16}  of each shard", "counter", "sum"));
        for (index, number) in self.totals.iter().enumerate().filter(|(_, number)| number.value > 0) {
            let shards: Vec<String> = self.shards.iter().map(|shard| grouped(shard[index])).collect();
            line(format_args!("  {:<34} {:>16}  {}", number.name, grouped(number.value), shards.join(" · ")));
        }
        if !self.replies.is_empty() {
            line(format_args!("  {:<34} {:>16}", "replies", "given"));
            for reply in &self.replies {
                let name = format!("{} {}", reply.code, reply.rule);
                line(format_args!("  {name:<34} {:>16}", grouped(reply.count)));
            }
        }
        line(format_args!(
            "  {:<34} {:>16} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "histogram", "values", "mean", "p50", "p99", "p99.9", "max"
        ));
        for histogram in self.histograms.iter().filter(|histogram| histogram.count > 0) {
            let (name, is_time) = match histogram.name.strip_suffix("_ns") {
                Some(name) => (name, true),
                None => (histogram.name, false),
            };
            let show = |value: u64| if is_time { time(value) } else { grouped(value) };
            line(format_args!(
                "  {name:<34} {:>16} {:>10} {:>10} {:>10} {:>10} {:>10}",
                grouped(histogram.count),
                if is_time { time(histogram.mean as u64) } else { format!("{:.1}", histogram.mean) },
                show(histogram.p50),
                show(histogram.p99),
                show(histogram.p999),
                show(histogram.max),
            ));
        }
        for sink in &self.sinks {
            line(format_args!("  sink {}", sink.name));
            for number in sink.totals.iter().filter(|number| number.value > 0) {
                line(format_args!("    {:<32} {:>16}", number.name, grouped(number.value)));
            }
            let Quantiles { count, p50, p99, max, .. } = &sink.delay_ms;
            if *count > 0 {
                let [p50, p99, max] = [p50, p99, max].map(|delay_ms| time(delay_ms.saturating_mul(1_000_000)));
                line(format_args!("    {:<32} {:>16}  p99 {p99}, at most {max}", "delay, median", p50));
            }
        }
        for number in self.spool.iter().filter(|number| number.value > 0) {
            let value = if number.name.ends_with("octets") { size(number.value) } else { grouped(number.value) };
            line(format_args!("  {:<34} {value:>16}", format!("spool, {}", number.name)));
        }
        for number in self.delivery_log.iter().filter(|number| number.value > 0) {
            line(format_args!("  {:<34} {:>16}", format!("delivery log, {}", number.name), grouped(number.value)));
        }
        table
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Octets in decimal units.
pub fn size(octets: u64) -> String {
    let octets = octets as f64;
    for (unit, factor) in [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if octets >= factor {
            return format!("{:.1} {unit}", octets / factor);
        }
    }
    format!("{octets} B")
}

/// Ns in the unit that fits.
pub fn time(ns: u64) -> String {
    let value = ns as f64;
    for (unit, factor) in [("s", 1e9), ("ms", 1e6), ("µs", 1e3)] {
        if value >= factor {
            return format!("{:.1} {unit}", value / factor);
        }
    }
    format!("{ns} ns")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply::Replies;
    use crate::smtp::settings::tests::settings;

    #[test]
    fn a_report_sums_shards_and_leaves_zeros_out() {
        let shards = [Counters::default(), Counters::default()];
        shards[0].messages.add(1_234_567);
        shards[1].messages.add(1);
        shards[0].content_checksum_sum.add(u64::MAX);
        shards[1].content_checksum_sum.add(8);
        let mut replies = Replies::new();
        replies.push(Reply::UnknownCommand, &settings());
        shards[1].take_replies(&mut replies);
        let mut histograms = Histograms::new();
        histograms.end_to_reply.record_n(1_500, 10).unwrap();
        let report = Report::new(2.0, &shards, &histograms);
        assert_eq!(report.total("messages"), 1_234_568);
        assert_eq!(report.total("content_checksum_sum"), 7, "a sum of checksums wraps, over shards too");
        let table = report.table();
        for expected in ["1,234,568", "1,234,567 · 1", "500 UnknownCommand", "end_to_reply", "1.5 µs"] {
            assert!(table.contains(expected), "{expected} in {table}");
        }
        assert!(!table.contains("timeouts"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["replies"][0]["code"], 500);
        assert_eq!(json["shards"][1].as_array().unwrap().len(), json["totals"].as_array().unwrap().len());
    }
}
