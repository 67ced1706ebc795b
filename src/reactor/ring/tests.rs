//! The ring on the kernel.

use super::*;
use crate::handoff::mailbox::mailbox;
use crate::reactor::listening::Bind;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

/// With queues far too small for it, every connection is accepted, every octet comes once, every send is done.
#[test]
fn overflowing_queues_lose_nothing() {
    const CLIENTS: u32 = 100;
    let (_sender, _receiver, wake) = mailbox::<()>().unwrap();
    let group = GroupShape { buffer_octets: 4096, buffers: 256 };
    let options = RingOptions { sockets: CLIENTS, submissions: 4, completions: 8, groups: vec![group] };
    let mut ring = Ring::new(&options, wake).unwrap();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = ring.add_listener(listening.try_clone().unwrap().into());
    let token = |kind, slot| Token { kind, generation: 1, slot };
    for slot in 0..CLIENTS {
        ring.start(token(Kind::Accept, slot), Operation::Accept { listener });
    }
    let mut clients: Vec<TcpStream> =
        (0..CLIENTS).map(|_| TcpStream::connect(listening.local_addr().unwrap()).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"0123456789").unwrap();
    }
    let mut received = vec![Vec::new(); CLIENTS as usize];
    let (mut sent, mut turns) = (0, 0);
    while sent < CLIENTS {
        // The last quiet sends are told only when the wait ends.
        let until = ring.read_clock().plus_ms(20);
        ring.wait(Some(until)).unwrap();
        turns += 1;
        assert!(turns < 1_000, "nothing happens any more, {sent} sent");
        while let Some(Completion { token: done, result, payload, .. }) = ring.complete() {
            match (done.kind, payload) {
                (Kind::Accept, Payload::Peer(peer)) => {
                    assert!(result.is_ok() && peer.is_some());
                    ring.start(token(Kind::Receive, done.slot), Operation::Receive { group: GroupId(0) });
                }
                (Kind::Receive, Payload::Received(octets)) => {
                    let all = &mut received[done.slot as usize];
                    all.extend_from_slice(ring.received(octets));
                    ring.release(octets);
                    if all.len() == 10 {
                        let octets = all.clone();
                        let mode = if done.slot % 2 == 0 { SendMode::Quiet } else { SendMode::Prompt };
                        let reply = Operation::Send { octets, from: 0, mode };
                        ring.start(token(Kind::Send, done.slot), reply);
                    }
                }
                (Kind::Send, Payload::Octets(_)) => {
                    assert_eq!(result, Ok(10));
                    sent += 1;
                }
                other => panic!("{other:?} {result:?}"),
            }
        }
    }
    for client in &mut clients {
        let mut reply = [0; 10];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"0123456789");
    }
    assert!(ring.counts().overflows > 0 && ring.counts().full_submissions > 0, "{:?}", ring.counts());
}

fn small_ring() -> Ring {
    let (_sender, _receiver, wake) = mailbox::<()>().unwrap();
    let group = GroupShape { buffer_octets: 4096, buffers: 2 };
    Ring::new(&RingOptions { sockets: 64, submissions: 8, completions: 64, groups: vec![group] }, wake).unwrap()
}

/// The next completion; a wait of a minute is a failure.
fn completion(ring: &mut Ring) -> Completion {
    let until = ring.read_clock().plus_ms(60_000);
    while ring.read_clock() < until {
        ring.wait(Some(until)).unwrap();
        if let Some(completion) = ring.complete() {
            return completion;
        }
    }
    panic!("nothing completes");
}

fn connect(ring: &mut Ring, slot: u32, to: Bind, from: Option<IpAddr>) {
    let route = Arc::new(Route::new(to, from).unwrap());
    ring.start(Token { kind: Kind::Connect, generation: 1, slot }, Operation::Connect { route });
}

#[test]
fn connections_come_from_the_address_that_was_chosen_and_paths_are_connected_to() {
    let mut ring = small_ring();
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let from: IpAddr = "127.0.7.8".parse().unwrap();
    connect(&mut ring, 7, Bind::Tcp(listening.local_addr().unwrap()), Some(from));
    assert_eq!(completion(&mut ring).result, Ok(0));
    assert_eq!(listening.accept().unwrap().1.ip(), from);

    let path = std::env::temp_dir().join(format!("ringmx-connect-{}", std::process::id()));
    let listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
    connect(&mut ring, 8, Bind::Unix(path.clone()), None);
    assert_eq!(completion(&mut ring).result, Ok(0));
    drop(listening);
    std::fs::remove_file(&path).unwrap();
    connect(&mut ring, 9, Bind::Unix(path), None);
    assert_eq!(completion(&mut ring).result, Err(Errno::NOENT));
    // An address that is none of ours fails before there is a socket to connect.
    let foreign: IpAddr = "192.0.2.1".parse().unwrap();
    connect(&mut ring, 10, Bind::Tcp("127.0.0.1:1".parse().unwrap()), Some(foreign));
    assert_eq!(completion(&mut ring).result, Err(Errno::ADDRNOTAVAIL));
}

/// A server that takes no connection lets a connect wait; a time-out above the cut cancels it.
#[test]
fn a_connect_that_waits_is_cancelled() {
    let mut ring = small_ring();
    let listening = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listening.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listening.listen(0).unwrap();
    let to = Bind::Tcp(listening.local_addr().unwrap().as_socket().unwrap());
    for slot in 0..8 {
        connect(&mut ring, slot, to.clone(), None);
    }
    // The last one waits in any case: a backlog of 0 has room for one or two.
    let target = Token { kind: Kind::Connect, generation: 1, slot: 7 };
    ring.start(Token { kind: Kind::Cancel, ..target }, Operation::Cancel { target });
    loop {
        let completion = completion(&mut ring);
        if completion.token == target {
            assert_eq!(completion.result, Err(Errno::CANCELED));
            break;
        }
    }
}

#[test]
fn a_ring_that_is_not_to_be_had_says_why() {
    let (_sender, _receiver, wake) = mailbox::<()>().unwrap();
    let options = RingOptions { sockets: u32::MAX / 2, ..RingOptions::for_sockets(8) };
    let refusal = Ring::new(&options, wake).err().unwrap();
    assert_eq!(refusal.call, "IORING_REGISTER_FILES2");
    assert!(refusal.to_string().contains("RLIMIT_NOFILE"), "{refusal}");
}
