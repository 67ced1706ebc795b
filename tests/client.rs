//! The client's session and the engine over TCP: what the client says it sent is what the listener counted.

#[path = "common/host.rs"]
mod host;
#[path = "common/live.rs"]
mod live;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringmx::mail::address::{Mailbox, Path};
use ringmx::smtp::client::{Ended, Event, Message, Outcome, Protocol, Recipients, Session, Terms, Transfer, Transmit};
use ringmx::smtp::command::{MailCommand, RcptCommand};

const MESSAGES: usize = 500;
const CONTENT: &[u8] = b"Subject: x\r\n\r\nA line.\r\n.A line with a dot.\r\n..\r\nand more\r\n";

/// One connection: what stands in `out` goes to the server, what comes is given to the session.
struct Wire {
    stream: TcpStream,
    session: Session,
    out: Vec<u8>,
    ended: Vec<Ended>,
    /// Replies of recipients at the end of mail data, which LMTP has.
    recipient_replies: usize,
}

impl Wire {
    fn connect(address: SocketAddr, protocol: Protocol) -> Self {
        let stream = TcpStream::connect(address).expect("the engine accepts");
        stream.set_read_timeout(Some(live::PATIENCE)).expect("a socket has time-outs");
        stream.set_nodelay(true).expect("TCP has the option");
        let terms = Terms { depth: 16, ..Terms::new(protocol, "c.test").expect("it is a name") };
        let session = Session::new(Arc::new(terms), false);
        let mut wire = Self { stream, session, out: Vec::new(), ended: Vec::new(), recipient_replies: 0 };
        while wire.session.awaits().is_some() {
            wire.exchange();
        }
        wire
    }

    /// Sends what is to be sent, and hears what comes next.
    fn exchange(&mut self) {
        self.stream.write_all(&self.out).expect("the engine reads");
        self.out.clear();
        let mut buffer = [0; 16 * 1024];
        let octets = self.stream.read(&mut buffer).expect("the engine answers");
        if octets == 0 {
            self.session.handle_end();
        }
        let mut input = &buffer[..octets];
        loop {
            match self.session.handle_input(&mut input, &mut self.out) {
                Event::NeedInput | Event::Closed => return,
                Event::Fault(fault) => panic!("{fault}"),
                Event::Ended(ended) => self.ended.push(ended),
                Event::EndOfData { .. } => self.recipient_replies += 1,
                _ => {}
            }
        }
    }

    /// Writes what can be written of the message, of whose content this is left.
    fn transmit(&mut self, message: &Message<'_>, content: &mut &[u8]) -> Transmit {
        loop {
            match self.session.poll_transmit(message, &mut self.out) {
                Transmit::Content => {
                    loop {
                        let piece = self.session.put(content).expect("the content has whole lines");
                        if piece.is_empty() {
                            break;
                        }
                        self.out.extend_from_slice(piece);
                    }
                    if content.is_empty() {
                        self.out.extend_from_slice(self.session.finish().expect("it is complete"));
                    }
                }
                Transmit::More => {}
                other => return other,
            }
        }
    }

    fn send(&mut self, message: &Message<'_>) {
        while self.session.check_room().is_err() {
            self.exchange();
        }
        self.session.begin(message, &mut self.out).expect("there is room");
        let mut content = CONTENT;
        while self.transmit(message, &mut content) == Transmit::Wait {
            self.exchange();
        }
    }

    fn quit(mut self) -> (Vec<Ended>, usize) {
        while self.session.in_flight() > 0 {
            self.exchange();
        }
        self.session.quit(&mut self.out).expect("nothing is under way");
        while !self.session.is_closed() {
            self.exchange();
        }
        (self.ended, self.recipient_replies)
    }
}

fn accepted(ended: &[Ended], recipients: u32) -> usize {
    ended.iter().filter(|ended| ended.outcome == Outcome::Accepted { recipients }).count()
}

#[test]
fn what_the_client_sends_is_what_the_listener_counts() {
    let mut engine = live::start(
        r#"
        [server]
        hostname = "mx.test"
        shards = 1
        [listener.smtp]
        kind = "blackhole"
        bind = "127.0.0.1:0"
        [listener.lmtp]
        kind = "blackhole"
        protocol = "lmtp"
        bind = "127.0.0.1:0"
        "#,
    );
    let mailbox = |local_part| Path::Mailbox(Mailbox { local_part, domain: b"ok.test".as_slice() });
    let rcpt = |name| RcptCommand { forward_path: mailbox(name), parameters: Default::default() };
    let recipients = [rcpt(b"a".as_slice()), rcpt(b"b".as_slice()), rcpt(b"c".as_slice())];
    let mail = MailCommand { reverse_path: mailbox(b"s".as_slice()), parameters: Default::default() };
    let chunks = Transfer::Chunks { octets: CONTENT.len() as u64, chunk_octets: 20 };
    let whole = Transfer::Chunks { octets: CONTENT.len() as u64, chunk_octets: 1 << 20 };
    for (listener, protocol) in [("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)] {
        let mut wire = Wire::connect(live::address(&engine, listener), protocol);
        for number in 0..MESSAGES {
            let transfer = [Transfer::Data, whole, chunks][number % 3];
            let message = Message { mail, recipients: &recipients, transfer, rule: Recipients::Any };
            wire.send(&message);
        }
        let (ended, recipient_replies) = wire.quit();
        assert_eq!(accepted(&ended, 3), MESSAGES, "{listener}");
        let each = if protocol == Protocol::Lmtp { 3 * MESSAGES } else { 0 };
        assert!(recipient_replies >= each, "{listener}: {recipient_replies}");
    }
    engine.drain(Duration::ZERO);
    let report = engine.join();
    let count = |name: &str| report.totals.iter().find(|counter| counter.name == name).expect("it is counted").value;
    assert_eq!(count("messages"), 2 * MESSAGES as u64);
    assert_eq!(count("recipients"), 6 * MESSAGES as u64);
    assert_eq!(count("message_octets"), 2 * (MESSAGES * CONTENT.len()) as u64);
}
