//! MAIL, RCPT, DATA and BDAT.

use ringmx::mail::id::MessageId;
use ringmx::smtp::data::{BareNewline, Marks};
use ringmx::smtp::extension::Extension;
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Point};
use ringmx::smtp::settings::Nul;

use super::content::{self, MailData};
use super::parameter::{self, OfMail};
use super::{Address, Cursor, Fault, Hello, Said, Session, Taken, address, is_text};

/// From an accepted MAIL to the end of mail data, RSET or EHLO.
pub struct Transaction {
    from: Address,
    parameters: OfMail,
    /// Accepted ones, with their parameters.
    recipients: Vec<(Address, String)>,
    /// Policy refused a recipient.
    has_refused: bool,
    /// Octets of all chunks so far.
    octets: u128,
    chunks: Chunks,
}

enum Chunks {
    NoneYet,
    Kept(Vec<u8>),
    /// The message is refused; so is each further chunk.
    Refused(Reply),
}

pub struct Chunk {
    /// Saturated.
    pub octets: u128,
    pub is_last: bool,
}

/// `BDAT SP chunk-size [ SP "LAST" ]`, RFC 3030 §2.
pub fn chunk(argument: &[u8]) -> Option<Chunk> {
    let words: Vec<&[u8]> = argument.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).collect();
    let is_last = match words[..] {
        [_] => false,
        [_, last] if last.eq_ignore_ascii_case(b"LAST") => true,
        _ => return None,
    };
    let digit = |octet: &u8| octet.is_ascii_digit().then(|| u128::from(octet - b'0'));
    let digits: Option<Vec<u128>> = words[0].iter().map(digit).collect();
    let octets = digits?.iter().fold(0_u128, |sum, digit| sum.saturating_mul(10).saturating_add(*digit));
    Some(Chunk { octets, is_last })
}

/// Words behind a path.
fn words(rest: &[u8]) -> Vec<Vec<u8>> {
    rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
}

/// What stands behind `FROM:` or `TO:`.
fn behind<'a>(argument: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (front, rest) = super::trimmed_front(argument).split_at_checked(prefix.len())?;
    (front.eq_ignore_ascii_case(prefix.as_bytes()) && !rest.is_empty()).then_some(rest)
}

impl Session<'_> {
    // MAIL.

    pub(super) fn mail(&mut self, argument: &[u8]) {
        if self.hello.is_none() {
            return self.refuse_mail(Reply::HelloFirst, true);
        }
        match self.transaction.as_ref().map(|transaction| &transaction.chunks) {
            None => {}
            Some(Chunks::NoneYet) => return self.fault(Reply::NestedMail),
            Some(_) => return self.fault(Reply::WithinChunks),
        }
        if self.terms.messages_per_connection.is_some_and(|most| self.messages >= most) {
            return self.say(Reply::TooManyMessages);
        }
        if self.terms.requires_auth && !self.is_authenticated {
            return self.refuse_mail(Reply::AuthRequired, true);
        }
        let (from, parameters) = match self.read_mail(argument) {
            Ok(read) => read,
            Err(faults) => {
                self.refuse_mail(faults[0], faults[0] != Reply::MessageTooBig);
                return self.or(&faults);
            }
        };
        let about = format!("{} {} {:?}", from.written(), parameters.written(), parameters.size);
        match self.ask(Point::Mail, about) {
            Outcome::Refuse(reply) => self.refuse_mail(reply, false),
            _ => {
                self.is_behind_refused_mail = false;
                self.transaction = Some(Transaction {
                    from,
                    parameters,
                    recipients: Vec::new(),
                    has_refused: false,
                    octets: 0,
                    chunks: Chunks::NoneYet,
                });
                self.say(Reply::MailOk);
            }
        }
    }

    fn refuse_mail(&mut self, reply: Reply, is_fault: bool) {
        self.is_behind_refused_mail = true;
        if is_fault { self.fault(reply) } else { self.say(reply) }
    }

    /// Or all that is wrong with it.
    fn read_mail(&self, argument: &[u8]) -> Result<(Address, OfMail), Vec<Reply>> {
        let no_address = [Reply::BadReversePath, Reply::NonAsciiReversePath];
        let (mut from, is_ascii, rest) = self.read_path(argument, "FROM:", no_address)?;
        let (parameters, mut faults) =
            parameter::of_mail(&words(&rest), self.terms.extensions, self.offered(), self.rules());
        if from.domain.is_none() && !from.is_null() {
            match &self.terms.default_domain {
                Some(domain) => from.domain = Some(domain.clone().into_bytes()),
                _ => faults.push(Reply::ReversePathWithoutDomain),
            }
        }
        if !is_ascii && !parameters.smtputf8 {
            faults.push(Reply::NonAsciiReversePath);
        }
        // Open: this is no error of the client, and it is what is told if nothing else is wrong.
        if faults.is_empty() && parameters.size.is_some_and(|size| size > u128::from(self.terms.message_size_bytes)) {
            faults.push(Reply::MessageTooBig);
        }
        if faults.is_empty() { Ok((from, parameters)) } else { Err(faults) }
    }

    /// A path, whether it is of ASCII with its source route, and what stands behind it.
    fn read_path(
        &self,
        argument: &[u8],
        prefix: &str,
        no_address: [Reply; 2],
    ) -> Result<(Address, bool, Vec<u8>), Vec<Reply>> {
        // The argument has no end to read to, then: all of it may be wrong.
        if argument.contains(&b'\r') {
            return Err(vec![Reply::BadLine]);
        }
        let argument = behind(argument, prefix).ok_or([Reply::BadArguments, Reply::BadPath])?;
        let mut cursor = Cursor::new(argument);
        let path = address::path(&mut cursor, self.rules()).map_err(|fault| match fault {
            Fault::Missing => vec![Reply::BadArguments],
            Fault::NoBracket => vec![Reply::BadPath, Reply::BadArguments],
            // What is not UTF-8 is refused as no address here; its parameters cannot be found then.
            Fault::Bad if !argument.is_ascii() => {
                [&no_address[..], &[Reply::BadArguments, Reply::UnknownParameter, Reply::BadParameterValue]].concat()
            }
            Fault::Bad => vec![no_address[0]],
        })?;
        Ok((path, cursor.since(0).is_ascii(), cursor.rest().to_vec()))
    }

    // RCPT.

    pub(super) fn rcpt(&mut self, argument: &[u8]) {
        if self.hello.is_none() {
            return self.fault(Reply::HelloFirst);
        }
        let Some(transaction) = &self.transaction else { return self.refuse_without_mail() };
        if !matches!(transaction.chunks, Chunks::NoneYet) {
            return self.fault(Reply::WithinChunks);
        }
        let (to, parameters) = match self.read_rcpt(argument) {
            Ok(read) => read,
            Err(faults) => {
                self.fault(faults[0]);
                return self.or(&faults);
            }
        };
        let accepted = &self.transaction.as_ref().expect("it was there above").recipients;
        if accepted.len() >= self.terms.recipients_per_message as usize {
            return self.say(Reply::TooManyRecipients);
        }
        if let (Some(most), Some(domain)) = (self.terms.recipient_domains_per_message, &to.domain) {
            let mut domains: Vec<Vec<u8>> = accepted.iter().filter_map(|(to, _)| to.domain.clone()).collect();
            domains.push(domain.clone());
            domains.iter_mut().for_each(|domain| domain.make_ascii_lowercase());
            domains.sort();
            domains.dedup();
            if domains.len() > most as usize {
                return self.say(Reply::TooManyRecipientDomains);
            }
        }
        let outcome = self.ask(Point::Rcpt, format!("{} {parameters}", to.written()));
        let transaction = self.transaction.as_mut().expect("it was there above");
        match outcome {
            Outcome::Refuse(reply) => {
                transaction.has_refused = true;
                self.say(reply);
            }
            _ => {
                transaction.recipients.push((to, parameters));
                self.say(Reply::RcptOk);
            }
        }
    }

    /// Or all that is wrong with it.
    fn read_rcpt(&self, argument: &[u8]) -> Result<(Address, String), Vec<Reply>> {
        let no_address = [Reply::BadForwardPath, Reply::NonAsciiForwardPath];
        let (mut to, is_ascii, rest) = self.read_path(argument, "TO:", no_address)?;
        let transaction = self.transaction.as_ref().expect("RCPT is read within one");
        let smtputf8 = transaction.parameters.smtputf8;
        let (parameters, mut faults) = parameter::of_rcpt(&words(&rest), self.offered(), smtputf8);
        if to.is_null() {
            faults.push(Reply::BadForwardPath);
        } else if to.domain.is_none() && !to.is_postmaster() {
            match &self.terms.default_domain {
                Some(domain) => to.domain = Some(domain.clone().into_bytes()),
                _ => faults.push(Reply::ForwardPathWithoutDomain),
            }
        }
        if !is_ascii && !smtputf8 {
            faults.push(Reply::NonAsciiForwardPath);
        }
        if faults.is_empty() { Ok((to, parameters.written())) } else { Err(faults) }
    }

    fn refuse_without_mail(&mut self) {
        if self.is_behind_refused_mail { self.say(Reply::MailFirst) } else { self.fault(Reply::MailFirst) }
    }

    /// Why there can be no mail data now, and whether that is the client's fault.
    fn data_refusal(&self) -> Option<(Reply, bool)> {
        if self.hello.is_none() {
            return Some((Reply::HelloFirst, true));
        }
        let Some(transaction) = &self.transaction else {
            return Some((Reply::MailFirst, !self.is_behind_refused_mail));
        };
        if !transaction.recipients.is_empty() {
            return None;
        }
        // RFC 2033 §4.2 wants 503 in LMTP.
        match transaction.has_refused {
            true if self.is_lmtp() => Some((Reply::NobodyToTakeIt, false)),
            true => Some((Reply::NoValidRecipients, false)),
            false => Some((Reply::RcptFirst, true)),
        }
    }

    // DATA.

    pub(super) fn data(&mut self, argument: &[u8]) {
        if let Some((reply, is_fault)) = self.data_refusal() {
            return self.refuse_data(reply, is_fault);
        }
        let transaction = self.transaction.as_ref().expect("data_refusal found one");
        if !matches!(transaction.chunks, Chunks::NoneYet) {
            return self.refuse_data(Reply::WithinChunks, true);
        }
        if !is_text(argument) {
            self.refuse_data(Reply::BadLine, true);
            return self.or(&[Reply::BadArguments]);
        }
        if !argument.is_empty() {
            return self.refuse_data(Reply::BadArguments, true);
        }
        if !self.is_synchronized() {
            return;
        }
        let transaction = self.transaction.as_ref().expect("data_refusal found one");
        if transaction.parameters.body == Some("BINARYMIME") {
            return self.refuse_data(Reply::BinaryNeedsBdat, true);
        }
        if let Outcome::Refuse(reply) = self.ask(Point::Data, String::new()) {
            return self.refuse_data(reply, false);
        }
        self.say(Reply::StartMail);
        let mut data = MailData::new();
        loop {
            let Some(octet) = self.octet() else { return };
            if data.take(octet) {
                break;
            }
        }
        let content = data.content(self.terms.bare_newline);
        let marks = data.marks();
        let mut refusals = Vec::new();
        if marks.false_end {
            refusals.push(Reply::FalseEndOfData);
        } else {
            if self.terms.bare_newline == BareNewline::Reject && (marks.bare_lf || marks.bare_cr) {
                refusals.push(Reply::BareNewlineInData);
            }
            refusals.extend(self.content_refusals(&content, marks));
            if content.len() as u64 > self.terms.message_size_bytes {
                // Open: lines that nobody stored have no fault.
                refusals.retain(|reply| ![Reply::MailLoop, Reply::ContentLineTooLong].contains(reply));
                refusals.push(Reply::MessageTooBig);
            }
        }
        self.end_of_data(content, marks, &refusals);
        if marks.false_end {
            self.close();
        }
    }

    /// What was sent behind a refused DATA may be mail data, and is never read as commands (CONFORMANCE T128).
    pub(super) fn refuse_data(&mut self, reply: Reply, is_fault: bool) {
        let has_more = self.has_more_behind();
        if is_fault {
            self.fault(reply)
        } else {
            self.say(reply)
        }
        if has_more {
            self.close();
        }
    }

    fn content_refusals(&self, content: &[u8], marks: Marks) -> Vec<Reply> {
        let is_above = |limit: Option<u32>, count: usize| limit.is_some_and(|limit| count > limit as usize);
        let all = [
            (self.terms.nul == Nul::Reject && marks.nul, Reply::NulInData),
            (is_above(self.terms.received_fields, content::received_fields(content)), Reply::MailLoop),
            (is_above(self.terms.line_octets, content::longest_line(content)), Reply::ContentLineTooLong),
        ];
        all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reply)| reply).collect()
    }

    // BDAT.

    pub(super) fn bdat(&mut self, argument: &[u8]) {
        // What follows cannot be told from commands.
        let Some(chunk) = chunk(argument) else { return self.say_and_close(Reply::BadArguments) };
        if !self.terms.extensions.has(Extension::Chunking) {
            if self.swallow(Reply::NotImplemented, chunk.octets) {
                self.fault(Reply::NotImplemented);
            }
            return;
        }
        let is_within = self.transaction.as_ref().is_some_and(|one| !matches!(one.chunks, Chunks::NoneYet));
        if let Some((reply, is_fault)) = self.data_refusal().filter(|_| !is_within) {
            if self.swallow(reply, chunk.octets) {
                // RFC 3030 §2: there is no more of this message.
                if chunk.is_last && self.transaction.is_some() {
                    self.end_transaction();
                }
                if is_fault { self.fault(reply) } else { self.say(reply) }
            }
            return;
        }
        if chunk.octets == 0 && !chunk.is_last && !self.is_junk_allowed() {
            return;
        }
        if !is_within {
            let chunks = match self.ask(Point::Data, String::new()) {
                Outcome::Refuse(reply) if reply.closes() => return self.say(reply),
                Outcome::Refuse(reply) => Chunks::Refused(reply),
                _ => Chunks::Kept(Vec::new()),
            };
            self.transaction.as_mut().expect("data_refusal found one").chunks = chunks;
        }
        let most = u128::from(self.terms.message_size_bytes);
        let transaction = self.transaction.as_mut().expect("it was there above");
        transaction.octets = transaction.octets.saturating_add(chunk.octets);
        if let Chunks::Kept(content) = &transaction.chunks
            && (content.len() as u128).saturating_add(chunk.octets) > most
        {
            transaction.chunks = Chunks::Refused(Reply::MessageTooBig);
        }
        if let Chunks::Refused(reply) = transaction.chunks {
            return self.refused_chunk(&chunk, reply);
        }
        for _ in 0..chunk.octets {
            let Some(octet) = self.octet() else { return };
            let transaction = self.transaction.as_mut().expect("it was there above");
            let Chunks::Kept(content) = &mut transaction.chunks else { unreachable!("the message is not refused") };
            content.push(octet);
        }
        if !chunk.is_last {
            return self.say(Reply::Ok);
        }
        let transaction = self.transaction.as_mut().expect("it was there above");
        let Chunks::Kept(content) = std::mem::replace(&mut transaction.chunks, Chunks::NoneYet) else {
            unreachable!("the message is not refused")
        };
        let is_looked_into = !self.terms.discards || self.terms.nul == Nul::Reject;
        let marks = if is_looked_into { content::marks(&content) } else { Marks::default() };
        let refusals = self.content_refusals(&content, marks);
        self.end_of_data(content, marks, &refusals);
    }

    fn refused_chunk(&mut self, chunk: &Chunk, reply: Reply) {
        if !self.swallow(reply, chunk.octets) {
            return;
        }
        if !chunk.is_last {
            return self.say(reply);
        }
        let transaction = self.transaction.as_ref().expect("its chunk was refused");
        let count = if self.is_lmtp() { transaction.recipients.len() } else { 1 };
        self.end_transaction();
        for _ in 0..count {
            self.say(reply);
        }
    }

    /// Reads a chunk that is refused. Not one that is too large to wait for, behind which the session ends. Whether the whole
    /// chunk was read.
    pub(super) fn swallow(&mut self, reply: Reply, octets: u128) -> bool {
        let most = u128::from(self.terms.message_size_bytes) * 10;
        // Open: the chunks of a message count together.
        let together = self.transaction.as_ref().map_or(0, |transaction| transaction.octets);
        if octets.max(together) > most.max(1 << 30) {
            self.say_and_close(reply);
            return false;
        }
        (0..octets).all(|_| self.octet().is_some())
    }

    // The end of mail data.

    fn with(&self, transaction: &Transaction) -> String {
        let utf8 = if transaction.parameters.smtputf8 { "UTF8" } else { "" };
        let secure = if self.is_secure { "S" } else { "" };
        let authenticated = if self.is_authenticated { "A" } else { "" };
        match self.hello {
            _ if self.is_lmtp() => format!("{utf8}LMTP{secure}{authenticated}"),
            Some(Hello::Plain) if utf8.is_empty() && secure.is_empty() && authenticated.is_empty() => "SMTP".to_owned(),
            _ if utf8.is_empty() => format!("ESMTP{secure}{authenticated}"),
            _ => format!("UTF8SMTP{secure}{authenticated}"),
        }
    }

    /// Each reply is for all recipients in SMTP, for one of them in LMTP.
    fn end_of_data(&mut self, content: Vec<u8>, marks: Marks, refusals: &[Reply]) {
        let transaction = self.transaction.take().expect("mail data ends in one");
        self.is_behind_refused_mail = false;
        let count = transaction.recipients.len();
        let each = if self.is_lmtp() { count } else { 1 };
        if let Some(first) = refusals.first() {
            // Open: which of several faults is told. A message that is too big is no error (CONFORMANCE T025).
            for _ in 1..each {
                self.say(*first);
                self.or(refusals);
            }
            if *first == Reply::MessageTooBig {
                self.say(*first)
            } else {
                self.fault(*first)
            }
            self.or(refusals);
            return;
        }
        // Open: a message that policy refuses counts, one that is refused before does not.
        self.messages += 1;
        let with = self.with(&transaction);
        let about = format!("{} {count} {marks:?} {with}", content.len());
        self.run.contents.push(content.clone());
        self.run.recipients.push(transaction.recipients.iter().map(|(to, _)| to.written()).collect());
        let outcome = self.ask(Point::EndOfData, about);
        let (mut recipients, rcpt_parameters): (Vec<_>, Vec<_>) =
            transaction.recipients.into_iter().map(|(to, parameters)| (to.written(), parameters)).unzip();
        let is_taken = match &outcome {
            Outcome::Refuse(_) => false,
            Outcome::Each(each) => {
                let all = &each.recipients;
                recipients = recipients.into_iter().zip(all).filter(|(_, one)| one.is_ok()).map(|(to, _)| to).collect();
                !recipients.is_empty()
            }
            _ => true,
        };
        if is_taken {
            self.run.messages.push(Taken {
                reverse_path: transaction.from.written(),
                mail_parameters: transaction.parameters.written(),
                recipients,
                rcpt_parameters,
                content,
                marks,
                with,
            });
        }
        match outcome {
            Outcome::Accept | Outcome::AcceptFor(_) => (0..each).for_each(|_| self.say_taken(None)),
            Outcome::AcceptAs(id) => (0..each).for_each(|_| self.say_taken(Some(id))),
            Outcome::Refuse(reply) => (0..each).for_each(|_| self.say(reply)),
            Outcome::Each(each) if self.is_lmtp() => {
                for one in each.recipients {
                    match one {
                        Ok(()) => self.say_taken(each.id),
                        Err(reply) => self.say(reply),
                    }
                }
            }
            Outcome::Each(each) => {
                let all = &each.recipients;
                let refusals: Vec<Reply> = all.iter().filter_map(|one| one.err()).collect();
                let is_temporary = |reply: &Reply| reply.code() / 100 == 4;
                match refusals.first() {
                    Some(_) if refusals.iter().any(is_temporary) => {
                        // Nothing says which of several.
                        let own: Vec<Reply> = refusals.iter().copied().filter(is_temporary).collect();
                        self.say(own[0]);
                        self.or(&own[1..]);
                    }
                    Some(reply) if refusals.len() == all.len() => self.say(*reply),
                    _ => self.say_taken(each.id),
                }
            }
        }
    }

    fn say_taken(&mut self, id: Option<MessageId>) {
        self.errors = 0;
        self.junk = 0;
        // Open: what it is when a listener that discards gives an id.
        let discards = self.terms.discards && id.is_none();
        let reply = if discards { Reply::Discarded } else { Reply::Accepted };
        self.run.said.push(Said { at: self.at, reply, or: Vec::new(), id });
    }
}
