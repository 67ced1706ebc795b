//! The threads of the sinks: started with the engine, and ended when the shards have ended and all is delivered.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{DeliveryLog as LogTarget, Plan, SinkKind, SinkPlan};
use crate::engine::EngineError;
use crate::engine::data_dir::DataDir;
use crate::engine::spooling::{self, Spooling};
use crate::handoff::consumer::{Deliveries, Outlook};
use crate::handoff::exchange::{ExchangeOptions, connect};
use crate::handoff::sleep::Bell;
use crate::limits;
use crate::metrics::report::{Number, SinkReport};
use crate::metrics::sinks::SinkFigures;
use crate::sink::Sink;
use crate::sink::blackhole::Blackhole;
use crate::sink::kept::Kept;
use crate::sink::log::{Counts, DeliveryLog, Target};
use crate::sink::maildir::Maildir;
use crate::sink::trouble::Trouble;
use crate::sink::worker::Worker;
use crate::spool::intake::Spooler;
use crate::spool::options::SpoolOptions;
use crate::spool::recovery::Progress;

/// What the program that embeds the library consumes: by the name of the sink, and for each of its threads.
pub type Consumers = BTreeMap<String, Vec<Deliveries>>;

/// A sink as often as it is asked for: once for each of its threads.
fn sinks(plan: &SinkPlan, parts: usize) -> Result<Vec<Box<dyn Sink>>, EngineError> {
    Ok(match &plan.kind {
        SinkKind::Blackhole | SinkKind::Program => (0..parts).map(|_| Box::new(Blackhole) as Box<dyn Sink>).collect(),
        SinkKind::Maildir(options) => {
            let failed = |error| EngineError::Sink { name: plan.name.clone(), error };
            let first = Maildir::open(options.clone()).map_err(failed)?;
            let others = (1..parts).map(|_| first.another()).collect::<Result<Vec<_>, _>>().map_err(failed)?;
            std::iter::once(first).chain(others).map(|sink| Box::new(sink) as Box<dyn Sink>).collect()
        }
    })
}

/// A thread of a sink.
#[derive(Debug)]
struct Thread {
    handle: JoinHandle<()>,
    outlook: Outlook,
    figures: Arc<SinkFigures>,
}

/// The sinks of an engine.
#[derive(Debug, Default)]
pub(super) struct Workers {
    threads: Vec<Thread>,
    /// By sink.
    figures: Vec<(String, Vec<Arc<SinkFigures>>)>,
    /// They shall end at once.
    hurry: Arc<AtomicBool>,
    log: Option<DeliveryLog>,
    spooling: Option<Spooling>,
    data_dir: Option<DataDir>,
}

/// What came of them.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) sinks: Vec<SinkReport>,
    pub(super) log: Vec<Number>,
    pub(super) spool: Vec<Number>,
}

impl Workers {
    /// Starts the sinks of a plan, for shards that are woken by these. Gives an intake for each shard, and what the program
    /// consumes itself.
    pub(super) fn start(
        plan: &Plan,
        bells: Vec<Bell>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Self, Vec<Spooler>, Consumers), EngineError> {
        let mut workers = Self::default();
        let (mut node, mut epoch) = (0, 0);
        if !plan.sinks().is_empty() || plan.chains().any() {
            let data_dir = DataDir::open(plan.data_dir())?;
            (node, epoch) = (data_dir.node(), data_dir.epoch());
            let target = match &plan.log().deliveries {
                LogTarget::File(path) => Some(Target::File(path.clone())),
                LogTarget::Stderr => Some(Target::Stderr),
                LogTarget::None => None,
            };
            let bound = plan.log().deliveries_bytes;
            workers.log = target.map(|target| DeliveryLog::open(target, bound)).transpose()?;
            workers.data_dir = Some(data_dir);
        }
        let consumers = vec![plan.sink_threads().get(); plan.sinks().len()];
        let options = ExchangeOptions { node, epoch, shards: bells, consumers, ..ExchangeOptions::default() };
        let (gathers, mut deliveries) = connect(&options).map_err(io::Error::from)?;
        let (spoolers, spooling) =
            spooling::start(plan, workers.data_dir.as_ref(), gathers, &mut deliveries, progress)?;
        workers.spooling = spooling;
        let mut consumed = Consumers::new();
        for (sink, mut parts) in plan.sinks().iter().zip(deliveries) {
            if sink.kind == SinkKind::Program {
                workers.keep_refused(plan, sink, &mut parts)?;
                consumed.insert(sink.name.clone(), parts);
            } else {
                workers.start_sink(plan, sink, parts)?;
            }
        }
        Ok((workers, spoolers, consumed))
    }

    /// What a program refuses of spooled mail is kept as it is for sinks.
    fn keep_refused(&self, plan: &Plan, sink: &SinkPlan, parts: &mut [Deliveries]) -> Result<(), EngineError> {
        let Some(spooling) = &self.spooling else { return Ok(()) };
        let threads = parts.len();
        for (part, deliveries) in parts.iter_mut().enumerate() {
            let settlement = spooling.settlement(&sink.name, part, threads, plan.spool())?;
            let trouble = Trouble::new(sink.name.clone(), spooling.findings());
            deliveries.keep_refused(Box::new(Kept::new(settlement, trouble)));
        }
        Ok(())
    }

    fn start_sink(&mut self, plan: &Plan, sink: &SinkPlan, parts: Vec<Deliveries>) -> Result<(), EngineError> {
        let mut all = Vec::new();
        let threads = parts.len();
        let sinks = sinks(sink, threads)?;
        let SinkPlan { name, .. } = sink;
        for (part, (deliveries, sink)) in parts.into_iter().zip(sinks).enumerate() {
            let figures = Arc::new(SinkFigures::default());
            all.push(Arc::clone(&figures));
            let (outlook, counted) = (deliveries.outlook(), Arc::clone(&figures));
            let spooling = self.spooling.as_ref();
            let settlement =
                spooling.map(|spooling| spooling.settlement(name, part, threads, plan.spool())).transpose()?;
            let worker = Worker {
                name: name.clone(),
                deliveries,
                sink,
                figures,
                log: self.log.as_ref().map(DeliveryLog::handle),
                hurry: Arc::clone(&self.hurry),
                settlement,
                trouble: Trouble::new(name.clone(), spooling.map(Spooling::findings).unwrap_or_default()),
            };
            let thread = std::thread::Builder::new().name(format!("{name}-{part}"));
            let handle = thread.spawn(|| worker.run())?;
            self.threads.push(Thread { handle, outlook, figures: counted });
        }
        self.figures.push((name.clone(), all));
        Ok(())
    }

    /// Whether every one has ended, or was told to end at once.
    pub(super) fn are_over(&self) -> bool {
        self.hurry.load(Ordering::Relaxed) || self.threads.iter().all(|thread| thread.handle.is_finished())
    }

    /// They end at once, whatever is left.
    pub(super) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// What they did.
    pub(super) fn reports(&self) -> Vec<SinkReport> {
        let report =
            |(name, all): &(String, Vec<Arc<SinkFigures>>)| SinkReport::new(name, all.iter().map(|one| &**one));
        self.figures.iter().map(report).collect()
    }

    /// What the spool is like; nothing without one.
    pub(super) fn spool_report(&self) -> Vec<Number> {
        self.spooling.as_ref().map_or_else(Vec::new, Spooling::report)
    }

    /// Other options are in force, of the same spool.
    pub(super) fn heed(&self, options: &SpoolOptions) {
        self.spooling.iter().for_each(|spooling| spooling.heed(options));
    }

    /// What an operator must know, since this was asked.
    pub(super) fn alarms(&self) -> Vec<String> {
        self.spooling.as_ref().map_or_else(Vec::new, Spooling::alarms)
    }

    /// What the log came to.
    pub(super) fn log_counts(&self) -> Vec<Number> {
        self.log.as_ref().map_or_else(Vec::new, |log| numbers(log.handle().counts()))
    }

    /// Waits for their end; gives what they did, and what the log and the spool came to. One that hangs in its sink is left to hang
    /// when it was told to end at once.
    pub(super) fn join(mut self) -> Ended {
        let (begun, patience) = (Instant::now(), Duration::from_millis(limits::HURRY_MS));
        for Thread { handle, outlook, figures } in std::mem::take(&mut self.threads) {
            let is_given_up = || self.hurry.load(Ordering::Relaxed) && begun.elapsed() > patience;
            while !handle.is_finished() && !is_given_up() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if handle.is_finished() {
                // A panic of a sink is caught by its worker; one of the worker's own has been told by its hook.
                let _ = handle.join();
            } else {
                // It hangs, and counts nothing any more.
                figures.left_behind.add(outlook.promised());
            }
        }
        let log = self.log.take().map_or_else(Vec::new, |log| numbers(log.close()));
        Ended { sinks: self.reports(), log, spool: self.spool_report() }
    }
}

fn numbers(counts: Counts) -> Vec<Number> {
    let Counts { lines_written, lines_lost, write_errors } = counts;
    let named = [("lines_written", lines_written), ("lines_lost", lines_lost), ("write_errors", write_errors)];
    named.map(|(name, value)| Number { name, value }).into()
}
