//! The sink of our own engine behind the server under test: looks at each message where it lies, and says what has arrived.
//!
//! *Invariants*: nothing is kept, copied or allocated for a message but its own header field (once a connection's slot has been
//! used); what is told of is told by counters of which this is the only writer. A fault may take a lock: it ends all figures.

use std::sync::{Arc, Mutex, PoisonError};

use ringmx::handoff::intake::{Arrived, Intake};
use ringmx::mail::address::Path;
use ringmx::metrics::counter::Counter;
use ringmx::policy::decision::Decision;
use ringmx::policy::scope::Scope;
use ringmx::reactor::io::Time;
use ringmx::smtp::session::{Ended, Outcome};

use super::stamp::{Carries, Scan, Stamp, Sum};
use super::times::Times;
use super::track::{Arrival, Begun, Track};

/// Faults that are told of in words.
pub const EXAMPLES: usize = 10;

/// What has arrived at one shard: each count but of messages is of recipients of a message, each for itself.
#[derive(Debug)]
pub struct Arrivals {
    /// Messages of this run, whatever is wrong with them.
    pub messages: Counter,
    /// For the first time.
    pub arrived: Counter,
    /// Of these, those that the server was known to have taken over.
    pub awaited: Counter,
    /// Not for the first time.
    pub duplicates: Counter,
    /// For somebody who was no recipient of the message.
    pub misaddressed: Counter,
    /// Messages whose body is not what was sent.
    pub altered: Counter,
    /// Messages with a header field of ours that cannot be read.
    pub unreadable: Counter,
    /// Messages with more or fewer empty lines at their end.
    pub trimmed: Counter,
    /// Messages that are not of this run.
    pub foreign: Counter,
    /// When the first and the last message of this run came, in ns.
    pub first_ns: Counter,
    /// See `first_ns`.
    pub last_ns: Counter,
    /// From the time at which a message was meant to be sent to its arrival.
    pub end_to_end: Times,
    /// The first faults, in words.
    pub examples: Mutex<Vec<String>>,
}

impl Arrivals {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            messages: Counter::default(),
            arrived: Counter::default(),
            awaited: Counter::default(),
            duplicates: Counter::default(),
            misaddressed: Counter::default(),
            altered: Counter::default(),
            unreadable: Counter::default(),
            trimmed: Counter::default(),
            foreign: Counter::default(),
            first_ns: Counter::default(),
            last_ns: Counter::default(),
            end_to_end: Times::new(),
            examples: Mutex::default(),
        }
    }

    #[cold]
    fn fault(&self, counter: &Counter, text: impl FnOnce() -> String) {
        counter.one();
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES {
            examples.push(text());
        }
    }
}

/// See the module. One for each shard.
#[derive(Debug)]
pub struct Catcher {
    run: u64,
    track: Arc<Track>,
    /// Where each user stands among all people.
    places: Arc<[u32]>,
    arrivals: Arc<Arrivals>,
    /// Of each connection's slot.
    scans: Vec<Option<Box<Scan>>>,
}

impl Catcher {
    /// For messages of this run.
    pub fn new(run: u64, track: Arc<Track>, places: Arc<[u32]>, arrivals: Arc<Arrivals>) -> Self {
        Self { run, track, places, arrivals, scans: Vec::new() }
    }

    #[inline]
    fn scan(&mut self, slot: u32) -> &mut Scan {
        let slot = slot as usize;
        if slot >= self.scans.len() {
            self.scans.resize_with(slot + 1, || None);
        }
        self.scans[slot].get_or_insert_with(|| Box::new(Scan::new(self.run)))
    }

    fn judge(&self, (carries, body): (Carries, Sum), message: &Ended<'_>, now: Time) {
        let arrivals = &*self.arrivals;
        let stamp = match carries {
            Carries::Stamp(stamp) => stamp,
            Carries::Nothing => return arrivals.foreign.one(),
            Carries::Garbage => {
                return arrivals
                    .fault(&arrivals.unreadable, || "a message arrived whose number cannot be read".to_owned());
            }
        };
        if arrivals.messages.get() == 0 {
            arrivals.first_ns.set(now.0);
        }
        arrivals.messages.one();
        arrivals.last_ns.set(now.0);
        let Some(begun) = self.track.begun(stamp.number.into()) else {
            let text = || format!("message {} arrived, which was never sent", stamp.number);
            return arrivals.fault(&arrivals.unreadable, text);
        };
        let is_whole = body.is_like(&stamp.body);
        if !is_whole {
            arrivals.fault(&arrivals.altered, || altered(&stamp, &body));
        } else if body != stamp.body {
            arrivals.trimmed.one();
        }
        self.deliver(&stamp, is_whole.then_some(begun), message, now);
    }

    /// Which recipient of the message this is, counted from 0.
    fn recipient(&self, path: Path<'_>, stamp: &Stamp) -> Option<u32> {
        let place = *self.places.get(user(path)? as usize)?;
        let behind =
            place.checked_sub(stamp.first).or_else(|| (place + self.places.len() as u32).checked_sub(stamp.first));
        behind.filter(|of| *of < stamp.recipients)
    }

    /// It has arrived for those whom the envelope names.
    fn deliver(&self, stamp: &Stamp, timed: Option<Begun>, message: &Ended<'_>, now: Time) {
        let arrivals = &*self.arrivals;
        let number = u64::from(stamp.number);
        // The plan of the engine says that it is kept.
        let Some(record) = message.record else { return };
        for path in record.envelope().recipients().map(|recipient| recipient.path) {
            let Some(of) = self.recipient(path, stamp) else {
                let text = || format!("message {number} arrived for {}, who is no recipient of it", shown(path));
                arrivals.fault(&arrivals.misaddressed, text);
                continue;
            };
            let arrival = self.track.arrive(number, of);
            if arrival == Arrival::Again {
                arrivals.fault(&arrivals.duplicates, || format!("message {number} arrived again for {}", shown(path)));
                continue;
            }
            if let Some(begun) = timed.filter(|begun| begun.is_measured) {
                arrivals.end_to_end.enter(now.since_ns(begun.intended));
            }
            arrivals.arrived.one();
            if arrival == Arrival::Awaited {
                arrivals.awaited.one();
            }
        }
    }
}

impl Intake for Catcher {
    #[inline]
    fn content(&mut self, _scope: &Scope, slot: u32, piece: &[u8]) -> usize {
        self.scan(slot).feed(piece);
        0
    }

    fn abort(&mut self, slot: u32) {
        if let Some(Some(scan)) = self.scans.get_mut(slot as usize) {
            scan.clear();
        }
    }

    fn end(&mut self, message: &Arrived<'_>) -> Decision {
        let now = clock();
        let seen = self.scan(message.ticket.slot).end();
        self.judge(seen, message.ended, now);
        Decision::Now(Outcome::Accept)
    }
}

/// The generator's clock, on another thread of the process.
pub fn clock() -> Time {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// The number in `user000017`. Its domain may be another on the way: a server may deliver to one that it calls something else.
fn user(path: Path<'_>) -> Option<u32> {
    let (Path::Mailbox(ringmx::mail::address::Mailbox { local_part, .. }) | Path::Local(local_part)) = path else {
        return None;
    };
    let (name, number) = local_part.split_at_checked(4)?;
    let is_number = number.len() == 6 && number.iter().all(u8::is_ascii_digit) && name.eq_ignore_ascii_case(b"user");
    is_number.then(|| number.iter().fold(0, |sum, digit| 10 * sum + u32::from(digit - b'0')))
}

fn shown(path: Path<'_>) -> String {
    match path {
        Path::Null => "<>".to_owned(),
        Path::Local(local_part) => format!("<{}>", local_part.escape_ascii()),
        Path::Mailbox(mailbox) => {
            format!("<{}@{}>", mailbox.local_part.escape_ascii(), mailbox.domain.escape_ascii())
        }
    }
}

fn altered(stamp: &Stamp, body: &Sum) -> String {
    let Stamp { number, body: sent, .. } = stamp;
    match sent.octets == body.octets {
        true => format!(
            "message {number} is altered: {} octets of body with CRC32C {:08x} in place of {:08x}",
            body.octets, body.crc, sent.crc
        ),
        false => format!("message {number} is altered: {} octets of body in place of {}", body.octets, sent.octets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmx::mail::address::Mailbox;

    #[test]
    fn users_are_known_by_their_numbers() {
        let path = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"any.test" });
        assert_eq!(user(path(b"user000017")), Some(17));
        assert_eq!(user(Path::Local(b"USER999999")), Some(999_999));
        for other in
            ["", "user", "user17", "user0000017", "used000017", "user+00017", "user00001x", "\u{e9}\u{e9}000001"]
        {
            assert_eq!(user(path(other.as_bytes())), None, "{other}");
        }
        assert_eq!(user(Path::Null), None);
        assert_eq!(shown(path(b"a\r\n")), "<a\\r\\n@any.test>");
    }
}
