//! Why the program ends without a figure: text for people, a status for scripts.

use std::fmt;
use std::process::ExitCode;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Client and server do not agree on what was sent, or a reply was not as expected. Nothing measured counts.
    Disagreement(String),
    /// What was asked for cannot be.
    Usage(String),
    /// A program, an address or a kernel feature is not to be had.
    Unavailable(String),
    /// The system failed in the middle.
    System(String),
}

impl Failure {
    /// The system failed while doing this.
    pub fn while_doing<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::System(format!("{what}: {error}"))
    }

    /// Says why, and gives the exit status: 3 for ledgers that disagree, else as in sysexits.h.
    pub fn report(&self) -> ExitCode {
        eprintln!("ringmx-bench: {self}");
        ExitCode::from(match self {
            Self::Disagreement(_) => 3,
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::System(_) => 71,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disagreement(text) => write!(f, "no figure: {text}"),
            Self::Usage(text) | Self::Unavailable(text) | Self::System(text) => text.fmt(f),
        }
    }
}
