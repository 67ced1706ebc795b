//! What comes out of a session: its events, the ends of transactions, and what it waits for.

use std::time::Duration;

use crate::limits;
use crate::smtp::client::reply::{Code, Reply, ReplyFault, Verdict};

/// What [`Session::handle_input`](crate::smtp::client::Session::handle_input) found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing that the caller must know; call again.
    Continue,
    /// All input is used up; call again when there is more.
    NeedInput,
    /// The session is over, and every transaction has been reported; close the connection.
    Closed,
    /// The server speaks out of turn, or not SMTP: its fault. The session is over; transactions that were under way are
    /// reported next.
    Fault(Fault),

    /// 220. EHLO is written, or LHLO.
    Greeting(Reply<'a>),
    /// The greeting refuses service: 4yz or 5yz. Only QUIT is left (RFC 5321 §3.1), and behind 421 and 521 (RFC 7504 §2) not
    /// even that.
    NoService(Reply<'a>),
    /// The reply to EHLO, LHLO or HELO: the offer is known, transactions can begin.
    Ready(Reply<'a>),
    /// EHLO is refused, and not for being unknown; or HELO, or LHLO. Only QUIT is left.
    HelloRefused(Reply<'a>),
    /// STARTTLS is accepted: do the handshake now, then call
    /// [`Session::handle_tls`](crate::smtp::client::Session::handle_tls).
    StartTls,
    /// STARTTLS is refused; the session goes on in the clear, if the caller wants that.
    StartTlsRefused(Reply<'a>),
    /// A challenge of AUTH, decoded: answer with [`Session::respond`](crate::smtp::client::Session::respond), or give up with
    /// [`Session::cancel_auth`](crate::smtp::client::Session::cancel_auth).
    Challenge(&'a [u8]),
    /// AUTH is done.
    Authenticated(Reply<'a>),
    /// AUTH is refused, or given up.
    AuthRefused(Reply<'a>),
    /// XCLIENT is accepted. The server begins anew, so EHLO is written: [`Event::Ready`] follows.
    XclientAccepted(Reply<'a>),
    /// XCLIENT is refused.
    XclientRefused(Reply<'a>),

    /// The reply to MAIL.
    Mail {
        /// Which transaction.
        transaction: u32,
        /// What was said.
        reply: Reply<'a>,
    },
    /// The reply to a RCPT. Where MAIL was refused, it only repeats that.
    Recipient {
        /// Which transaction.
        transaction: u32,
        /// Which recipient of its message, from 0.
        recipient: u32,
        /// What was said.
        reply: Reply<'a>,
    },
    /// The reply to DATA, or to a chunk that is not the last.
    Content {
        /// Which transaction.
        transaction: u32,
        /// What was said.
        reply: Reply<'a>,
    },
    /// The reply to the whole content.
    EndOfData {
        /// Which transaction.
        transaction: u32,
        /// LMTP: for which recipient it is. `None`: for all that were accepted.
        recipient: Option<u32>,
        /// What was said.
        reply: Reply<'a>,
    },
    /// A transaction is over. Each that was begun has exactly one, in the order in which they were begun.
    Ended(Ended),

    /// The reply to QUIT. The session is over.
    Quit(Reply<'a>),
    /// 421 when nothing was asked: RFC 5321 §3.8. The session is over. Where something was asked, that one's event has it.
    Closing(Reply<'a>),
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub transaction: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has taken the message over.
    Accepted {
        /// For so many recipients: one at least.
        recipients: u32,
    },
    /// It has not, for anybody. 4yz is for now, 5yz for good.
    Refused {
        /// Where; at [`Stage::Recipients`] it was each recipient for itself, and the last one's verdict is here.
        stage: Stage,
        /// What was said.
        verdict: Verdict,
    },
    /// There was no content to send ([`Transfer::None`](crate::smtp::client::Transfer)), and all replies have come.
    Verified {
        /// Recipients that were accepted; none may have been.
        recipients: u32,
    },
    /// It was given up before its end: by the caller, for its line ends, or because a recipient was refused
    /// ([`Recipients::All`](crate::smtp::client::Recipients)). The server has not taken it.
    Abandoned,
    /// The session ended before all of the content was given out. The server has not taken it.
    Lost,
    /// The session ended between the end of data and its reply: the server may have taken it (RFC 5321 §4.5.3.2.6, §6.1).
    /// LMTP: this is so for recipients that had no [`Event::EndOfData`].
    Undecided,
}

/// Where a transaction was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// At MAIL.
    Mail,
    /// At RCPT, each of them.
    Recipients,
    /// At DATA, or at a chunk that is not the last.
    Content,
    /// At the end of mail data, or at the last chunk.
    EndOfData,
}

/// What a server does that no server may. Its fault, each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// What it sent cannot be read.
    #[error(transparent)]
    Reply(#[from] ReplyFault),
    /// A reply that nobody asked for.
    #[error("the server sent a reply to no command")]
    Unasked(Code),
    /// A reply whose first digit cannot answer what was asked.
    #[error("the server answered {1} where that is no answer")]
    Unexpected(Awaited, Code),
    /// Octets behind the reply to STARTTLS, or before the handshake: somebody may have put words into the server's mouth
    /// (CVE-2011-0411 and its kind).
    #[error("octets stood in the clear behind the reply to STARTTLS")]
    Injected,
    /// A recipient was accepted where MAIL was refused: it may have joined another transaction. See
    /// [`Terms::resets_between`](crate::smtp::client::Terms).
    #[error("the server accepted a recipient of a transaction that it had refused")]
    AcceptedWithoutMail,
    /// A challenge that is not base64, or one too many.
    #[error("the server sent a bad challenge")]
    Challenge,
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaited {
    /// The greeting.
    Greeting,
    /// The reply to EHLO, HELO or LHLO.
    Hello,
    /// The reply to STARTTLS.
    StartTls,
    /// A reply of an AUTH exchange.
    Auth,
    /// The reply to XCLIENT.
    Xclient,
    /// The reply to MAIL.
    Mail,
    /// The reply to RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// The next content to be sent, or the reply to a chunk that is not the last.
    Block,
    /// The reply to the end of data.
    EndOfData,
    /// The reply to RSET.
    Reset,
    /// The reply to QUIT.
    Quit,
}

impl Awaited {
    /// How long a client waits for it at least: RFC 5321 §4.5.3.2.
    pub const fn timeout(self) -> Duration {
        Duration::from_millis(match self {
            Self::Greeting => limits::CLIENT_GREETING_MS,
            Self::Rcpt => limits::CLIENT_RCPT_MS,
            Self::Data => limits::CLIENT_DATA_MS,
            Self::Block => limits::CLIENT_BLOCK_MS,
            Self::EndOfData => limits::CLIENT_END_OF_DATA_MS,
            Self::Hello | Self::StartTls | Self::Auth | Self::Xclient | Self::Mail | Self::Reset | Self::Quit => {
                limits::CLIENT_MAIL_MS
            }
        })
    }
}
