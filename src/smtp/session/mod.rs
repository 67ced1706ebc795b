//! The server's side of an SMTP session, without I/O: bytes, answers and time go in; replies and effects come out.
//!
//! *Methods* are of four kinds: getters; `handle_*` (bytes, outcomes, timeouts in); application commands (`answer`,
//! `defer`, `refuse`, `drain`); and the effect that each [`Session::handle_input`] gives back.
//!
//! *Invariants*: one command or one piece of content for each call. Every [`Effect::Ask`] is followed by exactly one
//! `answer` or `defer`. Each command has one reply, and replies come in the order of their commands, whenever their
//! answers come. End of mail data is CRLF.CRLF and nothing else. A transaction is one value: RSET, EHLO and failure drop it.
//!
//! *Parts*: `machine` (where it stands, and each command), `transaction` (MAIL to BDAT), `content` (mail data and chunks),
//! `security` (STARTTLS, AUTH, XCLIENT); `question` (what is asked), `answer` (outcomes and replies), `slots` (replies that
//! wait), `record` (what the client said). *Does not* know sockets, clocks, who decides, or where content goes.
//!
//! RFC 5321, 1870, 2033, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 8689, 9422.

mod answer;
mod content;
mod machine;
mod question;
mod record;
mod security;
mod slots;
mod transaction;

pub use question::{Credentials, Each, Ended, Mechanism, Outcome, Point, Question};
pub use record::Record;

use crate::mutant::Mutant;
use crate::smtp::command::Verb;
use crate::smtp::data::BareNewline;
use crate::smtp::line::{Carry, Found, trim_end};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::settings::Settings;
use machine::{Machine, Phase, Reading};
use question::Asking;

/// What the caller has to do after [`Session::handle_input`].
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Nothing; call again.
    Continue,
    /// All input is used up; call again when there is more.
    NeedInput,
    /// No input is taken until an answer arrives or replies are sent; call again then, with the same input.
    Blocked,
    /// The client wants TLS, and every earlier reply is given. Stop receiving; what had come already must be given to the
    /// session, which ends for it. Then call [`Session::begin_tls`], send its reply, and do the handshake.
    StartTls,
    /// Decide, then call [`Session::answer`] or [`Session::defer`].
    Ask(Question<'a>),
    /// A piece of the message's content, never empty.
    Content(&'a [u8]),
    /// The content that was given since the last message is void.
    Abort,
    /// The session is over: nothing is taken any more; close when the replies are sent. Content that was given since the
    /// last message is void.
    Close,
}

/// One session.
///
/// ```
/// use ringmx::smtp::reply::Replies;
/// use ringmx::smtp::session::{Effect, Outcome, Session};
/// use ringmx::smtp::settings::{Settings, Synchronization, Terms};
///
/// let settings = Settings::new(Terms { synchronization: Synchronization::Tolerant, ..Terms::public("mx.test") });
/// let (mut session, mut replies, mut content) = (Session::new(), Replies::new(), Vec::new());
/// session.handle_open();
/// session.answer(&settings, Outcome::Accept, &mut replies);
/// let mut input: &[u8] =
///     b"HELO c.test\r\nMAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nBDAT 5 LAST\r\nhelloQUIT\r\n";
/// loop {
///     match session.handle_input(&settings, &mut input, &mut replies) {
///         Effect::Ask(_question) => session.answer(&settings, Outcome::Accept, &mut replies),
///         Effect::Content(piece) => content.extend_from_slice(piece),
///         Effect::Close => break,
///         _ => {}
///     }
/// }
/// assert_eq!(content, b"hello");
/// assert_eq!(session.messages(), 1);
/// assert!(replies.octets.ends_with(b"250 2.0.0 Ok: accepted\r\n221 2.0.0 Bye\r\n"));
/// ```
#[derive(Debug)]
pub struct Session {
    carry: Carry,
    machine: Machine,
}

impl Session {
    /// A session that awaits [`Session::handle_open`].
    pub fn new() -> Self {
        Self { carry: Carry::default(), machine: Machine::new() }
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
        self.transaction().is_some()
    }

    /// The number of the transaction that is open; each has another within 2³².
    pub fn transaction(&self) -> Option<u32> {
        match &self.machine.phase {
            Phase::Open(open) => Some(open.number),
            Phase::Receiving(receiving) => Some(receiving.transaction.number),
            _ => None,
        }
    }

    /// Whether replies are ready that had no room: call [`Session::poll_replies`] when some were sent.
    pub fn owes_replies(&self) -> bool {
        self.machine.slots.owes()
    }

    /// Whether an answer is out.
    pub fn is_waiting(&self) -> bool {
        !self.machine.slots.is_empty()
    }

    /// The number of the question that is being asked, for [`Session::handle_outcome`].
    pub fn question_number(&self) -> u32 {
        self.machine.slots.next_number()
    }

    /// Whether a part of a command line has come, and not its end.
    pub fn is_within_line(&self) -> bool {
        !self.carry.is_empty() || matches!(self.machine.reading, Reading::Overlong(_))
    }

    /// Whether this question was deferred, and is not answered yet.
    pub fn is_awaiting(&self, question: u32) -> bool {
        self.machine.slots.pending(question).is_some()
    }

    /// Where the session stands, as listings show it.
    pub fn phase_name(&self) -> &'static str {
        match (&self.machine.phase, &self.machine.reading) {
            (Phase::Opening, _) => "opening",
            (Phase::Closed, _) => "closed",
            (_, Reading::Data(_)) => "data",
            (_, Reading::Chunk { .. } | Reading::RefusedChunk { .. }) => "chunk",
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
        settings: &'a Settings,
        input: &mut &'i [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let Self { carry, machine } = self;
        debug_assert!(machine.asking.is_none(), "the last question was neither answered nor deferred");
        match machine.phase {
            Phase::Closed => return Effect::Close,
            Phase::Opening | Phase::Securing => return Effect::Blocked,
            Phase::Upgrading if input.is_empty() => return Effect::NeedInput,
            Phase::Upgrading => {
                machine.refuse(settings, Reply::InjectedBehindStartTls, replies);
                return Effect::Close;
            }
            _ => {}
        }
        if !machine.slots.is_empty() {
            machine.slots.give_ready(settings, replies);
        }
        if !machine.has_room(replies) {
            return Effect::Blocked;
        }
        match machine.reading {
            Reading::Data(_) => machine.read_data(settings, input, replies),
            Reading::Chunk { .. } => machine.read_chunk(settings, input, replies),
            Reading::RefusedChunk { .. } => machine.read_refused_chunk(settings, input, replies),
            Reading::Commands | Reading::Responses(_) => read_command(carry, machine, settings, input, replies),
            Reading::Overlong(octets) => machine.skip_line(octets, settings, input, replies),
            Reading::Void => {
                machine.reading = Reading::Commands;
                Effect::Abort
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
        let machine = &mut self.machine;
        let oldest = machine.slots.oldest_pending().filter(|_| Mutant::AnswersNextQuestion.is_on());
        let number = if machine.slots.pending(number).is_none() { oldest.unwrap_or(number) } else { number };
        let Some(asking) = machine.slots.pending(number) else { return false };
        machine.conclude_later(settings, number, asking, outcome, replies);
        true
    }

    /// The oldest answer did not come in time: 451 to the client, and a later answer finds nobody.
    pub fn handle_answer_timeout(&mut self, settings: &Settings, replies: &mut Replies) {
        if let Some(number) = self.machine.slots.oldest_pending() {
            self.handle_outcome(settings, number, Outcome::Refuse(Reply::AnswerTimeout), replies);
        }
    }

    /// The handshake that [`Effect::StartTls`] asked for is done: all that the client said is forgotten (RFC 3207 §4.2).
    pub fn handle_secured(&mut self) {
        debug_assert!(matches!(self.machine.phase, Phase::Securing), "no handshake was begun");
        let Machine { errors, junk_commands, messages, transactions, is_draining, .. } = self.machine;
        self.machine = Machine {
            phase: Phase::Start,
            is_secure: true,
            errors,
            junk_commands,
            messages,
            transactions,
            is_draining,
            ..Machine::new()
        };
    }

    /// Gives replies that had no room before.
    pub fn poll_replies(&mut self, settings: &Settings, replies: &mut Replies) {
        self.machine.slots.give_ready(settings, replies);
    }

    // Application commands.

    /// Nothing came behind STARTTLS: gives its reply. [`Reply::TlsNotAvailable`] when there can be no handshake, and the
    /// session goes on without.
    pub fn begin_tls(&mut self, settings: &Settings, is_available: bool, replies: &mut Replies) {
        let machine = &mut self.machine;
        debug_assert!(matches!(machine.phase, Phase::Upgrading), "the client did not ask for it");
        let (phase, reply) = match is_available {
            true => (Phase::Securing, Reply::ReadyForTls),
            false => (Phase::Idle, Reply::TlsNotAvailable),
        };
        machine.phase = phase;
        machine.give(settings, reply, replies);
    }

    /// Answers the question of the last [`Effect::Ask`].
    #[inline]
    pub fn answer(&mut self, settings: &Settings, outcome: Outcome, replies: &mut Replies) {
        let machine = &mut self.machine;
        let Some(asking) = machine.asking.take() else { return debug_assert!(false, "nothing was asked") };
        machine.conclude_now(settings, asking, outcome, replies);
    }

    /// The question of the last [`Effect::Ask`] will be answered by [`Session::handle_outcome`].
    pub fn defer(&mut self) {
        let machine = &mut self.machine;
        let Some(asking) = machine.asking.take() else { return debug_assert!(false, "nothing was asked") };
        machine.slots.push_pending(asking);
    }

    /// Ends the session with this reply, behind those that are still to come. Content that was given is void.
    pub fn refuse(&mut self, settings: &Settings, reply: Reply, replies: &mut Replies) {
        debug_assert!(self.machine.asking.is_none(), "a question is refused by its answer");
        self.machine.refuse(settings, reply, replies);
    }

    /// Ends the session with 421 as soon as no message is under way. Answers that are out are awaited, but for those that
    /// a command behind which nothing is read waits for.
    pub fn drain(&mut self, settings: &Settings, replies: &mut Replies) {
        self.machine.is_draining = true;
        self.machine.end_if_drained(settings, replies);
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
    machine: &'a mut Machine,
    settings: &'a Settings,
    input: &mut &'i [u8],
    replies: &mut Replies,
) -> Effect<'a> {
    if machine.end_if_drained(settings, replies) {
        return Effect::Close;
    }
    if machine.slots.is_reading_stopped() {
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
            machine.forget_credentials();
            return machine.skip_line(carry.give_up(), settings, input, replies);
        }
        Found::Whole(line) => line,
    };
    if !machine.slots.is_empty() && machine.must_wait(Verb::split(command(line.text(carry))).0, settings.terms()) {
        carry.hold(input, before);
        return Effect::Blocked;
    }
    if line.bare_newline && settings.terms().bare_newline == BareNewline::Reject {
        machine.refuse(settings, Reply::BareNewlineInCommand, replies);
        return Effect::Close;
    }
    let text = line.text(carry);
    if let Reading::Responses(exchange) = machine.reading {
        return machine.respond(exchange, text, !input.is_empty(), settings, replies);
    }
    let (verb, argument) = Verb::split(command(text));
    machine.act(verb, argument, !input.is_empty(), settings, replies)
}

/// RFC 5321 §4.1.1: white space at the end is tolerated.
#[inline]
fn command(line: &[u8]) -> &[u8] {
    if matches!(line.last(), Some(b' ' | b'\t')) { trim_end(line) } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::mail::id::MessageId;
    use crate::smtp::settings::tests::{settings, terms};
    use crate::smtp::settings::{Dialect, Synchronization, Terms};

    /// Points of the questions that the input leads to, until the session can take no more. All are accepted, but those
    /// that are deferred.
    fn drive(session: &mut Session, settings: &Settings, mut input: &[u8], defer: &[Point]) -> (Vec<Point>, usize) {
        let mut replies = Replies::new();
        let mut asked = Vec::new();
        loop {
            match session.handle_input(settings, &mut input, &mut replies) {
                Effect::Ask(question) => {
                    let point = question.point();
                    asked.push(point);
                    match defer.contains(&point) {
                        true => session.defer(),
                        false => session.answer(settings, Outcome::Accept, &mut replies),
                    }
                }
                Effect::NeedInput | Effect::Blocked | Effect::StartTls | Effect::Close => return (asked, input.len()),
                Effect::Continue | Effect::Content(_) | Effect::Abort => {}
            }
        }
    }

    fn open(settings: &Settings) -> Session {
        let mut session = Session::new();
        session.handle_open();
        session.answer(settings, Outcome::Accept, &mut Replies::new());
        drive(&mut session, settings, b"EHLO c.test\r\n", &[]);
        session
    }

    /// DESIGN decision 7: EHLO is acted on when every earlier command is answered; nothing behind it is read before.
    #[test]
    fn ehlo_is_not_even_asked_about_while_an_answer_is_out() {
        let settings = Settings::new(Terms { synchronization: Synchronization::Tolerant, ..terms() });
        let mut session = open(&settings);
        let group = b"MAIL FROM:<s@x.test>\r\nNOOP\r\nEHLO c.test\r\nNOOP\r\n";
        let (asked, left) = drive(&mut session, &settings, group, &[Point::Mail]);
        assert_eq!((asked, left), (vec![Point::Mail], "EHLO c.test\r\nNOOP\r\n".len()));
        let mut replies = Replies::new();
        assert!(session.handle_outcome(&settings, 0, Outcome::Accept, &mut replies));
        assert_eq!(drive(&mut session, &settings, &group[group.len() - left..], &[]), (vec![Point::Hello], 0));
    }

    /// The same where the line came in pieces, and lies in the carry.
    #[test]
    fn a_barrier_holds_a_line_that_was_cut() {
        let settings = settings();
        let mut session = open(&settings);
        drive(&mut session, &settings, b"MAIL FROM:<s@x.test>\r\nEH", &[Point::Mail]);
        for input in [b"LO c.test\r\n".as_slice(), b""] {
            assert_eq!(drive(&mut session, &settings, input, &[]), (vec![], 0));
        }
        session.handle_outcome(&settings, 0, Outcome::Accept, &mut Replies::new());
        assert_eq!(drive(&mut session, &settings, b"", &[]).0, [Point::Hello]);
    }

    /// CONFORMANCE T121: ten times the limit, and no less than 1 GiB, is swallowed to keep in step; then it is over.
    #[test]
    fn a_flood_is_swallowed_up_to_a_bound() {
        let settings = settings();
        let mut session = open(&settings);
        drive(&mut session, &settings, b"MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nDATA\r\n", &[]);
        // As if nearly all of it had come.
        let Phase::Receiving(receiving) = &mut session.machine.phase else { panic!("mail data is awaited") };
        receiving.octets = limits::DISCARD_OCTETS_LEAST - 3;
        let mut replies = Replies::new();
        for (mut input, effect) in [("x", Effect::Abort), ("xx", Effect::Continue), ("x", Effect::Close)]
            .map(|(text, effect)| (text.as_bytes(), effect))
        {
            assert_eq!(session.handle_input(&settings, &mut input, &mut replies), effect);
        }
        assert!(session.is_closed());
        assert_eq!(replies.octets, Reply::MessageTooBig.line(&settings));
    }

    /// A message that is taken over is named in the reply; LMTP names it to each recipient.
    #[test]
    fn the_id_of_a_message_is_in_the_reply() {
        let id = MessageId::new(1, 2, 3, 4);
        for (dialect, hello, times) in [(Dialect::Smtp, "EHLO", 1), (Dialect::Lmtp, "LHLO", 2)] {
            let settings = Settings::new(Terms { dialect, ..terms() });
            let mut session = Session::new();
            session.handle_open();
            session.answer(&settings, Outcome::Accept, &mut Replies::new());
            let text = format!("{hello} c.test\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@c>\r\nBDAT 0 LAST\r\n");
            let text = text.split_inclusive('\n').collect::<Vec<_>>();
            for line in &text[..text.len() - 1] {
                drive(&mut session, &settings, line.as_bytes(), &[]);
            }
            drive(&mut session, &settings, text[text.len() - 1].as_bytes(), &[Point::EndOfData]);
            let mut replies = Replies::new();
            assert!(session.handle_outcome(&settings, 0, Outcome::AcceptAs(id), &mut replies));
            let line = format!("250 2.0.0 Ok: queued as {id}\r\n");
            assert_eq!(replies.octets, line.repeat(times).as_bytes());
            assert_eq!(replies.counts[Reply::Accepted.index()], times as u32);
        }
    }

    /// CONFORMANCE T025: the count of errors starts anew after an accepted message, and one that is to come again is none.
    #[test]
    fn a_message_that_must_come_again_leaves_the_errors() {
        for (dialect, hello, errors) in [(Dialect::Smtp, "EHLO", 1), (Dialect::Lmtp, "LHLO", 0)] {
            let settings = Settings::new(Terms { dialect, synchronization: Synchronization::Tolerant, ..terms() });
            let mut session = Session::new();
            session.handle_open();
            session.answer(&settings, Outcome::Accept, &mut Replies::new());
            let text =
                format!("{hello} c.test\r\nFOO\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@c>\r\nBDAT 0 LAST\r\n");
            drive(&mut session, &settings, text.as_bytes(), &[Point::EndOfData]);
            assert_eq!(session.machine.errors, 1);
            let each = Outcome::each(None, [Ok(()), Err(Reply::Scripted451)]);
            assert!(session.handle_outcome(&settings, 0, each, &mut Replies::new()));
            assert_eq!(session.machine.errors, errors);
        }
    }

    /// The memory of an idle session: DESIGN's goal is 1 KiB for a whole connection.
    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
    }
}
