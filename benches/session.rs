//! Whole sessions in memory: what one message of a pipelining client costs between the octets received and the octets to
//! send, with nothing around the session. 4 KiB of content; 64 KiB of input at a time, as from one receive buffer.
//!
//! Instructions of one message are counted, and bounded, by `.ci/instructions`: `--instructions` with the name of a load runs
//! that once, on a blackhole, or with `public` on a listener that keeps what it is told.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmx::limits;
use ringmx::smtp::data::BareNewline;
use ringmx::smtp::reply::{Replies, Reply};
use ringmx::smtp::session::{Effect, Outcome, Session};
use ringmx::smtp::settings::{Nul, Settings, Synchronization, Terms};

/// Messages of one session that is timed.
const MESSAGES: usize = 256;
const CONTENT_OCTETS: usize = 4096;

/// What a session came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    messages: u64,
    octets: u64,
    recipients: u64,
    reply_octets: usize,
}

/// A session's input, and what it comes to.
struct Load {
    name: &'static str,
    input: Vec<u8>,
    sums: Sums,
}

/// A header section, and text.
fn content() -> Vec<u8> {
    let header =
        b"Received: from a.example.org (a.example.org [192.0.2.1])\r\n\tby b.example.net with ESMTPS id 1;\r\n\
        \tMon, 02 Jan 2006 15:04:05 +0000\r\nFrom: Sender <sender@example.org>\r\nTo: first.last@example.net\r\n\
        Subject: A message\r\nMessage-ID: <1@example.org>\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\n\r\n";
    let text = b"A line of the text that mail is made of, of seventy octets or so.....\r\n";
    let octets = header.iter().chain(text.iter().cycle()).copied().take(CONTENT_OCTETS - 2);
    octets.chain(*b"\r\n").collect()
}

fn loads(settings: &Settings) -> [Load; 3] {
    let content = content();
    let envelope = b"MAIL FROM:<sender@example.org> SIZE=4096 BODY=8BITMIME\r\nRCPT TO:<first.last@example.net>\r\n";
    let bdat = [&envelope[..], format!("BDAT {CONTENT_OCTETS} LAST\r\n").as_bytes(), &content].concat();
    let data = [&envelope[..], b"DATA\r\n", &content, b".\r\n"].concat();
    let recipients = b"RCPT TO:<first.last@example.net>\r\n".repeat(10);
    let commands = [&envelope[..], &recipients, b"BDAT 0 LAST\r\n"].concat();
    let size = |replies: &[Reply]| replies.iter().map(|reply| reply.line(settings).len()).sum::<usize>();
    let envelope_replies = size(&[Reply::MailOk, Reply::RcptOk]);
    let load = |name, message: Vec<u8>, octets: usize, recipients: usize, reply_octets: usize| {
        let (messages, octets) = (MESSAGES as u64, (octets * MESSAGES) as u64);
        let sums =
            Sums { messages, octets, recipients: messages * recipients as u64, reply_octets: reply_octets * MESSAGES };
        Load { name, input: message.repeat(MESSAGES), sums }
    };
    [
        load("bdat", bdat, CONTENT_OCTETS, 1, envelope_replies + size(&[settings.terms().taken()])),
        load("data", data, CONTENT_OCTETS, 1, envelope_replies + size(&[Reply::StartMail, settings.terms().taken()])),
        load(
            "commands",
            commands,
            0,
            11,
            envelope_replies + size(&[Reply::RcptOk; 10]) + size(&[settings.terms().taken()]),
        ),
    ]
}

/// The terms of a blackhole (DESIGN §6), or of one that has to look into everything.
fn settings(bare_newline: BareNewline, discards: bool) -> Settings {
    Settings::new(Terms {
        message_size_bytes: limits::BLACKHOLE_MESSAGE_OCTETS,
        recipients_per_message: limits::BLACKHOLE_RECIPIENTS,
        messages_per_connection: None,
        errors: None,
        junk_commands: None,
        synchronization: Synchronization::Tolerant,
        bare_newline,
        nul: if discards { Nul::Accept } else { Nul::Reject },
        received_fields: None,
        discards: true,
        ..Terms::public("mx.test")
    })
}

/// DESIGN §6's public listener, but for what would end a session of so many messages.
fn public() -> Settings {
    let terms =
        Terms { messages_per_connection: None, synchronization: Synchronization::Tolerant, ..Terms::public("mx.test") };
    Settings::new(terms)
}

fn greeted(settings: &Settings) -> Session {
    let mut session = Session::new();
    let mut replies = Replies::new();
    session.handle_open();
    session.answer(settings, Outcome::Accept, &mut replies);
    let mut input: &[u8] = b"EHLO c.test\r\n";
    while session.handle_input(settings, &mut input, &mut replies) != Effect::NeedInput {
        session.answer(settings, Outcome::Accept, &mut replies);
    }
    session
}

/// The work that is timed: a shard's loop, with a sink that counts.
#[inline(never)]
fn run(session: &mut Session, settings: &Settings, input: &[u8], replies: &mut Replies) -> Sums {
    let mut sums = Sums::default();
    for segment in input.chunks(limits::RECEIVE_BUFFER_OCTETS) {
        let mut rest = segment;
        loop {
            match session.handle_input(settings, &mut rest, replies) {
                Effect::Content(piece) => sums.octets += black_box(piece).len() as u64,
                Effect::Ask(question) => {
                    if let ringmx::smtp::session::Question::EndOfData(ended) = question {
                        sums.messages += 1;
                        sums.recipients += u64::from(ended.recipients);
                    }
                    session.answer(settings, Outcome::Accept, replies);
                }
                Effect::Continue => {}
                Effect::NeedInput => break,
                effect => panic!("{effect:?}"),
            }
        }
        // As if they had been sent.
        sums.reply_octets += replies.octets.len();
        replies.octets.clear();
    }
    sums
}

fn sessions(criterion: &mut Criterion) {
    let kinds = [
        ("blackhole", settings(BareNewline::Preserve, true)),
        ("looks into content", settings(BareNewline::Normalize, false)),
        ("public", public()),
    ];
    for (kind, settings) in &kinds {
        let mut group = criterion.benchmark_group(format!("session/{kind}"));
        group.throughput(Throughput::Elements(MESSAGES as u64));
        for load in loads(settings) {
            let (mut session, mut replies) = (greeted(settings), Replies::new());
            assert_eq!(run(&mut session, settings, &load.input, &mut replies), load.sums, "{}", load.name);
            group.bench_function(load.name, |bencher| {
                bencher.iter(|| run(&mut session, settings, black_box(&load.input), &mut replies));
            });
        }
        group.finish();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--instructions") {
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        let settings = if has("public") { public() } else { settings(BareNewline::Preserve, true) };
        for load in loads(&settings).into_iter().filter(|load| has(load.name)) {
            assert_eq!(run(&mut greeted(&settings), &settings, &load.input, &mut Replies::new()), load.sums);
        }
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    sessions(&mut criterion);
    criterion.final_summary();
}
