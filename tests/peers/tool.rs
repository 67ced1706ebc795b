//! Finds and runs other people's clients, and compares what they sent with what was counted.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::server::{Finished, Server};

/// A message with what clients are tempted to change: lines with dots at their start, long lines, no line at the end empty.
pub const MESSAGE: &str = "From: <a@client.test>\r\nTo: <b@server.test>\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n\
                           Message-ID: <1@client.test>\r\nSubject: hello\r\n\r\n.one dot\r\n..two dots\r\n.\r\n...\r\nlast";

/// What a client says that it sent, or is known to have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub messages: u64,
    pub recipients: u64,
    pub octets: u64,
}

impl Sent {
    /// `MESSAGES RECIPIENTS OCTETS`, as the scripts print it last.
    #[track_caller]
    pub fn parse(output: &str) -> Self {
        let numbers: Vec<u64> = output.split_whitespace().map(|word| word.parse().expect(output)).collect();
        let [messages, recipients, octets] = numbers[..] else { panic!("three numbers are expected: {output:?}") };
        Self { messages, recipients, octets }
    }
}

/// The client's path; it is a failure when there is none.
#[track_caller]
pub fn find(command: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        // Postfix's tools are not on every user's path.
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(command))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{command} is not installed: it is in the package {package}; .ci/install installs it")
        })
}

/// Runs the client, which must succeed; gives what it printed.
#[track_caller]
pub fn run(command: Command) -> String {
    let shown = format!("{command:?}");
    let run = Finished::of_command(command);
    assert!(run.status.success(), "{shown}\n{run:#?}");
    run.output
}

/// Stops the server: it must have counted what was sent.
#[track_caller]
pub fn expect_counted(server: Server, sent: Sent) {
    let stats = server.stop();
    let (messages, recipients) = stats.mail();
    assert_eq!(Sent { messages, recipients, octets: stats.total("message_octets") }, sent);
    assert_eq!(stats.total("connections_open"), 0);
    assert_eq!(stats.total("stale_completions"), 0);
    assert_eq!(stats.total("messages_void"), 0);
}

/// A file beside this one.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}
