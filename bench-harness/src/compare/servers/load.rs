//! The load: this program's own generator, as a child, so that what it uses and what it remembers is not the measurer's.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::arguments::ServersArguments;
use crate::compare::process::Process;
use crate::failure::Failure;

/// How long the generator may take to be gone when it is over.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often somebody looks whether it is.
const LOOK: Duration = Duration::from_millis(5);

/// What the generator has got accepted, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Messages per second.
    pub rate: f64,
    /// From the end of data to its reply, in µs: 99 of 100 were at most this.
    pub p99_us: f64,
    /// What it found worth saying about its figures.
    pub warnings: Vec<String>,
}

/// Sends so many messages. All must be accepted. `watch` is asked meanwhile whether there is a reason to stop.
pub fn send(
    asked: &ServersArguments,
    target: SocketAddr,
    patience: &str,
    messages: u64,
    mut watch: impl FnMut() -> Result<(), Failure>,
) -> Result<Sent, Failure> {
    let this = std::env::current_exe().map_err(Failure::while_doing("cannot find this program"))?;
    let mut command = Command::new(this);
    // No more connections than messages: each of them is to have one.
    let connections = u64::from(asked.connections).min(messages);
    command.args(["run", &target.to_string(), "--json", "-", "-n", &messages.to_string()]);
    command.args(["--connections", &connections.to_string(), "--size", &asked.size]);
    command.args(["--patience", patience]).args(asked.load.options());
    let mut generator = Process::start("the generator", &mut command)?;
    while !generator.is_over() {
        watch()?;
        std::thread::sleep(LOOK);
    }
    watch()?;
    let lines = generator.finish(PATIENCE)?;
    let report = lines.iter().find_map(|line| serde_json::from_str::<Value>(line).ok());
    read(&report.ok_or_else(|| Failure::System("the generator has written no report".to_owned()))?, messages)
}

fn read(report: &Value, messages: u64) -> Result<Sent, Failure> {
    let count = |name: &str| report["counts"][name].as_u64();
    if count("accepted") != Some(messages) {
        let others = ["accepted", "tempfailed", "refused", "reset", "timed_out", "undecided"]
            .map(|name| format!("{} {}", count(name).unwrap_or(0), name.replace('_', " ")));
        let unhappy =
            report["replies"].as_array().into_iter().flatten().find(|reply| reply["code"].as_u64() >= Some(400));
        let reply =
            unhappy.map_or(String::new(), |reply| format!("; {} was answered {}", reply["command"], reply["code"]));
        return Err(Failure::Disagreement(format!("of {messages} messages {}{reply}", others.join(", "))));
    }
    let warnings = report["warnings"].as_array().into_iter().flatten().filter_map(|text| text.as_str());
    let figures = || {
        let p99_us = report["quantiles_ns"]["end_of_data"]["p99"].as_f64()? / 1000.0;
        Some(Sent { rate: report["rate"].as_f64()?, p99_us, warnings: warnings.map(str::to_owned).collect() })
    };
    figures().ok_or_else(|| Failure::System("the generator's report has no figures".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_must_be_accepted() {
        let mut report = json!({
            "counts": {"accepted": 10, "refused": 0},
            "rate": 250.5,
            "quantiles_ns": {"end_of_data": {"p99": 7500}},
            "warnings": ["hot"],
            "replies": [{"command": "MAIL", "code": 250, "count": 9}, {"command": "RCPT", "code": 550, "count": 1}],
        });
        let sent = read(&report, 10).unwrap();
        assert_eq!(sent, Sent { rate: 250.5, p99_us: 7.5, warnings: vec!["hot".to_owned()] });
        report["counts"] = json!({"accepted": 9, "refused": 1});
        let failure = read(&report, 10).unwrap_err();
        assert!(matches!(failure, Failure::Disagreement(_)), "{failure}");
        for words in ["9 accepted", "1 refused", "RCPT", "550"] {
            assert!(failure.to_string().contains(words), "{failure}");
        }
    }
}
