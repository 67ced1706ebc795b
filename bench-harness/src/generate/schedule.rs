//! When each message is meant to be sent, in an open loop.
//!
//! *Idea*: arrivals come at a rate of one in a time that is stretched so that the asked-for rate comes out: constant or
//! Poisson, and level, rising or in steps, are two things that know nothing of each other. *Invariant*: the time of an arrival
//! depends on the plan alone, never on what became of those before it: nothing that the server does moves it (no coordinated
//! omission).

use super::random::Random;

/// Steps of a rate: each has histograms of its own.
const STEPS_MOST: usize = 50;

/// Parts of a ramp that have figures of their own.
const RAMP_PARTS: u32 = 10;

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// At equal distances.
    Constant,
    /// By chance, as many independent senders do.
    Poisson,
}

/// The rate over time: pieces of so many s, in each of which it goes from one value to another, in messages per s. The last
/// rate stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    seconds: f64,
    from: f64,
    to: f64,
}

/// A part of the time with a rate, or a piece of a ramp, of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Its beginning, since the start.
    pub from_ns: u64,
    /// Its end, which is the next one's.
    pub to_ns: u64,
    /// The rate at its beginning.
    pub from: f64,
    /// The rate at its end.
    pub to: f64,
}

impl Span {
    /// Whether this time, since the start, is in it.
    pub fn has(&self, ns: u64) -> bool {
        (self.from_ns..self.to_ns).contains(&ns)
    }
}

impl Rate {
    /// Always the same.
    pub fn level(rate: f64) -> Self {
        Self(vec![Piece { seconds: 1.0, from: rate, to: rate }])
    }

    /// `1000` is level, `1000..5000` rises over all of the time, `1000,2000,5000` are steps of equal length.
    pub fn parse(text: &str, seconds: f64) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no rate: 1000, 1000..5000 (a ramp) or 1000,2000,5000 (steps), in messages/s");
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
            _ => Err(wrong()),
        };
        if let Some((from, to)) = text.split_once("..") {
            return Ok(Self(vec![Piece { seconds, from: number(from)?, to: number(to)? }]));
        }
        let steps: Vec<f64> = text.split(',').map(number).collect::<Result<_, _>>()?;
        if steps.len() > STEPS_MOST {
            return Err(format!("'{text}' has {} steps, and {STEPS_MOST} may be", steps.len()));
        }
        let seconds = seconds / steps.len() as f64;
        Ok(Self(steps.into_iter().map(|rate| Piece { seconds, from: rate, to: rate }).collect()))
    }

    /// Parts with figures of their own: steps, and parts of a ramp; none where the rate is always the same. Without an end the
    /// last one has none.
    pub fn spans(&self, end: Option<f64>) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut from_ns = 0;
        for Piece { seconds, from, to } in &self.0 {
            let parts = if from == to { 1 } else { RAMP_PARTS };
            let begin = from_ns;
            for part in 1..=parts {
                let share = |part: u32| f64::from(part) / f64::from(parts);
                let rate = |part: u32| from + (to - from) * share(part);
                let to_ns = begin + (seconds * share(part) * 1e9) as u64;
                spans.push(Span { from_ns, to_ns, from: rate(part - 1), to: rate(part) });
                from_ns = to_ns;
            }
        }
        if spans.len() < 2 {
            return Vec::new();
        }
        if let (Some(last), None) = (spans.last_mut(), end) {
            last.to_ns = u64::MAX;
        }
        spans
    }

    /// The time, in s, by which so many arrivals have come.
    pub fn time_of(&self, mut arrivals: f64) -> f64 {
        let mut before = 0.0;
        for (index, piece) in self.0.iter().enumerate() {
            let within = (piece.from + piece.to) / 2.0 * piece.seconds;
            if arrivals <= within && within > 0.0 {
                return before + piece.time_of(arrivals);
            }
            if index + 1 == self.0.len() {
                return before + piece.seconds + (arrivals - within) / piece.to;
            }
            arrivals -= within;
            before += piece.seconds;
        }
        before
    }

    /// Arrivals within so many s.
    #[cfg(test)]
    fn arrivals_by(&self, mut seconds: f64) -> f64 {
        let mut arrivals = 0.0;
        for piece in &self.0 {
            let within = seconds.clamp(0.0, piece.seconds);
            let at_end = piece.from + (piece.to - piece.from) * within / piece.seconds;
            arrivals += (piece.from + at_end) / 2.0 * within;
            seconds -= within;
        }
        arrivals + self.0.last().map_or(0.0, |piece| piece.to * seconds.max(0.0))
    }
}

impl Piece {
    /// Solves `from·t + (to − from)·t²/2·seconds = arrivals`, in the form that loses no digits when the slope is small.
    fn time_of(self, arrivals: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        let root = (self.from * self.from + 2.0 * slope * arrivals).max(0.0).sqrt();
        2.0 * arrivals / (self.from + root)
    }
}

/// The arrivals of one of the generator's threads.
#[derive(Clone, Debug)]
pub struct Arrivals {
    rate: Rate,
    spacing: Spacing,
    random: Random,
    /// Arrivals of all threads that lie before the next one of this.
    at: f64,
    threads: f64,
}

impl Arrivals {
    /// Of thread so-and-so among so many, each of which has its share of the rate.
    pub fn new(rate: &Rate, spacing: Spacing, seed: u64, thread: usize, threads: usize) -> Self {
        let mut arrivals = Self {
            rate: rate.clone(),
            spacing,
            random: Random::of(seed, u64::MAX - 1 - thread as u64),
            at: 0.0,
            threads: threads as f64,
        };
        arrivals.at = match spacing {
            Spacing::Constant => thread as f64,
            Spacing::Poisson => arrivals.random.exponential() * arrivals.threads,
        };
        arrivals
    }

    /// The next one's time since the start, in ns.
    pub fn next_ns(&mut self) -> u64 {
        let at = self.at;
        self.at += self.threads
            * match self.spacing {
                Spacing::Constant => 1.0,
                Spacing::Poisson => self.random.exponential(),
            };
        (self.rate.time_of(at) * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(rate: &str, spacing: Spacing, thread: usize, threads: usize, most: usize) -> Vec<u64> {
        let rate = Rate::parse(rate, 10.0).unwrap();
        let mut arrivals = Arrivals::new(&rate, spacing, 5, thread, threads);
        (0..most).map(|_| arrivals.next_ns()).collect()
    }

    #[test]
    fn a_constant_rate_is_spread_over_threads_and_not_doubled() {
        assert_eq!(arrivals("1000", Spacing::Constant, 0, 2, 3), [0, 2_000_000, 4_000_000]);
        assert_eq!(arrivals("1000", Spacing::Constant, 1, 2, 3), [1_000_000, 3_000_000, 5_000_000]);
    }

    #[test]
    fn ramps_and_steps_have_the_arrivals_of_their_area() {
        let ramp = Rate::parse("100..300", 10.0).unwrap();
        assert!((ramp.arrivals_by(10.0) - 2_000.0).abs() < 1e-6);
        assert!((ramp.time_of(2_000.0) - 10.0).abs() < 1e-9);
        assert!((ramp.time_of(750.0) - 5.0).abs() < 1e-9, "half of the time has (100+200)/2·5");
        let steps = Rate::parse("100, 200", 10.0).unwrap();
        assert!((steps.time_of(500.0) - 5.0).abs() < 1e-9 && (steps.time_of(1_500.0) - 10.0).abs() < 1e-9);
        assert!((steps.time_of(1_700.0) - 11.0).abs() < 1e-9, "the last rate stays");
        for text in ["7", "1..9", "3,1,2", "50..1"] {
            let rate = Rate::parse(text, 10.0).unwrap();
            for tenth in 1..150 {
                let time = f64::from(tenth) / 10.0;
                assert!((rate.time_of(rate.arrivals_by(time)) - time).abs() < 1e-6, "{text} at {time}");
            }
        }
        for wrong in ["", "0", "-1", "1..", "1,,2", "x", "1e99"] {
            assert!(Rate::parse(wrong, 1.0).unwrap_err().contains("a ramp"), "{wrong}");
        }
    }

    #[test]
    fn steps_and_ramps_have_parts() {
        let spans = |text: &str, end| Rate::parse(text, 10.0).unwrap().spans(end);
        assert_eq!(spans("100", Some(10.0)), []);
        let steps = spans("100,300", Some(10.0));
        let [first, last] = steps[..] else { panic!("{steps:?}") };
        assert_eq!((first.from_ns, first.to_ns, last.to_ns), (0, 5_000_000_000, 10_000_000_000));
        assert_eq!((first.from, first.to, last.from, last.to), (100.0, 100.0, 300.0, 300.0));
        assert!(first.has(4_999_999_999) && !first.has(5_000_000_000) && last.has(5_000_000_000));
        assert_eq!(spans("100,300", None)[1].to_ns, u64::MAX, "the last rate stays");
        let ramp = spans("100..200", Some(10.0));
        assert_eq!((ramp.len(), ramp[3].from, ramp[3].to, ramp[9].to), (10, 130.0, 140.0, 200.0));
        assert!(ramp.windows(2).all(|pair| pair[0].to_ns == pair[1].from_ns));
        assert!(Rate::parse(&["1"; 51].join(","), 1.0).unwrap_err().contains("50 may be"));
    }

    /// Gaps of a Poisson process have a deviation as large as their mean; the superposition of threads is one too.
    #[test]
    fn poisson_arrivals_have_their_spread() {
        let mut all: Vec<u64> =
            (0..4).flat_map(|thread| arrivals("1000", Spacing::Poisson, thread, 4, 10_000)).collect();
        all.sort_unstable();
        all.truncate(30_000);
        let gaps: Vec<f64> = all.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((0.97..1.03).contains(&mean) && (0.95..1.05).contains(&deviation), "{mean} {deviation}");
    }
}
