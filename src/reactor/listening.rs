//! Listening sockets: opened so that nobody else has the address, one for each shard or one for all (DESIGN decision 21).
//!
//! *Invariant*: the first socket of an address is bound without SO_REUSEPORT, so that it fails when any process listens
//! there, and gets the option afterwards, so that the other shards' sockets can join it. No moment lies between in which a
//! second process could slip in.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::limits;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bind {
    /// An address and port, with wildcards resolved to the unspecified address of their family.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// How to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Connections that the kernel keeps until they are accepted; it cuts the number to `net.core.somaxconn`.
    pub backlog: i32,
    /// One socket for each shard, among which the kernel spreads connections; otherwise one that all shards accept from.
    pub reuse_port: bool,
    /// Replies leave at once: TCP_NODELAY.
    pub no_delay: bool,
    /// Seconds of silence after which the kernel asks whether the peer is still there, and between further questions; 0:
    /// never. Only what a client says counts against its idle timeout: this is for a client that has gone without a word.
    pub keepalive_s: u32,
    /// Milliseconds that sent octets may stay unacknowledged before the peer is given up (TCP_USER_TIMEOUT); 0 leaves it to
    /// the kernel.
    pub user_timeout_ms: u32,
    /// SO_RCVBUF in octets; `None` leaves it to the kernel, which then adapts it.
    pub receive_buffer_bytes: Option<usize>,
    /// SO_SNDBUF in octets; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
    /// Mode of a Unix socket's file.
    pub file_mode: u32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            backlog: limits::LISTEN_BACKLOG,
            reuse_port: true,
            no_delay: true,
            // The idle timeout frees the slot of a peer that vanished. These are for listeners where it is long.
            keepalive_s: 0,
            user_timeout_ms: 0,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            file_mode: 0o660,
        }
    }
}

/// Why an address could not be listened on. The operator's fault; exit status 69 (EX_UNAVAILABLE).
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has it.
    #[error(
        "{bind} is in use{owner}; stop that process, choose another address, or share it on purpose with --takeover"
    )]
    InUse {
        /// The address.
        bind: Bind,
        /// By whom, as far as this process may see.
        owner: Owner,
    },
    /// The kernel refused it.
    #[error("cannot listen on {bind}: {call}: {error}{hint}")]
    Refused {
        /// The address.
        bind: Bind,
        /// The call that failed.
        call: &'static str,
        /// What the kernel said.
        error: io::Error,
        /// What would be right, with leading punctuation.
        hint: &'static str,
    },
    /// A file that is no socket stands at the path.
    #[error("cannot listen on {path}: a file that is no socket is there; move it away or choose another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
}

/// The sockets of one address, one for each shard.
#[derive(Debug)]
pub struct Listening {
    /// In the order of the shards.
    pub sockets: Vec<OwnedFd>,
    /// Where they listen: with the port that the kernel chose, if it was to choose one.
    pub bind: Bind,
}

/// Opens an address for so many shards. Waits up to 2 s for a process that is just ending.
pub fn open(bind: &Bind, options: &SocketOptions, shards: usize, takeover: bool) -> Result<Listening, ListenError> {
    let begun = Instant::now();
    loop {
        let opened = match bind {
            Bind::Tcp(address) => open_tcp(bind, *address, options, shards, takeover),
            Bind::Unix(path) => open_unix(bind, path, options, shards),
        };
        let patience_ms = match &opened {
            Err(ListenError::InUse { owner: Owner::Nobody, .. }) => limits::BIND_RETRY_ORPHAN_MS,
            Err(ListenError::InUse { .. }) => limits::BIND_RETRY_MS,
            _ => return opened,
        };
        if begun.elapsed() >= Duration::from_millis(patience_ms) {
            return opened;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open_tcp(
    bind: &Bind,
    address: SocketAddr,
    options: &SocketOptions,
    shards: usize,
    takeover: bool,
) -> Result<Listening, ListenError> {
    let refused = |call| move |error: io::Error| refuse(bind, call, error);
    let prepare = |share_before: bool, address: SocketAddr| -> Result<Socket, ListenError> {
        let socket =
            Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(refused("socket"))?;
        if address.is_ipv6() {
            socket.set_only_v6(true).map_err(refused("IPV6_V6ONLY"))?;
        }
        // Connections of a server that has just ended linger for a minute, and must not keep the next one out.
        socket.set_reuse_address(true).map_err(refused("SO_REUSEADDR"))?;
        socket.set_tcp_nodelay(options.no_delay).map_err(refused("TCP_NODELAY"))?;
        set_buffers(&socket, bind, options)?;
        set_patience(&socket, bind, options)?;
        if share_before {
            socket.set_reuse_port(true).map_err(refused("SO_REUSEPORT"))?;
        }
        socket.bind(&address.into()).map_err(refused("bind"))?;
        Ok(socket)
    };
    let first = prepare(takeover, address)?;
    let address = first.local_addr().ok().and_then(|address| address.as_socket()).unwrap_or(address);
    let mut sockets = vec![first];
    if options.reuse_port {
        sockets[0].set_reuse_port(true).map_err(refused("SO_REUSEPORT"))?;
        for _ in 1..shards {
            sockets.push(prepare(true, address)?);
        }
    }
    for socket in &sockets {
        socket.listen(options.backlog).map_err(refused("listen"))?;
    }
    while sockets.len() < shards {
        let shared = sockets[0].try_clone().map_err(refused("dup"))?;
        sockets.push(shared);
    }
    Ok(Listening { sockets: sockets.into_iter().map(OwnedFd::from).collect(), bind: Bind::Tcp(address) })
}

fn open_unix(bind: &Bind, path: &Path, options: &SocketOptions, shards: usize) -> Result<Listening, ListenError> {
    let refused = |call| move |error: io::Error| refuse(bind, call, error);
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        match UnixStream::connect(path) {
            // Nobody listens any more: the file is what a killed process left.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(refused("unlink"))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(refuse(bind, "connect", error));
            }
            Ok(_) | Err(_) => return Err(ListenError::InUse { bind: bind.clone(), owner: Owner::Hidden }),
        }
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(refused("socket"))?;
    set_buffers(&socket, bind, options)?;
    let address = SockAddr::unix(path).map_err(refused("address"))?;
    socket.bind(&address).map_err(refused("bind"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(options.file_mode)).map_err(refused("chmod"))?;
    socket.listen(options.backlog).map_err(refused("listen"))?;
    let mut sockets = vec![socket];
    while sockets.len() < shards {
        let shared = sockets[0].try_clone().map_err(refused("dup"))?;
        sockets.push(shared);
    }
    Ok(Listening { sockets: sockets.into_iter().map(OwnedFd::from).collect(), bind: bind.clone() })
}

/// What is set on a listening socket holds for the connections that it accepts.
fn set_buffers(socket: &Socket, bind: &Bind, options: &SocketOptions) -> Result<(), ListenError> {
    if let Some(octets) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(octets).map_err(|error| refuse(bind, "SO_RCVBUF", error))?;
    }
    if let Some(octets) = options.send_buffer_bytes {
        socket.set_send_buffer_size(octets).map_err(|error| refuse(bind, "SO_SNDBUF", error))?;
    }
    Ok(())
}

/// The same for the times after which a peer that does not answer is given up.
fn set_patience(socket: &Socket, bind: &Bind, options: &SocketOptions) -> Result<(), ListenError> {
    if options.keepalive_s > 0 {
        let interval = Duration::from_secs(options.keepalive_s.into());
        let keepalive =
            TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(limits::KEEPALIVE_QUESTIONS);
        socket.set_tcp_keepalive(&keepalive).map_err(|error| refuse(bind, "SO_KEEPALIVE", error))?;
    }
    if options.user_timeout_ms > 0 {
        let timeout = Duration::from_millis(options.user_timeout_ms.into());
        socket.set_tcp_user_timeout(Some(timeout)).map_err(|error| refuse(bind, "TCP_USER_TIMEOUT", error))?;
    }
    Ok(())
}

fn refuse(bind: &Bind, call: &'static str, error: io::Error) -> ListenError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return ListenError::InUse { bind: bind.clone(), owner: owner_of(bind) };
    }
    let hint = match (error.kind(), bind) {
        (io::ErrorKind::PermissionDenied, Bind::Tcp(address)) if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE"
        }
        (io::ErrorKind::PermissionDenied, Bind::Unix(_)) => "; the directory must be writable by this user",
        (io::ErrorKind::NotFound, Bind::Unix(_)) => "; the directory must exist",
        (io::ErrorKind::AddrNotAvailable, _) => "; this host has no such address",
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => "; this host has no such address family",
        _ => "",
    };
    ListenError::Refused { bind: bind.clone(), call, error, hint }
}

/// Who listens on an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A process.
    Process {
        /// Its name.
        name: String,
        /// Its number.
        pid: String,
    },
    /// Somebody whom this process may not see.
    Hidden,
    /// No process that there is, as far as all can be seen: most likely the ring of one that has just ended.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { name, pid } => write!(f, " by {name} (pid {pid})"),
            Self::Hidden => Ok(()),
            Self::Nobody => f.write_str(
                " by no process that can be seen from here: one that has just ended, or is in another container",
            ),
        }
    }
}

fn owner_of(bind: &Bind) -> Owner {
    let Bind::Tcp(address) = bind else { return Owner::Hidden };
    let port = format!(":{:04X}", address.port());
    // Columns: number, local address, remote address, state (0A is LISTEN), …, user in the eighth, inode in the tenth.
    let listening: Vec<(String, String)> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| {
            let rows = table.lines().map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            rows.filter(|row| row.len() > 9 && row[1].ends_with(&port) && row[3] == "0A")
                .map(|row| (row[7].clone(), format!("socket:[{}]", row[9])))
                .collect::<Vec<_>>()
        })
        .collect();
    let holds = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
            descriptors.flatten().any(|descriptor| {
                fs::read_link(descriptor.path())
                    .is_ok_and(|target| listening.iter().any(|(_, inode)| target.as_os_str() == inode.as_str()))
            })
        })
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Owner::Hidden };
    let process = processes
        .flatten()
        .map(|process| process.path())
        .filter(|process| process.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit()))
        .find(|process| holds(process));
    if let Some(process) = process {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
        let pid = process.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Owner::Process { name, pid };
    }
    // One's own processes can be seen, and root sees all: where none has the socket, none is left.
    let user = rustix::process::geteuid().as_raw().to_string();
    let all_seen = user == "0" || listening.iter().all(|(owner, _)| *owner == user);
    if all_seen && !listening.is_empty() { Owner::Nobody } else { Owner::Hidden }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Bind {
        Bind::Tcp("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn shards_share_an_address_that_nobody_else_gets() {
        let listening = open(&local(), &SocketOptions::default(), 3, false).unwrap();
        assert_eq!(listening.sockets.len(), 3);
        let error = open(&listening.bind, &SocketOptions::default(), 2, false).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        let shared = open(&listening.bind, &SocketOptions::default(), 2, true).unwrap();
        assert_eq!(shared.bind, listening.bind);
    }

    #[test]
    fn an_address_is_free_again_at_once() {
        let listening = open(&local(), &SocketOptions::default(), 2, false).unwrap();
        let Listening { sockets, bind } = listening;
        drop(sockets);
        open(&bind, &SocketOptions::default(), 2, false).unwrap();
    }

    #[test]
    fn a_dead_unix_socket_is_replaced_and_a_live_one_is_not() {
        let directory = std::env::temp_dir().join(format!("ringmx-listening-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let bind = Bind::Unix(directory.join("socket"));
        let options = SocketOptions { file_mode: 0o600, ..SocketOptions::default() };
        let first = open(&bind, &options, 2, false).unwrap();
        let mode = fs::metadata(directory.join("socket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(open(&bind, &options, 2, false), Err(ListenError::InUse { .. })));
        drop(first);
        open(&bind, &options, 2, false).unwrap();
        fs::write(directory.join("file"), "kept").unwrap();
        let other = Bind::Unix(directory.join("file"));
        assert!(matches!(open(&other, &options, 1, false), Err(ListenError::NotASocket { .. })));
        fs::remove_dir_all(&directory).unwrap();
    }
}
