//! Two network namespaces and a cable between them, so that a network can be slow, lossy or cut without anybody else
//! noticing. They are gone when the test is, also when it fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::machine::{Missing, output, root, run};
use crate::process::client::Client;
use crate::process::directory::Directory;
use crate::process::server::{PROGRAM, Server};

/// The end of the cable in both namespaces.
const CABLE: &str = "mail0";

/// Octets of a small packet.
const SMALL: u32 = 576;

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

    /// Adds a rule to what a side does with packets that come to it by the cable. Where they leave, the kernel would hear of it at once,
    /// as no network tells: a SYN-ACK that is to be sent again and cannot be is not tried another time.
    pub fn rule(&self, side: Side, rule: &str) -> Result<(), Missing> {
        let table = format!(
            "table inet faults {{\nchain arriving {{\ntype filter hook input priority 0\n\
             iifname \"{CABLE}\" {rule}\n}}\n}}\n"
        );
        run(&["ip", "netns", "exec", self.namespace(side), "nft", "-f", "-"], &table, "nftables")
    }

    /// Loses so many of a hundred packets, both ways.
    pub fn lose(&self, percent: u32) -> Result<(), Missing> {
        let rule = format!("numgen random mod 100 < {percent} counter drop");
        [Side::Clients, Side::Servers].into_iter().try_for_each(|side| self.rule(side, &rule))
    }

    /// Packets that were lost, both ways, by rules that count.
    pub fn lost(&self) -> u64 {
        let rules = [Side::Clients, Side::Servers].map(|side| {
            output(&["ip", "netns", "exec", self.namespace(side), "nft", "list", "ruleset"], "", "nftables")
        });
        let rules = rules.map(|rules| rules.expect("rules can be listed where they could be set")).concat();
        rules.split("counter packets ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// From now on nothing passes, and nobody is told.
    pub fn cut(&self) -> Result<(), Missing> {
        self.rule(Side::Clients, "drop")?;
        self.rule(Side::Servers, "drop")
    }

    /// Packets of 576 octets at most, both ways: what every host must be able to take (RFC 1122 §3.3.2).
    pub fn shrink_packets(&self) -> Result<(), Missing> {
        for side in [Side::Clients, Side::Servers] {
            // A cable of this kind would carry segments in one piece that a real one has to cut.
            let options = ["mtu", &SMALL.to_string(), "gso_max_segs", "1"];
            ip(&[&["-n", self.namespace(side), "link", "set", CABLE], &options[..]].concat())?;
        }
        Ok(())
    }

    /// Packets that went either way; none when their mean size is above that of small ones.
    pub fn small_packets(&self) -> u64 {
        let count = |side: Side, what: &str| -> u64 {
            let path = format!("/sys/class/net/{CABLE}/statistics/{what}");
            let count = output(&["ip", "netns", "exec", self.namespace(side), "cat", &path], "", "iproute2");
            count.expect("the cable is there").trim().parse().expect("a number")
        };
        let [packets, octets] = ["tx_packets", "tx_bytes"].map(|what| count(Side::Clients, what));
        // With the header of the link.
        if octets / packets.max(1) <= u64::from(SMALL) + 14 { packets } else { 0 }
    }

    /// Packets that had to wait for the rate, or found the queue full, both ways.
    pub fn held_back(&self) -> u64 {
        let shown = [Side::Clients, Side::Servers]
            .map(|side| {
                output(&["tc", "-s", "-n", self.namespace(side), "qdisc", "show", "dev", CABLE], "", "iproute2")
            })
            .map(|shown| shown.expect("a queue can be looked at where it could be made"))
            .concat();
        let counts = shown.split("overlimits ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        counts.sum()
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
