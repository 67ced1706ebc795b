//! What is said on one connection: a client's session, the messages in flight, and the one that is being sent.
//!
//! *Invariants*: for each transaction that the session has begun there is one flight, in order. What is in `out` is sent in
//! order, one send at a time. *Does not* know sockets, or which message is next.

use std::collections::VecDeque;

use ringmx::reactor::io::{Parts, Time};
use ringmx::smtp::client::{Awaited, Class, Code, Ended, Event, Fault, Outcome, Refusal, Reply, Session, Transmit};
use ringmx::smtp::extension::Extension;

use super::content::{Made, Piece};
use super::ledger::Page;
use super::supply::{Due, Supply};
use super::tally::{Tally, Timed};
use super::witness::Witness;

/// Octets that are written before they are sent.
pub const OUT_MOST: usize = 256 * 1024;

/// Octets of a piece of content that is sent from where it is.
const SHARED_LEAST: usize = 1024;

/// A message that was begun and has not ended.
#[derive(Clone, Copy, Debug)]
struct Flight {
    due: Due,
    intended: Time,
    begun: Time,
    /// When its end of data was written.
    given: Time,
    octets: u64,
    checksum: u32,
    /// Those that were tried.
    recipients: u32,
    is_measured: bool,
}

/// The message that is being sent, and how far it was.
#[derive(Clone, Copy, Debug)]
struct Writing<'p> {
    made: Made<'p>,
    at: u64,
    checksum: u32,
}

impl Writing<'_> {
    /// These octets are written.
    fn pass(&mut self, octets: &[u8], sums: bool) {
        self.at += octets.len() as u64;
        if sums {
            // COST: 4 KiB take 0.16 µs, 100 KiB 3.7 µs. To combine sums of parts that are known (crc32c_combine) takes 5 to 8 µs.
            self.checksum = crc32c::crc32c_append(self.checksum, octets);
        }
    }
}

/// Gives content to the session, and what it makes of it to `send`. Returns how many octets the session took.
fn put<'c>(session: &mut Session, content: &'c [u8], mut send: impl FnMut(&'c [u8])) -> usize {
    let mut rest = content;
    while let Ok(octets @ [_, ..]) = session.put(&mut rest) {
        send(octets);
    }
    content.len() - rest.len()
}

/// Short pieces are copied: that costs less than to tell the kernel where they are.
fn append(out: &mut Parts, octets: &'static [u8]) {
    if octets.len() < SHARED_LEAST || !out.share(octets) {
        out.own.extend_from_slice(octets);
    }
}

/// What a connection tells about.
pub struct Ear<'a> {
    /// When what is heard has come.
    pub now: Time,
    /// Counts and times.
    pub tally: &'a mut Tally,
    /// Where messages come from, and go back to.
    pub supply: &'a mut Supply,
    /// Hears of each message that was taken over.
    pub ledger: Option<&'a mut Page>,
    /// So does this, of each recipient.
    pub witness: Option<&'a dyn Witness>,
}

/// Whether a message was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It was.
    Begun,
    /// Not on this connection, which takes no more.
    Spent,
    /// This server never takes it.
    Unsendable,
    /// The server lacks what the whole load needs.
    Lacking(Refusal),
}

/// What is said of a message at its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which.
    pub due: Due,
    /// When it was meant to begin.
    pub intended: Time,
    /// When it does.
    pub now: Time,
    /// Whether it counts.
    pub is_measured: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Talk<'p> {
    /// The client's side.
    pub session: Session,
    /// What is to be sent.
    pub out: Parts,
    flights: VecDeque<Flight>,
    /// Recipients of the first one that were refused.
    refused: Vec<u32>,
    writing: Option<Writing<'p>>,
    /// Whether there is more to be written as soon as there is room, whatever the server says.
    pub has_more: bool,
    header: Vec<u8>,
    /// When the connection was made, or the last commands were sent.
    pub asked: Time,
    /// When the server said something, or took something, for the last time.
    pub heard: Time,
    /// Messages begun.
    pub messages: u64,
    /// What is known of the session.
    pub standing: Standing,
}

/// See [`Talk::standing`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Whether the server takes no more messages here.
    pub is_spent: bool,
    /// Whether EHLO is answered, for the first time or behind XCLIENT, and AUTH where it was sent.
    pub is_ready: bool,
    /// Whether XCLIENT was sent.
    pub is_introduced: bool,
    /// Whether AUTH was sent.
    pub is_authenticated: bool,
    /// Whether commands are sent in groups.
    pub pipelines: bool,
    /// Whether the server said nothing for too long.
    pub has_timed_out: bool,
}

impl<'p> Talk<'p> {
    /// Before the greeting. The memory of an earlier connection is used again.
    pub fn new(session: Session, earlier: Option<Self>, pipelines: bool, now: Time) -> Self {
        let (mut out, mut flights, header) = match earlier {
            Some(earlier) => (earlier.out, earlier.flights, earlier.header),
            None => Default::default(),
        };
        out.clear();
        flights.clear();
        Self {
            session,
            out,
            flights,
            refused: Vec::new(),
            writing: None,
            has_more: false,
            header,
            asked: now,
            heard: now,
            messages: 0,
            standing: Standing { pipelines, ..Standing::default() },
        }
    }

    /// Whether another message can begin.
    pub fn has_room(&self) -> bool {
        self.standing.is_ready
            && !self.standing.is_spent
            && self.writing.is_none()
            && self.out.len() < OUT_MOST
            && self.session.check_room().is_ok()
    }

    /// Begins a message, and writes what can be sent of it.
    pub fn begin(&mut self, start: Start, make: impl FnOnce(&mut Vec<u8>) -> Made<'p>, tally: &mut Tally) -> Begin {
        let made = make(&mut self.header);
        let begun = match self.session.begin(&made.message(), &mut self.out.own) {
            Ok(begun) => begun,
            Err(Refusal::MailMax | Refusal::RcptDomainMax | Refusal::NotOpen | Refusal::Busy) => {
                self.standing.is_spent = true;
                return Begin::Spent;
            }
            Err(Refusal::TooBig(_)) => return Begin::Unsendable,
            Err(refusal) => return Begin::Lacking(refusal),
        };
        tally.counts.attempted += 1;
        tally.counts.recipients_cut += made.message().recipients.len() as u64 - u64::from(begun.recipients);
        self.messages += 1;
        let Start { due, intended, now, is_measured } = start;
        let (octets, recipients) = (made.octets(), begun.recipients);
        self.flights.push_back(Flight {
            due,
            intended,
            begun: now,
            given: now,
            octets,
            checksum: 0,
            recipients,
            is_measured,
        });
        self.writing = Some(Writing { made, at: 0, checksum: 0 });
        Begin::Begun
    }

    /// Writes what can be sent now.
    pub fn transmit(&mut self, now: Time, sums: bool) {
        self.has_more = false;
        let Some(writing) = &mut self.writing else { return };
        let message = writing.made.message();
        if !self.standing.pipelines {
            self.asked = now;
        }
        while self.out.len() < OUT_MOST {
            match self.session.poll_transmit(&message, &mut self.out.own) {
                Transmit::Content => {}
                Transmit::Wait => return,
                Transmit::More => break,
                Transmit::Idle => {
                    self.writing = None;
                    return;
                }
            }
            while self.out.len() < OUT_MOST {
                let before = writing.at;
                match writing.made.piece(&self.header, before) {
                    Piece::Header(octets) => {
                        let given = put(&mut self.session, octets, |octets| self.out.own.extend_from_slice(octets));
                        writing.pass(&octets[..given], sums);
                    }
                    Piece::Text(octets) => {
                        // No more of a large body than is sent at once.
                        let octets = &octets[..octets.len().min(OUT_MOST)];
                        let given = put(&mut self.session, octets, |octets| append(&mut self.out, octets));
                        writing.pass(&octets[..given], sums);
                    }
                }
                if writing.at == before || writing.at == writing.made.octets() {
                    break;
                }
            }
            if writing.at == writing.made.octets() {
                if let Ok(end) = self.session.finish() {
                    self.out.own.extend_from_slice(end);
                }
                if let Some(flight) = self.flights.back_mut() {
                    (flight.given, flight.checksum) = (now, writing.checksum);
                }
                self.writing = None;
                return;
            }
        }
        self.has_more = true;
    }

    /// Hears what the server says, or with nothing to hear takes the ends of what was under way.
    pub fn hear(&mut self, mut input: &[u8], ear: &mut Ear<'_>) {
        self.heard = ear.now;
        // BOUND: each turn takes a reply, the end of a flight, or ends the loop.
        loop {
            match self.session.handle_input(&mut input, &mut self.out.own) {
                Event::NeedInput | Event::Closed => break,
                Event::Fault(fault) => ear.tally.fault(fault),
                Event::Mail { reply, .. } => timing(&self.flights, &self.standing, self.asked).enter(
                    Timed::Mail,
                    Awaited::Mail,
                    reply.code(),
                    ear,
                ),
                Event::Recipient { reply, recipient, .. } => {
                    if reply.class() != Class::Positive {
                        self.refused.push(recipient);
                    }
                    timing(&self.flights, &self.standing, self.asked).enter(
                        Timed::Rcpt,
                        Awaited::Rcpt,
                        reply.code(),
                        ear,
                    );
                }
                Event::Content { reply, .. } if reply.class() == Class::Positive => {
                    ear.tally.reply(Awaited::Block, reply.code());
                }
                Event::Content { reply, .. } => {
                    timing(&self.flights, &self.standing, self.asked).enter(
                        Timed::Data,
                        Awaited::Data,
                        reply.code(),
                        ear,
                    );
                }
                Event::EndOfData { reply, recipient, .. } => {
                    if let Some(flight) = self.flights.front() {
                        flight.hear_end_of_data(reply, ear);
                        if reply.class() == Class::Positive {
                            flight.tell_accepted(recipient, &self.refused, ear);
                        }
                    }
                }
                Event::Ended(ended) => self.end(ended, ear),
                opening => hear_opening(opening, &mut self.asked, &mut self.standing, ear),
            }
        }
        if self.messages == 0 && self.standing.is_ready {
            self.standing.pipelines &= self.session.offer().has(Extension::Pipelining);
        }
    }

    fn end(&mut self, Ended { outcome, .. }: Ended, ear: &mut Ear<'_>) {
        let Some(flight) = self.flights.pop_front() else { return };
        self.refused.clear();
        if self.flights.is_empty() {
            // It was the last one that was begun; nothing more is sent of it.
            self.writing = None;
        }
        let counts = &mut ear.tally.counts;
        let may_try_again = match outcome {
            Outcome::Accepted { recipients } => {
                counts.accepted += 1;
                counts.accepted_octets += flight.octets;
                counts.accepted_recipients += u64::from(recipients);
                counts.checksum_sum = counts.checksum_sum.wrapping_add(u64::from(flight.checksum));
                ear.tally.accepted(flight.intended, ear.now);
                if flight.is_measured {
                    ear.tally.time(Timed::Message, ear.now.since_ns(flight.begun));
                    ear.tally.time(Timed::MessageCorrected, ear.now.since_ns(flight.intended));
                }
                false
            }
            Outcome::Refused { verdict, .. } if verdict.code.class() == Class::Temporary => {
                counts.tempfailed += 1;
                true
            }
            Outcome::Refused { .. } | Outcome::Verified { .. } => {
                counts.refused += 1;
                false
            }
            Outcome::Lost if self.standing.has_timed_out => {
                counts.timed_out += 1;
                true
            }
            Outcome::Lost | Outcome::Abandoned => {
                counts.reset += 1;
                true
            }
            // The server may have it: a second try could be a duplicate.
            Outcome::Undecided => {
                counts.undecided += 1;
                counts.undecided_octets += flight.octets;
                counts.undecided_checksum_sum = counts.undecided_checksum_sum.wrapping_add(u64::from(flight.checksum));
                false
            }
        };
        if ear.supply.end(flight.due, may_try_again, ear.now) {
            ear.tally.counts.retried += 1;
        }
    }
}

fn timing(flights: &VecDeque<Flight>, standing: &Standing, asked: Time) -> Timing {
    let flight = flights.front();
    let since = match flight {
        Some(flight) if standing.pipelines => flight.begun,
        _ => asked,
    };
    Timing { since, is_measured: flight.is_some_and(|flight| flight.is_measured) }
}

/// Since when a reply was waited for.
struct Timing {
    since: Time,
    is_measured: bool,
}

impl Timing {
    #[inline]
    fn enter(&self, what: Timed, to: Awaited, code: Code, ear: &mut Ear<'_>) {
        ear.tally.reply(to, code);
        if self.is_measured {
            ear.tally.time(what, ear.now.since_ns(self.since));
        }
    }
}

impl Flight {
    fn hear_end_of_data(&self, reply: Reply<'_>, ear: &mut Ear<'_>) {
        ear.tally.reply(Awaited::EndOfData, reply.code());
        if self.is_measured {
            let ns = ear.now.since_ns(self.given);
            ear.tally.time(Timed::EndOfData, ns);
            ear.tally.time(Timed::EndOfDataCorrected, ns + self.begun.since_ns(self.intended));
        }
        if let (Some(ledger), Class::Positive) = (&mut ear.ledger, reply.class()) {
            ledger.acknowledge(self.due.number, self.octets, self.checksum, reply);
        }
    }

    /// It was taken over for one recipient, or for all that were not refused.
    fn tell_accepted(&self, recipient: Option<u32>, refused: &[u32], ear: &Ear<'_>) {
        let Some(witness) = ear.witness else { return };
        let all = recipient.map_or(0..self.recipients, |one| one..one + 1);
        // Replies come in the order of the recipients.
        all.filter(|one| refused.binary_search(one).is_err())
            .for_each(|one| witness.accept(self.due.number, one, ear.now));
    }
}

/// What is heard before the first message, and at the end.
#[inline(never)]
fn hear_opening(event: Event<'_>, asked: &mut Time, standing: &mut Standing, ear: &mut Ear<'_>) {
    let tally = &mut *ear.tally;
    match event {
        Event::Greeting(reply) => {
            tally.reply(Awaited::Greeting, reply.code());
            tally.time(Timed::Greeting, ear.now.since_ns(*asked));
            *asked = ear.now;
        }
        Event::Ready(reply) => {
            tally.reply(Awaited::Hello, reply.code());
            tally.time(Timed::Hello, ear.now.since_ns(*asked));
            standing.is_ready = true;
        }
        Event::XclientAccepted(reply) => {
            tally.reply(Awaited::Xclient, reply.code());
            *asked = ear.now;
        }
        Event::Quit(reply) => {
            tally.reply(Awaited::Quit, reply.code());
            // Where all replies are 250, one too many shows at the end alone: it stands where RFC 5321 §4.3.2 has 221.
            if reply.class() == Class::Positive && reply.code().number() != 221 {
                tally.fault(Fault::Unexpected(Awaited::Quit, reply.code()));
            }
        }
        Event::Authenticated(reply) => {
            tally.reply(Awaited::Auth, reply.code());
            standing.is_ready = true;
        }
        Event::AuthRefused(reply) => standing.refuse(Awaited::Auth, reply, tally),
        Event::NoService(reply) => standing.refuse(Awaited::Greeting, reply, tally),
        Event::HelloRefused(reply) => standing.refuse(Awaited::Hello, reply, tally),
        Event::XclientRefused(reply) => standing.refuse(Awaited::Xclient, reply, tally),
        Event::Closing(_) => {
            tally.counts.sessions_closed += 1;
            standing.is_spent = true;
        }
        // Nothing here asks for TLS; the rest is heard elsewhere.
        _ => {}
    }
}

impl Standing {
    fn refuse(&mut self, to: Awaited, reply: Reply<'_>, tally: &mut Tally) {
        tally.reply(to, reply.code());
        tally.counts.sessions_refused += 1;
        self.is_spent = true;
    }
}
