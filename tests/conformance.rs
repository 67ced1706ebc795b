//! Runs the dialogues of `tests/dialog` on the session in memory and on the engine, and keeps their list of what they cover.

#[path = "common/dialog.rs"]
mod dialog;
#[path = "common/host.rs"]
mod host;
#[path = "common/live.rs"]
mod live;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dialog::{Beginning, Case, ExpectedReply, Step, Variant};
use host::{Decision, Host, ReplyReader, ReplyText};
use live::Client;
use ringmx::config::Plan;
use ringmx::engine::Engine;
use ringmx::policy::decision::{self, Asked, Policy, Ticket};
use ringmx::protocol::xclient;
use ringmx::smtp::data::BareNewline;
use ringmx::smtp::reply::Reply;
use ringmx::smtp::session::{Outcome, Point, Question};
use ringmx::smtp::settings::{AddressSyntax, Dialect, Nul, Synchronization};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialog")
}

fn cases() -> Vec<Case> {
    dialog::load(&directory())
}

// How input is cut.

/// How the client's octets become segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// As written.
    Whole,
    /// One octet at a time at both ends, over so many octets; pieces between.
    Octets { at_ends: usize },
    /// At places drawn from a seed.
    Random(u64),
}

/// A generator of our own, so that the splits are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

impl Cut {
    fn segments(self, written: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let octets = written.concat();
        match self {
            Self::Whole => written.to_vec(),
            Self::Octets { at_ends } => {
                let size = octets.len();
                let mut segments = Vec::new();
                let mut at = 0;
                while at < size {
                    let is_at_end = at < at_ends || at + at_ends >= size;
                    let end = if is_at_end { at + 1 } else { (at + 997).min(size - at_ends) };
                    segments.push(octets[at..end].to_vec());
                    at = end;
                }
                segments
            }
            Self::Random(seed) => {
                let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
                let mut cuts: Vec<usize> = (0..random.below(8)).map(|_| random.below(octets.len() + 1)).collect();
                cuts.extend([0, octets.len()]);
                cuts.sort_unstable();
                cuts.dedup();
                cuts.windows(2).map(|cut| octets[cut[0]..cut[1]].to_vec()).collect()
            }
        }
    }
}

/// Panics with what was wanted and what came.
#[track_caller]
fn check_reply(expected: &ExpectedReply, reply: Option<&ReplyText>) {
    let Some(reply) = reply else { panic!("wanted {expected:?}, got nothing") };
    let enhanced = expected.enhanced.as_ref().is_none_or(|enhanced| *enhanced == reply.enhanced);
    let lines = expected.lines.is_empty() || expected.lines == reply.lines;
    assert!(expected.code == reply.code && enhanced && lines, "wanted {expected:?}, got {reply:?}");
}

/// Whether the case ends with the session still in step.
fn stays_open(case: &Case) -> bool {
    !case.steps.iter().any(|step| matches!(step, Step::Close | Step::HalfClose))
}

/// What follows each case that stays open.
const IN_STEP: [(&str, u16); 2] = [("RSET\r\n", 250), ("NOOP\r\n", 250)];

fn plain(code: u16) -> ExpectedReply {
    ExpectedReply { code, enhanced: None, lines: Vec::new(), times: 1 }
}

// In memory.

/// Refuses what the fixture refuses, and what the case says.
fn policy(variant: &Variant) -> host::Policy {
    let (refuse, defer) = (variant.refuse.clone(), variant.defer.clone());
    let list = variant.has_list.then(recipients);
    Box::new(move |question| {
        let point = question.point();
        if defer.contains(&point) {
            return Decision::Later;
        }
        if let (Some(list), Point::Rcpt) = (&list, point) {
            let ticket = Ticket { shard: 0, slot: 0, generation: 0, question: 0 };
            return match list.decide(&Asked { question: *question, ticket, random: 0 }) {
                decision::Decision::Now(outcome) => Decision::Now(outcome),
                other => panic!("a list decides at once: {other:?}"),
            };
        }
        let scripted = refuse
            .iter()
            .find(|(at, _)| *at == point)
            .map(|(_, reply)| *reply)
            .or_else(|| refused_user(question))
            .or_else(|| refused_attributes(question));
        Decision::Now(scripted.or_else(|| refused_by_name(question)).map_or(Outcome::Accept, Outcome::Refuse))
    })
}

/// Who decides for a listener with the fixture's recipients.
fn recipients() -> Arc<dyn Policy> {
    let listener = format!(
        "[listener.l]\nkind = \"public\"\nbind = \"127.0.0.1:0\"\nsink = \"none\"\nrecipients = {RECIPIENTS}\n"
    );
    let plan = Plan::parse(&format!("{SERVER}{listener}{SINK}"), "recipients").expect("the fixture is right");
    Arc::clone(&plan.listeners()[0].scope().policy)
}

/// Everybody but the user `u` with the password `p`.
fn refused_user(question: &Question<'_>) -> Option<Reply> {
    let Question::Auth(shown) = question else { return None };
    let is_known = shown.authentication_id == b"u" && shown.password == b"p";
    (!is_known).then_some(Reply::BadCredentials)
}

/// Attributes of XCLIENT that cannot be read.
fn refused_attributes(question: &Question<'_>) -> Option<Reply> {
    let Question::Xclient { attributes } = question else { return None };
    xclient::parse(attributes).is_err().then_some(Reply::BadXclient)
}

/// `no@…` and `no451@…`.
fn refused_by_name(question: &Question<'_>) -> Option<Reply> {
    let path = match question {
        Question::Mail(mail) => mail.reverse_path,
        Question::Rcpt(rcpt) => rcpt.forward_path,
        _ => return None,
    };
    let ringmx::mail::address::Path::Mailbox(mailbox) = path else { return None };
    match mailbox.local_part.strip_prefix(b"no")? {
        b"" => Some(Reply::Scripted550),
        code => Reply::scripted(std::str::from_utf8(code).ok()?.parse().ok()?),
    }
}

struct InMemory {
    host: Host,
    seen: usize,
    reader: ReplyReader,
}

impl InMemory {
    /// Brings the session, which was just greeted, into TLS.
    fn secure(&mut self, hello: &str) {
        self.host.receive(hello.as_bytes());
        self.expect(&plain(250));
        self.host.receive(b"STARTTLS\r\n");
        self.expect_silence();
        self.host.begin_tls(true);
        self.expect(&plain(220));
        self.host.secure();
    }

    fn expect(&mut self, expected: &ExpectedReply) {
        self.reader.push(&self.host.sent[self.seen..]);
        self.seen = self.host.sent.len();
        for _ in 0..expected.times {
            check_reply(expected, self.reader.next().as_ref());
        }
    }

    fn expect_silence(&mut self) {
        self.reader.push(&self.host.sent[self.seen..]);
        self.seen = self.host.sent.len();
        if let Some(reply) = self.reader.next() {
            panic!("wanted no reply, got {reply:?}");
        }
        assert!(self.reader.is_empty());
    }
}

fn run_in_memory(case: &Case, variant: &Variant, cut: Cut) {
    let mut run =
        InMemory { host: Host::connect(variant.settings(), policy(variant)), seen: 0, reader: ReplyReader::default() };
    for (line, code) in variant.preamble() {
        if variant.is_secure && line.starts_with(['E', 'L']) {
            run.secure(line);
        }
        if !line.is_empty() {
            run.host.receive(line.as_bytes());
        }
        run.expect(&plain(code));
    }
    for (index, step) in case.steps.iter().enumerate() {
        match step {
            Step::Send(written) => {
                // What came before this step was expected before it.
                if index > 0 || variant.begin != Beginning::Connected {
                    run.expect_silence();
                }
                cut.segments(written).iter().for_each(|segment| run.host.receive(segment));
            }
            Step::Reply(expected) => run.expect(expected),
            Step::Close => {
                run.expect_silence();
                assert!(run.host.is_closed(), "wanted the end, but the session goes on");
            }
            Step::HalfClose => run.host.half_close(),
            Step::Idle => {
                run.expect_silence();
                run.host.refuse(Reply::IdleTimeout);
            }
            Step::Drain => run.host.drain(),
            Step::Answer { ticket, outcome, is_awaited } => {
                run.expect_silence();
                let Some(number) = run.host.deferred.get(ticket - 1).copied() else {
                    panic!("only {} questions were deferred", run.host.deferred.len());
                };
                assert_eq!(run.host.outcome(number, outcome.clone()), *is_awaited, "ticket {ticket} is waited for");
            }
            Step::AnswerTimeout => {
                run.expect_silence();
                run.host.answer_timeout();
            }
            Step::Quiet { is_available } => {
                run.expect_silence();
                run.host.begin_tls(*is_available);
            }
            Step::Secured => {
                run.expect_silence();
                run.host.secure();
            }
        }
    }
    if stays_open(case) {
        for (line, code) in IN_STEP {
            run.expect_silence();
            run.host.receive(line.as_bytes());
            run.expect(&plain(code));
        }
        assert!(!run.host.is_closed(), "the session has ended");
    }
    run.expect_silence();
    check_messages(case, &run.host);
}

fn check_messages(case: &Case, host: &Host) {
    let messages = host.messages();
    assert_eq!(messages.len(), case.messages.len(), "accepted messages: {messages:?}");
    for (expected, message) in case.messages.iter().zip(messages) {
        assert!(
            expected.content == message.content,
            "wanted {}, got {}",
            excerpt(&expected.content),
            excerpt(&message.content)
        );
        if let Some(reverse_path) = &expected.reverse_path {
            assert_eq!(*reverse_path, message.reverse_path);
        }
        if let Some(with) = &expected.with {
            assert_eq!(with, message.with);
        }
        if let Some(parameters) = &expected.mail_parameters {
            assert_eq!(*parameters, message.mail_parameters);
        }
        if !expected.rcpt_parameters.is_empty() {
            assert_eq!(expected.rcpt_parameters, message.rcpt_parameters);
        }
        if let Some(recipients) = &expected.recipients {
            assert_eq!(*recipients, message.recipients);
        }
        if let Some(marks) = expected.marks {
            assert_eq!(marks, message.marks);
        }
    }
}

fn excerpt(octets: &[u8]) -> String {
    let end = octets.len().min(200);
    format!("{} octets: {}", octets.len(), octets[..end].escape_ascii())
}

/// Runs each of the jobs, and names all that failed.
fn run_all<J: Sync>(jobs: &[J], threads: usize, name: impl Fn(&J) -> String + Sync, run: impl Fn(&J) + Sync) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(job))) {
                        let why = panic.downcast_ref::<String>().map_or("see above", String::as_str);
                        failed.lock().unwrap().push(format!("{}: {why}", name(job)));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), jobs.len(), failed.join("\n"));
}

fn run_every_case_in_memory(cuts: impl Fn(usize) -> Vec<Cut>) {
    let cases = cases();
    let mut jobs = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        for variant in case.variants().into_iter().filter(|variant| variant.in_memory) {
            let cuts = if variant.is_whole_only { vec![Cut::Whole] } else { cuts(index) };
            jobs.push((case, variant, cuts));
        }
    }
    assert!(!jobs.is_empty());
    run_all(
        &jobs,
        2,
        |(case, variant, _)| format!("{case}{}", variant.name),
        |(case, variant, cuts)| cuts.iter().for_each(|cut| run_in_memory(case, variant, *cut)),
    );
}

#[test]
fn in_memory_whole() {
    run_every_case_in_memory(|_| vec![Cut::Whole]);
}

#[test]
fn in_memory_octet_by_octet() {
    run_every_case_in_memory(|_| vec![Cut::Octets { at_ends: 4096 }]);
}

#[test]
fn in_memory_at_random_splits() {
    run_every_case_in_memory(|index| (1..=100).map(|seed| Cut::Random(index as u64 * 1000 + seed)).collect());
}

// On the engine.

/// A listener that holds its sessions to the variant's terms.
fn listener(name: &str, variant: &Variant) -> String {
    let terms = &variant.terms;
    let synchronization = match terms.synchronization {
        Synchronization::Strict => "strict",
        Synchronization::Tolerant => "tolerant",
    };
    let bare_newline = match terms.bare_newline {
        BareNewline::Normalize => "normalize",
        BareNewline::Preserve => "preserve",
        BareNewline::Reject => "reject",
    };
    let nul = if terms.nul == Nul::Accept { "accept" } else { "reject" };
    let address_syntax = if terms.address_syntax == AddressSyntax::Strict { "strict" } else { "loose" };
    let default_domain = match &terms.default_domain {
        Some(domain) => format!("default_domain = \"{domain}\""),
        None => String::new(),
    };
    let protocol = if terms.dialect == Dialect::Smtp { "smtp" } else { "lmtp" };
    let kind = match variant.has_list {
        false => "kind = \"blackhole\"".to_owned(),
        true => format!("kind = \"public\"\ndurability = \"delivered\"\nsink = \"none\"\nrecipients = {RECIPIENTS}"),
    };
    let extensions: Vec<_> = terms.extensions.iter().map(|extension| extension.keyword()).collect();
    format!(
        r#"
        [listener.{name}]
        {kind}
        protocol = "{protocol}"
        bind = "127.0.0.1:0"
        banner = "{}"
        extensions = {extensions:?}
        message_size_bytes = {}
        recipients_per_message = {}
        messages_per_connection = {}
        errors = {}
        junk_commands = {}
        synchronization = "{synchronization}"
        bare_newline = "{bare_newline}"
        nul = "{nul}"
        address_syntax = "{address_syntax}"
        received_fields = {}
        line_bytes = {}
        recipient_domains_per_message = {}
        {default_domain}
        idle_timeout_s = {}
        greet_pause_ms = {}
        "#,
        terms.banner,
        terms.message_size_bytes,
        // The configuration holds the operator to RFC 5321 §4.5.3.1.8; cases below that are for the memory.
        terms.recipients_per_message,
        terms.messages_per_connection.unwrap_or(0),
        terms.errors.unwrap_or(0),
        terms.junk_commands.unwrap_or(0),
        terms.received_fields.unwrap_or(0),
        terms.line_octets.unwrap_or(0),
        terms.recipient_domains_per_message.unwrap_or(0),
        variant.idle_timeout_s,
        variant.greet_pause_ms,
    )
}

const SERVER: &str = "[server]\nhostname = \"mx.test\"\nshards = 1\n";

/// The fixture's recipients, for listeners whose mail goes to a sink that keeps none.
const RECIPIENTS: &str = r#"[
    { match = "no@ok.test", refuse = 550 },
    { match = "later@ok.test", refuse = 450 },
    "ok.test",
    { match = "nomail.test", refuse = 556 },
    ".sub.test",
    "[192.0.2.1]",
    "a%b@exact.test",
]"#;

/// What such listeners need besides.
const SINK: &str = "[sink.none]\nkind = \"blackhole\"\n[log]\ndeliveries = \"none\"\n";

/// A directory for what an engine keeps; removed with this.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("conformance-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run_live(case: &Case, variant: &Variant, cut: Cut, address: std::net::SocketAddr) {
    let mut client = Client::connect(address);
    for (line, code) in variant.preamble() {
        client.send(line.as_bytes());
        check_reply(&plain(code), client.reply().as_ref());
    }
    let mut idle_since = None;
    for step in &case.steps {
        match step {
            Step::Send(written) => cut.segments(written).iter().for_each(|segment| client.send(segment)),
            Step::Reply(expected) => {
                for _ in 0..expected.times {
                    check_reply(expected, client.reply().as_ref());
                }
                if let Some(since) = idle_since.take() {
                    check_idle_time(since, variant);
                }
            }
            Step::Close => client.expect_end(),
            Step::HalfClose => client.half_close(),
            Step::Idle => idle_since = Some(Instant::now()),
            Step::Drain | Step::Answer { .. } | Step::AnswerTimeout | Step::Quiet { .. } | Step::Secured => {
                panic!("only in memory: say 'run=memory'")
            }
        }
    }
    if stays_open(case) {
        for (line, code) in IN_STEP {
            client.send(line.as_bytes());
            check_reply(&plain(code), client.reply().as_ref());
        }
    }
}

/// CONFORMANCE T040: within a second of what is configured. Only a machine that stalls for longer could fail it wrongly,
/// so the bound above is wider.
fn check_idle_time(since: Instant, variant: &Variant) {
    let configured = Duration::from_secs(variant.idle_timeout_s);
    let passed = since.elapsed();
    // The server's clock began when it heard the client last, before ours.
    assert!(passed + Duration::from_millis(200) > configured, "the reply came after {passed:?}");
    assert!(passed < configured + Duration::from_secs(5), "the reply came after {passed:?}");
}

fn run_every_case_live(cut: Cut) {
    let cases = cases();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut jobs = Vec::new();
    for case in &cases {
        for variant in case.variants().into_iter().filter(|variant| variant.is_live) {
            let count = names.len();
            let name = names.entry(listener("NAME", &variant)).or_insert_with(|| format!("l{count}")).clone();
            let cut = if variant.is_whole_only { Cut::Whole } else { cut };
            jobs.push((case, variant, cut, name));
        }
    }
    let listeners: String = names.iter().map(|(text, name)| text.replace("NAME", name)).collect();
    let home = Home::new();
    let server = format!("{SERVER}data_dir = {:?}\n", home.0);
    let engine = live::start(&format!("{server}{listeners}{SINK}"));
    let addresses: BTreeMap<&String, _> = names.values().map(|name| (name, live::address(&engine, name))).collect();
    run_all(
        &jobs,
        8,
        |(case, variant, ..)| format!("{case}{}", variant.name),
        |(case, variant, cut, name)| run_live(case, variant, *cut, addresses[name]),
    );
    stop(engine);
}

/// No client is left that patience would be for.
fn stop(mut engine: Engine) {
    engine.drain(Duration::ZERO);
    engine.join();
}

#[test]
fn live_whole() {
    run_every_case_live(Cut::Whole);
}

#[test]
fn live_octet_by_octet() {
    run_every_case_live(Cut::Octets { at_ends: 128 });
}

// What takes more than a dialogue.

/// CONFORMANCE T042: a connection above the limit hears 421 in place of a greeting, and those that are served go on.
#[test]
fn live_connection_limit() {
    let engine = live::start(
        r#"
        [server]
        hostname = "mx.test"
        shards = 1
        connections_per_shard = 2
        [listener.l]
        kind = "blackhole"
        bind = "127.0.0.1:0"
        "#,
    );
    let address = live::address(&engine, "l");
    let greeting = |client: &mut Client| client.reply().expect("a greeting").code;
    let mut served = [Client::connect(address), Client::connect(address)];
    assert_eq!(served.each_mut().map(greeting), [220, 220]);
    for _ in 0..3 {
        let mut refused = Client::connect(address);
        let reply = refused.reply().expect("a reply");
        assert_eq!((reply.code, reply.enhanced.as_str()), (421, "4.3.2"));
        refused.expect_end();
    }
    for client in &mut served {
        client.send(b"QUIT\r\n");
        assert_eq!(client.reply().expect("a reply").code, 221);
        client.expect_end();
    }
    drop(served);
    // The server needs a moment to see the ends; until then it says 421.
    let until = Instant::now() + live::PATIENCE;
    while greeting(&mut Client::connect(address)) == 421 {
        assert!(Instant::now() < until, "nobody is served any more");
    }
    stop(engine);
}

/// CONFORMANCE T043: a server that stops tells idle clients so; one that is in mail data comes to its end first.
#[test]
fn live_drain() {
    let mut engine = live::start(&format!("{SERVER}[listener.l]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\n"));
    let address = live::address(&engine, "l");
    let [mut idle, mut busy] = [Client::connect(address), Client::connect(address)];
    assert_eq!(idle.reply().expect("a greeting").code, 220);
    assert_eq!(busy.reply().expect("a greeting").code, 220);
    for (line, code) in
        [("EHLO c.test\r\n", 250), ("MAIL FROM:<>\r\n", 250), ("RCPT TO:<a@b.test>\r\n", 250), ("DATA\r\n", 354)]
    {
        busy.send(line.as_bytes());
        assert_eq!(busy.reply().expect("a reply").code, code);
    }
    busy.send(b"half a line");
    engine.drain(live::PATIENCE);
    let reply = idle.reply().expect("a reply");
    assert_eq!((reply.code, reply.enhanced.as_str()), (421, "4.3.2"));
    idle.expect_end();
    busy.send(b", and the rest\r\n.\r\n");
    assert_eq!(busy.reply().expect("a reply").code, 250);
    assert_eq!(busy.reply().expect("a reply").code, 421);
    busy.expect_end();
    engine.drain(Duration::ZERO);
    let report = engine.join();
    drop(report);
}

// What is covered.

/// The rows of sections 1 to 7, and of "Smuggling sequences".
const ROWS: &[&str] = &[
    "T001", "T002", "T003", "T004", "T005", "T006", "T007", "T008", "T010", "T011", "T012", "T014", "T015", "T016",
    "T017", "T018", "T019", "T021", "T022", "T023", "T024", "T025", "T026", "T027", "T028", "T029", "T030", "T031",
    "T033", "T035", "T036", "T037", "T038", "T040", "T041", "T042", "T043", "T044", "T045", "T046", "T047", "T049",
    "T050", "T051", "T052", "T054", "T055", "T057", "T058", "T059", "T060", "T061", "T062", "T063", "T065", "T066",
    "T067", "T068", "T069", "T072", "T073", "T074", "T075", "T076", "T077", "T079", "T080", "T081", "T082", "T083",
    "T084", "T086", "T087", "T088", "T089", "T090", "T092", "T093", "T094", "T095", "T097", "T098", "T100", "T101",
    "T103", "T104", "T105", "T106", "T108", "T110", "T111", "T112", "T113", "T114", "T116", "T118", "T119", "T120",
    "T121", "T123", "T124", "T125", "T126", "T127", "T128", "T130", "T132", "T133", "T134", "T135", "T137", "T138",
    "T140", "T141", "T142", "T143", "T146", "T148", "T149", "T152", "T154", "T155", "T157", "T159", "T160", "T161",
    "T163", "T164", "T165", "T166", "T167", "T169", "T170", "T171", "T172", "T173", "T174", "T175", "T176", "T177",
    "T178", "T179", "T180", "T182", "T183", "T184", "T185", "T186", "T187", "T188", "T190", "T191", "T192", "T193",
    "T194", "T195", "T196", "T198", "T199", "T200", "T201", "T202", "T204", "T207", "T208", "T209", "T210", "T211",
    "T212", "T213", "T215", "T216", "T217", "T218", "T219", "T220", "T221", "T222", "S1", "S2", "S3", "S4", "S5", "S6",
    "S7", "S8", "S9", "S10", "S11", "S12", "S13", "S14", "S15", "S16", "S17", "S18", "S19", "S20",
];

/// Rows that tests in Rust cover, beside the dialogues.
const BY_TESTS: &[(&str, &str)] = &[
    ("T041", "`a_line_that_trickles_in_has_its_own_time` of the shard"),
    ("T042", "`live_connection_limit`"),
    ("T043", "`live_drain`"),
    ("T044", "`every_point_can_refuse` of the process"),
    ("T137", "`mail::trace`: the field, whatever the client calls itself"),
    ("T164", "`five_thousand_noops_in_one_write` and `deaf` of the process"),
    ("T194", "`config::rules`"),
    ("T195", "`protocol::qmqp`"),
    ("T196", "`protocol::qmqp`"),
    ("T198", "`protocol::qmqp`"),
    ("T199", "`protocol::qmqp`"),
    ("T200", "`protocol::qmqp`: who is served is asked at the connect, as everywhere"),
    ("T201", "`protocol::proxy`, `identity` of the shard"),
    ("T202", "`protocol::proxy`, `identity` of the shard"),
    ("T204", "`protocol::proxy`, `identity` of the shard"),
    ("T207", "`identity` of the shard"),
    ("T208", "`identity` of the shard"),
    ("T209", "`identity` of the shard"),
    ("T210", "`identity` of the shard"),
    ("T211", "`identity` of the shard"),
    ("T212", "`identity` of the shard"),
    ("T213", "`protocol::xclient`"),
    ("T215", "`identity` of the shard"),
    ("T220", "every reply of every dialogue, `smtp::reply` for those that none brings about"),
    ("T221", "every reply of every dialogue, `smtp::reply` for those that none brings about"),
];

/// Rows that are not covered, or in part, with what this build lacks for them.
const LACKING: &[(&str, &str)] = &[
    ("T042", "a limit of connections for each address"),
    ("T072", "a spool that can be full"),
    ("T133", "minimum data rates"),
    ("T134", "a spool that can fail"),
    ("T159", "TLS"),
    ("T166", "TLS: the handshake"),
    ("T173", "TLS"),
    ("T174", "TLS"),
    ("T176", "TLS: the certificate"),
    ("T177", "TLS"),
    ("T179", "TLS and users: the time that a refusal takes"),
    ("T183", "TLS"),
    ("T184", "TLS"),
    ("T185", "TLS"),
    ("T186", "TLS"),
    ("T193", "sinks that answer for each recipient"),
    ("T195", "QMQP listeners, and a spool to commit to"),
    ("T200", "access rules, without which no QMQP listener is opened"),
    ("T201", "limits of each address, and trace fields that are written"),
    ("T216", "HTTP injection"),
    ("T217", "HTTP injection"),
    ("T218", "HTTP injection"),
    ("T219", "HTTP injection"),
    ("T222", "a control socket"),
];

const COVERED_HEAD: &str = "\
# Covered

Which rows of the conformance table the dialogues here cover, each in memory (m), live (l), or both. Written by
`UPDATE_COVERED=1 cargo test --test conformance covered`, and checked by that test.

T and S are the table's own numbers. Its lists without numbers have these: B1 to B6 are the items of \"Bare CR and LF, NUL: the
policy\"; G1 and G2 the columns of \"Grouping\", G1 what may stand anywhere in a group; C1 and C2 the two sentences of
\"Closing\"; D1 to D11 are about answers that come later (DESIGN decision 7).

";

fn covered() -> String {
    let cases = cases();
    let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for case in &cases {
        assert!(!case.ids.is_empty() && !case.steps.is_empty(), "{case}");
        let variants = case.variants();
        let (in_memory, is_live) = (variants.iter().any(|one| one.in_memory), variants.iter().any(|one| one.is_live));
        let runs = match (in_memory, is_live) {
            (true, true) => "m l",
            (true, false) => "m",
            _ => "l",
        };
        for id in &case.ids {
            rows.entry(id).or_default().push(format!("{} ({runs})", case.title));
        }
    }
    for (id, what) in BY_TESTS {
        rows.entry(id).or_default().push((*what).to_owned());
    }
    for row in ROWS {
        let is_known = rows.contains_key(row) || LACKING.iter().any(|(lacking, _)| lacking == row);
        assert!(is_known, "{row} is neither covered nor named as lacking");
    }
    let mut text = format!("{COVERED_HEAD}| Row | Cases |\n|---|---|\n");
    let order = |id: &str| {
        (["T", "S", "B", "G", "C", "D"].iter().position(|letter| id.starts_with(letter)), id[1..].parse::<u32>().ok())
    };
    let mut ids: Vec<_> = rows.keys().copied().collect();
    ids.sort_by_key(|id| order(id));
    for id in ids {
        writeln!(text, "| {id} | {} |", rows[id].join("; ")).expect("text can be written");
    }
    text += "\n## Not covered\n\nIn this build, for lack of a part; a row that stands above as well is covered but for that.\n\n| Row | Lacking |\n|---|---|\n";
    for (id, what) in LACKING {
        writeln!(text, "| {id} | {what} |").expect("text can be written");
    }
    text
}

#[test]
fn covered_is_up_to_date() {
    let path = directory().join("COVERED.md");
    let text = covered();
    if std::env::var_os("UPDATE_COVERED").is_some() {
        std::fs::write(&path, &text).expect("the table can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{} is not up to date: UPDATE_COVERED=1 cargo test --test conformance", path.display());
}
