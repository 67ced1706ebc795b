//! The cut between the shard and the kernel: operations go in, completions come out (DESIGN decision 20).
//!
//! *Above the cut*, and so simulated: when to re-arm, generations, what to do on buffer exhaustion, short sends,
//! cancellation, closing. *Below it*: queues, memory that the kernel may write, system calls.
//!
//! *Invariants*: every operation that is started completes; the last of its completions has `more == false`. A send has
//! exactly one, which gives its octets back. At most one send for a socket is under way. What a write names stays as long as it
//! is under way, and no longer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;

use crate::limits;
use crate::memory::write::Write;
use crate::reactor::connecting::Route;

/// Monotonic time in ns, from an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time(pub u64);

impl Time {
    /// This time and so many ms.
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Ns from `earlier` to this; 0 if it is later.
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole ms since the start.
    pub const fn ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// What kind of operation a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// [`Operation::Accept`].
    Accept = 1,
    /// [`Operation::Receive`].
    Receive,
    /// [`Operation::Send`] and [`Operation::SendParts`].
    Send,
    /// [`Operation::Shutdown`].
    Shutdown,
    /// [`Operation::Close`].
    Close,
    /// [`Operation::Cancel`].
    Cancel,
    /// [`Operation::AwaitWake`].
    Wake,
    /// [`Operation::Connect`].
    Connect,
    /// [`Operation::Part`].
    Part,
    /// [`Operation::Write`]. The slot is a number of whoever writes, not a socket's.
    Write,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Shutdown,
        Self::Close,
        Self::Cancel,
        Self::Wake,
        Self::Connect,
        Self::Part,
        Self::Write,
    ];
}

/// Names an operation: its kind, the slot that it is about, and the generation of whoever owns the slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The kind.
    pub kind: Kind,
    /// Counts the owners of the slot, modulo 2²⁴.
    pub generation: u32,
    /// The slot.
    pub slot: u32,
}

impl Token {
    /// Generations are kept in so many bits.
    pub const GENERATION_BITS: u32 = 24;

    /// As the kernel carries it.
    pub const fn to_user_data(self) -> u64 {
        ((self.kind as u64) << 56) | ((self.generation as u64 & 0xff_ffff) << 32) | self.slot as u64
    }

    /// Back from the kernel; `None` for what was never a token.
    pub fn from_user_data(user_data: u64) -> Option<Self> {
        let kind = *Kind::ALL.get(((user_data >> 56) as usize).wrapping_sub(1))?;
        Some(Self { kind, generation: (user_data >> 32) as u32 & 0xff_ffff, slot: user_data as u32 })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}.{}", self.kind, self.slot, self.generation)
    }
}

/// A listening socket that was given to the back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// A group of receive buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupId(pub u16);

/// Received octets, until they are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The group.
    pub group: GroupId,
    /// The buffer that holds them, from its start.
    pub buffer: u16,
    /// How many.
    pub octets: u32,
}

/// How octets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    /// What can be sent at once. That all of it was may be told as late as something else completes, which saves the
    /// completion.
    Quiet,
    /// What can be sent at once, and tell at once.
    Prompt,
    /// All of it, however long the peer takes.
    Patient,
}

/// Octets to send: those of this send alone, and between them others that live as long as the process and are not copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Those of this send alone.
    pub own: Vec<u8>,
    /// The others, each with the number of own octets before it.
    shared: Vec<(usize, &'static [u8])>,
    shared_octets: usize,
}

impl From<Vec<u8>> for Parts {
    fn from(own: Vec<u8>) -> Self {
        Self { own, ..Self::default() }
    }
}

impl Parts {
    /// Puts octets behind all that is there, without copying them. Returns whether there was room for one more piece.
    #[must_use]
    pub fn share(&mut self, octets: &'static [u8]) -> bool {
        let has_room = self.shared.len() < limits::SHARED_PIECES;
        if has_room {
            self.shared.push((self.own.len(), octets));
            self.shared_octets += octets.len();
        }
        has_room
    }

    /// How many of the octets are shared.
    pub fn shared_octets(&self) -> usize {
        self.shared_octets
    }

    /// Makes all octets own ones. Their memory changes places with `room`.
    pub fn join(&mut self, room: &mut Vec<u8>) {
        room.clear();
        self.pieces(0).for_each(|piece| room.extend_from_slice(piece));
        std::mem::swap(&mut self.own, room);
        self.shared.clear();
        self.shared_octets = 0;
    }

    /// How many octets.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_octets
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.own.clear();
        self.shared.clear();
        self.shared_octets = 0;
    }

    /// What there is behind the first `from` octets, in order. No piece is empty.
    pub fn pieces(&self, mut from: usize) -> impl Iterator<Item = &[u8]> {
        let mut before = 0;
        let shared = self.shared.iter().flat_map(move |(at, octets)| {
            let own = &self.own[std::mem::replace(&mut before, *at)..*at];
            [own, *octets]
        });
        let tail = &self.own[self.shared.last().map_or(0, |(at, _)| *at)..];
        shared.chain([tail]).filter_map(move |piece| {
            let skipped = from.min(piece.len());
            from -= skipped;
            Some(&piece[skipped..]).filter(|rest| !rest.is_empty())
        })
    }
}

/// What the back end is asked to do. Sockets are named by their slot.
#[derive(Debug)]
pub enum Operation {
    /// Take one connection into the token's slot, which must be free. Completes with [`Payload::Peer`].
    Accept {
        /// From here.
        listener: ListenerId,
    },
    /// Connect the token's slot, which must be free. Whatever comes of it, [`Operation::Close`] is what frees the slot.
    Connect {
        /// Where to, and from where.
        route: Arc<Route>,
    },
    /// Make a socket of the slot's that another thread can take: [`Io::parted`] gives it. The slot stays what it is, and is
    /// closed for itself.
    Part,
    /// Receive until cancelled, ended or failed. Each completion has [`Payload::Received`]; 0 octets are the end.
    Receive {
        /// Into buffers of this group.
        group: GroupId,
    },
    /// Send octets. Completes with the number sent and [`Payload::Octets`].
    Send {
        /// These, and no others until it completes.
        octets: Vec<u8>,
        /// From this one on.
        from: usize,
        /// How.
        mode: SendMode,
    },
    /// The same of octets in pieces. Completes with the number sent and [`Payload::Parts`].
    SendParts {
        /// These, and no others until it completes.
        parts: Parts,
        /// From this one on.
        from: usize,
        /// How.
        mode: SendMode,
    },
    /// Send no more: the peer sees the end once it has read all.
    Shutdown,
    /// Give the slot's descriptor up. Nothing else may be under way for it but what was cancelled.
    Close,
    /// Cancel another operation, which then completes with `CANCELED` unless it was done already.
    Cancel {
        /// The other's.
        target: Token,
    },
    /// Complete when the shard is woken from another thread.
    AwaitWake,
    /// Write octets to a file. Completes with the number written, which may be less than there are. Of writes that are under way
    /// each has a slot of its own, which is no socket's.
    Write {
        /// What, and where to.
        write: Write,
    },
}

/// What a completion brings besides its result.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    None,
    /// Of an accept: who has connected; `None` for a Unix socket.
    Peer(Option<SocketAddr>),
    /// Of a receive: octets, to be released within the turn.
    Received(Received),
    /// Of a send: its octets, all of them.
    Octets(Vec<u8>),
    /// The same of a send in pieces.
    Parts(Parts),
}

/// The end of an operation, or one more result of a receive.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// As it was started.
    pub token: Token,
    /// A number of octets where that makes sense.
    pub result: Result<u32, Errno>,
    /// Whether more completions of this operation follow.
    pub more: bool,
    /// What else.
    pub payload: Payload,
}

/// What a back end counts about itself, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// System calls.
    pub enters: u64,
    /// Operations started.
    pub operations: u64,
    /// Times that completions did not fit their queue and the kernel kept them.
    pub overflows: u64,
    /// Times that the submission queue was full in the middle of a turn.
    pub full_submissions: u64,
    /// Writes to files.
    pub writes: u64,
    /// Those of them whose memory the kernel did not know before.
    pub plain_writes: u64,
}

/// A back end: the kernel's ring, or the simulator.
pub trait Io {
    /// A listening socket, as the engine hands it over.
    type Listener: Send;

    /// A connection, as it passes from one shard to another. When it is dropped, its descriptor is closed.
    type Socket;

    /// The time at which the last wait ended.
    fn now(&self) -> Time;

    /// The time by a new look at the clock.
    fn read_clock(&mut self) -> Time;

    /// The time by the calendar at which the last wait ended, in ms since 1970; a few ms early at most.
    fn date_ms(&self) -> u64;

    /// Uniform randomness.
    fn random(&mut self) -> u64;

    /// Takes a listening socket.
    fn add_listener(&mut self, listener: Self::Listener) -> ListenerId;

    /// Closes a listening socket on which no accept is under way.
    fn remove_listener(&mut self, listener: ListenerId);

    /// The socket that [`Operation::Part`] has made of a slot's.
    fn parted(&mut self, slot: u32) -> Option<Self::Socket>;

    /// Puts a connection that another shard has accepted into a free slot.
    fn adopt(&mut self, slot: u32, socket: Self::Socket) -> Result<(), Errno>;

    /// Starts an operation; it may only take effect at the next [`Io::wait`].
    fn start(&mut self, token: Token, operation: Operation);

    /// Submits what was started, and waits until there is a completion or the time has come. `None` does not wait.
    fn wait(&mut self, until: Option<Time>) -> Result<(), Errno>;

    /// The next completion.
    fn complete(&mut self) -> Option<Completion>;

    /// Received octets, where the kernel wrote them.
    fn received(&mut self, received: Received) -> &mut [u8];

    /// Gives the buffer of received octets back.
    fn release(&mut self, received: Received);

    /// What was counted so far.
    fn counts(&self) -> IoCounts;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_was_put_together_from_any_octet_on() {
        let mut parts = Parts::default();
        assert!(parts.is_empty() && parts.pieces(0).next().is_none());
        assert!(parts.share(b"one ") && parts.share(b"two "));
        parts.own.extend_from_slice(b"three ");
        assert!(parts.share(b"") && parts.share(b"four "));
        parts.own.extend_from_slice(b"five");
        let all = b"one two three four five";
        assert_eq!(parts.len(), all.len());
        assert_eq!(parts.pieces(0).count(), 5);
        for from in 0..=all.len() {
            assert_eq!(parts.pieces(from).collect::<Vec<_>>().concat(), all[from..]);
            assert!(parts.pieces(from).all(|piece| !piece.is_empty()));
        }
        assert_eq!(parts.shared_octets(), 13);
        let mut room = b"used".to_vec();
        parts.join(&mut room);
        assert_eq!((parts.own.as_slice(), parts.len(), parts.shared_octets()), (all.as_slice(), all.len(), 0));
        assert_eq!((parts.pieces(4).collect::<Vec<_>>(), room), (vec![&all[4..]], b"three five".to_vec()));
        parts.clear();
        assert_eq!((&parts, parts.len()), (&Parts::default(), 0));
        assert!((0..limits::SHARED_PIECES).all(|_| parts.share(b"x")) && !parts.share(b"x"));
        assert_eq!(parts.len(), limits::SHARED_PIECES);
    }

    #[test]
    fn tokens_survive_the_kernel() {
        for kind in Kind::ALL {
            let token = Token { kind, generation: 0xff_ffff, slot: u32::MAX };
            assert_eq!(Token::from_user_data(token.to_user_data()), Some(token));
        }
        assert_eq!(Token::from_user_data(0), None);
        assert_eq!(Token::from_user_data(11 << 56), None);
    }
}
