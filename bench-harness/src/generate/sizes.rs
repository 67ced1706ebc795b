//! How many octets of content a generated message has.

use std::fmt;
use std::str::FromStr;

use super::random::Random;

/// Least octets of a generated message: mail data ends with CRLF, whatever else is in it.
const LEAST: u64 = 2;

/// Most octets of a generated message.
const MOST: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// Always so many.
    Fixed(u64),
    /// Each from the one to the other as often.
    Uniform(u64, u64),
    /// Many small ones and a few large ones, as real mail has it.
    LogNormal {
        /// Half are smaller.
        median: u64,
        /// Standard deviation of the logarithm: 1 makes one in six larger than e times the median.
        sigma: f64,
    },
}

impl Sizes {
    /// The size of the next message.
    pub fn draw(&self, random: &mut Random) -> u64 {
        match *self {
            Self::Fixed(octets) => octets,
            Self::Uniform(least, most) => least + random.below(most - least + 1),
            Self::LogNormal { median, sigma } => {
                let octets = median as f64 * (sigma * random.normal()).exp();
                (octets as u64).clamp(LEAST, MOST)
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "'{text}' is no size: 4096, 4k, 1k-64k (uniform) or lognormal(16k,1.2) (median, sigma), from 2 octets to 1g"
            )
        };
        let octets = |text: &str| octets(text).filter(|octets| *octets >= LEAST);
        if let Some(inner) = text.strip_prefix("lognormal(").and_then(|rest| rest.strip_suffix(')')) {
            let (median, sigma) = inner.split_once(',').ok_or_else(wrong)?;
            let sigma: f64 = sigma.trim().parse().map_err(|_| wrong())?;
            let median = octets(median.trim()).ok_or_else(wrong)?;
            return match (0.0..=5.0).contains(&sigma) {
                true => Ok(Self::LogNormal { median, sigma }),
                false => Err(wrong()),
            };
        }
        if let Some((least, most)) = text.split_once('-') {
            let (least, most) = (octets(least).ok_or_else(wrong)?, octets(most).ok_or_else(wrong)?);
            return if least <= most { Ok(Self::Uniform(least, most)) } else { Err(wrong()) };
        }
        octets(text).map(Self::Fixed).ok_or_else(wrong)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(octets) => write!(f, "{octets} octets"),
            Self::Uniform(least, most) => write!(f, "{least} to {most} octets"),
            Self::LogNormal { median, sigma } => write!(f, "log-normal, median {median} octets, sigma {sigma}"),
        }
    }
}

/// `4096`, `4k`, `1m`, `1g`; 1 to [`MOST`].
pub fn octets(text: &str) -> Option<u64> {
    let shift = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        _ => 0,
    };
    let digits = if shift > 0 { &text[..text.len() - 1] } else { text };
    let number: u64 = digits.parse().ok()?;
    Some(number.checked_mul(1 << shift)?).filter(|octets| (1..=MOST).contains(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("4k".parse(), Ok(Sizes::Fixed(4096)));
        assert_eq!("2-2M".parse(), Ok(Sizes::Uniform(2, 2 << 20)));
        assert_eq!("lognormal(16k, 1.2)".parse(), Ok(Sizes::LogNormal { median: 16384, sigma: 1.2 }));
        for wrong in
            ["", "0", "1", "1-5", "4kk", "-", "9-8", "2g", "lognormal(1)", "lognormal(1k,-1)", "99999999999999999999k"]
        {
            assert!(wrong.parse::<Sizes>().unwrap_err().contains("4096"), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_their_distribution() {
        let mut random = Random::of(3, 0);
        let mut draws = |sizes: Sizes| (0..20_000).map(|_| sizes.draw(&mut random)).collect::<Vec<_>>();
        assert!(draws(Sizes::Fixed(7)).iter().all(|size| *size == 7));
        // Mail data cannot have less, and a generator that counts less than arrives would cry wolf.
        assert!(draws(Sizes::LogNormal { median: 2, sigma: 3.0 }).iter().all(|size| *size >= LEAST));
        let uniform = draws(Sizes::Uniform(10, 13));
        for size in 10..14 {
            let share = uniform.iter().filter(|other| **other == size).count();
            assert!((4_500..5_500).contains(&share), "{size}: {share}");
        }
        let mut skewed = draws(Sizes::LogNormal { median: 10_000, sigma: 1.0 });
        skewed.sort_unstable();
        assert!((9_500..10_500).contains(&skewed[10_000]), "{}", skewed[10_000]);
        assert!((24_000..31_000).contains(&skewed[16_827]), "one in six is larger than e times: {}", skewed[16_827]);
    }
}
