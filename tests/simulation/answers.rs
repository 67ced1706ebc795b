//! What policy and sink answer, and when: it follows from the seed and from what is asked, not from who asks first, so that
//! the naive session hears the same.

use std::sync::{Arc, Mutex};

use crate::mail::address::Path;
use crate::mail::envelope::Route;
use crate::mail::id::MessageId;
use crate::policy::decision::{Asked, Decision, Policy, Ticket};
use crate::simulation::chance::Chance;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Point, Question};

/// Odds in percent, and a seed.
#[derive(Clone, Debug)]
pub struct Answers {
    seed: u64,
    refused: u8,
    /// Of each point but the end of data.
    deferred: u8,
    deferred_ends: u8,
    never: u8,
    delay_most_ms: u64,
}

/// What is answered to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    pub when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// By the shard's own timer.
    After {
        delay_ms: u64,
    },
    /// By somebody else, so many times.
    Elsewhere {
        delay_ms: u64,
        times: u8,
    },
    Never,
}

impl Answers {
    pub fn draw(draw: &mut Chance, is_calm: bool) -> Self {
        let mut odds = |share: u8, most: u64| if draw.percent(share) { draw.between(1, most) as u8 } else { 0 };
        Self {
            refused: odds(60, 30),
            deferred: odds(50, 80),
            deferred_ends: odds(50, 90),
            never: if is_calm { 0 } else { odds(30, 15) },
            seed: draw.draw(),
            delay_most_ms: *draw.pick(&[0, 5, 200, 900]),
        }
    }

    /// The same outcomes, all at once.
    pub fn at_once(other: &Self) -> Self {
        Self { deferred: 0, deferred_ends: 0, never: 0, ..other.clone() }
    }

    /// Whether anything is answered later.
    pub fn defer(&self) -> bool {
        self.deferred > 0 || self.deferred_ends > 0
    }

    /// What is answered. `about` names what is asked about; recipients are those of a message that has ended.
    pub fn answer(&self, point: Point, about: &str, recipients: u32) -> Answer {
        let mut draw = Chance::new(self.seed).of(point.name(), hash(about));
        let is_refused = draw.percent(self.refused);
        let outcome = match point {
            // XCLIENT is not for a policy to answer.
            Point::Xclient | Point::Auth => Outcome::Accept,
            Point::EndOfData => ending(&mut draw, is_refused, recipients),
            Point::Connect if is_refused && draw.percent(20) => refuse(*draw.pick(&[554, 421, 521])),
            Point::Connect => Outcome::Accept,
            Point::Hello | Point::Data if is_refused && draw.percent(40) => refuse(*draw.pick(&[550, 451, 421])),
            Point::Hello | Point::Data => Outcome::Accept,
            Point::Mail | Point::Rcpt if is_refused => refuse(*draw.pick(&[550, 451, 452, 553, 421])),
            Point::Mail | Point::Rcpt => Outcome::Accept,
        };
        let deferred = if point == Point::EndOfData { self.deferred_ends } else { self.deferred };
        let when = match draw.percent(deferred) {
            false => When::Now,
            true if draw.percent(self.never) => When::Never,
            true if draw.percent(30) => When::After { delay_ms: draw.between(0, self.delay_most_ms) },
            true => {
                let times = if draw.percent(20) { 2 } else { 1 };
                // Some come behind their time.
                let late_ms = if self.never > 0 && draw.percent(5) { 20_000 } else { 0 };
                When::Elsewhere { delay_ms: late_ms + draw.between(0, self.delay_most_ms), times }
            }
        };
        Answer { outcome, when }
    }
}

fn refuse(code: u16) -> Outcome {
    Outcome::Refuse(Reply::scripted(code).expect("scripts have these codes"))
}

fn ending(draw: &mut Chance, is_refused: bool, recipients: u32) -> Outcome {
    match draw.below(4) {
        0 => Outcome::AcceptAs(MessageId::from_bits(u128::from(draw.draw()))),
        1 if is_refused => {
            let one = |draw: &mut Chance| match draw.below(3) {
                0 => Ok(()),
                1 => Err(Reply::Scripted550),
                _ => Err(Reply::Scripted451),
            };
            Outcome::each(None, (0..recipients).map(|_| one(draw)))
        }
        _ if is_refused => refuse(*draw.pick(&[550, 451, 452, 554])),
        _ => Outcome::Accept,
    }
}

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// A path up to its first `>`: as much of it as both sides of the comparison write alike.
pub fn key(text: &str) -> String {
    text.split('>').next().unwrap_or_default().to_owned()
}

pub fn path(path: Path<'_>) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    key(&match path {
        Path::Null => "<>".to_owned(),
        Path::Local(local_part) => format!("<{}>", text(local_part)),
        Path::Mailbox(mailbox) => format!("<{}@{}>", text(mailbox.local_part), text(mailbox.domain)),
    })
}

/// What a question is about.
pub fn about(question: &Question<'_>) -> String {
    match question {
        Question::Connect | Question::Data | Question::Xclient { .. } | Question::Auth(_) => String::new(),
        Question::Hello { name } => name.escape_ascii().to_string(),
        Question::Mail(mail) => path(mail.reverse_path),
        Question::Rcpt(rcpt) => path(rcpt.forward_path),
        Question::EndOfData(ended) => about_end(ended.content_octets, ended.recipients),
    }
}

pub fn about_end(octets: u64, recipients: u32) -> String {
    format!("{octets} {recipients}")
}

/// A question that somebody else answers, or nobody.
#[derive(Clone, Debug)]
pub struct Deferred {
    pub ticket: Ticket,
    pub point: Point,
    pub about: String,
    pub answer: Answer,
}

/// Where the mail of a recipient goes, of so many sinks.
pub fn route(about: &str, routes: usize) -> Route {
    Route((hash(about) >> 7) as u16 % routes.max(1) as u16)
}

/// Who answers, whatever the scope.
#[derive(Debug)]
pub struct Clerk {
    pub answers: Answers,
    /// Since the house last looked.
    pub deferred: Mutex<Vec<Deferred>>,
}

impl Clerk {
    /// What the shard is told, of a policy or a sink.
    pub fn decide(&self, ticket: Ticket, point: Point, about: String, recipients: u32) -> Decision {
        let answer = self.answers.answer(point, &about, recipients);
        self.give(ticket, point, about, answer)
    }

    fn give(&self, ticket: Ticket, point: Point, about: String, answer: Answer) -> Decision {
        match answer.when {
            When::Now => return Decision::Now(answer.outcome),
            When::After { delay_ms } => return Decision::After { delay_ms, outcome: answer.outcome },
            When::Elsewhere { .. } | When::Never => {}
        }
        self.deferred.lock().expect("one thread").push(Deferred { ticket, point, about, answer });
        Decision::Elsewhere
    }
}

/// The policy of a scope.
#[derive(Debug)]
pub struct DoorPolicy {
    pub clerk: Arc<Clerk>,
    /// Sinks that mail is handed off to; none where it is not.
    pub routes: Option<usize>,
}

impl Policy for DoorPolicy {
    fn decide(&self, asked: &Asked<'_>) -> Decision {
        let point = asked.question.point();
        if point == Point::EndOfData {
            // The sink's to answer.
            return Decision::Now(Outcome::Accept);
        }
        let about = about(&asked.question);
        let mut answer = self.clerk.answers.answer(point, &about, 0);
        if let Some(routes) = self.routes
            && point == Point::Rcpt
            && answer.outcome == Outcome::Accept
        {
            answer.outcome = Outcome::AcceptFor(route(&about, routes));
        }
        self.clerk.give(asked.ticket, point, about, answer)
    }
}
