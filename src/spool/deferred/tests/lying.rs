//! What lies in a segment, as somebody sees it who knows nothing but the format.

use std::path::Path;

use crate::mail::manifest::Manifest;
use crate::simulation::disk::SimDisk;
use crate::spool::format::{self, ALIGNMENT, Header, Record};

/// A block that is good.
pub struct Lying {
    /// Octets of the file before it.
    pub at: u64,
    /// Its own, without the zeros behind them.
    pub length: u64,
    pub sequence: u64,
    pub durable_upto: u64,
    /// Numbers of messages, in its log.
    pub messages: Vec<u64>,
    /// Those that end in it, each with whose it is.
    pub ends: Vec<(u64, u64)>,
}

/// The good blocks of a segment, but for those of an earlier use of the file.
pub fn lying(disk: &SimDisk, path: &Path) -> Vec<Lying> {
    let (octets, mut at, mut base, mut all) = (disk.octets(path), 0, None, Vec::new());
    while at < octets.len() {
        let opened = format::open(&octets[at..]).ok();
        let is_there = |address: u64| base.is_none_or(|base| address == base + at as u64);
        let Some(block) = opened.filter(|block| is_there(block.header.address)) else {
            at += ALIGNMENT;
            continue;
        };
        let Header { address, sequence, durable_upto, .. } = block.header;
        base.get_or_insert(address - at as u64);
        let records = || block.records().map(|located| located.unwrap().record);
        let messages = records().filter(|record| record.kind().has_message()).map(|record| record.message());
        let ends = records().filter_map(|record| match record {
            Record::End { message, end } => Some((message, Manifest::decode(end.manifest).unwrap().id.sequence())),
            _ => None,
        });
        let (messages, ends) = (messages.collect(), ends.collect());
        all.push(Lying { at: at as u64, length: block.length as u64, sequence, durable_upto, messages, ends });
        at += block.span();
    }
    all
}
