//! What may go wrong between the shard, its sockets and its files, and how often.

/// Odds are in percent of the times that it could happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// A receive brings less than there is.
    pub short_receive: u8,
    /// A receive ends with the octets that it brings, as when the kernel has its reasons.
    pub receive_ends: u8,
    /// A receive fails for no fault of its client: EINTR, EAGAIN, ENOBUFS, ENOMEM.
    pub receive_fails: u8,
    /// A send takes less than there is room for.
    pub short_send: u8,
    /// A send fails and can be tried again: EINTR, EAGAIN, ENOBUFS, ENOMEM.
    pub send_fails: u8,
    /// A cancel finds nothing, while its target goes on.
    pub cancel_misses: u8,
    /// A client is accepted by the accept that was posted last, so that slots are used again at once.
    pub last_accept_first: u8,
    /// An accept fails, while its client goes on waiting.
    pub accept_fails: u8,
    /// A connection cannot leave its slot, for want of a descriptor.
    pub part_fails: u8,
    /// A write to a file fails: EIO.
    pub write_fails: u8,
    /// A write to a file finds no room: ENOSPC.
    pub write_lacks_room: u8,
    /// A write takes less than it was given.
    pub short_write: u8,
    /// A write does not end before it is cancelled.
    pub write_hangs: u8,
    /// A write takes its time, so that others overtake it.
    pub slow_write: u8,
    /// So much time, at most, in ms.
    pub slow_write_most_ms: u64,
    /// A completion comes later than it could.
    pub late: u8,
    /// How much later, at most, in ms.
    pub late_most_ms: u64,
    /// Completions of different operations come in another order than they arose.
    pub reorder: u8,
    /// A wait ends without a reason.
    pub interrupted: u8,
    /// A wait ends much later than it should, as when the machine was suspended.
    pub jump: u8,
    /// So much later, at most, in ms.
    pub jump_most_ms: u64,
    /// Time passes between the end of a wait and the next, as when a core was taken away. As long as a jump at most.
    pub stall: u8,
    /// A completion comes for an operation that ended long ago, of a connection whose slot has another by now.
    pub stale: u8,
    /// Octets of one receive, at most.
    pub receive_octets_most: usize,
    /// Entries of the submission queue; more are submitted early.
    pub submission_entries: usize,
    /// Entries of the completion queue; what does not fit ends its receive.
    pub completion_entries: usize,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        short_receive: 0,
        receive_ends: 0,
        receive_fails: 0,
        short_send: 0,
        send_fails: 0,
        cancel_misses: 0,
        last_accept_first: 0,
        accept_fails: 0,
        part_fails: 0,
        write_fails: 0,
        write_lacks_room: 0,
        short_write: 0,
        write_hangs: 0,
        slow_write: 0,
        slow_write_most_ms: 0,
        late: 0,
        late_most_ms: 0,
        reorder: 0,
        interrupted: 0,
        jump: 0,
        jump_most_ms: 0,
        stall: 0,
        stale: 0,
        receive_octets_most: usize::MAX,
        submission_entries: usize::MAX,
        completion_entries: usize::MAX,
    };
}
