//! Sinks that the configuration has no more, for which mail waits.

use ringmx::spool::format::{Chain, Wait};

use super::fixture::{LogMaker, manifest};
use super::{LATER, Spool, content, now_ms};
use crate::process::server::Finished;

/// One message that a sink refused for now, and nothing else.
fn with_deferred() -> Spool {
    let (spool, now) = (Spool::empty(), now_ms());
    let wait = Wait { state: 0, attempts: 2, since_ms: now, next_ms: now + 240_000, code: 452, reply: LATER };
    let mut log = LogMaker::new(&spool.path(), "deferred/store-0/300", Chain::Deferred, &["store"]);
    let manifest = manifest(1, "s@x.test", &[("a@ok.test", 0)], now, &content(1));
    log.message(&manifest, &content(1), Some(&wait));
    log.write();
    spool
}

/// Whether it waits in a log of mail that came in, or was refused once: nobody would ever deliver it.
#[test]
fn mail_for_a_sink_that_is_gone_is_a_reason_not_to_start() {
    for (spool, there, gone) in [(Spool::new(), "store", "hop"), (with_deferred(), "hop", "store")] {
        let before = spool.states(&[]);
        assert!(!before.is_empty());
        let data_dir = spool.directory.path().display();
        let configuration = format!(
            "[server]\ndata_dir = '{data_dir}'\nshards = 1\n[listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\n\
             recipients = 'ALL'\nsink = '{there}'\n[sink.{there}]\nkind = 'blackhole'\n"
        );
        let file = spool.directory.write("ringmx.toml", configuration);
        let run = Finished::of(["--config", file.to_str().expect("a plain path")]);
        assert_eq!(run.status.code(), Some(78), "{run:?}");
        assert!(run.errors.contains(&format!("sink {gone:?}, which is not in the configuration")), "{run:?}");
        assert!(run.errors.contains(&format!("ringmx spool export --all --sink {gone}")), "{run:?}");
        assert_eq!(spool.states(&[]), before, "it lies there as before");
    }
}
