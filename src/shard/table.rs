//! The connections of a shard, by slot. Slots are given out last-freed first, so that the memory in use stays small.

use crate::reactor::io::Token;
use crate::shard::connection::{Connection, Stage};

/// See the module.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Connection>,
    free: Vec<u32>,
    /// Most slots, given out or not.
    most: u32,
    /// Slots with a client.
    open: u32,
    /// Those of them whose client is only told why it is not served.
    turned_away: u32,
}

impl Table {
    /// An empty table that grows to so many slots.
    pub fn new(most: u32) -> Self {
        // Reserved, not touched: growing must not move connections while clients wait.
        Self { slots: Vec::with_capacity(most as usize), free: Vec::new(), most, open: 0, turned_away: 0 }
    }

    /// Slots that have a client.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Slots whose client is served: what the limit of connections is about.
    pub fn served(&self) -> u32 {
        self.open - self.turned_away
    }

    /// One past the highest slot that was ever used.
    pub fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Takes a free slot for an accept.
    pub fn reserve(&mut self) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if (self.slots.len() as u32) < self.most => {
                self.slots.push(Connection::new());
                self.slots.len() as u32 - 1
            }
            None => return None,
        };
        self.slots[slot as usize].stage = Stage::Accepting;
        Some(slot)
    }

    /// A client has come to a reserved slot.
    pub fn opened(&mut self) {
        self.open += 1;
    }

    /// The client that has come to a slot will not be served.
    pub fn turned_away(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        self.turned_away += u32::from(!connection.is_turned_away);
        connection.is_turned_away = true;
    }

    /// Gives a slot back, for which nothing is in flight.
    pub fn release(&mut self, slot: u32) {
        let connection = &mut self.slots[slot as usize];
        debug_assert_eq!(connection.in_flight, 0, "a slot is freed when nothing is in flight");
        if connection.is_open() {
            self.open -= 1;
            self.turned_away -= u32::from(connection.is_turned_away);
        }
        connection.renew();
        self.free.push(slot);
    }

    /// The connection of a slot.
    pub fn at(&mut self, slot: u32) -> &mut Connection {
        &mut self.slots[slot as usize]
    }

    /// The connection that a token was made for; `None` when the slot has another owner by now.
    pub fn of(&mut self, token: Token) -> Option<&mut Connection> {
        self.slots.get_mut(token.slot as usize).filter(|connection| connection.generation == token.generation)
    }
}
