//! A line of the delivery log: what became of one message for one recipient.
//!
//! *Invariants*: one line, with its fields in one order, separated by one space each. What others have written (addresses,
//! reasons) stands between brackets or quotes and never ends them, nor the line: what is not plain is shown as `\xHH` for
//! each octet, so that what was received can be read back.

use std::fmt;

use crate::limits;
use crate::mail::address::Path;
use crate::mail::date::Timestamp;
use crate::mail::id::MessageId;
use crate::mail::shown::{Shown, ShownPath};

/// What became of a message for a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The sink has it.
    Delivered,
    /// Not now; it is tried again.
    Deferred,
    /// Not any more until the operator says so: delivering it went wrong too often.
    Quarantined,
    /// Never: the sink refused it after our 250.
    Failed,
    /// The sink refused it, and its client heard so.
    Refused,
    /// An operator holds it: not any more until he says so.
    Held,
    /// An operator has it tried at once.
    Released,
    /// An operator has thrown it away.
    Removed,
    /// An operator has handed it to a sink anew: what lay aside of it is gone, and its copy has lines of its own.
    Replayed,
}

impl Fate {
    /// As a line shows it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Quarantined => "quarantined",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Held => "held",
            Self::Released => "released",
            Self::Removed => "removed",
            Self::Replayed => "replayed",
        }
    }
}

/// One message and one recipient. Its text has no end of line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When, in ms since 1970.
    pub time_ms: u64,
    /// The message.
    pub id: MessageId,
    /// The name of the listener that it came to.
    pub listener: &'a str,
    /// The name of the sink that it went to.
    pub sink: &'a str,
    /// Whom it is from.
    pub reverse_path: Path<'a>,
    /// Whom it is for.
    pub forward_path: Path<'a>,
    /// Octets of its content.
    pub size_bytes: u64,
    /// What became of it.
    pub fate: Fate,
    /// The reply code.
    pub code: u16,
    /// Since it was received, in ms.
    pub delay_ms: u64,
    /// How often the sink has had it, this time included.
    pub attempts: u32,
    /// When it is tried again, in ms since 1970, if that is known.
    pub next_ms: Option<u64>,
    /// In words.
    pub why: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_unix_milliseconds(self.time_ms);
        let name = |octets| Shown { octets, most: limits::DELIVERY_LOG_NAME_OCTETS, spaces: false };
        write!(f, "{time} id={}", self.id)?;
        write!(f, " listener={} sink={}", name(self.listener.as_bytes()), name(self.sink.as_bytes()))?;
        write!(f, " from=<{}> to=<{}>", ShownPath(self.reverse_path), ShownPath(self.forward_path))?;
        write!(f, " size={} result={} code={}", self.size_bytes, self.fate.text(), self.code)?;
        write!(f, " delay_ms={} attempts={}", self.delay_ms, self.attempts)?;
        if let Some(next_ms) = self.next_ms {
            write!(f, " next={}", Timestamp::from_unix_milliseconds(next_ms))?;
        }
        let why = Shown { octets: self.why.as_bytes(), most: limits::DELIVERY_LOG_WHY_OCTETS, spaces: true };
        write!(f, " why=\"{why}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mail::address::Mailbox;

    fn line<'a>(reverse_path: Path<'a>, forward_path: Path<'a>, why: &'a str) -> Line<'a> {
        Line {
            time_ms: 1_795_260_000_123,
            id: MessageId::new(1, 2, 3, 4),
            listener: "mx",
            sink: "store",
            reverse_path,
            forward_path,
            size_bytes: 4096,
            fate: Fate::Deferred,
            code: 452,
            delay_ms: 17,
            attempts: 2,
            next_ms: None,
            why,
        }
    }

    #[test]
    fn a_line_is_as_documented() {
        let rcpt = Path::Mailbox(Mailbox { local_part: b"\"a b\"", domain: "bücher.example".as_bytes() });
        let id = MessageId::new(1, 2, 3, 4);
        let shown = line(Path::Null, rcpt, "no space: \"/mail\"\r\n").to_string();
        let expected = format!(
            "2026-11-21T11:20:00.123Z id={id} listener=mx sink=store from=<> to=<\\x22a\\x20b\\x22@bücher.example> \
             size=4096 result=deferred code=452 delay_ms=17 attempts=2 why=\"no space: \\x22/mail\\x22\\x0D\\x0A\""
        );
        assert_eq!(shown, expected);
    }

    /// Every octet of every field escaped.
    #[test]
    fn the_longest_line_is_within_its_bound() {
        let long = "\n".repeat(2 * limits::PATH_OCTETS_LOOSE);
        let path = Path::Mailbox(Mailbox { local_part: long.as_bytes(), domain: long.as_bytes() });
        let longest = Line {
            time_ms: u64::MAX,
            id: MessageId::from_bits(u128::MAX),
            listener: &long,
            sink: &long,
            size_bytes: u64::MAX,
            code: u16::MAX,
            delay_ms: u64::MAX,
            attempts: u32::MAX,
            ..line(path, path, &long)
        };
        let octets = longest.to_string().len() + 1;
        assert!(octets <= limits::DELIVERY_LOG_LINE_OCTETS, "{octets}");
        assert!(octets + 512 > limits::DELIVERY_LOG_LINE_OCTETS, "{octets}: the bound is not far");
    }

    /// A reader of the log that is as simple as can be: fields end at a space, but for the last one.
    fn read(line: &str) -> Vec<(&str, Vec<u8>)> {
        let (head, why) = line.split_once(" why=").expect("there is a reason");
        let mut fields: Vec<(&str, &str)> =
            head.split(' ').skip(1).map(|field| field.split_once('=').expect("a key and its value")).collect();
        fields.push(("why", why));
        fields.into_iter().map(|(key, value)| (key, unescape(value))).collect()
    }

    fn unescape(value: &str) -> Vec<u8> {
        let value = value.strip_prefix(['<', '"']).map_or(value, |value| &value[..value.len() - 1]);
        let mut octets = Vec::new();
        let mut parts = value.split(r"\x");
        octets.extend(parts.next().unwrap_or_default().bytes());
        for part in parts {
            octets.push(u8::from_str_radix(&part[..2], 16).expect("two digits"));
            octets.extend(part[2..].bytes());
        }
        octets
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let forged = b"x> size=1 result=delivered code=250 why=\"\" \"\n2026-11-21T11:20:00.123Z id=1 to=<a@b>\\x0A";
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            any::<String>().prop_map(|text| text.chars().take(15).collect::<String>().into_bytes()),
            (0..forged.len(), 0..forged.len()).prop_map(|(from, to)| forged[from.min(to)..from.max(to)].to_vec()),
        ]
    }

    proptest! {
        /// Whatever a client or a server says, it makes one line, with the fields that are there always, from which it is read
        /// back.
        #[test]
        fn no_line_can_be_forged(local in hostile(), domain in hostile(), sender in hostile(), why in hostile()) {
            let why = String::from_utf8_lossy(&why);
            let rcpt = Path::Mailbox(Mailbox { local_part: &local, domain: &domain });
            let shown = line(Path::Local(&sender), rcpt, &why).to_string();
            prop_assert_eq!(shown.lines().count(), 1);
            prop_assert!(!shown.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')), "{}", shown);
            prop_assert_eq!((shown.matches('"').count(), shown.ends_with('"')), (2, true));
            let fields = read(&shown);
            let keys: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
            prop_assert_eq!(keys, [
                "id", "listener", "sink", "from", "to", "size", "result", "code", "delay_ms", "attempts", "why",
            ]);
            let value = |key: &str| &fields.iter().find(|(name, _)| *name == key).unwrap().1;
            prop_assert_eq!(value("from"), &sender);
            prop_assert_eq!(value("to"), &[&local[..], b"@", &domain].concat());
            prop_assert_eq!(value("result"), b"deferred");
            prop_assert_eq!(value("code"), b"452");
            prop_assert_eq!(value("why"), why.as_bytes());
        }
    }
}
