//! What clients say: commands and mail data, sensible and hostile, drawn from a seed.

use crate::simulation::chance::Chance;

/// What a piece of speech is, for a client that keeps to RFC 2920.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A command that others may follow at once.
    Command,
    /// A command whose reply must be awaited.
    Barrier,
    /// DATA: content follows only behind a 354.
    Data,
    /// Mail data with its end.
    Content,
}

/// A piece of speech.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub octets: Vec<u8>,
}

/// How a client talks.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub is_lmtp: bool,
    /// Percent of pieces that no RFC knows.
    pub hostile: u8,
    /// Most messages.
    pub messages: usize,
    /// Most octets of content.
    pub content_octets: usize,
}

const LOCAL_PARTS: &[&str] =
    &["a", "b", "c.d", "postmaster", "no", "x+y", "\"q r\"", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"];
const DOMAINS: &[&str] = &["x.test", "ok.test", "OK.test", "two.test", "[192.0.2.1]"];
const ODD: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b"FOO",
    b"NOOP a\0b",
    b"MAIL",
    b"MAIL FROM:",
    b"MAIL FROM:<a@x.test> FOO=1",
    b"RCPT TO:<>",
    b"RCPT TO:<@>",
    b"DATA x",
    b"RSET x",
    b"QUIT x",
    b"HELO",
    b"EHLO",
    b"LHLO x.test",
    b"VRFY",
    b"\xFF\xFE",
    b"EXPN list",
    b"AUTH PLAIN AGEAYg==",
    b"STARTTLS",
    b"XCLIENT ADDR=192.0.2.9",
    b"XCLIENT FOO=1",
    b"MAIL FROM:<no@@x.test>",
    b"RCPT TO:<a@x.test> NOTIFY=NEVER",
    b"MAIL FROM:<s@x.test> SIZE=999999999999",
    b"MAIL FROM:<s@x.test> BODY=BINARYMIME",
    b"BDAT",
    b"BDAT x",
    b"BDAT 0",
    b"GET / HTTP/1.1",
    b"NOOP x\ry",
];
const BARRIERS: &[&[u8]] = &[b"EHLO", b"HELO", b"LHLO", b"DATA", b"QUIT", b"AUTH", b"STARTTLS", b"XCLIENT"];
const ODD_ENDS: &[&[u8]] = &[b"\n", b"\r\r\n", b" \r\n", b"\t\r\n"];
const PIECES: &[&[u8]] = &[
    b"Subject: t\r\n",
    b"\r\n",
    b"line\r\n",
    b"..\r\n",
    b"..dot\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\xC3\xA4",
    b"\r\n.\n",
    b"\n.\r\n",
    b".\r\r\n",
    b"Received: x\r\n",
    b"a longer line of text that says nothing at all\r\n",
    b"x",
    b"\r\n.x\r\n",
];

fn address(chance: &mut Chance) -> String {
    format!("{}@{}", chance.pick(LOCAL_PARTS), chance.pick(DOMAINS))
}

fn line(kind: Kind, text: String) -> Token {
    Token { kind, octets: (text + "\r\n").into_bytes() }
}

/// All that a client says in a session, to its end or not.
pub fn speech(chance: &mut Chance, manner: Manner) -> Vec<Token> {
    let mut said = Vec::new();
    if chance.percent(97) {
        said.push(hello(chance, manner));
    }
    for _ in 0..chance.between(0, manner.messages as u64) {
        if chance.percent(manner.hostile) {
            said.push(odd(chance));
        }
        match chance.below(20) {
            0 => said.push(line(Kind::Command, "RSET".to_owned())),
            1 => said.push(line(Kind::Command, "NOOP".to_owned())),
            2 => said.push(line(Kind::Command, "VRFY someone".to_owned())),
            3 => said.push(line(Kind::Command, "HELP".to_owned())),
            4 => said.push(hello(chance, manner)),
            _ => {}
        }
        transaction(chance, manner, &mut said);
    }
    if chance.percent(70) {
        said.push(line(Kind::Barrier, "QUIT".to_owned()));
    }
    said
}

/// Many short commands with long replies, for clients that do not read.
pub fn flood(chance: &mut Chance, manner: Manner) -> Vec<Token> {
    let mut said = vec![hello(chance, manner)];
    let count = *chance.pick(&[50, 300, 900]);
    for _ in 0..count {
        said.push(if chance.percent(90) { hello(chance, manner) } else { line(Kind::Command, "NOOP".to_owned()) });
    }
    transaction(chance, manner, &mut said);
    said
}

fn hello(chance: &mut Chance, manner: Manner) -> Token {
    let verb = match manner.is_lmtp {
        true => "LHLO",
        false if chance.percent(10) => "HELO",
        false => "EHLO",
    };
    line(Kind::Barrier, format!("{verb} {}", chance.pick(&["c.test", "[192.0.2.7]", "other.test"])))
}

fn odd(chance: &mut Chance) -> Token {
    let mut octets = match chance.below(30) {
        0 => vec![b'l'; 3_400],
        1 => b"NOOP".repeat(2),
        _ => chance.pick(ODD).to_vec(),
    };
    let end: &[u8] = if chance.percent(85) { b"\r\n" } else { ODD_ENDS[chance.below(ODD_ENDS.len())] };
    octets.extend_from_slice(end);
    let is_barrier = BARRIERS.iter().any(|verb| octets.to_ascii_uppercase().starts_with(verb));
    Token { kind: if is_barrier { Kind::Barrier } else { Kind::Command }, octets }
}

fn transaction(chance: &mut Chance, manner: Manner, said: &mut Vec<Token>) {
    let parameters = *chance.pick(&["", "", "", " SIZE=10", " BODY=8BITMIME", " RET=HDRS ENVID=e1", " SMTPUTF8"]);
    let reverse_path = if chance.percent(15) { String::new() } else { address(chance) };
    said.push(line(Kind::Command, format!("MAIL FROM:<{reverse_path}>{parameters}")));
    for _ in 0..chance.between(0, 3) + u64::from(chance.percent(90)) {
        said.push(line(Kind::Command, format!("RCPT TO:<{}>", address(chance))));
        if chance.percent(manner.hostile / 2) {
            said.push(odd(chance));
        }
    }
    match chance.below(20) {
        0 => return said.push(line(Kind::Command, "RSET".to_owned())),
        1 => return,
        _ => {}
    }
    let content = content(chance, manner);
    if chance.percent(40) {
        chunks(chance, &content, said);
    } else {
        said.push(line(Kind::Data, "DATA".to_owned()));
        said.push(Token { kind: Kind::Content, octets: stuffed(&content) });
    }
}

fn chunks(chance: &mut Chance, content: &[u8], said: &mut Vec<Token>) {
    let mut rest = content;
    loop {
        let size = if chance.percent(60) { rest.len() } else { chance.below(rest.len() + 1) };
        let (chunk, behind) = rest.split_at(size);
        rest = behind;
        let is_last = rest.is_empty() && chance.percent(80);
        let mut octets = format!("BDAT {size}{}\r\n", if is_last { " LAST" } else { "" }).into_bytes();
        octets.extend_from_slice(chunk);
        said.push(Token { kind: Kind::Command, octets });
        if is_last {
            return;
        }
        if rest.is_empty() {
            return said.push(line(Kind::Command, "BDAT 0 LAST".to_owned()));
        }
    }
}

/// Lines of text, or what has no lines.
fn content(chance: &mut Chance, manner: Manner) -> Vec<u8> {
    if chance.percent(10) {
        let octets = chance.below(manner.content_octets);
        // Each place has its own octet: what is lost, doubled or moved is seen.
        return (0..octets).map(|at| b' ' + (at % 89) as u8).collect();
    }
    let mut content = Vec::new();
    for _ in 0..chance.below(12) {
        let sensible = if chance.percent(manner.hostile) { PIECES.len() } else { 5 };
        content.extend_from_slice(PIECES[chance.below(sensible)]);
    }
    content
}

/// With transparency (RFC 5321 §4.5.2) and its end. Content that ends without CRLF gets one.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::new();
    for (at, octet) in content.iter().enumerate() {
        if *octet == b'.' && (at == 0 || content[..at].ends_with(b"\r\n")) && !content[at..].starts_with(b"..") {
            stuffed.push(b'.');
        }
        stuffed.push(*octet);
    }
    if !stuffed.is_empty() && !stuffed.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}
