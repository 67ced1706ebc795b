//! The shard's side of the simulation.

use rustix::io::Errno;

use crate::reactor::io::{Completion, Io, IoCounts, ListenerId, Operation, Received, Time, Token};
use crate::simulation::world::Network;

/// A connection that belongs to no shard.
#[derive(Debug)]
pub struct SimulatedSocket {
    client: usize,
    network: Network,
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        self.network.world().let_go(self.client);
    }
}

/// An [`Io`] on a simulated network.
#[derive(Debug)]
pub struct SimulatedIo {
    network: Network,
    now: Time,
    random: u64,
    /// The octets that were lent last.
    lent: Vec<u8>,
}

impl SimulatedIo {
    /// On this network, with this seed.
    pub fn new(network: Network, seed: u64) -> Self {
        let now = network.world().now();
        Self { network, now, random: seed, lent: Vec::new() }
    }
}

impl Io for SimulatedIo {
    /// A number that the test chose.
    type Listener = ListenerId;

    type Socket = SimulatedSocket;

    fn now(&self) -> Time {
        self.now
    }

    fn date_ms(&self) -> u64 {
        // The simulation begins at the turn of the century.
        946_684_800_000 + self.now.ms()
    }

    fn read_clock(&mut self) -> Time {
        self.network.world().now()
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random
    }

    fn add_listener(&mut self, listener: ListenerId) -> ListenerId {
        self.network.world().add_listener(listener);
        listener
    }

    fn remove_listener(&mut self, listener: ListenerId) {
        self.network.world().remove_listener(listener);
    }

    fn parted(&mut self, slot: u32) -> Option<SimulatedSocket> {
        let client = self.network.world().parted(slot)?;
        Some(SimulatedSocket { client, network: self.network.clone() })
    }

    fn adopt(&mut self, slot: u32, socket: SimulatedSocket) -> Result<(), Errno> {
        self.network.world().adopt(slot, socket.client)
    }

    fn start(&mut self, token: Token, operation: Operation) {
        self.network.world().start(token, operation);
    }

    fn wait(&mut self, until: Option<Time>) -> Result<(), Errno> {
        let mut world = self.network.world();
        world.wait(until);
        self.now = world.now();
        world.stall();
        Ok(())
    }

    fn complete(&mut self) -> Option<Completion> {
        self.network.world().complete()
    }

    fn received(&mut self, received: Received) -> &mut [u8] {
        self.lent = self.network.world().octets(received);
        &mut self.lent
    }

    fn release(&mut self, received: Received) {
        // Whoever still read what was lent would see this.
        self.lent.fill(0xEE);
        self.network.world().release(received);
    }

    fn counts(&self) -> IoCounts {
        self.network.world().counts()
    }
}
