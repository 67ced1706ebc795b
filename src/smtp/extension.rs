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
}

impl Extension {
    /// Every extension of this build, in the order in which EHLO lists them.
    pub const ALL: [Self; 5] =
        [Self::Pipelining, Self::Size, Self::EightBitMime, Self::Chunking, Self::EnhancedStatusCodes];

    /// The EHLO keyword, upper case.
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::Chunking => "CHUNKING",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
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

    /// All of this build.
    pub fn all() -> Self {
        Extension::ALL.into_iter().collect()
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
