//! What clients may send: streams drawn from a grammar, and from the dialogues, mutated; with terms and verdicts of a policy.
//!
//! A case shrinks by dropping what it can do without: tokens, octets, settings, verdicts, cuts.

use std::fmt;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ringmx::mail::id::MessageId;
use ringmx::smtp::data::BareNewline;
use ringmx::smtp::extension::{Extension, Extensions};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Point};
use ringmx::smtp::settings::{AddressSyntax, Dialect, Nul, Synchronization, Terms};

use crate::dialog;
use crate::naive::Asked;

/// How the octets are cut into segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    Whole,
    /// A segment for each token.
    Tokens,
    Octets,
    At(Vec<usize>),
}

/// What a policy says.
#[derive(Clone, Debug)]
pub enum Saying {
    Refuse(u16),
    AcceptAs(u32),
    /// A bit pair for each recipient: accepted, refused for good, refused for now.
    Each(u64),
}

/// What a policy says at a point; at every question there, or at the nth.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub point: Point,
    pub nth: Option<u32>,
    pub saying: Saying,
}

impl Verdict {
    pub fn holds_at(&self, count: u32) -> bool {
        self.nth.is_none_or(|nth| nth == count)
    }

    pub fn outcome(&self, asked: &Asked) -> Outcome {
        match self.saying {
            Saying::Refuse(code) => Outcome::Refuse(Reply::scripted(code).expect("verdicts have such codes")),
            Saying::AcceptAs(number) => Outcome::AcceptAs(MessageId::from_bits(u128::from(number))),
            Saying::Each(bits) => {
                let count = asked.about.split(' ').nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
                let one = |at: u32| match bits >> (2 * (at % 32)) & 3 {
                    0 | 1 => Ok(()),
                    2 => Err(Reply::Scripted550),
                    _ => Err(Reply::Scripted451),
                };
                Outcome::each(None, (0..count).map(one))
            }
        }
    }
}

/// One session.
#[derive(Clone, Debug)]
pub struct Case {
    pub terms: Terms,
    pub is_secure: bool,
    pub verdicts: Vec<Verdict>,
    pub tokens: Vec<Vec<u8>>,
    pub cut: Cut,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = format!("{:#?}", crate::fixture());
        let own = format!("{:#?}", self.terms);
        // The values that the fixture does not have; EHLO's extensions by name.
        let mut differing: Vec<&str> = own.lines().filter(|line| !usual.lines().any(|one| one == *line)).collect();
        differing.retain(|line| line.contains(": ") || line.contains(','));
        let settings: String = differing.iter().map(|line| line.trim().to_owned() + " ").collect();
        writeln!(f, "  terms {settings}")?;
        if self.terms.extensions != crate::fixture().extensions {
            let names: Vec<&str> = self.terms.extensions.iter().map(Extension::keyword).collect();
            writeln!(f, "  extensions {}", names.join(","))?;
        }
        if self.is_secure {
            writeln!(f, "  within TLS")?;
        }
        if !self.verdicts.is_empty() {
            writeln!(f, "  verdicts {:?}", self.verdicts)?;
        }
        for token in &self.tokens {
            let text = token.escape_ascii().to_string();
            if text.len() <= 400 {
                writeln!(f, "  > {text}")?;
            } else {
                writeln!(f, "  > {} … {} ({} octets)", &text[..200], &text[text.len() - 100..], token.len())?;
            }
        }
        Ok(())
    }
}

impl Case {
    pub fn segments(&self, cut: &Cut) -> Vec<Vec<u8>> {
        let octets = self.tokens.concat();
        match cut {
            Cut::Whole => vec![octets],
            Cut::Tokens => self.tokens.clone(),
            Cut::Octets => octets.iter().map(|octet| vec![*octet]).collect(),
            Cut::At(places) => {
                let mut places: Vec<usize> = places.iter().map(|place| place % (octets.len() + 1)).collect();
                places.extend([0, octets.len()]);
                places.sort_unstable();
                places.dedup();
                places.windows(2).map(|pair| octets[pair[0]..pair[1]].to_vec()).collect()
            }
        }
    }

    /// Cases that are a little less than this one.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut one = self.clone();
            change(&mut one);
            all.push(one);
        };
        // Halves first, then single tokens.
        let count = self.tokens.len();
        let mut size = count.div_ceil(2);
        while size > 0 {
            for from in (0..count).step_by(size) {
                add(&|case| drop(case.tokens.drain(from..(from + size).min(count))));
            }
            size /= 2;
        }
        for index in 0..self.verdicts.len() {
            add(&|case| {
                case.verdicts.remove(index);
            });
        }
        if self.cut != Cut::Whole {
            add(&|case| case.cut = Cut::Whole);
        }
        if let Cut::At(places) = &self.cut {
            for index in 0..places.len() {
                add(&|case| {
                    if let Cut::At(places) = &mut case.cut {
                        places.remove(index);
                    }
                });
            }
        }
        if self.is_secure {
            add(&|case| case.is_secure = false);
        }
        all.extend(self.plainer_terms());
        for (index, token) in self.tokens.iter().enumerate() {
            let mut size = token.len() / 2;
            while size > 0 {
                for from in (0..token.len()).step_by(size) {
                    let mut one = self.clone();
                    drop(one.tokens[index].drain(from..(from + size).min(token.len())));
                    all.push(one);
                }
                if token.len() > 300 && size < token.len() / 16 {
                    break;
                }
                size /= 2;
            }
        }
        all
    }

    /// Each setting as the fixture has it.
    fn plainer_terms(&self) -> Vec<Self> {
        let usual = crate::fixture();
        macro_rules! settings {
            ($($name:ident)*) => {
                vec![$({
                    let mut one = self.clone();
                    one.terms.$name = usual.$name.clone();
                    one
                }),*]
            };
        }
        let mut all = settings!(dialect extensions requires_tls requires_auth message_size_bytes recipients_per_message
            recipient_domains_per_message messages_per_connection errors junk_commands synchronization bare_newline nul
            address_syntax default_domain received_fields line_octets discards);
        all.retain(|one| one.terms != self.terms && (!one.is_secure || one.terms.extensions.has(Extension::StartTls)));
        all
    }
}

// Terms.

fn extensions() -> BoxedStrategy<Extensions> {
    let usual = Extensions::unconditional();
    let of = |bits: u16| {
        let all = Extension::ALL.into_iter().enumerate();
        all.filter(|(at, _)| bits >> at & 1 != 0).map(|(_, one)| one).collect::<Extensions>()
    };
    prop_oneof![
        4 => Just(usual),
        2 => Just(usual.with(Extension::StartTls).with(Extension::Auth).with(Extension::RequireTls)),
        1 => Just(usual.with(Extension::Xclient)),
        1 => any::<u16>().prop_map(of),
    ]
    .boxed()
}

fn number(usual: Option<u32>, others: &'static [u32]) -> BoxedStrategy<Option<u32>> {
    prop_oneof![7 => Just(usual), 1 => Just(None), 2 => select(others).prop_map(Some)].boxed()
}

pub fn terms() -> BoxedStrategy<(Terms, bool)> {
    let limits = (
        prop_oneof![3 => Just(1_000_000_u64), 2 => select(&[0_u64, 5, 40, 300, 300][..])],
        prop_oneof![3 => Just(100_u32), 1 => select(&[1_u32, 2, 3][..])],
        number(None, &[1, 2]),
        number(None, &[0, 1, 2]),
        number(Some(20), &[1, 2, 3, 5]),
        number(Some(100), &[0, 1, 2, 4]),
        number(Some(100), &[0, 1, 2]),
        number(None, &[0, 5, 20]),
    );
    let modes = (
        prop_oneof![4 => Just(Dialect::Smtp), 1 => Just(Dialect::Lmtp)],
        prop_oneof![3 => Just(Synchronization::Tolerant), 1 => Just(Synchronization::Strict)],
        select(&[BareNewline::Normalize, BareNewline::Preserve, BareNewline::Reject][..]),
        select(&[Nul::Accept, Nul::Accept, Nul::Reject][..]),
        select(&[AddressSyntax::Loose, AddressSyntax::Strict][..]),
        select(vec![None, None, Some("ok.test".to_owned())]),
    );
    let flags = (weighted(5), weighted(5), weighted(20), weighted(25), weighted(50));
    (extensions(), limits, modes, flags)
        .prop_map(|(extensions, limits, modes, flags)| {
            let is_secure = flags.3;
            let terms = Terms {
                dialect: modes.0,
                extensions: match is_secure {
                    true if flags.4 => extensions.with(Extension::StartTls).with(Extension::Auth),
                    true => extensions.with(Extension::StartTls),
                    false => extensions,
                },
                requires_tls: flags.0,
                requires_auth: flags.1,
                message_size_bytes: limits.0,
                recipients_per_message: limits.1,
                recipient_domains_per_message: limits.2,
                messages_per_connection: limits.3,
                errors: limits.4,
                junk_commands: limits.5,
                synchronization: modes.1,
                bare_newline: modes.2,
                nul: modes.3,
                address_syntax: modes.4,
                default_domain: modes.5,
                received_fields: limits.6,
                line_octets: limits.7,
                discards: flags.2,
                ..crate::fixture()
            };
            (terms, is_secure)
        })
        .boxed()
}

fn weighted(percent: u32) -> BoxedStrategy<bool> {
    prop_oneof![100 - percent => Just(false), percent => Just(true)].boxed()
}

fn verdict() -> BoxedStrategy<Verdict> {
    let nth = prop_oneof![2 => (1..4_u32).prop_map(Some), 1 => Just(None)];
    let code = select(&[550_u16, 451, 452, 554, 421][..]);
    let refused = (select(&Point::ALL[1..7]), code.clone()).prop_map(|(point, code)| (point, Saying::Refuse(code)));
    prop_oneof![
        1 => select(&[554_u16, 421, 521][..]).prop_map(|code| (Point::Connect, Saying::Refuse(code))),
        6 => refused,
        4 => code.prop_map(|code| (Point::EndOfData, Saying::Refuse(code))),
        2 => any::<u32>().prop_map(|number| (Point::EndOfData, Saying::AcceptAs(number))),
        4 => any::<u64>().prop_map(|bits| (Point::EndOfData, Saying::Each(bits))),
    ]
    .prop_flat_map(move |(point, saying)| {
        nth.clone().prop_map(move |nth| Verdict { point, nth, saying: saying.clone() })
    })
    .boxed()
}

fn cut() -> BoxedStrategy<Cut> {
    prop_oneof![
        2 => Just(Cut::Tokens),
        1 => Just(Cut::Octets),
        2 => vec(any::<usize>(), 1..6).prop_map(Cut::At),
    ]
    .boxed()
}

// A grammar of what is sent.

const ODD_LOCAL_PARTS: &[&[u8]] = &[
    b".a",
    b"a.",
    b"a..b",
    b"\"a b\"",
    b"\"\"",
    b"\"a\\\"b\"",
    b"\"a@b\"",
    b"\"a>b\"",
    b"\xC3\xA4",
    b"\xF0\x9F\x98\x80",
    b"\xC0\xAF",
    b"\xED\xA0\x80",
    b"\"postmaster\"",
];
const ODD_DOMAINS: &[&[u8]] = &[
    b"x.test.",
    b"x_y.test",
    b"-x.test",
    b"x-.test",
    b"x..test",
    b".test",
    b"m\xC3\xBCller.test",
    b"[1.2.3.4]",
    b"[IPv6:::1]",
    b"[IPv6:2001:db8::1]",
    b"[IPv6:::ffff:1.2.3.4]",
    b"[1.2.3]",
    b"[1.02.3.4]",
    b"[1.2.3.255]",
    b"[1.2.3.256]",
    b"[]",
];
const ODD_BEFORE_PATHS: &[&[u8]] =
    &[b"", b" <", b" ", b"\t <", b"<<", b"<@h1.test:", b"<@h1.test,@h2.test:", b"<@:", b"<@h1.test,:", b"< "];
const ODD_COMMANDS: &[&[u8]] = &[
    b"",
    b" ",
    b"\t",
    b" NOOP",
    b"NOOP\t",
    b"NOOP\t ",
    b"\t ",
    b"NOOP ",
    b"NOOP a\0b",
    b"NO\0OP",
    b"NOOP\r",
    b"NOOP x\ry",
    b"RSET x",
    b"RSET\t",
    b"RSET \x01",
    b"QUIT x",
    b"QUIT \t ",
    b"VRFY",
    b"VRFY \x01",
    b"HELP MAIL",
    b"TURN",
    b"SEND FROM:<a@b>",
    b"EXPN",
    b"MAI",
    b"MAILX",
    b"\xFF\xFE",
    b"DATA x",
    b"DATA \x01",
    b"DATA\t",
    b"HELP \xFF",
    b"NOOP \x7F",
];
const FOREIGN: &[&[u8]] = &[
    b"GET / HTTP/1.1",
    b"GET",
    b"get / x",
    b"POST / HTTP/1.0",
    b"CONNECT x:25 HTTP/1.0",
    b"Host: x",
    b"Host:",
    b"GETX",
    b"PUT / HTTP/1.1",
    b"HEAD /",
    b"DELETE /",
    b"OPTIONS *",
    b"PATCH /",
    b"TRACE /",
    b"PRI * HTTP/2.0",
    b"HOST",
    b"\x16\x03\x01\x02",
    b"\x80\x2E\x01\x03\x01",
    b"\x16",
    b"\x16\x04",
];
const XCLIENTS: &[&[u8]] = &[
    b"XCLIENT ADDR=192.0.2.9",
    b"xclient name=[UNAVAILABLE] addr=ipv6:::1",
    b"XCLIENT",
    b"XCLIENT FOO=x",
    b"XCLIENT PORT=25 PROTO=esmtp HELO=h+2B",
    b"XCLIENT PORT=65536",
    b"XCLIENT LOGIN=",
    b"XCLIENT ADDR",
    b"XCLIENT DESTADDR=1.2.3.4 DESTPORT=0",
    b"XCLIENT PROTO=[TEMPUNAVAIL]",
    b"XCLIENT LOGIN=a+zz",
    b"XCLIENT ADDR=1.2.3.4  PORT=1",
    b"XCLIENT NAME=a\0b",
];
const ODD_ENDS: &[&[u8]] = &[b"\r", b"\r\r\n", b"", b" \r\n"];
const ODD_CHUNKS: &[&str] = &[
    "BDAT N FIRST",
    "BDAT",
    "BDAT x",
    "BDAT -1",
    "BDAT N LAST x",
    "BDAT  N",
    "BDAT N  LAST",
    "BDAT N\tLAST",
    "BDAT +N",
    "BDAT 1073741824",
    "BDAT 1073741825",
    "BDAT 18446744073709551615",
    "BDAT 18446744073709551616",
    "BDAT 00000000000000000000N",
    "BDAT N LAST\0",
    "BDAT N\r",
];

/// About how much of a line that is too long is read.
const LONG_LINES: &[usize] = &[3300, 5000, 65533, 65534, 65535, 65536];

/// About the bounds of parameters and paths.
const SIZES: &[usize] = &[62, 98, 99, 100, 101, 250, 252, 253, 254, 255, 256, 493, 494, 498, 499, 500];

fn text(all: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    select(all).prop_map(|text| text.as_bytes().to_vec()).boxed()
}

fn octets(all: &'static [&'static [u8]]) -> BoxedStrategy<Vec<u8>> {
    select(all).prop_map(<[u8]>::to_vec).boxed()
}

/// Mostly the first.
fn mostly(first: &'static [u8], percent: u32, others: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![percent => Just(first.to_vec()), 100 - percent => others].boxed()
}

fn local_part() -> BoxedStrategy<Vec<u8>> {
    let letters: &[&[u8]] = &[
        b"a",
        b"Z",
        b"9",
        b".",
        b"-",
        b"+",
        b"'",
        b"=",
        b"/",
        b"\"",
        b"\\",
        b" ",
        b"@",
        b"\xC3\xA4",
        b"\xFF",
        b"\0",
        b"\t",
        b"<",
        b">",
        b"\x7F",
        b"(",
        b",",
        b":",
    ];
    let odd = vec(select(letters), 0..6).prop_map(|all| all.concat());
    let quoted = vec(select(letters), 0..5).prop_map(|all| [b"\"", &all.concat()[..], b"\""].concat());
    let long = select(&[63_usize, 64, 65, 255, 256, 257][..]).prop_map(|size| vec![b'l'; size]);
    prop_oneof![
        6 => octets(&[b"a", b"s", b"b.c", b"no", b"no451", b"no421", b"postmaster", b"Postmaster", b"x+y"]),
        2 => octets(ODD_LOCAL_PARTS),
        1 => odd,
        1 => quoted,
        1 => long,
    ]
    .boxed()
}

fn domain() -> BoxedStrategy<Vec<u8>> {
    let pieces: &[&[u8]] = &[b"a", b"9", b"-", b"_", b".", b"x.", b"\xC3\xBC", b"\xFF", b" ", b"[", b"]", b":", b"@"];
    let odd = vec(select(pieces), 0..6).prop_map(|all| all.concat());
    let address: &[&str] = &[
        "1", ":", "::", "ffff", "12345", ".", "0", "01", "256", "1.2.3.4", "IPv6:", "ipv6:", "g", ":1", "2:", "1:2:3:",
        "001", "0001",
    ];
    let literal = (text(&["", "IPv6:", "IPV6:", "IPv4:", "x:"]), vec(select(address), 0..7))
        .prop_map(|(tag, all)| [b"[", &tag[..], all.concat().as_bytes(), b"]"].concat());
    let ipv6 = (0..9_usize, 0..9_usize, any::<bool>(), any::<bool>()).prop_map(|(before, behind, is_short, has_v4)| {
        let mut groups = [vec!["1"; before].join(":"), vec!["a0"; behind].join(":")];
        if has_v4 {
            groups[1] += if behind > 0 { ":1.2.3.4" } else { "1.2.3.4" };
        }
        let middle = if is_short { "::" } else { ":" };
        format!("[IPv6:{}]", groups.join(middle)).into_bytes()
    });
    let sized =
        (1..6_usize, select(&[1_usize, 2, 48, 49, 62, 63, 64][..]), 0..8_usize).prop_map(|(count, size, more)| {
            let mut all = vec![vec![b'd'; size]; count].join(&b'.');
            all.push(b'.');
            all.extend(vec![b'e'; more]);
            all
        });
    prop_oneof![
        8 => octets(&[b"x.test", b"ok.test", b"OK.test", b"two.test", b"localhost"]),
        2 => octets(ODD_DOMAINS),
        1 => odd,
        1 => literal,
        1 => ipv6,
        1 => sized,
    ]
    .boxed()
}

fn path() -> BoxedStrategy<Vec<u8>> {
    let address =
        (local_part(), mostly(b"@", 85, octets(&[b"", b"@@"])), domain()).prop_map(|(local_part, at, domain)| {
            if at.is_empty() { local_part } else { [local_part, at, domain].concat() }
        });
    let route = (domain(), domain()).prop_map(|(one, other)| [b"<@", &one[..], b",@", &other[..], b":"].concat());
    let before = prop_oneof![
        16 => Just(b"<".to_vec()),
        4 => octets(ODD_BEFORE_PATHS),
        1 => route,
    ];
    let behind = mostly(b">", 80, octets(&[b"", b">>", b" >", b">x", b"> ", b">\t", b"", b""]));
    prop_oneof![
        10 => (before, address, behind).prop_map(|(before, address, behind)| [before, address, behind].concat()),
        2 => octets(&[b"<>", b"< >", b"", b" ", b"<", b">", b"<@x.test>", b"<a@>"]),
    ]
    .boxed()
}

fn parameters() -> BoxedStrategy<Vec<u8>> {
    let size = select(
        &[
            "SIZE=5",
            "SIZE=0",
            "SIZE=40",
            "SIZE=41",
            "SIZE=300",
            "SIZE=1000000",
            "SIZE=1000001",
            "size=5",
            "SIZE",
            "SIZE=",
            "SIZE=x",
            "SIZE=-1",
            "SIZE=18446744073709551616",
            "SIZE=99999999999999999999",
            "SIZE=000000000000000000001",
        ][..],
    );
    let body =
        select(&["BODY=7BIT", "BODY=8BITMIME", "body=8bitmime", "BODY=BINARYMIME", "BODY", "BODY=", "BODY=X"][..]);
    let others = select(
        &[
            "SMTPUTF8",
            "smtputf8",
            "SMTPUTF8=",
            "SMTPUTF8=x",
            "RET=FULL",
            "RET=hdrs",
            "RET=X",
            "RET",
            "ENVID=QQ314159",
            "ENVID=",
            "ENVID=a+2B",
            "ENVID=a+2b",
            "ENVID=a+",
            "REQUIRETLS",
            "REQUIRETLS=1",
            "AUTH=<>",
            "AUTH=e+3Dmc2@x.test",
            "AUTH=",
            "AUTH=a=b",
            "AUTH=s",
            "AUTH=s@x.test>",
            "AUTH=@h.test:s@x.test",
            "AUTH=+C3+A4@x.test",
            "AUTH=\u{e4}@x.test",
            "AUTH=+22a+20b+22@x.test",
            "AUTH=s+0D@x.test",
            "AUTH=s@[IPv6:::1]",
            "AUTH=s@x.test.",
            "ENVID=a+01",
            "ENVID=a+09b+20",
            "ENVID=+E4",
            "ENVID=\u{e4}",
            "NOTIFY=NEVER",
            "NOTIFY=success,DELAY",
            "NOTIFY=DELAY,DELAY",
            "NOTIFY=NEVER,DELAY",
            "NOTIFY=",
            "NOTIFY=,",
            "ORCPT=rfc822;a@x.test",
            "ORCPT=;a",
            "ORCPT=a",
            "ORCPT=X400;",
            "ORCPT=rfc822;a+2Bb@x.test",
            "ORCPT=rfc822;a+00",
            "ORCPT=utf-8;\u{e4}@x.test",
            "ORCPT=UTF-8;a\\x{2B}b@x.test",
            "ORCPT=utf-8;\\x{E4}\\x{10FFFF}",
            "ORCPT=utf-8;\\x{D800}",
            "ORCPT=utf-8;\\x{0E4}",
            "ORCPT=utf-8;\\x{41}",
            "ORCPT=utf-8;\\x{5C}\\",
            "ORCPT=utf-8;a+2Bb",
            "ORCPT=utf-8;",
            "ORCPT=a\"b;c",
            "FOO",
            "FOO=",
            "FOO=bar",
            "-X=1",
            "=x",
            "A=b=c",
            "F\u{1}=1",
            "X-1=\u{e9}",
            "a\t",
            "A==",
            "A\u{7f}",
            "1",
        ][..],
    );
    let sized = (
        text(&["ENVID=", "AUTH=s@", "AUTH=s@d.", "ORCPT=rfc822;", "ORCPT=x;"]),
        select(SIZES),
        text(&["a", "a.", "+2B"]),
    )
        .prop_map(|(keyword, octets, of)| {
            let value = of.iter().copied().cycle().take(octets).collect();
            String::from_utf8([keyword, value].concat()).expect("it is ASCII")
        });
    let one = prop_oneof![9 => size.prop_map(str::to_owned), 9 => body.prop_map(str::to_owned), 14 => others.prop_map(str::to_owned), 1 => sized];
    let space = prop_oneof![10 => Just(" "), 1 => select(&["  ", "\t", " \t", ""][..])];
    vec((space, one), 0..4)
        .prop_map(|all| all.into_iter().flat_map(|(space, one)| [space, &one].concat().into_bytes()).collect())
        .boxed()
}

fn mail() -> BoxedStrategy<Vec<u8>> {
    let usual = octets(&[
        b"MAIL FROM:<s@x.test>",
        b"MAIL FROM:<>",
        b"mail from:<s@x.test>",
        b"MAIL FROM:<s@x.test> BODY=8BITMIME",
        b"MAIL FROM:<s@x.test> BODY=BINARYMIME",
        b"MAIL FROM:<\xC3\xA4@x.test> SMTPUTF8",
    ]);
    let word = mostly(
        b"MAIL FROM:",
        90,
        octets(&[
            b"MAIL TO:",
            b"MAIL FROM",
            b"MAIL  FROM:",
            b"MAIL FROM :",
            b"MAIL FROM: ",
            b"mail From:",
            b"MAIL\tFROM:",
        ]),
    );
    let odd = (word, path(), parameters()).prop_map(|all| [all.0, all.1, all.2].concat());
    let ends = (select(&["<s@x.test>", "<>", "<\u{e4}@x.test> SMTPUTF8"][..]), parameters())
        .prop_map(|(path, parameters)| [b"MAIL FROM:", path.as_bytes(), &parameters].concat());
    prop_oneof![6 => usual, 6 => odd, 3 => ends].boxed()
}

fn rcpt() -> BoxedStrategy<Vec<u8>> {
    let usual = octets(&[
        b"RCPT TO:<a@ok.test>",
        b"RCPT TO:<postmaster>",
        b"rcpt to:<b@two.test>",
        b"RCPT TO:<no@ok.test>",
        b"RCPT TO:<no451@three.test>",
    ]);
    let word = mostly(b"RCPT TO:", 90, octets(&[b"RCPT FROM:", b"RCPT TO", b"RCPT  TO:", b"RCPT TO: ", b"Rcpt tO:"]));
    let odd = (word, path(), parameters()).prop_map(|all| [all.0, all.1, all.2].concat());
    let ends = parameters().prop_map(|parameters| [b"RCPT TO:<a@ok.test>", &parameters[..]].concat());
    prop_oneof![8 => usual, 6 => odd, 2 => ends].boxed()
}

fn hello() -> BoxedStrategy<Vec<u8>> {
    let usual = octets(&[b"EHLO c.test", b"HELO c.test", b"LHLO c.test", b"EHLO [192.0.2.1]", b"lhlo c.test"]);
    let word = octets(&[b"EHLO ", b"HELO ", b"LHLO ", b"EHLO", b"EHLO  "]);
    let name = prop_oneof![
        domain(),
        octets(&[b"", b"a b", b"a\tb", b"a\x01", b"a\0", b"\x7F", b"\xFF", b"caf\xC3\xA9", b"x\r", b"noon"])
    ];
    let odd = (word, name).prop_map(|(word, name)| [word, name].concat());
    let long = (250..260_usize).prop_map(|size| [b"EHLO ", &vec![b'a'; size][..]].concat());
    prop_oneof![8 => usual, 3 => odd, 1 => long].boxed()
}

fn other() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        6 => octets(&[b"NOOP", b"RSET", b"VRFY a", b"HELP", b"noop x", b"rset", b"EXPN a", b"FOOBAR", b"QUIT"]),
        3 => octets(ODD_COMMANDS),
        1 => octets(FOREIGN),
        2 => octets(&[b"STARTTLS", b"starttls ", b"STARTTLS x"]),
        2 => octets(XCLIENTS),
        1 => (3195..3215_usize).prop_map(|size| [b"NOOP ", &vec![b'x'; size][..]].concat()),
        1 => select(LONG_LINES).prop_map(|size| vec![b'x'; size]),
    ]
    .boxed()
}

fn auth() -> BoxedStrategy<Vec<u8>> {
    octets(&[
        b"AUTH PLAIN AHUAcA==",
        b"AUTH PLAIN",
        b"AUTH LOGIN",
        b"AUTH LOGIN dQ==",
        b"auth plain AHUAcQ==",
        b"AUTH PLAIN =",
        b"AUTH LOGIN =",
        b"AUTH PLAIN AHUAcA",
        b"AUTH PLAIN AHUAcA== x",
        b"AUTH",
        b"AUTH FOO",
        b"AUTH FOO x",
        b"AUTH PLAIN AAAA",
        b"AUTH PLAIN AHUA",
        b"AUTH PLAIN AHUAcAA=",
        b"AUTH  PLAIN",
        b"AUTH PLAIN  AHUAcA==",
        b"AUTH PLAIN\tAHUAcA==",
        b"AUTH PLAIN YQB1AHA=",
        b"AUTH PLAIN AP8A/w==",
        b"AUTH LOGIN dR==",
        b"AHUAcA==",
        b"dQ==",
        b"cA==",
        b"*",
        b"",
        b"=",
        b"cA== ",
        b" cA==",
        b"* ",
        b"cR==",
        b"cA=",
        b"!",
        b"cA==\r",
    ])
    .boxed()
}

fn end() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![30 => Just(b"\r\n".to_vec()), 2 => Just(b"\n".to_vec()), 1 => octets(ODD_ENDS)].boxed()
}

fn line(of: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<Vec<u8>>> {
    (of, end()).prop_map(|(line, end)| vec![[line, end].concat()]).boxed()
}

fn body() -> BoxedStrategy<Vec<u8>> {
    let harmless: &[&[u8]] = &[
        b"\r\n",
        b"..x",
        b"text",
        b"a line\r\n",
        b"DATA\r\n",
        b"\r\n.",
        b"QUIT\r\n",
        b"Subject: x\r\n",
        b"Received: x\r\n",
        b"received \t: x\r\n",
        b"Received x\r\n",
        b" Received: x\r\n",
        b"\r\n\r\n",
        b"\r\n..\r\n",
    ];
    let hard: &[&[u8]] = &[
        b"\n",
        b"\r",
        b"\0",
        b"\xFF",
        b".",
        b"..",
        b"\r\n.",
        b"\n.",
        b"\r.",
        b"x",
        b"\r\n",
        b".\r",
        b".\n",
        b"\r\n.\r\n",
        b"\r\r\n",
        b"\n\n",
        b"Received:",
        b":",
        b" ",
        b"Received\n: x",
    ];
    let mild: &[&[u8]] = &[
        b"\n",
        b"\r",
        b"\0",
        b"\xFF",
        b"text",
        b"a line\r\n",
        b"Received: x\n",
        b"\r\n",
        b"Received: y\r\n",
        b"\n\n",
        b"\r\r",
        b"\n\r\n",
    ];
    let of = |all: &'static [&'static [u8]], most| vec(select(all), 0..most).prop_map(|all| all.concat());
    let long =
        (0..400_usize).prop_map(|size| b"a longer line of text\r\n".iter().copied().cycle().take(size).collect());
    // What is hard stands anywhere in a block of the scanner.
    let far = ((0..200_usize), of(hard, 6), (0..80_usize))
        .prop_map(|(before, hard, behind)| [vec![b'x'; before], hard, vec![b'y'; behind]].concat());
    prop_oneof![5 => of(harmless, 8), 3 => of(mild, 8), 1 => of(hard, 10), 1 => far, 1 => long].boxed()
}

fn data() -> BoxedStrategy<Vec<Vec<u8>>> {
    let command = mostly(
        b"DATA\r\n",
        92,
        octets(&[b"data\r\n", b"DATA\n", b"DATA x\r\n", b"DATA \t\r\n", b"DATA\0\r\n", b"DATA \r\r\n"]),
    );
    let end =
        mostly(b"\r\n.\r\n", 80, octets(&[b".\r\n", b"\n.\r\n", b"\r\n.\n", b"", b"\r\r\n.\r\n", b"\0\r\n.\r\n"]));
    (command, body(), end).prop_map(|(command, body, end)| vec![command, [body, end].concat()]).boxed()
}

fn bdat() -> BoxedStrategy<Vec<Vec<u8>>> {
    let form = prop_oneof![
        10 => Just("BDAT N"),
        14 => Just("BDAT N LAST"),
        2 => select(&["bdat N last", "BDAT 0", "BDAT 0 LAST", "BDAT 00N LAST"][..]),
        1 => select(ODD_CHUNKS),
    ];
    let off = prop_oneof![12 => Just(0_i64), 1 => -3..4_i64];
    (form, body(), off)
        .prop_map(|(form, body, off)| {
            let size = (body.len() as i64 + off).max(0).to_string();
            vec![[form.replace('N', &size).as_bytes(), b"\r\n"].concat(), body]
        })
        .boxed()
}

fn transaction() -> BoxedStrategy<Vec<Vec<u8>>> {
    let rcpts = prop_oneof![
        4 => Just(vec![b"RCPT TO:<a@ok.test>\r\n".to_vec()]),
        2 => vec(line(rcpt()).prop_map(|line| line.concat()), 1..4),
    ];
    let mail =
        prop_oneof![4 => Just(b"MAIL FROM:<s@x.test>\r\n".to_vec()), 1 => line(mail()).prop_map(|line| line.concat())];
    let content = prop_oneof![3 => data(), 3 => vec(bdat(), 1..4).prop_map(|chunks| chunks.concat())];
    (mail, rcpts, content).prop_map(|(mail, rcpts, content)| [vec![mail], rcpts, content].concat()).boxed()
}

fn step() -> BoxedStrategy<Vec<Vec<u8>>> {
    prop_oneof![
        8 => transaction(),
        2 => line(mail()),
        3 => line(rcpt()),
        2 => data(),
        2 => bdat(),
        2 => line(hello()),
        4 => line(other()),
        1 => line(auth()),
    ]
    .boxed()
}

fn with_hello() -> BoxedStrategy<bool> {
    weighted(90).boxed()
}

fn assembled(
    terms: (Terms, bool),
    says_hello: bool,
    steps: Vec<Vec<Vec<u8>>>,
    verdicts: Vec<Verdict>,
    cut: Cut,
) -> Case {
    let (terms, is_secure) = terms;
    let hello: &[u8] = if terms.dialect == Dialect::Lmtp { b"LHLO c.test\r\n" } else { b"EHLO c.test\r\n" };
    let mut tokens = if says_hello { vec![hello.to_vec()] } else { Vec::new() };
    if is_secure && terms.requires_auth {
        tokens.push(b"AUTH PLAIN AHUAcA==\r\n".to_vec());
    }
    tokens.extend(steps.concat());
    Case { terms, is_secure, verdicts, tokens, cut }
}

fn verdicts() -> BoxedStrategy<Vec<Verdict>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(verdict(), 1..3)].boxed()
}

/// Sessions drawn from the grammar; some have a few octets changed.
pub fn drawn() -> BoxedStrategy<Case> {
    let long = select(LONG_LINES).prop_map(|size| vec![b'x'; size]);
    let begin = octets(&[b"AUTH PLAIN", b"AUTH LOGIN", b"AUTH LOGIN dQ=="]);
    let response = octets(&[b"AHUAcA==", b"dQ==", b"cA==", b"*", b"* ", b"", b"=", b" cA==\t", b"cA", b"AHUAAA=="]);
    let response = prop_oneof![20 => response, 1 => long];
    let exchange =
        (line(begin), vec(line(response.boxed()), 1..3)).prop_map(|(begin, all)| [begin, all.concat()].concat());
    let auth = prop_oneof![2 => line(auth()), 1 => exchange];
    let auths = prop_oneof![3 => Just(Vec::new()), 1 => vec(auth, 1..5)];
    let edits = prop_oneof![3 => Just(Vec::new()), 1 => vec(edit(), 1..4)];
    (terms(), with_hello(), auths, vec(step(), 0..8), verdicts(), cut(), edits)
        .prop_map(|(terms, hello, auths, steps, verdicts, cut, edits)| {
            let mut case = assembled(terms, hello, [auths, steps].concat(), verdicts, cut);
            edits.iter().for_each(|edit| edit.apply(&mut case.tokens, &[]));
            case
        })
        .boxed()
}

// Mutated dialogues.

/// One change of a stream.
#[derive(Clone, Debug)]
enum Edit {
    Drop(Index),
    Repeat(Index, u8),
    Swap(Index, Index),
    Insert(Index, Vec<Vec<u8>>),
    /// Some tokens of another dialogue.
    Splice(Index, Index, Index, usize),
    SetOctet(Index, Index, u8),
    InsertOctet(Index, Index, u8),
    DropOctets(Index, Index, usize),
    /// Two lines become one, or one becomes two.
    Cross(Index, Index, Index),
}

fn edit() -> BoxedStrategy<Edit> {
    let index = any::<Index>;
    let octet = || prop_oneof![select(&b"\r\n.\0 \t<>@:;=,+-_\"\\[]0aA\x7F\x80\xFF*"[..]), any::<u8>()];
    prop_oneof![
        index().prop_map(Edit::Drop),
        (index(), 2..4_u8).prop_map(|(at, times)| Edit::Repeat(at, times)),
        (index(), index()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (index(), step()).prop_map(|(at, tokens)| Edit::Insert(at, tokens)),
        (index(), index(), index(), 1..6_usize).prop_map(|(at, case, from, count)| Edit::Splice(at, case, from, count)),
        (index(), index(), octet()).prop_map(|(token, at, octet)| Edit::SetOctet(token, at, octet)),
        (index(), index(), octet()).prop_map(|(token, at, octet)| Edit::InsertOctet(token, at, octet)),
        (index(), index(), 1..4_usize).prop_map(|(token, at, count)| Edit::DropOctets(token, at, count)),
        (index(), index(), index()).prop_map(|(one, other, at)| Edit::Cross(one, other, at)),
    ]
    .boxed()
}

impl Edit {
    fn apply(&self, tokens: &mut Vec<Vec<u8>>, corpus: &[Case]) {
        if tokens.is_empty() {
            return;
        }
        let count = tokens.len();
        match self {
            Self::Drop(at) => drop(tokens.remove(at.index(count))),
            Self::Repeat(at, times) => {
                let at = at.index(count);
                let token = tokens[at].clone();
                for _ in 1..*times {
                    tokens.insert(at, token.clone());
                }
            }
            Self::Swap(one, other) => tokens.swap(one.index(count), other.index(count)),
            Self::Insert(at, more) => drop(tokens.splice(at.index(count)..at.index(count), more.clone())),
            Self::Splice(at, case, from, most) => {
                if corpus.is_empty() {
                    return;
                }
                let other = &case.get(corpus).tokens;
                let from = from.index(other.len() + 1);
                let more: Vec<Vec<u8>> = other[from..].iter().take(*most).cloned().collect();
                drop(tokens.splice(at.index(count)..at.index(count), more));
            }
            Self::SetOctet(token, at, octet) => {
                let token = &mut tokens[token.index(count)];
                if !token.is_empty() {
                    let at = at.index(token.len());
                    token[at] = *octet;
                }
            }
            Self::InsertOctet(token, at, octet) => {
                let token = &mut tokens[token.index(count)];
                token.insert(at.index(token.len() + 1), *octet);
            }
            Self::DropOctets(token, at, octets) => {
                let token = &mut tokens[token.index(count)];
                let from = at.index(token.len() + 1);
                let to = (from + octets).min(token.len());
                drop(token.drain(from..to));
            }
            Self::Cross(one, other, at) => {
                let behind = {
                    let other = &tokens[other.index(count)];
                    other[at.index(other.len() + 1)..].to_vec()
                };
                let one = &mut tokens[one.index(count)];
                one.truncate(at.index(one.len() + 1));
                one.extend(behind);
            }
        }
    }
}

/// Where they are.
pub fn dialogues() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialog")
}

/// The clients of the dialogues, each with its own terms.
fn corpus() -> Vec<Case> {
    let mut corpus = Vec::new();
    for case in dialog::load(&dialogues()) {
        for variant in case.variants() {
            let mut octets: Vec<u8> = Vec::new();
            for (line, _) in variant.preamble() {
                octets.extend_from_slice(line.as_bytes());
            }
            for step in &case.steps {
                if let dialog::Step::Send(segments) = step {
                    octets.extend(segments.concat());
                }
            }
            if octets.len() > 12_000 || (variant.is_secure && !variant.terms.extensions.has(Extension::StartTls)) {
                continue;
            }
            let tokens = octets.split_inclusive(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect();
            let verdict = |(point, reply): &(Point, Reply)| Verdict {
                point: *point,
                nth: None,
                saying: Saying::Refuse(reply.code()),
            };
            let verdicts = variant.refuse.iter().map(verdict).collect();
            corpus.push(Case {
                terms: variant.terms.clone(),
                is_secure: variant.is_secure,
                verdicts,
                tokens,
                cut: Cut::Whole,
            });
        }
    }
    assert!(corpus.len() > 100, "the dialogues are there");
    corpus
}

/// Sessions of the dialogues with a few changes, some under other terms.
pub fn mutated() -> BoxedStrategy<Case> {
    let corpus: &'static [Case] = Vec::leak(corpus());
    let other = prop_oneof![2 => Just(None), 1 => terms().prop_map(Some)];
    (select(corpus), vec(edit(), 0..5), other, verdicts(), cut())
        .prop_map(move |(mut case, edits, other, verdicts, cut)| {
            edits.iter().for_each(|edit| edit.apply(&mut case.tokens, corpus));
            if let Some((terms, is_secure)) = other {
                (case.terms, case.is_secure) = (terms, is_secure);
            } else {
                case.terms.synchronization = Synchronization::Tolerant;
            }
            case.verdicts.extend(verdicts);
            case.cut = cut;
            case
        })
        .boxed()
}
