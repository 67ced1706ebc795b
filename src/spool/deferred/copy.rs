//! The manifest of a copy of a message, for those of its recipients that are left.
//!
//! *Invariant*: all that is known of the message stays what it was, its id and the time at which it was taken over above all: the
//! number of its recipients too, by which Received names one or none. The copy has one route, the first.

use crate::mail::envelope::{Envelope, EnvelopeFull, Recipient};
use crate::mail::manifest::Manifest;

/// Makes copies; kept for its memory.
#[derive(Debug, Default)]
pub struct Copier {
    envelope: Envelope,
}

impl Copier {
    /// Appends the manifest of a copy for these recipients of the message.
    pub fn copy<'r>(
        &mut self,
        manifest: &Manifest<'_>,
        left: impl IntoIterator<Item = Recipient<'r>>,
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeFull> {
        let (reverse_path, parameters) = manifest.envelope.sender();
        self.envelope.begin(reverse_path, &parameters);
        for recipient in left {
            self.envelope.add(recipient.path, &recipient.parameters)?;
        }
        Manifest { envelope: self.envelope.view(), ..*manifest }.encode(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::{Mailbox, Path};
    use crate::mail::envelope::{MailParameters, Notify, RcptParameters, Route};
    use crate::mail::id::MessageId;
    use crate::mail::manifest::Origin;
    use crate::mail::marks::Marks;
    use crate::mail::trace::{Transfer, With};

    #[test]
    fn a_copy_has_the_recipients_that_are_left_and_is_otherwise_the_same() {
        let to = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"ok.test" });
        let mut envelope = Envelope::default();
        let sender = MailParameters { envid: Some(b"QQ"), smtputf8: true, ..MailParameters::default() };
        envelope.begin(to(b"sender"), &sender);
        let notify = RcptParameters { notify: Some(Notify::Never), orcpt: Some(b"rfc822;b@ok.test") };
        for (local_part, parameters, route) in
            [(b"a", RcptParameters::default(), 3), (b"b", notify, 2), (b"c", RcptParameters::default(), 2)]
        {
            let place = envelope.add(to(local_part), &parameters).unwrap();
            envelope.set_route(place, Route(route));
        }
        let manifest = Manifest {
            id: MessageId::new(1, 2, 3, 4),
            received_at_ms: 5,
            content_octets: 6,
            recipients: 3,
            marks: Marks::default(),
            with: With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false },
            origin: Origin::UnixSocket,
            listener: "mx",
            by: "host.test",
            hello: b"client",
            envelope: envelope.view(),
        };
        let mut octets = Vec::new();
        let left = manifest.envelope.recipients().filter(|recipient| recipient.path == to(b"b"));
        Copier::default().copy(&manifest, left, &mut octets).unwrap();
        let copy = Manifest::decode(&octets).unwrap();
        assert_eq!(Manifest { envelope: manifest.envelope, ..copy }, manifest);
        assert_eq!(copy.envelope.sender(), manifest.envelope.sender());
        let only = Recipient { path: to(b"b"), parameters: notify, route: Route(0) };
        assert_eq!(copy.envelope.recipients().collect::<Vec<_>>(), [only]);
        assert_eq!(copy.trace().recipient, None, "there were three");
    }
}
