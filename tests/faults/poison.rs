//! A recipient whose mail can never be delivered, among others at full rate (RELIABILITY F23, F24): its messages come again at growing
//! intervals, nobody else's delivery fails, and memory stays within its bound. What it costs the others is told: without a spool
//! its messages stay in memory, and when they fill the sink's queue, nothing more is taken for that sink.

use std::time::{Duration, Instant};

use ringmx::limits;

use super::machine::is_long;
use super::maildirs::Kept;
use super::offers::{Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::Server;

/// Times that a message may have been tried in so long: the first time, and then at intervals that double.
fn tries_most(time: Duration) -> u64 {
    let (mut tries, mut at_ms, mut interval_ms) = (1, 0, limits::REDELIVERY_FIRST_MS);
    while at_ms <= time.as_millis() as u64 {
        tries += 1;
        at_ms += interval_ms;
        interval_ms = (2 * interval_ms).min(limits::REDELIVERY_MOST_MS);
    }
    tries
}

#[test]
fn a_recipient_that_always_fails_comes_again_seldom_and_costs_no_more_than_its_queue() {
    // Messages of 16 KiB, one of 16 of them poisoned: one for each block of memory, which it keeps. Or many small ones.
    let (octets, of) = if is_long() { (16_000, 16) } else { (1_000, 2) };
    let home = Directory::new();
    let path = home.path().display();
    let configuration = format!(
        "[server]\nshards = 1\ndata_dir = '{path}/data'\n[log]\ndeliveries = 'none'\n\
         [listener.mx]\nkind = 'private'\nbind = '127.0.0.1:0'\ndurability = 'memory'\nsink = 'store'\n\
         [listener.hole]\nkind = 'blackhole'\nbind = '127.0.0.1:0'\n\
         [sink.store]\nkind = 'maildir'\npath = '{path}/mail/{{local}}'\nsync = false\n"
    );
    let mail = home.path().join("mail");
    std::fs::create_dir_all(&mail).unwrap();
    std::fs::write(mail.join("poison"), "This is no directory.").unwrap();
    let server = Server::serve(&configuration, 2);
    let hole = Offers::start(&Offer::of(server.address_of("hole"), 1, 1_000));
    let mut offer = Offer::of(server.address_of("mx"), 4, octets);
    offer.one_poisoned_of = Some(of);
    let begun = Instant::now();
    let offers = Offers::start(&offer);
    eventually("no more is taken", || (offers.refused() > 200).then_some(()));
    let (taken, after) = (offers.acknowledged(), begun.elapsed());
    let full = server.stats_now();
    std::thread::sleep(Duration::from_secs(if is_long() { 60 } else { 2 }));
    let later = server.stats_now();
    let time = begun.elapsed();
    // More came meanwhile, as far as there was room.
    let poisoned = offers.acknowledged() / of;
    let tries = later.of_sink("store", "deferred");
    eprintln!(
        "1 of {of} messages of {octets} octets poisoned: no more is taken after {taken} messages, {after:.1?}: {} wait in {} octets of \
         memory; {:.1?} later {} in {}; {tries} tries of {poisoned} in {time:.1?}; resident {} KiB; heard {:?}",
        full.total("handed_off"),
        full.total("handed_off_octets"),
        time - after,
        later.total("handed_off"),
        later.total("handed_off_octets"),
        server.resident_kib(),
        offers.answers(),
    );
    assert!(tries <= (poisoned + 200) * tries_most(time), "{tries} tries");
    assert!(later.total("handed_off") <= limits::LETTERS as u64 + 4);
    assert!(later.total("handed_off_octets") <= (limits::BLOCKS * limits::BLOCK_OCTETS) as u64);
    hole.go_on_for(20);

    // Mended, all of it is delivered.
    std::fs::remove_file(mail.join("poison")).unwrap();
    let ledger = offers.finish();
    hole.finish().assert_no_permanent_refusal();
    ledger.assert_no_permanent_refusal();
    server.await_stats("all is delivered", |stats| stats.total("handed_off") == 0);
    let stats = server.stop();
    assert_eq!((stats.of_sink("store", "failed"), stats.of_sink("store", "left_behind")), (0, 0));
    eprintln!("{:?}", Kept::below(&mail).judge(&ledger));
}
