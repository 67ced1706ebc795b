//! The client's side of an SMTP or LMTP session, without I/O: what the server sends goes in; commands, the places of content,
//! and events come out.
//!
//! *Methods* are of four kinds: getters; `handle_*` (octets, the end of TLS handshake or connection in); application commands
//! (`begin`, `put`, `finish`, `abandon`, `start_tls`, `auth`, `xclient`, `reset`, `quit`); and `poll_transmit`, which writes
//! what can be sent of a transaction. All of them append to the caller's `out`, whose octets are to be sent in order;
//! content that [`Session::put`] gives back is sent *behind* what stood in `out` then, and before what is written later.
//!
//! *Order of calls*: events until [`Event::NeedInput`], then [`Session::poll_transmit`] with the message that was begun last;
//! where that says [`Transmit::Content`], content; send; again. What [`Session::finish`] or [`Session::abandon`] ends without
//! a reply is reported by the next `handle_input`, which needs no input for it. Many transactions are in flight where the
//! server pipelines, one of them being written.
//!
//! *Invariants*: a reply is taken for the oldest command without one; a reply too many is a [`Fault`]. Each transaction that
//! was begun has one [`Event::Ended`], in order, whatever happens. Content is never copied, nor is anything allocated for a
//! message once the queue of transactions has grown to the depth. Memory is bounded by `limits`, section "Client".
//!
//! *Parts*: `reply` (octets to replies), `offer` (what EHLO says), `message` (what is asked for, and whether it can be),
//! `command` (command lines), `content` (mail data), `flight` (one transaction), `transmit` (what is sent when), `machine`
//! (what replies do), `auth`. *Does not* know sockets, clocks, name servers, or what is tried again when.
//!
//! RFC 5321, 1870, 2033, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 7504, 8689, 9422.

mod auth;
mod command;
mod content;
mod event;
mod flight;
mod machine;
mod message;
mod offer;
mod reply;
#[cfg(test)]
mod tests;
mod transmit;

pub use auth::Credentials;
pub use content::BareLineEnd;
pub use event::{Awaited, Ended, Event, Fault, Outcome, Stage};
pub use message::{BadName, Begun, Dropped, Message, Name, Protocol, Recipients, Refusal, Terms, Transfer};
pub use offer::{Limits, Offer};
pub use reply::{Class, Code, Enhanced, Reply, ReplyFault, Verdict};
pub use transmit::{ContentFault, Transmit};

use std::sync::Arc;

use crate::limits;
use crate::smtp::extension::Extension;
use auth::Exchange;
use machine::{Entry, Machine, Phase};
use reply::ReplyReader;
use transmit::Sending;

/// Why a command was not written. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// Something is under way, or the session is not where the command can be. The caller's fault.
    #[error("the command cannot be sent now")]
    NotNow,
    /// The server does not offer the extension, or the AUTH mechanism. This server will not do.
    #[error("the server does not offer it")]
    NotOffered,
    /// Credentials would go over the wire in the clear, and the caller has not asked for that.
    #[error("credentials are not sent without TLS")]
    InTheClear,
    /// What is to be sent cannot be on a line. The caller's fault.
    #[error("the argument has octets that cannot be sent, or too many")]
    Malformed,
}

/// Whether credentials may be sent without TLS (RFC 4954 §4 forbids it for PLAIN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTheClear {
    /// They are not.
    Refuse,
    /// The caller insists: the connection is private in another way.
    Allow,
}

/// One session.
///
/// ```
/// use std::sync::Arc;
/// use ringmx::mail::address::{Mailbox, Path};
/// use ringmx::smtp::client::{Event, Message, Outcome, Protocol, Recipients, Session, Terms, Transfer, Transmit};
/// use ringmx::smtp::command::{MailCommand, RcptCommand};
///
/// let terms = Arc::new(Terms::new(Protocol::Smtp, "c.test").unwrap());
/// let (mut session, mut out) = (Session::new(terms, false), Vec::new());
/// let mut from_server: &[u8] = b"220 mx.test\r\n";
/// assert!(matches!(session.handle_input(&mut from_server, &mut out), Event::Greeting(_)));
/// assert_eq!(out, b"EHLO c.test\r\n");
/// let mut from_server: &[u8] = b"250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
/// assert!(matches!(session.handle_input(&mut from_server, &mut out), Event::Ready(_)));
///
/// out.clear();
/// let to = Path::Mailbox(Mailbox { local_part: b"a", domain: b"ok.test" });
/// let recipients = [RcptCommand { forward_path: to, parameters: Default::default() }];
/// let message = Message {
///     mail: MailCommand { reverse_path: Path::Null, parameters: Default::default() },
///     recipients: &recipients,
///     transfer: Transfer::Chunks { octets: 5, chunk_octets: 1 << 20 },
///     rule: Recipients::Any,
/// };
/// session.begin(&message, &mut out).unwrap();
/// assert_eq!(session.poll_transmit(&message, &mut out), Transmit::Content);
/// let mut content: &[u8] = b"hello";
/// out.extend_from_slice(session.put(&mut content).unwrap());
/// out.extend_from_slice(session.finish().unwrap());
/// assert_eq!(out, b"MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT 5 LAST\r\nhello");
///
/// let mut from_server: &[u8] = b"250 ok\r\n250 ok\r\n250 2.0.0 mine\r\n";
/// let ended = loop {
///     match session.handle_input(&mut from_server, &mut out) {
///         Event::Ended(ended) => break ended,
///         Event::NeedInput | Event::Closed => panic!("all replies are there"),
///         _ => {}
///     }
/// };
/// assert_eq!(ended.outcome, Outcome::Accepted { recipients: 1 });
/// ```
#[derive(Debug)]
pub struct Session {
    reader: ReplyReader,
    machine: Machine,
}

impl Session {
    /// A session whose greeting is to come. `is_secure`: TLS is on already (RFC 8314 §3.3).
    pub fn new(terms: Arc<Terms>, is_secure: bool) -> Self {
        Self { reader: ReplyReader::default(), machine: Machine::new(terms, is_secure) }
    }

    // Getters.

    /// What the server offers; nothing before [`Event::Ready`], and behind HELO.
    pub fn offer(&self) -> &Offer {
        &self.machine.offer
    }

    /// What is waited for; the caller keeps the time, and [`Awaited::timeout`] says how long that is. `None`: it is the
    /// caller's turn.
    pub fn awaits(&self) -> Option<Awaited> {
        self.machine.awaits()
    }

    /// Transactions that were begun and not reported as ended.
    pub fn in_flight(&self) -> usize {
        self.machine.in_flight
    }

    /// Whether another transaction may begin now, or else why not.
    pub fn check_room(&self) -> Result<(), Refusal> {
        self.machine.check_room()
    }

    /// Whether nothing is under way, so that a command which must stand alone can be sent.
    pub fn is_idle(&self) -> bool {
        matches!(self.machine.phase, Phase::Ready) && self.machine.entries.is_empty()
    }

    /// Whether the session is over. Ends of transactions may be left to be taken with [`Session::handle_input`].
    pub fn is_closed(&self) -> bool {
        matches!(self.machine.phase, Phase::Closed)
    }

    /// Whether octets are under TLS, as far as the session was told.
    pub fn is_secure(&self) -> bool {
        self.machine.is_secure
    }

    // Events.

    /// Takes one reply from the front of `input`, or reports what has ended; also without input. Commands that follow by
    /// themselves (EHLO, HELO, AUTH responses) are written.
    #[inline]
    pub fn handle_input<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], out: &mut Vec<u8>) -> Event<'a> {
        let Self { reader, machine } = self;
        if let Some(ended) = machine.pop_ended() {
            return Event::Ended(ended);
        }
        match machine.phase {
            Phase::Closed => return Event::Closed,
            Phase::Handshake if !input.is_empty() => return machine.fault(Fault::Injected),
            _ => {}
        }
        match reader.find(input) {
            Ok(None) => Event::NeedInput,
            Ok(Some(found)) => machine.take(found.reply(reader), !input.is_empty(), out),
            Err(fault) => machine.fault(fault),
        }
    }

    /// The handshake that [`Event::StartTls`] asked for is done: all that was learned is forgotten, and EHLO is written
    /// (RFC 3207 §4.2). Nothing happens unless it was asked for.
    pub fn handle_tls(&mut self, out: &mut Vec<u8>) {
        let machine = &mut self.machine;
        if matches!(machine.phase, Phase::Handshake) {
            machine.is_secure = true;
            machine.hello(out);
        }
    }

    /// The connection has ended, or the caller ends it (a time-out). What became of the transactions comes from
    /// [`Session::handle_input`].
    pub fn handle_end(&mut self) {
        self.machine.close();
    }

    // Application commands.

    /// Begins a transaction: [`Session::poll_transmit`] sends it. RSET is written before it where the server may have one
    /// open.
    #[inline]
    pub fn begin(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<Begun, Refusal> {
        self.machine.begin(message, out)
    }

    /// Writes what can be sent now of the message that was begun last.
    #[inline]
    pub fn poll_transmit(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Transmit {
        self.machine.transmit(message, out)
    }

    /// Takes content from the front of the slice and gives back what is to be sent for it. Call until that is empty: then
    /// the slice is used up, or a chunk is, and [`Session::poll_transmit`] is next. Content can come in any number of slices.
    #[inline]
    pub fn put<'c>(&mut self, content: &mut &'c [u8]) -> Result<&'c [u8], ContentFault> {
        self.machine.put(content)
    }

    /// The content is complete. Gives back what is to be sent behind it: the end of mail data. Nothing for chunks.
    #[inline]
    pub fn finish(&mut self) -> Result<&'static [u8], ContentFault> {
        self.machine.finish()
    }

    /// Gives up the transaction that is being sent. Returns whether the session goes on: not when DATA is out or a chunk is
    /// begun, which only the end of the connection can end.
    pub fn abandon(&mut self) -> bool {
        self.machine.abandon()
    }

    /// STARTTLS: RFC 3207.
    pub fn start_tls(&mut self, out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        let machine = self.alone()?;
        if machine.is_secure {
            return Err(CommandRefusal::NotNow);
        }
        if !machine.offer.has(Extension::StartTls) {
            return Err(CommandRefusal::NotOffered);
        }
        command::line(b"STARTTLS", b"", out);
        machine.phase = Phase::StartTls;
        Ok(())
    }

    /// AUTH: RFC 4954.
    pub fn auth(
        &mut self,
        credentials: &Credentials<'_>,
        in_the_clear: InTheClear,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandRefusal> {
        let machine = self.alone()?;
        if machine.is_authenticated {
            return Err(CommandRefusal::NotNow);
        }
        if !auth::is_mechanism(credentials.mechanism()) {
            return Err(CommandRefusal::Malformed);
        }
        if !machine.offer.has_auth_mechanism(credentials.mechanism()) {
            return Err(CommandRefusal::NotOffered);
        }
        if !machine.is_secure && in_the_clear == InTheClear::Refuse {
            return Err(CommandRefusal::InTheClear);
        }
        machine.phase = Phase::Auth(Exchange::begin(credentials, out));
        Ok(())
    }

    /// Answers [`Event::Challenge`].
    pub fn respond(&mut self, response: &[u8], out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        if response.len().div_ceil(3) * 4 + 2 > limits::CLIENT_AUTH_RESPONSE_OCTETS {
            return Err(CommandRefusal::Malformed);
        }
        self.answer_challenge(|| auth::respond(response, out))
    }

    /// Gives AUTH up; [`Event::AuthRefused`] follows.
    pub fn cancel_auth(&mut self, out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        self.answer_challenge(|| auth::cancel(out))
    }

    /// XCLIENT with these attributes, such as `ADDR=192.0.2.1 NAME=c.test`, as Postfix defines it.
    pub fn xclient(&mut self, attributes: &[u8], out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        let machine = self.alone()?;
        if !machine.offer.has(Extension::Xclient) {
            return Err(CommandRefusal::NotOffered);
        }
        if attributes.is_empty() || !attributes.iter().all(|octet| (b' '..=b'~').contains(octet)) {
            return Err(CommandRefusal::Malformed);
        }
        command::line(b"XCLIENT ", attributes, out);
        machine.phase = Phase::Xclient;
        Ok(())
    }

    /// RSET, if the server may have a transaction open: for a connection that is kept. [`Session::begin`] does it by itself.
    pub fn reset(&mut self, out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        let machine = self.alone()?;
        if machine.needs_reset() {
            machine.reset(out);
        }
        Ok(())
    }

    /// QUIT, behind the transactions that are sent where the server pipelines, else when they are answered. Nothing can
    /// follow it.
    pub fn quit(&mut self, out: &mut Vec<u8>) -> Result<(), CommandRefusal> {
        let machine = &mut self.machine;
        let can_quit = matches!(machine.phase, Phase::Ready | Phase::Useless)
            && matches!(machine.sending, Sending::Nothing)
            && !matches!(machine.entries.back(), Some(Entry::Quit))
            && machine.may_write();
        if !can_quit {
            return Err(CommandRefusal::NotNow);
        }
        command::line(b"QUIT", b"", out);
        machine.entries.push_back(Entry::Quit);
        Ok(())
    }

    fn alone(&mut self) -> Result<&mut Machine, CommandRefusal> {
        if self.is_idle() { Ok(&mut self.machine) } else { Err(CommandRefusal::NotNow) }
    }

    fn answer_challenge(&mut self, write: impl FnOnce()) -> Result<(), CommandRefusal> {
        let phase = &mut self.machine.phase;
        match std::mem::replace(phase, Phase::Closed) {
            Phase::Challenged(exchange) => {
                *phase = Phase::Auth(exchange);
                write();
                Ok(())
            }
            other => {
                *phase = other;
                Err(CommandRefusal::NotNow)
            }
        }
    }
}
