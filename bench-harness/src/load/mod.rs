//! The load of comparisons: a thread and a blocking socket for each connection, everything it writes rendered before, every
//! reply checked; the byte sink is told beforehand what will come. `generate` is the generator for all else.
//!
//! A closed loop: each connection waits for all replies of a batch before it writes the next. So its latencies are those of
//! round trips under this load and say nothing of a rate that does not wait (PERFORMANCE.md, coordinated omission).

pub mod client;
pub mod ledger;
pub mod script;

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::failure::Failure;
use client::{Client, Trouble};
use ledger::Ledger;
use script::{Script, Shape};

/// Sends so many messages over so many connections. Fails unless each was accepted with the replies expected.
pub fn send(target: SocketAddr, connections: u64, messages: u64, shape: &Shape) -> Result<Ledger, Failure> {
    if messages < connections {
        let text = format!("{connections} connections need as many messages at least, and {messages} are asked for");
        return Err(Failure::Usage(text));
    }
    // The first connections take one message more, if it does not come out even.
    let more = (messages % connections) as usize;
    let scripts = [messages / connections, messages / connections + 1].map(|share| Script::new(shape, share));
    let [fewer, most] = scripts;
    let (fewer, most) = (fewer?, most?);
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(target).map_err(unreachable(target))?;
        client.begin(&fewer.hello).map_err(|trouble| trouble.failure(target))?;
        clients.push(client);
    }
    let begin = Barrier::new(clients.len() + 1);
    let (elapsed, ended) = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, client)| {
                let script = if number < more { &most } else { &fewer };
                let begin = &begin;
                scope.spawn(move || {
                    begin.wait();
                    converse(client, script)
                })
            })
            .collect();
        begin.wait();
        let began = Instant::now();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Trouble::Panicked))).collect();
        (began.elapsed(), ended)
    });
    let mut sum = Ledger { elapsed, ..Ledger::default() };
    for ledger in ended {
        sum.add(ledger.map_err(|trouble| trouble.failure(target))?);
    }
    let content_octets = messages * shape.size as u64;
    if (sum.messages, sum.content_octets) != (messages, content_octets) {
        return Err(Failure::Disagreement(format!(
            "{messages} messages of {content_octets} octets were to be sent, and the ledger has {} of {}",
            sum.messages, sum.content_octets
        )));
    }
    Ok(sum)
}

/// All that a connection says behind its greeting.
fn converse(mut client: Client, script: &Script) -> Result<Ledger, Trouble> {
    if let Some(opening) = &script.opening {
        client.perform(opening)?;
    }
    for _ in 0..script.units {
        client.perform(&script.unit)?;
    }
    if let Some(rest) = &script.rest {
        client.perform(rest)?;
    }
    client.finish(&script.ending)
}

fn unreachable(target: SocketAddr) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::Unavailable(format!("cannot connect to {target}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::script::Mode;
    use super::*;

    /// A server that answers each command of a script with what is given for it, and chunks with their commands.
    fn server(answer: fn(&str) -> &'static str) -> SocketAddr {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listening.incoming().map_while(Result::ok) {
                let mut writer = stream.try_clone().unwrap();
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    let (mut line, mut content) = (String::new(), vec![0; 64]);
                    let mut goes_on = writer.write_all(b"220 test\r\n").is_ok();
                    while goes_on && reader.read_line(&mut line).is_ok_and(|octets| octets > 0) {
                        if line.starts_with("BDAT") {
                            std::io::Read::read_exact(&mut reader, &mut content).unwrap();
                        }
                        let reply = answer(&line);
                        goes_on = writer.write_all(reply.as_bytes()).is_ok() && !reply.starts_with("221");
                        line.clear();
                    }
                });
            }
        });
        address
    }

    const SHAPE: Shape = Shape { mode: Mode::Bdat, depth: 7, size: 64, recipients: 1 };

    #[test]
    fn a_load_keeps_its_ledger() {
        let target = server(|line| if line.starts_with("QUIT") { "221 x\r\n" } else { "250 x\r\n" });
        let ledger = send(target, 3, 1003, &SHAPE).unwrap();
        assert_eq!((ledger.messages, ledger.content_octets), (1003, 1003 * 64));
    }

    #[test]
    fn an_unexpected_reply_leaves_no_figure() {
        let target = server(|line| if line.starts_with("RCPT") { "451 not now\r\n" } else { "250 x\r\n" });
        let failure = send(target, 2, 100, &SHAPE).unwrap_err();
        assert!(matches!(&failure, Failure::Disagreement(text) if text.contains("451 not now")), "{failure}");
    }
}
