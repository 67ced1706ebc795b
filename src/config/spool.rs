//! `[spool]`: what the file says of it, what that amounts to beside its listeners, and that in words.

use std::num::NonZeroU16;

use toml::Spanned;

use super::describe::{bytes, milliseconds, seconds};
use super::error::{Mistake, Report};
use super::plan::Plan;
use super::table::Table;
use super::{value, vocabulary};
use crate::limits;
use crate::metrics::report::grouped;
use crate::policy::scope::{Promise, Taking};
use crate::spool::options::{Reserve, SpoolOptions};
use crate::spool::reader::Reader;

/// `[spool]`.
#[derive(Debug, Default)]
pub(super) struct FileSpool {
    /// 0 is one for each core.
    shards: Option<Spanned<u16>>,
    segment_bytes: Option<Spanned<u64>>,
    retain_s: Option<Spanned<u64>>,
    /// 0 is no bound.
    size_bytes: Option<Spanned<u64>>,
    lifetime_s: Option<Spanned<u64>>,
    retry_s: Option<Spanned<Vec<Spanned<u32>>>>,
    reserve_bytes: Option<Spanned<u64>>,
}

impl FileSpool {
    pub(super) fn read(table: &Table<'_>) -> Self {
        table.require_some("retry_s", "retry_s = [300, 3600]");
        Self {
            shards: table.read("shards", value::number(vocabulary::SHARDS, "shards")),
            segment_bytes: table.read("segment_bytes", value::power_of_two(vocabulary::SEGMENT_BYTES, "bytes")),
            retain_s: table.read("retain_s", value::number(vocabulary::RETAIN_S, "seconds")),
            size_bytes: table.read("size_bytes", value::number(vocabulary::SPOOL_BYTES, "bytes (0 is no bound)")),
            lifetime_s: table.read("lifetime_s", value::number(vocabulary::LIFETIME_S, "seconds")),
            retry_s: table.read_list("retry_s", value::number(vocabulary::RETRY_S, "seconds")),
            reserve_bytes: table.read("reserve_bytes", value::number(vocabulary::SPOOL_BYTES, "bytes")),
        }
    }
}

/// Shards that have logs, and so serve the listeners whose mail goes there, of so many: unless it is said, no more than cores, since
/// each log has writes of its own and shares nothing with the others. With 16 shards on two cores durable mail came at 308,000/s where all
/// had logs, and at 434,000/s where two had; two shards took 441,000/s (medians of three in turn, no log of deliveries).
pub(super) fn shards(file: &FileSpool, shards: NonZeroU16, cores: NonZeroU16) -> NonZeroU16 {
    let said = file.shards.as_ref().and_then(|said| NonZeroU16::new(*said.get_ref()));
    said.unwrap_or(cores).min(shards)
}

/// What the spool of a plan is held to. The plan is whole but for it.
pub(super) fn resolve(file: FileSpool, plan: &Plan, report: &Report<'_>) -> SpoolOptions {
    let default = SpoolOptions::within(plan.data_dir());
    let value = |said: &Option<Spanned<u64>>| said.as_ref().map(|said| *said.get_ref());
    let (segment_octets, lifetime_s) =
        (value(&file.segment_bytes).unwrap_or(default.segment_octets), value(&file.lifetime_s));
    refuse_small_spool(file.size_bytes.as_ref(), segment_octets, plan, report);
    refuse_schedule(&file, report);
    SpoolOptions {
        segment_octets,
        retain_s: value(&file.retain_s).unwrap_or(default.retain_s),
        size_octets: value(&file.size_bytes).filter(|octets| *octets > 0),
        lifetime_s: lifetime_s.unwrap_or(default.lifetime_s),
        retry_s: file.retry_s.map_or(default.retry_s, |list| {
            list.into_inner().into_iter().take(limits::RETRY_DELAYS).map(Spanned::into_inner).collect()
        }),
        reserve: value(&file.reserve_bytes)
            .map_or_else(|| Reserve::Ruled { message_octets: largest_message(plan) }, Reserve::Said),
        directory: default.directory,
    }
}

/// The largest message that a listener keeps in the spool; 0 if none does.
fn largest_message(plan: &Plan) -> u64 {
    let spools = |taking| matches!(taking, Taking::HandOff(Promise::Written | Promise::Durable));
    let spooling = plan.listeners().iter().filter(|listener| spools(listener.taking()));
    spooling.map(|listener| listener.scope().settings.terms().message_size_bytes).max().unwrap_or(0)
}

/// Refuses a bound in which the logs have no room, or the largest message beside them.
fn refuse_small_spool(said: Option<&Spanned<u64>>, segment_octets: u64, plan: &Plan, report: &Report<'_>) {
    let Some(said) = said.filter(|said| *said.get_ref() > 0) else { return };
    let logs = plan.chains().count() * u64::from(plan.spool_shards().get());
    let least = (logs * limits::SEGMENTS_LEAST * segment_octets).saturating_add(largest_message(plan));
    if *said.get_ref() < least {
        let wrong = format!("{} is too little for {logs} logs and the largest message", said.get_ref());
        let right = format!(
            "at least {least} bytes: two segments of {segment_octets} for each log, and that message; or 0 for no bound"
        );
        report.add(said.span(), "spool.size_bytes", Mistake::new(wrong, right));
    }
}

/// Refuses delays that do not grow, too many of them, and a lifetime that ends before the first.
fn refuse_schedule(file: &FileSpool, report: &Report<'_>) {
    let delays = file.retry_s.as_ref().map_or(&[][..], |list| list.get_ref());
    if let Some(beyond) = delays.get(limits::RETRY_DELAYS) {
        let mistake = Mistake::new("is beyond the number of delays", format!("at most {}", limits::RETRY_DELAYS));
        report.add(beyond.span(), "spool.retry_s", mistake);
    }
    if let Some(pair) = delays.windows(2).find(|pair| pair[1].get_ref() <= pair[0].get_ref()) {
        let wrong = format!("{} is not longer than the {} before it", pair[1].get_ref(), pair[0].get_ref());
        let right = "delays that grow are wanted, of which the last is used again and again";
        report.add(pair[1].span(), "spool.retry_s", Mistake::new(wrong, right));
    }
    let first = delays.first().map_or(limits::RETRY_S[0], |delay| *delay.get_ref());
    if let Some(lifetime) = file.lifetime_s.as_ref().filter(|lifetime| *lifetime.get_ref() < u64::from(first)) {
        let wrong = format!("{} ends before the first retry, which comes after {first} s", lifetime.get_ref());
        let right = "a longer lifetime is wanted, or a shorter first delay in retry_s";
        report.add(lifetime.span(), "spool.lifetime_s", Mistake::new(wrong, right));
    }
}

/// The spool of a plan, in words: a name and a value each.
pub(super) fn rows(plan: &Plan) -> Vec<(&'static str, String)> {
    let (options, chains) = (plan.spool(), plan.chains());
    let mut rows = log_rows(plan);
    if chains.durable || chains.written {
        let (shards, threads) = (plan.spool_shards().get(), plan.sink_threads().get());
        let read = usize::from(chains.durable) + usize::from(chains.written);
        rows.extend(reading_rows(options, read * usize::from(shards.div_ceil(threads.min(shards)))));
        rows.extend(deferred_rows(options));
    }
    rows
}

/// Of mail on its way to the disk.
fn log_rows(plan: &Plan) -> Vec<(&'static str, String)> {
    let (options, chains) = (plan.spool(), plan.chains());
    let logs = [(chains.durable, "durable"), (chains.written, "written"), (chains.blackhole, "blackhole")];
    let logs: Vec<&str> = logs.into_iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name).collect();
    let share = format!("{} % of the disk ({} at most)", limits::RESERVE_PERCENT, bytes(limits::RESERVE_OCTETS_MOST));
    // Of which it is said that it is taken back.
    let slack = format!("then 452 until 1/{} more of it is free", limits::RESERVE_SLACK_PART);
    vec![
        ("spool", options.directory.display().to_string()),
        ("shards with logs", format!("{} of {}, each {}", plan.spool_shards(), plan.shards(), logs.join(" "))),
        (
            "segment of a log",
            format!("{}, {} at least for each log", bytes(options.segment_octets), limits::SEGMENTS_LEAST),
        ),
        (
            "segments that are ready",
            format!(
                "{} of each log, {} while they are not enough; {} at most are kept to be used again, while they are needed \
                 once in {}",
                limits::SEGMENTS_READY,
                limits::SEGMENTS_READY_BUSY,
                limits::SEGMENTS_READY_MOST,
                milliseconds(limits::SEGMENT_SURPLUS_MS)
            ),
        ),
        (
            "block of a log",
            format!(
                "{} at most, written as one; {} under way at once",
                bytes(limits::BLOCK_OCTETS as u64),
                limits::GROUPS_UNDER_WAY
            ),
        ),
        (
            "disk that does not answer",
            format!(
                "given up after {}: 451 for those who wait, then 421 until it does",
                milliseconds(limits::WRITE_HUNG_MS)
            ),
        ),
        (
            "size of the spool",
            options.size_octets.map_or("no limit but the disk's".into(), |size| format!("{}, then 452", bytes(size))),
        ),
        (
            "disk reserve",
            match options.reserve {
                Reserve::Said(0) => "none".into(),
                Reserve::Said(octets) => format!("{}, {slack}", bytes(octets)),
                Reserve::Ruled { message_octets: 0 } => format!("{share}, {slack}"),
                Reserve::Ruled { message_octets } => {
                    format!("{} or {share}, whichever is more; {slack}", bytes(message_octets + message_octets / 2))
                }
            },
        ),
    ]
}

/// Of mail on its way from there to its sinks. `logs_of_thread`: those that one thread of a sink reads.
fn reading_rows(options: &SpoolOptions, logs_of_thread: usize) -> Vec<(&'static str, String)> {
    vec![
        ("delivered mail is kept for", kept_for(options.retain_s)),
        (
            "messages that stay open",
            format!(
                "are refused with 452 where there is no room and {} segments were filled beside them",
                limits::LAG_SEGMENTS
            ),
        ),
        (
            "what may be delivered twice",
            format!(
                "after a crash, what a sink took in the last {}, or the last {} of a log",
                milliseconds(limits::CURSOR_MS),
                bytes(limits::CURSOR_OCTETS)
            ),
        ),
        (
            "memory of logs that are read",
            format!(
                "{} at most for each thread of a sink, which has mail from there when it does not keep up",
                bytes(Reader::memory_octets(logs_of_thread))
            ),
        ),
        ("sinks that sleep", format!("are woken once in {} at most for mail of a log", milliseconds(limits::WAKE_MS))),
        (
            "messages read ahead",
            format!("{} of a shard for each thread of a sink", grouped(limits::LOG_LETTERS as u64)),
        ),
        (
            "what cannot be read of a log",
            format!("is passed over after {} tries, with an alarm", limits::LOG_READ_TRIES),
        ),
    ]
}

/// How long what is delivered stays.
fn kept_for(retain_s: u64) -> String {
    match retain_s {
        0 => seconds(0),
        _ => format!("{}, or less where mail that comes in has no room", seconds(retain_s)),
    }
}

/// Of mail that a sink has not taken.
fn deferred_rows(options: &SpoolOptions) -> Vec<(&'static str, String)> {
    let retries: Vec<String> = options.retry_s.iter().map(|delay| grouped(u64::from(*delay))).collect();
    vec![
        ("retries of deferred mail", format!("after {} s; then as after the last", retries.join(", "))),
        ("lifetime of deferred mail", format!("{}, then it is dead", seconds(options.lifetime_s))),
        (
            "share of deferred mail",
            format!("1/{} of what a sink is given at once, while it has fresh mail", limits::DEFERRED_SHARE),
        ),
        (
            "segment of deferred mail",
            format!("{}, one at least for each delay of each thread of a sink", bytes(limits::DEFERRED_SEGMENT_OCTETS)),
        ),
        (
            "memory of deferred mail",
            format!(
                "{} at most for each thread of a sink, while it is given some",
                bytes((limits::DEFERRED_BLOCKS * limits::BLOCK_OCTETS) as u64)
            ),
        ),
        (
            "deferred mail that cannot be kept",
            format!(
                "holds its sink: tried again after {}, in the end after {}",
                milliseconds(limits::SETTLEMENT_PAUSE_FIRST_MS),
                milliseconds(limits::SETTLEMENT_PAUSE_MOST_MS)
            ),
        ),
        (
            "deferred mail that cannot be read",
            format!("is passed over after {} tries; its file is kept", limits::DEFERRED_READ_TRIES),
        ),
        (
            "deliveries without a word",
            format!("{} in a row, then the message is quarantined", limits::DEFERRED_MISHAPS),
        ),
        (
            "held, quarantined and dead mail",
            format!(
                "{} each for each thread of a sink; beyond that it is tried again with deferred mail",
                bytes(limits::DEFERRED_ASIDE_OCTETS)
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Chains;
    use crate::config::tests::parse;

    /// A durable listener, a blackhole with disk, and further lines from line 10 on.
    fn text(lines: &str) -> String {
        format!(
            "[listener.a]\nkind = 'private'\nbind = '/a'\nsink = 's'\n[sink.s]\nkind = 'program'\n[listener.b]\n\
             kind = 'blackhole'\nbind = '/b'\n{lines}\n"
        )
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        for lines in ["", "[spool]"] {
            let plan = parse(&text(lines)).unwrap();
            let reserve = Reserve::Ruled { message_octets: 100 << 20 };
            assert_eq!(*plan.spool(), SpoolOptions { reserve, ..SpoolOptions::within(Path::new("ringmx-data")) });
            assert_eq!(plan.chains(), Chains { durable: true, ..Chains::default() });
        }
        assert_eq!(parse(&text("disk = true")).unwrap().chains().count(), 2);
        let plan =
            parse(&text("").replace("sink = 's'", "sink = 's'\ndurability = 'written'\nenable = false")).unwrap();
        assert_eq!(plan.chains(), Chains { written: true, ..Chains::default() }, "it can be enabled");
        let plan = parse(&text("").replace("sink = 's'", "sink = 's'\ndurability = 'memory'")).unwrap();
        assert!(!plan.chains().any() && !plan.rows().iter().any(|(what, _)| what == "spool"));
    }

    /// On a machine of three cores.
    #[test]
    fn no_more_shards_have_logs_than_there_are_cores_unless_it_is_said() {
        for (lines, shards, with_logs) in [
            ("", 3, 3),
            ("[server]\nshards = 2", 2, 2),
            ("[server]\nshards = 16", 16, 3),
            ("[server]\nshards = 16\n[spool]\nshards = 0", 16, 3),
            ("[server]\nshards = 16\n[spool]\nshards = 9", 16, 9),
            ("[server]\nshards = 2\n[spool]\nshards = 9", 2, 2),
        ] {
            let plan = parse(&text(lines)).unwrap();
            assert_eq!((plan.shards().get(), plan.spool_shards().get()), (shards, with_logs), "{lines}");
            let serving = |taking| plan.shards_for(taking).get();
            assert_eq!(serving(Taking::HandOff(Promise::Durable)), with_logs);
            assert_eq!(serving(Taking::WriteAndDiscard), with_logs);
            assert_eq!((serving(Taking::Discard), serving(Taking::HandOff(Promise::Delivered))), (shards, shards));
            let rows = |listener: usize| plan.rows_of(&plan.listeners()[listener]);
            let told = (shards > with_logs).then(|| format!("the {with_logs} of {shards} that have logs"));
            assert_eq!(rows(0).into_iter().find(|(what, _)| what == "shards").map(|(_, value)| value), told);
            assert!(!rows(1).iter().any(|(what, _)| what == "shards"), "a blackhole without disk");
        }
    }

    #[test]
    fn what_is_said_is_in_force() {
        let said = "[spool]\nsegment_bytes = 4_194_304\nretain_s = 60\nsize_bytes = 130_023_424\nlifetime_s = 5\n\
                    retry_s = [5, 6]\nreserve_bytes = 9\n[server]\ndata_dir = '/srv'";
        let plan = parse(&text(said)).unwrap();
        let wanted = SpoolOptions {
            directory: "/srv/spool".into(),
            segment_octets: 4 << 20,
            retain_s: 60,
            size_octets: Some(130_023_424),
            lifetime_s: 5,
            retry_s: vec![5, 6],
            reserve: Reserve::Said(9),
        };
        assert_eq!(*plan.spool(), wanted);
        let none = parse(&text("[spool]\nsize_bytes = 0\nretry_s = 7")).unwrap();
        assert_eq!((none.spool().size_octets, &none.spool().retry_s[..]), (None, &[7][..]));
    }

    #[test]
    fn every_bound_of_the_spool_is_named() {
        let rows = |lines: &str| {
            let rows = parse(&text(lines)).unwrap().rows();
            let from = rows.iter().position(|(what, _)| what == "spool").expect("there is one");
            rows[from..].iter().map(|(what, value)| format!("{what}: {value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            rows("disk = true\n[spool]\nshards = 16\n[server]\nshards = 16\nsink_threads = 2"),
            [
                "spool: ringmx-data/spool",
                "shards with logs: 16 of 16, each durable blackhole",
                "segment of a log: 32 MiB, 2 at least for each log",
                "segments that are ready: 2 of each log, 16 while they are not enough; 256 at most are kept to be used again, \
                 while they are needed once in 60 s",
                "block of a log: 256 KiB at most, written as one; 4 under way at once",
                "disk that does not answer: given up after 20 s: 451 for those who wait, then 421 until it does",
                "size of the spool: no limit but the disk's",
                "disk reserve: 150 MiB or 5 % of the disk (10 GiB at most), whichever is more; then 452 until 1/8 more of it \
                 is free",
                "delivered mail is kept for: none",
                "messages that stay open: are refused with 452 where there is no room and 2 segments were filled beside them",
                "what may be delivered twice: after a crash, what a sink took in the last 1 s, or the last 16 MiB of a log",
                "memory of logs that are read: 16 MiB at most for each thread of a sink, which has mail from there when it \
                 does not keep up",
                "sinks that sleep: are woken once in 1 ms at most for mail of a log",
                "messages read ahead: 1,024 of a shard for each thread of a sink",
                "what cannot be read of a log: is passed over after 25 tries, with an alarm",
                "retries of deferred mail: after 300, 600, 1,200, 2,400, 4,800, 9,600, 14,400 s; then as after the last",
                "lifetime of deferred mail: 432,000 s, then it is dead",
                "share of deferred mail: 1/4 of what a sink is given at once, while it has fresh mail",
                "segment of deferred mail: 4 MiB, one at least for each delay of each thread of a sink",
                "memory of deferred mail: 1,088 MiB at most for each thread of a sink, while it is given some",
                "deferred mail that cannot be kept: holds its sink: tried again after 100 ms, in the end after 10 s",
                "deferred mail that cannot be read: is passed over after 64 tries; its file is kept",
                "deliveries without a word: 3 in a row, then the message is quarantined",
                "held, quarantined and dead mail: 1 GiB each for each thread of a sink; beyond that it is tried again with \
                 deferred mail",
            ]
        );
        let said = rows("[spool]\nretain_s = 60\nsize_bytes = 1073741824\nretry_s = 7\nreserve_bytes = 1048576");
        for wanted in [
            "shards with logs: 3 of 3, each durable",
            "size of the spool: 1 GiB, then 452",
            "disk reserve: 1 MiB, then 452 until 1/8 more of it is free",
            "delivered mail is kept for: 60 s, or less where mail that comes in has no room",
            "retries of deferred mail: after 7 s; then as after the last",
        ] {
            assert!(said.iter().any(|row| row == wanted), "{wanted} in {said:?}");
        }
        // No less than one log may have, and so much for each of many.
        let memory = |server: &str| {
            let rows = rows(&format!("[spool]\nshards = 16\n[server]\n{server}"));
            rows.into_iter().find(|row| row.starts_with("memory of logs")).expect("it is named")
        };
        for (server, octets) in [
            ("shards = 1", ": 8 MiB"),
            ("shards = 4", ": 8 MiB"),
            ("shards = 16", ": 32 MiB"),
            ("shards = 16\nsink_threads = 16", ": 8 MiB"),
            ("shards = 2\nsink_threads = 16", ": 8 MiB"),
        ] {
            assert!(memory(server).contains(octets), "{server}: {}", memory(server));
        }
        assert!(rows("[spool]\nreserve_bytes = 0").contains(&"disk reserve: none".to_owned()));
        let blackhole = parse("[listener.b]\nkind = 'blackhole'\nbind = '/b'\ndisk = true\n").unwrap().rows();
        assert!(blackhole.iter().any(|(what, value)| what == "disk reserve" && value.starts_with("5 % of the disk")));
        assert!(blackhole.iter().any(|(what, _)| what == "data directory"));
        assert!(!blackhole.iter().any(|(what, _)| what == "retries of deferred mail"));
    }

    #[test]
    fn each_mistake_is_named_where_it_stands() {
        let many: String = (1..=17).map(|delay| format!("{delay},")).collect();
        for (lines, wanted) in [
            (
                "segment_bytes = 33554433",
                &["x:11:17: spool.segment_bytes: 33554433 is no power of two; 33554432 or 67108864 is near"][..],
            ),
            (
                "segment_bytes = 524288\nretain_s = -1",
                &[
                    "x:11:17: spool.segment_bytes: 524288 is out of range; a whole number of bytes from 4194304 to 1073741824 \
                     is wanted",
                    "x:12:12: spool.retain_s: -1 is out of range; a whole number of seconds from 0 to 31536000 is wanted",
                ],
            ),
            (
                "size_bytes = 200_000_000\nsegment_bytes = 33554432",
                &[
                    "x:11:14: spool.size_bytes: 200000000 is too little for 3 logs and the largest message; at least 306184192 \
                   bytes: two segments of 33554432 for each log, and that message; or 0 for no bound",
                ],
            ),
            (
                "retry_s = [300, 300]\nlifetime_s = 0",
                &[
                    "x:11:17: spool.retry_s: 300 is not longer than the 300 before it; delays that grow are wanted, of which \
                     the last is used again and again",
                    "x:12:14: spool.lifetime_s: 0 is out of range; a whole number of seconds from 1 to 31536000 is wanted",
                ],
            ),
            (
                "lifetime_s = 299",
                &[
                    "x:11:14: spool.lifetime_s: 299 ends before the first retry, which comes after 300 s; a longer lifetime is \
                   wanted, or a shorter first delay in retry_s",
                ],
            ),
            (
                "retry_s = []",
                &["x:11:11: spool.retry_s: an empty list cannot stand here; such as retry_s = [300, 3600]"],
            ),
            (&format!("retry_s = [{many}]"), &["x:11:51: spool.retry_s: is beyond the number of delays; at most 16"]),
            (
                "retry_s = [0]\nreserve_bytes = '1 GB'\nretry = 5",
                &[
                    "x:11:12: spool.retry_s: 0 is out of range; a whole number of seconds from 1 to 86400 is wanted",
                    "x:12:17: spool.reserve_bytes: the text \"1 GB\" cannot stand here; a whole number of bytes from 0 to \
                     9223372036854775807 is wanted",
                    "x:13:1: spool.retry: is no key of [spool]; did you mean \"retry_s\"?",
                ],
            ),
        ] {
            let errors = parse(&text(&format!("[spool]\n{lines}"))).expect_err(lines).to_string();
            assert_eq!(errors.lines().collect::<Vec<_>>(), wanted, "{lines}");
        }
    }
}
