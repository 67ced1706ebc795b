//! Waits for signals and for time while the engine runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use ringmx::engine::Engine;
use ringmx::limits;
use ringmx::metrics::report::Report;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::failure::Failure;
use super::{say, show};

/// Sessions shown on SIGUSR1.
const SESSIONS_SHOWN: usize = 40;

/// How often the end of a drain, or of a count, is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// What the program does at its own times.
pub trait Duty {
    /// SIGHUP.
    fn reload(&mut self, engine: &mut Engine);
    /// Called about every [`LOOK`]; says whether it is time to stop.
    fn is_over(&mut self, engine: &mut Engine) -> bool;
    /// The counters are about to be shown for good.
    fn finish(&mut self, report: &Report);
}

/// Signals, from now on.
pub struct Watch {
    signals: mpsc::Receiver<i32>,
    stats_json: Option<PathBuf>,
}

impl Watch {
    /// Catches signals. Before the engine starts, so that none is missed.
    pub fn new(stats_json: Option<PathBuf>) -> Result<Self, Failure> {
        let mut caught = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(Failure::Signals)?;
        // A file that may not grow is an error of the write (EFBIG), and not this process's end; nobody looks at the flag.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(Failure::Signals)?;
        let (tell, signals) = mpsc::channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in caught.forever() {
                    if tell.send(signal).is_err() {
                        return;
                    }
                }
            })
            .map_err(Failure::Signals)?;
        Ok(Self { signals, stats_json })
    }

    /// Watches the engine until it has ended; gives the last report.
    pub fn until_the_end(self, mut engine: Engine, duty: &mut dyn Duty) -> Result<Report, Failure> {
        let mut draining_since = None;
        loop {
            match self.signals.recv_timeout(LOOK) {
                Ok(SIGHUP) => duty.reload(&mut engine),
                // A file that cannot be written now is no reason to serve nobody any more; at the end it is told by the status.
                Ok(SIGUSR1) => {
                    if let Err(failure) = self.show(&mut engine) {
                        failure.report();
                    }
                }
                Ok(_) if draining_since.is_none() => {
                    let patience_s = limits::DRAIN_MS / 1000;
                    say::error(&format!("ringmx: stopping; mail data under way may take {patience_s} s"));
                    engine.drain(Duration::from_millis(limits::DRAIN_MS));
                    draining_since = Some(Instant::now());
                }
                // The second time it is meant.
                Ok(_) => engine.drain(Duration::ZERO),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
            }
            // Asked first, so that what the last of them found is told, too.
            let is_over = engine.is_over();
            for alarm in engine.alarms() {
                say::error(&format!("ringmx: ALARM: {alarm}"));
            }
            if draining_since.is_none() && duty.is_over(&mut engine) {
                engine.drain(Duration::from_millis(limits::DRAIN_MS));
                draining_since = Some(Instant::now());
            }
            if is_over {
                break;
            }
        }
        let report = engine.join();
        duty.finish(&report);
        self.write(&report)?;
        Ok(report)
    }

    fn show(&self, engine: &mut Engine) -> Result<(), Failure> {
        let report = engine.report();
        say::out(&(report.table() + &show::sessions(&engine.sessions(SESSIONS_SHOWN))));
        self.write(&report)
    }

    /// Writes the file anew, whole or not at all.
    fn write(&self, report: &Report) -> Result<(), Failure> {
        let Some(path) = &self.stats_json else { return Ok(()) };
        let mut json = serde_json::to_string_pretty(report).expect("numbers and names are JSON");
        json.push('\n');
        let beside = path.with_extension("partial");
        std::fs::write(&beside, json).map_err(Failure::writing(&beside))?;
        std::fs::rename(&beside, path).map_err(Failure::writing(path))
    }
}
