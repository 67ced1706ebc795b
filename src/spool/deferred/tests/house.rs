//! A sink with its deferred mail, a log that mail comes from, and a ledger of what became of it all.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use crate::handoff::delivery::{Delivery, Refusal};
use crate::handoff::place::{LogId, LogKind, Place, Spooled};
use crate::letter;
use crate::limits;
use crate::mail::address::Path;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::memory::slab::{Leases, Slab};
use crate::simulation::chance::Chance;
use crate::simulation::disk::SimDisk;
use crate::smtp::reply::Reply;
use crate::spool::deferred::order::{self, Kinds, Order, Verb, is_order_file};
use crate::spool::deferred::{Class, Deferred, DeferredError, DeferredOptions, Owner, RetryOptions, Sizes};
use crate::spool::settlement::{Plan, Settlement, is_retried};
use crate::spool::storage::{EntryKind, Storage};
use crate::spool::tools::hand::Hand;

pub const START_MS: u64 = 1_900_000_000_000;
pub const ROOT: &str = "spool/deferred";

/// The seeds of a test: so many. AddressSanitizer, which takes five times as long and asks only what memory is touched, has a
/// fifth of them.
pub fn seeds(count: u64) -> Range<u64> {
    0..if cfg!(asan) { count / 5 } else { count }
}

/// What the sink says for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It takes the message at the attempt of this number, from 1.
    TakenAt(u32),
    /// It refuses it for good then.
    RefusedAt(u32),
    /// It never takes it.
    Never,
    /// It panics over the message.
    Panics,
}

/// A message that was taken over.
pub struct Posted {
    pub content: Vec<u8>,
    pub fates: Vec<Fate>,
    /// Its log has it.
    pub is_in_log: bool,
    /// How often each recipient had it.
    pub delivered: Vec<u32>,
    /// It may be in two places.
    pub may_double: bool,
    /// The attempts that the sink saw.
    pub attempts: u32,
    /// An operator has ordered that it goes; it may be gone.
    pub may_be_removed: bool,
    /// It was said that a copy of it is.
    pub is_removed: bool,
}

impl Posted {
    pub fn copy(&self) -> Self {
        let (content, fates, delivered) = (self.content.clone(), self.fates.clone(), self.delivered.clone());
        Self { content, fates, delivered, ..*self }
    }
}

/// See the module.
pub struct House {
    pub disk: SimDisk,
    pub options: DeferredOptions,
    pub settlement: Settlement,
    pub now_ms: u64,
    pub posted: BTreeMap<u64, Posted>,
    slab: Slab,
    pub settled: u32,
}

pub fn id(number: u64) -> MessageId {
    MessageId::new(0xFEED, 1, 0, number)
}

/// Octets that tell messages and places apart.
pub fn content(number: u64, octets: usize) -> Vec<u8> {
    let mut chance = Chance::new(number);
    (0..octets.div_ceil(8)).flat_map(|_| chance.draw().to_le_bytes()).take(octets).collect()
}

pub fn options(disk: &SimDisk, delays_s: &[u32]) -> DeferredOptions {
    DeferredOptions {
        storage: Arc::new(disk.clone()),
        directory: PathBuf::from(ROOT),
        owner: Owner { node: 0xFEED, epoch: 1, thread: 0, sink: "store".into() },
        threads: 1,
        retry: RetryOptions { delays_s: delays_s.to_vec(), lifetime_s: 600, aside_octets: 1 << 30 },
        sizes: Sizes { segment_octets: 64 * 1024, block_octets: 8 * 1024, ..Sizes::default() },
    }
}

fn open(options: &DeferredOptions, now_ms: u64) -> Settlement {
    Settlement::new(Deferred::open(options, now_ms).unwrap())
}

impl House {
    pub fn new(seed: u64, delays_s: &[u32]) -> Self {
        let disk = SimDisk::new(seed);
        Self::with(options(&disk, delays_s), disk)
    }

    pub fn with(options: DeferredOptions, disk: SimDisk) -> Self {
        let settlement = open(&options, START_MS);
        let (posted, slab) = (BTreeMap::new(), Slab::new(512));
        Self { disk, options, settlement, now_ms: START_MS, posted, slab, settled: 0 }
    }

    /// A message that is in its log from now on.
    pub fn post(&mut self, octets: usize, fates: &[Fate]) -> u64 {
        let number = self.posted.len() as u64;
        let (content, fates) = (content(number, octets), fates.to_vec());
        let delivered = vec![0; fates.len()];
        let (may_double, may_be_removed, is_removed) = (false, false, false);
        let posted =
            Posted { content, fates, is_in_log: true, delivered, may_double, attempts: 0, may_be_removed, is_removed };
        self.posted.insert(number, posted);
        number
    }

    /// As the reader of the log has it.
    fn fresh(&mut self, number: u64) -> Delivery {
        let posted = &self.posted[&number];
        let own: Vec<String> = (0..posted.fates.len()).map(|recipient| format!("{recipient}@ok.test")).collect();
        // A recipient of another sink is in it, too.
        let to = [("other@ok.test", 0)].into_iter().chain(own.iter().map(|to| (to.as_str(), 3)));
        let envelope = letter::envelope("sender@ok.test", to);
        let plain = letter::manifest(&envelope, id(number), posted.content.len());
        let octets = letter::encoded(&Manifest { received_at_ms: START_MS - number, by: "host.test", ..plain });
        let mut content = Leases::default();
        self.slab.append(&mut content, &posted.content).unwrap();
        Delivery::of_log(Spooled {
            id: id(number),
            place: Place { log: LogId { kind: LogKind::Durable, shard: 0 }, address: number, retain: number },
            route: Route(3),
            recipients: posted.fates.len() as u32,
            attempts: 0,
            manifest: self.slab.append_whole(&octets).unwrap(),
            content,
        })
    }

    /// What is due, and up to so many that are in the log.
    pub fn take(&mut self, most_due: usize, most_fresh: usize) -> Result<Vec<Delivery>, DeferredError> {
        let mut batch = Vec::new();
        self.carry_out()?;
        let taken = self.settlement.take_due(self.now_ms, most_due, &mut batch);
        if let Err(error) = taken {
            self.settlement.roll_back();
            return Err(error);
        }
        let fresh = self.posted.iter().filter(|(_, posted)| posted.is_in_log).map(|(number, _)| *number);
        let fresh: Vec<u64> = fresh.take(most_fresh).collect();
        batch.extend(fresh.into_iter().map(|number| self.fresh(number)));
        Ok(batch)
    }

    /// A step of what is ordered. Gives what was done.
    pub fn carry_out(&mut self) -> Result<Vec<(Verb, u64)>, DeferredError> {
        let mut done = Vec::new();
        for carried in self.settlement.carry_out(self.now_ms)? {
            let number = Manifest::decode(carried.manifest.octets()).unwrap().id.sequence();
            self.posted.get_mut(&number).unwrap().is_removed |= carried.verb == Verb::Remove;
            done.push((carried.verb, number));
        }
        Ok(done)
    }

    /// All that is ordered, without any trouble.
    pub fn carry_all_out(&mut self) -> Vec<(Verb, u64)> {
        self.now_ms += limits::DEFERRED_INBOX_MS;
        let mut done = Vec::new();
        for _ in 0..100_000 {
            done.extend(self.carry_out().unwrap());
            if self.order_files() == 0 && !self.settlement.deferred().has_orders(self.now_ms) {
                return done;
            }
            if !self.settlement.deferred().has_orders(self.now_ms) {
                self.now_ms += limits::DEFERRED_INBOX_MS;
            }
        }
        panic!("it goes on for ever");
    }

    pub fn order_files(&self) -> usize {
        let files = self.disk.entries(&FilePath::new(ROOT).join("store-0/inbox")).unwrap();
        files.iter().filter(|file| is_order_file(&file.name)).count()
    }

    /// An operator's order for all copies of these, as a tool gives it; false where the disk fails.
    pub fn order(&mut self, verb: Verb, numbers: impl IntoIterator<Item = u64>) -> bool {
        let kinds = Kinds::of(verb.kinds());
        let orders: Vec<Order> =
            numbers.into_iter().map(|number| Order { id: id(number), verb, kinds, copy: None }).collect();
        for order in orders.iter().filter(|_| verb == Verb::Remove) {
            self.posted.get_mut(&order.id.sequence()).unwrap().may_be_removed = true;
        }
        let inbox = FilePath::new(ROOT).join("store-0/inbox");
        let hand = Hand { node: 0xFEED, epoch: 1, name: format!("order-{:013}-1", self.now_ms) };
        hand.put(&self.disk, &inbox, 0, ".orders", &order::encode(&orders, 0xFEED)).is_ok()
    }

    /// The sink. Gives what is to be done, and checks that it is given what was posted.
    pub fn deliver(&mut self, batch: &mut [Delivery]) -> Plan {
        let mut mishaps = BTreeSet::new();
        for (place, delivery) in batch.iter_mut().enumerate() {
            let number = delivery.id().sequence();
            assert_eq!(delivery.id(), id(number));
            let posted = self.posted.get_mut(&number).expect("nothing is invented");
            assert_eq!(delivery.content().collect::<Vec<_>>().concat(), posted.content, "{number}");
            let manifest = delivery.manifest();
            assert_eq!((manifest.received_at_ms, manifest.by), (START_MS - number, "host.test"));
            assert_eq!(manifest.recipients as usize, posted.fates.len() + 1);
            let addressees: Vec<(u32, usize)> = delivery
                .recipients()
                .map(|addressee| {
                    let Path::Mailbox(mailbox) = addressee.path else { panic!("it has a domain") };
                    (addressee.index, str::from_utf8(mailbox.local_part).unwrap().parse().unwrap())
                })
                .collect();
            assert!(!addressees.is_empty());
            let attempt = delivery.attempts() + 1;
            posted.attempts += 1;
            assert!(!posted.is_removed || posted.may_double, "{number} was removed");
            for (index, recipient) in addressees {
                let temporary = || Err(Refusal::new(Reply::DeliveryFailed, "not now"));
                let verdict = match posted.fates[recipient] {
                    Fate::TakenAt(at) if attempt >= at => {
                        posted.delivered[recipient] += 1;
                        assert!(posted.delivered[recipient] == 1 || posted.may_double, "{number} twice");
                        Ok(())
                    }
                    Fate::RefusedAt(at) if attempt >= at => Err(Refusal::new(Reply::scripted(550).unwrap(), "never")),
                    Fate::TakenAt(_) | Fate::RefusedAt(_) | Fate::Never => temporary(),
                    Fate::Panics => {
                        mishaps.insert(place);
                        continue;
                    }
                };
                delivery.conclude(index, verdict);
            }
        }
        self.settlement.plan(batch, mishaps, self.now_ms)
    }

    /// All of it is done with.
    pub fn settle(&mut self, batch: &[Delivery], plan: &mut Plan) -> Result<(), DeferredError> {
        self.settlement.settle(batch, plan)?;
        self.settled += 1;
        for delivery in batch.iter().filter(|delivery| !is_retried(delivery)) {
            self.posted.get_mut(&delivery.id().sequence()).unwrap().is_in_log = false;
        }
        Ok(())
    }

    /// Takes, delivers and settles, without any trouble. How many there were.
    pub fn turn(&mut self, most_due: usize, most_fresh: usize) -> usize {
        let mut batch = self.take(most_due, most_fresh).unwrap();
        if batch.is_empty() {
            return 0;
        }
        let mut plan = self.deliver(&mut batch);
        self.settle(&batch, &mut plan).unwrap();
        batch.len()
    }

    /// These may be in two places from now on.
    pub fn doubt(&mut self, batch: &[Delivery]) {
        for delivery in batch {
            self.posted.get_mut(&delivery.id().sequence()).unwrap().may_double = true;
        }
    }

    /// Another process has it, on this disk.
    pub fn restart(&mut self, disk: SimDisk) {
        disk.set_plan(|_| crate::simulation::disk::Fate::Done);
        self.options.storage = Arc::new(disk.clone());
        self.disk = disk;
        self.reopen();
    }

    /// Another process has it, and the disk is as bad as it was.
    pub fn reopen(&mut self) {
        self.options.owner.epoch += 1;
        self.settlement = open(&self.options, self.now_ms);
    }

    /// The same, beside this one.
    pub fn restarted(&self, disk: SimDisk) -> Self {
        disk.set_plan(|_| crate::simulation::disk::Fate::Done);
        let mut options = self.options.clone();
        options.owner.epoch += 1;
        options.storage = Arc::new(disk.clone());
        let settlement = open(&options, self.now_ms);
        let posted = self.posted.iter().map(|(number, posted)| (*number, posted.copy())).collect();
        Self { disk, options, settlement, now_ms: self.now_ms, posted, slab: Slab::new(512), settled: self.settled }
    }

    /// Goes on until nothing waits that is tried again.
    pub fn run_dry(&mut self) {
        for _ in 0..100_000 {
            if self.turn(16, 16) > 0 {
                continue;
            }
            let deferred = self.settlement.deferred();
            let Some(due_ms) = deferred.next_due_ms() else {
                assert_eq!(deferred.waiting_for_retry().messages, 0);
                return;
            };
            assert!(due_ms > self.now_ms, "what is due is taken");
            self.now_ms = due_ms;
        }
        panic!("it goes on for ever");
    }

    /// Whether everything has ended as the sink wished. Gives what has not ended at all, of that which may be gone.
    pub fn check(&mut self) -> BTreeSet<u64> {
        let mut lost = BTreeSet::new();
        let mut aside = BTreeMap::new();
        for class in Class::ASIDE {
            for (taken, next_ms) in self.settlement.deferred_mut().dump(class) {
                assert_eq!(next_ms, 0);
                let manifest = Manifest::decode(taken.manifest.octets()).unwrap();
                let number = manifest.id.sequence();
                let content = taken.content.pieces().collect::<Vec<_>>().concat();
                assert_eq!(content, self.posted[&number].content, "{number} in {class}");
                for recipient in manifest.envelope.recipients() {
                    let Path::Mailbox(mailbox) = recipient.path else { panic!("it has a domain") };
                    let recipient: usize = str::from_utf8(mailbox.local_part).unwrap().parse().unwrap();
                    *aside.entry((number, recipient, class)).or_insert(0) += 1;
                }
            }
        }
        for (number, posted) in &self.posted {
            assert!(!posted.is_in_log, "{number} was never settled");
            for (recipient, fate) in posted.fates.iter().enumerate() {
                let delivered = posted.delivered[recipient];
                let times = |class| aside.get(&(*number, recipient, class)).copied().unwrap_or(0);
                assert_eq!(times(Class::Held), 0, "{number} is held");
                let (dead, quarantined) = (times(Class::Dead), times(Class::Quarantined));
                let ends = delivered + dead + quarantined;
                let name = format!("{number} to {recipient}, {fate:?}: {delivered} {dead} {quarantined}");
                assert!(ends >= 1 || posted.may_be_removed, "lost: {name}");
                if ends == 0 {
                    lost.insert(*number);
                    continue;
                }
                assert!(ends == 1 || posted.may_double, "twice: {name}");
                // A message that panics has no other recipient's word.
                let panics = posted.fates.contains(&Fate::Panics);
                match fate {
                    Fate::TakenAt(_) if !panics => assert!(delivered > 0, "{name}"),
                    Fate::RefusedAt(_) | Fate::Never if !panics => assert!(dead > 0, "{name}"),
                    Fate::Panics => assert!(quarantined > 0, "{name}"),
                    _ => {}
                }
            }
        }
        lost
    }

    /// Octets of all files, by directory.
    pub fn disk_octets(&self) -> BTreeMap<String, u64> {
        let root = FilePath::new(ROOT).join("store-0");
        let mut all = BTreeMap::new();
        for directory in self.disk.entries(&root).unwrap() {
            if directory.kind == EntryKind::Directory {
                let files = self.disk.entries(&root.join(&directory.name)).unwrap();
                let octets = files.iter().map(|file| file.octets).sum();
                all.insert(directory.name.to_string_lossy().into_owned(), octets);
            }
        }
        all
    }
}
