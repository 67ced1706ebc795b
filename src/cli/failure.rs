//! Why the program ends without having done what it was asked: text for people, a status for scripts (sysexits.h).

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ringmx::config::Errors;
use ringmx::engine::EngineError;
use ringmx::engine::data_dir::DataDirError;
use ringmx::spool::scan::content::ContentError;
use ringmx::spool::storage::StorageError;
use ringmx::spool::tools::order::OrderError;

use super::say;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line, or a question for help, which is none.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// The operator's configuration.
    #[error("{0}")]
    Configuration(#[from] Errors),
    /// A sink whose mail only a program would take that embeds the library.
    #[error(
        "ringmx: sink.{sink}: nobody would take the mail of a sink of kind \"program\", which is for a program that embeds the \
         engine; kind = \"maildir\" keeps it"
    )]
    NoProgram {
        /// Its name.
        sink: String,
    },
    /// An address, the kernel, or the system.
    #[error("ringmx: {0}")]
    Engine(#[from] EngineError),
    /// A file that was to be written.
    #[error("ringmx: cannot write {path}: {error}", path = path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Messages that were accepted into memory are gone.
    #[error(
        "ringmx: {0} messages that had a 250 were not delivered, and are lost: their sinks did not get on in {patience} s, or it was \
         to stop at once; the log of deliveries names those that no sink hung with",
        patience = ringmx::limits::DRAIN_MS / 1000
    )]
    LeftBehind(u64),
    /// There is no spool where one was looked for.
    #[error(
        "ringmx: {path}: there is no spool here; --data-dir names the data directory of a server, or --config the file that does",
        path = .0.display()
    )]
    NoSpool(PathBuf),
    /// Messages that were asked for are not there.
    #[error(
        "ringmx: {0}: no such message waits here; ringmx spool ls names those that do, and --state delivered those that are kept"
    )]
    NoMessage(String),
    /// The spool's files.
    #[error("ringmx: {0}")]
    Storage(#[from] StorageError),
    /// Orders for mail that waits.
    #[error("ringmx: {0}")]
    Order(#[from] OrderError),
    /// Its data directory.
    #[error("ringmx: {0}")]
    DataDir(#[from] DataDirError),
    /// A message of the spool.
    #[error("ringmx: {id}: {error}")]
    Content {
        /// Its name.
        id: String,
        /// What is wrong.
        error: ContentError,
    },
    /// Something was done, and something was not; each was told by itself.
    #[error("ringmx: {0}")]
    InPart(String),
    /// What was promised is lost; each was told by itself.
    #[error("ringmx: {0}")]
    Corruption(String),
    /// A wish that cannot be.
    #[error("ringmx: {0}")]
    Wish(String),
    /// Signals could not be had.
    #[error("ringmx: cannot wait for signals: {0}")]
    Signals(io::Error),
}

impl Failure {
    /// A file could not be written.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Write { path, error }
    }

    /// Says why, and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if let Self::Usage(error) = self {
            // It knows where it belongs, and whether it may be coloured.
            let _ = error.print();
        } else {
            say::error(&self.to_string());
        }
        ExitCode::from(match self {
            Self::Usage(error) if !error.use_stderr() => 0,
            Self::Usage(_) => 64,
            Self::Configuration(_) | Self::NoProgram { .. } => Errors::EXIT_STATUS,
            Self::Engine(error) => error.exit_status(),
            Self::Write { .. } => 73,
            Self::LeftBehind(_) => 74,
            Self::Signals(_) => 71,
            Self::NoSpool(_) | Self::NoMessage(_) => 66,
            Self::Storage(error) | Self::Content { error: ContentError::Storage(error), .. } => error.exit_status(),
            Self::Order(OrderError::Storage(error)) => error.exit_status(),
            Self::Order(OrderError::TooMany { .. }) => 75,
            Self::DataDir(error) => error.exit_status(),
            Self::Content { .. } | Self::Corruption(_) => 65,
            Self::InPart(_) => 74,
            Self::Wish(_) => 64,
        })
    }
}
