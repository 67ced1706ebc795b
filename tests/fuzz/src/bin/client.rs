//! A client's session survives whatever a server sends: the same events, commands and content for every split of it, one end
//! for each transaction, and memory within its bounds.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use ringmx::limits;
use ringmx::mail::address::{Mailbox, Path};
use ringmx::smtp::client::{
    Credentials, Event, InTheClear, Message, Protocol, Recipients, Session, Terms, Transfer, Transmit,
};
use ringmx::smtp::command::{MailCommand, RcptCommand};
use ringmx_fuzz::{header, pieces};

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.\r\nA line.\r\n";
const MESSAGES: u32 = 4;

/// What happened, in words, and what the server got.
fn run(server: &[u8], how: u8, modes: u8) -> (Vec<String>, Vec<u8>) {
    let has = |bit: u8| modes >> bit & 1 == 1;
    let protocol = if has(0) { Protocol::Lmtp } else { Protocol::Smtp };
    let terms = Terms { depth: 1 + u32::from(modes >> 6), ..Terms::new(protocol, "c.test").expect("it is a name") };
    let mut session = Session::new(Arc::new(terms), has(1));
    let mailbox = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"x.test".as_slice() });
    let rcpt = |name| RcptCommand { forward_path: mailbox(name), parameters: Default::default() };
    let recipients = [rcpt(b"a".as_slice()), rcpt(b"b".as_slice())];
    let transfer = match (has(2), has(3)) {
        (false, _) => Transfer::Data,
        (true, false) => Transfer::Chunks { octets: CONTENT.len() as u64, chunk_octets: 1 << 20 },
        (true, true) => Transfer::Chunks { octets: CONTENT.len() as u64, chunk_octets: 7 },
    };
    let rule = if has(4) { Recipients::All } else { Recipients::Any };
    let mail = MailCommand { reverse_path: mailbox(b"s".as_slice()), parameters: Default::default() };
    let message = Message { mail, recipients: &recipients, transfer, rule };

    let (mut events, mut out, mut sent) = (Vec::new(), Vec::new(), Vec::new());
    let (mut begun, mut ended, mut content) = (0_u32, 0_u32, CONTENT);
    let mut is_set_up = false;
    for piece in pieces(server, how) {
        let mut input = piece;
        loop {
            let event = session.handle_input(&mut input, &mut out);
            match &event {
                Event::NeedInput | Event::Closed => break,
                Event::Ended(_) => ended += 1,
                _ => {}
            }
            events.push(format!("{event:?}"));
            // What the client does follows from the events alone, and not from where the octets were cut.
            if matches!(event, Event::StartTls) {
                session.handle_tls(&mut out);
            } else if session.is_idle() && !is_set_up && has(5) {
                is_set_up = true;
                let credentials = Credentials::Login { user: "u", password: "p" };
                let _ =
                    session.start_tls(&mut out).or_else(|_| session.auth(&credentials, InTheClear::Allow, &mut out));
            }
            drive(&mut session, &message, &mut begun, &mut content, &mut out, &mut events);
            assert!(out.len() <= 2 * limits::CLIENT_GROUP_OCTETS);
            sent.append(&mut out);
        }
        if session.is_closed() {
            break;
        }
    }
    session.handle_end();
    let mut none: &[u8] = b"";
    // BOUND: the ends of what was in flight.
    loop {
        match session.handle_input(&mut none, &mut out) {
            Event::Closed => break,
            Event::Ended(_) => ended += 1,
            Event::NeedInput => panic!("it has ended"),
            _ => {}
        }
    }
    assert_eq!(begun, ended, "each transaction has one end");
    (events, sent)
}

/// Sends what can be sent now.
fn drive(
    session: &mut Session,
    message: &Message<'_>,
    begun: &mut u32,
    content: &mut &'static [u8],
    out: &mut Vec<u8>,
    events: &mut Vec<String>,
) {
    // BOUND: each turn begins a message, or writes a part of one.
    for _ in 0..64 {
        match session.poll_transmit(message, out) {
            Transmit::Content => {
                while let Ok(piece @ [_, ..]) = session.put(content) {
                    out.extend_from_slice(piece);
                }
                if content.is_empty() {
                    let end = session.finish().map(<[u8]>::to_vec);
                    events.push(format!("{end:?}"));
                    out.extend_from_slice(&end.unwrap_or_default());
                }
            }
            Transmit::More => {}
            Transmit::Wait => return,
            Transmit::Idle => {
                if *begun == MESSAGES || session.check_room().is_err() || session.begin(message, out).is_err() {
                    return;
                }
                *begun += 1;
                *content = CONTENT;
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let ([how, modes], server) = header::<2>(input);
    let (cut, whole) = (run(server, how, modes), run(server, 0, modes));
    // What stands behind the reply to STARTTLS is TLS's or somebody else's, as it comes with the reply or later.
    let is_upgraded =
        |run: &(Vec<String>, Vec<u8>)| run.0.iter().any(|event| event == "StartTls" || event.contains("Injected"));
    if !is_upgraded(&cut) && !is_upgraded(&whole) {
        assert_eq!(cut, whole);
    }
});
