//! DESIGN §6: what holds where nothing is said, by the kind of listener.

use super::plan::{Durability, Kind, Protocol};
use crate::limits;
use crate::smtp::data::BareNewline;
use crate::smtp::settings::{Dialect, Synchronization, Terms};

/// The terms of its sessions.
pub(super) fn terms(kind: Kind, protocol: Protocol, hostname: &str) -> Terms {
    let public = Terms {
        dialect: match protocol {
            Protocol::Smtp => Dialect::Smtp,
            Protocol::Lmtp => Dialect::Lmtp,
        },
        banner: banner(kind, protocol).to_owned(),
        ..Terms::public(hostname)
    };
    match kind {
        Kind::Public => public,
        Kind::Private => Terms {
            message_size_bytes: limits::PRIVATE_MESSAGE_OCTETS,
            messages_per_connection: None,
            synchronization: Synchronization::Tolerant,
            ..public
        },
        Kind::Blackhole => Terms {
            message_size_bytes: limits::BLACKHOLE_MESSAGE_OCTETS,
            recipients_per_message: limits::BLACKHOLE_RECIPIENTS,
            messages_per_connection: None,
            errors: None,
            junk_commands: None,
            synchronization: Synchronization::Tolerant,
            bare_newline: BareNewline::Preserve,
            received_fields: None,
            discards: true,
            ..public
        },
    }
}

/// The time for one transaction; `None` is no limit.
pub(super) fn transaction_ms(kind: Kind) -> Option<u64> {
    match kind {
        Kind::Public | Kind::Private => Some(limits::TRANSACTION_MS),
        Kind::Blackhole => None,
    }
}

/// What a 250 means; `disk` is what a blackhole says of it.
pub(super) fn durability(kind: Kind, disk: bool) -> Durability {
    match kind {
        Kind::Blackhole if !disk => Durability::Discard,
        Kind::Public | Kind::Private | Kind::Blackhole => Durability::Durable,
    }
}

/// The greeting's text.
const fn banner(kind: Kind, protocol: Protocol) -> &'static str {
    match (kind, protocol) {
        (Kind::Public | Kind::Private, Protocol::Smtp) => "ESMTP ringmx",
        (Kind::Public | Kind::Private, Protocol::Lmtp) => "LMTP ringmx",
        (Kind::Blackhole, Protocol::Smtp) => "ESMTP ringmx blackhole: nothing is kept",
        (Kind::Blackhole, Protocol::Lmtp) => "LMTP ringmx blackhole: nothing is kept",
    }
}
const _: () = {
    // The longest of them.
    let banner = banner(Kind::Blackhole, Protocol::Smtp);
    assert!(greeting_octets(limits::DOMAIN_OCTETS, banner.len()) <= limits::REPLY_LINE_OCTETS);
};

/// Octets of a greeting line: `220 `, the name, a space, the text, CRLF.
pub(super) const fn greeting_octets(hostname: usize, banner: usize) -> usize {
    4 + hostname + 1 + banner + 2
}
