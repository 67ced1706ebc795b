//! Which messages a tool is asked for.

use std::collections::BTreeSet;

use crate::mail::address::Path;
use crate::mail::id::MessageId;
use crate::policy::recipients::Pattern;
use crate::spool::tools::message::{Message, State};

/// See the module. What is empty asks for nothing; of each that is not, one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// These.
    pub ids: BTreeSet<MessageId>,
    /// In these states; empty: those that wait.
    pub states: Vec<State>,
    /// For somebody like this, among those that are left.
    pub recipients: Vec<Pattern>,
    /// From somebody like this.
    pub senders: Vec<Sender>,
    /// On their way to these sinks.
    pub sinks: Vec<String>,
    /// Received before, in ms since 1970.
    pub before_ms: Option<u64>,
}

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nobody: the null reverse-path, `<>`.
    Null,
    /// Somebody.
    Pattern(Pattern),
}

impl Sender {
    fn matches(&self, path: Path<'_>) -> bool {
        match self {
            Self::Null => path == Path::Null,
            Self::Pattern(pattern) => pattern.matches(path),
        }
    }
}

impl Filter {
    /// Whether messages in this state are asked for at all.
    pub fn wants(&self, state: State) -> bool {
        if self.states.is_empty() { state.waits() || !self.ids.is_empty() } else { self.states.contains(&state) }
    }

    /// Whether a message is asked for.
    pub fn matches(&self, message: &Message) -> bool {
        fn any<T>(wanted: &[T], matches: impl FnMut(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(matches)
        }
        let manifest = message.manifest();
        let has = |matches: &dyn Fn(Path<'_>, &str) -> bool| {
            message.recipients().any(|(recipient, sink)| matches(recipient.path, sink))
        };
        self.wants(message.state)
            && (self.ids.is_empty() || self.ids.contains(&manifest.id))
            && any(&self.senders, |sender| sender.matches(manifest.envelope.sender().0))
            && any(&self.recipients, |pattern| has(&|path, _| pattern.matches(path)))
            && any(&self.sinks, |name| has(&|_, sink| sink == name))
            && self.before_ms.is_none_or(|before| manifest.received_at_ms < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tools::message::tests::message;

    #[test]
    fn what_is_asked_for_is_found_and_nothing_else() {
        let mut waiting = message(State::Deferred, "s@x.test", &[("a@ok.test", 0), ("b@sub.ok.test", 1)], 1000);
        let pattern = |text: &str| vec![text.parse::<Pattern>().unwrap()];
        let sender = |text: &str| vec![Sender::Pattern(text.parse().unwrap())];
        let of = Filter::default;
        for (filter, matches) in [
            (of(), true),
            (Filter { ids: [waiting.id()].into(), ..of() }, true),
            (Filter { ids: [MessageId::from_bits(9)].into(), ..of() }, false),
            (Filter { ids: [MessageId::from_bits(9), waiting.id()].into(), ..of() }, true),
            (Filter { states: vec![State::Held, State::Deferred], ..of() }, true),
            (Filter { states: vec![State::Active], ..of() }, false),
            (Filter { recipients: pattern("ok.test"), ..of() }, true),
            (Filter { recipients: pattern("A@ok.test"), ..of() }, false),
            (Filter { recipients: pattern("b@"), ..of() }, true),
            (Filter { recipients: pattern(".ok.test"), ..of() }, true),
            (Filter { recipients: pattern("x.test"), ..of() }, false),
            (Filter { senders: sender("x.test"), ..of() }, true),
            (Filter { senders: sender("t@x.test"), ..of() }, false),
            (Filter { senders: vec![Sender::Null], ..of() }, false),
            (Filter { sinks: vec!["hop".into()], ..of() }, true),
            (Filter { sinks: vec!["none".into()], ..of() }, false),
            (Filter { before_ms: Some(1000), ..of() }, false),
            (Filter { before_ms: Some(1001), ..of() }, true),
            (Filter { sinks: vec!["hop".into()], recipients: pattern("x.test"), ..of() }, false),
        ] {
            assert_eq!(filter.matches(&waiting), matches, "{filter:?}");
        }
        // Who has it is not waited for.
        waiting.left = Some(vec![0]);
        assert!(!Filter { sinks: vec!["hop".into()], ..of() }.matches(&waiting));
        assert!(!Filter { recipients: pattern("b@"), ..of() }.matches(&waiting));
        let bounce = message(State::Active, "", &[("a@ok.test", 0)], 0);
        assert!(Filter { senders: vec![Sender::Null], ..of() }.matches(&bounce));
    }

    /// What is delivered is shown to who asks for it by its state or its name.
    #[test]
    fn what_does_not_wait_must_be_asked_for() {
        let delivered = message(State::Delivered, "s@x.test", &[("a@ok.test", 0)], 0);
        assert!(!Filter::default().matches(&delivered));
        assert!(Filter { states: vec![State::Delivered], ..Filter::default() }.matches(&delivered));
        assert!(Filter { ids: [delivered.id()].into(), ..Filter::default() }.matches(&delivered));
    }
}
