//! The engine as a child of this program's own: what `ringmx sink` is, without a second program. So a comparison needs nothing
//! else to be built, and what is measured is of the commit that the heading names.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringmx::config::{Plan, SinkOptions};
use ringmx::engine::Engine;
use ringmx::limits;
use ringmx::metrics::report::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use crate::arguments::EngineArguments;
use crate::ceiling::serving;
use crate::failure::Failure;
use crate::measure::descriptors;

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Descriptors of a shard beside those of its connections.
const DESCRIPTORS_SPARE: u64 = 256;

/// The command `engine`: serves until SIGTERM, or until standard input ends with whoever started it; counters are written on SIGUSR1 and at the end.
pub fn serve(options: &EngineArguments) -> Result<(), Failure> {
    // Rings count against locked memory.
    let locked = getrlimit(Resource::Memlock);
    let _ = setrlimit(Resource::Memlock, Rlimit { current: locked.maximum, maximum: locked.maximum });
    descriptors::raise(u64::from(options.connections) + DESCRIPTORS_SPARE)?;
    let flag = |signals: &[i32]| -> Result<Arc<AtomicBool>, Failure> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in signals {
            signal_hook::flag::register(*signal, raised.clone())
                .map_err(Failure::while_doing("cannot listen for signals"))?;
        }
        Ok(raised)
    };
    let (stop, show) = (flag(&[SIGTERM, SIGINT])?, flag(&[SIGUSR1])?);
    let orphaned = stop.clone();
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            serving::wait_for_the_end();
            orphaned.store(true, Ordering::Relaxed);
        })
        .map_err(Failure::while_doing("cannot start a thread"))?;
    let plan = match &options.config {
        Some(path) => Plan::load(path),
        None => Plan::sink(SinkOptions {
            binds: vec![options.bind.clone()],
            shards: options.shards,
            connections_per_shard: options.connections,
            disk: options.data_dir.clone().filter(|_| options.disk),
            ..SinkOptions::default()
        }),
    };
    let plan = plan.map_err(|errors| Failure::Usage(errors.to_string()))?;
    let mut engine = Engine::start(plan, false).map_err(|error| Failure::Unavailable(error.to_string()))?;
    for (_, bind) in engine.listening() {
        println!("ringmx-bench: ready on {bind}");
    }
    while !stop.load(Ordering::Relaxed) && !engine.is_over() {
        if show.swap(false, Ordering::Relaxed) {
            write(&engine.report(), options.stats_json.as_deref())?;
        }
        std::thread::sleep(LOOK);
    }
    engine.drain(Duration::from_millis(limits::DRAIN_MS));
    write(&engine.join(), options.stats_json.as_deref())
}

/// The file is put in place whole, as by ringmx itself.
fn write(report: &Report, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let json = serde_json::to_string_pretty(report).map_err(Failure::while_doing("cannot write the counters"))?;
    let beside = path.with_extension("partial");
    std::fs::write(&beside, json)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(Failure::while_doing("cannot write the counters"))
}
