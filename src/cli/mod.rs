//! The command line: what the program is told, and what it says to whoever started it.
//!
//! *Does not* know how anything is done: that is the library's.

pub mod arguments;
pub mod check;
pub mod failure;
pub mod prepare;
pub mod progress;
pub mod read;
pub mod run;
pub mod say;
pub mod show;
pub mod sink;
pub mod spool;
pub mod watch;
