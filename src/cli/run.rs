//! `ringmx`: serves a configuration until it is told to stop.

use std::path::PathBuf;

use ringmx::engine::Engine;
use ringmx::metrics::report::Report;

use super::arguments::Arguments;
use super::failure::Failure;
use super::progress::Progress;
use super::watch::{Duty, Watch};
use super::{read, say, show};

/// Starts, says what runs, and serves.
pub fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let plan = read::plan(arguments.config.as_deref())?;
    let watch = Watch::new(arguments.stats_json.clone())?;
    say::out(&show::plan(&plan));
    let engine = {
        let progress = Progress::new();
        Engine::start_watched(plan, arguments.takeover, &mut |read| progress.show(read.octets, read.of))?
    };
    say::out(&show::started(&engine));
    let report = watch.until_the_end(engine, &mut Serving { config: arguments.config.clone() })?;
    match report.total_of_sinks("left_behind") {
        0 => Ok(()),
        messages => Err(Failure::LeftBehind(messages)),
    }
}

struct Serving {
    config: Option<PathBuf>,
}

impl Duty for Serving {
    fn reload(&mut self, engine: &mut Engine) {
        let Some(path) = &self.config else {
            say::error("ringmx: there is no configuration file to read again");
            return;
        };
        let reloaded = read::plan(Some(path)).and_then(|plan| Ok(engine.reload(plan)?));
        match reloaded {
            Ok(()) => say::out(&format!("ringmx: read {} again\n{}", path.display(), show::plan(engine.plan()))),
            Err(error) => say::error(&format!("{error}\nringmx: the old configuration stays in force")),
        }
    }

    fn is_over(&mut self, _: &mut Engine) -> bool {
        false
    }

    fn finish(&mut self, report: &Report) {
        say::out(&report.table());
    }
}
