//! A log on a disk that fails, hangs or is full.

use super::*;

#[test]
fn a_block_that_fails_costs_its_messages_and_no_others() {
    for result in [Err(Errno::IO), Ok(ALIGNMENT as u32 - 1), Ok(0)] {
        let mut house = House::new(Chain::Durable, 4);
        let before = house.message(0, b"before");
        house.settle();
        assert_eq!(house.accepted(), [before]);
        let large = vec![b'x'; limits::GROUP_OCTETS];
        let fails = house.message(1, b"fails");
        house.turn();
        let behind = house.message(2, &large);
        house.turn();
        assert_eq!(house.under_way.len(), 2);
        let file = house.fail(0, result);
        assert_eq!(house.answers(), [(1, Err(Reply::DeliveryFailed))]);
        // What is behind it is durable soon, but not before it is known on disk that the other is void.
        house.complete(0);
        assert!(house.answers().is_empty());
        let after = house.message(3, b"after");
        house.turn();
        assert!(house.under_way.iter().all(|(_, write)| !matches!(*write.file, File::Numbered(this) if this == file)));
        house.complete(0);
        assert_eq!(house.accepted(), [behind]);
        house.settle();
        assert_eq!(house.accepted(), [after]);
        let (found, voids) = house.read();
        assert_eq!(found.iter().map(|found| found.id).collect::<Vec<_>>(), [before, behind, after]);
        assert!(!house.ids().contains(&fails));
        assert_eq!((voids.len(), house.log.counts().failures, house.log.counts().doubtful), (4, 1, 1));
        assert_eq!(house.log.refuses(), None);
    }
}

#[test]
fn a_message_of_which_a_part_is_lost_is_refused() {
    let mut house = House::new(Chain::Durable, 4);
    house.message(0, b"opens it");
    house.settle();
    house.answers();
    let large = vec![b'x'; limits::BLOCK_OCTETS];
    // One that ends in a later block, and one that is still coming, both with parts in the first.
    house.log.content(1, b"begin");
    house.log.content(2, b"begin");
    house.log.content(1, &large);
    house.log.content(1, &large);
    let ended = house.end(1).unwrap();
    house.turn();
    assert_eq!(house.under_way.len(), 2);
    house.fail(0, Err(Errno::IO));
    assert_eq!(house.answers(), [(1, Err(Reply::DeliveryFailed))]);
    assert_eq!(house.log.content(2, b"more"), 0);
    assert_eq!(house.end(2), Err(Reply::DeliveryFailed));
    let next = house.message(2, b"another");
    house.settle();
    assert_eq!(house.accepted(), [next]);
    let ids = house.ids();
    assert!(ids.contains(&next) && !ids.contains(&ended));
    assert_eq!(house.log.published().0, house.log.published().1);
}

#[test]
fn what_waits_for_the_disk_moves_to_another_segment() {
    let mut house = House::new(Chain::Durable, 6);
    house.message(0, b"opens it");
    house.settle();
    house.answers();
    let large = vec![b'x'; limits::BLOCK_OCTETS];
    // More than may be under way at once, one message over many blocks, others between.
    let mut ids = Vec::new();
    for slot in 0..8 {
        house.log.content(9, &large);
        ids.push(house.message(slot, format!("between {slot}").as_bytes()));
        house.turn();
    }
    let spanning = house.end(9).unwrap();
    assert_eq!(house.under_way.len(), limits::GROUPS_UNDER_WAY);
    // The last of them fails: all that is not under way goes elsewhere.
    house.fail(limits::GROUPS_UNDER_WAY - 1, Err(Errno::IO));
    house.settle();
    let answers = house.answers();
    let refused: Vec<_> = answers.iter().filter(|(_, said)| said.is_err()).map(|(slot, _)| *slot).collect();
    assert!(refused.contains(&9) && refused.len() < 4, "{answers:?}");
    let found = house.ids();
    for (slot, id) in ids.iter().enumerate() {
        assert_eq!(found.contains(id), !refused.contains(&(slot as u32)), "{slot}");
    }
    assert!(!found.contains(&spanning));
}

#[test]
fn what_memory_is_lacking_to_move_keeps_nothing_that_it_began_with() {
    for spare in 1..8 {
        let mut house = House::new(Chain::Durable, 6);
        house.message(0, b"opens it");
        house.settle();
        house.answers();
        let large = vec![b'x'; limits::BLOCK_OCTETS];
        for slot in 0..limits::GROUPS_UNDER_WAY as u32 {
            house.message(slot, &large);
            house.turn();
        }
        // One message over many blocks that wait, others between.
        for slot in 20..26 {
            house.log.content(9, &large);
            house.message(slot, b"between");
            house.turn();
        }
        house.end(9).unwrap();
        house.turn();
        let mut kept = Vec::new();
        while let Ok(lease) = house.slab.append_whole(&[0; limits::BLOCK_OCTETS]) {
            kept.push(lease);
        }
        kept.truncate(kept.len() - spare);
        house.fail(house.under_way.len() - 1, Err(Errno::IO));
        kept.clear();
        house.settle();
        let answers = house.answers();
        assert!(answers.iter().any(|(_, said)| *said == Err(Reply::NoMemory)) || spare > 5, "{spare}: {answers:?}");
        while house.log.take_committed().is_some() {}
        let (upto, low) = house.log.published();
        assert_eq!(low, upto, "{spare}: nothing is open");
    }
}

#[test]
fn a_second_failure_is_the_end_of_it() {
    let mut house = House::new(Chain::Durable, 4);
    let first = house.message(0, b"first");
    house.turn();
    assert_eq!(house.under_way.len(), 2);
    house.fail(0, Err(Errno::IO));
    // What opened the segment failed: what is in it might not be found.
    assert_eq!(house.answers(), [(0, Err(Reply::DeliveryFailed))]);
    assert_eq!(house.log.refuses(), None);
    let second = house.message(0, b"second");
    house.log.content(1, b"still coming");
    house.turn();
    house.complete(0);
    assert_eq!(house.supply.broken(), None);
    house.fail(0, Err(Errno::ROFS));
    assert_eq!(house.supply.broken(), Some(Broken::Failed), "for whoever tells the operator");
    assert_eq!(house.answers(), [(0, Err(Reply::DeliveryFailed))]);
    assert_eq!(house.log.refuses(), Some(Reply::SpoolFailed));
    assert_eq!(house.end(1), Err(Reply::DeliveryFailed));
    assert_eq!(house.log.content(2, b"no more"), 0);
    assert_eq!(house.end(2), Err(Reply::DeliveryFailed));
    house.turn();
    assert!(!house.ids().contains(&first) && !house.ids().contains(&second));
}

#[test]
fn what_fails_at_once_in_two_segments_is_one_fault() {
    let mut house = House::new(Chain::Durable, 8);
    let large = vec![b'x'; limits::GROUP_OCTETS];
    let segment = |house: &House, at: usize| {
        let File::Numbered(file) = *house.under_way[at].1.file else { panic!("no descriptors here") };
        file
    };
    // Until blocks of two segments are under way at once.
    for slot in 0.. {
        house.message(slot % 8, &large);
        house.turn();
        let last = house.under_way.len() - 1;
        if segment(&house, 0) != segment(&house, last) {
            break;
        }
        while house.under_way.len() > 1 {
            house.complete(0);
        }
    }
    let first = segment(&house, 0);
    let begun = house.under_way.len();
    for _ in 0..begun {
        house.fail(0, Err(Errno::IO));
    }
    assert_eq!(house.log.refuses(), None, "{begun} blocks of one flush");
    house.answers();
    let id = house.message(0, b"goes on");
    house.turn();
    assert!((0..house.under_way.len()).all(|at| segment(&house, at) > first + 1), "neither is written again");
    house.settle();
    assert_eq!(house.accepted(), [id]);
    assert!(house.ids().contains(&id));
}

#[test]
fn between_two_failures_a_segment_may_be_filled() {
    let mut house = House::new(Chain::Durable, 12);
    let large = vec![b'x'; limits::BLOCK_OCTETS / 2];
    for round in 0..3 {
        house.message(0, b"fails");
        house.turn();
        let last = house.under_way.len() - 1;
        house.fail(last, Err(Errno::IO));
        assert_eq!(house.answers().last(), Some(&(0, Err(Reply::DeliveryFailed))), "{round}");
        for _ in 0..20 {
            house.message(0, &large);
            house.settle();
        }
        assert_eq!(house.accepted().len(), 20);
        assert_eq!(house.log.refuses(), None);
    }
}

#[test]
fn without_room_for_a_segment_who_waits_is_told() {
    let mut house = House::new(Chain::Durable, 0);
    let id = house.message(0, b"waits");
    house.log.content(1, b"is coming");
    assert_eq!(house.turn(), 0);
    assert!(house.answers().is_empty(), "one may come");
    assert!(house.log.next_time_ms().is_some(), "it looks for one");
    house.supply.set_lack(Some(Lack::Full));
    assert_eq!(house.turn(), 0);
    assert_eq!(house.answers(), [(0, Err(Reply::InsufficientStorage))]);
    assert_eq!(house.log.refuses(), Some(Reply::InsufficientStorage));
    assert_eq!(house.end(1), Err(Reply::InsufficientStorage));
    // There is again.
    house.supply.set_lack(None);
    house.prepare();
    house.turn();
    assert_eq!(house.log.refuses(), None);
    let next = house.message(0, b"comes again");
    house.settle();
    assert_eq!(house.accepted(), [next]);
    assert!(house.ids() == [next] && id != next);
    let sequences: Vec<_> = house.read().1.into_iter().collect();
    assert_eq!(sequences, [97, 98, 99], "numbers that were never written are given again");
}

/// Nothing is heard of a segment that was asked for: who waits for it is refused, MAIL is, and all is well when it comes.
#[test]
fn while_a_segment_does_not_come_mail_is_refused_until_it_does() {
    let mut house = House::new(Chain::Durable, 1);
    let large = vec![b'x'; limits::BLOCK_OCTETS / 2];
    let mut taken = Vec::new();
    // Until one more segment is wanted than there is.
    while house.log.next_time_ms().is_none() {
        taken.push(house.message(0, &large));
        house.turn();
        (0..house.under_way.len()).for_each(|_| house.complete(0));
    }
    let waits = taken.pop().unwrap();
    assert_eq!(house.accepted(), taken);
    house.log.content(1, b"is coming");
    house.now_ms += limits::WRITE_HUNG_MS - 1;
    house.turn();
    assert_eq!((house.log.refuses(), house.answers().len()), (None, 0));
    house.now_ms += 1;
    assert!(house.log.next_time_ms().is_some(), "nothing else comes to its mind");
    house.turn();
    assert_eq!(house.answers(), [(0, Err(Reply::DeliveryFailed))]);
    assert_eq!((house.log.refuses(), house.supply.is_hung()), (Some(Reply::SpoolFailed), true));
    assert!(house.end(1).is_err());
    house.now_ms += 10 * limits::WRITE_HUNG_MS;
    assert_eq!((house.turn(), house.log.refuses()), (0, Some(Reply::SpoolFailed)));
    assert!(
        house.log.next_time_ms().is_some_and(|at| at <= house.now_ms + limits::SEGMENT_LOOK_MS),
        "it looks for one"
    );
    // There it is.
    house.prepare();
    house.turn();
    assert_eq!((house.log.refuses(), house.supply.is_hung(), house.log.next_time_ms()), (None, false, None));
    let next = house.message(0, b"comes again");
    house.settle();
    assert_eq!(house.accepted(), [next]);
    let ids = house.ids();
    assert!(ids.contains(&next) && !ids.contains(&waits) && taken.iter().all(|id| ids.contains(id)));
    assert_eq!(house.log.counts().failures, 0, "no write failed");
}

#[test]
fn without_memory_who_sends_nothing_is_told_like_others() {
    let mut house = House::new(Chain::Durable, 0);
    let large = vec![b'x'; limits::BLOCK_OCTETS];
    // No segment comes, so nothing is written and all is kept.
    while house.log.content(0, &large) == large.len() {}
    assert_eq!(house.end(0), Err(Reply::NoMemory));
    // Its slot is above all that have sent anything.
    assert_eq!(house.end(40), Err(Reply::NoMemory));
    assert_eq!(house.turn(), 0);
    assert!(house.answers().is_empty());
}

#[test]
fn who_is_within_the_reserve_may_end() {
    let mut house = House::new(Chain::Durable, 2);
    house.message(0, b"opens it");
    house.settle();
    house.answers();
    house.log.content(1, b"is coming");
    house.supply.set_lack(Some(Lack::Full));
    house.turn();
    assert_eq!(house.log.refuses(), Some(Reply::InsufficientStorage));
    let id = house.end(1).unwrap();
    house.settle();
    assert_eq!(house.accepted(), [id]);
}

#[test]
fn who_trickles_costs_nobody_else_the_room() {
    let mut house = House::new(Chain::Durable, 12);
    let large = vec![b'x'; limits::BLOCK_OCTETS];
    // Both are open from the beginning; one of them sends.
    house.log.content(1, b"trickles");
    house.log.content(2, &large);
    house.message(0, b"between");
    house.settle();
    let begun = house.log.published().1;
    for _ in 0..3 * SEGMENT as usize / large.len() {
        house.log.content(2, &large);
        house.message(0, b"between");
        house.settle();
    }
    assert_eq!(house.log.published().1, begun);
    // With room nobody is in a hurry.
    house.turn();
    assert_eq!(house.log.published().1, begun);
    house.supply.set_lack(Some(Lack::Full));
    house.turn();
    assert_eq!(house.end(1), Err(Reply::InsufficientStorage));
    house.answers();
    let id = house.end(2).unwrap();
    house.settle();
    assert_eq!(house.accepted(), [id], "it takes the room itself");
    while house.log.take_committed().is_some() {}
    let (upto, low) = house.log.published();
    assert_eq!(low, upto);
}

#[test]
fn a_write_of_which_nothing_is_heard_is_given_up() {
    let mut house = House::new(Chain::Durable, 4);
    house.message(0, b"opens it");
    house.settle();
    house.answers();
    house.message(0, b"hangs");
    house.turn();
    house.now_ms = limits::WRITE_HUNG_MS - 1;
    house.turn();
    assert!(house.answers().is_empty());
    house.now_ms = limits::WRITE_HUNG_MS;
    house.turn();
    assert_eq!(house.answers(), [(0, Err(Reply::DeliveryFailed))]);
    assert_eq!((house.log.counts().hung, house.log.refuses()), (1, None));
    // The next hangs, too.
    let opening = house.under_way.len() - 1;
    assert_eq!(opening, 1);
    house.now_ms *= 2;
    house.message(0, b"is not written");
    house.turn();
    assert_eq!(house.answers(), [(0, Err(Reply::DeliveryFailed))]);
    assert_eq!(house.log.refuses(), Some(Reply::SpoolFailed));
    assert_eq!(house.supply.broken(), Some(Broken::Hung));
    // The disk was only slow: once all is heard of, mail is taken again.
    while !house.under_way.is_empty() {
        assert_eq!(house.log.refuses(), Some(Reply::SpoolFailed));
        house.complete(0);
    }
    assert_eq!((house.log.refuses(), house.supply.broken(), house.answers()), (None, None, Vec::new()));
    let id = house.message(0, b"again");
    house.settle();
    assert_eq!(house.accepted(), [id]);
    assert_eq!(house.ids().len(), 2);
}
