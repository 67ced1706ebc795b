//! AUTH (RFC 4954): an exchange of challenges and responses. PLAIN (RFC 4616) and LOGIN are answered here, others by the
//! caller.
//!
//! *Invariant*: nothing that shows a session shows a secret. *Does not* know whether the connection is private: the session
//! asks for that.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits;
use crate::smtp::client::command;

/// What the client proves who it is with.
#[derive(Clone, Copy)]
pub enum Credentials<'c> {
    /// RFC 4616.
    Plain {
        /// For whom it acts; empty: for itself.
        authorization: &'c str,
        /// Who it is.
        user: &'c str,
        /// Its secret.
        password: &'c str,
    },
    /// The LOGIN of the field: it has no RFC. User and password, each asked for.
    Login {
        /// Who it is.
        user: &'c str,
        /// Its secret.
        password: &'c str,
    },
    /// Any mechanism; each challenge is an event, and the caller responds.
    Other {
        /// Its name.
        mechanism: &'c str,
        /// The initial response, before base64; `Some(b"")` is an empty one (RFC 4954 §4, `=`).
        initial: Option<&'c [u8]>,
    },
}

impl Credentials<'_> {
    /// The mechanism's name.
    pub fn mechanism(&self) -> &str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Login { .. } => "LOGIN",
            Self::Other { mechanism, .. } => mechanism,
        }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.mechanism().escape_debug())
    }
}

/// A response that is not sent yet.
struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    /// What is to be answered, the next one last.
    answers: Vec<Secret>,
    /// Whether the caller answers.
    pub(super) is_callers: bool,
    challenges: u32,
}

impl Exchange {
    /// Writes the command, and keeps what comes behind it. The mechanism's name has been checked.
    pub(super) fn begin(credentials: &Credentials<'_>, out: &mut Vec<u8>) -> Self {
        let (initial, answers) = match *credentials {
            Credentials::Plain { authorization, user, password } => {
                let message = [authorization, user, password].join("\0").into_bytes();
                (Some(message), Vec::new())
            }
            Credentials::Login { user, password } => (None, vec![Secret(password.into()), Secret(user.into())]),
            Credentials::Other { initial, .. } => (initial.map(<[u8]>::to_vec), Vec::new()),
        };
        let mut exchange =
            Self { answers, is_callers: matches!(credentials, Credentials::Other { .. }), challenges: 0 };
        let mechanism = credentials.mechanism().as_bytes();
        let before = out.len();
        out.extend_from_slice(b"AUTH ");
        out.extend_from_slice(mechanism);
        if let Some(initial) = initial {
            // Behind "AUTH ", the mechanism and a space, and before CRLF.
            let octets = mechanism.len() + 8 + initial.len().div_ceil(3) * 4;
            if octets <= limits::CLIENT_AUTH_COMMAND_OCTETS {
                out.push(b' ');
                match initial.as_slice() {
                    [] => out.push(b'='),
                    initial => encode(initial, out),
                }
                debug_assert!(out.len() + 2 - before <= limits::CLIENT_AUTH_COMMAND_OCTETS);
            } else {
                // The server asks for it with an empty challenge: RFC 4954 §4.
                exchange.answers.push(Secret(initial));
            }
        }
        out.extend_from_slice(b"\r\n");
        exchange
    }

    /// A challenge has come: what is known to answer it is written. Returns whether something was.
    pub(super) fn answer(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(Secret(answer)) = self.answers.pop() else { return false };
        respond(&answer, out);
        true
    }

    /// Counts a challenge; returns whether there may be so many.
    pub(super) fn count(&mut self) -> bool {
        self.challenges += 1;
        self.challenges <= limits::CLIENT_AUTH_CHALLENGES
    }
}

/// Writes a response.
pub(super) fn respond(response: &[u8], out: &mut Vec<u8>) {
    encode(response, out);
    out.extend_from_slice(b"\r\n");
}

/// Gives the exchange up: RFC 4954 §4. The server answers 501.
pub(super) fn cancel(out: &mut Vec<u8>) {
    command::line(b"*", b"", out);
}

/// What a challenge says; `None` if it is not base64.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Whether the name can be on a command line: RFC 4422 §3.1.
pub(super) fn is_mechanism(name: &str) -> bool {
    let is_good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    (1..=20).contains(&name.len()) && name.bytes().all(is_good)
}

fn encode(octets: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + octets.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(octets, &mut out[start..]).expect("base64 takes four octets for three");
    out.truncate(start + written);
}
