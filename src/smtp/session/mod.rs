//! The server's side of an SMTP session, without I/O: bytes, answers and time go in; replies and effects come out.
//!
//! *Methods* are of four kinds: getters; `handle_*` (bytes, outcomes, timeouts in); application commands (`answer`,
//! `defer`, `refuse`, `drain`); and the effect that each [`Session::handle_input`] gives back.
//!
//! *Invariants*: one command or one piece of content for each call. Every [`Effect::Ask`] is followed by exactly one
//! `answer` or `defer`. Each command has one reply, and replies come in the order of their commands, whenever their
//! answers come. End of mail data is CRLF.CRLF and nothing else. A transaction is one value: RSET, EHLO and failure drop it.
//!
//! *Parts*: `question` (what is asked), `slots` (replies that wait), `machine` (commands), `content` (mail data and chunks),
//! `answer` (outcomes and replies). *Does not* know sockets, clocks, who decides, or where content goes.
//!
//! RFC 5321, 1870, 2034, 2920, 3030, 6152.

mod answer;
mod content;
mod machine;
mod question;
mod slots;

pub use question::{Ended, Outcome, Point, Question};

use crate::smtp::command::Verb;
use crate::smtp::data::BareNewline;
use crate::smtp::line::{Carry, Found};
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
/// use ringmx::smtp::data::BareNewline;
/// use ringmx::smtp::extension::Extensions;
/// use ringmx::smtp::reply::Replies;
/// use ringmx::smtp::session::{Effect, Outcome, Session};
/// use ringmx::smtp::settings::{AddressSyntax, Nul, Settings, Synchronization, Terms};
///
/// let settings = Settings::new(Terms {
///     hostname: "mx.test".into(),
///     banner: "ESMTP".into(),
///     extensions: Extensions::unconditional(),
///     message_size_bytes: 1 << 20,
///     recipients_per_message: 100,
///     messages_per_connection: None,
///     errors: Some(20),
///     junk_commands: Some(100),
///     synchronization: Synchronization::Tolerant,
///     bare_newline: BareNewline::Normalize,
///     nul: Nul::Accept,
///     address_syntax: AddressSyntax::Loose,
///     discards: false,
/// });
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
        !self.carry.is_empty()
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
        if !machine.has_room(replies) {
            return Effect::Blocked;
        }
        match machine.reading {
            Reading::Data(_) => machine.read_data(settings, input, replies),
            Reading::Chunk { .. } => machine.read_chunk(settings, input, replies),
            Reading::RefusedChunk { .. } => machine.read_refused_chunk(settings, input, replies),
            Reading::Commands => read_command(carry, machine, settings, input, replies),
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
        let Some(asking) = machine.slots.pending(number) else { return false };
        match machine.conclude(settings, asking, outcome, replies) {
            Some(reply) => machine.slots.resolve(number, reply),
            None => machine.slots.drop_first_chunk(),
        }
        machine.flush(settings, replies);
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
        if let Some(reply) = machine.conclude(settings, asking, outcome, replies) {
            machine.give_for(settings, reply, asking.rcpt_of(), replies);
        }
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
    machine: &mut Machine,
    settings: &Settings,
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
            machine.refuse(settings, Reply::LineTooLong, replies);
            return Effect::Close;
        }
        Found::Whole(line) => line,
    };
    if !machine.slots.is_empty() && machine.must_wait(Verb::split(line.text(carry)).0, settings.terms()) {
        carry.hold(input, before);
        return Effect::Blocked;
    }
    if line.bare_newline && settings.terms().bare_newline == BareNewline::Reject {
        machine.refuse(settings, Reply::BareNewlineInCommand, replies);
        return Effect::Close;
    }
    let (verb, argument) = Verb::split(line.text(carry));
    machine.act(verb, argument, !input.is_empty(), settings, replies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::smtp::settings::tests::{settings, terms};
    use crate::smtp::settings::{Synchronization, Terms};

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
                Effect::NeedInput | Effect::Blocked | Effect::Close => return (asked, input.len()),
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

    /// The memory of an idle session: DESIGN's goal is 1 KiB for a whole connection.
    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
    }
}
