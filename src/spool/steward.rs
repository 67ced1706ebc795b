//! The segments of all logs, before and after their shards have them: made ahead of time, used again, removed; and the disk that they
//! lie on, watched (DESIGN decisions 13 and 19).
//!
//! A shard takes segments from the shelf of its log ([`mod@supply`]) and never waits for a file to be made. `decision` says what is to be
//! done, of what is known: what shards and sinks have published, the time, and how much of the disk is free; [`keeping`] does it, and
//! `preparing` makes the files. The thread that waits for them is a tokio-uring runtime.
//!
//! *Invariants*: a segment is not written again before nobody needs what is in it: every sink's cursor and the shard's oldest message
//! are behind its end, and its time is over; nor one that failed, ever. A segment is on the shelf only when it was allocated, zeroed and
//! named for good. Whatever ends the thread, shards hear that no segment comes.
//!
//! *Does not* know blocks, messages or sinks.

mod decision;
pub mod keeping;
pub mod preparing;
pub mod supply;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::limits;
use crate::spool::steward::keeping::{Done, Work, do_and_wait};
use crate::spool::steward::preparing::{Preparing, Unmade};
use crate::spool::storage::{Storage, StorageError};

pub use keeping::{KeepOptions, Keeping, LogFigures, LogPlan, Needs, SpoolFigures};
pub use supply::{Broken, Lack, Shelf, Supply, supply};

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Steward {
    thread: Option<JoinHandle<()>>,
    ends: Arc<AtomicBool>,
    wanted: Arc<Notify>,
}

impl Steward {
    /// Starts the thread, which looks and decides at once.
    pub fn start(keeping: Keeping) -> io::Result<Self> {
        let (ends, wanted) = (Arc::new(AtomicBool::new(false)), Arc::clone(&keeping.wanted));
        let is_over = Arc::clone(&ends);
        let (begun, begins) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("ringmx-steward".to_owned()).spawn(move || {
            let mut keeping = Abandoned(keeping);
            // Plain flags: with DEFER_TASKRUN it hangs.
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => {
                    let _ = begun.send(Ok(()));
                    runtime.block_on(keep(&mut keeping.0, &is_over));
                }
                Err(error) => drop(begun.send(Err(error))),
            }
        })?;
        let started = begins.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")));
        let steward = Self { thread: Some(thread), ends, wanted };
        started.map(|()| steward)
    }
}

impl Drop for Steward {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed where it happened, and shards were told.
            let _ = thread.join();
        }
    }
}

/// However the thread ends, nobody is left to wait for a segment.
struct Abandoned(Keeping);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What something has come to that was waited for elsewhere.
#[derive(Debug)]
enum News {
    Looked(Result<u64, StorageError>),
    Done(Done),
}

async fn keep(keeping: &mut Keeping, ends: &AtomicBool) {
    let begun = Instant::now();
    // What is under way at once is bounded by what `decide` gives: one segment to be made and those to be removed.
    let (sender, mut news) = tokio::sync::mpsc::unbounded_channel();
    let mut looks_at = Duration::ZERO;
    let (mut is_looking, mut has_looked) = (false, false);
    while !ends.load(Ordering::Relaxed) {
        let now_ms = begun.elapsed().as_millis() as u64;
        let mut has_prepared = false;
        while let Ok(this) = news.try_recv() {
            match this {
                News::Looked(free) => {
                    (is_looking, has_looked) = (false, true);
                    keeping.look(free);
                }
                News::Done(done) => {
                    has_prepared |= matches!(done, Done::Prepared { .. });
                    keeping.done(done, now_ms);
                }
            }
        }
        if !is_looking && (has_prepared || begun.elapsed() >= looks_at) {
            is_looking = true;
            looks_at = begun.elapsed() + Duration::from_millis(limits::DISK_LOOK_MS);
            let (storage, directory) = (Arc::clone(&keeping.storage), keeping.options.directory.clone());
            let (sender, wanted) = (sender.clone(), Arc::clone(&keeping.wanted));
            spawn_blocking(move || {
                let _ = sender.send(News::Looked(storage.free_octets(&directory)));
                wanted.notify_one();
            });
        }
        if has_looked {
            for work in keeping.decide(now_ms) {
                let (sender, wanted) = (sender.clone(), Arc::clone(&keeping.wanted));
                let storage = Arc::clone(&keeping.storage);
                tokio_uring::spawn(async move {
                    let _ = sender.send(News::Done(carry_out(storage, work).await));
                    wanted.notify_one();
                });
            }
            keeping.publish();
        }
        let _ = timeout(Duration::from_millis(limits::DISK_LOOK_MS), keeping.wanted.notified()).await;
    }
}

/// Files are filled by the ring; what has no operation there, or is one call, waits on another thread.
async fn carry_out(storage: Arc<dyn Storage>, work: Work) -> Done {
    let Work::Prepare { log, directory, number, replaces, octets } = work else {
        return elsewhere(move || do_and_wait(&storage, work)).await;
    };
    let begun = elsewhere(move || Preparing::begin(&storage, &directory, (number, replaces), octets)).await;
    let preparing = match begun {
        Ok(preparing) => Arc::new(preparing),
        Err(error) => return Done::Prepared { log, number, result: Err(error.into()) },
    };
    let filled = preparing.fill_by_ring().await;
    let result = elsewhere(move || {
        let filled = filled.unwrap_or_else(|| preparing.fill()).map_err(Unmade::from);
        filled.and_then(|()| preparing.finish()).inspect_err(|_| preparing.abandon())
    });
    Done::Prepared { log, number, result: result.await }
}

async fn elsewhere<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(call).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
