//! Seeded randomness: the same seed gives the same run, on every machine.

/// A stream of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed ^ 0x6A09_E667_F3BC_C909);
        chance.draw();
        chance
    }

    /// A stream of its own for each thing that is named: what one draws changes nothing for the others.
    pub fn of(&self, name: &str, number: u64) -> Self {
        let mixed = name.bytes().fold(self.0 ^ number.rotate_left(32), |mixed, octet| {
            (mixed ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self::new(mixed)
    }

    /// Uniform.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `most`, which is above 0.
    pub fn below(&mut self, most: usize) -> usize {
        (self.draw() % most as u64) as usize
    }

    /// From the first to the last, both included.
    pub fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.draw() % (last - first + 1)
    }

    /// True so often, in percent. What can never be draws nothing.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.draw() % 100 < u64::from(percent)
    }

    /// One of them.
    pub fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}
