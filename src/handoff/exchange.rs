//! Puts shards and consumers into touch with each other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use crate::handoff::clock::Clock;
use crate::handoff::consumer::{Deliveries, Line};
use crate::handoff::gather::{Gather, Identity, Outlet};
use crate::handoff::letter::Waiting;
use crate::handoff::link::{Home, Link};
use crate::handoff::ring::ring;
use crate::handoff::sleep::{self, Bell};
use crate::limits;
use crate::memory::slab::Slab;

/// What an exchange is made with.
#[derive(Debug)]
pub struct ExchangeOptions {
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on it.
    pub epoch: u32,
    /// What wakes each shard.
    pub shards: Vec<Bell>,
    /// For each route, how many share its mail: each has that of the shards whose numbers leave its own, divided by so many.
    pub consumers: Vec<u16>,
    /// Blocks of memory of each shard: [`limits::BLOCKS`] but in tests.
    pub blocks: usize,
    /// Octets of a block: [`limits::BLOCK_OCTETS`] but in tests.
    pub block_octets: usize,
    /// Letters that may be on their way from one shard to one sink, a power of two: [`limits::LETTERS`] but in tests.
    pub letters: usize,
    /// The time by which deliveries come again.
    pub clock: Clock,
}

impl Default for ExchangeOptions {
    fn default() -> Self {
        Self {
            node: 0,
            epoch: 0,
            shards: Vec::new(),
            consumers: Vec::new(),
            blocks: limits::BLOCKS,
            block_octets: limits::BLOCK_OCTETS,
            letters: limits::LETTERS,
            clock: Clock::default(),
        }
    }
}

/// A gather for each shard, and for each route its consumers.
pub fn connect(options: &ExchangeOptions) -> Result<(Vec<Gather>, Vec<Vec<Deliveries>>), Errno> {
    let mut consumers = Vec::new();
    for parts in &options.consumers {
        let threads: Result<Vec<_>, Errno> = (0..(*parts).max(1)).map(|_| sleep::thread()).collect();
        consumers.push(threads?.into_iter().map(|(thread, waker)| (thread, waker, Vec::new())).collect::<Vec<_>>());
    }
    let mut gathers = Vec::new();
    for (shard, bell) in options.shards.iter().enumerate() {
        let (sleeper, waker) = sleep::sleeper(bell.clone());
        let home = Arc::new(Home { waiting: Waiting::new(), wants_room: AtomicBool::new(false), waker });
        let mut outlets = Vec::new();
        for parts in &mut consumers {
            let part = shard % parts.len();
            let (_, waker, lines) = &mut parts[part];
            let link = Arc::new(Link::new(options.letters, Arc::clone(&home), waker.clone(), options.clock.clone()));
            let (pusher, taker) = ring(options.letters);
            lines.push(Line::new(taker, Arc::clone(&link)));
            outlets.push(Outlet::new(pusher, link));
        }
        let identity = Identity { node: options.node, epoch: options.epoch, shard: shard as u16 };
        let slab = Slab::with_blocks_of(options.block_octets, options.blocks);
        gathers.push(Gather::new(identity, slab, outlets, home, sleeper));
    }
    let of_part = |(thread, _, lines)| Deliveries::new(lines, thread, options.clock.clone());
    let deliveries = consumers.into_iter().map(|parts| parts.into_iter().map(of_part).collect());
    Ok((gathers, deliveries.collect()))
}
