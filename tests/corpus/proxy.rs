//! Stands between a client and the program, changes nothing, and keeps what both said.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// One connection, whole.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub client: Vec<u8>,
    pub server: Vec<u8>,
}

#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    stopping: Arc<AtomicBool>,
    accepting: JoinHandle<Vec<JoinHandle<Recording>>>,
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stopping = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stopping);
        let accepting = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for client in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let client = client.expect("a connection is accepted");
                connections.push(std::thread::spawn(move || carry(client, server)));
            }
            connections
        });
        Self { address, stopping, accepting }
    }

    /// What was recorded, once its clients have ended.
    pub fn finish(self) -> Vec<Recording> {
        self.stopping.store(true, Ordering::Relaxed);
        // To end the wait for one more.
        drop(TcpStream::connect(self.address));
        let connections = self.accepting.join().expect("it does not panic");
        connections.into_iter().map(|connection| connection.join().expect("it does not panic")).collect()
    }
}

fn carry(client: TcpStream, server: SocketAddr) -> Recording {
    let server = TcpStream::connect(server).expect("the server is there");
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("it is a TCP socket");
    }
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    let (from_server, to_client) = (clone(&server), clone(&client));
    let back = std::thread::spawn(move || pump(from_server, to_client));
    let said = pump(client, server);
    Recording { client: said, server: back.join().expect("it does not panic") }
}

/// Carries one direction to its end. An error is an end: what came before it was recorded, and is judged.
fn pump(mut from: TcpStream, mut to: TcpStream) -> Vec<u8> {
    let mut recorded = Vec::new();
    let mut buffer = [0; 64 * 1024];
    while let Ok(octets @ 1..) = from.read(&mut buffer) {
        recorded.extend_from_slice(&buffer[..octets]);
        if to.write_all(&buffer[..octets]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    recorded
}
