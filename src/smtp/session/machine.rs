//! Where a session stands, and what each command does to it.

use crate::limits;
use crate::smtp::chunk::{ChunkDecoder, ChunkMarks};
use crate::smtp::command::{self, Verb};
use crate::smtp::data::DataDecoder;
use crate::smtp::extension::Extension;
use crate::smtp::line::is_blank;
use crate::smtp::phase::{self, Column, Rule};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::Effect;
use crate::smtp::session::question::{Asking, Question};
use crate::smtp::session::record::Record;
use crate::smtp::session::security::Exchange;
use crate::smtp::session::slots::Slots;
use crate::smtp::settings::{Settings, Synchronization, Terms};

/// What the table says of nearly everything behind a 554 greeting: no other reason counts then.
pub(super) const NO_SERVICE: Rule = Rule::Refuse(Reply::NoService);

/// From MAIL to the reply after the end of mail data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    pub(super) number: u32,
    /// Accepted, or waiting for their answer.
    pub(super) recipients: u32,
    pub(super) refused_recipients: u32,
    /// MAIL said SMTPUTF8.
    pub(super) smtputf8: bool,
    /// MAIL said BODY=BINARYMIME.
    pub(super) is_binary: bool,
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
    /// STARTTLS was read; nothing more may come before its reply.
    Upgrading,
    /// Its reply is given; what comes is not for the session.
    Securing,
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
    /// The rest of a command line that is too long, of which so many octets have come.
    Overlong(usize),
    /// Lines of an AUTH exchange.
    Responses(Exchange),
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
    /// EHLO or LHLO rather than HELO.
    pub(super) is_extended: bool,
    pub(super) is_secure: bool,
    pub(super) is_authenticated: bool,
    /// What the client said; where somebody reads it, or while it authenticates itself.
    pub(super) record: Option<Box<Record>>,
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
            is_extended: false,
            is_secure: false,
            is_authenticated: false,
            record: None,
        }
    }

    pub(super) fn column(&self) -> Column {
        match &self.phase {
            Phase::Opening | Phase::Start | Phase::Upgrading | Phase::Securing => Column::Start,
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
        self.slots.has_room() && replies.have_room()
    }

    /// Whether the verb can only be acted on when answers have come that are still out; some are. EHLO, STARTTLS, AUTH and
    /// XCLIENT are barriers; so would be QUIT, but nothing is read behind it, and its reply waits in its slot like any other. The
    /// others must know what became of the transaction so far.
    pub(super) fn must_wait(&self, verb: Verb, terms: &Terms) -> bool {
        let is_open = |number| self.slots.any_pending(|asking| asking.transaction() == Some(number));
        match (verb, &self.phase) {
            (Verb::Ehlo | Verb::Helo | Verb::Lhlo | Verb::StartTls | Verb::Auth | Verb::Xclient, _) => true,
            (Verb::Mail | Verb::Data | Verb::Bdat, Phase::Open(open)) => is_open(open.number),
            (Verb::Rcpt, Phase::Open(open)) => {
                let most = terms.recipient_domains_per_message;
                let has_no_domain_left =
                    || most.zip(self.record.as_ref()).is_some_and(|(most, record)| record.has_no_domain_left(most));
                let is_full = open.recipients >= terms.recipients_per_message || has_no_domain_left();
                is_full && is_open(open.number)
            }
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
        &'a mut self,
        verb: Verb,
        argument: &'a [u8],
        behind: bool,
        settings: &'a Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let terms = settings.terms();
        let verb = verb.under(terms);
        let rule = match phase::rule(verb, self.column(), terms.dialect) {
            rule if rule == NO_SERVICE || self.may_be_heard(verb, terms) => rule,
            _ if verb == Verb::Xclient && !terms.extensions.has(Extension::Xclient) => {
                Rule::Refuse(Reply::XclientRefused)
            }
            _ => Rule::Refuse(Reply::TlsRequired),
        };
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
            Verb::StartTls => self.start_tls(argument, behind, settings, replies),
            Verb::Auth => self.auth(argument, behind, settings, replies),
            Verb::Xclient => self.xclient(argument, behind, settings, replies),
            Verb::Bdat | Verb::Lhlo | Verb::Absent | Verb::Blank | Verb::Unknown => {
                unreachable!("BDAT was taken above; the table refuses the others, and LHLO is EHLO where it is known")
            }
        }
    }

    /// Passes over what has come of a command line that is too long, and refuses it at its end.
    pub(super) fn skip_line<'a>(
        &mut self,
        before: usize,
        settings: &Settings,
        input: &mut &[u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let end = memchr::memchr(b'\n', input).map(|at| at + 1);
        let octets = before + end.unwrap_or(input.len());
        if octets > limits::COMMAND_LINE_DISCARD_OCTETS {
            self.refuse(settings, Reply::LineTooLong, replies);
            return Effect::Close;
        }
        *input = &input[end.unwrap_or(input.len())..];
        if end.is_none() {
            self.reading = Reading::Overlong(octets);
            return Effect::NeedInput;
        }
        self.reading = Reading::Commands;
        self.bad_command(Reply::LineTooLong, settings, replies)
    }

    /// Whether these terms let the verb be acted on here, whatever the table says.
    #[inline]
    fn may_be_heard(&self, verb: Verb, terms: &Terms) -> bool {
        let may_speak_for_others = verb != Verb::Xclient || terms.extensions.has(Extension::Xclient);
        may_speak_for_others && (!terms.requires_tls || self.is_secure || verb.is_allowed_before_tls())
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
        if terms.keeps_record() {
            self.record.get_or_insert_default().ask_hello(name);
        }
        self.ask(Asking::Hello { extended }, Question::Hello { name })
    }

    /// Commands that neither further a message nor change anything.
    pub(super) fn junk<'a>(
        &mut self,
        argument: &[u8],
        reply: Reply,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if !command::is_text(argument) {
            return self.bad_command(Reply::BadLine, settings, replies);
        }
        if !self.count_junk(settings, replies) {
            self.give(settings, reply, replies);
        }
        Effect::Continue
    }

    /// An argument where none may stand, or none where one must.
    pub(super) fn bad_argument<'a>(
        &mut self,
        argument: &[u8],
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        self.bad_command(command::line_fault(argument).unwrap_or(Reply::BadArguments), settings, replies)
    }

    pub(super) fn bad_command<'a>(&mut self, reply: Reply, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        self.give_error(settings, reply, replies);
        Effect::Continue
    }

    /// What follows DATA without awaiting its reply is mail data: where DATA is refused it must not be read as commands.
    pub(super) fn close_if_sent_ahead(&mut self, behind: bool) {
        if behind {
            self.close();
        }
    }

    pub(super) fn ask<'a>(&mut self, asking: Asking, question: Question<'a>) -> Effect<'a> {
        self.asking = Some(asking);
        Effect::Ask(question)
    }
}
