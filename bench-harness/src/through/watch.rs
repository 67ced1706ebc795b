//! What is looked at while messages are on their way: the backlog, a line each second, and when there is no use in waiting.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::catcher::Arrivals;
use super::deliveries::Standing;
use super::report::Second;
use super::times::{Earlier, histogram};
use super::track::Track;
use crate::failure::Failure;
use crate::generate::arguments::RunArguments;
use crate::generate::report;

/// How often it is looked.
pub const LOOK: Duration = Duration::from_millis(20);

/// When all has arrived: how long nothing may come before nothing more will. A duplicate comes late, or never.
const SETTLE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Watch<'a> {
    track: &'a Track,
    shards: &'a [Arc<Arrivals>],
    earlier: Vec<Earlier>,
    ndjson: Option<Box<dyn Write>>,
    shows: bool,
    second: u64,
    next: Instant,
    is_draining: bool,
    before: Standing,
    /// The largest backlog that was seen.
    pub backlog_most: u64,
}

impl<'a> Watch<'a> {
    /// Begins now.
    pub fn new(track: &'a Track, shards: &'a [Arc<Arrivals>], load: &RunArguments) -> Result<Self, Failure> {
        let is_taken = |path: &Option<std::path::PathBuf>| path.as_deref() == Some(Path::new("-"));
        Ok(Self {
            track,
            shards,
            earlier: vec![Earlier::default(); shards.len()],
            ndjson: load.ndjson.as_deref().map(report::open).transpose()?,
            shows: std::io::stdout().is_terminal() && !is_taken(&load.json) && !is_taken(&load.ndjson) && !load.verbose,
            second: 0,
            next: Instant::now() + Duration::from_secs(1),
            is_draining: false,
            before: Standing::default(),
            backlog_most: 0,
        })
    }

    /// Looks, and tells of a second that is over.
    pub fn look(&mut self) -> Result<Standing, Failure> {
        let now = Standing::of(self.track, self.shards);
        self.backlog_most = self.backlog_most.max(now.outstanding());
        if Instant::now() >= self.next {
            self.next += Duration::from_secs(1);
            self.tell(now)?;
        }
        Ok(now)
    }

    /// Waits until all that was taken over has arrived, or nothing comes any more. Returns whether it could wait so long.
    pub fn drain(&mut self, patience: Duration, interrupted: &AtomicBool) -> Result<bool, Failure> {
        self.is_draining = true;
        let mut last = (0, Instant::now());
        loop {
            let now = self.look()?;
            let came = now.messages + now.unreadable;
            if came != last.0 {
                last = (came, Instant::now());
            }
            let patience = if now.outstanding() == 0 { patience.min(SETTLE) } else { patience };
            if last.1.elapsed() >= patience {
                return Ok(true);
            }
            if interrupted.load(Ordering::Relaxed) {
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
    }

    /// The last second, which is shorter: lines add up to the whole.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let now = Standing::of(self.track, self.shards);
        self.tell(now)
    }

    fn tell(&mut self, now: Standing) -> Result<(), Failure> {
        self.second += 1;
        let mut times = histogram();
        for (shard, earlier) in self.shards.iter().zip(&mut self.earlier) {
            shard.end_to_end.add_to(&mut times, Some(earlier));
        }
        let before = std::mem::replace(&mut self.before, now);
        let second = Second { number: self.second, is_draining: self.is_draining, now, before, times };
        if let Some(ndjson) = &mut self.ndjson {
            writeln!(ndjson, "{}", second.json()).map_err(Failure::while_doing("cannot write a line of JSON"))?;
        }
        if self.shows {
            print!("{}", second.row());
        }
        Ok(())
    }
}
