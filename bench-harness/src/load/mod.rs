//! The load: a thread and a blocking socket for each connection, everything it writes rendered before, every reply checked.
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

use crate::arguments::LoadArguments;
use crate::failure::Failure;
use client::{Client, Trouble};
use ledger::Ledger;
use script::{Script, Shape};

/// The command `load`: one run, its rate and its ledger.
pub fn run(options: &LoadArguments) -> Result<(), Failure> {
    let shape = Shape { mode: options.mode, depth: options.depth, size: options.size, recipients: options.recipients };
    let ledger = send(options.target, options.connections, options.messages, &shape)?;
    print!("{ledger}");
    Ok(())
}

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
