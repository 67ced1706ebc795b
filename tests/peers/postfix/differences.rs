//! Where the two servers answer differently, and why neither is wrong.
//!
//! A rule that no dialogue meets fails the test, so that none outlives its reason.

use std::sync::atomic::{AtomicU32, Ordering};

use super::exchange::{Exchange, Hello};
use super::words;

/// What follows a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Both servers stand where they would stand without it.
    Alike,
    /// One is in a transaction that the other is not in: RSET, which both must accept.
    Reset,
    /// The next thing that ringmx does is to close.
    WeClose,
    /// The next thing that Postfix does is to close.
    TheyClose,
    /// Both close, and say nothing before.
    BothClose,
}

/// A difference that is known.
pub struct Difference {
    pub name: &'static str,
    pub holds: fn(&Exchange) -> bool,
    pub after: After,
}

/// How often each was met.
pub struct Tally([AtomicU32; DIFFERENCES.len()]);

impl Tally {
    pub fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }

    pub fn count(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    pub fn each(&self) -> impl Iterator<Item = (&'static str, u32)> {
        DIFFERENCES.iter().zip(&self.0).map(|(rule, count)| (rule.name, count.load(Ordering::Relaxed)))
    }
}

/// Ours accepts, Postfix refuses.
fn only_we_accept(seen: &Exchange) -> bool {
    seen.ours.class() == 2 && seen.theirs.class() == 5
}

/// Postfix accepts, ours refuses.
fn only_they_accept(seen: &Exchange) -> bool {
    seen.ours.class() == 5 && seen.theirs.class() == 2
}

fn is_envelope(seen: &Exchange) -> bool {
    seen.is("MAIL") || seen.is("RCPT")
}

/// What follows the colon of FROM or TO begins with one of these.
fn path_is_of(seen: &Exchange, paths: &[&[u8]]) -> bool {
    paths.iter().any(|path| seen.path() == *path || seen.path().starts_with(&[path, &b" "[..]].concat()))
}

/// A label of the path's domain, or its local-part, is longer than RFC 5321 §4.5.3.1 asks a server to take.
fn path_is_long(seen: &Exchange) -> bool {
    let path = seen.path().split(|octet| *octet == b' ').next().unwrap_or_default();
    path.starts_with(b"<ll") && path.len() > 256
}

pub const DIFFERENCES: [Difference; 25] = [
    // Addresses. Postfix repairs what it can (`strict_rfc821_envelopes = no`); loose ringmx takes only what it can read
    // without a guess. Both are free to: RFC 5321 §4.1.2 has none of these.
    Difference {
        name: "Postfix repairs an address",
        holds: |seen| is_envelope(seen) && only_they_accept(seen) && path_is_of(seen, &words::REPAIRED),
        after: After::Reset,
    },
    // RFC 5321 §2.3.5 wants a domain everywhere but in <postmaster>; Postfix appends its own (`myorigin`).
    Difference {
        name: "Postfix completes an address without a domain",
        holds: |seen| only_they_accept(seen) && seen.ours.says("needs a domain") && !seen.path().contains(&b'@'),
        after: After::Reset,
    },
    // Real senders have such domains (`address_syntax = "loose"`); Postfix wants a host name by RFC 1123 §2.1, and takes
    // numbers with dots for an address literal without brackets, although the grammar of RFC 5321 §4.1.2 has them.
    Difference {
        name: "ringmx takes a domain that is no host name",
        holds: |seen| {
            is_envelope(seen) && only_we_accept(seen) && path_is_of(seen, &[b"<a@-ok.test>", b"<a@192.0.2.1>"])
        },
        after: After::Reset,
    },
    // The limits of RFC 5321 §4.5.3.1 are what a server must take at least. Ours takes a local-part of 256 octets, a path
    // of 512; Postfix has no limit but the line's.
    Difference {
        name: "Postfix takes a longer path",
        holds: |seen| is_envelope(seen) && only_they_accept(seen) && path_is_long(seen),
        after: After::Reset,
    },
    // RFC 6531 §3.5 allows no such address without SMTPUTF8; Postfix takes it in a local-part (`strict_smtputf8 = no`).
    Difference {
        name: "Postfix takes an address that is not ASCII without SMTPUTF8",
        holds: |seen| only_they_accept(seen) && seen.ours.says("5.6.7") && !seen.path().is_ascii(),
        after: After::Reset,
    },
    // Parameters. RFC 4954 §5 defines AUTH= for a server that offers AUTH; Postfix takes it from everybody.
    Difference {
        name: "Postfix takes AUTH= without offering AUTH",
        holds: |seen| only_they_accept(seen) && seen.is("MAIL") && seen.ours.code() == 555 && seen.has(" AUTH="),
        after: After::Reset,
    },
    // RFC 5321 leaves open which of two would hold (RFC 1869 §6.1 had none); Postfix takes the last.
    Difference {
        name: "Postfix takes a parameter twice",
        holds: |seen| {
            only_they_accept(seen)
                && seen.is("MAIL")
                && seen.ours.code() == 501
                && [" SIZE=", " BODY="].iter().any(|key| seen.count(key) > 1)
        },
        after: After::Reset,
    },
    // Postfix keeps the size that a refused MAIL declared, and holds it against the next MAIL that declares none.
    Difference {
        name: "Postfix remembers SIZE of a refused MAIL",
        holds: |seen| {
            only_we_accept(seen) && seen.is("MAIL") && seen.state.size_refused && seen.theirs.says("552 5.3.4")
        },
        after: After::Reset,
    },
    // Greetings. RFC 5321 §4.5.3.1.2 bounds a domain at 255 octets; Postfix at the line's length.
    Difference {
        name: "Postfix takes a longer name",
        holds: |seen| seen.is_hello() && only_they_accept(seen) && seen.argument().len() > 255,
        after: After::Reset,
    },
    // RFC 5321 §4.1.4 forbids to refuse mail for a bad name, so loose ringmx takes any text; Postfix refuses every line
    // that is not UTF-8 where it knows SMTPUTF8.
    Difference {
        name: "ringmx takes a name that is not UTF-8",
        holds: |seen| seen.is_hello() && only_we_accept(seen) && seen.theirs.says("bad UTF-8"),
        after: After::Reset,
    },
    // Chunks. RFC 3030 §2 has chunks of zero octets anywhere; Postfix refuses them where they are not the last.
    Difference {
        name: "Postfix refuses an empty chunk",
        holds: |seen| {
            seen.is("BDAT") && only_we_accept(seen) && seen.theirs.says("Null BDAT") && seen.argument() == b"0"
        },
        after: After::Reset,
    },
    // RFC 3030 §2: a transaction in which a chunk failed has failed. Postfix takes nothing but BDAT until the last chunk
    // or RSET, even when there was no transaction; ringmx has swallowed the chunk, and forgets it.
    Difference {
        name: "Postfix awaits the last of refused chunks",
        holds: |seen| {
            is_envelope(seen) && only_we_accept(seen) && seen.state.chunk_refused && seen.theirs.says("after BDAT")
        },
        after: After::Reset,
    },
    // Mail data. CONFORMANCE "Bare CR and LF", 3: such a line serves smuggling only. Postfix takes it for a line of text.
    Difference {
        name: "ringmx refuses a false end of data",
        holds: |seen| {
            seen.command.is_none() && only_they_accept(seen) && seen.ours.says("dot line with a wrong line end")
        },
        after: After::WeClose,
    },
    // Synchronisation. RFC 2920 §3.1 has these commands only at the end of a group. Ahead of their replies nothing can
    // be smuggled, so ringmx answers in order; Postfix closes.
    Difference {
        name: "Postfix wants the reply to NOOP or VRFY awaited",
        holds: |seen| {
            (seen.is("NOOP") || seen.is("VRFY"))
                && seen.is_followed
                && seen.ours.class() == 2
                && seen.theirs.says("synchronization")
        },
        after: After::TheyClose,
    },
    // RFC 2920 §3.1: a client pipelines only where PIPELINING was offered, that is behind EHLO. ringmx has nothing to
    // lose by it, and closes only behind EHLO, HELO and DATA.
    Difference {
        name: "Postfix wants every reply awaited where EHLO was not given",
        holds: |seen| {
            seen.state.hello != Hello::Extended
                && seen.is_followed
                && seen.theirs.says("synchronization")
                && !seen.ours.says("554 5.5.0")
        },
        after: After::TheyClose,
    },
    // Verbs. RFC 5321 §4.1.1.8: HELP is a SHOULD.
    Difference {
        name: "Postfix has no HELP",
        holds: |seen| seen.is("HELP") && seen.ours.code() == 214 && seen.theirs.class() == 5,
        after: After::Alike,
    },
    // RFC 1985; ringmx does not have it, and Postfix will not do it for this domain, for now.
    Difference {
        name: "Postfix has ETRN",
        holds: |seen| seen.is("ETRN") && seen.ours.class() == 5 && seen.theirs.class() == 4,
        after: After::Alike,
    },
    // RFC 5321 §3.5.3: 252 says that nothing was looked up, and nothing was.
    Difference {
        name: "Postfix reads the argument of VRFY",
        holds: |seen| {
            seen.is("VRFY") && seen.ours.code() == 252 && seen.theirs.says("501 5.1.3") && seen.argument() == b"a b"
        },
        after: After::Alike,
    },
    // RFC 5321 §4.1.1.10 has no argument, and §4.2.4 asks for a 501 there; Postfix does not look.
    Difference {
        name: "Postfix takes an argument of QUIT",
        holds: |seen| {
            seen.is("QUIT") && seen.ours.code() == 501 && seen.theirs.code() == 221 && seen.argument() == b"x"
        },
        after: After::TheyClose,
    },
    // Lines. RFC 5321 §4.1.1 has a space behind the verb, and nothing before it; Postfix takes all that its C library
    // holds to be white, and a NUL for the end.
    Difference {
        name: "Postfix takes other blanks than a space, and elsewhere",
        holds: |seen| {
            let line = seen.command.as_ref().map_or(&b""[..], |command| command.text());
            let lines: [&[u8]; 5] = [b" NOOP", b"\tNOOP", b"NOOP\tx", b"NOOP\0", b"MAIL\tFROM:<s@x.test>"];
            only_they_accept(seen) && lines.contains(&line)
        },
        after: After::Reset,
    },
    // RFC 5321 §4.5.3.1.4 asks for 512 octets; both take 2,048 (ringmx more, for parameters), and Postfix cuts the rest
    // off, where ringmx refuses the line.
    Difference {
        name: "Postfix cuts a long line",
        holds: |seen| {
            only_they_accept(seen) && seen.is("NOOP") && seen.ours.says("line too long") && seen.argument().len() > 2048
        },
        after: After::Alike,
    },
    // A client that is none. RFC 5321 §3.8 has no code for that: Postfix says 221, ringmx 554, as a greeting would.
    Difference {
        name: "the code with which HTTP is refused",
        holds: |seen| seen.is_http() && seen.ours.code() == 554 && seen.theirs.says("221 2.7.0"),
        after: After::BothClose,
    },
    // `smtpd_forbidden_commands` has every line that does not begin with a letter; and a colon makes a field of a header.
    Difference {
        name: "Postfix closes where a line is no command at all",
        holds: |seen| {
            seen.ours.code() == 500
                && seen.theirs.says("221 2.7.0")
                && (!seen.verb().starts_with(|first: char| first.is_ascii_alphabetic()) || seen.verb().contains(':'))
        },
        after: After::TheyClose,
    },
    // Counts. A transaction sent in one group whose MAIL is refused is one mistake of the client, not four: ringmx does
    // not count what follows from it (CONFORMANCE T025).
    Difference {
        name: "Postfix counts more mistakes",
        holds: |seen| {
            seen.ours.code() != 421 && seen.theirs.says("421 4.7.0") && seen.state.refusals >= super::MISTAKES
        },
        after: After::TheyClose,
    },
    // Beyond the limit each such command is a mistake for Postfix, which closes after as many as it allows of those.
    Difference {
        name: "Postfix counts junk commands as mistakes",
        holds: |seen| {
            seen.ours.says("421 4.7.0 Too many commands")
                && seen.theirs.class() == 2
                && seen.state.commands > super::JUNK_COMMANDS
        },
        after: After::WeClose,
    },
];
