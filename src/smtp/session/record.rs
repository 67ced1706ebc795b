//! What a session keeps of what its client said, where somebody will read it: the name in EHLO, the envelope, and what the
//! lines of the content hold.

use crate::mail::address::Path;
use crate::mail::envelope::{Envelope, EnvelopeFull, MailParameters, Place, RcptParameters, Route};
use crate::mail::header::{HeaderWatch, LineWatch};
use crate::smtp::reply::Reply;
use crate::smtp::session::question::Credentials;
use crate::smtp::settings::Terms;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record {
    hello: Vec<u8>,
    /// The name of an EHLO whose answer is still out.
    asked: Vec<u8>,
    envelope: Envelope,
    /// Of the transaction's recipients, where their number is bounded.
    domains: Vec<Domain>,
    header: HeaderWatch,
    lines: LineWatch,
    /// Of the AUTH that is under way.
    pub(super) credentials: Option<Credentials>,
}

impl Record {
    /// The client's name as it gave it: not escaped.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    /// The transaction's envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The client wants to be called this.
    pub(super) fn ask_hello(&mut self, name: &[u8]) {
        self.asked.clear();
        self.asked.extend_from_slice(name);
    }

    /// It is.
    pub(super) fn accept_hello(&mut self) {
        std::mem::swap(&mut self.hello, &mut self.asked);
    }

    /// A transaction begins.
    pub(crate) fn begin(&mut self, reverse_path: Path<'_>, parameters: &MailParameters<'_>) {
        self.envelope.begin(reverse_path, parameters);
        self.domains.clear();
    }

    /// It has another recipient.
    pub(crate) fn add(
        &mut self,
        forward_path: Path<'_>,
        parameters: &RcptParameters<'_>,
    ) -> Result<Place, EnvelopeFull> {
        self.envelope.add(forward_path, parameters)
    }

    /// Where the mail of a recipient goes.
    pub(crate) fn set_route(&mut self, place: Place, route: Route) {
        self.envelope.set_route(place, route);
    }

    /// A recipient that was just added has no room.
    pub(super) fn forget(&mut self, place: Place) {
        self.envelope.withdraw(place);
    }

    /// A recipient was refused after all.
    pub(crate) fn withdraw(&mut self, place: Place) {
        if let Some(Path::Mailbox(mailbox)) = self.envelope.recipient(place)
            && let Some(at) = self.domains.iter().position(|domain| domain.is(mailbox.domain))
        {
            self.domains[at].recipients -= 1;
            if self.domains[at].recipients == 0 {
                self.domains.swap_remove(at);
            }
        }
        self.envelope.withdraw(place);
    }

    /// Content begins.
    pub(super) fn forget_lines(&mut self) {
        (self.header, self.lines) = Default::default();
    }

    /// The next piece of content.
    pub(crate) fn see_lines(&mut self, piece: &[u8], terms: &Terms) {
        if terms.received_fields.is_some() {
            self.header.feed(piece);
        }
        if terms.line_octets.is_some() {
            self.lines.feed(piece);
        }
    }

    /// Why content with these lines is refused.
    pub(crate) fn refused_lines(&self, terms: &Terms) -> Option<Reply> {
        if terms.received_fields.is_some_and(|most| self.header.received_fields() > most) {
            Some(Reply::MailLoop)
        } else if terms.line_octets.is_some_and(|most| self.lines.longest_octets() > most) {
            Some(Reply::ContentLineTooLong)
        } else {
            None
        }
    }

    /// Whether no recipient of another domain may be added.
    pub(super) fn has_no_domain_left(&self, most: u32) -> bool {
        self.domains.len() >= most as usize
    }

    /// Whether a recipient may be added where so many different domains are allowed. A path without a domain always may.
    ///
    /// BOUND: one comparison for each domain that is allowed.
    pub(super) fn admits_domain(&mut self, path: Path<'_>, most: u32) -> bool {
        let Path::Mailbox(mailbox) = path else { return true };
        if let Some(domain) = self.domains.iter_mut().find(|domain| domain.is(mailbox.domain)) {
            domain.recipients += 1;
            return true;
        }
        let has_room = !self.has_no_domain_left(most);
        if has_room {
            self.domains.push(Domain { name: mailbox.domain.into(), recipients: 1 });
        }
        has_room
    }
}

/// A domain that recipients are in.
#[derive(Debug, PartialEq, Eq)]
struct Domain {
    name: Box<[u8]>,
    /// Those that were not refused.
    recipients: u32,
}

impl Domain {
    fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}
