//! The oracle of `path` and `parameter`: the ABNF of the RFCs, matched in the most obvious way, which is to try everything.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// A rule, as RFC 5234 writes them.
#[derive(Clone)]
pub enum Rule {
    /// `%x30-39`.
    Octet(RangeInclusive<u8>),
    /// `"text"`, in any case.
    Text(&'static str),
    /// Concatenation.
    All(Vec<Rule>),
    /// Alternatives.
    One(Vec<Rule>),
    /// `<least>*<most>element`.
    Repeat(usize, usize, Box<Rule>),
}

use Rule::{All, Octet, One, Text};

const NO_LIMIT: usize = usize::MAX;

fn repeat(least: usize, most: usize, rule: Rule) -> Rule {
    Rule::Repeat(least, most, Box::new(rule))
}

fn optional(rule: Rule) -> Rule {
    repeat(0, 1, rule)
}

impl Rule {
    /// Whether all of the text is one.
    pub fn is(&self, text: &[u8]) -> bool {
        self.ends(text, &BTreeSet::from([0])).contains(&text.len())
    }

    /// Everywhere that a match which starts at any of the places can end.
    fn ends(&self, text: &[u8], starts: &BTreeSet<usize>) -> BTreeSet<usize> {
        match self {
            Octet(range) => {
                let fits = |at: &&usize| text.get(**at).is_some_and(|octet| range.contains(octet));
                starts.iter().filter(fits).map(|at| at + 1).collect()
            }
            Text(word) => {
                let fits = |at: &&usize| {
                    text.get(**at..**at + word.len()).is_some_and(|piece| piece.eq_ignore_ascii_case(word.as_bytes()))
                };
                starts.iter().filter(fits).map(|at| at + word.len()).collect()
            }
            All(rules) => rules.iter().fold(starts.clone(), |starts, rule| rule.ends(text, &starts)),
            One(rules) => rules.iter().flat_map(|rule| rule.ends(text, starts)).collect(),
            Rule::Repeat(least, most, rule) => {
                let mut all = if *least == 0 { starts.clone() } else { BTreeSet::new() };
                let mut here = starts.clone();
                for turn in 1..=(*most).min(text.len() + 1) {
                    here = rule.ends(text, &here);
                    if here.is_empty() {
                        break;
                    }
                    if turn >= *least {
                        all.extend(&here);
                    }
                }
                all
            }
        }
    }
}

fn alpha() -> Rule {
    One(vec![Octet(b'A'..=b'Z'), Octet(b'a'..=b'z')])
}

fn digit() -> Rule {
    Octet(b'0'..=b'9')
}

fn let_dig() -> Rule {
    One(vec![alpha(), digit()])
}

fn one_of(octets: &[u8]) -> Rule {
    One(octets.iter().map(|octet| Octet(*octet..=*octet)).collect())
}

/// RFC 3629 §4: UTF8-2, UTF8-3 and UTF8-4, which RFC 6532 §3.1 calls `UTF8-non-ascii`.
fn utf8_non_ascii() -> Rule {
    let tail = || Octet(0x80..=0xBF);
    One(vec![
        All(vec![Octet(0xC2..=0xDF), tail()]),
        All(vec![Octet(0xE0..=0xE0), Octet(0xA0..=0xBF), tail()]),
        All(vec![Octet(0xE1..=0xEC), tail(), tail()]),
        All(vec![Octet(0xED..=0xED), Octet(0x80..=0x9F), tail()]),
        All(vec![Octet(0xEE..=0xEF), tail(), tail()]),
        All(vec![Octet(0xF0..=0xF0), Octet(0x90..=0xBF), tail(), tail()]),
        All(vec![Octet(0xF1..=0xF3), tail(), tail(), tail()]),
        All(vec![Octet(0xF4..=0xF4), Octet(0x80..=0x8F), tail(), tail()]),
    ])
}

/// The rule, with what RFC 6531 §3.3 adds to it.
fn extended(rule: Rule, utf8: bool) -> Rule {
    if utf8 { One(vec![rule, utf8_non_ascii()]) } else { rule }
}

fn atext(utf8: bool) -> Rule {
    extended(One(vec![alpha(), digit(), one_of(b"!#$%&'*+-/=?^_`{|}~")]), utf8)
}

/// RFC 5321 §4.1.2 `Local-part`.
fn local_part(utf8: bool) -> Rule {
    let atom = || repeat(1, NO_LIMIT, atext(utf8));
    let dot_string = All(vec![atom(), repeat(0, NO_LIMIT, All(vec![Text("."), atom()]))]);
    let qtext = extended(One(vec![Octet(32..=33), Octet(35..=91), Octet(93..=126)]), utf8);
    let quoted_pair = All(vec![Octet(92..=92), Octet(32..=126)]);
    let quoted = All(vec![Text("\""), repeat(0, NO_LIMIT, One(vec![qtext, quoted_pair])), Text("\"")]);
    One(vec![dot_string, quoted])
}

/// RFC 5321 §4.1.2 `Domain`. A U-label is taken for a sub-domain with characters beyond ASCII among its letters.
pub fn domain(utf8: bool) -> Rule {
    let let_dig = || extended(let_dig(), utf8);
    let ldh_str = All(vec![repeat(0, NO_LIMIT, One(vec![let_dig(), Text("-")])), let_dig()]);
    let sub_domain = || All(vec![let_dig(), optional(ldh_str.clone())]);
    All(vec![sub_domain(), repeat(0, NO_LIMIT, All(vec![Text("."), sub_domain()]))])
}

/// RFC 5321 §4.1.3 `address-literal`, without tags that are not registered.
pub fn address_literal() -> Rule {
    let snum = || {
        One(vec![
            repeat(1, 2, digit()),
            All(vec![Octet(b'0'..=b'1'), digit(), digit()]),
            All(vec![Text("2"), Octet(b'0'..=b'4'), digit()]),
            All(vec![Text("25"), Octet(b'0'..=b'5')]),
        ])
    };
    let ipv4 = || All(vec![snum(), repeat(3, 3, All(vec![Text("."), snum()]))]);
    let hex = || repeat(1, 4, One(vec![digit(), Octet(b'A'..=b'F'), Octet(b'a'..=b'f')]));
    // So many groups, with colons between.
    let groups = |count: usize| match count {
        0 => All(vec![]),
        _ => All(vec![hex(), repeat(count - 1, count - 1, All(vec![Text(":"), hex()]))]),
    };
    let mut ipv6 = vec![groups(8), All(vec![groups(6), Text(":"), ipv4()])];
    for before in 0..=6 {
        for after in 0..=6 - before {
            ipv6.push(All(vec![groups(before), Text("::"), groups(after)]));
            if before + after <= 4 {
                let colon = if after > 0 { Text(":") } else { All(vec![]) };
                ipv6.push(All(vec![groups(before), Text("::"), groups(after), colon, ipv4()]));
            }
        }
    }
    All(vec![Text("["), One(vec![ipv4(), All(vec![Text("IPv6:"), One(ipv6)])]), Text("]")])
}

/// What a path is made of: nothing, or a local-part and perhaps a domain.
pub type Parts<'a> = Option<(&'a [u8], Option<&'a [u8]>)>;

/// A path at the start of the text (RFC 5321 §4.1.2, with a local-part alone besides), and what follows it and a space.
pub fn path(text: &[u8], utf8: bool) -> Option<(Parts<'_>, &[u8])> {
    let (local_part, domain, literal) = (local_part(utf8), domain(utf8), address_literal());
    let at_domain = || All(vec![Text("@"), self::domain(utf8)]);
    let route = All(vec![at_domain(), repeat(0, NO_LIMIT, All(vec![Text(","), at_domain()])), Text(":")]);
    let is_local_part = |octets: &[u8]| local_part.is(octets) && octets.len() <= 64;
    let fits = |domain: &[u8]| {
        let labels_fit = domain.split(|octet| *octet == b'.').all(|label| label.len() <= 63 || !label.is_ascii());
        labels_fit && domain.len() <= 255
    };
    let is_domain = |octets: &[u8]| literal.is(octets) || (domain.is(octets) && fits(octets));
    for end in 2..=text.len().min(256) {
        let (path, rest) = text.split_at(end);
        let [b'<', inner @ .., b'>'] = path else { continue };
        let rest = match rest {
            [] => rest,
            [b' ', rest @ ..] => rest,
            _ => continue,
        };
        if inner.is_empty() {
            return Some((None, rest));
        }
        for start in 0..inner.len() {
            let hosts_fit = || inner[..start].split(|octet| b",@:".contains(octet)).all(fits);
            if start > 0 && !(inner[start - 1] == b':' && route.is(&inner[..start]) && hosts_fit()) {
                continue;
            }
            let mailbox = &inner[start..];
            if is_local_part(mailbox) {
                return Some((Some((mailbox, None)), rest));
            }
            for sign in (0..mailbox.len()).filter(|at| mailbox[*at] == b'@') {
                if is_local_part(&mailbox[..sign]) && is_domain(&mailbox[sign + 1..]) {
                    return Some((Some((&mailbox[..sign], Some(&mailbox[sign + 1..]))), rest));
                }
            }
        }
    }
    None
}

/// `xtext` (RFC 3461 §4) that decodes to printable characters and white space.
fn printable_xtext(least: usize, most: usize) -> Rule {
    let xchar = One(vec![Octet(33..=42), Octet(44..=60), Octet(62..=126)]);
    let hex = || One(vec![digit(), Octet(b'A'..=b'F')]);
    let printable = One(vec![
        All(vec![Octet(b'2'..=b'6'), hex()]),
        All(vec![Text("7"), One(vec![digit(), Octet(b'A'..=b'E')])]),
        Text("09"),
    ]);
    repeat(least, most, One(vec![xchar, All(vec![Text("+"), printable])]))
}

/// RFC 6533 §3 `utf-8-addr-xtext` or `utf-8-addr-unitext`, without control characters.
fn utf8_address(unitext: bool) -> Rule {
    let hex = || One(vec![digit(), Octet(b'A'..=b'F')]);
    let not_zero = || One(vec![Octet(b'1'..=b'9'), Octet(b'A'..=b'F')]);
    let not_zero_nor_d = || One(vec![Octet(b'1'..=b'9'), Octet(b'A'..=b'C'), Octet(b'E'..=b'F')]);
    let point = One(vec![
        Text("20"),
        All(vec![Text("2"), Octet(b'B'..=b'B')]),
        All(vec![Text("3"), Octet(b'D'..=b'D')]),
        All(vec![Text("5"), Octet(b'C'..=b'C')]),
        All(vec![One(vec![Octet(b'8'..=b'9'), Octet(b'A'..=b'F')]), hex()]),
        All(vec![not_zero(), repeat(2, 2, hex())]),
        All(vec![not_zero_nor_d(), repeat(3, 3, hex())]),
        All(vec![Octet(b'D'..=b'D'), Octet(b'0'..=b'7'), repeat(2, 2, hex())]),
        All(vec![not_zero(), repeat(4, 4, hex())]),
        All(vec![Text("10"), repeat(4, 4, hex())]),
    ]);
    let embedded = All(vec![Octet(92..=92), Octet(b'x'..=b'x'), Text("{"), point, Text("}")]);
    let qchar = One(vec![Octet(0x21..=0x2A), Octet(0x2C..=0x3C), Octet(0x3E..=0x5B), Octet(0x5D..=0x7E)]);
    repeat(1, NO_LIMIT, One(vec![extended(qchar, unitext), embedded]))
}

/// One parameter of MAIL, with all extensions offered; AUTH only as `<>`.
pub fn mail_parameter() -> Rule {
    One(vec![
        All(vec![Text("SIZE="), repeat(1, 20, digit())]),
        All(vec![Text("BODY="), One(vec![Text("7BIT"), Text("8BITMIME"), Text("BINARYMIME")])]),
        Text("SMTPUTF8"),
        All(vec![Text("RET="), One(vec![Text("FULL"), Text("HDRS")])]),
        All(vec![Text("ENVID="), printable_xtext(1, 100)]),
        Text("REQUIRETLS"),
        Text("AUTH=<>"),
    ])
}

/// One parameter of RCPT, with all extensions offered, but for [`utf8_orcpt`]. That NOTIFY has no word twice is left to the
/// caller.
pub fn rcpt_parameter() -> Rule {
    let case = || One(vec![Text("SUCCESS"), Text("FAILURE"), Text("DELAY")]);
    let cases = All(vec![case(), repeat(0, 2, All(vec![Text(","), case()]))]);
    let kind = repeat(1, NO_LIMIT, One(vec![alpha(), digit(), one_of(b"!#$%&'*+-/?^_`{|}~")]));
    One(vec![
        All(vec![Text("NOTIFY="), One(vec![Text("NEVER"), cases])]),
        All(vec![Text("ORCPT="), kind, Text(";"), printable_xtext(0, NO_LIMIT)]),
    ])
}

/// ORCPT with the address type of RFC 6533.
pub fn utf8_orcpt(smtputf8: bool) -> Rule {
    All(vec![Text("ORCPT=utf-8;"), utf8_address(smtputf8)])
}
