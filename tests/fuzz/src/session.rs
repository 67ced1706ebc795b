//! A whole session of the server over any octets, and what holds for each.
//!
//! *Input*: a header of [`Conditions::OCTETS`], then what the client sends. [`AWAITS`] stands where the client awaits the
//! replies: a part ends there, and so does a wait for late answers, or for the quiet behind STARTTLS.
//!
//! *Checked*: no panic; replies are well-formed (`host::ReplyReader`), no more than the commands, and bounded; content, envelope
//! and marks of a message are what the questions said (`host::Host`); under tolerant synchronisation replies and messages
//! are the same for every split; nothing waits when every answer has come.

use std::cell::RefCell;
use std::rc::Rc;

use ringmx::mail::id::MessageId;
use ringmx::smtp::data::BareNewline;
use ringmx::smtp::extension::{Extension, Extensions};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Question};
use ringmx::smtp::settings::{AddressSyntax, Dialect, Nul, Settings, Synchronization, Terms};

use crate::host::{Decision, Host, Message, Policy, ReplyReader};
use crate::{header, pieces};

/// Between two parts of what the client sends.
pub const AWAITS: &[u8] = b"\xFF\xFF\xFF\xFF";

/// Under what conditions a session runs. Zeros are those of most clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// See [`Self::terms`].
    pub modes: u8,
    /// See [`Self::terms`].
    pub limits: u8,
    /// See [`Self::terms`]; also `TLS_IS_ABSENT` and `ENDS_BY_REFUSAL`.
    pub needs: u8,
    /// Decides what is refused and what is answered late; 0 is nothing.
    pub policy: u8,
    /// See [`pieces`].
    pub cuts: u8,
}

/// Of `needs`: STARTTLS is offered in vain.
const TLS_IS_ABSENT: u8 = 1 << 6;
/// Of `needs`: the host ends the session with 421 at once, rather than when it is idle.
const ENDS_BY_REFUSAL: u8 = 1 << 7;

impl Conditions {
    /// Octets of [`Self::to_octets`].
    pub const OCTETS: usize = 5;

    /// From the header of an input.
    pub fn from_octets([modes, limits, needs, policy, cuts]: [u8; Self::OCTETS]) -> Self {
        Self { modes, limits, needs, policy, cuts }
    }

    /// As the header of an input.
    pub fn to_octets(self) -> [u8; Self::OCTETS] {
        [self.modes, self.limits, self.needs, self.policy, self.cuts]
    }

    /// What the session holds itself to.
    pub fn terms(self) -> Terms {
        let Self { modes, limits, needs, .. } = self;
        let has = |octet: u8, bit: u8| octet >> bit & 1 == 1;
        let limit = |bit: u8, limit: u32| has(limits, bit).then_some(limit);
        let mut extensions = if has(needs, 0) { Extensions::NONE } else { Extensions::all() };
        if has(needs, 1) {
            extensions = extensions.without(Extension::Xclient).without(Extension::StartTls);
        }
        Terms {
            dialect: if has(modes, 0) { Dialect::Lmtp } else { Dialect::Smtp },
            synchronization: if has(modes, 1) { Synchronization::Strict } else { Synchronization::Tolerant },
            bare_newline: match modes >> 2 & 3 {
                1 => BareNewline::Preserve,
                2 => BareNewline::Reject,
                _ => BareNewline::Normalize,
            },
            nul: if has(modes, 4) { Nul::Reject } else { Nul::Accept },
            address_syntax: if has(modes, 5) { AddressSyntax::Strict } else { AddressSyntax::Loose },
            discards: has(modes, 6),
            default_domain: has(modes, 7).then(|| "x.test".to_owned()),
            message_size_bytes: if has(limits, 0) { 100 } else { 1_000_000 },
            recipients_per_message: if has(limits, 1) { 2 } else { 100 },
            messages_per_connection: limit(2, 2),
            errors: limit(3, 3),
            junk_commands: limit(4, 4),
            received_fields: limit(5, 2),
            line_octets: limit(6, 20),
            recipient_domains_per_message: limit(7, 1),
            extensions,
            requires_tls: has(needs, 2),
            requires_auth: has(needs, 3),
            ..Terms::public("mx.test")
        }
    }

    /// Whether nothing depends on when answers come: no count ends the session, and neither does an answer.
    fn is_timeless(self) -> bool {
        const COUNTS: u8 = 1 << 2 | 1 << 3 | 1 << 4;
        self.limits & COUNTS == 0
    }
}

/// What is decided. It goes by what is asked, for the greeting and the end of data by how often: so it is the same whether
/// earlier answers are out or not.
struct Judge {
    conditions: Conditions,
    ends: u64,
}

impl Judge {
    fn outcome(&mut self, question: &Question<'_>) -> Outcome {
        let Question::EndOfData(ended) = question else {
            return match self.chance(question) {
                chance if self.conditions.policy != 0 && chance % 4 == 0 => Outcome::Refuse(self.refusal(chance / 4)),
                _ => Outcome::Accept,
            };
        };
        self.ends += 1;
        let chance = mix(u64::from(self.conditions.policy) << 32 | self.ends);
        match chance % 4 {
            _ if self.conditions.policy == 0 => Outcome::Accept,
            0 => Outcome::Refuse(self.refusal(chance / 4)),
            1 => {
                let one = |recipient| match mix(chance + u64::from(recipient)) {
                    chance if chance % 3 == 0 => Err(self.refusal(chance / 3)),
                    _ => Ok(()),
                };
                Outcome::each(None, (0..ended.recipients).map(one))
            }
            2 => Outcome::AcceptAs(MessageId::new(1, 2, 3, self.ends)),
            _ => Outcome::Accept,
        }
    }

    /// A number that follows from what is asked.
    fn chance(&self, question: &Question<'_>) -> u64 {
        let text = match question {
            Question::Hello { name } => name,
            Question::Xclient { attributes } => attributes,
            Question::Mail(mail) => return self.chance_of(format!("{:?}", mail.reverse_path).as_bytes()),
            Question::Rcpt(rcpt) => return self.chance_of(format!("{:?}", rcpt.forward_path).as_bytes()),
            Question::Auth(credentials) => &credentials.password[..],
            Question::Connect | Question::Data | Question::EndOfData(_) => question.point().name().as_bytes(),
        };
        self.chance_of(text)
    }

    fn chance_of(&self, text: &[u8]) -> u64 {
        text.iter().fold(u64::from(self.conditions.policy), |sum, octet| mix(sum ^ u64::from(*octet)))
    }

    /// One that closes the session only where the time of answers does not matter.
    fn refusal(&self, chance: u64) -> Reply {
        const CODES: [u16; 5] = [450, 451, 550, 552, 554];
        match chance % 6 {
            5 if !self.conditions.is_timeless() => Reply::Scripted421,
            index => Reply::scripted(CODES[index as usize % CODES.len()]).expect("a script has this code"),
        }
    }
}

/// SplitMix64's finalizer: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// When questions are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    AtOnce,
    /// Some of them later, in any order, or never.
    Late,
}

/// One session under way.
struct Run {
    host: Host,
    conditions: Conditions,
    /// What will be answered, in the order of [`Host::deferred`], until it was.
    late: Rc<RefCell<Vec<Option<Outcome>>>>,
    chance: u64,
}

/// What came of a session.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    sent: String,
    messages: Vec<Message>,
    is_closed: bool,
}

impl Run {
    fn begin(conditions: Conditions, answers: Answers) -> Self {
        let late = Rc::new(RefCell::new(Vec::new()));
        let (mut judge, later) = (Judge { conditions, ends: 0 }, Rc::clone(&late));
        let policy: Policy = Box::new(move |question| {
            let outcome = judge.outcome(question);
            if answers == Answers::AtOnce || judge.chance(question) % 3 == 0 {
                return Decision::Now(outcome);
            }
            later.borrow_mut().push(Some(outcome));
            Decision::Later
        });
        let host = Host::connect(Settings::new(conditions.terms()), policy);
        Self { host, conditions, late, chance: u64::from(conditions.policy) }
    }

    /// Answers one question that is out. False when there is none.
    fn answer_one(&mut self) -> bool {
        self.chance = mix(self.chance);
        let out: Vec<usize> =
            (0..).zip(self.late.borrow().iter()).filter(|(_, one)| one.is_some()).map(|(at, _)| at).collect();
        if out.is_empty() {
            return false;
        }
        let at = out[self.chance as usize % out.len()];
        let outcome = self.late.borrow_mut()[at].take().expect("it is out");
        // Nobody may wait for it any more, as for that of a RCPT behind a MAIL that was refused.
        self.host.outcome(self.host.deferred[at], outcome);
        true
    }

    /// The client sends a part and awaits the replies.
    fn exchange(&mut self, segments: &[Vec<u8>]) {
        for segment in segments {
            self.host.receive(segment);
            self.chance = mix(self.chance);
            (0..self.chance % 3).for_each(|_| _ = self.answer_one());
        }
        while self.answer_one() {}
        assert!(!self.host.session.is_waiting(), "every answer has come");
        if self.host.awaits_quiet() {
            let is_available = self.conditions.needs & TLS_IS_ABSENT == 0;
            self.host.begin_tls(is_available);
            if is_available {
                self.host.secure();
            }
        }
    }

    fn end(mut self) -> Course {
        match self.conditions.needs & ENDS_BY_REFUSAL {
            0 => self.host.drain(),
            _ => self.host.refuse(Reply::ClosedByOperator),
        }
        self.host.half_close();
        assert!(self.host.is_closed());
        let sent = String::from_utf8(self.host.sent.clone()).expect("replies are ASCII");
        Course {
            sent,
            messages: self.host.messages().into_iter().cloned().collect(),
            is_closed: self.host.session.is_closed(),
        }
    }
}

/// Cuts a part into segments. What stands behind DATA or STARTTLS comes together with it: a client that sends more without
/// having read the reply is known by that (CONFORMANCE T128, CVE-2011-0411), so that a cut just there makes a difference.
///
/// `sent` is what the client sent before; a line may go on over a part's end.
fn segments(part: &[u8], how: u8, sent: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for piece in pieces(part, how) {
        match segments.last_mut().filter(|_| ends_with_a_point(sent)) {
            Some(last) => last.extend_from_slice(piece),
            None => segments.push(piece.to_vec()),
        }
        sent.extend_from_slice(piece);
    }
    segments
}

/// Whether the octets may end with a line of DATA or STARTTLS. Within content that means nothing.
fn ends_with_a_point(octets: &[u8]) -> bool {
    let Some((b'\n', before)) = octets.split_last() else { return false };
    let line = before.rsplit(|octet| *octet == b'\n').next().unwrap_or_default();
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b"DATA") || word.eq_ignore_ascii_case(b"TTLS"))
}

fn parts(mut octets: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = octets.windows(AWAITS.len()).position(|window| window == AWAITS) {
        parts.push(&octets[..at]);
        octets = &octets[at + AWAITS.len()..];
    }
    parts.push(octets);
    parts
}

/// One greeting, one reply for each line that is a command, and at most one more for each recipient; and the last word.
fn check_replies(sent: &str, input: &[u8]) {
    let mut reader = ReplyReader::default();
    reader.push(sent.as_bytes());
    let replies = std::iter::from_fn(|| reader.next()).count();
    assert!(reader.is_empty(), "a part of a reply was sent");
    let lines = input.iter().filter(|octet| **octet == b'\n').count();
    assert!(replies <= 2 * lines + 3, "{replies} replies to {lines} lines");
}

/// See the module.
pub fn check(input: &[u8]) {
    let (conditions, octets) = header(input);
    let conditions = Conditions::from_octets(conditions);
    let parts = parts(octets);
    let run = |how, answers| {
        let (mut run, mut sent) = (Run::begin(conditions, answers), Vec::new());
        parts.iter().for_each(|part| run.exchange(&segments(part, how, &mut sent)));
        assert!(run.host.session.take_copied_octets() <= octets.len() as u64, "an octet is copied once");
        let course = run.end();
        check_replies(&course.sent, octets);
        course
    };
    let whole = run(0, Answers::AtOnce);
    let cut = run(conditions.cuts, Answers::AtOnce);
    let late = run(conditions.cuts, Answers::Late);
    if conditions.terms().synchronization == Synchronization::Tolerant {
        assert_eq!(cut, whole, "cut as {}", conditions.cuts);
        if conditions.is_timeless() {
            assert_eq!(late, whole, "answered late");
        }
    }
}
