//! What a child says, line by line, while it runs.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use super::patience::PATIENCE;

/// One output of a child. A thread reads it, so that the child never waits for the test.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let teller = lines.clone();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
                teller.heard().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                teller.0.1.notify_all();
                line.clear();
            }
            teller.heard().ended = true;
            teller.0.1.notify_all();
        });
        lines
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.0.lock().expect("no holder of the lock panics")
    }

    /// Waits until so many lines satisfy, and gives what was found in them; `None` when the output ended before.
    #[track_caller]
    pub fn await_some<T>(&self, what: &str, count: usize, find: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.heard();
        loop {
            let found: Vec<T> = heard.lines.iter().filter_map(|line| find(line)).collect();
            if found.len() >= count {
                return Some(found);
            }
            if heard.ended {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain: {what}, in\n{}", heard.lines.join("\n"));
            heard = self.0.1.wait_timeout(heard, left).expect("no holder of the lock panics").0;
        }
    }

    /// Waits until so many lines hold the text.
    #[track_caller]
    pub fn await_text(&self, text: &str, count: usize) {
        let found = self.await_some(text, count, |line| line.contains(text).then_some(()));
        assert!(found.is_some(), "the output ended without {text:?}:\n{}", self.so_far());
    }

    /// Waits for the end, and gives all of it.
    pub fn to_the_end(&self) -> String {
        let ended = self.await_some("the end of the output", usize::MAX, |_| Some(()));
        assert!(ended.is_none());
        self.so_far()
    }

    pub fn so_far(&self) -> String {
        self.heard().lines.join("\n")
    }
}
