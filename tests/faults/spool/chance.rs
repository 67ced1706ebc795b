//! Chance by a seed, so that what it found can be found again.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// By a seed of the environment, or one that is as good as any.
    pub fn of(variable: &str) -> (Self, u64) {
        let seed = count(variable, 20_261_121);
        (Self(seed), seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn one_of(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// A number of the environment, or this one.
pub fn count(variable: &str, otherwise: u64) -> u64 {
    let said = std::env::var(variable).ok().filter(|said| !said.is_empty());
    said.map_or(otherwise, |said| said.parse().unwrap_or_else(|_| panic!("{variable}={said:?} is no number")))
}
