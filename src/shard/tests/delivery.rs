//! Messages come in, connections end, ciphers change nothing.

use super::*;

#[test]
fn a_client_delivers_and_goes() {
    let mut house = House::new();
    let client = house.greeted();
    assert_eq!(house.codes(client, MESSAGE), [250, 250, 354]);
    assert_eq!(house.codes(client, "hello\r\n.\r\nQUIT\r\n"), [250, 221]);
    assert!(house.network.sees_end(client));
    house.network.end(client);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
    assert_eq!(house.counters.message_octets.get(), 7);
    assert_eq!(house.shard.desk.histograms.end_to_reply.len(), 1);
    assert_eq!(house.shard.desk.histograms.mail_to_data.len(), 1);
    assert_eq!(house.shard.desk.histograms.accept_to_greeting.len(), 1);
}

#[test]
fn chunks_are_taken_pipelined_in_any_pieces() {
    let batch = format!("MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT 6000 LAST\r\n{}", "x".repeat(6000)).repeat(20);
    for most in [1_000_000, 4096, 1000, 7] {
        let mut house = House::new();
        house.network.set_receive_octets(most);
        let client = house.greeted();
        let mut replies = house.say(client, &batch);
        while codes(&replies).len() < 60 {
            replies += &house.hear(client);
        }
        assert_eq!(codes(&replies), [250; 60]);
        assert_eq!(house.counters.message_octets.get(), 120_000);
        assert_eq!(house.counters.octets_copied_content.get(), 0);
        house.network.end(client);
        house.is_clean(16);
    }
}

#[test]
fn a_close_is_orderly_whatever_is_behind_it() {
    let mut house = House::new();
    let client = house.greeted();
    house.network.send(client, b"QUIT\r\n");
    house.network.send(client, &vec![b'x'; 100_000]);
    assert_eq!(house.codes(client, ""), [221]);
    assert!(house.network.sees_end(client));
    assert_eq!(house.network.open_sockets(), 1, "it waits for the client's end");
    house.pass_ms(limits::LINGER_MS + 200);
    house.is_clean(16);

    let client = house.greeted();
    house.network.send(client, b"QUIT\r\n");
    house.turns();
    house.network.send(client, &vec![b'x'; limits::LINGER_OCTETS as usize + 100_000]);
    house.is_clean(16);
}

#[test]
fn a_half_closed_client_gets_its_reply() {
    let mut house = House::new();
    let client = house.greeted();
    assert_eq!(house.codes(client, MESSAGE), [250, 250, 354]);
    house.network.send(client, b"hello\r\n.\r\n");
    house.network.end(client);
    assert_eq!(house.codes(client, ""), [250]);
    house.is_clean(16);
    assert_eq!(house.counters.messages.get(), 1);
}

#[test]
fn a_client_that_goes_within_a_transaction_leaves_nothing() {
    let mut house = House::new();
    for reset in [false, true] {
        let client = house.greeted();
        house.codes(client, MESSAGE);
        house.network.send(client, b"half a message");
        house.turns();
        if reset {
            house.network.reset(client)
        } else {
            house.network.end(client)
        }
        house.is_clean(16);
    }
    assert_eq!(house.counters.messages.get(), 0);
    assert_eq!(house.counters.connections_lost_in_transaction.get(), 2);
}

/// The sum is that of the messages that were taken, of what they mean and not of how they were written, whoever came in between.
#[test]
fn content_is_summed_as_it_is_meant() {
    let sum =
        |contents: &[&str]| contents.iter().map(|content| u64::from(crc32c::crc32c(content.as_bytes()))).sum::<u64>();
    for most in [1_000_000, 3, 1] {
        let mut house = House::new();
        house.network.set_receive_octets(most);
        let (one, other) = (house.greeted(), house.greeted());
        assert_eq!(house.codes(one, MESSAGE), [250, 250, 354]);
        assert!(house.codes(one, "..one\r\n").is_empty());
        assert_eq!(house.codes(other, "MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT 4\r\ngone"), [250, 250, 250]);
        assert!(house.codes(one, "two\r\n").is_empty());
        assert_eq!(house.codes(other, "RSET\r\n"), [250]);
        assert_eq!(house.codes(one, "...\r\n.\r\n"), [250]);
        let chunks = "MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT 3\r\n.\r\nBDAT 0\r\nBDAT 2\r\nxyBDAT 0 LAST\r\n";
        assert_eq!(house.codes(other, chunks), [250; 6]);
        // One that breaks off within its content, in a slot that is used again.
        house.codes(other, MESSAGE);
        house.network.send(other, b"half");
        house.turns();
        house.network.reset(other);
        house.turns();
        let third = house.greeted();
        assert_eq!(house.codes(third, MESSAGE), [250, 250, 354]);
        assert_eq!(house.codes(third, ".\r\n"), [250]);
        assert_eq!(house.counters.content_checksums.get(), 3);
        assert_eq!(house.counters.content_checksum_sum.get(), sum(&[".one\r\ntwo\r\n..\r\n", ".\r\nxy", ""]));
    }
    let mut house = House::with(Scope { sums_content: false, ..scope(Arc::new(AcceptAll)) }, 100, 16, 4096);
    let client = house.greeted();
    house.codes(client, MESSAGE);
    assert_eq!(house.codes(client, "one\r\n.\r\n"), [250]);
    assert_eq!((house.counters.messages.get(), house.counters.content_checksums.get()), (1, 0));
}

/// A checksum waits with its message, and goes with one that is refused, late or at once.
#[test]
fn a_sum_is_of_what_was_taken() {
    let policy = Elsewhere::at(&[Point::EndOfData]);
    let mut house = House::with(scope(policy.clone()), 100, 16, 4096);
    let client = house.greeted();
    let messages: String = ["one", "two", "three"]
        .map(|text| format!("MAIL FROM:<>\r\nRCPT TO:<a@ok.test>\r\nBDAT {} LAST\r\n{text}", text.len()))
        .concat();
    house.codes(client, &messages);
    let mut asked = policy.take();
    let outcomes = [Outcome::Accept, Outcome::Refuse(Reply::Scripted451), Outcome::Accept];
    // An answer comes only when a message is asked about; how many are asked about at once is the session's affair.
    for outcome in outcomes {
        assert!(!asked.is_empty(), "the next message is asked about");
        assert!(house.counters.content_checksums.get() <= house.counters.messages.get());
        house.tell(Control::Outcome { ticket: asked.remove(0), outcome });
        asked.extend(policy.take());
    }
    let sum = u64::from(crc32c::crc32c(b"one")) + u64::from(crc32c::crc32c(b"three"));
    assert_eq!((house.counters.messages.get(), house.counters.content_checksums.get()), (2, 2));
    assert_eq!(house.counters.content_checksum_sum.get(), sum);
}

/// A cipher for tests: records of one length octet and so many octets, all of them turned by a key.
#[derive(Debug)]
struct Toy {
    record: Vec<u8>,
    plain: Vec<u8>,
}

const KEY: u8 = 0x5a;

impl Cipher for Toy {
    fn feed<'b, 'i: 'b>(&'b mut self, input: &mut &'i mut [u8]) -> Result<&'b [u8], CipherError> {
        self.plain.clear();
        while self.plain.is_empty() && !input.is_empty() {
            let (first, rest) = std::mem::take(input).split_at_mut(1);
            *input = rest;
            self.record.push(first[0] ^ KEY);
            if self.record[0] == 0 {
                return Err(CipherError);
            }
            if self.record.len() == usize::from(self.record[0]) + 1 {
                self.plain.extend(self.record.drain(..).skip(1));
            }
        }
        Ok(&self.plain)
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        for record in plain.chunks(100) {
            out.push(record.len() as u8 ^ KEY);
            out.extend(record.iter().map(|octet| octet ^ KEY));
        }
    }
}

#[test]
fn a_session_behind_a_cipher_is_the_same() {
    let mut house = House::new();
    let client = house.connect();
    house.network.read(client);
    let slot = (0..house.shard.table.end()).find(|slot| house.shard.table.at(*slot).is_open()).unwrap();
    house.shard.table.at(slot).transport = Transport::Tls(Box::new(Toy { record: Vec::new(), plain: Vec::new() }));
    let mut toy = Toy { record: Vec::new(), plain: Vec::new() };
    let mut say = |house: &mut House, text: &str| {
        let mut sealed = Vec::new();
        toy.seal(text.as_bytes(), &mut sealed);
        house.network.send(client, &sealed);
        house.turns();
        let mut replies = house.network.read(client);
        let mut rest = replies.as_mut_slice();
        let mut plain = String::new();
        while !rest.is_empty() {
            plain += std::str::from_utf8(toy.feed(&mut rest).unwrap()).unwrap();
        }
        codes(&plain)
    };
    house.network.set_receive_octets(13);
    let mut all = say(&mut house, &format!("EHLO c.test\r\n{MESSAGE}"));
    all.extend(say(&mut house, &format!("{}\r\n.\r\n", "z".repeat(300))));
    assert_eq!(all, [250, 250, 250, 354, 250]);
    assert_eq!(house.counters.message_octets.get(), 302);
    // What cannot be a record ends the connection.
    house.network.send(client, &[KEY]);
    house.turns();
    assert!(house.network.sees_end(client));
    house.network.end(client);
    house.is_clean(16);
}
