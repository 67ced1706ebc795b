//! What ringmx counted: its `--stats-json`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::failure::Failure;

/// How long ringmx may take to write its counters.
const PATIENCE: Duration = Duration::from_secs(15);

/// Counters by name, summed over the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    totals: BTreeMap<String, u64>,
    /// Of all sinks together.
    sinks: BTreeMap<String, u64>,
    /// What each shard took over.
    messages: Vec<u64>,
}

impl Stats {
    /// What a ringmx that runs has counted so far; it writes to this file when it is asked.
    pub fn ask(path: &Path, pid: u32) -> Result<Self, Failure> {
        // The file is put in place whole, when there is one.
        let _ = std::fs::remove_file(path);
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let asked = process.map(|process| kill_process(process, Signal::USR1));
        if !matches!(asked, Some(Ok(()))) {
            return Err(Failure::Unavailable(format!("there is no process {pid} to ask for its counters")));
        }
        let deadline = Instant::now() + PATIENCE;
        while !path.exists() {
            if Instant::now() >= deadline {
                return Err(Failure::System(format!("no counters came to {} on SIGUSR1", path.display())));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Self::read(path)
    }

    /// From the file that ringmx wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::while_doing("cannot read ringmx's counters"))?;
        Self::parse(&text).ok_or_else(|| Failure::System("ringmx's counters are not as expected".to_owned()))
    }

    /// From counters and their values.
    #[cfg(test)]
    pub fn of<const N: usize>(counters: [(&str, u64); N]) -> Self {
        Self::of_all(counters, [])
    }

    /// From those of the shards, and of the sinks.
    #[cfg(test)]
    pub fn of_all<'n>(
        counters: impl IntoIterator<Item = (&'n str, u64)>,
        sinks: impl IntoIterator<Item = (&'n str, u64)>,
    ) -> Self {
        let named = |(name, value): (&str, u64)| (name.to_owned(), value);
        let sinks = sinks.into_iter().map(named).collect();
        Self { totals: counters.into_iter().map(named).collect(), sinks, ..Self::default() }
    }

    fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let number = |total: &Value| Some((total["name"].as_str()?.to_owned(), total["value"].as_u64()?));
        let totals = json["totals"].as_array()?;
        let place = totals.iter().position(|total| total["name"] == "messages");
        let messages = json["shards"].as_array().into_iter().flatten().filter_map(|shard| shard[place?].as_u64());
        let mut sinks = BTreeMap::new();
        for total in json["sinks"].as_array().into_iter().flatten().flat_map(|sink| sink["totals"].as_array()).flatten()
        {
            let (name, value) = number(total)?;
            *sinks.entry(name).or_default() += value;
        }
        let totals = totals.iter().map(number).collect::<Option<_>>()?;
        Some(Self { messages: messages.collect(), sinks, totals })
    }

    /// A counter, which must be there: a wrong name would otherwise be a good figure.
    pub fn total(&self, name: &str) -> Result<u64, Failure> {
        let missing = || Failure::Disagreement(format!("ringmx has no counter {name}"));
        self.totals.get(name).copied().ok_or_else(missing)
    }

    /// What all sinks together have counted.
    pub fn of_sinks(&self, name: &str) -> Result<u64, Failure> {
        let missing = || Failure::Disagreement(format!("ringmx's sinks have no counter {name}"));
        self.sinks.get(name).copied().ok_or_else(missing)
    }

    /// What was counted since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        // A sum of checksums wraps.
        let more = |name: &str, now: u64, before: u64| match name.ends_with("_checksum_sum") {
            true => now.wrapping_sub(before),
            false => now.saturating_sub(before),
        };
        let since = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let before = |name: &String| before.get(name).copied().unwrap_or(0);
            now.iter().map(|(name, now)| (name.clone(), more(name, *now, before(name)))).collect()
        };
        let shard = |number: usize| earlier.messages.get(number).copied().unwrap_or(0);
        let messages = self.messages.iter().enumerate();
        Self {
            totals: since(&self.totals, &earlier.totals),
            messages: messages.map(|(number, now)| now.saturating_sub(shard(number))).collect(),
            sinks: since(&self.sinks, &earlier.sinks),
        }
    }

    /// By how much the busiest shard has taken more messages than the mean of all.
    pub fn unevenness(&self) -> f64 {
        let most = self.messages.iter().copied().max().unwrap_or(0);
        let sum: u64 = self.messages.iter().sum();
        if sum == 0 { 1.0 } else { most as f64 * self.messages.len() as f64 / sum as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"uptime_s": 1.5, "totals": [{"name": "messages", "value": 25000},
        {"name": "message_octets", "value": 105200104}], "shards": [[1, 2], [1, 3]], "replies": [], "histograms": [],
        "sinks": [{"totals": [{"name": "delivered", "value": 3}]}, {"totals": [{"name": "delivered", "value": 4}]}]}"#;

    #[test]
    fn counters_are_read_by_name() {
        let stats = Stats::parse(TEXT).unwrap();
        assert_eq!(stats.total("messages"), Ok(25_000));
        assert_eq!(stats.of_sinks("delivered"), Ok(7));
        assert!(stats.total("massages").is_err() && stats.of_sinks("messages").is_err());
        let later = Stats { messages: vec![3, 1], ..Stats::of([("messages", 25_007)]) };
        assert_eq!(later.since(&stats).total("messages"), Ok(7));
        assert_eq!((later.unevenness(), stats.unevenness()), (1.5, 1.0));
        let sum = |sum| Stats::of([("content_checksum_sum", sum)]);
        assert_eq!(sum(3).since(&sum(u64::MAX)).total("content_checksum_sum"), Ok(4));
    }

    #[test]
    fn what_is_not_a_report_is_refused() {
        for text in ["", "{}", r#"{"totals": [{"name": "messages"}]}"#, r#"{"totals": 7}"#] {
            assert_eq!(Stats::parse(text), None, "{text}");
        }
    }

    /// The names that figures depend on are those of the engine.
    #[test]
    fn the_engine_has_these_counters() {
        let counters = ringmx::metrics::counters::Counters::default().values();
        for name in super::super::round::COUNTERS {
            assert!(counters.iter().any(|(known, _)| *known == name), "{name}");
        }
    }
}
