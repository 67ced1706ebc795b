//! What keeps a sink's mail from being kept, told once for each cause, and once when it is over.
//!
//! *Why not over at once*: a disk that fails now and then would be told of with every batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits;
use crate::spool::deferred::DeferredError;
use crate::spool::findings::{Finding, Findings};

/// See the module.
#[derive(Debug)]
pub struct Trouble {
    /// Who has it.
    sink: String,
    findings: Arc<Findings>,
    /// Causes that were told, while it lasts.
    told: BTreeSet<String>,
    failed_at: Option<Instant>,
}

impl Trouble {
    /// Of this sink, told there.
    pub fn new(sink: String, findings: Arc<Findings>) -> Self {
        Self { sink, findings, told: BTreeSet::new(), failed_at: None }
    }

    /// It failed.
    pub(super) fn fail(&mut self, error: &DeferredError, now: Instant) {
        self.failed_at = Some(now);
        if self.told.len() < limits::TROUBLE_CAUSES && self.told.insert(known_by(error)) {
            let (sink, cause, cure) = (self.sink.clone(), error.to_string(), error.cure());
            self.findings.add(Finding::Held { sink, cause, cure });
        }
    }

    /// It did not.
    pub(super) fn go_on(&mut self, now: Instant) {
        let calm = Duration::from_millis(limits::TROUBLE_CALM_MS);
        if self.failed_at.take_if(|at| now.saturating_duration_since(*at) >= calm).is_some() {
            self.told.clear();
            self.findings.add(Finding::GoesOn { sink: self.sink.clone() });
        }
    }
}

/// The same for errors that have one cause: files that are tried one after the other have other names.
fn known_by(error: &DeferredError) -> String {
    match error {
        DeferredError::Storage(error) => format!("{:?} {} {:?}", error.path.parent(), error.what, error.cause),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::spool::storage::{Cause, StorageError};

    fn error(path: String) -> DeferredError {
        StorageError { path: path.into(), what: "make the file", cause: Cause::System(Errno::NOSPC) }.into()
    }

    #[test]
    fn each_cause_is_told_once_and_that_it_is_over_when_it_stays_away() {
        let calm = Duration::from_millis(limits::TROUBLE_CALM_MS);
        let findings = Arc::new(Findings::default());
        let (mut trouble, mut now) = (Trouble::new("store".into(), Arc::clone(&findings)), Instant::now());
        let told = || findings.take().iter().map(ToString::to_string).collect::<Vec<_>>();
        trouble.go_on(now);
        assert_eq!(told(), [""; 0], "nothing was wrong");
        for _ in 0..2 {
            for path in ["/s/300/0", "/s/dead/0", "/s/300/1"] {
                trouble.fail(&error(path.into()), now);
            }
            let said = told();
            assert_eq!(said.len(), 2);
            for (said, path) in said.iter().zip(["/s/300", "/s/dead"]) {
                let words = ["\"store\"", path, "No space left on device", "make room"];
                assert!(words.iter().all(|word| said.contains(word)), "{said}");
            }
            now += calm / 2;
            trouble.fail(&error("/s/300/2".into()), now);
            now += calm - Duration::from_millis(1);
            trouble.go_on(now);
            assert_eq!(told(), [""; 0], "it may come back");
            now += Duration::from_millis(1);
            trouble.go_on(now);
            trouble.go_on(now);
            assert_eq!(told(), ["mail for sink \"store\" goes on"]);
        }
        (0..100).for_each(|number| trouble.fail(&error(format!("/s/{number}/0")), now));
        assert_eq!(told().len(), limits::TROUBLE_CAUSES);
    }
}
