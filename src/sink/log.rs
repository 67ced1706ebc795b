//! The delivery log: a line for each message and recipient, written by a thread of its own.
//!
//! *Invariants*: who logs never waits, whatever becomes of the disk or of the reader (RELIABILITY F32): lines for which there is
//! no room are dropped and counted, and when there is room again a line says how many. Lines handed over = lines written + lines
//! lost, from the end of the log on. Lines of one batch stay together, and in order.
//!
//! *Why this way*: a worker formats the lines of a batch into one text and hands it over once, so the queue moves a pointer and
//! the thread makes one write of many lines. Several workers log, so the queue is an `ArrayQueue`. The first line after a quiet time is
//! written at once; then the thread lets lines come together for a moment, and nobody wakes it.
//!
//! *Does not* know what a delivery is.

#![forbid(unsafe_code)]

mod line;
mod output;

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam::queue::ArrayQueue;

use crate::handoff::sleep;
use crate::limits;
use crate::mail::date::Timestamp;

pub use line::{Fate, Line};
use output::Output;
pub use output::Target;

/// Lines of one batch.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
}

impl Lines {
    /// None yet.
    pub const fn new() -> Self {
        Self { text: String::new() }
    }

    /// Adds one.
    pub fn add(&mut self, line: &Line<'_>) {
        // Text takes everything.
        let _ = writeln!(self.text, "{line}");
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// What a log has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that were written.
    pub lines_written: u64,
    /// Lines for which there was no room, or no time at the end.
    pub lines_lost: u64,
    /// How often the target could not be opened, rotated or written.
    pub write_errors: u64,
}

/// Why there is no delivery log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be written.
    #[error("the delivery log {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process cannot have another thread or eventfd.
    #[error("the delivery log has no thread: {0}")]
    Thread(#[from] io::Error),
}

/// Lines as they wait to be written.
#[derive(Debug)]
struct Batch {
    /// Lines that were lost before these, which no line has said yet.
    lost_before: u64,
    text: String,
}

#[derive(Debug)]
struct Shared {
    queue: ArrayQueue<Batch>,
    /// Octets of text in the queue.
    queued_octets: AtomicUsize,
    /// Lines that were lost, which no line has said yet.
    unsaid: AtomicU64,
    lines_written: AtomicU64,
    lines_lost: AtomicU64,
    write_errors: AtomicU64,
    /// The thread has just written, and wants to be woken only when much has come together.
    lingering: AtomicBool,
    /// The thread shall end.
    closing: AtomicBool,
    /// Nobody writes any more.
    ended: AtomicBool,
}

impl Shared {
    fn pop(&self) -> Option<Batch> {
        let batch = self.queue.pop()?;
        self.queued_octets.fetch_sub(batch.text.len(), Ordering::Relaxed);
        Some(batch)
    }

    /// Much waits: it shall not be kept waiting for more.
    fn has_much(&self) -> bool {
        self.queue.len() >= limits::DELIVERY_LOG_QUEUE_BATCHES / 4
            || self.queued_octets.load(Ordering::Relaxed) >= limits::DELIVERY_LOG_QUEUE_OCTETS / 4
    }

    /// Takes lines in, or counts them as lost where there is no room.
    fn push(&self, text: String) {
        let octets = text.len();
        let before = self.queued_octets.fetch_add(octets, Ordering::Relaxed);
        let batch = if before + octets > limits::DELIVERY_LOG_QUEUE_OCTETS {
            Batch { lost_before: 0, text }
        } else {
            let lost_before = self.unsaid.swap(0, Ordering::Relaxed);
            match self.queue.push(Batch { lost_before, text }) {
                Ok(()) => return,
                Err(batch) => batch,
            }
        };
        self.queued_octets.fetch_sub(octets, Ordering::Relaxed);
        self.unsaid.fetch_add(batch.lost_before, Ordering::Relaxed);
        self.lose(batch.text.as_bytes());
    }

    fn lose(&self, lines: &[u8]) {
        let lines = count(lines);
        self.lines_lost.fetch_add(lines, Ordering::Relaxed);
        self.unsaid.fetch_add(lines, Ordering::Relaxed);
    }

    /// Counts what nobody will write any more.
    fn lose_all(&self) {
        while let Some(batch) = self.pop() {
            self.lose(batch.text.as_bytes());
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Hands lines to the log; cloned for each thread that does.
#[derive(Clone, Debug)]
pub struct LogHandle {
    shared: Arc<Shared>,
    waker: sleep::Waker,
}

impl LogHandle {
    /// Hands lines over, as far as there is room. Never waits.
    pub fn write(&self, lines: Lines) {
        let mut rest = lines.text;
        while rest.len() > limits::DELIVERY_LOG_BATCH_OCTETS {
            let part = output::whole_lines(rest.as_bytes(), limits::DELIVERY_LOG_BATCH_OCTETS);
            let behind = rest.split_off(part);
            self.shared.push(std::mem::replace(&mut rest, behind));
        }
        if !rest.is_empty() {
            self.shared.push(rest);
        }
        // With its like in the thread: it finds what was pushed, or this finds that it lingers no more, or has ended.
        fence(Ordering::SeqCst);
        if !self.shared.lingering.load(Ordering::Relaxed) || self.shared.has_much() {
            self.waker.wake();
        }
        if self.shared.ended.load(Ordering::Relaxed) {
            self.shared.lose_all();
        }
    }

    /// What the log has come to so far; the numbers are not of one moment.
    pub fn counts(&self) -> Counts {
        Counts {
            lines_written: self.shared.lines_written.load(Ordering::Relaxed),
            lines_lost: self.shared.lines_lost.load(Ordering::Relaxed),
            write_errors: self.shared.write_errors.load(Ordering::Relaxed),
        }
    }
}

/// A log that is written. Closed when it is dropped.
#[derive(Debug)]
pub struct DeliveryLog {
    handle: LogHandle,
    /// Gone when the thread is.
    ends: mpsc::Receiver<()>,
    /// `None` when it is closed.
    thread: Option<JoinHandle<()>>,
}

impl DeliveryLog {
    /// Opens it, and starts its thread. A file is rotated before it has more than so many octets. A fifo that nobody reads is
    /// no error: somebody may.
    pub fn open(target: Target, bound: u64) -> Result<Self, LogError> {
        let mut output = Output::new(target.clone(), bound);
        match (output.open(), target) {
            (Err(error), _) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {}
            (Err(source), Target::File(path)) => return Err(LogError::File { path, source }),
            (opened, _) => opened?,
        }
        let (sleeper, waker) = sleep::thread().map_err(io::Error::from)?;
        let shared = Arc::new(Shared {
            queue: ArrayQueue::new(limits::DELIVERY_LOG_QUEUE_BATCHES),
            queued_octets: AtomicUsize::new(0),
            unsaid: AtomicU64::new(0),
            lines_written: AtomicU64::new(0),
            lines_lost: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            lingering: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let (end, ends) = mpsc::channel();
        let writer = Writer { shared: Arc::clone(&shared), output, sleeper, end: None, _ends: end };
        let thread = std::thread::Builder::new().name("delivery-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { handle: LogHandle { shared, waker }, ends, thread: Some(thread) })
    }

    /// To log with.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// Writes what waits, as far as that can be done in a bounded time, and says what the log has come to. What is handed over
    /// later is lost, and counted.
    pub fn close(mut self) -> Counts {
        self.end();
        self.handle.counts()
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.handle.shared.closing.store(true, Ordering::Release);
        self.handle.waker.wake();
        thread.thread().unpark();
        // The thread keeps the time. One that is held in a write for longer, as by a file system that is gone, is left there.
        let patience = Duration::from_millis(2 * limits::DELIVERY_LOG_CLOSE_MS);
        if self.ends.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected) {
            // A panic of it has been shown, and is no reason for another.
            let _ = thread.join();
        }
    }
}

impl Drop for DeliveryLog {
    fn drop(&mut self) {
        self.end();
    }
}

/// The log's thread.
struct Writer {
    shared: Arc<Shared>,
    output: Output,
    sleeper: sleep::Thread,
    /// When to give up, from the moment on when it was seen that this shall end.
    end: Option<Instant>,
    /// Dropped with this.
    _ends: mpsc::Sender<()>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let has_written = self.write_queue();
            let lost = self.shared.unsaid.swap(0, Ordering::Relaxed);
            self.say_lost(lost);
            let shared = &self.shared;
            if shared.closing.load(Ordering::Acquire) && shared.queue.is_empty() {
                break;
            }
            let ends = || shared.closing.load(Ordering::Acquire);
            if has_written {
                shared.lingering.store(true, Ordering::Relaxed);
                let most = Duration::from_millis(limits::DELIVERY_LOG_LINGER_MS);
                self.sleeper.sleep_unless(|| shared.has_much() || ends(), Some(most));
                shared.lingering.store(false, Ordering::Relaxed);
                // With its like in `LogHandle::write`.
                fence(Ordering::SeqCst);
            } else {
                self.sleeper.sleep_unless(|| !shared.queue.is_empty() || ends(), None);
            }
        }
        self.shared.ended.store(true, Ordering::Relaxed);
        // With its like in `LogHandle::write`.
        fence(Ordering::SeqCst);
        self.shared.lose_all();
    }

    /// Writes what waits, as much at once as may be handed over at once. Says whether there was any.
    fn write_queue(&mut self) -> bool {
        let mut next = None;
        let mut has_any = false;
        while let Some(Batch { lost_before, mut text }) = next.take().or_else(|| self.shared.pop()) {
            has_any = true;
            self.say_lost(lost_before);
            next = self.shared.pop();
            while let Some(batch) = next.take_if(|batch| {
                batch.lost_before == 0 && text.len() + batch.text.len() <= limits::DELIVERY_LOG_BATCH_OCTETS
            }) {
                text.push_str(&batch.text);
                next = self.shared.pop();
            }
            self.write(&text);
        }
        has_any
    }

    fn say_lost(&mut self, lines: u64) {
        if lines > 0 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let now = Timestamp::from_unix_milliseconds(now.as_millis().try_into().unwrap_or(u64::MAX));
            self.put(format!("{now} lost={lines}\n").as_bytes());
        }
    }

    fn write(&mut self, text: &str) {
        let (written, rest) = text.as_bytes().split_at(self.put(text.as_bytes()));
        self.shared.lines_written.fetch_add(count(written), Ordering::Relaxed);
        self.shared.lose(rest);
    }

    /// Writes these lines, however long it takes, unless this shall end. Says how many octets.
    fn put(&mut self, lines: &[u8]) -> usize {
        self.output.look();
        let mut done = 0;
        while done < lines.len() {
            if self.time_left().is_zero() {
                return done;
            }
            let is_rest = done > 0 && lines[done - 1] != b'\n';
            let most = self.time_left().min(Duration::from_millis(limits::DELIVERY_LOG_LOOK_MS));
            match self.output.put(&lines[done..], is_rest, most) {
                Ok(octets) => done += octets,
                Err(error) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&error.kind()) => {}
                Err(_) => {
                    self.shared.write_errors.fetch_add(1, Ordering::Relaxed);
                    // What is opened anew begins with a whole line.
                    if !self.output.is_open() {
                        done = output::whole_lines(lines, done);
                    }
                    self.pause();
                }
            }
        }
        done
    }

    /// How long this may still take: at the end it is bounded.
    fn time_left(&mut self) -> Duration {
        if !self.shared.closing.load(Ordering::Acquire) {
            return Duration::MAX;
        }
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + Duration::from_millis(limits::DELIVERY_LOG_CLOSE_MS));
        end.saturating_duration_since(now)
    }

    /// Until the next attempt.
    fn pause(&mut self) {
        let until = Instant::now() + Duration::from_millis(limits::DELIVERY_LOG_RETRY_MS);
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(self.time_left());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
