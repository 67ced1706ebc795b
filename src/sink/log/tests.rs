//! On files, on fifos that nobody reads, and on a disk that is full. Waits are for conditions.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::*;
use crate::mail::address;
use crate::mail::id::MessageId;

/// A directory that is gone afterwards.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmx-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("log")
    }

    fn fifo(&self) -> PathBuf {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, self.file(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        self.file()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lines of these attempts, which number them.
fn lines(attempts: std::ops::Range<u32>) -> Lines {
    let mut lines = Lines::new();
    attempts.for_each(|attempts| {
        lines.add(&Line {
            time_ms: 1_795_260_000_123,
            id: MessageId::new(1, 2, 3, attempts.into()),
            listener: "mx",
            sink: "store",
            reverse_path: address::Path::Null,
            forward_path: address::Path::Local(b"postmaster"),
            size_bytes: 4096,
            fate: Fate::Delivered,
            code: 250,
            delay_ms: 1,
            attempts,
            next_ms: None,
            why: "",
        });
    });
    lines
}

/// The numbers of the lines, and the sum of those that a text says were lost.
fn numbers(text: &str) -> (Vec<u32>, u64) {
    assert!(text.is_empty() || text.ends_with('\n'), "whole lines");
    let value = |line: &str, key: &str| {
        let field = line.split(' ').find_map(|field| field.strip_prefix(key));
        field.map(|value| value.parse::<u64>().unwrap())
    };
    let kept = text.lines().filter_map(|line| value(line, "attempts=")).map(|number| number as u32).collect();
    (kept, text.lines().filter_map(|line| value(line, "lost=")).sum())
}

#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn open(path: &Path, bound: u64) -> DeliveryLog {
    DeliveryLog::open(Target::File(path.to_owned()), bound).unwrap()
}

fn written(lines_written: u64) -> Counts {
    Counts { lines_written, ..Counts::default() }
}

#[test]
fn closing_writes_what_waits() {
    let place = Place::new("closing");
    let log = open(&place.file(), 1 << 20);
    let handle = log.handle();
    handle.write(lines(0..3));
    handle.write(Lines::new());
    handle.write(lines(3..1000));
    assert_eq!(log.close(), written(1000));
    assert_eq!(numbers(&fs::read_to_string(place.file()).unwrap()), ((0..1000).collect(), 0));
    handle.write(lines(0..7));
    assert_eq!(handle.counts(), Counts { lines_lost: 7, ..written(1000) }, "nobody writes any more");
}

#[test]
fn what_was_logged_before_stays() {
    let place = Place::new("before");
    for begin in [0, 10] {
        let log = open(&place.file(), 1 << 20);
        log.handle().write(lines(begin..begin + 10));
        drop(log);
    }
    assert_eq!(numbers(&fs::read_to_string(place.file()).unwrap()), ((0..20).collect(), 0));
}

/// A process that was killed leaves a line without its end.
#[test]
fn a_line_that_was_cut_off_stays_alone() {
    let place = Place::new("cut");
    fs::write(place.file(), "2026 id=1 attempts").unwrap();
    let log = open(&place.file(), 1 << 20);
    log.handle().write(lines(5..6));
    drop(log);
    let text = fs::read_to_string(place.file()).unwrap();
    assert!(text.starts_with("2026 id=1 attempts\n2026-"), "{text}");
    assert_eq!(numbers(&text), (vec![5], 0));
}

/// The bound is for octets of both batches and lines: what does not fit begins a new file, and one older file is kept.
#[test]
fn a_file_is_rotated_at_its_bound() {
    let place = Place::new("rotated");
    let line = lines(0..1).text.len() as u64;
    let log = open(&place.file(), 10 * line + line / 2);
    let handle = log.handle();
    // Numbers of one width; batches of one line, of several, and of more than a file has.
    for (from, to) in [(1000, 1007), (1007, 1008), (1008, 1013), (1013, 1037), (1037, 1041)] {
        handle.write(lines(from..to));
    }
    assert_eq!(log.close(), written(41));
    let line = lines(1000..1001).text.len() as u64;
    let room = ((10 * lines(0..1).text.len() + lines(0..1).text.len() / 2) as u64 / line) as u32;
    let (now, older) = (place.file(), output::older(&place.file()));
    let newest = 1000 + 41 / room * room;
    assert_eq!(numbers(&fs::read_to_string(now).unwrap()).0, (newest..1041).collect::<Vec<_>>());
    assert_eq!(numbers(&fs::read_to_string(older).unwrap()).0, (newest - room..newest).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(&place.0).unwrap().count(), 2);
}

/// A batch of more lines than are handed over at once.
#[test]
fn a_large_batch_goes_in_parts() {
    let place = Place::new("parts");
    let log = open(&place.file(), 1 << 30);
    let large = lines(0..5000);
    assert!(large.text.len() > 3 * limits::DELIVERY_LOG_BATCH_OCTETS);
    log.handle().write(large);
    assert_eq!(log.close(), written(5000));
    assert_eq!(numbers(&fs::read_to_string(place.file()).unwrap()), ((0..5000).collect(), 0));
}

#[test]
fn a_file_that_another_moved_is_made_anew() {
    let place = Place::new("moved");
    let log = open(&place.file(), 1 << 20);
    let handle = log.handle();
    handle.write(lines(0..2));
    wait_until("they are written", || handle.counts() == written(2));
    fs::rename(place.file(), place.0.join("aside")).unwrap();
    handle.write(lines(2..4));
    assert_eq!(log.close(), written(4));
    assert_eq!(numbers(&fs::read_to_string(place.file()).unwrap()).0, [2, 3]);
    assert_eq!(numbers(&fs::read_to_string(place.0.join("aside")).unwrap()).0, [0, 1]);
}

/// Lines of one batch stay together, whoever else logs.
#[test]
fn many_threads_log() {
    const THREADS: u32 = 4;
    const BATCHES: u32 = 50;
    let place = Place::new("many");
    let log = open(&place.file(), 1 << 30);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = log.handle();
            std::thread::spawn(move || {
                for batch in 0..BATCHES {
                    let first = (thread * BATCHES + batch) * 10;
                    handle.write(lines(first..first + 10));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(log.close(), written((THREADS * BATCHES * 10).into()));
    let (kept, _) = numbers(&fs::read_to_string(place.file()).unwrap());
    assert!(kept.chunks(10).all(|batch| batch[0] % 10 == 0 && batch.windows(2).all(|pair| pair[1] == pair[0] + 1)));
    let mut sorted = kept;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..THREADS * BATCHES * 10).collect::<Vec<_>>());
}

/// Logs lines from this one on until some are lost, and says which is next; it would stand here for ever if logging waited.
fn overfill(handle: &LogHandle, first: u32) -> u32 {
    let mut next = first;
    let before = handle.counts().lines_lost;
    while handle.counts().lines_lost < before + 1000 {
        handle.write(lines(next..next + 500));
        next += 500;
    }
    let room = limits::DELIVERY_LOG_QUEUE_OCTETS / lines(0..1).text.len();
    assert!((next as usize) < 2 * room, "{next} lines, of which {room} or so have room");
    next
}

/// Then a reader comes: what was not lost comes in order, and who reads learns how much was, and where.
#[test]
fn a_fifo_without_a_reader_blocks_nobody() {
    let place = Place::new("fifo");
    let fifo = place.fifo();
    let log = open(&fifo, 1 << 20);
    let handle = log.handle();
    let handed = overfill(&handle, 0);
    assert!(handed as usize > limits::DELIVERY_LOG_QUEUE_OCTETS / 2 / lines(0..1).text.len(), "{handed}: no room");
    wait_until("it is tried", || handle.counts().write_errors > 0);
    assert_eq!(handle.counts().lines_written, 0);
    let lost = handle.counts().lines_lost;
    let mut reader = File::open(&fifo).unwrap();
    // With half of it read there is room again, and lines before.
    let mut text = vec![0; limits::DELIVERY_LOG_QUEUE_OCTETS / 2];
    reader.read_exact(&mut text).unwrap();
    handle.write(lines(handed..handed + 1));
    assert_eq!(handle.counts().lines_lost, lost);
    // Full once more, and nothing is handed over afterwards.
    let handed_in_all = overfill(&handle, handed + 1);
    let reads = std::thread::spawn(move || reader.read_to_end(&mut text).map(|_| String::from_utf8(text).unwrap()));
    let settled = || {
        let counts = handle.counts();
        counts.lines_written + counts.lines_lost == u64::from(handed_in_all)
    };
    wait_until("what waits is written", settled);
    let counts = log.close();
    let text = reads.join().unwrap().unwrap();
    let (kept, said) = numbers(&text);
    assert_eq!((kept.len() as u64, said), (counts.lines_written, counts.lines_lost));
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
    let lines: Vec<&str> = text.lines().collect();
    let notes: Vec<usize> = (0..lines.len()).filter(|&line| lines[line].contains(" lost=")).collect();
    assert_eq!((notes.len(), notes[1]), (2, lines.len() - 1), "one where the first were lost, one at the end");
    assert!(lines[notes[0]].ends_with(&format!(" lost={lost}")));
    assert_eq!(numbers(&format!("{}\n", lines[notes[0] + 1])).0, [handed]);
    assert_eq!(handle.shared.queued_octets.load(Ordering::Relaxed), 0);
}

/// What the pipe holds of it has been written; the rest is counted as lost at the end, which comes.
#[test]
fn a_reader_that_does_not_read_blocks_nobody() {
    let place = Place::new("deaf");
    let fifo = place.fifo();
    let path = fifo.clone();
    let opens = std::thread::spawn(move || File::open(path).unwrap());
    // Not before the reader is there, so that no retry is waited for.
    let writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let mut reader = opens.join().unwrap();
    let log = open(&fifo, 1 << 20);
    let handle = log.handle();
    let handed = overfill(&handle, 0);
    let counts = log.close();
    assert_eq!(counts.write_errors, 0);
    assert_eq!(counts.lines_written + counts.lines_lost, u64::from(handed));
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    // The last line may have been cut off.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    assert_eq!(numbers(&text[..whole]).0, (0..counts.lines_written as u32).collect::<Vec<_>>());
}

/// A reader goes in the midst of a line that is longer than a pipe takes at once; the next one begins with a whole line.
#[test]
fn a_reader_may_come_and_go() {
    let place = Place::new("goes");
    let fifo = place.fifo();
    let log = open(&fifo, 1 << 20);
    let handle = log.handle();
    let long = "\n".repeat(limits::DELIVERY_LOG_WHY_OCTETS);
    let path = address::Path::Mailbox(address::Mailbox { local_part: long.as_bytes(), domain: long.as_bytes() });
    let mut text = String::new();
    for number in 0..100 {
        let mut lines = lines(number..number + 1);
        lines.text.truncate(lines.text.len() - 1);
        text += &format!("{} {path:?}\n", lines.text);
    }
    assert!(text.lines().all(|line| line.len() > output::PIPE_OCTETS));
    handle.write(Lines { text });
    let read_some = |octets: usize| {
        let mut some = vec![0; octets];
        File::open(&fifo).unwrap().read_exact(&mut some).unwrap();
        String::from_utf8(some).unwrap()
    };
    for reader in 1..=2 {
        assert!(read_some(10_001).starts_with("2026-"), "reader {reader} begins with a whole line");
        wait_until("it is seen that the reader has gone", || handle.counts().write_errors > reader);
    }
}

#[test]
fn a_full_disk_blocks_nobody() {
    let log = open(Path::new("/dev/full"), 1 << 20);
    let handle = log.handle();
    let handed = overfill(&handle, 0);
    wait_until("it is tried", || handle.counts().write_errors > 0);
    let counts = log.close();
    assert_eq!((counts.lines_written, counts.lines_lost), (0, handed.into()));
}

#[test]
fn a_file_that_cannot_be_made_is_told_of_at_once() {
    let place = Place::new("nowhere");
    let path = place.0.join("missing/log");
    let error = DeliveryLog::open(Target::File(path.clone()), 1 << 20).unwrap_err().to_string();
    assert_eq!(error, format!("the delivery log {}: No such file or directory (os error 2)", path.display()));
}

#[test]
fn the_standard_error_is_a_target() {
    let log = DeliveryLog::open(Target::Stderr, 1 << 20).unwrap();
    log.handle().write(lines(0..1));
    assert_eq!(log.close(), written(1));
}
