//! Random transactions between this client and our own server, in memory: what the client reports, what the server took, and
//! what both were told to do agree.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::smtp::data::Marks;
use crate::smtp::extension::Extensions;
use crate::smtp::reply::{Replies, Reply as ServerReply};
use crate::smtp::session::{Effect, Ended as ServerEnded, Outcome as Answer, Question, Session as ServerSession};
use crate::smtp::settings::tests::terms as server_defaults;
use crate::smtp::settings::{Settings, Synchronization, Terms as ServerTerms};

/// What the server holds itself to. The one place that builds it.
fn server_terms(extensions: Extensions) -> ServerTerms {
    ServerTerms {
        extensions,
        errors: None,
        junk_commands: None,
        synchronization: Synchronization::Strict,
        ..server_defaults()
    }
}

/// A message, and what the server's policy says to it.
#[derive(Clone, Debug)]
struct Plan {
    transfer: How,
    rule: Recipients,
    content: Vec<u8>,
    declares_size: bool,
    at_mail: Option<ServerReply>,
    at_rcpt: Vec<Option<ServerReply>>,
    at_data: Option<ServerReply>,
    at_end: Option<ServerReply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Verify,
    Data,
    Chunks { octets: u64 },
}

impl Plan {
    fn refuses(&self) -> bool {
        let at = [self.at_mail, self.at_data, self.at_end];
        at.iter().chain(&self.at_rcpt).any(Option::is_some) || self.transfer == How::Verify
    }

    fn transfer(&self) -> Transfer {
        match self.transfer {
            How::Verify => Transfer::None,
            How::Data => Transfer::Data,
            How::Chunks { octets } => Transfer::Chunks { octets: self.content.len() as u64, chunk_octets: octets },
        }
    }

    fn accepted(&self) -> Vec<usize> {
        (0..self.at_rcpt.len()).filter(|index| self.at_rcpt[*index].is_none()).collect()
    }

    /// The end that the client should report, in words without the number.
    fn expected(&self) -> String {
        let refused = |stage: &str, reply: ServerReply| format!("refused at {stage}: {}", verdict(reply));
        let accepted = self.accepted().len();
        if let Some(reply) = self.at_mail {
            return refused("Mail", reply);
        }
        if self.transfer == How::Verify {
            return format!("Verified {{ recipients: {accepted} }}");
        }
        if accepted == 0 {
            return refused("Recipients", self.at_rcpt.last().copied().flatten().expect("all are refused"));
        }
        if self.rule == Recipients::All && accepted < self.at_rcpt.len() {
            return "Abandoned".to_owned();
        }
        let is_one_chunk = matches!(self.transfer, How::Chunks { octets } if self.content.len() as u64 <= octets);
        match (self.at_data, self.at_end) {
            (Some(reply), _) if is_one_chunk => refused("EndOfData", reply),
            (Some(reply), _) => refused("Content", reply),
            (None, Some(reply)) => refused("EndOfData", reply),
            (None, None) => format!("Accepted {{ recipients: {accepted} }}"),
        }
    }

    /// The content that the server should have.
    fn received(&self) -> Vec<u8> {
        if self.transfer != How::Data {
            return self.content.clone();
        }
        let text = String::from_utf8_lossy(&self.content).replace("\r\n", "\n").replace('\r', "\n");
        let ended = if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" };
        ended.replace('\n', "\r\n").into_bytes()
    }

    fn marks(&self) -> Marks {
        let octets = self.received();
        let bare = |octet: u8, is_whole: &dyn Fn(usize) -> bool| {
            (0..octets.len()).any(|index| octets[index] == octet && !is_whole(index))
        };
        Marks {
            bare_cr: bare(b'\r', &|index| octets.get(index + 1) == Some(&b'\n')),
            bare_lf: bare(b'\n', &|index| index > 0 && octets[index - 1] == b'\r'),
            nul: octets.contains(&0),
            eight_bit: !octets.is_ascii(),
            false_end: false,
        }
    }
}

fn verdict(reply: ServerReply) -> String {
    let settings = Settings::new(server_terms(Extensions::NONE));
    let text = std::str::from_utf8(reply.line(&settings)).unwrap().to_owned();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// What the server took over.
#[derive(Debug, PartialEq, Eq)]
struct Received {
    message: usize,
    recipients: Vec<usize>,
    content: Vec<u8>,
    marks: Marks,
}

struct Server<'p> {
    session: ServerSession,
    settings: Settings,
    replies: Replies,
    plans: &'p [Plan],
    /// Of the open transaction.
    message: usize,
    recipients: Vec<usize>,
    content: Vec<u8>,
    taken: Vec<Received>,
    is_closed: bool,
}

impl<'p> Server<'p> {
    fn new(extensions: Extensions, plans: &'p [Plan]) -> Self {
        let mut server = Self {
            session: ServerSession::new(),
            settings: Settings::new(server_terms(extensions)),
            replies: Replies::new(),
            plans,
            message: 0,
            recipients: Vec::new(),
            content: Vec::new(),
            taken: Vec::new(),
            is_closed: false,
        };
        server.session.handle_open();
        server.session.answer(&server.settings, Answer::Accept, &mut server.replies);
        server
    }

    fn handle(&mut self, mut input: &[u8]) {
        loop {
            match self.session.handle_input(&self.settings, &mut input, &mut self.replies) {
                Effect::Continue => {}
                Effect::NeedInput => return,
                Effect::Blocked => panic!("every question is answered at once"),
                Effect::StartTls => panic!("it is not offered"),
                Effect::Content(piece) => self.content.extend_from_slice(piece),
                Effect::Abort => self.content.clear(),
                Effect::Close => {
                    self.is_closed = true;
                    return;
                }
                Effect::Ask(question) => {
                    let plan = |message: usize| &self.plans[message];
                    let refusal = match question {
                        Question::Connect | Question::Hello { .. } | Question::Auth(_) | Question::Xclient { .. } => {
                            None
                        }
                        Question::Mail(mail) => {
                            self.message = number(mail.reverse_path);
                            (self.recipients, self.content) = (Vec::new(), Vec::new());
                            plan(self.message).at_mail
                        }
                        Question::Rcpt(rcpt) => {
                            let number = number(rcpt.forward_path);
                            assert_eq!(number / 100, self.message, "a recipient joins its own message");
                            let refusal = plan(self.message).at_rcpt[number % 100];
                            if refusal.is_none() {
                                self.recipients.push(number % 100);
                            }
                            refusal
                        }
                        Question::Data => plan(self.message).at_data,
                        Question::EndOfData(ended) => {
                            let refusal = plan(self.message).at_end;
                            if refusal.is_none() {
                                let ServerEnded { content_octets, recipients, marks, .. } = ended;
                                let content = std::mem::take(&mut self.content);
                                assert_eq!(
                                    (content_octets, recipients as usize),
                                    (content.len() as u64, self.recipients.len())
                                );
                                let recipients = std::mem::take(&mut self.recipients);
                                self.taken.push(Received { message: self.message, recipients, content, marks });
                            }
                            refusal
                        }
                    };
                    let answer = refusal.map_or(Answer::Accept, Answer::Refuse);
                    self.session.answer(&self.settings, answer, &mut self.replies);
                }
            }
        }
    }
}

/// Addresses are numbers: of the message, and of the recipient behind it.
fn number(path: Path<'_>) -> usize {
    let Path::Mailbox(mailbox) = path else { panic!("a mailbox was sent") };
    std::str::from_utf8(mailbox.local_part).unwrap()[1..].parse().unwrap()
}

/// How both sides hold themselves.
#[derive(Clone, Copy, Debug)]
struct Setup {
    pipelining: bool,
    offers_pipelining: bool,
    depth: u32,
    /// Sizes of pieces, to the server and back.
    pieces: (usize, usize),
}

/// Sends all of it, and returns the ends that the client reports and what the server took.
fn converse(setup: Setup, plans: &[Plan]) -> (Vec<String>, Vec<Received>) {
    let mut extensions = Extensions::unconditional();
    if !setup.offers_pipelining {
        extensions = extensions.without(Extension::Pipelining);
    }
    let mut server = Server::new(extensions, plans);
    let resets_between = plans.iter().any(Plan::refuses);
    let mut client = Client::new(Terms { pipelining: setup.pipelining, depth: setup.depth, resets_between, ..smtp() });
    let mut to_send: VecDeque<usize> = (0..plans.len()).collect();
    let mut current = None;
    let mut ends = Vec::new();
    // BOUND: each turn moves octets, or is the last.
    for _ in 0..100_000 {
        let replies = std::mem::take(&mut server.replies.octets);
        for piece in replies.chunks(setup.pieces.1) {
            client.hear(std::str::from_utf8(piece).unwrap()).into_iter().for_each(|words| note(words, &mut ends));
        }
        loop {
            if let Some(message) = current {
                let plan: &Plan = &plans[message];
                with_message(plan, message, |message| client.go_on_message(message, &plan.content));
            }
            client.hear("").into_iter().for_each(|words| note(words, &mut ends));
            match to_send.front() {
                Some(message) if client.session.check_room().is_ok() => {
                    with_message(&plans[*message], *message, |message| client.begin_message(message)).unwrap();
                    current = to_send.pop_front();
                }
                None if client.session.quit(&mut client.out).is_ok() => {}
                _ => break,
            }
        }
        let out = std::mem::take(&mut client.out);
        if client.session.is_closed() {
            assert!(server.is_closed && out.is_empty());
            return (ends, server.taken);
        }
        if !setup.pipelining || !setup.offers_pipelining {
            let envelope = out.split(|octet| *octet == b'\n').filter(|line| line.starts_with(b"RCPT")).count();
            assert!(envelope <= 1, "one command at a time");
        }
        out.chunks(setup.pieces.0).for_each(|piece| server.handle(piece));
    }
    panic!("the session goes on for ever: {client:?} {ends:?}", client = client.session);
}

fn note(words: String, ends: &mut Vec<String>) {
    assert!(!words.starts_with("fault"), "{words}");
    if words.contains('{') || words.contains("refused at") || words.contains("Abandoned") {
        ends.push(words);
    }
}

fn mailbox_of(name: &str) -> Path<'_> {
    Path::Mailbox(Mailbox { local_part: name.as_bytes(), domain: b"x.test" })
}

fn with_message<T>(plan: &Plan, number: usize, then: impl FnOnce(&Message<'_>) -> T) -> T {
    let sender = format!("m{number}");
    let names: Vec<String> = (0..plan.at_rcpt.len()).map(|index| format!("r{}", number * 100 + index)).collect();
    let recipients: Vec<RcptCommand<'_>> = names
        .iter()
        .map(|name| RcptCommand { forward_path: mailbox_of(name), parameters: Default::default() })
        .collect();
    let size_bytes = plan.declares_size.then_some(plan.content.len() as u64);
    let mail = MailCommand {
        reverse_path: mailbox_of(&sender),
        parameters: MailParameters { size_bytes, ..MailParameters::default() },
    };
    then(&Message { mail, recipients: &recipients, transfer: plan.transfer(), rule: plan.rule })
}

fn refusal() -> impl Strategy<Value = Option<ServerReply>> {
    let replies =
        vec![ServerReply::Scripted450, ServerReply::Scripted452, ServerReply::Scripted550, ServerReply::Scripted553];
    prop_oneof![4 => Just(None), 1 => prop::sample::select(replies).prop_map(Some)]
}

fn plan(refuses: bool) -> impl Strategy<Value = Plan> {
    let pieces: Vec<&[u8]> = vec![
        b"\r\n",
        b"\r",
        b"\n",
        b".",
        b"\r\n.\r\n",
        b"..",
        b"x\0x",
        "ä".as_bytes(),
        b"x",
        b"A line of text.\r\n",
        b"\r\n.QUIT\r\n",
    ];
    let content = prop::collection::vec(prop::sample::select(pieces), 0..12).prop_map(|pieces| pieces.concat());
    let refusal = move || refusal().prop_map(move |reply| reply.filter(|_| refuses));
    (
        prop_oneof![
            3 => Just(How::Data),
            4 => (1..40_u64).prop_map(|octets| How::Chunks { octets }),
            1 => Just(How::Verify),
        ],
        prop::sample::select(vec![Recipients::Any, Recipients::Any, Recipients::All]),
        content,
        any::<bool>(),
        (refusal(), prop::collection::vec(refusal(), 1..5), refusal(), refusal()),
    )
        .prop_map(move |(transfer, rule, content, declares_size, (at_mail, at_rcpt, at_data, at_end))| Plan {
            transfer: if refuses || transfer != How::Verify { transfer } else { How::Data },
            rule,
            content,
            declares_size,
            at_mail,
            at_rcpt,
            at_data,
            at_end,
        })
}

fn setup() -> impl Strategy<Value = Setup> {
    let sizes = || prop::sample::select(vec![1, 2, 3, 7, 50, 100_000]);
    (any::<bool>(), prop::bool::weighted(0.8), 1..6_u32, (sizes(), sizes())).prop_map(
        |(pipelining, offers_pipelining, depth, pieces)| Setup { pipelining, offers_pipelining, depth, pieces },
    )
}

fn check(setup: Setup, plans: &[Plan]) {
    let (ends, taken) = converse(setup, plans);
    let expected: Vec<String> =
        plans.iter().enumerate().map(|(index, plan)| format!("{index} {}", plan.expected())).collect();
    assert_eq!(ends, expected);
    let expected: Vec<Received> = plans
        .iter()
        .enumerate()
        .filter(|(_, plan)| plan.expected().starts_with("Accepted"))
        .map(|(message, plan)| Received {
            message,
            recipients: plan.accepted(),
            content: plan.received(),
            marks: plan.marks(),
        })
        .collect();
    assert_eq!(taken, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn both_sides_agree_whatever_is_refused(setup in setup(), plans in prop::collection::vec(plan(true), 1..7)) {
        check(setup, &plans);
    }

    #[test]
    fn both_sides_agree_where_nothing_is_reset_because_nothing_is_refused(
        setup in setup(),
        plans in prop::collection::vec(plan(false), 1..9),
    ) {
        check(setup, &plans);
    }
}
