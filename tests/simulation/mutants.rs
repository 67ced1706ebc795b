//! Deliberate bugs, each of which the judge must see within so many seeds.

use crate::mutant::Mutant;

use super::run;
use super::scenario::Omissions;

/// Each with the number of seeds within which it is seen.
const MUTANTS: &[(Mutant, u64)] = &[
    (Mutant::AnswersBeforeOutcome, 300),
    (Mutant::KeepsGeneration, 5_000),
    (Mutant::AnswersNextQuestion, 1_000),
    (Mutant::OvertakesSlots, 300),
    (Mutant::KeepsRecipientsOfRefusedMail, 1_000),
    (Mutant::DropsRestOfSend, 300),
    (Mutant::SendsTwice, 300),
    (Mutant::ClosesBeforeReplies, 300),
    (Mutant::ForgetsReceiveWithoutBuffer, 300),
    (Mutant::ForgetsReceiveThatEnded, 300),
    (Mutant::KeepsBufferOfDiscarded, 300),
    (Mutant::ReadsReleasedBuffer, 300),
    (Mutant::LosesPausedOctet, 300),
    (Mutant::ForgetsPaused, 300),
    (Mutant::ForgetsMissedCancel, 300),
    (Mutant::RepeatsCancels, 5_000),
    (Mutant::FreesSlotInFlight, 300),
    (Mutant::RestsForEver, 300),
    (Mutant::LingersForEver, 300),
    (Mutant::DrainForgetsUngreeted, 1_000),
    (Mutant::LeaksMemory, 300),
    (Mutant::CountsTwice, 300),
    (Mutant::KeepsAbortedContent, 300),
    (Mutant::SumsAbortedContent, 1_000),
    (Mutant::ForgetsHalfClosed, 300),
    (Mutant::KeepsHandedOver, 300),
    (Mutant::HandsOverToAnyShard, 1_000),
    (Mutant::PostsTwice, 300),
    (Mutant::ForgetsToPublish, 300),
    (Mutant::ForgetsParked, 1_000),
    (Mutant::AcceptsBeforePosted, 300),
    (Mutant::KeepsGivenUp, 3_000),
    (Mutant::DeliversGivenUp, 3_000),
    (Mutant::LosesReturned, 300),
    (Mutant::MixesVerdicts, 1_000),
    (Mutant::KeepsRefusalForNow, 300),
    (Mutant::LeaksLease, 300),
    (Mutant::KeepsMemoryOfAborted, 300),
    (Mutant::ForgetsToWake, 300),
    (Mutant::SleepsOverNews, 1_000),
    (Mutant::HoldsBackDiscard, 3_000),
    (Mutant::KeepsWhatConsumerHad, 1_000),
    (Mutant::ForgetsHeldBack, 5_000),
    (Mutant::ForgetsFailedWrite, 300),
    (Mutant::MixesWrites, 300),
    (Mutant::SleepsOverWrites, 300),
    (Mutant::SpoolAnswersBeforeDurable, 300),
    (Mutant::SpoolAnswersOutOfOrder, 1_000),
    (Mutant::SpoolTrustsShortWrite, 1_000),
    (Mutant::SpoolForgetsVoid, 15_000),
    (Mutant::SpoolKeepsPartOfFailed, 8_000),
    (Mutant::SpoolRetries, 300),
    (Mutant::SpoolForgetsBeginning, 5_000),
];

/// Each of them is seen within so many seeds.
pub fn are_caught(mutants: &[(Mutant, u64)], run: impl Fn(u64) -> Result<(), String>) {
    let mut missed = Vec::new();
    for (mutant, within) in mutants {
        Mutant::switch(Some(*mutant));
        let seen = (0..*within).find_map(|seed| Some((seed, run(seed).err()?)));
        Mutant::switch(None);
        match seen {
            Some((seed, why)) => {
                let why: String = why.lines().next().unwrap_or_default().chars().take(110).collect();
                println!("{mutant:?} is seen by seed {seed}: {why}");
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
