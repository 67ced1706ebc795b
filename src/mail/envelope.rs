//! The envelope: who sends, to whom, and what the client asked for with it.
//!
//! *Why this way*: one run of octets for each transaction, which keeps its memory for the next; nothing is allocated for a
//! recipient. *Invariant*: the octets were written by this file alone, so that reading them cannot fail.

use crate::limits;
use crate::mail::address::{Mailbox, Path};

/// What BODY declares: RFC 6152 §3, RFC 3030 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    /// Lines of ASCII; also when nothing is declared.
    #[default]
    SevenBit,
    /// Lines of any octets.
    EightBitMime,
    /// Any octets.
    BinaryMime,
}

/// What a failed delivery's report shall return: RFC 3461 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header section.
    Headers,
}

/// When the sender wants to hear of a recipient: RFC 3461 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Not at all.
    Never,
    /// In the cases that are set; one at least.
    On {
        /// When it was delivered.
        success: bool,
        /// When it failed for good.
        failure: bool,
        /// When it takes long.
        delay: bool,
    },
}

/// The parameters of MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MailParameters<'a> {
    /// Declared size in octets, RFC 1870; saturated, so that any number too large is above every limit.
    pub size_bytes: Option<u64>,
    /// Declared body type.
    pub body: Body,
    /// Addresses and header may hold UTF-8: RFC 6531 §3.4.
    pub smtputf8: bool,
    /// RET of RFC 3461.
    pub ret: Option<Return>,
    /// ENVID of RFC 3461, in xtext as the client wrote it.
    pub envid: Option<&'a [u8]>,
    /// TLS is required on every hop: RFC 8689 §4.
    pub requiretls: bool,
    /// AUTH of RFC 4954 §5: a mailbox in xtext as the client wrote it, or `<>`.
    pub auth: Option<&'a [u8]>,
}

/// The parameters of RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RcptParameters<'a> {
    /// NOTIFY of RFC 3461.
    pub notify: Option<Notify>,
    /// ORCPT of RFC 3461: address type, `;`, xtext as the client wrote it.
    pub orcpt: Option<&'a [u8]>,
}

/// Where the mail of a recipient goes: the place of a sink among those of the plan. Decided at RCPT, and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Route(pub u16);

/// A recipient, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// Who it is.
    pub path: Path<'a>,
    /// What its RCPT asked for.
    pub parameters: RcptParameters<'a>,
    /// See [`Route`].
    pub route: Route,
}

/// Who sends, and to whom: what MAIL and RCPT said, octet for octet.
///
/// ```
/// use ringmx::mail::address::{Mailbox, Path};
/// use ringmx::mail::envelope::{Envelope, MailParameters, RcptParameters, Route};
/// let to = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"ok.test" });
/// let mut envelope = Envelope::default();
/// envelope.begin(Path::Null, &MailParameters::default());
/// let first = envelope.add(to(b"a"), &RcptParameters::default()).unwrap();
/// envelope.add(to(b"b"), &RcptParameters::default()).unwrap();
/// envelope.withdraw(first);
/// assert_eq!(envelope.sender().0, Path::Null);
/// let recipients: Vec<_> = envelope.recipients().map(|recipient| (recipient.path, recipient.route)).collect();
/// assert_eq!(recipients, [(to(b"b"), Route(0))]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    octets: Vec<u8>,
    /// Where the recipients begin.
    recipients_at: usize,
}

/// An envelope that lies somewhere: what reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeView<'a> {
    octets: &'a [u8],
    /// Where the recipients begin.
    recipients_at: usize,
}

/// A recipient's place in its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// The envelope has no room for another recipient: [`limits::ENVELOPE_OCTETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope has no room for another recipient")]
pub struct EnvelopeFull;

// Of the first octet of an entry: what kind of path it has, and whether the recipient was withdrawn.
const NULL: u8 = 0;
const LOCAL: u8 = 1;
const MAILBOX: u8 = 2;
const KINDS: u8 = 3;
const WITHDRAWN: u8 = 1 << 7;

impl Envelope {
    /// Begins anew, with a sender.
    pub fn begin(&mut self, reverse_path: Path<'_>, parameters: &MailParameters<'_>) {
        let MailParameters { size_bytes, body, smtputf8, ret, envid, requiretls, auth } = *parameters;
        self.octets.clear();
        self.octets.shrink_to(limits::ENVELOPE_KEPT_OCTETS);
        self.put_path(reverse_path);
        let ret = ret.map_or(0, |ret| 1 + ret as u8);
        self.octets.push(body as u8 | ret << 2 | u8::from(smtputf8) << 4 | u8::from(requiretls) << 5);
        self.put(size_bytes.map(u64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        self.put(envid);
        self.put(auth);
        self.recipients_at = self.octets.len();
    }

    /// Adds a recipient.
    pub fn add(&mut self, forward_path: Path<'_>, parameters: &RcptParameters<'_>) -> Result<Place, EnvelopeFull> {
        let at = self.octets.len();
        let path = match forward_path {
            Path::Null => 0,
            Path::Local(local_part) => local_part.len(),
            Path::Mailbox(mailbox) => mailbox.local_part.len() + mailbox.domain.len(),
        };
        let octets = path + parameters.orcpt.map_or(0, <[u8]>::len) + RECIPIENT_FRAME_OCTETS;
        let place = u32::try_from(at).ok().filter(|_| at + octets <= limits::ENVELOPE_OCTETS).ok_or(EnvelopeFull)?;
        self.put_path(forward_path);
        self.octets.push(match parameters.notify {
            None => 0,
            Some(Notify::Never) => 1,
            Some(Notify::On { success, failure, delay }) => {
                u8::from(success) << 1 | u8::from(failure) << 2 | u8::from(delay) << 3
            }
        });
        self.octets.extend_from_slice(&Route::default().0.to_le_bytes());
        self.put(parameters.orcpt);
        Ok(Place(place))
    }

    /// Keeps where the mail of a recipient goes, which was the first of all sinks before.
    pub fn set_route(&mut self, place: Place, route: Route) {
        let Some(rest) = self.octets.get(place.0 as usize..).filter(|rest| !rest.is_empty()) else { return };
        let mut behind = rest;
        take_path(&mut behind);
        take_octet(&mut behind);
        let at = self.octets.len() - behind.len();
        self.octets[at..at + ROUTE_OCTETS].copy_from_slice(&route.0.to_le_bytes());
    }

    /// Takes a recipient out that was refused after all. The last one leaves its room to the next.
    pub fn withdraw(&mut self, place: Place) {
        let at = place.0 as usize;
        let Some(mut rest) = self.octets.get(at..).filter(|rest| !rest.is_empty()) else { return };
        take_recipient(&mut rest);
        if rest.is_empty() {
            self.octets.truncate(at);
        } else {
            self.octets[at] |= WITHDRAWN;
        }
    }

    /// Who was put there.
    pub fn recipient(&self, place: Place) -> Option<Path<'_>> {
        let mut rest = self.octets.get(place.0 as usize..).filter(|rest| !rest.is_empty())?;
        Some(take_path(&mut rest).0)
    }

    /// To read it.
    pub fn view(&self) -> EnvelopeView<'_> {
        EnvelopeView { octets: &self.octets, recipients_at: self.recipients_at }
    }

    /// What MAIL said. Of an envelope that was never begun: the null reverse-path.
    pub fn sender(&self) -> (Path<'_>, MailParameters<'_>) {
        self.view().sender()
    }

    /// Those whose RCPT was not refused, in their order.
    pub fn recipients(&self) -> impl Iterator<Item = Recipient<'_>> {
        self.view().recipients()
    }

    fn put_path(&mut self, path: Path<'_>) {
        match path {
            Path::Null => self.octets.push(NULL),
            Path::Local(local_part) => {
                self.octets.push(LOCAL);
                self.put(Some(local_part));
            }
            Path::Mailbox(Mailbox { local_part, domain }) => {
                self.octets.push(MAILBOX);
                self.put(Some(local_part));
                self.put(Some(domain));
            }
        }
    }

    /// A field: its length plus one in two octets, 0 for none, then itself.
    fn put(&mut self, field: Option<&[u8]>) {
        let length = field.map_or(0, |field| field.len() + 1);
        debug_assert!(length < usize::from(u16::MAX), "no field is longer than a command line");
        self.octets.extend_from_slice(&(length as u16).to_le_bytes());
        self.octets.extend_from_slice(field.unwrap_or_default());
    }
}

impl<'a> EnvelopeView<'a> {
    /// What MAIL said. Of an envelope that was never begun: the null reverse-path.
    pub fn sender(&self) -> (Path<'a>, MailParameters<'a>) {
        let mut rest = &self.octets[..self.recipients_at.min(self.octets.len())];
        if rest.is_empty() {
            return (Path::Null, MailParameters::default());
        }
        let path = take_path(&mut rest).0;
        let flags = take_octet(&mut rest);
        let parameters = MailParameters {
            body: match flags & 3 {
                0 => Body::SevenBit,
                1 => Body::EightBitMime,
                _ => Body::BinaryMime,
            },
            ret: match flags >> 2 & 3 {
                0 => None,
                1 => Some(Return::Full),
                _ => Some(Return::Headers),
            },
            smtputf8: flags & 1 << 4 != 0,
            requiretls: flags & 1 << 5 != 0,
            size_bytes: take(&mut rest).and_then(|octets| Some(u64::from_le_bytes(*octets.first_chunk()?))),
            envid: take(&mut rest),
            auth: take(&mut rest),
        };
        (path, parameters)
    }

    /// Those whose RCPT was not refused, in their order.
    pub fn recipients(&self) -> impl Iterator<Item = Recipient<'a>> + use<'a> {
        let mut rest = self.octets.get(self.recipients_at..).unwrap_or_default();
        std::iter::from_fn(move || {
            // BOUND: each turn takes a recipient.
            while !rest.is_empty() {
                let (recipient, is_withdrawn) = take_recipient(&mut rest);
                if !is_withdrawn {
                    return Some(recipient);
                }
            }
            None
        })
    }

    /// The octets, and where in them the recipients begin: what [`Self::of`] makes the same view of again.
    pub fn parts(&self) -> (&'a [u8], usize) {
        (self.octets, self.recipients_at)
    }

    /// A view of octets that [`Self::parts`] gave. Of others it reads something, and never fails.
    pub fn of(octets: &'a [u8], recipients_at: usize) -> Self {
        Self { octets, recipients_at: recipients_at.min(octets.len()) }
    }
}

/// Octets of a route.
const ROUTE_OCTETS: usize = 2;

/// Octets of a recipient beside its texts: two for flags, its route, and the lengths of three fields.
const RECIPIENT_FRAME_OCTETS: usize = 2 + ROUTE_OCTETS + 3 * 2;

fn take_octet(rest: &mut &[u8]) -> u8 {
    rest.split_off_first().copied().unwrap_or_default()
}

fn take_number(rest: &mut &[u8]) -> u16 {
    u16::from_le_bytes([take_octet(rest), take_octet(rest)])
}

fn take<'o>(rest: &mut &'o [u8]) -> Option<&'o [u8]> {
    let length = take_number(rest);
    rest.split_off(..usize::from(length.checked_sub(1)?))
}

/// A recipient, and whether it was withdrawn.
fn take_recipient<'o>(rest: &mut &'o [u8]) -> (Recipient<'o>, bool) {
    let (path, is_withdrawn) = take_path(rest);
    let notify = match take_octet(rest) {
        0 => None,
        1 => Some(Notify::Never),
        on => Some(Notify::On { success: on & 1 << 1 != 0, failure: on & 1 << 2 != 0, delay: on & 1 << 3 != 0 }),
    };
    let route = Route(take_number(rest));
    (Recipient { path, parameters: RcptParameters { notify, orcpt: take(rest) }, route }, is_withdrawn)
}

/// A path, and whether its recipient was withdrawn.
fn take_path<'o>(rest: &mut &'o [u8]) -> (Path<'o>, bool) {
    let first = take_octet(rest);
    let path = match first & KINDS {
        NULL => Path::Null,
        LOCAL => Path::Local(take(rest).unwrap_or_default()),
        _ => Path::Mailbox(Mailbox {
            local_part: take(rest).unwrap_or_default(),
            domain: take(rest).unwrap_or_default(),
        }),
    };
    (path, first & WITHDRAWN != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Owned, so that they can be generated.
    type Words = (u8, Vec<u8>, Vec<u8>);

    fn words() -> impl Strategy<Value = Words> {
        let octets = || prop::collection::vec(any::<u8>(), 0..20);
        (0..3_u8, octets(), octets())
    }

    fn path((kind, local_part, domain): &Words) -> Path<'_> {
        match kind {
            0 => Path::Null,
            1 => Path::Local(local_part),
            _ => Path::Mailbox(Mailbox { local_part, domain }),
        }
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            sender in words(),
            (size_bytes, body, ret, flags) in (any::<Option<u64>>(), 0..3_u8, 0..3_u8, 0..4_u8),
            texts in any::<(Option<Vec<u8>>, Option<Vec<u8>>)>(),
            recipients in prop::collection::vec(
                (words(), 0..16_u8, any::<Option<Vec<u8>>>(), any::<bool>(), any::<u16>()), 0..8,
            ),
        ) {
            let parameters = MailParameters {
                size_bytes,
                body: [Body::SevenBit, Body::EightBitMime, Body::BinaryMime][usize::from(body)],
                smtputf8: flags & 1 != 0,
                ret: [None, Some(Return::Full), Some(Return::Headers)][usize::from(ret)],
                envid: texts.0.as_deref(),
                requiretls: flags & 2 != 0,
                auth: texts.1.as_deref(),
            };
            let mut envelope = Envelope::default();
            // What was there before leaves nothing behind.
            envelope.begin(Path::Local(b"x"), &MailParameters::default());
            envelope.add(Path::Local(b"y"), &RcptParameters::default()).unwrap();
            envelope.begin(path(&sender), &parameters);
            let mut kept = Vec::new();
            for (words, notify, orcpt, is_kept, route) in &recipients {
                let notify = match notify {
                    0 => None,
                    1 => Some(Notify::Never),
                    on if on & 14 == 0 => None,
                    on => Some(Notify::On { success: on & 2 != 0, failure: on & 4 != 0, delay: on & 8 != 0 }),
                };
                let parameters = RcptParameters { notify, orcpt: orcpt.as_deref() };
                let place = envelope.add(path(words), &parameters).unwrap();
                let route = Route(*route);
                envelope.set_route(place, route);
                if *is_kept {
                    kept.push(Recipient { path: path(words), parameters, route });
                } else {
                    envelope.withdraw(place);
                }
            }
            prop_assert_eq!(envelope.sender(), (path(&sender), parameters));
            let (octets, recipients_at) = envelope.view().parts();
            let read_again = EnvelopeView::of(octets, recipients_at);
            prop_assert_eq!(read_again.sender(), envelope.sender());
            prop_assert_eq!(read_again.recipients().collect::<Vec<_>>(), kept);
        }

        #[test]
        fn octets_that_are_no_envelope_are_read_without_harm(
            octets in prop::collection::vec(any::<u8>(), 0..200), recipients_at in 0..300_usize,
        ) {
            let view = EnvelopeView::of(&octets, recipients_at);
            view.sender();
            prop_assert!(view.recipients().count() <= octets.len());
        }
    }

    #[test]
    fn an_envelope_is_bounded() {
        let mut envelope = Envelope::default();
        envelope.begin(Path::Null, &MailParameters::default());
        let local_part = [b'x'; 64];
        let added = (0..).take_while(|_| envelope.add(Path::Local(&local_part), &RcptParameters::default()).is_ok());
        let added = added.count();
        assert!(envelope.octets.len() <= limits::ENVELOPE_OCTETS);
        assert!(added >= 1000, "{added}");
        assert_eq!(envelope.recipients().count(), added);
    }
}
