//! The disk ceiling: the blocks that a durable spool writes, with no mail in them (PERFORMANCE.md).
//!
//! Synced writes of whole blocks by the engine's own ring, several in flight, one behind the other into a file that was
//! allocated and zeroed before, and again from its beginning when it is full: no block is new to the file system, which then has
//! nothing of its own to write. `writer` writes, `place` says what a directory lies on.

pub mod place;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringmx::metrics::report::{grouped, size, time};
use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate};

use crate::arguments::DiskArguments;
use crate::failure::Failure;
use crate::measure::machine;
use crate::measure::processor::ProcessTime;
use crate::measure::progress::Progress;
use place::Place;
use writer::{ALIGNMENT, Writer};

/// What is measured when nothing is asked for.
const BLOCKS: [u64; 4] = [4 << 10, 64 << 10, 256 << 10, 1 << 20];
const DEPTHS: [u16; 4] = [1, 2, 4, 8];

/// Octets of the file: more than what a disk's controller takes in at once, little enough to be zeroed in a moment.
const FILE_OCTETS: u64 = 128 << 20;
const FILE_OCTETS_SMALL: u64 = 8 << 20;

/// Of a small cell.
const SMALL: Duration = Duration::from_millis(20);

/// Longest time that is told apart, in ns.
const LONGEST_NS: u64 = 60_000_000_000;

/// How blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Octets of each.
    pub block_octets: u64,
    /// In flight.
    pub depth: u16,
}

/// What a disk does with them.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Octets per second.
    pub octets: f64,
    /// Blocks per second.
    pub writes: f64,
    /// Of one write, in ns.
    pub p50_ns: u64,
    /// Of one write, in ns.
    pub p99_ns: u64,
    /// Processor time of one write, in ns.
    pub cpu_ns: u64,
    /// Writes from memory that the kernel did not know before.
    pub plain: u64,
}

/// The command `disk-ceiling`.
pub fn run(options: &DiskArguments) -> Result<(), Failure> {
    let octets = if options.small { FILE_OCTETS_SMALL } else { FILE_OCTETS };
    let bed = Bed::prepare(&options.directory, octets, !options.buffered)?;
    println!("disk ceiling of {} ({})", bed.place.directory.display(), bed.place.file_system);
    println!("{}, by the engine's ring; a zeroed file of {} is written again and again", bed.way(), binary(octets));
    println!("machine {}\ncommit {}\n", machine::describe(), machine::commit());
    let blocks = options.block.map_or(BLOCKS.to_vec(), |block| vec![block]);
    let depths = options.depth.map_or(DEPTHS.to_vec(), |depth| vec![depth]);
    let shapes = blocks
        .iter()
        .flat_map(|block| depths.iter().map(|depth| Shape { block_octets: *block, depth: *depth }))
        .collect::<Vec<_>>();
    let span = if options.small { SMALL } else { Duration::from_secs_f64(options.seconds) };
    let mut progress = Progress::new();
    progress.expect(shapes.len() as u64);
    let mut rows = Vec::new();
    for shape in shapes {
        progress.step(&format!("{} in flight of {}", shape.depth, binary(shape.block_octets)));
        rows.push((shape, bed.write(shape, span)?));
    }
    progress.clear();
    println!(
        "{:>12} {:>10} {:>14} {:>12} {:>12} {:>12} {:>12}",
        "block", "in flight", "octets/s", "writes/s", "p50", "p99", "CPU/write"
    );
    let plain: u64 = rows.iter().map(|(_, speed)| speed.plain).sum();
    for (shape, speed) in rows {
        println!(
            "{:>12} {:>10} {:>14} {:>12} {:>12} {:>12} {:>12}",
            binary(shape.block_octets),
            shape.depth,
            size(speed.octets as u64),
            grouped(speed.writes as u64),
            time(speed.p50_ns),
            time(speed.p99_ns),
            time(speed.cpu_ns)
        );
    }
    if plain > 0 {
        println!(
            "{} writes were not from registered buffers: the limit of locked memory (ulimit -l) is too low.",
            grouped(plain)
        );
    }
    println!(
        "A write is complete when the disk says that it is durable; whether it is, and what is cached, only its maker knows."
    );
    Ok(())
}

/// A file to write into, which is gone from its directory already: nothing is left, whatever happens.
#[derive(Debug)]
pub struct Bed {
    /// Where it lies.
    pub place: Place,
    file: File,
    octets: u64,
    is_direct: bool,
}

impl Bed {
    /// Allocated, zeroed and synced. A direct one goes past the page cache.
    pub fn prepare(directory: &Path, octets: u64, is_direct: bool) -> Result<Self, Failure> {
        let place = Place::of(directory)?;
        let path = place.directory.join(format!(".ringmx-bench-disk-{}", std::process::id()));
        let cannot = |what: &str, error: std::io::Error| {
            Failure::Unavailable(format!("cannot {what} a file in {}: {error}", place.directory.display()))
        };
        let mut new = File::create_new(&path).map_err(|error| cannot("make", error))?;
        let _ = new.set_permissions(fs::Permissions::from_mode(0o600));
        let flags = if is_direct { OFlags::DIRECT.bits() as i32 } else { 0 };
        let again = OpenOptions::new().write(true).custom_flags(flags).open(&path);
        fs::remove_file(&path).map_err(|error| cannot("remove", error))?;
        let file = again.map_err(|error| match is_direct && error.raw_os_error() == Some(libc::EINVAL) {
            true => Failure::Unavailable(format!(
                "{} ({}) takes no direct writes: --buffered goes through the page cache",
                place.directory.display(),
                place.file_system
            )),
            false => cannot("open", error),
        })?;
        fallocate(&new, FallocateFlags::empty(), 0, octets).map_err(|errno| cannot("allocate", errno.into()))?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..octets / zeros.len() as u64 {
            new.write_all(&zeros).map_err(|error| cannot("zero", error))?;
        }
        new.sync_all().map_err(|error| cannot("sync", error))?;
        // Else the first direct write to each page has to throw it out. It is only a wish.
        let _ = fadvise(&new, 0, None, Advice::DontNeed);
        Ok(Self { place, file, octets, is_direct })
    }

    /// In words.
    pub fn way(&self) -> &'static str {
        if self.is_direct { "O_DIRECT and RWF_DSYNC" } else { "through the page cache, RWF_DSYNC" }
    }

    /// Writes blocks for so long.
    pub fn write(&self, shape: Shape, span: Duration) -> Result<Speed, Failure> {
        let Shape { block_octets, depth } = shape;
        let failed = |error: std::io::Error| {
            Failure::System(format!("cannot write to {}: {error}", self.place.directory.display()))
        };
        let file = self.file.try_clone().map_err(failed)?;
        let mut writer = Writer::new(file, block_octets as usize, depth).map_err(failed)?;
        let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid");
        let mut begun = vec![Instant::now(); usize::from(depth)];
        let mut next = 0;
        let mut place = || {
            let offset = next;
            next = if next + 2 * block_octets > self.octets { 0 } else { next + block_octets };
            offset
        };
        let used = || ProcessTime::of(std::process::id()).map_err(failed);
        let before = used()?;
        let start = Instant::now();
        for slot in 0..depth {
            begun[usize::from(slot)] = Instant::now();
            writer.start(slot, place());
        }
        let mut in_flight = depth;
        while in_flight > 0 {
            writer.wait().map_err(failed)?;
            while let Some(done) = writer.complete() {
                let slot = done.map_err(failed)?;
                let now = Instant::now();
                times.saturating_record((now - begun[usize::from(slot)]).as_nanos() as u64);
                if now - start >= span {
                    in_flight -= 1;
                    continue;
                }
                begun[usize::from(slot)] = now;
                writer.start(slot, place());
            }
        }
        let writes = times.len() as f64 / start.elapsed().as_secs_f64();
        let (cpu_ns, _) = used()?.since_ns(before);
        Ok(Speed {
            octets: writes * block_octets as f64,
            writes,
            p50_ns: times.value_at_quantile(0.5),
            p99_ns: times.value_at_quantile(0.99),
            cpu_ns: cpu_ns / times.len().max(1),
            plain: writer.counts().plain_writes,
        })
    }
}

/// As blocks are spoken of: 64 KiB.
pub fn binary(octets: u64) -> String {
    match octets {
        0x10_0000.. if octets.is_multiple_of(0x10_0000) => format!("{} MiB", octets >> 20),
        _ => format!("{} KiB", octets >> 10),
    }
}

/// Octets of a block: whole pages, and several of them in the file.
pub fn block(text: &str) -> Result<u64, String> {
    let octets = crate::generate::arguments::octets(text)?;
    let most = FILE_OCTETS_SMALL / 4;
    match octets >= ALIGNMENT as u64 && octets.is_multiple_of(ALIGNMENT as u64) && octets <= most {
        true => Ok(octets),
        false => Err(format!("a block is a multiple of {ALIGNMENT} octets, up to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_whole_pages() {
        assert_eq!(block("64k"), Ok(65_536));
        for wrong in ["0", "1000", "4097", "1g", "x"] {
            assert!(block(wrong).is_err(), "{wrong}");
        }
    }

    /// Of any number of blocks in flight each comes to its end, and nothing is left in the directory.
    #[test]
    fn what_is_begun_is_counted() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bed = Bed::prepare(directory, FILE_OCTETS_SMALL, false).unwrap();
        for depth in DEPTHS {
            let speed = bed.write(Shape { block_octets: 1 << 20, depth }, Duration::ZERO).unwrap();
            assert!(speed.writes > 0.0 && speed.p50_ns > 0 && speed.p50_ns <= speed.p99_ns, "{speed:?}");
        }
        let left = format!(".ringmx-bench-disk-{}", std::process::id());
        assert!(!directory.join(left).exists());
    }
}
