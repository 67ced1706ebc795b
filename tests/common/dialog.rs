//! Reads dialogues: `tests/dialog/*.smtp`, whose format `tests/dialog/README.md` describes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ringmx::smtp::data::{BareNewline, Marks};
use ringmx::smtp::extension::Extension;
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Point};
use ringmx::smtp::settings::{AddressSyntax, Dialect, Nul, Settings, Synchronization, Terms};

/// One dialogue.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name and the line that the case begins in.
    pub place: String,
    /// Rows of CONFORMANCE.
    pub ids: Vec<String>,
    pub title: String,
    /// Keys with all their alternatives.
    settings: BTreeMap<String, Vec<String>>,
    pub steps: Vec<Step>,
    /// The accepted messages.
    pub messages: Vec<Expected>,
}

/// One step of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client sends; in these segments, unless the run cuts otherwise.
    Send(Vec<Vec<u8>>),
    /// The server replies.
    Reply(ExpectedReply),
    /// The server closes.
    Close,
    /// The client shuts its sending side.
    HalfClose,
    /// The client is silent until the server loses patience.
    Idle,
    /// The server is told to stop.
    Drain,
    /// The question of this number, from 1, is answered. Somebody waits for that, or nobody any more.
    Answer { ticket: usize, outcome: Outcome, is_awaited: bool },
    /// The oldest answer does not come.
    AnswerTimeout,
    /// Nothing came behind STARTTLS; there is a certificate, or none.
    Quiet { is_available: bool },
    /// The handshake is done.
    Secured,
}

/// A reply, as far as it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedReply {
    pub code: u16,
    pub enhanced: Option<String>,
    /// Of each line, if any is given.
    pub lines: Vec<String>,
    /// How often.
    pub times: usize,
}

/// An accepted message, as far as it is said.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub content: Vec<u8>,
    pub reverse_path: Option<String>,
    pub recipients: Option<Vec<String>>,
    pub mail_parameters: Option<String>,
    /// Of each recipient.
    pub rcpt_parameters: Vec<String>,
    pub marks: Option<Marks>,
    pub with: Option<String>,
}

/// How far the session is before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beginning {
    /// Nothing was read from the server.
    Connected,
    Greeted,
    Hello,
    Mail,
    Rcpt,
    Data,
}

/// One way to run a case.
#[derive(Clone, Debug)]
pub struct Variant {
    /// The settings that the case has alternatives of.
    pub name: String,
    pub terms: Terms,
    pub begin: Beginning,
    /// The session begins within TLS (in memory).
    pub is_secure: bool,
    /// Only as written; how input is cut would make a difference.
    pub is_whole_only: bool,
    pub in_memory: bool,
    pub is_live: bool,
    /// Refused at these points.
    pub refuse: Vec<(Point, Reply)>,
    /// The fixture's list of recipients decides at RCPT, rather than their names.
    pub has_list: bool,
    /// Answered later at these points.
    pub defer: Vec<Point>,
    pub idle_timeout_s: u64,
    pub greet_pause_ms: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {})", self.place, self.ids.join(" "), self.title)
    }
}

/// The fixture of CONFORMANCE, as far as this build offers it.
pub fn fixture() -> Terms {
    Terms {
        message_size_bytes: 1_000_000,
        recipients_per_message: 100,
        messages_per_connection: None,
        ..Terms::public("mx.test")
    }
}

/// Every case of every file, in their order.
pub fn load(directory: &Path) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the dialogues are there")
        .map(|entry| entry.expect("the directory can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "smtp"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let name = path.file_name().expect("it is a file").to_string_lossy().into_owned();
            parse(&name, &std::fs::read_to_string(path).expect("a dialogue is text"))
        })
        .collect()
}

/// Every case of one file.
pub fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut common = BTreeMap::new();
    let mut cases: Vec<Case> = Vec::new();
    // Whether the next client line goes into the step before.
    let mut is_sending = false;
    for (index, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", index + 1);
        let fail = |why: &str| -> ! { panic!("{place}: {why}: {line:?}") };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let is_client = matches!(word, ">" | ">>" | "|");
        if line.is_empty() || word.starts_with('#') {
            continue;
        }
        if word == "case" {
            let (ids, title) = rest.split_once(": ").unwrap_or_else(|| fail("wanted 'case IDS: TITLE'"));
            let ids = ids.split_whitespace().map(str::to_owned).collect();
            let (settings, steps, messages) = (common.clone(), Vec::new(), Vec::new());
            cases.push(Case { place, ids, title: title.to_owned(), settings, steps, messages });
            is_sending = false;
            continue;
        }
        if word == "set" {
            for setting in rest.split_whitespace() {
                let (key, values) = setting.split_once('=').unwrap_or_else(|| fail("wanted KEY=VALUE"));
                let values = values.split('|').map(str::to_owned).collect();
                cases.last_mut().map_or(&mut common, |case| &mut case.settings).insert(key.to_owned(), values);
            }
            continue;
        }
        let Some(case) = cases.last_mut() else { fail("a step before the first case") };
        if is_client && !is_sending {
            case.steps.push(Step::Send(vec![Vec::new()]));
        }
        is_sending = is_client;
        match (word, case.steps.last_mut()) {
            (">", Some(Step::Send(segments))) => {
                let segment = segments.last_mut().expect("there is one");
                segment.extend(unescape(rest));
                segment.extend_from_slice(b"\r\n");
            }
            (">>", Some(Step::Send(segments))) => segments.last_mut().expect("there is one").extend(unescape(rest)),
            ("|", Some(Step::Send(segments))) => segments.push(Vec::new()),
            ("<", _) => case.steps.push(Step::Reply(reply(rest).unwrap_or_else(|| fail("no reply")))),
            ("+close", _) => case.steps.push(Step::Close),
            ("+fin", _) => case.steps.push(Step::HalfClose),
            ("+idle", _) => case.steps.push(Step::Idle),
            ("+drain", _) => case.steps.push(Step::Drain),
            ("+timeout", _) => case.steps.push(Step::AnswerTimeout),
            ("+quiet", _) => case.steps.push(Step::Quiet { is_available: true }),
            ("+notls", _) => case.steps.push(Step::Quiet { is_available: false }),
            ("+tls", _) => case.steps.push(Step::Secured),
            ("+answer" | "+late", _) => {
                let (ticket, outcome) = rest.split_once(' ').unwrap_or_else(|| fail("wanted NUMBER OUTCOME"));
                let ticket = ticket.parse().unwrap_or_else(|_| fail("no number"));
                let outcome = outcome_of(outcome).unwrap_or_else(|| fail("no outcome"));
                case.steps.push(Step::Answer { ticket, outcome, is_awaited: word == "+answer" });
            }
            ("=", _) => case.messages.push(Expected { content: unescape(rest), ..Expected::default() }),
            ("=times", _) => {
                let Some(message) = case.messages.last().cloned() else { fail("no content above") };
                let times: usize = rest.parse().unwrap_or_else(|_| fail("no number"));
                case.messages.extend(std::iter::repeat_n(message, times - 1));
            }
            ("=from" | "=to" | "=marks" | "=mail" | "=rcpt" | "=with", _) => {
                let Some(message) = case.messages.last_mut() else { fail("no content above") };
                match word {
                    "=from" => message.reverse_path = Some(String::from_utf8_lossy(&unescape(rest)).into_owned()),
                    "=mail" => message.mail_parameters = Some(rest.to_owned()),
                    "=with" => message.with = Some(rest.to_owned()),
                    "=rcpt" => message.rcpt_parameters.push(rest.to_owned()),
                    "=to" => message.recipients = Some(rest.split_whitespace().map(str::to_owned).collect()),
                    _ => message.marks = Some(marks(rest)),
                }
            }
            _ => fail("unknown line"),
        }
    }
    cases
}

/// `250 2.1.0 "text" "text" *3`.
fn reply(text: &str) -> Option<ExpectedReply> {
    let (text, times) = match text.rsplit_once(" *") {
        Some((text, times)) => (text, times.parse().ok()?),
        None => (text, 1),
    };
    let (head, quoted) = text.split_once('"').unwrap_or((text, ""));
    let mut words = head.split_whitespace();
    let code = words.next()?.parse().ok()?;
    let enhanced = words.next().map(str::to_owned);
    let lines = quoted.split('"').step_by(2).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    words.next().is_none().then_some(ExpectedReply { code, enhanced, lines, times })
}

fn outcome_of(text: &str) -> Option<Outcome> {
    match text {
        "accept" => Some(Outcome::Accept),
        several if several.contains(',') => {
            let one = |word: &str| match word {
                "accept" => Some(Ok(())),
                code => Some(Err(Reply::scripted(code.parse().ok()?)?)),
            };
            Some(Outcome::each(None, several.split(',').map(one).collect::<Option<Vec<_>>>()?))
        }
        code => Some(Outcome::Refuse(Reply::scripted(code.parse().ok()?)?)),
    }
}

fn marks(text: &str) -> Marks {
    let mut marks = Marks::default();
    for word in text.split_whitespace() {
        match word {
            "none" => {}
            "bare_lf" => marks.bare_lf = true,
            "bare_cr" => marks.bare_cr = true,
            "nul" => marks.nul = true,
            "eight_bit" => marks.eight_bit = true,
            "false_end" => marks.false_end = true,
            other => panic!("{other} is no mark"),
        }
    }
    marks
}

/// Octets as a dialogue writes them.
pub fn unescape(text: &str) -> Vec<u8> {
    let (octets, rest) = sequence(text, false);
    assert!(rest.is_empty());
    octets
}

/// Reads up to the end, or to the star that ends what is in braces.
fn sequence(mut text: &str, in_braces: bool) -> (Vec<u8>, &str) {
    let mut octets = Vec::new();
    while let Some(first) = text.chars().next() {
        let rest = &text[first.len_utf8()..];
        match first {
            '*' if in_braces => return (octets, rest),
            '{' => {
                let (part, behind) = sequence(rest, true);
                let (times, behind) = behind.split_once('}').expect("a brace is closed");
                octets.extend(part.repeat(times.parse().expect("a number stands behind the star")));
                text = behind;
                continue;
            }
            '$' => {
                octets.extend_from_slice(match rest.as_bytes()[0] {
                    b'E' => b"EHLO c.test",
                    b'M' => b"MAIL FROM:<s@x.test>",
                    b'R' => b"RCPT TO:<a@ok.test>",
                    other => panic!("${} stands for nothing", other.escape_ascii()),
                });
                text = &rest[1..];
                continue;
            }
            '\\' => {
                let (octet, octets_used) = match rest.as_bytes()[0] {
                    b'r' => (b'\r', 1),
                    b'n' => (b'\n', 1),
                    b't' => (b'\t', 1),
                    b'0' => (0, 1),
                    b'x' => (u8::from_str_radix(&rest[1..3], 16).expect("two hexadecimal digits"), 3),
                    itself @ (b'\\' | b'{' | b'}' | b'*' | b'$') => (itself, 1),
                    other => panic!("\\{} is no escape", other.escape_ascii()),
                };
                octets.push(octet);
                text = &rest[octets_used..];
                continue;
            }
            other => octets.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        text = rest;
    }
    assert!(!in_braces, "a brace is closed");
    (octets, text)
}

impl Case {
    /// Every combination of the alternatives that its settings have.
    pub fn variants(&self) -> Vec<Variant> {
        let mut chosen: Vec<Vec<(&str, &str)>> = vec![Vec::new()];
        for (key, values) in &self.settings {
            chosen = chosen
                .into_iter()
                .flat_map(|chosen| {
                    values.iter().map(move |value| {
                        let mut chosen = chosen.clone();
                        chosen.push((key.as_str(), value.as_str()));
                        chosen
                    })
                })
                .collect();
        }
        chosen.into_iter().map(|chosen| self.variant(&chosen)).collect()
    }

    fn variant(&self, chosen: &[(&str, &str)]) -> Variant {
        let mut variant = Variant {
            name: String::new(),
            terms: fixture(),
            begin: Beginning::Hello,
            is_secure: false,
            is_whole_only: false,
            in_memory: true,
            is_live: true,
            refuse: Vec::new(),
            has_list: false,
            defer: Vec::new(),
            idle_timeout_s: 300,
            greet_pause_ms: 0,
        };
        for (key, value) in chosen {
            if self.settings[*key].len() > 1 {
                variant.name += &format!(" {key}={value}");
            }
            self.apply(&mut variant, key, value);
        }
        let needs_memory = !variant.refuse.is_empty() || !variant.defer.is_empty() || variant.is_secure;
        assert!(!(needs_memory && variant.is_live), "{self}: 'refuse', 'defer' and 'secure' need 'run=memory'");
        variant
    }

    fn apply(&self, variant: &mut Variant, key: &str, value: &str) {
        let fail = || -> ! { panic!("{self}: {key}={value} is not understood") };
        let number = || value.parse().unwrap_or_else(|_| fail());
        let no_limit_at_0 = || Some(number() as u32).filter(|count| *count > 0);
        let point = |name: &str| Point::from_name(name).unwrap_or_else(|| fail());
        let terms = &mut variant.terms;
        match (key, value) {
            ("synchronization", "strict") => terms.synchronization = Synchronization::Strict,
            ("synchronization", "tolerant") => terms.synchronization = Synchronization::Tolerant,
            ("bare_newline", "normalize") => terms.bare_newline = BareNewline::Normalize,
            ("bare_newline", "preserve") => terms.bare_newline = BareNewline::Preserve,
            ("bare_newline", "reject") => terms.bare_newline = BareNewline::Reject,
            ("nul", "accept") => terms.nul = Nul::Accept,
            ("nul", "reject") => terms.nul = Nul::Reject,
            ("address_syntax", "strict") => terms.address_syntax = AddressSyntax::Strict,
            ("address_syntax", "loose") => terms.address_syntax = AddressSyntax::Loose,
            ("extensions", list) => {
                let names = list.split(',').filter(|name| !name.is_empty());
                terms.extensions = names.map(|name| Extension::from_keyword(name).unwrap_or_else(|| fail())).collect();
            }
            ("dialect", "smtp") => terms.dialect = Dialect::Smtp,
            ("dialect", "lmtp") => terms.dialect = Dialect::Lmtp,
            ("secure", "yes" | "no") => variant.is_secure = value == "yes",
            ("requires_tls", "yes") => terms.requires_tls = true,
            ("requires_auth", "yes") => terms.requires_auth = true,
            ("default_domain", domain) => terms.default_domain = Some(domain.to_owned()),
            ("received_fields", _) => terms.received_fields = no_limit_at_0(),
            ("line_octets", _) => terms.line_octets = no_limit_at_0(),
            ("domains", _) => terms.recipient_domains_per_message = no_limit_at_0(),
            ("size", _) => terms.message_size_bytes = number(),
            ("recipients", _) => terms.recipients_per_message = number() as u32,
            ("messages", _) => terms.messages_per_connection = no_limit_at_0(),
            ("errors", _) => terms.errors = no_limit_at_0(),
            ("junk", _) => terms.junk_commands = no_limit_at_0(),
            ("begin", name) => {
                variant.begin = match name {
                    "connected" => Beginning::Connected,
                    "greeted" => Beginning::Greeted,
                    "hello" => Beginning::Hello,
                    "mail" => Beginning::Mail,
                    "rcpt" => Beginning::Rcpt,
                    "data" => Beginning::Data,
                    _ => fail(),
                }
            }
            ("cut", "whole") => variant.is_whole_only = true,
            ("run", "memory") => variant.is_live = false,
            ("run", "live") => variant.in_memory = false,
            ("refuse", list) => {
                for one in list.split(',') {
                    let (name, code) = one.split_once(':').unwrap_or_else(|| fail());
                    let reply = code.parse().ok().and_then(Reply::scripted).unwrap_or_else(|| fail());
                    variant.refuse.push((point(name), reply));
                }
            }
            ("list", "yes") => variant.has_list = true,
            ("defer", list) => variant.defer = list.split(',').map(point).collect(),
            ("idle_timeout_s", _) => variant.idle_timeout_s = number(),
            ("greet_pause_ms", _) => variant.greet_pause_ms = number(),
            _ => fail(),
        }
    }
}

impl Variant {
    pub fn settings(&self) -> Settings {
        Settings::new(self.terms.clone())
    }

    /// What the client says before the first step, with what it hears.
    pub fn preamble(&self) -> Vec<(&'static str, u16)> {
        let hello = match self.terms.dialect {
            Dialect::Smtp => "EHLO c.test\r\n",
            Dialect::Lmtp => "LHLO c.test\r\n",
        };
        let steps = [
            (Beginning::Greeted, "", 220),
            (Beginning::Hello, hello, 250),
            (Beginning::Mail, "MAIL FROM:<s@x.test>\r\n", 250),
            (Beginning::Rcpt, "RCPT TO:<a@ok.test>\r\n", 250),
            (Beginning::Data, "DATA\r\n", 354),
        ];
        steps.into_iter().filter(|(begin, ..)| *begin <= self.begin).map(|(_, line, code)| (line, code)).collect()
    }
}
