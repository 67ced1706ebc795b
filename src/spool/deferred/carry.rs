//! Carries out what an operator has ordered: walks through what waits, a step at a time between the sink's batches, and moves or
//! removes what the orders name, whenever its time would be.
//!
//! *Invariants*: what is moved is on stable storage where it goes before it is noted as gone where it was, and what is done is on stable
//! storage before it is told; so a crash at any moment leaves a message where it was, where it was ordered to be, or, between the two,
//! in both. The file of an order is taken away when all classes were walked through with it. From the moment on at which an order
//! is known here what it names is not tried: a class at whose head it comes waits until the order is carried out.
//!
//! *Why a walk*: a class has no index, so that what waits costs no memory. What is resident is one walk's orders, for as long as it takes.
//! *Does not* know what an order means: [`Verb`] says where mail goes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::limits;
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::memory::region::AlignedBuffer;
use crate::memory::slab::{Lease, Slab};
use crate::spool::deferred::append::Parcel;
use crate::spool::deferred::class::Class;
use crate::spool::deferred::error::DeferredError;
use crate::spool::deferred::inbox;
use crate::spool::deferred::order::{self, Order, Verb, copy_print};
use crate::spool::deferred::read::{Assembled, NoMessage, Reader, Wanted};
use crate::spool::deferred::schedule::State;
use crate::spool::deferred::store::Store;
use crate::spool::deferred::yard::Yard;
use crate::spool::format::Wait;
use crate::spool::storage::Access;

/// An order that was carried out for a message.
#[derive(Debug)]
pub struct Carried {
    /// What was done.
    pub verb: Verb,
    /// What is known of the message, for those recipients for whom it was done.
    pub manifest: Lease,
    /// How often it was tried.
    pub attempts: u32,
}

/// What came of orders so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// Orders that named nothing which waits: it was delivered before, or went elsewhere.
    pub missed: u64,
    /// Copies of a message for which an order was carried out beyond the first: a message may wait for several reasons, or a crash has left
    /// it in two places.
    pub doubled: u64,
}

/// The orders of a walk.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// By the message, and the copy where one is meant.
    all: HashMap<(MessageId, Option<u64>), (Order, u32)>,
}

impl Orders {
    /// The order for a message in a class.
    fn find(&self, class: Class, taken: &Assembled) -> Option<Order> {
        if self.all.is_empty() {
            return None;
        }
        let id = Manifest::decode(taken.manifest.octets()).ok()?.id;
        let of = |copy| self.all.get(&(id, copy)).map(|(order, _)| *order).filter(|order| order.applies_in(class));
        of(Some(print_of(taken))).or_else(|| of(None))
    }

    /// Whether a message that waits in a class is named.
    pub(super) fn wants(&self, class: Class, taken: &Assembled) -> bool {
        self.find(class, taken).is_some()
    }

    /// Adds those of a file; `false`: it names a message which an earlier file does, or there would be too many, and nothing was added.
    fn add(&mut self, orders: &[Order]) -> bool {
        let is_too_much = self.all.len() + orders.len() > limits::DEFERRED_ORDERS_AT_ONCE;
        let is_named = |order: &Order| self.all.contains_key(&(order.id, order.copy));
        if !self.all.is_empty() && (is_too_much || orders.iter().any(is_named)) {
            return false;
        }
        self.all.extend(orders.iter().map(|order| ((order.id, order.copy), (*order, 0))));
        true
    }
}

fn print_of(taken: &Assembled) -> u64 {
    let (attempts, since_ms) = taken.waited.as_ref().map_or((0, 0), |waited| (waited.attempts, waited.since_ms));
    copy_print(attempts, since_ms, taken.manifest.octets())
}

/// A class that is to be walked through, up to the messages that came after the walk began.
#[derive(Clone, Copy, Debug)]
struct Leg {
    store: usize,
    class: Class,
    upto: u64,
}

/// One walk.
#[derive(Debug)]
struct Walk {
    files: Vec<(usize, PathBuf)>,
    orders: Orders,
    legs: Vec<Leg>,
    /// Legs that are done with.
    behind: usize,
    /// In the leg that is walked; `None` at its beginning.
    reader: Option<Reader>,
}

/// A message that an order names.
struct Found {
    order: Order,
    leg: Leg,
    message: u64,
    taken: Assembled,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Desk {
    walk: Option<Walk>,
    /// When to look for orders, or try again, in ms since 1970.
    look_ms: u64,
    /// Done, and not told because it is not on stable storage yet.
    carried: Vec<Carried>,
    pub(super) counts: OrderCounts,
}

impl Desk {
    /// What must not be tried now.
    pub(super) fn orders(&self) -> Option<&Orders> {
        self.walk.as_ref().map(|walk| &walk.orders)
    }

    /// Whether there is more to be done at once.
    pub(super) fn is_busy(&self, now_ms: u64) -> bool {
        self.walk.is_some() && now_ms >= self.look_ms
    }

    /// The next step; nothing may be taken out meanwhile. Gives what is done, which is on stable storage. After a failure it is tried again
    /// soon.
    pub(super) fn step(
        &mut self,
        stores: &mut [Store],
        slab: &mut Slab,
        now_ms: u64,
    ) -> Result<Vec<Carried>, DeferredError> {
        if now_ms < self.look_ms {
            return Ok(Vec::new());
        }
        let stepped = self.try_step(stores, slab, now_ms);
        if stepped.is_err() {
            self.look_ms = now_ms + limits::DEFERRED_INBOX_MS;
        }
        stepped.map(|()| std::mem::take(&mut self.carried))
    }

    fn try_step(&mut self, stores: &mut [Store], slab: &mut Slab, now_ms: u64) -> Result<(), DeferredError> {
        // Of the step before, if it failed there.
        stores.iter_mut().try_for_each(Store::keep_gone)?;
        if self.walk.is_none() {
            self.walk = begin(stores)?;
        }
        let Some(walk) = &mut self.walk else {
            if !turn(stores, slab)? {
                self.look_ms = now_ms + limits::DEFERRED_INBOX_MS;
            }
            return Ok(());
        };
        let (mut found, is_crowded) = walk.go_on(stores, slab)?;
        for verb in Verb::ALL {
            let (of_verb, others) = found.into_iter().partition(|found: &Found| found.order.verb == verb);
            let of_verb: Vec<Found> = of_verb;
            found = others;
            if let Some(target) = verb.target() {
                let parcels = of_verb.iter().map(|found| parcel(&found.taken, target, now_ms));
                if let Err(error) = stores[0].append(target, parcels) {
                    // Those that are done are gone, and not found again.
                    (walk.behind, walk.reader) = (0, None);
                    return Err(error);
                }
            }
            for Found { order, leg, message, taken } in of_verb {
                stores[leg.store].note_gone(leg.class, message);
                if let Some((_, times)) = walk.orders.all.get_mut(&(order.id, order.copy)) {
                    *times += 1;
                    self.counts.doubled += u64::from(*times > 1);
                }
                let attempts = taken.waited.as_ref().map_or(0, |waited| waited.attempts);
                self.carried.push(Carried { verb, manifest: taken.manifest, attempts });
            }
        }
        stores.iter_mut().try_for_each(Store::keep_gone)?;
        if is_crowded {
            // There is room when something else is done with, which in a class that waits for the operator nobody else sees to.
            if turn(stores, slab)? {
                // What lay before the end of the walk may lie behind it now.
                walk.legs.iter_mut().for_each(|leg| leg.upto = stores[leg.store].upto(leg.class));
            } else {
                self.look_ms = now_ms + limits::DEFERRED_INBOX_MS;
            }
        } else if walk.behind == walk.legs.len() {
            for (store, path) in &walk.files {
                inbox::take_away(&stores[*store].yard, path)?;
            }
            self.counts.missed += walk.orders.all.values().filter(|(_, times)| *times == 0).count() as u64;
            self.walk = None;
        }
        Ok(())
    }
}

/// Writes some of what is left of classes with holes anew; false: there is none.
fn turn(stores: &mut [Store], slab: &mut Slab) -> Result<bool, DeferredError> {
    let mut has_turned = false;
    for store in stores {
        has_turned |= store.turn(slab)?;
    }
    Ok(has_turned)
}

/// A message as it is to wait where it goes.
fn parcel(taken: &Assembled, target: Class, now_ms: u64) -> Parcel<'_> {
    let waited = taken.waited.as_ref();
    let mishaps = waited.map_or(0, |waited| waited.state.mishaps);
    let wait = Wait {
        state: State::of(target, mishaps).code(),
        attempts: waited.map_or(0, |waited| waited.attempts),
        since_ms: waited.map_or(now_ms, |waited| waited.since_ms),
        next_ms: if target.is_aside() { 0 } else { now_ms },
        code: waited.map_or(0, |waited| waited.code),
        reply: waited.map_or(&[], |waited| &waited.reply),
    };
    let content = Box::new(taken.content.pieces());
    Parcel { wait, manifest: taken.manifest.octets(), content_octets: taken.content_octets, content }
}

/// Finds orders; `None`: there are none.
fn begin(stores: &mut [Store]) -> Result<Option<Walk>, DeferredError> {
    let mut files = Vec::new();
    for (number, store) in stores.iter().enumerate() {
        files.extend(store.order_files()?.into_iter().map(|(path, octets)| (number, path, octets)));
    }
    // As they were given, whichever thread's mail they are for.
    files.sort_by(|(_, one, _), (_, other, _)| one.file_name().cmp(&other.file_name()));
    let (orders, legs) = (Orders::default(), Vec::new());
    let mut walk = Walk { files: Vec::new(), orders, legs, behind: 0, reader: None };
    for (number, path, octets) in files {
        let Some(orders) = read(&stores[number].yard, &path, octets)? else {
            stores[number].refuse_orders(&path)?;
            continue;
        };
        if !walk.orders.add(&orders) {
            break;
        }
        walk.files.push((number, path));
    }
    for (store, of) in stores.iter().enumerate() {
        walk.legs.extend(of.extents().map(|(class, upto)| Leg { store, class, upto }));
    }
    Ok(Some(walk).filter(|walk| !walk.files.is_empty()))
}

fn read(yard: &Yard, path: &Path, octets: u64) -> Result<Option<Vec<Order>>, DeferredError> {
    if octets == 0 || octets > order::FILE_OCTETS_MOST as u64 || !octets.is_multiple_of(limits::PAGE_OCTETS as u64) {
        return Ok(None);
    }
    let file = yard.storage.open(path, Access::Read)?;
    let mut buffer = AlignedBuffer::new(octets as usize).map_err(DeferredError::Memory)?;
    file.read_at(&mut buffer, 0)?;
    Ok(order::decode(&buffer, yard.owner.node))
}

/// What a step may do yet.
struct Room {
    looks: usize,
    finds: usize,
    seen_octets: u64,
    content_octets: u64,
    /// Runs of those that are gone, of each store.
    runs: Vec<usize>,
}

impl Room {
    fn new(stores: &[Store]) -> Self {
        Self {
            looks: limits::DEFERRED_ORDERS_STEP,
            finds: limits::DEFERRED_ORDERS_BATCH,
            seen_octets: 4 * limits::DEFERRED_BATCH_OCTETS,
            content_octets: limits::DEFERRED_BATCH_OCTETS,
            runs: stores.iter().map(Store::room_for_gone).collect(),
        }
    }

    fn is_left(&self) -> bool {
        self.looks > 0 && self.finds > 0 && self.seen_octets > 0 && self.content_octets > 0
    }
}

/// Why a leg is not walked further now.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// It is walked.
    End,
    /// Enough was done.
    Enough,
    /// There is no room to note what is gone, or no memory.
    Crowded,
}

impl Walk {
    /// Walks on, until there is enough to do, or enough was looked at. Gives what the orders name, and whether it must wait for room.
    fn go_on(&mut self, stores: &mut [Store], slab: &mut Slab) -> Result<(Vec<Found>, bool), DeferredError> {
        let (mut found, mut room) = (Vec::new(), Room::new(stores));
        while let Some(leg) = self.legs.get(self.behind).copied() {
            let store = &mut stores[leg.store];
            if room.runs[leg.store] == 0 {
                self.find_heads(stores, slab, &mut room, &mut found)?;
                return Ok((found, true));
            }
            let reader = self.reader.get_or_insert_with(|| store.reader(leg.class));
            store.catch_up(leg.class, reader);
            let stop = match walk_leg(&self.orders, leg, store, reader, slab, &mut room, &mut found) {
                // It comes again with the next step, and what was found before is not lost by it.
                Err(_) if !found.is_empty() => return Ok((found, false)),
                walked => walked?,
            };
            match stop {
                Stop::End => (self.behind, self.reader) = (self.behind + 1, None),
                Stop::Enough => return Ok((found, false)),
                Stop::Crowded => return Ok((found, true)),
            }
        }
        Ok((found, false))
    }

    /// Without room for what is gone out of the middle: what is at the head of a class takes none, since its cursor is behind it at once.
    fn find_heads(
        &self,
        stores: &mut [Store],
        slab: &mut Slab,
        room: &mut Room,
        found: &mut Vec<Found>,
    ) -> Result<(), DeferredError> {
        for leg in self.legs.iter().copied() {
            let store = &mut stores[leg.store];
            let mut reader = store.reader(leg.class);
            let before = found.len();
            // BOUND: each turn finds one that is named.
            while room.is_left() {
                // One at a time: the next one ends it, if it is not named.
                let looks = std::mem::replace(&mut room.looks, 1);
                room.runs[leg.store] = 1;
                let stop = walk_leg(&self.orders, leg, store, &mut reader, slab, room, found);
                room.looks = looks - 1;
                let is_named = found.len() > before
                    && stop? == Stop::Enough
                    && found.last().is_some_and(|last| last.message + 1 == reader.read.message);
                if !is_named {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Walks in one class.
fn walk_leg(
    orders: &Orders,
    leg: Leg,
    store: &mut Store,
    reader: &mut Reader,
    slab: &mut Slab,
    room: &mut Room,
    found: &mut Vec<Found>,
) -> Result<Stop, DeferredError> {
    while room.is_left() {
        let Some((at, taken)) = store.look(leg.class, reader, leg.upto, Wanted::Manifest, slab)? else {
            return Ok(Stop::End);
        };
        let mut taken = match taken {
            Ok(taken) => taken,
            Err(NoMessage::Incomplete) => continue,
            Err(NoMessage::NoMemory) => return Ok(Stop::Crowded),
        };
        room.looks -= 1;
        room.seen_octets = room.seen_octets.saturating_sub(taken.content_octets);
        let Some(order) = orders.find(leg.class, &taken) else { continue };
        if room.runs[leg.store] == 0 {
            reader.go_back(at);
            return Ok(Stop::Crowded);
        }
        if order.verb.target().is_some() {
            reader.go_back(at);
            match store.look(leg.class, reader, leg.upto, Wanted::Whole, slab)? {
                Some((_, Ok(whole))) => taken = whole,
                Some((_, Err(NoMessage::NoMemory))) => return Ok(Stop::Crowded),
                Some((_, Err(NoMessage::Incomplete))) | None => continue,
            }
            room.content_octets = room.content_octets.saturating_sub(taken.content_octets);
        }
        room.finds -= 1;
        room.runs[leg.store] -= 1;
        found.push(Found { order, leg, message: at.message, taken });
    }
    Ok(Stop::Enough)
}
