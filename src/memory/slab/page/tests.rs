//! What lies in a page, and what cannot be done to it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::*;
use crate::limits::BLOCK_OCTETS;

fn text(leases: &Leases) -> Vec<u8> {
    leases.pieces().collect::<Vec<_>>().concat()
}

/// Whether it panics.
fn refuses<T>(what: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_err()
}

#[test]
fn a_page_is_lent_as_a_whole_with_what_was_known_later() {
    let mut slab = Slab::with_blocks_of(256, 2);
    assert_eq!((slab.room(), slab.written(), slab.block_number()), (0, 0, 0));
    slab.turn_page().unwrap();
    assert_eq!((slab.room(), slab.block_number()), (256, 1));
    let head = slab.reserve(8);
    let mut content = Leases::default();
    slab.put(&mut content, b"one ");
    slab.put(&mut content, b"two ");
    let length = slab.reserve(4);
    slab.put(&mut content, b"three");
    let whole = slab.put_whole(b"manifest");
    slab.put_within(b"");
    slab.put_within(b"etc");
    slab.pad(3);
    assert_eq!(slab.octets_from(0), b"\0\0\0\0\0\0\0\0one two \0\0\0\0threemanifestetc\0\0\0");
    slab.fill(length, b"LENG");
    slab.fill(head, b"HEADHEAD");
    let page = slab.lease_from(0);
    let expected = b"HEADHEADone two LENGthreemanifestetc\0\0\0";
    assert_eq!((page.octets(), slab.octets_from(16)), (&expected[..], &expected[16..]));
    assert_eq!((text(&content), whole.octets()), (b"one two three".to_vec(), &b"manifest"[..]));
    assert_eq!((slab.room(), slab.written()), (256 - 39, 39));
    // A second page in the same block, and one in the next.
    slab.put(&mut Leases::default(), b"second");
    assert_eq!(slab.lease_from(39).octets(), b"second");
    slab.turn_page().unwrap();
    assert_eq!((slab.block_number(), slab.written(), page.octets()), (2, 0, &expected[..]));
    assert!(slab.lease_from(0).octets().is_empty() && slab.put_whole(b"").octets().is_empty());
}

#[test]
fn what_others_may_read_is_never_written() {
    let mut slab = Slab::with_blocks_of(64, 4);
    let mut other = slab.sibling();
    assert!(refuses(|| slab.reserve(1)), "there is no block");
    assert!(refuses(|| slab.octets_from(0)));
    slab.turn_page().unwrap();
    other.turn_page().unwrap();
    // Another slab's, with the same numbers; another length; another block; and what was lent.
    let place = other.reserve(4);
    slab.reserve(4);
    assert!(refuses(|| slab.fill(place, b"abcd")));
    let place = slab.reserve(4);
    assert!(refuses(|| slab.fill(place, b"abc")));
    let place = slab.reserve(4);
    let lent = slab.lease_from(8);
    assert!(refuses(|| slab.fill(place, b"abcd")));
    assert_eq!(lent.octets(), [0; 4]);
    let place = slab.reserve(4);
    slab.fill(place, b"abcd");
    let place = slab.reserve(4);
    slab.turn_page().unwrap();
    slab.pad(64);
    assert!(refuses(|| slab.fill(place, b"abcd")));
    // There is no room.
    assert!(refuses(|| slab.pad(1)) && refuses(|| slab.reserve(1)));
    assert!(refuses(|| slab.put_whole(b"x")) && refuses(|| slab.put(&mut Leases::default(), b"x")));
    assert!(refuses(|| slab.octets_from(65)) && refuses(|| slab.lease_from(65)));
    slab.put(&mut Leases::default(), b"");
    assert_eq!(slab.octets_from(0), [0; 64]);
}

#[test]
fn memory_that_was_used_before_shows_nothing_of_it() {
    let mut slab = Slab::with_blocks_of(4096, 1);
    slab.turn_page().unwrap();
    let secret = slab.put_whole(&[0xEE; 4096]);
    assert_eq!((slab.turn_page(), slab.room()), (Err(SlabFull), 0), "somebody has the only block");
    drop(secret);
    slab.turn_page().unwrap();
    let head = slab.reserve(100);
    slab.put(&mut Leases::default(), b"x");
    slab.pad(3995);
    let page = slab.lease_from(0);
    assert_eq!(page.octets().iter().filter(|octet| **octet != 0).collect::<Vec<_>>(), [&b'x']);
    assert!(refuses(|| slab.fill(head, &[1; 100])));
    assert_eq!(slab.block_number(), 2, "one that was not to be had was not begun");
}

#[test]
fn siblings_count_together() {
    let mut slab = Slab::new(2);
    let mut other = slab.sibling();
    slab.turn_page().unwrap();
    other.turn_page().unwrap();
    assert_eq!((slab.octets(), other.octets()), (2 * BLOCK_OCTETS as u64, 2 * BLOCK_OCTETS as u64));
    assert_eq!(slab.sibling().append(&mut Leases::default(), b"x"), Err(SlabFull));
    let lease = other.put_whole(b"kept");
    drop(other);
    assert_eq!(slab.octets(), 2 * BLOCK_OCTETS as u64);
    drop((slab, lease));
}

proptest! {
    /// Whatever is put, reserved, filled, padded and lent in whatever order: a page is what a vector would have, and what was lent of
    /// it stays so.
    #[test]
    fn a_page_has_what_a_vector_would(steps in prop::collection::vec((0..6_u8, 0..90_usize, any::<bool>()), 1..80)) {
        const OCTETS: usize = 512;
        let mut slab = Slab::with_blocks_of(OCTETS, 64);
        slab.turn_page().unwrap();
        let mut copy = Vec::new();
        let mut open = Vec::new();
        let mut lent: Vec<(Lease, Vec<u8>)> = Vec::new();
        let (mut leases, mut put) = (Leases::default(), Vec::new());
        let mut from = 0;
        for (number, (what, octets, fills)) in steps.into_iter().enumerate() {
            let piece = vec![number as u8 + 1; octets];
            if octets > slab.room() {
                prop_assert_eq!(slab.room(), OCTETS - copy.len());
                slab.turn_page().unwrap();
                (copy, open, from) = (Vec::new(), Vec::new(), 0);
                continue;
            }
            let at = copy.len();
            match what {
                0 => {
                    slab.put(&mut leases, &piece);
                    put.extend_from_slice(&piece);
                    copy.extend_from_slice(&piece);
                }
                1 => {
                    lent.push((slab.put_whole(&piece), piece.clone()));
                    copy.extend_from_slice(&piece);
                }
                2 => {
                    open.push((slab.reserve(octets), at, piece));
                    copy.resize(at + octets, 0);
                }
                3 => {
                    slab.pad(octets);
                    copy.resize(at + octets, 0);
                }
                4 if fills && !open.is_empty() => {
                    let (place, at, piece) = open.swap_remove(octets % open.len());
                    slab.fill(place, &piece);
                    copy[at..at + piece.len()].copy_from_slice(&piece);
                }
                _ if open.is_empty() => {
                    lent.push((slab.lease_from(from), copy[from..].to_vec()));
                    from = at;
                }
                _ => {}
            }
            prop_assert_eq!(slab.octets_from(0), copy.as_slice());
            prop_assert_eq!(&text(&leases), &put);
            for (lease, copy) in &lent {
                prop_assert_eq!(lease.octets(), copy.as_slice());
            }
        }
    }
}
