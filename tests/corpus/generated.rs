//! Messages of the shapes that the package lacks: what breaks programs that look at lines.

use super::chance::Chance;
use super::messages::Message;

/// Messages that are made of such pieces by chance.
const BY_CHANCE: u64 = 60;

const HEAD: &str = "From: A <a@client.test>\r\nTo: b@server.test\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\n";

pub fn all() -> Vec<Message> {
    let mut messages = edges();
    messages.extend(lines());
    messages.extend(large());
    messages.extend(structures());
    messages.extend((0..BY_CHANCE).map(|seed| message(format!("chance {seed}"), by_chance(seed))));
    for (number, message) in messages.iter_mut().enumerate() {
        message.name.insert_str(0, &format!("generated {number}: "));
    }
    messages
}

fn message(name: impl Into<String>, octets: impl Into<Vec<u8>>) -> Message {
    Message { name: name.into(), octets: octets.into() }
}

/// With a header that has this subject, and this below it.
fn with_body(name: &str, body: impl AsRef<[u8]>) -> Message {
    let mut octets = format!("{HEAD}Subject: {name}\r\n\r\n").into_bytes();
    octets.extend_from_slice(body.as_ref());
    message(name, octets)
}

/// Almost nothing, and ends that are none.
fn edges() -> Vec<Message> {
    let mut messages = vec![
        message("empty", ""),
        message("one octet", "x"),
        message("CRLF only", "\r\n"),
        message("many CRLF", "\r\n".repeat(1000)),
        message("LF only", "\n"),
        message("CR only", "\r"),
        message("header only", format!("{HEAD}Subject: header only\r\n\r\n")),
        message("header without an end", format!("{HEAD}Subject: header without an end\r\n")),
        message("header cut in a line", format!("{HEAD}Subject: header cut")),
        message("no header", "This is no header field.\r\nNor is this.\r\n"),
        message("no header behind an empty line", "\r\nText.\r\n"),
        message("begins with a blank", " folded onto nothing\r\nSubject: x\r\n\r\ntext\r\n"),
        message("begins with a dot", ".dot: x\r\nSubject: begins with a dot\r\n\r\ntext\r\n"),
        message("begins with two dots", "..\r\nSubject: begins with two dots\r\n\r\ntext\r\n"),
        message("begins with From", format!("From a@client.test Mon Jan  1 00:00:00 2024\r\n{HEAD}\r\ntext\r\n")),
        message("LF everywhere", format!("{HEAD}Subject: LF\r\n\r\n.a\r\n\r\n.\r\nb\r\n").replace("\r\n", "\n")),
        message("CR everywhere", format!("{HEAD}Subject: CR\r\n\r\n.a\r\n").replace("\r\n", "\r")),
    ];
    for (name, body) in [
        ("last line without an end", "one\r\ntwo"),
        ("ends with CR", "one\r\ntwo\r"),
        ("ends with LF", "one\r\ntwo\n"),
        ("ends with empty lines", "one\r\n\r\n\r\n\r\n"),
        ("ends with a dot line", "one\r\n.\r\n"),
        ("ends with a dot", "one\r\n."),
        ("ends with dot and CR", "one\r\n.\r"),
        ("ends with a dot between LF", "one\n.\n"),
    ] {
        messages.push(with_body(name, body));
    }
    messages
}

/// Lines of odd content and odd length.
fn lines() -> Vec<Message> {
    let binary: Vec<u8> = (1..=255).filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
    let mut messages = Vec::new();
    for length in [997, 998, 999, 1000, 5000, 65_535, 65_536, 200_000] {
        messages.push(with_body(&format!("line of {length}"), format!("{}\r\nend\r\n", "x".repeat(length))));
        messages.push(with_body(&format!("dots in a line of {length}"), format!(".{}\r\n", ".".repeat(length))));
    }
    for (name, body) in [
        ("dots", &b".\r\n..\r\n...\r\n.x\r\n..x\r\n. \r\n.\t.\r\nx.\r\n.\r\n\r\n.\r\n.\r\n"[..]),
        ("From in the body", b"From here on\r\n>From there\r\n\r\nFrom a@b Mon Jan  1 00:00:00 2024\r\nx\r\n"),
        ("trailing blanks", b"one \r\ntwo\t\r\n \r\n\t \t\r\nthree   \r\n"),
        ("lone LF", b"one\ntwo\r\n\nthree\n\nfour\r\n"),
        ("lone CR", b"one\rtwo\r\n\rthree\r\r\nfour\r\n"),
        ("LF CR", b"one\n\rtwo\n\r\n\rthree\r\n"),
        ("ends that are none", b"a\n.\nb\n.\r\nc\r.\rd\r\n.\re\r\n.\nf\n\n.\n\ng\r\n.\r\r\nh\r\n"),
        ("commands", b"\r\n.\n\r\nQUIT\r\nRSET\r\nMAIL FROM:<x@x.test>\r\nDATA\r\n"),
        ("8 bit", b"caf\xc3\xa9 in UTF-8\r\ncaf\xe9 in Latin 1\r\n\xff\xfe\xfd\r\n"),
        ("controls", b"\x01\x02\x03\x07\x08\x0b\x0c\x0e\x1a\x1b[31m\x7f\r\nend\r\n"),
    ] {
        messages.push(with_body(name, body));
    }
    messages.push(with_body("all octets but NUL", [&binary[..], b"\r\n"].concat().repeat(50)));
    let utf8 = "From: Jörg <jörg@müller.test>\r\nTo: 用户@例子.test\r\nSubject: Grüße, 世界 🎉\r\nX-Ключ: значение\r\n\r\nTäxt\r\n";
    messages.push(message("SMTPUTF8", utf8));
    messages
}

/// What needs many buffers.
fn large() -> Vec<Message> {
    let folded: String =
        (0..1200).map(|number| format!("\r\n\t<{number:08}.{}@client.test>", "r".repeat(32))).collect();
    let base64 = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    let attachment = format!(
        "{HEAD}Subject: 5 MB\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\n\r\n\
         See the attachment.\r\n--=_b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n\
         {}--=_b--\r\n",
        base64.repeat(5_000_000 / base64.len())
    );
    vec![
        message("folded header of 64 KiB", format!("{HEAD}Subject: folded\r\nReferences:{folded}\r\n\r\ntext\r\n")),
        message(
            "header line of 64 KiB",
            format!("{HEAD}Subject: long\r\nX-Long: {}\r\n\r\ntext\r\n", "y".repeat(65_536)),
        ),
        message(
            "a thousand fields",
            format!("{HEAD}Subject: fields\r\n{}\r\ntext\r\n", "X-Field: value\r\n".repeat(1000)),
        ),
        with_body("10,000 short lines", "ab\r\n".repeat(10_000)),
        // Wherever a block of memory ends, it ends between CR and LF, or between one CR and the next.
        with_body("line ends over blocks", "\r\n".repeat(135_000)),
        with_body("line ends over blocks, shifted", format!("x{}", "\r\n".repeat(135_000))),
        with_body("CR over blocks", format!("{}\r\n", "\r".repeat(270_000))),
        with_body("10,000 dot lines", ".\r\n".repeat(10_000)),
        message("5 MB attachment", attachment),
    ]
}

/// MIME, nested.
fn structures() -> Vec<Message> {
    let mut nested = format!("{HEAD}Subject: innermost\r\n\r\n.text\r\n");
    let mut messages = Vec::new();
    for depth in 1..=8 {
        nested = format!(
            "{HEAD}Subject: nested {depth}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b{depth}\"\r\n\r\n\
             preamble\r\n--b{depth}\r\n\r\n.part\r\n--b{depth}\r\nContent-Type: message/rfc822\r\n\r\n{nested}\r\n\
             --b{depth}--\r\nepilogue"
        );
        messages.push(message(format!("rfc822 nested {depth} deep"), nested.clone()));
    }
    messages
}

/// Pieces of lines, ends and fields in any order.
fn by_chance(seed: u64) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let pieces: [&[u8]; 16] = [
        b"text",
        b" ",
        b".",
        b"..",
        b"\t",
        b"From ",
        b"x: y",
        b"\xc3\xa4",
        b"\xff",
        b"=?utf-8?q?=C3=A4?=",
        b"--b",
        b"\r",
        b"\n",
        b"MAIL FROM:<>",
        b"0123456789".as_slice(),
        b"\x7f",
    ];
    let mut octets = format!("{HEAD}Subject: chance {seed}\r\n\r\n").into_bytes();
    for _ in 0..chance.below(400) {
        for _ in 0..chance.below(6) {
            let times = if chance.below(200) == 0 { chance.below(1500) } else { 1 };
            let piece = *chance.one_of(&pieces);
            (0..times).for_each(|_| octets.extend_from_slice(piece));
        }
        octets.extend_from_slice(b"\r\n");
    }
    octets
}
