//! A host for one session, in memory: it decides, records what is accepted, and checks what every session promises.
//!
//! Stands in for a shard: input that the session cannot take waits, replies are sent whenever it stops.
//! *Does not* know the dialogue format.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::collections::VecDeque;

use ringmx::limits;
use ringmx::mail::address::Path;
use ringmx::mail::envelope::{Body, MailParameters, Notify, RcptParameters, Return};
use ringmx::smtp::data::Marks;
use ringmx::smtp::reply::{Replies, Reply};
use ringmx::smtp::session::{Effect, Ended, Outcome, Question, Session};
use ringmx::smtp::settings::Settings;

/// What the host's policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What stood behind it, in one order and spelling; without SIZE, which is not about the message.
    pub mail_parameters: String,
    /// Those that were accepted, as written, with brackets.
    pub recipients: Vec<String>,
    /// What stood behind each of them.
    pub rcpt_parameters: Vec<String>,
    pub content: Vec<u8>,
    pub marks: Marks,
    /// As its Received field says.
    pub with: &'static str,
}

/// One recipient of the open transaction.
#[derive(Debug)]
struct Recipient {
    path: String,
    parameters: String,
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
    /// STARTTLS was read, and nobody has looked yet whether something came behind it.
    awaits_quiet: bool,
    reverse_path: String,
    mail_parameters: String,
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
            awaits_quiet: false,
            reverse_path: String::new(),
            mail_parameters: String::new(),
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
        let before = outcome.clone();
        let is_awaited = self.session.handle_outcome(&self.settings, number, outcome.clone(), &mut self.replies);
        if is_awaited {
            for recipient in self.recipients.iter_mut().filter(|recipient| recipient.awaits == Some(number)) {
                recipient.is_accepted = outcome.refusal().is_none();
            }
            let fate = self.ended.iter_mut().find(|(_, fate)| matches!(fate, Fate::Awaits(this) if *this == number));
            if let Some((message, fate)) = fate {
                *fate = decided(message, &before);
            }
        }
        self.resume();
        is_awaited
    }

    /// Whether STARTTLS was read, and is not answered yet.
    pub fn awaits_quiet(&self) -> bool {
        self.awaits_quiet && !self.is_over
    }

    /// Nothing more came behind STARTTLS: its reply is given.
    pub fn begin_tls(&mut self, is_available: bool) {
        assert!(std::mem::take(&mut self.awaits_quiet), "the session did not ask for TLS");
        self.session.begin_tls(&self.settings, is_available, &mut self.replies);
        send(&mut self.replies, &mut self.sent);
    }

    /// The handshake is done.
    pub fn secure(&mut self) {
        self.session.handle_secured();
        self.reverse_path.clear();
        self.recipients.clear();
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
                    if !self.session.owes_replies() {
                        break;
                    }
                    self.session.poll_replies(&self.settings, &mut self.replies);
                }
                // Once the replies are sent there may be room again.
                Effect::Blocked if send(&mut self.replies, &mut self.sent) => {}
                Effect::StartTls => self.awaits_quiet = true,
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
                    if !self.session.owes_replies() {
                        break;
                    }
                    self.session.poll_replies(&self.settings, &mut self.replies);
                }
                Effect::Ask(question) => {
                    let decision = (self.policy)(&question);
                    match question {
                        Question::Mail(mail) => {
                            self.reverse_path = written(mail.reverse_path);
                            self.mail_parameters = mail_parameters(&mail.parameters);
                            self.recipients.clear();
                        }
                        Question::Rcpt(rcpt) => self.recipients.push(Recipient {
                            path: written(rcpt.forward_path),
                            parameters: rcpt_parameters(&rcpt.parameters),
                            awaits: (decision == Decision::Later).then_some(number),
                            is_accepted: matches!(&decision, Decision::Now(outcome) if outcome.refusal().is_none()),
                        }),
                        Question::Data => assert!(self.content.is_empty(), "content that is void was called so"),
                        Question::EndOfData(ended) => {
                            let message = Message {
                                reverse_path: std::mem::take(&mut self.reverse_path),
                                mail_parameters: std::mem::take(&mut self.mail_parameters),
                                recipients: Vec::new(),
                                rcpt_parameters: Vec::new(),
                                content: std::mem::take(&mut self.content),
                                marks: ended.marks,
                                with: ended.with.keyword(),
                            };
                            let recipients = std::mem::take(&mut self.recipients);
                            self.ended.push(end(message, recipients, &ended, number, &decision));
                        }
                        Question::Connect | Question::Hello { .. } | Question::Auth(_) | Question::Xclient { .. } => {}
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

    /// A client that sends no more still gets the answers that are out.
    fn end_if_half_closed(&mut self) {
        if self.is_half_closed && self.paused.is_none() && !self.session.is_waiting() {
            self.is_over = true;
        }
    }
}

/// What became of a message that has come in full. The session's own envelope must say what the questions did.
fn end(
    mut message: Message,
    recipients: Vec<Recipient>,
    ended: &Ended<'_>,
    number: u32,
    decision: &Decision,
) -> (Message, Fate) {
    for one in recipients.into_iter().filter(|one| one.is_accepted) {
        message.recipients.push(one.path);
        message.rcpt_parameters.push(one.parameters);
    }
    assert_eq!(ended.content_octets, message.content.len() as u64);
    assert_eq!(ended.recipients as usize, message.recipients.len());
    assert!(ended.recipients > 0);
    if let Some(record) = ended.record {
        let (reverse_path, parameters) = record.envelope().sender();
        assert_eq!(written(reverse_path), message.reverse_path);
        assert_eq!(mail_parameters(&parameters), message.mail_parameters);
        let kept: Vec<_> = record.envelope().recipients().collect();
        assert_eq!(kept.iter().map(|one| written(one.path)).collect::<Vec<_>>(), message.recipients);
        assert_eq!(
            kept.iter().map(|one| rcpt_parameters(&one.parameters)).collect::<Vec<_>>(),
            message.rcpt_parameters
        );
    }
    let fate = match decision {
        Decision::Now(outcome) => decided(&mut message, outcome),
        Decision::Later => Fate::Awaits(number),
    };
    (message, fate)
}

/// What an outcome makes of a message: those who did not take it are no recipients of it.
fn decided(message: &mut Message, outcome: &Outcome) -> Fate {
    match outcome {
        Outcome::Accept | Outcome::AcceptFor(_) | Outcome::AcceptAs(_) => Fate::Accepted,
        Outcome::Refuse(_) => Fate::Refused,
        Outcome::Each(each) => {
            let mut took = each.recipients.iter().map(Result::is_ok);
            message.recipients.retain(|_| took.next() == Some(true));
            if message.recipients.is_empty() { Fate::Refused } else { Fate::Accepted }
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// In one order and spelling.
pub fn mail_parameters(parameters: &MailParameters<'_>) -> String {
    let MailParameters { size_bytes: _, body, smtputf8, ret, envid, requiretls, auth } = *parameters;
    let words = [
        match body {
            Body::SevenBit => None,
            Body::EightBitMime => Some("BODY=8BITMIME".to_owned()),
            Body::BinaryMime => Some("BODY=BINARYMIME".to_owned()),
        },
        smtputf8.then(|| "SMTPUTF8".to_owned()),
        ret.map(|ret| if ret == Return::Full { "RET=FULL" } else { "RET=HDRS" }.to_owned()),
        envid.map(|envid| format!("ENVID={}", text(envid))),
        requiretls.then(|| "REQUIRETLS".to_owned()),
        auth.map(|auth| format!("AUTH={}", text(auth))),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// In one order and spelling.
pub fn rcpt_parameters(parameters: &RcptParameters<'_>) -> String {
    let notify = parameters.notify.map(|notify| match notify {
        Notify::Never => "NOTIFY=NEVER".to_owned(),
        Notify::On { success, failure, delay } => {
            let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
            let words: Vec<_> = words.into_iter().filter(|(is_on, _)| *is_on).map(|(_, word)| word).collect();
            format!("NOTIFY={}", words.join(","))
        }
    });
    let orcpt = parameters.orcpt.map(|orcpt| format!("ORCPT={}", text(orcpt)));
    [notify, orcpt].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Sends what there is; whether there was anything.
fn send(replies: &mut Replies, sent: &mut Vec<u8>) -> bool {
    assert!(replies.octets.len() <= limits::OUTPUT_OCTETS, "{} octets of replies are unsent", replies.octets.len());
    let size = sent.len();
    sent.append(&mut replies.octets);
    sent.len() > size
}

/// A path as it stood between its brackets.
fn written(path: Path<'_>) -> String {
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
