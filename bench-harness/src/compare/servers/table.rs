//! What a comparison of servers prints: a table for each promise, because a 250 that promises more costs more.

use std::fmt::Write as _;

use ringmx::metrics::report::{size, time};

use super::arguments::ServersArguments;
use super::kind::{Kind, Promise};
use super::run::Run;
use super::{Entrant, LeftOut};
use crate::measure::statistics::Spread;

/// Share of the machine's time above which other processes are said to disturb.
const NOISE_PERCENT: f64 = 5.0;

/// A server's runs.
pub type Row = (&'static Kind, Vec<Run>);

/// What is measured, on what.
pub fn heading(
    asked: &ServersArguments,
    entrants: &[Entrant],
    left_out: &[LeftOut],
    disk: &str,
    machine: &str,
    commit: &str,
) -> String {
    let mut text = format!(
        "{} connections, DATA, {} octets, {}\nqueues in {disk}\nmachine {machine}\ncommit {commit}\n",
        asked.connections,
        asked.size,
        asked.load.title()
    );
    for entrant in entrants {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<12} {}", entrant.kind.name, entrant.contender.version());
    }
    for LeftOut { kind, lack } in left_out {
        let _ = writeln!(text, "  {:<12} left out: {}", kind.name, lack.words(kind));
    }
    text.push('\n');
    text
}

/// The figures.
pub fn figures(rows: &[Row], is_disk: bool) -> String {
    let mut text = String::new();
    let mut promises: Vec<Promise> = rows.iter().map(|(kind, _)| kind.promise).collect();
    promises.sort();
    promises.dedup();
    for promise in &promises {
        let group: Vec<&Row> = rows.iter().filter(|(kind, _)| kind.promise == *promise).collect();
        let _ = writeln!(text, "{}", title(*promise, is_disk));
        absolute(&mut text, &group);
        ratios(&mut text, &group);
        text.push('\n');
    }
    if promises.len() > 1 {
        text.push_str("Servers of different tables promise different things, and are not compared by these figures.\n");
    }
    notes(&mut text, rows);
    text
}

fn title(promise: Promise, is_disk: bool) -> &'static str {
    match (promise, is_disk) {
        (Promise::Nothing, _) => "250 promises nothing: the message is gone",
        (Promise::Written, true) => {
            "250 promises a file in the page cache: it is not synced, and a crash of the machine may lose it"
        }
        (Promise::Synced, true) => "250 promises a message on disk: its file was synced before the reply",
        (Promise::Written, false) => "250 promises a file; here it was in memory only",
        (Promise::Synced, false) => {
            "250 promises a synced file; here it was in memory only, so that syncing cost nothing"
        }
    }
}

fn absolute(text: &mut String, group: &[&Row]) {
    let _ = writeln!(
        text,
        "{:<12} {:>26} {:>28} {:>12} {:>10} {:>10}",
        "server", "CPU µs/message", "messages/s", "machine µs", "p99", "memory"
    );
    for (kind, runs) in group {
        let spread = |of: fn(&Run) -> f64| Spread::of(runs.iter().map(of));
        let (Some(cpu), Some(rate), Some(machine), Some(p99)) =
            (spread(|run| run.cpu_us), spread(|run| run.rate), spread(|run| run.machine_us), spread(|run| run.p99_us))
        else {
            continue;
        };
        let memory = runs.iter().map(|run| run.memory).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "{:<12} {:>26} {:>28} {:>12.2} {:>10} {:>10}",
            kind.name,
            format!("{cpu:.2}"),
            format!("{rate:.0}"),
            machine.median,
            time((p99.median * 1000.0) as u64),
            size(memory)
        );
    }
}

/// Of ringmx to each other, where both promise the same.
fn ratios(text: &mut String, group: &[&Row]) {
    let Some((ours, own)) = group.iter().find(|(kind, _)| kind.is_ringmx()) else {
        text.push_str("no ratio: no ringmx whose 250 promises this was run\n");
        return;
    };
    let others: Vec<_> = group.iter().filter(|(kind, _)| kind != ours).collect();
    if others.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{:<24} {:>24} {:>24}", "ratio of pairs", "CPU/message", "messages/s");
    for (kind, runs) in others {
        let ratio = |of: fn(&Run) -> f64| {
            let values = |runs: &[Run]| runs.iter().map(of).collect::<Vec<_>>();
            Spread::of_ratios(&values(own), &values(runs)).map_or(String::new(), |ratio| format!("{ratio:.2}"))
        };
        let name = format!("{} ÷ {}", ours.name, kind.name);
        let _ = writeln!(text, "{name:<24} {:>24} {:>24}", ratio(|run| run.cpu_us), ratio(|run| run.rate));
    }
}

fn notes(text: &mut String, rows: &[Row]) {
    let all = || rows.iter().flat_map(|(_, runs)| runs);
    let mut sources: Vec<_> = all().map(|run| run.source).collect();
    sources.sort();
    sources.dedup();
    let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        text,
        "median (least–most)\n\
         CPU: user and system time of a server and all its processes until its queue was empty, from {}\n\
         machine µs: processor time of all processes for a message, the client's too\n\
         p99: from the end of data to its reply\n\
         memory: the most that was seen of all its processes together, pages that they share counted once",
        sources.join(" or ")
    );
    let names = |is_meant: fn(&Run) -> bool| -> Vec<&str> {
        rows.iter().filter(|(_, runs)| runs.iter().any(is_meant)).map(|(kind, _)| kind.name).collect()
    };
    let uncounted = names(|run| !run.is_counted);
    match uncounted.is_empty() {
        true => text.push_str("every server has counted as many messages as the client\n"),
        false => {
            let _ = writeln!(text, "not counted by the server: {}", uncounted.join(", "));
        }
    }
    let unpipelined = names(|run| !run.offers_pipelining);
    if !unpipelined.is_empty() {
        let _ = writeln!(text, "no PIPELINING is offered by: {}", unpipelined.join(", "));
    }
    if let Some(others) = Spread::of(all().map(|run| 100.0 * run.others)) {
        let noise = match others.median > NOISE_PERCENT {
            true => ": absolute figures are too high, and ratios wide",
            false => "",
        };
        let _ = writeln!(text, "other processes used {others:.0} % of all processors' time{noise}");
    }
    for (kind, runs) in rows {
        let mut warnings: Vec<String> = runs.iter().flat_map(|run| &run.warnings).map(|text| family(text)).collect();
        warnings.sort();
        warnings.dedup();
        for warning in &warnings {
            let warned = runs.iter().filter(|run| run.warnings.iter().any(|text| family(text) == *warning)).count();
            let _ = writeln!(text, "{warned} of {} runs of {}: {warning}", runs.len(), kind.name);
        }
    }
}

/// A warning without its numbers, which differ from run to run.
fn family(warning: &str) -> String {
    let words = warning.split(' ').map(|word| if word.parse::<f64>().is_ok() { "N" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::kind;
    use super::super::tree::Source;
    use super::*;

    fn row(name: &str, figures: &[(f64, f64)]) -> Row {
        let kind = kind::ALL.into_iter().find(|kind| kind.name == name).unwrap();
        let run = |(cpu_us, rate): &(f64, f64)| Run {
            cpu_us: *cpu_us,
            source: Source::Group,
            machine_us: 2.0 * cpu_us,
            others: 0.01,
            rate: *rate,
            p99_us: 1500.0,
            memory: 20_000_000,
            is_counted: name != "exim",
            offers_pipelining: name != "aiosmtpd",
            warnings: if *rate > 900.0 { vec![format!("TCP sent {cpu_us} segments again")] } else { Vec::new() },
        };
        (kind, figures.iter().map(run).collect())
    }

    #[test]
    fn only_equal_promises_are_divided() {
        let rows = [
            row("ringmx", &[(10.0, 40_000.0), (12.0, 40_000.0), (10.0, 40_000.0)]),
            row("aiosmtpd", &[(100.0, 2000.0), (100.0, 2000.0), (200.0, 1000.0)]),
            row("opensmtpd", &[(300.0, 1000.0)]),
            row("ringmx-mx", &[(35.0, 20_000.0), (35.5, 20_000.0), (35.0, 16_000.0)]),
            row("postfix", &[(700.0, 1000.0), (710.0, 1000.0), (700.0, 800.0)]),
            row("exim", &[(900.0, 500.0), (900.0, 500.0), (900.0, 500.0)]),
        ];
        let text = figures(&rows, true);
        for expected in [
            "250 promises nothing",
            "on disk: its file was synced",
            "ringmx ÷ aiosmtpd",
            "0.10 (0.05–0.12)",
            "20.00 (20.00–40.00)",
            "no ratio: no ringmx whose 250 promises this was run",
            "ringmx-mx ÷ postfix",
            "20.00 (20.00–20.00)",
            "ringmx-mx ÷ exim",
            "different tables promise different things",
            "not counted by the server: exim",
            "no PIPELINING is offered by: aiosmtpd",
            "2 of 3 runs of postfix: TCP sent N segments again",
            "1.5 ms",
            "20.0 MB",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        for unexpected in ["ringmx ÷ postfix", "ringmx ÷ exim", "÷ opensmtpd", "÷ ringmx-mx"] {
            assert!(!text.contains(unexpected), "{unexpected} in\n{text}");
        }
        assert!(figures(&rows, false).contains("in memory only"));
    }
}
