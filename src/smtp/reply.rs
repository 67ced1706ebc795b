//! Every reply that the server gives: code, enhanced status code (RFC 3463) and text, each with a counter of its own.
//!
//! A refusal is named for the rule behind it. Nothing else in the crate holds reply text.

use std::io::Write;

use crate::limits;
use crate::mail::id::MessageId;
use crate::smtp::settings::Settings;

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal;)*) => {
        /// One reply, complete.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reply {
            /// 220 with the host name, rendered in [`Settings`].
            Greeting,
            /// 250 with the extensions, rendered in [`Settings`].
            Ehlo,
            /// The same within TLS.
            EhloSecure,
            /// 250 with the host name, rendered in [`Settings`].
            Helo,
            $($(#[$doc])* $name,)*
        }

        impl Reply {
            /// Every reply, in the order of [`Reply::index`].
            pub const ALL: &'static [Self] = &[Self::Greeting, Self::Ehlo, Self::EhloSecure, Self::Helo, $(Self::$name,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The reply code, RFC 5321 §4.2.
            pub const fn code(self) -> u16 {
                match self {
                    Self::Greeting => 220,
                    Self::Ehlo | Self::EhloSecure | Self::Helo => 250,
                    $(Self::$name => $code,)*
                }
            }

            /// The rule's name, as counters and logs show it.
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Greeting => "Greeting",
                    Self::Ehlo => "Ehlo",
                    Self::EhloSecure => "EhloSecure",
                    Self::Helo => "Helo",
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The whole reply with its line end.
            pub fn line(self, settings: &Settings) -> &[u8] {
                match self {
                    Self::Greeting => settings.greeting(),
                    Self::Ehlo => settings.ehlo(false),
                    Self::EhloSecure => settings.ehlo(true),
                    Self::Helo => settings.helo(),
                    $(Self::$name => concat!($code, " ", $text, "\r\n").as_bytes(),)*
                }
            }
        }
    };
}

replies! {
    // Success.
    /// RSET, NOOP and a chunk that is not the last.
    Ok = 250 "2.0.0 Ok";
    /// MAIL.
    MailOk = 250 "2.1.0 Reverse-path ok";
    /// RCPT.
    RcptOk = 250 "2.1.5 Recipient ok";
    /// DATA.
    StartMail = 354 "End data with <CRLF>.<CRLF>";
    /// A message on a listener that keeps nothing.
    Discarded = 250 "2.0.0 Ok: discarded, nothing is kept";
    /// A message taken over.
    Accepted = 250 "2.0.0 Ok: accepted";
    /// STARTTLS.
    ReadyForTls = 220 "2.0.0 Ready to start TLS";
    /// AUTH: the exchange has begun, with an empty challenge.
    AuthContinue = 334 "";
    /// AUTH LOGIN: "Username:" in base64.
    AuthUsername = 334 "VXNlcm5hbWU6";
    /// AUTH LOGIN: "Password:" in base64.
    AuthPassword = 334 "UGFzc3dvcmQ6";
    /// AUTH: RFC 4954 §6.
    Authenticated = 235 "2.7.0 Authentication succeeded";
    /// VRFY: RFC 5321 §3.5.3.
    CannotVerify = 252 "2.0.0 Will attempt delivery of mail for a valid recipient";
    /// HELP.
    Help = 214 "2.0.0 See RFC 5321; commands are listed by EHLO";
    /// QUIT.
    Bye = 221 "2.0.0 Bye";

    // 421: the service is closing the connection.
    /// The session waited too long for the client.
    IdleTimeout = 421 "4.4.2 Timeout, closing connection";
    /// The transaction took too long.
    TransactionTimeout = 421 "4.4.2 Transaction took too long, closing connection";
    /// The process is stopping, or the listener was switched off.
    ShuttingDown = 421 "4.3.2 Service is shutting down";
    /// What mail is kept on has failed.
    SpoolFailed = 421 "4.3.0 Mail cannot be kept for now, try again later";
    /// The shard's connection limit.
    TooManyConnections = 421 "4.3.2 Too many connections, try again later";
    /// A bound of memory was reached.
    Overloaded = 421 "4.3.2 System is overloaded, try again later";
    /// `messages_per_connection`.
    TooManyMessages = 421 "4.7.0 Too many messages in this connection";
    /// `errors`.
    TooManyErrors = 421 "4.7.0 Too many errors";
    /// `junk_commands`.
    TooManyJunkCommands = 421 "4.7.0 Too many commands without a message";
    /// Asked for by the operator.
    ClosedByOperator = 421 "4.3.2 Closed by the operator";

    // Other transient failures: ours or the system's.
    /// A decision that the session waited for did not come in time.
    AnswerTimeout = 451 "4.3.0 Internal look-up timed out, try again later";
    /// `recipients_per_message`: RFC 5321 §4.5.3.1.10.
    TooManyRecipients = 452 "4.5.3 Too many recipients";
    /// `recipient_domains_per_message`: RFC 9422 §4.3.
    TooManyRecipientDomains = 452 "4.5.3 Too many domains of recipients";
    /// The recipients' addresses and parameters take too much memory.
    EnvelopeTooBig = 452 "4.5.3 Too many recipients with long addresses or parameters";
    /// STARTTLS is offered, and cannot be done now: RFC 3207 §4.
    TlsNotAvailable = 454 "4.7.0 TLS not available for a temporary reason";
    /// The user database cannot be asked: RFC 4954 §6.
    AuthTemporaryFailure = 454 "4.7.0 Temporary authentication failure";
    /// The memory for sessions is nearly used up.
    NoMemory = 452 "4.3.1 Insufficient system resources, try again later";
    /// A recipient that the list defers: RFC 3463 §3.3.
    RecipientLater = 450 "4.2.1 Recipient takes no mail now, try again later";
    /// A recipient's mailbox is at its quota: RFC 3463 §3.3. It may be emptied, so the client is to come again.
    MailboxFull = 452 "4.2.2 Mailbox is full, try again later";
    /// A sink has no room: RFC 3463 §3.4.
    InsufficientStorage = 452 "4.3.1 Insufficient storage, try again later";
    /// A sink could not keep the message.
    DeliveryFailed = 451 "4.3.0 Delivery failed, try again later";

    // Permanent failures: the client's.
    /// A verb that is not known.
    UnknownCommand = 500 "5.5.1 Command not recognized";
    /// An empty command line, or one that is not text.
    BadLine = 500 "5.5.2 Syntax error, command line is not text";
    /// A command line above its limit.
    LineTooLong = 500 "5.5.2 Command line too long";
    /// A command line that ends with a bare LF where that is refused.
    BareNewlineInCommand = 500 "5.5.2 Command line ends with a bare line feed";
    /// A line of an AUTH exchange that is not base64: RFC 4954 §4.
    AuthBadResponse = 501 "5.5.2 Cannot decode the response";
    /// The client gave AUTH up: RFC 4954 §4.
    AuthCancelled = 501 "5.7.0 Authentication cancelled";
    /// Attributes of XCLIENT that cannot be read.
    BadXclient = 501 "5.5.4 Bad attribute of XCLIENT";
    /// Missing or unwanted arguments.
    BadArguments = 501 "5.5.4 Syntax error in parameters or arguments";
    /// A parameter whose value is not of its grammar.
    BadParameterValue = 501 "5.5.4 Bad value of a parameter";
    /// EHLO or HELO without a name, or with one that cannot be.
    BadDomain = 501 "5.5.4 Argument must be a domain or an address literal";
    /// QMQP that is none.
    BadNetstring = 501 "5.5.2 Netstrings do not fit each other";
    /// A path that cannot be read.
    BadPath = 501 "5.5.2 Syntax error in path";
    /// A reverse-path that cannot be an address.
    BadReversePath = 501 "5.1.7 Bad reverse-path syntax";
    /// A forward-path that cannot be an address.
    BadForwardPath = 501 "5.1.3 Bad recipient address syntax";
    /// A reverse-path without a domain.
    ReversePathWithoutDomain = 501 "5.1.8 Reverse-path needs a domain";
    /// A forward-path without a domain.
    ForwardPathWithoutDomain = 501 "5.1.3 Recipient needs a domain";
    /// A known verb that is not done here.
    NotImplemented = 502 "5.5.1 Command not implemented";
    /// Anything that needs a greeting first.
    HelloFirst = 503 "5.5.1 Send EHLO or HELO first (LMTP: LHLO)";
    /// RCPT, DATA or BDAT without MAIL.
    MailFirst = 503 "5.5.1 Need MAIL first";
    /// DATA or BDAT without RCPT.
    RcptFirst = 503 "5.5.1 Need RCPT first";
    /// MAIL within a transaction.
    NestedMail = 503 "5.5.1 A transaction is open already";
    /// MAIL, RCPT or DATA between chunks: RFC 3030 §2.
    WithinChunks = 503 "5.5.1 Not between chunks";
    /// STARTTLS, AUTH or XCLIENT within a transaction.
    WithinTransaction = 503 "5.5.1 Not within a transaction";
    /// STARTTLS within TLS.
    TlsActive = 503 "5.5.1 TLS is active already";
    /// AUTH again: RFC 4954 §4.
    AlreadyAuthenticated = 503 "5.5.1 Authenticated already";
    /// DATA where BODY=BINARYMIME was declared: RFC 3030 §3.
    BinaryNeedsBdat = 503 "5.5.1 BINARYMIME content needs BDAT";
    /// AUTH with a mechanism that is not offered: RFC 4954 §4.
    UnknownMechanism = 504 "5.5.4 Authentication mechanism not offered";
    /// Anything but a few commands where TLS is required: RFC 3207 §4; and REQUIRETLS without it: RFC 8689 §4.
    TlsRequired = 530 "5.7.0 Send STARTTLS first";
    /// MAIL where authentication is required: RFC 4954 §6.
    AuthRequired = 530 "5.7.0 Authentication required";
    /// AUTH: RFC 4954 §6.
    BadCredentials = 535 "5.7.8 Authentication credentials invalid";
    /// AUTH without TLS: RFC 4954 §6.
    AuthNeedsTls = 538 "5.7.11 Encryption required for authentication";
    /// Any command but QUIT after a 554 greeting.
    NoService = 503 "5.5.1 No service here";
    /// DATA or BDAT when every recipient was refused.
    NoValidRecipients = 554 "5.5.1 No valid recipients";
    /// The same in LMTP: RFC 2033 §4.2.
    NobodyToTakeIt = 503 "5.5.1 No valid recipients";
    /// Bytes behind a synchronisation point.
    UnauthorisedPipelining = 554 "5.5.0 Commands must not be sent ahead of the reply";
    /// Bytes behind STARTTLS, which somebody may have put there: CVE-2011-0411.
    InjectedBehindStartTls = 554 "5.5.0 Pipelined data after STARTTLS";
    /// Bytes before the greeting.
    EarlyTalker = 554 "5.5.0 Client spoke before the greeting";
    /// A request line of HTTP, or a TLS hello on a plain port.
    NotSmtp = 554 "5.5.0 This is an SMTP service";
    /// The declared or the counted size is above the limit: RFC 1870 §6.
    MessageTooBig = 552 "5.3.4 Message size exceeds the limit";
    /// Non-ASCII in a path without SMTPUTF8: RFC 6531 §3.5.
    NonAsciiReversePath = 550 "5.6.7 Non-ASCII address needs SMTPUTF8";
    /// The same for a recipient.
    NonAsciiForwardPath = 553 "5.6.7 Non-ASCII address needs SMTPUTF8";
    /// A parameter that no offered extension defines: RFC 5321 §4.1.1.11.
    UnknownParameter = 555 "5.5.4 Parameter not recognized or not implemented";
    /// A bare CR or LF in mail data where that is refused.
    BareNewlineInData = 550 "5.5.2 Message has a bare carriage return or line feed";
    /// A dot line with a wrong line end: the mark of SMTP smuggling.
    FalseEndOfData = 550 "5.5.2 Message has a dot line with a wrong line end";
    /// A recipient for whom no mail is taken here: RFC 5321 §7.9.
    RelayDenied = 550 "5.7.1 Relaying denied";
    /// A recipient that the list knows not to exist.
    UnknownRecipient = 550 "5.1.1 No such recipient here";
    /// A recipient's domain takes no mail at all: RFC 7504 §3, RFC 7505 §4.2.
    NoMailAccepted = 556 "5.1.10 Recipient's domain takes no mail";
    /// A peer that is not served here, as its greeting: RFC 5321 §3.1.
    AccessDenied = 554 "5.7.1 Access denied";
    /// XCLIENT from a peer that is not trusted with it.
    XclientRefused = 550 "5.7.0 XCLIENT is not allowed from here";
    /// A line of the content above `line_octets`: RFC 5321 §4.5.3.1.6.
    ContentLineTooLong = 550 "5.6.0 Message has a line that is too long";
    /// More Received fields than `received_fields`: RFC 5321 §6.3.
    MailLoop = 554 "5.4.6 Too many Received fields, the message is in a loop";
    /// NUL in mail data where that is refused.
    NulInData = 550 "5.6.0 Message has a NUL octet";

    // What a script of faults asks for.
    /// Scripted.
    Scripted421 = 421 "4.3.2 Scripted refusal";
    /// Scripted.
    Scripted450 = 450 "4.2.0 Scripted refusal";
    /// Scripted.
    Scripted451 = 451 "4.3.0 Scripted refusal";
    /// Scripted.
    Scripted452 = 452 "4.3.1 Scripted refusal";
    /// Scripted.
    Scripted550 = 550 "5.1.1 Scripted refusal";
    /// Scripted; a greeting only.
    Scripted521 = 521 "5.3.2 Scripted refusal";
    /// Scripted.
    Scripted552 = 552 "5.2.2 Scripted refusal";
    /// Scripted.
    Scripted553 = 553 "5.1.3 Scripted refusal";
    /// Scripted.
    Scripted554 = 554 "5.0.0 Scripted refusal";
    /// Scripted: RFC 7504 §3.
    Scripted556 = 556 "5.1.10 Scripted refusal";
}

impl Reply {
    /// Position among [`Reply::ALL`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether the reply refuses (4xx or 5xx).
    pub const fn is_refusal(self) -> bool {
        self.code() >= 400
    }

    /// Whether the connection is closed behind it: RFC 5321 §3.8 for 421, RFC 7504 §2 for 521.
    pub const fn closes(self) -> bool {
        matches!(self.code(), 221 | 421 | 521)
    }

    /// The reply with which a script refuses, by its code.
    pub fn scripted(code: u16) -> Option<Self> {
        [
            Self::Scripted421,
            Self::Scripted450,
            Self::Scripted451,
            Self::Scripted452,
            Self::Scripted550,
            Self::Scripted521,
            Self::Scripted552,
            Self::Scripted553,
            Self::Scripted554,
            Self::Scripted556,
        ]
        .into_iter()
        .find(|reply| reply.code() == code)
    }
}

/// Replies of one connection that are not sent yet, and the count of each since it was last taken.
#[derive(Debug)]
pub struct Replies {
    /// The octets to send.
    pub octets: Vec<u8>,
    /// How often each reply was given, by [`Reply::index`].
    pub counts: [u32; Reply::COUNT],
    /// What became of messages, since it was last taken.
    pub messages: Messages,
}

/// Messages whose end was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// Taken, for at least one recipient.
    pub taken: u64,
    /// Octets of content of those.
    pub octets: u64,
    /// Recipients of those who were not refused at the end.
    pub recipients: u64,
    /// Refused at their end.
    pub refused: u64,
}

impl Replies {
    /// None yet.
    pub fn new() -> Self {
        Self { octets: Vec::new(), counts: [0; Reply::COUNT], messages: Messages::default() }
    }

    /// Whether a reply of any length can be added within [`limits::OUTPUT_OCTETS`].
    #[inline]
    pub fn have_room(&self) -> bool {
        self.octets.len() + limits::REPLY_OCTETS <= limits::OUTPUT_OCTETS
    }

    /// Adds the one for a message that is taken over, with its id.
    pub fn push_accepted(&mut self, id: MessageId) {
        // Writing to a vector cannot fail.
        let _ = write!(self.octets, "250 2.0.0 Ok: queued as {id}\r\n");
        self.counts[Reply::Accepted.index()] += 1;
    }

    /// Adds the same for QMQP.
    pub fn push_accepted_netstring(&mut self, id: MessageId) {
        let text = format!("Kok: queued as {id}");
        // Writing to a vector cannot fail.
        let _ = write!(self.octets, "{}:{text},", text.len());
        self.counts[Reply::Accepted.index()] += 1;
    }

    /// Adds one as QMQP has it: its class as a letter, and its text, as a netstring.
    pub fn push_netstring(&mut self, reply: Reply, settings: &Settings) {
        let letter = match reply.code() {
            ..400 => b'K',
            400..500 => b'Z',
            500.. => b'D',
        };
        let line = reply.line(settings).trim_ascii_end();
        // The code and the space behind it give way to the letter.
        let text = &line[4..];
        let _ = write!(self.octets, "{}:", 1 + text.len());
        self.octets.push(letter);
        self.octets.extend_from_slice(text);
        self.octets.push(b',');
        self.counts[reply.index()] += 1;
    }

    /// Adds one.
    pub fn push(&mut self, reply: Reply, settings: &Settings) {
        self.octets.extend_from_slice(reply.line(settings));
        self.counts[reply.index()] += 1;
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::settings::tests::settings;

    /// CONFORMANCE T220, T221: class of the enhanced code equals that of the reply; lines are printable and bounded.
    #[test]
    fn every_reply_is_well_formed() {
        let settings = settings();
        for (index, reply) in Reply::ALL.iter().enumerate() {
            assert_eq!(reply.index(), index);
            let text = std::str::from_utf8(reply.line(&settings)).unwrap();
            for line in text.split_inclusive("\r\n") {
                assert!(line.ends_with("\r\n") && line.len() <= limits::REPLY_LINE_OCTETS, "{line:?}");
                assert!(line.trim_end().bytes().all(|octet| (0x20..0x7f).contains(&octet)), "{line:?}");
                assert_eq!(line[..3].parse::<u16>().unwrap(), reply.code());
            }
            let is_hello = matches!(reply, Reply::Greeting | Reply::Ehlo | Reply::EhloSecure | Reply::Helo);
            let enhanced = !is_hello && reply.code() / 100 != 3;
            if enhanced {
                let code = text[4..].split(' ').next().unwrap();
                assert_eq!(code.split('.').count(), 3, "{text:?}");
                assert_eq!(code.as_bytes()[0], text.as_bytes()[0], "{text:?}");
            }
        }
    }
}
