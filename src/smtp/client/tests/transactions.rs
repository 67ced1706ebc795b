//! Transactions, in groups and one command at a time, and what becomes of them.

use super::*;
use crate::mail::envelope::{Body, Notify, Return};

const A_B: [&str; 2] = ["a@ok.test", "b@ok.test"];

#[test]
fn a_group_ends_with_data_and_content_follows_its_354() {
    let mut client = Client::smtp(&["PIPELINING"]);
    let draft = Draft::new(&A_B, Transfer::Data);
    let said = client.send(&draft, b"never yet");
    assert_eq!(said, "MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nRCPT TO:<b@ok.test>\r\nDATA\r\n");
    assert_eq!(client.session.awaits(), Some(Awaited::Mail));
    let heard = client.hear("250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n354 go\r\n");
    assert_eq!(heard, ["0 mail 250 2.1.0", "0 rcpt 0 250 2.1.5", "0 rcpt 1 550 5.1.1", "0 content 354"]);
    client.go_on(&draft, b".a\n");
    assert_eq!(client.said(), "..a\r\n.\r\n");
    assert_eq!(client.session.awaits(), Some(Awaited::EndOfData));
    assert_eq!(client.hear("250 2.0.0 mine\r\n"), ["0 end 250 2.0.0", "0 Accepted { recipients: 1 }"]);
    assert!(client.session.is_idle());
}

#[test]
fn without_pipelining_each_command_waits_for_its_reply() {
    let mut client = Client::smtp(&["CHUNKING"]);
    let draft = Draft::new(&A_B, Transfer::Chunks { octets: 5, chunk_octets: 3 });
    assert_eq!(client.send(&draft, b"hello"), "MAIL FROM:<s@x.test>\r\n");
    let mut content: &[u8] = b"hello";
    for (reply, then) in [
        ("250 a\r\n", "RCPT TO:<a@ok.test>\r\n"),
        ("250 b\r\n", "RCPT TO:<b@ok.test>\r\n"),
        ("451 c\r\n", "BDAT 3\r\nhel"),
        ("250 d\r\n", "BDAT 2 LAST\r\nlo"),
    ] {
        client.hear(reply);
        while client.transmit(&draft) == Transmit::Content {
            let piece = client.session.put(&mut content).unwrap();
            client.out.extend_from_slice(piece);
            if content.is_empty() {
                client.session.finish().unwrap();
            }
        }
        assert_eq!(client.said(), then);
        assert_eq!(client.begin(&draft), Err(Refusal::Busy));
    }
    assert_eq!(client.hear("250 e\r\n"), ["0 end 250", "0 Accepted { recipients: 1 }"]);
}

#[test]
fn chunked_transactions_go_out_whole_many_at_once() {
    let mut client = Client::ready(Terms { depth: 3, resets_between: false, ..smtp() }, &["PIPELINING", "CHUNKING"]);
    let draft = Draft::new(&["a@ok.test"], chunks(2));
    let one = "MAIL FROM:<s@x.test>\r\nRCPT TO:<a@ok.test>\r\nBDAT 2 LAST\r\nhi";
    for _ in 0..3 {
        assert_eq!(client.send(&draft, b"hi"), one);
    }
    assert_eq!((client.begin(&draft), client.session.in_flight()), (Err(Refusal::Busy), 3));
    client.session.quit(&mut client.out).unwrap();
    assert_eq!(client.begin(&draft), Err(Refusal::NotOpen));
    let heard = client.hear(&("250 a\r\n250 b\r\n250 c\r\n".repeat(3) + "221 bye\r\n"));
    let ended: Vec<_> = heard.iter().filter(|text| text.contains("Accepted")).collect();
    assert_eq!(ended, ["0 Accepted { recipients: 1 }", "1 Accepted { recipients: 1 }", "2 Accepted { recipients: 1 }"]);
    assert_eq!(heard.last().unwrap(), "quit 221");
}

/// Else the recipients of the second would join the first, which the server still has open.
#[test]
fn rset_parts_chunked_transactions_whose_replies_are_out() {
    let mut client = Client::ready(Terms { depth: 2, ..smtp() }, &["PIPELINING", "CHUNKING"]);
    let draft = Draft::new(&["a@ok.test"], chunks(2));
    client.send(&draft, b"hi");
    assert!(client.send(&draft, b"hi").starts_with("RSET\r\nMAIL"));
    let heard = client.hear("250 m\r\n550 5.1.1 r\r\n554 5.5.1 none\r\n250 rset\r\n250 m\r\n250 r\r\n250 e\r\n");
    let ended = ["0 refused at Recipients: 550 5.1.1", "1 Accepted { recipients: 1 }"];
    assert_eq!(heard.iter().filter(|text| ended.contains(&text.as_str())).count(), 2, "{heard:?}");
    assert!(client.send(&draft, b"hi").starts_with("MAIL"), "the last one has ended well");
}

#[test]
fn a_recipient_that_joins_a_refused_transaction_is_a_fault() {
    let mut client = Client::ready(Terms { depth: 2, resets_between: false, ..smtp() }, &["PIPELINING", "CHUNKING"]);
    let draft = Draft::new(&["a@ok.test"], chunks(2));
    client.send(&draft, b"hi");
    client.send(&draft, b"hi");
    let heard = client.hear("250 m\r\n550 r\r\n554 none\r\n503 nested\r\n250 joined\r\n250 taken\r\n");
    assert_eq!(heard[4..], ["1 mail 503", "fault AcceptedWithoutMail", "1 refused at Mail: 503"]);
}

/// RFC 2920 §3.1.
#[test]
fn data_for_nobody_that_is_accepted_gets_the_lone_dot() {
    for refused_at_mail in [false, true] {
        let mut client = Client::smtp(&["PIPELINING"]);
        let draft = Draft::new(&A_B, Transfer::Data);
        client.send(&draft, b"");
        let mail = if refused_at_mail { "550 5.7.1 m" } else { "250 m" };
        client.hear(&format!("{mail}\r\n550 5.1.1 a\r\n450 4.2.1 b\r\n354 go\r\n"));
        assert_eq!(client.transmit(&draft), Transmit::Idle);
        assert_eq!(client.said(), ".\r\n");
        let ended = if refused_at_mail { "0 refused at Mail: 550 5.7.1" } else { "0 refused at Recipients: 450 4.2.1" };
        assert_eq!(client.hear("250 taken for nobody\r\n"), ["0 end 250", ended]);
    }
}

#[test]
fn a_transaction_for_nobody_leaves_one_open_that_rset_ends() {
    let mut client = Client::smtp(&["PIPELINING"]);
    let draft = Draft::new(&["a@ok.test"], Transfer::Data);
    client.send(&draft, b"");
    client.hear("250 m\r\n550 a\r\n554 5.5.1 none\r\n");
    let again = client.send(&draft, b"");
    assert!(again.starts_with("RSET\r\nMAIL"), "{again}");
    assert_eq!(client.hear("250 rset\r\n552 too big\r\n503 x\r\n503 y\r\n").last().unwrap(), "1 refused at Mail: 552");
    assert!(client.send(&draft, b"").starts_with("MAIL"), "a refused MAIL leaves nothing open");
}

#[test]
fn one_command_at_a_time_stops_where_it_is_refused() {
    let mut client = Client::smtp(&[]);
    let draft = Draft::new(&A_B, Transfer::Data);
    client.send(&draft, b"");
    assert_eq!(client.hear("451 m\r\n"), ["0 mail 451", "0 refused at Mail: 451"]);
    assert_eq!((client.transmit(&draft), client.said().as_str()), (Transmit::Idle, ""));
    client.send(&draft, b"");
    for reply in ["250 m\r\n", "550 a\r\n"] {
        client.said();
        client.hear(reply);
        client.transmit(&draft);
    }
    client.said();
    assert_eq!(client.hear("550 b\r\n"), ["1 rcpt 1 550", "1 refused at Recipients: 550"]);
    assert_eq!((client.transmit(&draft), client.said().as_str()), (Transmit::Idle, ""), "no DATA for nobody");
    assert_eq!(client.send(&draft, b""), "RSET\r\n");
    assert_eq!(client.hear("250 rset\r\n"), [""; 0]);
    assert_eq!(client.transmit(&draft), Transmit::Wait);
    assert_eq!(client.said(), "MAIL FROM:<s@x.test>\r\n");
}

#[test]
fn all_or_nothing_announces_content_when_all_are_accepted() {
    for transfer in [Transfer::Data, chunks(2)] {
        let mut client = Client::smtp(&["PIPELINING", "CHUNKING"]);
        let draft = Draft { rule: Recipients::All, ..Draft::new(&A_B, transfer) };
        assert!(client.send(&draft, b"hi").ends_with("RCPT TO:<b@ok.test>\r\n"));
        client.hear("250 m\r\n250 a\r\n");
        assert_eq!(client.transmit(&draft), Transmit::Wait);
        assert_eq!(client.hear("550 b\r\n"), ["0 rcpt 1 550", "0 Abandoned"]);
        assert_eq!((client.transmit(&draft), client.said().as_str()), (Transmit::Idle, ""));
        assert!(client.send(&draft, b"hi").starts_with("RSET\r\nMAIL"));
        client.hear("250 r\r\n250 m\r\n250 a\r\n250 b\r\n");
        client.go_on(&draft, b"hi");
        assert!(client.said().starts_with(if transfer == Transfer::Data { "DATA\r\n" } else { "BDAT 2 LAST\r\nhi" }));
    }
}

#[test]
fn no_chunk_follows_one_that_was_refused() {
    let mut client = Client::smtp(&["PIPELINING", "CHUNKING"]);
    let draft = Draft::new(&["a@ok.test"], Transfer::Chunks { octets: 6, chunk_octets: 2 });
    client.begin(&draft).unwrap();
    assert_eq!(client.transmit(&draft), Transmit::Content);
    let mut content: &[u8] = b"abcdef";
    let piece = client.session.put(&mut content).unwrap();
    assert_eq!((piece, client.session.put(&mut content).unwrap()), (b"ab".as_slice(), b"".as_slice()));
    assert_eq!(client.transmit(&draft), Transmit::Content, "the second chunk does not wait");
    assert!(client.said().ends_with("BDAT 2\r\nBDAT 2\r\n"));
    client.hear("250 m\r\n250 a\r\n452 4.3.1 full\r\n");
    assert_eq!(client.session.put(&mut content).unwrap(), b"cd");
    assert_eq!(client.transmit(&draft), Transmit::Idle, "the third is not announced");
    assert_eq!(client.hear("452 4.3.1 full\r\n"), ["0 content 452 4.3.1", "0 refused at Content: 452 4.3.1"]);
    assert!(client.send(&Draft::new(&["a@ok.test"], chunks(0)), b"").starts_with("RSET\r\n"));
}

#[test]
fn lmtp_has_a_reply_for_each_accepted_recipient() {
    for (transfer, announcement) in [(Transfer::Data, "354 go\r\n"), (chunks(2), "")] {
        let mut client = Client::ready(Terms { depth: 2, ..lmtp() }, &["PIPELINING", "CHUNKING"]);
        let draft = Draft::new(&["a@ok.test", "b@ok.test", "c@ok.test"], transfer);
        client.send(&draft, b"hi");
        client.hear(&format!("250 m\r\n250 a\r\n550 b\r\n250 c\r\n{announcement}"));
        client.go_on(&draft, b"hi");
        assert_eq!(client.hear("250 2.1.5 a\r\n"), ["0 end for 0 250 2.1.5"]);
        assert_eq!(client.session.in_flight(), 1);
        assert_eq!(client.hear("452 4.2.2 c\r\n"), ["0 end for 2 452 4.2.2", "0 Accepted { recipients: 1 }"]);
    }
}

#[test]
fn lmtp_answers_a_last_chunk_for_nobody_once_and_never_says_354_for_nobody() {
    let mut client = Client::ready(lmtp(), &["PIPELINING", "CHUNKING"]);
    client.send(&Draft::new(&A_B, chunks(2)), b"hi");
    let heard = client.hear("250 m\r\n550 a\r\n550 b\r\n503 5.5.1 none\r\n");
    assert_eq!(heard[3..], ["0 end 503 5.5.1", "0 refused at Recipients: 550"]);
    client.send(&Draft::new(&A_B, Transfer::Data), b"hi");
    let heard = client.hear("250 rset\r\n250 m\r\n550 a\r\n550 b\r\n354 go\r\n");
    assert_eq!(heard[3], "fault Unexpected(Data, Code(354))");
}

#[test]
fn a_recipient_is_verified_without_a_message() {
    let mut client = Client::smtp(&["PIPELINING"]);
    let draft = Draft::new(&A_B, Transfer::None);
    assert!(client.send(&draft, b"").ends_with("RCPT TO:<b@ok.test>\r\n"));
    let heard = client.hear("250 m\r\n250 a\r\n550 5.1.1 b\r\n");
    assert_eq!(heard[1..], ["0 rcpt 0 250", "0 rcpt 1 550 5.1.1", "0 Verified { recipients: 1 }"]);
    client.session.reset(&mut client.out).unwrap();
    assert_eq!((client.said().as_str(), client.hear("250 x\r\n")), ("RSET\r\n", vec![]));
    client.session.reset(&mut client.out).unwrap();
    client.session.quit(&mut client.out).unwrap();
    assert_eq!(client.said(), "QUIT\r\n", "nothing is open any more");
}

#[test]
fn what_the_server_lacks_is_refused_before_anything_is_sent() {
    let data = Draft::new(&["a@ok.test"], Transfer::Data);
    let with = |parameters| Draft { parameters, ..data.clone() };
    let default = MailParameters::default;
    for (draft, keywords, refusal) in [
        (with(MailParameters { smtputf8: true, ..default() }), vec![], Refusal::Lacks(Extension::SmtpUtf8)),
        (with(MailParameters { body: Body::BinaryMime, ..default() }), vec![], Refusal::Lacks(Extension::BinaryMime)),
        (
            with(MailParameters { body: Body::BinaryMime, ..default() }),
            vec!["BINARYMIME", "CHUNKING"],
            Refusal::Lacks(Extension::Chunking),
        ),
        (
            with(MailParameters { requiretls: true, ..default() }),
            vec!["REQUIRETLS"],
            Refusal::Lacks(Extension::RequireTls),
        ),
        (with(MailParameters { size_bytes: Some(6), ..default() }), vec!["SIZE 5"], Refusal::TooBig(5)),
        (Draft::new(&["a@ok.test"], chunks(1)), vec![], Refusal::Lacks(Extension::Chunking)),
        (Draft::new(&[], Transfer::Data), vec![], Refusal::NoRecipients),
        (Draft::new(&["ä@ok.test"], Transfer::Data), vec![], Refusal::Lacks(Extension::SmtpUtf8)),
        (Draft::new(&["a@ok.test>\r\nRCPT TO:<b"], Transfer::Data), vec![], Refusal::Malformed),
        (Draft::new(&["a> X@ok.test"], Transfer::Data), vec![], Refusal::Malformed),
        (Draft::new(&["\"a\"b\"@ok.test"], Transfer::Data), vec![], Refusal::Malformed),
        (with(MailParameters { envid: Some(b"a b"), ..default() }), vec!["DSN"], Refusal::Malformed),
    ] {
        let mut client = Client::smtp(&keywords);
        assert_eq!(client.begin(&draft), Err(refusal), "{draft:?}");
        assert_eq!((client.said().as_str(), client.session.is_idle()), ("", true));
    }
}

#[test]
fn parameters_are_sent_where_they_are_offered_and_else_dropped_by_name() {
    let mut draft = Draft::new(&["\"a b\"@ok.test"], Transfer::Data);
    draft.parameters = MailParameters {
        size_bytes: Some(1234),
        body: Body::EightBitMime,
        ret: Some(Return::Headers),
        envid: Some(b"id"),
        auth: Some(b"<>"),
        ..MailParameters::default()
    };
    draft.recipients[0].parameters.notify = Some(Notify::Never);
    draft.recipients[0].parameters.orcpt = Some(b"rfc822;a@ok.test");
    let mut client = Client::smtp(&["PIPELINING", "SIZE", "8BITMIME", "DSN", "AUTH PLAIN"]);
    assert_eq!(client.begin(&draft).unwrap().dropped, Dropped::default());
    client.transmit(&draft);
    assert_eq!(
        client.said(),
        "MAIL FROM:<s@x.test> SIZE=1234 BODY=8BITMIME RET=HDRS ENVID=id AUTH=<>\r\n\
         RCPT TO:<\"a b\"@ok.test> NOTIFY=NEVER ORCPT=rfc822;a@ok.test\r\nDATA\r\n"
    );
    let mut client = Client::smtp(&["PIPELINING"]);
    assert_eq!(client.begin(&draft).unwrap().dropped, Dropped { body: true, dsn: true, auth: true });
    client.transmit(&draft);
    assert_eq!(client.said(), "MAIL FROM:<s@x.test>\r\nRCPT TO:<\"a b\"@ok.test>\r\nDATA\r\n");
}

#[test]
fn the_servers_limits_are_obeyed() {
    let mut client = Client::smtp(&["PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=2 RCPTDOMAINMAX=2"]);
    let draft = Draft::new(&["a@one.test", "b@ONE.test", "c@two.test"], Transfer::None);
    assert_eq!(client.begin(&draft).unwrap().recipients, 2);
    client.transmit(&draft);
    assert_eq!(client.hear("250 m\r\n250 a\r\n250 b\r\n").last().unwrap(), "0 Verified { recipients: 2 }");
    assert!(!client.said().contains("c@"));
    assert_eq!(client.begin(&Draft::new(&["c@two.test", "d@three.test"], Transfer::None)).unwrap().recipients, 1);
    client.transmit(&draft);
    client.hear("250 r\r\n250 m\r\n250 c\r\n");
    assert_eq!(client.begin(&draft), Err(Refusal::MailMax));
    let mut client = Client::smtp(&["LIMITS RCPTDOMAINMAX=1"]);
    client.send(&Draft::new(&["a@one.test"], Transfer::None), b"");
    client.hear("450 m\r\n");
    client.transmit(&draft);
    client.hear("");
    assert_eq!(client.begin(&Draft::new(&["c@two.test"], Transfer::None)), Err(Refusal::RcptDomainMax));
}

#[test]
fn what_the_end_of_a_session_leaves_undecided_is_known() {
    let terms = || Terms { depth: 4, resets_between: false, ..smtp() };
    let draft = Draft::new(&["a@ok.test"], chunks(2));
    // The first is answered, the second given out, of the third a part.
    for (text, second) in [
        ("", "1 Undecided"),
        ("250 m\r\n550 5.1.1 a\r\n", "1 refused at Recipients: 550 5.1.1"),
        ("250 m\r\n421 4.3.2 a\r\n", "1 refused at Recipients: 421 4.3.2"),
        ("250 m\r\n250 a\r\n421 4.3.2 e\r\n", "1 refused at EndOfData: 421 4.3.2"),
        ("250 m\r\nwhat?\r\n", "1 Undecided"),
    ] {
        let mut client = Client::ready(terms(), &["PIPELINING", "CHUNKING"]);
        client.send(&draft, b"hi");
        client.send(&draft, b"hi");
        client.begin(&draft).unwrap();
        assert_eq!(client.transmit(&draft), Transmit::Content);
        client.session.put(&mut b"h".as_slice()).unwrap();
        client.hear("250 m\r\n250 a\r\n250 e\r\n");
        let mut heard = client.hear(text);
        client.session.handle_end();
        heard.extend(client.hear("250 too late\r\n"));
        assert_eq!(heard[heard.len() - 2..], [second, "2 Lost"], "{text:?}");
        assert_eq!(client.session.in_flight(), 0);
    }
}

#[test]
fn a_session_that_ends_within_mail_data_has_lost_it_and_behind_it_is_undecided() {
    for (content, outcome) in [(None, "0 Lost"), (Some(b"x".as_slice()), "0 Undecided")] {
        let mut client = Client::smtp(&["PIPELINING"]);
        let draft = Draft::new(&["a@ok.test"], Transfer::Data);
        client.send(&draft, b"");
        client.hear("250 m\r\n250 a\r\n354 go\r\n");
        assert_eq!(client.transmit(&draft), Transmit::Content);
        assert_eq!(client.session.awaits(), Some(Awaited::Block));
        if let Some(mut content) = content {
            client.session.put(&mut content).unwrap();
            client.session.finish().unwrap();
        }
        client.session.handle_end();
        assert_eq!(client.hear(""), [outcome]);
    }
}

#[test]
fn lmtp_recipients_without_a_reply_are_undecided() {
    let mut client = Client::ready(lmtp(), &["PIPELINING", "CHUNKING"]);
    client.send(&Draft::new(&A_B, chunks(2)), b"hi");
    client.hear("250 m\r\n250 a\r\n250 b\r\n");
    assert_eq!(client.hear("250 a\r\n421 4.3.2 b\r\n")[1..], ["0 end for 1 421 4.3.2", "0 Accepted { recipients: 1 }"]);
    let mut client = Client::ready(lmtp(), &["PIPELINING", "CHUNKING"]);
    client.send(&Draft::new(&A_B, chunks(2)), b"hi");
    client.hear("250 m\r\n250 a\r\n250 b\r\n");
    assert_eq!(client.hear("421 4.3.2 a\r\n"), ["0 end for 0 421 4.3.2", "0 Undecided"]);
}

#[test]
fn content_that_cannot_be_ended_ends_the_session() {
    let open = |terms, draft: &Draft| {
        let mut client = Client::ready(terms, &["PIPELINING", "CHUNKING"]);
        client.send(draft, b"");
        client.hear("250 m\r\n250 a\r\n354 go\r\n");
        assert_eq!(client.transmit(draft), Transmit::Content);
        client
    };
    let draft = Draft::new(&["a@ok.test"], Transfer::Data);
    let mut client = open(Terms { bare_line_end: BareLineEnd::Refuse, ..smtp() }, &draft);
    assert_eq!(client.session.put(&mut b"a\nb".as_slice()), Err(ContentFault::BareLineEnd));
    assert_eq!((client.session.is_closed(), client.hear("")), (true, vec!["0 Abandoned".to_owned()]));
    assert_eq!(client.session.put(&mut b"a".as_slice()), Err(ContentFault::NotNow));
    let mut client = open(smtp(), &draft);
    assert!(!client.session.abandon());
    assert_eq!(client.hear(""), ["0 Abandoned"]);
    for (content, fault) in [("x", ContentFault::Short), ("xxx", ContentFault::Long)] {
        let mut client = Client::smtp(&["PIPELINING", "CHUNKING"]);
        client.begin(&Draft::new(&["a@ok.test"], chunks(2))).unwrap();
        assert_eq!(client.transmit(&draft_of_chunks()), Transmit::Content);
        let result = client.session.put(&mut content.as_bytes()).and_then(|_| client.session.finish());
        assert_eq!((result, client.hear("")), (Err(fault), vec!["0 Abandoned".to_owned()]));
    }
}

fn draft_of_chunks() -> Draft {
    Draft::new(&["a@ok.test"], chunks(2))
}

#[test]
fn a_transaction_can_be_given_up_before_its_content() {
    let mut client = Client::smtp(&["PIPELINING", "CHUNKING"]);
    client.begin(&draft_of_chunks()).unwrap();
    assert!(client.session.abandon());
    assert_eq!((client.hear(""), client.said().as_str()), (vec!["0 Abandoned".to_owned()], ""));
    let draft = Draft { rule: Recipients::All, ..draft_of_chunks() };
    client.send(&draft, b"");
    assert!(client.session.abandon());
    assert_eq!(client.hear("250 m\r\n250 a\r\n").last().unwrap(), "1 Abandoned");
    assert!(client.send(&draft, b"").starts_with("RSET\r\nMAIL"));
}

#[test]
fn an_answer_of_the_wrong_kind_is_a_fault() {
    for (text, fault) in [
        ("354 m\r\n", "fault Unexpected(Mail, Code(354))"),
        ("250 m\r\n334 a\r\n", "fault Unexpected(Rcpt, Code(334))"),
        ("250 m\r\n250 a\r\n250 d\r\n", "fault Unexpected(Data, Code(250))"),
        ("250 m\r\n250 a\r\n354 d\r\n250 e\r\n", "fault Unasked(Code(250))"),
    ] {
        let mut client = Client::smtp(&["PIPELINING"]);
        client.send(&Draft::new(&["a@ok.test"], Transfer::Data), b"");
        let heard = client.hear(text);
        assert_eq!(heard[heard.len() - 2..], [fault, "0 Lost"], "{text:?}");
    }
}

#[test]
fn a_chunk_can_be_refused_but_not_accepted_before_it_is_whole() {
    for (reply, last) in [("552 5.3.4 e\r\n", "0 end 552 5.3.4"), ("250 e\r\n", "0 Lost")] {
        let mut client = Client::smtp(&["PIPELINING", "CHUNKING"]);
        client.begin(&draft_of_chunks()).unwrap();
        assert_eq!(client.transmit(&draft_of_chunks()), Transmit::Content);
        let heard = client.hear(&format!("250 m\r\n250 a\r\n{reply}"));
        assert_eq!(heard.last().unwrap(), last);
        if last.contains("552") {
            client.session.put(&mut b"hi".as_slice()).unwrap();
            client.session.finish().unwrap();
            assert_eq!(client.hear(""), ["0 refused at EndOfData: 552 5.3.4"]);
        }
    }
}

/// 100,000 recipients are not rendered at once.
#[test]
fn a_large_envelope_is_written_piece_by_piece() {
    let draft = Draft::new(&["a@ok.test"; 10_000], Transfer::Data);
    let mut client = Client::smtp(&["PIPELINING"]);
    client.begin(&draft).unwrap();
    let (mut octets, mut pieces) = (0, 0);
    while client.transmit(&draft) == Transmit::More {
        assert!(client.out.len() < limits::CLIENT_GROUP_OCTETS + limits::COMMAND_LINE_OCTETS);
        octets += client.said().len();
        pieces += 1;
    }
    octets += client.said().len();
    assert_eq!((octets, pieces), ("MAIL FROM:<s@x.test>\r\nDATA\r\n".len() + 210_000, 3));
}
