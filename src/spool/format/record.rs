//! The records of a block: written piece by piece, read where they lie.

use super::{HEAD_OCTETS, HEADER_OCTETS, PAYLOAD_OCTETS, RECORD_ALIGNMENT, number};
use crate::limits;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Begins a segment.
    Segment = 1,
    /// A piece of content.
    Part = 2,
    /// The message is whole.
    End = 3,
    /// The message is void.
    Abort = 4,
    /// Blocks are void.
    Void = 5,
    /// How often, and until when, a message was deferred.
    Wait = 6,
    /// A piece of a manifest.
    Manifest = 7,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        use Kind::{Abort, End, Manifest, Part, Segment, Void, Wait};
        [Segment, Part, End, Abort, Void, Wait, Manifest].into_iter().find(|kind| *kind as u8 == code)
    }

    /// Whether it belongs to a message.
    pub const fn has_message(self) -> bool {
        !matches!(self, Self::Segment | Self::Void)
    }
}

/// The octets before a record's payload. Behind it go as many zeros as [`filling`] says.
///
/// # Panics
/// When no block has room for such a payload.
pub fn head(kind: Kind, octets: u32, message: u64) -> [u8; HEAD_OCTETS] {
    assert!(octets as usize <= PAYLOAD_OCTETS, "a record fits into a block");
    debug_assert!(kind.has_message() || message == 0, "it belongs to no message");
    let mut head = [0; HEAD_OCTETS];
    head[0] = kind as u8;
    head[4..8].copy_from_slice(&octets.to_le_bytes());
    head[8..16].copy_from_slice(&message.to_le_bytes());
    head
}

/// Zeros behind a payload of so many octets.
pub const fn filling(octets: usize) -> usize {
    octets.next_multiple_of(RECORD_ALIGNMENT) - octets
}

/// Octets that a record with such a payload takes of a block.
pub const fn record_octets(payload: usize) -> usize {
    HEAD_OCTETS + payload + filling(payload)
}

/// Appends a whole record, where it does not matter that the payload is copied.
///
/// # Panics
/// As [`head`].
pub fn put_record(kind: Kind, message: u64, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&head(kind, payload.len() as u32, message));
    out.extend_from_slice(payload);
    out.resize(out.len() + filling(payload.len()), 0);
}

/// A record, where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// See [`Kind::Segment`].
    Segment(Opening<'a>),
    /// See [`Kind::Part`].
    Part {
        /// Of this message.
        message: u64,
        /// As it came.
        content: &'a [u8],
    },
    /// See [`Kind::End`].
    End {
        /// Of this message.
        message: u64,
        /// What is known of it.
        end: End<'a>,
    },
    /// See [`Kind::Abort`].
    Abort {
        /// This message.
        message: u64,
    },
    /// See [`Kind::Void`].
    Void {
        /// The first sequence.
        from: u64,
        /// The last sequence, not less.
        to: u64,
    },
    /// See [`Kind::Wait`].
    Wait {
        /// Of this message.
        message: u64,
        /// How it waits.
        wait: Wait<'a>,
    },
    /// See [`Kind::Manifest`].
    Manifest {
        /// Of this message.
        message: u64,
        /// A piece of it.
        octets: &'a [u8],
    },
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// Octets of each segment of the log.
    pub segment_octets: u64,
    /// The address of its first octet.
    pub base: u64,
    /// No message that was open when it began had begun before this address.
    pub oldest: u64,
    /// The sinks of its mail.
    pub routes: Routes<'a>,
}

/// Names of sinks, in the order of their routes' index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routes<'a>(&'a [u8]);

impl<'a> Routes<'a> {
    /// Those names.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        let mut rest = self.0;
        std::iter::from_fn(move || route(&mut rest))
    }

    /// The name of this route.
    pub fn name(self, index: u16) -> Option<&'a str> {
        self.names().nth(usize::from(index))
    }

    /// All that the octets hold, if they hold so many names and nothing else.
    fn read(octets: &'a [u8], count: u16) -> Option<Self> {
        let mut rest = octets;
        for _ in 0..count {
            route(&mut rest)?;
        }
        rest.is_empty().then_some(Self(octets))
    }
}

fn route<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = *rest.split_off_first()?;
    str::from_utf8(rest.split_off(..usize::from(length))?).ok()
}

/// What an `End` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End<'a> {
    /// The address of the block with the message's first record, which may be this one.
    pub first: u64,
    /// The lowest `first` of all messages that were open when this one ended, itself included: who has not dealt with it needs the
    /// log from there on.
    pub retain: u64,
    /// Octets of content.
    pub content_octets: u64,
    /// Their CRC32C.
    pub content_crc: u32,
    /// How many `Part` and `Manifest` records the message has.
    pub parts: u32,
    /// [`crate::mail::manifest::Manifest`]; its last piece where there are `Manifest` records.
    pub manifest: &'a [u8],
}

impl End<'_> {
    /// Octets of its payload before the manifest.
    pub const FIXED_OCTETS: usize = 32;

    /// These.
    pub fn fixed(&self) -> [u8; End::FIXED_OCTETS] {
        let mut out = [0; End::FIXED_OCTETS];
        for (place, number) in out.chunks_exact_mut(8).zip([self.first, self.retain, self.content_octets]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        out[24..28].copy_from_slice(&self.content_crc.to_le_bytes());
        out[28..].copy_from_slice(&self.parts.to_le_bytes());
        out
    }
}

/// How a message waits to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait<'a> {
    /// One of the states that `spool::deferred` has.
    pub state: u8,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was deferred first, in ms since 1970.
    pub since_ms: u64,
    /// When it is tried next, in ms since 1970.
    pub next_ms: u64,
    /// Of the last reply; 0 if there was none.
    pub code: u16,
    /// The last reply's text, at most [`limits::SPOOL_REPLY_OCTETS`] of it.
    pub reply: &'a [u8],
}

/// Appends the payload of a [`Kind::Segment`].
///
/// # Panics
/// When there are more than 65,535 names, or one has more than 255 octets.
pub fn encode_segment<'n>(
    segment_octets: u64,
    base: u64,
    oldest: u64,
    routes: impl IntoIterator<Item = &'n str>,
    out: &mut Vec<u8>,
) {
    for number in [segment_octets, base, oldest] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let count_at = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut count = 0_u16;
    for name in routes {
        out.push(u8::try_from(name.len()).expect("a name has at most 255 octets"));
        out.extend_from_slice(name.as_bytes());
        count = count.checked_add(1).expect("a route's index has 16 bits");
    }
    out[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
}

/// Appends the payload of a [`Kind::End`].
pub fn encode_end(end: &End<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&end.fixed());
    out.extend_from_slice(end.manifest);
}

/// Appends the payload of a [`Kind::Void`]: blocks from the first sequence to the last, both included.
pub fn encode_void(from: u64, to: u64, out: &mut Vec<u8>) {
    debug_assert!(from <= to, "one block at least");
    out.extend_from_slice(&from.to_le_bytes());
    out.extend_from_slice(&to.to_le_bytes());
}

/// Appends the payload of a [`Kind::Wait`]; a reply that is too long is cut.
pub fn encode_wait(wait: &Wait<'_>, out: &mut Vec<u8>) {
    out.push(wait.state);
    out.extend_from_slice(&wait.attempts.to_le_bytes());
    out.extend_from_slice(&wait.since_ms.to_le_bytes());
    out.extend_from_slice(&wait.next_ms.to_le_bytes());
    out.extend_from_slice(&wait.code.to_le_bytes());
    out.extend_from_slice(&wait.reply[..wait.reply.len().min(limits::SPOOL_REPLY_OCTETS)]);
}

/// With its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Octets from the beginning of the block to that of the record.
    pub at: usize,
    /// What is there.
    pub record: T,
}

impl<T> Located<T> {
    /// Octets from the beginning of the block to that of the payload.
    pub fn payload_at(&self) -> usize {
        self.at + HEAD_OCTETS
    }
}

/// Octets of a block that are no record, though the block is as it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Of a kind that this version does not have.
    #[error("a record of kind {0}, which there is not")]
    Kind(u8),
    /// It ends too early, or says what cannot be.
    #[error("octets that are no record")]
    Malformed,
}

/// The records of a block.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { rest: body, at: HEADER_OCTETS }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Located<Record<'a>>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest.len();
        let record = read(&mut self.rest);
        let at = self.at;
        self.at += before - self.rest.len();
        if record.is_err() {
            // Where the next would begin is not known.
            self.rest = &[];
        }
        Some(record.map(|record| Located { at, record }))
    }
}

fn read<'a>(rest: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
    let head = rest.split_off(..HEAD_OCTETS).ok_or(RecordError::Malformed)?;
    let kind = Kind::of(head[0]).ok_or(RecordError::Kind(head[0]))?;
    read_kind(kind, head, rest).ok_or(RecordError::Malformed)
}

fn read_kind<'a>(kind: Kind, head: &[u8], rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let octets = u32::from_le_bytes(number(head, 4)?) as usize;
    let message = u64::from_le_bytes(number(head, 8)?);
    let payload = rest.split_off(..octets)?;
    let zeros = rest.split_off(..filling(octets))?;
    if head[1..4].iter().chain(zeros).any(|octet| *octet != 0) || !kind.has_message() && message != 0 {
        return None;
    }
    let u64_at = |at| number(payload, at).map(u64::from_le_bytes);
    let u32_at = |at| number(payload, at).map(u32::from_le_bytes);
    let u16_at = |at| number(payload, at).map(u16::from_le_bytes);
    Some(match kind {
        Kind::Part => Record::Part { message, content: payload },
        Kind::Manifest => Record::Manifest { message, octets: payload },
        Kind::Abort => payload.is_empty().then_some(Record::Abort { message })?,
        Kind::Segment => {
            let routes = Routes::read(payload.get(26..)?, u16_at(24)?)?;
            Record::Segment(Opening { segment_octets: u64_at(0)?, base: u64_at(8)?, oldest: u64_at(16)?, routes })
        }
        Kind::End => {
            let end = End {
                first: u64_at(0)?,
                retain: u64_at(8)?,
                content_octets: u64_at(16)?,
                content_crc: u32_at(24)?,
                parts: u32_at(28)?,
                manifest: payload.get(End::FIXED_OCTETS..)?,
            };
            Record::End { message, end }
        }
        Kind::Void => {
            let (from, to) = (u64_at(0)?, u64_at(8)?);
            (payload.len() == 16 && from <= to).then_some(Record::Void { from, to })?
        }
        Kind::Wait => {
            let wait = Wait {
                state: *payload.first()?,
                attempts: u32_at(1)?,
                since_ms: u64_at(5)?,
                next_ms: u64_at(13)?,
                code: u16_at(21)?,
                reply: payload.get(23..)?,
            };
            (wait.reply.len() <= limits::SPOOL_REPLY_OCTETS).then_some(Record::Wait { message, wait })?
        }
    })
}

impl Record<'_> {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Segment(_) => Kind::Segment,
            Self::Part { .. } => Kind::Part,
            Self::End { .. } => Kind::End,
            Self::Abort { .. } => Kind::Abort,
            Self::Void { .. } => Kind::Void,
            Self::Wait { .. } => Kind::Wait,
            Self::Manifest { .. } => Kind::Manifest,
        }
    }

    /// Whose it is; 0 where it belongs to no message.
    pub fn message(&self) -> u64 {
        match self {
            Self::Segment(_) | Self::Void { .. } => 0,
            Self::Part { message, .. }
            | Self::End { message, .. }
            | Self::Abort { message }
            | Self::Wait { message, .. }
            | Self::Manifest { message, .. } => *message,
        }
    }

    /// Appends it as [`Block::records`](super::Block::records) reads it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        match self {
            Self::Segment(opening) => {
                let Opening { segment_octets, base, oldest, routes } = *opening;
                encode_segment(segment_octets, base, oldest, routes.names(), &mut payload);
            }
            Self::Part { content: octets, .. } | Self::Manifest { octets, .. } => payload.extend_from_slice(octets),
            Self::End { end, .. } => encode_end(end, &mut payload),
            Self::Abort { .. } => {}
            Self::Void { from, to } => encode_void(*from, *to, &mut payload),
            Self::Wait { wait, .. } => encode_wait(wait, &mut payload),
        }
        put_record(self.kind(), self.message(), &payload, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record that owns what it says.
    #[derive(Clone, Debug)]
    enum Made {
        Segment(u64, u64, u64, Vec<String>),
        Part(u64, Vec<u8>),
        End(u64, [u64; 3], u32, u32, Vec<u8>),
        Abort(u64),
        Void(u64, u64),
        Wait(u64, (u8, u32, u64, u64, u16), Vec<u8>),
        Manifest(u64, Vec<u8>),
    }

    impl Made {
        fn encode(&self, out: &mut Vec<u8>) {
            let mut routes = Vec::new();
            self.with(&mut routes).encode(out);
        }

        fn with<'a>(&'a self, routes: &'a mut Vec<u8>) -> Record<'a> {
            match self {
                Self::Segment(segment_octets, base, oldest, names) => {
                    for name in names {
                        routes.push(name.len() as u8);
                        routes.extend_from_slice(name.as_bytes());
                    }
                    let (segment_octets, base, oldest) = (*segment_octets, *base, *oldest);
                    Record::Segment(Opening { segment_octets, base, oldest, routes: Routes(routes) })
                }
                Self::Part(message, content) => Record::Part { message: *message, content },
                Self::End(message, [first, retain, content_octets], content_crc, parts, manifest) => {
                    let (first, retain, content_octets) = (*first, *retain, *content_octets);
                    let (content_crc, parts) = (*content_crc, *parts);
                    let end = End { first, retain, content_octets, content_crc, parts, manifest };
                    Record::End { message: *message, end }
                }
                Self::Abort(message) => Record::Abort { message: *message },
                Self::Void(from, more) => Record::Void { from: *from, to: from.saturating_add(*more) },
                Self::Wait(message, (state, attempts, since_ms, next_ms, code), reply) => {
                    let (state, attempts, since_ms, next_ms, code) = (*state, *attempts, *since_ms, *next_ms, *code);
                    Record::Wait { message: *message, wait: Wait { state, attempts, since_ms, next_ms, code, reply } }
                }
                Self::Manifest(message, octets) => Record::Manifest { message: *message, octets },
            }
        }
    }

    fn any_octets() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..200)
    }

    fn any_record() -> impl Strategy<Value = Made> {
        prop_oneof![
            (any::<(u64, u64, u64)>(), prop::collection::vec("[a-zé]{0,20}", 0..5))
                .prop_map(|((octets, base, oldest), names)| Made::Segment(octets, base, oldest, names)),
            (any::<u64>(), any_octets()).prop_map(|(message, content)| Made::Part(message, content)),
            (any::<(u64, [u64; 3], u32, u32)>(), any_octets()).prop_map(
                |((message, numbers, crc, parts), manifest)| Made::End(message, numbers, crc, parts, manifest)
            ),
            any::<u64>().prop_map(Made::Abort),
            any::<(u64, u64)>().prop_map(|(from, more)| Made::Void(from, more)),
            (any::<u64>(), any::<(u8, u32, u64, u64, u16)>(), any_octets())
                .prop_map(|(message, numbers, reply)| Made::Wait(message, numbers, reply)),
            (any::<u64>(), any_octets()).prop_map(|(message, octets)| Made::Manifest(message, octets)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(made in prop::collection::vec(any_record(), 0..8), cut in any::<prop::sample::Index>()) {
            let mut body = Vec::new();
            let mut places = Vec::new();
            for record in &made {
                places.push(body.len() + HEADER_OCTETS);
                record.encode(&mut body);
                prop_assert!(body.len().is_multiple_of(RECORD_ALIGNMENT));
            }
            let mut read = 0;
            for (located, (record, place)) in Records::of(&body).zip(made.iter().zip(&places)) {
                let located = located.unwrap();
                prop_assert_eq!(located.at, *place);
                let mut routes = Vec::new();
                let expected = record.with(&mut routes);
                prop_assert_eq!(located.record, expected);
                prop_assert_eq!(located.record.kind().has_message(), !matches!(record, Made::Segment(..) | Made::Void(..)));
                if let (Record::Segment(opening), Made::Segment(.., names)) = (located.record, record) {
                    prop_assert!(opening.routes.names().eq(names.iter().map(String::as_str)));
                    prop_assert_eq!(opening.routes.name(1), names.get(1).map(String::as_str));
                }
                read += 1;
            }
            prop_assert_eq!(read, made.len());
            // What is cut off is missed, unless it was cut between two of them.
            let cut = if body.is_empty() { 0 } else { cut.index(body.len()) };
            let whole = Records::of(&body[..cut]).filter(Result::is_ok).count();
            let before = places.iter().filter(|place| **place - HEADER_OCTETS <= cut).count();
            let is_between = places.contains(&(cut + HEADER_OCTETS)) || cut == body.len();
            prop_assert_eq!(Records::of(&body[..cut]).any(|record| record.is_err()), !is_between);
            prop_assert_eq!(whole, if cut == body.len() { made.len() } else { before.saturating_sub(1) });
        }

        #[test]
        fn what_is_none_does_no_harm(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut behind = HEADER_OCTETS;
            for record in Records::of(&body) {
                let Ok(located) = record else { break };
                prop_assert!(located.at >= behind);
                behind = located.at + HEAD_OCTETS;
                prop_assert!(behind <= HEADER_OCTETS + body.len());
                // Whatever is taken for a record is what would be written for it.
                let mut again = Vec::new();
                located.record.encode(&mut again);
                prop_assert_eq!(&again[..], &body[located.at - HEADER_OCTETS..][..again.len()]);
            }
        }
    }

    fn only(body: &[u8]) -> Result<Record<'_>, RecordError> {
        Records::of(body).next().unwrap().map(|located| located.record)
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let record = |kind, message, payload: &[u8]| {
            let mut body = Vec::new();
            put_record(kind, message, payload, &mut body);
            body
        };
        let part = record(Kind::Part, 1, b"abc");
        assert_eq!(only(&part), Ok(Record::Part { message: 1, content: b"abc" }));
        let turned = |at: usize, octet| {
            let mut body = part.clone();
            body[at] = octet;
            body
        };
        assert_eq!(only(&turned(0, 0)), Err(RecordError::Kind(0)));
        assert_eq!(only(&turned(0, 8)), Err(RecordError::Kind(8)));
        // Reserved, the zeros behind the payload, a length beyond the end.
        for (at, octet) in [(1, 1), (3, 1), (19, 1), (23, 1), (4, 9), (7, 0xFF)] {
            assert_eq!(only(&turned(at, octet)), Err(RecordError::Malformed), "{at}");
        }
        let sixteen = |first: u64, second: u64| [first.to_le_bytes(), second.to_le_bytes()].concat();
        for (kind, payload) in [
            (Kind::Abort, vec![0]),
            (Kind::Void, vec![0; 15]),
            (Kind::Void, vec![0; 17]),
            (Kind::Void, sixteen(2, 1)),
            (Kind::End, vec![0; End::FIXED_OCTETS - 1]),
            (Kind::Wait, vec![0; 22]),
            (Kind::Wait, vec![0; 23 + limits::SPOOL_REPLY_OCTETS + 1]),
            (Kind::Segment, vec![0; 25]),
            // Fewer names than it says, more, a name beyond the end, one that is no UTF-8.
            (Kind::Segment, [&[0; 24][..], &[1, 0]].concat()),
            (Kind::Segment, [&[0; 24][..], &[0, 0, 0]].concat()),
            (Kind::Segment, [&[0; 24][..], &[1, 0, 2, b'a']].concat()),
            (Kind::Segment, [&[0; 24][..], &[1, 0, 1, 0xFF]].concat()),
        ] {
            assert_eq!(only(&record(kind, 0, &payload)), Err(RecordError::Malformed), "{kind:?} {payload:?}");
        }
        let mut void = record(Kind::Void, 0, &sixteen(1, 1));
        assert_eq!(only(&void), Ok(Record::Void { from: 1, to: 1 }));
        void[8] = 1;
        assert_eq!(only(&void), Err(RecordError::Malformed), "it belongs to no message");
        // Behind what is none nothing is read.
        let both = [turned(0, 9), part.clone()].concat();
        assert_eq!(Records::of(&both).collect::<Vec<_>>(), vec![Err(RecordError::Kind(9))]);
    }

    #[test]
    fn a_reply_that_is_too_long_is_cut() {
        let reply = vec![b'x'; limits::SPOOL_REPLY_OCTETS + 9];
        let wait = Wait { state: 1, attempts: 2, since_ms: 3, next_ms: 4, code: 451, reply: &reply };
        let mut body = Vec::new();
        Record::Wait { message: 5, wait }.encode(&mut body);
        let kept = Wait { reply: &reply[..limits::SPOOL_REPLY_OCTETS], ..wait };
        assert_eq!(only(&body), Ok(Record::Wait { message: 5, wait: kept }));
    }

    #[test]
    fn a_record_takes_what_it_says() {
        for payload in 0..40 {
            let mut body = Vec::new();
            put_record(Kind::Part, 1, &vec![1; payload], &mut body);
            assert_eq!(body.len(), record_octets(payload));
            assert_eq!(filling(payload), (8 - payload % 8) % 8);
        }
    }
}
