//! A host for one session, in memory: it decides, records what is accepted, and checks what every session promises.
//!
//! Stands in for a shard: input that the session cannot take waits, replies are sent whenever it stops.
//! *Does not* know the dialogue format.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::collections::VecDeque;

use ringmx::mail::address::Path;
use ringmx::smtp::data::Marks;
use ringmx::smtp::reply::{Replies, Reply};
use ringmx::smtp::session::{Effect, Ended, Outcome, Question, Session};
use ringmx::smtp::settings::Settings;

/// What the host's policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Answered at once.
    Now(Outcome),
    /// Answered by [`Host::outcome`], or never.
    Later,
}

/// Who decides.
pub type Policy = Box<dyn FnMut(&Question<'_>) -> Decision>;

/// A message, as the session gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// As written, with brackets.
    pub reverse_path: String,
    /// Those that were accepted, as written, with brackets.
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub marks: Marks,
}

/// One recipient of the open transaction.
#[derive(Debug)]
struct Recipient {
    path: String,
    /// The question about it, while its answer is out.
    awaits: Option<u32>,
    is_accepted: bool,
}

#[derive(Debug)]
enum Fate {
    Accepted,
    Refused,
    Awaits(u32),
}

/// See the module.
pub struct Host {
    pub session: Session,
    pub settings: Settings,
    policy: Policy,
    replies: Replies,
    /// Everything that was sent to the client.
    pub sent: Vec<u8>,
    /// Numbers of the questions that were deferred, in their order.
    pub deferred: Vec<u32>,
    /// Input that the session could not take.
    paused: Option<Vec<u8>>,
    /// The client's sending side is shut.
    is_half_closed: bool,
    is_over: bool,
    reverse_path: String,
    recipients: Vec<Recipient>,
    content: Vec<u8>,
    ended: Vec<(Message, Fate)>,
}

impl Host {
    /// A client connects.
    pub fn connect(settings: Settings, policy: Policy) -> Self {
        let mut host = Self {
            session: Session::new(),
            settings,
            policy,
            replies: Replies::new(),
            sent: Vec::new(),
            deferred: Vec::new(),
            paused: None,
            is_half_closed: false,
            is_over: false,
            reverse_path: String::new(),
            recipients: Vec::new(),
            content: Vec::new(),
            ended: Vec::new(),
        };
        let Effect::Ask(question) = host.session.handle_open() else { panic!("the greeting is decided") };
        match (host.policy)(&question) {
            Decision::Now(outcome) => host.session.answer(&host.settings, outcome, &mut host.replies),
            Decision::Later => {
                host.deferred.push(host.session.question_number());
                host.session.defer();
            }
        }
        host.drive(Vec::new());
        host
    }

    /// The accepted messages, in the order of their ends.
    pub fn messages(&self) -> Vec<&Message> {
        self.ended.iter().filter(|(_, fate)| matches!(fate, Fate::Accepted)).map(|(message, _)| message).collect()
    }

    /// Whether the server has ended the connection, with all replies sent.
    pub fn is_closed(&self) -> bool {
        self.is_over
    }

    /// A segment arrives.
    pub fn receive(&mut self, segment: &[u8]) {
        assert!(!self.is_half_closed, "the client has said that it will send no more");
        if self.is_over {
            return;
        }
        let mut input = self.paused.take().unwrap_or_default();
        input.extend_from_slice(segment);
        self.drive(input);
    }

    /// The client shuts its sending side.
    pub fn half_close(&mut self) {
        self.is_half_closed = true;
        self.end_if_half_closed();
    }

    /// An answer arrives. Returns whether it was waited for.
    pub fn outcome(&mut self, number: u32, outcome: Outcome) -> bool {
        let is_awaited = self.session.handle_outcome(&self.settings, number, outcome, &mut self.replies);
        if is_awaited {
            for recipient in self.recipients.iter_mut().filter(|recipient| recipient.awaits == Some(number)) {
                recipient.is_accepted = outcome == Outcome::Accept;
            }
            self.decide_ended(number, outcome);
        }
        self.resume();
        is_awaited
    }

    /// The oldest answer that is out does not come.
    pub fn answer_timeout(&mut self) {
        self.session.handle_answer_timeout(&self.settings, &mut self.replies);
        self.resume();
    }

    /// The host ends the session.
    pub fn refuse(&mut self, reply: Reply) {
        self.session.refuse(&self.settings, reply, &mut self.replies);
        self.resume();
    }

    /// The host stops.
    pub fn drain(&mut self) {
        self.session.drain(&self.settings, &mut self.replies);
        self.resume();
    }

    fn resume(&mut self) {
        let input = self.paused.take().unwrap_or_default();
        self.drive(input);
    }

    fn drive(&mut self, input: Vec<u8>) {
        let mut rest = &input[..];
        loop {
            let number = self.session.question_number();
            match self.session.handle_input(&self.settings, &mut rest, &mut self.replies) {
                Effect::Continue => {}
                Effect::NeedInput => {
                    assert!(rest.is_empty(), "input is used up before more is asked for");
                    send(&mut self.replies, &mut self.sent);
                    break;
                }
                // Once the replies are sent there may be room again.
                Effect::Blocked if send(&mut self.replies, &mut self.sent) => {}
                Effect::Blocked => {
                    self.paused = Some(rest.to_vec());
                    break;
                }
                Effect::Content(piece) => {
                    assert!(!piece.is_empty(), "a piece of content is never empty");
                    self.content.extend_from_slice(piece);
                }
                Effect::Abort => self.content.clear(),
                Effect::Close => {
                    self.content.clear();
                    send(&mut self.replies, &mut self.sent);
                    break;
                }
                Effect::Ask(question) => {
                    let decision = (self.policy)(&question);
                    match question {
                        Question::Mail(mail) => {
                            self.reverse_path = written(mail.reverse_path);
                            self.recipients.clear();
                        }
                        Question::Rcpt(rcpt) => self.recipients.push(Recipient {
                            path: written(rcpt.forward_path),
                            awaits: (decision == Decision::Later).then_some(number),
                            is_accepted: decision == Decision::Now(Outcome::Accept),
                        }),
                        Question::Data => assert!(self.content.is_empty(), "content that is void was called so"),
                        Question::EndOfData(ended) => self.end(ended, number, decision),
                        Question::Connect | Question::Hello { .. } => {}
                    }
                    match decision {
                        Decision::Now(outcome) => {
                            self.session.answer(&self.settings, outcome, &mut self.replies);
                        }
                        Decision::Later => {
                            self.deferred.push(number);
                            self.session.defer();
                        }
                    }
                }
            }
        }
        self.is_over |= self.session.is_closed();
        self.end_if_half_closed();
    }

    fn end(&mut self, ended: Ended, number: u32, decision: Decision) {
        let message = Message {
            reverse_path: std::mem::take(&mut self.reverse_path),
            recipients: self.recipients.drain(..).filter(|one| one.is_accepted).map(|one| one.path).collect(),
            content: std::mem::take(&mut self.content),
            marks: ended.marks,
        };
        assert_eq!(ended.content_octets, message.content.len() as u64);
        assert_eq!(ended.recipients as usize, message.recipients.len());
        assert!(ended.recipients > 0);
        let fate = match decision {
            Decision::Now(Outcome::Accept) => Fate::Accepted,
            Decision::Now(Outcome::Refuse(_)) => Fate::Refused,
            Decision::Later => Fate::Awaits(number),
        };
        self.ended.push((message, fate));
    }

    fn decide_ended(&mut self, number: u32, outcome: Outcome) {
        for (_, fate) in &mut self.ended {
            if matches!(fate, Fate::Awaits(this) if *this == number) {
                *fate = if outcome == Outcome::Accept { Fate::Accepted } else { Fate::Refused };
            }
        }
    }

    /// A client that sends no more still gets the answers that are out.
    fn end_if_half_closed(&mut self) {
        if self.is_half_closed && self.paused.is_none() && !self.session.is_waiting() {
            self.is_over = true;
        }
    }
}

/// Sends what there is; whether there was anything.
fn send(replies: &mut Replies, sent: &mut Vec<u8>) -> bool {
    let size = sent.len();
    sent.append(&mut replies.octets);
    sent.len() > size
}

/// A path as it stood between its brackets.
fn written(path: Path<'_>) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match path {
        Path::Null => "<>".to_owned(),
        Path::Local(local_part) => format!("<{}>", text(local_part)),
        Path::Mailbox(mailbox) => format!("<{}@{}>", text(mailbox.local_part), text(mailbox.domain)),
    }
}

/// Cuts replies off the front of what a server has sent.
#[derive(Debug, Default)]
pub struct ReplyReader {
    lines: VecDeque<String>,
    rest: Vec<u8>,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyText {
    pub code: u16,
    /// Of the last line, as in `2.1.0`; empty where there is none.
    pub enhanced: String,
    /// Of each line, behind its code.
    pub lines: Vec<String>,
}

impl ReplyReader {
    /// More was sent.
    pub fn push(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        while let Some(end) = self.rest.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.lines.push_back(check_line(&line));
        }
    }

    /// The next whole reply, if it has come.
    pub fn next(&mut self) -> Option<ReplyText> {
        let last = self.lines.iter().position(|line| line.as_bytes()[3] == b' ')?;
        let lines: Vec<String> = self.lines.drain(..=last).collect();
        Some(check_reply(lines))
    }

    /// Whether nothing is left, not even a part of a reply.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.rest.is_empty()
    }
}

/// CONFORMANCE T221: at most 512 octets, printable, ended by CRLF.
fn check_line(line: &[u8]) -> String {
    let text = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("a bare LF in {:?}", line.escape_ascii()));
    assert!(line.len() <= 512, "a reply line of {} octets", line.len());
    assert!(text.len() >= 4 && text.iter().all(|octet| (0x20..0x7F).contains(octet)), "{:?}", line.escape_ascii());
    assert!(text[..3].iter().all(u8::is_ascii_digit) && matches!(text[3], b' ' | b'-'), "{:?}", line.escape_ascii());
    String::from_utf8(text.to_vec()).expect("it is ASCII")
}

/// CONFORMANCE T220: one code in all lines; the enhanced code of the same class, on all but the greeting, the replies to
/// EHLO and HELO, and 3xx.
fn check_reply(lines: Vec<String>) -> ReplyText {
    let code: u16 = lines[0][..3].parse().expect("three digits");
    assert!(lines.iter().all(|line| line[..3] == lines[0][..3]), "{lines:?}");
    let lines: Vec<String> = lines.into_iter().map(|line| line[4..].to_owned()).collect();
    let first = lines[lines.len() - 1].split(' ').next().unwrap_or_default();
    let is_enhanced = first.split('.').count() == 3 && first.split('.').all(|part| part.parse::<u16>().is_ok());
    let may_lack = code / 100 == 3 || code == 220 || (code == 250 && lines[0].split(' ').next() == Some("mx.test"));
    assert!(is_enhanced || may_lack, "{code} {lines:?} has no enhanced code");
    if is_enhanced {
        assert_eq!(first[..1], code.to_string()[..1], "{lines:?}");
    }
    ReplyText { code, enhanced: if is_enhanced { first.to_owned() } else { String::new() }, lines }
}
