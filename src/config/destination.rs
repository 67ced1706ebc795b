//! What a file says of where mail goes: recipients, routes, sinks, and the log of deliveries.
//!
//! *Does not* know which sink a name means: `routing` does.

use std::ops::Range;

use toml::Spanned;

use super::plan::DeliveryLog;
use super::table::Table;
use super::{value, vocabulary};
use crate::policy::recipients::{Action, Pattern};
use crate::sink::maildir::options::{LineEnds, PathTemplate};

/// An entry of `recipients`.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pattern: Pattern,
    pub(super) action: Action,
}

impl Entry {
    /// The entries of a table's key `recipients`; refusals only where they can be.
    pub(super) fn read_list(table: &Table<'_>) -> Option<Spanned<Vec<Spanned<Self>>>> {
        table.read_mixed(
            "recipients",
            |value| value::pattern(value).map(|pattern| Self { pattern, action: Action::Take }),
            &vocabulary::RECIPIENT,
            |entry| {
                entry.require("match", "match = \"no@example.net\"");
                entry.require("refuse", "refuse = 550");
                let (pattern, action) = (entry.read("match", value::pattern), entry.read("refuse", value::refusal));
                Some(Self { pattern: pattern?.into_inner(), action: action?.into_inner() })
            },
        )
    }
}

/// `[[listener.NAME.route]]`.
#[derive(Debug)]
pub(super) struct FileRoute {
    pub(super) recipients: Vec<Spanned<Pattern>>,
    pub(super) sink: Option<Spanned<String>>,
}

impl FileRoute {
    pub(super) fn read(table: &Table<'_>) -> Self {
        table.require("recipients", "recipients = [\".example.net\"]");
        table.require("sink", "sink = \"NAME\"");
        Self {
            recipients: table.read_list("recipients", value::pattern).map(Spanned::into_inner).unwrap_or_default(),
            sink: table.read("sink", |value| value::text(value).map(str::to_owned)),
        }
    }
}

/// `[sink.NAME]`.
#[derive(Debug)]
pub(super) struct FileSink {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) at: Range<usize>,
    /// The keys that lead here, dotted.
    pub(super) path: String,
    pub(super) kind: Option<Spanned<SinkWord>>,
    /// `path`, of a maildir.
    pub(super) template: Option<Spanned<PathTemplate>>,
    /// 0 is none.
    pub(super) quota_bytes: Option<Spanned<u64>>,
    pub(super) line_ends: Option<Spanned<LineEnds>>,
    pub(super) sync: Option<Spanned<bool>>,
}

/// A kind of sink, without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkWord {
    Maildir,
    Blackhole,
    Program,
}

impl FileSink {
    pub(super) fn read(name: &str, table: &Table<'_>) -> Self {
        table.require("kind", "kind = \"maildir\"");
        let sink = Self {
            name: name.to_owned(),
            at: table.at(),
            path: table.path().to_owned(),
            kind: table.read("kind", value::word(&vocabulary::SINK_KIND)),
            template: table.read("path", value::path_template),
            quota_bytes: table.read("quota_bytes", value::number(vocabulary::QUOTA_BYTES, "bytes (0 is no quota)")),
            line_ends: table.read("line_ends", value::word(&vocabulary::LINE_ENDS)),
            sync: table.read("sync", value::boolean),
        };
        if sink.kind.as_ref().is_some_and(|kind| *kind.get_ref() == SinkWord::Maildir) {
            table.require("path", "path = \"mail/{domain}/{local}\"");
        }
        sink
    }

    /// The keys that are a maildir's alone, each with where its value stands.
    pub(super) fn maildir_keys(&self) -> [(&'static str, Option<Range<usize>>); 4] {
        [
            ("path", self.template.as_ref().map(Spanned::span)),
            ("quota_bytes", self.quota_bytes.as_ref().map(Spanned::span)),
            ("line_ends", self.line_ends.as_ref().map(Spanned::span)),
            ("sync", self.sync.as_ref().map(Spanned::span)),
        ]
    }
}

/// `[log]`.
#[derive(Debug, Default)]
pub(super) struct FileLog {
    pub(super) deliveries: Option<Spanned<DeliveryLog>>,
    pub(super) deliveries_bytes: Option<Spanned<u64>>,
}

impl FileLog {
    pub(super) fn read(table: &Table<'_>) -> Self {
        Self {
            deliveries: table.read("deliveries", value::deliveries),
            deliveries_bytes: table.read("deliveries_bytes", value::number(vocabulary::DELIVERIES_BYTES, "bytes")),
        }
    }
}
