//! swaks: one message a run, with and without pipelining.

use std::process::{Command, Stdio};

use super::tool::{MESSAGE, Sent, expect_counted, find, run};
use crate::process::server::Server;

/// Runs it with these arguments besides the envelope's.
#[track_caller]
fn swaks(server: &Server, to: &str, arguments: &[&str]) {
    let message = server.directory.write("message.eml", MESSAGE);
    let mut command = Command::new(find("swaks", "swaks"));
    // No configuration of whoever runs the tests.
    command.arg("--config").args(["--server", "127.0.0.1", "--port", &server.address().port().to_string()]);
    command.args(["--ehlo", "client.test", "--from", "s@client.test", "--to", to]).args(arguments);
    command.args(["--data", "-"]).stdin(Stdio::from(std::fs::File::open(message).unwrap()));
    run(command);
}

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    swaks(&server, "r@server.test", &[]);
    swaks(&server, "r@server.test,s@server.test,t@server.test", &[]);
    swaks(&server, "r@server.test,s@server.test", &["--pipeline"]);
    swaks(&server, "r@server.test", &["--protocol", "SMTP"]);
    // It ends the last line.
    let octets = 4 * (MESSAGE.len() as u64 + 2);
    expect_counted(server, Sent { messages: 4, recipients: 7, octets });
}

#[test]
fn a_refusal_is_understood() {
    let server = Server::sink(&["--reject", "rcpt 100% 550"]);
    let mut command = Command::new(find("swaks", "swaks"));
    command.arg("--config").args(["--server", &format!("127.0.0.1:{}", server.address().port())]);
    command.args(["--from", "s@client.test", "--to", "r@server.test"]).stdin(Stdio::null());
    let refused = crate::process::server::Finished::of_command(command);
    // Its status for a transaction that failed at RCPT.
    assert_eq!(refused.status.code(), Some(24), "{refused:?}");
    assert_eq!(server.stop().replies("Scripted550"), 1);
}
