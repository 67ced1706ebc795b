//! Postfix's smtp-source: many sessions and messages, on one connection each or anew for each message.

use std::process::{Command, Stdio};

use super::tool::{find, run};
use crate::process::server::Server;

/// Sends so many messages to so many recipients each, and compares. How long its header is only it knows.
#[track_caller]
fn counts_agree(arguments: &[&str], sessions: u32, messages: u64, recipients: u64, octets: u64) {
    let server = Server::sink(&[]);
    let mut command = Command::new(find("smtp-source", "postfix"));
    command.args(arguments).args(["-f", "s@client.test", "-t", "r@server.test", "-M", "client.test"]);
    for (option, number) in [("-s", u64::from(sessions)), ("-m", messages), ("-r", recipients), ("-l", octets)] {
        command.args([option, &number.to_string()]);
    }
    command.arg(format!("inet:{}", server.address())).stdin(Stdio::null());
    run(command);
    let stats = server.stop();
    assert_eq!(stats.mail(), (messages, messages * recipients));
    assert!(stats.total("message_octets") >= messages * octets);
    assert_eq!(stats.replies("Discarded"), messages);
    assert_eq!((stats.total("connections_open"), stats.total("stale_completions")), (0, 0));
    let connections = if arguments.contains(&"-d") { u64::from(sessions) } else { messages };
    assert_eq!(stats.total("connections_accepted"), connections);
}

#[test]
fn a_connection_for_each_message() {
    counts_agree(&[], 1, 1, 1, 100);
    counts_agree(&[], 4, 100, 1, 4096);
    counts_agree(&[], 50, 2000, 1, 1000);
}

#[test]
fn many_messages_on_a_connection() {
    counts_agree(&["-d"], 1, 1, 1, 100);
    counts_agree(&["-d"], 4, 1000, 1, 4096);
    counts_agree(&["-d"], 100, 10_000, 1, 1000);
}

#[test]
fn many_recipients() {
    counts_agree(&["-d"], 5, 50, 100, 1000);
    counts_agree(&[], 5, 20, 1000, 10);
}

#[test]
fn large_messages() {
    counts_agree(&["-d"], 4, 40, 1, 2_000_000);
}

#[test]
fn other_options() {
    // Numbered recipients; another subject, which makes it leave out the rest of its header.
    counts_agree(&["-d", "-N", "-S", "subject"], 2, 20, 3, 1000);
}
