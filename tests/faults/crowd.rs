//! Many clients from many addresses of 127.0.0.0/8, so that neither ports nor limits of one peer come in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::process::client::Client;

/// The address of the `number`th client: 127.1.0.1 and up, ever new.
pub fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number % 0x00fd_0000)
}

/// An unconnected socket of that client. A receive buffer must be set before it connects.
pub fn socket_from(source: Ipv4Addr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a descriptor is left");
    socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into()).expect("any address of 127.0.0.0/8 is local");
    socket
}

/// That client, connected.
#[track_caller]
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Client {
    let socket = socket_from(source);
    socket.connect(&address.into()).expect("the server is there");
    socket.set_tcp_nodelay(true).expect("TCP has the option");
    Client::over(socket).expect("times can be set")
}

/// A client that never waits: it says a little, and hears what has come.
#[derive(Debug)]
pub struct Slow {
    pub socket: Socket,
    pub heard: Vec<u8>,
    pub is_over: bool,
}

impl Slow {
    pub fn connect(number: u32, address: SocketAddr) -> Self {
        let socket = socket_from(source(number));
        socket.connect(&address.into()).expect("the server is there");
        socket.set_nonblocking(true).expect("a socket can be so");
        Self { socket, heard: Vec::new(), is_over: false }
    }

    /// Offers octets; gives how many were taken.
    pub fn say(&mut self, octets: &[u8]) -> usize {
        match self.socket.write(octets) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // What it still has to hear says why.
            Err(_) => 0,
        }
    }

    /// Takes what has come; notes the end.
    pub fn hear(&mut self) {
        let mut buffer = [0; 4096];
        while !self.is_over {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.is_over = true,
                Ok(octets) => self.heard.extend_from_slice(&buffer[..octets]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_over = true,
            }
        }
    }

    /// The last whole line that was heard.
    pub fn last_line(&self) -> String {
        String::from_utf8_lossy(&self.heard).lines().last().unwrap_or_default().to_owned()
    }
}
