//! The octets of one file: as they are read, as they last, and what lies between.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::simulation::chance::Chance;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_OCTETS: usize = 512;
/// What is allocated, and shared between disks, at once.
pub(super) const PAGE_OCTETS: usize = 4096;

static ZEROS: [u8; PAGE_OCTETS] = [0; PAGE_OCTETS];

/// Pages that were written; the others are zeros. Shared between disks until one is written to.
pub(super) type Pages = BTreeMap<u64, Arc<[u8; PAGE_OCTETS]>>;

#[derive(Clone, Debug)]
pub(super) struct Content {
    /// A name that it had.
    pub(super) path: PathBuf,
    pub(super) octets: u64,
    pub(super) has_lasting_length: bool,
    pub(super) is_foreign: bool,
    pub(super) now: Pages,
    pub(super) lasting: Pages,
    /// What was written since and need not last, in order.
    pub(super) pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) at: u64,
    pub(super) octets: Arc<[u8]>,
    /// Sectors that lasting ones have taken the place of.
    pub(super) is_past: Vec<bool>,
    /// It failed, or a sync of it did: no later sync makes it last, whatever that sync says.
    pub(super) has_failed: bool,
}

pub(super) fn are_zeros(octets: &[u8]) -> bool {
    octets.chunks(PAGE_OCTETS).all(|page| *page == ZEROS[..page.len()])
}

pub(super) fn put(pages: &mut Pages, at: u64, octets: &[u8]) {
    let mut at = at as usize;
    let mut rest = octets;
    while !rest.is_empty() {
        let offset = at % PAGE_OCTETS;
        let (now, later) = rest.split_at(rest.len().min(PAGE_OCTETS - offset));
        let number = (at / PAGE_OCTETS) as u64;
        // COST: most of what is written to a new file is zeros, and so is what was never written.
        if pages.contains_key(&number) || !are_zeros(now) {
            let page = pages.entry(number).or_insert_with(|| Arc::new([0; PAGE_OCTETS]));
            Arc::make_mut(page)[offset..offset + now.len()].copy_from_slice(now);
        }
        at += now.len();
        rest = later;
    }
}

impl Pending {
    pub(super) fn new(at: u64, octets: &[u8]) -> Self {
        let is_past = vec![false; octets.len().div_ceil(SECTOR_OCTETS)];
        Self { at, octets: octets.into(), is_past, has_failed: false }
    }

    /// Sectors that nothing took the place of, each with where it is.
    pub(super) fn sectors(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let sectors = self.octets.chunks(SECTOR_OCTETS).zip(&self.is_past).enumerate();
        let place = |number: usize| self.at + (number * SECTOR_OCTETS) as u64;
        sectors.filter(|(_, (_, is_past))| !**is_past).map(move |(number, (sector, _))| (place(number), sector))
    }

    /// Writes what chance keeps of it.
    pub(super) fn tear(&self, pages: &mut Pages, chance: &mut Chance) {
        let sectors = self.is_past.len();
        let way = chance.below(4);
        let first = if way == 2 { chance.below(sectors + 1) } else { 0 };
        let end = self.at + (first * SECTOR_OCTETS) as u64;
        for (at, sector) in self.sectors() {
            let is_kept = match way {
                0 => true,
                1 => false,
                2 => at < end,
                _ => chance.percent(50),
            };
            if is_kept {
                put(pages, at, sector);
            }
        }
    }
}

impl Content {
    /// Nothing was ever written to it but zeros.
    pub(super) fn is_blank(&self) -> bool {
        self.now.is_empty() && self.lasting.is_empty() && self.pending.is_empty()
    }

    /// These octets last; what was there before them does not come again.
    pub(super) fn last(&mut self, at: u64, octets: &[u8]) {
        put(&mut self.lasting, at, octets);
        let end = at + octets.len() as u64;
        for pending in &mut self.pending {
            for (number, is_past) in pending.is_past.iter_mut().enumerate() {
                let sector = pending.at + (number * SECTOR_OCTETS) as u64;
                *is_past |= (at..end).contains(&sector);
            }
        }
        self.pending.retain(|pending| pending.is_past.iter().any(|is_past| !is_past));
    }

    pub(super) fn after_cut(&self, chance: &mut Chance, under_way: &[&Pending]) -> Self {
        let mut lasting = self.lasting.clone();
        for pending in self.pending.iter().chain(under_way.iter().copied()) {
            pending.tear(&mut lasting, chance);
        }
        let has_length = self.has_lasting_length || chance.percent(50);
        if !has_length {
            lasting.clear();
        }
        Self {
            path: self.path.clone(),
            octets: if has_length { self.octets } else { 0 },
            has_lasting_length: true,
            is_foreign: self.is_foreign,
            now: lasting.clone(),
            lasting,
            pending: Vec::new(),
        }
    }
}
