//! What an operator can say of the spool, with a default for each.
//!
//! *Does not* know how any of it is done: writer, steward and deferred log do.

use std::path::PathBuf;

use crate::limits;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Where the logs lie.
    pub directory: PathBuf,
    /// Of each file of a log of mail that comes in: a power of two, from [`SEGMENT_OCTETS_LEAST`](limits::SEGMENT_OCTETS_LEAST)
    /// to [`SEGMENT_OCTETS_MOST`](limits::SEGMENT_OCTETS_MOST).
    pub segment_octets: u64,
    /// How long mail is kept that all its sinks have, in s.
    pub retain_s: u64,
    /// What all logs of mail that comes in may have together; `None`: what the disk has. Beyond it: 452.
    pub size_octets: Option<u64>,
    /// How long a sink is asked to take a message before it is given up, in s.
    pub lifetime_s: u64,
    /// The delays before each further attempt, in s: at least one, at most [`RETRY_DELAYS`](limits::RETRY_DELAYS), each longer
    /// than the one before. The last is used again and again.
    pub retry_s: Vec<u32>,
    /// What is left free of the disk.
    pub reserve: Reserve,
}

/// What is left free of the disk: with less free, mail gets 452.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// So many octets.
    Said(u64),
    /// DESIGN §6: half as much again as the largest message that the spool may be given, so that one which was begun can end, and
    /// at least a share of the disk.
    Ruled {
        /// The largest message of the listeners whose mail is kept in the spool; 0 without any.
        message_octets: u64,
    },
}

impl Reserve {
    /// How many octets, on a disk with so many in all.
    pub fn octets(self, disk_octets: u64) -> u64 {
        match self {
            Self::Said(octets) => octets,
            Self::Ruled { message_octets } => {
                let share =
                    (disk_octets / 100).saturating_mul(limits::RESERVE_PERCENT).min(limits::RESERVE_OCTETS_MOST);
                share.max(message_octets.saturating_add(message_octets / 2))
            }
        }
    }
}

impl SpoolOptions {
    /// The defaults, in a data directory.
    pub fn within(data_dir: &std::path::Path) -> Self {
        Self {
            directory: data_dir.join("spool"),
            segment_octets: limits::SEGMENT_OCTETS,
            retain_s: 0,
            size_octets: None,
            lifetime_s: limits::SPOOL_LIFETIME_S,
            retry_s: limits::RETRY_S.to_vec(),
            reserve: Reserve::Ruled { message_octets: 0 },
        }
    }

    /// Whether a running engine can go on with these: they differ in nothing but what the rule of the reserve is told, which is
    /// the listeners' and not the spool's.
    pub fn is_same_spool(&self, other: &Self) -> bool {
        let is_ruled = |options: &Self| matches!(options.reserve, Reserve::Ruled { .. });
        let reserve = if is_ruled(self) && is_ruled(other) { self.reserve } else { other.reserve };
        *self == Self { reserve, ..other.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_reserve_is_what_is_said_or_what_is_sensible() {
        let (gib, ruled) = (1 << 30, |message_octets| Reserve::Ruled { message_octets });
        assert_eq!(Reserve::Said(7).octets(u64::MAX), 7);
        assert_eq!(ruled(0).octets(0), 0);
        assert_eq!(ruled(50 << 20).octets(gib), 75 << 20, "a small disk: the messages decide");
        assert_eq!(ruled(50 << 20).octets(100 * gib), 5 * gib, "5 %");
        assert_eq!(ruled(50 << 20).octets(1000 * gib), 10 * gib, "10 GiB at most for the share");
        assert_eq!(ruled(100 * gib).octets(1000 * gib), 150 * gib);
        assert_eq!(ruled(u64::MAX).octets(u64::MAX), u64::MAX);
    }

    #[test]
    fn another_largest_message_is_no_other_spool() {
        let old = SpoolOptions::within(Path::new("data"));
        assert_eq!(old.directory, Path::new("data/spool"));
        let larger = SpoolOptions { reserve: Reserve::Ruled { message_octets: 5 }, ..old.clone() };
        assert!(old.is_same_spool(&larger) && larger.is_same_spool(&old));
        for other in [
            SpoolOptions { reserve: Reserve::Said(0), ..old.clone() },
            SpoolOptions { retain_s: 1, ..larger.clone() },
            SpoolOptions { retry_s: vec![1], ..old.clone() },
            SpoolOptions { directory: "other/spool".into(), ..old.clone() },
        ] {
            assert!(!old.is_same_spool(&other) && !other.is_same_spool(&old), "{other:?}");
        }
        let said = SpoolOptions { reserve: Reserve::Said(5), ..old };
        assert!(!said.is_same_spool(&SpoolOptions { reserve: Reserve::Said(6), ..said.clone() }));
    }
}
