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
const RING: &str = "../../src/handoff/ring.rs";
const SLEEP: &str = "../../src/handoff/sleep.rs";
const COUNTER: &str = "../../src/metrics/counter.rs";
const SYNC: &str = "src/handoff/sync.rs";

/// What loom sees of the primitives that a file takes from the standard library itself.
const ATOMICS: (&str, &str) = ("use std::sync::atomic::", "use loom::sync::atomic::");

const HANDSHAKE: &str = "../../src/handoff/handshake.rs";

const VARIANTS: [Variant; 43] = [
    Variant { name: "handshake", source: HANDSHAKE, changes: &[] },
    Variant {
        name: "marks_unordered",
        source: HANDSHAKE,
        changes: &[(
            "self.watermark.store(watermark, Ordering::Release);",
            "self.watermark.store(watermark, Ordering::Relaxed);",
        )],
    },
    Variant {
        name: "looks_unordered",
        source: HANDSHAKE,
        changes: &[(
            "watermark: self.watermark.load(Ordering::Acquire), low",
            "watermark: self.watermark.load(Ordering::Relaxed), low",
        )],
    },
    Variant {
        name: "falls_behind_silently",
        source: HANDSHAKE,
        changes: &[("self.shared.live_from.store(BEHIND, Ordering::Relaxed);", "")],
    },
    Variant {
        name: "posts_without_a_beginning",
        source: HANDSHAKE,
        changes: &[("return Some(self.live_from);", "return Some(0);")],
    },
    Variant {
        name: "passes_what_came_since",
        source: HANDSHAKE,
        changes: &[(
            "self.pass(look.watermark, look.low);\n            return Step::Nothing;",
            "let look = self.marks.look();\n            self.pass(look.watermark, look.low);\n            return Step::Nothing;",
        )],
    },
    Variant {
        name: "reads_what_is_posted",
        source: HANDSHAKE,
        changes: &[(
            "Step::Letter } else { Step::Read(live_from) }",
            "Step::Letter } else { Step::Read(look.watermark) }",
        )],
    },
    Variant {
        name: "comes_back_over_a_gap",
        source: HANDSHAKE,
        changes: &[("self.is_behind() && !self.is_skipped {", "self.is_behind() {")],
    },
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
    Variant { name: "ring", source: RING, changes: &[] },
    Variant {
        name: "publishes_unordered",
        source: RING,
        changes: &[(
            "published.store(self.pushed, Ordering::Release)",
            "published.store(self.pushed, Ordering::Relaxed)",
        )],
    },
    Variant {
        name: "takes_unordered",
        source: RING,
        changes: &[(
            "load(Ordering::Acquire);\n            if self.published",
            "load(Ordering::Relaxed);\n            if self.published",
        )],
    },
    Variant {
        name: "takes_batches_unordered",
        source: RING,
        changes: &[(
            "load(Ordering::Acquire);\n        }\n        let count",
            "load(Ordering::Relaxed);\n        }\n        let count",
        )],
    },
    Variant {
        name: "gives_back_unordered",
        source: RING,
        changes: &[("taken.store(self.taken, Ordering::Release)", "taken.store(self.taken, Ordering::Relaxed)")],
    },
    Variant {
        name: "sees_room_unordered",
        source: RING,
        changes: &[("taken.load(Ordering::Acquire)", "taken.load(Ordering::Relaxed)")],
    },
    Variant {
        name: "gives_back_before_it_reads",
        source: RING,
        changes: &[(
            "        out.reserve(count);\n",
            "        out.reserve(count);\n        self.shared.taken.store(self.taken.wrapping_add(count), Ordering::Release);\n",
        )],
    },
    Variant {
        name: "publishes_before_it_writes",
        source: RING,
        changes: &[(
            "        self.shared.slot(self.pushed).with_mut(",
            "        self.shared.published.store(self.pushed.wrapping_add(1), Ordering::Release);\n        self.shared.slot(self.pushed).with_mut(",
        )],
    },
    Variant {
        name: "fills_over",
        source: RING,
        changes: &[("== self.capacity() && self.free() == 0", "> self.capacity() && self.free() == 0")],
    },
    Variant {
        name: "leaves_unpublished_items",
        source: RING,
        changes: &[(
            "unsafe { self.shared.drop_items(self.published, self.pushed) };",
            "unsafe { self.shared.drop_items(self.pushed, self.pushed) };",
        )],
    },
    Variant {
        name: "leaves_published_items",
        source: RING,
        changes: &[(
            "(self.taken.load(Ordering::Relaxed), self.published.load(Ordering::Relaxed));",
            "(self.published.load(Ordering::Relaxed), self.published.load(Ordering::Relaxed));",
        )],
    },
    Variant {
        name: "ends_unordered",
        source: RING,
        changes: &[("pusher_gone.store(true, Ordering::Release)", "pusher_gone.store(true, Ordering::Relaxed)")],
    },
    Variant {
        name: "hears_the_end_unordered",
        source: RING,
        changes: &[("pusher_gone.load(Ordering::Acquire)", "pusher_gone.load(Ordering::Relaxed)")],
    },
    Variant { name: "sleep", source: SLEEP, changes: &[] },
    Variant {
        name: "announces_without_fence",
        source: SLEEP,
        changes: &[("// With its like in `wake`: see the head.\n        fence(Ordering::SeqCst);", "")],
    },
    Variant {
        name: "wakes_without_fence",
        source: SLEEP,
        changes: &[("// With its like in `announce`: see the head.\n        fence(Ordering::SeqCst);", "")],
    },
    Variant {
        name: "looks_once",
        source: SLEEP,
        changes: &[(
            "finds() || sleep(&self.awaited, most)",
            "{\n            let _ = finds;\n            sleep(&self.awaited, most)\n        }",
        )],
    },
    Variant {
        name: "looks_before_it_announces",
        source: SLEEP,
        changes: &[(
            "self.sleeper.announce();\n        let up = finds() ||",
            "let found = finds();\n        self.sleeper.announce();\n        let up = found ||",
        )],
    },
    Variant {
        name: "announces_weakly",
        source: SLEEP,
        changes: &[(
            "self.asleep.swap(true, Ordering::Relaxed);\n        // With its like in `wake`: see the head.\n        fence(Ordering::SeqCst);",
            "self.asleep.swap(true, Ordering::Release);\n        fence(Ordering::AcqRel);",
        )],
    },
    Variant { name: "takes_the_word_silently", source: SLEEP, changes: &[("self.bell.wake();", "")] },
    Variant {
        name: "wakes_each_time",
        source: SLEEP,
        changes: &[("if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {", "{")],
    },
    Variant {
        name: "leaves_the_word",
        source: SLEEP,
        changes: &[(" && self.asleep.swap(false, Ordering::Relaxed)", "")],
    },
    Variant {
        name: "stays_announced",
        source: SLEEP,
        changes: &[("self.asleep.swap(false, Ordering::Relaxed);\n    }", "}")],
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
