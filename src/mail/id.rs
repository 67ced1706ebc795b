//! The name of a message: 128 bits, made once when the message is taken over, the same everywhere afterwards (DESIGN
//! decision 15).
//!
//! *Invariants*: each id has one text, and each text that is read back is the text of one id; texts of ids sort as the ids
//! do. So an id can be found again wherever it was written: in the 250 reply, in Received, in a log, as part of a file's
//! name, in JSON, as a `Nats-Msg-Id`.
//!
//! *Why this text*: 26 digits of base 32 in the alphabet of RFC 4648 §7, `0` to `9` and `a` to `v`. It is shorter than 32
//! of base 16, all digits are letters and figures (an atom of RFC 5322, no separator of a file name or of a NATS subject),
//! and nothing changes where letters lose their case, because there is one case only. Base 64 would be 22, with both cases
//! and separators. It is a number written with its highest digit first, not padded octets, so that the next id differs in
//! its last digit.
//!
//! *Does not* make node numbers, epochs or sequences unique: that is the data directory's matter.

use std::fmt;
use std::str::FromStr;

/// Names one message. Those of one shard grow with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    // Two words rather than one of 16 octets: what holds an id is then aligned, and moved, as other things are.
    high: u64,
    low: u64,
}

/// How many bits the sequence has; the highest 80 are node, epoch and shard.
const SEQUENCE_BITS: u32 = 48;

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const BITS_PER_DIGIT: u32 = 5;

impl MessageId {
    /// Octets of [`Self::text`]: 26 digits of 5 bits hold 130.
    pub const TEXT_OCTETS: usize = u128::BITS.div_ceil(BITS_PER_DIGIT) as usize;

    /// From the random number of the data directory, the count of starts on it, the shard, and the message's number there,
    /// of which 48 bits count.
    pub const fn new(node: u32, epoch: u32, shard: u16, sequence: u64) -> Self {
        let sequence = sequence & ((1 << SEQUENCE_BITS) - 1);
        Self { high: (node as u64) << 32 | epoch as u64, low: (shard as u64) << SEQUENCE_BITS | sequence }
    }

    /// The id that [`Self::bits`] was asked of. Every number is some id.
    pub const fn from_bits(bits: u128) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64 }
    }

    /// As a number, whose order is that of the ids.
    pub const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// The random number of the data directory.
    pub const fn node(self) -> u32 {
        (self.high >> 32) as u32
    }

    /// The count of starts on that data directory.
    pub const fn epoch(self) -> u32 {
        self.high as u32
    }

    /// The shard that took the message over.
    pub const fn shard(self) -> u16 {
        (self.low >> SEQUENCE_BITS) as u16
    }

    /// The message's number on that shard since that start, below 2^48.
    pub const fn sequence(self) -> u64 {
        self.low & ((1 << SEQUENCE_BITS) - 1)
    }

    /// The id as text: `0` to `9` and `a` to `v`, ordered as the ids are. [`FromStr`] reads it back.
    pub const fn text(self) -> [u8; Self::TEXT_OCTETS] {
        let mut text = [0; Self::TEXT_OCTETS];
        let mut bits = self.bits();
        let mut at = Self::TEXT_OCTETS;
        while at > 0 {
            at -= 1;
            text[at] = DIGITS[(bits % DIGITS.len() as u128) as usize];
            bits >>= BITS_PER_DIGIT;
        }
        text
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.text()).expect("digits are ASCII"))
    }
}

/// Why a text is no message id; who wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdError {
    /// It is too short or too long.
    #[error("a message id has {} characters, and this has {octets} octets", MessageId::TEXT_OCTETS)]
    Length {
        /// How many octets it has.
        octets: usize,
    },
    /// Something in it is no digit; capital letters are none.
    #[error("a message id is made of 0 to 9 and a to v, and octet {at} of this is {octet:#04x}")]
    Digit {
        /// Where, counted from 0.
        at: usize,
        /// What stands there.
        octet: u8,
    },
    /// It stands for a number of more than 128 bits.
    #[error("a message id begins with 0 to 7")]
    TooLarge,
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        if text.len() != Self::TEXT_OCTETS {
            return Err(MessageIdError::Length { octets: text.len() });
        }
        let mut bits = 0_u128;
        for (at, octet) in text.bytes().enumerate() {
            let digit = match octet {
                b'0'..=b'9' => octet - b'0',
                b'a'..=b'v' => octet - b'a' + 10,
                _ => return Err(MessageIdError::Digit { at, octet }),
            };
            if bits.leading_zeros() < BITS_PER_DIGIT {
                return Err(MessageIdError::TooLarge);
            }
            bits = bits << BITS_PER_DIGIT | u128::from(digit);
        }
        Ok(Self::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_a_number_of_base_32() {
        let id = MessageId::new(0, 0, 0, 31);
        assert_eq!(id.to_string(), "0000000000000000000000000v");
        assert_eq!(MessageId::from_bits(32).to_string(), "00000000000000000000000010");
        assert_eq!(MessageId::from_bits(u128::MAX).to_string(), "7vvvvvvvvvvvvvvvvvvvvvvvvv");
        // 2^96 is 2 × 32^19: one of the node's bits alone.
        assert_eq!(MessageId::new(1, 0, 0, 0).to_string(), "00000020000000000000000000");
        assert_eq!(format!("{id:>28}"), format!("  {id}"));
    }

    #[test]
    fn what_is_no_id_is_named() {
        let read = |text: &str| text.parse::<MessageId>();
        assert_eq!(read(""), Err(MessageIdError::Length { octets: 0 }));
        assert_eq!(read("000000000000000000000000000"), Err(MessageIdError::Length { octets: 27 }));
        assert_eq!(read("0000000000000000000000000V"), Err(MessageIdError::Digit { at: 25, octet: b'V' }));
        assert_eq!(read("w0000000000000000000000000"), Err(MessageIdError::Digit { at: 0, octet: b'w' }));
        assert_eq!(read("80000000000000000000000000"), Err(MessageIdError::TooLarge));
        assert_eq!(read("7vvvvvvvvvvvvvvvvvvvvvvvvv"), Ok(MessageId::from_bits(u128::MAX)));
        assert_eq!(
            MessageIdError::Digit { at: 3, octet: b'\n' }.to_string(),
            "a message id is made of 0 to 9 and a to v, and octet 3 of this is 0x0a"
        );
        assert_eq!(
            MessageIdError::Length { octets: 3 }.to_string(),
            "a message id has 26 characters, and this has 3 octets"
        );
    }

    proptest! {
        #[test]
        fn an_id_gives_back_what_it_was_made_of(node: u32, epoch: u32, shard: u16, sequence in 0..1_u64 << 48, above: u16) {
            let id = MessageId::new(node, epoch, shard, sequence | u64::from(above) << 48);
            prop_assert_eq!((id.node(), id.epoch(), id.shard(), id.sequence()), (node, epoch, shard, sequence));
            prop_assert_eq!(MessageId::from_bits(id.bits()), id);
        }

        #[test]
        fn a_text_is_read_back(bits: u128) {
            let id = MessageId::from_bits(bits);
            let text = id.to_string();
            prop_assert!(text.bytes().all(|octet| octet.is_ascii_digit() || octet.is_ascii_lowercase()));
            prop_assert_eq!(text.parse(), Ok(id));
            prop_assert_eq!(text.as_bytes(), id.text());
        }

        #[test]
        fn texts_sort_as_ids_do(one: u128, other: u128, near in 0..64_u128) {
            for other in [other, one.wrapping_add(near)] {
                let (one, other) = (MessageId::from_bits(one), MessageId::from_bits(other));
                prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
            }
        }

        /// A text that is one of an id, or would be but for one character, is taken only as that id's own.
        #[test]
        fn an_id_has_one_spelling(bits: u128, at in 0..MessageId::TEXT_OCTETS, character in "[ -~]") {
            let mut text = MessageId::from_bits(bits).to_string();
            text.replace_range(at..=at, &character);
            if let Ok(id) = text.parse::<MessageId>() {
                prop_assert_eq!(id.to_string(), text);
            } else {
                let digit = character.as_bytes()[0];
                prop_assert!(!DIGITS.contains(&digit) || (at == 0 && digit > b'7'));
            }
        }
    }
}
