//! PURE. What may stand around or in place of SMTP: headers of proxies, a client that speaks for another, other ways to
//! hand mail over.
//!
//! *Does not* know sockets, clocks, or whom to believe: that a header or a command is heeded at all is for others to decide.

#![forbid(unsafe_code)]

pub mod netstring;
pub mod proxy;
pub mod qmqp;
pub mod xclient;
