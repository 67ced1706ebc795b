//! The commands of a transaction: MAIL, RCPT, DATA, BDAT, RSET (RFC 5321 §3.3, RFC 3030).

use crate::mail::address::{Mailbox, Path};
use crate::mail::envelope::{Body, MailParameters, Place};
use crate::smtp::command::{self, MailCommand, RcptCommand};
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::line::is_blank;
use crate::smtp::phase::Rule;
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::Effect;
use crate::smtp::session::machine::{Machine, NO_SERVICE, Phase, Transaction};
use crate::smtp::session::question::{Asking, Question};
use crate::smtp::settings::{Settings, Synchronization, Terms};

impl Machine {
    pub(super) fn mail<'a>(&mut self, argument: &'a [u8], settings: &'a Settings, replies: &mut Replies) -> Effect<'a> {
        let terms = settings.terms();
        if terms.messages_per_connection.is_some_and(|most| self.messages >= most) {
            self.refuse(settings, Reply::TooManyMessages, replies);
            return Effect::Close;
        }
        if terms.requires_auth && !self.is_authenticated {
            self.phase = Phase::MailRefused;
            return self.bad_command(Reply::AuthRequired, settings, replies);
        }
        let mail = match self.read_mail(argument, settings) {
            Ok(mail) => mail,
            Err(reply) => {
                self.phase = Phase::MailRefused;
                return self.bad_command(reply, settings, replies);
            }
        };
        if mail.parameters.size_bytes.is_some_and(|size| size > terms.message_size_bytes) {
            self.phase = Phase::MailRefused;
            self.give(settings, Reply::MessageTooBig, replies);
            return Effect::Continue;
        }
        self.transactions = self.transactions.wrapping_add(1);
        let transaction = self.transactions;
        let MailParameters { smtputf8, body, .. } = mail.parameters;
        let is_binary = body == Body::BinaryMime;
        let open = Transaction { number: transaction, recipients: 0, refused_recipients: 0, smtputf8, is_binary };
        self.phase = Phase::Open(open);
        if terms.keeps_record() {
            self.record.get_or_insert_default().begin(mail.reverse_path, &mail.parameters);
        }
        self.ask(Asking::Mail { transaction }, Question::Mail(mail))
    }

    /// The argument of MAIL, with a domain, and with parameters that are offered now.
    fn read_mail<'a>(&self, argument: &'a [u8], settings: &'a Settings) -> Result<MailCommand<'a>, Reply> {
        let terms = settings.terms();
        // REQUIRETLS is not listed without TLS, but a client that means it must hear what is wrong.
        let known = match terms.extensions.has(Extension::RequireTls) {
            true => terms.offered(self.is_secure).with(Extension::RequireTls),
            false => terms.offered(self.is_secure),
        };
        let mut mail = command::parse_mail(argument, terms.address_syntax, known)?;
        if let Path::Local(local_part) = mail.reverse_path {
            mail.reverse_path = complete(local_part, terms).ok_or(Reply::ReversePathWithoutDomain)?;
        }
        if mail.parameters.requiretls && !self.is_secure {
            return Err(Reply::TlsRequired);
        }
        Ok(mail)
    }

    pub(super) fn rcpt<'a>(&mut self, argument: &'a [u8], settings: &'a Settings, replies: &mut Replies) -> Effect<'a> {
        let terms = settings.terms();
        let Phase::Open(open) = self.phase else { unreachable!("the table allows RCPT only after MAIL") };
        let transaction = open.number;
        let rcpt = match read_rcpt(argument, open.smtputf8, terms.offered(self.is_secure), settings) {
            Ok(rcpt) => rcpt,
            Err(reply) => {
                self.give_for(settings, reply, Some(transaction), replies);
                self.count_error(settings, replies);
                return Effect::Continue;
            }
        };
        let place = match self.admit(&rcpt, open.recipients, terms) {
            Ok(place) => place,
            Err(reply) => {
                self.give_for(settings, reply, Some(transaction), replies);
                return Effect::Continue;
            }
        };
        if let Phase::Open(open) = &mut self.phase {
            open.recipients += 1;
        }
        self.ask(Asking::Rcpt { transaction, place }, Question::Rcpt(rcpt))
    }

    /// Whether there is room for another recipient, and where it is kept.
    fn admit(&mut self, rcpt: &RcptCommand<'_>, recipients: u32, terms: &Terms) -> Result<Option<Place>, Reply> {
        if recipients >= terms.recipients_per_message {
            return Err(Reply::TooManyRecipients);
        }
        let Some(record) = self.record.as_mut().filter(|_| terms.keeps_record()) else { return Ok(None) };
        let place = record.add(rcpt.forward_path, &rcpt.parameters).map_err(|_| Reply::EnvelopeTooBig)?;
        if terms.recipient_domains_per_message.is_some_and(|most| !record.admits_domain(rcpt.forward_path, most)) {
            record.forget(place);
            return Err(Reply::TooManyRecipientDomains);
        }
        Ok(Some(place))
    }

    pub(super) fn data<'a>(
        &mut self,
        argument: &[u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if !is_blank(argument) {
            let effect = self.bad_argument(argument, settings, replies);
            self.close_if_sent_ahead(behind);
            return effect;
        }
        if behind && settings.terms().synchronization == Synchronization::Strict {
            self.refuse(settings, Reply::UnauthorisedPipelining, replies);
            return Effect::Close;
        }
        if matches!(self.phase, Phase::Open(open) if open.is_binary) {
            let effect = self.bad_command(Reply::BinaryNeedsBdat, settings, replies);
            self.close_if_sent_ahead(behind);
            return effect;
        }
        self.ask(Asking::Data { behind }, Question::Data)
    }

    pub(super) fn bdat<'a>(
        &mut self,
        argument: &[u8],
        rule: Rule,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let Some(chunk) = command::parse_bdat(argument) else {
            // How many octets follow cannot be known: nothing behind it may be read as commands.
            self.refuse(settings, Reply::BadArguments, replies);
            return Effect::Close;
        };
        if rule != NO_SERVICE && !settings.terms().extensions.has(Extension::Chunking) {
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

    pub(super) fn rset<'a>(&mut self, argument: &[u8], settings: &Settings, replies: &mut Replies) -> Effect<'a> {
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
}

/// The argument of RCPT. `postmaster` needs no domain (RFC 5321 §4.5.1).
fn read_rcpt<'a>(
    argument: &'a [u8],
    smtputf8: bool,
    offered: Extensions,
    settings: &'a Settings,
) -> Result<RcptCommand<'a>, Reply> {
    let terms = settings.terms();
    let mut rcpt = command::parse_rcpt(argument, terms.address_syntax, offered, smtputf8)?;
    if let Path::Local(local_part) = rcpt.forward_path
        && !local_part.eq_ignore_ascii_case(b"postmaster")
    {
        rcpt.forward_path = complete(local_part, terms).ok_or(Reply::ForwardPathWithoutDomain)?;
    }
    Ok(rcpt)
}

/// An address without a domain, with the default one.
fn complete<'a>(local_part: &'a [u8], terms: &'a Terms) -> Option<Path<'a>> {
    let domain = terms.default_domain.as_deref()?.as_bytes();
    Some(Path::Mailbox(Mailbox { local_part, domain }))
}
