//! What a result is held to: a figure, an order, a bound.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::arguments::time;
use super::tally::{Counts, Timed};

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// The time that this share does not exceed, in ns.
    Quantile(Timed, f64),
    /// Messages per second.
    Rate,
    /// Octets of accepted content per second.
    Goodput,
    /// A count.
    Count(&'static str),
    /// What `through` alone knows.
    Delivery(Delivery),
}

/// A figure of what happened behind the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delivery {
    /// The time from when a message was meant to be sent to its arrival that this share does not exceed, in ns.
    EndToEnd(f64),
    /// Deliveries that arrived per second.
    ArrivalRate,
    /// The most that were taken over and had not arrived.
    Backlog,
    /// From the last reply to the last arrival, in ns.
    Drain,
    /// A count.
    Count(&'static str),
}

impl Delivery {
    /// Counts that can be held to a condition.
    pub const COUNTS: [&'static str; 6] =
        ["lost", "duplicates", "altered", "misaddressed", "foreign", "unacknowledged"];

    /// Whether it is a time.
    pub fn is_time(self) -> bool {
        matches!(self, Self::EndToEnd(_) | Self::Drain)
    }

    fn of(name: &str) -> Option<Self> {
        if let Some(quantile) = name.strip_prefix("e2e.") {
            return share(quantile).map(Self::EndToEnd);
        }
        match name {
            "arrival_rate" => Some(Self::ArrivalRate),
            "backlog" => Some(Self::Backlog),
            "drain" => Some(Self::Drain),
            _ => Self::COUNTS.into_iter().find(|count| *count == name).map(Self::Count),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    /// What is held to it.
    pub figure: Figure,
    /// Whether it must be less than the bound, or more.
    pub is_less: bool,
    /// In ns, messages, octets.
    pub bound: f64,
}

impl Assertion {
    /// Whether it is about what happened behind the server.
    pub fn is_of_delivery(&self) -> bool {
        matches!(self.figure, Figure::Delivery(_))
    }

    /// Whether it holds.
    pub fn holds(&self, value: f64) -> bool {
        if self.is_less { value < self.bound } else { value > self.bound }
    }
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("'{text}' is no condition: {what}");
        let at = text.find(['<', '>']).ok_or_else(|| wrong("it needs a < or >, as in 'p99<5ms'"))?;
        let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
        let figure = figure(name).ok_or_else(|| {
            wrong("the figure is p50, p99.9 or max (of `message`, or as in mail.p99), rate, goodput, or a count of the report")
        })?;
        let bound = match figure {
            Figure::Quantile(..) => nanoseconds(bound),
            Figure::Delivery(delivery) if delivery.is_time() => nanoseconds(bound),
            _ => bound.parse::<f64>().ok().filter(|bound| bound.is_finite()),
        };
        let bound =
            bound.ok_or_else(|| wrong("the bound is a time for a quantile, as 5ms, and a number for others"))?;
        Ok(Self { text: text.to_owned(), figure, is_less: text.as_bytes()[at] == b'<', bound })
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

fn nanoseconds(text: &str) -> Option<f64> {
    time(text).ok().map(|time: Duration| time.as_nanos() as f64)
}

/// `max` or `p99.9`.
fn share(quantile: &str) -> Option<f64> {
    if quantile == "max" {
        return Some(1.0);
    }
    let percent: f64 = quantile.strip_prefix('p')?.parse().ok()?;
    let share = (percent * 1e6).round() / 1e8;
    (0.0..=1.0).contains(&share).then_some(share)
}

fn figure(name: &str) -> Option<Figure> {
    match name {
        "rate" => return Some(Figure::Rate),
        "goodput" => return Some(Figure::Goodput),
        _ => {}
    }
    if let Some(delivery) = Delivery::of(name) {
        return Some(Figure::Delivery(delivery));
    }
    if let Some((count, _)) = Counts::default().each().into_iter().find(|(count, _)| *count == name) {
        return Some(Figure::Count(count));
    }
    let (what, quantile) = name.split_once(".p").map_or((None, name), |(what, rest)| (Some(what), rest));
    let (what, quantile) = match name.split_once(".max") {
        Some((what, "")) => (Some(what), "max"),
        _ => (what, quantile),
    };
    let what = match what {
        None => Timed::MessageCorrected,
        Some(what) => Timed::ALL.into_iter().find(|(_, known)| *known == what)?.0,
    };
    let share = match quantile {
        "max" => 1.0,
        _ => quantile
            .strip_prefix('p')
            .unwrap_or(quantile)
            .parse::<f64>()
            .ok()
            .map(|percent| (percent * 1e6).round() / 1e8)?,
    };
    let is_named = name.starts_with('p') || name.contains(".p") || quantile == "max";
    (is_named && (0.0..=1.0).contains(&share)).then_some(Figure::Quantile(what, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let read = |text: &str| text.parse::<Assertion>().unwrap();
        let p99 = read("p99 < 5ms");
        assert_eq!((p99.figure, p99.bound), (Figure::Quantile(Timed::MessageCorrected, 0.99), 5e6));
        assert!(p99.holds(4.9e6) && !p99.holds(5e6));
        assert_eq!(read("mail.p99.9<1s").figure, Figure::Quantile(Timed::Mail, 0.999));
        assert_eq!(read("end_of_data.max<1s").figure, Figure::Quantile(Timed::EndOfDataCorrected, 1.0));
        assert_eq!(read("max<1s").figure, Figure::Quantile(Timed::MessageCorrected, 1.0));
        let rate = read("rate>100000");
        assert!(rate.figure == Figure::Rate && rate.holds(100_001.0) && !rate.holds(99_999.0));
        assert_eq!(read("refused<1").figure, Figure::Count("refused"));
        for (text, figure, bound) in [
            ("e2e.p99.9<5s", Delivery::EndToEnd(0.999), 5e9),
            ("e2e.max<1ms", Delivery::EndToEnd(1.0), 1e6),
            ("drain<2s", Delivery::Drain, 2e9),
            ("arrival_rate>5", Delivery::ArrivalRate, 5.0),
            ("backlog<70", Delivery::Backlog, 70.0),
            ("foreign<1", Delivery::Count("foreign"), 1.0),
        ] {
            assert_eq!((read(text).figure, read(text).bound), (Figure::Delivery(figure), bound));
        }
        for wrong in ["e2e<5s", "e2e.99<5s", "e2e.p101<5s", "e2e.p99<5", "drain<5"] {
            assert!(wrong.parse::<Assertion>().is_err(), "{wrong}");
        }
        for wrong in
            ["", "p99", "p99=5ms", "p99<5", "p101<5ms", "rate>fast", "99<5ms", "nothing.p99<1s", "x<1", ".max<1s"]
        {
            assert!(wrong.parse::<Assertion>().unwrap_err().contains("no condition"), "{wrong}");
        }
    }
}
