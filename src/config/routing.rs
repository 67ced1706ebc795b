//! From names to places: the sinks of a plan, and for each listener its recipients and routes.
//!
//! *Does not* stop at a mistake: what is wrong is left out here, and the report keeps the plan from being used.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::destination::{Entry, FileSink, SinkWord};
use super::error::{Mistake, Report, shown};
use super::file::Listener;
use super::plan::{Destination, Kind, Named, RoutePlan, SinkKind, SinkPlan};
use super::suggestion;
use super::value::listed;
use super::vocabulary::SINK_KIND;
use crate::limits;
use crate::mail::envelope::Route;
use crate::policy::recipients::{Action, Idle, Pattern, Recipients};
use crate::sink::maildir::options::{MaildirOptions, PathTemplate};
use crate::smtp::extension::{Extension, Extensions};
use crate::spool::options::SpoolOptions;

/// The sinks, in the order of the file: a route is a place among them.
pub(super) fn sinks(files: &[FileSink], data_dir: &Path, report: &Report<'_>) -> Vec<SinkPlan> {
    if let Some(sink) = files.get(limits::SINKS) {
        let mistake = Mistake::new("is beyond the number of sinks", format!("at most {}", limits::SINKS));
        report.add(sink.at.clone(), &sink.path, mistake);
    }
    let mut taken = Vec::new();
    let plan = |file: &FileSink, kind| SinkPlan { name: file.name.clone(), kind };
    // What is beyond the bound is reported, and left out.
    files.iter().take(limits::SINKS).map(|file| plan(file, kind(file, data_dir, &mut taken, report))).collect()
}

fn kind<'f>(
    file: &'f FileSink,
    data_dir: &Path,
    taken: &mut Vec<(PathTemplate, &'f FileSink)>,
    report: &Report<'_>,
) -> SinkKind {
    let kind = match file.kind.as_ref().map(|kind| *kind.get_ref()) {
        None => return SinkKind::Blackhole,
        Some(SinkWord::Maildir) => return maildir(file, data_dir, taken, report),
        Some(SinkWord::Blackhole) => SinkKind::Blackhole,
        Some(SinkWord::Program) => SinkKind::Program,
    };
    let word = file.kind.as_ref().map_or("", |kind| SINK_KIND.of(*kind.get_ref()));
    for (key, at) in file.maildir_keys() {
        if let Some(at) = at {
            let mistake =
                Mistake::new(format!("has no use on a sink of kind \"{word}\""), "kind = \"maildir\", or no such key");
            report.add(at, format!("{}.{key}", file.path), mistake);
        }
    }
    kind
}

fn maildir<'f>(
    file: &'f FileSink,
    data_dir: &Path,
    taken: &mut Vec<(PathTemplate, &'f FileSink)>,
    report: &Report<'_>,
) -> SinkKind {
    // Without a path, which was reported, it is as good as none.
    let Some(template) = &file.template else { return SinkKind::Blackhole };
    let path = template.get_ref().under(data_dir);
    if let Some((_, first)) = taken.iter().find(|(taken, _)| *taken == path) {
        let place = first.template.as_ref().and_then(|template| report.place(template.span().start));
        let place = place.map_or(String::new(), |place| format!(", {place}"));
        let mistake =
            Mistake::new(format!("is already the path of sink {:?}{place}", first.name), "a path can stand once");
        report.add(template.span(), format!("{}.path", file.path), mistake);
    }
    let spool = SpoolOptions::within(data_dir).directory;
    if path.may_lie_in(&spool) {
        let wrong = format!("lets a maildir lie in {}, among the spool's logs", spool.display());
        let right = "a directory beside it is wanted, such as \"mail/{domain}/{local}\"";
        report.add(template.span(), format!("{}.path", file.path), Mistake::new(wrong, right));
    }
    taken.push((path.clone(), file));
    let default = MaildirOptions::new(path);
    SinkKind::Maildir(MaildirOptions {
        quota_bytes: file.quota_bytes.as_ref().map(|quota| *quota.get_ref()).filter(|quota| *quota > 0),
        line_ends: file.line_ends.as_ref().map_or(default.line_ends, |line_ends| *line_ends.get_ref()),
        sync: file.sync.as_ref().map_or(default.sync, |sync| *sync.get_ref()),
        ..default
    })
}

/// Whose mail a listener takes, and where it goes.
pub(super) fn destination(
    listener: &Listener,
    hostname: &str,
    sinks: &[SinkPlan],
    report: &Report<'_>,
) -> (Recipients, Destination) {
    let place = |key: &str, said: &Option<Spanned<String>>| match said {
        Some(name) => place_of(name, sinks, &format!("{}.{key}", listener.path), report),
        // Reported by whoever requires it.
        None => Route::default(),
    };
    let sink = place("sink", &listener.sink);
    let mut recipients = Recipients::new(hostname, sink);
    let named = match &listener.recipients {
        Some(list) => add(&mut recipients, list.get_ref(), &listener.path, report),
        None => {
            let everyone = Pattern::all();
            if listener.kind.as_ref().is_some_and(|kind| *kind.get_ref() == Kind::Private) {
                // It is the first: nothing can be before it.
                let _ = recipients.add(&everyone, Action::Take);
            }
            Named { count: 1, first: vec![everyone.to_string()] }
        }
    };
    let mut routes = Vec::new();
    let mut places: Vec<Range<usize>> = Vec::new();
    for file in &listener.routes {
        let sink = place("route.sink", &file.sink);
        let mut named = Named::default();
        for pattern in &file.recipients {
            match recipients.route(pattern.get_ref(), sink) {
                Ok(()) => places.push(pattern.span()),
                Err(idle) => {
                    let mistake = idle_mistake(pattern.get_ref(), idle, &places, report);
                    report.add(pattern.span(), format!("{}.route.recipients", listener.path), mistake);
                }
            }
            named.add(|| pattern.get_ref().to_string());
        }
        routes.push(RoutePlan { recipients: named, sink });
    }
    let mut reachable = vec![sink];
    for route in &routes {
        if !reachable.contains(&route.sink) {
            reachable.push(route.sink);
        }
    }
    (recipients, Destination { recipients: named, sink, routes, reachable })
}

/// Adds the entries of a list.
fn add(recipients: &mut Recipients, list: &[Spanned<Entry>], path: &str, report: &Report<'_>) -> Named {
    let mut named = Named::default();
    let mut places: Vec<Range<usize>> = Vec::new();
    for entry in list {
        let Entry { pattern, action } = entry.get_ref();
        match recipients.add(pattern, *action) {
            Ok(()) => places.push(entry.span()),
            Err(idle) => {
                let mistake = idle_mistake(pattern, idle, &places, report);
                report.add(entry.span(), format!("{path}.recipients"), mistake);
            }
        }
        named.add(|| match action.refusal() {
            None => pattern.to_string(),
            Some(reply) => format!("{pattern} ({})", reply.code()),
        });
    }
    named
}

impl Named {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < limits::RECIPIENTS_SHOWN {
            self.first.push(text());
        }
    }
}

/// Why a pattern would never be used, with the place of the one that is in its way.
fn idle_mistake(pattern: &Pattern, idle: Idle, places: &[Range<usize>], report: &Report<'_>) -> Mistake {
    let written = shown(&pattern.to_string());
    match idle {
        Idle::Behind(first) => {
            let place = places.get(first).and_then(|at| report.place(at.start));
            let first = place.map_or("one".to_owned(), |place| format!("the one at {place}"));
            let wrong = format!("{written} can never match: {first} is before it and matches all that it does");
            Mistake::new(wrong, "the first that matches decides: the narrower stands before the wider, and each once")
        }
        Idle::Postmaster => {
            let wrong =
                format!("{written} cannot be refused: a postmaster takes mail wherever anybody does (RFC 5321 §4.5.1)");
            Mistake::new(wrong, "no such entry")
        }
    }
}

/// The place of the sink with this name; of an unknown one, which is reported, any.
fn place_of(name: &Spanned<String>, sinks: &[SinkPlan], key: &str, report: &Report<'_>) -> Route {
    let written = name.get_ref();
    if let Some(place) = sinks.iter().position(|sink| sink.name == *written) {
        return Route(u16::try_from(place).unwrap_or_default());
    }
    let names = || sinks.iter().map(|sink| sink.name.as_str());
    let right = match (suggestion::nearest(written, names()), sinks.len()) {
        (Some(meant), _) => format!("did you mean {meant:?}?"),
        (None, 0) => "a table [sink.NAME] makes one".to_owned(),
        (None, 1..=8) => format!("there is {}", listed(names(), "and")),
        (None, many) => format!("there are {many} others"),
    };
    report.add(name.span(), key, Mistake::new(format!("{} is no sink", shown(written)), right));
    Route::default()
}

/// What a listener may offer: all that each sink keeps to which its mail can go. Where the file says what is offered, that is
/// held against it.
pub(super) fn extensions(
    said: Option<&Spanned<Vec<Spanned<Extension>>>>,
    destination: Option<&Destination>,
    sinks: &[SinkPlan],
    path: &str,
    report: &Report<'_>,
) -> Extensions {
    let reachable = || {
        let places = destination.map_or(&[][..], |destination| &destination.reachable);
        places.iter().filter_map(|route| sinks.get(usize::from(route.0)))
    };
    let Some(said) = said else {
        let kept_by_all = |extension: &Extension| reachable().all(|sink| sink.kind.keeps().has(*extension));
        return Extensions::unconditional().iter().filter(kept_by_all).collect();
    };
    for extension in said.get_ref() {
        let Some(sink) = reachable().find(|sink| !sink.kind.keeps().has(*extension.get_ref())) else { continue };
        let keyword = extension.get_ref().keyword();
        let wrong = format!("{keyword:?} is not kept by sink {:?}, to which mail of this listener can go", sink.name);
        let right = match (&sink.kind, extension.get_ref()) {
            (SinkKind::Maildir(_), Extension::BinaryMime) => "line_ends = \"crlf\" there, or remove it".to_owned(),
            _ => format!("remove {keyword:?}, or leave the key out for all that is kept"),
        };
        report.add(extension.span(), format!("{path}.extensions"), Mistake::new(wrong, right));
    }
    said.get_ref().iter().map(|extension| *extension.get_ref()).collect()
}
