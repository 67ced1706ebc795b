//! A scenario: classes of messages, and domains of their recipients and senders, with weights, from a TOML file.
//!
//! ```toml
//! domains = ["example.test=3", "other.test"]
//! from_domains = ["from.test"]
//! [[class]]
//! name = "small"
//! weight = 9
//! size = "lognormal(8k,1)"
//! recipients = "1-3"
//! [[class]]
//! name = "newsletter"
//! corpus = ["letters/"]
//! transfer = "bdat"       # or "data", or octets of a chunk such as "64k"
//! ```

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::people::{Domain, parse_domain};
use super::plan::{Class, Texts, check, corpus};
use super::sizes::{Sizes, octets};
use crate::failure::Failure;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    from_domains: Vec<String>,
    class: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default = "one")]
    weight: u32,
    size: Option<String>,
    #[serde(default)]
    corpus: Vec<PathBuf>,
    recipients: Option<String>,
    transfer: Option<String>,
}

fn one() -> u32 {
    1
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Domains of recipients; none where the file says nothing.
    pub domains: Vec<Domain>,
    /// Domains of senders.
    pub from_domains: Vec<Domain>,
    /// One at least.
    pub classes: Vec<Class>,
}

/// Reads a file. Paths in it are taken from where it stands.
pub fn read(path: &Path) -> Result<Scenario, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Unavailable(format!("cannot read {}: {error}", path.display())))?;
    parse(&text, path.parent().unwrap_or(Path::new(".")))
        .map_err(|failure| Failure::Usage(format!("{}: {failure}", path.display())))
}

fn parse(text: &str, beside: &Path) -> Result<Scenario, Failure> {
    let file: File = toml::from_str(text).map_err(|error| Failure::Usage(error.to_string()))?;
    if file.class.is_empty() {
        return Err(Failure::Usage("there is no [[class]]".to_owned()));
    }
    let domains = |written: &[String]| {
        let domains: Result<Vec<Domain>, String> = written.iter().map(|text| parse_domain(text)).collect();
        domains.map_err(Failure::Usage)
    };
    Ok(Scenario {
        domains: domains(&file.domains)?,
        from_domains: domains(&file.from_domains)?,
        classes: file.class.iter().map(|written| class(written, beside)).collect::<Result<_, _>>()?,
    })
}

fn class(written: &Written, beside: &Path) -> Result<Class, Failure> {
    let wrong = |text: String| Failure::Usage(format!("class {}: {text}", written.name));
    let texts = match (&written.size, written.corpus.as_slice()) {
        (Some(size), []) => Texts::Generated(size.parse::<Sizes>().map_err(wrong)?),
        (None, paths @ [_, ..]) => corpus(&paths.iter().map(|path| beside.join(path)).collect::<Vec<_>>())?,
        _ => return Err(wrong("it has either size or corpus".to_owned())),
    };
    let chunk_octets = match written.transfer.as_deref() {
        None | Some("data") => None,
        Some("bdat") => Some(u64::MAX),
        Some(size) => {
            let octets = octets(size);
            Some(octets.ok_or_else(|| wrong(format!("'{size}' is no transfer: data, bdat, or octets of a chunk")))?)
        }
    };
    let recipients = written.recipients.as_deref().unwrap_or("1").parse().map_err(wrong)?;
    if written.weight == 0 {
        return Err(wrong("its weight is 1 at least".to_owned()));
    }
    check(Class { weight: written.weight, texts, recipients, chunk_octets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read() {
        let scenario = parse(
            "domains = [\"a.test=3\", \"b.test\"]\n[[class]]\nname = \"a\"\nweight = 9\nsize = \"1k-2k\"\nrecipients = \"1-3\"\n\
             [[class]]\nname = \"b\"\nsize = \"100k\"\ntransfer = \"64k\"\n",
            Path::new("."),
        )
        .unwrap();
        let classes = scenario.classes;
        assert_eq!((scenario.domains[0].weight, scenario.domains.len(), scenario.from_domains.len()), (3, 2, 0));
        assert_eq!((classes[0].weight, classes[0].chunk_octets), (9, None));
        assert_eq!((classes[1].weight, classes[1].chunk_octets), (1, Some(65_536)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "class"),
            ("class = []", "no [[class]]"),
            ("domains = [\"a b\"]\n[[class]]\nname = \"a\"\nsize = \"1k\"", "'a b' is no domain"),
            ("[[class]]\nname = \"a\"", "either size or corpus"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\nsise = 3", "sise"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\nweight = 0", "class a: its weight"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\ntransfer = \"fast\"", "'fast' is no transfer"),
        ] {
            let failure = parse(text, Path::new(".")).unwrap_err().to_string();
            assert!(failure.contains(expected), "{text}: {failure}");
        }
    }
}
