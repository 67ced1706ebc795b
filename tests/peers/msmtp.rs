//! msmtp: one message a run, as a sendmail replacement.

use std::process::{Command, Stdio};

use super::tool::{MESSAGE, Sent, expect_counted, find, run};
use crate::process::server::Server;

#[test]
fn counts_agree() {
    let server = Server::sink(&[]);
    let message = server.directory.write("message.eml", format!("{MESSAGE}\r\n").replace("\r\n", "\n"));
    for recipients in [&["a@server.test"][..], &["a@server.test", "b@server.test", "c@server.test"]] {
        let mut command = Command::new(find("msmtp", "msmtp"));
        // A host on the command line keeps configuration files out.
        command.args(["--host=127.0.0.1", &format!("--port={}", server.address().port()), "--domain=client.test"]);
        command.args(["--from=s@client.test", "--tls=off", "--auth=off", "--timeout=60", "--"]).args(recipients);
        command.stdin(Stdio::from(std::fs::File::open(&message).unwrap()));
        run(command);
    }
    let octets = 2 * (MESSAGE.len() as u64 + 2);
    expect_counted(server, Sent { messages: 2, recipients: 4, octets });
}
