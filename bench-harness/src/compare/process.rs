//! A child process: its lines, its end, and that it never outlives us.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;

const LOOK: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    /// Of standard output and standard error, as they come.
    lines: Receiver<String>,
    /// Those that were looked at.
    seen: Vec<String>,
}

impl Process {
    /// Starts it, with a pipe for its input.
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self, Failure> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::Unavailable(format!("cannot start {name}: {error}")))?;
        let (tell, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            collect(output, tell.clone());
        }
        if let Some(errors) = child.stderr.take() {
            collect(errors, tell);
        }
        Ok(Self { name, child, lines, seen: Vec::new() })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this in it, and gives what follows there.
    pub fn await_line(&mut self, mark: &str, patience: Duration) -> Result<String, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
                    self.seen.push(line);
                    if let Some(rest) = found {
                        return Ok(rest);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(self.failed("did not start in time")),
                Err(RecvTimeoutError::Disconnected) => return Err(self.failed("did not start")),
            }
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended just now; whoever waits for it will see.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for its end, which must be a success; gives its lines.
    pub fn finish(mut self, patience: Duration) -> Result<Vec<String>, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    // Its pipes are at their end, so the lines are too.
                    self.seen.extend(self.lines.iter());
                    return match status.success() {
                        true => Ok(std::mem::take(&mut self.seen)),
                        false => Err(self.failed(&format!("failed ({status})"))),
                    };
                }
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Ok(None) => return Err(self.failed("did not end in time")),
                Err(error) => return Err(self.failed(&error.to_string())),
            }
        }
    }

    fn failed(&mut self, what: &str) -> Failure {
        self.seen.extend(self.lines.try_iter());
        let last = self.seen.split_off(self.seen.len().saturating_sub(5));
        Failure::System(format!("{} {what}: {}", self.name, last.join(" / ")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(pipe: impl Read + Send + 'static, tell: Sender<String>) {
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|octets| octets > 0) {
            // Whoever looked may be gone; the pipe is emptied all the same, so that the child never waits.
            let _ = tell.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start("shell", Command::new("/bin/sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_are_found_and_the_end_is_awaited() {
        let mut process = shell("echo one; echo ready on 127.0.0.1:1; read x; echo three >&2");
        assert_eq!(process.await_line("ready on", Duration::from_secs(5)).unwrap(), "127.0.0.1:1");
        assert!(!process.is_over());
        process.end_input();
        let failure = process.finish(Duration::from_secs(5));
        assert_eq!(failure.unwrap(), ["one", "ready on 127.0.0.1:1", "three"]);
    }

    #[test]
    fn failures_tell_what_was_said_last() {
        let failure = shell("echo what is wrong >&2; exit 7").finish(Duration::from_secs(5)).unwrap_err().to_string();
        assert!(failure.contains("what is wrong") && failure.contains('7'), "{failure}");
        let failure = shell("sleep 60").finish(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(failure.contains("in time"), "{failure}");
    }
}
