//! The transport of a connection: plain, or behind a cipher. The session sees plain text either way.

use std::fmt::Debug;

/// A cipher between the socket and the session.
pub trait Cipher: Send + Debug {
    /// Takes octets from the front of `input`, and returns plain text that they complete, in place or from the cipher's own
    /// memory. Empty when `input` is used up. The caller goes on until then.
    fn feed<'b, 'i: 'b>(&'b mut self, input: &mut &'i mut [u8]) -> Result<&'b [u8], CipherError>;

    /// Adds what the peer must get in order to read `plain`.
    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>);
}

/// The peer's octets cannot be what they should be. The client's fault: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent octets that the cipher cannot read")]
pub struct CipherError;

/// See the module.
#[derive(Debug, Default)]
pub enum Transport {
    /// What comes is what is meant.
    #[default]
    Plain,
    /// Behind a cipher.
    Tls(Box<dyn Cipher>),
}

impl Transport {
    /// See [`Cipher::feed`].
    #[inline]
    pub fn feed<'b, 'i: 'b>(&'b mut self, input: &mut &'i mut [u8]) -> Result<&'b [u8], CipherError> {
        match self {
            Self::Plain => {
                let all: &'i mut [u8] = std::mem::take(input);
                Ok(all)
            }
            Self::Tls(cipher) => cipher.feed(input),
        }
    }

    /// The octets to send for these replies; plain ones are not copied.
    pub fn seal(&mut self, replies: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Plain => replies,
            Self::Tls(cipher) => {
                let mut out = Vec::with_capacity(replies.len() + 64);
                cipher.seal(&replies, &mut out);
                out
            }
        }
    }
}
