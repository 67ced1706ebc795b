//! Clients that do not behave, on a share of the connections: what a server has to stand beside those that work.
//!
//! They are counted as connections and in `misbehaved`, and never as messages: none of them ends its mail data. *Does not*
//! know what the server answers; it is thrown away.

use ringmx::reactor::io::{Io, Kind, Operation, Parts, Received, SendMode, Time};

use super::Worker;
use super::slots::Phase;

/// Between two octets of one that dribbles, and until one that cuts its connection does.
const STEP_MS: u64 = 100;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// Connects, and never says a word.
    Silent,
    /// Begins a transaction, and then says nothing.
    Stalling,
    /// Sends mail data one octet at a time.
    Dribbling,
    /// Ends the connection in the middle of mail data.
    Cutting,
    /// Sends what is no command, for as long as it is let.
    Babbling,
    /// Sends commands, and never reads a reply.
    Deaf,
}

const ALL: [Mischief; 6] =
    [Mischief::Silent, Mischief::Stalling, Mischief::Dribbling, Mischief::Cutting, Mischief::Babbling, Mischief::Deaf];

impl Mischief {
    /// What connection number so-and-so does, when so many of a thousand misbehave: they are spread, and of every kind.
    pub fn of(number: usize, per_thousand: u32) -> Option<Self> {
        let share = per_thousand as usize;
        let before = number * share / 1000;
        let with = (number + 1) * share / 1000;
        (with > before).then(|| ALL[before % ALL.len()])
    }

    /// What it says at once.
    fn opening(self) -> Vec<u8> {
        let envelope =
            "EHLO mischief.example\r\nMAIL FROM:<mischief@from.example>\r\nRCPT TO:<user000000@bench.example>\r\n";
        match self {
            Self::Silent => Vec::new(),
            Self::Stalling => envelope.into(),
            Self::Dribbling => format!("{envelope}DATA\r\n").into(),
            Self::Cutting => {
                format!("{envelope}DATA\r\nSubject: cut off\r\n\r\n{}", "half a message ".repeat(50)).into()
            }
            Self::Babbling => self.again().repeat(20),
            Self::Deaf => [b"EHLO mischief.example\r\n".as_slice(), &self.again()].concat(),
        }
    }

    /// What it says at each step.
    fn again(self) -> Vec<u8> {
        match self {
            Self::Silent | Self::Stalling | Self::Cutting => Vec::new(),
            Self::Dribbling => b"x".to_vec(),
            Self::Babbling => b"GET / HTTP/1.1\r\n\xff\xfe\0 no command\r\n\r\n".to_vec(),
            Self::Deaf => b"NOOP\r\nHELP\r\n".repeat(200),
        }
    }
}

impl Worker<'_> {
    /// The connection is made: it begins to misbehave.
    pub fn misbehave(&mut self, index: u32, mischief: Mischief, now: Time) {
        self.tally.counts.misbehaved += 1;
        self.slots[index as usize].phase = Phase::Open;
        // Without a receive nothing is read: TCP stops the server sooner or later.
        if mischief != Mischief::Deaf {
            self.receive(index);
        }
        self.say(index, mischief.opening());
        self.wheel.set(index, now.plus_ms(STEP_MS));
    }

    /// The next step of a connection that misbehaves.
    pub fn misbehave_on(&mut self, index: u32, mischief: Mischief, now: Time) {
        if mischief == Mischief::Cutting {
            return self.close(index);
        }
        // One that is not read from cannot see its end: it is given up like one that the server has forgotten.
        if mischief == Mischief::Deaf && now >= self.deadline_of(self.slots[index as usize].connecting_since) {
            return self.close(index);
        }
        self.say(index, mischief.again());
        self.wheel.set(index, now.plus_ms(STEP_MS));
    }

    fn say(&mut self, index: u32, octets: Vec<u8>) {
        let slot = &mut self.slots[index as usize];
        if slot.sending.is_some() || octets.is_empty() {
            return;
        }
        slot.sending = Some((octets.len(), 0));
        self.tally.counts.octets_sent += octets.len() as u64;
        let parts = Parts::from(octets);
        self.start(index, Kind::Send, Operation::SendParts { parts, from: 0, mode: SendMode::Quiet });
    }

    /// Nobody reads what the server says.
    pub fn overhear(&mut self, received: Received) {
        self.tally.counts.octets_received += u64::from(received.octets);
        self.io.release(received);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_connections_misbehaves_in_every_way() {
        let kinds: Vec<Mischief> = (0..1000).filter_map(|number| Mischief::of(number, 60)).collect();
        assert_eq!(kinds.len(), 60);
        assert!(ALL.iter().all(|kind| kinds.iter().filter(|other| *other == kind).count() == 10));
        assert_eq!((0..1000).filter_map(|number| Mischief::of(number, 0)).count(), 0);
        assert_eq!((0..7).filter_map(|number| Mischief::of(number, 1000)).count(), 7);
    }

    /// What would be a message if the server took it for one.
    #[test]
    fn no_mischief_ends_its_mail_data() {
        for mischief in ALL {
            let said = [mischief.opening(), mischief.again().repeat(10)].concat();
            assert!(!said.windows(5).any(|window| window == b"\r\n.\r\n"), "{mischief:?}");
        }
    }
}
