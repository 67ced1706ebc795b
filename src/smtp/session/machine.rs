//! Where a session stands, and what each command does to it.

use crate::limits;
use crate::mail::address::Path;
use crate::smtp::chunk::{ChunkDecoder, ChunkMarks};
use crate::smtp::command::{self, RcptCommand, Verb};
use crate::smtp::data::DataDecoder;
use crate::smtp::extension::Extension;
use crate::smtp::line::is_blank;
use crate::smtp::phase::{self, Column, Rule};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::Effect;
use crate::smtp::session::question::{Asking, Question};
use crate::smtp::session::slots::Slots;
use crate::smtp::settings::{Settings, Synchronization, Terms};

/// From MAIL to the reply after the end of mail data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub(super) number: u32,
    /// Accepted, or waiting for their answer.
    pub(super) recipients: u32,
    pub(super) refused_recipients: u32,
}

/// A transaction whose content is coming, or stands between chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiving {
    pub(super) transaction: Transaction,
    /// Octets of content that came, or were announced as a chunk; those of a refused message too.
    pub(super) octets: u64,
    /// What was seen in chunks. Mail data is looked into by its decoder.
    pub(super) chunk_marks: ChunkMarks,
    /// Why the message will be refused at its end. Its content is void already.
    pub(super) refusal: Option<Reply>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// The greeting is not given.
    Opening,
    /// No EHLO or HELO yet.
    Start,
    Idle,
    /// As `Idle`; what comes behind a refused MAIL may have been sent before its reply was read.
    MailRefused,
    Open(Transaction),
    Receiving(Receiving),
    /// The greeting was a 554.
    NoService,
    Closed,
}

/// What the next octets of input are.
#[derive(Debug)]
pub(super) enum Reading {
    Commands,
    Data(DataDecoder),
    Chunk {
        decoder: ChunkDecoder,
        last: bool,
    },
    /// A chunk that belongs to no transaction, or to one that is refused: swallowed, then answered with this.
    RefusedChunk {
        decoder: ChunkDecoder,
        last: bool,
        reply: Reply,
    },
    /// Commands, after the caller has been told that content is void.
    Void,
}

/// All of a session but the carry, from which the current command line may be lent.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) phase: Phase,
    pub(super) reading: Reading,
    pub(super) slots: Slots,
    /// The question of the last [`Effect::Ask`], until it is answered or deferred.
    pub(super) asking: Option<Asking>,
    pub(super) transactions: u32,
    pub(super) messages: u32,
    /// Since the last accepted message.
    pub(super) errors: u32,
    /// Since the last accepted message.
    pub(super) junk_commands: u32,
    pub(super) is_draining: bool,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Opening,
            reading: Reading::Commands,
            slots: Slots::default(),
            asking: None,
            transactions: 0,
            messages: 0,
            errors: 0,
            junk_commands: 0,
            is_draining: false,
        }
    }

    pub(super) fn column(&self) -> Column {
        match &self.phase {
            Phase::Opening | Phase::Start => Column::Start,
            Phase::Idle | Phase::MailRefused | Phase::Closed => Column::Idle,
            Phase::Open(Transaction { recipients: 1.., .. }) => Column::Rcpt,
            Phase::Open(Transaction { refused_recipients: 1.., .. }) => Column::Refused,
            Phase::Open(_) => Column::Mail,
            Phase::Receiving(_) => Column::Chunks,
            Phase::NoService => Column::NoService,
        }
    }

    pub(super) fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Receiving(_))
            || matches!(self.reading, Reading::Data(_) | Reading::Chunk { .. } | Reading::RefusedChunk { .. })
    }

    /// Whether another command may be taken: its replies have room.
    #[inline]
    pub(super) fn has_room(&self, replies: &Replies) -> bool {
        self.slots.has_room() && replies.octets.len() + limits::REPLY_OCTETS <= limits::OUTPUT_OCTETS
    }

    /// Whether the verb can only be acted on when answers have come that are still out; some are. EHLO and HELO are
    /// barriers; so would be QUIT, but nothing is read behind it, and its reply waits in its slot like any other. The
    /// others must know what became of the transaction so far.
    pub(super) fn must_wait(&self, verb: Verb, terms: &Terms) -> bool {
        let is_open = |number| self.slots.any_pending(|asking| asking.transaction() == Some(number));
        match (verb, &self.phase) {
            (Verb::Ehlo | Verb::Helo, _) => true,
            (Verb::Mail | Verb::Data | Verb::Bdat, Phase::Open(open)) => is_open(open.number),
            (Verb::Rcpt, Phase::Open(open)) => open.recipients >= terms.recipients_per_message && is_open(open.number),
            _ => false,
        }
    }

    /// Ends a session that is to be drained, once no message is under way.
    pub(super) fn end_if_drained(&mut self, settings: &Settings, replies: &mut Replies) -> bool {
        let is_over = self.is_draining && !self.is_receiving();
        if is_over {
            self.refuse(settings, Reply::ShuttingDown, replies);
        }
        is_over
    }

    /// Acts on one command. `behind` says whether there is more input already.
    pub(super) fn act<'a>(
        &mut self,
        verb: Verb,
        argument: &'a [u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let rule = phase::rule(verb, self.column());
        if verb == Verb::Bdat {
            // Also where it is out of order: the octets that it announces must not be read as commands.
            return self.bdat(argument, rule, settings, replies);
        }
        if let Rule::Refuse(reply) = rule {
            self.give_refusal(settings, reply, replies);
            if verb == Verb::Data {
                self.close_if_sent_ahead(behind);
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
            Verb::Vrfy if is_blank(argument) => self.bad_argument(argument, settings, replies),
            Verb::Vrfy => self.junk(argument, Reply::CannotVerify, settings, replies),
            Verb::Help => self.junk(argument, Reply::Help, settings, replies),
            Verb::Quit if is_blank(argument) => {
                self.refuse(settings, Reply::Bye, replies);
                Effect::Close
            }
            Verb::Quit => self.bad_argument(argument, settings, replies),
            Verb::Http => {
                self.refuse(settings, Reply::NotSmtp, replies);
                Effect::Close
            }
            Verb::Bdat
            | Verb::Lhlo
            | Verb::StartTls
            | Verb::Auth
            | Verb::Xclient
            | Verb::Absent
            | Verb::Blank
            | Verb::Unknown => {
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
        let name = match command::parse_hello(argument, terms.address_syntax) {
            Ok(name) => name,
            Err(reply) => return self.bad_command(reply, settings, replies),
        };
        // The first one is what every session begins with.
        if !matches!(self.phase, Phase::Start) && self.count_junk(settings, replies) {
            return Effect::Close;
        }
        self.ask(Asking::Hello { extended }, Question::Hello { name })
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
                self.phase = Phase::MailRefused;
                return self.bad_command(reply, settings, replies);
            }
        };
        if matches!(mail.reverse_path, Path::Local(_)) {
            self.phase = Phase::MailRefused;
            return self.bad_command(Reply::ReversePathWithoutDomain, settings, replies);
        }
        if mail.parameters.size_bytes.is_some_and(|size| size > terms.message_size_bytes) {
            self.phase = Phase::MailRefused;
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
        let Phase::Open(open) = &mut self.phase else { unreachable!("the table allows RCPT only after MAIL") };
        let transaction = open.number;
        let rcpt = command::parse_rcpt(argument, terms.address_syntax, terms.extensions, false);
        let rcpt = match rcpt {
            Ok(RcptCommand { forward_path: Path::Local(name), .. }) if !name.eq_ignore_ascii_case(b"postmaster") => {
                Err(Reply::ForwardPathWithoutDomain)
            }
            other => other,
        };
        let rcpt = match rcpt {
            Ok(rcpt) => rcpt,
            Err(reply) => {
                self.give_for(settings, reply, Some(transaction), replies);
                self.count_error(settings, replies);
                return Effect::Continue;
            }
        };
        if open.recipients >= terms.recipients_per_message {
            self.give_for(settings, Reply::TooManyRecipients, Some(transaction), replies);
            return Effect::Continue;
        }
        open.recipients += 1;
        self.ask(Asking::Rcpt { transaction }, Question::Rcpt(rcpt))
    }

    fn data<'a>(&mut self, argument: &[u8], behind: bool, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !is_blank(argument) {
            let effect = self.bad_argument(argument, settings, replies);
            self.close_if_sent_ahead(behind);
            return effect;
        }
        if behind && settings.terms().synchronization == Synchronization::Strict {
            self.refuse(settings, Reply::UnauthorisedPipelining, replies);
            return Effect::Close;
        }
        self.ask(Asking::Data { behind }, Question::Data)
    }

    fn bdat<'a>(&mut self, argument: &[u8], rule: Rule, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let Some(chunk) = command::parse_bdat(argument) else {
            // How many octets follow cannot be known: nothing behind it may be read as commands.
            self.refuse(settings, Reply::BadArguments, replies);
            return Effect::Close;
        };
        if !settings.terms().extensions.has(Extension::Chunking) {
            return self.swallow(chunk, chunk.octets, Reply::NotImplemented, settings, replies);
        }
        if let Rule::Refuse(reply) = rule {
            return self.swallow(chunk, chunk.octets, reply, settings, replies);
        }
        if chunk.octets == 0 && !chunk.last && self.count_junk(settings, replies) {
            return Effect::Close;
        }
        match self.phase {
            Phase::Receiving(_) => self.begin_chunk(chunk, settings, replies),
            _ => self.ask(Asking::FirstChunk(chunk), Question::Data),
        }
    }

    fn rset<'a>(&mut self, argument: &[u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !is_blank(argument) {
            return self.bad_argument(argument, settings, replies);
        }
        let effect = match self.phase {
            Phase::Receiving(receiving) if receiving.refusal.is_none() => Effect::Abort,
            _ => Effect::Continue,
        };
        if matches!(self.phase, Phase::Open(_) | Phase::Receiving(_) | Phase::MailRefused) {
            self.phase = Phase::Idle;
        }
        if !self.count_junk(settings, replies) {
            self.give(settings, Reply::Ok, replies);
        }
        effect
    }

    /// Commands that neither further a message nor change anything.
    fn junk<'a>(&mut self, argument: &[u8], reply: Reply, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        if !command::is_text(argument) {
            return self.bad_command(Reply::BadLine, settings, replies);
        }
        if !self.count_junk(settings, replies) {
            self.give(settings, reply, replies);
        }
        Effect::Continue
    }

    /// An argument where none may stand, or none where one must.
    fn bad_argument<'a>(&mut self, argument: &[u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        self.bad_command(command::line_fault(argument).unwrap_or(Reply::BadArguments), settings, replies)
    }

    fn bad_command<'a>(&mut self, reply: Reply, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        self.give_error(settings, reply, replies);
        Effect::Continue
    }

    /// What follows DATA without awaiting its reply is mail data: where DATA is refused it must not be read as commands.
    fn close_if_sent_ahead(&mut self, behind: bool) {
        if behind {
            self.close();
        }
    }

    pub(super) fn ask<'a>(&mut self, asking: Asking, question: Question<'a>) -> Effect<'a> {
        self.asking = Some(asking);
        Effect::Ask(question)
    }
}
