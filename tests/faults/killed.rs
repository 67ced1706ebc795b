//! kill -9 under load (RELIABILITY F8, for mail that is promised to be delivered): whatever was acknowledged lies in its
//! maildir, nothing in `new` is cut, no id comes twice, and what was left in `tmp` goes when it is old.

use std::time::{Duration, SystemTime};

use super::machine::is_long;
use super::maildirs::{Kept, files_below};
use super::offers::{Ledger, Offer, Offers};
use crate::process::directory::Directory;
use crate::process::patience::eventually;
use crate::process::server::{Server, private_address};

/// A file in `tmp` of this age is nobody's (the server's bound is 36 hours).
const OLD: Duration = Duration::from_secs(40 * 3600);

#[test]
fn after_kill_9_again_and_again_all_that_was_acknowledged_is_there() {
    let rounds = if is_long() { 500 } else { 20 };
    let (home, address) = (Directory::new(), private_address());
    let (mail, data) = (home.path().join("mail"), home.path().join("data"));
    let configuration = format!(
        "[server]\nshards = 2\nsink_threads = 2\ndata_dir = {data:?}\n[log]\ndeliveries = 'none'\n\
         [listener.mx]\nkind = 'private'\nbind = {address:?}\ndurability = 'delivered'\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = '{}/{{domain}}/{{local}}'\n",
        mail.display()
    );
    let (mut sum, mut kept, mut times) = (Ledger::default(), Kept::default(), Vec::new());
    for round in 0..rounds {
        let begun = std::time::Instant::now();
        let server = Server::serve(&configuration, 1);
        times.push(begun.elapsed());
        let offers = Offers::start(&Offer::of(server.address(), 12, 3_000));
        // Between the first messages and some hundred, at no moment that the server knows.
        offers.go_on_for(1 + round * 37 % 301);
        drop(server);
        sum.add(offers.finish());
        for path in files_below(&mail, &["new"]) {
            kept.read(&path);
            let name = path.file_name().unwrap().to_str().unwrap();
            if round % 2 == 0 {
                // A reader takes it.
                std::fs::rename(&path, path.parent().unwrap().with_file_name("cur").join(format!("{name}:2,S")))
                    .unwrap();
            }
        }
        if is_long() && round % 10 == 9 {
            // What was looked at and is whole need not lie there for ever.
            files_below(&mail, &["cur"]).into_iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
    }
    let judged = kept.judge(&sum);
    times.sort();
    eprintln!(
        "{rounds} rounds of kill -9: {judged:?}, {} without an answer; started again in {:?}, at most {:?}",
        sum.unanswered,
        times[times.len() / 2],
        times[times.len() - 1]
    );
    assert!(sum.acknowledged.len() as u64 >= rounds && sum.unanswered > 0, "the load was there when it ended");
    assert!(sum.refused.is_empty(), "{:?}", sum.refused);
    leftovers_go_when_they_are_old(&configuration, &mail);
}

fn leftovers_go_when_they_are_old(configuration: &str, mail: &std::path::Path) {
    let young = mail.join("mx.test/good/tmp/1763700000.00000000000000000000000001.mx.test");
    let old = mail.join("mx.test/good/tmp/1763700000.00000000000000000000000002.mx.test");
    let foreign = mail.join("mx.test/good/tmp/a-reader's");
    for path in [&young, &old, &foreign] {
        std::fs::write(path, "half a mess").unwrap();
    }
    let long_ago = SystemTime::now() - OLD;
    let left = files_below(mail, &["tmp"]);
    for path in left.iter().filter(|path| **path != young) {
        std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    let server = Server::serve(configuration, 1);
    eventually("what is old and ours is removed", || (files_below(mail, &["tmp"]).len() == 2).then_some(()));
    assert!(young.exists() && foreign.exists());
    eprintln!("{} files were left in tmp, of which 2 stay", left.len());
    server.stop();
}
