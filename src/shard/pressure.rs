//! Back-pressure in levels with hysteresis, from the memory that sessions hold, and from that of messages which are handed off
//! (DESIGN decision 5).

use crate::handoff::intake::Holding;
use crate::limits;
use crate::reactor::io::Time;

/// How far a shard holds back. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Not at all.
    Normal,
    /// No connection is accepted.
    NoAccepts,
    /// No receive is started on a connection in mail data: TCP makes its client wait.
    NoMailData,
    /// MAIL is answered 452.
    NoMail,
}

/// Shares of the memory, in percent: from where a level begins, and below where it ends.
const BOUNDS: [(Level, u64, u64); 3] =
    [(Level::NoAccepts, 60, 50), (Level::NoMailData, 75, 65), (Level::NoMail, 90, 80)];

/// The memory in use, and the level that follows from it.
#[derive(Debug)]
pub struct Pressure {
    octets: u64,
    most: u64,
    level: Level,
}

impl Pressure {
    /// Nothing is in use, of so many octets.
    pub fn new(most: u64) -> Self {
        Self { octets: 0, most: most.max(1), level: Level::Normal }
    }

    /// Something was taken.
    pub fn take(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// Something was given back.
    pub fn give(&mut self, octets: usize) {
        debug_assert!(self.octets >= octets as u64, "what is given back was taken");
        self.octets = self.octets.saturating_sub(octets as u64);
    }

    /// Octets in use.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Whether nothing more may be taken.
    pub fn is_full(&self) -> bool {
        self.octets >= self.most
    }

    /// The level in force.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Sees whether the level changes; returns whether it did.
    pub fn update(&mut self) -> bool {
        let level = level_at(self.octets * 100 / self.most, self.level);
        std::mem::replace(&mut self.level, level) != level
    }
}

/// The level that follows from a share of memory in percent, and from the level before.
fn level_at(percent: u64, before: Level) -> Level {
    BOUNDS
        .into_iter()
        .filter(|(level, begins, ends)| percent >= if before >= *level { *ends } else { *begins })
        .map(|(level, ..)| level)
        .max()
        .unwrap_or(Level::Normal)
}

/// The memory of messages that are handed off or will be, and the level that follows from it, for those clients whose mail is.
///
/// A client in mail data is made to wait only as long as that helps: while messages are with a sink, or on their way to the disk, and
/// memory comes back from there. If none does, all of it may be held by messages that are not complete, or by a sink that stands still: then they go on
/// until no memory is left, and are refused.
#[derive(Debug)]
pub struct HandedOff {
    holding: Holding,
    level: Level,
    /// When memory came back last, or none was missed.
    eased_at: Time,
    now: Time,
}

impl HandedOff {
    /// Nothing is.
    pub fn new(now: Time) -> Self {
        Self { holding: Holding::default(), level: Level::Normal, eased_at: now, now }
    }

    /// So much is in use now; returns whether the level has changed.
    pub fn update(&mut self, holding: Holding, now: Time) -> bool {
        let before = self.level();
        self.level = level_at(holding.octets * 100 / holding.octets_most.max(1), self.level);
        if self.level < Level::NoMailData || holding.octets < self.holding.octets {
            self.eased_at = now;
        }
        (self.holding, self.now) = (holding, now);
        self.level() != before
    }

    /// What was said last.
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// The level in force for MAIL and for connections.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether clients in mail data are made to wait.
    pub fn holds_back(&self) -> bool {
        let is_moving = self.now < self.eased_at.plus_ms(limits::HELD_BACK_MS);
        let may_ease = self.holding.letters > 0 || self.holding.writes > 0;
        self.level >= Level::NoMailData && may_ease && is_moving
    }

    /// When it must be looked at again, though nothing happens.
    pub fn next_time(&self) -> Option<Time> {
        self.holds_back().then(|| self.now.plus_ms(limits::HELD_BACK_STEP_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SESSION_MEMORY_OCTETS;

    #[test]
    fn levels_rise_and_fall_with_a_gap_between() {
        let mut pressure = Pressure::new(SESSION_MEMORY_OCTETS);
        let percent = SESSION_MEMORY_OCTETS as usize / 100;
        let mut seen = Vec::new();
        for step in (0..=95).chain((0..95).rev()) {
            pressure.octets = ((percent + 1) * step) as u64;
            if pressure.update() {
                seen.push((step, pressure.level()));
            }
        }
        assert_eq!(
            seen,
            [
                (60, Level::NoAccepts),
                (75, Level::NoMailData),
                (90, Level::NoMail),
                (79, Level::NoMailData),
                (64, Level::NoAccepts),
                (49, Level::Normal)
            ]
        );
    }
}
