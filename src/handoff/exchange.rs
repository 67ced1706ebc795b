//! Puts shards and consumers into touch with each other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;

use crate::handoff::consumer::{Deliveries, Line};
use crate::handoff::gather::{Gather, Identity, Outlet};
use crate::handoff::letter::Waiting;
use crate::handoff::link::{Home, Link};
use crate::handoff::ring::ring;
use crate::handoff::sleep::{self, Bell};
use crate::limits;

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
            let link = Arc::new(Link::new(Arc::clone(&home), waker.clone()));
            let (pusher, taker) = ring(limits::LETTERS);
            lines.push(Line::new(taker, Arc::clone(&link)));
            outlets.push(Outlet::new(pusher, link));
        }
        let identity = Identity { node: options.node, epoch: options.epoch, shard: shard as u16 };
        gathers.push(Gather::new(identity, options.blocks, outlets, home, sleeper));
    }
    let deliveries = consumers
        .into_iter()
        .map(|parts| parts.into_iter().map(|(thread, _, lines)| Deliveries::new(lines, thread)).collect::<Vec<_>>());
    Ok((gathers, deliveries.collect()))
}
