//! A server of the test's own, a thread for each connection, which can do what no server should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A message as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// MAIL and RCPT lines.
    pub envelope: Vec<String>,
    /// With its dots as they were meant.
    pub content: Vec<u8>,
}

/// What to answer a message.
pub enum Answer {
    Reply(&'static str),
    /// Nothing for so long, then 250.
    After(Duration),
    /// Nothing; the connection is closed.
    Close,
    /// 250, and another one that nobody asked for.
    Twice,
}

pub const OK: Answer = Answer::Reply("250 2.0.0 Ok");

/// What is done with each message: its number from 0, in the order in which they end.
pub trait Deed: FnMut(usize, &Message) -> Answer + Send + 'static {}
impl<F: FnMut(usize, &Message) -> Answer + Send + 'static> Deed for F {}

/// Of the user `load` with the password `se:cret`.
const LOGIN: &str = "AUTH PLAIN AGxvYWQAc2U6Y3JldA==";

struct State {
    messages: Vec<Message>,
    /// All that each connection has sent.
    octets: Vec<Vec<u8>>,
    /// XCLIENT commands.
    peers: Vec<String>,
    /// AUTH commands.
    logins: Vec<String>,
    deed: Box<dyn Deed>,
    manner: Manner,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Usual,
    /// A message is acknowledged when its DATA has come.
    Hasty,
    /// CHUNKING is offered.
    Chunking,
}

pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(deed: impl Deed) -> Self {
        Self::start_as(deed, Manner::Usual)
    }

    /// One that takes messages over before they have come.
    pub fn hasty() -> Self {
        Self::start_as(|_, _: &Message| OK, Manner::Hasty)
    }

    /// One that takes chunks.
    pub fn chunking(deed: impl Deed) -> Self {
        Self::start_as(deed, Manner::Chunking)
    }

    fn start_as(deed: impl Deed, manner: Manner) -> Self {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State {
            messages: Vec::new(),
            octets: Vec::new(),
            peers: Vec::new(),
            logins: Vec::new(),
            deed: Box::new(deed),
            manner,
        }));
        let shared = state.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listening.incoming().map_while(Result::ok) {
                let state = shared.clone();
                std::thread::spawn(move || Conversation::new(stream, state).hold());
            }
        });
        Self { address, state }
    }

    pub fn messages(&self) -> Vec<Message> {
        self.state.lock().unwrap().messages.clone()
    }

    /// XCLIENT commands, as they came.
    pub fn peers(&self) -> Vec<String> {
        self.state.lock().unwrap().peers.clone()
    }

    /// AUTH commands, as they came.
    pub fn logins(&self) -> Vec<String> {
        self.state.lock().unwrap().logins.clone()
    }

    /// All that each connection has sent.
    pub fn octets(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().octets.clone()
    }
}

struct Conversation {
    reader: BufReader<TcpStream>,
    state: Arc<Mutex<State>>,
    number: usize,
    message: Message,
    manner: Manner,
}

impl Conversation {
    fn new(stream: TcpStream, state: Arc<Mutex<State>>) -> Self {
        stream.set_nodelay(true).unwrap();
        let mut all = state.lock().unwrap();
        let number = all.octets.len();
        all.octets.push(Vec::new());
        let manner = all.manner;
        drop(all);
        Self { reader: BufReader::new(stream), state, number, message: Message::default(), manner }
    }

    fn say(&mut self, reply: &str) -> bool {
        self.reader.get_mut().write_all(format!("{reply}\r\n").as_bytes()).is_ok()
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        let octets = self.reader.read_until(b'\n', &mut line).ok()?;
        self.state.lock().unwrap().octets[self.number].extend_from_slice(&line);
        (octets > 0).then_some(line)
    }

    fn hold(mut self) {
        let mut goes_on = self.say("220 test ESMTP");
        while goes_on {
            let Some(line) = self.line() else { return };
            let command = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = command.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            goes_on = match verb.as_str() {
                "EHLO" if self.manner == Manner::Chunking => {
                    self.say("250-test\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 CHUNKING")
                }
                "EHLO" => self
                    .say("250-test\r\n250-8BITMIME\r\n250-AUTH LOGIN PLAIN\r\n250-XCLIENT NAME ADDR\r\n250 PIPELINING"),
                "XCLIENT" => {
                    self.state.lock().unwrap().peers.push(command);
                    self.say("220 test ESMTP")
                }
                "AUTH" => {
                    let is_right = command == LOGIN;
                    self.state.lock().unwrap().logins.push(command);
                    self.say(if is_right { "235 2.7.0 Welcome" } else { "535 5.7.8 No" })
                }
                "MAIL" => {
                    self.message = Message { envelope: vec![command], ..Message::default() };
                    self.say("250 2.1.0 Ok")
                }
                "RCPT" if command.contains("@refused.test") => self.say("550 5.1.1 Nobody is there"),
                "RCPT" => {
                    self.message.envelope.push(command);
                    self.say("250 2.1.5 Ok")
                }
                "BDAT" => self.chunk(&command).is_some_and(|answer| self.answer(answer)),
                "DATA" if self.manner == Manner::Hasty => {
                    self.say("354 Go on") && self.say("250 2.0.0 Ok, whatever it is") && self.content().is_some()
                }
                "DATA" => self.say("354 Go on") && self.content().is_some_and(|answer| self.answer(answer)),
                "QUIT" => {
                    self.say("221 Bye");
                    false
                }
                _ => self.say("500 what?"),
            };
        }
    }

    /// Takes the only chunk of a message.
    fn chunk(&mut self, command: &str) -> Option<Answer> {
        let octets = command.strip_prefix("BDAT ")?.strip_suffix(" LAST")?.parse().ok()?;
        self.message.content = vec![0; octets];
        self.reader.read_exact(&mut self.message.content).ok()?;
        Some(self.end())
    }

    /// Takes the content. What is to be answered, if it comes to its end.
    fn content(&mut self) -> Option<Answer> {
        loop {
            let line = self.line()?;
            assert!(line.ends_with(b"\r\n"), "mail data has whole lines: {:?}", line.escape_ascii().to_string());
            match line.as_slice() {
                b".\r\n" => break,
                [b'.', rest @ ..] => self.message.content.extend_from_slice(rest),
                line => self.message.content.extend_from_slice(line),
            }
        }
        Some(self.end())
    }

    /// The message has come. What is to be answered?
    fn end(&mut self) -> Answer {
        let message = std::mem::take(&mut self.message);
        let mut state = self.state.lock().unwrap();
        let number = state.messages.len();
        let answer = (state.deed)(number, &message);
        state.messages.push(message);
        answer
    }

    fn answer(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Reply(reply) => self.say(reply),
            Answer::After(time) => {
                std::thread::sleep(time);
                self.say("250 2.0.0 Ok, at last")
            }
            Answer::Close => false,
            Answer::Twice => self.say("250 2.0.0 Ok\r\n250 2.0.0 Ok again"),
        }
    }
}

/// A client of another server, to which messages are handed on.
pub struct Upstream(BufReader<TcpStream>);

impl Upstream {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address.parse::<SocketAddr>().unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut upstream = Self(BufReader::new(stream));
        upstream.expect("220");
        upstream.say("EHLO front.test", "250");
        upstream
    }

    pub fn send(&mut self, message: &Message) {
        for command in &message.envelope {
            // The sink offers more than the front does, but is not asked for it.
            self.say(command, "250");
        }
        self.say("DATA", "354");
        let mut content = Vec::new();
        for line in message.content.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                content.push(b'.');
            }
            content.extend_from_slice(line);
        }
        content.extend_from_slice(b".\r\n");
        self.0.get_mut().write_all(&content).unwrap();
        self.expect("250");
    }

    fn say(&mut self, command: &str, expected: &str) {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.expect(expected);
    }

    fn expect(&mut self, expected: &str) {
        loop {
            let mut line = String::new();
            self.0.by_ref().take(4096).read_line(&mut line).unwrap();
            assert!(line.starts_with(expected), "{line:?} where a {expected} was expected");
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
    }
}
