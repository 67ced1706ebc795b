//! The server's side of QMQP, without I/O.
//!
//! *Invariants*: nothing is answered before all has come, or the client has broken the protocol; one refused recipient refuses
//! the message, because there is one answer. One question is out at a time, and nothing is read meanwhile. Every
//! [`Effect::Ask`] is followed by exactly one `answer` or `defer`.
//!
//! An address stands as in SMTP's paths, without the brackets: a local-part that needs quotes has them. The forms of qmail
//! that are no addresses (`#@[]`) are refused.

use crate::mail::address::Path;
use crate::mail::envelope::{MailParameters, Place, RcptParameters};
use crate::mail::trace::{Transfer, With};
use crate::protocol::qmqp::reader::{Event, Reader};
use crate::smtp::chunk::ChunkMarks;
use crate::smtp::command::{MailCommand, RcptCommand};
use crate::smtp::path::{self, Charset, Read};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::{Effect, Ended, Outcome, Question, Record};
use crate::smtp::settings::{AddressSyntax, Nul, Settings};

/// A question that is being answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Connect,
    Mail,
    Rcpt(Option<Place>),
    EndOfData,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Reading,
    /// All has come and is accepted so far; the question about it is due.
    Complete,
    Closed,
}

/// One session, of one message.
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    state: State,
    /// The question of the last [`Effect::Ask`], until it is answered or deferred.
    asking: Option<Asking>,
    /// The question whose answer is out.
    waiting: Option<Asking>,
    /// Number of the next question.
    next_question: u32,
    record: Record,
    marks: ChunkMarks,
    content_octets: u64,
    recipients: u32,
    /// The first reason to refuse the message; its content is void.
    refusal: Option<Reply>,
}

impl Session {
    /// A session that awaits [`Session::handle_open`].
    pub fn new(settings: &Settings) -> Self {
        Self {
            reader: Reader::new(settings.discard_octets()),
            state: State::Opening,
            asking: None,
            waiting: None,
            next_question: 0,
            record: Record::default(),
            marks: ChunkMarks::default(),
            content_octets: 0,
            recipients: 0,
            refusal: None,
        }
    }

    // Getters.

    /// Whether the session is over.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether an answer is out.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// The number of the question that is being asked, for [`Session::handle_outcome`].
    pub fn question_number(&self) -> u32 {
        self.next_question
    }

    // Events.

    /// The client has connected: asks whether it is served. There is no greeting.
    pub fn handle_open(&mut self) -> Effect<'static> {
        debug_assert_eq!(self.state, State::Opening);
        self.asking = Some(Asking::Connect);
        Effect::Ask(Question::Connect)
    }

    /// Takes one piece of content, or one address, from the front of `input`.
    pub fn handle_input<'a, 'i: 'a>(
        &'a mut self,
        settings: &'a Settings,
        input: &mut &'i [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        debug_assert!(self.asking.is_none(), "the last question was neither answered nor deferred");
        match self.state {
            State::Closed => return Effect::Close,
            _ if self.waiting.is_some() => return Effect::Blocked,
            State::Opening => return Effect::Blocked,
            State::Complete => return self.end(settings, replies),
            State::Reading => {}
        }
        let terms = settings.terms();
        let event = match self.reader.next(input) {
            Ok(Some(event)) => event,
            Ok(None) => return Effect::NeedInput,
            Err(_) => {
                replies.push_netstring(Reply::BadNetstring, settings);
                self.state = State::Closed;
                return Effect::Close;
            }
        };
        match event {
            Event::Message(octets) => {
                if octets > terms.message_size_bytes {
                    self.refusal = Some(Reply::MessageTooBig);
                }
                Effect::Continue
            }
            Event::Content(piece) => {
                self.content_octets += piece.len() as u64;
                if self.refusal.is_some() {
                    return Effect::Continue;
                }
                if terms.looks_into_chunks() {
                    self.marks.see(piece);
                }
                self.record.see_lines(piece, terms);
                Effect::Content(piece)
            }
            Event::MessageEnd => {
                let is_nul = self.marks.at_end().nul && terms.nul == Nul::Reject;
                let lines = || self.record.refused_lines(terms);
                let refusal = is_nul.then_some(Reply::NulInData).or_else(lines);
                match self.refusal.is_none().then_some(refusal).flatten() {
                    Some(reply) => {
                        self.refusal = Some(reply);
                        Effect::Abort
                    }
                    None => Effect::Continue,
                }
            }
            Event::Sender(address) => match address_of(address) {
                Some(reverse_path) => {
                    let parameters = MailParameters::default();
                    self.record.begin(reverse_path, &parameters);
                    self.asking = Some(Asking::Mail);
                    Effect::Ask(Question::Mail(MailCommand { reverse_path, parameters }))
                }
                None => refuse(&mut self.refusal, Reply::BadReversePath),
            },
            Event::Recipient(address) => match address_of(address) {
                None | Some(Path::Null) => refuse(&mut self.refusal, Reply::BadForwardPath),
                Some(_) if self.recipients >= terms.recipients_per_message => {
                    refuse(&mut self.refusal, Reply::TooManyRecipients)
                }
                Some(forward_path) => {
                    let parameters = RcptParameters::default();
                    let place = match terms.keeps_record() {
                        true => match self.record.add(forward_path, &parameters) {
                            Ok(place) => Some(place),
                            Err(_) => return refuse(&mut self.refusal, Reply::EnvelopeTooBig),
                        },
                        false => None,
                    };
                    self.recipients += 1;
                    self.asking = Some(Asking::Rcpt(place));
                    Effect::Ask(Question::Rcpt(RcptCommand { forward_path, parameters }))
                }
            },
            Event::End => {
                self.state = State::Complete;
                Effect::Continue
            }
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
        // One is out at a time: the last that was asked.
        let is_awaited = self.waiting.is_some() && number == self.next_question.wrapping_sub(1);
        if let Some(asking) = self.waiting.take_if(|_| is_awaited) {
            self.conclude(settings, asking, outcome, replies);
        }
        is_awaited
    }

    /// The answer did not come in time.
    pub fn handle_answer_timeout(&mut self, settings: &Settings, replies: &mut Replies) {
        let number = self.next_question.wrapping_sub(1);
        self.handle_outcome(settings, number, Outcome::Refuse(Reply::AnswerTimeout), replies);
    }

    // Application commands.

    /// Answers the question of the last [`Effect::Ask`].
    pub fn answer(&mut self, settings: &Settings, outcome: Outcome, replies: &mut Replies) {
        let Some(asking) = self.asking.take() else { return debug_assert!(false, "nothing was asked") };
        self.conclude(settings, asking, outcome, replies);
    }

    /// The question of the last [`Effect::Ask`] will be answered by [`Session::handle_outcome`].
    pub fn defer(&mut self) {
        debug_assert!(self.asking.is_some(), "nothing was asked");
        self.waiting = self.asking.take();
        self.next_question = self.next_question.wrapping_add(1);
    }

    /// Ends the session with this reply. Content that was given is void.
    pub fn refuse(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        debug_assert!(self.asking.is_none(), "a question is refused by its answer");
        if self.state != State::Closed {
            replies.push_netstring(reply, settings);
            self.waiting = None;
            self.state = State::Closed;
        }
    }

    /// All has come: the message is refused, for the first reason, or asked about.
    fn end<'a>(&'a mut self, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let none = (self.recipients == 0).then_some(Reply::RcptFirst);
        if let Some(reply) = self.refusal.or(none) {
            replies.push_netstring(reply, settings);
            self.state = State::Closed;
            return Effect::Close;
        }
        self.asking = Some(Asking::EndOfData);
        let with = With { transfer: Transfer::Qmqp, extended: false, secure: false, authenticated: false, utf8: false };
        Effect::Ask(Question::EndOfData(Ended {
            content_octets: self.content_octets,
            recipients: self.recipients,
            marks: self.marks.at_end(),
            with,
            record: settings.terms().keeps_record().then_some(&self.record),
        }))
    }

    fn conclude(&mut self, settings: &Settings, asking: Asking, outcome: Outcome, replies: &mut Replies) {
        let refusal = outcome.refusal();
        match (asking, refusal) {
            (Asking::Connect, None) => self.state = State::Reading,
            (Asking::EndOfData, None) => {
                match outcome {
                    Outcome::AcceptAs(id) => replies.push_accepted_netstring(id),
                    _ => replies.push_netstring(settings.terms().taken(), settings),
                }
                self.state = State::Closed;
            }
            (Asking::Connect | Asking::EndOfData, Some(reply)) => {
                replies.push_netstring(reply, settings);
                self.state = State::Closed;
            }
            (Asking::Mail | Asking::Rcpt(_), None) => {}
            (Asking::Mail, Some(reply)) => {
                self.refusal.get_or_insert(reply);
            }
            (Asking::Rcpt(place), Some(reply)) => {
                self.refusal.get_or_insert(reply);
                self.recipients -= 1;
                if let Some(place) = place {
                    self.record.withdraw(place);
                }
            }
        }
    }
}

/// Refuses the message for this reason, if it is the first: content that was given is void.
fn refuse<'a>(refusal: &mut Option<Reply>, reply: Reply) -> Effect<'a> {
    match refusal.replace(refusal.unwrap_or(reply)) {
        None => Effect::Abort,
        Some(_) => Effect::Continue,
    }
}

/// An address as it came: nothing for the null reverse-path, or a path without its brackets.
fn address_of(address: &[u8]) -> Option<Path<'_>> {
    if address.is_empty() {
        return Some(Path::Null);
    }
    match path::parse(address, AddressSyntax::Loose) {
        // Nothing in QMQP says that an address is in UTF-8.
        Ok(Read { path: path @ Path::Mailbox(_), charset: Charset::Ascii, rest: [] }) if address[0] != b'<' => {
            Some(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mail::id::MessageId;
    use crate::protocol::netstring;
    use crate::smtp::settings::tests::terms;
    use crate::smtp::settings::{Settings, Terms};

    fn package(content: &[u8], sender: &[u8], recipients: &[&[u8]]) -> Vec<u8> {
        let mut inner = Vec::new();
        for part in [content, sender].into_iter().chain(recipients.iter().copied()) {
            netstring::write(part, &mut inner);
        }
        let mut outer = Vec::new();
        netstring::write(&inner, &mut outer);
        outer
    }

    /// What a session comes to.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Run {
        replies: String,
        /// Content and recipients of the message that was taken.
        taken: Option<(Vec<u8>, Vec<String>)>,
        is_closed: bool,
    }

    /// Local-parts that begin with `no` are refused, for good or with `no4` for now; so is whoever `connect` says.
    fn decide(question: &Question<'_>, connect: &Outcome) -> Outcome {
        let path = match question {
            Question::Connect => return connect.clone(),
            Question::Mail(mail) => mail.reverse_path,
            Question::Rcpt(rcpt) => rcpt.forward_path,
            _ => return Outcome::Accept,
        };
        match path {
            Path::Mailbox(mailbox) if mailbox.local_part.starts_with(b"no4") => Outcome::Refuse(Reply::Scripted451),
            Path::Mailbox(mailbox) if mailbox.local_part.starts_with(b"no") => Outcome::Refuse(Reply::Scripted550),
            _ => Outcome::Accept,
        }
    }

    fn run_with(settings: &Settings, input: &[u8], cuts: &[usize], connect: Outcome, defers: bool) -> Run {
        let mut session = Session::new(settings);
        let (mut replies, mut content, mut taken) = (Replies::new(), Vec::new(), None);
        session.handle_open();
        session.answer(settings, decide(&Question::Connect, &connect), &mut replies);
        let mut start = 0;
        for end in cuts.iter().copied().chain([input.len()]) {
            let mut rest = &input[start..end];
            start = end;
            loop {
                let number = session.question_number();
                match session.handle_input(settings, &mut rest, &mut replies) {
                    Effect::Continue => {}
                    Effect::Content(piece) => content.extend_from_slice(piece),
                    Effect::Abort => content.clear(),
                    Effect::NeedInput | Effect::Close => break,
                    Effect::Ask(question) => {
                        let outcome = decide(&question, &connect);
                        if let Question::EndOfData(ended) = question {
                            let record = ended.record.expect("it is kept");
                            let written =
                                record.envelope().recipients().map(|recipient| format!("{:?}", recipient.path));
                            let recipients: Vec<String> = written.collect();
                            assert_eq!(ended.recipients as usize, recipients.len());
                            assert_eq!(ended.content_octets, content.len() as u64);
                            assert_eq!(ended.with.keyword(), "QMQP");
                            taken = Some((content.clone(), recipients));
                        }
                        if defers {
                            session.defer();
                            let mut none: &[u8] = b"";
                            assert_eq!(session.handle_input(settings, &mut none, &mut replies), Effect::Blocked);
                            assert!(!session.handle_outcome(settings, number + 1, Outcome::Accept, &mut replies));
                            assert!(session.handle_outcome(settings, number, outcome, &mut replies));
                        } else {
                            session.answer(settings, outcome, &mut replies);
                        }
                    }
                    effect => panic!("{effect:?}"),
                }
            }
        }
        let replies = String::from_utf8(replies.octets).unwrap();
        Run { replies, taken, is_closed: session.is_closed() }
    }

    fn run(input: &[u8]) -> Run {
        run_with(&Settings::new(terms()), input, &[], Outcome::Accept, false)
    }

    fn letter(run: &Run) -> char {
        run.replies.split_once(':').map_or(' ', |(_, text)| text.chars().next().unwrap())
    }

    /// CONFORMANCE T195, T196.
    #[test]
    fn a_message_has_one_answer() {
        let taken = run(&package(b"hi\n", b"s@x.test", &[b"a@ok.test", b"b@ok.test"]));
        assert_eq!(taken.replies, "19:K2.0.0 Ok: accepted,");
        assert_eq!(taken.taken.map(|(content, recipients)| (content, recipients.len())), Some((b"hi\n".to_vec(), 2)));
        assert!(taken.is_closed);
        let null = run(&package(b"", b"", &[b"a@ok.test"]));
        assert_eq!(letter(&null), 'K');
        for (sender, recipients, wanted) in [
            (b"s@x.test".as_slice(), vec![], 'D'),
            (b"s@x.test", vec![b"a@ok.test".as_slice(), b"no@ok.test"], 'D'),
            (b"s@x.test", vec![b"a@ok.test", b"no4@ok.test"], 'Z'),
            (b"no4@x.test", vec![b"no@ok.test"], 'Z'),
            (b"s", vec![b"a@ok.test"], 'D'),
            (b"#@[]", vec![b"a@ok.test"], 'D'),
            (b"s@x.test", vec![b"<a@ok.test>"], 'D'),
            (b"s@x.test", vec![b""], 'D'),
            (b"s@x.test", vec![b"a@ok.test x"], 'D'),
        ] {
            let refused = run(&package(b"hi", sender, &recipients));
            assert_eq!((letter(&refused), refused.taken, refused.is_closed), (wanted, None, true), "{recipients:?}");
        }
    }

    /// CONFORMANCE T198: what has not come in full is no message; what follows is no second one.
    #[test]
    fn a_package_that_is_cut_is_no_message() {
        let whole = package(b"hi", b"s@x.test", &[b"a@ok.test"]);
        for end in 0..whole.len() {
            assert_eq!(run(&whole[..end]), Run::default(), "{end}");
        }
        let twice = run(&whole.repeat(2));
        assert_eq!(twice.replies.matches('K').count(), 1);
        let broken = run(b"30:2:hi,8:s@x.test,9:a@ok.test,x");
        assert_eq!((letter(&broken), broken.taken), ('D', None));
    }

    /// CONFORMANCE T199, T200.
    #[test]
    fn a_client_that_is_not_served_hears_so_at_once() {
        let settings = Settings::new(terms());
        for (reply, wanted) in [(Reply::Scripted550, 'D'), (Reply::TooManyConnections, 'Z')] {
            let refused = run_with(&settings, b"", &[], Outcome::Refuse(reply), false);
            assert_eq!((letter(&refused), refused.is_closed), (wanted, true));
        }
    }

    #[test]
    fn limits_hold() {
        let refused = |terms: Terms, package: Vec<u8>| {
            let run = run_with(&Settings::new(terms), &package, &[], Outcome::Accept, false);
            assert!(run.is_closed && run.taken.is_none(), "{run:?}");
            run.replies
        };
        let big = refused(Terms { message_size_bytes: 3, ..terms() }, package(b"four", b"", &[b"a@ok.test"]));
        assert!(big.contains("D5.3.4"), "{big}");
        let many = package(b"", b"", &[b"a@ok.test", b"b@ok.test"]);
        let many = refused(Terms { recipients_per_message: 1, ..terms() }, many);
        assert!(many.contains("Z4.5.3"), "{many}");
        let nul = refused(Terms { nul: Nul::Reject, ..terms() }, package(b"\0", b"", &[b"a@ok.test"]));
        assert!(nul.contains("D5.6.0"), "{nul}");
        let round = b"Received: x\n".repeat(101);
        assert!(refused(terms(), package(&round, b"", &[b"a@ok.test"])).contains("D5.4.6"));
    }

    #[test]
    fn an_id_is_named() {
        let settings = Settings::new(terms());
        let mut replies = Replies::new();
        replies.push_accepted_netstring(MessageId::new(1, 2, 3, 4));
        let text = String::from_utf8(replies.octets).unwrap();
        let (length, rest) = text.split_once(':').unwrap();
        assert_eq!(length.parse::<usize>().unwrap() + 1, rest.len());
        assert!(rest.starts_with("Kok: queued as ") && rest.ends_with(','));
        assert_eq!(settings.terms().taken(), Reply::Accepted);
    }

    proptest! {
        #[test]
        fn cuts_and_waits_change_nothing(
            content in prop::collection::vec(any::<u8>(), 0..40),
            recipients in prop::collection::vec(prop::sample::select(vec!["a@ok.test", "no@x", "no4@x", "?"]), 0..4),
            spoil in any::<Option<(prop::sample::Index, u8)>>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            defers in any::<bool>(),
        ) {
            let recipients: Vec<&[u8]> = recipients.iter().map(|recipient| recipient.as_bytes()).collect();
            let mut input = package(&content, b"s@x.test", &recipients);
            if let Some((at, octet)) = spoil {
                let at = at.index(input.len());
                input[at] = octet;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
            cuts.sort_unstable();
            let settings = Settings::new(terms());
            let whole = run_with(&settings, &input, &[], Outcome::Accept, false);
            prop_assert_eq!(run_with(&settings, &input, &cuts, Outcome::Accept, defers), whole);
        }
    }
}
