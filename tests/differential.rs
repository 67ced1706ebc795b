//! The session against the naive one of `common/naive`: the same octets under the same terms, and everything must come out alike:
//! each reply, and with which segment it was given; each question; each message; the end.
//!
//! Streams are drawn from a grammar of sensible and hostile commands, and from the clients of the dialogues, mutated. The seeds
//! are the same in every run: 15,000 cases of each kind. `DIFFERENTIAL_CASES` is how many instead, `DIFFERENTIAL_SEED` the first
//! of them; `DIFFERENTIAL_ALL=1` goes on behind a difference, and shows each kind of difference once, shrunk, with its count.
//!
//! Each case is run whole and in segments. "Something stands behind" depends on segments (RFC 2920 §3.1), and the naive session
//! is told of them: so strict synchronisation is compared as well as tolerant.

#[path = "common/dialog.rs"]
#[allow(dead_code, reason = "the dialogues serve as a corpus here")]
mod dialog;
#[path = "common/host.rs"]
mod host;
#[path = "common/naive/mod.rs"]
mod naive;
#[path = "common/quietly.rs"]
mod quietly;
#[path = "common/streams.rs"]
mod streams;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use dialog::Step;
use host::{Decision, Host};
use naive::{Asked, Run, Said};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quietly::quietly;
use ringmx::mail::address::Path;
use ringmx::protocol::xclient;
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Mechanism, Outcome, Point, Question};
use ringmx::smtp::settings::{Dialect, Settings, Terms};
use streams::{Case, Cut};

/// What came of one side.
#[derive(Debug, Default, PartialEq, Eq)]
struct Result {
    /// What was sent up to the end of each segment.
    sent: Vec<Vec<u8>>,
    asked: Vec<String>,
    messages: Vec<String>,
    is_closed: bool,
}

fn path_text(path: Path<'_>) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match path {
        Path::Null => "<>".to_owned(),
        Path::Local(local_part) => format!("<{}>", text(local_part)),
        Path::Mailbox(mailbox) => format!("<{}@{}>", text(mailbox.local_part), text(mailbox.domain)),
    }
}

/// A question in the words of the naive session.
fn in_words(question: &Question<'_>) -> Asked {
    let about = match question {
        Question::Connect | Question::Data => String::new(),
        Question::Hello { name } => name.escape_ascii().to_string(),
        Question::Xclient { attributes } => attributes.escape_ascii().to_string(),
        Question::Auth(shown) => {
            let mechanism = if shown.mechanism == Mechanism::Plain { "PLAIN" } else { "LOGIN" };
            let [authorization, authentication, password] =
                [&shown.authorization_id, &shown.authentication_id, &shown.password]
                    .map(|part| part.escape_ascii().to_string());
            format!("{mechanism} {authorization:?} {authentication:?} {password:?}")
        }
        Question::Mail(mail) => {
            let size = mail.parameters.size_bytes.map(u128::from);
            format!("{} {} {size:?}", path_text(mail.reverse_path), host::mail_parameters(&mail.parameters))
        }
        Question::Rcpt(rcpt) => {
            format!("{} {}", path_text(rcpt.forward_path), host::rcpt_parameters(&rcpt.parameters))
        }
        Question::EndOfData(ended) => {
            format!("{} {} {:?} {}", ended.content_octets, ended.recipients, ended.marks, ended.with.keyword())
        }
    };
    let attributes = match question {
        Question::Xclient { attributes } => attributes.to_vec(),
        _ => Vec::new(),
    };
    Asked { point: question.point(), about, attributes }
}

fn log(asked: &Asked) -> String {
    format!("{} {}", asked.point.name(), asked.about)
}

/// The policy, for either side.
struct Judge {
    case: Case,
    counts: BTreeMap<&'static str, u32>,
}

impl Judge {
    fn new(case: &Case) -> Self {
        Self { case: case.clone(), counts: BTreeMap::new() }
    }

    fn outcome(&mut self, asked: &Asked) -> Outcome {
        let count = self.counts.entry(asked.point.name()).or_default();
        *count += 1;
        let verdict = self.case.verdicts.iter().find(|one| one.point == asked.point && one.holds_at(*count));
        if let Some(verdict) = verdict {
            return verdict.outcome(asked);
        }
        match asked.point {
            Point::Auth => match asked.about.ends_with(" \"u\" \"p\"") {
                true => Outcome::Accept,
                false => Outcome::Refuse(Reply::BadCredentials),
            },
            Point::Mail | Point::Rcpt => {
                let name = asked.about.trim_start_matches('<').split('@').next().unwrap_or_default();
                let code = name.strip_prefix("no").map(|code| code.parse().unwrap_or(550));
                code.and_then(Reply::scripted).map_or(Outcome::Accept, Outcome::Refuse)
            }
            // As the hosts of sessions do.
            Point::Xclient if xclient::parse(&asked.attributes).is_err() => Outcome::Refuse(Reply::BadXclient),
            _ => Outcome::Accept,
        }
    }
}

/// `theirs` is what the session sent: where several replies are as good, its choice counts.
fn naive_result(case: &Case, segments: &[Vec<u8>], theirs: &[u8]) -> Result {
    let mut judge = Judge::new(case);
    let Run { said, asked, messages, closed_at, .. } =
        naive::run(&case.terms, case.is_secure, segments, &mut |asked| judge.outcome(asked));
    let settings = Settings::new(case.terms.clone());
    let mut sent = Vec::new();
    let mut result = Result::default();
    let mut said = said.into_iter().peekable();
    let mut end = 0;
    for segment in segments {
        end += segment.len();
        while let Some(Said { reply, or, id, .. }) = said.next_if(|said| said.at <= end) {
            let there = theirs.get(sent.len()..).unwrap_or_default();
            let reply = or.into_iter().find(|one| there.starts_with(one.line(&settings))).unwrap_or(reply);
            match id {
                Some(id) if reply == Reply::Accepted => {
                    sent.extend_from_slice(format!("250 2.0.0 Ok: queued as {id}\r\n").as_bytes());
                }
                _ => sent.extend_from_slice(reply.line(&settings)),
            }
        }
        result.sent.push(sent.clone());
    }
    result.asked = asked.iter().map(log).collect();
    result.messages = messages
        .iter()
        .map(|one| {
            let naive::Taken { reverse_path, mail_parameters, recipients, rcpt_parameters, content, marks, with } = one;
            let content = content.escape_ascii();
            format!("{reverse_path} {mail_parameters:?} {recipients:?} {rcpt_parameters:?} {marks:?} {with} {content}")
        })
        .collect();
    result.is_closed = closed_at.is_some();
    result
}

fn production_result(case: &Case, segments: &[Vec<u8>]) -> Result {
    let asked = Rc::new(RefCell::new(Vec::new()));
    let is_begun = Rc::new(Cell::new(!case.is_secure));
    let policy = {
        let (asked, is_begun, mut judge) = (Rc::clone(&asked), Rc::clone(&is_begun), Judge::new(case));
        Box::new(move |question: &Question<'_>| {
            if !is_begun.get() {
                return Decision::Now(Outcome::Accept);
            }
            let words = in_words(question);
            asked.borrow_mut().push(log(&words));
            Decision::Now(judge.outcome(&words))
        })
    };
    let mut host = Host::connect(Settings::new(case.terms.clone()), policy);
    if case.is_secure {
        host.receive(if case.terms.dialect == Dialect::Lmtp { b"LHLO c.test\r\n" } else { b"EHLO c.test\r\n" });
        host.receive(b"STARTTLS\r\n");
        host.begin_tls(true);
        host.secure();
        is_begun.set(true);
    }
    let from = if case.is_secure { host.sent.len() } else { 0 };
    let mut result = Result::default();
    for segment in segments {
        host.receive(segment);
        result.sent.push(host.sent[from..].to_vec());
    }
    result.is_closed = host.is_closed();
    result.messages = host
        .messages()
        .into_iter()
        .map(|one| {
            let host::Message { reverse_path, mail_parameters, recipients, rcpt_parameters, content, marks, with } =
                one;
            let content = content.escape_ascii();
            format!("{reverse_path} {mail_parameters:?} {recipients:?} {rcpt_parameters:?} {marks:?} {with} {content}")
        })
        .collect();
    drop(host);
    result.asked = asked.take();
    result
}

/// How the two differ; in a few words first, which are the same for differences of one kind.
fn difference(case: &Case) -> Option<(String, String)> {
    [Cut::Whole, case.cut.clone()].iter().find_map(|cut| {
        let segments = case.segments(cut);
        let production = match quietly(|| production_result(case, &segments)) {
            Ok(result) => result,
            Err(why) => return Some((format!("panic: {why}"), why)),
        };
        let naive = naive_result(case, &segments, production.sent.last().map_or(&[], |sent| sent));
        if naive == production {
            return None;
        }
        Some((kind(&naive, &production), explained(cut, &naive, &production)))
    })
}

/// How often each reply was said, over all cases of a run.
fn count_replies(case: &Case, seen: &mut BTreeMap<&'static str, u64>) {
    let mut judge = Judge::new(case);
    let segments = case.segments(&Cut::Whole);
    let run = naive::run(&case.terms, case.is_secure, &segments, &mut |asked| judge.outcome(asked));
    for said in run.said {
        *seen.entry(said.reply.name()).or_default() += 1;
    }
    *seen.entry("(message)").or_default() += run.messages.len() as u64;
}

fn reply_lines(sent: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(sent);
    text.lines().filter(|line| !line.starts_with("250-")).map(|line| line.chars().take(36).collect()).collect()
}

fn kind(naive: &Result, production: &Result) -> String {
    let lines = |result: &Result| reply_lines(result.sent.last().map_or(&[][..], |sent| sent));
    let (ours, theirs) = (lines(naive), lines(production));
    if ours != theirs {
        let at = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let line = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
        return format!("naive {:?}, session {:?}", line(&ours), line(&theirs));
    }
    if naive.is_closed != production.is_closed {
        return format!("closed: naive {}, session {}", naive.is_closed, production.is_closed);
    }
    if naive.asked != production.asked {
        let at = naive.asked.iter().zip(&production.asked).take_while(|(one, other)| one == other).count();
        let point = |result: &Result| result.asked.get(at).map(|asked| asked.split(' ').next().map(str::to_owned));
        return format!("questions: naive {:?}, session {:?}", point(naive), point(production));
    }
    if naive.messages != production.messages {
        return "messages".to_owned();
    }
    "when replies are sent".to_owned()
}

fn explained(cut: &Cut, naive: &Result, production: &Result) -> String {
    let mut text = format!("  cut {cut:?}\n");
    for (name, result) in [("naive", naive), ("session", production)] {
        let _ = write!(text, "  {name}:");
        let mut before = 0;
        for (index, sent) in result.sent.iter().enumerate() {
            if sent.len() > before {
                let _ = write!(text, " {index}:{:?}", reply_lines(&sent[before..]));
                before = sent.len();
            }
        }
        let _ = writeln!(text, "{}", if result.is_closed { " closed" } else { "" });
        if naive.asked != production.asked {
            let _ = writeln!(text, "    asked {:?}", result.asked);
        }
        if naive.messages != production.messages {
            let _ = writeln!(text, "    messages {:?}", result.messages);
        }
    }
    text
}

/// The smallest case found that still differs in this way.
fn shrunk(case: Case, wanted: &str) -> Case {
    let mut best = case;
    let mut budget = 3000;
    loop {
        let smaller = best.smaller().into_iter().find(|one| {
            budget -= 1;
            budget > 0 && difference(one).is_some_and(|(kind, _)| kind == wanted)
        });
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the cases of one strategy.
fn compare(name: &str, default_cases: u64, strategy: impl Strategy<Value = Case>) {
    let cases = setting("DIFFERENTIAL_CASES").unwrap_or(default_cases);
    let first = setting("DIFFERENTIAL_SEED").unwrap_or(0);
    let goes_on = setting("DIFFERENTIAL_ALL").is_some();
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    let mut report = String::new();
    let mut seen = BTreeMap::new();
    for index in first..first + cases {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&index.to_le_bytes());
        seed[8..16.min(8 + name.len())].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), random);
        let case = strategy.new_tree(&mut runner).expect("nothing is filtered").current();
        count_replies(&case, &mut seen);
        let Some((kind, _)) = difference(&case) else { continue };
        let count = found.entry(kind.clone()).or_default();
        *count += 1;
        if *count > 1 {
            continue;
        }
        let small = shrunk(case, &kind);
        let (_, how) = difference(&small).expect("it differs still");
        let _ = write!(report, "\n{name} {index}: {kind}\n{small}{how}");
        if !goes_on || found.len() >= 60 {
            break;
        }
    }
    let counts: String = found.iter().fold(String::new(), |text, (kind, count)| text + &format!("\n{count:6} {kind}"));
    assert!(report.is_empty(), "{} kinds of differences:{report}\n{counts}", found.len());
    let unseen: Vec<&str> = Reply::ALL
        .iter()
        .map(|reply| reply.name())
        .filter(|name| !NEVER_HERE.contains(name) && !seen.contains_key(name))
        .collect();
    assert!(cases < default_cases || unseen.is_empty(), "no case came to {unseen:?}");
    println!("{name}: {cases} cases came to {seen:?}");
}

/// Replies that no client comes to without the engine, without a deferred answer, without a list of recipients or a sink, or in
/// another protocol.
const NEVER_HERE: [&str; 27] = [
    "IdleTimeout",
    "TransactionTimeout",
    "ShuttingDown",
    "TooManyConnections",
    "Overloaded",
    "ClosedByOperator",
    "AnswerTimeout",
    "EnvelopeTooBig",
    "TlsNotAvailable",
    "AuthTemporaryFailure",
    "NoMemory",
    "SpoolFailed",
    "ReadyForTls",
    "BadNetstring",
    "EarlyTalker",
    "Scripted450",
    "Scripted552",
    "Scripted553",
    "Scripted556",
    "RecipientLater",
    "MailboxFull",
    "InsufficientStorage",
    "DeliveryFailed",
    "RelayDenied",
    "UnknownRecipient",
    "NoMailAccepted",
    "AccessDenied",
];

#[test]
fn sensible_and_hostile_commands_come_out_alike() {
    compare("drawn", 15_000, streams::drawn());
}

#[test]
fn mutated_dialogues_come_out_alike() {
    compare("mutated", 15_000, streams::mutated());
}

/// The fixture of the dialogues, from which terms differ in few.
fn fixture() -> Terms {
    dialog::fixture()
}

/// What a dialogue wants of the naive session, in which nothing waits, nothing ends but by what is sent, and nobody decides by a
/// list of recipients.
fn dialogue_fault(case: &dialog::Case, variant: &dialog::Variant) -> Option<String> {
    let is_plain = |step: &Step| matches!(step, Step::Send(_) | Step::Reply(_) | Step::Close);
    if !variant.in_memory || variant.has_list || !variant.defer.is_empty() || !case.steps.iter().all(is_plain) {
        return None;
    }
    let preamble = variant.preamble().into_iter().filter(|(line, _)| !(variant.is_secure && line.is_empty()));
    let mut segments = Vec::new();
    let mut wanted: Vec<(u16, Option<String>)> = Vec::new();
    for (line, code) in preamble {
        segments.push(line.as_bytes().to_vec());
        wanted.push((code, None));
    }
    let mut closes = false;
    for step in &case.steps {
        match step {
            Step::Send(written) => segments.extend(written.iter().cloned()),
            Step::Reply(reply) => {
                wanted.extend(std::iter::repeat_n((reply.code, reply.enhanced.clone()), reply.times));
            }
            _ => closes = true,
        }
    }
    if segments.iter().map(Vec::len).sum::<usize>() > 300_000 {
        return None;
    }
    let verdicts = variant.refuse.iter().map(|(point, reply)| streams::Verdict {
        point: *point,
        nth: None,
        saying: streams::Saying::Refuse(reply.code()),
    });
    let run = Case {
        terms: variant.terms.clone(),
        is_secure: variant.is_secure,
        verdicts: verdicts.collect(),
        tokens: Vec::new(),
        cut: Cut::Whole,
    };
    let mut judge = Judge::new(&run);
    let came = naive::run(&run.terms, run.is_secure, &segments, &mut |asked| judge.outcome(asked));
    let settings = Settings::new(run.terms.clone());
    let said: Vec<String> = came
        .said
        .iter()
        .map(|said| String::from_utf8_lossy(said.reply.line(&settings)).trim_end().to_owned())
        .collect();
    let fits = |(said, wanted): (&String, &(u16, Option<String>))| {
        let (code, enhanced) = wanted;
        said.starts_with(&code.to_string())
            && enhanced.as_ref().is_none_or(|enhanced| said[4..].split(' ').next() == Some(enhanced))
    };
    let contents = |all: &[Vec<u8>]| all.iter().map(|one| one.escape_ascii().to_string()).collect::<Vec<_>>();
    let wanted_contents = contents(&case.messages.iter().map(|one| one.content.clone()).collect::<Vec<_>>());
    let came_contents = contents(&came.messages.iter().map(|one| one.content.clone()).collect::<Vec<_>>());
    let are_alike = said.len() == wanted.len() && said.iter().zip(&wanted).all(fits);
    let is_good = are_alike && closes == came.closed_at.is_some() && wanted_contents == came_contents;
    (!is_good).then(|| format!("{case}{}: wanted {wanted:?}, came {said:?}", variant.name))
}

#[test]
fn the_naive_session_does_what_the_dialogues_want() {
    let mut faults = Vec::new();
    let mut count = 0;
    for case in dialog::load(&streams::dialogues()) {
        for variant in case.variants() {
            count += 1;
            faults.extend(dialogue_fault(&case, &variant));
        }
    }
    assert!(count > 300);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
