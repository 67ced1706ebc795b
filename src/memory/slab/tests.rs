//! Octets that are lent, and blocks that come back.

use std::collections::VecDeque;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

const BLOCK: u64 = BLOCK_OCTETS as u64;

fn text(leases: &Leases) -> Vec<u8> {
    leases.pieces().collect::<Vec<_>>().concat()
}

#[test]
fn pieces_that_follow_each_other_are_one() {
    let mut slab = Slab::new(2);
    let [mut one, mut other] = [Leases::default(), Leases::default()];
    slab.append(&mut one, b"ab").unwrap();
    slab.append(&mut one, b"cd").unwrap();
    slab.append(&mut other, b"xy").unwrap();
    slab.append(&mut one, b"ef").unwrap();
    assert_eq!(one.pieces().collect::<Vec<_>>(), [&b"abcd"[..], b"ef"]);
    assert_eq!((text(&one), text(&other)), (b"abcdef".to_vec(), b"xy".to_vec()));
    assert_eq!((one.len(), Leases::default().is_empty()), (6, true));
}

#[test]
fn blocks_are_bounded_and_come_back_with_their_last_lease() {
    let mut slab = Slab::new(3);
    let mut all: Vec<Leases> = (0..3).map(|_| Leases::default()).collect();
    for leases in &mut all {
        slab.append(leases, &vec![7; BLOCK_OCTETS]).unwrap();
    }
    assert_eq!(slab.octets(), 3 * BLOCK);
    assert_eq!(slab.append(&mut Leases::default(), b"x"), Err(SlabFull));
    let shared = all[0].share();
    all.remove(0);
    assert_eq!(slab.append(&mut Leases::default(), b"x"), Err(SlabFull), "somebody has the block still");
    drop(shared);
    assert_eq!(slab.octets(), 2 * BLOCK);
    slab.append(&mut all[0], b"x").unwrap();
    assert_eq!((text(&all[0]).len(), slab.octets()), (BLOCK_OCTETS + 1, 3 * BLOCK));
    drop(all);
    assert_eq!(slab.octets(), BLOCK, "the one that is being written");
    slab.trim(1);
    assert_eq!(slab.home.made.load(Ordering::Relaxed), 2);
    slab.trim(1);
    assert_eq!(slab.home.made.load(Ordering::Relaxed), 2, "one is kept");
}

#[test]
fn what_must_lie_in_one_piece_does() {
    let mut slab = Slab::new(4);
    let mut leases = Leases::default();
    slab.append(&mut leases, &[1; BLOCK_OCTETS - 10]).unwrap();
    let short = slab.append_whole(&[2; 11]).unwrap();
    slab.append(&mut leases, &[1; 5]).unwrap();
    assert_eq!((short.octets(), leases.pieces().count()), (&[2; 11][..], 2));
    assert!(slab.append_whole(b"").unwrap().octets().is_empty());
    let long = slab.append_whole(&[3; 2 * BLOCK_OCTETS]).unwrap();
    assert_eq!((long.octets(), slab.octets()), (&[3; 2 * BLOCK_OCTETS][..], 4 * BLOCK));
    assert!(slab.append_whole(&[4; BLOCK_OCTETS + 1]).is_err());
    drop(long);
    assert_eq!(slab.octets(), 2 * BLOCK);
    drop((short, leases));
    // The free block makes room for a long one.
    let longest = slab.append_whole(&[5; 3 * BLOCK_OCTETS]).unwrap();
    assert_eq!(slab.octets(), 4 * BLOCK);
    assert!(longest.octets().iter().all(|octet| *octet == 5));
}

/// One message of each block is kept, and the blocks are free all the same.
#[test]
fn what_is_kept_apart_keeps_no_block() {
    let mut slab = Slab::new(4);
    let page = limits::PAGE_OCTETS as u64;
    let mut kept = Vec::new();
    for number in 0..40_u8 {
        let whole = slab.append_whole(&[number; 100]).unwrap();
        let mut leases = Leases::default();
        slab.append(&mut leases, &[number; 3_000]).unwrap();
        slab.append(&mut Leases::default(), &[99; BLOCK_OCTETS - 3_100]).unwrap();
        kept.push(apart(&whole, &leases).unwrap());
    }
    assert_eq!(slab.octets(), BLOCK + 40 * page);
    for (number, (whole, leases)) in kept.iter().enumerate() {
        assert_eq!((whole.octets(), text(leases)), (&[number as u8; 100][..], vec![number as u8; 3_000]));
    }
    // It counts for the bound: three blocks are left, and a part of one.
    let long: Vec<_> = (0..2).map(|_| slab.append_whole(&[1; BLOCK_OCTETS + 1])).collect();
    assert!(long[0].is_ok() && long[1].is_err());
    let mut rest = Leases::default();
    while slab.append(&mut rest, &[7; 50_000]).is_ok() {}
    assert!(slab.octets() <= slab.octets_most() && apart(&kept[0].0, &rest).is_none());
    let empty = apart(&kept[0].0, &Leases::default()).map(|(whole, leases)| (whole.octets().len(), leases.len()));
    assert_eq!(empty, Some((100, 0)));
    drop((kept, long, rest));
    assert_eq!(slab.octets(), 0);
}

#[test]
fn leases_outlive_their_slab() {
    let mut slab = Slab::new(1);
    let mut leases = Leases::default();
    slab.append(&mut leases, b"here still").unwrap();
    let home = Arc::downgrade(&slab.home);
    drop(slab);
    assert_eq!(text(&leases), b"here still");
    drop(leases);
    assert!(home.upgrade().is_none(), "nothing is left");
}

/// What other threads read is what was written, while the owner goes on in the same blocks.
#[test]
fn octets_are_read_elsewhere_while_others_are_written() {
    let (sender, receiver) = mpsc::sync_channel::<(u8, Leases)>(16);
    let reader = std::thread::spawn(move || {
        let mut read = 0_u64;
        for (octet, leases) in receiver {
            assert!(leases.pieces().flatten().all(|this| *this == octet));
            read += leases.len();
        }
        read
    });
    let mut slab = Slab::new(4);
    let mut written = 0;
    for number in 0..3_000_u32 {
        let mut leases = Leases::default();
        let octets = vec![number as u8; (number as usize * 37) % 5_000 + 1];
        while slab.append(&mut leases, &octets).is_err() {
            leases = Leases::default();
            std::thread::yield_now();
        }
        written += octets.len() as u64;
        sender.send((number as u8, leases)).unwrap();
    }
    drop(sender);
    assert_eq!(reader.join().unwrap(), written);
    assert!(slab.octets() <= BLOCK);
}

proptest! {
    /// Any number of messages that grow in any order, and are forgotten in any order.
    #[test]
    fn what_was_put_in_comes_out(steps in prop::collection::vec((0..4_usize, 0..60_000_usize, any::<bool>()), 1..60)) {
        let mut slab = Slab::new(64);
        let mut open: Vec<(Leases, Vec<u8>)> = (0..4).map(|_| Default::default()).collect();
        let mut kept = VecDeque::new();
        for (step, (which, octets, ends)) in steps.into_iter().enumerate() {
            let piece = vec![step as u8; octets];
            let (leases, copy) = &mut open[which];
            slab.append(leases, &piece).unwrap();
            copy.extend_from_slice(&piece);
            if ends {
                kept.push_back(std::mem::take(&mut open[which]));
                if kept.len() > 3 {
                    kept.pop_front();
                }
            }
            for (leases, copy) in kept.iter().chain(&open) {
                prop_assert_eq!(leases.len(), copy.len() as u64);
                prop_assert!(leases.pieces().all(|piece| !piece.is_empty()));
                prop_assert_eq!(&text(leases), copy);
            }
        }
        drop((open, kept));
        prop_assert!(slab.octets() <= BLOCK);
    }
}
