//! ringmx: a mail ingestion engine on io_uring. This page is the map: what each layer is for, what holds everywhere, and what
//! each layer does *not* know.
//!
//! # The way of a message
//!
//! ```text
//! doors ──▶ connection and its stages ──▶ session ──▶ intake ──▶ log        one thread, one ring, one core: a shard
//!   ▲                                        │           │        │ blocks, by the same ring
//!   └── accept      replies ◀── dispatch ◀───┘           │        ▼
//!                                  letters, by lock-free │     segments ◀── steward: makes and frees them
//!                                                 queues ▼        │ read by who does not keep up
//!                                  deliveries ──▶ sink ──▶ settlement ──▶ cursor, or deferred log      threads of the sinks
//! ```
//!
//! A connection comes through a door ([`shard`]), goes through its stages (PROXY preamble → scope → TLS → pause → greeting →
//! session), and is fed to a [`smtp::session::Session`], which knows bytes and answers and nothing else. Its questions go to
//! a [`policy::decision::Policy`], its content to an [`handoff::intake::Intake`], its replies back in one send for each turn. A
//! blackhole's intake discards. What is handed off at once is taken by [`handoff::gather::Gather`]: it copies content once into memory that
//! others read, and hands complete messages to the sinks that their recipients' routes name. What is durable is taken by
//! [`spool::intake::Spooler`] into a [`spool::writer::Log`]: content is copied once into a block, which is written from where it lies; when
//! the block is on stable storage its messages are answered, and handed on with the very same memory. A [`sink::worker::Worker`] takes batches of
//! [`handoff::delivery::Delivery`], from memory or, where its sink did not keep up, out of the log by a [`spool::reader::Reader`].
//! What became of them goes back to senders who wait for it; or a [`spool::settlement::Settlement`] moves what was refused into
//! the deferred log, and then the sink's cursor goes on. An embedder takes deliveries itself with
//! [`engine::Engine::start_with_consumers`], and what it refuses of spooled mail has the same settlement ([`sink::kept`]); or it brings
//! intakes of its own with [`engine::Engine::start_with`].
//!
//! At the start [`spool::recovery`] reads every log whole, says where each goes on, and what is lost; sinks begin at their cursors.
//!
//! # Layers
//!
//! A layer imports only those above it; `tests/layers.rs` checks it.
//!
//! | layer | what it is | what it does not know |
//! |---|---|---|
//! | [`limits`] | every bound, with its reason | anything |
//! | `mutant` | deliberate bugs that the simulation must see (test builds; nothing elsewhere) | what they are in |
//! | [`mail`] | addresses, envelope, id, trace fields and manifest of a message | any protocol |
//! | [`smtp`] | the protocol, without I/O | sockets, clocks, policy, sinks |
//! | [`protocol`] | PROXY headers, XCLIENT, QMQP: what may stand around or in place of SMTP | sockets, who is trusted |
//! | [`policy`] | decisions, and the scope that a connection is held to | sockets, threads, files |
//! | [`metrics`] | counters and histograms of a shard, and their report | who reads them |
//! | [`memory`] | memory that the kernel, or another thread, reads or writes | what is in it |
//! | [`handoff`] | how mail and orders pass between threads | sockets, files, what a consumer does with mail |
//! | [`reactor`] | the cut to the kernel, the ring behind it, sockets that listen and connect, timers | SMTP, connections |
//! | `simulation` | the same cut without a kernel (test builds) | SMTP |
//! | [`tls`] | the seam between the socket's octets and plain text | sockets |
//! | [`spool`] | what makes a 250 durable: format, writer, steward, recovery, readers, deferred mail, tools | sessions, what a sink does |
//! | [`sink`] | where accepted mail goes: maildir, blackhole; and the log of deliveries | shards, sessions, sockets |
//! | [`config`] | TOML → plan | how a plan is run |
//! | [`shard`] | one core and the turn of its loop | of other shards: all but how many connections they have |
//! | [`engine`] | starts, reloads, asks and stops shards and sinks; the data directory | signals, process limits |
//!
//! The binary's `cli` is beyond them all, and so is the simulation of many seeds (`tests/simulation`). `service` of the design comes with its issue.
//!
//! # What holds everywhere
//!
//! * **Pure apart from I/O.** `smtp` and `policy` take bytes, answers and time, and give replies and effects. What they do is
//!   the same for every split of the input.
//! * **End of mail data is CRLF.CRLF**, in every configuration.
//! * **Received octets live for one turn.** They are parsed where they lie; what a session cannot take is copied once,
//!   counted and bounded, and its receive is cancelled.
//! * **One send for a connection is under way, ever**: two are reordered when the first has to wait.
//! * **A 250 means what its listener's durability says**: discarded, in the queue of each of its sinks, delivered by them, in the page
//!   cache, or on stable storage.
//! * **A block's messages are answered when it and every block before it are durable, or recorded as void.** A write that failed is not
//!   tried again, and nothing is written behind it in its segment.
//! * **A cursor never passes what is not settled**; a segment is freed when every cursor has passed it.
//! * **A message is handed on with its memory**: one copy of each octet, which the last of its consumers gives back.
//! * **A message never crosses shards.** A new connection may, before it is greeted, to one that has fewer, or whose log takes mail where
//!   this one's does not ([`shard::balance`]). Whose mail needs a log is served by a shard that has one: the first so many do.
//! * **A slot is freed when nothing is in flight for it**; a token carries the generation of its owner.
//! * **Every bound is in [`limits`]**; reaching it is counted and answered.
//! * **A shard's panic ends the process.** A half-done turn is not followed by another.
//! * **Unsafe code** stands in `memory`, `handoff`, `reactor` and `smtp::scan` alone.
//!
//! # Measured, and decided by it
//!
//! The figures behind a decision stand beside the code that it shaped: receive buffers in
//! [`limits`], quiet sends in [`reactor::ring`], the end of waits in [`reactor::alarms`], the scan in [`smtp::scan`].

#![deny(unsafe_op_in_unsafe_fn)]

pub mod config;
pub mod engine;
pub mod handoff;
pub mod limits;
pub mod mail;
pub mod memory;
pub mod metrics;
mod mutant;
pub mod policy;
pub mod protocol;
pub mod reactor;
pub mod shard;
#[cfg(test)]
pub mod simulation;
pub mod sink;
pub mod smtp;
pub mod spool;
pub mod tls;

// The simulation of many seeds is a test of the whole library from outside, which needs what only test builds have. The naive
// session and the letters, which are shared with other tests, name the library as those do.
#[cfg(test)]
extern crate self as ringmx;
#[cfg(test)]
#[path = "../tests/common/letter.rs"]
mod letter;
#[cfg(test)]
#[path = "../tests/simulation/mod.rs"]
mod trials;
