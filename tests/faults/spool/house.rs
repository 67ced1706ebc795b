//! A server whose mail is promised to outlast it: its configuration, what it gave to its maildir or still has, and how that is held
//! against the ledger of those who sent it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::faults::maildirs::files_below;
use crate::faults::offers::{Ledger, number_of};
use crate::process::patience::eventually;
use crate::process::server::{Finished, Server};

/// Segments are small, so that they are filled, used again and removed while the test looks.
const SPOOL: &str = "[spool]\nsegment_bytes = 4194304\nreserve_bytes = 1048576\n";

/// As an operator's tool calls them.
const ALL_STATES: &str = "active,deferred,held,quarantined,dead,delivered";

/// A public listener of this promise, and one maildir for every recipient below `MAIL`; `[spool]` has these lines more.
pub fn configuration(address: &str, data: &str, mail: &str, durability: &str, spool: &str) -> String {
    format!(
        "[server]\nhostname = 'mx.test'\nshards = 2\nsink_threads = 2\ndata_dir = '{data}'\n[log]\ndeliveries = 'none'\n{SPOOL}{spool}\n\
         [listener.mx]\nkind = 'public'\nbind = '{address}'\nrecipients = ['ALL']\ndurability = '{durability}'\n\
         messages_per_connection = 0\nsink = 'store'\n\
         [sink.store]\nkind = 'maildir'\npath = '{mail}/{{domain}}/{{local}}'\n"
    )
}

/// What was seen of messages, by id.
#[derive(Clone, Debug, Default)]
pub struct Seen(HashMap<String, Sight>);

#[derive(Clone, Copy, Debug)]
struct Sight {
    number: u64,
    /// How often it was delivered, of what can be told apart.
    times: u64,
}

/// What came of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub acknowledged: usize,
    pub seen: usize,
    pub seen_without_250: usize,
    /// Deliveries beyond the first.
    pub again: u64,
}

impl Seen {
    /// Reads what lies in `new` of the maildirs there; `takes` as a reader does who removes it, so that one that comes again is
    /// seen again.
    #[track_caller]
    pub fn look(&mut self, mail: &Path, takes: bool) {
        for path in files_below(mail, &["new"]) {
            let Ok(file) = std::fs::read(&path) else { continue };
            let number = number_of(&file).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
            let id = id_of(&path);
            let sight = self.0.entry(id.clone()).or_insert(Sight { number, times: 0 });
            assert_eq!(sight.number, number, "{id} is two messages");
            if takes {
                sight.times += 1;
                std::fs::remove_file(&path).expect("a reader may");
            } else {
                sight.times = 1;
            }
        }
    }

    /// What an operator's tool gives out of a spool that no server uses: each message as it was sent, whatever state it is in.
    #[track_caller]
    pub fn look_into(&mut self, data: &Path, to: &Path) {
        let (data, to) = (data.to_str().expect("a plain path"), to.to_str().expect("a plain path"));
        let run = Finished::of(["spool", "--data-dir", data, "export", "--all", "--state", ALL_STATES, "--to", to]);
        assert!(run.status.success(), "{run:?}");
        for entry in std::fs::read_dir(to).expect("it was made") {
            let path = entry.expect("it can be read").path();
            let file = std::fs::read(&path).expect("it can be read");
            let number = number_of(&file).unwrap_or_else(|what| panic!("{}: {what}", path.display()));
            self.0.insert(id_of_export(&path), Sight { number, times: 1 });
            std::fs::remove_file(&path).expect("it is ours");
        }
    }

    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// How often it was delivered.
    pub fn times(&self, id: &str) -> u64 {
        self.0.get(id).map_or(0, |sight| sight.times)
    }

    /// The numbers of all that was seen.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.0.values().map(|sight| sight.number)
    }

    /// Those of the ledger that were not seen, if any.
    pub fn lacks<'l>(&self, ledger: &'l Ledger) -> Vec<&'l String> {
        ledger.acknowledged.keys().filter(|id| !self.has(id)).collect()
    }

    /// Every message with a 250 was seen, and is what was sent; none was seen that was not offered.
    #[track_caller]
    pub fn judge(&self, ledger: &Ledger) -> Judged {
        let lost = self.lacks(ledger);
        assert!(lost.is_empty(), "{} of {} acknowledged are lost: {lost:?}", lost.len(), ledger.acknowledged.len());
        for (id, Sight { number, .. }) in &self.0 {
            assert!(ledger.offered.contains(number), "{id} was never offered");
            let acknowledged = ledger.acknowledged.get(id);
            assert!(acknowledged.is_none_or(|acknowledged| acknowledged == number), "{id} is another's content");
        }
        let (acknowledged, seen) = (ledger.acknowledged.len(), self.0.len());
        let again = self.0.values().map(|sight| sight.times.saturating_sub(1)).sum();
        Judged { acknowledged, seen, seen_without_250: seen - acknowledged, again }
    }

    /// Waits until all that is in the ledger was delivered.
    #[track_caller]
    pub fn await_all(&mut self, mail: &Path, takes: bool, ledger: &Ledger) {
        let mut left = usize::MAX;
        // As long as it goes on, however slowly.
        while left > 0 {
            left = eventually("more of what was acknowledged is delivered", || {
                self.look(mail, takes);
                Some(self.lacks(ledger).len()).filter(|now| *now < left || *now == 0)
            });
        }
    }
}

/// `SECONDS.ID.HOST`, with flags or without.
fn id_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    name.split('.').nth(1).unwrap_or_else(|| panic!("{name} is no name of ours")).to_owned()
}

/// A file of an export.
fn id_of_export(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    name.split(['.', '-', '_'])
        .find(|word| word.len() == 26)
        .unwrap_or_else(|| panic!("{name} is no name of ours"))
        .to_owned()
}

/// The segments of a log, in order of their numbers.
pub fn segments(log: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "segment")).collect();
    paths.sort();
    paths
}

/// Fails if the server said of its spool that something promised is damaged: what a kill or a power cut leaves is no damage.
#[track_caller]
pub fn assert_no_alarm(server: &Server) {
    let said = server.errors.so_far();
    let is_alarm = |line: &&str| ["damage", "corrupt", "quarantin", "lost"].iter().any(|word| line.contains(word));
    let alarms: Vec<_> = said.lines().filter(is_alarm).collect();
    assert!(alarms.is_empty(), "an alarm without damage: {alarms:#?}");
}
