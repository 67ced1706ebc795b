//! A resolved scope: everything that a connection needs to know, immutable and shared by all that resolve to it.

use std::sync::Arc;

use crate::policy::decision::Policy;
use crate::smtp::settings::Settings;

/// The times that a connection is given, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Without a received octet: 421 4.4.2.
    pub idle_ms: u64,
    /// For one whole transaction; `None` is no limit.
    pub transaction_ms: Option<u64>,
    /// Before the greeting; a client that speaks in it is refused. 0 is no pause and no check.
    pub greet_pause_ms: u64,
    /// For the answer to a question that the session waits for: 451.
    pub answer_ms: u64,
}

/// What a connection of one listener (later: of one peer, one certificate, one identity) is held to.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The listener's name in the configuration.
    pub listener: String,
    /// What its session obeys.
    pub settings: Settings,
    /// The times that it is given.
    pub timeouts: Timeouts,
    /// Who decides about its mail.
    pub policy: Arc<dyn Policy>,
}
