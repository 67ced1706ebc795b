//! What is wrong with a configuration: every mistake with its place, its key, and what would be right.
//!
//! *Does not* print or exit: `main.rs` does, with [`Errors::EXIT_STATUS`].

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Characters of a written value that a message repeats.
const SHOWN_CHARACTERS: usize = 64;

/// One mistake, without its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}; {right}")]
pub struct Mistake {
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Mistake {
    pub(super) fn new(wrong: impl Into<String>, right: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), right: right.into() }
    }
}

/// A place in a file, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// As a message names a second place.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One mistake where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when the configuration did not come from a text.
    pub place: Option<Place>,
    /// The key's path from the top, dotted; empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub mistake: Mistake,
}

/// Everything that is wrong with one configuration, in the order of the file; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    source: String,
    problems: Vec<Problem>,
}

impl Errors {
    /// The exit status of a process that was given a wrong configuration: `EX_CONFIG` of sysexits.h.
    pub const EXIT_STATUS: u8 = 78;

    /// A problem with the file as a whole.
    pub(super) fn whole(source: &str, place: Option<Place>, mistake: Mistake) -> Self {
        Self { source: source.to_owned(), problems: vec![Problem { place, key: String::new(), mistake }] }
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// One line for each problem: `file:line:column: key: what is wrong; what would be right`.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { place, key, mistake }) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:", self.source)?;
            if let Some(Place { line, column }) = place {
                write!(f, "{line}:{column}:")?;
            }
            if !key.is_empty() {
                write!(f, " {key}:")?;
            }
            write!(f, " {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Finds places in a text.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    /// Offsets.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let behind_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self { text, starts: std::iter::once(0).chain(behind_newlines).collect() }
    }

    /// The place of an offset in octets; inside a character, that of the character.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.starts.partition_point(|start| *start <= offset);
        let before = &self.text[self.starts[line - 1]..offset];
        // A byte order mark is no character that an editor shows.
        let column = before.chars().filter(|character| *character != '\u{feff}').count() + 1;
        Place { line, column }
    }
}

/// Collects the mistakes of one configuration while it is read.
#[derive(Debug)]
pub(super) struct Report<'t> {
    /// `None`: the values came from the command line, and have no place.
    lines: Option<Lines<'t>>,
    /// With the offset of each. Shared by all tables that are open at once, hence the cell.
    found: RefCell<Vec<(usize, Problem)>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: Option<&'t str>) -> Self {
        Self { lines: text.map(Lines::new), found: RefCell::default() }
    }

    pub(super) fn add(&self, at: Range<usize>, key: impl Into<String>, mistake: Mistake) {
        let problem = Problem { place: self.place(at.start), key: key.into(), mistake };
        self.found.borrow_mut().push((at.start, problem));
    }

    pub(super) fn place(&self, offset: usize) -> Option<Place> {
        self.lines.as_ref().map(|lines| lines.place(offset))
    }

    /// Whether a mistake was found in this range.
    pub(super) fn has_found_within(&self, at: &Range<usize>) -> bool {
        self.found.borrow().iter().any(|(offset, _)| at.contains(offset))
    }

    /// `value`, if nothing was wrong.
    pub(super) fn finish<T>(self, source: &str, value: T) -> Result<T, Errors> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(value);
        }
        found.sort_by_key(|(offset, _)| *offset);
        Err(Errors { source: source.to_owned(), problems: found.into_iter().map(|(_, problem)| problem).collect() })
    }
}

/// A written value as a message repeats it: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "\u{feff}äb = 1\r\n\n\tc = 2\n";
        for (needle, line, column) in [("äb", 1, 1), ("b =", 1, 2), ("1", 1, 6), ("c =", 3, 2), ("2", 3, 6)] {
            assert_eq!(Lines::new(text).place(text.find(needle).unwrap()), Place { line, column }, "{needle}");
        }
        assert_eq!(Lines::new(text).place(text.len()), Place { line: 4, column: 1 });
        assert_eq!(Lines::new("").place(7), Place { line: 1, column: 1 });
        assert_eq!(Lines::new("ä").place(1), Place { line: 1, column: 1 }, "inside a character");
    }

    #[test]
    fn problems_are_printed_one_a_line_in_the_order_of_the_file() {
        let report = Report::new(Some("a = 1\nb = 2\n"));
        report.add(10..11, "b", Mistake::new("two", "three"));
        report.add(4..5, "a", Mistake::new("one", "two"));
        let errors = report.finish("x.toml", ()).unwrap_err();
        assert_eq!(errors.to_string(), "x.toml:1:5: a: one; two\nx.toml:2:5: b: two; three");
        assert_eq!((errors.problems().len(), Errors::EXIT_STATUS), (2, 78));

        let report = Report::new(None);
        report.add(0..0, "server.shards", Mistake::new("2000 is too many", "fewer"));
        let errors = report.finish("ringmx sink", ()).unwrap_err();
        assert_eq!(errors.to_string(), "ringmx sink: server.shards: 2000 is too many; fewer");
        assert_eq!(Report::new(None).finish("x", 7), Ok(7));
    }

    #[test]
    fn a_message_repeats_a_value_escaped_and_cut() {
        assert_eq!(shown("a\n\u{1b}\""), r#""a\n\u{1b}\"""#);
        assert_eq!(shown(&"ä".repeat(64)), format!("\"{}\"", "ä".repeat(64)));
        assert_eq!(shown(&"ä".repeat(65)), format!("\"{}\"…", "ä".repeat(64)));
    }
}
