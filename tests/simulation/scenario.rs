//! What a seed means: the house, its clients, what goes wrong, and what it is told meanwhile.

use std::collections::BTreeSet;
use std::num::NonZeroU16;

use crate::limits;
use crate::policy::scope::{Promise, Taking, Timeouts};
use crate::reactor::buffers::GroupShape;
use crate::simulation::chance::Chance;
use crate::simulation::faults::Faults;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::settings::{AddressSyntax, Dialect, Nul, Synchronization, Terms};

use super::answers::Answers;
use super::speech::{self, Manner, Token};
use super::spool::{self, SpoolPlan};

/// All of it. The same seed and the same omissions make the same one.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub faults: Faults,
    pub group: GroupShape,
    pub connections: u32,
    /// With two, connections are handed over.
    pub shards: usize,
    /// Of them, those that have logs.
    pub logging: NonZeroU16,
    pub session_octets: u64,
    /// What the doors have, plan after plan; a reload goes to the next.
    pub plans: Vec<Plan>,
    pub answers: Answers,
    pub clients: Vec<Client>,
    pub orders: Vec<Order>,
    /// What the last drain gives.
    pub patience_ms: u64,
    /// Where mail goes that is handed off; in some, none is.
    pub hand_off: Option<HandOff>,
}

/// Between the shard and its sinks.
#[derive(Clone, Debug)]
pub struct HandOff {
    /// One for each route.
    pub sinks: Vec<SinkPlan>,
    /// Letters that a queue has room for.
    pub letters: usize,
    pub blocks: usize,
    pub block_octets: usize,
    /// The last drain comes when all is delivered, and not before.
    pub awaits_sinks: bool,
    /// Clients, in percent, that have much mail and send all of it.
    pub keen: u8,
    /// Where mail is kept; in some, none is.
    pub spool: Option<SpoolPlan>,
}

/// How a sink takes deliveries.
#[derive(Clone, Copy, Debug)]
pub struct SinkPlan {
    /// Between two looks.
    pub pause_ms: u64,
    /// So many at once.
    pub batch: usize,
    /// So many it has at most.
    pub holds: usize,
    /// So long it has each, at most.
    pub works_ms: u64,
    /// It stands still from then on until then.
    pub stops: Option<(u64, u64)>,
    /// It goes for good.
    pub goes_at_ms: Option<u64>,
    /// Deliveries, in percent, of which it does not say all.
    pub drops: u8,
    /// Recipients, in percent, that are refused for now.
    pub later: u8,
    /// And for ever.
    pub never: u8,
}

impl SinkPlan {
    /// It takes all, at once.
    pub const PLAIN: Self = Self {
        pause_ms: 0,
        batch: usize::MAX,
        holds: usize::MAX,
        works_ms: 0,
        stops: None,
        goes_at_ms: None,
        drops: 0,
        later: 0,
        never: 0,
    };
}

/// What the two doors have under one plan.
#[derive(Clone, Debug)]
pub struct Plan {
    pub doors: [DoorTerms; 2],
}

#[derive(Clone, Debug)]
pub struct DoorTerms {
    pub terms: Terms,
    pub timeouts: Timeouts,
    pub proxy_timeout_ms: Option<u64>,
    /// XCLIENT is for everybody.
    pub trusts: bool,
    pub taking: Taking,
}

/// Something that the shard is told from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Since the start.
    pub at_ms: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The next plan.
    Reload,
    /// A door is closed, or opened again.
    Toggle {
        door: usize,
    },
    List,
    Snapshot,
    /// An answer that nobody asked for.
    Stray,
    Drain {
        patience_ms: u64,
    },
}

/// When a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// One piece, its reply, the next.
    Polite { think_ms: u64 },
    /// As RFC 2920 allows.
    Grouped { think_ms: u64 },
    /// All at once, without waiting for anything.
    Early,
    /// A piece after each time.
    Timed { gap_ms: u64 },
    /// So many octets after each time.
    Trickling { octets: usize, gap_ms: u64 },
}

/// What a client takes of the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    All,
    /// So many octets, now and then.
    Slow {
        octets: usize,
    },
    /// Nothing; so many octets lie unread.
    Never {
        window_octets: usize,
    },
}

/// What a client does when it has sent all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It waits for the server to end.
    Wait,
    HalfClose,
    Reset {
        in_order: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Client {
    pub number: usize,
    pub at_ms: u64,
    pub door: usize,
    /// What comes before SMTP.
    pub header: Vec<u8>,
    pub is_header_right: bool,
    pub tokens: Vec<Token>,
    pub pace: Pace,
    pub reading: Reading,
    /// It sends so many octets at most.
    pub sends_most: usize,
    pub ending: Ending,
    /// It closes when it sees the server's end; else it never does.
    pub closes: bool,
}

/// Parts that are left out, to find out which matter: `c3` a client, `c3t5` one of its tokens, `o2` an order, `f:late` a kind of
/// fault, `answers` all that is not answered at once, `s1` what is special about a sink, `d:fails` what happens to the disk under the logs.
pub type Omissions = BTreeSet<String>;

impl Scenario {
    pub fn new(seed: u64, omissions: &Omissions) -> Self {
        let chance = Chance::new(seed);
        let mut draw = chance.of("house", 0);
        // A share of the seeds has nothing special: there, nothing may be excused.
        let is_calm = draw.percent(15);
        let is_strict = draw.percent(30);
        let answers = Answers::draw(&mut chance.of("answers", 0), is_calm);
        let plan_count = draw.between(1, 3) as usize;
        let mut scenario = Self {
            seed,
            faults: if is_calm { Faults::NONE } else { faults(&mut chance.of("faults", 0)) },
            group: GroupShape { buffer_octets: *draw.pick(&[16, 64, 512, 4096]), buffers: *draw.pick(&[1, 2, 4, 16]) },
            connections: if draw.percent(80) { 100 } else { draw.between(1, 3) as u32 },
            session_octets: if is_calm || draw.percent(85) { 64 << 20 } else { draw.between(2_000, 200_000) },
            plans: Vec::new(),
            answers,
            clients: Vec::new(),
            orders: Vec::new(),
            hand_off: chance.of("hand-off", 0).percent(50).then(|| hand_off(&mut chance.of("hand-off", 0), is_calm)),
            shards: if chance.of("shards", 0).percent(30) { 2 } else { 1 },
            logging: if chance.of("logging", 0).percent(50) { NonZeroU16::MIN } else { NonZeroU16::MAX },
            patience_ms: if draw.percent(60) { 120_000 } else { draw.between(0, 5_000) },
        };
        if is_calm {
            scenario.connections = 100;
        }
        let share = if scenario.hand_off.is_some() { 25 } else { 38 };
        let has_spool = chance.of("spool", 0).percent(share);
        if has_spool {
            scenario.hand_off = Some(hand_off(&mut chance.of("hand-off", 1), is_calm));
            scenario.add_spool(&mut chance.of("spool", 1), is_calm);
        }
        let limits = !scenario.defers();
        for number in 0..plan_count {
            let mut plan = plan(&mut chance.of("plan", number as u64), number, is_strict, is_calm, limits);
            if scenario.hand_off.is_some() {
                let mut draw = chance.of("taking", number as u64);
                plan.doors.iter_mut().for_each(|door| door.hand_off(&mut draw, has_spool));
            }
            scenario.plans.push(plan);
        }
        // Many that come and go at once: slots are used again while answers for their last owners are out.
        let is_crowd = !is_calm && draw.percent(8);
        let is_tight = scenario.session_octets < 1 << 20;
        let mut count = chance.of("clients", 0);
        for number in 0..if is_crowd { count.between(6, 20) } else { count.between(1, 5) } as usize {
            let mut client = client(
                &mut chance.of("client", number as u64),
                number,
                &scenario.plans[0],
                is_strict,
                is_calm,
                is_tight,
            );
            if let Some(hand_off) = &scenario.hand_off
                && !is_crowd
                && hand_off.keen > 0
            {
                let is_spooled = hand_off.spool.is_some();
                client.insist(&mut chance.of("insist", number as u64), hand_off.keen, is_strict, is_spooled);
            }
            if is_crowd {
                client.hurry(&mut chance.of("hurry", number as u64));
            }
            scenario.clients.push(client);
        }
        if !is_calm {
            let mut draw = chance.of("orders", 0);
            for _ in 0..draw.below(5) {
                let order = order(&mut draw, &scenario.clients);
                scenario.orders.push(order);
            }
            scenario.orders.sort_by_key(|order| order.at_ms);
        }
        scenario.omit(omissions);
        scenario
    }

    /// Mail is kept, too: blocks of memory are as large as a log wants them.
    fn add_spool(&mut self, draw: &mut Chance, is_calm: bool) {
        let Some(hand_off) = &mut self.hand_off else { return };
        hand_off.block_octets = *draw.pick(&[16, 16, 32]) * 1024;
        hand_off.blocks = *draw.pick(&[8, 8, 10, 12, 24]);
        hand_off.keen = *draw.pick(&[10, 30, 80]);
        hand_off.spool = Some(SpoolPlan::draw(draw, is_calm, hand_off.block_octets));
        if is_calm {
            return;
        }
        spool::add_faults(&mut self.faults, draw);
        if draw.percent(25) {
            // Several writes are under way at any time, and some of them fail.
            (hand_off.keen, hand_off.blocks, hand_off.block_octets) = (100, 24, 16 * 1024);
            spool::add_some_faults(&mut self.faults, draw);
        }
    }

    fn omit(&mut self, omissions: &Omissions) {
        let mut number = 0;
        self.orders.retain(|_| {
            number += 1;
            !omissions.contains(&format!("o{}", number - 1))
        });
        self.clients.retain(|client| !omissions.contains(&format!("c{}", client.number)));
        for client in &mut self.clients {
            let mut index = 0;
            let number = client.number;
            client.tokens.retain(|_| {
                index += 1;
                !omissions.contains(&format!("c{number}t{}", index - 1))
            });
        }
        for (name, clear) in FAULTS {
            if omissions.contains(&format!("f:{name}")) {
                clear(&mut self.faults);
            }
        }
        for (number, sink) in self.hand_off.iter_mut().flat_map(|hand_off| &mut hand_off.sinks).enumerate() {
            if omissions.contains(&format!("s{number}")) {
                *sink = SinkPlan::PLAIN;
            }
        }
        if let Some(plan) = self.hand_off.as_mut().and_then(|hand_off| hand_off.spool.as_mut()) {
            spool::PARTS.iter().filter(|(name, _)| omissions.contains(*name)).for_each(|(_, clear)| clear(plan));
        }
        if omissions.contains("answers") {
            self.answers = Answers::at_once(&self.answers);
        }
    }

    /// What could be left out besides.
    pub fn parts(&self) -> Vec<String> {
        let mut parts: Vec<String> = self.clients.iter().map(|client| format!("c{}", client.number)).collect();
        parts.extend((0..self.orders.len()).map(|number| format!("o{number}")));
        parts.extend((0..self.sinks().len()).map(|number| format!("s{number}")));
        parts.push("answers".to_owned());
        if self.has_spool() {
            parts.extend(spool::PARTS.iter().map(|(name, _)| (*name).to_owned()));
        }
        parts.extend(FAULTS.iter().map(|(name, _)| format!("f:{name}")));
        for client in &self.clients {
            parts.extend((0..client.tokens.len()).rev().map(|index| format!("c{}t{index}", client.number)));
        }
        parts
    }

    pub fn sinks(&self) -> &[SinkPlan] {
        self.hand_off.as_ref().map_or(&[], |hand_off| &hand_off.sinks)
    }

    pub fn has_spool(&self) -> bool {
        self.hand_off.as_ref().is_some_and(|hand_off| hand_off.spool.is_some())
    }

    /// Whether anything is answered later than it is asked.
    pub fn defers(&self) -> bool {
        self.answers.defer() || self.hand_off.is_some()
    }

    /// How much later than it should a client of so many octets may be heard or answered, in ms.
    pub fn delay_ms(&self, octets: usize) -> u64 {
        let each_ms = self.late_ms() + if self.faults.receive_fails > 0 { limits::RECEIVE_PAUSE_MS } else { 0 };
        self.slack_ms() + each_ms * octets as u64
    }

    /// How late a completion may be, in ms.
    pub fn late_ms(&self) -> u64 {
        if self.faults.late > 0 { self.faults.late_most_ms } else { 0 }
    }

    /// Whether time does not run as it should.
    pub fn has_odd_time(&self) -> bool {
        self.faults.jump > 0 || self.faults.stall > 0
    }

    /// How much later than it should anything may happen, in ms.
    pub fn slack_ms(&self) -> u64 {
        let Faults { late_most_ms, jump, jump_most_ms, stall, .. } = self.faults;
        300 + 4 * late_most_ms + if jump > 0 || stall > 0 { 4 * jump_most_ms } else { 0 }
    }
}

type Clear = fn(&mut Faults);

/// Kinds of faults, by name.
const FAULTS: &[(&str, Clear)] = &[
    ("short_receive", |faults| faults.short_receive = 0),
    ("receive_ends", |faults| faults.receive_ends = 0),
    ("receive_fails", |faults| faults.receive_fails = 0),
    ("short_send", |faults| faults.short_send = 0),
    ("send_fails", |faults| faults.send_fails = 0),
    ("cancel_misses", |faults| faults.cancel_misses = 0),
    ("last_accept_first", |faults| faults.last_accept_first = 0),
    ("accept_fails", |faults| faults.accept_fails = 0),
    ("part_fails", |faults| faults.part_fails = 0),
    ("write_fails", |faults| faults.write_fails = 0),
    ("write_lacks_room", |faults| faults.write_lacks_room = 0),
    ("short_write", |faults| faults.short_write = 0),
    ("write_hangs", |faults| faults.write_hangs = 0),
    ("slow_write", |faults| faults.slow_write = 0),
    ("late", |faults| faults.late = 0),
    ("reorder", |faults| faults.reorder = 0),
    ("interrupted", |faults| faults.interrupted = 0),
    ("jump", |faults| faults.jump = 0),
    ("stall", |faults| faults.stall = 0),
    ("stale", |faults| faults.stale = 0),
    ("tiny_rings", |faults| {
        faults.submission_entries = usize::MAX;
        faults.completion_entries = usize::MAX;
    }),
];

fn faults(draw: &mut Chance) -> Faults {
    let mut odds = |share: u8, most: u64| if draw.percent(share) { draw.between(1, most) as u8 } else { 0 };
    let mut faults = Faults {
        short_receive: odds(50, 90),
        receive_ends: odds(40, 60),
        receive_fails: odds(40, 30),
        short_send: odds(40, 60),
        send_fails: odds(30, 30),
        cancel_misses: odds(40, 60),
        last_accept_first: odds(60, 100),
        accept_fails: odds(30, 50),
        part_fails: odds(20, 50),
        late: odds(40, 50),
        reorder: odds(50, 100),
        interrupted: odds(30, 30),
        jump: odds(8, 4),
        stall: odds(8, 4),
        stale: odds(25, 20),
        ..Faults::NONE
    };
    faults.late_most_ms = *draw.pick(&[1, 20, 500]);
    faults.jump_most_ms = *draw.pick(&[50, 5_000, 3_600_000]);
    if draw.percent(30) {
        faults.submission_entries = draw.between(1, 8) as usize;
    }
    if draw.percent(30) {
        faults.completion_entries = draw.between(1, 8) as usize;
    }
    faults
}

/// Narrow, mostly, so that both bounds are met: of letters, and of memory.
fn hand_off(draw: &mut Chance, is_calm: bool) -> HandOff {
    draw.draw();
    let routes = draw.between(2, 3);
    let mut sinks: Vec<SinkPlan> = (0..routes).map(|_| sink(draw, is_calm)).collect();
    let is_hard = !is_calm && draw.percent(40);
    if is_hard {
        // All stand still, so that what they do not take has to lie somewhere.
        let until_ms = *draw.pick(&[4_000, 20_000, 60_000]);
        sinks.iter_mut().for_each(|sink| sink.stops = Some((0, until_ms)));
    }
    HandOff {
        sinks,
        letters: *draw.pick(&[1, 2, 2, 4, 16]),
        blocks: if is_hard { draw.between(4, 8) } else { draw.between(4, 24) } as usize,
        block_octets: *draw.pick(if is_hard { &[256, 512, 1_024] } else { &[256, 1_024, 8_192] }),
        awaits_sinks: is_calm || draw.percent(70),
        keen: if is_hard { 80 } else { 10 },
        spool: None,
    }
}

fn sink(draw: &mut Chance, is_calm: bool) -> SinkPlan {
    let mut odds = |share: u8, most: u64| if draw.percent(share) { draw.between(1, most) as u8 } else { 0 };
    let (drops, later, never) = (odds(40, 60), odds(40, 40), odds(30, 30));
    if is_calm {
        return SinkPlan { drops, later, never, ..SinkPlan::PLAIN };
    }
    let stops = draw.percent(30).then(|| {
        let from_ms = *draw.pick(&[0, 0, 10, 700, 3_000]);
        (from_ms, from_ms + *draw.pick(&[500, 5_000, 30_000, 100_000]))
    });
    SinkPlan {
        pause_ms: *draw.pick(&[0, 0, 1, 50, 1_000]),
        batch: *draw.pick(&[1, 2, 100]),
        holds: *draw.pick(&[1, 3, 100]),
        works_ms: *draw.pick(&[0, 0, 5, 300, 3_000]),
        stops,
        goes_at_ms: draw.percent(8).then(|| draw.between(0, 4_000)),
        drops,
        later,
        never,
    }
}

impl DoorTerms {
    fn hand_off(&mut self, draw: &mut Chance, has_spool: bool) {
        self.taking = match draw.below(10) {
            _ if has_spool => spool::taking(draw),
            0..3 => Taking::Discard,
            3..7 => Taking::HandOff(Promise::Memory),
            _ => Taking::HandOff(Promise::Delivered),
        };
        if has_spool && draw.percent(40) {
            // As long as the engine gives it, which is longer than a log gives a write.
            self.timeouts.answer_ms = limits::ANSWER_MS;
        }
        // What is kept is not said to be discarded, and its envelope is needed.
        self.terms.discards &= self.taking == Taking::Discard;
    }

    pub fn hands_off(&self) -> bool {
        self.taking != Taking::Discard
    }

    pub fn has_sinks(&self) -> bool {
        matches!(self.taking, Taking::HandOff(_))
    }
}

fn plan(draw: &mut Chance, number: usize, is_strict: bool, is_calm: bool, limits: bool) -> Plan {
    let door = |draw: &mut Chance, dialect: Dialect, proxy: bool| DoorTerms {
        terms: terms(draw, number, dialect, is_strict, limits),
        timeouts: Timeouts {
            idle_ms: if is_calm { 300_000 } else { draw.between(3_000, 30_000) },
            transaction_ms: (!is_calm && draw.percent(40)).then(|| draw.between(2_000, 40_000)),
            greet_pause_ms: if !is_calm && draw.percent(15) { draw.between(100, 2_000) } else { 0 },
            answer_ms: if is_calm { 30_000 } else { draw.between(1_000, 8_000) },
        },
        proxy_timeout_ms: proxy.then_some(5_000),
        trusts: draw.percent(20),
        taking: Taking::Discard,
    };
    // Protocol and preamble of a door are the same in all plans: clients know to which they go.
    Plan { doors: [door(draw, Dialect::Smtp, false), door(draw, Dialect::Lmtp, true)] }
}

fn terms(draw: &mut Chance, number: usize, dialect: Dialect, is_strict: bool, limits: bool) -> Terms {
    let is_plain = draw.percent(50);
    let mut limit = |share: u8, some: &[u32]| (!is_plain && draw.percent(share)).then(|| *draw.pick(some));
    let usual = Terms::public(&format!("mx{number}.test"));
    let extensions = match limit(10, &[0, 1]) {
        Some(0) => Extensions::NONE,
        Some(_) => usual.extensions.without(Extension::Chunking),
        None => usual.extensions,
    };
    Terms {
        dialect,
        extensions,
        message_size_bytes: limit(30, &[40, 300, 2_000]).map_or(1_000_000, u64::from),
        recipients_per_message: limit(30, &[1, 2]).unwrap_or(100),
        recipient_domains_per_message: limit(20, &[1, 2]),
        messages_per_connection: limit(20, &[1, 3]),
        errors: limit(40, &[1, 3, 20]).filter(|_| limits),
        junk_commands: limit(40, &[0, 2, 20]).filter(|_| limits),
        received_fields: limit(30, &[0, 1]),
        line_octets: limit(20, &[5, 20]),
        synchronization: if is_strict { Synchronization::Strict } else { Synchronization::Tolerant },
        bare_newline: *draw.pick(&[BareNewline::Normalize, BareNewline::Preserve, BareNewline::Reject]),
        nul: *draw.pick(&[Nul::Accept, Nul::Reject]),
        address_syntax: *draw.pick(&[AddressSyntax::Loose, AddressSyntax::Strict]),
        discards: draw.percent(40),
        ..usual
    }
}

fn client(draw: &mut Chance, number: usize, plan: &Plan, is_strict: bool, is_calm: bool, is_tight: bool) -> Client {
    let door = usize::from(draw.percent(25));
    let is_lmtp = plan.doors[door].terms.dialect == Dialect::Lmtp;
    let manner = Manner {
        is_lmtp,
        hostile: *draw.pick(&[0, 0, 5, 30]),
        messages: *draw.pick(&[1, 2, 4, 8]),
        content_octets: *draw.pick(&[100, 1_000, 1_000, 20_000]),
    };
    // Where memory is tight, somebody takes it.
    let never_reads = !is_calm && !is_strict && draw.percent(if is_tight { 40 } else { 4 });
    let tokens = if never_reads { speech::flood(draw, manner) } else { speech::speech(draw, manner) };
    let think_ms = *draw.pick(&[0, 0, 1, 50]);
    let pace = match draw.below(if is_strict { 4 } else { 10 }) {
        0 | 1 => Pace::Polite { think_ms },
        2 | 3 => Pace::Grouped { think_ms },
        4..7 => Pace::Early,
        7 | 8 => Pace::Timed { gap_ms: *draw.pick(&[0, 1, 30, 300]) },
        _ => Pace::Trickling { octets: draw.between(1, 30) as usize, gap_ms: *draw.pick(&[0, 1, 5]) },
    };
    let reading = match draw.below(20) {
        _ if never_reads && draw.percent(50) => Reading::Never { window_octets: *draw.pick(&[0, 1_000, 30_000]) },
        0 if !is_strict => Reading::Slow { octets: draw.between(1, 200) as usize },
        _ if never_reads => Reading::Slow { octets: draw.between(200, 5_000) as usize },
        _ => Reading::All,
    };
    let pace = if reading == Reading::All { pace } else { Pace::Early };
    let is_cut = !is_calm && draw.percent(15);
    let all: usize = tokens.iter().map(|token| token.octets.len()).sum();
    let ending = match draw.below(10) {
        0..5 => Ending::Wait,
        5..8 => Ending::HalfClose,
        at => Ending::Reset { in_order: at == 8 },
    };
    let (header, is_header_right) =
        if plan.doors[door].proxy_timeout_ms.is_some() { header(draw) } else { (Vec::new(), true) };
    Client {
        number,
        at_ms: *draw.pick(&[0, 0, 5, 700, 3_000]),
        door,
        header,
        is_header_right,
        tokens,
        pace,
        reading,
        sends_most: if is_cut { draw.below(all + 1) } else { usize::MAX },
        ending: if is_calm && ending != Ending::HalfClose { Ending::Wait } else { ending },
        closes: draw.percent(80),
    }
}

impl Client {
    /// Makes it one that has much mail, perhaps.
    fn insist(&mut self, draw: &mut Chance, keen: u8, is_strict: bool, is_spooled: bool) {
        if !draw.percent(keen) || self.reading != Reading::All {
            return;
        }
        // So that blocks are filled, and several are under way.
        let (messages, sizes) = if is_spooled { (8, [3_000, 30_000]) } else { (20, [300, 3_000]) };
        let content_octets = *draw.pick(&sizes);
        let manner = Manner { is_lmtp: self.door == 1, hostile: 0, messages, content_octets };
        self.tokens = speech::speech(draw, manner);
        self.sends_most = usize::MAX;
        self.pace = match draw.below(4) {
            0 => Pace::Polite { think_ms: *draw.pick(&[0, 20]) },
            1 if !is_strict => Pace::Early,
            _ => Pace::Grouped { think_ms: 0 },
        };
        if let Ending::Reset { .. } = self.ending {
            self.ending = Ending::Wait;
        }
    }

    /// Makes it one of a crowd, that is gone before it was served.
    fn hurry(&mut self, draw: &mut Chance) {
        self.at_ms = draw.between(0, 400);
        self.tokens.truncate(6);
        self.ending = match draw.below(10) {
            0..5 => Ending::Reset { in_order: false },
            5 => Ending::HalfClose,
            _ => self.ending,
        };
        if self.ending != Ending::Wait && draw.percent(50) {
            self.sends_most = draw.below(60);
        }
    }
}

fn header(draw: &mut Chance) -> (Vec<u8>, bool) {
    match draw.below(12) {
        0 => (b"PROXY TCP4 nonsense\r\n".to_vec(), false),
        1 => (b"EHLO c.test\r\n".to_vec(), false),
        2 => (b"PROXY UNKNOWN\r\n".to_vec(), true),
        3 | 4 => {
            // Version 2, LOCAL, with nothing behind.
            let signature = b"\r\n\r\n\0\r\nQUIT\n";
            ([signature, &[0x20, 0, 0, 0][..]].concat(), true)
        }
        _ => (
            format!("PROXY TCP4 192.0.2.{} 192.0.2.1 {} 25\r\n", draw.below(9), 1000 + draw.below(9)).into_bytes(),
            true,
        ),
    }
}

fn order(draw: &mut Chance, clients: &[Client]) -> Order {
    // Often just when somebody comes.
    let begin_ms = match draw.percent(50) {
        true => draw.pick(clients).at_ms,
        false => *draw.pick(&[0, 1, 10, 100, 1_000, 4_000]),
    };
    let most_ms = *draw.pick(&[0, 2, 20, 400]);
    let at_ms = begin_ms + draw.between(0, most_ms);
    let what = match draw.below(20) {
        0..6 => What::Reload,
        6..9 => What::Toggle { door: draw.below(2) },
        9..13 => What::List,
        13..16 => What::Snapshot,
        16..19 => What::Stray,
        _ => What::Drain { patience_ms: *draw.pick(&[0, 100, 10_000, 100_000]) },
    };
    Order { at_ms, what }
}
