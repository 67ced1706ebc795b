//! Two network namespaces and a cable between them, so that a network can be slow, lossy or cut without anybody else
//! noticing. They are gone when the test is, also when it fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::machine::{Missing, root, run};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::server::{PROGRAM, Server};

/// The end of the cable in both namespaces.
const CABLE: &str = "mail0";

const CLIENTS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVERS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// One end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Clients,
    Servers,
}

/// See the module.
#[derive(Debug)]
pub struct Network {
    clients: String,
    servers: String,
}

impl Network {
    /// A network that nothing is wrong with.
    pub fn new() -> Result<Self, Missing> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        root()?;
        let name = format!("ringmx-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // From here on `drop` removes what there is of it.
        let network = Self { clients: format!("{name}c"), servers: format!("{name}s") };
        let (clients, servers) = (&*network.clients, &*network.servers);
        ip(&["netns", "add", clients])?;
        ip(&["netns", "add", servers])?;
        let (near, far) = (["link", "add", CABLE, "netns", clients], ["type", "veth", "peer", "name", CABLE]);
        ip(&[&near[..], &far, &["netns", servers]].concat())?;
        for (namespace, address) in [(clients, CLIENTS), (servers, SERVERS)] {
            ip(&["-n", namespace, "address", "add", &format!("{address}/24"), "dev", CABLE])?;
            ip(&["-n", namespace, "link", "set", CABLE, "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    fn namespace(&self, side: Side) -> &str {
        match side {
            Side::Clients => &self.clients,
            Side::Servers => &self.servers,
        }
    }

    /// A sink on its side.
    pub fn sink(&self, arguments: &[&str]) -> Server {
        let mut command = self.program();
        command.arg("sink").arg(format!("{SERVERS}:0")).args(arguments);
        Server::start(command, Directory::new(), 1)
    }

    /// The program on a configuration, in which `ADDRESS` stands for its side's address.
    pub fn serve(&self, configuration: &str, addresses: usize) -> Server {
        let directory = Directory::new();
        let path = directory.write("ringmx.toml", configuration.replace("ADDRESS", &SERVERS.to_string()));
        let mut command = self.program();
        command.arg("--config").arg(path);
        Server::start(command, directory, addresses)
    }

    /// The program on the servers' side. What starts it there becomes it, so that the pid is its own.
    fn program(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.servers)).arg(PROGRAM);
        command
    }

    /// Does something on a side. Sockets that it makes stay there.
    pub fn on<T: Send>(&self, side: Side, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.namespace(side));
        let enter = move || {
            let namespace = std::fs::File::open(&path).expect("the namespace is there");
            let moved = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
            moved.expect("root may enter it");
            work()
        };
        // Only this thread moves.
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A client on its side, connected.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> Client {
        self.on(Side::Clients, || Client::connect(address)).expect("the server is there")
    }

    /// Adds a rule to what a side does with packets that leave it for the cable.
    pub fn rule(&self, side: Side, rule: &str) -> Result<(), Missing> {
        let table = format!(
            "table inet faults {{\nchain leaving {{\ntype filter hook output priority 0\n\
             oifname \"{CABLE}\" {rule}\n}}\n}}\n"
        );
        run(&["ip", "netns", "exec", self.namespace(side), "nft", "-f", "-"], &table, "nftables")
    }

    /// From now on nothing passes, and nobody is told.
    pub fn cut(&self) -> Result<(), Missing> {
        self.rule(Side::Clients, "drop")?;
        self.rule(Side::Servers, "drop")
    }

    /// Packets of so many octets at most, both ways.
    pub fn shrink_packets(&self, octets: u32) -> Result<(), Missing> {
        for side in [Side::Clients, Side::Servers] {
            ip(&["-n", self.namespace(side), "link", "set", CABLE, "mtu", &octets.to_string()])?;
        }
        Ok(())
    }

    /// So many bits a second, both ways, with a queue of half a second, or a few packets.
    pub fn slow_down(&self, bits: u32) -> Result<(), Missing> {
        let rate = format!("{bits}bit");
        for side in [Side::Clients, Side::Servers] {
            let device = ["tc", "-n", self.namespace(side), "qdisc", "add", "dev", CABLE, "root"];
            let shape = ["tbf", "rate", &rate, "burst", "3000", "latency", "500ms"];
            run(&[&device[..], &shape].concat(), "", "iproute2")?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.clients, &self.servers] {
            // The first takes the cable with it; one that was never made is as good as gone.
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), Missing> {
    run(&[&["ip"], arguments].concat(), "", "iproute2")
}
