//! Counters of one shard: one writer, relaxed, on cache lines of their own.

use crate::metrics::counter::Counter;
use crate::smtp::reply::{Replies, Reply};

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The counters of one shard.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: Counter,)*
            /// Replies given, by [`Reply::index`].
            pub replies: [Counter; Reply::COUNT],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self { $($name: Counter::default(),)* replies: std::array::from_fn(|_| Counter::default()) }
            }
        }

        impl Counters {
            /// Names and values, in the order of declaration.
            pub fn values(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Connections open now (a level).
    connections_open,
    /// Connections accepted.
    connections_accepted,
    /// Connections accepted, and handed on to a shard that had fewer.
    connections_handed_over,
    /// Connections that another shard accepted, and handed on to this one.
    connections_taken_over,
    /// Connections told 421 because the shard's limit was reached.
    connections_over_limit,
    /// Connections that the client reset, or that failed.
    connections_reset,
    /// Connections whose descriptor was given up, for whatever reason.
    connections_closed,
    /// Connections that the client ended with a message under way.
    connections_lost_in_transaction,
    /// Connections closed because what came first was no PROXY header, on a listener that requires one.
    proxy_headers_refused,
    /// Accepts that failed for want of descriptors or memory; accepting then pauses.
    accept_failures,
    /// Messages accepted, once that is known.
    messages,
    /// Octets of content of accepted messages.
    message_octets,
    /// Accepted messages whose content was summed.
    content_checksums,
    /// The sum of the CRC32C of their content: of numbers and not of octets, so that the order does not matter, and so that a
    /// message that is lost and one that is doubled do not cancel out. It wraps.
    content_checksum_sum,
    /// Messages refused after their content, or given up within it.
    messages_void,
    /// Accepted recipients of accepted messages.
    recipients,
    /// Recipients refused because too many messages were on their way to their sink.
    recipients_without_room,
    /// Octets received.
    octets_received,
    /// Octets of replies handed to the kernel.
    octets_sent,
    /// Octets copied to put cut command lines together.
    octets_copied_commands,
    /// Octets of content copied. A blackhole copies none.
    octets_copied_content,
    /// Octets copied because a session could not take its input at once.
    octets_copied_paused,
    /// Times that a session could not take its input at once.
    pauses,
    /// Sessions closed because too much input was waiting for paused sessions.
    paused_input_full,
    /// Answers that were awaited.
    answers_awaited,
    /// Answers that did not come in time.
    answers_timed_out,
    /// Answers that nobody waited for any more.
    answers_late,
    /// Sessions ended by a time limit.
    timeouts,
    /// Receives that found no free buffer, and were started again.
    buffers_exhausted,
    /// Receives that failed for want of memory, and were started again after a pause.
    receive_failures,
    /// Receives that ended for no fault, and were started again.
    receives_rearmed,
    /// Sends that the peer did not take at once.
    short_sends,
    /// Completions of operations that no longer had an owner: must stay 0.
    stale_completions,
    /// Times that the shard stood still: its process was stopped or starved, or something blocked.
    stalls,
    /// Turns of the loop.
    turns,
    /// System calls of the ring.
    system_calls,
    /// Operations started.
    operations,
    /// Times that completions overflowed their queue.
    completion_overflows,
    /// Times that the submission queue was full within a turn.
    submission_full,
    /// Changes of the back-pressure level.
    pressure_changes,
    /// Back-pressure level now.
    pressure_level,
    /// Octets of memory that sessions hold now (a level): unsent replies, and input of paused sessions.
    session_octets,
    /// Octets of memory of messages that are handed off, or coming (a level).
    handed_off_octets,
    /// Messages that are handed off and not acknowledged, each for each of its sinks (a level).
    handed_off,
    /// Messages that were accepted, and that nobody will deliver because their consumer is gone, each for each of its sinks.
    handed_off_lost,
    /// Blocks committed to the spool: each is one write for all the messages in it.
    spool_commits,
    /// Messages in them.
    spool_messages,
    /// Octets written to the spool, with all that lies around the content.
    spool_octets,
    /// Blocks of the spool that failed: their messages were answered with 451.
    spool_failures,
    /// Of those, blocks of which the disk said nothing in time.
    spool_writes_hung,
    /// Messages refused because of that, which may be on disk all the same.
    spool_messages_doubtful,
    /// Times that a segment of the spool was wanted and none was ready.
    spool_starved,
}

impl Counters {
    /// Takes the counts of replies given, and of messages answered, since they were last taken.
    pub fn take_replies(&self, replies: &mut Replies) {
        let messages = std::mem::take(&mut replies.messages);
        self.messages.add(messages.taken);
        self.message_octets.add(messages.octets);
        self.recipients.add(messages.recipients);
        self.messages_void.add(messages.refused);
        for (counter, count) in self.replies.iter().zip(&mut replies.counts) {
            if *count > 0 {
                counter.add(u64::from(std::mem::take(count)));
            }
        }
    }
}
