//! The real program as a process: how it starts, what clients and signals do to it, how it stops.
//!
//! Nothing here leans on time: conditions are waited for, and bounds of time only end what would hang. Where a time is
//! promised, only its lower bound is asserted. `RINGMX_LONG=1` makes 100 rounds of kill and restart instead of 20.

#[path = "common/letter.rs"]
mod letter;

mod process {
    mod client;
    mod directory;
    mod lines;
    mod load;
    mod maildir;
    mod patience;
    mod server;
    mod stats;

    mod closing;
    mod configuration;
    mod connections;
    mod deaf;
    mod hostile;
    mod identity;
    mod listening;
    mod mx;
    mod pipelining;
    mod reload;
    mod report;
    mod restart;
    mod script;
    mod setup;
    mod spool;
    mod stopping;
}
