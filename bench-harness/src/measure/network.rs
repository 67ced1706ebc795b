//! What the kernel's TCP counts for the whole network namespace: signs that a figure is not the server's.

use std::fs;

/// Counters of `/proc/net/snmp` and `/proc/net/netstat`; 0 where they cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    retransmitted: u64,
    listen_drops: u64,
}

impl Network {
    /// Now.
    pub fn read() -> Self {
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let (snmp, netstat) = (file("/proc/net/snmp"), file("/proc/net/netstat"));
        Self {
            retransmitted: field(&snmp, "Tcp:", "RetransSegs").unwrap_or(0),
            listen_drops: field(&netstat, "TcpExt:", "ListenDrops").unwrap_or(0),
        }
    }

    /// What was counted since an earlier look.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            retransmitted: self.retransmitted.saturating_sub(earlier.retransmitted),
            listen_drops: self.listen_drops.saturating_sub(earlier.listen_drops),
        }
    }

    /// In words.
    pub fn warnings(self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.retransmitted > 0 {
            warnings.push(format!("TCP sent {} segments again (of the whole machine)", self.retransmitted));
        }
        if self.listen_drops > 0 {
            let text = format!(
                "{} connections found a listening socket's backlog full (of the whole machine)",
                self.listen_drops
            );
            warnings.push(text);
        }
        warnings
    }
}

/// Names stand in one line, values in the next, both with the same first word.
fn field(text: &str, first: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(first));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split(' ').position(|known| known == name)?;
    values.split(' ').nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: InSegs RetransSegs\nTcp: 30 4\n";
        assert_eq!(field(text, "Tcp:", "RetransSegs"), Some(4));
        assert_eq!(field(text, "Tcp:", "Nothing"), None);
        let one = Network { retransmitted: 5, listen_drops: 1 };
        assert_eq!(one.since(Network { retransmitted: 5, listen_drops: 0 }).warnings().len(), 1);
        assert!(Network::default().warnings().is_empty());
    }
}
