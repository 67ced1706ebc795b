//! The tools on logs that were made for them: whole, torn, broken, and of others.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::filter::Filter;
use super::fixture::{LogMaker, NODE, id, manifest, spoil};
use super::hand::Hand;
use super::message::{Message, State};
use super::order::{OrderError, Orders};
use super::replay::{Replay, ReplayError};
use super::survey::Survey;
use super::verify::{Finding, Verified};
use crate::handoff::place::{LogId, LogKind, Position};
use crate::limits;
use crate::spool::cursor::{self, CursorFile};
use crate::spool::deferred::order::{self, Kinds, Order, Verb};
use crate::spool::format::{Chain, Wait};
use crate::spool::scan::content::ContentError;
use crate::spool::storage::disk::Disk;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmx-tools-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn messages(&self, filter: &Filter) -> Vec<Message> {
        let disk = Disk::new(&self.0);
        let mut found = Vec::new();
        survey(&disk, &self.0)
            .messages(filter, &mut |_, _| {}, &mut |message| {
                found.push(message);
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    /// The sequences of ids, and states, of what waits.
    fn waiting(&self) -> Vec<(u64, State)> {
        let named = |message: &Message| (message.id().sequence(), message.state);
        self.messages(&Filter::default()).iter().map(named).collect()
    }

    fn content(&self, message: &Message) -> Result<Vec<u8>, ContentError> {
        let disk = Disk::new(&self.0);
        survey(&disk, &self.0).content(message)
    }

    fn verify(&self) -> (Verified, Vec<String>) {
        let disk = Disk::new(&self.0);
        let mut findings = Vec::new();
        let verified = survey(&disk, &self.0).verify(&mut |_, _| {}, &mut |finding| {
            let what = match &finding {
                Finding::Blocks { log, segment, offset, sequences } => {
                    format!("{log}/{segment} at {offset}: {sequences:?}")
                }
                Finding::Message(message, why) => format!("{}: {why}", message.id().sequence()),
                Finding::Unreadable(place) => format!("{}: unreadable", place.record.number),
                Finding::Records { log, blocks } => format!("{log}: {blocks} blocks of other records"),
                Finding::Tail { log, ignored } => format!("{log}: tail, {ignored} ignored"),
                Finding::Strange(strange) => strange.clone(),
            };
            findings.push(format!("{}{what}", if finding.is_corruption() { "! " } else { "" }));
        });
        (verified.unwrap(), findings)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn survey<'s>(disk: &'s Disk, spool: &Path) -> Survey<'s> {
    Survey { storage: disk, spool: spool.to_owned(), node: NODE }
}

fn text(sequence: u64) -> Vec<u8> {
    format!("Subject: {sequence}\r\n\r\nText of {sequence}.\r\n").into_bytes()
}

/// A plain message to one recipient of the first sink.
fn add(log: &mut LogMaker, sequence: u64) {
    let content = text(sequence);
    log.message(&manifest(sequence, "s@x.test", &[("r@ok.test", 0)], sequence, &content), &content, None);
}

/// However many are wanted: a log is opened once for all that lie in it, and again when it has changed.
#[test]
fn contents_of_many_messages_open_each_log_once() {
    let place = Place::new("contents");
    let mut one = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    let mut other = LogMaker::new(&place.0, "written-0000", Chain::Written, &["store"]);
    for sequence in 0..30 {
        if sequence < 20 && sequence % 10 == 5 {
            one.write();
            one.begin(&[]);
        }
        add(if sequence < 20 { &mut one } else { &mut other }, sequence);
    }
    one.write();
    other.write();
    let disk = Disk::new(&place.0);
    let survey = survey(&disk, &place.0);
    let mut contents = Contents::new(&survey);
    let found = place.messages(&Filter::default());
    assert_eq!(found.len(), 30);
    for message in &found {
        assert_eq!(contents.of(message).unwrap(), text(message.id().sequence()));
    }
    assert_eq!(contents.openings(), 2);
    // The other goes on.
    other.begin(&[]);
    add(&mut other, 30);
    other.write();
    for message in place.messages(&Filter::default()).iter().rev().take(2) {
        assert_eq!(contents.of(message).unwrap(), text(message.id().sequence()));
    }
    assert_eq!(contents.openings(), 3);
}

/// Parts of messages between each other, over blocks and segments.
#[test]
fn messages_are_found_whole_wherever_their_parts_lie() {
    let place = Place::new("whole");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store", "hop"]);
    let long: Vec<u8> = (0..40_000_u32).map(|number| (number % 251) as u8).collect();
    let (first, other) = (log.address(), text(2));
    log.part(1, &long[..10_000]);
    log.part(2, &other);
    log.part(3, b"never ended");
    log.block();
    log.part(1, &long[10_000..20_000]);
    log.end(2, first, 1, &other, &manifest(2, "", &[("a@ok.test", 0), ("b@ok.test", 1)], 5, &other));
    log.abort(3);
    log.block();
    log.write();
    log.begin(&[]);
    log.part(1, &long[20_000..]);
    log.end(1, first, 3, &long, &manifest(1, "s@x.test", &[("r@ok.test", 1)], 6, &long));
    log.part(4, b"has no end yet");
    log.block();
    log.write();
    let found = place.messages(&Filter::default());
    assert_eq!(found.iter().map(|message| message.id()).collect::<Vec<_>>(), [id(2), id(1)]);
    assert_eq!(place.content(&found[0]).unwrap(), other);
    assert_eq!(place.content(&found[1]).unwrap(), long);
    let sinks: Vec<&str> = found[0].recipients().map(|(_, sink)| sink).collect();
    assert_eq!(sinks, ["store", "hop"]);
    let (verified, findings) = place.verify();
    assert_eq!(findings, [""; 0]);
    let counts = (verified.logs, verified.segments, verified.messages, verified.blocks, verified.unfinished);
    assert_eq!(counts, (1, 2, 2, 5, 1));
}

/// What each class of deferred mail has, and how it waits.
#[test]
fn deferred_mail_is_found_in_its_state() {
    let place = Place::new("deferred");
    let wait = Wait { state: 0, attempts: 3, since_ms: 7, next_ms: 9, code: 451, reply: b"4.3.0 later" };
    for (number, class) in [(1, "300"), (2, "held"), (3, "quarantined"), (4, "dead"), (5, "spare"), (6, "damaged")] {
        let name = format!("deferred/my-store-0/{class}");
        let mut log = LogMaker::new(&place.0, &name, Chain::Deferred, &["my-store"]);
        let content = text(number);
        let manifest = manifest(number, "s@x.test", &[("r@ok.test", 0)], 0, &content);
        log.message(&manifest, &content, Some(&wait));
        log.write();
    }
    let mut found = place.waiting();
    found.sort();
    assert_eq!(found, [(1, State::Deferred), (2, State::Held), (3, State::Quarantined), (4, State::Dead)]);
    let deferred = place.messages(&Filter { states: vec![State::Deferred], ..Filter::default() });
    assert_eq!((deferred.len(), deferred[0].wait()), (1, Some(wait)));
    assert_eq!(place.content(&deferred[0]).unwrap(), text(1));
}

/// A log is done with what its sinks have taken, and with what they have not, which lies elsewhere then.
#[test]
fn what_waits_elsewhere_is_not_delivered() {
    let place = Place::new("elsewhere");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["hop", "my-store"]);
    let put = |log: &mut LogMaker, number, to: &[(&str, u16)]| {
        let content = text(number);
        log.message(&manifest(number, "s@x.test", to, 0, &content), &content, None);
    };
    put(&mut log, 1, &[("r@ok.test", 1)]);
    put(&mut log, 2, &[("r@ok.test", 1)]);
    put(&mut log, 3, &[("r@ok.test", 1), ("q@ok.test", 1), ("r@ok.test", 0)]);
    log.write();
    let mut class = LogMaker::new(&place.0, "deferred/my-store-0/300", Chain::Deferred, &["my-store"]);
    put(&mut class, 2, &[("r@ok.test", 0)]);
    put(&mut class, 3, &[("r@ok.test", 0)]);
    class.write();
    let disk = Disk::new(&place.0);
    let id = LogId { kind: LogKind::Durable, shard: 0 };
    for sink in ["hop", "my-store"] {
        let (mut cursor, _) = CursorFile::open(&disk, &cursor::directory(&place.0), (sink, id, NODE)).unwrap();
        cursor.write(Position { address: u64::MAX / 2, from: 0 }).unwrap();
    }
    let of = |message: &Message| (message.id().sequence(), message.recipients().count());
    let delivered = place.messages(&Filter { states: vec![State::Delivered], ..Filter::default() });
    assert_eq!(delivered.iter().map(of).collect::<Vec<_>>(), [(1, 1), (3, 2)]);
    assert!(delivered[1].recipients().any(|(_, sink)| sink == "hop"), "a sink of its own");
    let one = place.messages(&Filter { ids: [delivered[1].id()].into(), ..Filter::default() });
    assert_eq!(one.iter().map(|message| message.state).collect::<Vec<_>>(), [State::Delivered, State::Deferred]);
}

#[test]
fn what_was_promised_and_is_broken_is_named_and_its_neighbours_are_kept() {
    let place = Place::new("broken");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    add(&mut log, 1);
    // A message of two blocks, of which the first will be broken.
    let (first, content) = (log.address(), text(2));
    log.part(20, &content[..5]);
    log.block();
    add(&mut log, 3);
    log.part(20, &content[5..]);
    log.end(20, first, 2, &content, &manifest(2, "s@x.test", &[("r@ok.test", 0)], 0, &content));
    log.block();
    add(&mut log, 4);
    let path = log.write();
    assert_eq!(place.verify().1, [""; 0]);
    let lost = place.messages(&Filter { ids: [id(2)].into(), ..Filter::default() });
    spoil(&path, (first - (1 << 20)) as usize + 82);
    assert_eq!(place.waiting(), [(1, State::Active), (3, State::Active), (4, State::Active)]);
    let (verified, findings) = place.verify();
    assert_eq!(findings, ["! durable-0000/0000.segment at 8192: 2..3", "! 2: a part of it is missing"]);
    assert_eq!(verified.messages, 3);
    assert!(matches!(place.content(&lost[0]), Err(ContentError::Checksum(_))));
}

#[test]
fn where_a_writer_was_cut_short_nothing_is_lost() {
    let place = Place::new("torn");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    add(&mut log, 1);
    // From here on no block says that one before it is durable: all were under way at once.
    log.tells_durable = false;
    let torn = log.address();
    add(&mut log, 2);
    add(&mut log, 3);
    add(&mut log, 4);
    let path = log.write();
    assert_eq!(place.waiting().len(), 4, "as long as all of them are there");
    spoil(&path, (torn - (1 << 20)) as usize + 100);
    assert_eq!(place.waiting(), [(1, State::Active)], "what is behind it was never acknowledged either");
    assert_eq!(place.verify().1, ["durable-0000: tail, 2 ignored"]);

    // The next start says so, and goes on.
    (log.epoch, log.tells_durable) = (2, true);
    log.sequence = 5;
    log.begin(&[(2, 4)]);
    add(&mut log, 5);
    log.write();
    assert_eq!(place.verify().1, [""; 0]);
    assert_eq!(place.waiting(), [(1, State::Active), (5, State::Active)], "what is void stays so");
}

/// Its client was told that the message with a part there is not kept, and the word of that (its abort) is not written any more.
#[test]
fn what_is_void_is_neither_shown_nor_missed() {
    let place = Place::new("void");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    add(&mut log, 1);
    let (first, content, void) = (log.address(), text(2), log.sequence);
    log.part(20, &content[..5]);
    add(&mut log, 3);
    log.part(20, &content[5..]);
    log.end(20, first, 2, &content, &manifest(2, "s@x.test", &[("r@ok.test", 0)], 0, &content));
    add(&mut log, 4);
    let path = log.write();
    log.begin(&[(void, void)]);
    add(&mut log, 5);
    log.write();
    let kept = [(1, State::Active), (4, State::Active), (5, State::Active)];
    for is_there in [true, false] {
        if !is_there {
            spoil(&path, (first - (1 << 20)) as usize + 82);
        }
        assert_eq!(place.waiting(), kept);
        let (verified, findings) = place.verify();
        assert_eq!((verified.messages, findings), (3, Vec::new()));
    }
}

#[test]
fn what_is_taken_back_before_it_was_durable_is_not_shown() {
    let place = Place::new("aborted");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    add(&mut log, 1);
    log.tells_durable = false;
    let number = log.message;
    add(&mut log, 2);
    add(&mut log, 3);
    log.abort(number);
    log.block();
    log.write();
    assert_eq!(place.waiting(), [(1, State::Active), (3, State::Active)]);
}

/// A segment that is used anew has blocks of its earlier use behind its last one.
#[test]
fn what_a_file_had_before_is_no_part_of_it() {
    let place = Place::new("stale");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    for sequence in 1..6 {
        add(&mut log, sequence);
    }
    let path = log.write();
    let old = std::fs::read(&path).unwrap();
    log.number = 0;
    log.begin(&[]);
    add(&mut log, 9);
    log.write();
    let mut new = std::fs::read(&path).unwrap();
    let end = 3 * 4096;
    assert!(new[end..].iter().all(|octet| *octet == 0));
    new[end..].copy_from_slice(&old[end..]);
    std::fs::write(&path, new).unwrap();
    assert_eq!(place.waiting(), [(9, State::Active)]);
    assert_eq!(place.verify().1, [""; 0]);
}

#[test]
fn what_is_none_of_ours_is_told_of_and_left_alone() {
    let place = Place::new("strange");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store"]);
    add(&mut log, 1);
    log.write();
    log.node = 7;
    log.begin(&[]);
    add(&mut log, 2);
    log.write();
    let file = |name: &str, octets: &[u8]| std::fs::write(place.0.join("durable-0000").join(name), octets).unwrap();
    file("0002.segment", &[0; 8192]);
    file("0003.segment", &[1; 8192]);
    file("notes.txt", b"mine");
    file(".preparing", &[0; 4096]);
    std::os::unix::fs::symlink("0000.segment", place.0.join("durable-0000/0004.segment")).unwrap();
    std::fs::create_dir(place.0.join("lost+found")).unwrap();
    assert_eq!(place.waiting(), [(1, State::Active)]);
    let (verified, findings) = place.verify();
    assert_eq!((verified.segments, verified.spare, verified.messages), (1, 1, 1));
    assert_eq!(
        findings,
        [
            "durable-0000/0001.segment is of another data directory (00000007, and this is 0feedbed), and is not looked at",
            "durable-0000/0003.segment begins with no block, and is not looked at",
            "durable-0000/0004.segment is no file, and is not looked at",
        ]
    );
}

/// What is handed to a sink anew is read back as it was: small ones together, one that is longer than a block, and one with an envelope
/// that is.
#[test]
fn what_is_handed_over_is_what_lay_there() {
    let place = Place::new("replay");
    let mut log = LogMaker::new(&place.0, "durable-0000", Chain::Durable, &["store", "hop"]);
    for sequence in 1..4 {
        let content = text(sequence);
        let to = [("a@ok.test", 0), ("b@ok.test", 1)];
        log.message(&manifest(sequence, "s@x.test", &to, 0, &content), &content, None);
    }
    log.write();
    let disk = Disk::new(&place.0);
    let hand = Hand { node: NODE, epoch: 3, name: "replay-test".into() };
    let mut replay = Replay::new(&disk, &place.0, "hop", hand.clone());
    let found = place.messages(&Filter::default());
    for message in &found {
        replay.add(message, &place.content(message).unwrap(), false).unwrap();
    }
    let long: Vec<u8> = (0..6_000_000_u32).map(|number| (number % 253) as u8).collect();
    replay.add(&found[0], &long, true).unwrap();
    let local_part = "x".repeat(200);
    let many: Vec<(String, u16)> = (0..2000).map(|number| (format!("{local_part}{number}@ok.test"), 1)).collect();
    let many: Vec<(&str, u16)> = many.iter().map(|(to, route)| (to.as_str(), *route)).collect();
    let mut wide = LogMaker::new(&place.0, "written-0000", Chain::Written, &["store", "hop"]);
    wide.write();
    let octets = manifest(9, "s@x.test", &many, 0, b"");
    assert!(octets.len() > limits::BLOCK_OCTETS);
    let sinks: std::sync::Arc<[String]> = ["store".to_owned(), "hop".to_owned()].into();
    let wide = Message::new(State::Dead, found[0].place.clone(), octets, sinks).unwrap();
    replay.add(&wide, b"", false).unwrap();
    let mut nobody = found[0].clone();
    nobody.left = Some(vec![0]);
    assert!(matches!(replay.add(&nobody, b"", false), Err(ReplayError::NoRecipient)));
    assert_eq!(replay.finish().unwrap(), 3, "before and behind the long one, which has a file for itself");

    let inbox = place.0.join("deferred/hop-0/inbox");
    let names: Vec<_> = std::fs::read_dir(&inbox).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names.len() == 3 && names.iter().all(|name| name.to_str().unwrap().starts_with("replay-test-0")),
        "{names:?}"
    );
    let mut handed = place.messages(&Filter::default()).split_off(3);
    let contents: Vec<Vec<u8>> = handed.iter().map(|message| place.content(message).unwrap()).collect();
    assert_eq!(contents, [text(1), text(2), text(3), long, Vec::new()]);
    let counts: Vec<usize> = handed.iter().map(|message| message.recipients().count()).collect();
    assert_eq!(counts, [1, 1, 1, 2, 2000]);
    let first = handed.remove(0);
    assert_eq!((first.id(), first.manifest().recipients, first.state), (id(1), 2, State::Active));
    assert!(first.recipients().all(|(recipient, sink)| recipient.route.0 == 0 && sink == "hop"));
    assert_eq!(place.verify().1, [""; 0]);
    assert_eq!(place.verify().0.messages, 8);
    // No file is ever put in place of another.
    let mut again = Replay::new(&disk, &place.0, "hop", hand);
    again.add(&found[0], b"", true).unwrap();
    again.finish().unwrap();
    assert_eq!(place.messages(&Filter::default()).len(), 9);
}

/// As many orders wait as may: one more is refused, and nothing is given of it.
#[test]
fn more_orders_than_are_kept_are_refused() {
    let place = Place::new("orders");
    let mut log = LogMaker::new(&place.0, "deferred/store-0/dead", Chain::Deferred, &["store"]);
    add(&mut log, 1);
    log.write();
    let inbox = place.0.join("deferred/store-0/inbox");
    let disk = Disk::new(&place.0);
    let hand = |name: &str| Hand { node: NODE, epoch: 1, name: name.into() };
    let message = place.messages(&Filter::default()).remove(0);
    let give = |name: &str| {
        let mut orders = Orders::new(&disk, &place.0, hand(name));
        assert!(!orders.add(Verb::Hold, &message, false), "it is dead");
        assert!(orders.add(Verb::Remove, &message, false) && orders.len() == 1);
        orders.give()
    };
    give("a").unwrap();
    assert_eq!(place.messages(&Filter::default())[0].ordered, Some(Verb::Remove));
    let many: Vec<Order> = (0..limits::DEFERRED_ORDERS_AT_ONCE as u64)
        .map(|number| Order { id: id(number + 2), verb: Verb::Remove, kinds: Kinds::default(), copy: None })
        .collect();
    let octets = order::encode(&many, NODE);
    let mut number = 0;
    for _ in 0..limits::DEFERRED_ORDERS / limits::DEFERRED_ORDERS_AT_ONCE - 1 {
        number = hand("b").put(&disk, &inbox, number, order::SUFFIX, &octets).unwrap();
    }
    give("c").unwrap();
    hand("b").put(&disk, &inbox, number, order::SUFFIX, &octets).unwrap();
    let files = || std::fs::read_dir(&inbox).unwrap().count();
    let before = files();
    let refused = give("d").unwrap_err();
    let OrderError::TooMany { waiting, more, thread } = refused else { panic!("{refused:?}") };
    assert_eq!((waiting, more, &*thread), (limits::DEFERRED_ORDERS as u64 + 2, 1, "store-0"));
    assert_eq!(files(), before, "nothing is given of it");
}
