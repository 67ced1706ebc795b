//! What becomes of mail that a sink has not taken: which class it waits in, and until when.
//!
//! *Pure*: time, id and history in, decision out. *Invariant*: the same input gives the same decision, so that it can be asked for
//! again when a write of it failed.

use crate::limits;
use crate::mail::id::MessageId;
use crate::spool::deferred::class::Class;
use crate::spool::options::SpoolOptions;

/// How long deferred mail waits. Its defaults are DESIGN's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// Before each attempt but the first; the last one before all that follow. At least one.
    pub delays_s: Vec<u32>,
    /// From its first deferral on. What is refused after that is dead.
    pub lifetime_s: u64,
    /// Octets that may lie in each class that waits for the operator.
    pub aside_octets: u64,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            delays_s: limits::RETRY_S.to_vec(),
            lifetime_s: limits::SPOOL_LIFETIME_S,
            aside_octets: limits::DEFERRED_ASIDE_OCTETS,
        }
    }
}

/// What is kept of the attempts so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How often it was tried.
    pub attempts: u32,
    /// How often of late that went wrong without a word.
    pub mishaps: u8,
    /// When it was deferred first, in ms since 1970; `None` if it never was.
    pub since_ms: Option<u64>,
}

/// How an attempt ended, for some recipients of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// They may be taken later.
    RefusedForNow,
    /// They never will.
    RefusedForGood,
    /// The sink panicked over the message, or let go of it without a word.
    Mishap,
}

/// Where they wait from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// In this class.
    pub class: Class,
    /// Until then, in ms since 1970; 0 where they wait for the operator.
    pub next_ms: u64,
    /// With this behind them.
    pub history: History,
}

impl RetryOptions {
    /// What the operator says.
    pub fn of(spool: &SpoolOptions) -> Self {
        Self { delays_s: spool.retry_s.clone(), lifetime_s: spool.lifetime_s, ..Self::default() }
    }

    /// What becomes of recipients whose attempt has just ended so.
    pub fn next(&self, id: MessageId, before: History, outcome: Outcome, now_ms: u64) -> Next {
        let since_ms = before.since_ms.unwrap_or(now_ms);
        let mishaps = if outcome == Outcome::Mishap { before.mishaps.saturating_add(1) } else { 0 };
        let history = History { attempts: before.attempts.saturating_add(1), mishaps, since_ms: Some(since_ms) };
        // A clock that was wrong makes nothing old: as many attempts as there are delays must have been made, too.
        let is_too_old = now_ms.saturating_sub(since_ms) >= self.lifetime_s.saturating_mul(1000)
            && history.attempts as usize > self.delays_s.len();
        let class = match outcome {
            Outcome::RefusedForGood => Class::Dead,
            Outcome::Mishap if mishaps >= limits::DEFERRED_MISHAPS => Class::Quarantined,
            Outcome::RefusedForNow | Outcome::Mishap if is_too_old => Class::Dead,
            Outcome::RefusedForNow | Outcome::Mishap => return self.retry(id, history, now_ms),
        };
        Next { class, next_ms: 0, history }
    }

    /// Where they wait when there is no room where they should wait for the operator: with those that wait longest. So they are kept,
    /// and stand in nobody's way.
    pub fn instead_of_aside(&self, id: MessageId, history: History, now_ms: u64) -> Next {
        let attempts = history.attempts.max(self.delays_s.len() as u32);
        Next { history, ..self.retry(id, History { attempts, ..history }, now_ms) }
    }

    fn retry(&self, id: MessageId, history: History, now_ms: u64) -> Next {
        let place = (history.attempts.max(1) as usize - 1).min(self.delays_s.len() - 1);
        let delay_s = self.delays_s[place];
        let next_ms = now_ms.saturating_add(jittered_ms(delay_s, id, history.attempts));
        Next { class: Class::Retry(delay_s), next_ms, history }
    }
}

/// Parts of a thousand that a delay is longer by, at most.
const JITTER_PERMILLE: u64 = 100;

/// A delay, longer by up to a tenth: which tenth, the message and its attempt say.
fn jittered_ms(delay_s: u32, id: MessageId, attempts: u32) -> u64 {
    let bits = id.bits();
    let mut mixed = (bits >> 64) as u64 ^ (bits as u64).rotate_left(23) ^ u64::from(attempts) << 40;
    // The last steps of SplitMix64: ids that follow each other are far apart behind them.
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    u64::from(delay_s) * (1000 + mixed % (JITTER_PERMILLE + 1))
}

/// The longest that mail of a class waits for its next attempt, in ms.
pub fn longest_ms(delay_s: u32) -> u64 {
    u64::from(delay_s) * (1000 + JITTER_PERMILLE)
}

/// When the first of a class is due, those go with it that would be so soon after, in ms: what trickles in is tried in batches,
/// which share their syncs and fill their blocks.
pub fn gathered_ms(delay_s: u32) -> u64 {
    u64::from(delay_s) * 1000 / limits::DEFERRED_GATHERED_PART
}

/// How mail waits, as its log keeps it: a state in four bits, and mishaps in four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Of this class, of which a retry's delay is not kept here.
    pub kind: Kind,
    /// See [`History::mishaps`].
    pub mishaps: u8,
}

/// The first four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is tried again.
    Deferred = 0,
    /// The operator holds it.
    Held = 1,
    /// Delivering it went wrong too often.
    Quarantined = 2,
    /// It was refused for good, or waited too long.
    Dead = 3,
}

impl State {
    /// Of mail in this class.
    pub fn of(class: Class, mishaps: u8) -> Self {
        let kind = match class {
            Class::Retry(_) | Class::Replay => Kind::Deferred,
            Class::Held => Kind::Held,
            Class::Quarantined => Kind::Quarantined,
            Class::Dead => Kind::Dead,
        };
        Self { kind, mishaps }
    }

    /// As it is written.
    pub fn code(self) -> u8 {
        self.kind as u8 | self.mishaps.min(15) << 4
    }

    /// What was written. A state that there is not is taken for the first.
    pub fn of_code(code: u8) -> Self {
        let kind = match code & 15 {
            1 => Kind::Held,
            2 => Kind::Quarantined,
            3 => Kind::Dead,
            _ => Kind::Deferred,
        };
        Self { kind, mishaps: code >> 4 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_900_000_000_000;

    fn id(sequence: u64) -> MessageId {
        MessageId::new(0xFEED, 1, 0, sequence)
    }

    #[test]
    fn a_message_goes_through_the_delays_and_stays_with_the_last_until_it_is_dead() {
        let options = RetryOptions::default();
        let (mut history, mut now_ms, mut seen) = (History::default(), NOW_MS, Vec::new());
        let dead = loop {
            let next = options.next(id(7), history, Outcome::RefusedForNow, now_ms);
            let Class::Retry(delay_s) = next.class else { break next };
            assert!(next.next_ms >= now_ms + u64::from(delay_s) * 1000);
            assert!(next.next_ms <= now_ms + longest_ms(delay_s));
            assert_eq!(next.history.since_ms, Some(NOW_MS));
            seen.push(delay_s);
            (history, now_ms) = (next.history, next.next_ms);
            assert!(seen.len() < 100);
        };
        assert_eq!(seen[..8], [300, 600, 1200, 2400, 4800, 9600, 14400, 14400]);
        assert_eq!((dead.class, dead.next_ms), (Class::Dead, 0));
        assert_eq!(dead.history.attempts as usize, seen.len() + 1);
        let age_ms = now_ms - NOW_MS;
        assert!((432_000_000..432_000_000 + longest_ms(14400)).contains(&age_ms), "{age_ms}");
        // Five days in steps of 240 to 264 minutes, after some that are shorter.
        assert!((30..=36).contains(&seen.len()), "{}", seen.len());
    }

    #[test]
    fn a_clock_that_was_wrong_kills_nothing() {
        let options = RetryOptions::default();
        let mut history = History { attempts: 1, mishaps: 0, since_ms: Some(0) };
        for _ in 0..6 {
            let next = options.next(id(1), history, Outcome::RefusedForNow, NOW_MS);
            assert!(matches!(next.class, Class::Retry(_)), "{history:?}");
            history = next.history;
        }
        assert_eq!(options.next(id(1), history, Outcome::RefusedForNow, NOW_MS).class, Class::Dead);
        // One that went back makes it younger, and that is all.
        let young = History { since_ms: Some(NOW_MS + 1), ..history };
        assert!(matches!(options.next(id(1), young, Outcome::RefusedForNow, NOW_MS).class, Class::Retry(14400)));
    }

    #[test]
    fn what_is_refused_for_good_is_dead_at_once() {
        let next = RetryOptions::default().next(id(1), History::default(), Outcome::RefusedForGood, NOW_MS);
        let history = History { attempts: 1, mishaps: 0, since_ms: Some(NOW_MS) };
        assert_eq!(next, Next { class: Class::Dead, next_ms: 0, history });
    }

    #[test]
    fn mishaps_in_a_row_lead_to_quarantine_and_a_word_between_them_does_not() {
        let options = RetryOptions::default();
        let run = |outcomes: &[Outcome]| {
            let mut history = History::default();
            let mut class = Class::Held;
            for outcome in outcomes {
                assert!(class.is_aside() == (class == Class::Held), "it was tried after that");
                let next = options.next(id(1), history, *outcome, NOW_MS);
                (history, class) = (next.history, next.class);
            }
            class
        };
        use Outcome::{Mishap, RefusedForNow};
        assert_eq!(run(&[Mishap, Mishap]), Class::Retry(600));
        assert_eq!(run(&[Mishap, Mishap, Mishap]), Class::Quarantined);
        assert_eq!(run(&[Mishap, Mishap, RefusedForNow, Mishap, Mishap]), Class::Retry(4800));
        assert_eq!(run(&[RefusedForNow, Mishap, Mishap, Mishap]), Class::Quarantined);
    }

    #[test]
    fn jitter_spreads_over_its_tenth_and_is_the_same_each_time() {
        let mut buckets = [0_u32; 10];
        for sequence in 0..10_000 {
            let ms = jittered_ms(300, id(sequence), 1);
            assert_eq!(ms, jittered_ms(300, id(sequence), 1));
            let part = (ms - 300_000) * 10 / 30_300;
            buckets[part as usize] += 1;
        }
        // A thousand each; ten standard deviations are 300.
        assert!(buckets.iter().all(|count| (700..1300).contains(count)), "{buckets:?}");
        // Another attempt, another place in the tenth.
        let moved =
            (0..1000).filter(|sequence| jittered_ms(300, id(*sequence), 1) != jittered_ms(300, id(*sequence), 2));
        assert!(moved.count() > 900);
    }

    #[test]
    fn without_room_aside_it_waits_with_the_last() {
        let options = RetryOptions::default();
        let history = History { attempts: 1, mishaps: 0, since_ms: Some(NOW_MS) };
        let next = options.instead_of_aside(id(1), history, NOW_MS);
        assert_eq!((next.class, next.history), (Class::Retry(14400), history));
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        for class in [Class::Retry(300), Class::Held, Class::Quarantined, Class::Dead] {
            for mishaps in 0..16 {
                let state = State::of(class, mishaps);
                assert_eq!(State::of_code(state.code()), state);
            }
        }
        assert_eq!(State::of(Class::Dead, 200).code(), 3 | 15 << 4);
    }
}
