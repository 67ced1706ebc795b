//! Deliberate bugs, one at a time, in test builds alone: they show that the simulation's checks see (`tests/simulation`).
//!
//! *Invariant*: outside of tests [`Mutant::is_on`] is a constant, and nothing of a mutant is compiled.

#[cfg(test)]
thread_local!(static ON: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) });

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code, reason = "they are switched on in tests"))]
pub enum Mutant {
    /// A reply is given before somebody else has decided.
    AnswersBeforeOutcome,
    /// An answer for the last owner of a slot reaches its next.
    KeepsGeneration,
    /// An answer that comes twice counts for the next question.
    AnswersNextQuestion,
    /// A reply overtakes those that wait.
    OvertakesSlots,
    /// A refused MAIL leaves its recipients accepted.
    KeepsRecipientsOfRefusedMail,
    /// The rest of a short send is dropped.
    DropsRestOfSend,
    /// A second send is started while one is under way.
    SendsTwice,
    /// The connection is closed before its last replies are sent.
    ClosesBeforeReplies,
    /// A receive that found no buffer is not started again.
    ForgetsReceiveWithoutBuffer,
    /// A receive that ended for no fault is not started again.
    ForgetsReceiveThatEnded,
    /// The buffer of discarded octets is kept.
    KeepsBufferOfDiscarded,
    /// Octets are read when their buffer is the kernel's again.
    ReadsReleasedBuffer,
    /// Input that a paused session could not take loses its first octet.
    LosesPausedOctet,
    /// A paused session is not resumed when its answer comes.
    ForgetsPaused,
    /// A cancel that found nothing is not tried again.
    ForgetsMissedCancel,
    /// A cancel that found nothing is tried again though another is out: they become more and more.
    RepeatsCancels,
    /// A slot is freed while something is in flight for it.
    FreesSlotInFlight,
    /// After an accept that failed nothing is accepted any more.
    RestsForEver,
    /// A lingering connection has no timer.
    LingersForEver,
    /// A drain forgets connections that were not greeted.
    DrainForgetsUngreeted,
    /// Memory of unsent replies is not given back when a connection is given up.
    LeaksMemory,
    /// A message is counted when it is handed over, too.
    CountsTwice,
    /// Content of a message that was given up stays with the next.
    KeepsAbortedContent,
    /// A connection that was handed over is served here too.
    KeepsHandedOver,
    /// A connection whose mail needs a log goes to a shard that has none.
    HandsOverToAnyShard,
    /// Content of a message that was given up is summed with that of the next.
    SumsAbortedContent,
    /// A client that half-closes loses the replies that wait for an answer.
    ForgetsHalfClosed,
    /// A letter is put into its queue twice.
    PostsTwice,
    /// What was put into a queue in a turn is not published.
    ForgetsToPublish,
    /// A letter for which there was no room is dropped when there is, and its sender is told that it is there.
    ForgetsParked,
    /// A sender is told that its message is in all queues when there was no room in one.
    AcceptsBeforePosted,
    /// A letter for which there was no room is posted though its sender was told to come again.
    KeepsGivenUp,
    /// A consumer is given what its sender was told to come again with.
    DeliversGivenUp,
    /// A delivery that is let go of without a word does not come again.
    LosesReturned,
    /// What a sink says of its recipients is taken for what it says of the first ones.
    MixesVerdicts,
    /// A word that is not final is kept.
    KeepsRefusalForNow,
    /// A lease on a message's memory is not given back.
    LeaksLease,
    /// What is broken off keeps its memory.
    KeepsMemoryOfAborted,
    /// A shard that sleeps is not woken for what was acknowledged.
    ForgetsToWake,
    /// A shard does not look again before it sleeps.
    SleepsOverNews,
    /// Mail that nobody keeps waits for memory that it does not need.
    HoldsBackDiscard,
    /// A client that was made to wait for memory is forgotten.
    ForgetsHeldBack,
    /// What is done with of that which a log has is not noted.
    ForgetsSettled,
    /// A consumer that goes keeps what it had.
    KeepsWhatConsumerHad,
    /// A shard does not tell its intake of a write that failed.
    ForgetsFailedWrite,
    /// The end of a write is taken for that of the oldest that is under way.
    MixesWrites,
    /// A shard sleeps beyond the time at which its intake wants to look at its writes.
    SleepsOverWrites,
    /// A message is answered when its block is on its way to the disk.
    SpoolAnswersBeforeDurable,
    /// A message is answered when its block is durable, whatever became of those before.
    SpoolAnswersOutOfOrder,
    /// A block of which a part was written counts as written.
    SpoolTrustsShortWrite,
    /// Blocks go on behind one that failed before that is on disk.
    SpoolForgetsVoid,
    /// A message whose first part was in a block that failed is committed with its last.
    SpoolKeepsPartOfFailed,
    /// A block that failed is tried again.
    SpoolRetries,
    /// What a message began with is not kept when it alone closes its block.
    SpoolForgetsBeginning,
    /// Blocks claim as void what is named by one that may be lost.
    SpoolClaimsVoid,
    /// Whole blocks behind a torn one count.
    RecoveryTakesTornTail,
    /// What was recorded as void counts.
    RecoveryForgetsVoids,
    /// The next epoch does not name the tail that counts for nothing.
    RecoveryRevivesTail,
    /// Everything behind a block that is broken counts for nothing.
    RecoveryTruncates,
    /// The next epoch begins where the last one ended.
    RecoveryUsesAddressesAgain,
}

impl Mutant {
    /// Whether this is done wrong now.
    #[inline]
    pub fn is_on(self) -> bool {
        #[cfg(test)]
        return ON.get() == Some(self);
        #[cfg(not(test))]
        false
    }

    /// Whether anything is done wrong now on this thread.
    #[cfg(test)]
    pub fn any_is_on() -> bool {
        ON.get().is_some()
    }

    /// From now on, on this thread, this is done wrong.
    #[cfg(test)]
    pub fn switch(mutant: Option<Self>) {
        ON.set(mutant);
    }
}

/// What a mutant does not give back, which a search for leaks must not take for one of the tests.
#[cfg(test)]
static KEPT: std::sync::Mutex<Vec<Box<dyn std::any::Any + Send>>> = std::sync::Mutex::new(Vec::new());

/// Never drops a value.
pub fn keep(value: impl Send + 'static) {
    #[cfg(test)]
    KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(Box::new(value));
    #[cfg(not(test))]
    drop(value);
}
