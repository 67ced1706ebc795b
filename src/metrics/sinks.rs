//! What the threads of a sink count: one writer each.

use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::metrics::counter::Counter;

macro_rules! figures {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The figures of one thread of a sink.
        #[derive(Debug)]
        pub struct SinkFigures {
            $($(#[doc = $doc])* pub $name: Counter,)*
            delay_ms: Mutex<Histogram<u64>>,
        }

        impl Default for SinkFigures {
            fn default() -> Self {
                Self { $($name: Counter::default(),)* delay_ms: Mutex::new(delays()) }
            }
        }

        impl SinkFigures {
            /// Names and values, in the order of declaration.
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

figures! {
    /// Batches that were given to the sink.
    batches,
    /// Messages in them, each as often as it was given.
    messages,
    /// Recipients that a message was delivered to.
    delivered,
    /// Octets of content of delivered messages, once for each message.
    octets,
    /// Recipients refused for now, whose message comes again.
    deferred,
    /// Recipients refused, whose client was told so.
    refused,
    /// Recipients refused for good, whose client had its 250 already.
    failed,
    /// Messages that were not delivered because their senders had been told to come again.
    given_up,
    /// Times that the sink panicked.
    panics,
    /// Messages that were accepted, and not delivered when the engine had to stop.
    left_behind,
    /// Copies of messages that were put where they are tried again.
    moved,
    /// Copies that were put aside as dead: refused for good, or too old.
    died,
    /// Copies that were put aside because delivering them went wrong too often.
    set_aside,
    /// Of those that are tried again, copies for which there was no room where the operator is waited for.
    displaced,
    /// Copies of messages that an operator has put aside.
    ordered_held,
    /// Copies of messages that an operator has had tried at once.
    ordered_released,
    /// Copies of messages that an operator has thrown away.
    ordered_removed,
    /// Copies of messages that lay aside, and are gone since an operator handed them to a sink anew.
    ordered_replayed,
    /// Orders of an operator that named nothing which waited any more.
    orders_missed,
    /// Copies of a message beyond the first for which one order was carried out: it waited for several reasons, or twice after a crash.
    orders_doubled,
    /// Messages that were tried again.
    retried,
    /// Times that deferred mail could not be written or read.
    deferral_failures,
    /// 1 while the sink waits because of that.
    stuck,
    /// Times that something was found in deferred mail that could not be read; its file is kept.
    damages,
    /// Messages that wait to be tried again, now.
    waiting,
    /// Octets of the disk from the first of those to the last, in each class.
    waiting_octets,
    /// Messages that the operator holds, now.
    held,
    /// Messages that are quarantined, now.
    quarantined,
    /// Messages that are dead, now.
    dead,
}

/// Longest delay that is told apart, in ms: a week.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

fn delays() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MS, 3).expect("constant bounds are valid")
}

impl SinkFigures {
    /// A message was delivered so long after it was taken over, to so many recipients.
    pub fn record_delays(&self, delays_ms: impl IntoIterator<Item = (u64, u64)>) {
        let mut histogram = self.delay_ms.lock().unwrap_or_else(PoisonError::into_inner);
        for (delay_ms, recipients) in delays_ms {
            histogram.saturating_record_n(delay_ms, recipients);
        }
    }

    /// Adds the delays of these threads up.
    pub fn delays<'f>(all: impl IntoIterator<Item = &'f Self>) -> Histogram<u64> {
        let mut sum = delays();
        for figures in all {
            let histogram = figures.delay_ms.lock().unwrap_or_else(PoisonError::into_inner);
            sum.add(&*histogram).expect("all have the same bounds");
        }
        sum
    }
}
