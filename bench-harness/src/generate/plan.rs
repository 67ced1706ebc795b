//! What is asked for, in types that cannot be wrong.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ringmx::reactor::listening::Bind;
use ringmx::smtp::client::{Protocol, Terms};

use super::arguments::{OnTempfail, ProxyVersion, RunArguments};
use super::corpus::Corpus;
use super::login::Login;
use super::people::{Domain, People};
use super::random::Random;
use super::scenario::{self, Scenario};
use super::schedule::{Rate, Spacing, Span};
use super::sizes::Sizes;
use super::target;
use super::witness::Witness;
use crate::failure::Failure;

/// Without --duration and --messages.
const DURATION: Duration = Duration::from_secs(10);

/// Connections from one source address. The usual range has 28,232 ports, of which the kernel looks through one half first: from
/// 20,000 on its search for a free one took two thirds of all time.
const CONNECTIONS_PER_SOURCE: u32 = 8_000;

/// Recipients of generated mail. COST: whom chance picks among 10,000 is not near the processor, which is 0.1 µs of P1's 0.9 for a
/// message; among these it usually is.
const USERS: u32 = 1000;

/// Senders of generated mail.
const SENDERS: usize = 1000;

/// 1 January 2026, from which dates count when there is a seed.
const DATES_FROM_S: u64 = 1_767_225_600;

/// A number from the one to the other, each as often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    least: u32,
    /// The greatest.
    pub most: u32,
}

impl Share {
    /// The next number.
    pub fn draw(self, random: &mut Random) -> u32 {
        if self.least == self.most {
            return self.least;
        }
        self.least + random.below(u64::from(self.most - self.least) + 1) as u32
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no number of recipients, such as 3 or 1-5, up to 100000");
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| (1..=100_000).contains(number));
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        let (least, most) = (number(least).ok_or_else(wrong)?, number(most).ok_or_else(wrong)?);
        if least <= most { Ok(Self { least, most }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most { self.least.fmt(f) } else { write!(f, "{} to {}", self.least, self.most) }
    }
}

/// Where the text of messages comes from.
#[derive(Clone, Debug)]
pub enum Texts {
    /// It is made, in these sizes.
    Generated(Sizes),
    /// It is real.
    Corpus(Corpus),
}

/// A class of messages.
#[derive(Clone, Debug)]
pub struct Class {
    /// How often it is taken in relation to others.
    pub weight: u32,
    /// Its text.
    pub texts: Texts,
    /// Recipients of a message.
    pub recipients: Share,
    /// Octets of a chunk; `None` sends mail data.
    pub chunk_octets: Option<u64>,
}

/// What Date says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// The time.
    Now,
    /// Seconds since 1970 of the first message; a thousand messages later it is a second more.
    From(u64),
}

/// Whether messages wait for each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Loop {
    /// A connection begins the next one when there is room for it.
    Closed,
    /// They come when they come.
    Open(Rate, Spacing),
    /// There are none: connections are held.
    Idle,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: Bind,
    /// As it was written.
    pub target_text: String,
    /// Addresses to come from, in turn.
    pub sources: Vec<Option<IpAddr>>,
    /// Of each session.
    pub terms: Terms,
    /// At a time, of all threads.
    pub connections: usize,
    /// Threads.
    pub threads: usize,
    /// Messages of a connection before it is closed.
    pub messages_per_connection: Option<u64>,
    classes: Vec<Class>,
    weights: u64,
    /// Who mail is from.
    pub senders: People,
    /// Who it is for.
    pub people: People,
    /// Closed or open.
    pub pace: Loop,
    /// Parts of the time that have figures of their own.
    pub spans: Vec<Span>,
    /// Messages in all.
    pub messages: Option<u64>,
    /// Time in all, with the warm-up.
    pub duration: Option<Duration>,
    /// Left out of the figures.
    pub warm_up: Duration,
    /// By which 1 % of the messages may be late by the generator's own fault.
    pub lag_most: Duration,
    /// For a reply.
    pub patience: Duration,
    /// What becomes of what is refused for now.
    pub on_tempfail: OnTempfail,
    /// Decides all that is random.
    pub seed: u64,
    /// What Date says.
    pub dates: Dates,
    /// A header before each connection.
    pub proxy: Option<ProxyVersion>,
    /// XCLIENT on each connection.
    pub xclient: bool,
    /// AUTH on each connection.
    pub login: Option<Login>,
    /// Peers that these name.
    pub peers: u32,
    /// Connections of a thousand that misbehave.
    pub misbehaving_per_thousand: u32,
    /// Whether content is summed.
    pub checksum: bool,
    /// Whether the dialogue is shown.
    pub verbose: bool,
    /// The run that each message says it is of, where it is looked at again behind the server.
    pub stamp: Option<u64>,
    /// Who hears of each message.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Plan {
    /// What the arguments ask for.
    pub fn new(options: &RunArguments) -> Result<Self, Failure> {
        let target = target::resolve(&options.target, options.i_operate.as_deref())?;
        let login = Login::of(options)?;
        if let (Some(_), Bind::Tcp(address)) = (&login, &target)
            && !target::is_private(address.ip())
        {
            let text =
                format!("{} is outside of private address space, and --auth would go there in the clear", address.ip());
            return Err(Failure::Usage(text));
        }
        let Scenario { domains, from_domains, classes } = match &options.scenario {
            Some(file) => scenario::read(file)?,
            None => Scenario {
                domains: options.domains.clone(),
                from_domains: options.sender_domains.clone(),
                classes: vec![class(options)?],
            },
        };
        let usage = |text: String| Failure::Usage(text);
        let protocol = if options.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let terms = Terms {
            pipelining: !options.no_pipelining,
            depth: options.depth,
            resets_between: options.reset_between,
            ..Terms::new(protocol, &options.helo).map_err(|error| usage(format!("--helo: {error}")))?
        };
        let most = classes.iter().map(|class| class.recipients.most).max().unwrap_or(1);
        let users = options.users.unwrap_or(USERS.max(most));
        if most > users {
            return Err(usage(format!("{most} recipients need as many --users at least, and there are {users}")));
        }
        let seed = options.seed.unwrap_or_else(random_seed);
        let connections = if options.once { 1 } else { options.connections };
        let duration = match (options.duration, options.messages) {
            _ if options.once => None,
            (None, None) => Some(DURATION),
            (duration, _) => duration,
        };
        let total = duration.map(|duration| duration + options.warm_up);
        let pace = match &options.rate {
            None if options.idle => Loop::Idle,
            None => Loop::Closed,
            Some(rate) => {
                let seconds = total.unwrap_or(DURATION).as_secs_f64();
                Loop::Open(Rate::parse(rate, seconds).map_err(usage)?, spacing(options))
            }
        };
        let spans = match &pace {
            Loop::Open(rate, _) => rate.spans(total.map(|total| total.as_secs_f64())),
            Loop::Closed | Loop::Idle => Vec::new(),
        };
        let or = |given: Vec<Domain>, name: &str| match given.is_empty() {
            true => vec![Domain { name: name.to_owned(), weight: 1 }],
            false => given,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores } else { usize::from(options.threads) };
        Ok(Self {
            sources: sources(&target, &options.sources, connections),
            target,
            target_text: options.target.clone(),
            terms,
            connections: connections as usize,
            threads: threads.min(connections as usize),
            messages_per_connection: options.messages_per_connection,
            weights: classes.iter().map(|class| u64::from(class.weight)).sum(),
            classes,
            senders: People::new(seed ^ 1, SENDERS, &or(from_domains, "from.example")),
            people: People::new(seed, users as usize, &or(domains, "bench.example")),
            pace,
            spans,
            messages: if options.once { Some(1) } else { options.messages },
            duration: total,
            warm_up: options.warm_up,
            lag_most: options.lag_most,
            patience: options.patience.max(Duration::from_millis(100)),
            on_tempfail: options.on_tempfail,
            seed,
            dates: if options.seed.is_some() { Dates::From(DATES_FROM_S) } else { Dates::Now },
            proxy: options.proxy,
            xclient: options.xclient,
            login,
            peers: options.peers,
            misbehaving_per_thousand: options.misbehave,
            checksum: options.checksum,
            verbose: options.verbose,
            stamp: None,
            witness: None,
        })
    }

    /// The class of the next message.
    pub fn class(&self, random: &mut Random) -> &Class {
        if let [class] = self.classes.as_slice() {
            return class;
        }
        let mut left = random.below(self.weights);
        for class in &self.classes {
            match left.checked_sub(u64::from(class.weight)) {
                Some(rest) => left = rest,
                None => return class,
            }
        }
        &self.classes[0]
    }

    /// The most that a message has.
    pub fn recipients_most(&self) -> u32 {
        self.classes.iter().map(|class| class.recipients.most).max().unwrap_or(1)
    }

    /// All classes.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Connections of a thread.
    pub fn connections_of(&self, thread: usize) -> usize {
        self.connections / self.threads + usize::from(thread < self.connections % self.threads)
    }
}

/// How the arrivals of an open loop follow each other.
pub fn spacing(options: &RunArguments) -> Spacing {
    if options.poisson { Spacing::Poisson } else { Spacing::Constant }
}

fn class(options: &RunArguments) -> Result<Class, Failure> {
    let texts = match options.corpus.as_slice() {
        [] => Texts::Generated(options.size),
        paths => Texts::Corpus(Corpus::read(paths)?),
    };
    let chunk_octets = options.chunk.or(options.bdat.then_some(u64::MAX));
    check(Class { weight: 1, texts, recipients: options.recipients, chunk_octets })
}

/// Mail data ends with CRLF: nothing below two octets can be sent with DATA as it was announced.
pub fn check(class: Class) -> Result<Class, Failure> {
    let least = match &class.texts {
        Texts::Generated(Sizes::Fixed(octets) | Sizes::Uniform(octets, _)) => *octets,
        _ => 2,
    };
    match class.chunk_octets.is_none() && least < 2 {
        true => Err(Failure::Usage("with DATA, content ends with CRLF: its size is 2 at least".to_owned())),
        false => Ok(class),
    }
}

fn sources(target: &Bind, given: &[IpAddr], connections: u32) -> Vec<Option<IpAddr>> {
    let v4_loopback = matches!(target, Bind::Tcp(address) if address.is_ipv4() && address.ip().is_loopback());
    match given {
        [] if v4_loopback && connections > CONNECTIONS_PER_SOURCE => (1..=connections.div_ceil(CONNECTIONS_PER_SOURCE))
            .map(|number| Some(IpAddr::V4(Ipv4Addr::new(127, 0, 1, number as u8))))
            .collect(),
        [] => vec![None],
        given => given.iter().copied().map(Some).collect(),
    }
}

/// From the randomness that every hash map is made with.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A list of paths, for the scenario.
pub fn corpus(paths: &[PathBuf]) -> Result<Texts, Failure> {
    Corpus::read(paths).map(Texts::Corpus)
}
