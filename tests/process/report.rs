//! What the program tells its operator while it runs: SIGUSR1, the table, the JSON file.

use rustix::process::Signal;

use super::client::Client;
use super::server::Server;

#[test]
fn sigusr1_prints_a_table_and_writes_the_file() {
    let server = Server::sink(&["--shards", "1"]);
    let mut client = Client::ready(server.address());
    for messages in 1..=3 {
        client.deliver("one more\r\n");
        let stats = server.stats_now();
        assert_eq!((stats.mail(), stats.total("connections_open")), ((messages, messages), 1));
        assert_eq!((stats.replies("MailOk"), stats.replies("Discarded")), (messages, messages));
        server.output.await_text(&format!(": {messages} messages, "), 1);
    }
    client.say("MAIL FROM:<>\r\n", "250");
    server.signal(Signal::USR1);
    let peer = client.socket().local_addr().unwrap().as_socket().unwrap().to_string();
    let line = server.output.await_some("the session is listed in its transaction", 1, |line| {
        (line.contains(&peer) && line.contains(" mail ")).then(|| line.to_owned())
    });
    let line = &line.expect("the program runs")[0];
    assert!(line.contains("sink") && line.ends_with(" 3"), "{line:?}");
    client.quit();
    let stats = server.stop();
    assert_eq!((stats.mail(), stats.total("message_octets")), ((3, 3), 30));
}

#[test]
fn a_sink_that_is_told_to_sums_content() {
    let server = Server::sink(&["--shards", "2", "--checksum"]);
    server.output.await_text("CRC32C, summed over messages", 1);
    let sum: u64 = ["one\r\n", "two\r\n"].map(|content| u64::from(crc32c::crc32c(content.as_bytes()))).iter().sum();
    let mut client = Client::ready(server.address());
    client.deliver("one\r\n");
    client.deliver("two\r\n");
    client.quit();
    let stats = server.stop();
    assert_eq!((stats.total("content_checksums"), stats.total("content_checksum_sum")), (2, sum));
}

/// `ringmx sink … | head` is no reason to stop, nor to lose the statistics.
#[test]
fn an_output_that_nobody_reads_any_more_does_not_stop_it() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let directory = super::directory::Directory::new();
    let stats = directory.path().join("stats.json");
    let mut command = Command::new(super::server::PROGRAM);
    command.args(["sink", "127.0.0.1:0", "--stats-json"]).arg(&stats);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it said where it listens");
        if let Some((_, address)) = line.trim_end().split_once(" is ready on ") {
            break address.parse().unwrap();
        }
    };
    drop(output);
    let mut guard = Killed(child);
    let pid = rustix::process::Pid::from_child(&guard.0);
    rustix::process::kill_process(pid, Signal::USR1).unwrap();
    super::patience::eventually("the file is written, or the program has ended", || {
        (stats.exists() || guard.0.try_wait().unwrap().is_some()).then_some(())
    });
    Client::ready(address).deliver("somebody still writes\r\n");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let status = super::patience::eventually("it ends", || guard.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let stats = super::stats::Stats::parse(&std::fs::read_to_string(&stats).unwrap());
    assert_eq!(stats.mail(), (1, 1));
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_of_its_own() {
    let run = super::server::Finished::of(["sink", "127.0.0.1:0", "--for", "1ms", "--stats-json", "/dev/null/stats"]);
    assert_eq!(run.status.code(), Some(73), "{run:?}");
    assert!(run.errors.contains("/dev/null/stats"), "{run:?}");
}
