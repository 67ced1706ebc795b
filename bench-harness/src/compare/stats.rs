//! What ringmx counted: its `--stats-json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

/// Counters by name, summed over the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// From the file that ringmx wrote.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(Failure::while_doing("cannot read ringmx's counters"))?;
        Self::parse(&text).ok_or_else(|| Failure::System("ringmx's counters are not as expected".to_owned()))
    }

    /// From counters and their values.
    #[cfg(test)]
    pub fn of<const N: usize>(counters: [(&str, u64); N]) -> Self {
        Self(counters.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let number = |total: &Value| Some((total["name"].as_str()?.to_owned(), total["value"].as_u64()?));
        json["totals"].as_array()?.iter().map(number).collect::<Option<_>>().map(Self)
    }

    /// A counter, which must be there: a wrong name would otherwise be a good figure.
    pub fn total(&self, name: &str) -> Result<u64, Failure> {
        let missing = || Failure::Disagreement(format!("ringmx has no counter {name}"));
        self.0.get(name).copied().ok_or_else(missing)
    }

    /// What was counted since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name| earlier.0.get(name).copied().unwrap_or(0);
        Self(self.0.iter().map(|(name, now)| (name.clone(), now.saturating_sub(before(name)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"uptime_s": 1.5, "totals": [{"name": "messages", "value": 25000},
        {"name": "message_octets", "value": 105200104}], "shards": [[1, 2]], "replies": [], "histograms": []}"#;

    #[test]
    fn counters_are_read_by_name() {
        let stats = Stats::parse(TEXT).unwrap();
        assert_eq!(stats.total("messages"), Ok(25_000));
        assert!(stats.total("massages").is_err());
        let later = Stats(BTreeMap::from([("messages".to_owned(), 25_007)]));
        assert_eq!(later.since(&stats).total("messages"), Ok(7));
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
