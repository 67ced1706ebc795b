//! The house is in order: layers, unsafe islands, sizes, no dead files (DESIGN §3 and §8).
//!
//! The source is read as text with comments and literals blanked; nothing here knows the language beyond that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each may import those before it. `cli` is the binary's, and sees the library from outside.
const LAYERS: [&str; 19] = [
    "limits",
    "mutant",
    "mail",
    "smtp",
    "protocol",
    "policy",
    "metrics",
    "memory",
    "handoff",
    "reactor",
    "simulation",
    "tls",
    "spool",
    "sink",
    "config",
    "shard",
    "engine",
    "service",
    "cli",
];

/// Crate roots, which import what they like.
const ROOTS: [&str; 2] = ["lib", "main"];

/// Where `unsafe` may stand.
const UNSAFE_ISLANDS: [&str; 4] = ["memory/", "handoff/", "reactor/", "smtp/scan/"];

const FILE_LINES: usize = 700;
const FUNCTION_LINES: usize = 100;

/// One file under `src`.
struct Source {
    /// Its path from `src`, such as `smtp/scan/mod.rs`.
    path: String,
    text: String,
    /// The text with comments and literals blanked, line for line.
    code: String,
    /// The same without what is compiled for tests only.
    shipped: String,
}

impl Source {
    fn layer(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_root(&self) -> bool {
        ROOTS.contains(&self.layer())
    }

    /// How many modules it is below the crate root: the root has 0, `limits.rs` and `smtp/mod.rs` 1, `smtp/reply.rs` 2.
    fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.path.trim_end_matches("/mod.rs").split('/').count() }
    }

    /// The files in which it can be declared with `mod`.
    fn parents(&self) -> Vec<String> {
        let module = self.path.trim_end_matches("/mod.rs");
        match module.rsplit_once('/') {
            Some((directory, _)) => vec![format!("{directory}/mod.rs"), format!("{directory}.rs")],
            None => ROOTS.map(|root| format!("{root}.rs")).to_vec(),
        }
    }

    fn module_name(&self) -> &str {
        let module = self.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        module.rsplit('/').next().unwrap_or(module)
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source can be read");
            let code = blank(&text);
            let shipped = without_tests(&code);
            let path = path.strip_prefix(&root).expect("it lies there").to_string_lossy().into_owned();
            Source { path, text, code, shipped }
        })
        .collect();
    assert!(sources.len() > 20, "the sources were found");
    // A file that is declared for tests only ships nothing.
    let for_tests: Vec<bool> = sources.iter().map(|source| is_for_tests(source, &sources)).collect();
    for (source, _) in sources.iter_mut().zip(for_tests).filter(|(_, for_tests)| *for_tests) {
        source.shipped.clear();
    }
    sources
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Whether each `mod` that declares the file, or a directory above it, stands behind `#[cfg(test)]`.
fn is_for_tests(source: &Source, all: &[Source]) -> bool {
    if source.is_root() {
        return false;
    }
    let parents = source.parents();
    let parents: Vec<&Source> = all.iter().filter(|other| parents.contains(&other.path)).collect();
    !parents.is_empty()
        && parents.iter().all(|parent| !declares(&parent.shipped, source.module_name()) || is_for_tests(parent, all))
}

fn declares(code: &str, module: &str) -> bool {
    words(code).windows(2).any(|pair| pair[0].1 == "mod" && pair[1].1 == module)
}

/// Identifiers with their offsets.
fn words(code: &str) -> Vec<(usize, &str)> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut words = Vec::new();
    let mut at = 0;
    for piece in code.split(|character| !is_word(character)) {
        if !piece.is_empty() {
            words.push((at, piece));
        }
        at += piece.len() + code[at + piece.len()..].chars().next().map_or(0, char::len_utf8);
    }
    words
}

fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].matches('\n').count() + 1
}

/// Replaces comments, strings and characters by spaces, and keeps line ends.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let before_is_word = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let literal = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if character == '"' {
            string(rest)
        } else if !before_is_word && let Some(length) = raw_string(rest) {
            length
        } else if character == '\'' {
            character_literal(rest)
        } else {
            0
        };
        let taken = literal.max(character.len_utf8());
        match literal {
            0 => code.push(character),
            _ => code.extend(rest[..taken].chars().map(|character| if character == '\n' { '\n' } else { ' ' })),
        }
        rest = &rest[taken..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        match () {
            () if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            () if rest.starts_with("*/") && depth == 1 => return at + 2,
            () if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            () => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    text.len()
}

/// From the quote on.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `br#"…"#`.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"].into_iter().find(|prefix| text.starts_with(prefix))?.len();
    let hashes = text[prefix..].chars().take_while(|character| *character == '#').count();
    let content = text[prefix + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = prefix + hashes + 1;
    Some(content.find(&end).map_or(text.len(), |at| begin + at + end.len()))
}

/// 0 for the quote of a lifetime.
fn character_literal(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let behind = at + escaped.len_utf8();
            text[behind..].find('\'').map_or(0, |quote| behind + quote + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Cuts items that stand behind `#[cfg(test)]` or `#[cfg(any(test, …))]`; keeps line ends.
fn without_tests(code: &str) -> String {
    let mut shipped = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) =
        ["#[cfg(test", "#[cfg(any(test", "#[cfg(all(test"].into_iter().filter_map(|cfg| rest.find(cfg)).min()
    {
        shipped.push_str(&rest[..at]);
        let length = item(&rest[at..]);
        shipped.extend(rest[at..at + length].chars().filter(|character| *character == '\n'));
        rest = &rest[at + length..];
    }
    shipped.push_str(rest);
    shipped
}

/// The length of an item with its attributes: up to a `;`, a `,` or a closing brace, outside all brackets.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' => depth -= 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Modules of the crate root that the code names: `crate::x`, `crate::{x, y::z}`, and `super::` chains that reach the root.
fn imports(source: &Source) -> Vec<(usize, &str)> {
    let code = &source.shipped;
    let mut found = Vec::new();
    let mut chain = 0;
    let mut behind = 0;
    for (at, word) in words(code) {
        let follows = chain > 0 && code[behind..at].trim() == "::";
        let end = at + word.len();
        match word {
            "crate" => chain = source.depth().max(1),
            "super" => chain = if follows { chain + 1 } else { 1 },
            _ => {
                chain = 0;
                behind = end;
                continue;
            }
        }
        behind = end;
        // A `super` in an inline module reaches less far than this assumes, so that nothing is overlooked.
        if chain >= source.depth().max(1)
            && let Some(path) = code[end..].trim_start().strip_prefix("::")
        {
            let path = path.trim_start();
            let begin = code.len() - path.len();
            match path.strip_prefix('{') {
                Some(group) => found.extend(heads(group, begin + 1)),
                None => found.extend(words(path).first().map(|(offset, word)| (begin + offset, *word))),
            }
        }
    }
    found
}

/// The first words of a group's parts, behind its opening brace.
fn heads(group: &str, begin: usize) -> Vec<(usize, &str)> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut part = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                heads.extend(words(&group[part..at]).first().map(|(offset, word)| (begin + part + offset, *word)));
                part = at + 1;
                if character == '}' {
                    return heads;
                }
            }
            _ => {}
        }
    }
    heads
}

/// Shows all that is wrong at once.
#[track_caller]
fn expect_none(wrong: &[String], rule: &str) {
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}

#[test]
fn a_layer_imports_only_layers_before_it() {
    let place = |layer: &str| LAYERS.iter().position(|known| *known == layer);
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_root()) {
        let Some(own) = place(source.layer()) else { continue };
        for (at, module) in imports(source) {
            // A name that is no layer is an item of the root, or of the module itself.
            if place(module).is_some_and(|other| other > own) {
                let line = line_of(&source.shipped, at);
                wrong.push(format!("src/{}:{line}: {} imports {module}", source.path, source.layer()));
            }
        }
    }
    expect_none(&wrong, &format!("each of {LAYERS:?} may import those before it:"));
}

#[test]
fn every_entry_of_src_is_a_known_layer() {
    let wrong: BTreeSet<String> = sources()
        .iter()
        .filter(|source| !source.is_root() && !LAYERS.contains(&source.layer()))
        .map(|source| format!("src/{} is not in the list of tests/layers.rs", source.layer()))
        .collect();
    expect_none(&Vec::from_iter(wrong), "a new layer is a decision, and has its place in the list:");
}

#[test]
fn unsafe_stands_only_in_its_islands() {
    let mut wrong = Vec::new();
    for source in sources() {
        if UNSAFE_ISLANDS.iter().any(|island| source.path.starts_with(island)) {
            continue;
        }
        let found = words(&source.code).into_iter().filter(|(_, word)| *word == "unsafe");
        wrong.extend(found.map(|(at, _)| format!("src/{}:{}", source.path, line_of(&source.code, at))));
    }
    expect_none(&wrong, &format!("`unsafe` may stand in {UNSAFE_ISLANDS:?} only:"));
}

#[test]
fn every_module_of_the_library_exists() {
    let sources = sources();
    let library = sources.iter().find(|source| source.path == "lib.rs").expect("there is a library");
    // What test builds take from elsewhere is named by its path.
    let words = words(&library.shipped);
    let modules = words.windows(2).filter(|pair| pair[0].1 == "mod").map(|pair| pair[1].1);
    let missing: Vec<String> = modules
        .filter(|module| {
            let paths = [format!("{module}.rs"), format!("{module}/mod.rs")];
            !sources.iter().any(|source| paths.contains(&source.path))
        })
        .map(|module| format!("mod {module}"))
        .collect();
    expect_none(&missing, "src/lib.rs declares modules that do not exist:");
}

/// The converse: a file that nothing declares is never compiled.
#[test]
fn every_file_is_declared() {
    let sources = sources();
    let dead: Vec<String> = sources
        .iter()
        .filter(|source| !source.is_root())
        .filter(|source| {
            let parents = source.parents();
            let mut parents = sources.iter().filter(|other| parents.contains(&other.path));
            !parents.any(|parent| declares(&parent.code, source.module_name()))
        })
        .map(|source| format!("src/{}", source.path))
        .collect();
    expect_none(&dead, "no `mod` declares:");
}

#[test]
fn a_file_holds_one_idea() {
    let long: Vec<String> = sources()
        .iter()
        .map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(source, lines)| format!("src/{}: {lines} lines", source.path))
        .collect();
    expect_none(&long, &format!("a file has at most {FILE_LINES} lines:"));
}

#[test]
fn a_function_fits_a_screen() {
    let mut long = Vec::new();
    for source in sources() {
        for (at, word) in words(&source.code) {
            if word != "fn" {
                continue;
            }
            let (name, lines) = function(&source.code[at..]);
            if lines > FUNCTION_LINES {
                long.push(format!("src/{}:{}: fn {name}: {lines} lines", source.path, line_of(&source.code, at)));
            }
        }
    }
    expect_none(&long, &format!("a function has at most {FUNCTION_LINES} lines, tables in it not counted:"));
}

/// The name of the function that begins here, and the lines of its body; those within square brackets, which is where
/// tables stand, are not counted.
fn function(code: &str) -> (&str, usize) {
    let name = words(code).get(1).map_or("", |(_, word)| *word);
    let (mut braces, mut brackets, mut lines) = (0_usize, 0_usize, 0);
    for character in code.chars() {
        match character {
            // A declaration, or a type such as `fn(u8) -> u8`, has no body.
            ';' if braces == 0 && brackets == 0 => return (name, 0),
            '{' => braces += 1,
            '}' if braces <= 1 => return (name, lines + 1),
            '}' => braces -= 1,
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            '\n' if brackets == 0 => lines += 1,
            _ => {}
        }
    }
    (name, lines)
}

mod this_reader {
    //! What reads the source is itself tested: a check that sees nothing finds nothing wrong.

    use super::*;

    fn source(path: &str, text: &str) -> Source {
        let code = blank(text);
        let shipped = without_tests(&code);
        Source { path: path.to_owned(), text: text.to_owned(), code, shipped }
    }

    #[test]
    fn blanks_comments_and_literals_only() {
        let text = "a /* b /* c */ d */ e // f\n\"g\\\"h\" 'i' '\\'' b'\\n' &'j k r#\"l\" m\"# br\"n\" r#o \"p\nq\" r";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        let words: Vec<&str> = words(&code).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, ["a", "e", "b", "j", "k", "r", "o", "r"]);
        assert_eq!(line_of(&code, code.len()), 3);
    }

    #[test]
    fn cuts_what_is_for_tests() {
        let code = "use a;\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(test)]\npub mod d {\n fn e() { f!{} }\n}\nuse g;";
        let shipped = without_tests(code);
        let words: Vec<&str> = words(&shipped).into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, ["use", "a", "fn", "c", "use", "g"]);
        assert_eq!(shipped.matches('\n').count(), code.matches('\n').count());
    }

    #[test]
    fn sees_every_way_to_import() {
        let text = "use crate::a::b;\nuse crate::{c, d::{e, f}, g as h};\nfn i() { crate::j::k(); super::super::l::m() }\n\
                    use super::n::o;\npub(in crate::p) fn q() {}\nuse crate :: r;\n#[cfg(test)]\nmod tests { use crate::s; }";
        let source = source("smtp/reply.rs", text);
        let modules: Vec<&str> = imports(&source).into_iter().map(|(_, module)| module).collect();
        assert_eq!(modules, ["a", "c", "d", "g", "j", "l", "p", "r"]);
        let at_the_top = self::source("smtp/mod.rs", "use super::a; use self::b; use super::super::c;");
        let modules: Vec<&str> = imports(&at_the_top).into_iter().map(|(_, module)| module).collect();
        assert_eq!(modules, ["a", "super", "c"]);
    }

    #[test]
    fn counts_functions_without_their_tables() {
        assert_eq!(function("fn a();\n\n\n"), ("a", 0));
        assert_eq!(function("fn b() {}\nfn c() {}"), ("b", 1));
        assert_eq!(function("fn c(\n x: u8,\n) {\n if x {\n }\n}\n"), ("c", 6));
        assert_eq!(function("fn d() {\n let x = [\n  1,\n  2,\n ];\n}\n"), ("d", 4 - 1));
        assert_eq!(function("fn e(x: [u8; 2]) {\n}\n"), ("e", 2));
    }

    #[test]
    fn knows_parents() {
        assert_eq!(source("smtp/scan/avx2.rs", "").parents(), ["smtp/scan/mod.rs", "smtp/scan.rs"]);
        assert_eq!(source("smtp/scan/mod.rs", "").parents(), ["smtp/mod.rs", "smtp.rs"]);
        assert_eq!(source("limits.rs", "").parents(), ["lib.rs", "main.rs"]);
        assert_eq!(source("smtp/scan/mod.rs", "").module_name(), "scan");
        assert_eq!((source("smtp/scan/mod.rs", "").depth(), source("limits.rs", "").depth()), (2, 1));
    }
}
