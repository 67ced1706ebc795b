//! The envelope: who sends, to whom, and what the client asked for with it.

/// What BODY declares: RFC 6152 §3, RFC 3030 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    /// Lines of ASCII; also when nothing is declared.
    #[default]
    SevenBit,
    /// Lines of any octets.
    EightBitMime,
    /// Any octets.
    BinaryMime,
}

/// What a failed delivery's report shall return: RFC 3461 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header section.
    Headers,
}

/// When the sender wants to hear of a recipient: RFC 3461 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Not at all.
    Never,
    /// In the cases that are set; one at least.
    On {
        /// When it was delivered.
        success: bool,
        /// When it failed for good.
        failure: bool,
        /// When it takes long.
        delay: bool,
    },
}

/// The parameters of MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MailParameters<'a> {
    /// Declared size in octets, RFC 1870; saturated, so that any number too large is above every limit.
    pub size_bytes: Option<u64>,
    /// Declared body type.
    pub body: Body,
    /// Addresses and header may hold UTF-8: RFC 6531 §3.4.
    pub smtputf8: bool,
    /// RET of RFC 3461.
    pub ret: Option<Return>,
    /// ENVID of RFC 3461, in xtext as the client wrote it.
    pub envid: Option<&'a [u8]>,
    /// TLS is required on every hop: RFC 8689 §4.
    pub requiretls: bool,
    /// AUTH of RFC 4954 §5: a mailbox in xtext as the client wrote it, or `<>`.
    pub auth: Option<&'a [u8]>,
}

/// The parameters of RCPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RcptParameters<'a> {
    /// NOTIFY of RFC 3461.
    pub notify: Option<Notify>,
    /// ORCPT of RFC 3461: address type, `;`, xtext as the client wrote it.
    pub orcpt: Option<&'a [u8]>,
}
