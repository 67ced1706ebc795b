//! What of a failing seed matters: parts are left out one after the other, as long as it fails in the same way.

use super::scenario::{Omissions, Scenario};
use super::{omissions, replay_line, run, setting};

/// Runs of one search.
const RUNS_MOST: u32 = 20_000;

/// How a seed fails, without what differs from run to run.
fn kind(why: &str) -> String {
    let line = why.lines().next().unwrap_or_default();
    line.chars().filter(|character| !character.is_ascii_digit()).take(40).collect()
}

/// As little as still fails.
fn smallest(seed: u64, begun: Omissions, wanted: &str) -> Omissions {
    let mut best = begun;
    let mut runs = 0;
    loop {
        let before = best.len();
        for part in Scenario::new(seed, &best).parts() {
            runs += 1;
            if best.contains(&part) || runs > RUNS_MOST {
                continue;
            }
            let mut fewer = best.clone();
            fewer.insert(part);
            if run(seed, &fewer).is_err_and(|why| kind(&why) == wanted) {
                best = fewer;
            }
        }
        if best.len() == before || runs > RUNS_MOST {
            // What a client that is left out would have said does not matter.
            let gone: Vec<String> = best.iter().filter(|part| !part.contains('t')).cloned().collect();
            best.retain(|part| !gone.iter().any(|client| part.starts_with(&format!("{client}t"))));
            return best;
        }
    }
}

#[test]
#[ignore = "wants a failing seed: tests/simulation/run --seed N --minimise"]
fn minimise() {
    let seed = setting("SIMULATION_SEED").expect("SIMULATION_SEED is the seed");
    let begun = omissions();
    let Err(why) = run(seed, &begun) else { return println!("seed {seed} is clean: there is nothing to minimise") };
    let small = smallest(seed, begun, &kind(&why));
    let why = run(seed, &small).expect_err("it fails still");
    println!("{}\n  {why}", replay_line(seed, &small));
}

/// A seed that fails by a known mutant stays failing with most of it left out.
#[test]
fn a_failing_seed_becomes_small() {
    use crate::mutant::Mutant;

    Mutant::switch(Some(Mutant::ForgetsPaused));
    let (seed, why) =
        (0..500).find_map(|seed| Some((seed, run(seed, &Omissions::new()).err()?))).expect("it is caught");
    let small = smallest(seed, Omissions::new(), &kind(&why));
    let (all, rest) = [Omissions::new(), small].map(|omissions| Scenario::new(seed, &omissions)).into();
    let still = run(seed, &Omissions::new());
    Mutant::switch(None);
    let tokens = |scenario: &Scenario| scenario.clients.iter().map(|client| client.tokens.len()).sum::<usize>();
    assert!(still.is_err() && tokens(&rest) <= tokens(&all) / 2 && rest.clients.len() <= all.clients.len());
    assert_eq!(rest.clients.len(), 1, "{rest:#?}");
}
