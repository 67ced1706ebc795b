//! Nodemailer, from npm: `nodemailer_client.cjs` says what it sent.

use std::process::{Command, Stdio};

use super::npm::installed;
use super::tool::{Sent, expect_counted, find, run, script};
use crate::process::server::Server;

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    let mut command = Command::new(find("node", "nodejs"));
    command.arg(script("nodemailer_client.cjs")).arg(server.address().port().to_string());
    command.env("NODE_PATH", installed().join("node_modules")).stdin(Stdio::null());
    let sent = Sent::parse(&run(command));
    assert!(sent.messages > 100, "{sent:?}");
    expect_counted(server, sent);
}
