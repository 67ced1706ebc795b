//! What an operator says of a maildir sink; and the path template, which says where a recipient's maildir lies.
//!
//! *Invariants*: a template has no component that is empty, `.` or `..`, and none that could be so once it is filled in;
//! [`PathTemplate`]'s text is read back as the same template. The components before the first with a placeholder are the
//! root: everything that strangers have a say in happens below it.
//!
//! *Does not* touch the file system, and does not escape: `path` fills the template in.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::limits;

/// What a maildir sink is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaildirOptions {
    /// Where maildirs lie.
    pub path: PathTemplate,
    /// Octets under the root above which mail is refused with 452; `None`: as many as there is room for.
    pub quota_bytes: Option<u64>,
    /// How lines end in the files.
    pub line_ends: LineEnds,
    /// Whether a message is on stable storage before it counts as delivered.
    pub sync: bool,
}

impl MaildirOptions {
    /// With this path: without a quota of its own, octet for octet, synced.
    pub fn new(path: PathTemplate) -> Self {
        Self { path, quota_bytes: None, line_ends: LineEnds::Crlf, sync: true }
    }
}

/// How lines end in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LineEnds {
    /// As they came: the content is kept octet for octet.
    #[default]
    Crlf,
    /// Each CRLF becomes LF; a CR or LF alone stays.
    Lf,
}

/// A path in which `{domain}` and `{local}` stand for a recipient's. Braces of the path itself are doubled.
///
/// ```
/// use ringmx::sink::maildir::options::PathTemplate;
/// let template: PathTemplate = "mail/{domain}/{local}".parse().unwrap();
/// assert_eq!(template.root(), std::path::Path::new("mail"));
/// assert_eq!(template.to_string(), "mail/{domain}/{local}");
/// assert_eq!(template.under("/srv".as_ref()).to_string(), "/srv/mail/{domain}/{local}");
/// assert!("mail/{user}".parse::<PathTemplate>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    root: PathBuf,
    below: Vec<Vec<Piece>>,
}

/// A part of a component below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it stands.
    Text(String),
    /// `{domain}`.
    Domain,
    /// `{local}`.
    Local,
}

/// Why a text is no path template, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathTemplateError {
    /// There is nothing.
    #[error("is empty; a path such as \"mail/{{domain}}/{{local}}\" is wanted")]
    Empty,
    /// A NUL, which no file's name can have.
    #[error("has a NUL; a path has none")]
    Nul,
    /// A component is `..`.
    #[error("has a component \"..\"; the directory itself is wanted in its place")]
    Parent,
    /// A placeholder that means nothing here.
    #[error(
        "has \"{{{name}}}\", which stands for nothing; {{domain}} and {{local}} are known, and a brace of the path itself is doubled"
    )]
    UnknownPlaceholder {
        /// What stands between the braces.
        name: String,
    },
    /// A brace alone.
    #[error(
        "has a \"{brace}\" without its counterpart; {{domain}} and {{local}} are known, and a brace of the path itself is doubled"
    )]
    LoneBrace {
        /// Which one.
        brace: char,
    },
    /// Two placeholders of one component could run into each other.
    #[error(
        "has two placeholders in \"{component}\" which nothing keeps apart; a \"/\" or a text with \"@\" between them is wanted"
    )]
    NotKeptApart {
        /// The component.
        component: String,
    },
    /// The texts leave no room for names.
    #[error("has a component of more than {most} octets; a shorter one is wanted", most = limits::MAILDIR_TEXT_OCTETS)]
    ComponentTooLong,
    /// Too many components below the root.
    #[error("has more than {most} components from the first placeholder on; fewer are wanted", most = limits::MAILDIR_DEPTH)]
    TooDeep,
    /// The whole is too long for the kernel.
    #[error("has more than {most} octets; a shorter one is wanted", most = limits::MAILDIR_TEMPLATE_OCTETS)]
    TooLong,
}

impl PathTemplate {
    /// The directory that holds all maildirs of the sink; without placeholders it is the only one.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same, below `base` unless it is absolute.
    pub fn under(&self, base: &Path) -> Self {
        let root = if self.root == Path::new(".") { base.to_owned() } else { base.join(&self.root) };
        Self { root, below: self.below.clone() }
    }

    /// Whether there is one maildir for all recipients.
    pub fn is_single(&self) -> bool {
        self.below.is_empty()
    }

    /// Whether a maildir may lie in that directory, whatever recipients are called.
    pub fn may_lie_in(&self, directory: &Path) -> bool {
        if self.root.starts_with(directory) {
            return true;
        }
        let root = if self.root == Path::new(".") { Path::new("") } else { &self.root };
        let Ok(rest) = directory.strip_prefix(root) else { return false };
        let rest: Vec<_> = rest.components().map(|component| component.as_os_str().as_bytes()).collect();
        rest.len() <= self.below.len() && rest.iter().zip(&self.below).all(|(name, pieces)| can_be(pieces, name))
    }

    /// The components below the root. The first has a placeholder.
    pub(super) fn below(&self) -> &[Vec<Piece>] {
        &self.below
    }
}

impl FromStr for PathTemplate {
    type Err = PathTemplateError;

    fn from_str(text: &str) -> Result<Self, PathTemplateError> {
        if text.is_empty() {
            return Err(PathTemplateError::Empty);
        }
        if text.contains('\0') {
            return Err(PathTemplateError::Nul);
        }
        if text.len() > limits::MAILDIR_TEMPLATE_OCTETS {
            return Err(PathTemplateError::TooLong);
        }
        let mut root = PathBuf::from(if text.starts_with('/') { "/" } else { "" });
        let mut below: Vec<Vec<Piece>> = Vec::new();
        for component in text.split('/').filter(|component| !matches!(*component, "" | ".")) {
            let pieces = pieces(component)?;
            match pieces.as_slice() {
                [Piece::Text(text)] if below.is_empty() => root.push(text),
                _ if texts(&pieces).map(str::len).sum::<usize>() > limits::MAILDIR_TEXT_OCTETS => {
                    return Err(PathTemplateError::ComponentTooLong);
                }
                _ => below.push(pieces),
            }
        }
        if below.len() > limits::MAILDIR_DEPTH {
            return Err(PathTemplateError::TooDeep);
        }
        // A path without a text before its first placeholder begins where it is read.
        let root = if root.as_os_str().is_empty() { PathBuf::from(".") } else { root };
        Ok(Self { root, below })
    }
}

/// Whether a component may come to that name, as far as its first and its last text say.
fn can_be(pieces: &[Piece], name: &[u8]) -> bool {
    let text = |piece: Option<&Piece>| match piece {
        Some(Piece::Text(text)) => text.clone().into_bytes(),
        _ => Vec::new(),
    };
    let (first, last) = (text(pieces.first()), text(pieces.last()));
    match pieces {
        [Piece::Text(text)] => text.as_bytes() == name,
        _ => name.len() >= first.len() + last.len() && name.starts_with(&first) && name.ends_with(&last),
    }
}

/// What is no placeholder.
pub(super) fn texts(pieces: &[Piece]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None })
}

/// One component's.
fn pieces(component: &str) -> Result<Vec<Piece>, PathTemplateError> {
    if component == ".." {
        return Err(PathTemplateError::Parent);
    }
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = component;
    // BOUND: each turn takes a character.
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            text.push(character);
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('{') {
            let (name, behind) = behind.split_once('}').ok_or(PathTemplateError::LoneBrace { brace: '{' })?;
            let piece = match name {
                "domain" => Piece::Domain,
                "local" => Piece::Local,
                _ => return Err(PathTemplateError::UnknownPlaceholder { name: name.to_owned() }),
            };
            let is_apart = pieces.is_empty() || text.bytes().any(keeps_apart);
            if !is_apart && pieces.iter().any(|piece| !matches!(piece, Piece::Text(_))) {
                return Err(PathTemplateError::NotKeptApart { component: component.to_owned() });
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
            rest = behind;
        } else if character == '}' {
            return Err(PathTemplateError::LoneBrace { brace: '}' });
        } else {
            text.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// Whether no name has the octet once it is escaped, so that it shows where one ends.
fn keeps_apart(octet: u8) -> bool {
    octet.is_ascii() && octet != b'%' && !super::path::is_plain(octet)
}

/// As it is read back; an octet of the root that is no UTF-8 is shown as U+FFFD.
impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write_text =
            |f: &mut fmt::Formatter<'_>, text: &str| f.write_str(&text.replace('{', "{{").replace('}', "}}"));
        let is_bare = self.root == Path::new(".") && !self.below.is_empty();
        if !is_bare {
            write_text(f, &self.root.to_string_lossy())?;
        }
        for (index, component) in self.below.iter().enumerate() {
            let ends_with_slash = self.root.as_os_str().as_bytes().ends_with(b"/");
            if index > 0 || !(is_bare || ends_with_slash) {
                f.write_str("/")?;
            }
            for piece in component {
                match piece {
                    Piece::Text(text) => write_text(f, text)?,
                    Piece::Domain => f.write_str("{domain}")?,
                    Piece::Local => f.write_str("{local}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<PathTemplate, PathTemplateError> {
        text.parse()
    }

    #[test]
    fn a_template_has_a_root_and_what_lies_below() {
        for (text, root, depth, shown) in [
            ("mail/{domain}/{local}", "mail", 2, "mail/{domain}/{local}"),
            (
                "/srv//mail/./{domain}/users/{local}/Maildir/",
                "/srv/mail",
                4,
                "/srv/mail/{domain}/users/{local}/Maildir",
            ),
            ("{local}@{domain}", ".", 1, "{local}@{domain}"),
            ("./{local}", ".", 1, "{local}"),
            ("/{local}", "/", 1, "/{local}"),
            ("mail", "mail", 0, "mail"),
            ("/", "/", 0, "/"),
            (".", ".", 0, "."),
            ("a{{b}}c/x-{local}-{{", "a{b}c", 1, "a{{b}}c/x-{local}-{{"),
        ] {
            let template = read(text).unwrap();
            assert_eq!((template.root(), template.below().len()), (Path::new(root), depth), "{text}");
            assert_eq!(template.to_string(), shown, "{text}");
            assert_eq!(template.is_single(), depth == 0);
            assert_eq!(read(shown), Ok(template));
        }
        assert_eq!(read("{local}").unwrap().under(Path::new("/a{b")).to_string(), "/a{{b/{local}");
        assert_eq!(read("/m/{local}").unwrap().under(Path::new("/a")).to_string(), "/m/{local}");
    }

    #[test]
    fn where_maildirs_may_lie_is_known_without_recipients() {
        let spool = Path::new("/srv/data/spool");
        for (text, may) in [
            ("/srv/data/spool/{local}", true),
            ("/srv/data/spool", true),
            ("/srv/data/spool/a/b", true),
            ("/srv/data/{domain}", true),
            ("/srv/data/{domain}/{local}", true),
            ("/srv/{domain}/{local}", true),
            ("/srv/data/sp{local}", true),
            ("/srv/data/{local}ol", true),
            ("/srv/{domain}/spool/{local}", true),
            ("/srv/data/mail/{domain}", false),
            ("/srv/data/sx{local}", false),
            ("/srv/data/spool{local}x", false),
            ("/srv/{domain}", false),
            ("/srv/{domain}/mail/{local}", false),
            ("/srv/data", false),
            ("/{domain}/{local}", false),
        ] {
            assert_eq!(read(text).unwrap().may_lie_in(spool), may, "{text}");
        }
        assert!(read("{domain}").unwrap().may_lie_in(Path::new("spool")));
    }

    #[test]
    fn what_is_no_template_is_told_what_would_be_right() {
        for (text, wanted) in [
            ("", r#"is empty; a path such as "mail/{domain}/{local}" is wanted"#),
            ("a\0b", "has a NUL; a path has none"),
            ("mail/../{local}", r#"has a component ".."; the directory itself is wanted in its place"#),
            (
                "mail/{user}",
                r#"has "{user}", which stands for nothing; {domain} and {local} are known, and a brace of the path itself is doubled"#,
            ),
            (
                "mail/{local",
                r#"has a "{" without its counterpart; {domain} and {local} are known, and a brace of the path itself is doubled"#,
            ),
            (
                "mail/local}",
                r#"has a "}" without its counterpart; {domain} and {local} are known, and a brace of the path itself is doubled"#,
            ),
            (
                "mail/{local}-{domain}",
                r#"has two placeholders in "{local}-{domain}" which nothing keeps apart; a "/" or a text with "@" between them is wanted"#,
            ),
            (
                "{local}%{domain}",
                r#"has two placeholders in "{local}%{domain}" which nothing keeps apart; a "/" or a text with "@" between them is wanted"#,
            ),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), wanted, "{text:?}");
        }
        let long = "x".repeat(limits::MAILDIR_TEXT_OCTETS + 1);
        assert_eq!(read(&format!("{{local}}{long}")), Err(PathTemplateError::ComponentTooLong));
        assert!(read(&format!("{long}/{{local}}")).is_ok());
        assert_eq!(read(&"{local}/".repeat(limits::MAILDIR_DEPTH + 1)), Err(PathTemplateError::TooDeep));
        assert_eq!(read(&"x/".repeat(limits::MAILDIR_TEMPLATE_OCTETS)), Err(PathTemplateError::TooLong));
    }

    proptest! {
        #[test]
        fn a_template_is_read_back(text in r"[ab./{}@%-]{0,8}(\{(local|domain)\})?[ab./{}@-]{0,8}(\{local\})?") {
            if let Ok(template) = read(&text) {
                prop_assert_eq!(read(&template.to_string()), Ok(template));
            }
        }
    }
}
