//! A message as its consumer has it.
//!
//! *Invariant*: a delivery is acknowledged once, or comes again. *Does not* know how the message came.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::handoff::letter::Letter;
use crate::handoff::link::{Link, Returned};
use crate::handoff::place::{Place, Spooled};
use crate::limits;
use crate::mail::address::Path;
use crate::mail::envelope::{RcptParameters, Recipient, Route};
use crate::mail::id::MessageId;
use crate::mail::manifest::Manifest;
use crate::mutant::Mutant;
use crate::smtp::reply::Reply;

/// What became of a message for one recipient.
pub type Verdict = Result<(), Refusal>;

/// Why a message was not taken for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client hears who waits for it. One of 4xx says that it may be taken later, one of 5xx that it never will.
    pub reply: Reply,
    /// In words, for the operator.
    pub why: Arc<str>,
}

impl Refusal {
    /// With this reply, for this reason.
    pub fn new(reply: Reply, why: impl Into<Arc<str>>) -> Self {
        debug_assert!(reply.is_refusal(), "{reply:?}");
        Self { reply, why: why.into() }
    }

    /// Whether it may be taken later.
    pub fn is_temporary(&self) -> bool {
        self.reply.code() < 500
    }
}

/// A recipient of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressee<'a> {
    /// Its number among those of the delivery, from 0, the same whenever the delivery comes.
    pub index: u32,
    /// Who it is.
    pub path: Path<'a>,
    /// What its RCPT asked for.
    pub parameters: RcptParameters<'a>,
}

/// A message, for those of its recipients whose mail goes to this consumer. Can be sent to other threads.
///
/// It is acknowledged by [`Delivery::accept`], or when it is dropped and each of its recipients has a verdict that is final. A
/// delivery that is dropped otherwise comes to its consumer again: at once when nothing was said of it, and after a time for
/// those who refused it for now. Where the client waits for the verdict itself ([`Promise::Delivered`]) each verdict is final.
///
/// A delivery of spooled mail that is acknowledged, or [settled](Self::settle), is noted: what its log has of it may go. What is
/// not comes again, after a restart too. Where what was refused is kept
/// ([`Deliveries::keep_refused`](crate::handoff::consumer::Deliveries::keep_refused)), as an engine does for mail of which nobody sees to
/// that, it comes again by the rules of deferred mail, from there: for now refused after each delay, and in the end, or refused for good, when
/// the operator says so. Where others see to what a sink refused
/// ([`Deliveries::settle_apart`](crate::handoff::consumer::Deliveries::settle_apart)) it comes again after a restart alone.
///
/// [`Promise::Delivered`]: crate::policy::scope::Promise::Delivered
pub struct Delivery {
    /// `None` when it is acknowledged.
    letter: Option<Letter>,
    /// `None` if nobody hears of its end.
    link: Option<Arc<Link>>,
    /// Of which recipients something final was said before; empty if of none.
    known: Vec<bool>,
}

impl Delivery {
    pub(super) fn new(letter: Letter, link: Arc<Link>) -> Self {
        let known = letter.verdicts.iter().map(Option::is_some).collect();
        Self { letter: Some(letter), link: Some(link), known }
    }

    /// A message that a log keeps, which its reader sees to: nobody hears what becomes of this, and it does not come again.
    pub fn of_log(spooled: Spooled) -> Self {
        Self { letter: Some(Letter::of_log(spooled)), link: None, known: Vec::new() }
    }

    fn letter(&self) -> &Letter {
        self.letter.as_ref().expect("it is acknowledged by value only")
    }

    /// The message's name.
    pub fn id(&self) -> MessageId {
        self.letter().id
    }

    /// What is known of the message beside its content: all of its envelope, too.
    pub fn manifest(&self) -> Manifest<'_> {
        self.letter().manifest()
    }

    /// The content, in pieces of which none is empty: octet for octet what the client sent, without transparency, and with
    /// line ends as the listener was told to treat them. No trace field is in it.
    pub fn content(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.letter().content.pieces()
    }

    /// Octets of content.
    pub fn content_octets(&self) -> u64 {
        self.letter().content.len()
    }

    /// How often it was handed out before.
    pub fn attempts(&self) -> u32 {
        self.letter().attempts
    }

    /// Whether it may have been delivered before: it was handed out then, or was kept in a run before this one, whose last words may be
    /// lost.
    pub fn may_be_repeat(&self) -> bool {
        let letter = self.letter();
        letter.attempts > 0 || letter.is_of_before || letter.came_from_deferral()
    }

    /// Whether a client waits for what becomes of it.
    pub fn is_awaited(&self) -> bool {
        self.letter().awaited.is_some()
    }

    /// Whether a log has it.
    pub fn is_spooled(&self) -> bool {
        self.place().is_some()
    }

    /// Where it stands in the log that has it.
    pub fn place(&self) -> Option<Place> {
        self.letter().place
    }

    /// The route whose recipients these are, as the manifest numbers routes.
    pub fn route(&self) -> Route {
        self.letter().route
    }

    /// All recipients, in the order of their RCPT commands, with what was said of each.
    pub fn outcomes(&self) -> impl Iterator<Item = (Recipient<'_>, Option<&Verdict>)> {
        let letter = self.letter();
        let of_route = letter.manifest().envelope.recipients().filter(|recipient| recipient.route == letter.route);
        of_route.zip(0..).map(|(recipient, index)| (recipient, letter.verdict(index)))
    }

    /// What is left of it is safe elsewhere: its log need not keep it, whatever was said of it.
    pub fn settle(mut self) {
        if let (Some(letter), Some(link)) = (self.letter.take(), &self.link) {
            link.acknowledge(letter);
        }
    }

    /// It is let go of as if nothing had been said of it, and comes again after a restart.
    pub(super) fn release(mut self) {
        if let (Some(letter), Some(link)) = (self.letter.take(), &self.link) {
            link.release(letter);
        }
    }

    /// Recipients of which no final word was said, in the order of their RCPT commands.
    pub fn recipients(&self) -> impl Iterator<Item = Addressee<'_>> {
        let letter = self.letter();
        let of_route = letter.manifest().envelope.recipients().filter(|recipient| recipient.route == letter.route);
        of_route.zip(0..).filter_map(|(recipient, index)| {
            let is_open = letter.verdict(index).is_none();
            is_open.then_some(Addressee { index, path: recipient.path, parameters: recipient.parameters })
        })
    }

    /// How many recipients it has, with those of which a word was said.
    pub fn recipients_in_all(&self) -> u32 {
        self.letter().recipients
    }

    /// Says what became of it for one recipient, by its index.
    ///
    /// # Panics
    /// When there is no recipient of this index.
    pub fn conclude(&mut self, index: u32, verdict: Verdict) {
        let letter = self.letter.as_mut().expect("it is acknowledged by value only");
        assert!(index < letter.recipients, "recipient {index} of {}", letter.recipients);
        *letter.verdict_mut(index) = Some(verdict);
    }

    /// What was said of a recipient since this delivery was handed out.
    pub fn verdict(&self, index: u32) -> Option<&Verdict> {
        self.letter().verdict(index)
    }

    /// What was said since this delivery was handed out, with the recipients of whom it was.
    pub fn said(&self) -> impl Iterator<Item = (Path<'_>, Result<(), &Refusal>)> {
        let letter = self.letter();
        let of_route = letter.manifest().envelope.recipients().filter(|recipient| recipient.route == letter.route);
        of_route.zip(0..).filter_map(|(recipient, index)| {
            let said = match letter.verdict(index) {
                Some(verdict) => verdict.as_ref().map(|&()| ()),
                None if letter.is_taken => Ok(()),
                None => return None,
            };
            let is_news = index as usize >= self.known.len() || !self.known[index as usize];
            is_news.then_some((recipient.path, said))
        })
    }

    /// All recipients of whom nothing was said have it.
    pub fn accept(mut self) {
        self.take_for_the_rest();
    }

    /// The same, without letting go of it.
    pub fn take_for_the_rest(&mut self) {
        let Some(letter) = &mut self.letter else { return };
        if letter.verdicts.is_empty() {
            letter.is_taken = true;
        } else {
            letter.verdicts.iter_mut().for_each(|verdict| _ = verdict.get_or_insert(Ok(())));
        }
    }

    /// All recipients of whom nothing was said are refused.
    pub fn refuse_the_rest(&mut self, refusal: &Refusal) {
        if let Some(letter) = &mut self.letter {
            letter.refuse_the_rest(refusal);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let (Some(mut letter), Some(link)) = (self.letter.take(), &self.link) else { return };
        if letter.place.is_some() && link.is_settled_apart() {
            return link.release(letter);
        }
        if letter.is_taken {
            return link.acknowledge(letter);
        }
        let is_open = |verdict: &Option<Verdict>| match verdict {
            None => true,
            Some(Ok(())) => false,
            Some(Err(refusal)) => letter.awaited.is_none() && refusal.is_temporary(),
        };
        let was_refused = letter.verdicts.iter().flatten().any(Result::is_err);
        let is_kept = letter.place.is_some() && link.keeps_refused();
        let is_concluded = !letter.verdicts.is_empty() && !letter.verdicts.iter().any(is_open);
        if is_concluded && !(is_kept && was_refused) {
            return link.acknowledge(letter);
        }
        let is_hopeless = letter.attempts + 1 >= u32::from(limits::DEFERRED_MISHAPS);
        if is_kept && (was_refused || is_hopeless) {
            return link.give_back(Returned { at: link.clock.now(), letter, is_refused: true });
        }
        let is_awaited = letter.awaited.is_some();
        for verdict in &mut letter.verdicts {
            // A word that is not final is not kept.
            let is_final = is_awaited || Mutant::KeepsRefusalForNow.is_on();
            verdict.take_if(|verdict| !is_final && verdict.as_ref().is_err_and(Refusal::is_temporary));
        }
        let delay = match (was_refused, letter.attempts) {
            (false, 0) => Duration::ZERO,
            (_, attempts) => redelivery_delay(attempts),
        };
        letter.attempts = letter.attempts.saturating_add(1);
        if !delay.is_zero() && letter.move_apart() {
            link.tell_of_room();
        }
        link.give_back(Returned { at: link.clock.now() + delay, letter, is_refused: false });
    }
}

/// Before a delivery comes again that came so often before.
fn redelivery_delay(attempts: u32) -> Duration {
    let delay_ms = limits::REDELIVERY_FIRST_MS.saturating_mul(1 << attempts.min(16));
    Duration::from_millis(delay_ms.min(limits::REDELIVERY_MOST_MS))
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("letter", &self.letter).finish_non_exhaustive()
    }
}
