//! What runs now and how far it is, for somebody who looks on; nothing where nobody does.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// See the module. It stands in one line of standard error, which is written anew with each step.
#[derive(Debug)]
pub struct Progress {
    shows: bool,
    began: Instant,
    done: u64,
    expected: u64,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new() -> Self {
        let shows = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self { shows, began: Instant::now(), done: 0, expected: 0 }
    }

    /// So many steps more will come.
    pub fn expect(&mut self, steps: u64) {
        self.expected += steps;
    }

    /// A step begins.
    pub fn step(&mut self, what: &str) {
        self.done += 1;
        let line = format!("{:>3.0} s  {} of {}  {what}", self.began.elapsed().as_secs_f64(), self.done, self.expected);
        self.write(&line);
    }

    /// The line goes: a table comes.
    pub fn clear(&self) {
        self.write("");
    }

    fn write(&self, line: &str) {
        if self.shows {
            // A terminal that is gone is nobody who looks on.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{line}");
        }
    }
}
