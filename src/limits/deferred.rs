//! Bounds of mail that a sink has not taken yet.

use super::*;

/// Classes of deferred mail of one sink: those of its delays, of delays that it had before, and those that wait for the operator. What
/// is known of each is in one page of its cursors.
pub const DEFERRED_CLASSES: usize = 64;
const _: () = assert!(DEFERRED_CLASSES * 40 + 64 <= PAGE_OCTETS && RETRY_S.len() < DEFERRED_CLASSES);

/// Deliveries in a row that went wrong without a word, after which a message is quarantined: one may be somebody else's fault.
pub const DEFERRED_MISHAPS: u8 = 3;
const _: () = assert!(DEFERRED_MISHAPS < 16, "they are kept in four bits");

/// Messages of a batch over which a sink panicked that are given to it one by one, when it panics over each so far: then it is the
/// sink's fault, and the others are not tried.
pub const DEFERRED_TRIED_ALONE: usize = 8;

/// When the first of a class is due, those go with it that would be due within this part of its delay.
pub const DEFERRED_GATHERED_PART: u64 = 20;

/// Part of a batch that is for deferred mail while fresh mail waits.
pub const DEFERRED_SHARE: usize = 4;

/// Octets of content of deferred mail in one batch, beyond the first message.
pub const DEFERRED_BATCH_OCTETS: u64 = 16 << 20;

/// Octets of a segment of deferred mail: a class is as many, and the last is preallocated, so a class with little mail takes this.
pub const DEFERRED_SEGMENT_OCTETS: u64 = 4 << 20;
const _: () = assert!(DEFERRED_SEGMENT_OCTETS >= 4 * BLOCK_OCTETS as u64);

/// Segments without content that are kept for the next that is needed; what is free beyond them is removed.
pub const DEFERRED_SPARES: usize = 2;

/// Blocks of memory for deferred mail that is being delivered by one thread of a sink: what the largest message takes, which none but a
/// blackhole's listener lets in, and a batch. None is made before it is needed.
pub const DEFERRED_BLOCKS: usize = (BLACKHOLE_MESSAGE_OCTETS + 4 * DEFERRED_BATCH_OCTETS) as usize / BLOCK_OCTETS;

/// Of those, blocks that are kept when nothing of them is in use.
pub const DEFERRED_BLOCKS_KEPT: usize = 16;

/// Times that the disk may fail where deferred mail is read, before what it does not give is passed over: its file is kept. A disk that
/// is away for a while is back before, and one that gives nothing is never believed.
pub const DEFERRED_READ_TRIES: u32 = 64;

/// Time between two looks into the operator's inbox, in ms.
pub const DEFERRED_INBOX_MS: u64 = 1_000;

/// Octets that may lie in each class that waits for the operator. Beyond it mail that should go there is kept with that which is tried
/// again, and counted.
pub const DEFERRED_ASIDE_OCTETS: u64 = 1 << 30;

/// What a program refuses of spooled mail is kept together with what it refuses within this time, in ms, while it has more to do.
pub const REFUSED_GATHER_MS: u64 = 100;

/// Time until a settlement that failed (the disk is full, or broken) is tried again, in ms: the first time, doubled each time up to the
/// second. The sink gets nothing new meanwhile.
pub const SETTLEMENT_PAUSE_FIRST_MS: u64 = 100;
/// See [`SETTLEMENT_PAUSE_FIRST_MS`].
pub const SETTLEMENT_PAUSE_MOST_MS: u64 = 10_000;

/// So long must a sink's settlement go well before the operator hears that what stood in its way is over, in ms.
pub const TROUBLE_CALM_MS: u64 = SETTLEMENT_PAUSE_MOST_MS;

/// Causes of one such trouble that are told, each once: each class of mail may meet its own.
pub const TROUBLE_CAUSES: usize = 8;

/// Orders of an operator (hold, release, remove) that may wait for one thread of a sink. A tool refuses more: a server that runs makes room
/// within moments, and on one that does not they would only pile up.
pub const DEFERRED_ORDERS: usize = 1 << 20;

/// Of those, orders in one file, and orders that are carried out in one walk through what waits: what is resident of them, in about 4 MiB,
/// while there are any.
pub const DEFERRED_ORDERS_AT_ONCE: usize = 1 << 16;
const _: () = assert!(DEFERRED_ORDERS_AT_ONCE <= DEFERRED_ORDERS);

/// Messages that are looked at in one step of such a walk, between two batches for the sink.
pub const DEFERRED_ORDERS_STEP: usize = 1024;

/// Of those, messages that may be moved or removed: they share their syncs.
pub const DEFERRED_ORDERS_BATCH: usize = 256;

/// Runs of messages that are gone out of the middle of a thread's classes. What is in such a run is passed over by the reader, and forgotten
/// when the class's cursor is behind it. They are written whole each time, in 1.5 MiB at most; when there are as many, orders for what lies
/// behind wait until some are forgotten.
pub const DEFERRED_GONE_RUNS: usize = 1 << 16;

/// Sequences, numbers of messages and octets of addresses that a class leaves out when it goes on behind a segment of which it is not known
/// how far its own go: more than it can have, and than failures in a row may have given to what was never written.
pub const DEFERRED_LEFT_OUT: u64 = 1 << 32;
const _: () = assert!(DEFERRED_LEFT_OUT >= 1024 * DEFERRED_SEGMENT_OCTETS);
