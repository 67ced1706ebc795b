//! Why the program ends without a figure: text for people, a status for scripts.

use std::fmt;
use std::process::ExitCode;

/// The exit status of wrong usage.
pub const USAGE: u8 = 64;

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
    /// The result is a figure, and not the one that was asked for.
    Assertion(String),
    /// The generator itself was the limit.
    Saturated(String),
    /// A condition of --abort-on came true.
    Aborted(String),
    /// Somebody has stopped the run.
    Interrupted,
}

impl Failure {
    /// The system failed while doing this.
    pub fn while_doing<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::System(format!("{what}: {error}"))
    }

    /// Says why, and gives the exit status: 3 to 6 for what a run has come to, else as in sysexits.h.
    pub fn report(&self) -> ExitCode {
        eprintln!("ringmx-bench: {self}");
        ExitCode::from(match self {
            Self::Disagreement(_) => 3,
            Self::Assertion(_) => 4,
            Self::Saturated(_) => 5,
            Self::Aborted(_) => 6,
            Self::Interrupted => 130,
            Self::Usage(_) => USAGE,
            Self::Unavailable(_) => 69,
            Self::System(_) => 71,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disagreement(text) => write!(f, "no figure: {text}"),
            Self::Assertion(text) => write!(f, "does not hold: {text}"),
            Self::Saturated(text) => write!(f, "no figure, the generator was saturated: {text}"),
            Self::Aborted(text) => write!(f, "stopped, because one of these came true: {text}"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Usage(text) | Self::Unavailable(text) | Self::System(text) => text.fmt(f),
        }
    }
}
