//! What defaults are taken from the machine: its name, and the cores that this process may use.

use std::num::NonZeroU16;
use std::thread;

use super::hostname;
use crate::limits;

/// The machine as far as defaults depend on it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// A valid name for a server.
    pub(super) hostname: String,
    /// Cores, at most as many as there can be shards.
    pub(super) cores: NonZeroU16,
}

impl Machine {
    /// This one. A name that cannot stand in a greeting counts as none.
    pub(super) fn this() -> Self {
        let uname = rustix::system::uname();
        let named = uname.nodename().to_str().ok().filter(|name| hostname::check(name).is_ok());
        Self {
            hostname: named.unwrap_or("localhost").to_owned(),
            cores: thread::available_parallelism()
                .ok()
                .and_then(|cores| NonZeroU16::new(cores.get().min(limits::SHARDS.into()) as u16))
                .unwrap_or(NonZeroU16::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_gives_valid_defaults() {
        let machine = Machine::this();
        assert_eq!(hostname::check(&machine.hostname), Ok(()));
        assert!(machine.cores.get() <= limits::SHARDS);
    }
}
