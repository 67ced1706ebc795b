//! One dialogue with both servers in lockstep, each reply compared as it comes.

use std::io::ErrorKind;
use std::net::SocketAddr;

use super::dialogue::{Command, Dialogue, Step};
use super::differences::{After, DIFFERENCES, Tally};
use crate::process::client::Client;

/// What a server does about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply { code: u16, text: String },
    Closed,
}

impl Answer {
    fn of(client: &mut Client) -> Self {
        match client.reply() {
            Ok(reply) => Self::Reply { code: reply.code, text: reply.text },
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => Self::Closed,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }

    /// The reply code; 0 for a close.
    pub fn code(&self) -> u16 {
        match self {
            Self::Reply { code, .. } => *code,
            Self::Closed => 0,
        }
    }

    /// The first digit of the reply code; 0 for a close.
    pub fn class(&self) -> u16 {
        self.code() / 100
    }

    pub fn says(&self, words: &str) -> bool {
        matches!(self, Self::Reply { text, .. } if text.contains(words))
    }

    /// What is compared: of refusals the class, of other replies the code.
    fn compared(&self) -> u16 {
        if self.class() >= 4 { self.class() } else { self.code() }
    }

    /// Whether the connection is of no more use: closed or about to be, or in mail data.
    fn ends_all(&self) -> bool {
        matches!(self.code(), 0 | 221 | 354 | 421) || self.says("554 5.5.0")
    }
}

/// How the client has introduced itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hello {
    #[default]
    No,
    /// HELO.
    Plain,
    /// EHLO.
    Extended,
}

/// Where the session stands, in both servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub hello: Hello,
    /// A MAIL with a size was refused, and no other accepted.
    pub size_refused: bool,
    /// A chunk that is not the last was refused.
    pub chunk_refused: bool,
    /// Refusals since the last message.
    pub refusals: u32,
    /// Commands without one.
    pub commands: u32,
}

/// One command and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// `None`: mail data.
    pub command: Option<Command>,
    /// The mail data.
    pub content: Vec<u8>,
    /// As it was before.
    pub state: State,
    /// More was sent without awaiting the reply.
    pub is_followed: bool,
    pub ours: Answer,
    pub theirs: Answer,
}

impl Exchange {
    pub fn is(&self, verb: &str) -> bool {
        self.command.as_ref().is_some_and(|command| command.is(verb))
    }

    pub fn argument(&self) -> &[u8] {
        self.command.as_ref().map_or(b"", Command::argument)
    }

    /// The first word, upper case.
    pub fn verb(&self) -> String {
        self.command.as_ref().map_or_else(String::new, Command::verb)
    }

    pub fn is_hello(&self) -> bool {
        self.is("EHLO") || self.is("HELO")
    }

    pub fn is_http(&self) -> bool {
        ["GET", "POST", "CONNECT"].iter().any(|verb| self.is(verb))
    }

    /// What stands behind the colon of MAIL and RCPT.
    pub fn path(&self) -> &[u8] {
        let argument = self.argument();
        argument.iter().position(|octet| *octet == b':').map_or(b"", |at| &argument[at + 1..])
    }

    /// How often the argument has this text, in any case.
    pub fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(self.argument()).to_ascii_uppercase().matches(text).count()
    }

    pub fn has(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    fn shown(&self) -> String {
        let sent = self.command.as_ref().map_or(&self.content[..], |command| &command.0);
        let excerpt = |octets: &[u8]| match octets.len() {
            0..=400 => octets.escape_ascii().to_string(),
            size => format!("{} ... {size} octets", octets[..200].escape_ascii()),
        };
        let what = if self.command.is_some() { "C" } else { "C (mail data)" };
        format!("{what}: {}\n    ringmx:  {:?}\n    Postfix: {:?}\n", excerpt(sent), self.ours, self.theirs)
    }
}

/// What became of a dialogue.
#[derive(Debug, Default)]
pub struct Done {
    /// Messages that ringmx took.
    pub ours: usize,
    /// Queue identifiers of the messages that Postfix took.
    pub theirs: Vec<String>,
    /// Commands and mail data that were compared.
    pub compared: usize,
    /// How many of these differ as a rule says.
    pub known: usize,
    pub transcript: String,
}

/// How a dialogue goes on behind an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Both servers stand alike.
    Alike,
    /// They do not: what follows in the group is not compared, and RSET makes them alike again.
    Apart,
    /// At least one has closed, or cannot be brought back.
    Over,
}

struct Pair<'t> {
    ours: Client,
    theirs: Client,
    state: State,
    course: Course,
    last: Option<Exchange>,
    tally: &'t Tally,
    done: Done,
}

/// Runs the dialogue. An error is a difference that no rule knows, with all that was said.
pub fn run(dialogue: &Dialogue, ours: SocketAddr, theirs: SocketAddr, tally: &Tally) -> Result<Done, String> {
    let mut pair = Pair {
        ours: Client::greeted(ours),
        theirs: Client::greeted(theirs),
        state: State::default(),
        course: Course::Alike,
        last: None,
        tally,
        done: Done::default(),
    };
    let played = pair.play(dialogue);
    let done = &pair.done;
    match played {
        Ok(()) if done.known == 0 && done.ours != done.theirs.len() => {
            Err(format!("seed {}: the messages differ, but no reply does\n{}", dialogue.seed, done.transcript))
        }
        Ok(()) => Ok(pair.done),
        Err(why) => Err(format!("seed {}: {why}\n{}", dialogue.seed, pair.done.transcript)),
    }
}

impl Pair<'_> {
    fn play(&mut self, dialogue: &Dialogue) -> Result<(), String> {
        for step in &dialogue.steps {
            match step {
                Step::Group(commands) => self.group(commands)?,
                Step::Content(content) => self.content(content)?,
                Step::Last(octets) => self.last(octets)?,
            }
            if self.course == Course::Apart {
                self.reset()?;
            }
            if self.course == Course::Over {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, octets: &[u8]) {
        // A server that has closed says so when it is read.
        let _ = self.ours.send(octets);
        let _ = self.theirs.send(octets);
    }

    fn group(&mut self, commands: &[Command]) -> Result<(), String> {
        let octets: Vec<u8> = commands.iter().flat_map(|command| command.0.iter().copied()).collect();
        self.send(&octets);
        for (index, command) in commands.iter().enumerate() {
            let found = self.answers(Some(command), b"", index + 1 < commands.len());
            if found.is_err() {
                // They were sent in the same write, and may be the reason.
                for behind in &commands[index + 1..] {
                    self.done.transcript.push_str(&format!("C, behind it: {}\n", behind.0.escape_ascii()));
                }
            }
            found?;
            if self.course == Course::Over {
                break;
            }
        }
        Ok(())
    }

    fn content(&mut self, content: &[u8]) -> Result<(), String> {
        let is_taken = self.last.as_ref().is_some_and(|last| last.is("DATA") && last.ours.class() == 3);
        if is_taken {
            self.send(content);
            self.answers(None, content, false)?;
        }
        Ok(())
    }

    fn last(&mut self, octets: &[u8]) -> Result<(), String> {
        self.send(octets);
        for client in [&self.ours, &self.theirs] {
            // One that has closed already is as good.
            let _ = client.socket().shutdown(std::net::Shutdown::Write);
        }
        let mut lines = octets.split_inclusive(|octet| *octet == b'\n').peekable();
        // BOUND: a server answers a line once, and a few octets were sent.
        while self.course != Course::Over {
            let line = Command(lines.next().unwrap_or_default().to_vec());
            self.answers(Some(&line), b"", lines.peek().is_some())?;
        }
        Ok(())
    }

    /// RSET on both. What was not compared may have closed one.
    fn reset(&mut self) -> Result<(), String> {
        self.group(&[Command::line("RSET")])?;
        if self.course == Course::Apart {
            self.course = Course::Alike;
            let codes = self.last.as_ref().map(|last| (last.ours.code(), last.theirs.code()));
            if codes != Some((250, 250)) {
                return Err("RSET does not bring them together".into());
            }
        }
        Ok(())
    }

    /// Reads an answer from each, and compares.
    fn answers(&mut self, command: Option<&Command>, content: &[u8], is_followed: bool) -> Result<(), String> {
        let exchange = Exchange {
            command: command.cloned(),
            content: content.to_vec(),
            state: self.state,
            is_followed: is_followed || command.is_some_and(Command::has_chunk),
            ours: Answer::of(&mut self.ours),
            theirs: Answer::of(&mut self.theirs),
        };
        self.done.transcript.push_str(&exchange.shown());
        self.count(&exchange);
        let found = self.compare(&exchange);
        self.advance(&exchange);
        self.last = Some(exchange);
        found
    }

    fn count(&mut self, exchange: &Exchange) {
        if is_end_of_message(exchange) {
            self.done.ours += usize::from(exchange.ours.class() == 2);
            if let Answer::Reply { text, .. } = &exchange.theirs
                && let Some((_, id)) = text.split_once("queued as ")
            {
                self.done.theirs.push(id.trim().to_owned());
            }
        }
    }

    fn compare(&mut self, exchange: &Exchange) -> Result<(), String> {
        let (ours, theirs) = (exchange.ours.compared(), exchange.theirs.compared());
        if self.course == Course::Apart {
            if exchange.ours.ends_all() || exchange.theirs.ends_all() {
                self.course = Course::Over;
            }
            return Ok(());
        }
        self.done.compared += 1;
        let Some((index, rule)) = DIFFERENCES.iter().enumerate().find(|(_, rule)| (rule.holds)(exchange)) else {
            if ours != theirs {
                return Err(format!("a difference that no rule knows, in {:?}", exchange.state));
            }
            if ours == 0 {
                self.course = Course::Over;
            }
            return Ok(());
        };
        self.tally.count(index);
        self.done.known += 1;
        self.done.transcript.push_str(&format!("    known: {}\n", rule.name));
        let (we_close, they_close) = match rule.after {
            After::Alike => return Ok(()),
            After::Reset => {
                self.course = Course::Apart;
                return Ok(());
            }
            After::WeClose => (true, false),
            After::TheyClose => (false, true),
            After::BothClose => (true, true),
        };
        self.course = Course::Over;
        for (client, closes) in [(&mut self.ours, we_close), (&mut self.theirs, they_close)] {
            if closes && Answer::of(client) != Answer::Closed {
                return Err(format!("{}: it should have closed", rule.name));
            }
        }
        Ok(())
    }

    /// What was said, as far as it bears on what follows.
    fn advance(&mut self, exchange: &Exchange) {
        let state = &mut self.state;
        let is_accepted = exchange.ours.class() == 2;
        state.commands += 1;
        state.refusals += u32::from(exchange.ours.class() == 5);
        match exchange.command.as_ref().map(Command::verb).as_deref() {
            Some(verb @ ("EHLO" | "HELO")) if is_accepted => {
                let hello = if verb == "EHLO" { Hello::Extended } else { Hello::Plain };
                *state = State { hello, refusals: state.refusals, commands: state.commands, ..State::default() };
            }
            Some("RSET") if is_accepted => {
                *state = State {
                    hello: state.hello,
                    refusals: state.refusals,
                    commands: state.commands,
                    ..State::default()
                };
            }
            Some("MAIL") => {
                state.size_refused = !is_accepted && (exchange.has(" SIZE=") || state.size_refused);
            }
            Some("BDAT") if is_end_of_message(exchange) => {
                state.chunk_refused = false;
            }
            Some("BDAT") => state.chunk_refused |= !is_accepted,
            _ => {}
        }
        if is_end_of_message(exchange) && is_accepted {
            (state.refusals, state.commands) = (0, 0);
        }
    }
}

/// Mail data, or the last chunk.
fn is_end_of_message(exchange: &Exchange) -> bool {
    let is_last = |command: &Command| command.is("BDAT") && command.text().to_ascii_uppercase().ends_with(b" LAST");
    exchange.command.as_ref().is_none_or(is_last)
}
