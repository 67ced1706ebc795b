//! Every bound of the engine, with its reason, and its relation to the others asserted at compile time.
//!
//! A bound that an operator can set has its default here too; the value in force is printed at start. Reaching a bound
//! is a counted outcome with a reply or a state of its own, never a silent loss.

mod deferred;
mod spool;

pub use deferred::*;
pub use spool::*;

/// Octets of a command line with its CRLF before any extension: RFC 5321 §4.5.3.1.4 asks for 512; clients with long
/// paths exist, so 2,048.
pub const COMMAND_LINE_BASE_OCTETS: usize = 2048;

/// What the offered extensions may add to a MAIL or RCPT line: SIZE 26 (RFC 1870), BODY 17 (RFC 6152), SMTPUTF8 10
/// (RFC 6531), DSN 107 on MAIL and 500 on RCPT (RFC 3461), AUTH 500 (RFC 4954).
pub const COMMAND_LINE_EXTENSION_OCTETS: usize = 26 + 17 + 10 + 107 + 500 + 500;

/// Octets of a command line with its CRLF, all included. A longer one is read to its end and refused.
pub const COMMAND_LINE_OCTETS: usize = COMMAND_LINE_BASE_OCTETS + COMMAND_LINE_EXTENSION_OCTETS;

/// Octets of a command line that is too long which are read in search of its end; then the connection is closed, because it
/// may never come (CONFORMANCE T033). A client that sends lines of this length means no command.
pub const COMMAND_LINE_DISCARD_OCTETS: usize = 64 * 1024;
const _: () = assert!(COMMAND_LINE_DISCARD_OCTETS > COMMAND_LINE_OCTETS);

/// Octets of a domain: RFC 5321 §4.5.3.1.2.
pub const DOMAIN_OCTETS: usize = 255;

/// Octets of a label of a domain: RFC 1035 §2.3.4.
pub const DOMAIN_LABEL_OCTETS: usize = 63;

/// Octets of a local-part: RFC 5321 §4.5.3.1.1 asks for 64; loose syntax takes 256, because senders use more.
pub const LOCAL_PART_OCTETS: usize = 64;
/// See [`LOCAL_PART_OCTETS`].
pub const LOCAL_PART_OCTETS_LOOSE: usize = 256;

/// Octets of a path with its brackets: RFC 5321 §4.5.3.1.3 asks for 256; loose syntax takes 512 (local-part and domain
/// at their own bounds).
pub const PATH_OCTETS: usize = 256;
/// See [`PATH_OCTETS`].
pub const PATH_OCTETS_LOOSE: usize = 512;
const _: () = assert!(PATH_OCTETS_LOOSE <= COMMAND_LINE_BASE_OCTETS);

/// Octets of the form in which a recipient is looked up: a local-part, the sign, and a domain, which is the server's own name
/// where the recipient has none. Any path that is read fits, so that a look-up needs no memory but the stack.
pub const RECIPIENT_KEY_OCTETS: usize = LOCAL_PART_OCTETS_LOOSE + 1 + DOMAIN_OCTETS;

/// Octets of one transaction's envelope: 1,000 recipients with a kilobyte each. RCPT above it is refused with 452.
pub const ENVELOPE_OCTETS: usize = 1024 * 1024;
const _: () = assert!(ENVELOPE_OCTETS / 1000 >= PATH_OCTETS_LOOSE + 500, "an ORCPT has 500 octets at most, RFC 3461");

/// Octets of what is known of a message beside its content: its envelope, and three names.
pub const MANIFEST_OCTETS: usize = ENVELOPE_OCTETS + 3 * COMMAND_LINE_OCTETS + 128;

/// Capacity that an envelope keeps between transactions: a few recipients with their parameters.
pub const ENVELOPE_KEPT_OCTETS: usize = 1024;

/// Received fields of one message above which it is taken to be in a loop, unless configured: RFC 5321 §6.3 wants at
/// least 100 to be let through.
pub const RECEIVED_FIELDS: u32 = RECEIVED_FIELDS_LEAST;

/// See [`RECEIVED_FIELDS`].
pub const RECEIVED_FIELDS_LEAST: u32 = 100;

/// Octets of a line of content without its CRLF that must be taken at least: RFC 5321 §4.5.3.1.6.
pub const CONTENT_LINE_OCTETS_LEAST: u32 = 998;

/// Octets of an ENVID as it is written: RFC 3461 §4.4.
pub const ENVID_OCTETS: usize = 100;

/// Octets of an ORCPT as it is written, with its address type: what RFC 3461 §5.2 adds to a RCPT line.
pub const ORCPT_OCTETS: usize = 500;

/// Octets of the AUTH of MAIL as it is written: what RFC 4954 §3 adds to a MAIL line.
pub const AUTH_OCTETS: usize = 500;
const _: () = assert!(
    ENVID_OCTETS + AUTH_OCTETS <= COMMAND_LINE_EXTENSION_OCTETS && ORCPT_OCTETS <= COMMAND_LINE_EXTENSION_OCTETS
);

/// Octets of one reply line with its CRLF: RFC 5321 §4.5.3.1.5.
pub const REPLY_LINE_OCTETS: usize = 512;

/// Octets of the longest reply, all lines of it: EHLO lists at most 16 keywords.
pub const REPLY_OCTETS: usize = 2048;
const _: () = assert!(REPLY_OCTETS >= REPLY_LINE_OCTETS);

/// Reply slots of one session that wait behind an answer which is still out (DESIGN decision 7). When they are used up
/// the session takes no further command until the first is resolved. 32 transactions of four replies.
pub const REPLY_SLOTS: usize = 128;

/// Octets of replies that one connection may have unsent before it takes no further command: a client that never reads
/// costs this much and no more.
pub const OUTPUT_OCTETS: usize = 64 * 1024;
const _: () = assert!(OUTPUT_OCTETS >= 8 * REPLY_OCTETS);

/// Octets of unsent replies above which an output buffer is given back to the allocator instead of to the shard's pool.
pub const OUTPUT_KEPT_OCTETS: usize = 8 * 1024;

/// Octets of a new output buffer: the replies to 32 pipelined messages.
pub const OUTPUT_BUFFER_OCTETS: usize = 4 * 1024;
const _: () = assert!(OUTPUT_BUFFER_OCTETS <= OUTPUT_KEPT_OCTETS);

/// Octets of a block of memory in which a shard keeps the content of messages until they are delivered: 60 messages of 4 KiB.
pub const BLOCK_OCTETS: usize = 256 * 1024;

/// Octets of a page of memory: x86-64's.
pub const PAGE_OCTETS: usize = 4096;
const _: () = assert!(BLOCK_OCTETS.is_multiple_of(PAGE_OCTETS));

/// Octets of a message that is moved out of its blocks when it is to come to its consumer again: a smaller one would keep a block for
/// itself, a larger one does not gain much.
pub const APART_OCTETS: u64 = BLOCK_OCTETS as u64 / 4;

/// Blocks of one shard, unless a test says otherwise: 256 MiB, for messages that are coming and those that are handed off and not
/// delivered. When no more is to be had a message is refused with 452 at its end.
pub const BLOCKS: usize = 1024;
const _: () =
    assert!(BLOCKS * BLOCK_OCTETS > 2 * MESSAGE_OCTETS as usize + MANIFEST_OCTETS, "a message or two have room");

/// Blocks that a shard keeps for reuse; what is free beyond them is given back to the system.
pub const BLOCKS_KEPT: usize = 64;

/// Blocks that a shard makes known to the kernel, from which it writes to disk for less: four times those that are kept for reuse,
/// which are the ones that it meets again. Writes from others are plain ones.
pub const BLOCKS_REGISTERED: u32 = 256;
const _: () = assert!(BLOCKS_REGISTERED as usize >= BLOCKS_KEPT && BLOCKS_REGISTERED <= 1 << 14, "io_uring has 16,384");

/// Time for which a ring that ends waits for its writes, in ms. A disk that takes longer stands still; what it may read still then is
/// left to it, and never used again.
pub const WRITES_END_MS: u64 = 30_000;

/// How often a consumer that sleeps is woken for mail that a log has, in ms: nobody waits for what it says, and each wake costs the shard
/// some µs and takes a processor from its clients. Where it was woken for each group, one client of a durable MX had its answers after
/// 1.60 times a write in place of 1.37, and pipelined messages of 4 KiB came at 1.21 GB/s in place of 1.36; of 64 KiB at the same.
pub const WAKE_MS: u64 = 1;

/// Messages that may be on their way from one shard to one sink: handed off, and not acknowledged. Beyond it their senders wait,
/// and RCPT for that sink is refused with 452.
pub const LETTERS: usize = 4096;

/// Share of its blocks, in percent, above which a shard that sleeps is woken when memory is given back. Below it no client waits for
/// that.
pub const ROOM_WANTED_PERCENT: u64 = 50;

/// Messages of one shard whose end is not answered because a sink has not answered. Beyond it: 452 at the end of mail data.
pub const MESSAGES_AWAITED: usize = 16_384;

/// Messages that a sink is given at once.
pub const DELIVERY_BATCH: usize = 256;
const _: () = assert!(DELIVERY_BATCH <= LETTERS);

/// How often a sink's thread that has nothing to do looks whether it is to end, in ms.
pub const WORKER_LOOK_MS: u64 = 200;

/// Time until a delivery that failed is tried again, in ms: the first time, doubled each time up to the second.
pub const REDELIVERY_FIRST_MS: u64 = 1_000;
/// See [`REDELIVERY_FIRST_MS`].
pub const REDELIVERY_MOST_MS: u64 = 60_000;

/// Clients in mail data are made to wait for memory as long as some is given back within so many ms. When none is, no wait will
/// help them: their messages go on until memory is used up, and are refused with 452.
pub const HELD_BACK_MS: u64 = 10_000;

/// How often a shard looks whether they can go on, in ms, though nobody woke it.
pub const HELD_BACK_STEP_MS: u64 = 100;
const _: () = assert!(HELD_BACK_STEP_MS < HELD_BACK_MS && HELD_BACK_MS < IDLE_MS);

/// Output buffers that a shard has from the start; more are made when more connections have replies at once.
pub const OUTPUT_BUFFERS_PREPARED: usize = 256;

/// Output buffers that a shard keeps for reuse.
pub const OUTPUT_BUFFERS_KEPT: usize = 4096;

/// Memory that one shard's sessions may hold in all, in octets: unsent replies, and input that paused sessions could not
/// take. The levels of back-pressure are shares of it (`shard::pressure`).
pub const SESSION_MEMORY_OCTETS: u64 = 256 * 1024 * 1024;
const _: () = assert!(SESSION_MEMORY_OCTETS >= 1024 * OUTPUT_OCTETS as u64);

/// Size of one receive buffer. Server CPU per message, 20 connections of pipelined BDAT, 4 KiB 32 deep (and 100 KiB 4 deep),
/// medians on 2 vCPUs, Linux 6.18: 64 KiB 0.56 µs (5.5), 64 KiB in bundles of four 0.58 (6.7), 256 KiB 0.52 (5.9), 32 KiB in
/// bundles 0.59, 16 KiB 0.65, 16 KiB in bundles 0.67. 256 KiB would leave a quarter of the buffers for the same memory.
pub const RECEIVE_BUFFER_OCTETS: usize = 64 * 1024;

/// Receive buffers of one shard; a power of two, as the buffer ring wants. 16 MiB in all.
pub const RECEIVE_BUFFERS: usize = 256;
const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two() && RECEIVE_BUFFERS <= 32768);

/// Octets after which a receive ends, and is started again unless its session cannot go on: four buffers. Without it (before
/// Linux 6.17) one socket can fill every buffer before its shard can stop it: 4 MB were seen.
pub const RECEIVE_OCTETS: u32 = 4 * RECEIVE_BUFFER_OCTETS as u32;

/// Entries of a shard's submission queue. A full queue is submitted early, which costs a system call, never an operation.
pub const SUBMISSION_ENTRIES: u32 = 1024;

/// Entries of a shard's completion queue: at least one for each connection that can complete in one turn at 8,192
/// connections, four times over. Overflow is kept by the kernel (FEAT_NODROP), counted, and flushed.
pub const COMPLETION_ENTRIES: u32 = 32768;
const _: () = assert!(COMPLETION_ENTRIES >= 4 * SUBMISSION_ENTRIES);

/// Pieces of one send that are not copied. With own octets before each and behind the last one it is far below what the kernel
/// takes at once (`UIO_MAXIOV`, 1024).
pub const SHARED_PIECES: usize = 256;

/// Alarms of a ring that are set at the same time. With more, waits have time-outs of their own.
pub const ALARMS: usize = 32;

/// Completions for which a shard has room from the start; the room grows when more come at once.
pub const COMPLETIONS_PREPARED: usize = 1024;

/// Completions handled in one turn before timers, control messages and sends get theirs.
pub const COMPLETIONS_PER_TURN: usize = 4096;

/// Accepts that stand outstanding for each listening socket on each shard: as many connections as come between two turns
/// are taken without another system call. Chosen, not measured.
pub const ACCEPTS_PER_SOCKET: usize = 32;

/// Other shards that a shard looks at for a connection of its own, each a cache line that others write; the next ones for its
/// next connection.
pub const NEIGHBOURS_LOOKED_AT: usize = 16;

/// A shard hands a new connection on when it has more than one and this part more than another: a few more or less among many
/// are the hash's to decide.
pub const BALANCE_PART: u32 = 16;

/// Connections that last less than so many ms, while they come and go, stay where the kernel puts them. A move takes about 10 µs,
/// and chance would have many of a stream's moved to and fro.
pub const BALANCE_LIFETIME_MS: u64 = 1_000;

/// Shards of one process: what no machine has cores for.
pub const SHARDS: u16 = 1024;

/// Octets of what a data directory knows of itself: a word and two numbers.
pub const IDENTITY_OCTETS: u64 = 1024;

/// Octets of a configuration file: far above any, far below what hurts.
pub const CONFIGURATION_OCTETS: u64 = 16 * 1024 * 1024;

/// Connections of one shard, unless configured.
pub const CONNECTIONS_PER_SHARD: u32 = 8192;

/// Highest configurable number of connections of one shard: what 24 bits of slot in the token allow, rounded down.
pub const CONNECTIONS_PER_SHARD_MOST: u32 = 1 << 20;

/// Slots of a shard beyond its connections: for accepts that stand outstanding, and for connections above the limit while
/// they are told 421 (RFC 5321 §3.8). When none is free, accepting pauses.
pub const SPARE_SLOTS_PER_SHARD: u32 = 1024;
const _: () = assert!(SPARE_SLOTS_PER_SHARD as usize >= 2 * ACCEPTS_PER_SOCKET);

/// Listening sockets' backlog unless configured; the kernel cuts it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Questions of the kernel's that a silent peer may leave unanswered, where `keepalive_s` has it asked.
pub const KEEPALIVE_QUESTIONS: u32 = 3;

/// Listeners of one configuration.
pub const LISTENERS: usize = 256;

/// Addresses of one listener.
pub const BINDS_PER_LISTENER: usize = 64;

/// Netblocks of one listener that are trusted with XCLIENT: they are looked through for each connection.
pub const TRUSTED_NETBLOCKS: usize = 256;

/// Netblocks of one listener whose peers are served; looked through once for each connection.
pub const SERVED_NETBLOCKS: usize = 1024;

/// Sinks of one plan. Each has threads of its own, and a queue from each shard.
pub const SINKS: usize = 64;

/// Threads of one sink.
pub const SINK_THREADS: u16 = 64;

/// Recipients of a listener that are named when its values are printed; of the rest it is said how many there are.
pub const RECIPIENTS_SHOWN: usize = 8;

/// Octets that the file of deliveries may have, unless the operator says otherwise: some million lines.
pub const DELIVERY_LOG_OCTETS: u64 = 256 << 20;
/// The least that it may be given: some hundred lines of any length.
pub const DELIVERY_LOG_OCTETS_LEAST: u64 = 1 << 20;

/// Octets of a reason that a line of the delivery log shows; more is cut. A reply of another server's may be longer.
pub const DELIVERY_LOG_WHY_OCTETS: usize = 512;

/// Octets of the name of a listener or a sink that such a line shows; more is cut.
pub const DELIVERY_LOG_NAME_OCTETS: usize = 128;

/// Octets of such a line with its end: an octet that is escaped takes four, what is fixed less than 512.
pub const DELIVERY_LOG_LINE_OCTETS: usize =
    4 * (2 * PATH_OCTETS_LOOSE + DELIVERY_LOG_WHY_OCTETS + 2 * DELIVERY_LOG_NAME_OCTETS) + 512;
const _: () = assert!(DELIVERY_LOG_OCTETS_LEAST >= 100 * DELIVERY_LOG_LINE_OCTETS as u64);

/// Octets of lines that wait to be written; those that come when there is no room are counted and dropped. Some 100,000 lines:
/// a disk may stand still for a second of a load that few see.
pub const DELIVERY_LOG_QUEUE_OCTETS: usize = 16 << 20;

/// Batches of lines that wait to be written: where each has one line, what comes in a second of a smaller load.
pub const DELIVERY_LOG_QUEUE_BATCHES: usize = 8192;

/// Octets of lines that are handed over at once; more go in several parts, of which each finds room or does not.
pub const DELIVERY_LOG_BATCH_OCTETS: usize = 128 * 1024;
const _: () = assert!(DELIVERY_LOG_BATCH_OCTETS >= DELIVERY_LOG_LINE_OCTETS);
const _: () = assert!(DELIVERY_LOG_QUEUE_OCTETS >= 8 * DELIVERY_LOG_BATCH_OCTETS);

/// Time for which the log's thread, having written, lets lines come together before it writes again, in ms; less once a quarter of the
/// queue is full. Who reads along does not see it; a line each 200 µs cost a wake and a write of its own, and where a file system has no
/// journal each of them had the spool's next synced write take a block of inodes with it: 40 µs of 130.
pub const DELIVERY_LOG_LINGER_MS: u64 = 20;

/// Time after which a delivery log that could not be written is tried again, in ms: a full disk or a fifo without a reader is
/// the operator's to mend, and a second is soon after that.
pub const DELIVERY_LOG_RETRY_MS: u64 = 1_000;

/// Time that the log waits for a reader that does not read before it looks whether it shall end, in ms.
pub const DELIVERY_LOG_LOOK_MS: u64 = 100;

/// Time that the log has at its end for what still waits to be written, in ms. What is not written then is counted as lost.
pub const DELIVERY_LOG_CLOSE_MS: u64 = 2_000;
const _: () = assert!(DELIVERY_LOG_CLOSE_MS > DELIVERY_LOG_RETRY_MS);

/// Messages in a shard's control mailbox. A sender that finds it full waits.
pub const CONTROL_MESSAGES: usize = 256;

/// Control messages handled in one turn.
pub const CONTROL_MESSAGES_PER_TURN: usize = 64;

/// Sessions in one page of a listing.
pub const SESSIONS_PER_PAGE: usize = 256;

/// How long a closed connection's input is discarded before it is closed for good, in ms (DESIGN decision 4).
pub const LINGER_MS: u64 = 2_000;
/// How many octets are discarded after a close before it is closed for good (DESIGN decision 4).
pub const LINGER_OCTETS: u64 = 256 * 1024;

/// Time without a received octet after which a session ends with 421 4.4.2, in ms: RFC 5321 §4.5.3.2.7 asks for at least
/// five minutes.
pub const IDLE_MS: u64 = 300_000;

/// Time for one whole transaction on public and private listeners, in ms.
pub const TRANSACTION_MS: u64 = 3_600_000;

/// Time for the answer to a question that the session waits for, in ms. RFC 5321 §4.5.3.2 gives clients five minutes for
/// MAIL and RCPT, ten for the end of mail data; half a minute stays far below both. After it: 451.
pub const ANSWER_MS: u64 = 30_000;
const _: () = assert!(ANSWER_MS < IDLE_MS);

/// Time for a whole PROXY header where one is required, unless configured, in ms (DESIGN §6). A proxy sends it at once.
pub const PROXY_MS: u64 = 5_000;

/// Time that a drain gives transactions in mail data, in ms, before their connections are closed.
pub const DRAIN_MS: u64 = 30_000;

/// Time that a sink's thread has to come back from its sink when everything is to end at once, in ms.
pub const HURRY_MS: u64 = 1_000;

/// Time that accepting pauses after EMFILE, ENFILE, ENOBUFS or ENOMEM, in ms.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Time that receives are not started again after ENOMEM, in ms: their clients wait, as TCP lets them.
pub const RECEIVE_PAUSE_MS: u64 = 100;

/// How long start-up retries an address that is in use, in ms: the ring of a process that was just killed keeps its
/// sockets for tens of milliseconds (DESIGN decision 21).
pub const BIND_RETRY_MS: u64 = 2_000;

/// The same where the address belongs to no process any more, in ms: its ring is being taken down, and on a starved machine
/// that took more than 2 s once.
pub const BIND_RETRY_ORPHAN_MS: u64 = 15_000;
const _: () = assert!(BIND_RETRY_ORPHAN_MS > BIND_RETRY_MS);

/// Resolution of the timer wheel, in ms; timers fire at most this much late.
pub const WHEEL_TICK_MS: u64 = 64;
/// Time by which a turn must be late for the shard to have stood still, in ms. Far above what a busy machine makes of a turn;
/// far below any time limit, of which the shortest is a second.
pub const STALL_MS: u64 = 250;
const _: () = assert!(STALL_MS > 2 * WHEEL_TICK_MS && STALL_MS < 1_000);
/// How long a shard that stood still puts time limits off while it hears what came meanwhile, in ms.
pub const CATCH_UP_MS: u64 = 1_000;
/// Slots of the timer wheel: 1,024 × 64 ms is 65 s, longer waits go round.
pub const WHEEL_SLOTS: usize = 1024;
const _: () = assert!(WHEEL_SLOTS.is_power_of_two());

/// Message size on a public listener, in octets (DESIGN §6).
pub const MESSAGE_OCTETS: u64 = 50 << 20;
/// Recipients of one message on a public or private listener (DESIGN §6).
pub const RECIPIENTS: u32 = 1_000;
/// Messages of one connection to a public listener (DESIGN §6).
pub const MESSAGES_PER_CONNECTION: u32 = 1_000;
/// Errors since the last accepted message on a public or private listener (DESIGN §6).
pub const ERRORS: u32 = 20;
/// Commands that further no message, since the last accepted one, on a public or private listener (DESIGN §6).
pub const JUNK_COMMANDS: u32 = 100;

/// DESIGN §6: of a private listener.
pub const PRIVATE_MESSAGE_OCTETS: u64 = 100 << 20;

/// The largest message that a listener can be told to hand off: two have room in a shard's memory at once.
pub const HANDED_OFF_MESSAGE_OCTETS: u64 = ((BLOCKS * BLOCK_OCTETS - MANIFEST_OCTETS) / 2) as u64 & !0xf_ffff;
const _: () = assert!(PRIVATE_MESSAGE_OCTETS <= HANDED_OFF_MESSAGE_OCTETS);

/// Message size on a blackhole, in octets.
pub const BLACKHOLE_MESSAGE_OCTETS: u64 = 1 << 30;
/// Recipients of one message on a blackhole.
pub const BLACKHOLE_RECIPIENTS: u32 = 100_000;

/// RFC 5321 §4.5.3.1.8: at least 100 recipients must be taken.
pub const RECIPIENTS_LEAST: u32 = 100;
/// RFC 5321 §4.5.3.1.7: at least 64 K octets of message must be taken.
pub const MESSAGE_OCTETS_LEAST: u64 = 64 * 1024;

/// Octets over the message size limit that are swallowed to keep in step, as a multiple of the limit.
pub const DISCARD_FACTOR: u64 = 10;
/// The least octets that are swallowed to keep in step (CONFORMANCE T121).
pub const DISCARD_OCTETS_LEAST: u64 = 1 << 30;

/// Octets of a line of mail data without its CRLF: RFC 5321 §4.5.3.1.6 says 1,000 with it.
pub const TEXT_LINE_OCTETS: usize = 998;
/// The same for lines that are written here, wherever they can be folded: RFC 5322 §2.1.1.
pub const TEXT_LINE_OCTETS_WISHED: usize = 78;

/// Octets of a client's HELO or EHLO name that a Received field shows when it is no domain; each takes up to three.
pub const TRACE_HELLO_OCTETS: usize = DOMAIN_OCTETS;
const _: () = assert!("\t".len() + 3 * TRACE_HELLO_OCTETS + ")".len() <= TEXT_LINE_OCTETS);
const _: () = assert!("Return-Path: <>".len() + PATH_OCTETS_LOOSE <= TEXT_LINE_OCTETS);

/// Octets of the name of a TLS version or of a cipher suite in a Received field: the longest registered suite has under 50.
pub const TLS_NAME_OCTETS: usize = 64;

/// Octets of a Received field with all its lines: a name that is no domain, the peer's name and our own, a path, and the
/// names of TLS; all that is fixed, and the folds, take less than 256.
pub const RECEIVED_OCTETS: usize =
    3 * TRACE_HELLO_OCTETS + 2 * DOMAIN_OCTETS + PATH_OCTETS_LOOSE + 2 * TLS_NAME_OCTETS + 256;

/// The last second that a date of a message shows, since 1970: that of the year 9999, so that every date has the same width.
pub const TIME_S: u64 = 253_402_300_799;

/// Octets of a PROXY header of version 1 with its CRLF: the longest that its grammar makes (proxy-protocol.txt §2.1).
pub const PROXY_V1_OCTETS: usize = 107;

/// Octets of a PROXY header of version 2, all included. Addresses have 216 at most; what real proxies add (names, a cipher, a
/// certificate's common name) stays far below an MSS, as proxy-protocol.txt §2.2 expects. The format would allow 64 KiB,
/// which nobody who has said nothing yet shall hold for the time that a header may take.
pub const PROXY_V2_OCTETS: usize = 16 + 4096;

/// Octets of an address of the Unix domain in a PROXY header: proxy-protocol.txt §2.2.
pub const PROXY_UNIX_PATH_OCTETS: usize = 108;
const _: () = assert!(PROXY_V2_OCTETS > 16 + 2 * PROXY_UNIX_PATH_OCTETS);

/// Octets of a proxy's name for a connection: proxy-protocol.txt §2.2.5.
pub const PROXY_UNIQUE_ID_OCTETS: usize = 128;

/// Octets of a value of XCLIENT without its encoding: XCLIENT_README, note 1, gives 255 to host names and HELO.
pub const XCLIENT_VALUE_OCTETS: usize = 255;
const _: () = assert!(XCLIENT_VALUE_OCTETS >= DOMAIN_OCTETS);

// Client: what the other side of a session may cost, when ringmx is the client.

/// Octets of a reply line that a client takes, with its line end. RFC 5321 §4.5.3.1.5 has 512; servers put URLs, policy texts
/// and lists of AUTH mechanisms on one line, so eight times that.
pub const CLIENT_REPLY_LINE_OCTETS: usize = 4096;
const _: () = assert!(CLIENT_REPLY_LINE_OCTETS >= REPLY_LINE_OCTETS);

/// Lines of one reply that a client takes: EHLO lists a few dozen keywords at most.
pub const CLIENT_REPLY_LINES: usize = 128;

/// Octets of one reply that a client takes, all lines of it: what it may have to keep of a reply that came in pieces.
pub const CLIENT_REPLY_OCTETS: usize = 64 * 1024;
const _: () = assert!(CLIENT_REPLY_OCTETS >= 2 * CLIENT_REPLY_LINE_OCTETS);

/// Octets that a client keeps for replies that come in pieces; what a longer one took is given back.
pub const CLIENT_REPLY_KEPT_OCTETS: usize = 512;

/// Octets of unsent commands above which a client writes no further RCPT: an envelope of 100,000 recipients is not rendered
/// at once. RFC 2920 §3.1 leaves the size of a group to the client.
pub const CLIENT_GROUP_OCTETS: usize = 64 * 1024;
const _: () = assert!(CLIENT_GROUP_OCTETS >= 8 * COMMAND_LINE_OCTETS);

/// Transactions that a client may have in flight, whatever depth it is asked for: their replies, four each, are what the
/// server may have to hold unsent ([`OUTPUT_OCTETS`] here), and the records are what the client holds.
pub const CLIENT_TRANSACTIONS_IN_FLIGHT: u32 = 4096;

/// Domains of recipients that a client remembers to obey RCPTDOMAINMAX (RFC 9422 §4.3), which bounds those of a session. A
/// server that allows more is sent no more than these; the caller opens another connection.
pub const CLIENT_DOMAINS: u32 = 256;

/// Octets of an AUTH line with an initial response: RFC 4954 §4 says to do without one where the line would exceed 512.
pub const CLIENT_AUTH_COMMAND_OCTETS: usize = 512;

/// Octets of an AUTH response with its CRLF: RFC 4954 §4.
pub const CLIENT_AUTH_RESPONSE_OCTETS: usize = 12_288;

/// Challenges of one AUTH exchange: the mechanisms that exist need three at most.
pub const CLIENT_AUTH_CHALLENGES: u32 = 16;

/// Times that a client waits at least, in ms: RFC 5321 §4.5.3.2.1 to §4.5.3.2.6. EHLO, RSET, QUIT, STARTTLS, AUTH and XCLIENT
/// have none there, and take that of MAIL.
pub const CLIENT_GREETING_MS: u64 = 300_000;
/// See [`CLIENT_GREETING_MS`].
pub const CLIENT_MAIL_MS: u64 = 300_000;
/// See [`CLIENT_GREETING_MS`].
pub const CLIENT_RCPT_MS: u64 = 300_000;
/// See [`CLIENT_GREETING_MS`]; to the 354.
pub const CLIENT_DATA_MS: u64 = 120_000;
/// See [`CLIENT_GREETING_MS`]; for each block of content to be sent, and for the reply to a chunk that is not the last.
pub const CLIENT_BLOCK_MS: u64 = 180_000;
/// See [`CLIENT_GREETING_MS`]; from the final dot or the last chunk to its reply.
pub const CLIENT_END_OF_DATA_MS: u64 = 600_000;

// Spool.

// Maildir sink.

/// Octets of one component of a path: what ext4, XFS and Btrfs take.
pub const FILE_NAME_OCTETS: usize = 255;

/// Octets of a path template as it is written: a quarter of what the kernel takes of a path.
pub const MAILDIR_TEMPLATE_OCTETS: usize = 1024;

/// Components of a path template from the first with a placeholder on: filled in they are a path of half of what the kernel
/// takes (`PATH_MAX`, 4,096).
pub const MAILDIR_DEPTH: usize = 8;
const _: () = assert!((MAILDIR_DEPTH + 1) * (FILE_NAME_OCTETS + 1) <= 4096);

/// Octets of one such component beside its placeholders: the rest holds two names that were cut, each with its hash.
pub const MAILDIR_TEXT_OCTETS: usize = 100;

/// Octets of the host's name in the name of a message's file; the whole stays below [`FILE_NAME_OCTETS`] when each is escaped,
/// and with what readers append: flags, and what they keep for themselves.
pub const MAILDIR_HOST_OCTETS: usize = 32;
const _: () = assert!(12 + 1 + 26 + 1 + 4 * MAILDIR_HOST_OCTETS + 64 <= FILE_NAME_OCTETS);

/// Files that are written, synced and renamed together. Waves of 256 bring a tenth more than waves of 64, and 1,024 no more.
pub const MAILDIR_FILES_PER_WAVE: usize = 256;

/// Files from which on a wave is synced by syncfs: with four it is a third faster than file by file, with one no slower.
pub const MAILDIR_FILES_SYNCED_WHOLE: usize = 4;

/// Time of a syncfs, in ms, above which others' octets must have been the most of it.
pub const MAILDIR_WHOLE_SYNC_MS: u64 = 250;

/// Waves that are synced file by file after that.
pub const MAILDIR_WAVES_AFTER_SLOW: u32 = 64;

/// Threads that sync at the same time where files are synced one by one: they wait for the disk, and share its flushes.
pub const MAILDIR_SYNC_THREADS: usize = 16;

/// Maildirs that a worker keeps open, two descriptors each.
pub const MAILDIR_FOLDERS_OPEN: usize = 1024;

/// A worker's files of a wave, and the maildirs that it keeps open, are at most this part of the descriptors that the process may
/// have: with two descriptors for each maildir of either kind, it has less than half of them.
pub const MAILDIR_DESCRIPTORS_PART: u64 = 16;
/// What they are at least.
pub const MAILDIR_FILES_LEAST: usize = 8;

/// Maildirs of which a worker remembers that they were synced up to the root.
pub const MAILDIR_FOLDERS_KNOWN: usize = 65_536;

/// Octets that are written at once where line ends change.
pub const MAILDIR_WRITE_OCTETS: usize = 64 * 1024;

/// Directories below the root that a walk goes down: the template's, those of a maildir, and folders that readers nest.
pub const MAILDIR_WALK_DEPTH: usize = MAILDIR_DEPTH + 8;

/// Entries that a walk looks at: some minutes, when they are cached.
pub const MAILDIR_WALK_ENTRIES: u64 = 100_000_000;

/// Time between two counts of what lies in all maildirs, in ms.
pub const MAILDIR_RECOUNT_MS: u64 = 10_000;

/// Age of a file in tmp from which on it is a leftover, in s: 36 hours, as the maildir convention has it.
pub const MAILDIR_LEFTOVER_S: i64 = 36 * 3600;
