//! Dialogues: what a client says, and where it waits. Each is drawn from a seed: mostly sensible sessions, with mistakes.

use super::words;

/// Xorshift, so that a dialogue is the same in every run.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Self {
        let mut random = Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of neighbouring seeds are alike.
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % bound as u64) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// A line of the client, with its line end and, for BDAT, with its chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(pub Vec<u8>);

impl Command {
    /// The text with CRLF behind it.
    pub fn line(text: impl AsRef<[u8]>) -> Self {
        Self([text.as_ref(), b"\r\n"].concat())
    }

    /// The line without its line end.
    pub fn text(&self) -> &[u8] {
        let line = self.0.split(|octet| *octet == b'\n').next().unwrap_or_default();
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The first word, upper case.
    pub fn verb(&self) -> String {
        let word = self.text().split(|octet| *octet == b' ').next().unwrap_or_default();
        String::from_utf8_lossy(word).to_ascii_uppercase()
    }

    /// What stands behind the first space.
    pub fn argument(&self) -> &[u8] {
        let text = self.text();
        text.iter().position(|octet| *octet == b' ').map_or(b"", |at| &text[at + 1..])
    }

    /// Whether more stands behind the line.
    pub fn has_chunk(&self) -> bool {
        self.0.iter().position(|octet| *octet == b'\n').is_some_and(|at| at + 1 < self.0.len())
    }

    pub fn is(&self, verb: &str) -> bool {
        self.verb() == verb
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sent in one write; then a reply for each is awaited.
    Group(Vec<Command>),
    /// Sent where DATA, the last command of the group before, got a 354; then one reply is awaited.
    Content(Vec<u8>),
    /// The last step: sent in one write, with the end of the connection behind it; then all is read that comes.
    Last(Vec<u8>),
}

/// Everything that a client says in one connection. It begins when the greeting has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    pub seed: u64,
    pub steps: Vec<Step>,
}

impl Dialogue {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::of(seed);
        let mut writer =
            Writer { random: &mut random, steps: Vec::new(), group: Vec::new(), may_group: false, said: 0 };
        match writer.random.below(100) {
            0..=2 => writer.mistakes(),
            3 => writer.junk(),
            _ => writer.session(),
        }
        writer.end();
        Self { seed, steps: writer.steps }
    }
}

/// Commands in a session: few enough that no limit on mistakes is met but where it is sought.
const COMMANDS: usize = 18;

struct Writer<'r> {
    random: &'r mut Random,
    steps: Vec<Step>,
    /// Commands that are not awaited yet.
    group: Vec<Command>,
    /// The client was offered PIPELINING.
    may_group: bool,
    said: usize,
}

impl Writer<'_> {
    fn say(&mut self, command: Command) {
        // RFC 2920 §3.1: these may stand in a group before others. BDAT: RFC 3030 §4.2.
        let may_be_followed = ["MAIL", "RCPT", "RSET", "BDAT"].iter().any(|verb| command.is(verb));
        self.said += 1;
        self.group.push(command);
        if !self.may_group || !may_be_followed || self.random.once_in(4) {
            self.wait();
        }
    }

    fn wait(&mut self) {
        if !self.group.is_empty() {
            self.steps.push(Step::Group(std::mem::take(&mut self.group)));
        }
    }

    fn line(&mut self, text: impl AsRef<[u8]>) {
        self.say(Command::line(text));
    }

    fn session(&mut self) {
        while self.random.once_in(10) {
            self.aside();
        }
        if !self.random.once_in(40) {
            self.hello();
        }
        for _ in 0..1 + self.random.below(3) {
            if self.said < COMMANDS {
                self.transaction();
            }
        }
    }

    fn hello(&mut self) {
        let name = words::hello_name(self.random);
        let extended = !self.random.once_in(6);
        let verb = if extended { self.random.pick(&["EHLO", "EHLO", "EHLO", "ehlo", "EhLo"]) } else { "HELO" };
        self.line([verb.as_bytes(), b" ", &name].concat());
        if name != words::NAME.as_bytes() {
            // It may have been refused.
            self.line(format!("{verb} {}", words::NAME));
        }
        self.may_group = extended && !self.random.once_in(4);
    }

    fn transaction(&mut self) {
        if self.random.once_in(12) {
            self.aside();
        }
        let mail = words::mail(self.random);
        self.line(mail);
        for _ in 0..1 + self.random.below(3) {
            if self.random.once_in(12) {
                self.aside();
            }
            let rcpt = words::rcpt(self.random);
            self.line(rcpt);
        }
        if self.random.once_in(10) {
            self.aside();
        }
        match self.random.below(20) {
            0 => self.line("RSET"),
            1 => {}
            2 => self.hello(),
            3..=8 => self.chunks(),
            _ => self.data(),
        }
    }

    fn data(&mut self) {
        let line = match self.random.below(40) {
            0 => "DATA x",
            1 => "data",
            2 => "DATA ",
            _ => "DATA",
        };
        self.line(line);
        let content = words::content(self.random);
        self.steps.push(Step::Content(content));
    }

    fn chunks(&mut self) {
        let count = self.random.below(4);
        for index in 0..=count {
            let command = words::chunk(self.random, index == count);
            self.say(Command(command));
            // Postfix 3.7 refuses an empty chunk, and its process can crash on what stands behind it in the group.
            if self.group.last().is_some_and(|command| command.argument() == b"0") {
                self.wait();
            }
            if self.random.once_in(12) {
                self.aside();
            }
        }
    }

    /// Something that belongs to no transaction, or stands in a wrong place.
    fn aside(&mut self) {
        let command = words::aside(self.random);
        self.say(command);
    }

    /// Until there are too many mistakes, of those that both servers count.
    fn mistakes(&mut self) {
        self.line(format!("EHLO {}", words::NAME));
        if self.random.once_in(2) {
            self.line("MAIL FROM:<s@x.test>");
            self.line("RCPT TO:<a@ok.test>");
            self.line("DATA");
            self.steps.push(Step::Content(b"a message starts the count anew\r\n.\r\n".to_vec()));
        }
        // Behind a refused MAIL, ringmx counts RCPT and DATA for no mistakes.
        let mistakes: &[&str] =
            &["FOO", "RCPT TO:<a@ok.test>", "DATA", "EXPN list", "EHLO", "MAIL", "MAIL FROM:<s@x.test> SIZE=x"];
        let mistakes = &mistakes[..if self.random.once_in(2) { 7 } else { 5 }];
        for _ in 0..25 {
            let line = self.random.pick(mistakes);
            self.line(line);
        }
    }

    /// Until there are too many commands that further no message.
    fn junk(&mut self) {
        self.line(format!("EHLO {}", words::NAME));
        for _ in 0..130 {
            let line = self.random.pick(&["NOOP", "RSET", "VRFY a"]);
            self.line(line);
        }
    }

    fn end(&mut self) {
        self.wait();
        let last: &[u8] = match self.random.below(30) {
            0 => b"",
            1 => b"QUIT\r\nNOOP\r\nMAIL FROM:<s@x.test>\r\n",
            2 => b"QUIT x\r\n",
            3 => b"quit\r\n",
            4 => b"QUIT \r\n",
            5 => b"QUIT\n",
            6 => b"EHLO c.test\r\nMAIL FROM:<s@x.test>\r\n",
            7 => b"RSET\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nDATA\r\nsent ahead\r\n.\r\nNOOP\r\n",
            8 => b"RSET\r\nDATA\r\nsent ahead\r\n.\r\nNOOP\r\n",
            9 => b"RSET\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nDATA\r\n",
            10 => b"RSET\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nBDAT 5\r\nhelloBDAT 9 LAST\r\nhel",
            11 => b"NOOP\r\nRSET\r\nVRFY a\r\nNOOP\r\nQUIT\r\n",
            12 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            13 => b"NOO",
            _ => b"QUIT\r\n",
        };
        self.steps.push(Step::Last(last.to_vec()));
    }
}
