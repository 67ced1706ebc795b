//! Clients that offer messages, each known by a number of its own, and the ledger outside of the server: what was offered, and
//! what was answered with 250, by the id that the reply names.
//!
//! *Invariant*: a message is in the ledger as offered before its first octet is sent, and as acknowledged only after all of the
//! reply was read. A client comes back when the server is gone, until it is told to stop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::client::{Client, Reply};
use crate::process::patience::eventually;

/// What is offered, and by how many.
#[derive(Clone, Debug)]
pub struct Offer {
    pub address: SocketAddr,
    pub clients: usize,
    /// Octets of a message, about.
    pub octets: usize,
    /// One message of eight has so many, if that is more.
    pub octets_of_some: usize,
    /// Of so many messages one is for the recipient `poison`, if of any; the others for `good`.
    pub one_poisoned_of: Option<u64>,
    /// What tells the time of the disk, for a ledger that knows when something was acknowledged.
    pub clock: Option<Arc<AtomicU64>>,
}

impl Offer {
    pub fn of(address: SocketAddr, clients: usize, octets: usize) -> Self {
        Self { address, clients, octets, octets_of_some: 0, one_poisoned_of: None, clock: None }
    }
}

/// What the clients know.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By id, the number of each message that was answered with 250.
    pub acknowledged: HashMap<String, u64>,
    /// By id, what the clock showed when that had been read, where there is a clock.
    pub acknowledged_at: HashMap<String, u64>,
    /// Numbers of all that were begun.
    pub offered: HashSet<u64>,
    /// How often each other answer came, by the step and the codes.
    pub refused: BTreeMap<String, u64>,
    /// Messages of which all was sent, and for which no answer came.
    pub unanswered: u64,
    /// The longest time from a message's end to its answer.
    pub slowest: Duration,
}

impl Ledger {
    /// Takes another in.
    pub fn add(&mut self, other: Self) {
        for (id, number) in other.acknowledged {
            let before = self.acknowledged.insert(id, number);
            assert_eq!(before, None, "an id was given twice");
        }
        self.acknowledged_at.extend(other.acknowledged_at);
        self.offered.extend(other.offered);
        for (answer, count) in other.refused {
            *self.refused.entry(answer).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// Refusals of a step with these codes.
    pub fn refusals(&self, answer: &str) -> u64 {
        self.refused.get(answer).copied().unwrap_or(0)
    }

    /// Fails where a client was told that something is its own fault, which is for good.
    #[track_caller]
    pub fn assert_no_permanent_refusal(&self) {
        let permanent = self.refused.keys().find(|answer| answer.split(' ').nth(1).is_some_and(|code| code >= "5"));
        assert_eq!(permanent, None, "a local fault is told as the client's: {:?}", self.refused);
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Offers {
    clients: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    rests: AtomicBool,
    resting: AtomicUsize,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    ledger: Mutex<Ledger>,
}

impl Offers {
    pub fn start(offer: &Offer) -> Self {
        let shared = Arc::new(Shared::default());
        let client = |_| {
            let (offer, shared) = (offer.clone(), Arc::clone(&shared));
            std::thread::spawn(move || {
                while !shared.is_over.load(Ordering::Relaxed) {
                    // The server's end is expected; it may come back.
                    if offer_messages(&offer, &shared).is_err() {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
            })
        };
        Self { clients: (0..offer.clients).map(client).collect(), shared }
    }

    /// Messages that were answered with 250 so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Refusals so far, of any kind.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Refusals so far, by the answer.
    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.shared.ledger.lock().unwrap().refused.clone()
    }

    /// How often this answer came so far.
    pub fn refusals(&self, answer: &str) -> u64 {
        self.shared.ledger.lock().unwrap().refusals(answer)
    }

    /// Waits until so many messages more are acknowledged.
    #[track_caller]
    pub fn go_on_for(&self, messages: u64) {
        let goal = self.acknowledged() + messages;
        eventually("mail is taken", || (self.acknowledged() >= goal).then_some(()));
    }

    /// Nobody begins another message.
    pub fn rest(&self) {
        self.shared.rests.store(true, Ordering::Relaxed);
    }

    /// Waits until everyone rests, who has the answer to the last message then.
    #[track_caller]
    pub fn await_rest(&self) {
        let all = self.clients.len();
        eventually("everyone rests", || (self.shared.resting.load(Ordering::Relaxed) == all).then_some(()));
    }

    /// They begin messages again.
    pub fn go_on(&self) {
        self.shared.rests.store(false, Ordering::Relaxed);
    }

    /// Messages that are acknowledged in a second, over so long.
    pub fn rate_over(&self, time: Duration) -> f64 {
        let (begun, before) = (Instant::now(), self.acknowledged());
        std::thread::sleep(time);
        (self.acknowledged() - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// What is known so far, while they go on.
    pub fn so_far(&self) -> Ledger {
        self.shared.ledger.lock().unwrap().clone()
    }

    /// Ends the clients, each when it has its answer; the server may be gone.
    #[must_use]
    pub fn finish(self) -> Ledger {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        std::mem::take(&mut self.shared.ledger.lock().unwrap())
    }
}

/// The content of a message of this number. Nothing of it is stuffed.
pub fn content(number: u64, octets: usize) -> Vec<u8> {
    let line = format!("{number:016x} is the number of this message, on each of its lines.\r\n");
    let head = format!("Subject: load\r\nX-Number: {number:016x} {octets}\r\n\r\n");
    let lines = octets.saturating_sub(head.len()) / line.len() + 1;
    (head + &line.repeat(lines)).into_bytes()
}

/// The number of a message of which this is the file or the content: what stands in front of it is the server's, and all behind
/// is as it was sent. In words what is wrong, if something is.
pub fn number_of(file: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(&file[..file.len().min(4096)]).into_owned();
    let at = text.find("Subject: load\r\nX-Number: ").ok_or("its head is not there")?;
    let mut words = text[at..].split(['\r', '\n', ' ']).skip_while(|word| *word != "X-Number:").skip(1);
    let number = words.next().and_then(|word| u64::from_str_radix(word, 16).ok()).ok_or("it has no number")?;
    let octets = words.next().and_then(|word| word.parse().ok()).ok_or("it has no size")?;
    let sent = content(number, octets);
    match file[at..] == sent {
        true => Ok(number),
        false => {
            Err(format!("of message {number:x} {} octets are there, and not the {} sent", file.len() - at, sent.len()))
        }
    }
}

/// As [`number_of`], of what lies in pieces.
pub fn number_of_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<u64, String> {
    number_of(&pieces.collect::<Vec<_>>().concat())
}

fn offer_messages(offer: &Offer, shared: &Shared) -> io::Result<()> {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let mut client = Client::connect(offer.address)?;
    wanted(&client.reply()?, 220)?;
    client.send("EHLO offers.test\r\n")?;
    wanted(&client.reply()?, 250)?;
    while !shared.is_over.load(Ordering::Relaxed) {
        if shared.rests.load(Ordering::Relaxed) {
            shared.resting.fetch_add(1, Ordering::Relaxed);
            while shared.rests.load(Ordering::Relaxed) && !shared.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            shared.resting.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let is_poisoned = offer.one_poisoned_of.is_some_and(|of| number.is_multiple_of(of));
        let recipient = if is_poisoned { "poison" } else { "good" };
        client.send(format!("MAIL FROM:<s@offers.test>\r\nRCPT TO:<{recipient}@mx.test>\r\n"))?;
        let mail = client.reply()?;
        if mail.code == 421 {
            // It is the last that is heard.
            shared.refuse("MAIL", &mail);
            return wanted_at_most(&mail, 500);
        }
        let rcpt = client.reply()?;
        if let Some((step, reply)) = [("MAIL", &mail), ("RCPT", &rcpt)].into_iter().find(|(_, reply)| reply.code != 250)
        {
            shared.refuse(step, reply);
            wanted_at_most(reply, 500)?;
            client.send("RSET\r\n")?;
            wanted(&client.reply()?, 250)?;
            // As many refusals as the machine can make would starve whom the test is about.
            std::thread::sleep(Duration::from_millis(2));
            continue;
        }
        client.send("DATA\r\n")?;
        wanted(&client.reply()?, 354)?;
        shared.ledger.lock().unwrap().offered.insert(number);
        let octets = if number.is_multiple_of(8) { offer.octets.max(offer.octets_of_some) } else { offer.octets };
        client.send(content(number, octets))?;
        // From here on the server may have the message, whether or not the answer comes.
        shared.ledger.lock().unwrap().unanswered += 1;
        let ended_at = Instant::now();
        client.send(".\r\n")?;
        let answer = client.reply()?;
        let time = offer.clock.as_ref().map(|clock| clock.load(Ordering::SeqCst));
        let mut ledger = shared.ledger.lock().unwrap();
        ledger.unanswered -= 1;
        ledger.slowest = ledger.slowest.max(ended_at.elapsed());
        if answer.code == 250 {
            // What is not kept has none.
            let id = id_of(&answer.text).unwrap_or_else(|| format!("#{number}"));
            if let Some(time) = time {
                ledger.acknowledged_at.insert(id.clone(), time);
            }
            assert_eq!(ledger.acknowledged.insert(id, number), None, "an id was given twice: {answer:?}");
            shared.acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            drop(ledger);
            shared.refuse("end", &answer);
            wanted_at_most(&answer, 500)?;
        }
    }
    client.send("QUIT\r\n")?;
    client.reply().map(drop)
}

impl Shared {
    fn refuse(&self, step: &str, reply: &Reply) {
        let codes: Vec<&str> = reply.text.split([' ', '-']).take(2).collect();
        *self.ledger.lock().unwrap().refused.entry(format!("{step} {}", codes.join(" "))).or_default() += 1;
        self.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The id in a 250: 26 digits of base 32.
fn id_of(reply: &str) -> Option<String> {
    let is_digit = |letter: char| letter.is_ascii_digit() || ('a'..='v').contains(&letter);
    let is_id = |word: &&str| word.len() == 26 && word.chars().all(is_digit);
    reply.split(|letter: char| !letter.is_ascii_alphanumeric()).find(is_id).map(str::to_owned)
}

fn wanted(reply: &Reply, code: u16) -> io::Result<()> {
    if reply.code == code { Ok(()) } else { Err(io::Error::other(reply.text.clone())) }
}

fn wanted_at_most(reply: &Reply, code: u16) -> io::Result<()> {
    // After 421 the server closes.
    if reply.code < code && reply.code != 421 { Ok(()) } else { Err(io::Error::other(reply.text.clone())) }
}
