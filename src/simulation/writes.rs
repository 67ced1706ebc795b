//! Writes to files: each takes its time, and ends whole, short, failed, or only when it is cancelled.

use rustix::io::Errno;

use crate::limits::PAGE_OCTETS;
use crate::memory::write::{File, Write};
use crate::reactor::io::{Payload, Time, Token};
use crate::simulation::world::World;

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Writing {
    token: Token,
    /// Its octets are lent, and its file open, until it ends.
    _write: Write,
    /// The number that the disk gave it.
    number: u64,
    /// When and how it ends, if it does by itself.
    end: Option<(Time, Result<u32, Errno>)>,
}

impl Writing {
    /// When it ends by itself.
    pub(super) fn ends_at(&self) -> Option<Time> {
        self.end.map(|(at, _)| at)
    }
}

impl World {
    pub(super) fn begin_write(&mut self, token: Token, write: Write) {
        self.counts.writes += 1;
        assert!(self.writes.iter().all(|other| other.token != token), "{token:?}: two writes with one number");
        let octets = write.octets.octets();
        assert!(!octets.is_empty(), "{token:?}: nothing to write");
        let number = match (&*write.file, &self.files) {
            (File::Numbered(file), Some(files)) => {
                files.set_now(self.now);
                files.begin_write(*file, write.at, octets, write.is_synced)
            }
            _ => None,
        };
        let Some(number) = number else { return self.finish(token, Err(Errno::BADF), Payload::None) };
        let (faults, chance) = (self.faults, &mut self.chance);
        let result = if let Some(failure) = self.write_failures.pop_front() {
            Err(failure)
        } else if chance.percent(faults.write_fails) {
            Err(Errno::IO)
        } else if chance.percent(faults.write_lacks_room) {
            Err(Errno::NOSPC)
        } else if chance.percent(faults.short_write) {
            // What goes past the page cache ends with one of its pages.
            let granule = if octets.len().is_multiple_of(PAGE_OCTETS) { PAGE_OCTETS } else { 1 };
            Ok((chance.below(octets.len() / granule) * granule) as u32)
        } else {
            Ok(octets.len() as u32)
        };
        let hangs = std::mem::take(&mut self.write_hangs) || chance.percent(faults.write_hangs);
        let delay_ms = if chance.percent(faults.slow_write) { chance.between(0, faults.slow_write_most_ms) } else { 0 };
        let end = (!hangs).then(|| (self.now.plus_ms(delay_ms), result));
        self.writes.push(Writing { token, _write: write, number, end });
    }

    /// Ends the writes whose time has come, in whatever order.
    pub(super) fn progress_writes(&mut self) {
        let now = self.now;
        while let Some(at) = self.writes.iter().position(|writing| writing.ends_at().is_some_and(|end| end <= now)) {
            let writing = self.writes.swap_remove(at);
            let result = writing.end.map_or(Err(Errno::IO), |(_, result)| result);
            self.end_write(&writing, result);
        }
    }

    /// A disk that has begun goes on, as a kernel's does; one that hangs is given up.
    pub(super) fn cancel_write(&mut self, target: Token) -> bool {
        let hung = self.writes.iter().position(|writing| writing.token == target && writing.end.is_none());
        let Some(at) = hung else { return false };
        let writing = self.writes.swap_remove(at);
        self.end_write(&writing, Err(Errno::CANCELED));
        true
    }

    /// The shard and its ring are gone: nobody hears of any write more, and nothing is lent any more.
    pub(super) fn abandon_writes(&mut self) {
        self.started.clear();
        for writing in std::mem::take(&mut self.writes) {
            if let Some(files) = &self.files {
                let result = writing.end.map_or(Err(Errno::CANCELED), |(_, result)| result);
                let _ = files.end_write(writing.number, result);
            }
        }
    }

    fn end_write(&mut self, writing: &Writing, result: Result<u32, Errno>) {
        let result = match &self.files {
            Some(files) => {
                files.set_now(self.now);
                files.end_write(writing.number, result)
            }
            None => Err(Errno::BADF),
        };
        self.finish(writing.token, result, Payload::None);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::memory::slab::Slab;
    use crate::reactor::io::{Completion, Io as _, Kind, Operation};
    use crate::simulation::chance::Chance;
    use crate::simulation::faults::Faults;
    use crate::simulation::files::Plain;
    use crate::simulation::io::SimulatedIo;
    use crate::simulation::world::Network;

    struct Scene {
        io: SimulatedIo,
        network: Network,
        disk: Plain,
        slab: Slab,
        file: Arc<File>,
    }

    fn scene(faults: Faults, seed: u64) -> Scene {
        let network = Network::with_faults(&[], faults, Chance::new(seed));
        let disk = Plain::default();
        disk.create(7, 16 * 64);
        network.set_files(Rc::new(disk.clone()));
        let io = SimulatedIo::new(network.clone(), seed);
        Scene { io, network, disk, slab: Slab::with_blocks_of(1024, 4), file: Arc::new(File::Numbered(7)) }
    }

    fn token(kind: Kind, slot: u32) -> Token {
        Token { kind, generation: 1, slot }
    }

    impl Scene {
        /// The n-th piece of 64 octets of the file, all of them n + 1.
        fn start(&mut self, slot: u32) {
            let octets = self.slab.append_whole(&[slot as u8 + 1; 64]).unwrap();
            let write = Write { file: Arc::clone(&self.file), octets, at: u64::from(slot) * 64, is_synced: true };
            self.io.start(token(Kind::Write, slot), Operation::Write { write });
        }

        /// What has completed after so much time.
        fn after_ms(&mut self, ms: u64) -> Vec<(u32, Result<u32, Errno>)> {
            let until = self.network.now().plus_ms(ms);
            let mut all = Vec::new();
            loop {
                self.io.wait(Some(until)).unwrap();
                let next = std::iter::from_fn(|| self.io.complete());
                all.extend(next.map(|Completion { token, result, .. }| (token.slot, result)));
                if self.network.now() >= until {
                    return all;
                }
            }
        }
    }

    /// Of every kind of end there are some, in an order of their own; the octets that are said to be written are.
    #[test]
    fn writes_end_in_every_way() {
        let faults = Faults {
            write_fails: 20,
            write_lacks_room: 20,
            short_write: 30,
            slow_write: 80,
            slow_write_most_ms: 100,
            ..Faults::NONE
        };
        let (mut failed, mut lacked, mut short, mut whole, mut reordered) = (0, 0, 0, 0, 0);
        for seed in 0..40 {
            let mut scene = scene(faults, seed);
            (0..16).for_each(|slot| scene.start(slot));
            assert_eq!(scene.network.operations_under_way(), 16);
            let done = scene.after_ms(200);
            assert_eq!((done.len(), scene.disk.under_way(), scene.network.operations_under_way()), (16, 0, 0));
            reordered += done.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
            let file = scene.disk.read(7);
            for (slot, result) in done {
                let written = result.map_or(0, |octets| octets as usize);
                match result {
                    Err(Errno::IO) => failed += 1,
                    Err(Errno::NOSPC) => lacked += 1,
                    Ok(64) => whole += 1,
                    other => short += usize::from(other.is_ok_and(|octets| octets < 64)),
                }
                let piece = &file[slot as usize * 64..][..64];
                assert!(piece[..written].iter().all(|octet| *octet == slot as u8 + 1));
                assert!(piece[written..].iter().all(|octet| *octet == 0));
            }
            assert_eq!((Arc::strong_count(&scene.file), scene.slab.octets()), (1, 1024));
        }
        assert_eq!(failed + lacked + short + whole, 40 * 16);
        assert!([failed, lacked, short, whole, reordered].iter().all(|count| *count > 40));
    }

    /// On the disk that loses power: what has completed is there, what has not may be, and the disk has its own faults.
    #[test]
    fn a_write_that_was_told_survives_a_power_cut() {
        use std::path::Path;

        use crate::simulation::disk::{Fate, SimDisk};
        use crate::spool::storage::Storage as _;

        let network = Network::with_faults(&[], Faults::NONE, Chance::new(3));
        let (disk, directory) = (SimDisk::new(3), Path::new("/log"));
        disk.make_directory(directory).unwrap();
        let path = directory.join("0000.segment");
        let file = disk.create(&path, 4 * 4096).unwrap();
        file.sync().unwrap();
        disk.sync_directory(directory).unwrap();
        let disk_file = file.shared();
        network.set_files(Rc::new(disk.clone()));
        let io = SimulatedIo::new(network.clone(), 3);
        let mut scene = Scene { io, network, disk: Plain::default(), slab: Slab::new(1), file: disk_file };
        let start = |scene: &mut Scene, slot: u32| {
            let octets = scene.slab.append_whole(&[slot as u8 + 1; 4096]).unwrap();
            let write = Write { file: Arc::clone(&scene.file), octets, at: u64::from(slot) * 4096, is_synced: true };
            scene.io.start(token(Kind::Write, slot), Operation::Write { write });
        };
        start(&mut scene, 0);
        assert_eq!(scene.after_ms(1), [(0, Ok(4096))]);
        scene.network.hang_write();
        start(&mut scene, 1);
        assert_eq!(scene.after_ms(1), []);
        disk.set_plan(|_| Fate::Fails(Errno::IO));
        start(&mut scene, 2);
        assert_eq!(scene.after_ms(1), [(2, Err(Errno::IO))]);
        let mut torn = 0;
        for seed in 0..40 {
            let after = disk.power_cut(&mut Chance::new(seed)).octets(&path);
            assert!(after[..4096].iter().all(|octet| *octet == 1));
            torn += usize::from(after[4096..].iter().any(|octet| *octet != 0));
        }
        assert!(torn > 0 && torn < 40, "{torn} of 40");
    }

    #[test]
    fn what_hangs_ends_when_it_is_cancelled_and_not_before() {
        let mut scene = scene(Faults::NONE, 1);
        scene.network.hang_write();
        scene.network.fail_write(Errno::NOSPC);
        (0..3).for_each(|slot| scene.start(slot));
        let mut done = scene.after_ms(1_000_000);
        done.sort_unstable_by_key(|(slot, _)| *slot);
        assert_eq!(done, [(1, Ok(64)), (2, Ok(64))], "the first was to fail, and hangs");
        assert_eq!((scene.disk.under_way(), scene.network.operations_under_way()), (1, 1));
        for _ in 0..2 {
            scene.io.start(token(Kind::Cancel, 0), Operation::Cancel { target: token(Kind::Write, 0) });
        }
        assert_eq!(scene.after_ms(1), [(0, Err(Errno::CANCELED)), (0, Ok(0)), (0, Err(Errno::NOENT))]);
        assert_eq!((Arc::strong_count(&scene.file), scene.disk.under_way()), (1, 0));
        assert_eq!(&scene.disk.read(7)[..65], [&[0; 64][..], &[2]].concat());
    }
}
