//! `ringmx spool hold`, `release`, `remove`: orders for mail that waits, of a server that runs, or that is started later.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};

use ringmx::mail::id::MessageId;
use ringmx::spool::deferred::order::Verb;
use ringmx::spool::tools::message::State;
use ringmx::spool::tools::order::{Orders, states_of};

use super::arguments::{OrderArguments, RemoveArguments};
use super::{Place, all_found, counted};
use crate::cli::failure::Failure;
use crate::cli::say;

/// See the module.
pub fn order(place: &Place, verb: Verb, options: &OrderArguments) -> Result<(), Failure> {
    let chosen = choose(place, verb, options)?;
    chosen.give(place, verb)
}

/// Removes, when it is sure that this is meant.
pub fn remove(place: &Place, options: &RemoveArguments) -> Result<(), Failure> {
    if options.order.which.all && options.order.which.filter.state.is_empty() {
        let states = names(&states_of(Verb::Remove)).join(",");
        return Err(Failure::Wish(format!("--all wants a state to remove, such as --state dead, or --state {states}")));
    }
    let chosen = choose(place, Verb::Remove, &options.order)?;
    if !options.yes && !chosen.orders.is_empty() && !is_meant(&chosen)? {
        return Err(Failure::Wish("nothing is removed".into()));
    }
    chosen.give(place, Verb::Remove)
}

fn is_meant(chosen: &Chosen<'_>) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::Wish("what is removed is gone for good; --yes says that this is meant".into()));
    }
    let _ = write!(io::stderr(), "remove {} for good? [y/N] ", counted(chosen.orders.len() as u64, "message"));
    let mut answer = String::new();
    // Who closes his terminal does not mean it.
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(["y", "yes"].contains(&answer.trim()))
}

/// What is ordered.
struct Chosen<'p> {
    orders: Orders<'p>,
    asked: Vec<MessageId>,
    /// Messages that were asked for by name and are there.
    found: BTreeSet<MessageId>,
    /// Of those, messages of which a copy is as it should be, or will be.
    served: BTreeSet<MessageId>,
    /// Of those, copies that wait in a state which the order is not for.
    others: Vec<(MessageId, State)>,
}

fn choose<'p>(place: &'p Place, verb: Verb, options: &OrderArguments) -> Result<Chosen<'p>, Failure> {
    let which = &options.which;
    let mut filter = which.filter.filter(&which.ids, &options.sink);
    let able = states_of(verb);
    if let Some(state) = filter.states.iter().find(|state| !able.contains(state)) {
        let able = names(&able).join(", ");
        return Err(Failure::Wish(format!(
            "{} is for mail that is {able}; not for what is {}",
            verb.name(),
            state.name()
        )));
    }
    let is_exact = !filter.states.is_empty() || !filter.recipients.is_empty();
    if filter.states.is_empty() && which.all {
        // What it is mostly for.
        filter.states = if verb == Verb::Release { vec![State::Held] } else { able };
    }
    let mut chosen = Chosen {
        orders: Orders::new(&place.disk, &place.spool, place.hand("order")),
        asked: which.ids.clone(),
        found: BTreeSet::new(),
        served: BTreeSet::new(),
        others: Vec::new(),
    };
    place.each(&filter, |_, message, _| {
        let (id, is_named) = (message.id(), !which.all);
        let is_there = verb == Verb::Hold && message.state == State::Held || message.ordered == Some(verb);
        let is_served = is_there || chosen.orders.add(verb, &message, is_exact);
        if is_named {
            chosen.found.insert(id);
            if is_served {
                chosen.served.insert(id);
            } else {
                chosen.others.push((id, message.state));
            }
        }
        Ok(())
    })?;
    Ok(chosen)
}

impl Chosen<'_> {
    fn give(self, place: &Place, verb: Verb) -> Result<(), Failure> {
        let Self { orders, asked, found, served, others } = self;
        let count = orders.len() as u64;
        orders.give()?;
        let what = match verb {
            Verb::Hold => "held",
            Verb::Release => "released",
            Verb::Remove | Verb::Replayed => "removed",
        };
        if count == 0 {
            say::out(&format!("nothing is to be {what}\n"));
        } else {
            say::out(&format!("{} to be {what}: {}\n", counted(count, "message"), place.who("does so")));
        }
        let mut failed = BTreeSet::new();
        for (id, state) in others.into_iter().filter(|(id, _)| !served.contains(id)) {
            say::error(&format!("ringmx: {id} is {}, and so cannot be {what}", state.name()));
            failed.insert(id);
        }
        all_found(&asked, &found.into_iter().collect::<Vec<_>>())?;
        match failed.len() as u64 {
            0 => Ok(()),
            failed => Err(Failure::InPart(format!("{} not {what}", counted(failed, "message")))),
        }
    }
}

fn names(states: &[State]) -> Vec<&'static str> {
    states.iter().map(|state| state.name()).collect()
}
