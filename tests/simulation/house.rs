//! The production shard with its doors, its clients, its policy and its sink, from the first connection to the end of a drain.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crossbeam::utils::CachePadded;
use ipnet::IpNet;

use crate::handoff::mailbox::{Receiver, Sender, mailbox};
use crate::limits;
use crate::metrics::counters::Counters;
use crate::mutant::Mutant;
use crate::policy::decision::Ticket;
use crate::policy::scope::{Scope, Scopes};
use crate::reactor::io::{GroupId, ListenerId, Time};
use crate::reactor::listening::Bind;
use crate::shard::balance::{Load, Neighbours};
use crate::shard::control::{Control, Door, Page};
use crate::shard::{Shard, ShardOptions, Turn};
use crate::simulation::chance::Chance;
use crate::simulation::io::{SimulatedIo, SimulatedSocket};
use crate::simulation::world::Network;
use crate::smtp::session::{Outcome, Point};
use crate::smtp::settings::Settings;

use super::answers::{Clerk, DoorPolicy, When};
use super::book::Book;
use super::client::Client;
use super::ledger::{Handed, Ledger, Used, Watched};
use super::scenario::{Order, Scenario, What};
use super::sinks::Sinks;
use super::spool::rig::Rig;

/// Turns after which a house that does not come to its end never will: ten times the most that 20,000 seeds came to.
const STEPS_MOST: u64 = 400_000;

/// The same under a deliberate bug, as half of a minute is too much for each that keeps a house from its end: more than
/// 20,000 seeds came to without one.
const STEPS_MOST_OF_MUTANT: u64 = 40_000;

/// An answer of somebody else, as it was planned and given.
#[derive(Clone, Debug)]
pub struct Told {
    pub point: Point,
    pub about: String,
    /// The step before whose turn it was put into the mailbox; `None` while it is not.
    pub step: Option<u64>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcomes {
    pub clients: Vec<Client>,
    /// What the sink was handed, by client.
    pub handed: BTreeMap<usize, Vec<Handed>>,
    /// What was answered elsewhere, by client, in the order of the questions.
    pub told: BTreeMap<usize, Vec<Told>>,
    pub counters: Arc<CachePadded<Counters>>,
    pub network: Network,
    /// When a drain was ordered, first, and how long it could last.
    pub drained_at: Option<Time>,
    pub ended_at: Time,
    /// Most octets that sessions held.
    pub held_most: u64,
    /// Doors that were closed at some time.
    pub closed_doors: [bool; 2],
    pub was_forced: bool,
    /// What was handed off.
    pub book: Book,
    /// Most octets of content that were held, in percent of what may be.
    pub content_most: u64,
}

struct Due {
    at: Time,
    ticket: Ticket,
    outcome: Outcome,
    /// Whose, and which of theirs.
    of: Option<(usize, usize)>,
}

impl Outcomes {
    /// Whether anybody was refused because sinks had not taken enough.
    pub fn was_without_room(&self) -> bool {
        self.content_most >= 80 || self.book.refused_routes.contains(&true)
    }
}

type Message = Control<ListenerId, SimulatedSocket>;

/// Another shard, as this one sees it.
struct Neighbour {
    loads: Arc<[CachePadded<Load>]>,
    /// What it is told.
    messages: Receiver<Message>,
    /// Decides how many connections it seems to have.
    chance: Chance,
}

/// See the module.
pub struct House<'s> {
    scenario: &'s Scenario,
    network: Network,
    /// None when it has done.
    shard: Option<Shard<SimulatedIo, Ledger>>,
    control: Sender<Message>,
    /// The other shard.
    neighbour: Neighbour,
    counters: Arc<CachePadded<Counters>>,
    clerk: Arc<Clerk>,
    handed: Rc<RefCell<Vec<Handed>>>,
    clients: Vec<Client>,
    orders: Vec<(Time, Order)>,
    due: Vec<Due>,
    told: BTreeMap<usize, Vec<Told>>,
    by_client: BTreeMap<usize, Vec<Handed>>,
    plan: usize,
    listeners: [Option<ListenerId>; 2],
    /// Doors whose listeners the shard has not been given yet.
    next_listener: u32,
    pages: (mpsc::Sender<Page>, mpsc::Receiver<Page>),
    drained_at: Option<Time>,
    drain_ends: Option<Time>,
    closed_doors: [bool; 2],
    held_most: u64,
    step: u64,
    was_forced: bool,
    book: Rc<RefCell<Book>>,
    sinks: Option<Rc<RefCell<Sinks>>>,
    /// What the logs stand on.
    rig: Option<Rc<RefCell<Rig>>>,
    used: Option<Used>,
    content_most: u64,
    /// When sinks act.
    sinks_chance: Chance,
    /// Turns in which time went on since all clients had gone, and there were letters still; and when the last was. What a client
    /// left unread may come in many turns of one moment, in which no sink has its time.
    awaits_sinks: u64,
    awaited_at: Option<Time>,
}

impl<'s> House<'s> {
    pub fn new(scenario: &'s Scenario, traces: bool) -> Self {
        let chance = Chance::new(scenario.seed);
        let network = Network::with_faults(&[scenario.group], scenario.faults, chance.of("world", 0));
        if traces {
            network.start_trace();
        }
        let (control, messages, wake) = mailbox().expect("the system has descriptors");
        let counters = Arc::new(CachePadded::new(Counters::default()));
        let clerk = Arc::new(Clerk { answers: scenario.answers.clone(), deferred: Mutex::new(Vec::new()) });
        let handed = Rc::new(RefCell::new(Vec::new()));
        let watched = scenario.hand_off.as_ref();
        let watched = watched.map(|plan| Watched::new(scenario, plan, control.bell(), wake, &network, &chance));
        let book = watched.as_ref().map(|watched| Rc::clone(&watched.book)).unwrap_or_default();
        let sinks = watched.as_ref().map(|watched| Rc::clone(&watched.sinks));
        let used = watched.as_ref().map(|watched| watched.used.clone());
        let rig = watched.as_ref().and_then(|watched| watched.rig.clone());
        let ledger = Ledger { clerk: Arc::clone(&clerk), open: BTreeMap::new(), handed: Rc::clone(&handed), watched };
        let (to_neighbour, neighbour, _wake) = mailbox().expect("the system has descriptors");
        let loads: Arc<[CachePadded<Load>]> = (0..scenario.shards).map(|_| CachePadded::default()).collect();
        let mailboxes = [control.clone(), to_neighbour].into_iter().take(scenario.shards).collect();
        let options = ShardOptions {
            number: 0,
            neighbours: Neighbours::new(0, Arc::clone(&loads), mailboxes, scenario.logging),
            connections: scenario.connections,
            control: messages,
            counters: Arc::clone(&counters),
            session_octets: scenario.session_octets,
        };
        let start = network.now();
        let shard = Some(Shard::new(SimulatedIo::new(network.clone(), scenario.seed), ledger, options));
        let mut house = Self {
            scenario,
            shard,
            control,
            neighbour: Neighbour { loads, messages: neighbour, chance: chance.of("neighbour", 0) },
            counters,
            clerk,
            handed,
            clients: scenario.clients.iter().map(|client| Client::new(client.clone(), start)).collect(),
            orders: scenario.orders.iter().map(|order| (start.plus_ms(order.at_ms), *order)).rev().collect(),
            network,
            due: Vec::new(),
            told: BTreeMap::new(),
            by_client: BTreeMap::new(),
            plan: 0,
            listeners: [None; 2],
            next_listener: 0,
            pages: mpsc::channel(),
            drained_at: None,
            drain_ends: None,
            closed_doors: [false; 2],
            held_most: 0,
            step: 0,
            was_forced: false,
            book,
            sinks,
            rig,
            used,
            content_most: 0,
            sinks_chance: chance.of("sinks act", 0),
            awaits_sinks: 0,
            awaited_at: None,
        };
        house.swap([true; 2]);
        house
    }

    /// The network, for its trace.
    pub fn network(&self) -> Network {
        self.network.clone()
    }

    /// Runs to the end of a drain.
    pub fn run(mut self) -> Result<Outcomes, String> {
        let most = if Mutant::any_is_on() { STEPS_MOST_OF_MUTANT } else { STEPS_MOST };
        loop {
            self.step += 1;
            if self.step > most {
                return Err(format!("after {most} turns there is no end"));
            }
            self.act();
            self.network.set_next_event(self.next_event());
            let shard = self.shard.as_mut().expect("it has not done");
            let turn = shard.turn().map_err(|errno| format!("a turn fails: {errno}"))?;
            self.look_around()?;
            if turn == Turn::Done {
                break;
            }
        }
        // What came with the last turn.
        for _ in 0..2_000 {
            self.step += 1;
            self.act();
            if self.clients.iter().all(|client| client.id.is_none() || client.is_over()) {
                break;
            }
        }
        self.close_sinks()?;
        Ok(Outcomes {
            book: self.book.take(),
            content_most: self.content_most,
            clients: self.clients,
            handed: self.by_client,
            told: self.told,
            counters: self.counters,
            drained_at: self.drained_at,
            ended_at: self.network.now(),
            network: self.network,
            held_most: self.held_most,
            closed_doors: self.closed_doors,
            was_forced: self.was_forced,
        })
    }

    /// The shard is gone: who takes deliveries gets what is left, and then nothing holds memory any more.
    fn close_sinks(&mut self) -> Result<(), String> {
        let Some(sinks) = self.sinks.take() else { return Ok(()) };
        self.shard = None;
        let comes_to_end = sinks.borrow_mut().drain(self.network.now());
        if let Some(rig) = &self.rig {
            rig.borrow().witness.check_end();
        }
        self.book.borrow_mut().check_counters(&self.counters);
        self.book.borrow_mut().close()?;
        if !comes_to_end {
            return Err("a consumer's end does not come".to_owned());
        }
        drop(sinks);
        self.network.abandon_writes();
        if let Some(rig) = self.rig.take() {
            rig.borrow().check_findings()?;
        }
        let used = self.used.as_ref().map_or(0, |used| (used.0)());
        if used > 0 { Err(format!("{used} blocks of memory are held by nobody")) } else { Ok(()) }
    }

    /// Whether all that was handed off is delivered; sinks hurry from here on.
    fn are_sinks_done(&mut self) -> bool {
        let Some(sinks) = &self.sinks else { return true };
        let hand_off = self.scenario.hand_off.as_ref().expect("there are sinks");
        // Counted when the turn in which it came to that is over.
        let is_empty = self.counters.handed_off.get() == 0
            && self.counters.handed_off_octets.get() <= self.idle_blocks() * hand_off.block_octets as u64
            && self.book.borrow().are_logs_read()
            && self.awaits_sinks > 1;
        if !hand_off.awaits_sinks || is_empty {
            return true;
        }
        let now = self.network.now();
        self.awaits_sinks += u64::from(self.awaited_at.replace(now) != Some(now));
        sinks.borrow_mut().hurry();
        if self.awaits_sinks > 2_000 {
            return true;
        }
        if self.awaits_sinks == 2_000 {
            let (letters, octets) = (self.counters.handed_off.get(), self.counters.handed_off_octets.get());
            self.book.borrow_mut().faults.push(format!("{letters} letters and {octets} octets do not come back"));
        }
        false
    }

    /// Blocks of memory that are in use when nobody has anything: one is written to by the gather, and two by each log; and those that
    /// the kernel has.
    fn idle_blocks(&self) -> u64 {
        let logs = self.book.borrow().logs.iter().filter(|log| log.is_there).count();
        let writes = self.rig.as_ref().map_or(0, |rig| rig.borrow().witness.writes());
        1 + 2 * logs as u64 + writes as u64
    }

    /// All that happens around the shard now.
    fn act(&mut self) {
        let now = self.network.now();
        self.book.borrow_mut().step = self.step;
        if let Some(sinks) = &self.sinks
            && self.sinks_chance.percent(50)
        {
            sinks.borrow_mut().act(now);
        }
        if let Some(rig) = &self.rig {
            let _ = rig.borrow_mut().act(now);
        }
        self.hand_back();
        // Who comes and what is ordered at one time may be in either order.
        let clients_first = self.scenario.seed.is_multiple_of(2);
        if clients_first {
            self.clients_act();
        }
        while self.orders.last().is_some_and(|(at, _)| *at <= now) {
            let Some((_, order)) = self.orders.pop() else { break };
            self.obey(order.what);
        }
        let (mut due, later) = std::mem::take(&mut self.due).into_iter().partition::<Vec<_>, _>(|due| due.at <= now);
        self.due = later;
        // No more than the shard hears in a turn: a sender that finds the mailbox full waits, here for ever.
        self.due.extend(due.split_off(due.len().min(limits::CONTROL_MESSAGES_PER_TURN / 2)));
        for Due { ticket, outcome, of, .. } in due {
            if let Some((client, index)) = of {
                let told = &mut self.told.get_mut(&client).expect("its question was noted")[index];
                told.step.get_or_insert(self.step);
            }
            self.tell(Control::Outcome { ticket, outcome });
        }
        if !clients_first {
            self.clients_act();
        }
        let is_over = |client: &Client| client.is_over() || (client.id.is_none() && self.drained_at.is_some());
        if self.orders.is_empty()
            && self.drained_at.is_none()
            && self.clients.iter().all(is_over)
            && self.are_sinks_done()
        {
            self.obey(What::Drain { patience_ms: self.scenario.patience_ms });
        }
    }

    /// The neighbour, which soon has fewer and soon more connections, hands back at once what it is handed: so one shard is
    /// both of them.
    fn hand_back(&mut self) {
        let Neighbour { loads, messages, chance } = &mut self.neighbour;
        let Some(load) = loads.get(1) else { return };
        let mut handed = Vec::new();
        while let Some(message) = messages.take() {
            handed.push(message);
        }
        for message in handed {
            let Control::Adopt(moved) = &message else { continue };
            if moved.scope.taking.is_logged() && self.scenario.logging.get() == 1 {
                self.book
                    .borrow_mut()
                    .faults
                    .push("a connection went to a shard that has no log for its mail".to_owned());
            }
            loads[0].add();
            load.remove();
            self.control.send(message).expect("the shard is there");
            self.network.wake();
        }
        let wanted = chance.pick(&[0, 0, 1_000]);
        while load.connections() < *wanted {
            load.add();
        }
        while load.connections() > *wanted {
            load.remove();
        }
    }

    fn clients_act(&mut self) {
        for client in &mut self.clients {
            client.act(&self.network, self.listeners[client.plan.door], self.step);
        }
    }

    fn next_event(&self) -> Option<Time> {
        let orders = self.orders.last().map(|(at, _)| *at);
        let due = self.due.iter().map(|due| due.at).min();
        let clients = self.clients.iter().filter_map(Client::next_at).min();
        let now = self.network.now();
        let sinks = self.sinks.as_ref().and_then(|sinks| sinks.borrow().next_at(now));
        [orders, due, clients, sinks].into_iter().flatten().min()
    }

    fn tell(&self, message: Message) {
        self.control.send(message).expect("the shard is there");
        self.network.wake();
    }

    fn obey(&mut self, what: What) {
        self.network.note(|| format!("order {what:?}"));
        match what {
            _ if self.drained_at.is_some() && matches!(what, What::Reload | What::Toggle { .. }) => {}
            What::Reload => {
                self.plan = (self.plan + 1) % self.scenario.plans.len();
                self.swap(self.listeners.map(|listener| listener.is_some()));
            }
            What::Toggle { door } => {
                let mut open = self.listeners.map(|listener| listener.is_some());
                open[door] = !open[door];
                self.swap(open);
            }
            What::List => self.tell(Control::List { from: 0, reply: self.pages.0.clone() }),
            What::Snapshot => {
                let (reply, _) = mpsc::channel();
                self.tell(Control::Snapshot { empty: Box::default(), reply });
            }
            What::Stray => {
                let ticket = Ticket { shard: 0, slot: 1, generation: 0x00FF_FFFF, question: 0 };
                self.tell(Control::Outcome { ticket, outcome: Outcome::Accept });
            }
            What::Drain { patience_ms } => {
                let now = self.network.now();
                self.drained_at.get_or_insert(now);
                let ends = now.plus_ms(patience_ms);
                self.drain_ends = Some(self.drain_ends.map_or(ends, |before| before.min(ends)));
                self.listeners = [None; 2];
                self.closed_doors = [true; 2];
                self.tell(Control::Drain { patience_ms });
            }
        }
    }

    /// Doors that are to be open, under the plan in force.
    fn swap(&mut self, open: [bool; 2]) {
        let mut doors = Vec::new();
        for (index, terms) in self.scenario.plans[self.plan].doors.iter().enumerate() {
            if !open[index] {
                self.closed_doors[index] |= self.listeners[index].take().is_some();
                continue;
            }
            let socket = match self.listeners[index] {
                Some(_) => None,
                None => {
                    self.next_listener += 1;
                    self.listeners[index] = Some(ListenerId(self.next_listener));
                    self.listeners[index]
                }
            };
            let scope = Scope {
                listener: format!("door{index}"),
                settings: Settings::new(terms.terms.clone()),
                timeouts: terms.timeouts,
                proxy_timeout_ms: terms.proxy_timeout_ms,
                taking: terms.taking,
                sums_content: true,
                served: None,
                policy: Arc::new(DoorPolicy {
                    clerk: Arc::clone(&self.clerk),
                    routes: self.scenario.hand_off.as_ref().map(|plan| plan.sinks.len()).filter(|_| terms.has_sinks()),
                }),
            };
            let trusted: Vec<IpNet> =
                terms.trusts.then(|| "0.0.0.0/0".parse().expect("a netblock")).into_iter().collect();
            let bind = Bind::Tcp(format!("127.0.0.1:{}", 25 + index).parse().expect("an address"));
            doors.push(Door { bind, scopes: Arc::new(Scopes::new(scope, trusted)), socket });
        }
        self.tell(Control::Swap(doors));
    }

    /// What the turn did, as it can be seen from outside.
    fn look_around(&mut self) -> Result<(), String> {
        let deferred = std::mem::take(&mut *self.clerk.deferred.lock().expect("one thread"));
        let now = self.network.now();
        for deferred in deferred {
            let client = self.client_in(deferred.ticket.slot);
            let of = client.map(|client| {
                let told = self.told.entry(client).or_default();
                told.push(Told { point: deferred.point, about: deferred.about.clone(), step: None });
                (client, told.len() - 1)
            });
            if let When::Elsewhere { delay_ms, times } = deferred.answer.when {
                for again in 0..u64::from(times) {
                    let outcome = deferred.answer.outcome.clone();
                    self.due.push(Due { at: now.plus_ms(delay_ms + 7 * again), ticket: deferred.ticket, outcome, of });
                }
            }
        }
        for handed in self.handed.take() {
            let client = self.client_in(handed.slot).ok_or("a message of nobody was handed over")?;
            self.by_client.entry(client).or_default().push(handed);
        }
        for page in self.pages.1.try_iter() {
            let mut slots: Vec<u32> = page.sessions.iter().map(|session| session.slot).collect();
            slots.dedup();
            if slots.len() != page.sessions.len() || slots.len() > self.clients.len() {
                return Err(format!("a page lists {} sessions of {} clients", page.sessions.len(), self.clients.len()));
            }
        }
        if let Some(rig) = &self.rig {
            rig.borrow().witness.look();
        }
        self.book.borrow().first_fault()?;
        if let (Some(used), Some(plan)) = (&self.used, &self.scenario.hand_off) {
            let used = (used.0)();
            if used > plan.blocks {
                return Err(format!("{used} blocks of memory are in use, of {}", plan.blocks));
            }
            self.content_most = self.content_most.max(used as u64 * 100 / plan.blocks as u64);
        }
        self.was_forced |= self.drain_ends.is_some_and(|ends| now >= ends);
        self.held_most = self.held_most.max(self.counters.session_octets.get());
        // Accepts and their cancels at two doors; for a connection a receive, a send, two cancels, a shutdown, a close.
        let under_way = self.network.operations_under_way();
        let buffers = usize::from(self.scenario.group.buffers);
        let writes = self.rig.as_ref().map_or(0, |rig| rig.borrow().witness.writes());
        let most = 2 * 2 * 2 * limits::ACCEPTS_PER_SOCKET + 6 * self.clients.len() + buffers + writes;
        if under_way > most {
            return Err(format!("{under_way} operations are under way, {most} may be"));
        }
        let most = self.network.free_buffers(GroupId(0));
        if most > usize::from(self.scenario.group.buffers) {
            return Err(format!("{most} buffers are free, of {}", self.scenario.group.buffers));
        }
        Ok(())
    }

    /// Whose connection it is.
    fn client_in(&self, slot: u32) -> Option<usize> {
        let id = self.network.client_in(slot)?;
        self.clients.iter().find(|client| client.id == Some(id)).map(|client| client.plan.number)
    }
}
