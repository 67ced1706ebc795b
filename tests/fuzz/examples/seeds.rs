//! Makes seeds out of the dialogues in `tests/dialog`: `seeds DIRECTORY -runs=0` writes those of each target to
//! `DIRECTORY/TARGET`.
#![no_main]

#[expect(dead_code, reason = "what a dialogue expects is for the test that runs it")]
#[path = "../../common/dialog.rs"]
mod dialog;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use dialog::{Beginning, Case, Step, Variant};
use ringmx::smtp::data::BareNewline;
use ringmx::smtp::settings::{AddressSyntax, Dialect, Nul, Synchronization};
use ringmx_fuzz::session::{AWAITS, Conditions};

/// Longer ones teach a fuzzer nothing more.
const SEED_OCTETS: usize = 2048;

struct Seeds {
    directory: PathBuf,
}

impl Seeds {
    fn add(&self, target: &str, header: &[u8], octets: &[u8]) -> io::Result<()> {
        let seed = [header, octets].concat();
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let directory = self.directory.join(target);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(format!("{:016x}", hasher.finish())), seed)
    }

    fn add_case(&self, case: &Case, variant: &Variant) -> io::Result<()> {
        let sent_octets = |step: &Step| if let Step::Send(segments) = step { segments.concat().len() } else { 0 };
        if case.steps.iter().map(sent_octets).sum::<usize>() > SEED_OCTETS {
            return Ok(());
        }
        self.add("session", &conditions(variant).to_octets(), &stream(case, variant))?;
        let mut is_content = variant.begin == Beginning::Data;
        for step in &case.steps {
            let Step::Send(segments) = step else { continue };
            let sent = segments.concat();
            if is_content {
                self.add_content(&sent)?;
            }
            for line in sent.split_inclusive(|octet| *octet == b'\n') {
                is_content = line.eq_ignore_ascii_case(b"DATA\r\n");
                self.add("command", &[0; 2], line.trim_ascii_end())?;
                let path = line.trim_ascii_end().splitn(2, |octet| *octet == b':').nth(1);
                path.map_or(Ok(()), |path| self.add("path", &[], path))?;
            }
        }
        Ok(())
    }

    fn add_content(&self, content: &[u8]) -> io::Result<()> {
        self.add("data", &[5], content)?;
        self.add("chunk", &[5, 1, 0], content)?;
        // The scan looks at windows of 64 octets and at groups of them.
        self.add("scan", &[], content)?;
        self.add("scan", b"A line of text, as there are many.\r\n".repeat(9).as_slice(), content)
    }
}

/// What the client sends from the beginning on.
fn stream(case: &Case, variant: &Variant) -> Vec<u8> {
    let mut stream = Vec::new();
    if variant.is_secure {
        stream.extend_from_slice(&[b"EHLO c.test\r\nSTARTTLS\r\n", AWAITS].concat());
    }
    for (line, _) in variant.preamble() {
        stream.extend_from_slice(line.as_bytes());
        stream.extend_from_slice(if line.starts_with("DATA") { AWAITS } else { b"" });
    }
    for step in &case.steps {
        match step {
            Step::Send(segments) => stream.extend(segments.concat()),
            _ if stream.ends_with(AWAITS) => {}
            _ => stream.extend_from_slice(AWAITS),
        }
    }
    stream
}

/// Those that are next to what the case wants.
fn conditions(variant: &Variant) -> Conditions {
    let bits = |bits: &[bool]| bits.iter().rev().fold(0, |octet, bit| octet << 1 | u8::from(*bit));
    let terms = &variant.terms;
    Conditions {
        modes: bits(&[
            terms.dialect == Dialect::Lmtp,
            terms.synchronization == Synchronization::Strict && variant.is_whole_only,
            terms.bare_newline == BareNewline::Preserve,
            terms.bare_newline == BareNewline::Reject,
            terms.nul == Nul::Reject,
            terms.address_syntax == AddressSyntax::Strict,
            terms.discards,
            terms.default_domain.is_some(),
        ]),
        limits: bits(&[
            terms.message_size_bytes < 10_000,
            terms.recipients_per_message < 10,
            terms.messages_per_connection.is_some(),
            terms.errors.is_some_and(|count| count < 20),
            terms.junk_commands.is_some_and(|count| count < 100),
            terms.received_fields.is_some_and(|count| count < 100),
            terms.line_octets.is_some(),
            terms.recipient_domains_per_message.is_some(),
        ]),
        needs: bits(&[false, false, terms.requires_tls, terms.requires_auth]),
        policy: u8::from(!variant.refuse.is_empty() || !variant.defer.is_empty()),
        cuts: 5,
    }
}

fn write() {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).expect("usage: seeds DIRECTORY -runs=0");
    let seeds = Seeds { directory };
    let cases = dialog::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../dialog"));
    let variants = cases.iter().flat_map(|case| case.variants().into_iter().map(move |variant| (case, variant)));
    variants.for_each(|(case, variant)| seeds.add_case(case, &variant).expect("seeds can be written"));
}

// What is instrumented links to libFuzzer alone, whose `main` this is; it has nothing to try.
libfuzzer_sys::fuzz_target!(init: write(), |_input: &[u8]| ());
