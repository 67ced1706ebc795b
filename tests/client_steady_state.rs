//! A client's session in the steady state allocates nothing for a message, and copies no content: it is what a load of hundreds
//! of thousands of messages a second is made with.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::envelope::MailParameters;
use ringmx::smtp::client::{Event, Message, Outcome, Protocol, Recipients, Session, Terms, Transfer, Transmit};
use ringmx::smtp::command::{MailCommand, RcptCommand};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, octets) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: u32 = 32;
const CONTENT: &[u8] = b"Subject: x\r\n\r\nA line.\r\n.A line with a dot.\r\n";

/// Hears the replies, and returns how many messages were accepted.
fn hear(session: &mut Session, mut replies: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut accepted = 0;
    loop {
        match session.handle_input(&mut replies, out) {
            Event::Ended(ended) if ended.outcome == (Outcome::Accepted { recipients: 2 }) => accepted += 1,
            Event::Ended(ended) => panic!("{ended:?}"),
            Event::Fault(fault) => panic!("{fault}"),
            Event::NeedInput | Event::Closed => return accepted,
            _ => {}
        }
    }
}

/// Sends what can be sent; content stays where it is.
fn transmit(session: &mut Session, message: &Message<'_>, out: &mut Vec<u8>) {
    let within = CONTENT.as_ptr_range();
    while session.poll_transmit(message, out) == Transmit::Content {
        let mut content = CONTENT;
        loop {
            let piece = session.put(&mut content).unwrap();
            if piece.is_empty() {
                break;
            }
            assert!(within.start <= piece.as_ptr() && piece.as_ptr_range().end <= within.end, "a slice of the content");
        }
        session.finish().unwrap();
    }
}

#[test]
fn a_message_costs_no_allocation() {
    let terms = Terms { depth: DEPTH, resets_between: false, ..Terms::new(Protocol::Smtp, "c.test").unwrap() };
    let (mut session, mut out) = (Session::new(Arc::new(terms), false), Vec::new());
    hear(&mut session, b"220 x\r\n250-x\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250 CHUNKING\r\n", &mut out);
    let mailbox = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"bench.test".as_slice() });
    let rcpt = |name| RcptCommand { forward_path: mailbox(name), parameters: Default::default() };
    let recipients = [rcpt(b"a".as_slice()), rcpt(b"b".as_slice())];
    let octets = CONTENT.len() as u64;
    let parameters = MailParameters { size_bytes: Some(octets), ..MailParameters::default() };
    let mail = MailCommand { reverse_path: mailbox(b"s".as_slice()), parameters };
    let chunks = Transfer::Chunks { octets, chunk_octets: 1 << 20 };
    let message = |transfer| Message { mail, recipients: &recipients, transfer, rule: Recipients::Any };

    let replies = b"250 m\r\n250 a\r\n250 b\r\n250 2.0.0 e\r\n".repeat(DEPTH as usize);
    let (mut before, mut accepted) = (0, 0);
    for round in 0..200 {
        if round == 100 {
            before = ALLOCATIONS.get();
        }
        for _ in 0..DEPTH {
            session.begin(&message(chunks), &mut out).unwrap();
            transmit(&mut session, &message(chunks), &mut out);
        }
        // A cut within a reply is copied, into memory that is kept.
        let (one, other) = replies.split_at(101);
        accepted += hear(&mut session, one, &mut out) + hear(&mut session, other, &mut out);
        out.clear();
        session.begin(&message(Transfer::Data), &mut out).unwrap();
        transmit(&mut session, &message(Transfer::Data), &mut out);
        hear(&mut session, b"250 m\r\n250 a\r\n250 b\r\n354 go\r\n", &mut out);
        transmit(&mut session, &message(Transfer::Data), &mut out);
        accepted += hear(&mut session, b"250 2.0.0 e\r\n", &mut out);
        out.clear();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(accepted, 200 * u64::from(DEPTH + 1));
}
