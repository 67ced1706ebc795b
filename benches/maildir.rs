//! The maildir sink in batches, against one file at a time with a sync of the file and of the directory (PERFORMANCE.md, P22).
//!
//! The other way is the same in all but the batch: trace fields rendered, file written to `tmp` in one call, synced, renamed, directory
//! synced, with each maildir's directories open from the start. Messages of 4 KiB, in one maildir for all, and in 1, 10 and 1,000
//! maildirs of recipients. Before anything is timed, every file is read back and compared octet for octet. `cargo bench --bench maildir`
//! ends with the ratios, medians of pairs of runs that take turns; `-- --test` only checks, at small size.
//!
//! Files lie below cargo's directory for temporary files, which must be on a real file system for the figures to mean anything, and are
//! removed at the end only: ext4 looks for free inodes past those that were removed in the last minutes, which makes every new file
//! ten times as dear.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{IoSlice, Write};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ringmx::mail::envelope::Envelope;
use ringmx::mail::id::MessageId;
use ringmx::mail::trace;
use ringmx::sink::maildir::options::MaildirOptions;
use ringmx::sink::maildir::{Maildir, Message};

#[path = "../tests/common/letter.rs"]
mod letter;

const CONTENT_OCTETS: usize = 4096;
/// Messages that are there at once, as a worker takes them.
const BATCH: usize = 256;
/// Messages of one timed run.
const MESSAGES: usize = 1024;
/// Messages where only the result counts.
const MESSAGES_CHECKED: usize = 300;
/// Pairs of runs of which the median ratio is taken.
const PAIRS: usize = 11;

/// Where messages go.
#[derive(Clone, Copy)]
struct Layout {
    name: &'static str,
    template: &'static str,
    mailboxes: usize,
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "one maildir for all", template: "all", mailboxes: 1 },
    Layout { name: "1 mailbox", template: "{domain}/{local}", mailboxes: 1 },
    Layout { name: "10 mailboxes", template: "{domain}/{local}", mailboxes: 10 },
    Layout { name: "1,000 mailboxes", template: "{domain}/{local}", mailboxes: 1000 },
];

impl Layout {
    fn local_part(&self, number: usize) -> String {
        format!("first.last{}", number % self.mailboxes)
    }

    /// From the root.
    fn maildir(&self, number: usize) -> PathBuf {
        if self.template == "all" {
            return PathBuf::new();
        }
        FilePath::new("example.net").join(self.local_part(number))
    }
}

/// A header section, and text.
fn content() -> Vec<u8> {
    let header = b"From: Sender <sender@example.org>\r\nTo: first.last@example.net\r\nSubject: A message\r\n\r\n";
    let text = b"A line of the text that mail is made of, of seventy octets or so.....\r\n";
    let octets = header.iter().chain(text.iter().cycle()).copied().take(CONTENT_OCTETS - 2);
    octets.chain(*b"\r\n").collect()
}

fn envelope(layout: &Layout, number: usize) -> Envelope {
    letter::envelope("sender@example.org", [(&*format!("{}@example.net", layout.local_part(number)), 0)])
}

fn message<'a>(envelope: &'a Envelope, number: usize, content: &'a [u8]) -> Message<'a> {
    let manifest = letter::manifest(envelope, MessageId::new(7, 3, 1, number as u64), content.len());
    let recipients = (0..).zip(envelope.recipients().map(|recipient| recipient.path)).collect();
    Message { manifest, is_repeat: false, recipients, content: vec![content] }
}

/// The fields that stand on top.
fn head(message: &Message<'_>) -> Vec<u8> {
    let mut head = Vec::new();
    trace::write_return_path(message.manifest.envelope.sender().0, &mut head);
    message.recipients.iter().for_each(|(_, recipient)| trace::write_delivered_to(*recipient, &mut head));
    message.manifest.trace().write_received(&mut head);
    head
}

fn file_name(message: &Message<'_>) -> String {
    format!("1136214245.{}.mx.example.net", message.manifest.id)
}

/// Takes messages.
trait Keeper {
    fn keep(&mut self, messages: &[Message<'_>], first: usize);
}

impl Keeper for Maildir {
    fn keep(&mut self, messages: &[Message<'_>], _first: usize) {
        for batch in messages.chunks(BATCH) {
            Self::keep(self, batch, |_, _, verdict| verdict.expect("it is kept"));
        }
    }
}

/// One file at a time.
struct Single {
    layout: Layout,
    /// `new` of each maildir.
    new: Vec<File>,
    maildirs: Vec<PathBuf>,
}

impl Single {
    /// On maildirs that are there.
    fn new(layout: Layout, root: &FilePath) -> Self {
        let maildirs: Vec<PathBuf> = (0..layout.mailboxes).map(|number| root.join(layout.maildir(number))).collect();
        let new = maildirs.iter().map(|maildir| File::open(maildir.join("new")).expect("it is there")).collect();
        Self { layout, new, maildirs }
    }
}

impl Keeper for Single {
    fn keep(&mut self, messages: &[Message<'_>], first: usize) {
        for (number, message) in (first..).zip(messages) {
            let mailbox = number % self.layout.mailboxes;
            let (tmp, new) = (self.maildirs[mailbox].join("tmp"), self.maildirs[mailbox].join("new"));
            let name = file_name(message);
            let mut file = OpenOptions::new().write(true).create_new(true).open(tmp.join(&name)).expect("it is new");
            let head = head(message);
            let slices = [IoSlice::new(&head), IoSlice::new(message.content[0])];
            let written = file.write_vectored(&slices).expect("it is written");
            assert_eq!(written, head.len() + message.content[0].len());
            file.sync_data().expect("it is synced");
            fs::rename(tmp.join(&name), new.join(&name)).expect("it is renamed");
            self.new[mailbox].sync_all().expect("it is synced");
        }
    }
}

/// A sink with all its maildirs, and the number of the next message.
struct Stand {
    layout: Layout,
    root: PathBuf,
    maildir: Maildir,
    single: Single,
    next: usize,
    content: Vec<u8>,
}

impl Stand {
    /// Checks both ways at once, and leaves every maildir made and known.
    fn new(layout: Layout, directory: &FilePath) -> Self {
        let root = directory.join(layout.name.replace([' ', ','], "-"));
        let template = format!("{}/{}", root.display(), if layout.template == "all" { "" } else { layout.template });
        let options = MaildirOptions::new(template.parse().expect("it is one"));
        let maildir = Maildir::open(options).expect("it can be made");
        let mut stand = Self {
            layout,
            root,
            maildir,
            single: Single { layout, new: vec![], maildirs: vec![] },
            next: 0,
            content: content(),
        };
        let count = MESSAGES_CHECKED.max(layout.mailboxes);
        stand.run(count, true);
        stand.single = Single::new(layout, &stand.root);
        stand.run(count, false);
        stand.check();
        stand
    }

    /// Every message that was given is there, octet for octet, and nothing else.
    fn check(&self) {
        let mut found: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for mailbox in 0..self.layout.mailboxes {
            let maildir = self.root.join(self.layout.maildir(mailbox));
            assert_eq!(fs::read_dir(maildir.join("tmp")).expect("it is there").count(), 0);
            for entry in fs::read_dir(maildir.join("new")).expect("it is there") {
                let path = entry.expect("it can be read").path();
                found.insert(path.clone(), fs::read(path).expect("it can be read"));
            }
        }
        assert_eq!(found.len(), self.next, "as many as were given");
        for number in 0..self.next {
            let envelope = envelope(&self.layout, number);
            let message = message(&envelope, number, &self.content);
            let path = self.root.join(self.layout.maildir(number)).join("new").join(file_name(&message));
            let octets = found.get(&path).unwrap_or_else(|| panic!("{} is not there", path.display()));
            assert!(*octets == [&head(&message)[..], &self.content].concat(), "{} is altered", path.display());
        }
    }

    /// So many messages one way or the other, and how long it took.
    fn run(&mut self, count: usize, batched: bool) -> Duration {
        let first = self.next;
        self.next += count;
        let envelopes: Vec<Envelope> = (first..self.next).map(|number| envelope(&self.layout, number)).collect();
        let messages: Vec<Message<'_>> =
            (first..).zip(&envelopes).map(|(number, envelope)| message(envelope, number, &self.content)).collect();
        let start = Instant::now();
        if batched {
            Keeper::keep(&mut self.maildir, &messages, first);
        } else {
            self.single.keep(&messages, first);
        }
        start.elapsed()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints messages a second, and for P22 those batched ÷ those one at a time.
fn ratios(stand: &mut Stand) {
    let mut rates: [Vec<f64>; 2] = Default::default();
    for round in 0..PAIRS {
        // Who comes first changes from round to round.
        for place in 0..2 {
            let which = (place + round) % 2;
            let time = stand.run(MESSAGES, which == 0);
            rates[which].push(MESSAGES as f64 / time.as_secs_f64());
        }
    }
    stand.check();
    let [batched, single] = rates;
    let ratio = median(batched.iter().zip(&single).map(|(batched, single)| batched / single).collect());
    println!(
        "{:20} batched {:6.0}/s, one at a time {:6.0}/s, ratio {ratio:.2}",
        stand.layout.name,
        median(batched),
        median(single)
    );
}

/// Removed when it is done.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn main() {
    let name = format!("maildir-{}", std::process::id());
    let directory = Directory(FilePath::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    fs::create_dir_all(&directory.0).expect("it can be made");
    let mut stands = LAYOUTS.map(|layout| Stand::new(layout, &directory.0));

    // `cargo bench` says so; a test run and a listing do not time.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let times = has("--bench") && !has("--test") && !has("--list");
    if !has("--ratios") {
        let mut criterion = Criterion::default().configure_from_args();
        let mut group = criterion.benchmark_group("maildir");
        group.throughput(Throughput::Elements(BATCH as u64)).sample_size(10);
        for stand in &mut stands {
            for (way, batched) in [("batched", true), ("one at a time", false)] {
                let name = format!("{}, {way}", stand.layout.name);
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|times| (0..times).map(|_| stand.run(BATCH, batched)).sum());
                });
            }
        }
        group.finish();
        criterion.final_summary();
    }
    if times {
        println!(
            "\nmessages a second (P22); medians of {PAIRS} pairs, batches of {BATCH}, {CONTENT_OCTETS} octets of content"
        );
        stands.iter_mut().for_each(ratios);
    }
}
