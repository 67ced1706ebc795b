//! The truth about a run: what was offered, tried and answered, and how long it took.
//!
//! *Invariants*: every message that was begun ends as exactly one of the outcomes. Histograms have three significant digits,
//! and the same bounds everywhere, so that those of threads, and of machines, add up exactly.

use hdrhistogram::Histogram;
use ringmx::reactor::io::Time;
use ringmx::smtp::client::{Awaited, Code, Fault};

use super::steps::Steps;

/// Longest time that is told apart, in ns: ten minutes, RFC 5321's longest patience.
const LONGEST_NS: u64 = 600_000_000_000;

macro_rules! counts {
    ($($(#[$help:meta])* $name:ident,)*) => {
        /// Plain counts.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$help])* pub $name: u64,)*
        }

        impl Counts {
            /// Adds another's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name = self.$name.wrapping_add(other.$name);)*
            }

            /// What was counted since an earlier look.
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }

            /// Each with its name.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// The place of a name.
            pub fn by_name(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

counts! {
    /// Messages whose time came, in an open loop; what was begun, in a closed one.
    offered,
    /// Transactions begun, each try for itself.
    attempted,
    /// Messages that the server took over.
    accepted,
    /// Octets of their content.
    accepted_octets,
    /// Recipients that it took them over for.
    accepted_recipients,
    /// Sum of their CRC32C, where that was asked for.
    checksum_sum,
    /// Transactions refused with 4yz.
    tempfailed,
    /// Transactions refused with 5yz.
    refused,
    /// Transactions that the connection's end cut off before all of the content was out: the server has not got them.
    reset,
    /// Transactions that the connection's end cut off between the end of data and its reply: the server may have them.
    undecided,
    /// Transactions that were cut off because the server said nothing for too long.
    timed_out,
    /// Octets of content of those that may have arrived.
    undecided_octets,
    /// Sum of their CRC32C.
    undecided_checksum_sum,
    /// Tries that were put off after a 4yz or a cut, to be made again.
    retried,
    /// Messages that were not begun because the server does not take them: their size, its limits.
    unsendable,
    /// Recipients that were left out because the server limits their number.
    recipients_cut,
    /// Connections tried.
    connects,
    /// Connections that could not be made.
    connects_failed,
    /// Of these: no port was left to come from.
    ports_exhausted,
    /// Connections that were refused with the greeting or at EHLO.
    sessions_refused,
    /// Sessions that the server closed with 421 when nothing was asked.
    sessions_closed,
    /// Sessions ended by something that no server may say.
    faults,
    /// Of these: a reply that nobody had asked for, or that came before what it answers.
    replies_out_of_turn,
    /// Sessions that were ended because the server said nothing for too long.
    sessions_timed_out,
    /// Connections that were made to misbehave.
    misbehaved,
    /// Octets sent.
    octets_sent,
    /// Sends that they went out with.
    sends,
    /// Octets of replies.
    octets_received,
}

impl Counts {
    /// The count of this name; 0 where there is none.
    pub fn value_of(mut self, name: &str) -> u64 {
        self.by_name(name).copied().unwrap_or(0)
    }
}

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Timed {
    /// From the connect to its success.
    Connect,
    /// From there to the greeting.
    Greeting,
    /// From EHLO to its reply.
    Hello,
    /// From MAIL to its reply.
    Mail,
    /// From RCPT to its reply.
    Rcpt,
    /// From DATA to 354.
    Data,
    /// From the end of data to its reply.
    EndOfData,
    /// The same, and the time by which the message was begun too late.
    EndOfDataCorrected,
    /// From the beginning of a message to the last reply.
    Message,
    /// From the time at which it was meant to begin. In a closed loop that is when it began.
    MessageCorrected,
    /// From the time at which a message was meant to begin to its beginning.
    Lag,
    /// The part of that for which the generator is to blame: there was a connection with room.
    OwnLag,
}

impl Timed {
    /// All, with the names that reports and assertions use.
    pub const ALL: [(Self, &'static str); 12] = [
        (Self::Connect, "connect"),
        (Self::Greeting, "greeting"),
        (Self::Hello, "ehlo"),
        (Self::Mail, "mail"),
        (Self::Rcpt, "rcpt"),
        (Self::Data, "data"),
        (Self::EndOfData, "end_of_data_uncorrected"),
        (Self::EndOfDataCorrected, "end_of_data"),
        (Self::Message, "message_uncorrected"),
        (Self::MessageCorrected, "message"),
        (Self::Lag, "lag"),
        (Self::OwnLag, "own_lag"),
    ];
}

/// An empty histogram.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid")
}

/// A histogram that waits with the last value: replies that come in one receive have the same time, and are entered once.
#[derive(Clone, Debug)]
struct Coalescing {
    histogram: Histogram<u64>,
    value: u64,
    count: u64,
}

impl Coalescing {
    fn new() -> Self {
        Self { histogram: histogram(), value: 0, count: 0 }
    }

    #[inline]
    fn record(&mut self, value: u64) {
        if value != self.value {
            self.settle();
            self.value = value;
        }
        self.count += 1;
    }

    #[inline(never)]
    fn settle(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.value.max(1), self.count);
            self.count = 0;
        }
    }
}

const CODES: usize = 400;
/// Rows of the table of replies.
const COMMANDS: [(Awaited, &str); 11] = [
    (Awaited::Greeting, "greeting"),
    (Awaited::Hello, "EHLO"),
    (Awaited::Xclient, "XCLIENT"),
    (Awaited::Mail, "MAIL"),
    (Awaited::Rcpt, "RCPT"),
    (Awaited::Data, "DATA"),
    (Awaited::Block, "BDAT"),
    (Awaited::EndOfData, "end of data"),
    (Awaited::Reset, "RSET"),
    (Awaited::Quit, "QUIT"),
    (Awaited::Auth, "AUTH"),
];

/// See the module.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Of the whole run, so that the ledger can be compared.
    pub counts: Counts,
    histograms: Vec<Coalescing>,
    /// Since the last line of progress: from the end of data to its reply.
    interval: Coalescing,
    replies: Box<[u64]>,
    /// Of each step of a rate that has several.
    pub steps: Option<Box<Steps>>,
    /// The first reply out of turn.
    pub out_of_turn: Option<Fault>,
}

impl Tally {
    /// Nothing yet. Allocates all that it will ever need.
    pub fn new() -> Self {
        Self {
            counts: Counts::default(),
            histograms: Timed::ALL.iter().map(|_| Coalescing::new()).collect(),
            interval: Coalescing::new(),
            replies: vec![0; COMMANDS.len() * CODES].into_boxed_slice(),
            steps: None,
            out_of_turn: None,
        }
    }

    /// Enters what no server may say.
    pub fn fault(&mut self, fault: Fault) {
        self.counts.faults += 1;
        if let Fault::Unasked(_) | Fault::Unexpected(..) = fault {
            self.counts.replies_out_of_turn += 1;
            self.out_of_turn.get_or_insert(fault);
        }
    }

    /// Enters a time.
    #[inline]
    pub fn time(&mut self, what: Timed, ns: u64) {
        self.histograms[what as usize].record(ns);
        if what == Timed::EndOfDataCorrected {
            self.interval.record(ns);
        }
    }

    /// Enters into its step that a message was accepted.
    #[inline]
    pub fn accepted(&mut self, intended: Time, now: Time) {
        if let Some(steps) = &mut self.steps {
            steps.accept(intended, now);
        }
    }

    /// Enters a reply.
    #[inline]
    pub fn reply(&mut self, to: Awaited, code: Code) {
        let row = match to {
            Awaited::Greeting => 0,
            Awaited::Hello | Awaited::StartTls => 1,
            Awaited::Xclient => 2,
            Awaited::Mail => 3,
            Awaited::Rcpt => 4,
            Awaited::Data => 5,
            Awaited::Block => 6,
            Awaited::EndOfData => 7,
            Awaited::Reset => 8,
            Awaited::Quit => 9,
            Awaited::Auth => 10,
        };
        self.replies[row * CODES + usize::from(code.number()) - 200] += 1;
    }

    /// Adds another's.
    pub fn add(&mut self, mut other: Self) {
        self.counts.add(&other.counts);
        self.out_of_turn = self.out_of_turn.or(other.out_of_turn);
        for (sum, more) in self.histograms.iter_mut().zip(&mut other.histograms) {
            sum.settle();
            more.settle();
            sum.histogram.add(&more.histogram).expect("all have the same bounds");
        }
        for (sum, more) in self.replies.iter_mut().zip(&other.replies) {
            *sum += more;
        }
    }

    /// The times since the last call.
    pub fn take_interval(&mut self) -> Histogram<u64> {
        self.interval.settle();
        std::mem::replace(&mut self.interval.histogram, histogram())
    }

    /// The times of something.
    pub fn histogram(&mut self, what: Timed) -> &mut Histogram<u64> {
        let histogram = &mut self.histograms[what as usize];
        histogram.settle();
        &mut histogram.histogram
    }

    /// The place of a reply; for a report that is read back.
    pub fn reply_by_name(&mut self, command: &str, code: u64) -> Option<&mut u64> {
        let row = COMMANDS.iter().position(|(_, name)| *name == command)?;
        let column = usize::try_from(code).ok()?.checked_sub(200).filter(|column| *column < CODES)?;
        self.replies.get_mut(row * CODES + column)
    }

    /// Replies that came: command, code, how often.
    pub fn replies(&self) -> Vec<(&'static str, u16, u64)> {
        let all = self.replies.iter().enumerate().filter(|(_, count)| **count > 0);
        all.map(|(at, count)| (COMMANDS[at / CODES].1, (at % CODES + 200) as u16, *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_its_place() {
        for (place, (what, _)) in Timed::ALL.iter().enumerate() {
            assert_eq!(*what as usize, place);
        }
    }

    #[test]
    fn coalescing_loses_nothing() {
        let mut tally = Tally::new();
        for ns in [5, 5, 5, 7, 5, 0, 0] {
            tally.time(Timed::Mail, ns);
        }
        let mut other = Tally::new();
        other.time(Timed::Mail, 7);
        tally.add(other);
        let mail = tally.histogram(Timed::Mail);
        assert_eq!((mail.len(), mail.count_at(5), mail.count_at(7), mail.count_at(1)), (8, 4, 2, 2));
    }

    #[test]
    fn counts_are_found_by_their_names() {
        let mut counts = Counts { accepted: 3, ..Counts::default() };
        for (name, value) in counts.each() {
            assert_eq!(counts.by_name(name).copied(), Some(value));
        }
        assert_eq!(counts.by_name("nothing"), None);
        assert_eq!(counts.since(&Counts { accepted: 1, ..Counts::default() }).accepted, 2);
    }
}
