//! The PROXY header that a listener may require before anything else: it tells who the peer is, and so what holds for it.

use std::sync::Arc;

use crate::handoff::intake::Intake;
use crate::policy::scope::Scopes;
use crate::protocol::proxy::{Endpoint, Preamble};
use crate::reactor::io::{Io, Received};
use crate::shard::Shard;
use crate::shard::connection::Stage;
use crate::shard::reception::take_octets;

/// A header that has not come in full, and what it decides.
#[derive(Debug)]
pub struct Awaited {
    header: Preamble,
    scopes: Arc<Scopes>,
}

impl Awaited {
    /// Nothing has come; one of these scopes will be the connection's.
    pub fn new(scopes: Arc<Scopes>) -> Self {
        Self { header: Preamble::default(), scopes }
    }

    /// One of these will be the connection's.
    pub fn scopes(&self) -> Arc<Scopes> {
        Arc::clone(&self.scopes)
    }
}

impl<I: Io, T: Intake> Shard<I, T> {
    /// Octets have come of the header, and perhaps from behind it.
    pub(super) fn on_header(&mut self, slot: u32, received: Received) {
        let connection = self.table.at(slot);
        let Some(awaited) = &mut connection.preamble else { return self.io.release(received) };
        let mut input: &[u8] = self.io.received(received);
        let header = awaited.header.take(&mut input);
        // The stages to come need the shard, and the octets are the kernel's again when this turn ends.
        let mut behind = input.to_vec();
        match header {
            Ok(None) => self.io.release(received),
            Ok(Some(header)) => {
                match header.source() {
                    Some(Endpoint::Inet(source)) => connection.peer = Some(source),
                    Some(Endpoint::Unix(_)) => connection.peer = None,
                    // The proxy speaks for itself, or does not know.
                    None => {}
                }
                connection.scope = Some(Arc::clone(awaited.scopes.of(connection.peer.map(|peer| peer.ip()))));
                connection.preamble = None;
                connection.stage = Stage::Scope;
                self.io.release(received);
                self.desk.counters.octets_copied_paused.add(behind.len() as u64);
                self.advance(slot);
                if !behind.is_empty() {
                    let Self { desk, table, .. } = self;
                    let progress = take_octets(desk, table.at(slot), slot, &mut behind);
                    self.after_input(slot, progress);
                }
            }
            Err(_) => {
                self.io.release(received);
                self.desk.counters.proxy_headers_refused.one();
                self.close(slot);
            }
        }
    }
}
