//! Puts shards and consumers into touch with each other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use crate::handoff::clock::Clock;
use crate::handoff::consumer::{Deliveries, Line};
use crate::handoff::gather::{Gather, Identity};
use crate::handoff::handshake::Marks;
use crate::handoff::letter::Waiting;
use crate::handoff::link::{Home, Link};
use crate::handoff::outlet::Outlet;
use crate::handoff::place::LogKind;
use crate::handoff::ring::ring;
use crate::handoff::sleep::{self, Bell, Waker};
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
    let memory = (options.blocks * options.block_octets) as u64;
    let window = memory / limits::LETTERS_SHARE as u64 / options.consumers.len().max(1) as u64;
    let mut gathers = Vec::new();
    for (shard, bell) in options.shards.iter().enumerate() {
        let (sleeper, waker) = sleep::sleeper(bell.clone());
        let home = Arc::new(Home { waiting: Waiting::new(), wants_room: AtomicBool::new(false), waker });
        let marks: [Arc<Marks>; LogKind::OF_SHARDS.len()] = std::array::from_fn(|_| Arc::default());
        let mut outlets = Vec::new();
        for parts in &mut consumers {
            let part = shard % parts.len();
            let (_, waker, lines) = &mut parts[part];
            let link =
                Arc::new(Link::new(options.letters, window, Arc::clone(&home), waker.clone(), options.clock.clone()));
            let (pusher, taker) = ring(options.letters);
            lines.push(Line::new(shard as u16, taker, Arc::clone(&link), marks.clone()));
            outlets.push(Outlet::new(pusher, link));
        }
        let identity = Identity { node: options.node, epoch: options.epoch, shard: shard as u16 };
        let slab = Slab::with_blocks_of(options.block_octets, options.blocks);
        gathers.push(Gather::new(identity, slab, outlets, home, sleeper, marks));
    }
    let of_part = |(thread, waker, lines): (_, Waker, _)| {
        // Of logs whose shards have none any more: nobody posts there.
        let home = Home { waiting: Waiting::new(), wants_room: AtomicBool::new(false), waker: waker.clone() };
        let attic = Arc::new(Link::new(1, 0, Arc::new(home), waker, options.clock.clone()));
        Deliveries::new(lines, attic, thread, options.clock.clone())
    };
    let deliveries = consumers.into_iter().map(|parts| parts.into_iter().map(of_part).collect());
    Ok((gathers, deliveries.collect()))
}
