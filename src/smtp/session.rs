//! The server's side of an SMTP session, without I/O: bytes, answers and time go in; replies and effects come out.
//!
//! *Methods* are of four kinds: getters; `handle_*` (bytes, outcomes, ends, timeouts in); application commands
//! (`answer`, `defer`, `refuse`, `drain`); and the effect that each [`Session::handle_input`] gives back.
//!
//! *Invariants*: one command or one piece of content for each call. Every [`Effect::Ask`] is followed by exactly one
//! `answer` or `defer`. Replies come in the order of their commands. End of mail data is CRLF.CRLF and nothing else. A
//! transaction is one value: RSET, EHLO and failure drop it.
//!
//! *Does not* know sockets, clocks, who decides, or where content goes.
//!
//! RFC 5321, 1870, 2034, 2920, 3030, 6152.

use crate::limits;
use crate::smtp::chunk::ChunkDecoder;
use crate::smtp::command::{self, Verb};
use crate::smtp::data::{BareNewline, DataDecoder, DataStep, Marks};
use crate::smtp::extension::Extension;
use crate::smtp::line::{Carry, Found};
use crate::smtp::path::Path;
use crate::smtp::phase::{self, Column, Rule};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::settings::{Nul, Settings, Synchronization};
use crate::smtp::slots::Slots;

/// Where something can be refused, or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A client has connected; the greeting is due.
    Connect,
    /// EHLO or HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// The end of mail data, or the last chunk.
    EndOfData,
}

impl Point {
    /// All, in the order of a session.
    pub const ALL: [Self; 6] = [Self::Connect, Self::Hello, Self::Mail, Self::Rcpt, Self::Data, Self::EndOfData];

    /// As scripts and logs name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Hello => "hello",
            Self::Mail => "mail",
            Self::Rcpt => "rcpt",
            Self::Data => "data",
            Self::EndOfData => "end",
        }
    }

    /// The point of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name().eq_ignore_ascii_case(name))
    }
}

/// A question, with what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'q> {
    /// See [`Point::Connect`].
    Connect,
    /// See [`Point::Hello`]. When it is accepted, content of an open transaction is void (RFC 5321 §4.1.4).
    Hello {
        /// As the client wrote it: not yet escaped.
        name: &'q [u8],
    },
    /// See [`Point::Mail`].
    Mail(command::MailCommand<'q>),
    /// See [`Point::Rcpt`].
    Rcpt(Path<'q>),
    /// See [`Point::Data`].
    Data,
    /// See [`Point::EndOfData`].
    EndOfData(Ended),
}

impl Question<'_> {
    /// Where it arises.
    pub fn point(&self) -> Point {
        match self {
            Self::Connect => Point::Connect,
            Self::Hello { .. } => Point::Hello,
            Self::Mail(_) => Point::Mail,
            Self::Rcpt(_) => Point::Rcpt,
            Self::Data => Point::Data,
            Self::EndOfData(_) => Point::EndOfData,
        }
    }
}

/// A message whose content has come in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Octets of content.
    pub content_octets: u64,
    /// Accepted recipients.
    pub recipients: u32,
    /// What was seen in the content.
    pub marks: Marks,
}

/// What is answered to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Go on.
    Accept,
    /// With this reply; one that closes ends the session.
    Refuse(Reply),
}

/// What the caller has to do after [`Session::handle_input`].
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Nothing; call again.
    Continue,
    /// All input is used up; call again when there is more.
    NeedInput,
    /// No input is taken until an answer arrives or replies are sent; call again then, with the same input.
    Blocked,
    /// Decide, then call [`Session::answer`] or [`Session::defer`].
    Ask(Question<'a>),
    /// A piece of the message's content, never empty.
    Content(&'a [u8]),
    /// The content that was given so far is void.
    Abort,
    /// The session is over: nothing is taken any more; close when the replies are sent.
    Close,
}

/// A question that is being answered, with what its answer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// See [`Point::Connect`].
    Connect,
    /// See [`Point::Hello`].
    Hello {
        /// EHLO rather than HELO.
        extended: bool,
    },
    /// See [`Point::Mail`].
    Mail {
        /// The transaction's number.
        transaction: u32,
    },
    /// See [`Point::Rcpt`].
    Rcpt {
        /// The transaction's number.
        transaction: u32,
    },
    /// DATA.
    Data {
        /// More input stood behind it.
        behind: bool,
    },
    /// The first BDAT.
    FirstChunk(command::Chunk),
    /// See [`Point::EndOfData`].
    EndOfData,
}

impl Asking {
    /// The transaction that the question is part of.
    pub fn transaction(self) -> Option<u32> {
        match self {
            Self::Mail { transaction } | Self::Rcpt { transaction } => Some(transaction),
            _ => None,
        }
    }

    /// MAIL, RCPT and the end of mail data may be answered later than the commands behind them are read; the rest stops
    /// the reading.
    fn stops_reading(self) -> bool {
        matches!(self, Self::Connect | Self::Hello { .. } | Self::Data { .. } | Self::FirstChunk(_))
    }
}

/// From MAIL to the reply after the end of mail data.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    number: u32,
    /// Accepted, or waiting for their answer.
    recipients: u32,
    refused_recipients: u32,
}

/// A transaction whose content is coming, or stands between chunks.
#[derive(Clone, Copy, Debug)]
struct Receiving {
    transaction: Transaction,
    content_octets: u64,
    swallowed_octets: u64,
    marks: Marks,
    /// Why the message will be refused at its end.
    refusal: Option<Reply>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Opening,
    Start,
    Idle,
    Open(Transaction),
    Receiving(Receiving),
    NoService,
    Closed,
}

/// What the next octets of input are.
#[derive(Debug)]
enum Reading {
    Commands,
    Data(DataDecoder),
    Chunk {
        decoder: ChunkDecoder,
        last: bool,
        /// The chunk belongs to no transaction, or to one that is refused: swallowed, then answered with this.
        refusal: Option<Reply>,
    },
}

/// One session. See the module's documentation.
#[derive(Debug)]
pub struct Session {
    carry: Carry,
    machine: Machine,
}

/// All of the session but the carry, from which the current command line may be lent.
#[derive(Debug)]
struct Machine {
    phase: Phase,
    reading: Reading,
    slots: Slots,
    /// The question of the last [`Effect::Ask`], until it is answered or deferred.
    asking: Option<Asking>,
    transactions: u32,
    messages: u32,
    /// Since the last accepted message.
    errors: u32,
    /// Since the last accepted message.
    junk_commands: u32,
    draining: bool,
}

impl Session {
    /// A session that awaits [`Session::handle_open`].
    pub fn new() -> Self {
        Self {
            carry: Carry::default(),
            machine: Machine {
                phase: Phase::Opening,
                reading: Reading::Commands,
                slots: Slots::default(),
                asking: None,
                transactions: 0,
                messages: 0,
                errors: 0,
                junk_commands: 0,
                draining: false,
            },
        }
    }

    // Getters.

    /// Whether the session is over and all its replies are given.
    pub fn is_closed(&self) -> bool {
        matches!(self.machine.phase, Phase::Closed) && self.machine.slots.is_empty()
    }

    /// Whether mail data or a chunk is being received, or the next chunk is awaited.
    pub fn is_receiving(&self) -> bool {
        self.machine.is_receiving()
    }

    /// Whether a transaction is open.
    pub fn is_in_transaction(&self) -> bool {
        matches!(self.machine.phase, Phase::Open(_) | Phase::Receiving(_))
    }

    /// Whether an answer is out.
    pub fn is_waiting(&self) -> bool {
        !self.machine.slots.is_empty()
    }

    /// Whether the end of a message waits for its answer.
    pub fn is_ending_message(&self) -> bool {
        self.machine.slots.any_pending(|asking| asking == Asking::EndOfData)
    }

    /// The number of the question that is being asked, for [`Session::handle_outcome`].
    pub fn question_number(&self) -> u32 {
        self.machine.slots.next_number()
    }

    /// Where the session stands, as listings show it.
    pub fn phase_name(&self) -> &'static str {
        match (&self.machine.phase, &self.machine.reading) {
            (Phase::Opening, _) => "opening",
            (Phase::Closed, _) => "closed",
            (_, Reading::Data(_)) => "data",
            (_, Reading::Chunk { .. }) => "chunk",
            _ => self.machine.column().name(),
        }
    }

    /// Messages whose end was reached and not refused out of hand.
    pub fn messages(&self) -> u32 {
        self.machine.messages
    }

    /// Octets copied to put cut lines together, since this was last asked.
    pub fn take_copied_octets(&mut self) -> u64 {
        self.carry.take_copied_octets()
    }

    // Events.

    /// The client has connected: asks whether it is served.
    pub fn handle_open(&mut self) -> Effect<'static> {
        debug_assert!(matches!(self.machine.phase, Phase::Opening));
        self.machine.asking = Some(Asking::Connect);
        Effect::Ask(Question::Connect)
    }

    /// Takes one command, or one piece of content, from the front of `input`.
    #[inline]
    pub fn handle_input<'a, 'i: 'a>(
        &'a mut self,
        settings: &Settings,
        input: &mut &'i [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let Self { carry, machine } = self;
        debug_assert!(machine.asking.is_none(), "the last question was neither answered nor deferred");
        match machine.phase {
            Phase::Closed => return Effect::Close,
            Phase::Opening => return Effect::Blocked,
            _ => {}
        }
        if !machine.slots.has_room() || replies.octets.len() + limits::REPLY_OCTETS > limits::OUTPUT_OCTETS {
            return Effect::Blocked;
        }
        match machine.reading {
            Reading::Data(_) => machine.read_data(settings, input, replies),
            Reading::Chunk { .. } => machine.read_chunk(settings, input, replies),
            Reading::Commands => read_command(carry, machine, settings, input, replies),
        }
    }

    /// A deferred question is answered. Returns whether anybody still waited for it.
    pub fn handle_outcome(
        &mut self,
        settings: &Settings,
        number: u32,
        outcome: Outcome,
        replies: &mut Replies,
    ) -> bool {
        let machine = &mut self.machine;
        let Some(asking) = machine.slots.pending(number) else { return false };
        match machine.conclude(settings, asking, outcome) {
            // Only the first chunk has no reply of its own; it stopped the reading, so its slot is the last.
            None => machine.slots.drop_last(),
            Some(reply) => {
                machine.slots.resolve(number, reply);
                if reply.closes() {
                    machine.slots.drop_after(number);
                    machine.close();
                }
            }
        }
        while let Some(reply) = machine.slots.pop_ready() {
            replies.push(reply, settings);
        }
        machine.drain_if_idle(settings, replies);
        true
    }

    /// The oldest answer did not come in time: 451 to the client, and a later answer finds nobody.
    pub fn handle_answer_timeout(&mut self, settings: &Settings, replies: &mut Replies) {
        if let Some(number) = self.machine.slots.oldest_pending() {
            self.handle_outcome(settings, number, Outcome::Refuse(Reply::AnswerTimeout), replies);
        }
    }

    // Application commands.

    /// Answers the question of the last [`Effect::Ask`].
    #[inline]
    pub fn answer(&mut self, settings: &Settings, outcome: Outcome, replies: &mut Replies) {
        let machine = &mut self.machine;
        let Some(asking) = machine.asking.take() else { return debug_assert!(false, "nothing was asked") };
        let reply = machine.conclude(settings, asking, outcome);
        if let Some(reply) = reply {
            machine.give_for(settings, reply, asking.transaction(), replies);
        }
        machine.drain_if_idle(settings, replies);
    }

    /// The question of the last [`Effect::Ask`] will be answered by [`Session::handle_outcome`].
    pub fn defer(&mut self) {
        let machine = &mut self.machine;
        let Some(asking) = machine.asking.take() else { return debug_assert!(false, "nothing was asked") };
        machine.slots.push_pending(asking);
    }

    /// Ends the session with this reply, behind those that are still to come. Content that was given is void.
    pub fn refuse(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.machine.refuse(settings, reply, replies);
    }

    /// Ends the session with 421 as soon as no message is under way. Answers that are out are awaited.
    pub fn drain(&mut self, settings: &Settings, replies: &mut Replies) {
        self.machine.draining = true;
        self.machine.drain_if_idle(settings, replies);
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes one command line and acts on it. The line may lie in the carry.
fn read_command<'a, 'i: 'a>(
    carry: &'a mut Carry,
    machine: &mut Machine,
    settings: &Settings,
    input: &mut &'i [u8],
    replies: &mut Replies,
) -> Effect<'a> {
    if machine.slots.any_pending(Asking::stops_reading) {
        if !input.is_empty() {
            machine.slots.mark_sent_ahead();
        }
        return Effect::Blocked;
    }
    if input.is_empty() && !carry.is_held() {
        return Effect::NeedInput;
    }
    // A TLS hello (record type 22, or SSL 2) on a plain port has no line end to wait for.
    if matches!(machine.phase, Phase::Start) && carry.is_empty() && matches!(input[0], 0x16 | 0x80) {
        machine.refuse(settings, Reply::NotSmtp, replies);
        return Effect::Close;
    }
    let before = *input;
    let line = match carry.find(input) {
        Found::Partial => return Effect::NeedInput,
        Found::TooLong => {
            machine.refuse(settings, Reply::LineTooLong, replies);
            return Effect::Close;
        }
        Found::Whole(line) => line,
    };
    let (verb, _) = Verb::split(line.text(carry));
    if machine.must_wait(verb) {
        carry.hold(input, before);
        return Effect::Blocked;
    }
    if line.bare_newline && settings.terms().bare_newline == BareNewline::Reject {
        machine.refuse(settings, Reply::BareNewlineInCommand, replies);
        return Effect::Close;
    }
    let (verb, argument) = Verb::split(line.text(carry));
    machine.act(verb, argument, settings, input, replies)
}

impl Machine {
    fn column(&self) -> Column {
        match &self.phase {
            Phase::Opening | Phase::Start => Column::Start,
            Phase::Idle | Phase::Closed => Column::Idle,
            Phase::Open(Transaction { recipients: 1.., .. }) => Column::Rcpt,
            Phase::Open(Transaction { refused_recipients: 1.., .. }) => Column::Refused,
            Phase::Open(_) => Column::Mail,
            Phase::Receiving(_) => Column::Chunks,
            Phase::NoService => Column::NoService,
        }
    }

    fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Receiving(_)) || !matches!(self.reading, Reading::Commands)
    }

    /// Whether the verb can only be acted on when answers have come that are still out: EHLO and HELO are barriers; DATA
    /// and the first BDAT need to know all their recipients.
    fn must_wait(&self, verb: Verb) -> bool {
        match (verb, &self.phase) {
            (Verb::Ehlo | Verb::Helo, _) => !self.slots.is_empty(),
            (Verb::Data | Verb::Bdat, Phase::Open(open)) => {
                self.slots.any_pending(|asking| asking.transaction() == Some(open.number))
            }
            _ => false,
        }
    }

    fn act<'a>(
        &mut self,
        verb: Verb,
        argument: &'a [u8],
        settings: &Settings,
        input: &[u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let behind = !input.is_empty();
        if verb == Verb::Bdat {
            // Before the table: the octets that a chunk announces must be swallowed even where BDAT is out of order.
            return self.bdat(argument, settings, replies);
        }
        if let Rule::Refuse(reply) = phase::rule(verb, self.column()) {
            self.give_error(settings, reply, replies);
            // What follows DATA without awaiting its reply is mail data: it must not be read as commands.
            if verb == Verb::Data && behind {
                self.close();
            }
            return Effect::Continue;
        }
        match verb {
            Verb::Ehlo | Verb::Helo => self.hello(argument, verb == Verb::Ehlo, behind, settings, replies),
            Verb::Mail => self.mail(argument, settings, replies),
            Verb::Rcpt => self.rcpt(argument, settings, replies),
            Verb::Data => self.data(argument, behind, settings, replies),
            Verb::Rset => self.rset(argument, settings, replies),
            Verb::Noop => self.junk(argument, Reply::Ok, settings, replies),
            Verb::Vrfy if argument.trim_ascii().is_empty() => {
                self.give_error(settings, Reply::BadArguments, replies);
                Effect::Continue
            }
            Verb::Vrfy => self.junk(argument, Reply::CannotVerify, settings, replies),
            Verb::Help => self.junk(argument, Reply::Help, settings, replies),
            Verb::Quit => {
                if argument.trim_ascii().is_empty() {
                    self.refuse(settings, Reply::Bye, replies);
                    Effect::Close
                } else {
                    self.give_error(settings, Reply::BadArguments, replies);
                    Effect::Continue
                }
            }
            Verb::Http => {
                self.refuse(settings, Reply::NotSmtp, replies);
                Effect::Close
            }
            Verb::Bdat | Verb::Absent | Verb::Unknown => {
                unreachable!("BDAT was taken above; the table refuses the others")
            }
        }
    }

    fn hello<'a>(
        &mut self,
        argument: &'a [u8],
        extended: bool,
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let terms = settings.terms();
        if behind && terms.synchronization == Synchronization::Strict {
            self.refuse(settings, Reply::UnauthorisedPipelining, replies);
            return Effect::Close;
        }
        match command::parse_hello(argument, terms.address_syntax) {
            Ok(name) => self.ask(Asking::Hello { extended }, Question::Hello { name }),
            Err(reply) => {
                self.give_error(settings, reply, replies);
                Effect::Continue
            }
        }
    }

    fn mail<'a>(&mut self, argument: &'a [u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let terms = settings.terms();
        if terms.messages_per_connection.is_some_and(|most| self.messages >= most) {
            self.refuse(settings, Reply::TooManyMessages, replies);
            return Effect::Close;
        }
        let mail = match command::parse_mail(argument, terms.address_syntax, terms.extensions) {
            Ok(mail) => mail,
            Err(reply) => {
                self.give_error(settings, reply, replies);
                return Effect::Continue;
            }
        };
        if mail.parameters.size_bytes.is_some_and(|size| size > terms.message_size_bytes) {
            self.give(settings, Reply::MessageTooBig, replies);
            return Effect::Continue;
        }
        self.transactions = self.transactions.wrapping_add(1);
        let transaction = self.transactions;
        self.phase = Phase::Open(Transaction { number: transaction, recipients: 0, refused_recipients: 0 });
        self.ask(Asking::Mail { transaction }, Question::Mail(mail))
    }

    fn rcpt<'a>(&mut self, argument: &'a [u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let terms = settings.terms();
        let forward_path = match command::parse_rcpt(argument, terms.address_syntax) {
            Ok(forward_path) => forward_path,
            Err(reply) => {
                self.give_error(settings, reply, replies);
                return Effect::Continue;
            }
        };
        let Phase::Open(open) = &mut self.phase else { unreachable!("the table allows RCPT only after MAIL") };
        if open.recipients >= terms.recipients_per_message {
            self.give(settings, Reply::TooManyRecipients, replies);
            return Effect::Continue;
        }
        open.recipients += 1;
        let transaction = open.number;
        self.ask(Asking::Rcpt { transaction }, Question::Rcpt(forward_path))
    }

    fn data<'a>(&mut self, argument: &'a [u8], behind: bool, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !argument.trim_ascii().is_empty() {
            self.give_error(settings, Reply::BadArguments, replies);
            if behind {
                self.close();
            }
            return Effect::Continue;
        }
        if behind && settings.terms().synchronization == Synchronization::Strict {
            self.refuse(settings, Reply::UnauthorisedPipelining, replies);
            return Effect::Close;
        }
        self.ask(Asking::Data { behind }, Question::Data)
    }

    fn bdat<'a>(&mut self, argument: &[u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !settings.terms().extensions.has(Extension::Chunking) {
            self.give_error(settings, Reply::NotImplemented, replies);
            return Effect::Continue;
        }
        let Some(chunk) = command::parse_bdat(argument) else {
            // How many octets follow cannot be known: nothing behind it may be read as commands.
            self.refuse(settings, Reply::BadArguments, replies);
            return Effect::Close;
        };
        if let Rule::Refuse(reply) = phase::rule(Verb::Bdat, self.column()) {
            return self.swallow(chunk, reply, settings, replies);
        }
        if chunk.octets == 0 && !chunk.last && self.count_junk(settings, replies) {
            return Effect::Close;
        }
        match self.phase {
            Phase::Receiving(_) => self.begin_chunk(chunk, settings, replies),
            _ => self.ask(Asking::FirstChunk(chunk), Question::Data),
        }
    }

    /// A chunk of a transaction that may have chunks.
    fn begin_chunk<'a>(&mut self, chunk: command::Chunk, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let Phase::Receiving(receiving) = &mut self.phase else { unreachable!("chunks are received in a transaction") };
        let before = receiving.refusal;
        if before.is_none() && receiving.content_octets + chunk.octets > settings.terms().message_size_bytes {
            receiving.refusal = Some(Reply::MessageTooBig);
        }
        if let Some(reply) = receiving.refusal {
            let effect = self.swallow(chunk, reply, settings, replies);
            return if before.is_none() && effect == Effect::Continue { Effect::Abort } else { effect };
        }
        receiving.content_octets += chunk.octets;
        self.reading = Reading::Chunk { decoder: ChunkDecoder::new(chunk.octets), last: chunk.last, refusal: None };
        Effect::Continue
    }

    /// A chunk that is refused: its octets are read and thrown away, unless they are too many to wait for.
    fn swallow<'a>(
        &mut self,
        chunk: command::Chunk,
        reply: Reply,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let mut swallowed = chunk.octets;
        if let Phase::Receiving(receiving) = &mut self.phase {
            receiving.swallowed_octets = receiving.swallowed_octets.saturating_add(chunk.octets);
            swallowed = receiving.swallowed_octets;
        }
        if swallowed > settings.discard_octets() {
            self.refuse(settings, reply, replies);
            return Effect::Close;
        }
        let decoder = ChunkDecoder::new(chunk.octets);
        self.reading = Reading::Chunk { decoder, last: chunk.last, refusal: Some(reply) };
        Effect::Continue
    }

    fn rset<'a>(&mut self, argument: &[u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !argument.trim_ascii().is_empty() {
            self.give_error(settings, Reply::BadArguments, replies);
            return Effect::Continue;
        }
        let effect = self.drop_transaction();
        if !self.count_junk(settings, replies) {
            self.give(settings, Reply::Ok, replies);
        }
        effect
    }

    /// Commands that neither further a message nor change anything.
    fn junk<'a>(&mut self, argument: &[u8], reply: Reply, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !command::is_text(argument) {
            self.give_error(settings, Reply::BadLine, replies);
        } else if !self.count_junk(settings, replies) {
            self.give(settings, reply, replies);
        }
        Effect::Continue
    }

    /// Ends the transaction, if there is one.
    fn drop_transaction<'a>(&mut self) -> Effect<'a> {
        match self.phase {
            Phase::Open(_) => self.phase = Phase::Idle,
            Phase::Receiving(_) => {
                self.phase = Phase::Idle;
                return Effect::Abort;
            }
            _ => {}
        }
        Effect::Continue
    }

    // Content.

    #[inline]
    fn read_data<'a>(&mut self, settings: &Settings, input: &mut &'a [u8], replies: &mut Replies) -> Effect<'a> {
        let (Reading::Data(decoder), Phase::Receiving(receiving)) = (&mut self.reading, &mut self.phase) else {
            unreachable!("mail data is read within a transaction")
        };
        match decoder.step(input) {
            DataStep::NeedInput => Effect::NeedInput,
            DataStep::Content(piece) => {
                if receiving.refusal.is_some() {
                    receiving.swallowed_octets += piece.len() as u64;
                    if receiving.swallowed_octets > settings.discard_octets() {
                        self.refuse(settings, Reply::MessageTooBig, replies);
                        return Effect::Close;
                    }
                    return Effect::Continue;
                }
                receiving.content_octets += piece.len() as u64;
                if receiving.content_octets > settings.terms().message_size_bytes {
                    receiving.refusal = Some(Reply::MessageTooBig);
                    return Effect::Abort;
                }
                Effect::Content(piece)
            }
            DataStep::End => {
                receiving.marks = decoder.marks();
                self.end_message(settings, replies)
            }
        }
    }

    #[inline]
    fn read_chunk<'a>(&mut self, settings: &Settings, input: &mut &'a [u8], replies: &mut Replies) -> Effect<'a> {
        let Reading::Chunk { decoder, last, refusal } = &mut self.reading else {
            unreachable!("a chunk is being read")
        };
        let piece = decoder.take(input);
        if piece.is_empty() && !decoder.is_done() {
            return Effect::NeedInput;
        }
        if !piece.is_empty() && refusal.is_none() {
            return Effect::Content(piece);
        }
        if !decoder.is_done() {
            return Effect::Continue;
        }
        let (last, refusal) = (*last, *refusal);
        self.reading = Reading::Commands;
        match refusal {
            Some(reply) => {
                if last && matches!(self.phase, Phase::Receiving(_)) {
                    self.phase = Phase::Idle;
                }
                self.give_error(settings, reply, replies);
                Effect::Continue
            }
            None if last => self.end_message(settings, replies),
            None => {
                self.give(settings, Reply::Ok, replies);
                Effect::Continue
            }
        }
    }

    /// The whole content has come: it is refused for what was seen in it, or asked about.
    fn end_message<'a>(&mut self, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let terms = settings.terms();
        self.reading = Reading::Commands;
        let Phase::Receiving(receiving) = self.phase else { unreachable!("content ends within a transaction") };
        self.phase = Phase::Idle;
        let marks = receiving.marks;
        let refusal = match receiving.refusal {
            Some(reply) => Some(reply),
            None if marks.false_end => Some(Reply::FalseEndOfData),
            None if (marks.bare_lf || marks.bare_cr) && terms.bare_newline == BareNewline::Reject => {
                Some(Reply::BareNewlineInData)
            }
            None if marks.nul && terms.nul == Nul::Reject => Some(Reply::NulInData),
            None => None,
        };
        if let Some(reply) = refusal {
            self.give_error(settings, reply, replies);
            if reply == Reply::FalseEndOfData {
                self.close();
            }
            self.drain_if_idle(settings, replies);
            // Where the refusal came with the content, that was given up then.
            return if receiving.refusal.is_some() { Effect::Continue } else { Effect::Abort };
        }
        self.messages += 1;
        let recipients = receiving.transaction.recipients;
        let ended = Ended { content_octets: receiving.content_octets, recipients, marks };
        self.ask(Asking::EndOfData, Question::EndOfData(ended))
    }

    // Answers.

    fn ask<'a>(&mut self, asking: Asking, question: Question<'a>) -> Effect<'a> {
        self.asking = Some(asking);
        Effect::Ask(question)
    }

    /// Acts on an outcome, and says which reply follows.
    fn conclude(&mut self, settings: &Settings, asking: Asking, outcome: Outcome) -> Option<Reply> {
        let closed = matches!(self.phase, Phase::Closed);
        if closed && asking != Asking::EndOfData {
            return Some(match outcome {
                Outcome::Refuse(reply) => reply,
                Outcome::Accept => Reply::ShuttingDown,
            });
        }
        let reply = match (asking, outcome) {
            (Asking::Connect, Outcome::Accept) => {
                self.phase = Phase::Start;
                Reply::Greeting
            }
            (Asking::Connect, Outcome::Refuse(reply)) => {
                self.phase = if reply.code() == 554 { Phase::NoService } else { Phase::Closed };
                reply
            }
            (Asking::Hello { extended }, Outcome::Accept) => {
                // RFC 5321 §4.1.4: as RSET. An open chunk transaction was dropped when the question was asked.
                self.phase = Phase::Idle;
                if extended { Reply::Ehlo } else { Reply::Helo }
            }
            (Asking::Mail { .. }, Outcome::Accept) => Reply::MailOk,
            (Asking::Mail { transaction }, Outcome::Refuse(reply)) => {
                self.slots.resolve_transaction(transaction, Reply::MailFirst);
                if matches!(self.phase, Phase::Open(open) if open.number == transaction) {
                    self.phase = Phase::Idle;
                }
                reply
            }
            (Asking::Rcpt { .. }, Outcome::Accept) => Reply::RcptOk,
            (Asking::Rcpt { transaction }, Outcome::Refuse(reply)) => {
                match &mut self.phase {
                    Phase::Open(open) if open.number == transaction => {
                        open.recipients -= 1;
                        open.refused_recipients += 1;
                    }
                    _ => {}
                }
                reply
            }
            (Asking::Data { .. }, Outcome::Accept) => {
                self.begin_receiving();
                self.reading = Reading::Data(DataDecoder::new(settings.terms().bare_newline));
                Reply::StartMail
            }
            (Asking::Data { behind }, Outcome::Refuse(reply)) => {
                // What follows is mail data that the client sent ahead: it must not be read as commands.
                if behind {
                    self.close();
                }
                reply
            }
            (Asking::FirstChunk(chunk), outcome) => {
                return self.conclude_first_chunk(settings, chunk, outcome);
            }
            (Asking::EndOfData, Outcome::Accept) => {
                self.errors = 0;
                self.junk_commands = 0;
                if settings.terms().discards { Reply::Discarded } else { Reply::Accepted }
            }
            (Asking::Hello { .. } | Asking::EndOfData, Outcome::Refuse(reply)) => reply,
        };
        if reply.closes() {
            self.close();
        }
        Some(reply)
    }

    /// The first chunk's reply follows its octets.
    fn conclude_first_chunk(&mut self, settings: &Settings, chunk: command::Chunk, outcome: Outcome) -> Option<Reply> {
        self.begin_receiving();
        let Phase::Receiving(receiving) = &mut self.phase else { unreachable!("it was just begun") };
        let refusal = match outcome {
            Outcome::Refuse(reply) => Some(reply),
            Outcome::Accept if chunk.octets > settings.terms().message_size_bytes => Some(Reply::MessageTooBig),
            Outcome::Accept => None,
        };
        receiving.refusal = refusal;
        match refusal {
            None => receiving.content_octets = chunk.octets,
            Some(_) => receiving.swallowed_octets = chunk.octets,
        }
        if let Some(reply) = refusal
            && (chunk.octets > settings.discard_octets() || reply.closes())
        {
            self.close();
            return Some(reply);
        }
        self.reading = Reading::Chunk { decoder: ChunkDecoder::new(chunk.octets), last: chunk.last, refusal };
        None
    }

    fn begin_receiving(&mut self) {
        let Phase::Open(transaction) = self.phase else { unreachable!("recipients were given") };
        self.phase = Phase::Receiving(Receiving {
            transaction,
            content_octets: 0,
            swallowed_octets: 0,
            marks: Marks::default(),
            refusal: None,
        });
    }

    // Replies.

    /// Gives a reply in its turn.
    fn give(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give_for(settings, reply, None, replies);
    }

    #[inline]
    fn give_for(&mut self, settings: &Settings, reply: Reply, transaction: Option<u32>, replies: &mut Replies) {
        if self.slots.is_empty() {
            replies.push(reply, settings);
        } else {
            self.slots.push_ready(reply, transaction);
        }
    }

    /// Gives a reply to a client's mistake, and counts it.
    fn give_error(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        self.give(settings, reply, replies);
        self.errors += 1;
        if settings.terms().errors.is_some_and(|most| self.errors >= most) {
            self.refuse(settings, Reply::TooManyErrors, replies);
        }
    }

    /// Counts a command that furthers no message. True when the session has ended for it.
    fn count_junk(&mut self, settings: &Settings, replies: &mut Replies) -> bool {
        self.junk_commands += 1;
        let too_many = settings.terms().junk_commands.is_some_and(|most| self.junk_commands > most);
        if too_many {
            self.refuse(settings, Reply::TooManyJunkCommands, replies);
        }
        too_many
    }

    fn refuse(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        if !matches!(self.phase, Phase::Closed) {
            self.give(settings, reply, replies);
            self.close();
        }
    }

    fn close(&mut self) {
        self.phase = Phase::Closed;
        self.reading = Reading::Commands;
    }

    fn drain_if_idle(&mut self, settings: &Settings, replies: &mut Replies) {
        if self.draining && !self.is_receiving() && !matches!(self.phase, Phase::Opening) {
            self.refuse(settings, Reply::ShuttingDown, replies);
        }
    }
}
