//! The protocol once more, as plainly as possible: a second implementation, to which the session is compared.
//!
//! Written from the RFCs, from CONFORMANCE and from the dialogues, not from the session. It has the whole input at once, reads it
//! one octet at a time, copies everything, and every question is answered at once. Of the library it uses names only: terms,
//! replies, marks, questions' points. What none of the sources decides is marked "Open:" here; it is as the session has it.
//!
//! *Does not* know TLS beyond the STARTTLS line, timers, drains, or answers that come late.

mod address;
mod content;
mod parameter;
mod sasl;
mod transaction;

use ringmx::limits;
use ringmx::mail::id::MessageId;
use ringmx::smtp::data::{BareNewline, Marks};
use ringmx::smtp::extension::{Extension, Extensions};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Point};
use ringmx::smtp::settings::{AddressSyntax, Dialect, Synchronization, Terms};

use address::{Address, Cursor, Fault};
use transaction::Transaction;

/// How addresses are read.
#[derive(Clone, Copy)]
pub struct Rules {
    pub strict: bool,
}

/// A reply, and how much input was read when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub at: usize,
    pub reply: Reply,
    /// Replies that are as good: nothing says which of several faults is told.
    pub or: Vec<Reply>,
    /// `Reply::Accepted` says it, if there is one.
    pub id: Option<MessageId>,
}

/// A question, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub point: Point,
    pub about: String,
    /// What XCLIENT says, as it came.
    pub attributes: Vec<u8>,
}

/// A message that was taken by somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub reverse_path: String,
    pub mail_parameters: String,
    pub recipients: Vec<String>,
    pub rcpt_parameters: Vec<String>,
    pub content: Vec<u8>,
    pub marks: Marks,
    pub with: String,
}

/// What came of a session.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub said: Vec<Said>,
    pub asked: Vec<Asked>,
    /// For each question, how many replies were said before it.
    pub asked_behind: Vec<usize>,
    pub messages: Vec<Taken>,
    /// The content of each message whose end was asked about.
    pub contents: Vec<Vec<u8>>,
    /// And to whom it was sent.
    pub recipients: Vec<Vec<String>>,
    /// Octets that were read when the server ended the session.
    pub closed_at: Option<usize>,
    /// STARTTLS was the last that was read; its reply is not given yet.
    pub awaits_tls: bool,
}

/// What the client is: the policy answers at once.
pub type Policy<'p> = &'p mut dyn FnMut(&Asked) -> Outcome;

/// Whether more came in the same segment as the octet before this place.
pub type Behind<'b> = &'b dyn Fn(usize) -> bool;

/// Runs a session on all that a client sends, in these segments.
pub fn run(terms: &Terms, is_secure: bool, segments: &[Vec<u8>], policy: Policy<'_>) -> Run {
    let mut ends = Vec::new();
    let mut input = Vec::new();
    for segment in segments {
        input.extend_from_slice(segment);
        ends.push(input.len());
    }
    let behind = |at: usize| ends.iter().find(|end| **end >= at).is_some_and(|end| *end > at);
    run_on(terms, is_secure, input, &behind, policy)
}

/// Runs a session on all that a client sends.
pub fn run_on(terms: &Terms, is_secure: bool, input: Vec<u8>, behind: Behind<'_>, policy: Policy<'_>) -> Run {
    let mut session = Session {
        terms,
        is_secure,
        input,
        behind,
        at: 0,
        policy,
        run: Run::default(),
        has_service: true,
        hello: None,
        is_authenticated: false,
        transaction: None,
        is_behind_refused_mail: false,
        errors: 0,
        junk: 0,
        messages: 0,
    };
    session.open(is_secure);
    while session.is_going_on() {
        let Some(line) = session.line() else { break };
        session.command(line);
    }
    session.run
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hello {
    Extended,
    Plain,
}

struct Session<'s> {
    terms: &'s Terms,
    is_secure: bool,
    input: Vec<u8>,
    behind: Behind<'s>,
    at: usize,
    policy: Policy<'s>,
    run: Run,
    /// No 554 greeting was given.
    has_service: bool,
    hello: Option<Hello>,
    is_authenticated: bool,
    transaction: Option<Transaction>,
    /// The last MAIL was refused: what a pipelining client sent behind it is no error (CONFORMANCE T025).
    is_behind_refused_mail: bool,
    errors: u32,
    junk: u32,
    messages: u32,
}

/// What a command line is.
enum Line {
    Text(Vec<u8>),
    /// It ends with a bare LF, where that is refused.
    BareLf,
    TooLong,
    /// The end of a line that is too long is not looked for any more.
    Endless,
    /// HTTP or TLS.
    Foreign,
}

impl Session<'_> {
    // Input and output.

    fn is_going_on(&self) -> bool {
        self.run.closed_at.is_none() && !self.run.awaits_tls
    }

    fn octet(&mut self) -> Option<u8> {
        let octet = self.input.get(self.at).copied()?;
        self.at += 1;
        Some(octet)
    }

    /// Whether more came in the segment of the octet that was read last.
    fn has_more_behind(&self) -> bool {
        (self.behind)(self.at)
    }

    fn say(&mut self, reply: Reply) {
        self.run.said.push(Said { at: self.at, reply, or: Vec::new(), id: None });
        if reply.closes() {
            self.close();
        }
    }

    fn close(&mut self) {
        self.run.closed_at.get_or_insert(self.at);
    }

    /// A refusal that is the client's fault, and counts.
    fn fault(&mut self, reply: Reply) {
        self.say(reply);
        self.errors += 1;
        if self.is_going_on() && self.terms.errors.is_some_and(|most| self.errors >= most) {
            self.say(Reply::TooManyErrors);
        }
    }

    /// Another reply would be as good as the last one.
    fn or(&mut self, replies: &[Reply]) {
        let last = self.run.said.iter_mut().rfind(|said| said.reply != Reply::TooManyErrors);
        last.expect("a reply was said").or.extend_from_slice(replies);
    }

    fn say_and_close(&mut self, reply: Reply) {
        self.say(reply);
        self.close();
    }

    /// A command that furthers no message. Whether the session may go on.
    fn is_junk_allowed(&mut self) -> bool {
        self.junk += 1;
        let is_allowed = self.terms.junk_commands.is_none_or(|most| self.junk <= most);
        if !is_allowed {
            self.say(Reply::TooManyJunkCommands);
        }
        is_allowed
    }

    fn ask(&mut self, point: Point, about: String) -> Outcome {
        self.ask_question(Asked { point, about, attributes: Vec::new() })
    }

    fn ask_question(&mut self, asked: Asked) -> Outcome {
        let outcome = (self.policy)(&asked);
        self.run.asked.push(asked);
        self.run.asked_behind.push(self.run.said.len());
        outcome
    }

    /// Asks; a refusal is said, and is not the client's fault.
    fn is_allowed(&mut self, point: Point, about: String) -> bool {
        self.is_question_allowed(Asked { point, about, attributes: Vec::new() })
    }

    fn is_question_allowed(&mut self, asked: Asked) -> bool {
        match self.ask_question(asked) {
            Outcome::Refuse(reply) => {
                self.say(reply);
                false
            }
            _ => true,
        }
    }

    /// RFC 2920 §3.1: nothing may stand behind some commands. Whether that holds.
    fn is_synchronized(&mut self) -> bool {
        let is_ahead = self.terms.synchronization == Synchronization::Strict && self.has_more_behind();
        if is_ahead {
            self.say_and_close(Reply::UnauthorisedPipelining);
        }
        !is_ahead
    }

    fn rules(&self) -> Rules {
        Rules { strict: self.terms.address_syntax == AddressSyntax::Strict }
    }

    fn offered(&self) -> Extensions {
        let all = self.terms.extensions;
        if self.is_secure {
            all.without(Extension::StartTls)
        } else {
            all.without(Extension::Auth).without(Extension::RequireTls)
        }
    }

    fn is_lmtp(&self) -> bool {
        self.terms.dialect == Dialect::Lmtp
    }

    // Lines.

    /// The next line without its end; none if the input ends before.
    fn line(&mut self) -> Option<Line> {
        let from = self.at;
        loop {
            let octet = self.octet()?;
            let so_far = &self.input[from..self.at];
            if so_far.len() > limits::COMMAND_LINE_DISCARD_OCTETS {
                return Some(Line::Endless);
            }
            if octet == b'\n' {
                break;
            }
            if self.hello.is_none() && self.has_service && is_tls_hello(so_far[0]) {
                return Some(Line::Foreign);
            }
        }
        let line = &self.input[from..self.at - 1];
        Some(match line {
            // Open: whether it ends with a bare LF.
            _ if self.at - from > limits::COMMAND_LINE_OCTETS => Line::TooLong,
            [text @ .., b'\r'] => Line::Text(text.to_vec()),
            _ if self.terms.bare_newline == BareNewline::Reject => Line::BareLf,
            text => Line::Text(text.to_vec()),
        })
    }

    // Commands.

    fn open(&mut self, is_secure: bool) {
        // A session within TLS was greeted before it.
        if is_secure {
            return;
        }
        match self.ask(Point::Connect, String::new()) {
            Outcome::Refuse(reply) => {
                self.say(reply);
                self.has_service = false;
            }
            _ => self.say(Reply::Greeting),
        }
    }

    fn command(&mut self, line: Line) {
        let line = match line {
            Line::Text(line) => line,
            Line::BareLf => return self.say_and_close(Reply::BareNewlineInCommand),
            Line::TooLong => return self.fault(Reply::LineTooLong),
            Line::Endless => return self.say_and_close(Reply::LineTooLong),
            Line::Foreign => return self.say_and_close(Reply::NotSmtp),
        };
        let line = trimmed(&line);
        let space = line.iter().position(|octet| *octet == b' ').unwrap_or(line.len());
        let verb = String::from_utf8_lossy(&line[..space]).to_ascii_uppercase();
        let argument = line.get(space + 1..).unwrap_or_default();
        let has_syntax = matches!(verb.as_str(), "MAIL" | "RCPT" | "BDAT");
        let argument = if has_syntax { argument.to_vec() } else { trimmed(argument).to_vec() };
        if HTTP.contains(&verb.as_str()) {
            return self.say_and_close(Reply::NotSmtp);
        }
        let is_known = self.is_known(&verb);
        let needs_tls = self.terms.requires_tls && !self.is_secure;
        if !self.has_service {
            return self.command_without_service(&verb, &argument);
        }
        let may_come_before_tls = ["NOOP", "EHLO", "LHLO", "STARTTLS", "QUIT"].contains(&verb.as_str());
        if needs_tls && is_known && !may_come_before_tls {
            self.refuse_command(&verb, &argument, Reply::TlsRequired);
            return self.or(&[Reply::NotImplemented, Reply::XclientRefused]);
        }
        // No argument has a CR; other controls are looked for where it has no syntax of its own (CONFORMANCE T012, T038, T057).
        let is_simple = ["RSET", "QUIT", "NOOP", "VRFY", "HELP"].contains(&verb.as_str());
        if is_simple && !is_text(&argument) {
            self.fault(Reply::BadLine);
            return self.or(&[Reply::BadArguments]);
        }
        match verb.as_str() {
            "" => self.fault(Reply::BadLine),
            _ if !is_known => self.fault(Reply::UnknownCommand),
            "EHLO" | "LHLO" => self.hello(&argument, Hello::Extended),
            "HELO" => self.hello(&argument, Hello::Plain),
            "MAIL" => self.mail(&argument),
            "RCPT" => self.rcpt(&argument),
            "DATA" => self.data(&argument),
            "BDAT" => self.bdat(&argument),
            "AUTH" => self.auth(&argument),
            "STARTTLS" => self.starttls(&argument),
            "XCLIENT" => self.xclient(&argument),
            "RSET" | "QUIT" if !argument.is_empty() => self.fault(Reply::BadArguments),
            "VRFY" if argument.is_empty() => self.fault(Reply::BadArguments),
            "QUIT" => self.say(Reply::Bye),
            "RSET" => {
                if self.is_junk_allowed() {
                    self.end_transaction();
                    self.say(Reply::Ok);
                }
            }
            "NOOP" | "VRFY" | "HELP" => {
                if self.is_junk_allowed() {
                    self.say(match verb.as_str() {
                        "NOOP" => Reply::Ok,
                        "VRFY" => Reply::CannotVerify,
                        _ => Reply::Help,
                    });
                }
            }
            _ => self.fault(Reply::NotImplemented),
        }
    }

    fn is_known(&self, verb: &str) -> bool {
        match verb {
            "EHLO" | "HELO" => !self.is_lmtp(),
            "LHLO" => self.is_lmtp(),
            "MAIL" | "RCPT" | "DATA" | "BDAT" | "AUTH" | "STARTTLS" | "XCLIENT" | "RSET" | "QUIT" | "NOOP" | "VRFY"
            | "HELP" | "EXPN" | "TURN" | "SEND" | "SOML" | "SAML" => true,
            _ => false,
        }
    }

    /// RFC 5321 §3.1: behind a 554 greeting only QUIT is of use.
    fn command_without_service(&mut self, verb: &str, argument: &[u8]) {
        if verb == "QUIT" && argument.is_empty() {
            return self.say(Reply::Bye);
        }
        self.refuse_command(verb, argument, Reply::NoService);
        if verb == "QUIT" {
            self.or(&[Reply::BadArguments, Reply::BadLine]);
        }
    }

    /// Refuses a command for which it is the wrong time. What may follow DATA or BDAT is no command, all the same.
    fn refuse_command(&mut self, verb: &str, argument: &[u8], reply: Reply) {
        match verb {
            "DATA" => self.refuse_data(reply, true),
            "BDAT" => match transaction::chunk(argument) {
                Some(chunk) => {
                    if self.swallow(reply, chunk.octets) {
                        self.fault(reply);
                    }
                }
                None => self.say_and_close(Reply::BadArguments),
            },
            _ => self.fault(reply),
        }
    }

    fn hello(&mut self, argument: &[u8], hello: Hello) {
        if !self.is_synchronized() {
            return;
        }
        let name = trimmed_front(argument);
        if name.contains(&b'\r') {
            return self.fault(Reply::BadLine);
        }
        let is_name = match self.rules().strict {
            true => {
                let mut cursor = Cursor::new(name);
                let read = match name.first() {
                    Some(b'[') => address::literal(&mut cursor, self.rules()),
                    _ => address::domain(&mut cursor, self.rules()),
                };
                read.is_some() && cursor.rest().is_empty() && name.is_ascii()
            }
            false => is_text(name),
        };
        if name.is_empty() || name.len() > limits::DOMAIN_OCTETS || !is_name {
            return self.fault(Reply::BadDomain);
        }
        // Said again it furthers no message.
        if self.hello.is_some() && !self.is_junk_allowed() {
            return;
        }
        if !self.is_allowed(Point::Hello, name.escape_ascii().to_string()) {
            return;
        }
        self.end_transaction();
        self.hello = Some(hello);
        self.say(match hello {
            Hello::Plain => Reply::Helo,
            Hello::Extended if self.is_secure => Reply::EhloSecure,
            Hello::Extended => Reply::Ehlo,
        });
    }

    fn end_transaction(&mut self) {
        self.transaction = None;
        self.is_behind_refused_mail = false;
    }

    // Security.

    fn starttls(&mut self, argument: &[u8]) {
        if !self.terms.extensions.has(Extension::StartTls) {
            return self.fault(Reply::NotImplemented);
        }
        if self.is_secure {
            self.fault(Reply::TlsActive);
            return self.or(&[Reply::HelloFirst, Reply::WithinTransaction, Reply::BadArguments]);
        }
        if self.hello.is_none() {
            return self.fault(Reply::HelloFirst);
        }
        if self.transaction.is_some() {
            return self.fault(Reply::WithinTransaction);
        }
        if !argument.is_empty() && !self.has_more_behind() {
            self.fault(Reply::BadArguments);
            return self.or(&[Reply::BadLine]);
        }
        // Whatever comes before the reply was put there by somebody, in one segment or in another.
        if self.octet().is_some() {
            return self.say_and_close(Reply::InjectedBehindStartTls);
        }
        self.run.awaits_tls = true;
    }

    fn xclient(&mut self, argument: &[u8]) {
        let argument = trimmed_front(argument);
        if !self.terms.extensions.has(Extension::Xclient) {
            return self.fault(Reply::XclientRefused);
        }
        if self.transaction.is_some() {
            return self.fault(Reply::WithinTransaction);
        }
        if argument.is_empty() {
            return self.fault(Reply::BadArguments);
        }
        if !self.is_synchronized() {
            return;
        }
        if !self.is_junk_allowed() {
            return;
        }
        // Whether its attributes can be read is for the host to say.
        let about = argument.escape_ascii().to_string();
        let asked = Asked { point: Point::Xclient, about, attributes: argument.to_vec() };
        if !self.is_question_allowed(asked) {
            return;
        }
        self.end_transaction();
        self.hello = None;
        self.is_authenticated = false;
        self.say(Reply::Greeting);
    }

    fn auth(&mut self, argument: &[u8]) {
        if !self.terms.extensions.has(Extension::Auth) {
            return self.fault(Reply::NotImplemented);
        }
        if self.hello.is_none() {
            self.fault(Reply::HelloFirst);
            return self.or(&[Reply::AuthNeedsTls]);
        }
        if self.transaction.is_some() {
            self.fault(Reply::WithinTransaction);
            return self.or(&[Reply::AuthNeedsTls, Reply::AlreadyAuthenticated]);
        }
        if !self.is_synchronized() {
            return;
        }
        if !self.is_secure {
            self.fault(Reply::AuthNeedsTls);
            return self.or(&[Reply::BadArguments, Reply::UnknownMechanism]);
        }
        if self.is_authenticated {
            return self.fault(Reply::AlreadyAuthenticated);
        }
        if argument.is_empty() {
            return self.fault(Reply::BadArguments);
        }
        let argument = trimmed_front(argument);
        let space = argument.iter().position(|octet| *octet == b' ').unwrap_or(argument.len());
        let mechanism = argument[..space].to_ascii_uppercase();
        let first = argument.get(space + 1..).map(|first| trimmed_front(first).to_vec());
        let shown = match &mechanism[..] {
            b"PLAIN" => self.auth_plain(first),
            b"LOGIN" => self.auth_login(first),
            _ => return self.fault(Reply::UnknownMechanism),
        };
        // The input ended, or it is refused already.
        let Some(shown) = shown else { return };
        match self.ask(Point::Auth, shown) {
            Outcome::Refuse(reply) => self.fault(reply),
            _ => {
                self.is_authenticated = true;
                self.say(Reply::Authenticated);
            }
        }
    }

    fn auth_plain(&mut self, first: Option<Vec<u8>>) -> Option<String> {
        let message = match first {
            Some(first) => self.initial_response(&first)?,
            None => self.response(Reply::AuthContinue)?,
        };
        let Some([authorization, authentication, password]) = sasl::plain(&message) else {
            self.fault(Reply::AuthBadResponse);
            return None;
        };
        let [authorization, authentication, password] =
            [authorization, authentication, password].map(|part| part.escape_ascii().to_string());
        Some(format!("PLAIN {authorization:?} {authentication:?} {password:?}"))
    }

    fn auth_login(&mut self, first: Option<Vec<u8>>) -> Option<String> {
        let user = match first {
            Some(first) => self.initial_response(&first)?,
            None => self.response(Reply::AuthUsername)?,
        };
        let password = self.response(Reply::AuthPassword)?;
        let [user, password] = [user, password].map(|part| part.escape_ascii().to_string());
        Some(format!("LOGIN \"\" {user:?} {password:?}"))
    }

    /// RFC 4954 §4: `=` is an empty one.
    fn initial_response(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let octets = if text == b"=" { Some(Vec::new()) } else { sasl::base64(text).filter(|_| !text.is_empty()) };
        if octets.is_none() {
            self.fault(Reply::AuthBadResponse);
        }
        octets
    }

    /// Asks with a challenge.
    fn response(&mut self, challenge: Reply) -> Option<Vec<u8>> {
        self.say(challenge);
        let line = match self.line()? {
            // Open: blanks around a response.
            Line::Text(line) => trimmed_front(trimmed(&line)).to_vec(),
            other => {
                self.command(other);
                return None;
            }
        };
        if !self.is_synchronized() {
            return None;
        }
        if line == b"*" {
            self.fault(Reply::AuthCancelled);
            return None;
        }
        let octets = sasl::base64(&line);
        if octets.is_none() {
            self.fault(Reply::AuthBadResponse);
        }
        octets
    }
}

/// Without blanks behind it: RFC 5321 §4.1.1.
fn trimmed(mut line: &[u8]) -> &[u8] {
    while let [shorter @ .., b' ' | b'\t'] = line {
        line = shorter;
    }
    line
}

/// Open: which controls make a line that is no text. TAB does not.
fn is_text(argument: &[u8]) -> bool {
    !argument.iter().any(|octet| octet.is_ascii_control() && *octet != b'\t')
}

fn trimmed_front(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', shorter @ ..] = line {
        line = shorter;
    }
    line
}

/// Methods of HTTP, and the field that every request has (CONFORMANCE T027).
const HTTP: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "HOST:"];

/// Whether a handshake of TLS, or of SSL 2, begins so.
fn is_tls_hello(octet: u8) -> bool {
    octet == 0x16 || octet == 0x80
}
