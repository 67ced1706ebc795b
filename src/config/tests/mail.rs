//! Configurations of listeners that take mail and hand it off: right ones as what they amount to, wrong ones as printed.

use std::path::{Path, PathBuf};

use super::*;
use crate::limits;
use crate::mail::address::{Mailbox, Path as Address};
use crate::mail::envelope::{RcptParameters, Route};
use crate::policy::decision::{Asked, Decision, Ticket};
use crate::policy::scope::{Promise, Taking, Timeouts};
use crate::sink::maildir::options::{LineEnds, MaildirOptions};
use crate::smtp::command::RcptCommand;
use crate::smtp::data::BareNewline;
use crate::smtp::extension::{Extension, Extensions};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Outcome, Question};
use crate::smtp::settings::{Synchronization, Terms};

/// Sinks of each kind, from line 6 of the texts below on.
const SINKS: &str = "[sink.store]\nkind = 'maildir'\npath = 'mail/{domain}/{local}'\n[sink.app]\nkind = 'program'\n";

/// A public listener that is right as far as it goes, with further lines of it from line 6 on, and the sinks behind it.
fn public(lines: &str) -> String {
    format!(
        "[listener.a]\nkind = 'public'\nbind = '127.0.0.1:2525'\nrecipients = 'ok.test'\nsink = 'store'\n{lines}\n{SINKS}"
    )
}

/// A private one.
fn private(lines: &str) -> String {
    format!("[listener.a]\nkind = 'private'\nbind = '10.0.0.1:2525'\nsink = 'store'\n\n{lines}\n{SINKS}")
}

/// What RCPT is answered on a plan's first listener.
fn rcpt(plan: &Plan, local_part: &str, domain: &str) -> Outcome {
    let forward_path = match domain {
        "" => Address::Local(local_part.as_bytes()),
        _ => Address::Mailbox(Mailbox { local_part: local_part.as_bytes(), domain: domain.as_bytes() }),
    };
    let question = Question::Rcpt(RcptCommand { forward_path, parameters: RcptParameters::default() });
    let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
    match plan.listeners()[0].scope().policy.decide(&Asked { question, ticket, random: 0 }) {
        Decision::Now(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    parse(text).expect_err(text).to_string().lines().map(str::to_owned).collect()
}

/// DESIGN §6, the columns of public and private.
#[test]
fn what_is_not_said_has_its_default() {
    let kept = Extensions::unconditional().without(Extension::Dsn);
    let public_terms = Terms {
        banner: "ESMTP ringmx".into(),
        extensions: kept,
        message_size_bytes: 50 << 20,
        recipients_per_message: 1_000,
        recipient_domains_per_message: None,
        messages_per_connection: Some(1_000),
        errors: Some(20),
        junk_commands: Some(100),
        synchronization: Synchronization::Strict,
        bare_newline: BareNewline::Normalize,
        received_fields: Some(100),
        line_octets: None,
        discards: false,
        ..Terms::public("this.test")
    };
    let private_terms = Terms {
        message_size_bytes: 100 << 20,
        messages_per_connection: None,
        synchronization: Synchronization::Tolerant,
        ..public_terms.clone()
    };
    let timeouts = Timeouts { idle_ms: 300_000, transaction_ms: Some(3_600_000), greet_pause_ms: 0, answer_ms: 30_000 };
    for (text, kind, terms) in [(public(""), Kind::Public, public_terms), (private(""), Kind::Private, private_terms)] {
        let plan = parse(&text).unwrap();
        let listener = &plan.listeners()[0];
        assert_eq!((listener.kind(), listener.durability()), (kind, Durability::Durable));
        assert_eq!((listener.taking(), plan.hands_off()), (Taking::HandOff(Promise::Durable), true));
        assert_eq!(*listener.scope().settings.terms(), terms);
        assert_eq!(listener.scope().timeouts, timeouts);
        let greeting = listener.scope().settings.greeting();
        assert_eq!(greeting, b"220 this.test ESMTP ringmx\r\n");
        assert_eq!(plan.sink_threads().get(), 1);
        let destination = listener.destination().unwrap();
        assert_eq!((destination.sink(), destination.reachable()), (Route(0), &[Route(0)][..]));
        assert_eq!(plan.sink_of(Route(0)).map(|sink| sink.name.as_str()), Some("store"));
        assert_eq!(plan.sink_of(Route(2)), None);
    }
    let lmtp = parse(&public("protocol = 'lmtp'\nerrors = 0\nmessages_per_connection = 0\ntransaction_timeout_s = 0"));
    let scope = lmtp.unwrap().listeners()[0].scope().clone();
    assert_eq!(scope.settings.greeting(), b"220 this.test LMTP ringmx\r\n");
    assert_eq!((scope.settings.terms().errors, scope.settings.terms().messages_per_connection), (None, None));
    assert_eq!(scope.timeouts.transaction_ms, None);
    let blackhole = parse(&listener("")).unwrap();
    assert_eq!(blackhole.listeners()[0].taking(), Taking::Discard);
    assert!(!blackhole.hands_off() && blackhole.listeners()[0].destination().is_none());
}

/// DESIGN decision 12: each word, and what the shard makes of it.
#[test]
fn what_a_250_means_can_be_said() {
    for (text, durability, taking) in [
        (public("durability = 'memory'"), Durability::Memory, Taking::HandOff(Promise::Memory)),
        (public("durability = 'written'"), Durability::Written, Taking::HandOff(Promise::Written)),
        (private("durability = 'durable'"), Durability::Durable, Taking::HandOff(Promise::Durable)),
        (private("durability = 'delivered'"), Durability::Delivered, Taking::HandOff(Promise::Delivered)),
        (listener("durability = 'discard'\ndisk = false"), Durability::Discard, Taking::Discard),
        (listener("disk = true"), Durability::Durable, Taking::WriteAndDiscard),
        (listener("durability = 'durable'"), Durability::Durable, Taking::WriteAndDiscard),
        (listener("durability = 'durable'\ndisk = true"), Durability::Durable, Taking::WriteAndDiscard),
    ] {
        let plan = parse(&text).unwrap();
        let listener = &plan.listeners()[0];
        assert_eq!((listener.durability(), listener.taking()), (durability, taking), "{text}");
        assert_eq!(listener.scope().settings.terms().keeps_record(), taking != Taking::Discard, "{text}");
    }
}

#[test]
fn what_is_said_is_in_force() {
    let plan = parse(
        r#"
        [server]
        data_dir = "/srv/mx"
        sink_threads = 64
        [log]
        deliveries = "log/mail"
        deliveries_bytes = 1_048_576
        [listener.a]
        kind = "public"
        bind = "*:25"
        durability = "memory"
        recipients = [
            { match = "no@ok.test", refuse = 550 },
            { match = "parked.test", refuse = 556 },
            { refuse = 450, match = "later@" },
            "ok.test",
            ".sub.test",
            "[192.0.2.1]",
        ]
        sink = "store"
        route = [{ recipients = ["a@ok.test", ".sub.test"], sink = "app" }, { recipients = "b@", sink = "none" }]
        [sink.store]
        kind = "maildir"
        path = "/var/mail/{local}"
        quota_bytes = 1
        line_ends = "lf"
        sync = false
        [sink.none]
        kind = "blackhole"
        [sink.app]
        kind = "program"
        [sink.more]
        kind = "maildir"
        path = "more"
        quota_bytes = 0
        "#,
    )
    .unwrap();
    let [store, none, app, more] = plan.sinks() else { panic!("{plan:?}") };
    let lf = MaildirOptions {
        quota_bytes: Some(1),
        line_ends: LineEnds::Lf,
        sync: false,
        ..MaildirOptions::new("/var/mail/{local}".parse().unwrap())
    };
    assert_eq!((store.name.as_str(), &store.kind), ("store", &SinkKind::Maildir(lf)));
    assert_eq!((&none.kind, &app.kind), (&SinkKind::Blackhole, &SinkKind::Program));
    assert_eq!(more.kind, SinkKind::Maildir(MaildirOptions::new("/srv/mx/more".parse().unwrap())));
    assert_eq!((plan.data_dir(), plan.sink_threads().get()), (Path::new("/srv/mx"), 64));
    let log = LogPlan { deliveries: DeliveryLog::File("/srv/mx/log/mail".into()), deliveries_bytes: 1 << 20 };
    assert_eq!(*plan.log(), log);
    assert_eq!(plan.listeners()[0].taking(), Taking::HandOff(Promise::Memory));
    let destination = plan.listeners()[0].destination().unwrap();
    assert_eq!(destination.reachable(), [Route(0), Route(2), Route(1)]);
    assert_eq!(destination.recipients().count, 6);
    for (local_part, domain, wanted) in [
        ("no", "ok.test", Outcome::Refuse(Reply::UnknownRecipient)),
        ("u", "parked.test", Outcome::Refuse(Reply::NoMailAccepted)),
        ("later", "ok.test", Outcome::Refuse(Reply::RecipientLater)),
        ("u", "other.test", Outcome::Refuse(Reply::RelayDenied)),
        ("u%other.test", "ok.test", Outcome::Refuse(Reply::RelayDenied)),
        ("a", "OK.test", Outcome::AcceptFor(Route(2))),
        ("u", "x.sub.test", Outcome::AcceptFor(Route(2))),
        ("b", "ok.test", Outcome::AcceptFor(Route(1))),
        ("c", "ok.test", Outcome::AcceptFor(Route(0))),
        ("c", "[192.0.2.1]", Outcome::AcceptFor(Route(0))),
        ("postmaster", "", Outcome::AcceptFor(Route(0))),
        ("Postmaster", "this.test", Outcome::AcceptFor(Route(0))),
    ] {
        assert_eq!(rcpt(&plan, local_part, domain), wanted, "{local_part}@{domain}");
    }
}

/// The comparisons by which a reload is refused.
#[test]
fn what_cannot_change_while_running_is_compared() {
    let plan = |lines: &str| parse(&format!("{}{lines}", public(""))).unwrap();
    let (old, same) = (plan(""), plan("[server]\nconnections_per_shard = 5"));
    assert_eq!((old.sinks(), old.log(), old.data_dir()), (same.sinks(), same.log(), same.data_dir()));
    assert_ne!(plan("[sink.x]\nkind = 'program'").sinks(), old.sinks());
    let moved = plan("[server]\ndata_dir = 'elsewhere'");
    assert_ne!((moved.data_dir(), moved.log(), moved.sinks()), (old.data_dir(), old.log(), old.sinks()));
    assert_ne!(plan("[log]\ndeliveries = 'none'").log(), old.log());
    assert!(!plan("[spool]\nretain_s = 5").spool().is_same_spool(old.spool()));
    assert!(!moved.spool().is_same_spool(old.spool()));
    let larger = parse(&public("message_size_bytes = 100_000_000")).unwrap();
    assert!(larger.spool() != old.spool() && larger.spool().is_same_spool(old.spool()));
    let memory = parse(&public("durability = 'memory'")).unwrap();
    assert!(memory.chains().are_within(old.chains()) && !old.chains().are_within(memory.chains()));
}

#[test]
fn paths_are_relative_to_the_file_or_to_the_process() {
    let machine = Machine { hostname: "this.test".into(), cores: NonZeroU16::MIN };
    for (home, lines, data_dir, mail) in [
        (None, "", "ringmx-data", "ringmx-data/mail/{domain}/{local}"),
        (Some("/etc/ringmx"), "", "/etc/ringmx/data", "/etc/ringmx/data/mail/{domain}/{local}"),
        (Some(""), "", "data", "data/mail/{domain}/{local}"),
        (None, "[server]\ndata_dir = 'x'", "x", "x/mail/{domain}/{local}"),
        (Some("etc"), "[server]\ndata_dir = 'x'", "etc/x", "etc/x/mail/{domain}/{local}"),
        (Some("etc"), "[server]\ndata_dir = '/x'", "/x", "/x/mail/{domain}/{local}"),
    ] {
        let plan = Plan::parse_on(&machine, &format!("{}{lines}", public("")), "x", home.map(Path::new)).unwrap();
        assert_eq!(plan.data_dir(), Path::new(data_dir), "{home:?} {lines}");
        let SinkKind::Maildir(options) = &plan.sinks()[0].kind else { panic!("{plan:?}") };
        assert_eq!(options.path.to_string(), mail);
        assert_eq!(plan.log().deliveries, DeliveryLog::File(Path::new(data_dir).join("deliveries.log")));
    }
    let mut path = std::env::temp_dir();
    path.push(format!("ringmx-home-{}.toml", std::process::id()));
    std::fs::write(&path, public("")).unwrap();
    let plan = Plan::load(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(plan.unwrap().data_dir(), std::env::temp_dir().join("data"));
    assert_eq!(Plan::load(&PathBuf::from("no/such.toml")).unwrap_err().problems().len(), 1);
}

/// DESIGN decision 18.
#[test]
fn a_listener_offers_what_all_its_sinks_keep() {
    let all = Extensions::unconditional();
    let crlf = all.without(Extension::Dsn);
    let lf = crlf.without(Extension::BinaryMime);
    for (lines, offered) in [
        ("sink = 'crlf'", crlf),
        ("sink = 'lf'", lf),
        ("sink = 'none'", all),
        ("sink = 'app'", all),
        ("sink = 'app'\nroute = [{ recipients = 'a@', sink = 'lf' }]", lf),
        ("sink = 'crlf'\nroute = [{ recipients = 'a@', sink = 'app' }]", crlf),
        (
            "sink = 'app'\nextensions = ['DSN', 'BINARYMIME', 'CHUNKING']",
            [Extension::Dsn, Extension::BinaryMime, Extension::Chunking].into_iter().collect(),
        ),
    ] {
        let text = format!(
            "[listener.a]\nkind = 'public'\nbind = '/a'\nrecipients = 'ok.test'\n{lines}\n\
             [sink]\ncrlf = {{ kind = 'maildir', path = 'a' }}\nlf = {{ kind = 'maildir', path = 'b', line_ends = 'lf' }}\n\
             none = {{ kind = 'blackhole' }}\napp = {{ kind = 'program' }}\n"
        );
        let plan = parse(&text).unwrap();
        assert_eq!(plan.listeners()[0].scope().settings.terms().extensions, offered, "{lines}");
    }
    assert_eq!(
        errors(&public("extensions = ['SIZE', 'DSN']\nroute = [{ recipients = 'a@', sink = 'app' }]")),
        [
            "x:6:23: listener.a.extensions: \"DSN\" is not kept by sink \"store\", to which mail of this listener can go; \
             remove \"DSN\", or leave the key out for all that is kept"
        ]
    );
    assert_eq!(
        errors(
            "[listener.a]\nkind = 'private'\nbind = '/a'\nsink = 'app'\nextensions = ['CHUNKING', 'BINARYMIME']\n\
             route = [{ recipients = 'a@', sink = 'store' }]\n\
             [sink]\napp.kind = 'program'\nstore = { kind = 'maildir', path = 'b', line_ends = 'lf' }\n"
        ),
        [
            "x:5:27: listener.a.extensions: \"BINARYMIME\" is not kept by sink \"store\", to which mail of this listener \
             can go; line_ends = \"crlf\" there, or remove it"
        ]
    );
}

/// Who reaches a private listener, and whom it takes mail for.
#[test]
fn a_private_listener_serves_those_who_are_known() {
    let greeting = |plan: &Plan, peer: Option<&str>| {
        let scope = plan.listeners()[0].scopes().of(peer.map(|peer| peer.parse().unwrap()));
        let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
        match scope.policy.decide(&Asked { question: Question::Connect, ticket, random: 0 }) {
            Decision::Now(outcome) => outcome == Outcome::Accept,
            other => panic!("{other:?}"),
        }
    };
    for (lines, peer, is_served) in [
        ("", None, true),
        ("", Some("127.0.0.1"), true),
        ("", Some("::1"), true),
        ("", Some("10.0.0.9"), false),
        ("relay_from = '10.0.0.0/8'", Some("10.0.0.9"), true),
        ("relay_from = '10.0.0.0/8'", Some("11.0.0.9"), false),
        ("relay_from = ['0.0.0.0/0']\naccept_any = true", Some("11.0.0.9"), true),
        ("relay_from = ['0.0.0.0/0']\naccept_any = true", Some("2001:db8::1"), false),
        ("xclient = ['192.0.2.1']", Some("192.0.2.1"), true),
    ] {
        assert_eq!(greeting(&parse(&private(lines)).unwrap(), peer), is_served, "{lines} {peer:?}");
    }
    assert!(greeting(&parse(&public("")).unwrap(), Some("11.0.0.9")));
    let everyone = parse(&private("")).unwrap();
    assert_eq!(rcpt(&everyone, "u%x", "other.test"), Outcome::AcceptFor(Route(0)));
    let some = parse(&private("recipients = 'ok.test'")).unwrap();
    assert_eq!(rcpt(&some, "u", "other.test"), Outcome::Refuse(Reply::RelayDenied));
}

/// The mistakes of recipients, routes and sinks: each with its exact place, its key, and what is said of it.
#[test]
fn each_mistake_of_a_destination_is_named_where_it_stands() {
    for (text, wanted) in [
        (
            "[listener.a]\nkind = 'public'\nbind = '/a'\n".to_owned(),
            &[
                "x:1:11: listener.a.sink: is missing; such as sink = \"store\", with a table [sink.store]",
                "x:1:11: listener.a.recipients: is missing; such as recipients = [\"example.net\"]",
            ][..],
        ),
        (
            "[listener.a]\nkind = 'private'\nbind = '/a'\nsink = 'x'\n".to_owned(),
            &["x:4:8: listener.a.sink: \"x\" is no sink; a table [sink.NAME] makes one"],
        ),
        (
            format!("[listener.a]\nkind = 'public'\nbind = '/a'\nrecipients = []\nsink = 'stor'\n{SINKS}"),
            &[
                "x:4:14: listener.a.recipients: an empty list cannot stand here; such as recipients = [\"example.net\"]",
                "x:5:8: listener.a.sink: \"stor\" is no sink; did you mean \"store\"?",
            ],
        ),
        (
            public("[[listener.a.route]]\n[[listener.a.route]]\nrecipients = ['*@x.test', 5]\nsink = 'zzz'\nhop = 1"),
            &[
                "x:6:1: listener.a.route.recipients: is missing; such as recipients = [\".example.net\"]",
                "x:6:1: listener.a.route.sink: is missing; such as sink = \"NAME\"",
                "x:8:15: listener.a.route.recipients: \"*@x.test\" has no local-part; all at a domain is the domain alone: \
                 \"x.test\"",
                "x:8:27: listener.a.route.recipients: the number 5 cannot stand here; a pattern in quotes is wanted, such \
                 as \"example.net\", or a table: { match = \"no@example.net\", refuse = 550 }",
                "x:9:8: listener.a.route.sink: \"zzz\" is no sink; there is \"store\" and \"app\"",
                "x:10:1: listener.a.route.hop: is no key of [[listener.NAME.route]]; the keys are \"recipients\" and \
                 \"sink\"",
            ],
        ),
        (
            public("route = 'x'"),
            &["x:6:9: listener.a.route: the text \"x\" cannot stand here; an array of tables is wanted: \
               [[listener.a.route]]"],
        ),
        (
            public("route = ['x']"),
            &["x:6:10: listener.a.route: the text \"x\" cannot stand here; a table is wanted: [[listener.a.route]]"],
        ),
        (
            private(
                "recipients = ['ok.test', 'OK.test.', { match = 'no@ok.test', refuse = 550 },\n\
                 { match = 'postmaster@x.test', refuse = 556 }, { match = 'x.test' }, { match = 'x', refuse = 551, why = 1 },\n\
                 '.', 'ALL', 'y.test']",
            ),
            &[
                "x:6:26: listener.a.recipients: \"ok.test\" can never match: the one at line 6, column 15 is before it and \
                 matches all that it does; the first that matches decides: the narrower stands before the wider, and each \
                 once",
                "x:6:38: listener.a.recipients: \"no@ok.test\" can never match: the one at line 6, column 15 is before it \
                 and matches all that it does; the first that matches decides: the narrower stands before the wider, and \
                 each once",
                "x:7:1: listener.a.recipients: \"postmaster@x.test\" cannot be refused: a postmaster takes mail wherever \
                 anybody does (RFC 5321 §4.5.1); no such entry",
                "x:7:48: listener.a.recipients.refuse: is missing; such as refuse = 550",
                "x:7:94: listener.a.recipients.refuse: 551 is no code with which a recipient is refused here; 550 (no such \
                 recipient), 556 (the domain takes no mail) or 450 (not now) is wanted",
                "x:7:99: listener.a.recipients.why: is no key of an entry of recipients; the keys are \"match\" and \
                 \"refuse\"",
                "x:8:1: listener.a.recipients: \".\" has no domain; a pattern is \"example.net\", \".example.net\" (its \
                 subdomains), \"user@\", \"user@example.net\", \"[192.0.2.1]\" or \"ALL\"",
            ],
        ),
        (
            public(
                "[[listener.a.route]]\nrecipients = ['x.test', 'a@']\nsink = 'app'\n\
                 [[listener.a.route]]\nrecipients = ['u@x.test', 'X.test', 'b@']\nsink = 'store'",
            ),
            &[
                "x:10:15: listener.a.route.recipients: \"u@x.test\" can never match: the one at line 7, column 15 is before \
                 it and matches all that it does; the first that matches decides: the narrower stands before the wider, \
                 and each once",
                "x:10:27: listener.a.route.recipients: \"x.test\" can never match: the one at line 7, column 15 is before \
                 it and matches all that it does; the first that matches decides: the narrower stands before the wider, \
                 and each once",
            ],
        ),
        (
            format!("{}[sink.'b c']\nkind = 'program'\n[sink.d]\n[sink.e]\nkind = 'maildir'\n", public("")),
            &[
                "x:12:7: sink.\"b c\": the name has ' ' in it; a name of letters, digits, '-' and '_' is wanted",
                "x:14:7: sink.d.kind: is missing; such as kind = \"maildir\"",
                "x:15:7: sink.e.path: is missing; such as path = \"mail/{domain}/{local}\"",
            ],
        ),
        (
            format!(
                "{}path = 'x'\nsync = true\n[sink.d]\nkind = 'maildir'\npath = './mail//{{domain}}/{{local}}'\nquota_bytes = -1\n\
                 line_ends = 'cr'\n[sink.e]\nkind = 'maildir'\npath = '../{{user}}'\n",
                public("")
            ),
            &[
                "x:12:8: sink.app.path: has no use on a sink of kind \"program\"; kind = \"maildir\", or no such key",
                "x:13:8: sink.app.sync: has no use on a sink of kind \"program\"; kind = \"maildir\", or no such key",
                "x:16:8: sink.d.path: is already the path of sink \"store\", line 9, column 8; a path can stand once",
                "x:17:15: sink.d.quota_bytes: -1 is out of range; a whole number of bytes (0 is no quota) from 0 to \
                 9223372036854775807 is wanted",
                "x:18:13: sink.d.line_ends: \"cr\" is not known; this build has \"crlf\" or \"lf\"",
                "x:21:8: sink.e.path: \"../{user}\" has a component \"..\"; the directory itself is wanted in its place",
            ],
        ),
        (
            format!(
                "{}[sink.d]\nkind = 'maildir'\npath = '{{domain}}'\n[sink.e]\nkind = 'maildir'\npath = 'spool/in/{{domain}}'\n\
                 [log]\ndeliveries = 'spool/deliveries.log'\n",
                public("")
            ),
            &[
                "x:14:8: sink.d.path: lets a maildir lie in ringmx-data/spool, among the spool's logs; a directory beside it is \
                 wanted, such as \"mail/{domain}/{local}\"",
                "x:17:8: sink.e.path: lets a maildir lie in ringmx-data/spool, among the spool's logs; a directory beside it is \
                 wanted, such as \"mail/{domain}/{local}\"",
                "x:19:14: log.deliveries: lies in ringmx-data/spool, among the spool's logs; a path beside it is wanted",
            ],
        ),
        (
            format!(
                "{}[log]\ndeliveries = ''\ndeliveries_bytes = 5\n[server]\nsink_threads = 65\ndata_dir = 5\n",
                public("")
            ),
            &[
                "x:13:14: log.deliveries: the path is empty; the path of a file or directory is wanted, absolute or relative",
                "x:14:20: log.deliveries_bytes: 5 is out of range; a whole number of bytes from 1048576 to \
                 9223372036854775807 is wanted",
                "x:16:16: server.sink_threads: 65 is out of range; a whole number of threads from 1 to 64 is wanted",
                "x:17:12: server.data_dir: the number 5 cannot stand here; a text in quotes is wanted",
            ],
        ),
        (
            format!("{}[log]\ndeliveries = 'stderr'\ndeliveries_bytes = 1048576\n", public("")),
            &["x:14:20: log.deliveries_bytes: has no use without a file; a file's path in deliveries, or no such key"],
        ),
    ] {
        assert_eq!(errors(&text), wanted, "{text}");
    }
}

/// What a listener of one kind cannot be told, and what makes a relay of one for strangers.
#[test]
fn each_mistake_of_a_purpose_is_named_where_it_stands() {
    for (text, wanted) in [
        (
            listener(
                "recipients = 'ALL'\naccept_any = true\nrelay_from = '::1'\nsink = 'x'\n[[listener.a.route]]\n\
                 recipients = 'a@'\nsink = 'x'",
            ),
            &[
                "x:4:14: listener.a.recipients: cannot stand on a blackhole, which takes mail for everyone; no such key, or \
                 kind = \"public\" or \"private\"",
                "x:5:14: listener.a.accept_any: cannot stand on a blackhole, which takes mail for everyone; no such key, or \
                 kind = \"public\" or \"private\"",
                "x:6:14: listener.a.relay_from: cannot stand on a blackhole, which takes mail from everyone; no such key, \
                 or kind = \"public\" or \"private\"",
                "x:7:8: listener.a.sink: cannot stand on a blackhole, which keeps no mail; no such key, or kind = \
                 \"public\" or \"private\"",
                "x:8:14: listener.a.route: cannot stand on a blackhole, which keeps no mail; no such key, or kind = \
                 \"public\" or \"private\"",
            ][..],
        ),
        (
            listener("durability = 'memory'"),
            &[
                "x:4:14: listener.a.durability: \"memory\" needs a sink, and a blackhole has none; \"discard\" or \"durable\" is \
               what a blackhole does; a listener of kind \"public\" or \"private\" keeps mail",
            ],
        ),
        (
            listener("durability = 'written'\ndisk = true"),
            &[
                "x:4:14: listener.a.durability: \"written\" on a blackhole would measure a copy within memory; \"durable\" writes \
               to the disk before the 250; \"discard\" writes nothing",
            ],
        ),
        (
            listener("durability = 'durable'\ndisk = false"),
            &[
                "x:5:8: listener.a.disk: false is another word for durability = \"discard\", and that is \"durable\"; one of the \
               two keys is enough",
            ],
        ),
        (
            listener("disk = true\ndurability = 'discard'"),
            &[
                "x:4:8: listener.a.disk: true is another word for durability = \"durable\", and that is \"discard\"; one of the two \
               keys is enough",
            ],
        ),
        (
            public("durability = 'discard'\ndiscards_mail = false\ndisk = false\nrelay_from = '10.0.0.0/8'"),
            &[
                "x:6:14: listener.a.durability: \"discard\" is for a blackhole, and this listener hands its mail to a sink; \
                 \"durable\", \"written\", \"memory\" or \"delivered\" is wanted, or kind = \"blackhole\"",
                "x:7:17: listener.a.discards_mail: cannot stand on a public listener, which discards no mail; no such key, \
                 or kind = \"blackhole\"",
                "x:8:8: listener.a.disk: cannot stand on a public listener, which discards no mail; no such key, or kind = \
                 \"blackhole\"",
                "x:9:14: listener.a.relay_from: cannot stand on a public listener, which takes mail from everyone, for its \
                 recipients alone; no such key, or kind = \"private\"",
            ],
        ),
        (
            format!(
                "[listener.a]\nkind = 'public'\nbind = ['127.0.0.1:2525', '*:25']\nrecipients = ['ok.test', 'ALL']\n\
                 sink = 'store'\nprotocol = 'lmtp'\nextensions = []\n{SINKS}"
            ),
            &[
                "x:3:27: listener.a.bind: \"0.0.0.0:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5); \
                 another port or a Unix socket is wanted",
                "x:4:26: listener.a.recipients: \"ALL\" takes everyone's mail for everyone, where other machines can reach \
                 this listener; accept_any = true says that this is meant; recipients of your own are such as \
                 \"example.net\"",
                "x:6:12: listener.a.protocol: LMTP is spoken with peers that are known, and any machine can reach this \
                 listener; kind = \"private\" with relay_from, or a loopback address or a Unix socket in bind, is wanted",
                "x:7:14: listener.a.extensions: the list has no \"PIPELINING\" and \"ENHANCEDSTATUSCODES\", which LMTP \
                 must offer (RFC 2033 §5); add \"PIPELINING\" and \"ENHANCEDSTATUSCODES\", or leave the key out for all \
                 that there are",
            ],
        ),
        (
            private(
                "relay_from = ['10.0.0.0/8', '0.0.0.0/0', '::/1', '8000::/1']\nproxy_protocol = true\ndisk = false",
            ),
            &[
                "x:6:14: listener.a.relay_from: \"::/0\" lets everyone send mail to everyone; netblocks of your own are \
                 wanted, such as \"10.0.0.0/8\"; accept_any = true says that this is meant",
                "x:6:29: listener.a.relay_from: \"0.0.0.0/0\" lets everyone send mail to everyone; netblocks of your own \
                 are wanted, such as \"10.0.0.0/8\"; accept_any = true says that this is meant",
                "x:7:18: listener.a.proxy_protocol: any machine that reaches this listener could name itself one that is \
                 served; a loopback address or a Unix socket in bind, for the proxy alone, is wanted",
                "x:8:8: listener.a.disk: cannot stand on a private listener, which discards no mail; no such key, or kind = \
                 \"blackhole\"",
            ],
        ),
        (
            public("xclient = ['192.0.2.1', '0.0.0.0/0']"),
            &[
                "x:6:25: listener.a.xclient: \"0.0.0.0/0\" lets everyone name itself as it likes; the addresses of proxies of \
               your own are wanted, such as \"10.0.0.1\"",
            ],
        ),
        (
            private("xclient = '::/0'\naccept_any = true"),
            &[
                "x:6:11: listener.a.xclient: \"::/0\" lets everyone name itself as it likes; the addresses of proxies of your \
               own are wanted, such as \"10.0.0.1\"",
            ],
        ),
        (
            format!("[listener.a]\nkind = 'private'\nbind = '/a'\nsink = 'store'\nrelay_from = '10.0.0.0/8'\n{SINKS}"),
            &["x:5:14: listener.a.relay_from: has no use without a TCP address; a TCP address in bind, or no such key"],
        ),
        (
            public("message_size_bytes = 133_169_153"),
            &[
                "x:6:22: listener.a.message_size_bytes: 133169153 is more than a message can have that waits in memory for its \
               sink; at most 133169152 bytes",
            ],
        ),
    ] {
        assert_eq!(errors(&text), wanted, "{text}");
    }
}

/// What is refused above is taken where it is said that it is meant, or does no harm.
#[test]
fn what_is_meant_can_be_said() {
    for text in [
        "[listener.a]\nkind = 'public'\nbind = '*:25'\nrecipients = 'ALL'\naccept_any = true\nsink = 'app'\n",
        "[listener.a]\nkind = 'public'\nbind = ['127.0.0.1:25', '/a']\nrecipients = 'ALL'\nsink = 'app'\n",
        "[listener.a]\nkind = 'public'\nbind = '*:25'\nrecipients = [{ match = 'ALL', refuse = 450 }]\nsink = 'app'\n",
        "[listener.a]\nkind = 'public'\nbind = ['[::1]:24', '/a']\nprotocol = 'lmtp'\nrecipients = 'a@'\nsink = 'app'\n",
        "[listener.a]\nkind = 'private'\nbind = '*:24'\nprotocol = 'lmtp'\nrelay_from = '10.0.0.1'\nsink = 'app'\n",
        "[listener.a]\nkind = 'private'\nbind = ['127.0.0.1:24']\nproxy_protocol = true\nsink = 'app'\n",
        "[listener.a]\nkind = 'private'\nbind = '*:24'\nrelay_from = ['0.0.0.0/1', '192.0.0.0/2']\nsink = 'app'\n",
    ] {
        assert!(parse(&format!("{text}{SINKS}")).is_ok(), "{text}");
    }
}

#[test]
fn sinks_and_netblocks_are_bounded() {
    let sinks = |count: usize| -> String {
        (0..count).map(|index| format!("[sink.s{index}]\nkind = 'blackhole'\n")).collect::<String>() + &listener("")
    };
    assert_eq!(parse(&sinks(limits::SINKS)).unwrap().sinks().len(), limits::SINKS);
    assert_eq!(errors(&sinks(limits::SINKS + 1)), ["x:129:7: sink.s64: is beyond the number of sinks; at most 64"]);
    let served = |count: usize| {
        let blocks: String = (0..count).map(|index| format!("'10.0.{}.{}',", index / 256, index % 256)).collect();
        private(&format!("relay_from = [{blocks}]"))
    };
    let most = limits::SERVED_NETBLOCKS;
    assert_eq!(parse(&served(most)).unwrap().listeners()[0].scopes().served().map(<[_]>::len), Some(most));
    let found = errors(&served(most + 1));
    assert!(
        found[0].ends_with(": listener.a.relay_from: is beyond the number of netblocks of a listener; at most 1024")
    );
}
