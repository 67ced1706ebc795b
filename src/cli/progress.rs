//! How far a long look at a spool has come, for somebody who waits at a terminal.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use ringmx::metrics::report::size;

/// Nothing is shown before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two times that it is shown.
const STEP: Duration = Duration::from_millis(200);

/// See the module. What it shows is wiped off when it is dropped, or told to.
pub struct Progress {
    /// When it is shown next; `None`: nobody looks.
    next: Cell<Option<Instant>>,
    is_shown: Cell<bool>,
}

impl Progress {
    /// Begins now, if standard error is a terminal.
    pub fn new() -> Self {
        let is_looked_at = std::io::stderr().is_terminal();
        Self { next: Cell::new(is_looked_at.then(|| Instant::now() + PATIENCE)), is_shown: Cell::new(false) }
    }

    /// So much was read, of so much.
    pub fn show(&self, read: u64, all: u64) {
        let now = Instant::now();
        if self.next.get().is_some_and(|next| next <= now) {
            self.next.set(Some(now + STEP));
            self.is_shown.set(true);
            let percent = (read.min(all) * 100).checked_div(all).unwrap_or(100);
            let _ = write!(std::io::stderr().lock(), "\r{percent:>3} % of {} read", size(all));
        }
    }

    /// Makes room for what is printed.
    pub fn wipe(&self) {
        if self.is_shown.take() {
            let _ = write!(std::io::stderr().lock(), "\r{:40}\r", "");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}
