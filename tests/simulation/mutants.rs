//! Deliberate bugs, each of which the judge must see within so many seeds.

use std::iter;

use crate::mutant::Mutant;

use super::run;
use super::scenario::Omissions;

/// A deliberate bug; a seed that sees it, tried first, as finding one takes thousands; and within how many seeds it is seen in
/// any case. When a change makes seeds do other things, the test says which sees it now.
pub type Deliberate = (Mutant, u64, u64);

const MUTANTS: &[Deliberate] = &[
    (Mutant::AnswersBeforeOutcome, 2, 300),
    (Mutant::KeepsGeneration, 941, 5_000),
    (Mutant::AnswersNextQuestion, 39, 1_000),
    (Mutant::OvertakesSlots, 23, 300),
    (Mutant::KeepsRecipientsOfRefusedMail, 30, 1_000),
    (Mutant::DropsRestOfSend, 3, 300),
    (Mutant::SendsTwice, 8, 300),
    (Mutant::ClosesBeforeReplies, 81, 300),
    (Mutant::ForgetsReceiveWithoutBuffer, 2, 300),
    (Mutant::ForgetsReceiveThatEnded, 2, 300),
    (Mutant::KeepsBufferOfDiscarded, 3, 300),
    (Mutant::ReadsReleasedBuffer, 1, 300),
    (Mutant::LosesPausedOctet, 10, 300),
    (Mutant::ForgetsPaused, 10, 300),
    (Mutant::ForgetsMissedCancel, 4, 300),
    (Mutant::RepeatsCancels, 213, 5_000),
    (Mutant::FreesSlotInFlight, 4, 300),
    (Mutant::RestsForEver, 82, 300),
    (Mutant::LingersForEver, 4, 300),
    (Mutant::DrainForgetsUngreeted, 624, 1_000),
    (Mutant::LeaksMemory, 6, 300),
    (Mutant::CountsTwice, 2, 300),
    (Mutant::KeepsAbortedContent, 48, 300),
    (Mutant::SumsAbortedContent, 48, 1_000),
    (Mutant::ForgetsHalfClosed, 8, 300),
    (Mutant::KeepsHandedOver, 2, 300),
    (Mutant::HandsOverToAnyShard, 18, 1_000),
    (Mutant::PostsTwice, 10, 300),
    (Mutant::ForgetsToPublish, 10, 300),
    (Mutant::ForgetsParked, 99, 1_000),
    (Mutant::AcceptsBeforePosted, 99, 300),
    (Mutant::KeepsGivenUp, 99, 3_000),
    (Mutant::DeliversGivenUp, 55, 3_000),
    (Mutant::LosesReturned, 10, 300),
    (Mutant::MixesVerdicts, 39, 1_000),
    (Mutant::KeepsRefusalForNow, 20, 300),
    (Mutant::LeaksLease, 10, 300),
    (Mutant::KeepsMemoryOfAborted, 48, 300),
    (Mutant::ForgetsToWake, 39, 300),
    (Mutant::SleepsOverNews, 39, 1_000),
    (Mutant::HoldsBackDiscard, 948, 3_000),
    (Mutant::KeepsWhatConsumerHad, 18, 1_000),
    (Mutant::ForgetsHeldBack, 55, 5_000),
    (Mutant::ForgetsFailedWrite, 117, 300),
    (Mutant::MixesWrites, 4, 300),
    (Mutant::SleepsOverWrites, 4, 300),
    (Mutant::SpoolAnswersBeforeDurable, 4, 300),
    (Mutant::SpoolAnswersOutOfOrder, 117, 1_000),
    (Mutant::SpoolTrustsShortWrite, 155, 1_000),
    (Mutant::SpoolForgetsVoid, 1_764, 15_000),
    (Mutant::SpoolKeepsPartOfFailed, 2_323, 8_000),
    (Mutant::SpoolRetries, 117, 300),
    (Mutant::SpoolForgetsBeginning, 372, 5_000),
];

/// Each of them is seen.
pub fn are_caught(mutants: &[Deliberate], run: impl Fn(u64) -> Result<(), String>) {
    let mut missed = Vec::new();
    for (mutant, known, within) in mutants {
        Mutant::switch(Some(*mutant));
        let seen = iter::once(*known).chain(0..*within).find_map(|seed| Some((seed, run(seed).err()?)));
        Mutant::switch(None);
        match seen {
            Some((seed, why)) => {
                let why: String = why.lines().next().unwrap_or_default().chars().take(110).collect();
                let instead = if seed == *known { String::new() } else { format!(", and no longer by {known}") };
                println!("{mutant:?} is seen by seed {seed}{instead}: {why}");
            }
            None => missed.push(*mutant),
        }
    }
    assert!(missed.is_empty(), "nobody saw {missed:?}");
}

#[test]
fn mutants_are_caught() {
    are_caught(MUTANTS, |seed| run(seed, &Omissions::new()).map(drop));
}
