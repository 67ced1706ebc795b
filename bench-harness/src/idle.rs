//! Connections that say EHLO and then nothing: what each costs the server, and what they cost those that work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use ringmx::metrics::report::{grouped, size, time};
use ringmx::smtp::reply::Reply;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};

use crate::arguments::IdleArguments;
use crate::compare::scenario::CONNECTIONS;
use crate::failure::Failure;
use crate::load;
use crate::load::client::Client;
use crate::load::ledger::Ledger;
use crate::load::script::{Exchange, Mode, Shape};
use crate::measure::memory::Resident;
use crate::measure::processor::ProcessTime;
use crate::measure::{descriptors, machine};

/// What the active connections send: a round trip for each message.
const ACTIVE: Shape = Shape { mode: Mode::Data, depth: 1, size: 4096, recipients: 1 };

/// Descriptors beside those of the connections.
const DESCRIPTORS_SPARE: u64 = 256;

/// The command `idle`.
pub fn run(options: &IdleArguments) -> Result<(), Failure> {
    descriptors::raise(u64::from(options.connections) + DESCRIPTORS_SPARE)?;
    println!("{} idle connections from {} addresses", grouped(options.connections.into()), options.sources);
    println!("machine {}\ncommit {}\n", machine::describe(), machine::commit());
    let alone = options.active.then(|| active(options)).transpose()?;

    let before = memory(options)?;
    let began = Instant::now();
    let mut clients = open(options)?;
    println!("opened in {:.2} s, each greeted and answered", began.elapsed().as_secs_f64());
    thread::sleep(Duration::from_secs_f64(options.hold));
    if let (Some(before), Some(now)) = (before, memory(options)?) {
        print_memory(before, now, options.connections);
    }
    if let Some(alone) = alone {
        print_active(alone, active(options)?);
    }
    for client in &mut clients {
        client.perform(&noop()).map_err(|trouble| trouble.failure(options.target))?;
    }
    println!("all {} connections still answer", grouped(clients.len() as u64));
    Ok(())
}

fn print_memory(before: Resident, now: Resident, connections: u32) {
    println!("{:<20} {:>12} {:>12} {:>20}", "server's memory", "before", "with them", "each connection");
    let each = |before: u64, now: u64| format!("{} B", (now as i64 - before as i64) / i64::from(connections.max(1)));
    for (name, before, now) in [("RssAnon", before.anonymous, now.anonymous), ("VmRSS", before.all, now.all)] {
        println!("{name:<20} {:>12} {:>12} {:>20}", size(before), size(now), each(before, now));
    }
}

/// What the active connections reached, and what they cost the server.
struct Active {
    ledger: Ledger,
    cpu_us: Option<f64>,
}

fn active(options: &IdleArguments) -> Result<Active, Failure> {
    let account = |pid| ProcessTime::of(pid).map_err(Failure::while_doing("cannot read the server's account"));
    // A tenth of it first, so that memory is touched and threads are awake.
    load::send(options.target, CONNECTIONS, (options.messages / 10).max(CONNECTIONS), &ACTIVE)?;
    let before = options.pid.map(account).transpose()?;
    let ledger = load::send(options.target, CONNECTIONS, options.messages, &ACTIVE)?;
    thread::sleep(Duration::from_millis(50));
    let after = options.pid.map(account).transpose()?;
    let used = before.zip(after).map(|(before, after)| after.since_ns(before).0);
    Ok(Active { cpu_us: used.map(|ns| ns as f64 / 1000.0 / ledger.messages as f64), ledger })
}

fn print_active(alone: Active, beside: Active) {
    println!("{:<20} {:>12} {:>12} {:>12} {:>16}", "20 active", "messages/s", "p50", "p99", "CPU µs/message");
    for (name, active) in [("alone", &alone), ("beside the idle", &beside)] {
        let cpu = active.cpu_us.map_or("-".to_owned(), |cpu| format!("{cpu:.2}"));
        println!(
            "{name:<20} {:>12} {:>12} {:>12} {cpu:>16}",
            grouped(active.ledger.rate() as u64),
            time(active.ledger.round_trip_ns(0.5)),
            time(active.ledger.round_trip_ns(0.99)),
        );
    }
    if let (Some(alone), Some(beside)) = (alone.cpu_us, beside.cpu_us) {
        println!("CPU/message beside the idle ÷ alone: {:.2}", beside / alone);
    }
}

/// Opens them, a thread for each source address.
fn open(options: &IdleArguments) -> Result<Vec<Client>, Failure> {
    let sources = u32::from(options.sources);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..sources)
            .map(|source| {
                let share = options.connections / sources + u32::from(source < options.connections % sources);
                scope.spawn(move || -> Result<Vec<Client>, Failure> {
                    let from = Ipv4Addr::new(127, 0, 1, source as u8 + 1);
                    (0..share).map(|_| open_one(from, options.target)).collect()
                })
            })
            .collect();
        let mut clients = Vec::new();
        for thread in threads {
            let opened = thread.join().unwrap_or_else(|_| Err(Failure::System("a thread has panicked".to_owned())));
            clients.extend(opened?);
        }
        Ok(clients)
    })
}

fn open_one(from: Ipv4Addr, target: SocketAddr) -> Result<Client, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Unavailable(format!(
            "cannot connect from {from} to {target}: {error}. Are there enough ports, descriptors, and room in the server?"
        ))
    };
    let stream = connect_from(from, target).map_err(failed)?;
    let mut client = Client::idle_over(stream).map_err(failed)?;
    client.begin(&hello()).map_err(|trouble| trouble.failure(target))?;
    Ok(client)
}

/// Connects from a source address. Those of IPv6 have one loopback address only.
fn connect_from(from: Ipv4Addr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let IpAddr::V4(ip) = target.ip() else { return TcpStream::connect(target) };
    let socket: OwnedFd =
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &SocketAddrV4::new(ip, target.port()))?;
    Ok(TcpStream::from(socket))
}

fn hello() -> Exchange {
    Exchange::plain(b"EHLO idle.example\r\n".to_vec(), vec![Reply::Ehlo])
}

fn noop() -> Exchange {
    Exchange::plain(b"NOOP\r\n".to_vec(), vec![Reply::Ok])
}

fn memory(options: &IdleArguments) -> Result<Option<Resident>, Failure> {
    let look = |pid| Resident::of(pid).map_err(Failure::while_doing("cannot read the server's memory"));
    options.pid.map(look).transpose()
}
