//! A load in the manner of smtp-source, with a ledger of what was answered.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::client::Client;
use super::patience::eventually;

/// Sessions that deliver one message after the other until they are told to stop, or the server ends them.
#[derive(Debug)]
pub struct Load {
    sessions: Vec<JoinHandle<Ledger>>,
    acknowledged: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
}

/// What the sessions know at their end.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Messages answered with 250.
    pub acknowledged: u64,
    /// Octets of their content.
    pub octets: u64,
    /// Messages of which all was sent, and for which no answer came.
    pub unanswered: u64,
    /// Other answers to a message.
    pub refused: u64,
}

impl Load {
    /// Half of the sessions send MAIL, RCPT and DATA one by one, half in one piece; a third connects anew for each message.
    pub fn start(address: SocketAddr, sessions: usize) -> Self {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let sessions = (0..sessions)
            .map(|number| {
                let (acknowledged, stopping) = (Arc::clone(&acknowledged), Arc::clone(&stopping));
                std::thread::spawn(move || {
                    let mut ledger = Ledger::default();
                    // The first error is the server's end, which a load expects.
                    let _ = work(address, number, &mut ledger, &acknowledged, &stopping);
                    ledger
                })
            })
            .collect();
        Self { sessions, acknowledged, stopping }
    }

    /// Waits until so many messages more are acknowledged.
    #[track_caller]
    pub fn go_on_for(&self, messages: u64) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + messages;
        eventually("the load goes on", || (self.acknowledged.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// Ends the sessions, those that the server has not ended already.
    pub fn finish(self) -> Ledger {
        self.stopping.store(true, Ordering::Relaxed);
        let mut sum = Ledger::default();
        for session in self.sessions {
            let ledger = session.join().expect("a session does not panic");
            sum.acknowledged += ledger.acknowledged;
            sum.octets += ledger.octets;
            sum.unanswered += ledger.unanswered;
            sum.refused += ledger.refused;
        }
        sum
    }
}

fn work(
    address: SocketAddr,
    number: usize,
    ledger: &mut Ledger,
    acknowledged: &AtomicU64,
    stopping: &AtomicBool,
) -> io::Result<()> {
    let content = b"Subject: load\r\n\r\n..a line of text, and another one.\r\n".repeat(1 + number * 40);
    // The first dot of each stuffed line is not content.
    let octets = content.len() as u64 - stuffed_lines(&content);
    while !stopping.load(Ordering::Relaxed) {
        let mut client = Client::connect(address)?;
        greet(&mut client)?;
        loop {
            let answer = deliver(&mut client, number.is_multiple_of(2), &content, ledger)?;
            if answer == 250 {
                ledger.acknowledged += 1;
                ledger.octets += octets;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                ledger.refused += 1;
            }
            if stopping.load(Ordering::Relaxed) || number.is_multiple_of(3) {
                break;
            }
        }
        client.send("QUIT\r\n")?;
        client.reply()?;
    }
    Ok(())
}

fn stuffed_lines(content: &[u8]) -> u64 {
    content.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b".")).count() as u64
}

fn greet(client: &mut Client) -> io::Result<()> {
    wanted(client, 220)?;
    client.send("EHLO load.test\r\n")?;
    wanted(client, 250)
}

/// Gives the code of the answer to the message.
fn deliver(client: &mut Client, pipelined: bool, content: &[u8], ledger: &mut Ledger) -> io::Result<u16> {
    let commands = ["MAIL FROM:<s@load.test>\r\n", "RCPT TO:<r@server.test>\r\n", "DATA\r\n"];
    if pipelined {
        client.send(commands.concat())?;
    }
    for (command, code) in commands.into_iter().zip([250, 250, 354]) {
        if !pipelined {
            client.send(command)?;
        }
        wanted(client, code)?;
    }
    client.send(content)?;
    // From here on the server may have the message, whether or not the answer comes.
    ledger.unanswered += 1;
    client.send(".\r\n")?;
    let answer = client.reply()?;
    ledger.unanswered -= 1;
    Ok(answer.code)
}

fn wanted(client: &mut Client, code: u16) -> io::Result<()> {
    let reply = client.reply()?;
    if reply.code == code { Ok(()) } else { Err(io::Error::other(reply.text)) }
}
