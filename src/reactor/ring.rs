//! The kernel's ring as the shard's [`Io`].
//!
//! *Invariants*: an entry that was pushed is the kernel's until its completion, whatever `enter` returned: what it points
//! to (octets of a send or a write, an address being accepted or connected to, a wake counter) is owned here until then. One thread
//! makes, uses and drops a ring (SINGLE_ISSUER). The ring is dropped before the memory.
//!
//! *Why this way*: a reply is sent with MSG_DONTWAIT | MSG_WAITALL and SKIP_SUCCESS: it is done, or posts a completion with
//! the short count, before `enter` returns; success costs no completion (URING §0.5). Sockets are direct descriptors in
//! the slot of their connection. One system call for each turn.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, EnterFlags, IoUring, Probe, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use rustix::io::Errno;

use crate::limits;
use crate::memory::write::Write;
use crate::reactor::alarms::Alarms;
use crate::reactor::buffers::{BufferGroup, GroupShape};
use crate::reactor::connecting::Route;
use crate::reactor::io::{
    Completion, GroupId, Io, IoCounts, Kind, ListenerId, Operation, Payload, Received, SendMode, Time, Token,
};
use crate::reactor::peer::Address;
use crate::reactor::sending::{List, Sending};
use crate::reactor::setup::SetupError;
use crate::reactor::writing::Writing;

/// What a ring is made for.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Slots for sockets.
    pub sockets: u32,
    /// Submission entries; a power of two.
    pub submissions: u32,
    /// Completion entries; a power of two.
    pub completions: u32,
    /// Receive buffers, a group for each.
    pub groups: Vec<GroupShape>,
}

impl RingOptions {
    /// As measured best, for so many connections and their refusals.
    pub fn for_sockets(sockets: u32) -> Self {
        Self {
            sockets,
            submissions: limits::SUBMISSION_ENTRIES,
            completions: limits::COMPLETION_ENTRIES,
            groups: vec![GroupShape {
                buffer_octets: limits::RECEIVE_BUFFER_OCTETS as u32,
                buffers: limits::RECEIVE_BUFFERS as u16,
            }],
        }
    }
}

/// What the kernel may be using of one socket.
#[derive(Debug, Default)]
struct Socket {
    /// The octets of the send that is under way.
    sending: Option<Sending>,
    /// Where the kernel writes the peer's address.
    address: Option<Box<Address>>,
    /// Where the kernel reads the address of a connect.
    route: Option<Arc<Route>>,
    /// The buffers that its receive takes.
    group: GroupId,
    /// Its plain descriptor, on its way to another shard.
    parted: Option<OwnedFd>,
    /// Its shutdown goes through a worker thread of the kernel, because there was no plain descriptor for it.
    is_shut_by_ring: bool,
}

/// The ring of one shard.
pub struct Ring {
    // The three halves borrow from the box that `ring` points to; `drop` ends them first.
    submitter: ManuallyDrop<Submitter<'static>>,
    submissions: ManuallyDrop<SubmissionQueue<'static>>,
    completions: ManuallyDrop<CompletionQueue<'static>>,
    ring: *mut IoUring,

    groups: Vec<BufferGroup>,
    sockets: Vec<Socket>,
    /// Addresses that no accept uses. Boxed, because they must not move while the kernel has them.
    #[allow(clippy::vec_box)]
    addresses: Vec<Box<Address>>,
    /// Lists that no send uses.
    #[allow(clippy::vec_box)]
    lists: Vec<Box<List>>,
    listeners: Vec<Option<OwnedFd>>,
    /// Whether a socket's direct descriptor can be made a plain one for a moment. The ring's own shutdown always goes
    /// through a worker thread of the kernel, which took 12 % of the samples with a connection for each message.
    installs: bool,
    /// Whether a multishot receive can be told after how many octets to end.
    limits_receives: bool,
    wake: OwnedFd,
    wake_count: Box<u64>,
    alarms: Alarms,
    writing: Writing,

    /// Shutdowns for which there was no plain descriptor, to be started anew.
    unshut: Vec<Token>,
    /// Sends that will be silent if they succeed, since the last `enter` that took everything.
    silent: Vec<Token>,
    ready: VecDeque<Completion>,
    now: Time,
    random: u64,
    counts: IoCounts,
}

impl Ring {
    /// Sets a ring up on the thread that will use it. `wake` is an eventfd that other threads write to.
    pub fn new(options: &RingOptions, wake: OwnedFd) -> Result<Self, SetupError> {
        let refused = |call: &'static str| {
            move |error: std::io::Error| SetupError { call, errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
        };
        let ring = set_up(options).map_err(refused("io_uring_setup"))?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(SetupError { call: "io_uring features", errno: Errno::OPNOTSUPP });
        }
        let mut probe = Probe::new();
        // Where the probe is refused nothing is taken for granted.
        let probed = ring.submitter().register_probe(&mut probe).is_ok();
        let installs = probed && probe.is_supported(opcode::FixedFdInstall::CODE);
        let mut groups = Vec::new();
        for (id, shape) in options.groups.iter().enumerate() {
            let group = BufferGroup::new(*shape).map_err(|errno| SetupError { call: "mmap", errno })?;
            // SAFETY: the address is that of a ring of `shape.buffers` entries which lives until the io_uring is gone.
            unsafe { ring.submitter().register_buf_ring_with_flags(group.ring_address(), shape.buffers, id as u16, 0) }
                .map_err(refused("IORING_REGISTER_PBUF_RING"))?;
            groups.push(group);
        }
        ring.submitter().register_files_sparse(options.sockets).map_err(refused("IORING_REGISTER_FILES2"))?;

        let ring = Box::into_raw(Box::new(ring));
        // SAFETY: the box is freed only in `drop`, after the halves; nothing else refers to it.
        let (mut submitter, submissions, completions) = unsafe { &mut *ring }.split();
        // A ring descriptor that the kernel knows saves 75 ns for each turn; without it all works as well.
        let _ = submitter.register_ring_fd();
        let mut seed = [0; 8];
        let seeded = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        debug_assert_eq!(seeded, Ok(8));
        Ok(Self {
            submitter: ManuallyDrop::new(submitter),
            submissions: ManuallyDrop::new(submissions),
            completions: ManuallyDrop::new(completions),
            ring,
            groups,
            sockets: (0..options.sockets).map(|_| Socket::default()).collect(),
            addresses: Vec::new(),
            lists: Vec::new(),
            listeners: Vec::new(),
            installs,
            limits_receives: limits_receives(),
            wake,
            wake_count: Box::new(0),
            alarms: Alarms::default(),
            writing: Writing::default(),
            unshut: Vec::new(),
            silent: Vec::with_capacity(limits::COMPLETIONS_PREPARED),
            ready: VecDeque::with_capacity(limits::COMPLETIONS_PREPARED),
            now: clock(),
            random: u64::from_ne_bytes(seed) | 1,
            counts: IoCounts::default(),
        })
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: whatever the entry points to is owned by `self` until its completion has come: see `start`.
            if unsafe { self.submissions.push(entry) }.is_ok() {
                return;
            }
            self.counts.full_submissions += 1;
            self.enter(None);
        }
    }

    /// Ends waits at that time, too. To a caller who knows when it will wait no longer, and for several times to come, one
    /// after the other costs more.
    pub fn wake_at(&mut self, at: Time) {
        if let Some(entry) = self.alarms.set(at) {
            self.push(&entry);
        }
    }

    /// Submits, and waits for one completion until the time given: one system call, or more where an alarm that was set for
    /// another wait goes off before.
    fn enter(&mut self, until: Option<Time>) {
        loop {
            let now = clock();
            let mut until = until.filter(|until| *until > now);
            if let Some(at) = until
                && !self.alarms.covers(at)
            {
                self.wake_at(at);
                // There was perhaps no room for another entry, and something has completed.
                until = until.filter(|_| self.ready.is_empty());
            }
            self.enter_once(until);
            if self.reap(until) {
                return;
            }
        }
    }

    /// A disk cannot be told to stop. The memory of a write that is under way would come to who uses it next, while the disk reads it.
    fn finish_writes(&mut self) {
        let deadline = clock().plus_ms(limits::WRITES_END_MS);
        while !self.writing.is_empty() && clock() < deadline {
            self.enter(Some(deadline));
        }
        self.writing.abandon();
    }

    fn enter_once(&mut self, until: Option<Time>) {
        self.submissions.sync();
        self.counts.enters += 1;
        let entries = self.submissions.len() as u32;
        let entered = match until {
            Some(until) if !self.alarms.covers(until) => {
                let wait_ns = until.since_ns(clock());
                let timeout = Timespec::new().sec(wait_ns / 1_000_000_000).nsec((wait_ns % 1_000_000_000) as u32);
                self.submitter.submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
            }
            _ => {
                let least = u32::from(until.is_some());
                // SAFETY: no argument is passed; GETEVENTS runs the deferred work that completions come from.
                unsafe { self.submitter.enter::<libc::sigset_t>(entries, least, EnterFlags::GETEVENTS.bits(), None) }
            }
        };
        self.submissions.sync();
        if let Err(error) = entered {
            match Errno::from_io_error(&error) {
                // The wait was over, interrupted, or completions must be reaped first: all of that happens next.
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => {}
                // Anything else would mean that we broke the ring's rules.
                _ => panic!("io_uring_enter: {error}"),
            }
        }
    }

    /// Moves all completions out of the queue, those that the kernel kept too. Returns whether the wait is over: an alarm
    /// that goes off before its time, and nothing else, does not end it.
    fn reap(&mut self, until: Option<Time>) -> bool {
        let (mut alarms, mut others) = (0, 0);
        loop {
            self.completions.sync();
            while let Some(entry) = self.completions.next() {
                if let Some(token) = Token::from_user_data(entry.user_data()) {
                    others += 1;
                    if token.kind == Kind::Shutdown && self.lacks_descriptor(token.slot, entry.result()) {
                        self.unshut.push(token);
                        continue;
                    }
                    let completion = self.convert(token, &entry);
                    self.ready.push_back(completion);
                } else {
                    self.alarms.complete(entry.user_data());
                    alarms += 1;
                }
            }
            self.completions.sync();
            if !self.submissions.cq_overflow() {
                break;
            }
            self.counts.overflows += 1;
            // SAFETY: no argument is passed; nothing is submitted.
            let flushed = unsafe { self.submitter.enter::<libc::sigset_t>(0, 0, EnterFlags::GETEVENTS.bits(), None) };
            if flushed.is_err_and(|error| error.kind() != std::io::ErrorKind::Interrupted) {
                break;
            }
        }
        if alarms > 0 && others == 0 && until.is_some_and(|until| clock() < until) {
            return false;
        }
        // Every entry was taken and every completion reaped: what was silent has succeeded.
        if self.submissions.is_empty() && !self.submissions.cq_overflow() {
            for token in self.silent.drain(..) {
                if let Some(sending) = self.sockets[token.slot as usize].sending.take() {
                    let result = Ok(sending.remaining() as u32);
                    let payload = sending.finish(&mut self.lists);
                    self.ready.push_back(Completion { token, result, more: false, payload });
                }
            }
        }
        while let Some(token) = self.unshut.pop() {
            self.push(&opcode::Shutdown::new(Fixed(token.slot), libc::SHUT_WR).build().user_data(token.to_user_data()));
        }
        true
    }

    /// Whether a shutdown failed for want of a plain descriptor; then it is the ring's from now on.
    fn lacks_descriptor(&mut self, slot: u32, result: i32) -> bool {
        let socket = &mut self.sockets[slot as usize];
        let lacks = self.installs
            && !socket.is_shut_by_ring
            && [libc::EMFILE, libc::ENFILE, libc::ENOMEM].contains(&result.saturating_neg());
        socket.is_shut_by_ring |= lacks;
        lacks
    }

    fn convert(&mut self, token: Token, entry: &cqueue::Entry) -> Completion {
        let result = match entry.result() {
            octets @ 0.. => Ok(octets as u32),
            errno => Err(Errno::from_raw_os_error(-errno)),
        };
        let result = match (token.kind, result) {
            (Kind::Shutdown, result) if std::mem::take(&mut self.sockets[token.slot as usize].is_shut_by_ring) => {
                result
            }
            (Kind::Shutdown, Ok(descriptor)) if self.installs => shut(descriptor),
            (_, result) => result,
        };
        let payload = match token.kind {
            Kind::Accept => {
                let address = self.sockets[token.slot as usize].address.take();
                let peer = address.as_ref().and_then(|address| address.peer());
                self.addresses.extend(address);
                Payload::Peer(peer)
            }
            Kind::Receive => match (cqueue::buffer_select(entry.flags()), result) {
                (Some(buffer), Ok(octets)) => {
                    // A completion does not name the group; a socket has one receive at a time, in one group.
                    let group = self.sockets[token.slot as usize].group;
                    let received = Received { group, buffer, octets };
                    self.groups[usize::from(group.0)].take(received);
                    Payload::Received(received)
                }
                _ => Payload::None,
            },
            Kind::Send => match self.sockets[token.slot as usize].sending.take() {
                Some(sending) => sending.finish(&mut self.lists),
                None => Payload::None,
            },
            Kind::Connect => {
                self.sockets[token.slot as usize].route = None;
                Payload::None
            }
            Kind::Part => {
                // SAFETY: the kernel has just installed this descriptor for us; nobody else knows of it.
                let parted = result.map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor as i32) });
                self.sockets[token.slot as usize].parted = parted.ok();
                Payload::None
            }
            Kind::Write => {
                self.writing.complete(token, result.is_ok());
                Payload::None
            }
            Kind::Shutdown | Kind::Close | Kind::Cancel | Kind::Wake => Payload::None,
        };
        Completion { token, result, more: cqueue::more(entry.flags()), payload }
    }

    fn accept(&mut self, token: Token, listener: ListenerId) {
        let Some(listening) = self.listeners.get(listener.0 as usize).and_then(Option::as_ref) else {
            self.ready.push_back(failed(token, Errno::BADF));
            return;
        };
        let listening = Fd(listening.as_raw_fd());
        let mut address = self.addresses.pop().unwrap_or_else(Address::new);
        let (storage, octets) = address.offer();
        self.sockets[token.slot as usize].address = Some(address);
        let slot = DestinationSlot::try_from_slot_target(token.slot).expect("slots are far below the bound");
        let entry = opcode::Accept::new(listening, storage, octets).file_index(Some(slot)).build();
        self.push(&entry.user_data(token.to_user_data()));
    }

    fn connect(&mut self, token: Token, route: Arc<Route>) {
        let placed = route.socket().and_then(|socket| {
            // The slot holds the socket from here on; the plain descriptor has done its work.
            self.submitter.register_files_update(token.slot, &[socket.as_raw_fd()])
        });
        if let Err(error) = placed {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            return self.ready.push_back(failed(token, errno));
        }
        let address = route.address();
        let entry = opcode::Connect::new(Fixed(token.slot), address.as_ptr().cast(), address.len()).build();
        self.sockets[token.slot as usize].route = Some(route);
        self.push(&entry.user_data(token.to_user_data()));
    }

    fn send(&mut self, token: Token, sending: Sending, mode: SendMode) {
        let entry = sending.entry(token, mode);
        let socket = &mut self.sockets[token.slot as usize];
        assert!(socket.sending.is_none(), "two sends on one socket are reordered when the first has to wait");
        // What the entry points to stays where it is when this moves.
        socket.sending = Some(sending);
        self.push(&entry);
        if mode == SendMode::Quiet {
            // Only now: `push` may have had to empty the queue, which settles the silent sends before this one.
            self.silent.push(token);
        }
    }

    fn write(&mut self, token: Token, write: Write) {
        self.counts.writes += 1;
        match self.writing.begin(&self.submitter, token, write) {
            Ok((entry, is_registered)) => {
                self.counts.plain_writes += u64::from(!is_registered);
                self.push(&entry);
            }
            Err(errno) => self.ready.push_back(failed(token, errno)),
        }
    }

    fn receive(&mut self, token: Token, group: GroupId) {
        self.sockets[token.slot as usize].group = group;
        let mut entry = opcode::RecvMulti::new(Fixed(token.slot), group.0).build();
        if self.limits_receives {
            limit_receive(&mut entry, limits::RECEIVE_OCTETS);
        }
        self.push(&entry.user_data(token.to_user_data()));
    }
}

impl Io for Ring {
    type Listener = OwnedFd;
    type Socket = OwnedFd;

    fn now(&self) -> Time {
        self.now
    }

    fn date_ms(&self) -> u64 {
        let date = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        u64::try_from(date.tv_sec).unwrap_or(0) * 1_000 + date.tv_nsec.unsigned_abs() / 1_000_000
    }

    fn read_clock(&mut self) -> Time {
        clock()
    }

    fn random(&mut self) -> u64 {
        // SplitMix64: good enough for odds and jitter, which is all that it is for.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn add_listener(&mut self, listener: OwnedFd) -> ListenerId {
        let free = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        self.listeners[free] = Some(listener);
        ListenerId(free as u32)
    }

    fn remove_listener(&mut self, listener: ListenerId) {
        self.listeners[listener.0 as usize] = None;
    }

    fn parted(&mut self, slot: u32) -> Option<OwnedFd> {
        self.sockets[slot as usize].parted.take()
    }

    fn adopt(&mut self, slot: u32, socket: OwnedFd) -> Result<(), Errno> {
        // The slot holds the connection from here on; the plain descriptor has done its work.
        let placed = self.submitter.register_files_update(slot, &[socket.as_raw_fd()]);
        placed.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn start(&mut self, token: Token, operation: Operation) {
        self.counts.operations += 1;
        let simple = match operation {
            Operation::Accept { listener } => return self.accept(token, listener),
            Operation::Connect { route } => return self.connect(token, route),
            Operation::Receive { group } => return self.receive(token, group),
            Operation::Send { octets, from, mode } => return self.send(token, Sending::octets(octets, from), mode),
            Operation::SendParts { parts, from, mode } => {
                let list = self.lists.pop().unwrap_or_default();
                return self.send(token, Sending::parts(parts, from, list), mode);
            }
            Operation::Write { write } => return self.write(token, write),
            Operation::Shutdown if self.installs => opcode::FixedFdInstall::new(Fixed(token.slot), 0).build(),
            Operation::Shutdown => opcode::Shutdown::new(Fixed(token.slot), libc::SHUT_WR).build(),
            // An older kernel says that it does not know the operation.
            Operation::Part => opcode::FixedFdInstall::new(Fixed(token.slot), 0).build(),
            Operation::Close => opcode::Close::new(Fixed(token.slot)).build(),
            Operation::Cancel { target } => opcode::AsyncCancel::new(target.to_user_data()).build(),
            Operation::AwaitWake => {
                let count = (&raw mut *self.wake_count).cast::<u8>();
                opcode::Read::new(Fd(self.wake.as_raw_fd()), count, size_of::<u64>() as u32).build()
            }
        };
        self.push(&simple.user_data(token.to_user_data()));
    }

    fn wait(&mut self, until: Option<Time>) -> Result<(), Errno> {
        self.enter(until.filter(|_| self.ready.is_empty()));
        self.writing.forget_gone(&self.submitter);
        self.now = clock();
        Ok(())
    }

    fn complete(&mut self) -> Option<Completion> {
        self.ready.pop_front()
    }

    fn received(&mut self, received: Received) -> &mut [u8] {
        self.groups[usize::from(received.group.0)].octets(received)
    }

    fn release(&mut self, received: Received) {
        self.groups[usize::from(received.group.0)].release(received);
    }

    fn counts(&self) -> IoCounts {
        self.counts
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Ends everything that is under way, so that the kernel is done with our memory before it goes.
        let _ = self.submitter.register_sync_cancel(None, CancelBuilder::any());
        self.finish_writes();
        // SAFETY: dropped once, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.submissions) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.completions) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: the pointer came from `Box::into_raw` in `new` and is freed once, after the halves that borrow from it.
        drop(unsafe { Box::from_raw(self.ring) });
    }
}

/// Sets a ring up; one that does not fit the limit of locked memory is tried smaller, since a completion that overflows its
/// queue is kept by the kernel, and only costs more.
fn set_up(options: &RingOptions) -> std::io::Result<IoUring> {
    let mut completions = options.completions;
    loop {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_no_sqarray()
            .setup_cqsize(completions)
            .build(options.submissions);
        match ring {
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory && completions > 2 * options.submissions => {
                completions /= 2;
            }
            other => return other,
        }
    }
}

/// Shuts the sending side of a socket by a plain descriptor that was just made for it, and gives the descriptor up. The
/// socket stays open by its direct descriptor.
fn shut(descriptor: u32) -> Result<u32, Errno> {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Write).map(|()| 0)
}

/// Makes a multishot receive end after so many octets: `optlen` of the submission entry, for which the crate has no setter.
fn limit_receive(entry: &mut squeue::Entry, octets: u32) {
    const OPTLEN: usize = 44;
    const _: () = assert!(size_of::<squeue::Entry>() == 64);
    // SAFETY: an entry is the kernel's `io_uring_sqe`, 64 octets, so that octet 44 lies within.
    let optlen = unsafe { std::ptr::from_mut(entry).cast::<u8>().add(OPTLEN) };
    // SAFETY: there it has a 32-bit word that a receive uses for nothing else, and any value of which is valid.
    unsafe { optlen.cast::<u32>().write_unaligned(octets) };
}

/// Whether a multishot receive can be told after how many octets to end: since Linux 6.17. Before, one socket can fill every
/// buffer in one go.
fn limits_receives() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) >= (6, 17)
}

fn failed(token: Token, errno: Errno) -> Completion {
    Completion { token, result: Err(errno), more: false, payload: Payload::None }
}

fn clock() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
