//! A sink that is down, slow, or refuses for ever (RELIABILITY F21–F24) while mail for it is durable: it is taken all the while, waits in
//! the spool, and comes when the sink is there again; one that cannot be delivered is put aside, and delays nobody. And the end of the
//! server at any of these moments (F33).

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ringmx::config::Plan;
use ringmx::engine::Engine;
use ringmx::handoff::delivery::Refusal;
use ringmx::limits;
use ringmx::smtp::reply::Reply;
use rustix::process::Signal;

use super::house::{Seen, assert_no_alarm, configuration};
use crate::faults::disk::Disk;
use crate::faults::machine::{is_long, needed};
use crate::faults::offers::{Ledger, Offer, Offers, number_of_pieces};
use crate::faults::standing::peak;
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::{Finished, Server};

/// Octets of messages that both shards may hold.
const STATED: u64 = 2 * (limits::BLOCKS * limits::BLOCK_OCTETS) as u64;

/// What the server calls mail that waits, and how much of it there is.
fn waiting(data: &Path, state: &str) -> usize {
    let run =
        Finished::of(["spool", "--data-dir", data.to_str().expect("a plain path"), "ls", "--json", "--state", state]);
    assert!(run.status.success(), "{run:?}");
    run.output.lines().count()
}

fn house(home: &Directory, spool: &str) -> String {
    let path = home.path().display();
    configuration("127.0.0.1:0", &format!("{path}/data"), &format!("{path}/mail"), "durable", spool)
}

/// What should be the sink's directory is a file, so that all of its mail is refused for now: more of it than a queue or
/// memory could hold.
#[test]
fn while_a_sink_is_down_mail_for_it_is_taken_and_is_delivered_when_it_is_there_again() {
    let home = Directory::new();
    let (mail, data) = (home.path().join("mail"), home.path().join("data"));
    let domain = mail.join("mx.test");
    std::fs::create_dir(&mail).unwrap();
    std::fs::write(&domain, "This is no directory.").unwrap();
    let server = Server::serve(&house(&home, "retry_s = [1, 2]"), 1);
    let offers = Offers::start(&Offer::of(server.address(), 12, 8_000));
    let many = if is_long() { 30_000 } else { 3_000 };
    let mut taken = 0;
    while taken < many {
        offers.go_on_for(300);
        taken += 300;
    }
    server.await_stats("it is put aside", |stats| stats.of_sink("store", "deferred") > 300);
    assert!(waiting(&data, "deferred") > 0);
    std::fs::remove_file(&domain).unwrap();
    offers.go_on_for(300);
    let ledger = offers.finish();
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &ledger);
    let peak = peak(&server);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("down: {:?}, resident {peak} at most", seen.judge(&ledger));
    assert!(peak <= STATED, "{peak}");
    assert_eq!(waiting(&data, "active,deferred,held,quarantined,dead"), 0);
}

/// The sink hangs in its disk. What waits for it is on another.
#[test]
fn while_a_sink_hangs_mail_for_it_is_taken_and_a_kill_loses_none_of_it() {
    let Some(disk) = needed("while_a_sink_hangs", Disk::ext4()) else { return };
    let data = disk.switch("data");
    let data = data.to_str().expect("a plain path");
    let text = configuration("127.0.0.1:0", data, "DISK/mail", "durable", "");
    let server = disk.serve(&text, 1);
    let offers = Offers::start(&Offer::of(server.address(), 12, 8_000));
    offers.go_on_for(100);
    let frozen = disk.freeze();
    offers.go_on_for(3_000);
    let peak = peak(&server);
    server.signal(Signal::KILL);
    drop(frozen);
    drop(server);
    let mut ledger = offers.finish();
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    assert!(peak <= STATED, "{peak}");
    let server = disk.serve(&text, 1);
    let offers = Offers::start(&Offer::of(server.address(), 4, 8_000));
    offers.go_on_for(100);
    ledger.add(offers.finish());
    let mut seen = Seen::default();
    seen.await_all(&disk.seen().join("mail"), false, &ledger);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("hung, and killed: {:?}, resident {peak} at most", seen.judge(&ledger));
}

/// One recipient of five is always refused: the others do not wait for it, and its mail is dead in the end, named, and can be sent
/// again by the operator when the recipient is mended.
#[test]
fn poison_is_put_aside_and_its_mail_is_dead_but_not_lost() {
    let home = Directory::new();
    let (mail, data) = (home.path().join("mail"), home.path().join("data"));
    std::fs::create_dir_all(mail.join("mx.test")).unwrap();
    let poison = mail.join("mx.test/poison");
    std::fs::write(&poison, "This is no directory.").unwrap();
    let server = Server::serve(&house(&home, "retry_s = [1, 2]\nlifetime_s = 4"), 1);
    let mut offer = Offer::of(server.address(), 8, 3_000);
    offer.one_poisoned_of = Some(5);
    let offers = Offers::start(&offer);
    offers.go_on_for(1_000);
    let ledger = offers.finish();
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    let is_poisoned = |number: u64| number.is_multiple_of(5);
    let part = |poisoned: bool| Ledger {
        acknowledged: ledger.acknowledged.clone().into_iter().filter(|(_, n)| is_poisoned(*n) == poisoned).collect(),
        offered: ledger.offered.clone(),
        ..Ledger::default()
    };
    let (others, poisoned) = (part(false), part(true));
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &others);
    eventually("their lifetime ends", || (waiting(&data, "dead") == poisoned.acknowledged.len()).then_some(()));
    assert_eq!(waiting(&data, "active,deferred"), 0);
    std::fs::remove_file(&poison).unwrap();
    let data = data.to_str().expect("a plain path");
    let run = Finished::of(["spool", "--data-dir", data, "replay", "--all", "--state", "dead"]);
    assert!(run.status.success(), "{run:?}");
    seen.await_all(&mail, false, &poisoned);
    assert_no_alarm(&server);
    server.stop();
    eprintln!("{} poisoned; {:?}", poisoned.acknowledged.len(), seen.judge(&ledger));
}

/// A program that embeds the library refuses all for now, and then takes it: meanwhile its mail is deferred as a sink's is, and holds no log.
#[test]
fn while_a_program_refuses_its_mail_is_deferred_and_holds_no_log() {
    let home = Directory::new();
    let text = house(&home, "retry_s = [1, 2]");
    let maildir = text.find("kind = 'maildir'").expect("it is one");
    let plan = Plan::parse(&format!("{}kind = 'program'\n", &text[..maildir]), "absorbed").expect("it is a plan");
    let (mut engine, mut consumers) = Engine::start_with_consumers(plan, false).expect("it starts");
    let (_, bind) = engine.listening().next().expect("it listens");
    let address = bind.to_string().parse().expect("an address");
    let takes = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(HashMap::new()));
    let parts = consumers.remove("store").expect("the plan has it").into_iter();
    let parts: Vec<_> = parts
        .map(|deliveries| {
            let (takes, seen) = (Arc::clone(&takes), Arc::clone(&seen));
            std::thread::spawn(move || {
                for mut delivery in deliveries {
                    if takes.load(Ordering::Relaxed) {
                        let number = number_of_pieces(delivery.content()).expect("it is whole");
                        assert_eq!(
                            seen.lock().unwrap().insert(delivery.id().to_string(), number),
                            None,
                            "it came twice"
                        );
                        delivery.accept();
                    } else {
                        delivery.refuse_the_rest(&Refusal::new(Reply::DeliveryFailed, "not now"));
                    }
                }
            })
        })
        .collect();
    let offers = Offers::start(&Offer::of(address, 8, 8_000));
    // Each log is many segments long by then, of which none is left but what is written.
    offers.go_on_for(4_000);
    offers.rest();
    eventually("no segment waits for it", || {
        let spool = engine.report().spool;
        let of = |name: &str| spool.iter().find(|number| number.name == name).map_or(0, |number| number.value);
        (of("segments_recycled") > 0 && of("segments_in_use") <= 4).then_some(())
    });
    assert!(waiting(&home.path().join("data"), "deferred") > 1_000);
    takes.store(true, Ordering::Relaxed);
    offers.go_on();
    offers.go_on_for(100);
    let ledger = offers.finish();
    assert!(ledger.refused.is_empty(), "{:?}", ledger.refused);
    eventually("all is taken", || {
        (ledger.acknowledged.keys().all(|id| seen.lock().unwrap().contains_key(id))).then_some(())
    });
    assert_eq!(waiting(&home.path().join("data"), "deferred,held,quarantined,dead"), 0);
    engine.stop();
    parts.into_iter().for_each(|part| part.join().expect("all came once"));
    let seen = seen.lock().unwrap();
    assert!(ledger.acknowledged.iter().all(|(id, number)| seen[id] == *number));
}

/// RELIABILITY F33: the end is clean, and what had its 250 is delivered or lies there.
#[test]
fn a_server_that_is_told_to_stop_under_durable_load_has_all_that_had_its_250() {
    let home = Directory::new();
    let (mail, data) = (home.path().join("mail"), home.path().join("data"));
    let domain = mail.join("mx.test");
    std::fs::create_dir_all(&domain).unwrap();
    let text = house(&home, "retry_s = [1, 2]");
    let (mut sum, mut waited) = (Ledger::default(), 0);
    for round in 0..if is_long() { 100 } else { 5 } {
        // Every second time with its sink down.
        let is_down = round % 2 == 1;
        let aside = home.path().join("aside");
        if is_down {
            std::fs::rename(&domain, &aside).unwrap();
            std::fs::write(&domain, "This is no directory.").unwrap();
        }
        let server = Server::serve(&text, 1);
        let offers = Offers::start(&Offer::of(server.address(), 8, 3_000));
        offers.go_on_for(50 + round * 37 % 300);
        server.signal(Signal::TERM);
        // With status 0, whatever waits.
        server.finish();
        sum.add(offers.finish());
        waited += waiting(&data, "active,deferred");
        if is_down {
            std::fs::remove_file(&domain).unwrap();
            std::fs::rename(&aside, &domain).unwrap();
        }
    }
    let server = Server::serve(&text, 1);
    let mut seen = Seen::default();
    seen.await_all(&mail, false, &sum);
    assert_no_alarm(&server);
    server.stop();
    sum.assert_no_permanent_refusal();
    eprintln!("stopped: {:?}, {waited} waited over the ends, heard {:?}", seen.judge(&sum), sum.refused);
    assert!(waited > 0, "something was left over an end");
}
