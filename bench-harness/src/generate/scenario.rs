//! A scenario: classes of messages, domains of their recipients and senders, with weights, and the load itself, from a TOML file.
//!
//! *Idea*: what the command line can say of a load has the same name and the same values here; it is read by the command line's
//! own rules. What the command line says stands over it.
//!
//! ```toml
//! connections = 100
//! rate = "1000,2000,5000"
//! duration = "3m"
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
use toml::Value;

use super::people::{Domain, parse_domain};
use super::plan::{Class, Texts, check, corpus};
use super::sizes::{Sizes, octets};
use crate::failure::Failure;

macro_rules! file {
    ($($key:ident $id:ident,)*) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            domains: Vec<String>,
            #[serde(default)]
            from_domains: Vec<String>,
            class: Vec<Written>,
            $($key: Option<Value>,)*
        }

        impl File {
            /// What it says of the load: key, the command line's name for it, value.
            fn load(self) -> Vec<(&'static str, &'static str, Value)> {
                let all = [$((stringify!($key), stringify!($id), self.$key),)*];
                all.into_iter().filter_map(|(key, id, value)| Some((key, id, value?))).collect()
            }
        }

        /// The names of arguments that a file can say.
        #[cfg(test)]
        const LOAD: &[&str] = &[$(stringify!($id),)*];
    };
}

// Each key, and the argument's name.
file! {
    connections connections,
    threads threads,
    depth depth,
    no_pipelining no_pipelining,
    lmtp lmtp,
    users users,
    messages messages,
    duration duration,
    warm_up warm_up,
    rate rate,
    poisson poisson,
    lag_most lag_most,
    messages_per_connection messages_per_connection,
    source sources,
    misbehave misbehave,
    on_tempfail on_tempfail,
    reset_between reset_between,
    patience patience,
    helo helo,
    seed seed,
    proxy proxy,
    xclient xclient,
    peers peers,
    checksum checksum,
    assert assertions,
    abort_on abort_on,
}

/// What gives way to an argument that it cannot stand beside.
const GIVES_WAY: [(&str, &[&str]); 6] = [
    ("connections", &["once"]),
    ("threads", &["once"]),
    ("rate", &["once", "find_max"]),
    ("messages", &["once", "find_max"]),
    ("depth", &["no_pipelining"]),
    ("no_pipelining", &["depth"]),
];

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
    parse(&text(path)?, path.parent().unwrap_or(Path::new("."))).map_err(|failure| of(path, failure))
}

/// What a file says of the load, as arguments; `is_given` says of which the command line has said it.
pub fn arguments(path: &Path, is_given: impl Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let file = file(&text(path)?).map_err(|failure| of(path, failure))?;
    let gives_way = |id: &str| GIVES_WAY.iter().any(|(other, to)| *other == id && to.iter().any(|to| is_given(to)));
    let mut arguments = Vec::new();
    for (key, id, value) in file.load() {
        if is_given(id) || gives_way(id) {
            continue;
        }
        let flag = format!("--{}", key.replace('_', "-"));
        let values = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            match value {
                Value::Boolean(true) => arguments.push(flag.clone()),
                Value::Boolean(false) => {}
                Value::String(text) => arguments.push(format!("{flag}={text}")),
                Value::Integer(number) => arguments.push(format!("{flag}={number}")),
                Value::Float(number) => arguments.push(format!("{flag}={number}")),
                _ => {
                    return Err(of(
                        path,
                        Failure::Usage(format!("{key} is a text, a number, true, or a list of these")),
                    ));
                }
            }
        }
    }
    Ok(arguments)
}

fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Unavailable(format!("cannot read {}: {error}", path.display())))
}

fn of(path: &Path, failure: Failure) -> Failure {
    Failure::Usage(format!("{}: {failure}", path.display()))
}

fn file(text: &str) -> Result<File, Failure> {
    toml::from_str(text).map_err(|error| Failure::Usage(error.to_string()))
}

fn parse(text: &str, beside: &Path) -> Result<Scenario, Failure> {
    let file = file(text)?;
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

    /// Each key is an argument's name, and no argument is forgotten.
    #[test]
    fn what_can_be_said_of_a_load_can_be_written_down() {
        use clap::CommandFactory as _;
        let command = crate::arguments::Arguments::command();
        let run = command.find_subcommand("run").unwrap();
        let elsewhere = [
            "target",
            "bdat",
            "chunk",
            "size",
            "corpus",
            "recipients",
            "domains",
            "sender_domains",
            "scenario",
            "find_max",
            "slo",
            "once",
            "verbose",
            "json",
            "ndjson",
            "ledger",
            "server_stats",
            "server_pid",
            "i_operate",
            "auth",
            "auth_file",
            "auth_env",
            "idle",
        ];
        let names: Vec<&str> = run.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        for name in names.iter().filter(|name| !["help", "version"].contains(name)) {
            assert!(LOAD.contains(name) != elsewhere.contains(name), "{name}");
        }
        for name in LOAD {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "class"),
            ("class = []", "no [[class]]"),
            ("domains = [\"a b\"]\n[[class]]\nname = \"a\"\nsize = \"1k\"", "'a b' is no domain"),
            ("[[class]]\nname = \"a\"", "either size or corpus"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\nsise = 3", "sise"),
            ("conections = 3\n[[class]]\nname = \"a\"\nsize = \"1k\"", "conections"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\nweight = 0", "class a: its weight"),
            ("[[class]]\nname = \"a\"\nsize = \"1k\"\ntransfer = \"fast\"", "'fast' is no transfer"),
        ] {
            let failure = parse(text, Path::new(".")).unwrap_err().to_string();
            assert!(failure.contains(expected), "{text}: {failure}");
        }
    }
}
