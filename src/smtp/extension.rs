//! The service extensions that a session can offer (RFC 5321 §2.2), and how EHLO lists them.

/// One service extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Extension {
    /// RFC 2920.
    Pipelining = 1 << 0,
    /// RFC 1870.
    Size = 1 << 1,
    /// RFC 6152.
    EightBitMime = 1 << 2,
    /// RFC 3030 §2.
    Chunking = 1 << 3,
    /// RFC 2034.
    EnhancedStatusCodes = 1 << 4,
    /// RFC 6531.
    SmtpUtf8 = 1 << 5,
    /// RFC 3030 §3. It needs CHUNKING.
    BinaryMime = 1 << 6,
    /// RFC 3461.
    Dsn = 1 << 7,
    /// RFC 3207. Listed until TLS is on.
    StartTls = 1 << 8,
    /// RFC 9422.
    Limits = 1 << 9,
    /// RFC 8689. Listed within TLS.
    RequireTls = 1 << 10,
    /// RFC 4954. Listed within TLS.
    Auth = 1 << 11,
    /// Postfix's XCLIENT, for peers that are trusted with it.
    Xclient = 1 << 12,
}

impl Extension {
    /// Every extension of this build, in the order in which EHLO lists them.
    pub const ALL: [Self; 13] = [
        Self::Pipelining,
        Self::Size,
        Self::EightBitMime,
        Self::SmtpUtf8,
        Self::Chunking,
        Self::BinaryMime,
        Self::Dsn,
        Self::EnhancedStatusCodes,
        Self::StartTls,
        Self::Limits,
        Self::RequireTls,
        Self::Auth,
        Self::Xclient,
    ];

    /// The EHLO keyword, upper case.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::Chunking => "CHUNKING",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::BinaryMime => "BINARYMIME",
            Self::Dsn => "DSN",
            Self::StartTls => "STARTTLS",
            Self::Limits => "LIMITS",
            Self::RequireTls => "REQUIRETLS",
            Self::Auth => "AUTH",
            Self::Xclient => "XCLIENT",
        }
    }

    /// The extension with this keyword in any case, as the configuration names it.
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.keyword().eq_ignore_ascii_case(keyword))
    }
}

/// A set of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extensions(u16);

impl Extensions {
    /// No extension at all: what HELO offers.
    pub const NONE: Self = Self(0);

    /// All that there are.
    pub const fn all() -> Self {
        Self((1 << Extension::ALL.len()) - 1)
    }

    /// Those that need nothing but the session: no certificate, no users, no trust in the peer.
    pub const fn unconditional() -> Self {
        let conditional = Extension::StartTls as u16
            | Extension::RequireTls as u16
            | Extension::Auth as u16
            | Extension::Xclient as u16;
        Self(Self::all().0 & !conditional)
    }

    /// The set with this extension.
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | extension as u16)
    }

    /// The set without this extension.
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(extension as u16))
    }

    /// Whether the set holds the extension.
    pub const fn has(self, extension: Extension) -> bool {
        self.0 & extension as u16 != 0
    }

    /// The members, in the order in which EHLO lists them.
    pub fn iter(self) -> impl Iterator<Item = Extension> {
        Extension::ALL.into_iter().filter(move |extension| self.has(*extension))
    }
}

impl FromIterator<Extension> for Extensions {
    fn from_iter<T: IntoIterator<Item = Extension>>(extensions: T) -> Self {
        Self(extensions.into_iter().fold(0, |set, extension| set | extension as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_in_any_case_and_listed_in_order() {
        assert_eq!(Extension::from_keyword("chunking"), Some(Extension::Chunking));
        assert_eq!(Extension::from_keyword("CHUNK"), None);
        let set: Extensions = [Extension::Chunking, Extension::Pipelining].into_iter().collect();
        assert_eq!(set.iter().map(Extension::keyword).collect::<Vec<_>>(), ["PIPELINING", "CHUNKING"]);
        assert!(!set.has(Extension::Size));
    }
}
