//! Medians, spreads and ratios of pairs.

use std::fmt;

/// Median, least and most of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are at most this.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self { median, least: sorted[0], most: sorted[sorted.len() - 1] })
    }

    /// Of the ratios of values that were measured in the same rounds.
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Option<Self> {
        assert_eq!(above.len(), below.len(), "every round runs every server");
        Self::of(above.iter().zip(below).map(|(above, below)| above / below))
    }
}

impl fmt::Display for Spread {
    /// As `median (least–most)`, each with the precision asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
        assert_eq!(format!("{:.1}", Spread::of([1.0, 2.0]).unwrap()), "1.5 (1.0–2.0)");
    }

    /// The figure is the median of the ratios of pairs, not the ratio of the medians: a slow moment hits both of a pair.
    #[test]
    fn ratios_are_taken_within_pairs() {
        let ratio = Spread::of_ratios(&[10.0, 100.0, 12.0], &[5.0, 50.0, 4.0]).unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 3.0));
    }
}
