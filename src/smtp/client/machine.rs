//! Where a session stands, and what each reply does to it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::smtp::client::auth::{self, Exchange};
use crate::smtp::client::command;
use crate::smtp::client::event::{Awaited, Ended, Event, Fault};
use crate::smtp::client::flight::Flight;
use crate::smtp::client::message::{Protocol, Terms};
use crate::smtp::client::offer::Offer;
use crate::smtp::client::reply::{Class, Code, Reply, Verdict};
use crate::smtp::client::transmit::Sending;
use crate::smtp::extension::Extension;

/// The first command of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    Ehlo,
    Helo,
    Lhlo,
}

#[derive(Debug)]
pub(super) enum Phase {
    Greeting,
    Hello(Hello),
    /// Transactions, one behind another.
    Ready,
    StartTls,
    /// The caller and its cipher have the connection.
    Handshake,
    Auth(Exchange),
    /// The caller has to answer a challenge.
    Challenged(Exchange),
    Xclient,
    /// Only QUIT is left.
    Useless,
    Closed,
}

/// What was sent and is answered, in order.
#[derive(Debug)]
pub(super) enum Entry {
    Transaction(Flight),
    Reset,
    Quit,
}

impl Entry {
    #[inline]
    fn awaits(&self) -> Option<Awaited> {
        match self {
            Self::Transaction(flight) => flight.awaits(),
            Self::Reset => Some(Awaited::Reset),
            Self::Quit => Some(Awaited::Quit),
        }
    }
}

/// All of a session but the reader, from which the current reply may be lent.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) terms: Arc<Terms>,
    pub(super) phase: Phase,
    pub(super) offer: Offer,
    pub(super) is_secure: bool,
    pub(super) is_authenticated: bool,
    pub(super) entries: VecDeque<Entry>,
    /// Transactions among the entries.
    pub(super) in_flight: usize,
    /// What is to be sent of the last of them.
    pub(super) sending: Sending,
    /// LMTP: recipients whose reply to the end of data is to come. Replies come in order, so those of one transaction.
    accepted: VecDeque<u32>,
    /// Transactions begun.
    pub(super) transactions: u32,
    /// Domains that recipients had, where the server limits them, in lower case.
    pub(super) domains: Vec<Box<[u8]>>,
    /// Whether the server may have a transaction open that is none of the entries.
    pub(super) is_left_open: bool,
    /// The challenge that was given to the caller.
    challenge: Vec<u8>,
}

impl Machine {
    pub(super) fn new(terms: Arc<Terms>, is_secure: bool) -> Self {
        Self {
            terms,
            phase: Phase::Greeting,
            offer: Offer::default(),
            is_secure,
            is_authenticated: false,
            entries: VecDeque::new(),
            in_flight: 0,
            sending: Sending::Nothing,
            accepted: VecDeque::new(),
            transactions: 0,
            domains: Vec::new(),
            is_left_open: false,
            challenge: Vec::new(),
        }
    }

    /// Whether commands are sent in groups.
    #[inline]
    pub(super) fn is_pipelining(&self) -> bool {
        self.terms.pipelining && self.offer.has(Extension::Pipelining)
    }

    /// Whether a command may be written that others can follow: RFC 2920 §3.1.
    #[inline]
    pub(super) fn may_write(&self) -> bool {
        self.is_pipelining() || self.awaited_reply().is_none()
    }

    /// The reply to a transaction's command, RSET or QUIT that comes next.
    pub(super) fn awaited_reply(&self) -> Option<Awaited> {
        // BOUND: transactions before it are done, and wait to be reported.
        self.entries.iter().find_map(Entry::awaits)
    }

    pub(super) fn awaits(&self) -> Option<Awaited> {
        match self.phase {
            Phase::Greeting => Some(Awaited::Greeting),
            Phase::Hello(_) => Some(Awaited::Hello),
            Phase::StartTls => Some(Awaited::StartTls),
            Phase::Auth(_) => Some(Awaited::Auth),
            Phase::Xclient => Some(Awaited::Xclient),
            Phase::Ready | Phase::Useless => {
                self.awaited_reply().or_else(|| self.sending.is_content().then_some(Awaited::Block))
            }
            Phase::Handshake | Phase::Challenged(_) | Phase::Closed => None,
        }
    }

    /// The session is over.
    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.sending = Sending::Nothing;
    }

    pub(super) fn fault(&mut self, fault: impl Into<Fault>) -> Event<'static> {
        self.close();
        Event::Fault(fault.into())
    }

    /// Takes the next transaction that is over, if it is the next that can be.
    #[inline]
    pub(super) fn pop_ended(&mut self) -> Option<Ended> {
        let is_closed = matches!(self.phase, Phase::Closed);
        // BOUND: each turn takes an entry.
        loop {
            match self.entries.front()? {
                Entry::Transaction(flight) if is_closed || flight.is_done() => {}
                Entry::Reset | Entry::Quit if is_closed => {
                    self.entries.pop_front();
                    continue;
                }
                _ => return None,
            }
            let Some(Entry::Transaction(flight)) = self.entries.pop_front() else { return None };
            self.in_flight -= 1;
            self.accepted.clear();
            // A RSET that follows was sent for this one.
            self.is_left_open |= flight.leaves_open() && !matches!(self.entries.front(), Some(Entry::Reset));
            let outcome = if flight.is_done() { flight.outcome() } else { flight.outcome_cut_off() };
            return Some(Ended { transaction: flight.number, outcome });
        }
    }

    /// EHLO or LHLO.
    pub(super) fn hello(&mut self, out: &mut Vec<u8>) {
        self.offer = Offer::default();
        let (hello, verb) = match self.terms.protocol {
            Protocol::Smtp => (Hello::Ehlo, b"EHLO ".as_slice()),
            Protocol::Lmtp => (Hello::Lhlo, b"LHLO ".as_slice()),
        };
        command::line(verb, self.terms.name.as_str().as_bytes(), out);
        self.phase = Phase::Hello(hello);
    }

    /// Takes a reply. `behind` says whether octets follow it already.
    #[inline]
    pub(super) fn take<'a>(&'a mut self, reply: Reply<'a>, behind: bool, out: &mut Vec<u8>) -> Event<'a> {
        let is_closing = reply.code() == Code::CLOSING;
        if matches!(self.phase, Phase::Ready | Phase::Useless) {
            // An event that is handed on as it is, is not copied: this is the way of most replies.
            let event = self.take_in_order(reply);
            if is_closing {
                self.close();
            }
            return event;
        }
        let event = self.take_alone(reply, behind, out);
        if is_closing {
            self.close();
        }
        match event {
            Some(event) => event,
            None => Event::Challenge(&self.challenge),
        }
    }

    /// The reply to a command that nothing may follow. `None`: a challenge for the caller.
    fn take_alone<'r>(&mut self, reply: Reply<'r>, behind: bool, out: &mut Vec<u8>) -> Option<Event<'r>> {
        if let Phase::Auth(_) = self.phase {
            return self.take_auth(reply, out);
        }
        let is_accepted = match reply.class() {
            Class::Positive => true,
            Class::Temporary | Class::Permanent => false,
            Class::GoAhead => {
                let fault = match self.awaits() {
                    Some(awaited) => Fault::Unexpected(awaited, reply.code()),
                    None => Fault::Unasked(reply.code()),
                };
                return Some(self.fault(fault));
            }
        };
        Some(match (&self.phase, is_accepted) {
            (Phase::Greeting, true) => {
                self.hello(out);
                Event::Greeting(reply)
            }
            (Phase::Greeting, false) => {
                self.phase = Phase::Useless;
                // RFC 7504 §2: behind 521 there is nobody to say QUIT to.
                if reply.code().number() == 521 {
                    self.close();
                }
                Event::NoService(reply)
            }
            (Phase::Hello(hello), true) => {
                if *hello != Hello::Helo {
                    self.offer = Offer::parse(reply);
                }
                self.phase = Phase::Ready;
                Event::Ready(reply)
            }
            // RFC 5321 §3.2: HELO where EHLO is not recognised. That is 500, and 502 of old servers (§4.3.2); 501, 504 and 550
            // are about the client's name, or the client.
            (Phase::Hello(Hello::Ehlo), false) if matches!(reply.code().number(), 500 | 502) => {
                command::line(b"HELO ", self.terms.name.as_str().as_bytes(), out);
                self.phase = Phase::Hello(Hello::Helo);
                Event::Continue
            }
            (Phase::Hello(_), false) => {
                self.phase = Phase::Useless;
                Event::HelloRefused(reply)
            }
            (Phase::StartTls, true) if behind => self.fault(Fault::Injected),
            (Phase::StartTls, true) => {
                self.phase = Phase::Handshake;
                Event::StartTls
            }
            (Phase::StartTls, false) => {
                self.phase = Phase::Ready;
                Event::StartTlsRefused(reply)
            }
            (Phase::Xclient, true) => {
                self.is_authenticated = false;
                self.hello(out);
                Event::XclientAccepted(reply)
            }
            (Phase::Xclient, false) => {
                self.phase = Phase::Ready;
                Event::XclientRefused(reply)
            }
            _ => self.unasked(reply),
        })
    }

    /// Nothing was asked.
    fn unasked<'r>(&mut self, reply: Reply<'r>) -> Event<'r> {
        match reply.code() {
            Code::CLOSING => {
                self.close();
                Event::Closing(reply)
            }
            code => self.fault(Fault::Unasked(code)),
        }
    }

    /// A reply within AUTH: RFC 4954 §4.
    fn take_auth<'r>(&mut self, reply: Reply<'r>, out: &mut Vec<u8>) -> Option<Event<'r>> {
        let Phase::Auth(mut exchange) = std::mem::replace(&mut self.phase, Phase::Ready) else {
            unreachable!("the caller has seen it")
        };
        match reply.class() {
            Class::Positive => {
                self.is_authenticated = true;
                Some(Event::Authenticated(reply))
            }
            Class::Temporary | Class::Permanent => Some(Event::AuthRefused(reply)),
            Class::GoAhead => {
                let text = reply.lines().next().unwrap_or_default();
                let Some(challenge) = auth::decode(text).filter(|_| exchange.count()) else {
                    // LOGIN servers ask in the clear: what they say is not used.
                    if !exchange.is_callers && exchange.answer(out) {
                        self.phase = Phase::Auth(exchange);
                        return Some(Event::Continue);
                    }
                    return Some(self.fault(Fault::Challenge));
                };
                if exchange.answer(out) {
                    self.phase = Phase::Auth(exchange);
                    return Some(Event::Continue);
                }
                if !exchange.is_callers {
                    // The mechanism has no more to say.
                    auth::cancel(out);
                    self.phase = Phase::Auth(exchange);
                    return Some(Event::Continue);
                }
                self.challenge = challenge;
                self.phase = Phase::Challenged(exchange);
                None
            }
        }
    }

    /// The reply to a command that others may follow.
    #[inline]
    fn take_in_order<'r>(&mut self, reply: Reply<'r>) -> Event<'r> {
        match self.entries.front_mut() {
            None => self.unasked(reply),
            Some(Entry::Reset) => {
                self.entries.pop_front();
                match reply.class() {
                    Class::Positive => Event::Continue,
                    _ if reply.code() == Code::CLOSING => Event::Closing(reply),
                    _ => self.fault(Fault::Unexpected(Awaited::Reset, reply.code())),
                }
            }
            Some(Entry::Quit) => {
                self.close();
                Event::Quit(reply)
            }
            Some(Entry::Transaction(flight)) => {
                let Some(awaited) = flight.awaits() else { return self.unasked(reply) };
                let (transaction, recipient) = (flight.number, flight.recipient());
                // Only of a refusal is more kept than the code.
                let verdict = match reply.class() {
                    Class::Positive | Class::GoAhead => Verdict { code: reply.code(), enhanced: None },
                    Class::Temporary | Class::Permanent => reply.verdict(),
                };
                if let Err(fault) = flight.take(awaited, verdict) {
                    return self.fault(fault);
                }
                if reply.code() == Code::CLOSING {
                    flight.close_with(awaited, verdict);
                }
                self.settle();
                match awaited {
                    Awaited::Mail => Event::Mail { transaction, reply },
                    Awaited::Rcpt => {
                        if self.terms.protocol == Protocol::Lmtp && reply.class() == Class::Positive {
                            self.accepted.push_back(recipient);
                        }
                        Event::Recipient { transaction, recipient, reply }
                    }
                    Awaited::Data | Awaited::Block => Event::Content { transaction, reply },
                    _ => Event::EndOfData { transaction, recipient: self.accepted.pop_front(), reply },
                }
            }
        }
    }

    /// The transaction that is being sent.
    pub(super) fn current(&mut self) -> Option<&mut Flight> {
        match self.entries.back_mut() {
            Some(Entry::Transaction(flight)) if !flight.is_sent => Some(flight),
            _ => None,
        }
    }
}
