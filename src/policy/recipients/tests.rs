//! Recipients against the definition of the list, walked entry by entry, and against every trick to be relayed.

use proptest::prelude::*;

use super::*;
use crate::mail::address::Mailbox;
use crate::policy::decision::Ticket;
use crate::smtp::command::{RcptCommand, parse_rcpt};
use crate::smtp::extension::Extensions;
use crate::smtp::settings::AddressSyntax;

const HERE: Route = Route(7);

/// The list as it is defined: each entry in turn, its pattern compared part by part. It knows none of the keys.
struct Naive {
    entries: Vec<(String, Action)>,
    routes: Vec<(String, Route)>,
}

impl Naive {
    /// The recipients are of ASCII, and without quotes and literals.
    fn answer(&self, local_part: &str, domain: &str) -> Outcome {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let same_local =
            |pattern: &str| pattern == local_part || same(pattern, "postmaster") && same(local_part, "postmaster");
        let under = |parent: &str| domain.len() > parent.len() && same(&domain[domain.len() - parent.len()..], parent);
        let matches = |pattern: &str, whole_domains: bool| match pattern.split_once('@') {
            _ if pattern == "ALL" => true,
            Some((local_part, "")) => same_local(local_part),
            Some((local_part, host)) => same_local(local_part) && same(host, domain),
            None if !whole_domains => false,
            None if pattern.starts_with('.') => under(pattern),
            None => same(pattern, domain),
        };
        let seeks_relay = local_part.contains(['%', '!']);
        let entry =
            self.entries.iter().find(|(pattern, action)| matches(pattern, !(seeks_relay && *action == Action::Take)));
        let served = same(domain, "mx.test")
            || self.entries.iter().filter(|(_, action)| *action == Action::Take).any(|(pattern, _)| {
                let host = pattern.split_once('@').map_or(pattern.as_str(), |(_, host)| host);
                pattern != "ALL"
                    && !host.is_empty()
                    && if host.starts_with('.') { under(host) } else { same(host, domain) }
            });
        let refusal = match entry {
            Some((_, action)) => action.refusal(),
            None if served && !seeks_relay => Some(Reply::UnknownRecipient),
            None => Some(Reply::RelayDenied),
        };
        match refusal {
            Some(reply) if !(served && same(local_part, "postmaster")) => Outcome::Refuse(reply),
            _ => {
                let route = self.routes.iter().find(|(pattern, _)| matches(pattern, true));
                Outcome::AcceptFor(route.map_or(HERE, |(_, route)| *route))
            }
        }
    }
}

/// Few words, so that patterns and addresses meet.
fn domain() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "A"]), 1..4)
        .prop_map(|labels| labels.join("."))
        .boxed()
        .prop_union(Just("mx.test".to_owned()).boxed())
}

fn local_part() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["u", "U", "v", "postmaster", "PostMaster", "u%a", "b!u"]).prop_map(str::to_owned)
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just("ALL".to_owned()),
        4 => domain(),
        4 => domain().prop_map(|domain| format!(".{domain}")),
        3 => local_part().prop_map(|local_part| format!("{local_part}@")),
        4 => (local_part(), domain()).prop_map(|(local_part, domain)| format!("{local_part}@{domain}")),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let refusals = [Action::RefuseUnknown, Action::RefuseDomain, Action::RefuseForNow];
    prop_oneof![2 => Just(Action::Take), 1 => prop::sample::select(refusals.to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What the look-ups find is what the walk finds; and an entry that is not taken because it would never be used makes no
    /// difference to the walk either.
    #[test]
    fn look_ups_find_what_a_walk_finds(
        said in prop::collection::vec((pattern(), action()), 0..12),
        routed in prop::collection::vec((pattern(), 0..3_u16), 0..6),
        addresses in prop::collection::vec((local_part(), domain()), 1..20),
    ) {
        let mut recipients = Recipients::new("mx.test", HERE);
        let mut naive = Naive { entries: Vec::new(), routes: Vec::new() };
        let mut idle = Vec::new();
        for (pattern, action) in said {
            match recipients.add(&pattern.parse().unwrap(), action) {
                Ok(()) => naive.entries.push((pattern, action)),
                Err(Idle::Postmaster) => {}
                Err(Idle::Behind(first)) => {
                    prop_assert!(first < naive.entries.len());
                    idle.push((naive.entries.len(), pattern, action));
                }
            }
        }
        for (pattern, sink) in routed {
            // Routes are walked with those that would never be used.
            let _ = recipients.route(&pattern.parse().unwrap(), Route(sink));
            naive.routes.push((pattern, Route(sink)));
        }
        for (local_part, domain) in &addresses {
            let mailbox = Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() };
            let answer = recipients.answer(Path::Mailbox(mailbox));
            prop_assert_eq!(&answer, &naive.answer(local_part, domain), "{}@{} in {:?}", local_part, domain, naive.entries);
            // Where nothing is left out for a local-part's sake, the entries that are never used change nothing.
            if !local_part.contains(['%', '!']) && !local_part.eq_ignore_ascii_case("postmaster") {
                let mut entries = naive.entries.clone();
                for (place, pattern, action) in idle.iter().rev() {
                    entries.insert(*place, (pattern.clone(), *action));
                }
                let whole = Naive { entries, routes: naive.routes.clone() };
                // But for which hosts are served at all, which is a word in a refusal.
                let in_short = |answer: &Outcome| match answer {
                    Outcome::Refuse(Reply::UnknownRecipient) => Outcome::Refuse(Reply::RelayDenied),
                    other => other.clone(),
                };
                prop_assert_eq!(in_short(&answer), in_short(&whole.answer(local_part, domain)));
            }
        }
    }
}

/// What a RCPT line is answered, by the way of the session.
fn answer(recipients: &Recipients, path: &str) -> Outcome {
    let line = format!("TO:{path}");
    let parsed = parse_rcpt(line.as_bytes(), AddressSyntax::Loose, Extensions::unconditional(), true);
    let rcpt: RcptCommand<'_> = parsed.unwrap_or_else(|reply| panic!("{path}: {reply:?}"));
    let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
    match recipients.decide(&Asked { question: Question::Rcpt(rcpt), ticket, random: 0 }) {
        Decision::Now(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn list(entries: &[(&str, Action)]) -> Recipients {
    let mut recipients = Recipients::new("mx.test", HERE);
    for (pattern, action) in entries {
        recipients.add(&pattern.parse().unwrap(), *action).unwrap();
    }
    recipients
}

/// CONFORMANCE's fixture and section 3: T092 to T097, T106.
#[test]
fn the_first_entry_decides() {
    let recipients = list(&[
        ("no@ok.test", Action::RefuseUnknown),
        ("later@ok.test", Action::RefuseForNow),
        ("ok.test", Action::Take),
        ("gone.sub.test", Action::RefuseDomain),
        (".sub.test", Action::Take),
        ("one@only.test", Action::Take),
        ("abuse@", Action::Take),
        ("[192.0.2.1]", Action::Take),
        ("a@[IPv6:2001:db8::1]", Action::Take),
    ]);
    let taken = || Outcome::AcceptFor(HERE);
    let refused = Outcome::Refuse;
    for (path, wanted) in [
        ("<a@ok.test>", taken()),
        ("<a@OK.TEST>", taken()),
        ("<a@ok.test.>", taken()),
        ("<no@ok.test>", refused(Reply::UnknownRecipient)),
        ("<\"no\"@OK.test.>", refused(Reply::UnknownRecipient)),
        ("<No@ok.test>", taken()),
        ("<later@ok.test>", refused(Reply::RecipientLater)),
        ("<u@other.test>", refused(Reply::RelayDenied)),
        ("<u@x.ok.test>", refused(Reply::RelayDenied)),
        ("<u@notok.test>", refused(Reply::RelayDenied)),
        ("<u@sub.test>", refused(Reply::RelayDenied)),
        ("<u@xsub.test>", refused(Reply::RelayDenied)),
        ("<u@a.sub.test>", taken()),
        ("<u@a.b.c.sub.test>", taken()),
        ("<u@gone.sub.test>", refused(Reply::NoMailAccepted)),
        ("<u@x.gone.sub.test>", taken()),
        ("<one@only.test>", taken()),
        ("<ONE@only.test>", refused(Reply::UnknownRecipient)),
        ("<two@only.test>", refused(Reply::UnknownRecipient)),
        ("<abuse@elsewhere.test>", taken()),
        ("<u@[192.0.2.1]>", taken()),
        ("<u@[IPv6:::ffff:192.0.2.1]>", taken()),
        ("<u@[192.0.2.2]>", refused(Reply::RelayDenied)),
        ("<a@[ipv6:2001:DB8:0:0:0:0:0:1]>", taken()),
        ("<b@[IPv6:2001:db8::1]>", refused(Reply::UnknownRecipient)),
        // A postmaster.
        ("<postmaster>", taken()),
        ("<PostMaster>", taken()),
        ("<postmaster@ok.test>", taken()),
        ("<\"PostMaster\"@OK.TEST>", taken()),
        ("<postmaster@mx.test>", taken()),
        ("<u@mx.test>", refused(Reply::UnknownRecipient)),
        ("<postmaster@only.test>", taken()),
        ("<postmaster@a.sub.test>", taken()),
        ("<postmaster@gone.sub.test>", taken()),
        ("<postmaster@sub.test>", refused(Reply::RelayDenied)),
        ("<postmaster@other.test>", refused(Reply::RelayDenied)),
        ("<postmaster@[192.0.2.1]>", taken()),
        ("<postmaster@[IPv6:2001:db8::1]>", taken()),
        ("<postmaster@[192.0.2.2]>", refused(Reply::RelayDenied)),
        ("<postmasters@mx.test>", refused(Reply::UnknownRecipient)),
    ] {
        assert_eq!(answer(&recipients, path), wanted, "{path}");
    }
}

/// RELIABILITY "Open-relay defaults": each trick, where a domain, its subdomains and a literal are taken.
#[test]
fn nothing_is_relayed_in_any_spelling() {
    let domains = list(&[("ok.test", Action::Take), (".ok.test", Action::Take), ("[192.0.2.1]", Action::Take)]);
    let tricks = [
        "<u%other.test@ok.test>",
        "<u%other.test@x.ok.test>",
        "<u%other.test@[192.0.2.1]>",
        "<u%other.test%third.test@ok.test>",
        "<other.test!u@ok.test>",
        "<third.test!other.test!u@ok.test>",
        "<other.test!u%third.test@ok.test>",
        "<\"u@other.test\"@ok.test>",
        "<\"u@other.test\"@x.ok.test>",
        "<\"u@other.test\"@[192.0.2.1]>",
        "<\"u%other.test\"@ok.test>",
        "<\"other.test!u\"@ok.test>",
        "<\"u\\@other.test\"@ok.test>",
        "<\"\\u\\%other.test\"@ok.test>",
        "<\"@other.test:u\"@ok.test>",
        "<postmaster%other.test@ok.test>",
        "<\"postmaster@other.test\"@ok.test>",
        // The route is left out, and what is looked up is the last mailbox.
        "<@ok.test:u@other.test>",
        "<@other.test,@ok.test:u@other.test>",
        "<@other.test:u%third.test@ok.test>",
        "u%other.test@ok.test",
        // Domains that look like one that is taken.
        "<u@ok.test.other.test>",
        "<u@notok.test>",
        "<u@ok-test>",
        "<u@OK.TEST.other.test>",
        "<u@ok_test>",
        "<u@[192.0.2.10]>",
        "<u@[IPv6:::192.0.2.1]>",
    ];
    for trick in tricks {
        assert_eq!(answer(&domains, trick), Outcome::Refuse(Reply::RelayDenied), "{trick}");
        let everyone = list(&[("ok.test", Action::Take), ("ALL", Action::Take)]);
        assert_eq!(answer(&everyone, trick), Outcome::AcceptFor(HERE), "{trick}");
    }
    for right in ["<@other.test:u@ok.test>", "<@other.test,@third.test:u@[192.0.2.1]>", "<\"u other\"@ok.test>"] {
        assert_eq!(answer(&domains, right), Outcome::AcceptFor(HERE), "{right}");
    }
    // Who lists such a mailbox has it.
    let listed = list(&[("ok.test", Action::Take), ("u%other.test@ok.test", Action::Take)]);
    for (path, wanted) in [
        ("<u%other.test@OK.test>", Outcome::AcceptFor(HERE)),
        ("<\"u%other.test\"@ok.test>", Outcome::AcceptFor(HERE)),
        ("<U%other.test@ok.test>", Outcome::Refuse(Reply::RelayDenied)),
    ] {
        assert_eq!(answer(&listed, path), wanted, "{path}");
    }
    // A domain that takes no mail says so to them, too.
    let parked = list(&[("parked.test", Action::RefuseDomain), ("ALL", Action::Take)]);
    assert_eq!(answer(&parked, "<u%other@parked.test>"), Outcome::Refuse(Reply::NoMailAccepted));
    assert_eq!(answer(&parked, "<postmaster@parked.test>"), Outcome::Refuse(Reply::NoMailAccepted));
}

#[test]
fn a_list_without_entries_takes_the_postmaster_alone() {
    let nobody = Recipients::new("[IPv6:2001:DB8::1]", HERE);
    for (path, is_taken) in [
        ("<postmaster>", true),
        ("<postmaster@[IPv6:2001:db8::1]>", true),
        ("<u@[IPv6:2001:db8::1]>", false),
        ("<postmaster@mx.test>", false),
        ("<u@ok.test>", false),
    ] {
        assert_eq!(answer(&nobody, path) == Outcome::AcceptFor(HERE), is_taken, "{path}");
    }
    assert_eq!(nobody.answer(Path::Null), Outcome::Refuse(Reply::BadForwardPath));
    let long = Mailbox { local_part: &[b'a'; 300], domain: &[b'b'; 300] };
    assert_eq!(nobody.answer(Path::Mailbox(long)), Outcome::Refuse(Reply::BadForwardPath));
}

#[test]
fn mail_goes_by_the_first_route() {
    let mut recipients = list(&[("ALL", Action::Take)]);
    for (pattern, sink) in
        [("a@x.test", 1), (".x.test", 2), ("x.test", 3), ("b@", 4), ("postmaster@mx.test", 5), ("[192.0.2.1]", 6)]
    {
        recipients.route(&pattern.parse().unwrap(), Route(sink)).unwrap();
    }
    for (path, sink) in [
        ("<a@x.test>", 1),
        ("<\"a\"@X.TEST.>", 1),
        ("<b@x.test>", 3),
        ("<b@y.x.test>", 2),
        ("<b@y.test>", 4),
        ("<c@y.test>", HERE.0),
        ("<postmaster>", 5),
        ("<PostMaster@MX.test>", 5),
        ("<postmaster@x.test>", 3),
        ("<c@[192.0.2.1]>", 6),
        // Whoever takes such mail routes it as all of the domain.
        ("<u%other@x.test>", 3),
    ] {
        assert_eq!(answer(&recipients, path), Outcome::AcceptFor(Route(sink)), "{path}");
    }
    let route =
        |recipients: &mut Recipients, pattern: &str, sink| recipients.route(&pattern.parse().unwrap(), Route(sink));
    assert_eq!(route(&mut recipients, "z.x.test", 2), Ok(()), "to the same sink");
    assert_eq!(route(&mut recipients, "z.x.test", 2), Err(Idle::Behind(6)), "twice");
    assert_eq!(route(&mut recipients, "y.x.test", 1), Err(Idle::Behind(1)));
    assert_eq!(route(&mut recipients, "b@y.test", 1), Err(Idle::Behind(3)));
}

#[test]
fn an_entry_that_is_never_used_is_told_which_is_before_it() {
    for (first, second, wanted) in [
        (("ok.test", Action::Take), ("OK.test.", Action::Take), Err(Idle::Behind(0))),
        (("ok.test", Action::Take), ("ok.test", Action::RefuseDomain), Err(Idle::Behind(0))),
        (("ok.test", Action::Take), ("no@ok.test", Action::RefuseUnknown), Err(Idle::Behind(0))),
        (("ok.test", Action::Take), ("a@ok.test", Action::Take), Ok(())),
        (("ok.test", Action::Take), (".ok.test", Action::RefuseDomain), Ok(())),
        ((".test", Action::Take), ("ok.test", Action::RefuseDomain), Err(Idle::Behind(0))),
        ((".test", Action::Take), (".a.test", Action::RefuseDomain), Err(Idle::Behind(0))),
        ((".a.test", Action::Take), (".test", Action::RefuseDomain), Ok(())),
        ((".test", Action::Take), ("no@", Action::RefuseUnknown), Ok(())),
        (("ALL", Action::Take), (".test", Action::RefuseDomain), Err(Idle::Behind(0))),
        (("ALL", Action::Take), ("ALL", Action::Take), Err(Idle::Behind(0))),
        (("no@", Action::RefuseUnknown), ("no@ok.test", Action::Take), Err(Idle::Behind(0))),
        (("ok.test", Action::Take), ("u%x@ok.test", Action::RefuseUnknown), Ok(())),
        (("ok.test", Action::Take), ("PostMaster@ok.test", Action::RefuseUnknown), Err(Idle::Postmaster)),
        (("ok.test", Action::Take), ("postmaster@", Action::RefuseForNow), Err(Idle::Postmaster)),
    ] {
        let mut recipients = list(&[first]);
        assert_eq!(recipients.add(&second.0.parse().unwrap(), second.1), wanted, "{first:?} {second:?}");
    }
}

/// Each of many is found, and prints no list.
#[test]
fn a_list_may_be_long() {
    let mut recipients = Recipients::new("mx.test", HERE);
    for index in 0..100_000 {
        let pattern = format!("user{index}@domain{}.test", index % 1000).parse().unwrap();
        recipients.add(&pattern, Action::Take).unwrap();
    }
    assert_eq!(answer(&recipients, "<user99999@domain999.test>"), Outcome::AcceptFor(HERE));
    assert_eq!(answer(&recipients, "<user99999@domain998.test>"), Outcome::Refuse(Reply::UnknownRecipient));
    assert_eq!(answer(&recipients, "<postmaster@domain998.test>"), Outcome::AcceptFor(HERE));
    assert_eq!(format!("{recipients:?}"), "Recipients { 100000 entries, 0 patterns of routes }");
}
