//! What stands in a dialogue: names, paths, parameters, content.

use super::MESSAGE_OCTETS;
use super::dialogue::{Command, Random};

/// The name of a client that makes no mistake.
pub const NAME: &str = "c.test";

/// The argument of EHLO or HELO.
pub fn hello_name(random: &mut Random) -> Vec<u8> {
    if !random.once_in(4) {
        return NAME.into();
    }
    let long = [vec![b'a'; 300], vec![b'b'; 63], vec![b'b'; 64]];
    let odd: [&[u8]; 19] = [
        b"",
        b" ",
        b"[192.0.2.1]",
        b"[IPv6:2001:db8::1]",
        b"[192.0.2]",
        b"bad_host!",
        b"a b",
        b"J\xc3\xb6rg.test",
        b"\xff.test",
        b"-c.test",
        b"c..test",
        b".",
        b"c.test.",
        b"localhost",
        b"192.0.2.1",
        b" c.test ",
        &long[0],
        &long[1],
        &long[2],
    ];
    random.pick(&odd).to_vec()
}

/// Local parts and domains that both sides of a conversation meet.
const PLAIN: [&str; 10] = [
    "<a@ok.test>",
    "<a@ok.test>",
    "<A@OK.TEST>",
    "<a.b+c@ok.test>",
    "<a_b-c=d@ok.test>",
    "<!#$&'*/?^`{|}~@ok.test>",
    "<1@ok.test>",
    "<a@localhost>",
    "<a@sub.ok.test>",
    "<a@ok-ok.test>",
];

/// Legal by RFC 5321 §4.1.2, and seldom seen.
const RARE: [&str; 14] = [
    "<\"a b\"@ok.test>",
    "<\"a\\\"b\"@ok.test>",
    "<\"a@b\"@ok.test>",
    "<\"a>b\"@ok.test>",
    "<\"a\\\\b\"@ok.test>",
    "<\"\"@ok.test>",
    "<\"a\"@ok.test>",
    "<@r.test:a@ok.test>",
    "<@r.test,@s.test:a@ok.test>",
    "<a@[192.0.2.1]>",
    "<a@[IPv6:2001:db8::1]>",
    "<a@[IPv6:::ffff:192.0.2.1]>",
    "<a@[ipv6:2001:db8::1]>",
    "<a%b@ok.test>",
];

/// Not legal, and yet Postfix finds an address in them.
pub const REPAIRED: [&[u8]; 18] = [
    b"a@ok.test>",
    b"<<a@ok.test>>",
    b"<a@ok.test>>",
    b"<a @ok.test>",
    b"<a@ ok.test>",
    b"< a@ok.test>",
    b"<a@ok.test >",
    b"<@ok.test>",
    b"<a@b@ok.test>",
    b"<a:b@ok.test>",
    b"<(c)a@ok.test>",
    b"<a@ok.test (c)>",
    b"<a\\b@ok.test>",
    b"<a@[192.0.2.1>",
    b"<@:a@ok.test>",
    b"<@r.test:>",
    b"<\"a\tb\"@ok.test>",
    b"<a\x01@ok.test>",
];

/// Not legal either; some are taken from real senders.
const WRONG: [&[u8]; 30] = [
    b"a@ok.test",
    b" <a@ok.test>",
    b"<a@ok.test",
    b"<a@ok.test>x",
    b"<a..b@ok.test>",
    b"<.a@ok.test>",
    b"<a.@ok.test>",
    b"<a b@ok.test>",
    b"<a@>",
    b"<@>",
    b"<a@ok.test.>",
    b"<a@ok_ok.test>",
    b"<a@-ok.test>",
    b"<a@ok..test>",
    b"<a@.ok.test>",
    b"<a>",
    b"a",
    b"<\"a@ok.test>",
    b"<a\"b@ok.test>",
    b"<a\"b\"@ok.test>",
    b"<a,b@ok.test>",
    b"<a;b@ok.test>",
    b"<a@[300.1.2.3]>",
    b"<a@[x]>",
    b"<a@[IPv6:x]>",
    b"<a@192.0.2.1>",
    b"Name <a@ok.test>",
    b"<@r.test,a@ok.test>",
    b"<\"a\0b\"@ok.test>",
    b"",
];

/// With octets above 127.
const EIGHT_BIT: [&[u8]; 4] =
    [b"<j\xc3\xb6rg@ok.test>", b"<a@m\xc3\xbcller.test>", b"<\xff@ok.test>", b"<\"j\xc3\xb6rg\"@ok.test>"];

fn long_path(random: &mut Random) -> Vec<u8> {
    let local = [64, 65, 256, 257, 900][random.below(5)];
    let labels = [1, 1, 4, 5][random.below(4)];
    let label = "d".repeat([9, 60, 63, 64][random.below(4)]);
    let domain = vec![label; labels].join(".");
    format!("<{}@{domain}>", "l".repeat(local)).into()
}

fn path(random: &mut Random) -> Vec<u8> {
    match random.below(100) {
        0..=74 => random.pick(&PLAIN).into(),
        75..=83 => random.pick(&RARE).into(),
        84..=87 => random.pick(&REPAIRED).to_vec(),
        88..=95 => random.pick(&WRONG).to_vec(),
        96..=97 => random.pick(&EIGHT_BIT).to_vec(),
        _ => long_path(random),
    }
}

/// A whole MAIL line.
pub fn mail(random: &mut Random) -> Vec<u8> {
    if random.once_in(30) {
        let odd = [
            "MAIL",
            "MAIL FROM",
            "MAIL FROM:",
            "MAIL TO:<s@x.test>",
            "MAIL FROM <s@x.test>",
            "MAIL FROM :<s@x.test>",
            "MAIL  FROM:<s@x.test>",
            "MAIL\tFROM:<s@x.test>",
            "MAIL FROM:<s@x.test> ",
            "MAILFROM:<s@x.test>",
        ];
        return random.pick(&odd).into();
    }
    let verb = random.pick(&["MAIL FROM:", "MAIL FROM:", "MAIL FROM:", "mail from:", "Mail From:"]);
    let path = if random.once_in(5) { b"<>".to_vec() } else { path(random) };
    [verb.as_bytes(), &path, &parameters(random, &MAIL_PARAMETERS)].concat()
}

/// A whole RCPT line.
pub fn rcpt(random: &mut Random) -> Vec<u8> {
    if random.once_in(30) {
        let odd = [
            "RCPT",
            "RCPT TO",
            "RCPT TO:",
            "RCPT FROM:<a@ok.test>",
            "RCPT TO <a@ok.test>",
            "RCPT  TO:<a@ok.test>",
            "RCPT TO:<>",
            "RCPT TO:<postmaster>",
            "RCPT TO:<PostMaster>",
            "RCPT TO:<a@ok.test> ",
        ];
        return random.pick(&odd).into();
    }
    let verb = random.pick(&["RCPT TO:", "RCPT TO:", "RCPT TO:", "rcpt to:", "Rcpt To:"]);
    [verb.as_bytes(), &path(random), &parameters(random, &RCPT_PARAMETERS)].concat()
}

/// Parameters of MAIL: RFC 1870, 6152, 3030, 6531, 3461, 4954.
const MAIL_PARAMETERS: [&str; 39] = [
    "SIZE=1000",
    "SIZE=1000",
    "size=0",
    "SIZE=1000000",
    "SIZE=1000001",
    "SIZE=99999999999999999999",
    "SIZE=00000000000000000005",
    "SIZE=",
    "SIZE",
    "SIZE=x",
    "SIZE=-1",
    "SIZE=1x",
    "SIZE=1 SIZE=1",
    "SIZE=+5",
    "BODY=7BIT",
    "BODY=8BITMIME",
    "body=8bitmime",
    "BODY=BINARYMIME",
    "BODY=X",
    "BODY=",
    "BODY",
    "BODY=7BIT BODY=8BITMIME",
    "SIZE=1000 BODY=8BITMIME",
    "SMTPUTF8",
    "SMTPUTF8=yes",
    "RET=FULL",
    "RET=HDRS ENVID=QQ314159",
    "RET=ALL",
    "RET=FULL RET=HDRS",
    "ENVID=",
    "ENVID=a+ZZ",
    "ENVID=a+2Bb",
    "AUTH=<>",
    "AUTH=e+3Dmc2@x.test",
    "FOO",
    "FOO=bar",
    "=x",
    "A=b=c",
    "-A=1",
];

/// Parameters of RCPT: RFC 3461.
const RCPT_PARAMETERS: [&str; 15] = [
    "NOTIFY=NEVER",
    "NOTIFY=SUCCESS,FAILURE,DELAY",
    "NOTIFY=NEVER,SUCCESS",
    "NOTIFY=",
    "NOTIFY=X",
    "NOTIFY",
    "NOTIFY=NEVER NOTIFY=NEVER",
    "ORCPT=rfc822;a+2Bb@ok.test",
    "ORCPT=rfc822;",
    "ORCPT=;a",
    "ORCPT=a",
    "ORCPT=rfc822;a+ZZ",
    "FOO",
    "FOO=1",
    "SIZE=1",
];

fn parameters(random: &mut Random, from: &[&str]) -> Vec<u8> {
    match random.below(20) {
        0..=15 => Vec::new(),
        16 => [b"  ", random.pick(from).as_bytes(), b" "].concat(),
        17 => [b" ", random.pick(from).as_bytes(), b" ", random.pick(from).as_bytes()].concat(),
        _ => [b" ", random.pick(from).as_bytes()].concat(),
    }
}

/// Commands that belong to no transaction, known or not, and what is none.
pub fn aside(random: &mut Random) -> Command {
    const LINES: [&[u8]; 51] = [
        b"NOOP\r\n",
        b"NOOP\r\n",
        b"noop\r\n",
        b"NOOP text behind it\r\n",
        b"NOOP   \r\n",
        b"NOOP \xc3\xb6\r\n",
        b"NOOP\n",
        b"RSET\r\n",
        b"RSET\r\n",
        b"rset \r\n",
        b"RSET x\r\n",
        b"VRFY a\r\n",
        b"VRFY <a@ok.test>\r\n",
        b"VRFY\r\n",
        b"VRFY a b\r\n",
        b"HELP\r\n",
        b"HELP MAIL\r\n",
        b"EXPN list\r\n",
        b"EXPN\r\n",
        b"TURN\r\n",
        b"SEND FROM:<s@x.test>\r\n",
        b"SOML FROM:<s@x.test>\r\n",
        b"SAML FROM:<s@x.test>\r\n",
        b"ETRN x.test\r\n",
        b"FOOBAR\r\n",
        b"FOOBAR x y z\r\n",
        b"MAI\r\n",
        b"MAILX FROM:<s@x.test>\r\n",
        b"\r\n",
        b"\n",
        b"   \r\n",
        b" NOOP\r\n",
        b"\tNOOP\r\n",
        b"NO\xc3\x96P\r\n",
        b"NOOP\tx\r\n",
        b"NOOP\0\r\n",
        b"1\r\n",
        b".\r\n",
        b"<xml/>\r\n",
        b"LHLO c.test\r\n",
        b"STARTTLS\r\n",
        b"STARTTLS x\r\n",
        b"AUTH PLAIN AHgAeA==\r\n",
        b"XCLIENT NAME=x\r\n",
        b"MAIL FROM:<s@x.test>\r\n",
        b"RCPT TO:<a@ok.test>\r\n",
        b"DATA x\r\n",
        b"MAIL FROM:<s@x.test>\n",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\n",
        b"CONNECT x:25 HTTP/1.0\r\n",
    ];
    if random.once_in(20) {
        let octets = [510, 511, 1000, 2046, 2047, 4000, 9000][random.below(7)];
        return Command::line([b"NOOP ".to_vec(), vec![b'x'; octets - 5]].concat());
    }
    Command(random.pick(&LINES).to_vec())
}

/// A BDAT line with its chunk.
pub fn chunk(random: &mut Random, last: bool) -> Vec<u8> {
    if random.once_in(25) {
        let odd = [
            "BDAT",
            "BDAT x",
            "BDAT -1",
            "BDAT 0 FIRST",
            "BDAT 0 LAST LAST",
            "BDAT 99999999999999999999 LAST",
            "BDAT LAST",
            "BDAT 0x0 LAST",
        ];
        return [random.pick(&odd).as_bytes(), b"\r\n"].concat();
    }
    let piece: &[u8] = random.pick(&[
        &b"Subject: x\r\n\r\nhello\r\n"[..],
        b"hello",
        b"",
        b"",
        b"a line\r\n",
        b"\r\n.\r\n",
        b"..x\r\n.\r\n",
        b"bare\nLF, bare\rCR, NUL\0, \xff\r\n",
        b"\r\nQUIT\r\n",
        b"\r",
        b"\n",
    ]);
    let piece = if random.once_in(60) { vec![b'x'; MESSAGE_OCTETS / 2 + 1] } else { piece.repeat(1 + random.below(3)) };
    let verb = random.pick(&["BDAT", "BDAT", "BDAT", "bdat"]);
    let end = if last && !random.once_in(15) { random.pick(&[" LAST", " LAST", " last"]) } else { "" };
    let octets = piece.len();
    [format!("{verb} {octets}{end}\r\n").into_bytes(), piece].concat()
}

/// Mail data with its end.
pub fn content(random: &mut Random) -> Vec<u8> {
    const ENDINGS: [&[u8]; 26] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\n",
        b"\n.\r",
        b"\r.\r\n",
        b"\r\n.\rx",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\r\n .\r\n",
        b"\r\n. \r\n",
        b"\r\n.\t\r\n",
        b"\r\n..\r\n",
        b"\r\n...\r\n",
        b"\r\n.x\r\n",
        b"\r\n.\x0b\r\n",
        b"\nbare LF\n",
        b"\rbare CR\r",
        b"\0",
        b"\xff\xfe",
        b"\r\n\r\n",
        b"x.",
    ];
    let header: &[u8] = random.pick(&[
        &b"Subject: x\r\n\r\n"[..],
        b"Subject: x\r\n\r\n",
        b"",
        b"Subject: x\r\n",
        b" folded at first\r\n",
        b"From: a\r\nTo: b\r\n\r\n",
    ]);
    let body = match random.below(40) {
        0..=15 => b"hello\r\n".to_vec(),
        16..=29 => [
            b"body".as_slice(),
            random.pick(&ENDINGS),
            b"MAIL FROM:<m@x.test>\r\nRCPT TO:<v@ok.test>\r\nDATA\r\nsmuggled\r\n",
        ]
        .concat(),
        30..=31 => [vec![b'x'; [998, 999, 2048, 10_000][random.below(4)]], b"\r\n".to_vec()].concat(),
        32 => b"Received: by x.test; Mon, 01 Jan 2024 00:00:00 +0000\r\n".repeat(40),
        33 => [b"12345678".repeat(10).as_slice(), b"\r\n"].concat().repeat(MESSAGE_OCTETS / 82 + 2),
        34 => b"j\xc3\xb6rg\r\n".to_vec(),
        35 => b"..\r\n..x\r\n.y\r\n".to_vec(),
        _ => return [b".\r\n".as_slice(), b"\r\n.\r\n", b"x\r\n.\r\n"][random.below(3)].to_vec(),
    };
    [header, &body, if body.ends_with(b"\r\n") { b"" } else { b"\r\n" }, b".\r\n"].concat()
}
