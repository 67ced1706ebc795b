//! `run`: the load generator, on the engine's reactor and the engine's own client session.
//!
//! `plan` is what is asked for (`arguments`, `scenario`, `target`, `login`, `sizes`, `people`, `assertion` read it) · `content` makes
//! message n (`corpus` has real ones, `random` decides) · `schedule` says when messages are meant to be sent, `supply` which is
//! next · `talk` is one session, `worker` a thread of them with its ring, `gate` what threads share · `tally` is what is true,
//! `ledger` whether the server says so too, `figures` what it comes to (`steps`: in each step of a rate), `report` how it is
//! told. `load` is all of this for other commands of this program, `rehearsal` what a connection will say; `witness` is for who
//! follows messages further.
//!
//! *Invariants*: nothing is allocated for a message in the steady state. Every message that was begun ends as one outcome. A
//! run whose ledgers disagree has no figure, nor has one whose generator was saturated.

pub mod arguments;
pub mod assertion;
mod content;
mod corpus;
pub mod figures;
mod gate;
mod ledger;
pub mod load;
mod login;
pub mod merge;
mod people;
pub mod plan;
mod random;
pub mod rehearsal;
pub mod report;
pub mod scenario;
mod schedule;
mod search;
mod sizes;
#[cfg(test)]
mod steady;
mod steps;
mod supply;
mod talk;
mod tally;
mod target;
pub mod witness;
mod worker;

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ringmx::handoff::mailbox;
use ringmx::reactor::buffers::GroupShape;
use ringmx::reactor::ring::{Ring, RingOptions};

use crate::compare::stats::Stats;
use crate::failure::Failure;
use crate::measure::descriptors;
use crate::measure::network::Network;
use crate::measure::processor::ProcessTime;
use arguments::RunArguments;
use assertion::{Assertion, Figure};
use content::Maker;
use figures::Figures;
use gate::Gate;
use ledger::{Book, Verdict};
use plan::{Loop, Plan};
use report::Second;
use schedule::Rate;
use tally::Counts;
use worker::{Outcome, Parts, Snapshot, Worker};

/// Receive buffers of a thread: replies are short, and read at once.
const BUFFERS: GroupShape = GroupShape { buffer_octets: 16 * 1024, buffers: 256 };

/// Descriptors beside those of a thread's connections.
const DESCRIPTORS_SPARE: u64 = 256;

/// How often signals are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All was sent, or the time was over.
    Done,
    /// Somebody has stopped it.
    Interrupted,
    /// A condition has.
    Aborted,
    /// The server is gone for good.
    Gone,
}

/// What whoever started a run may see of it and say to it meanwhile.
#[derive(Debug, Default)]
struct Reins {
    is_open: AtomicBool,
    is_over: AtomicBool,
}

impl Reins {
    /// Whether all connections were opened, or tried.
    fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// It is to end as if its time were over.
    fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// The command `run`.
pub fn run(options: &RunArguments) -> Result<(), Failure> {
    if let Some(assertion) = options.assertions.iter().chain(&options.slo).find(|assertion| assertion.is_of_delivery())
    {
        return Err(Failure::Usage(format!("'{assertion}' is known behind the server only: use `through`")));
    }
    let plan = Plan::new(options)?;
    let writes_json_only = options.json.as_deref() == Some(Path::new("-"));
    if !writes_json_only && !options.once {
        print!("{}", report::heading(&plan));
    }
    let (mut figures, end, verdict) = match options.find_max {
        true => find_max(&plan, options)?,
        false => measure(&plan, options)?,
    };
    if let Verdict::Fails(failure) = &verdict {
        // What was counted is told, but no figure.
        figures.void = Some(failure.to_string());
    }
    tell(&plan, options, &mut figures, verdict.words(), end != End::Done)?;
    if let Verdict::Fails(failure) = verdict {
        return Err(failure);
    }
    match end {
        End::Done => {}
        End::Interrupted => return Err(Failure::Interrupted),
        End::Aborted => {
            let conditions: Vec<String> = options.abort_on.iter().map(Assertion::to_string).collect();
            return Err(Failure::Aborted(conditions.join(", ")));
        }
        End::Gone => return Err(Failure::Unavailable(figures.gone.unwrap_or_default())),
    }
    if let Some(why) = figures.saturated {
        return Err(Failure::Saturated(why));
    }
    let failing = figures.failing(&options.assertions);
    if failing.is_empty() { Ok(()) } else { Err(Failure::Assertion(failing.join("; "))) }
}

/// Looks for the highest rate at which everything that --slo says holds, and gives the run that kept it. The first guess is
/// what a closed loop reaches.
fn find_max(plan: &Plan, options: &RunArguments) -> Result<Measured, Failure> {
    let (figures, ..) = measured(plan, options)?;
    let guess = figures.rate();
    eprintln!("a closed loop reaches {guess:.0} messages/s");
    let mut best = None;
    let found = search::highest(guess, |rate| {
        let mut plan = plan.clone();
        plan.pace = Loop::Open(Rate::level(rate), plan::spacing(options));
        let mut run = measured(&plan, options)?;
        let figures = &mut run.0;
        let mut why = figures.failing(&options.slo);
        if figures.is_behind() {
            why.push("the rate was not reached".to_owned());
        }
        why.extend(figures.saturated.iter().map(|text| format!("the generator was saturated: {text}")));
        let keeps = why.is_empty();
        eprintln!("{rate:>12.0} messages/s: {}", if keeps { "kept".to_owned() } else { why.join("; ") });
        if keeps {
            best = Some(run);
        }
        Ok(keeps)
    })?;
    match (found, best) {
        (Some(rate), Some(run)) => {
            eprintln!("the highest rate that keeps it is {rate:.0} messages/s:\n");
            Ok(run)
        }
        _ => Err(Failure::Assertion(format!("no rate keeps it; {guess:.0} messages/s were tried first"))),
    }
}

/// A run that has come to its end, and whose ledgers do not disagree.
fn measured(plan: &Plan, options: &RunArguments) -> Result<Measured, Failure> {
    match measure(plan, options)? {
        (_, _, Verdict::Fails(failure)) => Err(failure),
        done @ (_, End::Done, _) => Ok(done),
        (figures, End::Gone, _) => Err(Failure::Unavailable(figures.gone.unwrap_or_default())),
        _ => Err(Failure::Interrupted),
    }
}

fn tell(
    plan: &Plan,
    options: &RunArguments,
    figures: &mut Figures,
    ledger: &str,
    is_partial: bool,
) -> Result<(), Failure> {
    if let Some(path) = &options.json {
        let json = report::json(plan, figures, ledger, is_partial);
        writeln!(report::open(path)?, "{json}").map_err(Failure::while_doing("cannot write the report"))?;
    }
    if options.json.as_deref() != Some(Path::new("-")) && !plan.verbose {
        print!("{}", report::table(figures, ledger, is_partial));
    }
    Ok(())
}

/// Figures, how the run ended, and whether the ledgers agree.
pub type Measured = (Figures, End, Verdict);

/// One run, with what surrounds it: the server's counters and account, the network's.
pub fn measure(plan: &Plan, options: &RunArguments) -> Result<Measured, Failure> {
    // Sockets are the rings' and not the process's, but no ring may have more than a process.
    descriptors::raise(plan.connections_of(0) as u64 + DESCRIPTORS_SPARE)?;
    let server = options.server_stats.as_deref().zip(options.server_pid);
    let look = || server.map(|(path, pid)| Stats::ask(path, pid)).transpose();
    let before = look()?;
    let account = |pid| ProcessTime::of(pid).map_err(Failure::while_doing("cannot read the server's account"));
    let account_before = options.server_pid.map(account).transpose()?;
    let network_before = Network::read();

    let (outcomes, end) = perform(plan, options, &Reins::default())?;

    let mut figures = Figures::new(plan, outcomes);
    let end = if end == End::Done && figures.gone.is_some() { End::Gone } else { end };
    // A process that has ended has no account.
    let account_after = options.server_pid.and_then(|pid| account(pid).ok());
    figures.server_ns = account_before.zip(account_after).map(|(before, after)| after.since_ns(before).0);
    figures.warnings.extend(Network::read().since(network_before).warnings());
    let after = match look() {
        Ok(after) => after,
        Err(failure) => {
            let accepted = figures.tally.counts.accepted;
            let text =
                format!("{failure}; whether the {accepted} messages that were accepted are there cannot be known");
            return Ok((figures, end, Verdict::Fails(Failure::Disagreement(text))));
        }
    };
    let counted = after.zip(before).map(|(after, before)| after.since(&before));
    figures.warnings.extend(counted.as_ref().and_then(|counted| figures::uneven_shards(plan, counted.unevenness())));
    let verdict = ledger::compare(&figures.tally, counted.as_ref(), plan.checksum);
    figures.checksums_agree = matches!(verdict, Verdict::Agrees { with_checksums: true });
    if plan.checksum && matches!(verdict, Verdict::Agrees { with_checksums: false }) {
        let text = "checksums were not compared: some of the messages whose reply never came have arrived, and not all";
        figures.warnings.push(text.to_owned());
    }
    Ok((figures, end, verdict))
}

/// Runs the threads, and shows what they tell meanwhile.
fn perform(plan: &Plan, options: &RunArguments, reins: &Reins) -> Result<(Vec<Outcome>, End), Failure> {
    let pool = content::pool(plan.seed);
    let (senders, recipients) = (plan.senders.senders(), plan.people.recipients(plan.recipients_most()));
    let gate = Gate::new(plan.threads);
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(Failure::while_doing("cannot listen for signals"))?;
    }
    let book = options.ledger.as_deref().map(Book::create).transpose()?;
    let mut progress = Progress::new(plan, options)?;
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let mut threads = Vec::new();
        for number in 0..plan.threads {
            let (tell, gate) = (tell.clone(), &gate);
            let maker = Maker::new(plan, pool, &senders, &recipients);
            let page = book.as_ref().map(|book| book.page(plan.seed));
            let work = move || -> Result<Outcome, Failure> {
                #[cfg(test)]
                crate::allocations::count_here();
                let options = RingOptions {
                    groups: vec![BUFFERS],
                    ..RingOptions::for_sockets(plan.connections_of(number) as u32)
                };
                let (_, _, wake) = mailbox::mailbox::<()>().map_err(Failure::while_doing("cannot make an eventfd"))?;
                let ring = Ring::new(&options, wake).map_err(|error| Failure::Unavailable(error.to_string()))?;
                // Timers of an open loop are to fire when they are meant to; it is only a wish.
                let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
                Worker::new(Parts { plan, thread: number, ring, maker, gate, tell, page })?.run()
            };
            let spawned = thread::Builder::new().name(format!("load-{number}")).spawn_scoped(scope, work);
            threads.push(spawned.map_err(Failure::while_doing("cannot start a thread"))?);
        }
        drop(tell);
        let end = progress.watch(&told, &gate, &interrupted, reins);
        let joined = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::System("a thread of the generator has panicked".to_owned())))
        });
        let outcomes: Result<Vec<_>, _> = joined.collect();
        Ok((outcomes?, end?))
    })
}

/// What is shown and written while a run goes on.
struct Progress<'p> {
    options: &'p RunArguments,
    threads: usize,
    ndjson: Option<Box<dyn Write>>,
    shows: bool,
    /// The last counts of every thread, by which its next ones are more.
    earlier: Vec<Counts>,
    /// Seconds that some threads have told of, and how many.
    open: VecDeque<(Second, usize)>,
}

impl<'p> Progress<'p> {
    fn new(plan: &Plan, options: &'p RunArguments) -> Result<Self, Failure> {
        let is_taken = |path: &Option<std::path::PathBuf>| path.as_deref() == Some(Path::new("-"));
        Ok(Self {
            options,
            threads: plan.threads,
            ndjson: options.ndjson.as_deref().map(report::open).transpose()?,
            shows: std::io::stdout().is_terminal()
                && !is_taken(&options.json)
                && !is_taken(&options.ndjson)
                && !plan.verbose
                // Whoever follows messages further shows more.
                && plan.witness.is_none(),
            earlier: vec![Counts::default(); plan.threads],
            open: VecDeque::new(),
        })
    }

    /// Until every thread is done.
    fn watch(
        &mut self,
        told: &Receiver<Snapshot>,
        gate: &Gate,
        interrupted: &AtomicBool,
        reins: &Reins,
    ) -> Result<End, Failure> {
        let mut end = End::Done;
        loop {
            match told.recv_timeout(LOOK) {
                Ok(snapshot) => {
                    if self.take(snapshot)? && end == End::Done {
                        end = End::Aborted;
                        gate.stop();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            reins.is_open.store(gate.start().is_some(), Ordering::Release);
            if reins.is_over.load(Ordering::Acquire) {
                gate.finish();
            }
            if interrupted.load(Ordering::Relaxed) && end == End::Done {
                end = End::Interrupted;
                gate.stop();
            }
        }
        // Threads end when they are done: not all have told of the last second.
        while let Some((second, _)) = self.open.pop_front() {
            self.show(&second)?;
        }
        Ok(end)
    }

    /// Adds what a thread tells of a second, and shows the second when all have. Returns whether the run is to be stopped.
    fn take(&mut self, snapshot: Snapshot) -> Result<bool, Failure> {
        let Snapshot { thread, second, counts, interval } = snapshot;
        let more = counts.since(&self.earlier[thread]);
        self.earlier[thread] = counts;
        if !self.open.iter().any(|(open, _)| open.number == second) {
            self.open.push_back((Second::new(second), 0));
        }
        if let Some((open, threads)) = self.open.iter_mut().find(|(open, _)| open.number == second) {
            open.counts.add(&more);
            // All histograms have the same bounds.
            let _ = open.times.add(&interval);
            *threads += 1;
        }
        while let Some((_, threads)) = self.open.front()
            && *threads == self.threads
            && let Some((second, _)) = self.open.pop_front()
        {
            self.show(&second)?;
        }
        let mut sum = Counts::default();
        self.earlier.iter().for_each(|counts| sum.add(counts));
        let holds = |condition: &Assertion| match condition.figure {
            Figure::Count(name) => condition.holds(sum.value_of(name) as f64),
            _ => false,
        };
        Ok(self.options.abort_on.iter().any(holds))
    }

    fn show(&mut self, second: &Second) -> Result<(), Failure> {
        if let Some(ndjson) = &mut self.ndjson {
            writeln!(ndjson, "{}", second.json()).map_err(Failure::while_doing("cannot write a line of JSON"))?;
        }
        if self.shows {
            print!("{}", second.row());
        }
        Ok(())
    }
}
