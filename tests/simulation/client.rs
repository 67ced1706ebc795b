//! How a client behaves: when it sends, what it reads, and how it goes.

use crate::reactor::io::{ListenerId, Time};
use crate::simulation::world::{ClientId, Network};

use super::scenario::{self, Ending, Pace, Reading};
use super::speech::Kind;

/// How often a slow reader reads.
const SLOW_READS_MS: u64 = 10;

/// What a client did and saw: the judge goes by this alone.
#[derive(Debug, Default)]
pub struct Record {
    pub connected_at: Time,
    /// Octets sent behind the header.
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    /// Octets that had come by then: how many, in which step, and when.
    pub arrivals: Vec<(usize, u64, Time)>,
    /// It sent before it had heard anything.
    pub spoke_first: bool,
    /// There was no door.
    pub was_refused: bool,
    pub has_reset: bool,
    pub has_half_closed: bool,
    pub saw_end: bool,
    /// When it sent last.
    pub sent_at: Time,
    /// Octets that were sent by then.
    pub sends: Vec<(usize, Time)>,
}

/// A client in its world.
#[derive(Debug)]
pub struct Client {
    pub plan: scenario::Client,
    pub record: Record,
    pub id: Option<ClientId>,
    /// When it does something of its own accord.
    next_at: Option<Time>,
    next_token: usize,
    /// Octets of the stream sent, for those who do not look at tokens.
    position: usize,
    /// Replies that it waits for.
    wanted: usize,
    seen: Replies,
    is_silent: bool,
}

/// Replies as a client counts them.
#[derive(Debug, Default)]
struct Replies {
    /// Octets of the record that were looked at.
    read: usize,
    count: usize,
    /// Code of the last.
    code: [u8; 3],
    /// Recipients accepted since the last MAIL.
    recipients: usize,
}

impl Replies {
    fn read(&mut self, received: &[u8]) {
        while let Some(end) = received[self.read..].iter().position(|octet| *octet == b'\n') {
            let line = &received[self.read..self.read + end];
            self.read += end + 1;
            if line.len() < 4 || line[3] != b' ' {
                continue;
            }
            self.count += 1;
            self.code.copy_from_slice(&line[..3]);
            if line.starts_with(b"250 2.1.0") {
                self.recipients = 0;
            }
            if line.starts_with(b"250 2.1.5") {
                self.recipients += 1;
            }
        }
    }
}

impl Client {
    pub fn new(plan: scenario::Client, start: Time) -> Self {
        Self {
            next_at: Some(start.plus_ms(plan.at_ms)),
            plan,
            record: Record::default(),
            id: None,
            next_token: 0,
            position: 0,
            // The greeting.
            wanted: 1,
            seen: Replies::default(),
            is_silent: false,
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_over(&self) -> bool {
        self.record.has_reset || self.record.saw_end
    }

    /// When it wants to act.
    pub fn next_at(&self) -> Option<Time> {
        self.next_at.filter(|_| !self.is_over())
    }

    /// Does what is due.
    pub fn act(&mut self, network: &Network, listener: Option<ListenerId>, step: u64) {
        let now = network.now();
        let Some(id) = self.id else {
            if self.next_at.is_some_and(|at| at <= now) {
                self.connect(network, listener, now);
            }
            return;
        };
        if self.is_over() {
            return;
        }
        let is_due = self.next_at.is_some_and(|at| at <= now);
        if is_due || !matches!(self.plan.reading, Reading::Slow { .. }) {
            self.read(network, id, step);
        }
        if network.sees_end(id) && !self.leaves_unread(network, id, step) {
            self.record.saw_end = true;
            self.next_at = None;
            network.note(|| format!("client {} sees the end", self.plan.number));
            if self.plan.closes {
                network.end(id);
            }
            return;
        }
        if self.next_at.is_some_and(|at| at <= now) {
            self.next_at = None;
            if matches!(self.plan.reading, Reading::Slow { .. }) {
                // Often while there is something to read, else now and then.
                let pause_ms = if network.has_unread(id) { SLOW_READS_MS } else { 20 * SLOW_READS_MS };
                self.next_at = Some(now.plus_ms(pause_ms));
            }
            self.speak(network, id, now);
        }
    }

    /// A slow reader sees the end when it has read what came before.
    fn leaves_unread(&mut self, network: &Network, id: ClientId, step: u64) -> bool {
        let before = self.record.received.len();
        self.read(network, id, step);
        self.record.received.len() > before
    }

    fn connect(&mut self, network: &Network, listener: Option<ListenerId>, now: Time) {
        let gone = ListenerId(u32::MAX);
        let id = network.connect(listener.unwrap_or(gone));
        self.id = Some(id);
        self.record.connected_at = now;
        self.record.sent_at = now;
        self.record.was_refused = listener.is_none();
        network.note(|| format!("client {} connects to door {}", self.plan.number, self.plan.door));
        if let Reading::Never { window_octets } = self.plan.reading {
            network.set_window(id, window_octets);
        }
        network.send(id, &self.plan.header);
        self.next_at = Some(now);
    }

    fn read(&mut self, network: &Network, id: ClientId, step: u64) {
        let before = self.record.received.len();
        let more = match self.plan.reading {
            Reading::All => network.read(id),
            Reading::Slow { octets } => network.read_some(id, octets),
            Reading::Never { .. } => return,
        };
        if more.is_empty() {
            return;
        }
        self.record.received.extend(more);
        let now = network.now();
        self.record.arrivals.push((self.record.received.len(), step, now));
        network.note(|| {
            let text = self.record.received[before..].escape_ascii().to_string();
            format!("client {} hears {text}", self.plan.number)
        });
        self.seen.read(&self.record.received);
        let waits = matches!(self.plan.pace, Pace::Polite { .. } | Pace::Grouped { .. });
        if waits && self.seen.count >= self.wanted {
            self.next_at.get_or_insert(now);
        }
    }

    fn speak(&mut self, network: &Network, id: ClientId, now: Time) {
        if self.is_silent {
            return;
        }
        match self.plan.pace {
            Pace::Polite { think_ms } => self.speak_in_turn(network, id, now, 1, think_ms),
            Pace::Grouped { think_ms } => self.speak_in_turn(network, id, now, usize::MAX, think_ms),
            Pace::Early => {
                let all = self.rest_of_stream(usize::MAX);
                self.say(network, id, &all);
            }
            Pace::Timed { gap_ms } => {
                if let Some(token) = self.plan.tokens.get(self.next_token) {
                    let octets = token.octets.clone();
                    self.next_token += 1;
                    self.say(network, id, &octets);
                    self.next_at = Some(now.plus_ms(gap_ms));
                }
                if self.next_token == self.plan.tokens.len() {
                    self.finish(network, id);
                }
            }
            Pace::Trickling { octets, gap_ms } => {
                let piece = self.rest_of_stream(octets);
                if piece.is_empty() {
                    return self.finish(network, id);
                }
                self.say(network, id, &piece);
                self.next_at = Some(now.plus_ms(gap_ms));
            }
        }
        if self.plan.pace == Pace::Early {
            self.finish(network, id);
        }
    }

    fn rest_of_stream(&mut self, most: usize) -> Vec<u8> {
        let all = self.plan.tokens.iter().flat_map(|token| &token.octets).copied();
        let piece: Vec<u8> = all.skip(self.position).take(most).collect();
        self.position += piece.len();
        piece
    }

    /// Sends what may be sent now: up to so many pieces, none behind one whose reply must be awaited.
    fn speak_in_turn(&mut self, network: &Network, id: ClientId, now: Time, most: usize, think_ms: u64) {
        if self.seen.count < self.wanted {
            return;
        }
        if think_ms > 0 && now < self.record.sent_at.plus_ms(think_ms) {
            self.next_at = Some(self.record.sent_at.plus_ms(think_ms));
            return;
        }
        // No content without a 354.
        let was_data = self.next_token > 0 && self.plan.tokens[self.next_token - 1].kind == Kind::Data;
        if was_data && self.seen.code != *b"354" {
            while self.plan.tokens.get(self.next_token).is_some_and(|token| token.kind == Kind::Content) {
                self.next_token += 1;
            }
        }
        let mut octets = Vec::new();
        let mut count = 0;
        while count < most
            && let Some(token) = self.plan.tokens.get(self.next_token)
        {
            // In LMTP the end of a message has a reply for each recipient: those of a group that ends with it are not known
            // yet, so it goes alone.
            let is_lmtp_end = self.plan.door == 1 && (token.kind == Kind::Content || is_last_chunk(&token.octets));
            if is_lmtp_end && count > 0 {
                break;
            }
            self.next_token += 1;
            // Content whose DATA is not here has no place.
            if token.kind == Kind::Content && (count > 0 || self.seen.code != *b"354") {
                continue;
            }
            octets.extend_from_slice(&token.octets);
            count += 1;
            if is_lmtp_end {
                self.wanted = self.seen.count + self.seen.recipients.max(1);
                self.next_at = None;
                return self.say(network, id, &octets);
            }
            if token.kind != Kind::Command {
                break;
            }
        }
        if count == 0 {
            return self.finish(network, id);
        }
        self.wanted = self.seen.count + count;
        self.say(network, id, &octets);
    }

    fn say(&mut self, network: &Network, id: ClientId, octets: &[u8]) {
        let room = self.plan.sends_most.saturating_sub(self.record.sent.len());
        let octets = &octets[..octets.len().min(room)];
        if !octets.is_empty() {
            self.record.spoke_first |= self.record.received.is_empty();
            self.record.sent_at = network.now();
            self.record.sent.extend_from_slice(octets);
            self.record.sends.push((self.record.sent.len(), network.now()));
            network.note(|| format!("client {} says {}", self.plan.number, octets.escape_ascii()));
            network.send(id, octets);
        }
        if self.record.sent.len() >= self.plan.sends_most {
            self.finish(network, id);
        }
    }

    fn finish(&mut self, network: &Network, id: ClientId) {
        if std::mem::replace(&mut self.is_silent, true) {
            return;
        }
        network.note(|| format!("client {} has said all: {:?}", self.plan.number, self.plan.ending));
        match self.plan.ending {
            Ending::Wait => {}
            Ending::HalfClose => {
                self.record.has_half_closed = true;
                network.end(id);
            }
            Ending::Reset { in_order } => {
                self.record.has_reset = true;
                if in_order {
                    network.reset_in_order(id);
                } else {
                    network.reset(id);
                }
            }
        }
    }
}

fn is_last_chunk(octets: &[u8]) -> bool {
    octets
        .split(|octet| *octet == b'\r')
        .next()
        .is_some_and(|line| line.starts_with(b"BDAT") && line.ends_with(b"LAST"))
}
