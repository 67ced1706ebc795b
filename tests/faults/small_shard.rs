//! One shard in this process, on a ring whose queues and buffers are chosen: what a whole server would need hours for
//! happens at once.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::utils::CachePadded;
use ringmx::config::Plan;
use ringmx::handoff::intake::Discard;
use ringmx::handoff::mailbox::{self, Sender};
use ringmx::metrics::counters::Counters;
use ringmx::reactor::buffers::GroupShape;
use ringmx::reactor::listening::Bind;
use ringmx::reactor::ring::{Ring, RingOptions};
use ringmx::shard::balance::Neighbours;
use ringmx::shard::control::{Control, Door};
use ringmx::shard::{Shard, ShardOptions, slots_for};

/// It runs until it is stopped.
#[derive(Debug)]
pub struct SmallShard {
    pub address: SocketAddr,
    pub counters: Arc<CachePadded<Counters>>,
    control: Sender<Control<OwnedFd>>,
    thread: Option<JoinHandle<()>>,
}

/// Shapes of the ring.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    pub connections: u32,
    pub submissions: u32,
    pub completions: u32,
    pub buffer_octets: u32,
    pub buffers: u16,
}

impl SmallShard {
    pub fn start(small: Small) -> Self {
        let text = "[listener.small]\nkind = \"blackhole\"\nbind = \"127.0.0.1:2526\"\n";
        let plan = Plan::parse(text, "small.toml").expect("it is a configuration");
        let listening = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listening.local_addr().expect("it has an address");
        let scopes = Arc::new(plan.listeners()[0].scopes().unshared());
        let (control, messages, wake) = mailbox::mailbox().expect("descriptors are left");
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let options = ShardOptions {
            number: 0,
            connections: small.connections,
            session_octets: ringmx::limits::SESSION_MEMORY_OCTETS,
            control: messages,
            neighbours: Neighbours::none(),
            counters: Arc::clone(&counters),
        };
        let ring = RingOptions {
            sockets: slots_for(small.connections),
            submissions: small.submissions,
            completions: small.completions,
            groups: vec![GroupShape { buffer_octets: small.buffer_octets, buffers: small.buffers }],
        };
        let thread = std::thread::spawn(move || {
            // A ring belongs to the thread that makes it.
            let ring = Ring::new(&ring, wake).expect("a small ring is to be had");
            Shard::new(ring, Discard, options).run().expect("the ring works");
        });
        let door = Door { bind: Bind::Tcp(address), scopes, socket: Some(listening.into()) };
        control.send(Control::Swap(vec![door])).expect("the shard turns");
        Self { address, counters, control, thread: Some(thread) }
    }

    /// Drains it, and waits for its end; gives its counters.
    pub fn stop(mut self) -> Arc<CachePadded<Counters>> {
        self.drain(ringmx::limits::DRAIN_MS);
        self.thread.take().expect("it is joined once").join().expect("the shard does not panic");
        Arc::clone(&self.counters)
    }

    fn drain(&self, patience_ms: u64) {
        // One that is gone needs no drain.
        let _ = self.control.send(Control::Drain { patience_ms });
    }
}

impl Drop for SmallShard {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.drain(0);
        }
    }
}
