//! Postfix's server and ringmx get the same dialogues: what they answer differs only where `differences` says why.
//!
//! `RINGMX_POSTFIX_SEEDS=17` plays one dialogue, and prints what was said; `1000..5000` plays those.

mod dialogue;
mod differences;
mod exchange;
mod instance;
mod words;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use dialogue::Dialogue;
use differences::Tally;
use exchange::Done;
use instance::Postfix;

use crate::process::server::Server;

/// Dialogues, of the seeds from 0.
const DIALOGUES: u64 = 1000;

/// Dialogues of which the test prints all that was said.
const SHOWN: usize = 5;

/// Connections to each server at a time. Much of a dialogue is waiting.
const THREADS: usize = 8;

/// What both servers offer in EHLO, beside what Postfix always does. A parameter of another extension is sent all the
/// same, and must be refused by both.
const EXTENSIONS: [&str; 7] = ["PIPELINING", "SIZE", "8BITMIME", "CHUNKING", "ENHANCEDSTATUSCODES", "SMTPUTF8", "DSN"];

/// `message_size_bytes`, `errors` and `junk_commands` of both.
const MESSAGE_OCTETS: usize = 1_000_000;
const MISTAKES: u32 = 20;
const JUNK_COMMANDS: u32 = 100;

fn ringmx() -> Server {
    Server::serve(
        &format!(
            "[listener.blackhole]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nextensions = {EXTENSIONS:?}\n\
             message_size_bytes = {MESSAGE_OCTETS}\nerrors = {MISTAKES}\njunk_commands = {JUNK_COMMANDS}\n\
             recipients_per_message = 1000\nsynchronization = \"strict\"\nbare_newline = \"normalize\"\n"
        ),
        1,
    )
}

/// The dialogues to play, and whether they were chosen.
fn seeds() -> (Range<u64>, bool) {
    let Ok(text) = std::env::var("RINGMX_POSTFIX_SEEDS") else { return (0..DIALOGUES, false) };
    let (from, to) = text.split_once("..").unwrap_or((&text, ""));
    let number = |text: &str| -> u64 { text.parse().expect("RINGMX_POSTFIX_SEEDS is such as 17, or 1000..5000") };
    let from = number(from);
    (from..if to.is_empty() { from + 1 } else { number(to) }, true)
}

/// Plays them all, several at a time, in no order.
fn play(seeds: &Range<u64>, play_one: impl Fn(u64) -> Result<Done, String> + Sync) -> Vec<Result<Done, String>> {
    let (next, outcomes) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let outcome = play_one(seed);
                    outcomes.lock().expect("no holder of the lock panics").push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().expect("no holder of the lock panics")
}

#[test]
fn replies_closes_and_messages_differ_only_where_a_rule_says_why() {
    let (postfix, ringmx, tally) = (Postfix::start(), ringmx(), Tally::new());
    let (seeds, are_chosen) = seeds();
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for outcome in play(&seeds, |seed| exchange::run(&Dialogue::of(seed), ringmx.address(), postfix.address, &tally)) {
        match outcome {
            Ok(one) => done.push(one),
            Err(difference) => failed.push(difference),
        }
    }
    let shown = failed.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    let failures = postfix.failures();
    assert!(
        failed.is_empty() && failures.is_empty(),
        "{failures}\n{} of {seeds:?} differ; RINGMX_POSTFIX_SEEDS=SEED plays one\n{shown}",
        failed.len()
    );

    let accepted: BTreeSet<String> = done.iter().flat_map(|one| one.theirs.iter().cloned()).collect();
    postfix.await_deliveries(&accepted);
    let ours: usize = done.iter().map(|one| one.ours).sum();
    assert_eq!(ringmx.stop().total("messages"), ours as u64, "ringmx counts what it has accepted");

    let compared: usize = done.iter().map(|one| one.compared).sum();
    println!("{compared} replies compared; accepted: {ours} by ringmx, {} by Postfix", accepted.len());
    tally.each().for_each(|(name, count)| println!("{count:6} {name}"));
    if are_chosen {
        done.iter().take(SHOWN).for_each(|one| println!("{}", one.transcript));
    } else {
        let idle: Vec<&str> = tally.each().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect();
        assert!(idle.is_empty(), "no dialogue meets these differences any more: {idle:?}");
    }
}
