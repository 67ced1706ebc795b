//! A disk below the spool that breaks (RELIABILITY F3, F4, F35): who was in the block that failed hears 451, nothing is written twice, the
//! log goes on in another segment or says 421, and what had its 250 is delivered in any case. The sink's own disk is another.

use std::collections::BTreeMap;

use rustix::process::Signal;

use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::device::Fault;
use crate::faults::disk::Disk;
use crate::faults::machine::{is_long, needed};
use crate::faults::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Messages that fill the segment behind one that failed, at the least that they have here: 4 MiB of 16,000 octets, and some more.
const MORE_THAN_A_SEGMENT: u64 = 300;

/// A server whose spool is on the disk, and whose maildirs are not.
struct House<'d> {
    disk: &'d Disk,
    home: Directory,
    sum: Ledger,
}

impl<'d> House<'d> {
    fn new(disk: &'d Disk) -> Self {
        Self { disk, home: Directory::new(), sum: Ledger::default() }
    }

    fn serve(&self) -> Server {
        let mail = self.home.path().join("mail");
        self.disk
            .serve(&configuration("127.0.0.1:0", "DISK/data", mail.to_str().expect("a plain path"), "durable", ""), 1)
    }

    fn offers(&self, server: &Server) -> Offers {
        let mut offer = Offer::of(server.address(), 8, 16_000);
        offer.octets_of_some = 100_000;
        let offers = Offers::start(&offer);
        offers.go_on_for(50);
        offers
    }

    /// All that had a 250 so far is delivered, by a server that starts now.
    #[track_caller]
    fn judge(&self) {
        let server = self.serve();
        let offers = self.offers(&server);
        let mut all = self.sum.clone();
        all.add(offers.finish());
        let mut seen = Seen::default();
        seen.await_all(&self.home.path().join("mail"), false, &all);
        assert_no_alarm(&server);
        server.stop();
        eprintln!("{:?}, heard {:?}", seen.judge(&all), all.refused);
        all.assert_no_permanent_refusal();
        assert_eq!(self.disk.device().blocks().1, 0, "a block is never written again");
    }
}

/// Waits until everyone is refused, and sees that none is taken any more.
#[track_caller]
fn refused_all(offers: &Offers) {
    let mut acknowledged = offers.acknowledged();
    eventually("everyone is refused", || {
        let refused = offers.refused();
        let before = std::mem::replace(&mut acknowledged, offers.acknowledged());
        eventually("clients are refused", || (offers.refused() > refused + 40).then_some(()));
        (before == acknowledged && offers.acknowledged() == acknowledged).then_some(())
    });
}

/// It need not say that all is well, but it ends; asked twice, at once.
fn end(mut server: Server) {
    server.signal(Signal::TERM);
    server.errors.await_text("stopping", 1);
    server.signal(Signal::TERM);
    server.wait();
}

/// Lets one thing fail, and says whether it was a client's. A flush may be that of a sink's cursor, which is noted at the same time.
#[track_caller]
fn fails_for(one: &Offers, disk: &Disk, fault: Fault) -> bool {
    disk.device().set(fault);
    eventually("it has failed", || disk.device().is_spent().then_some(()));
    let enough = one.acknowledged() + 20;
    eventually("who was in it hears so, or all go on", || match one.refused() {
        0 => (one.acknowledged() >= enough).then_some(false),
        _ => Some(true),
    })
}

/// Lets them go on until every log has put its failure behind itself. The shards do not get on alike.
#[track_caller]
fn each_shard_goes_on(offers: &Offers, server: &Server) {
    let before = server.stats_now().of_shards("messages");
    offers.go_on();
    offers.go_on_for(2 * MORE_THAN_A_SEGMENT);
    server.await_stats("each shard takes mail", |stats| {
        let shards = stats.of_shards("messages");
        shards.iter().zip(&before).all(|(now, before)| now - before >= MORE_THAN_A_SEGMENT)
    });
}

/// One at a time: each costs a group, and its segment.
fn faults_apart(house: &mut House<'_>, fault: Fault) {
    let server = house.serve();
    let offers = house.offers(&server);
    let mut failed = 0;
    for _ in 0..if is_long() { 20 } else { 3 } {
        // One message at a time: what fails is one block, and not that of the next segment with it.
        offers.rest();
        offers.await_rest();
        let one = Offers::start(&Offer::of(server.address(), 1, 16_000));
        one.go_on_for(1);
        while !fails_for(&one, house.disk, fault) {
            failed += 1;
            assert!(failed < 100, "it always fails for somebody else");
        }
        failed += 1;
        house.sum.add(one.finish());
        each_shard_goes_on(&offers, &server);
        assert_eq!(house.disk.device().failed(), failed);
    }
    let ledger = offers.finish();
    let stats = server.stop();
    house.sum.add(ledger);
    let refused = &house.sum.refused;
    // A machine whose disk stands still for as long as a write may take has two faults, and so has one where the flush of a segment
    // that is made ready failed with another's: both are told.
    let has_two = stats.total("spool_writes_hung") + stats.of_spool("segments_refused") > 0;
    let is_told = |answer: &String| answer == "end 451 4.3.0" || has_two && answer == "MAIL 421 4.3.0";
    assert!(refused.keys().all(is_told), "{refused:?}");
}

/// One after the other: the spool says that it has failed, until it is started anew.
fn faults_together(house: &mut House<'_>, fault: Fault) {
    let server = house.serve();
    let offers = house.offers(&server);
    house.disk.device().set(fault);
    eventually("the spool has failed", || (offers.refusals("MAIL 421 4.3.0") > 20).then_some(()));
    refused_all(&offers);
    house.disk.device().set(Fault::None);
    let ledger = offers.finish();
    let heard = |answer: &String| ["end 451 4.3.0", "MAIL 421 4.3.0"].contains(&&**answer);
    assert!(ledger.refused.keys().all(heard), "{:?}", ledger.refused);
    server.stop();
    house.sum.add(ledger);
}

#[test]
fn a_write_that_fails_costs_its_group_and_its_segment_and_a_second_one_the_spool() {
    let test = "a_write_that_fails";
    let Some(disk) = needed(test, Disk::held(128, &[])) else { return };
    let mut house = House::new(&disk);
    faults_apart(&mut house, Fault::SpoolWrites(1));
    faults_together(&mut house, Fault::SpoolWrites(u64::MAX));
    house.judge();
}

/// A shard that refuses has few connections, and would draw all that come.
#[test]
fn while_one_log_has_failed_clients_come_to_the_shard_whose_log_takes_mail() {
    let test = "while_one_log_has_failed";
    let Some(disk) = needed(test, Disk::held(128, &[])) else { return };
    let mut house = House::new(&disk);
    let server = house.serve();
    let offers = house.offers(&server);
    offers.rest();
    offers.await_rest();
    let one = Offers::start(&Offer::of(server.address(), 1, 16_000));
    one.go_on_for(1);
    for _ in 0..2 {
        disk.device().set(Fault::SpoolWrites(1));
        eventually("it has failed", || disk.device().is_spent().then_some(()));
    }
    eventually("its log has failed", || (one.refusals("MAIL 421 4.3.0") > 0).then_some(()));
    one.go_on_for(20);
    offers.go_on();
    offers.go_on_for(400);
    let [one, others] = [one, offers].map(Offers::finish);
    // The second write that failed may have had no message: it may be the one that says what the first has cost.
    let (turned_away, refused) = (one.refusals("MAIL 421 4.3.0"), one.refusals("end 451 4.3.0"));
    assert!(turned_away == 1 && (1..=2).contains(&refused) && one.refused.len() == 2, "{:?}", one.refused);
    // Who was at that shard is told once, and is not there again.
    let told = others.refusals("MAIL 421 4.3.0");
    assert_eq!(BTreeMap::from([("MAIL 421 4.3.0".to_owned(), told)]), others.refused);
    assert!((1..=8).contains(&told), "{told}");
    let stats = server.stop();
    let failures = stats.of_shards("spool_failures");
    assert_eq!(failures.iter().filter(|failures| **failures > 0).count(), 1, "{failures:?}");
    [one, others].into_iter().for_each(|ledger| house.sum.add(ledger));
    house.judge();
}

/// Without a journal of the file system's own, which would give up at the first of these.
#[test]
fn a_sync_that_fails_is_never_tried_again() {
    let test = "a_sync_that_fails";
    let Some(disk) = needed(test, Disk::held(128, &["-O", "^has_journal"])) else { return };
    let mut house = House::new(&disk);
    faults_apart(&mut house, Fault::SpoolFlushes(1));
    faults_together(&mut house, Fault::SpoolFlushes(u64::MAX));
    house.judge();
}

/// Everything fails, so that the file system gives up too; the operator stops the server, mends the disk, and starts it again.
#[test]
fn a_disk_that_breaks_for_good_and_is_mended_has_all_that_had_its_250() {
    let test = "a_disk_that_breaks_for_good";
    let Some(disk) = needed(test, Disk::held(128, &[])) else { return };
    let mut house = House::new(&disk);
    for _ in 0..if is_long() { 20 } else { 2 } {
        let server = house.serve();
        let offers = house.offers(&server);
        disk.device().set(Fault::All);
        refused_all(&offers);
        let ledger = offers.finish();
        ledger.assert_no_permanent_refusal();
        house.sum.add(ledger);
        end(server);
        disk.device().set(Fault::None);
        disk.unmount();
        disk.repair();
        disk.mount().unwrap_or_else(|missing| panic!("{missing:?}"));
    }
    house.judge();
}

/// RELIABILITY F35, as a kernel does it: under open files.
#[test]
fn a_file_system_that_turns_read_only_under_the_spool_takes_nothing_and_loses_nothing() {
    let test = "a_file_system_that_turns_read_only";
    let Some(disk) = needed(test, Disk::held(128, &[])) else { return };
    let mut house = House::new(&disk);
    let server = house.serve();
    let offers = house.offers(&server);
    assert!(disk.remount("abort"), "the kernel has no way to do so");
    refused_all(&offers);
    let ledger = offers.finish();
    ledger.assert_no_permanent_refusal();
    // What had its 250 is delivered all the same: it can be read.
    let mut seen = Seen::default();
    seen.await_all(&house.home.path().join("mail"), false, &ledger);
    end(server);
    eprintln!("read-only: {:?}, heard {:?}", seen.judge(&ledger), ledger.refused);
    house.sum.add(ledger);
    disk.unmount();
    disk.repair();
    disk.mount().unwrap_or_else(|missing| panic!("{missing:?}"));
    house.judge();
}
