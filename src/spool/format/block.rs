//! A block: its header, sealed and opened.

use super::record::Records;
use super::{ALIGNMENT, Chain, HEADER_OCTETS, RECORD_ALIGNMENT, number};
use crate::limits;
use crate::mail::checksum;

/// How every block begins.
pub(super) const MAGIC: [u8; 8] = *b"ringmxS1";
const VERSION: u16 = 1;

pub(super) const ADDRESS_AT: usize = 32;
pub(super) const CHECKSUM_AT: usize = 52;
pub(super) const CHECKSUM_END: usize = CHECKSUM_AT + 4;

/// What a block says of itself, beside its length and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What its log is for.
    pub chain: Chain,
    /// Whose log it is.
    pub shard: u16,
    /// The random number of the data directory.
    pub node: u32,
    /// The count of starts on that data directory.
    pub epoch: u32,
    /// The block's number in its log.
    pub sequence: u64,
    /// Its place in its log.
    pub address: u64,
    /// Every block with a lower sequence is on stable storage, or void.
    pub durable_upto: u64,
}

/// Why octets are no block that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// They do not begin as a block does.
    #[error("no block")]
    Magic,
    /// No block has such a length.
    #[error("a block of {0} octets, which none has")]
    Length(u32),
    /// They end before the block does.
    #[error("the end of a block is missing")]
    Cut,
    /// They are not what was sealed.
    #[error("a block whose checksum is wrong")]
    Checksum,
    /// A sound block, of another version of this program.
    #[error("a block of version {0}, and this program reads version {VERSION}")]
    Version(u16),
    /// A sound block that says what cannot be.
    #[error("a block that says what cannot be")]
    Malformed,
}

impl Header {
    /// The header's octets, for a block with these records: all that stands before the zeros at its end.
    ///
    /// # Panics
    /// When they have not the length of records, or do not fit into a block.
    pub fn seal(&self, body: &[u8]) -> [u8; HEADER_OCTETS] {
        let length = HEADER_OCTETS + body.len();
        assert!(body.len().is_multiple_of(RECORD_ALIGNMENT), "each record is filled up");
        assert!(length <= limits::BLOCK_OCTETS, "a block is no longer");
        assert!(self.address.is_multiple_of(ALIGNMENT as u64), "a block begins where one can");
        let mut octets = [0; HEADER_OCTETS];
        octets[..8].copy_from_slice(&MAGIC);
        octets[8..10].copy_from_slice(&VERSION.to_le_bytes());
        octets[10] = self.chain.code();
        octets[12..14].copy_from_slice(&self.shard.to_le_bytes());
        octets[16..20].copy_from_slice(&self.node.to_le_bytes());
        octets[20..24].copy_from_slice(&self.epoch.to_le_bytes());
        octets[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        octets[ADDRESS_AT..40].copy_from_slice(&self.address.to_le_bytes());
        octets[40..48].copy_from_slice(&self.durable_upto.to_le_bytes());
        octets[48..52].copy_from_slice(&(length as u32).to_le_bytes());
        let checksum = checksum::crc32c_append(checksum::crc32c(&octets), body);
        octets[CHECKSUM_AT..CHECKSUM_END].copy_from_slice(&checksum.to_le_bytes());
        octets
    }

    /// Appends a whole block with these records and the zeros at its end, where it does not matter that they are copied.
    ///
    /// # Panics
    /// As [`Self::seal`].
    pub fn put(&self, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seal(body));
        out.extend_from_slice(body);
        out.resize(out.len() + span(HEADER_OCTETS + body.len()) - HEADER_OCTETS - body.len(), 0);
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let reserved = [octets.get(11..12)?, octets.get(14..16)?, octets.get(56..64)?];
        let header = Self {
            chain: Chain::of_code(*octets.get(10)?)?,
            shard: u16::from_le_bytes(number(octets, 12)?),
            node: u32::from_le_bytes(number(octets, 16)?),
            epoch: u32::from_le_bytes(number(octets, 20)?),
            sequence: u64::from_le_bytes(number(octets, 24)?),
            address: u64::from_le_bytes(number(octets, ADDRESS_AT)?),
            durable_upto: u64::from_le_bytes(number(octets, 40)?),
        };
        let is_possible = reserved.into_iter().flatten().all(|octet| *octet == 0)
            && header.address.is_multiple_of(ALIGNMENT as u64)
            && header.address.checked_add(limits::BLOCK_OCTETS as u64).is_some()
            && header.durable_upto <= header.sequence;
        is_possible.then_some(header)
    }
}

/// Octets of a segment that a block of such a length takes.
pub const fn span(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

/// A block that is as it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it says of itself.
    pub header: Header,
    /// Octets of header and records.
    pub length: usize,
    /// The records.
    pub body: &'a [u8],
}

impl<'a> Block<'a> {
    /// Octets of the segment that it takes.
    pub fn span(&self) -> usize {
        span(self.length)
    }

    /// Its records in order, each with its place in the block. The first that is none is the last.
    pub fn records(&self) -> Records<'a> {
        Records::of(self.body)
    }
}

/// Opens the block that these octets begin with; what is behind it is not looked at.
pub fn open(octets: &[u8]) -> Result<Block<'_>, BlockError> {
    if number(octets, 0) != Some(MAGIC) {
        return Err(BlockError::Magic);
    }
    let header = octets.first_chunk::<HEADER_OCTETS>().ok_or(BlockError::Cut)?;
    let [.., length, checksum, _, _] = header.as_chunks::<4>().0 else { return Err(BlockError::Cut) };
    let (length, checksum) = (u32::from_le_bytes(*length), u32::from_le_bytes(*checksum));
    let whole = length as usize;
    if !(HEADER_OCTETS..=limits::BLOCK_OCTETS).contains(&whole) || !whole.is_multiple_of(RECORD_ALIGNMENT) {
        return Err(BlockError::Length(length));
    }
    let body = octets.get(HEADER_OCTETS..whole).ok_or(BlockError::Cut)?;
    let mut unsealed = *header;
    unsealed[CHECKSUM_AT..CHECKSUM_END].fill(0);
    if checksum::crc32c_append(checksum::crc32c(&unsealed), body) != checksum {
        return Err(BlockError::Checksum);
    }
    match u16::from_le_bytes([header[8], header[9]]) {
        VERSION => {}
        other => return Err(BlockError::Version(other)),
    }
    let header = Header::read(header).ok_or(BlockError::Malformed)?;
    Ok(Block { header, length: whole, body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spool::format::record::{Kind, put_record};
    use crate::spool::format::{HEAD_OCTETS, PAYLOAD_OCTETS, Record};

    fn header(sequence: u64) -> Header {
        let (chain, shard, node, epoch) = (Chain::Durable, 3, 0xDEAD_BEEF, 7);
        Header { chain, shard, node, epoch, sequence, address: 5 << 20, durable_upto: sequence / 2 }
    }

    fn sealed(header: &Header, body: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        header.put(body, &mut octets);
        octets
    }

    prop_compose! {
        fn any_header()(
            chain in 0..4_usize,
            (shard, node, epoch, sequence) in any::<(u16, u32, u32, u64)>(),
            address in 0..u64::MAX / ALIGNMENT as u64 - 64,
            durable_upto in any::<u64>(),
        ) -> Header {
            let durable_upto = durable_upto.min(sequence);
            Header { chain: Chain::ALL[chain], shard, node, epoch, sequence, address: address * 4096, durable_upto }
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(
            header in any_header(),
            mut body in prop::collection::vec(any::<u8>(), 0..9000),
            cut in any::<prop::sample::Index>(),
        ) {
            body.truncate(body.len() & !7);
            let octets = sealed(&header, &body);
            let length = HEADER_OCTETS + body.len();
            prop_assert!(octets.len().is_multiple_of(ALIGNMENT) && octets.len() < length + ALIGNMENT);
            prop_assert_eq!(open(&octets), Ok(Block { header, length, body: &body }));
            prop_assert_eq!(open(&octets).unwrap().span(), octets.len());
            prop_assert!(octets[length..].iter().all(|octet| *octet == 0));
            // What follows is not its matter.
            prop_assert!(open(&[&octets[..], b"more"].concat()).is_ok());
            let cut = cut.index(length);
            let refused = open(&octets[..cut]).unwrap_err();
            prop_assert_eq!(refused, if cut < 8 { BlockError::Magic } else { BlockError::Cut });
        }

        #[test]
        fn what_is_none_is_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(open(&octets), Err(BlockError::Magic));
            let mut begun = MAGIC.to_vec();
            begun.extend_from_slice(&octets);
            prop_assert!(open(&begun).is_err());
        }
    }

    #[test]
    fn every_bit_that_turns_is_seen() {
        let mut body = Vec::new();
        put_record(Kind::Part, 1, b"Subject: x\r\n\r\nText.\r\n", &mut body);
        put_record(Kind::Abort, 1, b"", &mut body);
        let whole = sealed(&header(9), &body);
        let length = HEADER_OCTETS + body.len();
        for bit in 0..length * 8 {
            let mut octets = whole.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&octets).is_err(), "bit {bit}");
        }
        // Behind the records nothing is kept, so nothing can be lost.
        let block = open(&whole).unwrap();
        for bit in length * 8..whole.len() * 8 {
            let mut octets = whole.clone();
            octets[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&octets), Ok(block), "bit {bit}");
        }
    }

    /// With a checksum that is right for whatever it says.
    fn resealed(at: usize, octets: &[u8]) -> Vec<u8> {
        let mut block = sealed(&header(9), &[]);
        block[at..at + octets.len()].copy_from_slice(octets);
        block[CHECKSUM_AT..CHECKSUM_END].fill(0);
        let checksum = crc32c::crc32c(&block[..HEADER_OCTETS]);
        block[CHECKSUM_AT..CHECKSUM_END].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    #[test]
    fn a_sound_block_that_cannot_be_is_told_from_a_broken_one() {
        assert!(open(&resealed(0, b"")).is_ok());
        assert_eq!(open(&resealed(8, &[2, 0])), Err(BlockError::Version(2)));
        for (at, octets) in [
            (10, &[0][..]),
            (10, &[5]),
            (11, &[1]),
            (14, &[1]),
            (15, &[1]),
            (32, &[1]),
            (32, &u64::MAX.to_le_bytes()),
            (32, &(u64::MAX - 4095).to_le_bytes()),
            (40, &10_u64.to_le_bytes()),
            (56, &[1]),
            (63, &[1]),
        ] {
            assert_eq!(open(&resealed(at, octets)), Err(BlockError::Malformed), "{at} {octets:?}");
        }
        // A version that turned is no version.
        let mut turned = sealed(&header(9), &[]);
        turned[8] ^= 2;
        assert_eq!(open(&turned), Err(BlockError::Checksum));
        for length in [0_u32, 63, 65, limits::BLOCK_OCTETS as u32 + 8, u32::MAX] {
            assert_eq!(open(&resealed(48, &length.to_le_bytes())), Err(BlockError::Length(length)));
        }
        assert_eq!(open(&resealed(48, &65_536_u32.to_le_bytes())), Err(BlockError::Cut));
        assert_eq!(open(&[0; ALIGNMENT]), Err(BlockError::Magic));
        assert_eq!(open(&[]), Err(BlockError::Magic));
    }

    #[test]
    fn the_largest_record_has_a_block_for_itself() {
        let mut body = Vec::new();
        let content = vec![7; PAYLOAD_OCTETS];
        put_record(Kind::Part, 5, &content, &mut body);
        let octets = sealed(&header(1), &body);
        assert_eq!(octets.len(), limits::BLOCK_OCTETS);
        let block = open(&octets).unwrap();
        let records: Vec<_> = block.records().map(Result::unwrap).collect();
        assert_eq!((records.len(), records[0].at), (1, HEADER_OCTETS));
        assert_eq!(records[0].record, Record::Part { message: 5, content: &content });
        assert_eq!(block.length, HEADER_OCTETS + HEAD_OCTETS + PAYLOAD_OCTETS);
    }

    /// The layout is a promise to every later version: these octets were written down when it was made.
    #[test]
    fn the_layout_is_what_it_was() {
        let mut body = Vec::new();
        put_record(Kind::Part, 0x0102_0304_0506_0708, b"abc", &mut body);
        let octets = sealed(&header(0x11), &body);
        let hex: String = octets[..88].iter().map(|octet| format!("{octet:02x}")).collect();
        let written_down = [
            "72696e676d785331",                 // Magic.
            "010001000300",                     // Version, chain, shard.
            "0000efbeadde07000000",             // Node, epoch.
            "1100000000000000",                 // Sequence.
            "0000500000000000",                 // Address.
            "0800000000000000",                 // What is durable.
            "58000000289ea16d0000000000000000", // Length, checksum.
            "02000000030000000807060504030201", // A head.
            "6162630000000000",
        ];
        assert_eq!(hex, written_down.concat());
    }
}
