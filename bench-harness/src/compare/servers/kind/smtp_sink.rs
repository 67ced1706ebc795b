//! Postfix's smtp-sink.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::geteuid;

use super::super::dialogue;
use super::{Contender, Home, Kind, Lack, Places, Promise, on_path, terminate, told};
use crate::compare::process::Process;
use crate::failure::Failure;

/// smtp-sink(1): "The program ... discards the message content". It writes files only with -d or -D.
pub const KIND: Kind = Kind { name: "smtp-sink", promise: Promise::Nothing, install: "apt-get install postfix", find };

/// How long it may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct SmtpSink {
    program: PathBuf,
}

fn find(places: &Places<'_>) -> Result<Box<dyn Contender>, Lack> {
    Ok(Box::new(SmtpSink { program: places.program(&KIND, &["smtp-sink"])? }))
}

impl Contender for SmtpSink {
    fn version(&self) -> String {
        let version = on_path(&["postconf"])
            .and_then(|postconf| told(Command::new(postconf).args(["-d", "-h", "mail_version"])))
            .unwrap_or_default();
        format!("Postfix smtp-sink {version}").trim_end().to_owned()
    }

    fn prepare(&self, home: &Home) -> Result<Command, Failure> {
        let mut command = Command::new(&self.program);
        if geteuid().is_root() {
            // It insists on giving root up.
            command.args(["-u", "nobody"]);
        }
        if let Some(messages) = home.expected {
            // It tells no count that would not cost time for each command (-c), but it ends with this message.
            command.args(["-M", &(messages + 1).to_string()]);
        }
        command.args([&format!("inet:{}", home.address), "1024"]);
        Ok(command)
    }

    fn stop(&self, mut process: Process, home: &Home) -> Result<Option<u64>, Failure> {
        let Some(messages) = home.expected else {
            terminate(process);
            return Ok(None);
        };
        let wrong =
            |how: &str| Err(Failure::Disagreement(format!("smtp-sink has counted {how} messages than were sent")));
        if process.is_over() {
            return wrong("more");
        }
        // It ends before it answers, so this one is not to succeed.
        let _ = dialogue::send_one(home.address);
        match process.finish(PATIENCE) {
            Ok(_) => Ok(Some(messages)),
            Err(_) => wrong("fewer"),
        }
    }
}
