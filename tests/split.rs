//! The same replies and the same messages however a client's octets are cut into segments, and however late questions are
//! answered; and both are what a naive model of a session says.
//!
//! The model goes by what the client means to do, not by octets, and knows nothing of how the session works. It runs under
//! tolerant synchronisation: under strict, whether a client runs ahead is a matter of segments by its nature. For the same
//! reason the client awaits the reply to a DATA that is going to be refused (CONFORMANCE T128).

#[path = "common/host.rs"]
mod host;

use std::cell::RefCell;
use std::rc::Rc;

use host::{Decision, Host, Message, Policy, ReplyReader};
use proptest::prelude::*;
use proptest::sample::Index;
use ringmx::limits;
use ringmx::mail::address::Path;
use ringmx::smtp::data::{BareNewline, Marks};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Question};
use ringmx::smtp::settings::{Nul, Settings, Synchronization, Terms};

const MESSAGE_OCTETS: u64 = 300;
const RECIPIENTS: u32 = 3;

/// What the client does next.
#[derive(Clone, Debug)]
enum Act {
    /// A command that is answered alike wherever it stands.
    Say(&'static str, u16),
    Hello,
    /// A name that policy refuses.
    HelloRefused,
    Mail(&'static str, u16),
    Rcpt(&'static str, u16),
    Rset,
    /// DATA, and the mail data if it is asked for.
    Data(Vec<u8>),
    Bdat(Vec<u8>, bool),
    /// Announces more octets than any message may have, and sends none.
    BdatHuge,
    /// A command behind which the server closes.
    End(&'static str, u16),
}

const SAID: &[(&str, u16)] = &[
    ("NOOP", 250),
    ("noop with text", 250),
    ("VRFY a", 252),
    ("HELP", 214),
    ("EXPN a", 502),
    ("STARTTLS", 502),
    ("FOOBAR", 500),
    ("", 500),
    ("NO\0OP", 500),
    ("NOOP x\ry", 500),
    ("RSET x", 501),
    ("QUIT x", 501),
    ("VRFY", 501),
    ("EHLO", 501),
];
const MAILED: &[(&str, u16)] = &[
    ("MAIL FROM:<s@x.test>", 250),
    ("mail from: s@x.test SIZE=5 BODY=8BITMIME", 250),
    ("MAIL FROM:<>", 250),
    ("MAIL FROM:<no451@x.test>", 451),
    ("MAIL FROM:<no550@x.test>", 550),
    ("MAIL FROM:<s@x.test> SIZE=301", 552),
    ("MAIL FROM:<s@x.test> FOO", 555),
    ("MAIL FROM:<s@x.test", 501),
];
const NAMED: &[(&str, u16)] = &[
    ("RCPT TO:<a@ok.test>", 250),
    ("rcpt to:<postmaster>", 250),
    ("RCPT TO:b@ok.test", 250),
    ("RCPT TO:<no550@ok.test>", 550),
    ("RCPT TO:<no451@ok.test>", 451),
    ("RCPT TO:<>", 501),
    ("RCPT TO:<a@ok.test> FOO=1", 555),
];
const ENDS: &[(&str, u16)] = &[("QUIT", 221), ("GET / HTTP/1.1", 554), ("BDAT x", 501), ("BDAT 5 FIRST", 501)];

/// Octets that are hard on a decoder of mail data.
fn nasty() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b".",
        b"..",
        b"\r\n.",
        b"\n.",
        b"\r.",
        b"\0",
        b"\xFF",
        b"\r\n.\r\n",
        b"text",
        b"a line\r\n",
        b"QUIT\r\n",
        b"MAIL FROM:<evil@x.test>\r\n",
        b" ",
    ];
    let short = prop::collection::vec(prop::sample::select(pieces), 0..10).prop_map(|pieces| pieces.concat());
    let long =
        (0..400_usize).prop_map(|size| b"a longer line of text\r\n".iter().copied().cycle().take(size).collect());
    // Mostly without what makes a false end of data, behind which the session is over.
    let plain: Vec<&[u8]> =
        vec![b"\r\n", b"..x", b"\n", b"\r", b"\0", b"\xFF", b"text", b"a line\r\n", b"DATA\r\n", b"\r\n."];
    let plain = prop::collection::vec(prop::sample::select(plain), 0..10).prop_map(|pieces| pieces.concat());
    prop_oneof![2 => short, 1 => long, 5 => plain]
}

fn act() -> impl Strategy<Value = Act> {
    let of = |list: &'static [(&'static str, u16)]| prop::sample::select(list);
    prop_oneof![
        4 => of(SAID).prop_map(|(line, code)| Act::Say(line, code)),
        2 => Just(Act::Hello),
        1 => Just(Act::HelloRefused),
        3 => of(MAILED).prop_map(|(line, code)| Act::Mail(line, code)),
        6 => Just(Act::Mail(MAILED[0].0, 250)),
        6 => of(NAMED).prop_map(|(line, code)| Act::Rcpt(line, code)),
        6 => Just(Act::Rcpt(NAMED[0].0, 250)),
        2 => Just(Act::Rset),
        5 => nasty().prop_map(Act::Data),
        6 => (nasty(), any::<bool>()).prop_map(|(octets, last)| Act::Bdat(octets, last)),
        1 => Just(Act::BdatHuge),
        1 => of(ENDS).prop_map(|(line, code)| Act::End(line, code)),
    ]
}

/// What a whole session is.
#[derive(Clone, Debug)]
struct Script {
    acts: Vec<Act>,
    bare_newline: BareNewline,
    nul: Nul,
    /// Decides what policy says to DATA, to the end of mail data, and which commands end with a bare LF.
    seed: u32,
}

fn script() -> impl Strategy<Value = Script> {
    let bare_newline = prop::sample::select(vec![BareNewline::Normalize, BareNewline::Preserve, BareNewline::Reject]);
    let nul = prop::sample::select(vec![Nul::Accept, Nul::Reject]);
    (prop::collection::vec(act(), 0..24), bare_newline, nul, any::<u32>()).prop_map(
        |(mut acts, bare_newline, nul, seed)| {
            // Most sessions begin as they should.
            if seed % 8 > 0 {
                acts.insert(0, Act::Hello);
            }
            Script { acts, bare_newline, nul, seed }
        },
    )
}

impl Script {
    fn settings(&self) -> Settings {
        Settings::new(Terms {
            message_size_bytes: MESSAGE_OCTETS,
            recipients_per_message: RECIPIENTS,
            messages_per_connection: None,
            errors: None,
            junk_commands: None,
            synchronization: Synchronization::Tolerant,
            bare_newline: self.bare_newline,
            nul: self.nul,
            ..Terms::public("mx.test")
        })
    }

    /// Whether policy refuses the n-th DATA or first BDAT.
    fn refuses_data(&self, count: u32) -> bool {
        (self.seed ^ count.wrapping_mul(0x9E37_79B9)).is_multiple_of(5)
    }

    /// Whether policy refuses the n-th end of mail data.
    fn refuses_end(&self, count: u32) -> bool {
        (self.seed ^ count.wrapping_mul(0x85EB_CA6B)).is_multiple_of(4)
    }

    /// What the policy says; it has no memory but of how often it was asked.
    fn outcomes(&self) -> impl FnMut(&Question<'_>) -> Outcome + 'static {
        let script = self.clone();
        let (mut data, mut ends) = (0, 0);
        move |question| {
            let by_name = |octets: &[u8]| match octets.strip_prefix(b"no").map(|code| &code[..3]) {
                Some(b"451") => Outcome::Refuse(Reply::Scripted451),
                Some(_) => Outcome::Refuse(Reply::Scripted550),
                None => Outcome::Accept,
            };
            let refused = |is_refused: bool| match is_refused {
                true => Outcome::Refuse(Reply::Scripted452),
                false => Outcome::Accept,
            };
            match question {
                Question::Connect | Question::Auth(_) | Question::Xclient { .. } => Outcome::Accept,
                Question::Hello { name } => by_name(name),
                Question::Mail(mail) => match mail.reverse_path {
                    Path::Mailbox(mailbox) => by_name(mailbox.local_part),
                    _ => Outcome::Accept,
                },
                Question::Rcpt(rcpt) => match rcpt.forward_path {
                    Path::Mailbox(mailbox) => by_name(mailbox.local_part),
                    _ => Outcome::Accept,
                },
                Question::Data => {
                    data += 1;
                    refused(script.refuses_data(data))
                }
                Question::EndOfData(_) => {
                    ends += 1;
                    refused(script.refuses_end(ends))
                }
            }
        }
    }
}

// The model.

/// What a session comes to: what the client sends, and what it is to hear.
#[derive(Debug, Default)]
struct Model {
    /// The client awaits the replies between one and the next.
    parts: Vec<Vec<u8>>,
    codes: Vec<u16>,
    messages: Vec<(Vec<u8>, u32, Marks)>,
    is_closed: bool,
}

#[derive(Debug)]
struct Transaction {
    recipients: u32,
    refused: u32,
    chunks: Option<Chunks>,
}

#[derive(Debug, Default)]
struct Chunks {
    content: Vec<u8>,
    refusal: Option<u16>,
}

fn model(script: &Script) -> Model {
    let mut model = Model { parts: vec![Vec::new()], codes: vec![220], ..Model::default() };
    let (mut greeted, mut open): (bool, Option<Transaction>) = (false, None);
    let (mut data_asked, mut ends_asked) = (0, 0);
    for (index, act) in script.acts.iter().enumerate() {
        let end: &[u8] = if (script.seed >> (index % 32)) & 31 == 1 { b"\n" } else { b"\r\n" };
        let is_refused_line = end == b"\n" && script.bare_newline == BareNewline::Reject;
        let out = model.parts.last_mut().expect("there is one");
        let line = |out: &mut Vec<u8>, text: &str| {
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(end);
        };
        match act {
            Act::Say(text, _) | Act::Mail(text, _) | Act::Rcpt(text, _) | Act::End(text, _) => line(out, text),
            Act::Hello => line(out, "EHLO c.test"),
            Act::HelloRefused => line(out, "EHLO no550.test"),
            Act::Rset => line(out, "RSET"),
            Act::Data(_) => line(out, "DATA"),
            Act::Bdat(octets, last) => {
                line(out, &format!("BDAT {}{}", octets.len(), if *last { " LAST" } else { "" }));
                out.extend_from_slice(octets);
            }
            Act::BdatHuge => line(out, &format!("BDAT {}", limits::DISCARD_OCTETS_LEAST + 1)),
        }
        if is_refused_line {
            model.codes.push(500);
            model.is_closed = true;
            return model;
        }
        let out_of_order = |open: &Option<Transaction>| match open {
            _ if !greeted => Some(503),
            None => Some(503),
            Some(Transaction { recipients: 1.., .. }) => None,
            Some(Transaction { refused: 1.., .. }) => Some(554),
            Some(_) => Some(503),
        };
        let is_chunked = open.as_ref().is_some_and(|open| open.chunks.is_some());
        match act {
            Act::Say(_, code) => model.codes.push(*code),
            Act::Hello => {
                model.codes.push(250);
                (greeted, open) = (true, None);
            }
            Act::HelloRefused => model.codes.push(550),
            Act::Mail(_, code) => {
                let is_in_order = greeted && open.is_none();
                model.codes.push(if is_in_order { *code } else { 503 });
                if is_in_order && *code == 250 {
                    open = Some(Transaction { recipients: 0, refused: 0, chunks: None });
                }
            }
            Act::Rcpt(_, code) => match &mut open {
                Some(open) if open.chunks.is_none() => {
                    let is_command = !matches!(code, 501 | 555);
                    let is_full = open.recipients >= RECIPIENTS;
                    model.codes.push(if is_command && is_full { 452 } else { *code });
                    open.recipients += u32::from(*code == 250 && !is_full);
                    open.refused += u32::from(is_command && *code != 250 && !is_full);
                }
                _ => model.codes.push(503),
            },
            Act::Rset => {
                model.codes.push(250);
                open = None;
            }
            Act::Data(octets) => {
                let refusal = if is_chunked { Some(503) } else { out_of_order(&open) };
                let refusal = refusal.or_else(|| {
                    data_asked += 1;
                    script.refuses_data(data_asked).then_some(452)
                });
                if let Some(code) = refusal {
                    model.codes.push(code);
                    model.parts.push(Vec::new());
                    continue;
                }
                model.codes.push(354);
                let (sent, content, marks) = mail_data(octets, script.bare_newline);
                out.extend_from_slice(&sent);
                let recipients = open.take().expect("it is in order").recipients;
                let is_bare = marks.bare_lf || marks.bare_cr;
                if marks.false_end {
                    model.codes.push(550);
                    model.is_closed = true;
                    return model;
                } else if is_bare && script.bare_newline == BareNewline::Reject {
                    model.codes.push(550);
                } else {
                    model.end(script, &mut ends_asked, content, recipients, marks, None);
                }
            }
            Act::Bdat(octets, last) => {
                if let Some(code) = out_of_order(&open) {
                    model.codes.push(code);
                    if *last {
                        open = None;
                    }
                    continue;
                }
                let transaction = open.as_mut().expect("it is in order");
                let recipients = transaction.recipients;
                let chunks = transaction.chunks.get_or_insert_with(|| {
                    data_asked += 1;
                    Chunks { refusal: script.refuses_data(data_asked).then_some(452), ..Chunks::default() }
                });
                chunks.content.extend_from_slice(octets);
                if chunks.content.len() as u64 > MESSAGE_OCTETS {
                    chunks.refusal.get_or_insert(552);
                }
                if *last {
                    let Chunks { content, refusal } = std::mem::take(chunks);
                    open = None;
                    let marks = Marks { false_end: false, ..marks(&content) };
                    model.end(script, &mut ends_asked, content, recipients, marks, refusal);
                } else {
                    model.codes.push(chunks.refusal.unwrap_or(250));
                }
            }
            Act::BdatHuge => {
                let refusal = out_of_order(&open);
                let transaction = open.as_mut().filter(|_| refusal.is_none());
                let earlier = transaction.and_then(|open| match &open.chunks {
                    Some(chunks) => chunks.refusal,
                    None => script.refuses_data(data_asked + 1).then_some(452),
                });
                model.codes.push(refusal.or(earlier).unwrap_or(552));
                model.is_closed = true;
                return model;
            }
            Act::End(_, code) => {
                model.codes.push(*code);
                model.is_closed = true;
                return model;
            }
        }
    }
    model
}

impl Model {
    /// A message's content is complete.
    fn end(
        &mut self,
        script: &Script,
        asked: &mut u32,
        content: Vec<u8>,
        recipients: u32,
        marks: Marks,
        refusal: Option<u16>,
    ) {
        if refusal.is_none() && marks.nul && script.nul == Nul::Reject && content.len() as u64 <= MESSAGE_OCTETS {
            return self.codes.push(550);
        }
        if let Some(code) = refusal {
            return self.codes.push(code);
        }
        if content.len() as u64 > MESSAGE_OCTETS {
            // What is wrong with the content itself is said first.
            return self.codes.push(if marks.nul && script.nul == Nul::Reject { 550 } else { 552 });
        }
        *asked += 1;
        if script.refuses_end(*asked) {
            return self.codes.push(452);
        }
        self.codes.push(250);
        self.messages.push((content, recipients, marks));
    }
}

/// What is sent for these octets, up to the first end of mail data that is in them; and what comes of it.
fn mail_data(octets: &[u8], bare: BareNewline) -> (Vec<u8>, Vec<u8>, Marks) {
    let framed = [b"\r\n", octets, b"\r\n.\r\n"].concat();
    let end = framed.windows(5).position(|window| window == b"\r\n.\r\n").expect("it was appended");
    let sent = framed[2..end + 5].to_vec();
    // The lines, with the empty one that the frame begins with, and without the dot and what follows it.
    let mut content = Vec::new();
    let mut rest = &sent[..sent.len() - 3];
    while !rest.is_empty() {
        let line = rest.windows(2).position(|window| window == b"\r\n").map_or(rest.len(), |at| at + 2);
        content.extend_from_slice(rest[..line].strip_prefix(b".").unwrap_or(&rest[..line]));
        rest = &rest[line..];
    }
    let marks = marks(&sent);
    if bare == BareNewline::Normalize {
        let mut normal = Vec::new();
        let mut at = 0;
        while at < content.len() {
            let is_whole = content[at..].starts_with(b"\r\n");
            match content[at] {
                b'\r' | b'\n' => normal.extend_from_slice(b"\r\n"),
                octet => normal.push(octet),
            }
            at += if is_whole { 2 } else { 1 };
        }
        content = normal;
    }
    (sent, content, marks)
}

/// What there is in octets that follow a CRLF.
fn marks(octets: &[u8]) -> Marks {
    let mut marks = Marks::default();
    let (mut line, mut before_is_whole) = (Vec::new(), true);
    let mut at = 0;
    while at < octets.len() {
        let rest = &octets[at..];
        marks.nul |= rest[0] == 0;
        marks.eight_bit |= rest[0] >= 128;
        let is_whole = rest.starts_with(b"\r\n");
        at += if is_whole { 2 } else { 1 };
        if !matches!(rest[0], b'\r' | b'\n') {
            line.push(rest[0]);
            continue;
        }
        marks.bare_cr |= !is_whole && rest[0] == b'\r';
        marks.bare_lf |= !is_whole && rest[0] == b'\n';
        let is_dot = line.iter().filter(|octet| **octet != 0).eq(b".");
        marks.false_end |= is_dot && !(line == b"." && before_is_whole && is_whole);
        line.clear();
        before_is_whole = is_whole;
    }
    marks
}

// The runs.

/// What came of a run.
#[derive(Debug, PartialEq)]
struct Course {
    sent: String,
    messages: Vec<Message>,
    is_closed: bool,
}

impl Course {
    fn of(host: &Host) -> Self {
        let sent = String::from_utf8(host.sent.clone()).expect("replies are ASCII");
        Self { sent, messages: host.messages().into_iter().cloned().collect(), is_closed: host.is_closed() }
    }
}

fn pieces<'a>(octets: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
    cuts.extend([0, octets.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &octets[cut[0]..cut[1]]).collect()
}

/// Answers everything at once.
fn run<'a>(script: &Script, parts: impl IntoIterator<Item = Vec<&'a [u8]>>) -> Course {
    let mut outcomes = script.outcomes();
    let policy: Policy = Box::new(move |question| Decision::Now(outcomes(question)));
    let mut host = Host::connect(script.settings(), policy);
    parts.into_iter().flatten().for_each(|piece| host.receive(piece));
    Course::of(&host)
}

fn whole(model: &Model) -> Vec<Vec<&[u8]>> {
    model.parts.iter().map(|part| vec![&part[..]]).collect()
}

#[track_caller]
fn check_model(script: &Script, model: &Model, result: &Course) {
    let mut reader = ReplyReader::default();
    reader.push(result.sent.as_bytes());
    let replies: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
    let codes: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
    assert_eq!(codes, model.codes, "{script:#?}\n{replies:#?}");
    assert_eq!(result.is_closed, model.is_closed, "{script:#?}");
    let messages: Vec<_> = result
        .messages
        .iter()
        .map(|message| (message.content.clone(), message.recipients.len() as u32, message.marks))
        .collect();
    assert_eq!(messages, model.messages, "{script:#?}");
}

/// Answers when it is told to, in an order that it is told.
struct Late {
    host: Host,
    /// What will be answered, in the order of [`Host::deferred`].
    outcomes: Rc<RefCell<Vec<Outcome>>>,
    answered: Vec<bool>,
}

impl Late {
    fn connect(script: &Script, mut is_late: impl FnMut() -> bool + 'static) -> Self {
        let outcomes = Rc::new(RefCell::new(Vec::new()));
        let (mut decide, later) = (script.outcomes(), Rc::clone(&outcomes));
        let policy: Policy = Box::new(move |question| {
            let outcome = decide(question);
            if !is_late() {
                return Decision::Now(outcome);
            }
            later.borrow_mut().push(outcome);
            Decision::Later
        });
        Self { host: Host::connect(script.settings(), policy), outcomes, answered: Vec::new() }
    }

    /// Answers one question that is out, chosen by the number. False when there is none.
    fn answer_one(&mut self, choice: Index) -> bool {
        self.answered.resize(self.host.deferred.len(), false);
        let out: Vec<usize> = (0..self.answered.len()).filter(|ticket| !self.answered[*ticket]).collect();
        if out.is_empty() {
            return false;
        }
        let ticket = out[choice.index(out.len())];
        self.answered[ticket] = true;
        let outcome = self.outcomes.borrow()[ticket].clone();
        // Nobody waits for the RCPT behind a refused MAIL.
        self.host.outcome(self.host.deferred[ticket], outcome);
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn replies_and_messages_are_the_models_however_input_is_cut(
        script in script(),
        cuts in prop::collection::vec(prop::collection::vec(any::<Index>(), 0..12), 3),
    ) {
        let model = model(&script);
        let expected = run(&script, whole(&model));
        check_model(&script, &model, &expected);
        let octets = model.parts.iter().map(|part| part.chunks(1).collect());
        prop_assert_eq!(&run(&script, octets), &expected, "octet by octet, {:#?}", &script);
        for cuts in cuts {
            let result = run(&script, model.parts.iter().map(|part| pieces(part, &cuts)));
            prop_assert_eq!(&result, &expected, "{:#?}", &script);
        }
    }

    #[test]
    fn replies_and_messages_are_the_same_however_late_questions_are_answered(
        script in script(),
        late in prop::collection::vec(any::<bool>(), 1..16),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
        choices in prop::collection::vec((0..3_usize, any::<Index>()), 1..32),
    ) {
        let model = model(&script);
        let expected = run(&script, whole(&model));
        let mut late = late.into_iter().cycle();
        let mut run = Late::connect(&script, move || late.next().unwrap_or(true));
        let mut choices = choices.into_iter().cycle();
        let mut next = || choices.next().expect("it goes round");
        for part in &model.parts {
            for piece in pieces(part, &cuts) {
                run.host.receive(piece);
                let (count, choice) = next();
                (0..count).for_each(|_| _ = run.answer_one(choice));
            }
            // The client awaits every reply before it goes on.
            while run.answer_one(next().1) {}
        }
        prop_assert_eq!(Course::of(&run.host), expected, "{:#?}", &script);
    }

    /// Exactly one reply for each command, in their order: what was answered in time stands in its place, the rest is 451.
    #[test]
    fn what_is_never_answered_is_451_in_its_place(
        late in prop::collection::vec(any::<bool>(), 40),
        answered in prop::collection::vec(any::<Index>(), 0..20),
    ) {
        let script = Script { acts: Vec::new(), bare_newline: BareNewline::Preserve, nul: Nul::Accept, seed: 0 };
        let is_late = late.clone();
        let mut count = 0;
        let mut run = Late::connect(&script, move || {
            count += 1;
            // The greeting, EHLO and MAIL, and then as it was drawn.
            count > 3 && is_late[count - 4]
        });
        run.host.settings = Settings::new(Terms { recipients_per_message: 100, ..script.settings().terms().clone() });
        run.host.receive(b"EHLO c.test\r\nMAIL FROM:<s@x.test>\r\n");
        let before = run.host.sent.len();
        for number in 0..late.len() {
            run.host.receive(format!("RCPT TO:<a{number}@ok.test>\r\nRCPT x{number}\r\n").as_bytes());
        }
        for choice in answered {
            run.answer_one(choice);
        }
        run.answered.resize(run.host.deferred.len(), false);
        let mut is_answered = run.answered.clone().into_iter();
        let wanted: Vec<u16> = late
            .iter()
            .flat_map(|late| [if !late || is_answered.next().unwrap_or(false) { 250 } else { 451 }, 501])
            .collect();
        while run.host.session.is_waiting() {
            run.host.answer_timeout();
        }
        let mut reader = ReplyReader::default();
        reader.push(&run.host.sent[before..]);
        let codes: Vec<u16> = std::iter::from_fn(|| reader.next()).map(|reply| reply.code).collect();
        prop_assert_eq!(codes, wanted);
    }
}
