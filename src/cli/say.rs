//! What the program prints. Nobody may be reading any more: that must not stop a server.

use std::io::Write;

/// Prints to standard output.
pub fn out(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// Prints a line to standard error.
pub fn error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
