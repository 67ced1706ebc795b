use proptest::prelude::*;

use super::*;

const SMTP: With = With { transfer: Transfer::Smtp, extended: true, secure: false, authenticated: false, utf8: false };
const HOST: Peer<'_> = Peer::Host { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), name: None };

fn trace<'a>() -> Trace<'a> {
    Trace {
        hello: b"c.test",
        peer: HOST,
        by: "mx.test",
        with: SMTP,
        id: MessageId::from_bits(1),
        tls: None,
        recipient: None,
        received_at_s: 1_136_214_245,
    }
}

fn mailbox<'a>(local_part: &'a str, domain: &'a str) -> Path<'a> {
    Path::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() })
}

fn text(trace: &Trace<'_>) -> String {
    let mut out = Vec::new();
    trace.write_received(&mut out);
    String::from_utf8(out).expect("it is ASCII or UTF-8")
}

/// What stands before `by`.
fn from(hello: &[u8], peer: Peer<'_>) -> String {
    let text = text(&Trace { hello, peer, ..trace() });
    let (from, _) = text.split_once("\r\n\tby ").expect("there is a `by`");
    from.strip_prefix("Received: from ").expect("that is how it begins").replace("\r\n\t", "|")
}

/// What a Received field says, read back by a reader that shares nothing with its writer.
#[derive(Debug, Default, PartialEq)]
struct Stamp {
    from: String,
    /// The comment behind the domain, if it reads as TCP-info.
    tcp_info: Option<String>,
    by: String,
    with: String,
    id: String,
    recipient: Option<String>,
    tls: Option<String>,
    date: String,
    comments: Vec<String>,
}

/// Reads one field by the grammar of RFC 5321 §4.4, with RFC 5322's comments where CFWS is.
fn read(field: &str) -> Result<Stamp, String> {
    let body = field.strip_prefix("Received:").ok_or("no name")?.strip_suffix("\r\n").ok_or("no end")?;
    let body = body.replace("\r\n\t", "\t");
    if let Some(odd) = body.chars().find(|character| character.is_control() && *character != '\t') {
        return Err(format!("{odd:?} in it"));
    }
    let (words, date) = read_words(&body)?;
    let mut stamp = Stamp { date, ..Stamp::default() };
    let mut words = words.into_iter().peekable();
    let mut clause = |name: &str, is_optional: bool| -> Result<Option<(String, Vec<String>)>, String> {
        if words.peek().is_none_or(|word| word != name) {
            return if is_optional { Ok(None) } else { Err(format!("no {name}")) };
        }
        words.next();
        let value = words.next().filter(|word| !word.starts_with('(')).ok_or(format!("no value of {name}"))?;
        let mut comments = Vec::new();
        while let Some(comment) = words.next_if(|word| word.starts_with('(')) {
            comments.push(comment);
        }
        Ok(Some((value, comments)))
    };
    let (from, mut comments) = clause("from", false)?.expect("it is there");
    if comments.first().is_some_and(|comment| comment.ends_with("])")) {
        stamp.tcp_info = Some(comments.remove(0));
    }
    stamp.from = from;
    stamp.comments = comments;
    for (place, name) in [(&mut stamp.by, "by"), (&mut stamp.with, "with"), (&mut stamp.id, "id")] {
        let (value, comments) = clause(name, false)?.expect("it is there");
        *place = value;
        stamp.comments.extend(comments);
    }
    stamp.recipient = clause("for", true)?.map(|(value, _)| value);
    stamp.tls = clause("tls", true)?.map(|(value, _)| value);
    match words.next() {
        None => Ok(stamp),
        Some(word) => Err(format!("{word:?} left over")),
    }
}

/// Words, comments each as one, and what stands behind the one semicolon that is in neither comment nor quotes.
fn read_words(body: &str) -> Result<(Vec<String>, String), String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut depth, mut is_quoted) = (0_u32, false);
    let mut characters = body.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if depth > 0 || is_quoted => {
                word.push(character);
                word.push(characters.next().ok_or("nothing behind a backslash")?);
                continue;
            }
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.checked_sub(1).ok_or("a comment ends that never began")?,
            ' ' | '\t' if depth == 0 && !is_quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                continue;
            }
            ';' if depth == 0 && !is_quoted => {
                words.push(word);
                return Ok((words, characters.as_str().trim_start().to_owned()));
            }
            _ => {}
        }
        word.push(if character == '\t' { ' ' } else { character });
    }
    Err("no date".to_owned())
}

/// Each line but what may not be broken is short, none is too long.
fn assert_lines(field: &str) {
    assert!(field.len() <= limits::RECEIVED_OCTETS, "{} octets", field.len());
    for line in field.strip_suffix("\r\n").expect("it ends").split("\r\n") {
        assert!(line.len() <= limits::TEXT_LINE_OCTETS, "{line:?}");
        let words = line.trim_start_matches('\t').split(' ').count();
        let has_quotes = line.contains('"');
        assert!(line.len() <= limits::TEXT_LINE_OCTETS_WISHED || words == 1 || has_quotes, "{line:?}");
    }
}

#[test]
fn a_message_of_a_tls_session_is_traced() {
    let trace = Trace {
        peer: Peer::Host { address: "2001:db8::25".parse().unwrap(), name: Some("out.c.test") },
        with: With { secure: true, ..SMTP },
        tls: Some(TlsNames { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" }),
        recipient: Some(mailbox("a", "ok.test")),
        ..trace()
    };
    assert_eq!(
        text(&trace),
        "Received: from c.test (out.c.test [IPv6:2001:db8::25])\r\n\
         \tby mx.test with ESMTPS (TLSv1.3) id 00000000000000000000000001\r\n\
         \tfor <a@ok.test> tls TLS_AES_128_GCM_SHA256;\r\n\
         \tMon, 02 Jan 2006 15:04:05 +0000\r\n"
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let trace = Trace { hello: b"", peer: Peer::Unknown, with: With { transfer: Transfer::Qmqp, ..SMTP }, ..trace() };
    assert_eq!(
        text(&trace),
        "Received: from unknown\r\n\tby mx.test with QMQP id 00000000000000000000000001;\r\n\
         \tMon, 02 Jan 2006 15:04:05 +0000\r\n"
    );
}

#[test]
fn a_field_is_appended() {
    let mut out = b"Subject: a\r\n".to_vec();
    trace().write_received(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("Subject: a\r\n{}", text(&trace())));
}

#[test]
fn a_client_is_shown_by_the_name_that_it_gave_if_it_is_one() {
    assert_eq!(from(b"c.test", HOST), "c.test ([192.0.2.1])");
    assert_eq!(from(b"[198.51.100.7]", HOST), "[198.51.100.7] ([192.0.2.1])");
    assert_eq!(from(b"[IPv6:2001:db8::1]", HOST), "[IPv6:2001:db8::1] ([192.0.2.1])");
    assert_eq!(from(b"c.test", Peer::UnixSocket), "c.test (Unix socket)");
    assert_eq!(from(b"c.test", Peer::Unknown), "c.test");
}

#[test]
fn what_is_no_name_stands_in_a_comment() {
    assert_eq!(from(b"bad_host!", HOST), "[192.0.2.1] ([192.0.2.1]) (EHLO bad_host!)");
    assert_eq!(from(b"a b", HOST), "[192.0.2.1] ([192.0.2.1]) (EHLO a+20b)");
    assert_eq!(from(b"m\xC3\xBC.test", HOST), "[192.0.2.1] ([192.0.2.1]) (EHLO m+C3+BC.test)");
    assert_eq!(from(b"a)\r\nX: (\\\"+=", HOST), "[192.0.2.1] ([192.0.2.1]) (EHLO|a+29+0D+0AX:+20+28+5C+22+2B+3D)");
    assert_eq!(from(b"[192.0.2]", HOST), "[192.0.2.1] ([192.0.2.1]) (EHLO +5B192.0.2+5D)");
    assert_eq!(from(b"-c.test", Peer::UnixSocket), "localhost (Unix socket) (EHLO -c.test)");
    // A literal needs a connection's own beside it.
    assert_eq!(from(b"[192.0.2.1]", Peer::Unknown), "unknown (EHLO +5B192.0.2.1+5D)");
    assert_eq!(from(b"", HOST), "[192.0.2.1] ([192.0.2.1])");
    let with = |transfer, extended| text(&Trace { hello: b"_", with: With { transfer, extended, ..SMTP }, ..trace() });
    assert!(with(Transfer::Smtp, false).contains("(HELO _)"));
    assert!(with(Transfer::Lmtp, false).contains("(LHLO _)"));
}

#[test]
fn a_peer_is_shown_by_its_address() {
    let peer = |address: &str, name| from(b"c.test", Peer::Host { address: address.parse().unwrap(), name });
    assert_eq!(peer("2001:db8::1", None), "c.test ([IPv6:2001:db8::1])");
    assert_eq!(peer("::ffff:192.0.2.1", None), "c.test ([192.0.2.1])");
    assert_eq!(peer("192.0.2.1", Some("n.test")), "c.test (n.test [192.0.2.1])");
    assert_eq!(peer("192.0.2.1", Some("n).test\r\nX: y")), "c.test ([192.0.2.1])");
    assert_eq!(peer("192.0.2.1", Some("")), "c.test ([192.0.2.1])");
}

#[test]
fn a_line_is_filled_before_the_next_begins() {
    let name = "n".repeat(49) + ".test";
    let peer = Peer::Host { address: Ipv4Addr::new(192, 0, 2, 1).into(), name: Some(&name) };
    assert_eq!(from(b"c.test", peer), format!("c.test ({name}|[192.0.2.1])"));
    assert_eq!(from(b"client.test", peer), format!("client.test|({name} [192.0.2.1])"));
}

#[test]
fn names_of_tls_that_are_none_are_left_out() {
    let long = "x".repeat(limits::TLS_NAME_OCTETS + 1);
    for name in ["", "a b", "a)", "a;b", "a\r\nb", "\u{e9}", long.as_str()] {
        let tls = Some(TlsNames { version: name, cipher: name });
        assert_eq!(text(&Trace { tls, ..trace() }), text(&trace()), "{name:?}");
    }
}

#[test]
fn a_recipient_is_shown_as_it_was_written() {
    let utf8 = With { utf8: true, ..SMTP };
    let shown =
        |recipient, with| read(&text(&Trace { recipient: Some(recipient), with, ..trace() })).unwrap().recipient;
    assert_eq!(shown(mailbox("a", "ok.test"), SMTP).as_deref(), Some("<a@ok.test>"));
    let quoted = r#""a (b; \"c\\ >"@ok.test"#;
    let (local_part, domain) = quoted.rsplit_once('@').unwrap();
    assert_eq!(shown(mailbox(local_part, domain), SMTP), Some(format!("<{quoted}>")));
    assert_eq!(shown(mailbox("jörg", "müller.test"), utf8).as_deref(), Some("<jörg@müller.test>"));
    assert_eq!(shown(mailbox("jörg", "ok.test"), SMTP), None);
    assert_eq!(shown(mailbox("a", "müller.test"), SMTP), None);
    assert_eq!(shown(Path::Local(b"postmaster"), SMTP), None);
    assert_eq!(shown(Path::Null, SMTP), None);
    // No parser takes these; the field goes without them.
    assert_eq!(shown(mailbox("a\r\nX: y", "ok.test"), utf8), None);
    assert_eq!(shown(mailbox("a\u{85}", "ok.test"), utf8), None);
    assert_eq!(shown(Path::Mailbox(Mailbox { local_part: b"\xFF", domain: b"ok.test" }), utf8), None);
}

#[test]
fn the_longest_of_everything_fits() {
    let label = "d".repeat(63);
    let domain = [label.as_str(); 4].join(".");
    let local_part = "l".repeat(256);
    let tls_name = "T".repeat(limits::TLS_NAME_OCTETS);
    let trace = Trace {
        hello: &[0xFF; 2 * limits::TRACE_HELLO_OCTETS],
        peer: Peer::Host { address: Ipv6Addr::from_bits(u128::MAX).into(), name: Some(&domain) },
        by: &domain,
        with: With { transfer: Transfer::Lmtp, extended: true, secure: true, authenticated: true, utf8: true },
        id: MessageId::from_bits(u128::MAX),
        tls: Some(TlsNames { version: &tls_name, cipher: &tls_name }),
        recipient: Some(mailbox(&local_part, &domain[..253])),
        received_at_s: u64::MAX,
    };
    let text = text(&trace);
    assert_lines(&text);
    let stamp = read(&text).unwrap();
    assert_eq!(stamp.recipient.map(|path| path.len()), Some(limits::PATH_OCTETS_LOOSE));
    assert_eq!(stamp.comments[0], format!("(LHLO {})", "+FF".repeat(limits::TRACE_HELLO_OCTETS)));
    assert_eq!(stamp.tcp_info.unwrap(), format!("({domain} [IPv6:{}])", ["ffff"; 8].join(":")));
}

/// The registry's list; QMQP is not on it.
#[test]
fn protocols_have_their_registered_names() {
    let registered = [
        "SMTP",
        "ESMTP",
        "ESMTPA",
        "ESMTPS",
        "ESMTPSA",
        "LMTP",
        "LMTPA",
        "LMTPS",
        "LMTPSA",
        "UTF8SMTP",
        "UTF8SMTPA",
        "UTF8SMTPS",
        "UTF8SMTPSA",
        "UTF8LMTP",
        "UTF8LMTPA",
        "UTF8LMTPS",
        "UTF8LMTPSA",
    ];
    let mut found = std::collections::BTreeSet::new();
    for bits in 0..16_u8 {
        let [extended, secure, authenticated, utf8] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let with = |transfer| With { transfer, extended, secure, authenticated, utf8 }.keyword();
        let parts = |plain: &str| {
            let plain = if utf8 { format!("UTF8{}", plain.trim_start_matches('E')) } else { plain.to_owned() };
            format!("{plain}{}{}", if secure { "S" } else { "" }, if authenticated { "A" } else { "" })
        };
        assert_eq!(with(Transfer::Smtp), parts(if bits == 0 { "SMTP" } else { "ESMTP" }), "{bits}");
        assert_eq!(with(Transfer::Lmtp), parts("LMTP"), "{bits}");
        assert_eq!(with(Transfer::Qmqp), "QMQP");
        found.extend([with(Transfer::Smtp), with(Transfer::Lmtp)]);
    }
    assert_eq!(found, registered.into_iter().collect());
}

fn written(write: fn(Path<'_>, &mut Vec<u8>), path: Path<'_>) -> String {
    let mut out = Vec::new();
    write(path, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn final_delivery_shows_paths_as_they_were_received() {
    let long = (&*"l".repeat(256), &*"d".repeat(253));
    for (path, reverse, forward) in [
        (Path::Null, "Return-Path: <>\r\n", ""),
        (Path::Local(b"postmaster"), "Return-Path: <postmaster>\r\n", "Delivered-To: postmaster\r\n"),
        (mailbox("s", "x.test"), "Return-Path: <s@x.test>\r\n", "Delivered-To: s@x.test\r\n"),
        (
            mailbox(r#""a \" b""#, "[192.0.2.1]"),
            "Return-Path: <\"a \\\" b\"@[192.0.2.1]>\r\n",
            "Delivered-To: \"a \\\" b\"@[192.0.2.1]\r\n",
        ),
        (mailbox("jörg", "müller.test"), "Return-Path: <jörg@müller.test>\r\n", "Delivered-To: jörg@müller.test\r\n"),
        (
            mailbox(long.0, long.1),
            &format!("Return-Path: <{}@{}>\r\n", long.0, long.1),
            &format!("Delivered-To: {}@{}\r\n", long.0, long.1),
        ),
    ] {
        assert_eq!(written(write_return_path, path), reverse);
        assert_eq!(written(write_delivered_to, path), forward);
    }
}

/// In builds without assertions nothing else stands between a fault of ours and a second header field.
#[test]
fn no_control_octet_is_ever_written() {
    let all: Vec<u8> = (0..=255).collect();
    let mut out = Vec::new();
    push_path(&mut out, Path::Mailbox(Mailbox { local_part: &all, domain: &all }));
    push_path(&mut out, Path::Local(&all));
    assert!(!out.iter().any(u8::is_ascii_control));
    assert_eq!(out.len(), 3 * all.len() + "<@><>".len());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "no parser takes such a path")]
fn a_path_that_no_parser_takes_is_a_fault_of_ours() {
    written(write_return_path, mailbox("a\r\nX: y", "x.test"));
}

/// Names with every octet, and some that are domains or nearly.
fn hello() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        prop::collection::vec(prop::sample::select(b"ab.-[]()\\\"; \r\n\t+=:".to_vec()), 0..40),
        "[a-z0-9.-]{0,80}".prop_map(String::into_bytes),
        r"\[(IPv6:)?[0-9a-f:.]{0,20}\]".prop_map(String::into_bytes),
    ]
}

fn peer() -> impl Strategy<Value = (Option<IpAddr>, Option<String>, bool)> {
    let name = prop_oneof![".{0,40}", "[a-z0-9-]{1,30}(\\.[a-z0-9-]{1,30}){0,6}"];
    (any::<Option<IpAddr>>(), prop::option::of(name), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Whatever the client calls itself, one field comes out, and it says what it should.
    #[test]
    fn a_hostile_name_stays_inside_its_field(
        hello in hello(),
        (address, name, is_local) in peer(),
        bits in 0..64_u8,
        number: u128,
        local_part in "[a-z.]{1,40}",
    ) {
        let [extended, secure, authenticated, utf8, lmtp, recipient] = [1, 2, 4, 8, 16, 32].map(|bit| bits & bit != 0);
        let peer = match address {
            Some(address) => Peer::Host { address, name: name.as_deref() },
            None if is_local => Peer::UnixSocket,
            None => Peer::Unknown,
        };
        let transfer = if lmtp { Transfer::Lmtp } else { Transfer::Smtp };
        let trace = Trace {
            hello: &hello,
            peer,
            with: With { transfer, extended, secure, authenticated, utf8 },
            id: MessageId::from_bits(number),
            tls: secure.then_some(TlsNames { version: "TLSv1.2", cipher: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" }),
            recipient: recipient.then_some(mailbox(&local_part, "ok.test")),
            ..trace()
        };
        let text = text(&trace);
        prop_assert!(text.is_ascii());
        assert_lines(&text);
        let stamp = read(&text).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&stamp.by, "mx.test");
        prop_assert_eq!(&stamp.with, trace.with.keyword());
        prop_assert_eq!(stamp.id.parse(), Ok(trace.id));
        prop_assert_eq!(&stamp.date, "Mon, 02 Jan 2006 15:04:05 +0000");
        prop_assert_eq!(stamp.recipient, recipient.then(|| format!("<{local_part}@ok.test>")));
        prop_assert_eq!(stamp.tls.is_some(), secure);
        prop_assert_eq!(stamp.tcp_info.is_some(), address.is_some());
        prop_assert!(is_domain(stamp.from.as_bytes()) || (is_address_literal(stamp.from.as_bytes()) && address.is_some()));

        // What the client said is there, as it is or as xtext that leads back to it.
        let comment = stamp.comments.iter().find_map(|comment| {
            let words = comment.strip_prefix('(')?.strip_suffix(')')?;
            words.split_once(' ').filter(|(verb, _)| verb.ends_with("LO")).map(|(_, xtext)| xtext)
        });
        let said = &hello[..hello.len().min(limits::TRACE_HELLO_OCTETS)];
        match comment {
            Some(xtext) => prop_assert_eq!(decode_xtext(xtext), said),
            None => prop_assert!(hello.is_empty() || stamp.from.as_bytes() == hello),
        }
    }

    /// The protocol's reader of names in strict syntax takes what is shown as a name, and nothing else.
    #[test]
    fn a_name_is_what_the_protocol_takes_for_one(hello in hello()) {
        let expected = crate::smtp::path::is_domain_or_literal(&hello, false);
        prop_assert_eq!(is_domain(&hello) || is_address_literal(&hello), expected);
    }
}

fn decode_xtext(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(octet) = rest.bytes().next() {
        let (octet, taken) = if octet == b'+' { (u8::from_str_radix(&rest[1..3], 16).unwrap(), 3) } else { (octet, 1) };
        octets.push(octet);
        rest = &rest[taken..];
    }
    octets
}
