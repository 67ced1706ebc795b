//! The sink that keeps each message as a file of a maildir.

pub mod options;
mod path;
