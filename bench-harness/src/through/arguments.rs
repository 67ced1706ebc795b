//! What can be said to `through`.

use std::time::Duration;

use clap::Args;
use ringmx::config::Bind;
use ringmx::limits;

use crate::generate::arguments::{RunArguments, time};

/// Examples, what is judged, and exit statuses.
pub const THROUGH_HELP: &str = "\
Examples:
  ringmx-bench through 127.0.0.1:2525 --sink 127.0.0.1:2626 -n 10000       the server relays all mail to 127.0.0.1:2626
  ringmx-bench through mx.lab:25 --sink 10.0.0.5:2626 --rate 500 -t 60s    an open loop: nothing hides behind a stall
  ringmx-bench through 127.0.0.1:2525 --sink /run/sink.sock --sink-lmtp    it delivers by LMTP over a Unix socket
  ringmx-bench through 127.0.0.1:2525 --sink 127.0.0.1:2626 --assert 'e2e.p99<1s' --assert 'backlog<1000'

Set the server up to relay to the address of --sink before (Postfix: relayhost or default_transport), or while this waits.

A delivery is a message for one recipient. What the server takes over must arrive once for each recipient, with the body that was \
sent. Trace fields, and a header that is folded or in another order, are the server's right; empty lines more or fewer at the end \
are told and not judged. Messages that are not of this run (bounces, or those of an earlier run) are counted as foreign.

Times: `end to end` is from the time at which a message was meant to be sent to its end at the sink, whatever tries it took; it \
leaves the warm-up out. The backlog is what was taken over and has not arrived, looked at every 20 ms. `drain` is from the last \
reply to the last arrival.

--assert knows also: e2e.p50 to e2e.max, arrival_rate, backlog, drain, lost, duplicates, altered, misaddressed, foreign, \
unacknowledged.

Exit status: as `run`; 3 a delivery was lost, doubled, altered, or made to somebody else: no figure.";

/// Of `through`.
#[derive(Clone, Debug, Args)]
pub struct ThroughArguments {
    /// The load
    #[command(flatten)]
    pub load: RunArguments,

    /// Where the sink listens for what the server relays, such as 127.0.0.1:2626, :2626, or the path of a Unix socket
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub sink: Vec<Bind>,

    /// The sink speaks LMTP
    #[arg(long)]
    pub sink_lmtp: bool,

    /// Threads of the sink; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub sink_shards: u16,

    /// Connections of each of them
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_PER_SHARD)]
    pub sink_connections: u32,

    /// Listen where real mail can arrive (port 25, 465 or 587 of an address that other machines reach), and discard it
    #[arg(long)]
    pub discards_mail: bool,

    /// When all is sent: how long nothing may arrive before what is missing counts as lost
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub drain_patience: Duration,

    /// Duplicates are counted and not judged: for servers that are stopped in the middle, which may send twice
    #[arg(long)]
    pub allow_duplicates: bool,
}
