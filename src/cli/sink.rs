//! `ringmx sink`: a load-test sink without any file.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringmx::config::{Plan, Protocol, SinkOptions};
use ringmx::engine::Engine;
use ringmx::metrics::report::{self, Report};
use ringmx::policy::decision::{AcceptAll, Policy};
use ringmx::policy::script::Script;

use super::arguments::SinkArguments;
use super::failure::Failure;
use super::progress::Progress;
use super::watch::{Duty, Watch};
use super::{say, show};

/// Starts the sink, shows what comes, and stops when it is told or has had enough.
pub fn sink(options: &SinkArguments) -> Result<(), Failure> {
    let delay_ms = options.delay.map_or(0, |delay| delay.as_millis() as u64);
    let policy: Arc<dyn Policy> = match (options.reject.is_empty(), delay_ms) {
        (true, 0) => Arc::new(AcceptAll),
        _ => Arc::new(Script { refusals: options.reject.clone(), delay_ms }),
    };
    let plan = Plan::sink(SinkOptions {
        binds: options.addresses.clone(),
        protocol: if options.lmtp { Protocol::Lmtp } else { Protocol::Smtp },
        proxy_protocol: options.proxy_protocol,
        checksum: options.checksum,
        policy,
        shards: options.shards,
        connections_per_shard: options.connections,
        discards_mail: options.discards_mail,
        disk: options.disk.then(|| options.data_dir.clone()),
        keeps_envelope: false,
    })?;
    let watch = Watch::new(options.stats_json.clone())?;
    say::out(&show::plan(&plan));
    for rule in &options.reject {
        say::out(&format!("  {:<38} {rule}\n", "refuses"));
    }
    if delay_ms > 0 {
        say::out(&format!("  {:<38} {delay_ms} ms\n", "delays the end of mail data by"));
    }
    let engine = {
        let progress = Progress::new();
        Engine::start_watched(plan, options.takeover, &mut |read| progress.show(read.octets, read.of))?
    };
    say::out(&show::started(&engine));
    let mut duty = Sinking {
        count: options.count,
        until: options.for_time.map(|time| Instant::now() + time),
        ticker: std::io::stdout().is_terminal().then(Ticker::new),
    };
    watch.until_the_end(engine, &mut duty)?;
    Ok(())
}

struct Sinking {
    count: Option<u64>,
    until: Option<Instant>,
    ticker: Option<Ticker>,
}

impl Duty for Sinking {
    fn reload(&mut self, _: &mut Engine) {
        say::error("ringmx: a sink has no configuration file to read again");
    }

    fn is_over(&mut self, engine: &mut Engine) -> bool {
        if let Some(ticker) = &mut self.ticker {
            ticker.tick(engine);
        }
        let counted = self.count.is_some_and(|most| engine.total(|counters| counters.messages.get()) >= most);
        counted || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn finish(&mut self, report: &Report) {
        say::out(&report.table());
    }
}

/// A line each second, for somebody who looks on.
struct Ticker {
    next: Instant,
    lines: u32,
    messages: u64,
    octets: u64,
}

impl Ticker {
    fn new() -> Self {
        Self { next: Instant::now() + Duration::from_secs(1), lines: 0, messages: 0, octets: 0 }
    }

    fn tick(&mut self, engine: &mut Engine) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let late = (now - self.next).as_secs_f64();
        self.next = now + Duration::from_secs(1);
        let report = engine.report();
        let (messages, octets) = (report.total("messages"), report.total("message_octets"));
        let per_second = |more: u64| (more as f64 / (1.0 + late)) as u64;
        if self.lines.is_multiple_of(20) {
            say::out(&row(["messages/s", "content/s", "sessions", "messages", "p99 reply"].map(str::to_owned)));
        }
        self.lines += 1;
        let p99 = report.quantiles("end_to_reply_ns").filter(|times| times.count > 0).map(|times| times.p99);
        say::out(&row([
            report::grouped(per_second(messages - self.messages)),
            report::size(per_second(octets - self.octets)),
            report::grouped(report.total("connections_open")),
            report::grouped(messages),
            p99.map_or("-".to_owned(), report::time),
        ]));
        (self.messages, self.octets) = (messages, octets);
    }
}

fn row([messages_a_second, octets_a_second, sessions, messages, p99]: [String; 5]) -> String {
    format!("{messages_a_second:>14} {octets_a_second:>14} {sessions:>10} {messages:>16} {p99:>12}\n")
}
