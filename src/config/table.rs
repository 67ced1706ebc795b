//! A table of the file, read key by key: each mistake is reported where it stands, and reading goes on behind it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{Mistake, Report, shown};
use super::suggestion;
use super::value::{LACKING, listed, mistyped};
use super::vocabulary::{SECTIONS, Section};

/// Characters of a key that a message names without quoting or cutting it.
const KEY_CHARACTERS: usize = 64;

/// A table with the section that says what it can hold.
#[derive(Debug)]
pub(super) struct Table<'r> {
    report: &'r Report<'r>,
    section: &'static Section,
    /// The keys that lead to it, dotted; empty at the top of the file.
    path: String,
    /// Where its name stands.
    at: Range<usize>,
    entries: &'r DeTable<'r>,
}

impl<'r> Table<'r> {
    /// The whole file.
    pub(super) fn top(report: &'r Report<'r>, section: &'static Section, entries: &'r DeTable<'r>) -> Self {
        Self::new(report, section, String::new(), 0..0, entries)
    }

    /// Keys that the section does not have are reported at once.
    fn new(
        report: &'r Report<'r>,
        section: &'static Section,
        path: String,
        at: Range<usize>,
        entries: &'r DeTable<'r>,
    ) -> Self {
        let table = Self { report, section, path, at, entries };
        for key in entries.keys().filter(|key| !section.keys.contains(&key.get_ref().as_ref())) {
            table.report.add(key.span(), table.path_of(key.get_ref()), refused(section, key.get_ref()));
        }
        table
    }

    /// The value of a key, if it is there and right.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        reader: impl Fn(&'r DeValue<'r>) -> Result<T, Mistake>,
    ) -> Option<Spanned<T>> {
        let (_, value) = self.entry(key)?;
        self.reported(key, value, &reader)
    }

    /// The values of a key that takes one or a list; those that are right, with the place of all. `None`: the key is not
    /// there.
    pub(super) fn read_list<T>(
        &self,
        key: &'static str,
        reader: impl Fn(&'r DeValue<'r>) -> Result<T, Mistake>,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        let (_, value) = self.entry(key)?;
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().filter_map(|value| self.reported(key, value, &reader)).collect(),
            _ => self.reported(key, value, &reader).into_iter().collect(),
        };
        Some(Spanned::new(value.span(), values))
    }

    /// The values of a key that takes one or a list, each of which may be a table instead: that has this section, and its own
    /// way to be read, which reports what is wrong.
    pub(super) fn read_mixed<T>(
        &self,
        key: &'static str,
        reader: impl Fn(&'r DeValue<'r>) -> Result<T, Mistake>,
        section: &'static Section,
        table_reader: impl Fn(&Table<'r>) -> Option<T>,
    ) -> Option<Spanned<Vec<Spanned<T>>>> {
        let (_, value) = self.entry(key)?;
        let read = |value: &'r Spanned<DeValue<'r>>| match value.get_ref() {
            DeValue::Table(entries) => {
                let table = Self::new(self.report, section, self.path_of(key), value.span(), entries);
                table_reader(&table).map(|read| Spanned::new(value.span(), read))
            }
            _ => self.reported(key, value, &reader),
        };
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().filter_map(read).collect(),
            _ => read(value).into_iter().collect(),
        };
        Some(Spanned::new(value.span(), values))
    }

    /// The tables of an array of tables, in its order.
    pub(super) fn array(&self, key: &'static str, section: &'static Section) -> Vec<Table<'r>> {
        let Some((_, value)) = self.entry(key) else { return Vec::new() };
        let path = self.path_of(key);
        let header = format!("[[{path}]]");
        let DeValue::Array(values) = value.get_ref() else {
            let mistake = mistyped(value.get_ref(), format!("an array of tables is wanted: {header}"));
            self.report.add(value.span(), path, mistake);
            return Vec::new();
        };
        let table = |value: &'r Spanned<DeValue<'r>>| {
            let entries = self.entries_of(value, &path, &header)?;
            Some(Self::new(self.report, section, path.clone(), value.span(), entries))
        };
        values.iter().filter_map(table).collect()
    }

    /// A table within this one.
    pub(super) fn table(&self, key: &'static str, section: &'static Section) -> Option<Table<'r>> {
        let (name, value) = self.entry(key)?;
        let path = self.path_of(key);
        let entries = self.entries_of(value, &path, &format!("[{path}]"))?;
        Some(Self::new(self.report, section, path, name.span(), entries))
    }

    /// The tables of a table of tables, each with its name, in the order of the file.
    pub(super) fn tables(&self, key: &'static str, section: &'static Section) -> Vec<(&'r str, Table<'r>)> {
        let path = self.path_of(key);
        let header = format!("[{path}.NAME]");
        let Some((name, value)) = self.entry(key) else { return Vec::new() };
        let Some(entries) = self.entries_of(value, &path, &header) else { return Vec::new() };
        if entries.is_empty() {
            self.report_at(name.span(), key, Mistake::new("is empty", format!("a table is wanted: {header}")));
        }
        let mut tables: Vec<(&str, Table<'r>)> = entries
            .iter()
            .filter_map(|(name, value)| {
                let path = joined(&path, name.get_ref());
                let entries = self.entries_of(value, &path, &header)?;
                Some((name.get_ref().as_ref(), Self::new(self.report, section, path, name.span(), entries)))
            })
            .collect();
        tables.sort_by_key(|(_, table)| table.at.start);
        tables
    }

    /// Reports a key that is not there, or has nothing in its list.
    pub(super) fn require(&self, key: &'static str, example: &str) {
        if self.entry(key).is_none() {
            self.report_at(self.at(), key, Mistake::new("is missing", format!("such as {example}")));
        }
        self.require_some(key, example);
    }

    /// Reports a key that has nothing in its list.
    pub(super) fn require_some(&self, key: &'static str, example: &str) {
        if let Some((_, value)) = self.entry(key)
            && value.get_ref().as_array().is_some_and(|list| list.is_empty())
        {
            self.report_at(
                value.span(),
                key,
                Mistake::new("an empty list cannot stand here", format!("such as {example}")),
            );
        }
    }

    /// Where the table's name stands.
    pub(super) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    /// Where a key stands, if it is there.
    pub(super) fn place_of(&self, key: &'static str) -> Option<Range<usize>> {
        self.entry(key).map(|(name, _)| name.span())
    }

    /// The keys that lead to the table, dotted.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    fn report_at(&self, at: Range<usize>, key: &str, mistake: Mistake) {
        self.report.add(at, self.path_of(key), mistake);
    }

    fn entry(&self, key: &'static str) -> Option<(&'r Spanned<DeString<'r>>, &'r Spanned<DeValue<'r>>)> {
        debug_assert!(self.section.keys.contains(&key), "{key} is no key of {}", self.section.name);
        self.entries.get_key_value(key)
    }

    fn reported<T>(
        &self,
        key: &str,
        value: &'r Spanned<DeValue<'r>>,
        reader: &impl Fn(&'r DeValue<'r>) -> Result<T, Mistake>,
    ) -> Option<Spanned<T>> {
        match reader(value.get_ref()) {
            Ok(read) => Some(Spanned::new(value.span(), read)),
            Err(mistake) => {
                self.report_at(value.span(), key, mistake);
                None
            }
        }
    }

    fn entries_of(&self, value: &'r Spanned<DeValue<'r>>, path: &str, header: &str) -> Option<&'r DeTable<'r>> {
        let entries = value.get_ref().as_table();
        if entries.is_none() {
            let mistake = mistyped(value.get_ref(), format!("a table is wanted: {header}"));
            self.report.add(value.span(), path, mistake);
        }
        entries
    }

    fn path_of(&self, key: &str) -> String {
        joined(&self.path, key)
    }
}

/// A path with one more key, quoted where TOML wants quotes, and cut where nobody would read on.
fn joined(path: &str, key: &str) -> String {
    let bare = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let plain = (1..=KEY_CHARACTERS).contains(&key.len()) && key.chars().all(bare);
    let key = if plain { key.to_owned() } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// Why a section does not take a key.
fn refused(section: &Section, key: &str) -> Mistake {
    let lacking = |section: &&Section| section.lacking.iter().find(|(lacking, _)| *lacking == key).copied();
    if let Some((_, part)) = lacking(&section).or_else(|| SECTIONS.iter().find_map(lacking)) {
        return Mistake::new(LACKING, format!("this build has no {part}: remove the key"));
    }
    let homes: Vec<&str> =
        SECTIONS.iter().filter(|section| section.keys.contains(&key)).map(|section| section.name).collect();
    if !homes.is_empty() {
        return Mistake::new(
            format!("cannot stand in {}", section.name),
            format!("it belongs in {}", homes.join(" or ")),
        );
    }
    let wrong = format!("is no key of {}", section.name);
    let lacked = section.lacking.iter().map(|(key, _)| *key);
    match suggestion::nearest(key, section.keys.iter().copied().chain(lacked)) {
        Some(meant) => Mistake::new(wrong, format!("did you mean {meant:?}?")),
        None => Mistake::new(wrong, format!("the keys are {}", listed(section.keys.iter().copied(), "and"))),
    }
}
