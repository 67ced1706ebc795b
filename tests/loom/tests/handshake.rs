//! The handshake of a log and a ring: each message comes once and in order, by the one or the other.

mod common;

use std::sync::Arc;

use common::{Held, model};
use loom::cell::UnsafeCell;
use loom::thread;
use ringmx_loom::ring::ring;

/// The log: a place for each address, written when its message is committed.
struct Log(Vec<UnsafeCell<u64>>);

// SAFETY: a place is written before the watermark passes it, and read after that was seen; loom's cell checks just that.
unsafe impl Sync for Log {}

impl Log {
    fn write(&self, address: u64) {
        // SAFETY: nobody reads it yet.
        self.0[address as usize].with_mut(|place| unsafe { *place = address });
    }

    fn read(&self, address: u64) -> u64 {
        // SAFETY: nobody writes it any more.
        self.0[address as usize].with(|place| unsafe { *place })
    }
}

/// The first part of a message stands one address before its end.
fn first(address: u64) -> u64 {
    address - 1
}

macro_rules! handshake {
    ($name:ident, $variant:ident) => {
        /// So many messages, each a turn, or the first two one, through a ring for `room`, to a consumer that begins behind, or not.
        fn $name(messages: u64, room: usize, are_two_first: bool, is_near: bool) {
            use ringmx_loom::$variant::{Following, Handshake, Marks, Posting, Step};
            model(move || {
                let log = Arc::new(Log((0..=messages).map(|_| UnsafeCell::new(0)).collect()));
                let (shared, marks) = (Handshake::new(100), Arc::new(Marks::default()));
                let (pusher, taker) = ring::<(u64, u64)>(room);
                let (mut pusher, mut taker) = (Held::new(pusher), Held::new(taker));
                let mut following = Following::new(Arc::clone(&shared), Arc::clone(&marks), (1, 0), is_near);
                let mut posting = Posting::new(Arc::clone(&shared));
                marks.publish(1, 0);
                posting.pass(1, true);
                let commits = Arc::clone(&log);
                let shard = thread::spawn(move || {
                    for address in 1..=messages {
                        commits.write(address);
                        let has_room = pusher.free() > 0;
                        if let Some(live_from) = posting.admit(address, first(address), has_room) {
                            assert!(pusher.push((address, live_from)).is_ok());
                        }
                        if are_two_first && address == 1 {
                            continue;
                        }
                        pusher.publish();
                        marks.publish(address + 1, first(address + 1));
                        posting.pass(address + 1, pusher.free() > 0);
                    }
                });
                let (mut next, mut letter) = (1, None);
                while next <= messages {
                    let look = following.look();
                    letter = letter.or_else(|| taker.take());
                    match following.step(look, letter) {
                        Step::Letter => {
                            let (address, _) = letter.take().expect("it is there");
                            assert_eq!(address, next, "a message is skipped, or comes twice");
                            next += 1;
                            following.pass(address + 1, first(address));
                        }
                        Step::Read(upto) => {
                            while next < upto {
                                assert_eq!(log.read(next), next);
                                next += 1;
                            }
                            following.pass(upto, first(upto));
                        }
                        Step::Nothing => thread::yield_now(),
                    }
                    let (address, from) = following.reached();
                    assert_eq!(address, next, "a message is skipped, or comes twice");
                    assert!(from <= first(address), "what is needed is let go of");
                }
                shard.join().unwrap();
            });
        }
    };
}

handshake!(as_it_is, handshake);
handshake!(marks_unordered, marks_unordered);
handshake!(looks_unordered, looks_unordered);
handshake!(falls_behind_silently, falls_behind_silently);
handshake!(posts_without_a_beginning, posts_without_a_beginning);
handshake!(passes_what_came_since, passes_what_came_since);
handshake!(comes_back_over_a_gap, comes_back_over_a_gap);
handshake!(reads_what_is_posted, reads_what_is_posted);

#[test]
fn each_message_comes_once_to_who_keeps_up() {
    as_it_is(2, 2, false, true);
}

#[test]
fn each_message_comes_once_to_who_falls_behind_and_comes_back() {
    as_it_is(3, 1, false, true);
}

#[test]
fn each_message_comes_once_to_who_begins_behind() {
    as_it_is(2, 1, false, false);
}

#[test]
fn a_turn_of_two_is_not_cut_in_a_way_that_loses_one() {
    as_it_is(3, 1, true, true);
}

mod this_sees {
    //! The faults that a handshake can have, each found by the model that is for it.

    use super::*;

    #[test]
    #[should_panic = "Causality violation"]
    fn a_watermark_that_is_stored_without_order() {
        marks_unordered(2, 1, false, false);
    }

    #[test]
    #[should_panic = "Causality violation"]
    fn a_watermark_that_is_loaded_without_order() {
        looks_unordered(2, 1, false, false);
    }

    #[test]
    #[should_panic = "a message is skipped, or comes twice"]
    fn a_shard_that_says_nothing_when_it_leaves_one_out() {
        falls_behind_silently(3, 1, false, true);
    }

    #[test]
    #[should_panic = "a message is skipped, or comes twice"]
    fn letters_that_do_not_say_what_came_before() {
        posts_without_a_beginning(3, 1, false, false);
    }

    #[test]
    #[should_panic = "a message is skipped, or comes twice"]
    fn a_watermark_that_is_newer_than_the_look_at_the_ring() {
        passes_what_came_since(2, 2, false, true);
    }

    #[test]
    #[should_panic = "a message is skipped, or comes twice"]
    fn one_that_is_left_out_and_then_passed() {
        comes_back_over_a_gap(3, 1, true, false);
    }

    #[test]
    #[should_panic = "a message is skipped, or comes twice"]
    fn one_that_is_read_and_came_by_the_ring() {
        reads_what_is_posted(3, 2, false, false);
    }
}
