//! What a kill or a power cut leaves of the logs, as the production recovery finds it: all that was promised is there, and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use crate::handoff::place::{LogId, LogKind, Position};
use crate::mail::manifest::Manifest;
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::smtp::session::Outcome;
use crate::spool::cursor::{self, CursorFile, Said};
use crate::spool::recovery::{Recovered, Wanted, recover};
use crate::spool::scan::assembly::{Assembler, Event, Message as Read};
use crate::spool::scan::content::ContentReader;
use crate::spool::scan::{Found as Piece, LogScan, Owner};
use crate::spool::steward::preparing::PREPARING;

use super::super::book::{Book, EPOCH, Message, NODE, id};
use super::CHAINS;
use super::rig::{SPOOL, sink_name};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    pub messages: u64,
    /// Of those, such that nobody was promised anything of.
    pub unasked: u64,
}

/// The machine loses its power, or the process is killed; then it starts again.
pub fn check(disk: &SimDisk, book: &Book, chance: &mut Chance) -> Result<Found, String> {
    let has_power = chance.percent(40);
    let after = if has_power { disk.process_kill(chance) } else { disk.power_cut(chance) };
    let mut found = Found::default();
    for (log, chain) in CHAINS.into_iter().enumerate() {
        if book.logs[log].begun == 0 {
            continue;
        }
        // What was only written nobody promised to keep through a power cut.
        let is_kept = has_power || chain.is_synced();
        let image = Image { disk: &after, book, log, is_kept };
        let what = if has_power { "a kill" } else { "a power cut" };
        let more = image.check(chance).map_err(|why| format!("behind {what}, {}: {why}", chain.name()))?;
        found.messages += more.messages;
        found.unasked += more.unasked;
    }
    Ok(found)
}

/// One log on what is left of the disk.
struct Image<'i> {
    disk: &'i SimDisk,
    book: &'i Book,
    log: usize,
    is_kept: bool,
}

impl Image<'_> {
    fn owner(&self) -> Owner {
        Owner { chain: CHAINS[self.log], shard: 0, node: NODE }
    }

    fn check(&self, chance: &mut Chance) -> Result<Found, String> {
        let cursors = self.cursors()?;
        let wanted = Wanted {
            owner: self.owner(),
            epoch: Some(EPOCH + 1),
            least_base: cursors.iter().map(|cursor| cursor.address).max().unwrap_or(0),
            // As the engine has it: nobody reads what was only to be written.
            needed_from: cursors.iter().map(|cursor| cursor.from).min().unwrap_or(u64::MAX),
            entropy: chance.draw() as u32 % 64,
            others: &[PREPARING],
        };
        let directory = Path::new(SPOOL).join(CHAINS[self.log].directory(0));
        let recovered =
            recover(self.disk, &directory, &wanted, &mut |_| ()).map_err(|error| format!("recovery: {error}"))?;
        if let Some(corruption) = recovered.corruption.first().filter(|_| self.is_kept) {
            return Err(format!("recovery finds corruption where there is none: {corruption}"));
        }
        if cursors.is_empty() {
            return Ok(Found::default());
        }
        let there = self.read(&recovered, wanted.needed_from)?;
        self.judge(&there, &cursors)
    }

    /// From where on each of the sinks goes on.
    fn cursors(&self) -> Result<Vec<Position>, String> {
        let kind = [Some(LogKind::Durable), Some(LogKind::Written), None][self.log];
        let Some(kind) = kind else { return Ok(Vec::new()) };
        let directory = cursor::directory(Path::new(SPOOL));
        let open = |route: usize| {
            let name = sink_name(route);
            match CursorFile::open(self.disk, &directory, (&name, LogId { kind, shard: 0 }, NODE)) {
                Ok((_, Said::Position(position))) => Ok(position),
                // The first that was written was torn: all comes again.
                Ok((_, Said::Nothing | Said::Damaged)) => Ok(Position::default()),
                Err(error) => Err(format!("the cursor of {name}: {error}")),
            }
        };
        (0..self.book.is_gone.len()).map(open).collect()
    }

    /// The messages that are there, octet for octet what was sent, by their place in the book; with where they end.
    fn read(&self, recovered: &Recovered, from: u64) -> Result<BTreeMap<usize, u64>, String> {
        let files = recovered.files();
        let mut scan = LogScan::new(&files, self.owner(), from, u64::MAX);
        let mut assembler = Assembler::new(from);
        let (mut messages, mut damaged) = (Vec::new(), Vec::new());
        let mut each = |event: Event<'_>| match event {
            Event::Message(message, manifest) => messages.push((message, manifest.into_owned())),
            Event::Unfinished(_) | Event::Aborted(_) => {}
            Event::Damaged(..) | Event::Strange(..) => damaged.push(format!("{event:?}")),
        };
        let mut last = None;
        while let Some(piece) = scan.next_found().map_err(|error| error.to_string())? {
            let Piece::Block(block) = piece else { continue };
            let sequence = block.header.sequence;
            // Who lies behind what is missing is not whole for that; where it begins to be read something may be missing, too.
            if last.replace(sequence).is_none_or(|before: u64| before + 1 < sequence) {
                assembler.void(block.header.address);
                if !self.is_kept {
                    assembler.bad(block.header.address);
                }
            }
            match recovered.voids.has(sequence) {
                true => assembler.void(block.header.address),
                false => assembler.block(&block, &mut each),
            }
        }
        assembler.finish(&mut each);
        if let Some(damaged) = damaged.first().filter(|_| self.is_kept) {
            return Err(damaged.clone());
        }
        let mut reader = ContentReader::new().map_err(|error| error.to_string())?;
        let mut there = BTreeMap::new();
        for (message, manifest) in messages {
            let mut content = Vec::new();
            let whole = reader.read(&files, self.owner(), &message, |piece| content.extend_from_slice(piece));
            match whole {
                // The checksum says so: nobody is given it.
                Err(_) if !self.is_kept => continue,
                Err(error) => return Err(format!("{message:?}: {error}")),
                Ok(()) => {}
            }
            let at = self.known(&message, &manifest, &content)?;
            if there.insert(at, message.place).is_some() {
                return Err(format!("message {at} is there twice"));
            }
        }
        Ok(there)
    }

    /// The place of a message in the book. It was sent like this, to its end.
    fn known(&self, read: &Read, manifest: &[u8], content: &[u8]) -> Result<usize, String> {
        let told = Manifest::decode(manifest).map_err(|error| format!("{read:?}: {error}"))?;
        let at = self.book.at(told.id).ok_or_else(|| format!("nobody sent {}", told.id))?;
        let message = &self.book.messages[at];
        if message.log() != Some(self.log) || message.is_refused_at_end() {
            return Err(format!("message {at} was not sent to its end here, and is there"));
        }
        let sent = Manifest::decode(&message.manifest).map_err(|error| error.to_string())?;
        if told != (Manifest { id: id(told.id.sequence()), ..sent }) || content != message.content {
            return Err(format!("message {at} is there, and altered"));
        }
        Ok(at)
    }

    fn judge(&self, there: &BTreeMap<usize, u64>, cursors: &[Position]) -> Result<Found, String> {
        let is_accepted = |message: &Message| matches!(message.said, Some((Outcome::AcceptAs(_), _)));
        for (at, message) in self.book.messages.iter().enumerate() {
            if !self.is_kept || message.log() != Some(self.log) || !is_accepted(message) {
                continue;
            }
            for parcel in message.parcels.iter().filter(|parcel| !parcel.is_done()) {
                let from = cursors[usize::from(parcel.route)].address;
                match there.get(&at) {
                    None => return Err(format!("message {at} was acknowledged, and is lost")),
                    Some(place) if *place < from => {
                        let route = parcel.route;
                        return Err(format!("message {at} was acknowledged, and sink {route} goes on behind it"));
                    }
                    Some(_) => {}
                }
            }
        }
        let unasked = there.keys().filter(|at| !is_accepted(&self.book.messages[**at])).count() as u64;
        Ok(Found { messages: there.len() as u64, unasked })
    }
}
