//! The file that the program writes its counters to.

use serde_json::Value;

#[derive(Debug)]
pub struct Stats(Value);

impl Stats {
    pub fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the statistics are JSON"))
    }

    /// A counter, summed over the shards.
    #[track_caller]
    pub fn total(&self, name: &str) -> u64 {
        let totals = self.0["totals"].as_array().expect("there are totals");
        let number = totals.iter().find(|number| number["name"] == name);
        number.unwrap_or_else(|| panic!("there is a counter {name}"))["value"].as_u64().expect("a counter is a number")
    }

    /// A counter of each shard.
    #[track_caller]
    pub fn of_shards(&self, name: &str) -> Vec<u64> {
        let totals = self.0["totals"].as_array().expect("there are totals");
        let place = totals.iter().position(|number| number["name"] == name).expect("there is such a counter");
        let shards = self.0["shards"].as_array().expect("there are shards");
        shards.iter().map(|shard| shard[place].as_u64().expect("a counter is a number")).collect()
    }

    /// How often a reply was given, by the name of its rule.
    pub fn replies(&self, rule: &str) -> u64 {
        let replies = self.0["replies"].as_array().expect("there are replies");
        replies.iter().find(|reply| reply["rule"] == rule).map_or(0, |reply| reply["count"].as_u64().unwrap_or(0))
    }

    /// A figure of a sink, summed over its threads.
    #[allow(dead_code, reason = "asked by tests/faults.rs")]
    #[track_caller]
    pub fn of_sink(&self, sink: &str, name: &str) -> u64 {
        let sinks = self.0["sinks"].as_array().expect("there are sinks");
        let sink = sinks.iter().find(|one| one["name"] == sink).unwrap_or_else(|| panic!("there is a sink {sink}"));
        let totals = sink["totals"].as_array().expect("there are totals");
        let number = totals.iter().find(|number| number["name"] == name);
        number.unwrap_or_else(|| panic!("there is a figure {name}"))["value"].as_u64().expect("a figure is a number")
    }

    /// A figure of the spool.
    #[allow(dead_code, reason = "not asked by each of the tests that share this")]
    #[track_caller]
    pub fn of_spool(&self, name: &str) -> u64 {
        let figures = self.0["spool"].as_array().expect("there is a spool");
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("there is a figure {name}"))["value"].as_u64().expect("a figure is a number")
    }

    /// Messages and their recipients.
    pub fn mail(&self) -> (u64, u64) {
        (self.total("messages"), self.total("recipients"))
    }
}
