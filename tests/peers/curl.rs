//! curl: a message for each file, one connection for several.

use std::process::{Command, Stdio};

use super::tool::{MESSAGE, Sent, expect_counted, find, run};
use crate::process::server::Server;

fn curl() -> Command {
    let mut command = Command::new(find("curl", "curl"));
    // No configuration and no proxy of whoever runs the tests.
    command.args(["--disable", "--silent", "--show-error", "--noproxy", "*", "--mail-from", "s@client.test"]);
    command.stdin(Stdio::null());
    command
}

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    let url = format!("smtp://{}/client.test", server.address());
    let message = format!("{MESSAGE}\r\n");
    let path = server.directory.write("message.eml", &message);
    let mut command = curl();
    command.args(["--mail-rcpt", "a@server.test", "--mail-rcpt", "b@server.test"]).arg("--upload-file");
    command.arg(&path).arg(&url);
    run(command);

    // Bare newlines in the file, which curl mends, on a connection for three.
    let unix = server.directory.write("unix.eml", message.replace("\r\n", "\n"));
    let mut command = curl();
    command.args(["--crlf", "--mail-rcpt", "a@server.test"]);
    for _ in 0..3 {
        command.arg("--upload-file").arg(&unix).arg(&url);
    }
    run(command);

    let large = "0123456789".repeat(7) + "\r\n";
    let large = large.repeat(200_000);
    let path = server.directory.write("large.eml", &large);
    let mut command = curl();
    command.args(["--mail-rcpt", "a@server.test"]).arg("--upload-file").arg(&path).arg(&url);
    run(command);

    let octets = 4 * message.len() as u64 + large.len() as u64;
    expect_counted(server, Sent { messages: 5, recipients: 6, octets });
}

/// The line that the program prints at start can be pasted.
#[test]
fn the_printed_line_sends_a_message() {
    find("curl", "curl");
    let server = Server::sink(&[]);
    let line =
        server.output.await_some("the line to paste", 1, |line| line.contains("| curl ").then(|| line.to_owned()));
    let mut command = Command::new("sh");
    command.arg("-c").arg(&line.expect("the program runs")[0]).env("no_proxy", "*").stdin(Stdio::null());
    run(command);
    assert_eq!(server.stop().mail(), (1, 1));
}
