//! Copies the structures under test out of `src`: as they are, and once for each fault that the models must see.
//!
//! *Why this way*: a fault is put into the very code that is shipped, by replacing a passage. A passage that no longer
//! stands there, or stands there twice, ends the build, so that no fault can get lost unnoticed.

use std::path::Path;

/// A copy of a file with passages replaced.
struct Variant {
    name: &'static str,
    source: &'static str,
    changes: &'static [(&'static str, &'static str)],
}

const MAILBOX: &str = "../../src/handoff/mailbox.rs";
const COUNTER: &str = "../../src/metrics/counter.rs";
const SYNC: &str = "src/handoff/sync.rs";

/// What loom sees of the primitives that a file takes from the standard library itself.
const ATOMICS: (&str, &str) = ("use std::sync::atomic::", "use loom::sync::atomic::");

const VARIANTS: [Variant; 12] = [
    Variant { name: "mailbox", source: MAILBOX, changes: &[] },
    Variant {
        name: "wakes_first",
        source: MAILBOX,
        changes: &[(
            "let pushed = self.0.queue.push(message);\n        self.0.waker.wake();\n",
            "self.0.waker.wake();\n        let pushed = self.0.queue.push(message);\n",
        )],
    },
    Variant {
        name: "takes_the_newer_first",
        source: MAILBOX,
        changes: &[(
            "self.0.queue.pop()\n    }",
            "let older = self.0.queue.pop()?;\n        \
             let Some(newer) = self.0.queue.pop() else { return Some(older) };\n        \
             let _ = self.0.queue.push(older);\n        Some(newer)\n    }",
        )],
    },
    Variant {
        name: "goes_silently",
        source: MAILBOX,
        changes: &[("self.0.received.store(false, Ordering::Relaxed);", "")],
    },
    Variant {
        name: "leaves_messages",
        source: MAILBOX,
        changes: &[("fence(Ordering::SeqCst);\n        self.0.empty();", "")],
    },
    Variant {
        name: "sends_blindly",
        source: MAILBOX,
        changes: &[("if !self.0.received.load(Ordering::Relaxed) {\n            self.0.empty();\n        }", "")],
    },
    Variant {
        name: "sends_without_fence",
        source: MAILBOX,
        changes: &[("fence(Ordering::SeqCst);\n        if", "if")],
    },
    Variant {
        name: "goes_without_fence",
        source: MAILBOX,
        changes: &[("fence(Ordering::SeqCst);\n        self.0.empty();", "self.0.empty();")],
    },
    Variant {
        name: "unordered_sync",
        source: SYNC,
        changes: &[(
            "slot.filled.store(number + 1, Ordering::Release);",
            "slot.filled.store(number + 1, Ordering::Relaxed);",
        )],
    },
    Variant {
        name: "on_an_unordered_queue",
        source: MAILBOX,
        changes: &[
            ("Arc, ArrayQueue, ", "Arc, "),
            ("use crate::limits;", "use crate::limits;\nuse crate::unordered_sync::ArrayQueue;"),
        ],
    },
    Variant { name: "counter", source: COUNTER, changes: &[ATOMICS] },
    Variant {
        name: "counts_in_two_steps",
        source: COUNTER,
        changes: &[
            ATOMICS,
            (
                "self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);",
                "let before = self.0.load(Ordering::Relaxed);\n        self.0.store(0, Ordering::Relaxed);\n        \
                 self.0.store(before.wrapping_add(more), Ordering::Relaxed);",
            ),
        ],
    },
];

fn main() {
    let out = std::env::var("OUT_DIR").expect("cargo gives it");
    let mut modules = String::new();
    for Variant { name, source, changes } in VARIANTS {
        println!("cargo::rerun-if-changed={source}");
        let mut text = std::fs::read_to_string(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        // The unit tests of the file are none of ours.
        text.truncate(text.find("#[cfg(test)]").unwrap_or(text.len()));
        for (passage, other) in changes {
            let times = text.matches(passage).count();
            assert_eq!(
                times, 1,
                "the fault {name} replaces a passage of {source} that must stand there once:\n{passage}"
            );
            text = text.replace(passage, other);
        }
        let copy = Path::new(&out).join(format!("{name}.rs"));
        std::fs::write(&copy, text).expect("the build's directory can be written");
        modules += &format!("#[path = {copy:?}]\n#[allow(dead_code, missing_docs)]\npub mod {name};\n");
    }
    std::fs::write(Path::new(&out).join("variants.rs"), modules).expect("as above");
}
