//! Whether what clients saw is what they had to see: the naive session says what the replies are, and only what the scenario
//! explains may come in their place.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::reactor::io::GroupId;
use crate::simulation::faults::Faults;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point};
use crate::smtp::settings::{Settings, Synchronization, Terms};

use super::answers::{self, Answer, When, about_end};
use super::book::Message;
use super::client::{Client, Record};
use super::house::{Outcomes, Told};
use super::ledger::Handed;
use super::naive::{self, Asked, Run};
use super::scenario::{DoorTerms, Reading, Scenario};
use super::spool::log_of;

/// What the checks of one client add up to.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Messages that the client was told are taken.
    acknowledged: u64,
    /// Replies that it saw whole.
    replies: u64,
    /// It did not hear all that was said.
    is_cut: bool,
}

/// Goes through everything. Says what is wrong first.
pub fn judge(scenario: &Scenario, outcomes: &Outcomes) -> Result<(), String> {
    let mut sum = Account::default();
    for client in outcomes.clients.iter().filter(|client| client.id.is_some()) {
        let account = Bench { scenario, outcomes, client }.judge().map_err(|why| {
            let number = client.plan.number;
            let heard = client.record.received.escape_ascii();
            format!("client {number}: {why}\n  it heard {heard}")
        })?;
        sum.acknowledged += account.acknowledged;
        sum.replies += account.replies;
        sum.is_cut |= account.is_cut;
    }
    accounts(scenario, outcomes, sum)
}

/// What the house says of itself, against what its clients say.
fn accounts(scenario: &Scenario, outcomes: &Outcomes, sum: Account) -> Result<(), String> {
    let Outcomes { counters, network, .. } = outcomes;
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let clients = || outcomes.clients.iter();
    let accepted = clients().filter(|client| client.id.is_some_and(|id| network.is_accepted(id))).count() as u64;
    let free = network.free_buffers(GroupId(0));
    let buffers = usize::from(scenario.group.buffers);
    check(network.open_sockets() == 0, format!("{} sockets are open", network.open_sockets()));
    check(free == buffers, format!("{free} of {buffers} buffers came back"));
    check(counters.connections_open.get() == 0, format!("{} connections are open", counters.connections_open.get()));
    check(
        counters.connections_accepted.get() == accepted,
        format!("{} connections are counted, {accepted} were accepted", counters.connections_accepted.get()),
    );
    check(
        counters.connections_closed.get() == accepted,
        format!("{} of {accepted} connections are closed", counters.connections_closed.get()),
    );
    let moved = (counters.connections_handed_over.get(), counters.connections_taken_over.get());
    check(moved.0 == moved.1, format!("{} connections were handed over, {} came back", moved.0, moved.1));
    let stale = (counters.stale_completions.get(), network.stale_completions());
    check(stale.0 == stale.1, format!("{} completions were stale, {} were made up", stale.0, stale.1));
    check(counters.session_octets.get() == 0, format!("{} octets are still held", counters.session_octets.get()));
    // One connection's replies, and what it sent while it was paused, may go beyond.
    let share = 128 * 1024 + buffers as u64 * u64::from(scenario.group.buffer_octets);
    let most = scenario.session_octets + share * scenario.clients.len() as u64;
    check(outcomes.held_most <= most, format!("{} octets were held, {most} may be", outcomes.held_most));

    let sent: u64 = clients().map(|client| (client.plan.header.len() + client.record.sent.len()) as u64).sum();
    check(
        counters.octets_received.get() <= sent,
        format!("{} octets received, {sent} sent", counters.octets_received.get()),
    );
    let heard: u64 = clients().map(|client| client.record.received.len() as u64).sum();
    let heard_all = clients().all(|client| client.plan.reading == Reading::All && !client.record.has_reset);
    let octets_sent = counters.octets_sent.get();
    check(!heard_all || octets_sent == heard, format!("{octets_sent} octets are counted as sent, {heard} were heard"));
    let handed = outcomes.handed.values().map(Vec::len).sum::<usize>() as u64;
    let (messages, void) = (counters.messages.get(), counters.messages_void.get());
    check(messages >= sum.acknowledged, format!("{messages} messages are counted, {} acknowledged", sum.acknowledged));
    check(messages <= handed, format!("{messages} messages are counted, {handed} were handed over"));
    let summed = counters.content_checksums.get();
    check(summed == messages, format!("{summed} messages are summed, {messages} are counted"));
    let contents = outcomes.handed.values().flatten().map(|handed| u64::from(crc32c::crc32c(&handed.content)));
    let (wanted, checksum) = (contents.fold(0, u64::wrapping_add), counters.content_checksum_sum.get());
    check(messages < handed || checksum == wanted, format!("content sums to {checksum}, and is {wanted}"));
    let replies: u64 = counters.replies.iter().map(|counter| counter.get()).sum();
    check(replies >= sum.replies, format!("{replies} replies are counted, {} were heard", sum.replies));
    let nobody_left = heard_all && !sum.is_cut && !outcomes.was_forced;
    check(!nobody_left || replies == sum.replies, format!("{replies} replies are counted, {} were heard", sum.replies));
    check(
        !nobody_left || scenario.defers() || messages == sum.acknowledged,
        format!("{messages} messages are counted ({void} void), {} acknowledged", sum.acknowledged),
    );
    if let Some(drained_at) = outcomes.drained_at {
        let lasted_ms = outcomes.ended_at.since_ns(drained_at) / 1_000_000;
        let patience_ms = scenario.patience_ms.max(100_000) + 10_000 + scenario.slack_ms() * 4;
        check(lasted_ms <= patience_ms, format!("the drain lasted {lasted_ms} ms"));
        // The last drain comes when every client has seen its end, or gone: what is left has only to be closed.
        let is_last = !scenario.orders.iter().any(|order| matches!(order.what, super::scenario::What::Drain { .. }));
        let most_sent = clients().map(|client| client.record.sent.len()).max().unwrap_or(0);
        // A session that waits for an answer does not see that its client has gone.
        let answer_ms = if scenario.has_spool() { limits::ANSWER_MS } else { 10_000 };
        let close_ms = limits::LINGER_MS + answer_ms + scenario.delay_ms(most_sent + 100);
        let are_readers = clients().all(|client| client.plan.reading == Reading::All);
        check(
            !is_last || scenario.has_odd_time() || !are_readers || lasted_ms <= close_ms,
            format!("connections whose clients are gone lasted {lasted_ms} ms"),
        );
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// One client before the judge.
struct Bench<'b> {
    scenario: &'b Scenario,
    outcomes: &'b Outcomes,
    client: &'b Client,
}

/// What is taken to have been so, because replies show it.
#[derive(Clone, Debug, Default)]
struct Assumed {
    /// Questions that were answered with this instead of what was planned, by their number.
    replies: BTreeMap<usize, Reply>,
    /// Places at which more had come behind a DATA that was refused.
    behind: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Reply(usize, Reply),
    Behind(usize),
}

impl Assumed {
    fn with(&self, change: Change) -> Self {
        let mut changed = self.clone();
        match change {
            Change::Reply(question, reply) => {
                // Questions behind it are others under that.
                changed.replies.split_off(&question);
                changed.replies.insert(question, reply);
            }
            Change::Behind(at) => {
                changed.behind.insert(at);
            }
        }
        changed
    }
}

/// Why replies do not fit, or what has to be assumed: one of these.
enum Misfit {
    Assume(Vec<Change>),
    Wrong(String),
}

impl Bench<'_> {
    fn record(&self) -> &Record {
        &self.client.record
    }

    fn judge(&self) -> Result<Account, String> {
        let record = self.record();
        if !self.client.plan.is_header_right {
            let door = &self.scenario.plans[0].doors[self.client.plan.door];
            let settings = Settings::new(door.terms.clone());
            let is_part = |reply: Reply| reply.line(&settings).starts_with(&record.received);
            let is_cut = record.has_reset && (is_part(Reply::TooManyConnections) || is_part(Reply::ShuttingDown));
            let is_told = self.is_excused_end(door, &settings, &record.received, 0);
            return match record.received.is_empty() || is_told || is_cut {
                // What it was told instead of being listened to may have been lost.
                true => Ok(Account {
                    replies: u64::from(record.received.ends_with(b"\n")),
                    is_cut: !record.received.ends_with(b"\n"),
                    ..Account::default()
                }),
                false => Err("a reply to something that is no PROXY header".to_owned()),
            };
        }
        if record.was_refused {
            return match record.received.is_empty() {
                true => Ok(Account::default()),
                false => Err("a reply from a door that is closed".to_owned()),
            };
        }
        if let (Some((_, _, at)), Some(drained_at)) = (record.arrivals.first(), self.outcomes.drained_at)
            && record.received.starts_with(b"220")
            && *at > drained_at.plus_ms(self.scenario.delay_ms(100))
            && !self.scenario.has_odd_time()
            && self.client.plan.reading == Reading::All
        {
            return Err("a greeting behind the drain".to_owned());
        }
        let mut first = None;
        for plan in &self.scenario.plans {
            let greeting = format!("220 {} ", plan.doors[self.client.plan.door].terms.hostname);
            let has_another = line_of(&record.received).is_some_and(|line| !line.starts_with(greeting.as_bytes()));
            if record.received.starts_with(b"220 ") && has_another {
                continue;
            }
            match self.under(&plan.doors[self.client.plan.door]) {
                Ok(account) => return Ok(account),
                Err(why) => {
                    first.get_or_insert(why);
                }
            }
            // Without a reload there is one plan.
            if !self.scenario.orders.iter().any(|order| order.what == super::scenario::What::Reload) {
                break;
            }
        }
        Err(first.unwrap_or_default())
    }

    /// Whether all is right if the connection was made under this plan.
    fn under(&self, door: &DoorTerms) -> Result<Account, String> {
        let mut terms = door.terms.clone();
        if door.trusts {
            terms.extensions = terms.extensions.with(crate::smtp::extension::Extension::Xclient);
        }
        let settings = Settings::new(terms);
        self.search(door, &settings, Assumed::default())
    }

    /// Whether all is right under what is assumed, or under more of it.
    fn search(&self, door: &DoorTerms, settings: &Settings, mut assumed: Assumed) -> Result<Account, String> {
        loop {
            let (run, asked) = self.run(door, settings.terms(), &assumed);
            let changes = match self.fits(door, settings, &run, &asked, &assumed) {
                Ok(account) => return Ok(account),
                Err(Misfit::Wrong(why)) => return Err(why),
                Err(Misfit::Assume(changes)) => changes,
            };
            let (last, others) = changes.split_last().expect("there is something to assume");
            for change in others {
                if let Ok(account) = self.search(door, settings, assumed.with(*change)) {
                    return Ok(account);
                }
            }
            assumed = assumed.with(*last);
        }
    }

    /// What the naive session does with all that the client sent.
    fn run(&self, door: &DoorTerms, terms: &Terms, assumed: &Assumed) -> (Run, Vec<Question>) {
        let mut asked = Vec::new();
        let mut messages = 0;
        let mut policy = |one: &Asked| {
            let recipients = recipients(one);
            let about = match one.point {
                Point::Mail | Point::Rcpt => answers::key(&one.about),
                Point::EndOfData => about_end(first_number(&one.about), recipients),
                Point::Connect | Point::Data | Point::Xclient | Point::Auth => String::new(),
                Point::Hello => one.about.clone(),
            };
            let answer = match one.point {
                Point::Xclient => xclient(one),
                Point::EndOfData if door.hands_off() => {
                    messages += 1;
                    self.handed_off(messages - 1)
                }
                point => self.scenario.answers.answer(point, &about, recipients),
            };
            let outcome = match assumed.replies.get(&asked.len()) {
                Some(reply) => Outcome::Refuse(*reply),
                None => answer.outcome.clone(),
            };
            asked.push(Question { point: one.point, about, answer });
            outcome
        };
        // A client that keeps to the rules never has more behind what it must await.
        let is_strict = terms.synchronization == Synchronization::Strict;
        let behind = |at: usize| !is_strict && assumed.behind.contains(&at);
        let run = naive::run_on(terms, false, self.record().sent.clone(), &behind, &mut policy);
        (run, asked)
    }

    fn fits(
        &self,
        door: &DoorTerms,
        settings: &Settings,
        run: &Run,
        asked: &[Question],
        assumed: &Assumed,
    ) -> Result<Account, Misfit> {
        let received = &self.record().received[..];
        let mut rest = received;
        let mut account = Account::default();
        let mut is_late_mail = false;
        let mut ends = Vec::new();
        for (index, said) in run.said.iter().enumerate() {
            let question = run
                .asked_behind
                .partition_point(|behind| *behind <= index)
                .checked_sub(1)
                .filter(|at| run.asked_behind[*at] == index);
            let of = questions_of(run, index);
            if let Some(at) = question {
                let Question { point, answer, .. } = &asked[at];
                if *point == Point::Mail {
                    is_late_mail = answer.when != When::Now && said.reply.code() >= 400;
                }
            }
            let line = said.id.map_or_else(
                || said.reply.line(settings).to_vec(),
                |id| format!("250 2.0.0 Ok: queued as {id}\r\n").into_bytes(),
            );
            let or = said.or.iter().map(|reply| reply.line(settings).to_vec());
            let fitting = std::iter::once(line.clone()).chain(or).find(|line| rest.starts_with(line));
            // What stood behind a MAIL that was refused later was looked at before that.
            let wild = (said.reply == Reply::MailFirst && is_late_mail).then(|| line_of(rest)).flatten();
            let wild = wild.filter(|line| line.starts_with(b"50") || line.starts_with(b"55")).map(<[u8]>::to_vec);
            // Of those, one that closes stands.
            if said.reply == Reply::MailFirst && is_late_mail && rest == Reply::Scripted421.line(settings) {
                account.replies += 1;
                self.messages(door, run, asked, &ends)?;
                return Ok(account);
            }
            let Some(fitting) = fitting.or(wild) else {
                let wanted = String::from_utf8_lossy(&line).trim_end().to_owned();
                let misfit =
                    self.misfit(door, settings, run, index, &asked[..of.end], of.start, rest, &wanted, assumed);
                return match misfit {
                    Some(misfit) => Err(misfit),
                    None => {
                        account.replies += u64::from(!rest.is_empty() && rest.ends_with(b"\n"));
                        account.is_cut = !self.is_excused_end(door, settings, rest, index) || !rest.ends_with(b"\n");
                        self.messages(door, run, asked, &ends)?;
                        Ok(account)
                    }
                };
            };
            rest = &rest[fitting.len()..];
            ends.push(received.len() - rest.len());
            account.replies += 1;
            account.acknowledged += u64::from(is_first_taken(run, asked, index, said.reply));
        }
        if !rest.is_empty() && !self.is_excused_end(door, settings, rest, ends.len()) {
            return Err(Misfit::Wrong(format!("a reply too many: {}", rest.escape_ascii())));
        }
        account.replies += u64::from(rest.ends_with(b"\n"));
        let may_go_on = run.closed_at.is_none() && !self.may_end_silently(door);
        if may_go_on && let Some(assume) = self.behind_data(run, run.said.len(), rest, assumed) {
            return Err(assume);
        }
        if rest.is_empty() && may_go_on {
            return Err(Misfit::Wrong("the server has ended without a word".to_owned()));
        }
        account.is_cut = match rest.is_empty() {
            true => run.closed_at.is_none() && !self.record().has_half_closed,
            false => !rest.ends_with(b"\n"),
        };
        self.messages(door, run, asked, &ends)?;
        Ok(account)
    }

    /// A reply is missing, or another: what that shows. `None`: it is as it may be.
    #[allow(clippy::too_many_arguments, reason = "all that is known about one reply")]
    fn misfit(
        &self,
        door: &DoorTerms,
        settings: &Settings,
        run: &Run,
        index: usize,
        asked: &[Question],
        first: usize,
        rest: &[u8],
        wanted: &str,
        assumed: &Assumed,
    ) -> Option<Misfit> {
        let starts = |reply: Reply| rest.starts_with(reply.line(settings));
        let mut changes = Vec::new();
        for (at, question) in asked.iter().enumerate().skip(first).filter(|(at, _)| !assumed.replies.contains_key(at)) {
            if starts(Reply::AnswerTimeout) && self.may_be_late(door, question) {
                if question.point == Point::Connect && rest.len() == Reply::AnswerTimeout.line(settings).len() {
                    return None;
                }
                changes.push(Change::Reply(at, Reply::AnswerTimeout));
            }
            let is_tight = self.scenario.session_octets < 1 << 20;
            let is_full = door.hands_off() && self.outcomes.content_most >= 80;
            if question.point == Point::Mail && starts(Reply::NoMemory) && (is_tight || is_full) {
                changes.push(Change::Reply(at, Reply::NoMemory));
            }
            let has_no_room = || {
                let refused = &self.outcomes.book.refused_routes;
                let route = answers::route(&question.about, refused.len());
                door.hands_off() && refused.get(usize::from(route.0)) == Some(&true)
            };
            let takes_nothing = |reply: Reply| {
                let log = log_of(door.taking);
                starts(reply) && log.is_some_and(|log| self.outcomes.book.has_turned_away(log, reply))
            };
            for reply in [Reply::SpoolFailed, Reply::InsufficientStorage] {
                if question.point == Point::Mail && takes_nothing(reply) {
                    changes.push(Change::Reply(at, reply));
                }
            }
            if question.point == Point::Rcpt && starts(Reply::InsufficientStorage) && has_no_room() {
                changes.push(Change::Reply(at, Reply::InsufficientStorage));
            }
        }
        if !changes.is_empty() {
            return Some(Misfit::Assume(changes));
        }
        if !self.may_be_cut(door)
            && let Some(assume) = self.behind_data(run, index, rest, assumed)
        {
            return Some(assume);
        }
        if rest.is_empty() || !rest.contains(&b'\n') {
            return match self.may_be_cut(door) {
                true => None,
                false => Some(Misfit::Wrong(format!("reply {index} is missing: {wanted}"))),
            };
        }
        if self.is_excused_end(door, settings, rest, index) {
            // The time of a transaction runs also while its octets are held back for want of memory.
            let is_tight = self.scenario.session_octets < 1 << 20;
            let is_full = door.hands_off() && self.outcomes.content_most >= 65;
            let is_held_back = (is_tight || is_full) && Reply::TransactionTimeout.line(settings).starts_with(rest);
            let is_timeout = rest.starts_with(b"421 4.4.2") && !is_held_back;
            return match is_timeout && self.is_owed(run.said[index].at) {
                true => Some(Misfit::Wrong(format!("a timeout in place of reply {index}, which was owed: {wanted}"))),
                false => None,
            };
        }
        // A multi-line reply of which a part came.
        if wanted.as_bytes().starts_with(rest.trim_ascii_end()) && self.may_be_cut(door) {
            return None;
        }
        Some(Misfit::Wrong(format!("reply {index} is not {wanted}, but {}", rest.escape_ascii())))
    }

    /// The session may have ended at a DATA that was refused with something behind it, in place of going on.
    fn behind_data(&self, run: &Run, index: usize, rest: &[u8], assumed: &Assumed) -> Option<Misfit> {
        let said = &run.said[index.checked_sub(1)?];
        let sent = &self.record().sent;
        let may_be = rest.is_empty()
            && said.at < sent.len()
            && said.reply.code() >= 400
            && !assumed.behind.contains(&said.at)
            && is_data_line(sent, said.at);
        let at = said.at;
        may_be.then(|| Misfit::Assume(vec![Change::Behind(at)]))
    }

    /// Whether a session may have waited in vain for this answer.
    fn may_be_late(&self, door: &DoorTerms, question: &Question) -> bool {
        match question.answer.when {
            When::Now => false,
            When::Never => true,
            When::After { delay_ms } | When::Elsewhere { delay_ms, .. } => {
                delay_ms + self.scenario.slack_ms() >= door.timeouts.answer_ms
            }
        }
    }

    /// Whether the server had all that it needed to answer what ends there, long before the client heard from it last.
    fn is_owed(&self, at: usize) -> bool {
        let record = self.record();
        let sent_at = record.sends.iter().find(|(end, _)| *end >= at).map(|(_, time)| *time);
        let (Some(sent_at), Some((.., heard_at))) = (sent_at, record.arrivals.last()) else { return false };
        let waited_ms = heard_at.since_ns(sent_at) / 1_000_000;
        let may_wait_ms = match self.scenario.defers() {
            _ if self.scenario.has_spool() => limits::ANSWER_MS + 10_000,
            true => 10_000,
            false => 0,
        };
        // Whoever finds no buffer asks again, and that takes as long as a completion may be late; while those on their way have
        // all that there are, chance may keep one client from them again and again.
        let misses = self.outcomes.counters.buffers_exhausted.get();
        let may_wait_ms = may_wait_ms + misses * self.scenario.late_ms();
        self.client.plan.reading == Reading::All
            && !self.scenario.has_odd_time()
            && waited_ms > self.scenario.delay_ms(record.sent.len() + self.client.plan.header.len()) + may_wait_ms
    }

    /// Whether this is one last reply that has a reason outside of what the client sent.
    fn is_excused_end(&self, door: &DoorTerms, settings: &Settings, rest: &[u8], index: usize) -> bool {
        // Of a last reply, too, a part may be all that comes.
        let is_cut = self.may_be_cut(door);
        let is = |reply: Reply| match reply.line(settings) {
            line if is_cut => !rest.is_empty() && line.starts_with(rest),
            line => rest == line,
        };
        let record = self.record();
        let at = record.arrivals.last().map_or(self.outcomes.ended_at, |(.., at)| *at);
        let lasted_ms = at.since_ns(record.connected_at) / 1_000_000;
        let is_closed_door = self.outcomes.drained_at.is_some() || self.outcomes.closed_doors[self.client.plan.door];
        let is_drained = self.outcomes.drained_at.is_some_and(|drained| at >= drained);
        let is_tight = self.scenario.session_octets < 1 << 20;
        (is(Reply::IdleTimeout) && lasted_ms >= door.timeouts.idle_ms)
            || (is(Reply::TransactionTimeout) && door.timeouts.transaction_ms.is_some_and(|most| lasted_ms >= most))
            || (is(Reply::ShuttingDown) && (is_drained || (index == 0 && is_closed_door)))
            || (is(Reply::TooManyConnections) && index == 0 && self.scenario.connections < 100)
            || (is(Reply::Overloaded) && is_tight)
            || (is(Reply::EarlyTalker) && index == 0 && door.timeouts.greet_pause_ms > 0 && record.spoke_first)
    }

    /// Whether the server may have ended behind its last reply though it was the client's turn.
    fn may_end_silently(&self, door: &DoorTerms) -> bool {
        self.record().has_half_closed || self.may_be_cut(door)
    }

    /// Whether replies may have been lost for a reason that the scenario gives.
    fn may_be_cut(&self, door: &DoorTerms) -> bool {
        let record = self.record();
        let reads_all = self.client.plan.reading == Reading::All;
        let lasted_ms = self.outcomes.ended_at.since_ns(record.connected_at) / 1_000_000;
        let shortest = door.timeouts.transaction_ms.unwrap_or(u64::MAX).min(door.timeouts.idle_ms);
        // Behind replies that wait for an answer, or for a client to read, a time limit ends a session without a word.
        let Faults { late, short_send, send_fails, .. } = self.scenario.faults;
        let may_wait = self.scenario.defers() || !reads_all || late > 0 || short_send > 0 || send_fails > 0;
        let may_time_out = lasted_ms >= shortest && may_wait;
        let header_may_time_out =
            door.proxy_timeout_ms.is_some_and(|most| lasted_ms >= most) && record.received.is_empty();
        record.has_reset
            || !reads_all
            || self.outcomes.was_forced
            || may_time_out
            || header_may_time_out
            || self.outcomes.closed_doors[self.client.plan.door] && record.received.is_empty()
            || self.scenario.session_octets < 1 << 20
    }

    /// What the sink was handed is what the client sent, in its order, and there is no positive reply without it; and no reply
    /// came before the answer that it tells.
    fn messages(&self, door: &DoorTerms, run: &Run, asked: &[Question], ends: &[usize]) -> Result<(), Misfit> {
        let handed = self.handed();
        // Behind a refusal that came late and closed, more was read and handed over: it is not acknowledged.
        let is_cut_short = run.said.last().is_some_and(|said| said.reply == Reply::Scripted421);
        let most = if is_cut_short { run.contents.len() } else { usize::MAX };
        // Who was refused for want of room, and did not hear it, may have had fewer messages taken than it seems.
        let is_heard = |at: &usize| asked[*at].point == Point::EndOfData && run.asked_behind[*at] < ends.len();
        let heard = (0..asked.len()).filter(is_heard).count();
        let is_known = |index: usize, handed: &Handed| {
            index < heard || handed.message.is_none() || !self.outcomes.was_without_room()
        };
        let certain = handed.iter().enumerate().take(most).filter(|(index, handed)| is_known(*index, handed));
        for (index, handed) in certain {
            if run.contents.get(index) != Some(&handed.content) {
                // A first chunk that nobody decided about in time is answered as an end would be, and is nobody's message.
                let end = asked.iter().enumerate().filter(|(_, one)| one.point == Point::EndOfData).nth(index);
                let chunk = end.and_then(|(at, _)| at.checked_sub(1)).filter(|at| asked[*at].point == Point::Data);
                if let Some(at) = chunk.filter(|at| self.may_be_late(door, &asked[*at])) {
                    return Err(Misfit::Assume(vec![Change::Reply(at, Reply::AnswerTimeout)]));
                }
                let wanted = run.contents.get(index).map(|content| content.escape_ascii().to_string());
                let content = handed.content.escape_ascii();
                return Err(Misfit::Wrong(format!("message {index} of {wanted:?} was handed over as {content}")));
            }
        }
        let mut messages = 0;
        let mut before: BTreeMap<(&'static str, &str), usize> = BTreeMap::new();
        for (at, Question { point, about, answer }) in asked.iter().enumerate() {
            let reply = run.asked_behind[at];
            let is_answered = reply < ends.len();
            if *point == Point::EndOfData {
                messages += 1;
                if let Some(handed) = handed.get(messages - 1)
                    && let Some((message, said)) = self.message(handed)
                {
                    let wanted: Vec<String> =
                        run.recipients[messages - 1].iter().map(|one| answers::key(one)).collect();
                    // Which of them were refused is known where the client heard it.
                    if message.recipients != wanted && is_answered {
                        let text = format!("message {} is handed off to {:?}", messages - 1, message.recipients);
                        return Err(Misfit::Wrong(text + &format!(", and was sent to {wanted:?}")));
                    }
                    let waited_ms = message.said_at.since_ns(message.ended_at) / 1_000_000 + self.scenario.slack_ms();
                    if message.given_up && is_answered && waited_ms < message.answer_ms {
                        return Err(Misfit::Wrong(format!("message {} was given up too soon", messages - 1)));
                    }
                    let heard = is_answered.then(|| self.heard_in(ends[reply])).flatten();
                    if heard.is_some_and(|heard| said.is_none_or(|said| said > heard)) {
                        return Err(Misfit::Wrong(format!("message {} was answered before its sinks", messages - 1)));
                    }
                    continue;
                }
                if is_answered && messages > handed.len() {
                    return Err(Misfit::Wrong(format!("message {} is answered, and nobody has it", messages - 1)));
                }
            }
            if !matches!(answer.when, When::Elsewhere { .. } | When::Never) {
                continue;
            }
            // It was not asked at all.
            let is_unasked = |said: Reply| match said {
                Reply::NoMemory => true,
                Reply::SpoolFailed | Reply::InsufficientStorage => *point == Point::Mail,
                _ => false,
            };
            if is_answered && is_unasked(run.said[reply].reply) {
                continue;
            }
            let nth = before.entry((point.name(), about)).or_default();
            let told = self.told(*point, about, *nth);
            *nth += 1;
            if !is_answered || run.said[reply].reply == Reply::AnswerTimeout {
                continue;
            }
            // The reply to a first chunk follows its octets: it comes later than the answer in any case.
            let Some(heard) = self.heard_in(ends[reply]) else { continue };
            if told.and_then(|told| told.step).is_none_or(|step| step > heard) {
                let text = format!("{} '{about}' was answered before anybody had decided", point.name());
                return Err(Misfit::Wrong(text));
            }
        }
        Ok(())
    }

    /// What a message that was handed off is answered with: the book says whether that is right.
    fn handed_off(&self, number: usize) -> Answer {
        let said = self.handed().get(number).and_then(|handed| self.message(handed)).map(|(message, _)| &message.said);
        let never = || Answer { outcome: Outcome::Accept, when: When::Never };
        said.and_then(Option::as_ref)
            .map_or_else(never, |(outcome, _)| Answer { outcome: outcome.clone(), when: When::Now })
    }

    /// A message that was handed off, and the step in which its session was told what became of it.
    fn message(&self, handed: &Handed) -> Option<(&Message, Option<u64>)> {
        let message = self.outcomes.book.messages.get(handed.message?)?;
        Some((message, message.said.as_ref().map(|(_, step)| *step)))
    }

    /// The step in which the client had so many octets of replies.
    fn heard_in(&self, octets: usize) -> Option<u64> {
        self.record().arrivals.iter().find(|(end, ..)| *end >= octets).map(|(_, step, _)| *step)
    }

    fn handed(&self) -> &[Handed] {
        self.outcomes.handed.get(&self.client.plan.number).map_or(&[], Vec::as_slice)
    }

    fn told(&self, point: Point, about: &str, nth: usize) -> Option<&Told> {
        let told = self.outcomes.told.get(&self.client.plan.number)?;
        told.iter().filter(|told| told.point == point && told.about == about).nth(nth)
    }
}

/// A question as the naive session asked it.
struct Question {
    point: Point,
    about: String,
    answer: Answer,
}

fn xclient(asked: &Asked) -> Answer {
    let outcome = match crate::protocol::xclient::parse(&asked.attributes) {
        Ok(_) => Outcome::Accept,
        Err(_) => Outcome::Refuse(Reply::BadXclient),
    };
    Answer { outcome, when: When::Now }
}

fn first_number(about: &str) -> u64 {
    about.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn recipients(asked: &Asked) -> u32 {
    match asked.point {
        Point::EndOfData => asked.about.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap_or(0),
        _ => 0,
    }
}

/// The questions that a reply comes from: that of the first chunk has none of its own, when it is the last, too.
fn questions_of(run: &Run, index: usize) -> std::ops::Range<usize> {
    let end = run.asked_behind.partition_point(|behind| *behind <= index);
    let Some(last) = run.asked_behind[..end].last() else { return 0..0 };
    let begin = run.asked_behind.partition_point(|behind| behind < last);
    begin..end
}

fn line_of(octets: &[u8]) -> Option<&[u8]> {
    octets.iter().position(|octet| *octet == b'\n').map(|end| &octets[..=end])
}

/// Whether the line that ends there is DATA, or looks like it. A chunk without line ends may stand before it.
fn is_data_line(sent: &[u8], end: usize) -> bool {
    let line = sent[..end].strip_suffix(b"\n").unwrap_or(&sent[..end]);
    let begin = line.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
    line[begin..].to_ascii_uppercase().windows(4).any(|four| four == b"DATA")
}

/// Whether this reply is the first that says of its message that it is taken.
fn is_first_taken(run: &Run, asked: &[Question], index: usize, reply: Reply) -> bool {
    let is_taken = |reply: Reply| matches!(reply, Reply::Accepted | Reply::Discarded);
    let Some(at) = run.asked_behind.partition_point(|behind| *behind <= index).checked_sub(1) else { return false };
    let begin = run.asked_behind[at];
    asked[at].point == Point::EndOfData
        && is_taken(reply)
        && !run.said[begin..index].iter().any(|said| is_taken(said.reply))
}
