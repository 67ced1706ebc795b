//! Whole deliveries, on the file system that holds temporary files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::intake::{Arrived, Intake};
use crate::handoff::mailbox::mailbox;
use crate::handoff::place::{LogId, LogKind, Place, Spooled};
use crate::letter;
use crate::mail::envelope::{Envelope, MailParameters, RcptParameters, Route};
use crate::mail::manifest::Origin;
use crate::mail::marks::Marks;
use crate::mail::trace::{Transfer, With};
use crate::memory::slab::{Leases, Slab};
use crate::policy::decision::{AcceptAll, Decision, Ticket};
use crate::policy::scope::{Promise, Scope, Taking, Timeouts};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Ended, Outcome, Record};
use crate::smtp::settings::{Settings, Terms};

/// Gone with all that is in it when the test is.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringmx-maildir-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn options(&self, template: &str) -> MaildirOptions {
        MaildirOptions::new(format!("{}/{template}", self.0.display()).parse().unwrap())
    }

    fn maildir(&self, template: &str) -> Maildir {
        Maildir::open(self.options(template)).unwrap()
    }

    /// The files of a directory, each with what it holds.
    fn files(&self, below: &str) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.0.join(below)).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), String::from_utf8(fs::read(entry.path()).unwrap()).unwrap())
            })
            .collect()
    }

    fn count(&self, below: &str) -> usize {
        self.files(below).len()
    }

    fn only(&self, below: &str) -> String {
        let files = self.files(below);
        assert_eq!(files.len(), 1, "{below}: {files:?}");
        files.into_values().next().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const CONTENT: &str = "Subject: a\r\n\r\n.text\r\nbare\nlast";

/// A message with its number, whose content is [`CONTENT`] in two pieces.
fn message(envelope: &Envelope, number: u64) -> Message<'_> {
    let recipients = envelope.recipients().map(|recipient| recipient.path);
    Message {
        manifest: samples::manifest(envelope, number, CONTENT.as_bytes()),
        is_repeat: false,
        recipients: (0..).map(|index| index * 10).zip(recipients).collect(),
        content: vec![&CONTENT.as_bytes()[..11], &CONTENT.as_bytes()[11..]],
    }
}

fn deliver(maildir: &mut Maildir, messages: &[Message<'_>]) -> BTreeMap<(usize, u32), Verdict> {
    let mut verdicts = BTreeMap::new();
    maildir.keep(messages, |message, recipient, verdict| {
        assert!(verdicts.insert((message, recipient), verdict).is_none(), "one verdict for each");
    });
    assert_eq!(verdicts.len(), messages.iter().map(|message| message.recipients.len()).sum::<usize>());
    verdicts
}

/// One message for one recipient.
fn deliver_one(maildir: &mut Maildir, recipient: &str, number: u64) -> Verdict {
    let envelope = samples::envelope(&[recipient]);
    deliver(maildir, &[message(&envelope, number)]).remove(&(0, 0)).unwrap()
}

fn why(verdict: Verdict) -> (Reply, String) {
    let refusal = verdict.expect_err("it is refused");
    (refusal.reply, refusal.why.to_string())
}

#[test]
fn each_recipient_has_a_file_of_its_own() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("mail/{domain}/{local}");
    let envelope = samples::envelope(&["a.b+c@Example.ORG", "../x@example.net", "\"a.b+c\"@example.org", "postmaster"]);
    let verdicts = deliver(&mut maildir, &[message(&envelope, 1)]);
    assert!(verdicts.values().all(Result::is_ok), "{verdicts:?}");
    // Two recipients of one maildir have one file.
    let file = directory.only("mail/example.org/a.b+c/new");
    let head = "Return-Path: <sender@example.org>\r\nDelivered-To: a.b+c@Example.ORG\r\n\
        Delivered-To: \"a.b+c\"@example.org\r\nReceived: ";
    assert!(file.starts_with(head) && file.ends_with(&format!("+0000\r\n{CONTENT}")), "{file}");
    assert!(!file.contains("for <"));
    assert!(directory.only("mail/example.net/%2E.%2Fx/new").contains("Delivered-To: ../x@example.net\r\n"));
    assert!(directory.only("mail/mx.example.net/postmaster/new").contains("Delivered-To: postmaster\r\n"));
    assert_eq!((directory.count("mail/example.org/a.b+c/tmp"), directory.count("mail/example.org/a.b+c/cur")), (0, 0));
    assert_eq!(fs::read_dir(directory.0.join("mail")).unwrap().count(), 3);
}

#[test]
fn one_maildir_for_all_has_a_message_once() {
    let directory = Directory::new();
    let mut maildir =
        Maildir::open(MaildirOptions { line_ends: options::LineEnds::Lf, ..directory.options("all/of/it") }).unwrap();
    let envelope = samples::envelope(&["a@x.test", "b@y.test"]);
    let verdicts = deliver(&mut maildir, &[message(&envelope, 1), message(&envelope, 2)]);
    assert!(verdicts.len() == 4 && verdicts.values().all(Result::is_ok), "{verdicts:?}");
    assert_eq!(directory.count("all/of/it/new"), 2);
    for file in directory.files("all/of/it/new").values() {
        assert!(file.contains("\nDelivered-To: a@x.test\nDelivered-To: b@y.test\nReceived:"), "{file}");
        assert!(file.ends_with(&CONTENT.replace("\r\n", "\n")) && !file.contains('\r'));
    }
}

/// More messages than a wave takes, more maildirs than are kept open; synced file by file, and as a whole.
#[test]
fn a_large_batch_goes_in_waves() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{domain}/{local}");
    let recipients: Vec<String> = (0..300).map(|number| format!("user{number}@x.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let (many, few) = (samples::envelope(&recipients), samples::envelope(&recipients[..2]));
    for (each_for, numbers) in [(0, [1, 2]), (10, [3, 4])] {
        maildir.syncer.sync_each_for(each_for);
        maildir.folders = Folders::new(100);
        maildir.files_per_wave = 64;
        let batch = [message(&many, numbers[0]), message(&few, numbers[1])];
        let verdicts = deliver(&mut maildir, &batch);
        assert!(verdicts.len() == 302 && verdicts.values().all(Result::is_ok));
    }
    for number in 0..300 {
        let below = format!("x.test/user{number}");
        assert_eq!(directory.count(&format!("{below}/new")), if number < 2 { 4 } else { 2 });
        assert_eq!(directory.count(&format!("{below}/tmp")), 0);
    }
    let (open, known) = maildir.folders.known();
    assert!((1..=100).contains(&open) && known == 300, "{open} {known}");
}

#[test]
fn a_repeat_overwrites_in_new_and_is_not_doubled_in_cur() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{local}");
    let envelope = samples::envelope(&["a@x.test", "b@x.test"]);
    let first = message(&envelope, 1);
    let repeat = Message { is_repeat: true, ..first.clone() };
    assert!(deliver(&mut maildir, &[first]).values().all(Result::is_ok));
    // What lies in tmp is of an attempt that was cut off.
    let name = directory.files("a/new").into_keys().next().unwrap();
    fs::write(directory.0.join("a/tmp").join(&name), "half").unwrap();
    assert!(deliver(&mut maildir, std::slice::from_ref(&repeat)).values().all(Result::is_ok));
    assert!(directory.only("a/new").ends_with(CONTENT));
    assert_eq!(directory.count("a/tmp"), 0);

    // A reader saw one of them.
    fs::rename(directory.0.join("a/new").join(&name), directory.0.join("a/cur").join(format!("{name}:2,FS"))).unwrap();
    assert!(deliver(&mut maildir, &[repeat]).values().all(Result::is_ok));
    assert_eq!((directory.count("a/new"), directory.count("a/cur"), directory.count("b/new")), (0, 1, 1));
    // Another message is none.
    let other = Message { is_repeat: true, ..message(&envelope, 2) };
    assert!(deliver(&mut maildir, &[other]).values().all(Result::is_ok));
    assert_eq!((directory.count("a/new"), directory.count("b/new")), (1, 2));
}

/// The word of what a sink took may be lost with the process; then deferred mail comes again as if it never had.
#[test]
fn deferred_mail_that_a_reader_has_already_is_not_doubled() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{local}");
    let envelope = samples::envelope(&["a@x.test"]);
    let octets = letter::encoded(&samples::manifest(&envelope, 1, CONTENT.as_bytes()));
    let mut slab = Slab::new(2);
    let mut content = Leases::default();
    slab.append(&mut content, CONTENT.as_bytes()).unwrap();
    let manifest = slab.append_whole(&octets).unwrap();
    for _ in 0..2 {
        let (manifest, content) = (manifest.share(), content.share());
        let place = Place { log: LogId { kind: LogKind::Deferred, shard: 0 }, address: 0, retain: 0 };
        let spooled =
            Spooled { id: samples::id(1), place, route: Route(0), recipients: 1, attempts: 0, manifest, content };
        let mut batch = [Delivery::of_log(spooled)];
        maildir.deliver(&mut batch);
        assert!(batch[0].outcomes().all(|(_, verdict)| verdict.is_none_or(Result::is_ok)));
        for name in directory.files("a/new").into_keys() {
            let seen = directory.0.join("a/cur").join(format!("{name}:2,S"));
            assert!(!seen.exists(), "it is delivered once more");
            fs::rename(directory.0.join("a/new").join(&name), seen).unwrap();
        }
    }
    assert_eq!((directory.count("a/new"), directory.count("a/cur")), (0, 1));
}

/// Nothing below the root leads out of it, at whatever place; and the others of the batch have their mail.
#[test]
fn symbolic_links_are_not_followed() {
    let directory = Directory::new();
    let outside = directory.0.join("outside");
    for part in ["cur", "new", "tmp", "a/cur", "a/new", "a/tmp"] {
        fs::create_dir_all(outside.join(part)).unwrap();
    }
    let mut maildir = directory.maildir("mail/{domain}/{local}");
    let mail = directory.0.join("mail");
    fs::create_dir_all(mail.join("x.test")).unwrap();
    symlink(&outside, mail.join("x.test/a")).unwrap();
    symlink(&outside, mail.join("linked.test")).unwrap();
    symlink("x.test", mail.join("inside.test")).unwrap();
    symlink("/nowhere", mail.join("x.test/dangling")).unwrap();
    for (name, part) in [("n", "new"), ("t", "tmp")] {
        for other in ["new", "tmp", "cur"] {
            fs::create_dir_all(mail.join("x.test").join(name).join(other)).unwrap();
        }
        fs::remove_dir(mail.join("x.test").join(name).join(part)).unwrap();
        symlink(outside.join(part), mail.join("x.test").join(name).join(part)).unwrap();
    }
    let recipients =
        ["a@x.test", "a@linked.test", "b@inside.test", "dangling@x.test", "n@x.test", "t@x.test", "good@x.test"];
    let envelope = samples::envelope(&recipients);
    for (number, is_repeat) in [(1, false), (1, true)] {
        let verdicts = deliver(&mut maildir, &[Message { is_repeat, ..message(&envelope, number) }]);
        let mut verdicts: Vec<Verdict> = verdicts.into_values().collect();
        assert_eq!(verdicts.pop(), Some(Ok(())));
        for (verdict, recipient) in verdicts.into_iter().zip(recipients) {
            let (reply, why) = why(verdict);
            assert_eq!(reply, Reply::DeliveryFailed, "{recipient}: {why}");
        }
    }
    assert_eq!(directory.count("mail/x.test/good/new"), 1);
    for part in ["outside/new", "outside/tmp", "outside/a/new", "outside/a/tmp", "mail/x.test/n/tmp"] {
        assert_eq!(directory.count(part), 0, "{part}");
    }
}

/// The maildir was opened, and then its owner put a link there.
#[test]
fn a_link_in_place_of_a_known_maildir_is_not_followed() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("mail/{local}");
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 1), Ok(()));
    let (there, away) = (directory.0.join("mail/a"), directory.0.join("away"));
    fs::rename(&there, &away).unwrap();
    symlink(&away, &there).unwrap();
    let (reply, why) = why(deliver_one(&mut maildir, "a@x.test", 2));
    assert_eq!(reply, Reply::DeliveryFailed);
    assert!(why.contains("mail/a: cannot open the maildir: symbolic links are not followed"), "{why}");
    assert_eq!(directory.count("away/new"), 1);
}

#[test]
fn mail_goes_where_the_path_leads_now() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("mail/{domain}/{local}");
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 1), Ok(()));
    // Put away with what is in it, and removed.
    fs::rename(directory.0.join("mail/x.test/a"), directory.0.join("a.old")).unwrap();
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 2), Ok(()));
    assert_eq!((directory.count("a.old/new"), directory.count("mail/x.test/a/new")), (1, 1));
    fs::remove_dir_all(directory.0.join("mail/x.test")).unwrap();
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 3), Ok(()));
    assert_eq!(directory.count("mail/x.test/a/new"), 1);
    // Only a part of it.
    fs::remove_dir_all(directory.0.join("mail/x.test/a/tmp")).unwrap();
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 4), Ok(()));
    assert_eq!(directory.count("mail/x.test/a/new"), 2);
}

#[test]
fn a_root_that_is_gone_refuses_until_it_is_back() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("mail/{local}");
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 1), Ok(()));
    let root = directory.0.join("mail");
    fs::remove_dir_all(&root).unwrap();
    let (reply, gone) = why(deliver_one(&mut maildir, "a@x.test", 2));
    assert_eq!(reply, Reply::DeliveryFailed);
    assert!(gone.ends_with("mail: cannot find the directory: No such file or directory (os error 2)"), "{gone}");
    assert!(!root.exists());
    fs::write(&root, "a file").unwrap();
    let (_, file) = why(deliver_one(&mut maildir, "a@x.test", 2));
    assert!(file.ends_with("mail: cannot find the directory: Not a directory (os error 20)"), "{file}");
    assert_eq!(fs::read(&root).unwrap(), b"a file");
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 2), Ok(()));
    assert_eq!(directory.count("mail/a/new"), 1);
}

#[test]
fn a_root_that_cannot_be_is_told_at_the_start() {
    let directory = Directory::new();
    fs::write(directory.0.join("file"), "").unwrap();
    for (template, wanted) in [
        ("file", "file: cannot open the directory: Not a directory"),
        ("file/mail/{local}", "file/mail: cannot open the directory: Not a directory"),
    ] {
        let error = Maildir::open(directory.options(template)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// What is wrong with one maildir is its own matter.
#[test]
fn a_maildir_that_cannot_be_used_fails_alone() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{local}");
    fs::write(directory.0.join("file"), "").unwrap();
    fs::create_dir_all(directory.0.join("new")).unwrap();
    fs::write(directory.0.join("new/new"), "").unwrap();
    // Where the message's file should come there is a directory that is not empty.
    let envelope = samples::envelope(&["file@x.test", "new@x.test", "taken@x.test", "good@x.test"]);
    let mut name = Vec::new();
    name::write(&message(&envelope, 1).manifest, &mut name);
    let taken = directory.0.join("taken/new").join(String::from_utf8(name).unwrap());
    fs::create_dir_all(taken.join("x")).unwrap();
    let verdicts = deliver(&mut maildir, &[message(&envelope, 1)]);
    assert_eq!(verdicts[&(0, 30)], Ok(()));
    for (place, wanted) in [
        (0, "file: cannot open the maildir: Not a directory"),
        (10, "new/new: cannot make the directory: Not a directory"),
        (20, "cannot rename the file into place: Is a directory"),
    ] {
        let (reply, why) = why(verdicts[&(0, place)].clone());
        assert!(reply == Reply::DeliveryFailed && why.contains(wanted), "{why}");
    }
    assert_eq!((directory.count("good/new"), directory.count("taken/tmp")), (1, 0));
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_quota_holds_and_forgives_what_readers_delete() {
    let directory = Directory::new();
    let octets = |directory: &Directory| directory.files("a/new").values().map(String::len).sum::<usize>() as u64;
    assert_eq!(deliver_one(&mut directory.maildir("{local}"), "a@x.test", 1), Ok(()));
    let one = octets(&directory);
    let options = MaildirOptions { quota_bytes: Some(3 * one), ..directory.options("{local}") };
    let mut maildir = Maildir::open_counting(options, Duration::ZERO).unwrap();
    let quota = maildir.shared.quota.clone().unwrap();
    assert_eq!(quota.used(), one);
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 2), Ok(()));
    let mut other = maildir.another().unwrap();
    assert_eq!(deliver_one(&mut other, "a@x.test", 3), Ok(()));
    assert_eq!(quota.used(), 3 * one);
    let (reply, why) = why(deliver_one(&mut maildir, "a@x.test", 4));
    assert_eq!(reply, Reply::MailboxFull);
    assert!(why.ends_with(&format!("quota_bytes = {} would be exceeded", 3 * one)), "{why}");
    assert_eq!((octets(&directory), directory.count("a/tmp")), (3 * one, 0));

    let name = directory.files("a/new").into_keys().next().unwrap();
    fs::remove_file(directory.0.join("a/new").join(name)).unwrap();
    eventually("room for another", || deliver_one(&mut maildir, "a@x.test", 5) == Ok(()));
    assert_eq!(octets(&directory), 3 * one);
    eventually("the count", || quota.used() == 3 * one);
}

/// Several workers that together have far more than fits.
#[test]
fn workers_together_keep_the_quota() {
    let directory = Directory::new();
    assert_eq!(deliver_one(&mut directory.maildir("one/{local}"), "a@x.test", 0), Ok(()));
    let one = directory.only("one/a/new").len() as u64;
    let options = MaildirOptions { quota_bytes: Some(10 * one + 1), sync: false, ..directory.options("all/{local}") };
    let maildir = Maildir::open_counting(options, Duration::ZERO).unwrap();
    let taken: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let mut maildir = maildir.another().unwrap();
                scope.spawn(move || {
                    (0..20).filter(|number| deliver_one(&mut maildir, "a@x.test", worker * 20 + number).is_ok()).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!((1..=10).contains(&taken), "{taken}");
    assert_eq!(directory.count("all/a/new"), taken);
}

#[test]
fn old_files_of_ours_are_cleared_from_tmp_at_the_start() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{domain}/{local}");
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 1), Ok(()));
    let ours = directory.files("x.test/a/new").into_keys().next().unwrap();
    let old = SystemTime::now() - Duration::from_secs(37 * 3600);
    let make = |name: String, time: SystemTime| {
        let path = directory.0.join(name);
        fs::write(&path, "x").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    };
    make(format!("x.test/a/tmp/{ours}"), old);
    make(format!("x.test/a/tmp/{}", ours.replacen('1', "2", 1)), SystemTime::now() - Duration::from_secs(35 * 3600));
    make("x.test/a/tmp/1.2.foreign".to_owned(), old);
    make(format!("x.test/a/new/old-{ours}"), old);
    make(format!("x.test/a/new/{ours}"), old);
    drop(maildir);
    let _maildir = directory.maildir("{domain}/{local}");
    eventually("the clearing", || directory.count("x.test/a/tmp") == 2);
    assert!(directory.files("x.test/a/tmp").contains_key("1.2.foreign"));
    assert_eq!(directory.count("x.test/a/new"), 2);
}

#[test]
fn without_sync_it_is_the_same_but_for_the_sync() {
    let directory = Directory::new();
    let mut maildir = Maildir::open(MaildirOptions { sync: false, ..directory.options("{local}") }).unwrap();
    assert_eq!(deliver_one(&mut maildir, "a@x.test", 1), Ok(()));
    assert!(directory.only("a/new").ends_with(CONTENT));
    assert_eq!(maildir.folders.known(), (1, 0));
}

fn is_send<T: Send>() {}

#[test]
fn a_worker_goes_to_its_thread() {
    is_send::<Maildir>();
}

/// What comes through the hand-off: content in pieces as it came, recipients of this sink alone, verdicts that are heard.
#[test]
fn a_delivery_is_kept_and_acknowledged_for_each_recipient() {
    let directory = Directory::new();
    let mut maildir = directory.maildir("{local}");
    fs::write(directory.0.join("bad"), "").unwrap();
    let scope = Scope {
        listener: "mx".into(),
        settings: Settings::new(Terms::public("mx.test")),
        timeouts: Timeouts { idle_ms: 1, transaction_ms: None, greet_pause_ms: 0, answer_ms: 1 },
        proxy_timeout_ms: None,
        taking: Taking::HandOff(Promise::Memory),
        sums_content: false,
        served: None,
        policy: Arc::new(AcceptAll),
    };
    let (sender, _receiver, _awaited) = mailbox::<()>().unwrap();
    let options = ExchangeOptions {
        node: 7,
        epoch: 3,
        shards: vec![sender.bell()],
        consumers: vec![1, 1],
        blocks: 16,
        ..Default::default()
    };
    let (mut gathers, deliveries) = connect(&options).unwrap();
    let mut consumers: Vec<_> = deliveries.into_iter().flatten().collect();
    let deliveries = &mut consumers[0];
    let gather = &mut gathers[0];
    let content = "A line of some text.\r\n".repeat(40_000);
    for piece in content.as_bytes().chunks(100_001) {
        gather.content(&scope, 0, piece);
    }
    let mut record = Record::default();
    record.begin(crate::mail::address::Path::Null, &MailParameters::default());
    for (name, route) in [("a", 0), ("other", 1), ("bad", 0), ("c", 0)] {
        let place = record.add(crate::mail::address::Path::Local(name.as_bytes()), &RcptParameters::default()).unwrap();
        record.set_route(place, Route(route));
    }
    let ended = Ended {
        content_octets: content.len() as u64,
        recipients: 4,
        marks: Marks::default(),
        with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
        record: Some(&record),
    };
    let ticket = Ticket { shard: 0, slot: 0, generation: 1, question: 1 };
    let decision = gather.end(&Arrived { ticket, scope: &scope, ended: &ended, origin: Origin::Unknown, at_ms: 1_000 });
    assert!(matches!(decision, Decision::Now(Outcome::AcceptAs(_))), "{decision:?}");
    gather.hand_on(0);
    gather.wake_consumers();

    let mut batch = Vec::new();
    deliveries.take_batch(&mut batch, usize::MAX);
    assert_eq!(batch.len(), 1);
    assert!(batch[0].content().count() > 1, "it lies in several blocks");
    maildir.deliver(&mut batch);
    assert_eq!((batch[0].verdict(0), batch[0].verdict(2)), (Some(&Ok(())), Some(&Ok(()))));
    assert_eq!(batch[0].verdict(1).unwrap().as_ref().unwrap_err().reply, Reply::DeliveryFailed);
    for name in ["a", "c"] {
        let file = directory.only(&format!("{name}/new"));
        assert!(file.starts_with(&format!("Return-Path: <>\r\nDelivered-To: {name}\r\nReceived: ")));
        assert!(file.ends_with(&format!("+0000\r\n{content}")));
    }
    assert!(!directory.0.join("other").exists());

    // Where nothing is in the way any more, the one that is open has it at the next time, and the others not again.
    fs::remove_file(directory.0.join("bad")).unwrap();
    drop(batch);
    let mut batch = Vec::new();
    eventually("the redelivery", || {
        deliveries.take_batch(&mut batch, usize::MAX);
        !batch.is_empty()
    });
    assert!(batch[0].attempts() > 0);
    maildir.deliver(&mut batch);
    drop(batch);
    assert_eq!(directory.count("bad/new"), 1);
    assert_eq!((directory.count("a/new"), directory.count("c/new")), (1, 1));
}
