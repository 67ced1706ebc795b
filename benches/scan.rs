//! The decoder of mail data against `memchr::memmem` of CRLF-dot on the same text (PERFORMANCE.md, P14).
//!
//! Every case is first checked against the oracle of the unit tests: content, marks, place of the end; and lines, dots
//! and octets against what the text was made of. `cargo bench --bench scan` ends with the ratios of P14, which it takes
//! from interleaved runs, so that they bear the load of a shared machine; `-- --test` only checks, and runs each case
//! once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use memchr::memmem;
use ringmx::smtp::data::{BareNewline, DataDecoder, DataStep, Marks};
use ringmx::smtp::scan::Scanner;

#[expect(dead_code, reason = "the oracle of the scan alone is for its unit tests")]
#[path = "../src/smtp/scan/scalar.rs"]
mod scalar;

const PAGE: usize = 4096;

/// Mail data with its end, and what it was made of.
struct Mail {
    name: &'static str,
    bare: BareNewline,
    /// The text begins `start` octets in, on a page, so that it lies the same in every run. `memmem` is between 65 and
    /// 106 GB/s all the same.
    buffer: Vec<u8>,
    start: usize,
    lines: usize,
    dots: usize,
}

impl Mail {
    /// Lines of about `width` octets, of words with a full stop here and there. Every n-th line starts with a dot when
    /// `dots` is Some(n).
    fn new(
        name: &'static str,
        bare: BareNewline,
        size: usize,
        width: usize,
        dots: Option<usize>,
        line_end: &str,
    ) -> Self {
        const WORDS: [&str; 12] = [
            "the",
            "mail",
            "of",
            "mx.example.net",
            "relays",
            "a",
            "to",
            "transparency",
            "octet.",
            "and",
            "line,",
            "reply",
        ];
        let words = if name == "utf-8" { WORDS.map(|word| word.replace('a', "ä")) } else { WORDS.map(String::from) };
        // A fixed sequence, so that every run times the same text.
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as usize
        };
        let mut octets = Vec::with_capacity(size + 8);
        let (mut line_count, mut dot_count) = (0, 0);
        while octets.len() < size {
            let target = octets.len() + (width - 4 + next() % 9).min(size - octets.len());
            if dots.is_some_and(|every| line_count % every == every - 1) {
                octets.push(b'.');
                dot_count += 1;
            }
            while octets.len() < target {
                octets.extend_from_slice(words[next() % words.len()].as_bytes());
                octets.push(b' ');
            }
            octets.pop();
            octets.extend_from_slice(line_end.as_bytes());
            line_count += 1;
        }
        if line_end != "\r\n" {
            octets.extend_from_slice(b"\r\n");
            line_count += 1;
        }
        octets.extend_from_slice(b".\r\n");
        let mut buffer = vec![0; PAGE + octets.len()];
        let start = buffer.as_ptr().align_offset(PAGE);
        buffer[start..start + octets.len()].copy_from_slice(&octets);
        buffer.truncate(start + octets.len());
        Self { name, bare, buffer, start, lines: line_count, dots: dot_count }
    }

    fn octets(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn decoder(&self, scanner: Scanner) -> DataDecoder {
        DataDecoder::with_scanner(self.bare, scanner)
    }

    /// Every scan gives what the oracle gives, and that is what the text was made of.
    fn check(&self) {
        let normalize = self.bare == BareNewline::Normalize;
        let expected = scalar::decode(self.octets(), normalize);
        assert_eq!(expected.end, Some(self.octets().len()), "{}", self.name);
        assert_eq!(expected.content.iter().filter(|&&octet| octet == b'\n').count(), self.lines, "{}", self.name);
        let inserted = if normalize && expected.bare_lf { self.lines - 1 } else { 0 };
        assert_eq!(expected.content.len(), self.octets().len() - 3 - self.dots + inserted, "{}", self.name);
        for scanner in Scanner::available() {
            let mut decoder = self.decoder(scanner);
            let mut rest = self.octets();
            let mut content = Vec::new();
            while let DataStep::Content(piece) = decoder.step(&mut rest) {
                content.extend_from_slice(piece);
            }
            assert_eq!(decoder.step(&mut rest), DataStep::End);
            assert!(rest.is_empty());
            assert!(content == expected.content, "{} {}: the content differs", self.name, scanner.name());
            assert_eq!(decoder.content_bytes(), content.len() as u64);
            let marks = Marks {
                bare_lf: expected.bare_lf,
                bare_cr: expected.bare_cr,
                nul: expected.nul,
                eight_bit: expected.eight_bit,
                false_end: expected.false_end,
            };
            assert_eq!(decoder.marks(), marks, "{} {}", self.name, scanner.name());
        }
        // What memmem is timed for is the same search: its first hit is the end, or the first dot line.
        let hit = memmem::find(self.octets(), b"\r\n.").expect("there is an end of data");
        assert!(self.dots > 0 || hit + 5 == self.octets().len(), "{}", self.name);
    }
}

/// The work that is timed: all steps to the end of data.
fn decode(mut decoder: DataDecoder, octets: &[u8]) -> (u64, Marks) {
    let mut rest = octets;
    while let DataStep::Content(content) = decoder.step(&mut rest) {
        black_box(content);
    }
    (decoder.content_bytes(), decoder.marks())
}

/// The baseline: every CRLF-dot, for a text without dot lines only the one of the end.
fn search(octets: &[u8]) -> usize {
    memmem::find_iter(octets, b"\r\n.").count()
}

fn mails() -> Vec<Mail> {
    use BareNewline::{Normalize, Preserve};
    vec![
        Mail::new("text", Normalize, 4 << 10, 74, None, "\r\n"),
        Mail::new("text", Normalize, 64 << 10, 74, None, "\r\n"),
        Mail::new("text", Normalize, 1 << 20, 74, None, "\r\n"),
        Mail::new("short lines", Normalize, 64 << 10, 16, None, "\r\n"),
        Mail::new("utf-8", Normalize, 64 << 10, 74, None, "\r\n"),
        Mail::new("each 20th line has a dot", Normalize, 64 << 10, 74, Some(20), "\r\n"),
        Mail::new("each line has a dot", Normalize, 64 << 10, 74, Some(1), "\r\n"),
        Mail::new("bare LF normalized", Normalize, 64 << 10, 74, None, "\n"),
        Mail::new("bare LF preserved", Preserve, 64 << 10, 74, None, "\n"),
    ]
}

fn scan(criterion: &mut Criterion) {
    for mail in mails() {
        mail.check();
        let mut group = criterion.benchmark_group(format!("scan/{}", mail.name));
        group.throughput(Throughput::Bytes(mail.octets().len() as u64));
        group.bench_with_input(BenchmarkId::new("memmem", mail.octets().len()), &mail, |bencher, mail| {
            bencher.iter(|| search(black_box(mail.octets())));
        });
        for scanner in Scanner::available() {
            group.bench_with_input(BenchmarkId::new(scanner.name(), mail.octets().len()), &mail, |bencher, mail| {
                bencher.iter(|| decode(mail.decoder(scanner), black_box(mail.octets())));
            });
        }
        group.finish();
    }
}

/// Prints bytes/s and, for P14, bytes/s ÷ memmem: the best of many short runs that take turns.
fn ratios() {
    println!("\nGB/s (÷ memmem), best of interleaved runs");
    for mail in mails() {
        let runs = (1 << 22) / mail.octets().len();
        let time = |work: &dyn Fn()| {
            let start = Instant::now();
            (0..runs).for_each(|_| work());
            start.elapsed()
        };
        let scanners: Vec<Scanner> = Scanner::available().collect();
        let mut best = vec![Duration::MAX; 1 + scanners.len()];
        for _ in 0..50 {
            best[0] = best[0].min(time(&|| {
                black_box(search(black_box(mail.octets())));
            }));
            for (best, &scanner) in best[1..].iter_mut().zip(&scanners) {
                *best = (*best).min(time(&|| {
                    black_box(decode(mail.decoder(scanner), black_box(mail.octets())));
                }));
            }
        }
        let speed = |time: Duration| (runs * mail.octets().len()) as f64 / time.as_secs_f64() / 1e9;
        print!("{:24} {:7}  memmem {:5.1}", mail.name, mail.octets().len(), speed(best[0]));
        for (&best_of_scanner, scanner) in best[1..].iter().zip(&scanners) {
            let ratio = best[0].as_secs_f64() / best_of_scanner.as_secs_f64();
            print!("  {} {:5.1} ({ratio:.2})", scanner.name(), speed(best_of_scanner));
        }
        println!();
    }
}

criterion_group!(benches, scan);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    // `cargo bench` says so; a test run and a listing do not time.
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--bench") && !has("--test") && !has("--list") {
        ratios();
    }
}
