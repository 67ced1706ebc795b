//! Command lines: cut out of the input, cut into verb and argument, and read.
//!
//! Instructions of one MAIL line with two parameters (P15), which criterion does not count: `valgrind --tool=callgrind
//! --toggle-collect='command::mail_line' target/release/deps/command-* --instructions mail` (or `strict`, or `long`, with a
//! longer path; or `rcpt` and `bdat`, with the functions of those names), and the sum divided by [`COUNTED`].

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmx::mail::address::{Mailbox, Path};
use ringmx::mail::envelope::Body;
use ringmx::smtp::command::{self, Chunk, MailCommand, RcptCommand, Verb};
use ringmx::smtp::extension::Extensions;
use ringmx::smtp::line::{Carry, Found};
use ringmx::smtp::reply::Reply;
use ringmx::smtp::settings::AddressSyntax;

const MAIL: &[u8] = b"MAIL FROM:<sender@example.org> SIZE=4096 BODY=8BITMIME\r\n";
const LONG_MAIL: &[u8] = b"MAIL FROM:<newsletter-bounces@lists.example.org> SIZE=4096 BODY=8BITMIME\r\n";
const RCPT: &[u8] = b"RCPT TO:<first.last@example.net>\r\n";
const BDAT: &[u8] = b"BDAT 4096 LAST\r\n";

/// How often `--instructions` runs the line.
const COUNTED: usize = 1000;

/// Everything between the octets of a MAIL line and the question about it.
#[inline(never)]
fn mail_line<'i>(carry: &'i mut Carry, input: &mut &'i [u8], syntax: AddressSyntax) -> Result<MailCommand<'i>, Reply> {
    let Found::Whole(line) = carry.find(input) else { panic!("the line is whole") };
    let (verb, argument) = Verb::split(line.text(carry));
    assert_eq!(verb, Verb::Mail);
    command::parse_mail(argument, syntax, Extensions::unconditional())
}

#[inline(never)]
fn rcpt_line<'i>(carry: &'i mut Carry, input: &mut &'i [u8]) -> Result<RcptCommand<'i>, Reply> {
    let Found::Whole(line) = carry.find(input) else { panic!("the line is whole") };
    let (verb, argument) = Verb::split(line.text(carry));
    assert_eq!(verb, Verb::Rcpt);
    command::parse_rcpt(argument, AddressSyntax::Loose, Extensions::unconditional(), false)
}

#[inline(never)]
fn bdat_line(carry: &mut Carry, input: &mut &[u8]) -> Option<Chunk> {
    let Found::Whole(line) = carry.find(input) else { panic!("the line is whole") };
    let (verb, argument) = Verb::split(line.text(carry));
    assert_eq!(verb, Verb::Bdat);
    command::parse_bdat(argument)
}

/// What is timed gives what it must.
fn check() {
    let mut carry = Carry::default();
    assert!(mail_line(&mut carry, &mut &*LONG_MAIL, AddressSyntax::Strict).is_ok());
    for syntax in [AddressSyntax::Loose, AddressSyntax::Strict] {
        let mail = mail_line(&mut carry, &mut &*MAIL, syntax).expect("it is a MAIL");
        assert_eq!(mail.reverse_path, Path::Mailbox(Mailbox { local_part: b"sender", domain: b"example.org" }));
        assert_eq!((mail.parameters.size_bytes, mail.parameters.body), (Some(4096), Body::EightBitMime));
    }
    let rcpt = rcpt_line(&mut carry, &mut &*RCPT).expect("it is a RCPT");
    assert_eq!(rcpt.forward_path, Path::Mailbox(Mailbox { local_part: b"first.last", domain: b"example.net" }));
    assert_eq!(bdat_line(&mut carry, &mut &*BDAT), Some(Chunk { octets: 4096, last: true }));
    // A line that comes in two pieces is put together in the carry.
    let (one, two) = MAIL.split_at(30);
    assert_eq!(carry.find(&mut &*one), Found::Partial);
    assert!(mail_line(&mut carry, &mut &*two, AddressSyntax::Loose).is_ok());
    assert_eq!(carry.take_copied_octets(), MAIL.len() as u64);
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    group.throughput(Throughput::Elements(1));
    let mut carry = Carry::default();
    for (name, syntax) in [("mail, two parameters", AddressSyntax::Loose), ("mail, strict", AddressSyntax::Strict)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| mail_line(&mut carry, &mut black_box(MAIL), syntax).is_ok());
        });
    }
    group.bench_function("mail, a long path", |bencher| {
        bencher.iter(|| mail_line(&mut carry, &mut black_box(LONG_MAIL), AddressSyntax::Loose).is_ok());
    });
    group.bench_function("mail, in two pieces", |bencher| {
        let (one, two) = MAIL.split_at(30);
        bencher.iter(|| {
            assert_eq!(carry.find(&mut black_box(one)), Found::Partial);
            mail_line(&mut carry, &mut black_box(two), AddressSyntax::Loose).is_ok()
        });
    });
    group.bench_function("rcpt", |bencher| bencher.iter(|| rcpt_line(&mut carry, &mut black_box(RCPT)).is_ok()));
    group.bench_function("bdat", |bencher| bencher.iter(|| bdat_line(&mut carry, &mut black_box(BDAT))));
    group.finish();
}

fn main() {
    check();
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--instructions") {
        let mut carry = Carry::default();
        let syntax = if has("strict") { AddressSyntax::Strict } else { AddressSyntax::Loose };
        for _ in 0..COUNTED {
            if has("rcpt") {
                assert!(rcpt_line(&mut carry, &mut black_box(RCPT)).is_ok());
            } else if has("bdat") {
                assert!(bdat_line(&mut carry, &mut black_box(BDAT)).is_some());
            } else {
                let mut line = black_box(if has("long") { LONG_MAIL } else { MAIL });
                assert!(mail_line(&mut carry, &mut line, syntax).is_ok());
            }
        }
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    lines(&mut criterion);
    criterion.final_summary();
}
