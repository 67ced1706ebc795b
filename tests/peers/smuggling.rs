//! The smuggling sequences S1 to S20 of CONFORMANCE, over a real socket: one message, or a refusal and a close; never two.

use std::net::SocketAddr;

use crate::process::client::Client;
use crate::process::server::Server;
use crate::process::stats::Stats;

/// What follows a sequence (S19): the transaction that an attacker would smuggle, and the true end.
const SMUGGLED: &[u8] = b"MAIL FROM:<m@client.test>\r\nRCPT TO:<v@server.test>\r\nDATA\r\nsmuggled\r\n.\r\n";

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A line could be taken for the end of data elsewhere: 550 5.5.2 at the true end, and close.
    Refused,
    /// It is data like any other: 250.
    Taken,
}
use Fate::{Refused, Taken};

#[rustfmt::skip]
const SEQUENCES: [(&str, &[u8], Fate); 28] = [
    ("S1",            b"\n.\n",             Refused),
    ("S2",            b"\n.\r\n",           Refused),
    ("S3",            b"\r\n.\n",           Refused),
    ("S4",            b"\r.\r",             Refused),
    ("S5",            b"\r.\n",             Refused),
    ("S6",            b"\n.\r",             Refused),
    ("S7",            b"\r.\r\n",           Refused),
    ("S8",            b"\r\n.\rx",          Refused),
    ("S9",            b"\r\n\0.\r\n",       Refused),
    ("S10",           b"\r\n.\0\r\n",       Refused),
    ("S11",           b"\r\n.\r\r\n",       Refused),
    ("S12",           b"\r\r\n.\r\r\n",     Refused),
    ("S13 LF LF",     b"\n\n.\r\n",         Refused),
    ("S13 NUL LF",    b"\r\n\0.\n",         Refused),
    ("S13 NUL CR",    b"\r\n\0.\r",         Refused),
    ("S14 before",    b"\r\n .\r\n",        Taken),
    ("S14 behind",    b"\r\n. \r\n",        Taken),
    ("S14 TAB",       b"\r\n.\t\r\n",       Taken),
    ("S15",           b"\r\n..\r\n",        Taken),
    ("S16 VT",        b"\r\n.\x0b\r\n",     Taken),
    ("S16 FF",        b"\r\n.\x0c\r\n",     Taken),
    ("S16 NEL",       b"\r\n.\x85\r\n",     Taken),
    ("S16 U+2028",    b"\r\n.\xe2\x80\xa8\r\n", Taken),
    ("S17 dot",       b"\r\n\xae\r\n",      Taken),
    ("S17 CR",        b"\x8d\n.\r\n",       Refused),
    ("S17 all",       b"\x8d\x8a\xae\x8d\x8a", Taken),
    ("twice",         b"\r\n..\r\n..\r\n",  Taken),
    ("ends with dot", b"x.\r\nx.",          Taken),
];

/// Sends the octets in pieces, each a write of its own on a socket that does not gather them.
fn send_cut(client: &mut Client, octets: &[u8], cuts: &[usize]) {
    let mut rest = octets;
    for cut in cuts.iter().scan(0, |before, cut| Some(cut - std::mem::replace(before, *cut))) {
        let (piece, behind) = rest.split_at(cut);
        client.send(piece).expect("the server reads to the true end");
        // So that the server may well see the piece alone; the outcome must not depend on it.
        std::thread::yield_now();
        rest = behind;
    }
    client.send(rest).expect("the server reads to the true end");
}

/// One transaction with this mail data, in these pieces; returns what became of it.
#[track_caller]
fn transact(address: SocketAddr, name: &str, mail_data: &[u8], cuts: &[usize]) -> Fate {
    let mut client = Client::in_mail_data(address);
    send_cut(&mut client, mail_data, cuts);
    let reply = client.reply().unwrap_or_else(|error| panic!("{name} cut at {cuts:?}: {error}"));
    // Whatever else were answered would stand between this reply and the end.
    let (codes, fate) = if reply.code == 250 { ("250 2.0.0", Taken) } else { ("550 5.5.2", Refused) };
    assert!(reply.is(codes), "{name} cut at {cuts:?}: {reply:?}");
    if fate == Taken {
        client.say("QUIT\r\n", "221 2.0.0");
    }
    client.expect_end();
    fate
}

/// The server must have seen so many transactions, and taken so many of them.
#[track_caller]
fn expect_transactions(stats: &Stats, all: u64, taken: u64) {
    assert_eq!(stats.replies("MailOk"), all, "a second transaction was read out of a message");
    assert_eq!(stats.mail(), (taken, taken));
    assert_eq!(stats.replies("FalseEndOfData"), all - taken);
}

/// Cuts in and around the sequence, and one at each.
fn cuts_around(begin: usize, length: usize) -> Vec<Vec<usize>> {
    let mut cuts: Vec<Vec<usize>> = (begin..=begin + length + 1).map(|cut| vec![cut]).collect();
    cuts.push((begin..=begin + length + 1).collect());
    cuts.push(Vec::new());
    cuts
}

/// S1 to S17, each as S19 says, cut as S18 says.
#[test]
fn a_sequence_never_makes_two_transactions() {
    let server = Server::sink(&[]);
    let (mut all, mut taken) = (0, 0);
    for (name, sequence, fate) in SEQUENCES {
        for before in [&b"body"[..], b""] {
            let mail_data = [before, sequence, SMUGGLED].concat();
            for cuts in cuts_around(before.len(), sequence.len()) {
                assert_eq!(transact(server.address(), name, &mail_data, &cuts), fate, "{name} cut at {cuts:?}");
                all += 1;
                taken += u64::from(fate == Taken);
            }
        }
    }
    expect_transactions(&server.stop(), all, taken);
}

/// No configuration moves the end of data.
#[test]
fn nor_does_it_under_any_configuration() {
    let modes = ["normalize", "preserve", "reject"];
    let listeners = modes.map(|mode| {
        format!("[listener.{mode}]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\nbare_newline = \"{mode}\"\n")
    });
    let server = Server::serve(&listeners.concat(), modes.len());
    let (mut all, mut taken) = (0, 0);
    for mode in modes {
        for (name, sequence, fate) in SEQUENCES {
            let mail_data = [b"body", sequence, SMUGGLED].concat();
            let become_of_it = transact(server.address_of(mode), name, &mail_data, &[]);
            assert_eq!(become_of_it, fate, "{name}, {mode}");
            all += 1;
            taken += u64::from(fate == Taken);
        }
    }
    expect_transactions(&server.stop(), all, taken);
}

/// S18: the true end is found wherever it is cut, and what stands behind it is commands.
#[test]
fn the_true_end_is_found_however_it_is_cut() {
    let server = Server::sink(&[]);
    let mut all = 0;
    for mail_data in [&b"Subject: x\r\n\r\nhello\r\n.\r\n"[..], b".\r\n", b"\r\n.\r\n", b"..\r\n.\r\n"] {
        let each = (1..mail_data.len()).map(|cut| vec![cut]);
        for cuts in each.chain([Vec::new(), (1..mail_data.len()).collect()]) {
            assert_eq!(transact(server.address(), "S18", mail_data, &cuts), Taken);
            all += 1;
        }
    }
    expect_transactions(&server.stop(), all, all);
}

/// The last of S13: what is no end of data does not become one when the client closes.
#[test]
fn an_end_of_the_connection_is_no_end_of_data() {
    let server = Server::sink(&[]);
    for mail_data in [&b"body\r\n."[..], b"body\r\n.\r", b"body\n.\n", b"body\r\n.\n", b".", b"body\r.\r"] {
        let mut client = Client::in_mail_data(server.address());
        client.send(mail_data).unwrap();
        client.half_close();
        client.expect_end();
    }
    let stats = server.stop();
    assert_eq!((stats.replies("MailOk"), stats.mail()), (6, (0, 0)));
}

/// S20: in a chunk every octet is data, and the count alone is the end.
#[test]
fn in_a_chunk_every_octet_is_data() {
    let server = Server::sink(&[]);
    let (mut all, mut octets) = (0, 0);
    for (_, sequence, _) in SEQUENCES.iter().chain([&("the true end", &b"\r\n.\r\n"[..], Taken)]) {
        let content = [b"body", *sequence, SMUGGLED].concat();
        for cut in [0, 4, 4 + sequence.len(), content.len()] {
            let mut client = Client::ready(server.address());
            client.say("MAIL FROM:<s@client.test>\r\n", "250");
            client.say("RCPT TO:<r@server.test>\r\n", "250");
            // Cut between chunks, and within one.
            let (first, second) = content.split_at(cut);
            client.say([format!("BDAT {cut}\r\n").as_bytes(), first].concat(), "250");
            let last = format!("BDAT {} LAST\r\n", second.len());
            send_cut(&mut client, &[last.as_bytes(), second].concat(), &[last.len(), last.len() + second.len() / 2]);
            client.expect("250 2.0.0");
            client.quit();
            all += 1;
            octets += content.len() as u64;
        }
    }
    let stats = server.stop();
    expect_transactions(&stats, all, all);
    assert_eq!(stats.total("message_octets"), octets);
}
