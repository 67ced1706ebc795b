//! Of the spool: its blocks, segments, readers and steward.

use super::*;

/// Octets of a block of a log that is begun at least: where less is left of memory or of a segment it is not used.
pub const BLOCK_LEAST_OCTETS: usize = 16 * 1024;
const _: () = assert!(BLOCK_LEAST_OCTETS.is_multiple_of(PAGE_OCTETS) && BLOCK_LEAST_OCTETS < BLOCK_OCTETS);

/// So much of its memory, in percent, may a shard have in use before a log keeps nothing in memory that is on disk, and writes what it
/// has without waiting for more: more than its sinks may hold, less than what makes clients wait.
pub const LOG_SHORT_PERCENT: u64 = 70;

/// Octets of a block that is written while another is under way; a smaller one waits for company until none is. Nearly all that it can
/// have: with 64 KiB, 16 shards on two cores took 12 % more CPU of a message, and nobody had its answer sooner.
pub const GROUP_OCTETS: usize = BLOCK_OCTETS / 8 * 7;

/// Blocks of a log that are under way at once.
pub const GROUPS_UNDER_WAY: usize = 4;

/// After so long without a word of a write it is given up: 451 for those who wait, before their sessions would say it of themselves. The
/// same of a segment that was asked for: then mail is refused until one is there.
pub const WRITE_HUNG_MS: u64 = 20_000;
const _: () = assert!(WRITE_HUNG_MS < ANSWER_MS);

/// A message may be open while so many segments are filled beside its own content, before it is refused where there is no room for more: it
/// keeps them all, and a client may send an octet a minute.
pub const LAG_SEGMENTS: u64 = 2;

/// How often a shard that waits for a segment looks for one, beside being woken.
pub const SEGMENT_LOOK_MS: u64 = 100;

/// Octets of content of a message that sinks have from memory; of a larger one they have it from the log.
pub const LETTER_CONTENT_OCTETS: u64 = 4 * BLOCK_OCTETS as u64;

/// Octets of a segment of a log of mail that comes in, unless configured: 128 blocks, or 8,000 messages of 4 KiB, so that a new one
/// is wanted some ten times a second at the most; and two of them are not much for a shard that has little to write.
pub const SEGMENT_OCTETS: u64 = 32 << 20;
/// The least that it may be given, for tests and small disks: the longest block has room in it, with the one that it begins with.
pub const SEGMENT_OCTETS_LEAST: u64 = 4 << 20;
/// The most: a segment is made in one go, and kept as long as one message in it is.
pub const SEGMENT_OCTETS_MOST: u64 = 1 << 30;
const _: () =
    assert!(SEGMENT_OCTETS_LEAST >= (BLOCK_OCTETS + PAGE_OCTETS) as u64 && SEGMENT_OCTETS_LEAST <= SEGMENT_OCTETS);
const _: () = assert!(SEGMENT_OCTETS_MOST >= SEGMENT_OCTETS && SEGMENT_OCTETS.is_power_of_two());

/// Segments that a log has at least: one that is written, and one that is ready.
pub const SEGMENTS_LEAST: u64 = 2;

/// Time that delivered mail may be kept, and that undelivered mail may be tried, at most, in s: a year, so that milliseconds given for
/// seconds are noticed.
pub const SPOOL_TIME_S_MOST: u64 = 31_536_000;

/// Time that a message is tried before it is given up, unless configured, in s: five days (RFC 5321 §4.5.4.1 asks for four at least).
pub const SPOOL_LIFETIME_S: u64 = 432_000;
const _: () = assert!(SPOOL_LIFETIME_S <= SPOOL_TIME_S_MOST);

/// Delays between attempts, unless configured, in s: RFC 5321 §4.5.4.1 wants two in the first hour, and then one every few hours.
pub const RETRY_S: [u32; 7] = [300, 600, 1_200, 2_400, 4_800, 9_600, 14_400];

/// Delays that can be configured. Each has a log of its own, for each thread of each sink.
pub const RETRY_DELAYS: usize = 16;
const _: () = assert!(RETRY_S.len() <= RETRY_DELAYS);

/// The longest of them, in s.
pub const RETRY_S_MOST: u32 = 86_400;

/// The share of the disk, in percent, that is left free at least unless configured (DESIGN §6).
pub const RESERVE_PERCENT: u64 = 5;
/// What that share comes to at most, in octets.
pub const RESERVE_OCTETS_MOST: u64 = 10 << 30;

/// Octets that are read of a segment at once when all of it is: a disk's queue is full with less, and a cache holds it.
pub const SCAN_OCTETS: usize = 1024 * 1024;
const _: () = assert!(SCAN_OCTETS.is_multiple_of(PAGE_OCTETS) && SCAN_OCTETS > BLOCK_OCTETS);

/// Octets that are read at once of the content of one message: the block that most of it lies in.
pub const CONTENT_READ_OCTETS: usize = BLOCK_OCTETS;

/// Pieces of one message of which it is known where they lie, while its log is read. One that has more, because its client sent it
/// line by line, is looked for in the log again when its content is wanted. 16 octets each; 256 MiB in blocks that nobody shares.
pub const EXTENTS: usize = 1024;

/// Sequences and addresses that a log leaves out when it goes on after a start. A write of the process before may come late, when a
/// machine is slow to take its ring down: what it writes then must not be taken for ours.
pub const LATE_BLOCKS: u64 = 1024;
const _: () = assert!(LATE_BLOCKS > GROUPS_UNDER_WAY as u64);

/// See [`LATE_BLOCKS`]: the same in segments, since each may have been the first of one. A million starts leave out a part in a thousand
/// of all addresses.
pub const LATE_SEGMENTS: u64 = 16;

/// Messages that are named when a log turns out to have lost something; of the rest it is said how many there are.
pub const LOST_MESSAGES_NAMED: usize = 1000;

/// Octets of a reply's text that are kept with deferred mail: two lines of RFC 5321 §4.5.3.1.5, which say why as well as ten would.
pub const SPOOL_REPLY_OCTETS: usize = 2 * REPLY_LINE_OCTETS;

/// Segments that are ready for a log before it needs them: the next, and one that is there when that is taken while another is made.
pub const SEGMENTS_READY: usize = 2;

/// The same while a log has wanted one that was not ready: twice as many each time, up to these.
pub const SEGMENTS_READY_BUSY: usize = 16;
const _: () = assert!(SEGMENTS_READY_BUSY > SEGMENTS_READY);

/// Segments that are kept for a log to be used again: what lies on the disk for about a second at the highest rate, because cursors move
/// about once a second. What is free beyond them is removed.
pub const SEGMENTS_READY_MOST: usize = 256;
const _: () = assert!(SEGMENTS_READY_MOST > SEGMENTS_READY_BUSY);

/// Time in which a segment that is ready, and not needed once, becomes one too many, in ms.
pub const SEGMENT_SURPLUS_MS: u64 = 60_000;

/// Segments that are made at the same time: the disk has mail to write, too.
pub const SEGMENTS_PREPARED_AT_ONCE: usize = 2;

/// Octets of zeros that are written at once to a segment that is made.
pub const SEGMENT_FILL_OCTETS: usize = 1 << 20;

/// Time after which a segment that could not be made, or removed, is tried again, in ms.
pub const SEGMENT_RETRY_MS: u64 = 1_000;

/// How often it is looked at how full the disk is, in ms: what a fast disk can be given meanwhile is 400 MB.
pub const DISK_LOOK_MS: u64 = 200;

/// Part of the reserve that must be free beyond it before a disk that was too full is not any more.
pub const RESERVE_SLACK_PART: u64 = 8;

/// Messages of one log that a consumer has out of it, and not by its ring, and is not done with.
pub const LOG_LETTERS: usize = 1024;
const _: () = assert!(LOG_LETTERS >= 2 * DELIVERY_BATCH);

/// Octets that a reader of a log asks a disk for at once: a block or two of a shard in haste, many of one that has little to do.
pub const LOG_READ_OCTETS: usize = 512 * 1024;
const _: () = assert!(LOG_READ_OCTETS >= 2 * BLOCK_OCTETS);

/// So many such runs of octets have the readers of logs on one thread in memory, which they share: 8 MiB, letters that point into them
/// included. One sink has as many threads as are configured, and none of it while it keeps up.
pub const LOG_READ_RUNS: usize = 16;
/// Where a thread reads so many logs that this is more, it has these for each: so that one which waits for its turn holds none that
/// another wants.
pub const LOG_READ_RUNS_OF_EACH: usize = LOG_READ_RUNS / 4;
const _: () = assert!(LOG_READ_RUNS_OF_EACH >= 2);

/// Octets of a log after which a reader that found nothing lets other logs have their turn.
pub const LOG_TURN_OCTETS: u64 = 4 << 20;

/// How often a reader asks for the same octets before it takes for lost what the disk does not give: for some seconds, since what is behind
/// a path that comes back is not lost ([`LOG_RETRY_MS`] lies between two tries).
pub const LOG_READ_TRIES: u32 = 25;

/// Things that readers of the spool came upon, and nobody has asked for: the last so many are named.
pub const FINDINGS: usize = 64;

/// Time after which a log that could not be read is tried again, in ms.
pub const LOG_RETRY_MS: u64 = 200;

/// How often a consumer notes how far it is done with a log, in ms, while it gets on (and oftener in its first second): what was done since
/// comes again after a crash.
pub const CURSOR_MS: u64 = 1_000;

/// It notes it earlier when it has got on by so many octets: segments go when that is noted.
pub const CURSOR_OCTETS: u64 = 16 << 20;

/// Share of a shard's blocks of memory that spooled letters may span which are not acknowledged, all consumers together; as much again
/// lies before the oldest of them, where long messages begin. Beyond it a consumer reads the log. Sinks that stand still so
/// take half of a shard's memory at most, however many there are.
pub const LETTERS_SHARE: usize = 4;
