//! Python's smtplib: `smtplib_client.py` says what it sent.

use std::process::{Command, Stdio};

use super::tool::{Sent, expect_counted, find, run, script};
use crate::process::server::Server;

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    let mut command = Command::new(find("python3", "python3"));
    command.arg(script("smtplib_client.py")).arg(server.address().port().to_string()).stdin(Stdio::null());
    let sent = Sent::parse(&run(command));
    assert!(sent.messages > 100, "{sent:?}");
    expect_counted(server, sent);
}
