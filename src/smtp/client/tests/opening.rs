//! From the greeting to the first transaction, and the commands that stand alone.

use super::*;

#[test]
fn a_session_opens_with_ehlo_or_lhlo() {
    for (terms, verb) in [(smtp(), "EHLO"), (lmtp(), "LHLO")] {
        let mut client = Client::new(terms);
        assert_eq!(client.session.awaits(), Some(Awaited::Greeting));
        assert_eq!(client.session.check_room(), Err(Refusal::NotOpen));
        assert_eq!(client.hear("220-mx.test\r\n220 hello\r\n"), ["greeting 220"]);
        assert_eq!(client.said(), format!("{verb} c.test\r\n"));
        assert_eq!(client.session.awaits(), Some(Awaited::Hello));
        assert_eq!(client.hear(&ehlo(&["SIZE 5"])), ["ready 250"]);
        assert_eq!(client.session.offer().size_bytes(), Some(5));
        assert_eq!((client.session.awaits(), client.session.check_room()), (None, Ok(())));
    }
}

#[test]
fn a_greeting_can_refuse_service() {
    for (text, event, is_over) in [
        ("421 4.3.2 later\r\n", "no service 421 4.3.2", true),
        ("450 later\r\n", "no service 450", false),
        ("521 no mail here\r\n", "no service 521", true),
        ("554 no\r\n", "no service 554", false),
    ] {
        let mut client = Client::new(smtp());
        assert_eq!(client.hear(text), [event]);
        assert_eq!(client.session.is_closed(), is_over, "{text}");
        assert_eq!(client.said(), "");
        assert_eq!(client.session.quit(&mut client.out).is_ok(), !is_over);
    }
    for (text, event) in [
        ("354 go\r\n", "fault Unexpected(Greeting, Code(354))"),
        ("SSH-2.0-x\r\n", "fault Reply(NotAReply)"),
        ("120 wait\r\n", "fault Reply(CodeOutOfRange(120))"),
    ] {
        let mut client = Client::new(smtp());
        assert_eq!(client.hear(text), [event]);
        assert!(client.session.is_closed());
    }
}

/// RFC 5321 §3.2, §4.3.2.
#[test]
fn helo_follows_where_ehlo_is_not_known_and_nowhere_else() {
    for (code, falls_back) in [(500, true), (502, true), (501, false), (504, false), (550, false), (451, false)] {
        let mut client = Client::new(smtp());
        client.hear("220 mx.test\r\n");
        client.said();
        let heard = client.hear(&format!("{code} 5.5.1 x\r\n"));
        if falls_back {
            assert_eq!((heard.len(), client.said().as_str()), (0, "HELO c.test\r\n"));
            assert_eq!(client.hear("250-mx.test\r\n250 PIPELINING\r\n"), ["ready 250"]);
            assert!(!client.session.offer().has(Extension::Pipelining), "HELO offers nothing");
        } else {
            assert!(heard[0].starts_with("hello refused"), "{heard:?}");
            assert_eq!(client.session.check_room(), Err(Refusal::NotOpen));
            client.session.quit(&mut client.out).unwrap();
            assert_eq!((client.said().as_str(), client.hear("221 x\r\n")), ("QUIT\r\n", vec!["quit 221".to_owned()]));
        }
    }
    let mut client = Client::new(lmtp());
    client.hear("220 mx.test\r\n");
    assert_eq!(client.hear("500 x\r\n"), ["hello refused 500"], "LMTP has nothing to fall back to");
}

#[test]
fn tls_forgets_all_that_was_learned() {
    let mut client = Client::smtp(&["STARTTLS", "CHUNKING", "AUTH PLAIN"]);
    client.session.start_tls(&mut client.out).unwrap();
    assert_eq!(client.said(), "STARTTLS\r\n");
    assert_eq!(client.hear("220 go\r\n"), ["handshake"]);
    assert_eq!((client.session.awaits(), client.session.is_secure()), (None, false));
    client.session.handle_tls(&mut client.out);
    assert!(client.session.is_secure() && !client.session.offer().has(Extension::Chunking));
    assert_eq!(client.said(), "EHLO c.test\r\n");
    assert_eq!(client.hear(&ehlo(&["STARTTLS"])), ["ready 250"]);
    assert_eq!(client.session.start_tls(&mut client.out), Err(CommandRefusal::NotNow));
    assert_eq!(client.said(), "");
    client.session.handle_tls(&mut client.out);
    assert_eq!(client.said(), "", "nobody asked for another handshake");
}

/// The class of CVE-2011-0411, seen from the client.
#[test]
fn octets_behind_the_reply_to_starttls_are_a_fault() {
    for text in ["220 go\r\n250 evil\r\n", "220 go\r\n2", "220 go\n\n"] {
        let mut client = Client::smtp(&["STARTTLS"]);
        client.session.start_tls(&mut client.out).unwrap();
        assert_eq!(client.hear(text), ["fault Injected"]);
    }
    let mut client = Client::smtp(&["STARTTLS"]);
    client.session.start_tls(&mut client.out).unwrap();
    client.hear("220 go\r\n");
    assert_eq!(client.hear("250 evil\r\n"), ["fault Injected"], "in a later piece");
    assert!(client.session.is_closed());
}

#[test]
fn starttls_can_be_refused_or_not_offered() {
    let mut client = Client::smtp(&["STARTTLS"]);
    client.session.start_tls(&mut client.out).unwrap();
    assert_eq!(client.hear("454 4.7.0 not now\r\n"), ["no tls 454 4.7.0"]);
    assert!(client.session.is_idle());
    assert_eq!(Client::smtp(&[]).session.start_tls(&mut Vec::new()), Err(CommandRefusal::NotOffered));
}

const PLAIN: Credentials<'_> = Credentials::Plain { authorization: "", user: "tim", password: "tanstaaftanstaaf" };

/// The example of RFC 4616 §4.
#[test]
fn plain_is_said_at_once() {
    let mut client = Client::smtp(&["AUTH PLAIN LOGIN"]);
    let Client { session, out, .. } = &mut client;
    assert_eq!(session.auth(&PLAIN, InTheClear::Refuse, out), Err(CommandRefusal::InTheClear));
    session.auth(&PLAIN, InTheClear::Allow, out).unwrap();
    assert_eq!(client.said(), "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n");
    assert_eq!(client.session.awaits(), Some(Awaited::Auth));
    assert_eq!(client.hear("235 2.7.0 ok\r\n"), ["authenticated 235 2.7.0"]);
    let again = client.session.auth(&PLAIN, InTheClear::Allow, &mut client.out);
    assert_eq!(again, Err(CommandRefusal::NotNow));
}

#[test]
fn a_long_response_waits_for_its_challenge() {
    let mut client = Client::smtp(&["AUTH PLAIN"]);
    let password = "x".repeat(400);
    let long = Credentials::Plain { authorization: "", user: "u", password: &password };
    client.session.auth(&long, InTheClear::Allow, &mut client.out).unwrap();
    assert_eq!(client.said(), "AUTH PLAIN\r\n");
    assert!(client.hear("334 \r\n").is_empty());
    assert!(client.said().starts_with("AHUAeHh4"));
    assert_eq!(client.hear("535 5.7.8 no\r\n"), ["auth refused 535 5.7.8"]);
    assert!(client.session.is_idle());
}

#[test]
fn login_is_answered_word_for_word_and_no_further() {
    let login = Credentials::Login { user: "tim", password: "secret" };
    let mut client = Client::smtp(&["AUTH=LOGIN"]);
    client.session.auth(&login, InTheClear::Allow, &mut client.out).unwrap();
    assert_eq!(client.said(), "AUTH LOGIN\r\n");
    client.hear("334 VXNlcm5hbWU6\r\n");
    assert_eq!(client.said(), "dGlt\r\n");
    client.hear("334 Password:\r\n");
    assert_eq!(client.said(), "c2VjcmV0\r\n", "challenges in the clear are taken");
    client.hear("334 \r\n");
    assert_eq!(client.said(), "*\r\n");
    assert_eq!(client.hear("501 given up\r\n"), ["auth refused 501"]);
}

#[test]
fn other_mechanisms_are_answered_by_the_caller() {
    let other = Credentials::Other { mechanism: "CRAM-MD5", initial: None };
    let mut client = Client::smtp(&["AUTH CRAM-MD5 EXTERNAL"]);
    client.session.auth(&other, InTheClear::Allow, &mut client.out).unwrap();
    assert_eq!(client.hear("334 PDFAeD4=\r\n"), ["challenge <1@x>"]);
    assert_eq!((client.session.awaits(), client.said().as_str()), (None, "AUTH CRAM-MD5\r\n"));
    client.session.respond(b"tim 00", &mut client.out).unwrap();
    assert_eq!(client.said(), "dGltIDAw\r\n");
    assert_eq!(client.hear("334 eA==\r\n"), ["challenge x"]);
    client.session.cancel_auth(&mut client.out).unwrap();
    assert_eq!((client.said().as_str(), client.hear("501 x\r\n")), ("*\r\n", vec!["auth refused 501".to_owned()]));
    let empty = Credentials::Other { mechanism: "EXTERNAL", initial: Some(b"") };
    client.session.auth(&empty, InTheClear::Allow, &mut client.out).unwrap();
    assert_eq!(client.said(), "AUTH EXTERNAL =\r\n");
    assert_eq!(client.hear("334 ?\r\n"), ["fault Challenge"]);
}

#[test]
fn challenges_without_end_are_a_fault() {
    let other = Credentials::Other { mechanism: "X", initial: None };
    let mut client = Client::smtp(&["AUTH X"]);
    client.session.auth(&other, InTheClear::Allow, &mut client.out).unwrap();
    for _ in 0..limits::CLIENT_AUTH_CHALLENGES {
        assert_eq!(client.hear("334 \r\n"), ["challenge "]);
        client.session.respond(b"", &mut client.out).unwrap();
    }
    assert_eq!(client.hear("334 \r\n"), ["fault Challenge"]);
}

#[test]
fn auth_that_cannot_be_is_refused_before_it_is_sent() {
    let mut client = Client::smtp(&["AUTH PLAIN"]);
    let Client { session, out, .. } = &mut client;
    let login = Credentials::Login { user: "u", password: "p" };
    assert_eq!(session.auth(&login, InTheClear::Allow, out), Err(CommandRefusal::NotOffered));
    let bad = Credentials::Other { mechanism: "X\r\nRSET", initial: None };
    assert_eq!(session.auth(&bad, InTheClear::Allow, out), Err(CommandRefusal::Malformed));
    assert_eq!(session.respond(b"", out), Err(CommandRefusal::NotNow));
    assert!(out.is_empty() && session.is_idle());
}

#[test]
fn nothing_that_is_printed_shows_a_secret() {
    let mut client = Client::smtp(&["AUTH PLAIN LOGIN"]);
    let login = Credentials::Login { user: "tim", password: "hidden" };
    client.session.auth(&login, InTheClear::Allow, &mut client.out).unwrap();
    let shown = format!("{:?} {login:?} {PLAIN:?}", client.session);
    let octets = format!("{:?}", b"hidden").replace(['[', ']'], "");
    assert!(!shown.contains("hidden") && !shown.contains(&octets) && !shown.contains("tanstaaf"), "{shown}");
    assert!(shown.contains("Secret"), "the answers are there");
}

#[test]
fn xclient_begins_anew() {
    let mut client = Client::smtp(&["XCLIENT ADDR NAME", "PIPELINING"]);
    let Client { session, out, .. } = &mut client;
    assert_eq!(session.xclient(b"ADDR=1\r\nRSET", out), Err(CommandRefusal::Malformed));
    session.xclient(b"ADDR=192.0.2.1", out).unwrap();
    assert_eq!(client.said(), "XCLIENT ADDR=192.0.2.1\r\n");
    assert_eq!(client.hear("220 mx.test\r\n"), ["xclient 220"]);
    assert_eq!(client.said(), "EHLO c.test\r\n");
    assert_eq!(client.hear("250 mx.test\r\n"), ["ready 250"]);
    assert!(!client.session.offer().has(Extension::Pipelining));
    assert_eq!(client.session.xclient(b"ADDR=1", &mut client.out), Err(CommandRefusal::NotOffered));
}

#[test]
fn a_reply_that_nobody_asked_for_is_a_fault_and_421_is_none() {
    let mut client = Client::smtp(&[]);
    assert_eq!(client.hear("250 ok\r\n"), ["fault Unasked(Code(250))"]);
    let mut client = Client::smtp(&[]);
    assert_eq!(client.hear("421 4.4.2 too long\r\n"), ["closing 421 4.4.2"]);
    assert!(client.session.is_closed());
}

#[test]
fn a_name_that_would_break_the_line_is_no_name() {
    for bad in ["", "a b", "a\r\nRSET", "-<>"] {
        assert_eq!(Terms::new(Protocol::Smtp, bad), Err(BadName));
    }
    assert!(Terms::new(Protocol::Smtp, "[192.0.2.1]").is_ok());
}
