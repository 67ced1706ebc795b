//! The spool under the shard: what a seed says of its disk, and who watches it.
//!
//! `rig` is the production intake with its logs, on segments of the production steward; `witness` stands between the simulated kernel and
//! the disk, and knows of each block whether it is written, so that it can say which answers are true; `image` is what a kill or a power
//! cut leaves, as the production recovery finds it.

mod image;
pub mod rig;
pub mod witness;

use crate::policy::scope::{Promise, Taking};
use crate::simulation::chance::Chance;
use crate::simulation::faults::Faults;
use crate::spool::format::Chain;

/// The logs of a shard, in the order of the intake.
pub const CHAINS: [Chain; 3] = [Chain::Durable, Chain::Written, Chain::Blackhole];

/// The place of its log, if mail that is taken like this has one.
pub fn log_of(taking: Taking) -> Option<usize> {
    match taking {
        Taking::HandOff(Promise::Durable) => Some(0),
        Taking::HandOff(Promise::Written) => Some(1),
        Taking::WriteAndDiscard => Some(2),
        Taking::Discard | Taking::HandOff(Promise::Memory | Promise::Delivered) => None,
    }
}

/// What a seed says of the spool.
#[derive(Clone, Copy, Debug)]
pub struct SpoolPlan {
    pub segment_octets: u64,
    /// Segments that all logs may have together.
    pub segments: Option<u64>,
    /// So often, in percent, fails what the steward and the cursors ask of the disk.
    pub fails: u8,
    /// From then on until then it fails whatever they ask.
    pub breaks: Option<(u64, u64)>,
    /// From then on until then the disk has no room.
    pub fills_up: Option<(u64, u64)>,
    /// From then on until then the steward does nothing.
    pub stands_still: Option<(u64, u64)>,
    /// Sinks begin at the end of the logs, and have nothing to read in them as long as they keep up.
    pub begins_near: bool,
    /// At this moment the process is killed, or the power goes: a look at what is left then.
    pub ends_at: Option<u64>,
}

/// What can be left out, by name.
type Clear = fn(&mut SpoolPlan);
pub const PARTS: [(&str, Clear); 6] = [
    ("d:segments", |plan| plan.segments = None),
    ("d:fails", |plan| plan.fails = 0),
    ("d:breaks", |plan| plan.breaks = None),
    ("d:fills_up", |plan| plan.fills_up = None),
    ("d:stands_still", |plan| plan.stands_still = None),
    ("d:ends_at", |plan| plan.ends_at = None),
];

impl SpoolPlan {
    pub fn draw(draw: &mut Chance, is_calm: bool, block_octets: usize) -> Self {
        let segment_octets = (block_octets * draw.between(2, 4) as usize) as u64;
        let mut window = |share: u8| {
            let from_ms = *draw.pick(&[0, 0, 5, 100, 700, 3_000]);
            let for_ms = *draw.pick(&[50, 500, 3_000, 20_000]);
            draw.percent(share).then_some((from_ms, from_ms + for_ms))
        };
        let (breaks, fills_up, stands_still) = (window(10), window(10), window(15));
        let plan = Self {
            segment_octets,
            segments: draw.percent(20).then(|| draw.between(4, 12)),
            fails: if draw.percent(25) { draw.between(1, 40) as u8 } else { 0 },
            breaks,
            fills_up,
            stands_still,
            begins_near: draw.percent(60),
            ends_at: draw.percent(60).then(|| draw.between(1, 40)),
        };
        match is_calm {
            true => Self { segments: None, fails: 0, breaks: None, fills_up: None, stands_still: None, ..plan },
            false => plan,
        }
    }
}

/// What goes wrong with the shard's own writes.
pub fn add_faults(faults: &mut Faults, draw: &mut Chance) {
    let mut odds = |share: u8, most: u64| if draw.percent(share) { draw.between(1, most) as u8 } else { 0 };
    faults.write_fails = odds(30, 30);
    faults.write_lacks_room = odds(10, 20);
    faults.short_write = odds(20, 20);
    faults.write_hangs = odds(20, 15);
    faults.slow_write = odds(60, 90);
    faults.slow_write_most_ms = *draw.pick(&[1, 20, 400, 400, 5_000, 60_000]);
}

/// The same of a disk that is slow, and fails now and then.
pub fn add_some_faults(faults: &mut Faults, draw: &mut Chance) {
    (faults.write_fails, faults.write_hangs) = (draw.between(2, 10) as u8, 0);
    (faults.slow_write, faults.slow_write_most_ms) = (90, *draw.pick(&[20, 400]));
}

/// How mail is taken at a door, where there is a spool.
pub fn taking(draw: &mut Chance) -> Taking {
    match draw.below(12) {
        0 => Taking::Discard,
        1 => Taking::HandOff(Promise::Memory),
        2 => Taking::HandOff(Promise::Delivered),
        3..8 => Taking::HandOff(Promise::Durable),
        8..10 => Taking::HandOff(Promise::Written),
        _ => Taking::WriteAndDiscard,
    }
}
