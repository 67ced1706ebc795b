//! What the kernel does with operations: takes them in `wait`, lets them progress, and gives completions, some of them late,
//! out of order, short or failed, as [`Faults`](crate::simulation::faults::Faults) says.

use rustix::io::Errno;

use crate::memory::write::Write;
use crate::reactor::connecting::Route;
use crate::reactor::io::{
    Completion, GroupId, IoCounts, Kind, ListenerId, Operation, Payload, Received, SendMode, Time, Token,
};
use crate::simulation::world::{ClientId, Listener, Load, Sending, Socket, World};
use crate::simulation::writes::Writing;

/// Why an operation may fail though nobody did anything wrong.
const TRANSIENT: [Errno; 4] = [Errno::INTR, Errno::AGAIN, Errno::NOBUFS, Errno::NOMEM];

/// Why an accept may fail: no descriptor, no memory, or a client that is gone already.
const ACCEPT_FAILURES: [Errno; 7] =
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::CONNABORTED, Errno::INTR, Errno::AGAIN];

impl World {
    pub(super) fn now(&self) -> Time {
        self.now
    }

    pub(super) fn counts(&self) -> IoCounts {
        self.counts
    }

    pub(super) fn add_listener(&mut self, id: ListenerId) {
        self.listeners.insert(id.0, Listener::default());
    }

    pub(super) fn remove_listener(&mut self, id: ListenerId) {
        let listener = self.listeners.remove(&id.0).unwrap_or_default();
        assert!(listener.accepts.is_empty(), "{id:?}: closed under an accept");
        for client in listener.waiting {
            self.clients[client].sees_end = true;
        }
    }

    pub(super) fn start(&mut self, token: Token, operation: Operation) {
        self.note(|| format!("start {token:?} {}", in_words(&operation)));
        self.counts.operations += 1;
        // The numbers of writes are no slots.
        let is_of_write = matches!(&operation, Operation::Cancel { target } if target.kind == Kind::Write);
        if token.kind == Kind::Cancel && token.slot != u32::MAX && !is_of_write {
            let cancels = self.cancels.entry((token.slot, token.generation)).or_default();
            *cancels += 1;
            assert!(*cancels <= 2, "{token:?}: a receive and a send can be cancelled, and {cancels} cancels are out");
        }
        self.started.push_back((token, operation));
        if self.started.len() >= self.faults.submission_entries {
            self.counts.full_submissions += 1;
            self.submit();
        }
    }

    pub(super) fn complete(&mut self) -> Option<Completion> {
        let completion = self.ready.pop_front()?;
        if completion.token.kind == Kind::Cancel
            && let Some(cancels) = self.cancels.get_mut(&(completion.token.slot, completion.token.generation))
        {
            *cancels = cancels.saturating_sub(1);
        }
        self.note(|| {
            let Completion { token, result, more, .. } = &completion;
            let more = if *more { ", more" } else { "" };
            format!("  done {token:?} {result:?}{more}")
        });
        Some(completion)
    }

    /// What the kernel does in `enter`: takes what was started, lets everything progress, and sleeps if nothing did.
    pub(super) fn wait(&mut self, until: Option<Time>) {
        self.counts.enters += 1;
        self.has_slept = false;
        self.note(|| format!("wait until {}", until.map_or(0, Time::ms)));
        self.work();
        if self.ready.is_empty()
            && let Some(until) = until
            && !self.chance.percent(self.faults.interrupted)
        {
            self.has_slept = until > self.now;
            if !self.is_frozen {
                let next = self.next_change().map_or(until, |next| next.min(until));
                self.now = self.now.max(next);
                if self.chance.percent(self.faults.jump) {
                    self.now = self.now.plus_ms(self.chance.between(1, self.faults.jump_most_ms));
                }
                self.work();
            }
        }
        self.ready.append(&mut self.quiet);
    }

    /// Time that passes between the end of a wait and the next.
    pub(super) fn stall(&mut self) {
        if self.chance.percent(self.faults.stall) {
            self.now = self.now.plus_ms(self.chance.between(1, self.faults.jump_most_ms));
        }
    }

    /// When something will change without the shard.
    fn next_change(&self) -> Option<Time> {
        let late = self.late.iter().map(|(at, _)| *at);
        let arriving = self.clients.iter().filter_map(|client| client.to_server.front().map(|segment| segment.at));
        let written = self.writes.iter().filter_map(Writing::ends_at);
        late.chain(arriving.filter(|at| *at > self.now)).chain(written).chain(self.next_event).min()
    }

    fn work(&mut self) {
        self.submit();
        self.progress();
        self.deliver();
    }

    fn submit(&mut self) {
        while let Some((token, operation)) = self.started.pop_front() {
            self.begin(token, operation);
        }
    }

    /// Gives the shard what has arisen, and what is late no longer.
    fn deliver(&mut self) {
        let now = self.now;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition::<Vec<_>, _>(|(at, _)| *at <= now);
        self.late = late;
        self.posted.extend(due.into_iter().map(|(_, completion)| completion));
        if self.posted.len() > self.faults.completion_entries {
            self.counts.overflows += 1;
        }
        let count = self.posted.len();
        if count > 1 && self.chance.percent(self.faults.reorder) {
            for _ in 0..2 * count {
                // Neighbours change places, but for those of one operation.
                let at = self.chance.below(count - 1);
                if self.posted[at].token != self.posted[at + 1].token {
                    self.posted.swap(at, at + 1);
                }
            }
        }
        self.ready.extend(self.posted.drain(..));
        self.make_up_stale();
    }

    /// A completion for an operation of a connection that is gone.
    fn make_up_stale(&mut self) {
        if self.generations.is_empty() || !self.chance.percent(self.faults.stale) {
            return;
        }
        let at = self.chance.below(self.generations.len());
        let Some((slot, generation)) = self.generations.iter().nth(at).map(|(slot, generation)| (*slot, *generation))
        else {
            return;
        };
        // Of the owner before the present one, or of one that the slot has not had for very long.
        let back = 1 + self.chance.below(3) as u32;
        let generation = generation.wrapping_sub(back) & ((1 << Token::GENERATION_BITS) - 1);
        let kinds = [Kind::Accept, Kind::Receive, Kind::Send, Kind::Shutdown, Kind::Close, Kind::Cancel];
        let kind = *self.chance.pick(&kinds);
        let octets = self.chance.below(10) as u32;
        let payload = match kind {
            Kind::Accept => Payload::Peer(None),
            Kind::Send => Payload::Octets(vec![b'!'; octets as usize]),
            Kind::Receive => match self.groups[0].free.pop_front() {
                Some(buffer) => Payload::Received(Received { group: GroupId(0), buffer, octets }),
                None => Payload::None,
            },
            _ => Payload::None,
        };
        self.stale += 1;
        let token = Token { kind, generation, slot };
        self.ready.push_back(Completion { token, result: Ok(octets), more: self.stale.is_multiple_of(2), payload });
    }

    pub(super) fn finish(&mut self, token: Token, result: Result<u32, Errno>, payload: Payload) {
        self.post(Completion { token, result, more: false, payload });
    }

    /// A completion has arisen. Those of one operation stay in their order.
    fn post(&mut self, completion: Completion) {
        let before = self.late.iter().filter(|(_, late)| late.token == completion.token).map(|(at, _)| *at).max();
        let is_late = self.chance.percent(self.faults.late);
        match before {
            Some(before) => self.late.push((before, completion)),
            None if is_late => {
                let at = self.now.plus_ms(self.chance.between(0, self.faults.late_most_ms));
                self.late.push((at, completion));
            }
            None => self.posted.push(completion),
        }
    }

    fn begin(&mut self, token: Token, operation: Operation) {
        match operation {
            Operation::Accept { listener } => {
                self.generations.insert(token.slot, token.generation);
                match self.listeners.get_mut(&listener.0) {
                    Some(listener) => listener.accepts.push_back(token),
                    None => self.finish(token, Err(Errno::BADF), Payload::Peer(None)),
                }
            }
            Operation::Connect { route } => self.connect(token, &route),
            Operation::Receive { group } => match self.sockets.get_mut(&token.slot) {
                Some(socket) => {
                    assert!(socket.receive.is_none(), "{token:?}: one receive for a socket");
                    socket.receive = Some((token, group));
                }
                None => self.finish(token, Err(Errno::BADF), Payload::None),
            },
            Operation::Send { octets, from, mode } => self.begin_send(token, Load::Octets(octets), from, mode),
            Operation::SendParts { parts, from, mode } => {
                let octets = parts.pieces(0).collect::<Vec<_>>().concat();
                self.begin_send(token, Load::Parts(octets, parts), from, mode);
            }
            Operation::Shutdown => {
                let client = self.sockets.get(&token.slot).map(|socket| socket.client);
                if let Some(client) = client {
                    self.clients[client].sees_end = true;
                }
                let is_reset = client.is_some_and(|client| self.clients[client].has_reset);
                let result = if is_reset { Err(Errno::NOTCONN) } else { client.map(|_| 0).ok_or(Errno::BADF) };
                self.finish(token, result, Payload::None);
            }
            Operation::Close => {
                let socket = self.sockets.remove(&token.slot);
                if let Some(socket) = &socket {
                    assert!(socket.receive.is_none() && socket.send.is_none(), "{token:?}: closed under an operation");
                    self.let_go(socket.client);
                }
                self.finish(token, socket.map(|_| 0).ok_or(Errno::BADF), Payload::None);
            }
            Operation::Cancel { target } => {
                let found = self.cancel(target);
                self.finish(token, if found { Ok(0) } else { Err(Errno::NOENT) }, Payload::None);
            }
            Operation::Part => self.part(token),
            Operation::AwaitWake => self.awaiting_wake = Some(token),
            Operation::Write { write } => self.begin_write(token, write),
        }
    }

    fn part(&mut self, token: Token) {
        let Some(socket) = self.sockets.get(&token.slot) else {
            return self.finish(token, Err(Errno::BADF), Payload::None);
        };
        if self.chance.percent(self.faults.part_fails) {
            return self.finish(token, Err(Errno::MFILE), Payload::None);
        }
        let client = socket.client;
        self.clients[client].descriptors += 1;
        assert!(self.parted.insert(token.slot, client).is_none(), "{token:?}: nobody took the last one");
        self.finish(token, Ok(9), Payload::None);
    }

    pub(super) fn parted(&mut self, slot: u32) -> Option<usize> {
        self.parted.remove(&slot)
    }

    /// The slot has the connection from now on, beside whoever holds it.
    pub(super) fn adopt(&mut self, slot: u32, client: usize) -> Result<(), Errno> {
        let before = self.sockets.insert(slot, Socket { client, receive: None, send: None });
        assert!(before.is_none(), "slot {slot} is taken, and adopts");
        self.clients[client].descriptors += 1;
        self.owners.insert(slot, client);
        self.note(|| format!("  client {client} is adopted by slot {slot}"));
        Ok(())
    }

    /// One descriptor of a connection is closed; with the last, its client sees the end.
    pub(super) fn let_go(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.descriptors -= 1;
        client.sees_end |= client.descriptors == 0;
    }

    /// A connect succeeds at once where somebody listens; the slot has a socket in any case.
    fn connect(&mut self, token: Token, route: &Route) {
        let client = self.add_client();
        self.clients[client].descriptors = 1;
        let before = self.sockets.insert(token.slot, Socket { client, receive: None, send: None });
        assert!(before.is_none(), "{token:?}: connected in a slot that is taken");
        let result = match self.servers.get_mut(route.to()) {
            Some(arrived) => {
                arrived.push_back(ClientId(client));
                Ok(0)
            }
            None => {
                self.clients[client].has_reset = true;
                Err(Errno::CONNREFUSED)
            }
        };
        self.finish(token, result, Payload::None);
    }

    fn begin_send(&mut self, token: Token, load: Load, from: usize, mode: SendMode) {
        let Some(socket) = self.sockets.get_mut(&token.slot) else {
            return self.finish(token, Err(Errno::BADF), load.payload());
        };
        assert!(socket.send.is_none(), "{token:?}: one send for a socket");
        assert!(from < load.octets().len(), "{token:?}: nothing to send");
        if self.chance.percent(self.faults.send_fails) {
            let errno = *self.chance.pick(&TRANSIENT);
            return self.finish(token, Err(errno), load.payload());
        }
        if mode == SendMode::Patient {
            socket.send = Some(Sending { token, load, first: from, next: from });
            return;
        }
        let client = &mut self.clients[socket.client];
        let room = client.window_octets.saturating_sub(client.from_server.len());
        let mut sent = room.min(load.octets().len() - from);
        if sent > 1 && self.chance.percent(self.faults.short_send) {
            sent = 1 + self.chance.below(sent - 1);
        }
        let result = if client.has_reset {
            Err(Errno::PIPE)
        } else if sent == 0 {
            Err(Errno::AGAIN)
        } else {
            client.from_server.extend_from_slice(&load.octets()[from..from + sent]);
            Ok(sent as u32)
        };
        let is_quiet = mode == SendMode::Quiet && result == Ok((load.octets().len() - from) as u32);
        let completion = Completion { token, result, more: false, payload: load.payload() };
        if is_quiet { self.quiet.push_back(completion) } else { self.post(completion) }
    }

    fn cancel(&mut self, target: Token) -> bool {
        if self.cancels_missed > 0 {
            self.cancels_missed -= 1;
            return false;
        }
        if self.chance.percent(self.faults.cancel_misses) {
            return false;
        }
        if target.kind == Kind::Write {
            return self.cancel_write(target);
        }
        for listener in self.listeners.values_mut() {
            if let Some(at) = listener.accepts.iter().position(|token| *token == target) {
                listener.accepts.remove(at);
                self.finish(target, Err(Errno::CANCELED), Payload::Peer(None));
                return true;
            }
        }
        let Some(socket) = self.sockets.get_mut(&target.slot) else { return false };
        if socket.receive.is_some_and(|(token, _)| token == target) {
            socket.receive = None;
            self.finish(target, Err(Errno::CANCELED), Payload::None);
            return true;
        }
        if let Some(sending) = socket.send.take_if(|sending| sending.token == target) {
            // What was sent before the cancel came is told.
            let sent = sending.next - sending.first;
            let result = if sent > 0 { Ok(sent as u32) } else { Err(Errno::CANCELED) };
            self.finish(target, result, sending.load.payload());
            return true;
        }
        false
    }

    fn progress(&mut self) {
        if self.wakes > 0
            && let Some(token) = self.awaiting_wake.take()
        {
            self.wakes = 0;
            self.finish(token, Ok(8), Payload::None);
        }
        self.progress_writes();
        self.accept();
        let slots: Vec<u32> = self.sockets.keys().copied().collect();
        for slot in slots {
            self.send_on(slot);
            while self.receive_on(slot) {}
        }
    }

    fn accept(&mut self) {
        let mut accepted = Vec::new();
        let mut failed = Vec::new();
        for listener in self.listeners.values_mut() {
            while !listener.waiting.is_empty() && !listener.accepts.is_empty() {
                let by_chance = self.chance.percent(self.faults.accept_fails);
                let errno = self.accept_failures.pop_front();
                let Some(errno) = errno.or_else(|| by_chance.then(|| *self.chance.pick(&ACCEPT_FAILURES))) else {
                    break;
                };
                failed.extend(listener.accepts.pop_front().map(|token| (token, errno)));
            }
            while !listener.accepts.is_empty()
                && let Some(client) = listener.waiting.pop_front()
            {
                let is_last = self.chance.percent(self.faults.last_accept_first);
                let token = if is_last { listener.accepts.pop_back() } else { listener.accepts.pop_front() };
                accepted.extend(token.map(|token| (token, client)));
            }
        }
        for (token, errno) in failed {
            self.finish(token, Err(errno), Payload::Peer(None));
        }
        for (token, client) in accepted {
            let before = self.sockets.insert(token.slot, Socket { client, receive: None, send: None });
            assert!(before.is_none(), "{token:?}: accepted into a slot that is taken");
            self.clients[client].is_accepted = true;
            self.clients[client].descriptors = 1;
            self.owners.insert(token.slot, client);
            let peer = Some(self.clients[client].address);
            self.note(|| format!("  client {client} is accepted in slot {}", token.slot));
            self.finish(token, Ok(0), Payload::Peer(peer));
        }
    }

    /// A send that waits goes on as far as its client reads.
    fn send_on(&mut self, slot: u32) {
        let Some(socket) = self.sockets.get_mut(&slot) else { return };
        let Some(mut sending) = socket.send.take() else { return };
        let client = &mut self.clients[socket.client];
        let room = client.window_octets.saturating_sub(client.from_server.len());
        let octets = sending.load.octets();
        let sent = room.min(octets.len() - sending.next);
        client.from_server.extend_from_slice(&octets[sending.next..sending.next + sent]);
        sending.next += sent;
        let Sending { token, first, next, .. } = sending;
        if client.has_reset {
            self.finish(token, Err(Errno::PIPE), sending.load.payload());
        } else if next == sending.load.octets().len() {
            self.finish(token, Ok((next - first) as u32), sending.load.payload());
        } else {
            socket.send = Some(sending);
        }
    }

    /// One completion of a receive; false when there is none to give.
    fn receive_on(&mut self, slot: u32) -> bool {
        let Some(socket) = self.sockets.get_mut(&slot) else { return false };
        let Some((token, group_id)) = socket.receive else { return false };
        let client = &mut self.clients[socket.client];
        let arrived = client.arrived(self.now);
        let is_reset = client.has_reset && (!client.resets_in_order || client.to_server.is_empty());
        let is_short_of_buffers = self.groups[usize::from(group_id.0)].free.is_empty();
        let ending = if is_reset {
            Some(Err(Errno::CONNRESET))
        } else if arrived == 0 {
            (client.has_ended && client.to_server.is_empty()).then_some(Ok(0))
        } else if is_short_of_buffers {
            Some(Err(Errno::NOBUFS))
        } else if self.chance.percent(self.faults.receive_fails) {
            Some(Err(*self.chance.pick(&TRANSIENT)))
        } else {
            None
        };
        if let Some(result) = ending {
            socket.receive = None;
            self.finish(token, result, Payload::None);
            return false;
        }
        let group = &mut self.groups[usize::from(group_id.0)];
        let size = group.shape.buffer_octets as usize;
        if arrived == 0 {
            return false;
        }
        let Some(buffer) = group.free.pop_front() else { return false };
        let mut octets = arrived.min(size).min(self.faults.receive_octets_most);
        if octets > 1 && self.chance.percent(self.faults.short_receive) {
            octets = 1 + self.chance.below(octets - 1);
        }
        client.receive(&mut group.memory[usize::from(buffer) * size..][..octets]);
        // A completion that overflows its queue ends the receive, too.
        let overflows = self.posted.len() >= self.faults.completion_entries;
        let more = !overflows && !self.chance.percent(self.faults.receive_ends);
        if !more {
            socket.receive = None;
        }
        let received = Received { group: group_id, buffer, octets: octets as u32 };
        let payload = Payload::Received(received);
        self.post(Completion { token, result: Ok(octets as u32), more, payload });
        more
    }

    /// The octets of a receive.
    pub(super) fn octets(&self, received: Received) -> Vec<u8> {
        let Received { group, buffer, octets } = received;
        let group = &self.groups[usize::from(group.0)];
        assert!(!group.free.contains(&buffer), "buffer {buffer} is read after it was released");
        let start = usize::from(buffer) * group.shape.buffer_octets as usize;
        group.memory[start..start + octets as usize].to_vec()
    }

    pub(super) fn release(&mut self, received: Received) {
        let Received { group, buffer, .. } = received;
        let group = &mut self.groups[usize::from(group.0)];
        assert!(!group.free.contains(&buffer), "buffer {buffer} is released twice");
        // What is read after its release must be seen to be wrong.
        let size = group.shape.buffer_octets as usize;
        group.memory[usize::from(buffer) * size..][..size].fill(0xEE);
        group.free.push_back(buffer);
    }
}

fn in_words(operation: &Operation) -> String {
    match operation {
        Operation::Send { octets, from, mode } => {
            let text = octets[*from..].escape_ascii().to_string();
            let shown: String = text.chars().take(120).collect();
            format!("Send {mode:?} {} octets: {shown}", octets.len() - from)
        }
        Operation::SendParts { parts, from, mode } => {
            format!("SendParts {mode:?} {} octets in {} pieces", parts.len() - from, parts.pieces(*from).count())
        }
        Operation::Write { write } => {
            let Write { file, octets, at, is_synced } = write;
            let synced = if *is_synced { ", synced" } else { "" };
            format!("Write {} octets to {file:?} at {at}{synced}", octets.octets().len())
        }
        other => format!("{other:?}"),
    }
}
