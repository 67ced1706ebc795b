//! Sessions against a server that is played, or is our own.

mod hostile;
mod opening;
mod pairing;

mod transactions;

use std::fmt::Write;

use super::*;
use crate::mail::address::{Mailbox, Path};
use crate::mail::envelope::MailParameters;
use crate::smtp::client::reply::ReplyReader;
use crate::smtp::command::{MailCommand, RcptCommand};

/// The offer of a server that lists these.
pub(super) fn offer(keywords: &[&str]) -> Offer {
    let text = ehlo(keywords);
    let mut reader = ReplyReader::default();
    let found = reader.find(&mut text.as_bytes()).unwrap().expect("a whole reply");
    Offer::parse(found.reply(&reader))
}

fn ehlo(keywords: &[&str]) -> String {
    let lines: String = ["mx.test"].iter().chain(keywords).map(|word| format!("250-{word}\r\n")).collect();
    lines + "250 HELP\r\n"
}

fn mailbox(text: &'static str) -> Path<'static> {
    let (local_part, domain) = text.split_once('@').expect("a mailbox has a domain");
    Path::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() })
}

/// A message that owns its recipients.
#[derive(Clone, Debug)]
struct Draft {
    parameters: MailParameters<'static>,
    recipients: Vec<RcptCommand<'static>>,
    transfer: Transfer,
    rule: Recipients,
}

impl Draft {
    fn new(recipients: &[&'static str], transfer: Transfer) -> Self {
        let rcpt = |text: &&'static str| RcptCommand { forward_path: mailbox(text), parameters: Default::default() };
        Self {
            parameters: MailParameters::default(),
            recipients: recipients.iter().map(rcpt).collect(),
            transfer,
            rule: Recipients::Any,
        }
    }

    fn message(&self) -> Message<'_> {
        let mail = MailCommand { reverse_path: mailbox("s@x.test"), parameters: self.parameters };
        Message { mail, recipients: &self.recipients, transfer: self.transfer, rule: self.rule }
    }
}

/// An event in a few words; none for those that say nothing.
fn words(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Continue | Event::NeedInput | Event::Closed => return None,
        Event::Fault(fault) => format!("fault {fault:?}"),
        Event::Greeting(reply) => format!("greeting {}", reply.verdict()),
        Event::NoService(reply) => format!("no service {}", reply.verdict()),
        Event::Ready(reply) => format!("ready {}", reply.verdict()),
        Event::HelloRefused(reply) => format!("hello refused {}", reply.verdict()),
        Event::StartTls => "handshake".to_owned(),
        Event::StartTlsRefused(reply) => format!("no tls {}", reply.verdict()),
        Event::Challenge(text) => format!("challenge {}", text.escape_ascii()),
        Event::Authenticated(reply) => format!("authenticated {}", reply.verdict()),
        Event::AuthRefused(reply) => format!("auth refused {}", reply.verdict()),
        Event::XclientAccepted(reply) => format!("xclient {}", reply.verdict()),
        Event::XclientRefused(reply) => format!("xclient refused {}", reply.verdict()),
        Event::Mail { transaction, reply } => format!("{transaction} mail {}", reply.verdict()),
        Event::Recipient { transaction, recipient, reply } => {
            format!("{transaction} rcpt {recipient} {}", reply.verdict())
        }
        Event::Content { transaction, reply } => format!("{transaction} content {}", reply.verdict()),
        Event::EndOfData { transaction, recipient, reply } => {
            let mut text = format!("{transaction} end");
            if let Some(recipient) = recipient {
                write!(text, " for {recipient}").unwrap();
            }
            format!("{text} {}", reply.verdict())
        }
        Event::Ended(Ended { transaction, outcome }) => match outcome {
            Outcome::Refused { stage, verdict } => format!("{transaction} refused at {stage:?}: {verdict}"),
            other => format!("{transaction} {other:?}"),
        },
        Event::Quit(reply) => format!("quit {}", reply.verdict()),
        Event::Closing(reply) => format!("closing {}", reply.verdict()),
    })
}

/// A client, and what it has to send.
struct Client {
    session: Session,
    out: Vec<u8>,
    /// Octets of the current message's content that were put.
    given: usize,
}

impl Client {
    fn new(terms: Terms) -> Self {
        Self { session: Session::new(Arc::new(terms), false), out: Vec::new(), given: 0 }
    }

    /// One that has been greeted and offered these.
    fn ready(terms: Terms, keywords: &[&str]) -> Self {
        let mut client = Self::new(terms);
        client.hear("220 mx.test\r\n");
        client.hear(&ehlo(keywords));
        assert!(client.session.is_idle());
        client.said();
        client
    }

    fn smtp(keywords: &[&str]) -> Self {
        Self::ready(smtp(), keywords)
    }

    /// What the server says, and the events that come of it.
    fn hear(&mut self, text: &str) -> Vec<String> {
        let mut input = text.as_bytes();
        let mut heard = Vec::new();
        loop {
            let event = self.session.handle_input(&mut input, &mut self.out);
            heard.extend(words(&event));
            if matches!(event, Event::NeedInput | Event::Closed) {
                return heard;
            }
        }
    }

    /// What has been written since this was last asked.
    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).unwrap()
    }

    fn begin(&mut self, draft: &Draft) -> Result<Begun, Refusal> {
        self.begin_message(&draft.message())
    }

    fn begin_message(&mut self, message: &Message<'_>) -> Result<Begun, Refusal> {
        let begun = self.session.begin(message, &mut self.out)?;
        self.given = 0;
        Ok(begun)
    }

    fn transmit(&mut self, draft: &Draft) -> Transmit {
        self.session.poll_transmit(&draft.message(), &mut self.out)
    }

    /// Begins, and sends all that can be.
    fn send(&mut self, draft: &Draft, content: &[u8]) -> String {
        self.begin(draft).unwrap();
        self.go_on(draft, content);
        self.said()
    }

    fn go_on(&mut self, draft: &Draft, content: &[u8]) {
        self.go_on_message(&draft.message(), content);
    }

    /// Sends what can be sent now, with as much of the content as is asked for.
    fn go_on_message(&mut self, message: &Message<'_>, content: &[u8]) {
        // BOUND: each turn gives content.
        while self.session.poll_transmit(message, &mut self.out) == Transmit::Content {
            let mut rest = &content[self.given..];
            loop {
                let piece = self.session.put(&mut rest).unwrap();
                if piece.is_empty() {
                    break;
                }
                self.out.extend_from_slice(piece);
            }
            self.given = content.len() - rest.len();
            if rest.is_empty() {
                self.out.extend_from_slice(self.session.finish().unwrap());
            }
        }
    }
}

fn smtp() -> Terms {
    Terms::new(Protocol::Smtp, "c.test").unwrap()
}

fn lmtp() -> Terms {
    Terms::new(Protocol::Lmtp, "c.test").unwrap()
}

fn chunks(octets: u64) -> Transfer {
    Transfer::Chunks { octets, chunk_octets: 1 << 20 }
}
