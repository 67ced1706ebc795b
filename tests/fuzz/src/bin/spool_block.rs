//! A block of the spool: octets that nobody sealed are refused, or are sealed alike; records that nobody wrote are refused, or are
//! written alike. What is cut, or has a bit turned, is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmx::limits::BLOCK_OCTETS;
use ringmx::spool::format::{self, Chain, HEADER_OCTETS, Header, RECORD_ALIGNMENT};

fuzz_target!(|input: &[u8]| {
    if let Ok(block) = format::open(input) {
        assert_eq!(block.header.seal(block.body), input[..HEADER_OCTETS]);
        assert_eq!(block.body, &input[HEADER_OCTETS..block.length]);
    }
    // Chance finds no checksum: whatever comes is sealed, too.
    let octets = input.len().min(BLOCK_OCTETS - HEADER_OCTETS);
    let body = &input[..octets - octets % RECORD_ALIGNMENT];
    let header =
        Header { chain: Chain::Durable, shard: 1, node: 2, epoch: 3, sequence: 4, address: 8192, durable_upto: 4 };
    let mut sealed = Vec::new();
    header.put(body, &mut sealed);
    let block = format::open(&sealed).expect("it was sealed here");
    assert_eq!((block.header, block.body, block.span()), (header, body, sealed.len()));
    let mut written = Vec::new();
    for record in block.records() {
        let Ok(located) = record else { break };
        assert_eq!(located.at, HEADER_OCTETS + written.len());
        located.record.encode(&mut written);
    }
    assert_eq!(written, body[..written.len()]);
    let turned = body.iter().fold(0, |sum, octet| (sum * 31 + usize::from(*octet)) % (block.length * 8));
    sealed[turned / 8] ^= 1 << (turned % 8);
    assert!(format::open(&sealed).is_err());
    sealed[turned / 8] ^= 1 << (turned % 8);
    assert!(format::open(&sealed[..turned / 8]).is_err());
});
