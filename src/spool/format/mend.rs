//! Puts a block right of which one bit has turned.
//!
//! *Why it can be told which*: a CRC is linear, so what is wrong with it says which bit turned; and in as many octets as a block has no two
//! single bits say the same, nor do two together say what one does (the distance of CRC-32C is 4 below 2³¹ bits: P. Koopman, "32-Bit
//! Cyclic Redundancy Codes for Internet Applications", DSN 2002). Three bits may, and of a page of anything else one in 2,000 does: whoever
//! calls this knows that the block was whole once, and has more to hold it against.
//!
//! *Cost*: at most 512 checksums of the block and two million steps, about 20 ms.

use super::block::{ADDRESS_AT, BlockError, CHECKSUM_AT, CHECKSUM_END, MAGIC, open};
use super::{HEADER_OCTETS, number};
use crate::mail::checksum;

/// CRC-32C, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Turns the bit back with which these octets begin with a block that is as it was sealed, and says which it was, counted from the lowest
/// of the first octet; `None`: there is none, or the block is sealed.
pub fn mend(octets: &mut [u8]) -> Option<usize> {
    if is_sealed(octets) {
        return None;
    }
    let header = 0..8 * HEADER_OCTETS.min(octets.len());
    let bit = header.into_iter().find(|bit| is_sealed_with(octets, *bit)).or_else(|| in_body(octets))?;
    is_sealed_with(octets, bit).then(|| {
        turn(octets, bit);
        bit
    })
}

/// Whether these octets begin as a block does that was written to this address, but for a bit: what costs next to nothing to know.
pub fn may_begin_at(address: u64, octets: &[u8]) -> bool {
    let (Some(magic), Some(said)) = (number(octets, 0), number(octets, ADDRESS_AT)) else { return false };
    let wrong = [u64::from_le_bytes(magic) ^ u64::from_le_bytes(MAGIC), u64::from_le_bytes(said) ^ address];
    wrong.into_iter().map(u64::count_ones).sum::<u32>() <= 1
}

fn turn(octets: &mut [u8], bit: usize) {
    octets[bit / 8] ^= 1 << (bit % 8);
}

fn is_sealed(octets: &[u8]) -> bool {
    matches!(open(octets), Ok(_) | Err(BlockError::Version(_) | BlockError::Malformed))
}

fn is_sealed_with(octets: &mut [u8], bit: usize) -> bool {
    turn(octets, bit);
    let is_it = is_sealed(octets);
    turn(octets, bit);
    is_it
}

/// The bit behind the header that accounts for what is wrong with the checksum.
fn in_body(octets: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(number(octets, 48)?) as usize;
    let body = octets.get(HEADER_OCTETS..length)?;
    let mut header: [u8; HEADER_OCTETS] = number(octets, 0)?;
    let said = u32::from_le_bytes(number(&header, CHECKSUM_AT)?);
    header[CHECKSUM_AT..CHECKSUM_END].fill(0);
    let wrong = said ^ checksum::crc32c_append(checksum::crc32c(&header), body);
    // What the last bit does to the checksum, and each one before it.
    let effects = std::iter::successors(Some(POLYNOMIAL), |effect| {
        Some((effect >> 1) ^ if effect & 1 == 1 { POLYNOMIAL } else { 0 })
    });
    let behind = effects.take(8 * body.len()).position(|effect| effect == wrong)?;
    Some(8 * length - 1 - behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits;
    use crate::spool::format::{Chain, HEAD_OCTETS, Header, Kind, put_record};

    fn block(content: &[u8]) -> Vec<u8> {
        let (mut body, mut octets) = (Vec::new(), Vec::new());
        put_record(Kind::Part, 1, content, &mut body);
        let (chain, shard, node, epoch) = (Chain::Durable, 3, 7, 9);
        let header = Header { chain, shard, node, epoch, sequence: 100, address: 1 << 20, durable_upto: 98 };
        header.put(&body, &mut octets);
        octets
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn one_bit_is_put_right_and_two_are_not(
            content in prop::collection::vec(any::<u8>(), 0..3000),
            (one, other) in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let whole = block(&content);
            let sealed = HEADER_OCTETS + (HEAD_OCTETS + content.len()).next_multiple_of(8);
            let (one, other) = (one.index(8 * sealed), other.index(8 * sealed));
            let mut octets = whole.clone();
            prop_assert_eq!(mend(&mut octets), None);
            turn(&mut octets, one);
            prop_assert_eq!(mend(&mut octets), Some(one));
            prop_assert_eq!(&octets, &whole);
            if one != other {
                turn(&mut octets, one);
                turn(&mut octets, other);
                let broken = octets.clone();
                prop_assert_eq!(mend(&mut octets), None);
                prop_assert_eq!(octets, broken);
            }
        }

        #[test]
        fn what_is_no_block_stays_as_it_is(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut mended = octets.clone();
            prop_assert_eq!(mend(&mut mended), None);
            prop_assert_eq!(mended, octets);
        }
    }

    #[test]
    fn each_bit_of_a_header_and_some_of_the_longest_block() {
        let whole = block(&vec![0x5A; limits::BLOCK_OCTETS - HEADER_OCTETS - HEAD_OCTETS]);
        assert_eq!(whole.len(), limits::BLOCK_OCTETS);
        let bits = (0..8 * 100).step_by(37).chain([8 * 52, 8 * 48 + 12, 8 * whole.len() / 2, 8 * whole.len() - 1]);
        for bit in bits {
            let mut octets = whole.clone();
            turn(&mut octets, bit);
            assert!(may_begin_at(1 << 20, &octets), "{bit}");
            assert_eq!((mend(&mut octets), octets == whole), (Some(bit), true), "{bit}");
            // Where it is not at home it is somebody's content.
            assert!(!may_begin_at(0xFF << 20, &octets), "{bit}");
        }
    }
}
